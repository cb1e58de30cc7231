/* Gradients where finite differences cannot judge them: at kinks, ties, zeros, equal indices, sizes
 * of 0. Expected numbers are worked out by hand. */
#include "tn_graphs.h"

#include <tenon/ops.h>
#include <tn_test.h>

typedef TnVal (*Formula)(TnGraph *graph, const TnVal *x);

typedef struct {
    const char *name;
    Formula formula;
    gint n; /* inputs */
    TnShape shape[2];
    double x[2][8];
    double seed[8];    /* of the formula's result */
    double want[2][8]; /* the inputs' gradients */
    gint order; /* 2: gradient of the first gradient's sum, seed for the result ones; 0 means 1 */
} Point;

/* --- Formulas -------------------------------------------------------------------------------- */

#define BINARY(op)                                                                                 \
    static TnVal op##_(TnGraph *graph, const TnVal *x)                                             \
    {                                                                                              \
        return tn_f_##op(graph, x[0], x[1]);                                                       \
    }
BINARY(pow)
BINARY(max)
BINARY(add)
BINARY(div)
BINARY(matmul)

static TnVal
abs_(TnGraph *graph, const TnVal *x)
{
    return tn_f_abs(graph, x[0]);
}

static TnVal
square(TnGraph *graph, const TnVal *x)
{
    return tn_f_pow(graph, x[0], tn_f_const(graph, x[0], 2));
}

static TnVal
reduced(TnGraph *graph, const char *op, TnVal x)
{
    const TnReduceAttrs attrs = { { 1, { -1 } }, FALSE };
    return tn_graph_op(graph, op, &attrs, 1, &x, NULL);
}

static TnVal
largest(TnGraph *graph, const TnVal *x)
{
    return reduced(graph, "reduce_max", x[0]);
}

static TnVal
product(TnGraph *graph, const TnVal *x)
{
    return reduced(graph, "reduce_prod", x[0]);
}

static TnVal
sorted(TnGraph *graph, const TnVal *x)
{
    return tn_graph_op(graph, "sort", NULL, 1, x, NULL);
}

/* Elements 2, 0, 2 and -1 (the last). */
static TnVal
indices(TnGraph *graph)
{
    const gint64 places[] = { 2, 0, 2, -1 };
    const gint64 n[] = { 4 };
    g_autoptr(TnTensor) tensor = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, n), places, NULL);
    return tn_graph_constant(graph, tensor);
}

static TnVal
gathered(TnGraph *graph, const TnVal *x)
{
    return tn_graph_op(graph, "gather", NULL, 2, (const TnVal[]){ x[0], indices(graph) }, NULL);
}

static TnVal
added_at(TnGraph *graph, const TnVal *x)
{
    const TnVal in[] = { x[0], indices(graph), x[1] };
    return tn_graph_op(graph, "scatter_add", NULL, 3, in, NULL);
}

static TnVal
overwritten(TnGraph *graph, const TnVal *x)
{
    const gint64 places[] = { 2, 0 };
    const gint64 n[] = { 2 };
    g_autoptr(TnTensor) tensor = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, n), places, NULL);
    const TnVal in[] = { x[0], tn_graph_constant(graph, tensor), x[1] };
    return tn_graph_op(graph, "scatter_elements", NULL, 3, in, NULL);
}

/* The second of three parts: the others have no gradient. */
static TnVal
one_part(TnGraph *graph, const TnVal *x)
{
    const TnSplitAttrs attrs = { .num_outputs = 3 };
    TnVal out[TN_MAX_OUT];
    tn_graph_op(graph, "split", &attrs, 1, x, out);
    return out[1];
}

static TnVal
remainder_(TnGraph *graph, const TnVal *x)
{
    return tn_graph_op(graph, "mod", NULL, 2, x, NULL);
}

static TnVal
chosen(TnGraph *graph, const TnVal *x)
{
    const TnVal positive = tn_f_greater(graph, x[0], tn_f_const(graph, x[0], 0));
    return tn_f_where(graph, positive, tn_f_sqrt(graph, x[1]), x[0]);
}

static TnVal
pooled(TnGraph *graph, const TnVal *x)
{
    const TnWindowAttrs attrs = { .kernel_shape = { 1, { 2 } } };
    return reduced(graph, "reduce_max", tn_graph_op(graph, "window", &attrs, 1, x, NULL));
}

/* --- Points ---------------------------------------------------------------------------------- */

