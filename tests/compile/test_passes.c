/* test_passes.c: what each pass does, and that none of them changes results: graphs made at
 * random give the same with each pass left out. */
// tn-test: timeout=120
#include <math.h>
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *ref;

static void
set_up(void)
{
    ref = tn_test_device("ref");
}

static void
tear_down(void)
{
    tn_device_unref(ref);
}

static TnProgram *
compile(TnGraph *graph, const char *const *skip, GError **error)
{
    const TnCompile options = { .devices = &ref, .n_devices = 1, .skip = skip };
    return tn_compile(graph, &options, error);
}

static TnVal
input(TnGraph *graph, const char *name, TnDtype dtype, gint rank, const gint64 *dims)
{
    return tn_graph_input(graph, name, tn_type(dtype, rank, dims));
}

static const gint64 two_three[] = { 2, 3 };

static TnVal
matrix(TnGraph *graph, const char *name)
{
    return input(graph, name, TN_DTYPE_F32, 2, two_three);
}

/* How many instructions of an operator (NULL: at all) the program has. */
static guint
count(TnGraph *graph, const char *const *skip, const char *op)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = compile(graph, skip, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *kernels = tn_program_kernels(program);
    g_auto(GStrv) lines = g_strsplit(kernels, "\n", -1);
    if (op == NULL) {
        return tn_program_n_instructions(program);
    }
    for (guint i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", -1);
        if (g_strv_length(words) == 3 && strcmp(words[0], op) == 0) {
            return (guint)g_ascii_strtoull(words[2], NULL, 10);
        }
    }
    return 0;
}

/* TN_SEEDS asks for more than a test run has time for. */
static guint64
n_seeds(guint64 n)
{
    const char *text = g_getenv("TN_SEEDS");
    return text != NULL ? g_ascii_strtoull(text, NULL, 10) : n;
}

/* --- Results ---------------------------------------------------------------------------------- */

static void
check_same(guint64 seed, const TnRandomGraph *random, const char *want, const char *const *skip)
{
    const TnCompile options = { .devices = &ref, .n_devices = 1, .skip = skip };
    g_autofree char *got = tn_random_graph_run(random, &options, 2);
    if (g_strcmp0(want, got) != 0) {
        g_autofree char *graph = tn_graph_print(random->graph);
        TN_FAIL("seed %d differs without %s\n%s\nwith:\n%s\nwithout:\n%s", (int)seed,
                skip != NULL ? skip[0] : "nothing", graph, want, got);
    }
}

static void
passes_keep_results(void)
{
    const char *const *names = tn_passes();
    for (guint64 seed = 0; seed < n_seeds(60); seed++) {
        g_auto(TnRandomGraph) random = { 0 };
        tn_random_graph(&random, seed, 24, NULL);
        const TnCompile plain = { .devices = &ref, .n_devices = 1, .skip = names };
        g_autofree char *want = tn_random_graph_run(&random, &plain, 2);
        check_same(seed, &random, want, NULL);
        for (guint i = 0; names[i] != NULL; i++) {
            const char *const skip[] = { names[i], NULL };
            check_same(seed, &random, want, skip);
        }
    }
}

/* Chains of element-wise operators and movements, where algebra, views and memory reuse have
 * most to do. Not div: it would tell 0 from -0, and a sum of one element that is left out keeps
 * the sign that adding it to 0 loses. */
