/* Every kernel by itself, called as a program would: between guard bytes, on memory full of
 * garbage, with inputs in every layout that its row allows, in place where its row says so. Judged
 * by ref on contiguous inputs; ref itself by its contiguous form. tn-test: timeout=240 */
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#include <math.h>
#include <tenon/base.h>
#include <tenon/plugin.h>

static TnContext *on_ref;
static TnExec *any_exec; /* what a kernel that fails would leave its message in */

static void
open_devices(void)
{
    g_autoptr(GError) error = NULL;
    if (on_ref != NULL) {
        return;
    }
    tn_conformance_open();
    on_ref = tn_test_context("ref", NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("any");
    tn_graph_output(graph, "y", tn_graph_scalar(graph, TN_DTYPE_F32, 1));
    TnDevice *const devices[] = { tn_context_device(on_ref, 0) };
    const TnCompile options = { .devices = devices, .n_devices = 1 };
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    any_exec = tn_exec_new(program, NULL, on_ref, &error);
    TN_REQUIRE_NO_ERROR(error);
}

static void
close_devices(void)
{
    g_clear_pointer(&any_exec, tn_exec_free);
    g_clear_pointer(&on_ref, tn_context_unref);
}

/* --- Memory between guards -------------------------------------------------------------------- */

#define GUARD 256 /* bytes on either side */
#define MARK 0xA5

typedef struct {
    guint8 *block;
    gsize bytes; /* between the guards */
} Guarded;

static void *
guarded_new(Guarded *g, gsize bytes, guint8 fill)
{
    g->bytes = bytes;
    g->block = tn_data_alloc(bytes + 2 * GUARD);
    TN_REQUIRE(g->block != NULL);
    memset(g->block, MARK, bytes + 2 * GUARD);
    memset(g->block + GUARD, fill, bytes);
    return g->block + GUARD;
}

static gboolean
guards_hold(const Guarded *g)
{
    gboolean ok = TRUE;
    for (gsize i = 0; i < GUARD && g->block != NULL; i++) {
        ok &= g->block[i] == MARK && g->block[GUARD + g->bytes + i] == MARK;
    }
    return ok;
}

static void
guarded_clear(Guarded *g)
{
    g_clear_pointer(&g->block, tn_data_free);
}

/* --- Layouts ---------------------------------------------------------------------------------- */

typedef enum {
    CONTIGUOUS,
    TRANSPOSED, /* axes lie in reverse order */
    SPREAD,     /* every second place of every axis */
    BACKWARD,   /* steps are negative */
    REPEATED,   /* the first axis, and the last of rank 3 and more, have step 0 */
    N_LAYOUTS
} Layout;
static const char *const layout_names[] = { "contiguous", "transposed", "spread", "backward",
                                            "repeated" };

/* An input laid out: its elements in a block of its own. */
typedef struct {
    Guarded memory;
    guint8 *first; /* element [0, 0, …] */
    gint64 strides[TN_MAX_RANK];
} Laid;

static void
plan_layout(Laid *laid, const TnType *type, Layout layout, gint64 *places, gint64 *first)
{
    const gint64 gap = layout == SPREAD ? 2 : 1;
    gint64 step = 1;
    *first = 0;
    for (gint k = 0; k < type->rank; k++) {
        const gint axis = layout == TRANSPOSED ? k : type->rank - 1 - k;
        const gboolean still =
            layout == REPEATED && (axis == 0 || (axis == type->rank - 1 && type->rank > 2));
        laid->strides[axis] = still ? 0 : step * gap;
        step *= still ? 1 : type->dims[axis] * gap;
        if (layout == BACKWARD && type->dims[axis] > 0) {
            *first += laid->strides[axis] * (type->dims[axis] - 1);
            laid->strides[axis] = -laid->strides[axis];
        }
    }
    *places = step;
}

/* Row-major bytes of `from` go where the layout has them; of places that stand for several elements
 * the first stays, and `from` itself becomes what a reader of the layout sees. */
static void
lay(Laid *laid, const TnType *type, Layout layout, guint8 *from)
{
    const gsize size = tn_dtype_size(type->dtype);
    const gint64 count = tn_type_count(type);
    gint64 places, first;
    plan_layout(laid, type, layout, &places, &first);
    guint8 *block = guarded_new(&laid->memory, (gsize)places * size, 0x5a);
    laid->first = block + (gsize)first * size;
    for (gint turn = 0; turn < 2; turn++) {
        gint64 index[TN_MAX_RANK] = { 0 };
        for (gint64 i = turn == 0 ? count - 1 : 0; turn == 0 ? i >= 0 : i < count;
             i += turn == 0 ? -1 : 1) {
            gint64 rest = i, at = 0;
            for (gint axis = type->rank - 1; axis >= 0; axis--) {
                index[axis] = rest % type->dims[axis];
                rest /= type->dims[axis];
                at += index[axis] * laid->strides[axis];
            }
            guint8 *place = laid->first + at * (gint64)size;
            guint8 *plain = from + (gsize)i * size;
            memcpy(turn == 0 ? place : plain, turn == 0 ? plain : place, size);
        }
    }
}

/* --- A kernel's call -------------------------------------------------------------------------- */

typedef struct {
    const TnCall *call;
    const char *kind;
    Layout layout;
    gint place; /* input whose memory output 0 has; -1: its own */
} Try;

typedef struct {
    const TnKernel *kernel;
    TnNode node;
    TnArg in[TN_MAX_IN], out[TN_MAX_OUT];
    Laid laid[TN_MAX_IN];
    Guarded result[TN_MAX_OUT], scratch;
    TnCall seen; /* the call with the contents that the kernel reads */
} Trial;

static char *
print_try(const Try *t)
{
    g_autofree char *text = tn_call_print(t->call);
    g_autofree char *place =
        t->place >= 0 ? g_strdup_printf(", in place of input %d", t->place) : NULL;
    return g_strdup_printf("%s: %s's kernel, %s inputs%s", text, t->kind, layout_names[t->layout],
                           place != NULL ? place : "");
}

static void
make_inputs(Trial *trial, const Try *t)
{
    const TnCall *call = t->call;
    trial->seen = *call;
    for (gint i = 0; i < call->n_in; i++) {
        trial->seen.value[i] = NULL;
        trial->in[i].type = call->in[i];
        if (!tn_call_has(call, i)) {
            continue;
        }
        const gboolean moved = i != t->place && !call->given[i];
        g_autoptr(TnTensor) copy = tn_tensor_copy(call->value[i], NULL, TN_DTYPE_NONE, NULL);
        TN_REQUIRE(copy != NULL);
        guint8 *bytes = tn_tensor_map(copy, TN_MAP_WRITE, NULL);
        lay(&trial->laid[i], &call->in[i], moved ? t->layout : CONTIGUOUS, bytes);
        trial->seen.value[i] = tn_tensor_from(call->in[i], bytes, NULL);
        tn_tensor_unmap(copy);
        memcpy(trial->in[i].strides, trial->laid[i].strides, sizeof trial->in[i].strides);
        trial->in[i].count = tn_type_count(&call->in[i]);
    }
}

static void
make_outputs(Trial *trial, const Try *t)
{
    const TnCall *call = t->call;
    for (gint k = 0; k < call->n_out; k++) {
        trial->out[k].type = call->out[k];
        trial->out[k].count = tn_type_count(&call->out[k]);
        tn_type_strides(&call->out[k], trial->out[k].strides);
        if (k > 0 || t->place < 0) {
            /* 0xff: NaN in every float, so that whatever is added to what was there shows. */
            guarded_new(&trial->result[k], (gsize)tn_type_bytes(&call->out[k]), 0xff);
        }
    }
}

static void
trial_clear(Trial *trial)
{
    for (gint i = 0; i < trial->seen.n_in; i++) {
        g_clear_pointer(&trial->seen.value[i], tn_tensor_unref);
        guarded_clear(&trial->laid[i].memory);
    }
    for (gint k = 0; k < TN_MAX_OUT; k++) {
        guarded_clear(&trial->result[k]);
    }
    guarded_clear(&trial->scratch);
}

static void
begin(Trial *trial, const Try *t)
{
    const TnCall *call = t->call;
    memset(trial, 0, sizeof *trial);
    make_inputs(trial, t);
    make_outputs(trial, t);
    trial->node = (TnNode){ .size = sizeof(TnNode),
                            .op = call->op,
                            .attrs = call->attrs,
                            .name = call->op->name,
                            .n_in = call->n_in,
                            .n_out = call->n_out,
                            .in = trial->in,
                            .out = trial->out };
    trial->kernel = tn_kernel_find(t->kind, &trial->node);
}

static guint8 *
result_of(const Trial *trial, const Try *t, gint k)
{
    return k == 0 && t->place >= 0 ? trial->laid[t->place].first : trial->result[k].block + GUARD;
}

static TnStatus
run_kernel(Trial *trial, const Try *t, GError **error)
{
    TnPrepared prepared = { .size = sizeof prepared };
    const void *in[TN_MAX_IN];
    void *out[TN_MAX_OUT];
    if (trial->kernel->prepare != NULL && !trial->kernel->prepare(&trial->node, &prepared, error)) {
        return TN_FAILED;
    }
    for (gint i = 0; i < t->call->n_in; i++) {
        /* What only its type counts of cannot be read. */
        const gboolean closed = tn_op_input(t->call->op, i)->flags & TN_ARG_SHAPE;
        in[i] = closed ? NULL : trial->laid[i].first;
    }
    for (gint k = 0; k < t->call->n_out; k++) {
        out[k] = result_of(trial, t, k);
    }
    const TnRun run = { .size = sizeof run,
                        .exec = any_exec,
                        .in = (void *const *)in,
                        .out = out,
                        .scratch = guarded_new(&trial->scratch, prepared.scratch, 0xff) };
    const TnStatus status = trial->kernel->run(prepared.state, &run);
    if (trial->kernel->release != NULL) {
        trial->kernel->release(prepared.state);
    }
    return status;
}

static gboolean
all_guards_hold(const Trial *trial)
{
    gboolean ok = guards_hold(&trial->scratch);
    for (gint i = 0; i < TN_MAX_IN; i++) {
        ok = ok && guards_hold(&trial->laid[i].memory);
    }
    for (gint k = 0; k < TN_MAX_OUT; k++) {
        ok = ok && guards_hold(&trial->result[k]);
    }
    return ok;
}

static gboolean
judge(const Trial *trial, const Try *t, const char *text)
{
    TnTensor *want[TN_MAX_OUT];
    if (!tn_call_run(&trial->seen, on_ref, FALSE, want)) {
        return FALSE;
    }
    gboolean ok = TRUE;
    for (gint k = 0; k < t->call->n_out; k++) {
        g_autofree char *what = g_strdup_printf("%s: output %d", text, k);
        g_autoptr(TnTensor) got = tn_tensor_from(t->call->out[k], result_of(trial, t, k), NULL);
        ok = ok && tn_test_near(got, want[k], tn_call_tolerance(t->call, k), what);
        tn_tensor_unref(want[k]);
    }
    return ok;
}

static guint n_tried;

/* FALSE after recording a failure. */
static gboolean
attempt(const Try *t)
{
    g_autofree char *text = print_try(t);
    g_autoptr(GError) error = NULL;
    Trial trial;
    begin(&trial, t);
    gboolean ok = TRUE;
    const guint32 flags = trial.kernel != NULL ? trial.kernel->flags : 0;
    const gboolean strided = t->layout == CONTIGUOUS || flags & TN_KERNEL_STRIDED;
    const gboolean placed = t->place < 0 || flags & TN_KERNEL_IN_PLACE;
    if (trial.kernel != NULL && strided && placed) {
        n_tried++;
        const TnStatus status = run_kernel(&trial, t, &error);
        if (status != TN_OK) {
            TN_FAIL("%s: %s", text, error != NULL ? error->message : tn_status_name(status));
            ok = FALSE;
        } else if (!all_guards_hold(&trial)) {
            TN_FAIL("%s: wrote outside its memory", text);
            ok = FALSE;
        } else {
            ok = judge(&trial, t, text);
        }
    }
    trial_clear(&trial);
    return ok;
}

/* --- Walks ------------------------------------------------------------------------------------ */

static void
each_call(TnDtypes set, gboolean (*check)(const TnCall *call))
{
    open_devices();
    g_autoptr(GPtrArray) ops = tn_conformance_ops();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        const TnDtypes dtypes = tn_call_dtypes(op) & set;
        gboolean ok = TRUE;
        for (gint dtype = 1; dtype < TN_N_DTYPES; dtype++) {
            for (guint v = 0; tn_dtype_in((TnDtype)dtype, dtypes) && ok; v++) {
                TnCall call;
                if (!tn_call_make(&call, op, (TnDtype)dtype, v)) {
                    break;
                }
                ok = check(&call);
                tn_call_clear(&call);
            }
        }
    }
}

