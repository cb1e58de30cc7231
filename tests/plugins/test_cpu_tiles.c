/* The tile interpreter of the cpu device: groups of operators in one program against the operators
 * alone, in place, with every length of tail, with strides of 0 and below, with mixed dtypes. */
#include "cpu_run.h"

#include <tenon/graph.h>

/* A group to be compiled: a graph over inputs of these types. */
typedef TnVal (*Build)(TnGraph *graph, const TnVal *in, TnVal *second);

static TnVal
unary(TnGraph *graph, const char *op, TnVal x)
{
    return tn_graph_op(graph, op, NULL, 1, &x, NULL);
}

/* Adam's moments: two outputs, each of which may lie over an input. */
static TnVal
moments(TnGraph *graph, const TnVal *in, TnVal *second)
{
    TnVal m = tn_f_add(graph, tn_f_mul(graph, in[0], tn_f_const(graph, in[0], 0.9)),
                       tn_f_mul(graph, in[1], tn_f_const(graph, in[1], 0.1)));
    *second =
        tn_f_add(graph, tn_f_mul(graph, in[2], tn_f_const(graph, in[2], 0.99)),
                 tn_f_mul(graph, tn_f_mul(graph, in[1], in[1]), tn_f_const(graph, in[1], 0.01)));
    return m;
}

/* Each output is the other input: in place they change places. */
static TnVal
exchange(TnGraph *graph, const TnVal *in, TnVal *second)
{
    *second = unary(graph, "identity", in[0]);
    return unary(graph, "identity", in[1]);
}

/* A truth value, a selection, a conversion to integers and back. */
static TnVal
mixed(TnGraph *graph, const TnVal *in, TnVal *second)
{
    TnVal above = tn_f_greater(graph, in[0], in[1]);
    TnVal whole =
        tn_f_cast(graph, tn_f_mul(graph, in[0], tn_f_const(graph, in[0], 3)), TN_DTYPE_I8);
    *second = tn_f_where(graph, above, tn_f_cast(graph, whole, TN_DTYPE_F32), in[2]);
    return tn_f_mul(graph, tn_f_exp(graph, in[0]), tn_f_cast(graph, above, TN_DTYPE_F32));
}

/* The first output is written before the input it may lie over is read for the last time. */
static TnVal
late_reader(TnGraph *graph, const TnVal *in, TnVal *second)
{
    TnVal sum = tn_f_add(graph, in[0], in[1]);
    *second = tn_f_sub(graph, tn_f_mul(graph, in[0], in[2]), in[1]);
    return sum;
}

/* Small numbers; among whole ones, some of the dtype's whole range. */
static void
fill(Array *array, guint64 *state)
{
    const TnDtypeInfo *info = tn_dtype_info(array->arg.type.dtype);
    for (gint64 i = 0; i < array->arg.count; i++) {
        array_set(array, i, noise_unit(state) * 4 - 2);
        if (i % 3 == 0 && (info->klass == TN_CLASS_INT || info->klass == TN_CLASS_UINT)) {
            const guint64 word = noise(state);
            memcpy(array_at(array, i), &word, info->bits / 8);
        }
    }
}

/* The group's outputs computed node by node on ref. */
static void
expected(const TnGraph *graph, const Array *in, TnVal wanted, Array *out)
{
    guint n = tn_graph_n_nodes(graph);
    g_autofree Array *values = g_new0(Array, n);
    for (guint i = 0; i < n; i++) {
        const TnOp *op = tn_graph_node_op(graph, i);
        const TnVal *from;
        gint n_in = tn_graph_node_inputs(graph, i, &from), n_out = 1;
        Array args[4];
        for (gint k = 0; k < n_in; k++) {
            args[k] = values[from[k].node];
        }
        if (strcmp(op->name, "input") == 0) {
            for (guint k = 0; k < tn_graph_n_inputs(graph); k++) {
                if (tn_graph_input_at(graph, k, NULL).node == i) {
                    values[i] = array_copy(&in[k], NULL);
                }
            }
        } else if (strcmp(op->name, "constant") == 0) {
            const TnConstantAttrs *attrs = tn_graph_node_attrs(graph, i);
            values[i] = array_new(*tn_tensor_type(attrs->value), NULL);
            array_set(&values[i], 0, tn_tensor_get(attrs->value, 0));
        } else {
            op_run("ref", op->name, tn_graph_node_attrs(graph, i), n_in, args, &n_out, &values[i]);
        }
    }
    *out = array_copy(&values[wanted.node], NULL);
    for (guint i = 0; i < n; i++) {
        array_clear(&values[i]);
    }
}