static void
passes_keep_results_of_chains(void)
{
    static const char *const ops[] = { "add",       "sub",        "mul",        "neg",
                                       "transpose", "reshape",    "reshape_as", "expand_as",
                                       "reduce_to", "reduce_sum", "cast",       "where",
                                       "less",      "zeros_like", "identity",   "unsqueeze",
                                       "squeeze",   "slice",      "concat",     NULL };
    for (guint64 seed = 1000; seed < 1000 + n_seeds(60); seed++) {
        g_auto(TnRandomGraph) random = { 0 };
        tn_random_graph(&random, seed, 60, ops);
        const TnCompile plain = { .devices = &ref, .n_devices = 1, .skip = tn_passes() };
        g_autofree char *want = tn_random_graph_run(&random, &plain, 3);
        static const char *const skips[][2] = {
            { NULL }, { "views" }, { "in-place" }, { "assign" }
        };
        for (gsize i = 0; i < G_N_ELEMENTS(skips); i++) {
            const TnCompile options = { .devices = &ref, .n_devices = 1, .skip = skips[i] };
            g_autofree char *got = tn_random_graph_run(&random, &options, 3);
            tn_test_check(g_strcmp0(want, got) == 0, FALSE, __FILE__, __LINE__,
                          "seed %d differs without %s", (int)seed, skips[i][0] ? skips[i][0] : "-");
        }
    }
}

/* --- One by one ------------------------------------------------------------------------------- */

/* Expressions of x that algebra must reduce to nothing but a copy of x, or to one operator. */
static void
algebra_drops_what_does_nothing(void)
{
    static const TnTransposeAttrs turn = { .perm = { .n = 2, .v = { 1, 0 } } };
    g_autoptr(TnGraph) graph = tn_graph_new("algebra");
    const TnVal x = matrix(graph, "x");
    const TnVal zero = tn_f_const(graph, x, 0), one = tn_f_const(graph, x, 1);
    TnVal y = tn_f_add(graph, x, tn_f_const(graph, x, -0.0));
    y = tn_f_sub(graph, tn_f_add(graph, tn_f_neg(graph, tn_f_zeros_like(graph, y)), y), zero);
    y = tn_f_mul(graph, one, tn_f_div(graph, tn_f_mul(graph, y, one), one));
    y = tn_f_neg(graph, tn_f_neg(graph, y));
    y = tn_f_expand_as(graph, tn_f_reduce_to(graph, y, x), x);
    y = tn_graph_op(graph, "transpose", &turn, 1, &y, NULL);
    y = tn_graph_op(graph, "transpose", &turn, 1, &y, NULL);
    y = tn_f_cast(graph, tn_f_cast(graph, y, TN_DTYPE_F64), TN_DTYPE_F32);
    tn_graph_output(graph, "y", y);
    TN_ASSERT_CMPUINT(count(graph, NULL, NULL), ==, 1);
    TN_ASSERT_CMPUINT(count(graph, NULL, "copy"), ==, 1);
}

static void
algebra_keeps_what_matters(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("algebra");
    const gint64 six[] = { 6 };
    const TnVal x = input(graph, "x", TN_DTYPE_F32, 1, six);
    const TnVal i = input(graph, "i", TN_DTYPE_I64, 1, six);
    tn_graph_output(graph, "z", tn_f_add(graph, x, tn_f_const(graph, x, 0))); /* -0 becomes 0 */
    /* Narrowing loses; 0 * x is NaN for some x; x + 0 of another shape repeats it. */
    tn_graph_output(graph, "a", tn_f_cast(graph, tn_f_cast(graph, x, TN_DTYPE_I32), TN_DTYPE_F32));
    tn_graph_output(graph, "b", tn_f_mul(graph, x, tn_f_const(graph, x, 0)));
    tn_graph_output(graph, "c", tn_f_cast(graph, tn_f_cast(graph, i, TN_DTYPE_F32), TN_DTYPE_I64));
    const TnVal wide = tn_f_zeros_like(graph, matrix(graph, "w"));
    tn_graph_output(graph, "d", tn_f_add(graph, tn_f_size(graph, x, 0, NULL), wide));
    TN_ASSERT_CMPUINT(count(graph, NULL, "cast"), ==, 4);
    TN_ASSERT_CMPUINT(count(graph, NULL, "mul"), ==, 1);
    TN_ASSERT_CMPUINT(count(graph, NULL, "add"), ==, 1);
}