#define S(...)                                                                                     \
    {                                                                                              \
        G_N_ELEMENTS(((const gint64[]){ __VA_ARGS__ })),                                           \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define RANK0                                                                                      \
    {                                                                                              \
        0,                                                                                         \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
static const Point points[] = {
    /* d a^b / da = b a^(b-1), d / db = a^b log a, both 0 at 0^0 and 0^2, infinite at 0^-1. */
    { .name = "pow",
      .formula = pow_,
      .n = 2,
      .shape = { S(7), S(7) },
      .x = { { 0, 0, -2, 2, 0, 0, -0.0 }, { 0, 2, 3, 0, 1, -1, -1 } },
      .seed = { 1, 1, 1, 1, 1, 1, 1 },
      .want = { { 0, 0, 12, 0, 1, -INFINITY, -INFINITY },
                { 0, 0, G_MAXDOUBLE, 0.69314718055994531, 0, -INFINITY, INFINITY } } },
    { .name = "square at 0",
      .formula = square,
      .n = 1,
      .shape = { S(2) },
      .x = { { 0, -3 } },
      .seed = { 1, 2 },
      .want = { { 0, -12 } } },
    { .name = "square, twice",
      .formula = square,
      .n = 1,
      .shape = { S(2) },
      .x = { { 0, -3 } },
      .want = { { 2, 2 } },
      .order = 2 },
    { .name = "abs",
      .formula = abs_,
      .n = 1,
      .shape = { S(3) },
      .x = { { 0, -1, 2 } },
      .seed = { 1, 1, 1 },
      .want = { { 0, -1, 1 } } },
    { .name = "max of equals",
      .formula = max_,
      .n = 2,
      .shape = { S(3), S(3) },
      .x = { { 1, 2, 3 }, { 1, 3, 2 } },
      .seed = { 1, 1, 1 },
      .want = { { 0.5, 0, 1 }, { 0.5, 1, 0 } } },
    { .name = "max with a scalar",
      .formula = max_,
      .n = 2,
      .shape = { S(3), RANK0 },
      .x = { { -1, 0, 2 }, { 0 } },
      .seed = { 4, 2, 3 },
      .want = { { 0, 1, 3 }, { 5 } } },
    { .name = "reduce_max of equals",
      .formula = largest,
      .n = 1,
      .shape = { S(2, 3) },
      .x = { { 3, 1, 3, 2, 2, 2 } },
      .seed = { 1, 6 },
      .want = { { 0.5, 0, 0.5, 2, 2, 2 } } },
    { .name = "reduce_prod with zeros",
      .formula = product,
      .n = 1,
      .shape = { S(2, 3) },
      .x = { { 2, 0, 3, 0, 0, 3 } },
      .seed = { 1, 1 },
      .want = { { 0, 6, 0, 0, 0, 0 } } },
    { .name = "reduce_prod",
      .formula = product,
      .n = 1,
      .shape = { S(3) },
      .x = { { 2, 3, 4 } },
      .seed = { 10 },
      .want = { { 120, 80, 60 } } },
    { .name = "sort of equals",
      .formula = sorted,
      .n = 1,
      .shape = { S(4) },
      .x = { { 2, 1, 2, 0 } },
      .seed = { 1, 2, 3, 4 },
      .want = { { 3, 2, 4, 1 } } },
    { .name = "gather twice",
      .formula = gathered,
      .n = 1,
      .shape = { S(3) },
      .x = { { 5, 6, 7 } },
      .seed = { 1, 2, 4, 8 },
      .want = { { 2, 0, 13 } } },
    { .name = "scatter_add",
      .formula = added_at,
      .n = 2,
      .shape = { S(3), S(4) },
      .x = { { 5, 6, 7 }, { 1, 1, 1, 1 } },
      .seed = { 1, 2, 4 },
      .want = { { 1, 2, 4 }, { 4, 1, 4, 4 } } },
    { .name = "scatter_elements",
      .formula = overwritten,
      .n = 2,
      .shape = { S(3), S(2) },
      .x = { { 5, 6, 7 }, { 1, 2 } },
      .seed = { 1, 2, 4 },
      .want = { { 0, 2, 0 }, { 4, 1 } } },
    { .name = "one part",
      .formula = one_part,
      .n = 1,
      .shape = { S(6) },
      .x = { { 1, 2, 3, 4, 5, 6 } },
      .seed = { 7, 8 },
      .want = { { 0, 0, 7, 8, 0, 0 } } },
    /* -floor(a / b): 7 / 3 gives 2, -7 / 3 gives -3. */
    { .name = "mod",
      .formula = remainder_,
      .n = 2,
      .shape = { S(2), S(2) },
      .x = { { 7, -7 }, { 3, 3 } },
      .seed = { 1, 1 },
      .want = { { 1, 1 }, { -2, 3 } } },
    /* The branch that is not chosen gets 0, whatever its own derivative is there. */
    { .name = "where",
      .formula = chosen,
      .n = 2,
      .shape = { S(2), S(2) },
      .x = { { 1, -1 }, { 4, 0.25 } },
      .seed = { 1, 3 },
      .want = { { 0, 3 }, { 0.25, 0 } } },
    { .name = "windows with equals",
      .formula = pooled,
      .n = 1,
      .shape = { S(4) },
      .x = { { 1, 1, 0, 2 } },
      .seed = { 2, 4, 8 },
      .want = { { 1, 5, 0, 8 } } },
    { .name = "division",
      .formula = div_,
      .n = 2,
      .shape = { S(2), RANK0 },
      .x = { { 3, 5 }, { 2 } },
      .seed = { 1, 2 },
      .want = { { 0.5, 1 }, { -3.25 } } },
    { .name = "bias of nothing",
      .formula = add_,
      .n = 2,
      .shape = { S(0, 3), S(3) },
      .x = { { 0 }, { 1, 2, 3 } },
      .want = { { 0 }, { 0, 0, 0 } } },
    { .name = "product over nothing",
      .formula = matmul_,
      .n = 2,
      .shape = { S(2, 0), S(0, 3) },
      .seed = { 1, 1, 1, 1, 1, 1 },
      .want = { { 0 } } },
    { .name = "weights of no rows",
      .formula = matmul_,
      .n = 2,
      .shape = { S(0, 2), S(2, 1) },
      .x = { { 0 }, { 1, 2 } },
      .want = { { 0 }, { 0, 0 } } },
};

/* --- The test -------------------------------------------------------------------------------- */

static TnType
shape_type(const TnShape *shape)
{
    return tn_type(TN_DTYPE_F64, shape->rank, shape->dims);
}

static gboolean
build(TnGraph *graph, const Point *point, GError **error)
{
    TnVal x[2], grad[2];
    for (gint i = 0; i < point->n; i++) {
        x[i] = tn_graph_input(graph, i == 0 ? "x0" : "x1", shape_type(&point->shape[i]));
    }
    TnVal y = point->formula(graph, x);
    if (point->order == 2) {
        if (!tn_grad(graph, y, TN_VAL_NONE, 1, x, &y, error)) {
            return FALSE;
        }
        tn_graph_input(graph, "seed", *tn_graph_type(graph, y));
    }
    const TnType type = *tn_graph_type(graph, y);
    const TnVal seed = point->order == 2 ? TN_VAL_NONE : tn_graph_input(graph, "seed", type);
    if (!tn_grad(graph, y, seed, point->n, x, grad, error)) {
        return FALSE;
    }
    for (gint i = 0; i < point->n; i++) {
        tn_graph_output(graph, i == 0 ? "g0" : "g1", grad[i]);
    }
    return tn_graph_check(graph, error);
}

/* G_MAXDOUBLE stands for NaN: the logarithm of a negative base. */
static void
compare(const Point *point, gint i, TnTensor *got)
{
    for (gint64 k = 0; k < tn_tensor_count(got); k++) {
        const double want = point->want[i][k];
        const double value = tn_tensor_get(got, k);
        const gboolean same =
            want == G_MAXDOUBLE
                ? value != value
                : value == want || ABS(value - want) <= 1e-12 * (1 + MIN(ABS(want), G_MAXDOUBLE));
        tn_test_check(same, FALSE, __FILE__, __LINE__, "%s, input %d, element %d: %g, not %g",
                      point->name, i, (gint)k, value, want);
    }
}

static void
check_point(TnContext *context, const Point *point)
{
    g_autoptr(TnGraph) graph = tn_graph_new(point->name);
    g_autoptr(GError) error = NULL;
    TnTensor *in[3] = { NULL };
    TnTensor *out[2] = { NULL };
    if (!build(graph, point, &error)) {
        TN_FAIL("%s: %s", point->name, error->message);
        return;
    }
    for (gint i = 0; i < point->n; i++) {
        in[i] = tn_tensor_from(shape_type(&point->shape[i]), point->x[i], NULL);
    }
    const TnVal seed = tn_graph_input_at(graph, (guint)point->n, NULL);
    in[point->n] = tn_tensor_from(*tn_graph_type(graph, seed), point->seed, NULL);
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    if (tn_function_call(function, (guint)point->n + 1, in, out, &error)) {
        for (gint i = 0; i < point->n; i++) {
            compare(point, i, out[i]);
            tn_tensor_unref(out[i]);
        }
    } else {
        TN_FAIL("%s: %s", point->name, error->message);
    }
    for (gint i = 0; i <= point->n; i++) {
        tn_tensor_unref(in[i]);
    }
}

static void
on_device(const char *device)
{
    g_autoptr(TnContext) context = tn_test_context(device, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(points); i++) {
        check_point(context, &points[i]);
    }
}

static void
ref(void)
{
    on_device("ref");
}

static void
cpu(void)
{
    on_device("cpu");
}

static const TnTest tests[] = { { "ref", ref }, { "cpu", cpu } };
TN_TEST_MAIN("ops/points", tests)