static void
check_near(const Array *got, const Array *want, const char *what, gint64 n)
{
    for (gint64 i = 0; i < want->arg.count; i++) {
        double a = array_get(got, i), b = array_get(want, i);
        if (!(a == b || fabs(a - b) <= 1e-6 * MAX(1, fabs(b)))) {
            TN_FAIL("%s of %d elements: [%d] is %.9g, expected %.9g", what, (int)n, (int)i, a, b);
            return;
        }
    }
    if (!array_intact(got)) {
        TN_FAIL("%s of %d elements: wrote outside", what, (int)n);
    }
}

/* places[k]: the input over which output k lies, -1: its own memory. strides[i]: of input i, NULL:
 * contiguous. */
static void
check_group(const char *what, Build build, gint rank, const gint64 *dims, const TnType *types,
            const gint *places, const gint64 *const *strides)
{
    g_autoptr(TnGraph) graph = tn_graph_new("group");
    guint64 state = 99;
    TnVal in[3], out[2];
    Array args[3], want[2], got[2];
    static const char *const names[] = { "a", "b", "c" };
    for (gint i = 0; i < 3; i++) {
        TnType type = types ? types[i] : tn_type(TN_DTYPE_F32, rank, dims);
        in[i] = tn_graph_input(graph, names[i], type);
        args[i] = array_new(type, strides ? strides[i] : NULL);
        fill(&args[i], &state);
    }
    out[0] = build(graph, in, &out[1]);
    tn_graph_output(graph, "x", out[0]);
    tn_graph_output(graph, "y", out[1]);
    g_autoptr(GError) error = NULL;
    tn_graph_check(graph, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (gint k = 0; k < 2; k++) {
        expected(graph, args, out[k], &want[k]);
        got[k] = places[k] >= 0 ? args[places[k]] : array_new(*tn_graph_type(graph, out[k]), NULL);
    }
    TnCallAttrs attrs = { graph };
    const TnOp *op = tn_op_find("fused", NULL);
    TN_ASSERT_CMPINT(kernel_run("cpu", op, &attrs, 3, args, 2, got, NULL), ==, TN_OK);
    for (gint k = 0; k < 2; k++) {
        check_near(&got[k], &want[k], what, want[k].arg.count);
        array_clear(&want[k]);
        if (places[k] < 0) {
            array_clear(&got[k]);
        }
    }
    for (gint i = 0; i < 3; i++) {
        array_clear(&args[i]);
    }
}

static const gint64 lengths[] = { 1,   2,   7,    15,   16,   17,   63,   255,
                                  256, 257, 1023, 1024, 1025, 5000, 70001 };
static const gint apart[] = { -1, -1 };

static void
tails(void)
{
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(lengths); i++) {
        check_group("moments", moments, 1, &lengths[i], NULL, apart, NULL);
        check_group("mixed", mixed, 1, &lengths[i], NULL, apart, NULL);
    }
}

static void
in_place(void)
{
    static const gint over[][2] = { { 0, 2 }, { 2, 0 }, { 1, 0 },  { 0, 1 },
                                    { 1, 2 }, { 2, 1 }, { -1, 0 }, { 0, -1 } };
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(lengths); i++) {
        for (guint k = 0; k < G_N_ELEMENTS(over); k++) {
            check_group("moments in place", moments, 1, &lengths[i], NULL, over[k], NULL);
            check_group("late reader in place", late_reader, 1, &lengths[i], NULL, over[k], NULL);
            check_group("mixed in place", mixed, 1, &lengths[i], NULL, over[k], NULL);
        }
        check_group("exchange", exchange, 1, &lengths[i], NULL, over[3], NULL);
    }
}

/* Rows and columns broadcast, short and long rows, scalars, everything reversed. */
static void
broadcasting(void)
{
    static const gint64 shapes[][3] = {
        { 3, 5, 7 }, { 40, 3, 10 }, { 2, 300, 9 }, { 3, 4, 300 }, { 5, 1, 1500 }
    };
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(shapes); i++) {
        const gint64 *d = shapes[i];
        const TnType full = tn_type(TN_DTYPE_F32, 3, d);
        const TnType others[] = { tn_type(TN_DTYPE_F32, 1, d + 2),
                                  tn_type(TN_DTYPE_F32, 3, (const gint64[]){ d[0], d[1], 1 }),
                                  tn_type(TN_DTYPE_F32, 3, (const gint64[]){ d[0], 1, d[2] }),
                                  tn_type(TN_DTYPE_F32, 2, (const gint64[]){ d[1], 1 }),
                                  tn_type(TN_DTYPE_F32, 0, NULL) };
        for (guint k = 0; k < G_N_ELEMENTS(others) * G_N_ELEMENTS(others); k++) {
            const TnType types[] = { full, others[k % 5], others[k / 5] };
            check_group("broadcast", late_reader, 3, d, types, apart, NULL);
            const TnType turned[] = { others[k % 5], full, others[k / 5] };
            check_group("broadcast, mixed", mixed, 3, d, turned, apart, NULL);
        }
    }
}

