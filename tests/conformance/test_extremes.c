/* test_extremes.c: every operator of the registry at the ends of what it may be given: no samples and
 * other sizes of zero, sizes that no memory holds, inputs that are views of other values in a program,
 * and NaN, infinities and zeros of both signs through kernels of composites.
 * tn-test: timeout=240 */
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#include <math.h>
#include <string.h>
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

/* Checks one call; FALSE after recording a failure. */
typedef gboolean (*Check)(const TnCall *call);

/* Calls of all operators in f32, or the first dtype they take, up to an operator's first failure. */
static void
each_call(Check check)
{
    tn_conformance_open_devices();
    g_autoptr(GPtrArray) ops = tn_conformance_ops();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        const TnDtypes dtypes = tn_call_dtypes(op);
        gint dtype = TN_DTYPE_F32;
        while (!tn_dtype_in((TnDtype)dtype, dtypes)) {
            dtype = dtype % (TN_N_DTYPES - 1) + 1;
        }
        gboolean ok = TRUE;
        for (guint v = 0; ok; v++) {
            TnCall call;
            if (!tn_call_make(&call, op, (TnDtype)dtype, v)) {
                break;
            }
            ok = check(&call);
            tn_call_clear(&call);
        }
    }
}

/* What the call gives on cpu is what it gives on ref. */
static gboolean
agrees(const TnCall *call, const char *how)
{
    TnTensor *want[TN_MAX_OUT], *got[TN_MAX_OUT];
    g_autofree char *text = tn_call_print(call);
    gboolean ok = tn_call_run(call, tn_on.ref, FALSE, want);
    if (!ok || !tn_call_run(call, tn_on.cpu, FALSE, got)) {
        for (gint k = 0; ok && k < call->n_out; k++) {
            tn_tensor_unref(want[k]);
        }
        return FALSE;
    }
    for (gint k = 0; k < call->n_out; k++) {
        g_autofree char *what = g_strdup_printf("%s, %s: output %d", text, how, k);
        ok = ok && tn_test_near(got[k], want[k], tn_call_tolerance(call, k), what);
        tn_tensor_unref(want[k]);
        tn_tensor_unref(got[k]);
    }
    return ok;
}

/* The inputs' types with every size that is `from` made `to`, so that what must match still does. */
static void
with_size(const TnCall *call, gint64 from, gint64 to, TnType *in)
{
    for (gint i = 0; i < call->n_in; i++) {
        in[i] = call->in[i];
        for (gint axis = 0; tn_call_has(call, i) && axis < in[i].rank; axis++) {
            in[i].dims[axis] = in[i].dims[axis] == from ? to : in[i].dims[axis];
        }
    }
}

/* --- Sizes of zero ---------------------------------------------------------------------------- */

static GHashTable *emptied; /* operators of which a call with a size of zero was run */

static gboolean
is_right_when_empty(const TnCall *call)
{
    gboolean ok = TRUE;
    for (gint i = 0; i < call->n_in && ok; i++) {
        for (gint axis = 0; tn_call_has(call, i) && axis < call->in[i].rank && ok; axis++) {
            TnType in[TN_MAX_IN];
            TnCall empty;
            with_size(call, call->in[i].dims[axis], 0, in);
            if (tn_call_resize(&empty, call, in)) {
                ok = agrees(&empty, "with a size of 0");
                g_hash_table_add(emptied, (gpointer)call->op);
                tn_call_clear(&empty);
            }
        }
    }
    return ok;
}

static void
sizes_of_zero(void)
{
    emptied = g_hash_table_new(NULL, NULL);
    each_call(is_right_when_empty);
    if (g_getenv("TN_OP") == NULL) {
        TN_ASSERT_CMPUINT(g_hash_table_size(emptied), >, 100);
    }
    g_clear_pointer(&emptied, g_hash_table_unref);
}

/* --- Vast sizes ------------------------------------------------------------------------------- */