/* Integers wrap, but saturate on their way through a float: the detour may be left out only where
 * that is the same. */
static void
algebra_keeps_saturation(void)
{
    static const struct {
        TnDtype from, through, to;
        guint casts;
    } rows[] = {
        { TN_DTYPE_I32, TN_DTYPE_F64, TN_DTYPE_I8, 2 },
        { TN_DTYPE_U32, TN_DTYPE_F64, TN_DTYPE_I32, 2 },
        { TN_DTYPE_I16, TN_DTYPE_F32, TN_DTYPE_U64, 2 },
        { TN_DTYPE_U8, TN_DTYPE_F16, TN_DTYPE_I16, 1 },
        { TN_DTYPE_I32, TN_DTYPE_I64, TN_DTYPE_U8, 1 },
        { TN_DTYPE_I32, TN_DTYPE_F64, TN_DTYPE_BOOL, 1 },
        { TN_DTYPE_F16, TN_DTYPE_F32, TN_DTYPE_I8, 1 },
    };
    const double values[] = { -3e9, -300, -1, 0, 1, 200, 300, 4e9 };
    const gint64 n[] = { G_N_ELEMENTS(values) };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(TnGraph) graph = tn_graph_new("casts");
        const TnVal x = input(graph, "x", rows[i].from, 1, n);
        TnVal y = tn_f_cast(graph, tn_f_cast(graph, x, rows[i].through), rows[i].to);
        tn_graph_output(graph, "y", y);
        g_autoptr(TnTensor) wide = tn_tensor_from(tn_type(TN_DTYPE_F64, 1, n), values, NULL);
        g_autoptr(TnTensor) in = tn_tensor_copy(wide, NULL, rows[i].from, NULL);
        g_autoptr(TnTensor) half_way = tn_tensor_copy(in, NULL, rows[i].through, NULL);
        g_autoptr(TnTensor) want = tn_tensor_copy(half_way, NULL, rows[i].to, NULL);
        g_autoptr(TnProgram) program = compile(graph, NULL, NULL);
        g_autoptr(TnExec) exec = tn_exec_new(program, NULL, NULL, NULL);
        TN_REQUIRE(tn_exec_bind(exec, 0, in) == TN_OK && tn_exec_run(exec) == TN_OK);
        tn_test_check(tn_test_same(tn_exec_output(exec, 0), want), FALSE, __FILE__, __LINE__,
                      "%s through %s to %s", tn_dtype_name(rows[i].from),
                      tn_dtype_name(rows[i].through), tn_dtype_name(rows[i].to));
        TN_ASSERT_CMPUINT(count(graph, NULL, "cast"), ==, rows[i].casts);
    }
}

static void
equal_nodes_are_one(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("cse");
    const TnVal x = matrix(graph, "x"), y = matrix(graph, "y");
    const TnVal a = tn_f_exp(graph, tn_f_add(graph, x, y));
    const TnVal b = tn_f_exp(graph, tn_f_add(graph, y, x));
    tn_graph_output(graph, "z", tn_f_mul(graph, a, b));
    const char *const skip[] = { "cse", NULL };
    TN_ASSERT_CMPUINT(count(graph, NULL, "exp"), ==, 1);
    TN_ASSERT_CMPUINT(count(graph, NULL, "add"), ==, 1);
    TN_ASSERT_CMPUINT(count(graph, skip, "exp"), ==, 2);
}

static void
random_nodes_are_never_one(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("random");
    const gint64 two[] = { 2 };
    const TnVal in[] = { input(graph, "key", TN_DTYPE_U64, 1, two), matrix(graph, "like") };
    const TnUniformAttrs attrs = { .random = { .stream = 5 }, .high = 1 };
    const TnVal a = tn_graph_op(graph, "random_uniform", &attrs, 2, in, NULL);
    const TnVal b = tn_graph_op(graph, "random_uniform", &attrs, 2, in, NULL);
    tn_graph_output(graph, "z", tn_f_sub(graph, a, b));
    TN_ASSERT_CMPUINT(count(graph, NULL, "random_uniform"), ==, 2);
}