static void
strides(void)
{
    static const gint64 shape[] = { 33, 70 };
    static const gint64 reversed[] = { -70, -1 }, turned[] = { 1, 33 }, gaps[] = { 200, 2 },
                        none[] = { 0, 0 }, row[] = { 0, 1 }, column[] = { -1, 0 };
    static const gint64 *const all[] = { reversed, turned, gaps, none, row, column, NULL };
    const guint n = G_N_ELEMENTS(all);
    open_plugins();
    for (guint i = 0; i < n * n * n; i++) {
        const gint64 *const chosen[] = { all[i % n], all[i / n % n], all[i / n / n] };
        check_group("strides", mixed, 2, shape, NULL, apart, chosen);
    }
}

/* Whole numbers wrap after every operator of a group, and half precision is rounded after every
 * operator. */
static TnVal
narrow(TnGraph *graph, const TnVal *in, TnVal *second)
{
    TnVal sum = tn_f_add(graph, tn_f_mul(graph, in[0], in[1]), in[2]);
    *second = tn_f_div(graph, sum, in[1]);
    return tn_f_sub(graph, tn_f_mul(graph, sum, sum), in[0]);
}

static void
narrow_types(void)
{
    static const TnDtype dtypes[] = { TN_DTYPE_F16, TN_DTYPE_BF16, TN_DTYPE_I8,  TN_DTYPE_U8,
                                      TN_DTYPE_I16, TN_DTYPE_U16,  TN_DTYPE_I32, TN_DTYPE_U32,
                                      TN_DTYPE_I64, TN_DTYPE_U64 };
    const gint64 n = 700;
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(dtypes); i++) {
        const TnType type = tn_type(dtypes[i], 1, &n);
        const TnType types[] = { type, type, type };
        check_group(tn_dtype_name(dtypes[i]), narrow, 1, &n, types, apart, NULL);
    }
}

/* What is cast right after it is read, twice to the same dtype and once to another, and used as it
 * is too. */
static TnVal
converted(TnGraph *graph, const TnVal *in, TnVal *second)
{
    TnVal x = tn_f_cast(graph, in[0], TN_DTYPE_F32);
    TnVal again = tn_f_cast(graph, in[0], TN_DTYPE_F32);
    TnVal wide = tn_f_cast(graph, in[0], TN_DTYPE_F64);
    TnVal own = tn_f_cast(graph, tn_f_add(graph, in[0], in[0]), TN_DTYPE_F32);
    /* Through f32 it is rounded, or wide again. */
    *second =
        tn_f_sub(graph, tn_f_cast(graph, in[0], TN_DTYPE_F64), tn_f_cast(graph, x, TN_DTYPE_F64));
    TnVal sum = tn_f_add(graph, tn_f_div(graph, x, tn_f_const(graph, x, 255)), in[1]);
    return tn_f_add(graph, tn_f_add(graph, sum, tn_f_mul(graph, again, in[2])),
                    tn_f_add(graph, own, tn_f_cast(graph, wide, TN_DTYPE_F32)));
}

static void
loaded_as_floats(void)
{
    static const TnDtype dtypes[] = { TN_DTYPE_BF16, TN_DTYPE_F16, TN_DTYPE_I8,  TN_DTYPE_U8,
                                      TN_DTYPE_I16,  TN_DTYPE_U16, TN_DTYPE_I32, TN_DTYPE_U32,
                                      TN_DTYPE_I64,  TN_DTYPE_U64, TN_DTYPE_F32 };
    static const gint64 shape[] = { 33, 70 };
    static const gint64 reversed[] = { -70, -1 }, turned[] = { 1, 33 }, gaps[] = { 200, 2 },
                        none[] = { 0, 0 }, row[] = { 0, 1 }, column[] = { -1, 0 };
    static const gint64 *const all[] = { NULL, reversed, turned, gaps, none, row, column };
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(dtypes); i++) {
        const TnType f32 = tn_type(TN_DTYPE_F32, 2, shape);
        const TnType types[] = { tn_type(dtypes[i], 2, shape), f32, f32 };
        for (guint k = 0; k < G_N_ELEMENTS(all); k++) {
            const gint64 *const strides[] = { all[k], NULL, NULL };
            check_group(tn_dtype_name(dtypes[i]), converted, 2, shape, types, apart, strides);
        }
    }
}

static const TnTest tests[] = {
    { "tails", tails },
    { "in_place", in_place },
    { "broadcasting", broadcasting },
    { "strides", strides },
    { "narrow_types", narrow_types },
    { "loaded_as_floats", loaded_as_floats },
};

TN_TEST_MAIN("cpu tiles", tests)