static guint n_refused, n_prepared;

/* Sizes that only inference and preparation see: either may refuse them, neither may fall over. */
static void
prepare_vast(const TnCall *call, const TnType *in, const char *kind)
{
    TnType out[TN_MAX_OUT];
    TnArg in_args[TN_MAX_IN] = { 0 }, out_args[TN_MAX_OUT] = { 0 };
    TnNode node = { .size = sizeof(TnNode),
                    .op = call->op,
                    .attrs = call->attrs,
                    .name = call->op->name,
                    .n_in = call->n_in,
                    .in = in_args,
                    .out = out_args };
    if (!tn_op_infer(call->op, call->attrs, call->op->name, call->n_in, in, call->value,
                     &node.n_out, out, NULL)) {
        n_refused++;
        return;
    }
    for (gint i = 0; i < call->n_in + node.n_out; i++) {
        const TnType *type = i < call->n_in ? &in[i] : &out[i - call->n_in];
        TnArg *arg = i < call->n_in ? &in_args[i] : &out_args[i - call->n_in];
        arg->type = *type;
        if (type->dtype != TN_DTYPE_NONE) {
            arg->count = tn_type_count(type);
            tn_type_strides(type, arg->strides);
        }
    }
    TnPrepared prepared = { .size = sizeof prepared };
    const TnKernel *kernel = tn_kernel_find(kind, &node);
    if (kernel == NULL || kernel->prepare == NULL) {
        return;
    }
    g_autoptr(GError) error = NULL;
    if (!kernel->prepare(&node, &prepared, &error)) {
        TN_ASSERT(error != NULL);
        n_refused++;
        return;
    }
    n_prepared++;
    if (kernel->release != NULL) {
        kernel->release(prepared.state);
    }
}

static gboolean
stands_vast_sizes(const TnCall *call)
{
    static const gint64 sizes[] = { (gint64)1 << 31, (gint64)1 << 40, (gint64)1 << 59, G_MAXINT64 };
    for (gint i = 0; i < call->n_in; i++) {
        for (gint axis = 0; tn_call_has(call, i) && axis < call->in[i].rank; axis++) {
            for (guint s = 0; call->in[i].dims[axis] != 0 && s < G_N_ELEMENTS(sizes); s++) {
                TnType in[TN_MAX_IN];
                gboolean exist = TRUE; /* inputs themselves can be addressed */
                with_size(call, call->in[i].dims[axis], sizes[s], in);
                for (gint k = 0; k < call->n_in; k++) {
                    exist = exist && (!tn_call_has(call, k) || tn_type_bytes(&in[k]) >= 0);
                }
                if (exist && !call->given[i]) {
                    prepare_vast(call, in, "cpu");
                    prepare_vast(call, in, "ref");
                }
            }
        }
    }
    return TRUE;
}

static void
vast_sizes(void)
{
    each_call(stands_vast_sizes);
    if (g_getenv("TN_OP") == NULL) {
        TN_ASSERT_CMPUINT(n_refused, >, 1000);
        TN_ASSERT_CMPUINT(n_prepared, >, 1000);
    }
}

/* --- Views ------------------------------------------------------------------------------------ */

typedef enum { TURNED, STEPPED, REPEATED, N_VIEWS } View;
static const char *const view_names[] = { "turned round", "every second of", "repeated" };

