/* Every operator's row: that it is whole, that defaults can be given again, that its samples hold
 * what the suite needs, that a composite which says so is element-wise to the last primitive, and
 * that wrong calls get messages. */
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#include <tenon/plugin.h>

#define CHECK(ok, ...) tn_test_check((ok), FALSE, __FILE__, __LINE__, __VA_ARGS__)

static GPtrArray *
operators(void)
{
    static gboolean open = FALSE;
    if (!open) {
        tn_conformance_open();
        open = TRUE;
    }
    return tn_conformance_ops();
}

static gboolean
is_line(const char *text)
{
    return text != NULL && *text != '\0' && strchr(text, '\n') == NULL &&
           !g_str_has_suffix(text, ".");
}

static gboolean
is_snake(const char *name)
{
    gboolean ok = g_ascii_islower(name[0]);
    for (const char *at = name; *at != '\0'; at++) {
        ok = ok && (g_ascii_islower(*at) || g_ascii_isdigit(*at) || *at == '_');
    }
    return ok;
}

static void
check_args(const TnOp *op, gboolean inputs)
{
    const guint n = inputs ? op->n_inputs : op->n_outputs;
    gboolean optional = FALSE;
    for (guint i = 0; i < n; i++) {
        const TnOpArg *row = inputs ? tn_op_input(op, (gint)i) : tn_op_output(op, (gint)i);
        const gboolean variadic = row->flags & TN_ARG_VARIADIC;
        CHECK(is_line(row->name) && is_line(row->help) && row->dtypes != 0, "%s: row of '%s'",
              op->name, row->name);
        CHECK(!variadic || i + 1 == n, "%s: '%s' is variadic and not the last", op->name,
              row->name);
        CHECK(row->n_kinks == 0 || row->gap > 0, "%s: '%s' has kinks without a gap", op->name,
              row->name);
        CHECK(!optional || row->flags & (TN_ARG_OPTIONAL | TN_ARG_VARIADIC) || !inputs ||
                  op->n_inputs > i + 1 || row->type != 0,
              "%s: '%s' follows an optional input", op->name, row->name);
        optional = optional || row->flags & TN_ARG_OPTIONAL;
    }
}

static void
rows(void)
{
    g_autoptr(GPtrArray) ops = operators();
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        CHECK(is_snake(op->name) && g_hash_table_add(names, (gpointer)op->name), "name '%s'",
              op->name);
        CHECK(is_line(op->help), "%s: help '%s'", op->name, op->help);
        CHECK(op->infer != NULL, "%s: no infer", op->name);
        CHECK(op->sample != NULL, "%s: no sample generator", op->name);
        CHECK(op->vjp != NULL || op->body != NULL || op->flags & TN_OP_NO_GRAD, "%s: no gradient",
              op->name);
        CHECK(op->n_outputs > 0, "%s: no output", op->name);
        CHECK(tn_op_find(op->name, NULL) == op, "%s: is not found by its name", op->name);
        check_args(op, TRUE);
        check_args(op, FALSE);
    }
}

/* A row's default in words is the value that an untouched struct has. */
static void
attributes(void)
{
    g_autoptr(GPtrArray) ops = operators();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        g_autofree char *data = g_malloc0(MAX(op->attrs.struct_size, 1));
        tn_options_defaults(&op->attrs, data);
        g_autofree char *text = tn_options_print(&op->attrs, data);
        CHECK(*text == '\0', "%s: defaults print as '%s'", op->name, text);
        for (guint32 k = 0; k < op->attrs.n; k++) {
            const TnOption *row = tn_options_row(&op->attrs, k);
            g_autofree char *told = tn_option_describe(row);
            CHECK(is_snake(row->name) && is_line(row->help) && *told != '\0', "%s: attribute '%s'",
                  op->name, row->name);
            CHECK(row->offset < op->attrs.struct_size, "%s: attribute '%s' lies outside", op->name,
                  row->name);
        }
        tn_options_drop(&op->attrs, data);
    }
}

/* --- Samples ---------------------------------------------------------------------------------- */

typedef struct {
    guint n;
    gboolean empty;
    guint64 changed; /* bit k: attribute k is not its default in some variant */
} Seen;