static gboolean
all_layouts(const TnCall *call, const char *kind)
{
    gboolean ok = TRUE;
    for (gint layout = 0; layout < N_LAYOUTS && ok; layout++) {
        const Try t = { call, kind, (Layout)layout, -1 };
        ok = attempt(&t);
    }
    return ok;
}

/* Of an element-wise operator any input of the output's type may become it; of others what in_place
 * says. */
static gboolean
all_places(const TnCall *call, const char *kind)
{
    const gboolean any = call->op->flags & TN_OP_ELEMENTWISE;
    gboolean ok = TRUE;
    for (gint i = 0; i < call->n_in && ok; i++) {
        const gboolean fits = tn_call_has(call, i) && tn_type_equal(&call->in[i], &call->out[0]);
        if (fits && (any || call->op->in_place & 1u << i)) {
            const Try t = { call, kind, CONTIGUOUS, i };
            ok = attempt(&t);
        }
    }
    return ok;
}

static gboolean
cpu_call(const TnCall *call)
{
    return all_layouts(call, "cpu") && all_places(call, "cpu");
}

static gboolean
ref_call(const TnCall *call)
{
    return all_layouts(call, "ref") && all_places(call, "ref");
}

static void
cpu(void)
{
    n_tried = 0;
    each_call(TN_DTYPES_ALL, cpu_call);
    if (g_getenv("TN_OP") == NULL) {
        TN_ASSERT_CMPUINT(n_tried, >, 5000);
    }
}