/* A value of the input's type that is a view of another graph input, of type *base. */
static TnVal
view_of(TnGraph *graph, View view, const char *name, const TnType *type, TnType *base)
{
    TnTransposeAttrs turn = { .perm = { .n = type->rank } };
    TnSliceAttrs step = { .starts = { .n = type->rank },
                          .ends = { .n = type->rank },
                          .steps = { .n = type->rank } };
    *base = *type;
    for (gint i = 0; i < type->rank; i++) {
        turn.perm.v[i] = type->rank - 1 - i;
        if (view == TURNED) {
            base->dims[i] = type->dims[type->rank - 1 - i];
        } else if (view == STEPPED) {
            /* From the last place backwards. */
            base->dims[i] = 2 * type->dims[i];
            step.starts.v[i] = -1;
            step.ends.v[i] = G_MININT64;
            step.steps.v[i] = -2;
        } else if (i == 0 || i == type->rank - 1) {
            base->dims[i] = type->dims[i] > 0 ? 1 : 0;
        }
    }
    const TnVal from = tn_graph_input(graph, name, *base);
    if (view == TURNED) {
        return tn_graph_op(graph, "transpose", &turn, 1, &from, NULL);
    }
    if (view == STEPPED) {
        return tn_graph_op(graph, "slice", &step, 1, &from, NULL);
    }
    TnExpandAttrs expand = { .shape = { .rank = type->rank } };
    memcpy(expand.shape.dims, type->dims, sizeof expand.shape.dims);
    return tn_graph_op(graph, "expand", &expand, 1, &from, NULL);
}

/* The elements of `from` over and over, in a tensor of another type of the same dtype. */
static TnTensor *
cycled(TnTensor *from, const TnType *type)
{
    TnTensor *to = tn_tensor_new(NULL, *type, NULL);
    TN_REQUIRE(to != NULL);
    const gsize bytes = (gsize)tn_tensor_bytes(from), wanted = (gsize)tn_tensor_bytes(to);
    const guint8 *source = tn_tensor_map(from, TN_MAP_READ, NULL);
    guint8 *at = tn_tensor_map(to, TN_MAP_WRITE, NULL);
    for (gsize done = 0; bytes > 0 && done < wanted; done += MIN(bytes, wanted - done)) {
        memcpy(at + done, source, MIN(bytes, wanted - done));
    }
    tn_tensor_unmap(from);
    tn_tensor_unmap(to);
    return to;
}

/* The call with its inputs as views, and what they are views of. FALSE: an input cannot be one. */
static TnGraph *
view_graph(const TnCall *call, View view, TnTensor **base)
{
    TnGraph *graph = tn_graph_new(call->op->name);
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    guint n = 0;
    for (gint i = 0; i < call->n_in; i++) {
        g_autofree char *name = g_strdup_printf("x%d", i);
        TnType type = call->in[i];
        in[i] = TN_VAL_NONE;
        if (!tn_call_has(call, i)) {
            continue;
        }
        const gboolean as_is = call->given[i] || type.rank == 0 || tn_type_count(&type) == 0;
        in[i] = as_is ? tn_graph_input(graph, name, type)
                      : view_of(graph, view, name, &call->in[i], &type);
        base[n++] = cycled(call->value[i], &type);
    }
    tn_graph_add(graph, call->op, call->attrs, call->n_in, in, out);
    for (gint k = 0; k < call->n_out; k++) {
        g_autofree char *name = g_strdup_printf("y%d", k);
        tn_graph_output(graph, name, out[k]);
    }
    return graph;
}

static gboolean
run_views(TnGraph *graph, TnContext *context, TnTensor *const *base, guint n, TnTensor **out,
          const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    if (!tn_function_call(function, n, base, out, &error)) {
        TN_FAIL("%s: %s", text, error->message);
        return FALSE;
    }
    return TRUE;
}

static gboolean
agrees_on_views(const TnCall *call, View view)
{
    TnTensor *base[TN_MAX_IN] = { NULL }, *want[TN_MAX_OUT], *got[TN_MAX_OUT];
    g_autofree char *call_text = tn_call_print(call);
    g_autofree char *text = g_strdup_printf("%s, inputs %s others", call_text, view_names[view]);
    g_autoptr(TnGraph) graph = view_graph(call, view, base);
    const guint n = tn_graph_n_inputs(graph);
    gboolean ok = run_views(graph, tn_on.ref, base, n, want, text);
    if (ok && run_views(graph, tn_on.cpu, base, n, got, text)) {
        for (gint k = 0; k < call->n_out; k++) {
            g_autofree char *what = g_strdup_printf("%s: output %d", text, k);
            ok = ok && tn_test_near(got[k], want[k], tn_call_tolerance(call, k), what);
            tn_tensor_unref(want[k]);
            tn_tensor_unref(got[k]);
        }
    } else {
        for (gint k = 0; ok && k < call->n_out; k++) {
            tn_tensor_unref(want[k]);
        }
        ok = FALSE;
    }
    for (guint i = 0; i < n; i++) {
        tn_tensor_unref(base[i]);
    }
    return ok;
}

