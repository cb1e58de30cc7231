/* control.c: if, while, scan: operators that run sub-graphs. What the graph builder makes of them is in
 * kernel/graph/nested.c, how they run in kernel/exec/control.c, their gradients in control-grad.c. */
#include "graph/graph-private.h"
#include "ops-private.h"

static const TnOption if_rows[] = {
    TN_ATTR(TnIfAttrs, then_branch, TN_OPT_GRAPH, "run if the condition holds"),
    TN_ATTR(TnIfAttrs, else_branch, TN_OPT_GRAPH, "run otherwise"),
};
static const TnOption while_rows[] = {
    TN_ATTR(TnWhileAttrs, body, TN_OPT_GRAPH, "gives the next condition and states"),
};
static const TnOption scan_rows[] = {
    TN_ATTR(TnScanAttrs, body, TN_OPT_GRAPH, "gives the next states, and what is stacked"),
    TN_ATTR(TnScanAttrs, num_states, TN_OPT_INT64, "values that go from step to step",
            TN_RANGE_I(0, TN_MAX_IN)),
    TN_ATTR(TnScanAttrs, num_scan_inputs, TN_OPT_INT64, "inputs of which each step gets a slice",
            TN_RANGE_I(0, TN_MAX_IN)),
    TN_ATTR(TnScanAttrs, reverse, TN_OPT_BOOL, "from the last slice to the first"),
    TN_ATTR(TnScanAttrs, save, TN_OPT_BOOL,
            "whether the states before each step are given, stacked"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

static const char *
input_name(const TnGraph *graph, guint i)
{
    return g_array_index(graph->inputs, TnGraphPort, i).name;
}

/* Types of the sub-graph's outputs at in[n]. */
static gboolean
infer_body(const TnGraph *graph, gint n, const TnType *in, TnType *out, GError **error)
{
    TnGraphTypes types;
    if (graph == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "a sub-graph is missing");
        return FALSE;
    }
    if ((guint)MAX(n, 0) != graph->inputs->len || graph->outputs->len > TN_MAX_OUT ||
        graph->variables->len > 0) {
        g_set_error(
            error, TN_ERROR, TN_ERROR_USAGE,
            "sub-graph '%s' takes %u inputs, got %d (and has %u outputs, %u variables of its own)",
            graph->name, graph->inputs->len, n, graph->outputs->len, graph->variables->len);
        return FALSE;
    }
    if (!tn_graph_infer(graph, in, NULL, &types, error)) {
        return FALSE;
    }
    for (guint k = 0; k < graph->outputs->len; k++) {
        out[k] = *tn_graph_types_at(&types, tn_graph_output_at(graph, k, NULL));
    }
    tn_graph_types_clear(&types);
    return TRUE;
}

/* States keep their types: otherwise the next step would be another program. */
static gboolean
check_states(const TnGraph *graph, gint n, const TnType *before, const TnType *after,
             GError **error)
{
    for (gint i = 0; i < n; i++) {
        if (!tn_type_equal(&before[i], &after[i])) {
            g_autofree char *from = tn_type_print(&before[i]), *to = tn_type_print(&after[i]);
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "state %d '%s' is %s before a step and %s after it; it must keep its type",
                        i, input_name(graph, (guint)i), from, to);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
is_condition(const TnType *type)
{
    return type->dtype == TN_DTYPE_BOOL && type->rank == 0;
}

static gboolean
if_infer(TnInfer *infer, GError **error)
{
    const TnIfAttrs *attrs = infer->attrs;
    TnType other[TN_MAX_OUT];
    if (!is_condition(&infer->in[0])) {
        return tn_infer_fail(infer, 0, error, "must be bool[]");
    }
    if (!infer_body(attrs->then_branch, infer->n_in - 1, infer->in + 1, infer->out, error) ||
        !infer_body(attrs->else_branch, infer->n_in - 1, infer->in + 1, other, error)) {
        return FALSE;
    }
    infer->n_out = (gint)attrs->then_branch->outputs->len;
    if (attrs->else_branch->outputs->len != attrs->then_branch->outputs->len) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "the branches give %d and %u values",
                    infer->n_out, attrs->else_branch->outputs->len);
        return FALSE;
    }
    for (gint k = 0; k < infer->n_out; k++) {
        if (!tn_type_equal(&infer->out[k], &other[k])) {
            g_autofree char *a = tn_type_print(&infer->out[k]), *b = tn_type_print(&other[k]);
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "output %d is %s of one branch and %s of the other", k, a, b);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
while_infer(TnInfer *infer, GError **error)
{
    const TnGraph *body = ((const TnWhileAttrs *)infer->attrs)->body;
    TnType out[TN_MAX_OUT];
    if (!is_condition(&infer->in[0])) {
        return tn_infer_fail(infer, 0, error, "must be bool[]");
    }
    if (!infer_body(body, infer->n_in - 1, infer->in + 1, out, error)) {
        return FALSE;
    }
    infer->n_out = (gint)body->outputs->len - 1;
    if (infer->n_out < 0 || infer->n_out >= infer->n_in || !is_condition(&out[0])) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "the body must give a condition bool[], then the states");
        return FALSE;
    }
    memcpy(infer->out, out + 1, sizeof(TnType) * (gsize)infer->n_out);
    return check_states(body, infer->n_out, infer->in + 1, infer->out, error);
}

/* A slice of each scan input in in[n]; *steps: how many. */
static gboolean
slice_inputs(const TnInfer *infer, TnType *in, gint64 *steps, GError **error)
{
    const TnScanAttrs *attrs = infer->attrs;
    const gint first = (gint)attrs->num_states, end = first + (gint)attrs->num_scan_inputs;
    for (gint i = first; i < end; i++) {
        TnType *type = &in[i];
        if (type->rank < 1) {
            return tn_infer_fail(infer, i, error, "a scan input has an axis of steps");
        }
        if (i > first && type->dims[0] != *steps) {
            return tn_infer_fail2(infer, first, i, error, "scan inputs differ in their first axis");
        }
        *steps = type->dims[0];
        *type = tn_type(type->dtype, type->rank - 1, type->dims + 1);
    }
    return TRUE;
}

static gboolean
stacked(TnType *type, gint64 steps, GError **error)
{
    if (type->rank == TN_MAX_RANK) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "a stack of values of rank %d", TN_MAX_RANK);
        return FALSE;
    }
    gint64 dims[TN_MAX_RANK] = { steps };
    memcpy(dims + 1, type->dims, sizeof(gint64) * (gsize)type->rank);
    *type = tn_type(type->dtype, type->rank + 1, dims);
    return TRUE;
}

