/* test_kept.c: what a kernel makes of fixed inputs is made once, stays, and is made again when a variable
 * has changed; and where an input may change from run to run nothing is kept. */
#include <string.h>
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

/* --- A kernel that keeps its second input twice as large -------------------------------------- */

enum { N = 3 };

static struct {
    gint prepared, fixed, kept, ran, released; /* how often; fixed: a bit for each input */
    gboolean saw_unfixed;                      /* keep was given an input that is not */
} seen;

static TnStatus
keep_twice(void *state, const TnRun *run)
{
    const float *w = run->in[1];
    float *kept = run->out[0];
    seen.kept++;
    seen.saw_unfixed = seen.saw_unfixed || run->in[0] != NULL;
    for (gint i = 0; i < N * N; i++) {
        kept[i] = 2 * w[i];
    }
    memset(run->scratch, 0x55, *(const gsize *)state);
    return TN_OK;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    gsize *state = g_new(gsize, 1);
    (void)error;
    seen.prepared++;
    seen.fixed = node->in[0].fixed | node->in[1].fixed << 1;
    *state = prepared->scratch = 100;
    prepared->state = state;
    if (node->in[1].fixed) {
        prepared->kept = N * N * sizeof(float);
        prepared->keep = keep_twice;
    }
    state[0] = prepared->kept;
    return TRUE;
}

/* Products of N by N matrices, twice. */
static TnStatus
run(void *state, const TnRun *run)
{
    const float *a = run->in[0], *w = *(const gsize *)state > 0 ? run->in[2] : run->in[1];
    const float factor = *(const gsize *)state > 0 ? 1 : 2;
    float *out = run->out[0];
    seen.ran++;
    for (gint i = 0; i < N; i++) {
        for (gint j = 0; j < N; j++) {
            float sum = 0;
            for (gint k = 0; k < N; k++) {
                sum += a[i * N + k] * w[k * N + j] * factor;
            }
            out[i * N + j] = sum;
        }
    }
    memset(run->scratch, 0xaa, 100);
    return TN_OK;
}

static void
release(void *state)
{
    seen.released++;
    g_free(state);
}

static const TnKernel twice = { .op = "matmul",
                                .dtypes = TN_DT(F32),
                                .rank = 99,
                                .prepare = prepare,
                                .run = run,
                                .release = release };
static const TnKernelTable table = { .size = sizeof(TnKernelTable),
                                     .kind = "ref",
                                     .kernel_size = sizeof(TnKernel),
                                     .n_kernels = 1,
                                     .kernels = &twice };
static const TnFactory factory = { .size = sizeof(TnFactory),
                                   .iface = "tenon.kernel/1",
                                   .name = "twice",
                                   .help = "for a test",
                                   .vtable = &table };

/* --- Graphs ----------------------------------------------------------------------------------- */

static TnType
square(void)
{
    return tn_type(TN_DTYPE_F32, 2, (gint64[]){ N, N });
}

static TnVar *
variable(TnStore *store, const char *name, double value)
{
    const TnVarInfo info = { .name = name,
                             .type = square(),
                             .init = { .kind = TN_INIT_CONSTANT, .a = value } };
    TnVar *var = tn_store_var(store, NULL, &info, NULL);
    TN_REQUIRE(var != NULL);
    return var;
}

static TnVal
product(TnGraph *graph, TnVal a, TnVal b)
{
    return tn_graph_add(graph, tn_op_find("matmul", NULL), NULL, 2, (TnVal[]){ a, b }, NULL);
}