static void
constants_are_folded(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("fold");
    const TnVal x = matrix(graph, "x");
    const TnVal c =
        tn_f_exp(graph, tn_f_add(graph, tn_f_const(graph, x, 2), tn_f_const(graph, x, 1)));
    const TnVal n = tn_f_size(graph, x, 0, NULL); /* 6: the sizes are known */
    tn_graph_output(graph, "y", tn_f_mul(graph, x, tn_f_mul(graph, c, n)));
    const char *const skip[] = { "fold", NULL };
    TN_ASSERT_CMPUINT(count(graph, NULL, "exp"), ==, 0);
    TN_ASSERT_CMPUINT(count(graph, NULL, "mul"), ==, 1);
    TN_ASSERT_CMPUINT(count(graph, skip, "exp"), ==, 1);
}

/* What only lends its shape is not computed, though it is read. */
static void
shapes_keep_nothing_alive(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("like");
    const TnVal x = matrix(graph, "x");
    const TnVal heavy = tn_f_exp(graph, tn_f_matmul(graph, x, tn_f_transpose_matrix(graph, x)));
    const TnVal y = tn_f_expand_as(graph, tn_f_size(graph, x, 0, NULL), heavy);
    tn_graph_output(graph, "y", y);
    TN_ASSERT_CMPUINT(count(graph, NULL, "exp"), ==, 0);
    TN_ASSERT_CMPUINT(count(graph, NULL, "matmul"), ==, 0);
}

/* Nothing is computed into memory that the same instruction still reads in another order. */
static void
overlapping_inputs_are_not_overwritten(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("overlap");
    g_autoptr(GError) error = NULL;
    const gint64 square[] = { 2, 2 };
    const float numbers[] = { 1, 2, 3, 4 };
    const TnVal e = tn_f_neg(graph, input(graph, "x", TN_DTYPE_F32, 2, square));
    const TnVal first = tn_f_sub(graph, e, tn_f_transpose_matrix(graph, e));
    const TnVal s = tn_f_abs(graph, first);
    tn_graph_output(graph, "y", first);
    tn_graph_output(graph, "z", tn_f_add(graph, tn_f_transpose_matrix(graph, s), s));
    g_autoptr(TnProgram) program = compile(graph, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnExec) exec = tn_exec_new(program, NULL, NULL, NULL);
    g_autoptr(TnTensor) x = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, square), numbers, NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, x) == TN_OK && tn_exec_run(exec) == TN_OK);
    static const double want[2][4] = { { 0, 1, -1, 0 }, { 0, 2, 2, 0 } };
    for (guint k = 0; k < 2; k++) {
        for (gint64 i = 0; i < 4; i++) {
            TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, k), i), ==, want[k][i]);
        }
    }
}

/* --- Composites ------------------------------------------------------------------------------- */

static const TnOpArg twice_arg[] = { { .name = "x", .type = 'T', .dtypes = TN_DTYPES_FLOAT } };

static gboolean
twice_body(TnBody *body, GError **error)
{
    (void)error;
    body->out[0] = tn_f_exp(body->graph, tn_f_add(body->graph, body->in[0], body->in[0]));
    return TRUE;
}

static const TnOp twice = { .size = sizeof(TnOp),
                            .arg_size = sizeof(TnOpArg),
                            .name = "exp_twice",
                            .help = "exp (x + x)",
                            .flags = TN_OP_ELEMENTWISE,
                            .inputs = twice_arg,
                            .n_inputs = 1,
                            .outputs = twice_arg,
                            .n_outputs = 1,
                            .infer = tn_infer_same,
                            .body = twice_body };