static void
look(const TnOp *op, const TnCall *call, Seen *seen)
{
    g_autofree char *data = g_malloc0(MAX(op->attrs.struct_size, 1));
    tn_options_defaults(&op->attrs, data);
    for (guint32 k = 0; k < op->attrs.n; k++) {
        const TnOption *row = tn_options_row(&op->attrs, k);
        g_autoptr(TnValue) dflt = tn_option_get(row, data);
        g_autoptr(TnValue) here = tn_option_get(row, call->attrs);
        seen->changed |= (guint64)!tn_value_equal(dflt, here) << k;
    }
    tn_options_drop(&op->attrs, data);
    seen->n++;
    seen->empty |= tn_call_is_empty(call);
}

/* Attributes that no sample needs to change: streams of random numbers come from names. */
static gboolean
may_stay(const TnOption *row)
{
    return strcmp(row->name, "stream") == 0 || row->type == TN_OPT_GRAPH;
}

static void
samples(void)
{
    g_autoptr(GPtrArray) ops = operators();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        Seen seen = { 0 };
        for (gint dtype = 1; dtype < TN_N_DTYPES; dtype++) {
            TnCall call;
            for (guint v = 0; tn_dtype_in((TnDtype)dtype, tn_call_dtypes(op)) &&
                              tn_call_make(&call, op, (TnDtype)dtype, v);
                 v++) {
                look(op, &call, &seen);
                tn_call_clear(&call);
            }
        }
        CHECK(seen.n >= 2, "%s: %u samples", op->name, seen.n);
        CHECK(seen.empty, "%s: no sample has a size of 0", op->name);
        for (guint32 k = 0; k < op->attrs.n; k++) {
            const TnOption *row = tn_options_row(&op->attrs, k);
            CHECK(seen.changed >> k & 1 || may_stay(row), "%s: no sample changes '%s'", op->name,
                  row->name);
        }
    }
}

/* --- Bodies ----------------------------------------------------------------------------------- */

static gboolean is_elementwise(const TnOp *op, const void *attrs, gint n_in, const TnType *in);