static gboolean
scan_infer(TnInfer *infer, GError **error)
{
    const TnScanAttrs *attrs = infer->attrs;
    const gint n = (gint)attrs->num_states,
               n_body = attrs->body ? (gint)attrs->body->outputs->len : 0;
    TnType in[TN_MAX_IN];
    gint64 steps = 0;
    if (attrs->num_scan_inputs < 1 || n + attrs->num_scan_inputs > infer->n_in || n_body < n) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "%d states and %" G_GINT64_FORMAT
                    " scan inputs (at least one) of %d inputs, and %d outputs of the body",
                    n, attrs->num_scan_inputs, infer->n_in, n_body);
        return FALSE;
    }
    memcpy(in, infer->in, sizeof(TnType) * (gsize)infer->n_in);
    if (!slice_inputs(infer, in, &steps, error) ||
        !infer_body(attrs->body, infer->n_in, in, infer->out, error) ||
        !check_states(attrs->body, n, infer->in, infer->out, error)) {
        return FALSE;
    }
    infer->n_out = n_body + (attrs->save ? n : 0);
    for (gint k = n; k < infer->n_out && k < TN_MAX_OUT; k++) {
        infer->out[k] = k < n_body ? infer->out[k] : infer->out[k - n_body];
        if (!stacked(&infer->out[k], steps, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* --- Operations ------------------------------------------------------------------------------- */

/* Those of a sub-graph at other types than it was built with. */
static double
body_flops(const TnGraph *graph, const TnType *in)
{
    TnGraphTypes types;
    double sum = 0;
    if (graph == NULL || !tn_graph_infer(graph, in, NULL, &types, NULL)) {
        return TN_FLOPS_UNKNOWN;
    }
    for (guint i = 0; i < graph->nodes->len && sum >= 0; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        TnType args[TN_MAX_IN] = { 0 };
        for (gint k = 0; k < node->n_in; k++) {
            if (!tn_val_is_none(node->in[k])) {
                args[k] = *tn_graph_types_at(&types, node->in[k]);
            }
        }
        const double flops = tn_op_flops(node->op, node->attrs, node->n_in, args, node->n_out,
                                         tn_graph_types_at(&types, (TnVal){ i, 0 }));
        sum = flops < 0 ? TN_FLOPS_UNKNOWN : sum + flops;
    }
    tn_graph_types_clear(&types);
    return sum;
}

/* Of the branch that takes more. */
static double
if_flops(const TnFlops *call)
{
    const TnIfAttrs *attrs = call->attrs;
    const double a = body_flops(attrs->then_branch, call->in + 1);
    const double b = body_flops(attrs->else_branch, call->in + 1);
    return MIN(a, b) < 0 ? TN_FLOPS_UNKNOWN : MAX(a, b);
}

static double
scan_flops(const TnFlops *call)
{
    const TnScanAttrs *attrs = call->attrs;
    const gint first = (gint)attrs->num_states, end = first + (gint)attrs->num_scan_inputs;
    TnType in[TN_MAX_IN];
    memcpy(in, call->in, sizeof(TnType) * (gsize)call->n_in);
    for (gint i = first; i < end; i++) {
        in[i] = tn_type(in[i].dtype, in[i].rank - 1, in[i].dims + 1);
    }
    const double flops = body_flops(attrs->body, in);
    return flops < 0 ? TN_FLOPS_UNKNOWN : flops * (double)call->in[first].dims[0];
}

/* --- Samples ---------------------------------------------------------------------------------- */

/* condition, x, y, which may broadcast: x * y and x + y, or x + y and x * y. */
static gboolean
if_sample(TnSample *sample)
{
    const guint variant = sample->variant;
    TnIfAttrs *attrs = sample->attrs;
    sample->variant /= 2;
    const gboolean made = tn_sample_binary(sample);
    sample->variant = variant;
    if (!made) {
        return FALSE;
    }
    TnGraph *branches[2];
    for (gint b = 0; b < 2; b++) {
        TnGraph *graph = branches[b] = tn_graph_new("sample");
        const TnVal x = tn_graph_input(graph, "x", sample->in[0]);
        const TnVal y = tn_graph_input(graph, "y", sample->in[1]);
        const TnVal out[] = { tn_f_mul(graph, x, y), tn_f_add(graph, x, y) };
        tn_graph_output(graph, "a", out[b]);
        tn_graph_output(graph, "b", out[1 - b]);
    }
    *attrs = (TnIfAttrs){ branches[0], branches[1] };
    sample->in[2] = sample->in[1];
    sample->in[1] = sample->in[0];
    sample->in[0] = tn_type(TN_DTYPE_BOOL, 0, NULL);
    sample->value[0] = tn_tensor_scalar(TN_DTYPE_BOOL, variant % 2);
    sample->n_in = 3;
    return TRUE;
}

/* From x [3], n []: x = x * w while the sum of n and steps is below 4. */
static gboolean
while_sample(TnSample *sample)
{
    static const gint64 sizes[] = { 3, 1, 0 };
    TnWhileAttrs *attrs = sample->attrs;
    if (sample->variant >= 2 * G_N_ELEMENTS(sizes)) {
        return FALSE;
    }
    const TnType x = tn_type(sample->dtype, 1, &sizes[sample->variant / 2]);
    const TnType n = tn_type(TN_DTYPE_I64, 0, NULL);
    TnGraph *graph = attrs->body = tn_graph_new("sample");
    const TnVal in[] = { tn_graph_input(graph, "x", x), tn_graph_input(graph, "n", n),
                         tn_graph_input(graph, "w", x) };
    const TnVal next = tn_f_add(graph, in[1], tn_f_const(graph, in[1], 1));
    tn_graph_output(graph, "go", tn_f_less(graph, next, tn_f_const(graph, next, 4)));
    tn_graph_output(graph, "x", tn_f_mul(graph, in[0], in[2]));
    tn_graph_output(graph, "n", next);
    sample->in[0] = tn_type(TN_DTYPE_BOOL, 0, NULL);
    sample->in[1] = sample->in[3] = x;
    sample->in[2] = n;
    sample->n_in = 4;
    sample->value[0] = tn_tensor_scalar(TN_DTYPE_BOOL, sample->variant % 2 == 0);
    sample->value[2] = tn_tensor_scalar(TN_DTYPE_I64, 1);
    return TRUE;
}

/* h = h * w + x from h [3] over x [steps, 3], with h * x stacked. */
static gboolean
scan_sample(TnSample *sample)
{
    static const gint64 sizes[][2] = { { 4, 3 }, { 1, 2 }, { 5, 0 }, { 0, 2 } };
    TnScanAttrs *attrs = sample->attrs;
    if (sample->variant >= 4 * G_N_ELEMENTS(sizes)) {
        return FALSE;
    }
    const gint64 *dims = sizes[sample->variant / 4];
    const TnType h = tn_type(sample->dtype, 1, dims + 1);
    TnGraph *graph = tn_graph_new("sample");
    const TnVal in[] = { tn_graph_input(graph, "h", h), tn_graph_input(graph, "x", h),
                         tn_graph_input(graph, "w", h) };
    tn_graph_output(graph, "h", tn_f_add(graph, tn_f_mul(graph, in[0], in[2]), in[1]));
    tn_graph_output(graph, "y", tn_f_mul(graph, in[0], in[1]));
    *attrs = (TnScanAttrs){ graph, 1, 1, sample->variant % 2, sample->variant % 4 < 2 };
    sample->in[0] = sample->in[2] = h;
    sample->in[1] = tn_type(sample->dtype, 2, dims);
    sample->n_in = 3;
    return TRUE;
}

static const TnPrimitive rows[] = {
    { .op = { TN_OP("if", "If", "One of two sub-graphs"), .flags = TN_OP_CONTROL,
              TN_INPUTS(TN_ARG_ROW("condition", 0, TN_BOOL, "[]", .flags = TN_ARG_NO_GRAD),
                        TN_ARG_ROW("x", 0, TN_DTYPES_ALL, "inputs of both branches",
                                   .flags = TN_ARG_VARIADIC)),
              TN_OUTPUTS(TN_ARG_ROW("out", 0, TN_DTYPES_ALL, "outputs of the branch",
                                    .flags = TN_ARG_VARIADIC)),
              .attrs = TN_OPTIONS(TnIfAttrs, if_rows), .infer = if_infer, .vjp = tn_control_if_vjp,
              .sample = if_sample, .flops = if_flops } },
    { .op = { TN_OP("while", "Loop", "A sub-graph, again and again while a condition holds"),
              .flags = TN_OP_CONTROL,
              TN_INPUTS(TN_ARG_ROW("condition", 0, TN_BOOL, "[]: whether to begin",
                                   .flags = TN_ARG_NO_GRAD),
                        TN_ARG_ROW("x", 0, TN_DTYPES_ALL, "states, then captures",
                                   .flags = TN_ARG_VARIADIC)),
              TN_OUTPUTS(
                  TN_ARG_ROW("out", 0, TN_DTYPES_ALL, "the last states", .flags = TN_ARG_VARIADIC)),
              .attrs = TN_OPTIONS(TnWhileAttrs, while_rows), .infer = while_infer,
              .vjp = tn_control_while_vjp, .sample = while_sample } },
    { .op = { TN_OP("scan", "Scan", "A sub-graph for each slice of its inputs, with states"),
              .flags = TN_OP_CONTROL,
              TN_INPUTS(TN_ARG_ROW("x", 0, TN_DTYPES_ALL, "states, scan inputs [n, …], captures",
                                   .flags = TN_ARG_VARIADIC)),
              TN_OUTPUTS(TN_ARG_ROW("out", 0, TN_DTYPES_ALL,
                                    "the last states, stacks [n, …], saved states",
                                    .flags = TN_ARG_VARIADIC)),
              .attrs = TN_OPTIONS(TnScanAttrs, scan_rows), .infer = scan_infer,
              .vjp = tn_control_scan_vjp, .sample = scan_sample, .flops = scan_flops } },
};

const TnFamily tn_family_control = { rows, G_N_ELEMENTS(rows) };