static void
composites_become_their_bodies(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("composite");
    const TnVal x = matrix(graph, "x");
    TnVal y = tn_graph_add(graph, &twice, NULL, 1, &x, NULL);
    y = tn_graph_add(graph, &twice, NULL, 1, &y, NULL);
    tn_graph_output(graph, "y", y);
    TN_ASSERT_CMPUINT(count(graph, NULL, "exp"), ==, 2);
    TN_ASSERT_CMPUINT(count(graph, NULL, "exp_twice"), ==, 0);
}

static void
calls_are_put_in_place(void)
{
    g_autoptr(TnGraph) inner = tn_graph_new("inner");
    const TnVal a = matrix(inner, "a");
    tn_graph_output(inner, "out", tn_f_exp(inner, a));
    g_autoptr(TnGraph) graph = tn_graph_new("outer");
    const TnVal x = matrix(graph, "x");
    const TnCallAttrs attrs = { .graph = inner };
    const TnVal y = tn_graph_op(graph, "call", &attrs, 1, &x, NULL);
    tn_graph_output(graph, "y",
                    tn_f_add(graph, y, tn_graph_op(graph, "call", &attrs, 1, &x, NULL)));
    TN_ASSERT_CMPUINT(count(graph, NULL, "exp"), ==, 1);
}

static const TnOpArg lonely_arg[] = { { .name = "x", .type = 'T', .dtypes = TN_DTYPES_ALL } };
static const TnOp lonely = { .size = sizeof(TnOp),
                             .arg_size = sizeof(TnOpArg),
                             .name = "lonely",
                             .help = "nobody computes it",
                             .inputs = lonely_arg,
                             .n_inputs = 1,
                             .outputs = lonely_arg,
                             .n_outputs = 1,
                             .infer = tn_infer_same };

static void
nodes_that_nobody_takes_are_listed(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("unclaimed");
    g_autoptr(GError) error = NULL;
    const TnVal x = matrix(graph, "x");
    tn_graph_push(graph, "model");
    TnVal y = tn_graph_add(graph, &lonely, NULL, 1, &x, NULL);
    y = tn_graph_add(graph, &lonely, NULL, 1, &y, NULL);
    tn_graph_pop(graph);
    tn_graph_output(graph, "y", y);
    g_autoptr(TnProgram) program = compile(graph, NULL, &error);
    TN_ASSERT(program == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "model.lonely (lonely): f32[2, 3] -> f32[2, 3]", "model.lonely_2", "ref");
}

/* --- The rest --------------------------------------------------------------------------------- */

static void
note_pass(const char *pass, const TnGraph *graph, gpointer data)
{
    g_autofree char *text = tn_graph_print(graph);
    TN_ASSERT(text != NULL && strlen(text) > 0);
    g_ptr_array_add(data, (gpointer)pass);
}

static void
the_sink_sees_every_pass(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("sink");
    g_autoptr(GPtrArray) seen = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    tn_graph_output(graph, "y", tn_f_exp(graph, matrix(graph, "x")));
    const TnCompile options = {
        .devices = &ref, .n_devices = 1, .sink = note_pass, .sink_data = seen
    };
    G_GNUC_UNUSED g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(seen->len, >=, 8);
    const char *const *names = tn_passes();
    for (guint i = 0, k = 0; i < seen->len; i++, k++) {
        while (names[k] != NULL && strcmp(names[k], seen->pdata[i]) != 0) {
            k++;
        }
        TN_REQUIRE(names[k] != NULL); /* in the order of the table */
    }
}