static void
ref(void)
{
    n_tried = 0;
    each_call(TN_DT(F32) | TN_DT(BF16) | TN_DT(I16) | TN_DT(U64) | TN_DT(BOOL), ref_call);
    if (g_getenv("TN_OP") == NULL) {
        TN_ASSERT_CMPUINT(n_tried, >, 3000);
    }
}

/* ref has a kernel for every primitive and dtype, cpu for f32 and f64 of every primitive. */
static gboolean
is_covered(const TnCall *call)
{
    const Try t = { call, "ref", CONTIGUOUS, -1 };
    const Try fast = { call, "cpu", CONTIGUOUS, -1 };
    g_autofree char *text = tn_call_print(call);
    const gboolean main = tn_dtype_in(call->dtype, TN_DT(F32) | TN_DT(F64));
    gboolean ok = TRUE;
    Trial trial;
    if (tn_op_is_composite(call->op) || call->op->flags & TN_OP_CONTROL) {
        return TRUE; /* the compiler runs the latter itself */
    }
    begin(&trial, &t);
    ok = trial.kernel != NULL;
    trial_clear(&trial);
    begin(&trial, &fast);
    ok = ok && (!main || trial.kernel != NULL);
    trial_clear(&trial);
    if (!ok) {
        TN_FAIL("%s: no kernel on ref, or on cpu", text);
    }
    return ok;
}