static gboolean
is_elementwise_graph(const TnGraph *graph, const char *whose)
{
    for (guint i = 0; i < tn_graph_n_nodes(graph); i++) {
        const TnOp *op = tn_graph_node_op(graph, i);
        const TnVal *in;
        TnType types[TN_MAX_IN] = { 0 };
        const gint n = tn_graph_node_inputs(graph, i, &in);
        for (gint k = 0; k < n; k++) {
            types[k] = tn_val_is_none(in[k]) ? types[k] : *tn_graph_type(graph, in[k]);
        }
        /* Values in a `like` input's shape stand for constants that could not be of rank 0. */
        const gboolean flat = op->flags & TN_OP_SOURCE || strcmp(op->name, "full_like") == 0;
        if (!flat && !is_elementwise(op, tn_graph_node_attrs(graph, i), n, types)) {
            TN_FAIL("%s: its body holds %s, which is not element-wise", whose, op->name);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
is_elementwise(const TnOp *op, const void *attrs, gint n_in, const TnType *in)
{
    if (!(op->flags & TN_OP_ELEMENTWISE) || !tn_op_is_composite(op)) {
        return op->flags & TN_OP_ELEMENTWISE;
    }
    g_autoptr(TnGraph) graph = tn_graph_new(op->name);
    g_autoptr(GError) error = NULL;
    TnVal args[TN_MAX_IN], out[TN_MAX_OUT];
    for (gint i = 0; i < n_in; i++) {
        g_autofree char *name = g_strdup_printf("x%d", i);
        args[i] = in[i].dtype != TN_DTYPE_NONE ? tn_graph_input(graph, name, in[i]) : TN_VAL_NONE;
    }
    TnBody body = { sizeof body, graph, op, attrs, n_in, args, (gint)op->n_outputs, out };
    if (!op->body(&body, &error) || !tn_graph_check(graph, &error)) {
        TN_FAIL("%s: body: %s", op->name, error->message);
        return FALSE;
    }
    return is_elementwise_graph(graph, op->name);
}

static void
elementwise(void)
{
    g_autoptr(GPtrArray) ops = operators();
    guint n = 0;
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        TnCall call;
        for (guint v = 0; op->flags & TN_OP_ELEMENTWISE && tn_op_is_composite(op) &&
                          tn_call_make(&call, op, TN_DTYPE_F32, v);
             v++) {
            const gboolean ok = is_elementwise(op, call.attrs, call.n_in, call.in);
            tn_call_clear(&call);
            n++;
            if (!ok) {
                break;
            }
        }
    }
    TN_ASSERT_CMPUINT(n, >=, 50);
}

/* --- Wrong calls ------------------------------------------------------------------------------ */

/* infer says no, in words that name the operator; it never reads what was not checked. */
static void
refused(const TnCall *call, gint n_in, const TnType *in, TnErrorCode code, const char *what)
{
    g_autoptr(GError) error = NULL;
    TnType out[TN_MAX_OUT];
    gint n_out = -1;
    const gboolean ok =
        tn_op_infer(call->op, call->attrs, "node", n_in, in, NULL, &n_out, out, &error);
    CHECK(!ok, "%s: accepts %s", call->op->name, what);
    if (!ok) {
        CHECK(error->code == (gint)code, "%s: %s: code %d: %s", call->op->name, what, error->code,
              error->message);
        TN_ASSERT_CONTAINS(error->message, call->op->name);
    }
}

static void
check_refusals(const TnCall *call)
{
    const TnOp *op = call->op;
    TnType in[TN_MAX_IN];
    memcpy(in, call->in, sizeof in);
    const TnOpArg *last = op->n_inputs > 0 ? tn_op_input(op, (gint)op->n_inputs - 1) : NULL;
    if (last != NULL && !(last->flags & TN_ARG_VARIADIC)) {
        refused(call, (gint)op->n_inputs + 1, in, TN_ERROR_USAGE, "an input too many");
    }
    for (gint i = 0; i < call->n_in; i++) {
        const TnOpArg *row = tn_op_input(op, i);
        if (!(row->flags & TN_ARG_OPTIONAL) && tn_call_has(call, i)) {
            in[i].dtype = TN_DTYPE_NONE;
            refused(call, call->n_in, in, TN_ERROR_USAGE, "no input where one must be");
            in[i] = call->in[i];
        }
        for (gint dtype = 1; dtype < TN_N_DTYPES && tn_call_has(call, i); dtype++) {
            if (!tn_dtype_in((TnDtype)dtype, row->dtypes)) {
                in[i].dtype = (TnDtype)dtype;
                refused(call, call->n_in, in, TN_ERROR_DTYPE, tn_dtype_name((TnDtype)dtype));
                in[i] = call->in[i];
            }
        }
        if (tn_call_has(call, i) && row->max_rank > 0 && row->max_rank < TN_MAX_RANK) {
            in[i].rank = row->max_rank + 1;
            in[i].dims[row->max_rank] = 1;
            refused(call, call->n_in, in, TN_ERROR_SHAPE, "a rank too many");
            in[i] = call->in[i];
        }
        if (tn_call_has(call, i) && row->min_rank > 0) {
            in[i].rank = row->min_rank - 1;
            refused(call, call->n_in, in, TN_ERROR_SHAPE, "a rank too few");
            in[i] = call->in[i];
        }
    }
}

static void
refusals(void)
{
    g_autoptr(GPtrArray) ops = operators();
    for (guint i = 0; i < ops->len; i++) {
        TnCall call;
        const TnOp *op = g_ptr_array_index(ops, i);
        const TnDtype dtype = (TnDtype)g_bit_nth_lsf(tn_call_dtypes(op), -1);
        if (tn_call_make(&call, op, dtype, 0)) {
            check_refusals(&call);
            tn_call_clear(&call);
        }
    }
}

/* How many operations a call takes is said, or known from its body, of everything but sorting and
 * loops that end when they want. */
static void
says_its_operations(void)
{
    static const char *const unknown[] = { "sort", "topk", "while" };
    g_autoptr(GPtrArray) ops = operators();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        gboolean known = TRUE;
        for (guint k = 0; k < G_N_ELEMENTS(unknown); k++) {
            known = known && strcmp(op->name, unknown[k]) != 0;
        }
        for (guint variant = 0;; variant++) {
            g_auto(TnCall) call = { 0 };
            const TnDtype dtype =
                tn_dtype_in(TN_DTYPE_F32, tn_call_dtypes(op)) ? TN_DTYPE_F32 : TN_DTYPE_NONE;
            if (dtype == TN_DTYPE_NONE || !tn_call_make(&call, op, dtype, variant)) {
                break;
            }
            const double flops =
                tn_op_flops(op, call.attrs, call.n_in, call.in, call.n_out, call.out);
            CHECK((flops >= 0) == known, "%s, variant %u: %g operations", op->name, variant, flops);
        }
    }
}

static const TnTest tests[] = {
    { "says its operations", says_its_operations },
    { "rows", rows },
    { "attributes", attributes },
    { "samples", samples },
    { "elementwise", elementwise },
    { "refusals", refusals },
};

TN_TEST_MAIN("conformance: schemas", tests)