static void
wrong_calls_are_told(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("wrong");
    g_autoptr(GError) error = NULL;
    const char *const skip[] = { "algebr", NULL };
    tn_graph_output(graph, "y", tn_f_exp(graph, matrix(graph, "x")));
    TN_ASSERT(compile(graph, skip, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "algebr", "algebra");
    const TnCompile none = { .n_devices = 0 };
    TN_ASSERT(tn_compile(graph, &none, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "wrong", "devices");
    const TnType flat = tn_type(TN_DTYPE_F32, 1, two_three);
    const TnCompile other = { .inputs = &flat, .devices = &ref, .n_devices = 1 };
    TN_ASSERT(tn_compile(graph, &other, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "'x'", "f32[2]", "f32[2, 3]");
    tn_graph_fail(graph, TN_ERROR_SHAPE, "latched");
    TN_ASSERT(compile(graph, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "latched");
}

static void
sizes_that_do_not_fit_name_the_node(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("sizes");
    g_autoptr(GError) error = NULL;
    const TnVal x = matrix(graph, "x"), y = matrix(graph, "y");
    tn_graph_push(graph, "model");
    tn_graph_output(graph, "z", tn_f_add(graph, x, y));
    tn_graph_pop(graph);
    const gint64 other[] = { 2, 4 };
    const TnType types[] = { tn_type(TN_DTYPE_F32, 2, two_three), tn_type(TN_DTYPE_F32, 2, other) };
    const TnCompile options = { .inputs = types, .devices = &ref, .n_devices = 1 };
    TN_ASSERT(tn_compile(graph, &options, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "model.add", "[2, 3]", "[2, 4]");
}

/* Five values of 2^62 bytes: their sum is no number of bytes any more. */
static void
memory_without_end_is_refused(void)
{
    static const char *const names[] = { "neg", "abs", "exp", "sin", "cos" };
    static const TnExpandAttrs huge = { .shape = { 2, { 1 << 30, 1 << 30 } } };
    g_autoptr(TnGraph) graph = tn_graph_new("huge");
    g_autoptr(GError) error = NULL;
    const TnVal x = input(graph, "x", TN_DTYPE_F32, 0, NULL);
    const TnVal wide = tn_graph_op(graph, "expand", &huge, 1, &x, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        const TnVal y = tn_graph_op(graph, names[i], NULL, 1, &wide, NULL);
        tn_graph_output(graph, names[i], y);
    }
    TN_ASSERT(compile(graph, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "graph 'huge'", "larger than memory");
}

static void
programs_print(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("printed");
    g_autoptr(GError) error = NULL;
    tn_graph_push(graph, "model");
    tn_graph_output(graph, "y", tn_f_exp(graph, matrix(graph, "x")));
    g_autoptr(TnProgram) program = compile(graph, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *text = tn_program_print(program);
    TN_ASSERT_CONTAINS(text, "printed");
    TN_ASSERT_CONTAINS(text, "1 instructions");
    TN_ASSERT_CONTAINS(text, "model.exp: f32[2, 3] (input 0) -> f32[2, 3] (arena +0) slow");
}

static const TnTest tests[] = {
    { "passes keep results", passes_keep_results },
    { "passes keep results of chains", passes_keep_results_of_chains },
    { "algebra drops what does nothing", algebra_drops_what_does_nothing },
    { "algebra keeps what matters", algebra_keeps_what_matters },
    { "algebra keeps saturation", algebra_keeps_saturation },
    { "equal nodes are one", equal_nodes_are_one },
    { "random nodes are never one", random_nodes_are_never_one },
    { "constants are folded", constants_are_folded },
    { "shapes keep nothing alive", shapes_keep_nothing_alive },
    { "overlapping inputs are not overwritten", overlapping_inputs_are_not_overwritten },
    { "composites become their bodies", composites_become_their_bodies },
    { "calls are put in place", calls_are_put_in_place },
    { "nodes that nobody takes are listed", nodes_that_nobody_takes_are_listed },
    { "the sink sees every pass", the_sink_sees_every_pass },
    { "wrong calls are told", wrong_calls_are_told },
    { "sizes that do not fit name the node", sizes_that_do_not_fit_name_the_node },
    { "memory without end is refused", memory_without_end_is_refused },
    { "programs print", programs_print },
};
TN_TEST_MAIN_WITH("passes", tests, set_up, tear_down)