static void
coverage(void)
{
    each_call(TN_DTYPES_ALL, is_covered);
}

/* --- Special values --------------------------------------------------------------------------- */

/* Infinities, NaN, zeros of both signs, the ends of the range: element-wise kernels agree on them
 * too. */
static gboolean
special_values(const TnCall *call)
{
    static const double values[] = { 0,     -0.0,   1,    -1,    INFINITY, -INFINITY, NAN,
                                     1e-40, -1e-40, 3e38, -3e38, 88,       -88,       104,
                                     -104,  0.5,    -0.5, 1e-8,  -1e-8,    1e4,       -1e4 };
    const gsize n = G_N_ELEMENTS(values);
    TnType in[TN_MAX_IN];
    TnCall special;
    if (!(call->op->flags & TN_OP_ELEMENTWISE) || call->n_in < 1 || call->n_in > 2) {
        return TRUE;
    }
    for (gint i = 0; i < call->n_in; i++) {
        in[i] = tn_type(call->in[i].dtype, 2, (const gint64[]){ (gint64)n, (gint64)n });
    }
    if (call->variant > 0 || !tn_call_resize(&special, call, in)) {
        return TRUE;
    }
    for (gint i = 0; i < call->n_in; i++) {
        g_autofree double *grid = g_new(double, n *n);
        for (gsize k = 0; k < n * n; k++) {
            grid[k] = values[i == 0 ? k / n : k % n];
        }
        tn_tensor_unref(special.value[i]);
        special.value[i] = tn_test_tensor(in[i], grid);
    }
    const Try t = { &special, "cpu", CONTIGUOUS, -1 };
    const gboolean ok = attempt(&t);
    tn_call_clear(&special);
    return ok;
}

static void
specials(void)
{
    each_call(TN_DT(F32) | TN_DT(F64), special_values);
}

static const TnTest tests[] = {
    { "coverage", coverage },
    { "cpu", cpu },
    { "ref", ref },
    { "specials", specials },
};

TN_TEST_MAIN_WITH("conformance: kernels", tests, NULL, close_devices)