/* skip: a pass, or NULL. */
static TnExec *
exec_of(TnGraph *graph, TnStore *store, const char *skip, guint64 limit)
{
    const char *const passes[] = { skip, NULL };
    TnDevice *ref = tn_test_device("ref");
    g_autoptr(GError) error = NULL;
    const TnCompile options = {
        .devices = &ref, .n_devices = 1, .skip = skip != NULL ? passes : NULL, .memory_limit = limit
    };
    memset(&seen, 0, sizeof seen);
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    TnExec *exec = tn_exec_new(program, store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_device_unref(ref);
    return exec;
}

/* The first element that a run gives for x all of `x`. */
static double
run_with(TnExec *exec, double x)
{
    g_autoptr(TnTensor) tensor = tn_tensor_zeros(NULL, square(), NULL);
    float *at = tn_storage_memory(tn_tensor_storage(tensor));
    for (gint i = 0; i < N * N; i++) {
        at[i] = (float)x;
    }
    TN_REQUIRE(tn_exec_bind(exec, 0, tensor) == TN_OK);
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    return tn_tensor_get(tn_exec_output(exec, 0), 0);
}

/* x w, and the same once more with what came out, so that the arena has something to give away. */
static TnGraph *
two_products(TnStore *store, TnVar **w)
{
    TnGraph *graph = tn_graph_new("two");
    const TnVal x = tn_graph_input(graph, "x", square());
    *w = variable(store, "w", 1);
    const TnVal v = tn_graph_variable(graph, *w);
    tn_graph_output(graph, "y", product(graph, product(graph, x, v), v));
    return graph;
}

/* --- Tests ------------------------------------------------------------------------------------ */

static void
made_again_when_a_variable_changes(void)
{
    g_autoptr(TnStore) store = tn_store_new(0);
    TnVar *w;
    g_autoptr(TnGraph) graph = two_products(store, &w);
    {
        g_autoptr(TnExec) exec = exec_of(graph, store, NULL, 0);
        TN_ASSERT_CMPINT(seen.fixed, ==, 2);
        /* Each product is 2 · 3 x w. */
        TN_ASSERT_CMPFLOAT(run_with(exec, 1), ==, 36);
        TN_ASSERT_CMPFLOAT(run_with(exec, 2), ==, 72);
        TN_ASSERT_CMPINT(seen.kept, ==, 2); /* of each of the two */
        float threes[N * N];
        for (gint i = 0; i < N * N; i++) {
            threes[i] = 3;
        }
        TN_REQUIRE(tn_var_write(w, threes, sizeof threes, NULL));
        TN_ASSERT_CMPFLOAT(run_with(exec, 1), ==, 36 * 9);
        TN_ASSERT_CMPFLOAT(run_with(exec, 2), ==, 72 * 9);
        TN_ASSERT_CMPINT(seen.kept, ==, 4);
        TN_ASSERT_CMPINT(seen.ran, ==, 8);
        TN_ASSERT(!seen.saw_unfixed);
        g_autofree char *text = tn_program_print(tn_exec_program(exec));
        TN_ASSERT_CONTAINS(text, " keep ");
        TN_ASSERT_CONTAINS(text, " once");
    }
    TN_ASSERT_CMPINT(seen.released, ==, seen.prepared);
}

/* Weights that something else makes of variables are fixed as well, constants beside variables, too. */
static void
made_of_what_is_made_once(void)
{
    g_autoptr(TnStore) store = tn_store_new(0);
    g_autoptr(TnGraph) graph = tn_graph_new("made");
    const TnVal x = tn_graph_input(graph, "x", square());
    const TnVal v = tn_graph_variable(graph, variable(store, "w", 1));
    tn_graph_output(graph, "y", product(graph, x, tn_f_exp(graph, v)));
    g_autoptr(TnExec) exec = exec_of(graph, store, NULL, 0);
    TN_ASSERT_CMPINT(seen.fixed, ==, 2);
    TN_ASSERT_NEAR(run_with(exec, 1), 6 * 2.718281828, 1e-5, 0);
    TN_ASSERT_NEAR(run_with(exec, 2), 12 * 2.718281828, 1e-5, 0);
    TN_ASSERT_CMPINT(seen.kept, ==, 1);
}

static void
nothing_is_kept(void)
{
    g_autoptr(TnStore) store = tn_store_new(0);
    TnVar *w;
    g_autoptr(TnGraph) graph = two_products(store, &w), given = tn_graph_new("given"),
                       trained = tn_graph_new("trained");
    /* Without the pass, and where memory is short. */
    g_autoptr(TnExec) plain = exec_of(graph, store, "once", 0);
    TN_ASSERT_CMPFLOAT(run_with(plain, 1), ==, 36);
    TN_ASSERT_CMPINT(seen.fixed | seen.kept, ==, 0);
    g_autoptr(TnExec) limited = exec_of(graph, store, NULL, 1 << 20);
    TN_ASSERT_CMPFLOAT(run_with(limited, 1), ==, 36);
    TN_ASSERT_CMPINT(seen.fixed | seen.kept, ==, 0);
    /* Of an input. */
    const TnVal x = tn_graph_input(given, "x", square());
    tn_graph_output(given, "y", product(given, tn_graph_variable(given, w), x));
    g_autoptr(TnExec) of_input = exec_of(given, store, NULL, 0);
    TN_ASSERT_CMPINT(seen.fixed, ==, 1);
    TN_ASSERT_CMPFLOAT(run_with(of_input, 1), ==, 6);
    TN_ASSERT_CMPINT(seen.kept, ==, 0);
    /* Of a variable that the program assigns. */
    const TnVal v = tn_graph_variable(trained, w);
    const TnVal y = product(trained, tn_graph_input(trained, "x", square()), v);
    tn_graph_output(trained, "y", y);
    tn_graph_assign(trained, w, tn_f_add(trained, v, v));
    g_autoptr(TnExec) training = exec_of(trained, store, NULL, 0);
    TN_ASSERT_CMPINT(seen.fixed, ==, 0);
    TN_ASSERT_CMPFLOAT(run_with(training, 1), ==, 6);
    TN_ASSERT_CMPFLOAT(run_with(training, 1), ==, 12);
    TN_ASSERT_CMPINT(seen.kept, ==, 0);
}

/* A body's memory is the loop's scratch: its constants are not kept in it. */
static void
not_in_bodies(void)
{
    g_autoptr(TnStore) store = tn_store_new(0);
    g_autoptr(TnGraph) graph = tn_graph_new("loop");
    g_autoptr(TnGraph) body = tn_graph_nested(graph, "body");
    const TnVal h = tn_graph_input(body, "h", square()), s = tn_graph_input(body, "s", square());
    g_autoptr(TnTensor) ones = tn_tensor_zeros(NULL, square(), NULL);
    for (gint i = 0; i < N * N; i++) {
        ((float *)tn_storage_memory(tn_tensor_storage(ones)))[i] = 1;
    }
    const TnVal next = product(body, h, tn_graph_constant(body, ones));
    tn_graph_output(body, "h", next);
    tn_graph_output(body, "y", tn_f_add(body, next, s));
    const TnVal x = tn_graph_input(graph, "x", square());
    const TnVal xs = tn_graph_input(graph, "xs", tn_type(TN_DTYPE_F32, 3, (gint64[]){ 4, N, N }));
    TnVal out[TN_MAX_OUT];
    tn_graph_scan(graph, body, 1, &x, 1, &xs, FALSE, out);
    tn_graph_output(graph, "h", out[0]);
    g_autoptr(TnTensor) steps =
        tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 3, (gint64[]){ 4, N, N }), NULL);
    g_autoptr(TnExec) exec = exec_of(graph, store, NULL, 0);
    TN_REQUIRE(tn_exec_bind(exec, 1, steps) == TN_OK);
    TN_ASSERT_CMPFLOAT(run_with(exec, 1), ==, 6 * 6 * 6 * 6);
    TN_ASSERT_CMPFLOAT(run_with(exec, 1), ==, 6 * 6 * 6 * 6);
    TN_ASSERT_CMPINT(seen.kept, ==, 0);
    TN_ASSERT_CMPINT(seen.ran, ==, 8);
}

static void
set_up(void)
{
    tn_registry_add_factory(&factory, "test");
}

static void
tear_down(void)
{
    tn_registry_remove_factory(&factory);
}

static const TnTest tests[] = {
    { "made again when a variable changes", made_again_when_a_variable_changes },
    { "made of what is made once", made_of_what_is_made_once },
    { "nothing is kept", nothing_is_kept },
    { "not in bodies", not_in_bodies },
};

TN_TEST_MAIN_WITH("kept", tests, set_up, tear_down)