static gboolean
is_right_on_views(const TnCall *call)
{
    gboolean ok = TRUE;
    for (gint view = 0; view < N_VIEWS && ok; view++) {
        ok = agrees_on_views(call, (View)view);
    }
    return ok;
}

static void
views(void)
{
    each_call(is_right_on_views);
}

/* --- Special values --------------------------------------------------------------------------- */

/* Where kernels and bodies differ, rightly or without harm. */
static const struct {
    const char *op;
    gint input;     /* -1: any */
    gboolean lower; /* only at -infinity */
} differs[] = {
    /* A weight that is not finite meets the zeros beside an image, or meets nothing there. */
    { "conv_bias", 1, FALSE },
    { "conv_blocked", 1, FALSE },
    { "conv_transpose_bias", 1, FALSE },
    /* Where all of a window is -infinity the body may find its padding to be the largest. */
    { "max_pool_grad", -1, TRUE },
};

static gboolean
may_differ(const TnOp *op, gint input, double value)
{
    for (guint i = 0; i < G_N_ELEMENTS(differs); i++) {
        if (strcmp(differs[i].op, op->name) == 0 &&
            (differs[i].input < 0 || differs[i].input == input) &&
            (!differs[i].lower || value == -INFINITY)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A few elements of every float input become the value; it must come out as the body has it. */
static gboolean
with_special(const TnCall *call, double value)
{
    TnType in[TN_MAX_IN];
    TnCall special;
    memcpy(in, call->in, sizeof in);
    if (!tn_call_resize(&special, call, in)) {
        return TRUE;
    }
    for (gint i = 0; i < call->n_in; i++) {
        if (!tn_call_has(call, i) || call->given[i] ||
            !tn_dtype_in(call->in[i].dtype, TN_DTYPES_FLOAT) || may_differ(call->op, i, value)) {
            continue;
        }
        g_autofree double *x = tn_test_doubles(special.value[i]);
        const gint64 n = tn_type_count(&call->in[i]);
        for (gint64 k = i; k < n; k += 7 + i) {
            x[k] = value;
        }
        tn_tensor_unref(special.value[i]);
        special.value[i] = tn_test_tensor(call->in[i], x);
    }
    g_autofree char *how = g_strdup_printf("with %g", value);
    const gboolean ok = agrees(&special, how);
    tn_call_clear(&special);
    return ok;
}

/* Kernels of composites against bodies: ref has none of the former. */
static gboolean
keeps_specials(const TnCall *call)
{
    static const double values[] = { NAN, INFINITY, -INFINITY, -0.0 };
    gboolean ok = TRUE;
    for (guint i = 0; tn_op_is_composite(call->op) && ok && i < G_N_ELEMENTS(values); i++) {
        ok = with_special(call, values[i]);
    }
    return ok;
}

static void
specials(void)
{
    each_call(keeps_specials);
}

/* --- Other processors ------------------------------------------------------------------------- */

/* The same on a processor without AVX-512, and on one without AVX2. */
static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2", NULL },
                  (const char *const[]){ "sizes of zero", "views", "specials", NULL });
}

static const TnTest tests[] = {
    { "sizes of zero", sizes_of_zero },
    { "vast sizes", vast_sizes },
    { "views", views },
    { "specials", specials },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN_WITH("conformance: extremes", tests, NULL, tn_conformance_close_devices)
