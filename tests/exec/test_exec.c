/* test_exec.c: binding, running and reading one exec; errors that name what is wrong; runs that
 * allocate nothing. */
// tn-test: timeout=120 label=threads
#include <stdatomic.h>
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/pool.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *ref;
static TnContext *context;

static void
set_up(void)
{
    ref = tn_test_device("ref");
    context = tn_test_context("ref", NULL);
}

static void
tear_down(void)
{
    tn_context_unref(context);
    tn_device_unref(ref);
}

static TnProgram *
compile(TnGraph *graph)
{
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = &ref, .n_devices = 1 };
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

static TnExec *
make_exec(TnGraph *graph, TnStore *store)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = compile(graph);
    TnExec *exec = tn_exec_new(program, store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    return exec;
}

static TnType
vector(gint64 n)
{
    return tn_type(TN_DTYPE_F32, 1, &n);
}

static TnTensor *
numbers(gint64 n, float first)
{
    g_autofree float *data = g_new(float, n + 1);
    for (gint64 i = 0; i < n; i++) {
        data[i] = first + (float)i;
    }
    return tn_tensor_from(vector(n), data, NULL);
}

static TnVar *
variable(TnStore *store, const char *name, TnType type, double value)
{
    const TnVarInfo info = { .name = name,
                             .type = type,
                             .init = { .kind = TN_INIT_CONSTANT, .a = value } };
    TnVar *var = tn_store_var(store, NULL, &info, NULL);
    TN_REQUIRE(var != NULL);
    return var;
}

static double
at(TnVar *var, gint64 i)
{
    return tn_tensor_get(tn_var_tensor(var), i);
}

/* --- Results ---------------------------------------------------------------------------------- */

static void
runs_and_reads(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("sum");
    const TnVal x = tn_graph_input(graph, "x", vector(3)),
                y = tn_graph_input(graph, "y", vector(3));
    tn_graph_output(graph, "sum", tn_f_add(graph, x, y));
    tn_graph_output(graph, "product", tn_f_mul(graph, x, y));
    g_autoptr(TnExec) exec = make_exec(graph, NULL);
    g_autoptr(TnTensor) a = numbers(3, 1), b = numbers(3, 10);
    TN_ASSERT_CMPINT(tn_exec_find_input(exec, "y"), ==, 1);
    TN_ASSERT_CMPINT(tn_exec_find_input(exec, "sum"), ==, -1);
    TN_ASSERT_CMPINT(tn_exec_find_output(exec, "product"), ==, 1);
    TN_ASSERT_CMPINT(tn_exec_find_output(exec, "x"), ==, -1);
    TN_ASSERT(tn_exec_bind(exec, 0, a) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) != TN_OK); /* y was not given */
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "input");
    TN_ASSERT(tn_exec_bind(exec, 1, b) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 0), 2), ==, 15);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 1), 2), ==, 36);
    TN_ASSERT(tn_exec_bind(exec, 1, a) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 1), 2), ==, 9);
}

static void
scalars_and_nothing(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("edges");
    const gint64 none[] = { 0, 3 };
    const TnVal s = tn_graph_input(graph, "s", tn_type(TN_DTYPE_F32, 0, NULL));
    const TnVal e = tn_graph_input(graph, "e", tn_type(TN_DTYPE_F32, 2, none));
    const gint64 first[] = { 0 };
    tn_graph_output(graph, "exp", tn_f_exp(graph, s));
    tn_graph_output(graph, "empty", tn_f_add(graph, e, s));
    tn_graph_output(graph, "sum", tn_f_reduce_sum(graph, tn_f_exp(graph, e), 1, first, FALSE));
    tn_graph_output(graph, "same", e);
    g_autoptr(TnExec) exec = make_exec(graph, NULL);
    g_autoptr(TnTensor) zero = tn_tensor_scalar(TN_DTYPE_F32, 0);
    g_autoptr(TnTensor) nothing = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 2, none), NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, zero) == TN_OK && tn_exec_bind(exec, 1, nothing) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 0), 0), ==, 1);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(exec, 1)), ==, 0);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(exec, 2)), ==, 3);
    for (gint64 i = 0; i < 3; i++) {
        TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 2), i), ==, 0);
    }
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(exec, 3)), ==, 0);
}

/* What is not computed at all: inputs, variables and constants as outputs keep their contents until
 * the next run. */
static void
outputs_are_copies(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) graph = tn_graph_new("copies");
    TnVar *var = variable(store, "v", vector(3), 5);
    const TnVal x = tn_graph_input(graph, "x", vector(3)), v = tn_graph_variable(graph, var);
    tn_graph_output(graph, "x", x);
    tn_graph_output(graph, "old", v);
    tn_graph_output(graph, "one", tn_graph_scalar(graph, TN_DTYPE_F32, 1));
    tn_graph_assign(graph, var, tn_f_add(graph, v, x));
    g_autoptr(TnExec) exec = make_exec(graph, store);
    g_autoptr(TnTensor) a = numbers(3, 1);
    TN_ASSERT(tn_exec_bind(exec, 0, a) == TN_OK);
    for (guint run = 0; run < 3; run++) {
        TN_ASSERT(tn_exec_run(exec) == TN_OK);
        TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 1), 2), ==, 5 + 3 * run);
        TN_ASSERT_CMPFLOAT(at(var, 2), ==, 5 + 3 * (run + 1));
    }
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 0), 1), ==, 2);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 2), 0), ==, 1);
}

/* Every reader sees the value that the variable had at the beginning, whatever the order of
 * instructions. */
static void
assigns_come_last(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) graph = tn_graph_new("assigns");
    TnVar *a = variable(store, "a", vector(2), 1), *b = variable(store, "b", vector(2), 2);
    TnVar *c = variable(store, "c", vector(2), 3), *d = variable(store, "d", vector(2), 0);
    const TnVal va = tn_graph_variable(graph, a), vb = tn_graph_variable(graph, b);
    const TnVal vc = tn_graph_variable(graph, c);
    /* a and b are swapped; c is read after its new value was computed from a chain; d gets c's old
     * value. */
    const TnVal new_c = tn_f_mul(graph, tn_f_add(graph, vc, va), vc);
    tn_graph_assign(graph, a, vb);
    tn_graph_assign(graph, b, va);
    tn_graph_assign(graph, c, new_c);
    tn_graph_assign(graph, d, vc);
    tn_graph_output(graph, "late", tn_f_sub(graph, new_c, vc));
    g_autoptr(TnExec) exec = make_exec(graph, store);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(at(a, 1), ==, 2);
    TN_ASSERT_CMPFLOAT(at(b, 1), ==, 1);
    TN_ASSERT_CMPFLOAT(at(c, 1), ==, 12);
    TN_ASSERT_CMPFLOAT(at(d, 1), ==, 3);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 0), 1), ==, 9);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(at(a, 0), ==, 1);
    TN_ASSERT_CMPFLOAT(at(c, 0), ==, (12 + 2) * 12);
    TN_ASSERT_CMPFLOAT(at(d, 0), ==, 12);
}

/* An update such as an optimiser's is computed in the variable itself: no arena, no copy. */
static void
updates_happen_in_place(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) graph = tn_graph_new("update");
    TnVar *var = variable(store, "v", vector(1000), 5);
    const TnVal v = tn_graph_variable(graph, var);
    tn_graph_assign(graph, var, tn_f_sub(graph, v, tn_f_const(graph, v, 1)));
    g_autoptr(TnProgram) program = compile(graph);
    TN_ASSERT_CMPUINT(tn_program_n_instructions(program), ==, 1);
    TN_ASSERT_CMPUINT(tn_program_arena_bytes(program), ==, 0);
    g_autoptr(TnExec) exec = tn_exec_new(program, store, NULL, NULL);
    TN_ASSERT(tn_exec_run(exec) == TN_OK && tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(at(var, 999), ==, 3);
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void
wrong_inputs_are_told(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("wrong");
    tn_graph_output(graph, "y", tn_f_exp(graph, tn_graph_input(graph, "x", vector(3))));
    g_autoptr(TnExec) exec = make_exec(graph, NULL);
    g_autoptr(TnTensor) four = numbers(4, 0), six = numbers(6, 0);
    g_autoptr(TnTensor) strided = tn_tensor_slice(six, 0, 0, 6, 2, NULL);
    TN_ASSERT(tn_exec_error(exec) == NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, four) != TN_OK);
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "input 'x' is f32[4], expected f32[3]");
    TN_ASSERT(tn_exec_bind(exec, 0, strided) != TN_OK);
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "strided");
    TN_ASSERT(tn_exec_bind(exec, 1, four) != TN_OK);
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "no input 1");
}

static void
wrong_stores_are_told(void)
{
    g_autoptr(TnStore) store = tn_store_new(1), other = tn_store_new(1);
    g_autoptr(TnGraph) graph = tn_graph_new("stores");
    g_autoptr(GError) error = NULL;
    tn_graph_output(graph, "y",
                    tn_f_exp(graph, tn_graph_variable(graph, variable(store, "v", vector(3), 0))));
    g_autoptr(TnProgram) program = compile(graph);
    TN_ASSERT(tn_exec_new(program, NULL, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "'v'");
    TN_ASSERT(tn_exec_new(program, other, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "'v'");
    variable(other, "v", vector(4), 0);
    TN_ASSERT(tn_exec_new(program, other, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "'v'", "f32[4]", "f32[3]");
}

static void
failing_nodes_are_named(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("index");
    const gint64 two[] = { 2 }, bad[] = { 0, 7 };
    tn_graph_push(graph, "model");
    const TnVal in[] = { tn_graph_input(graph, "data", vector(5)),
                         tn_graph_input(graph, "i", tn_type(TN_DTYPE_I64, 1, two)) };
    tn_graph_output(graph, "y", tn_graph_op(graph, "gather", NULL, 2, in, NULL));
    tn_graph_pop(graph);
    g_autoptr(TnExec) exec = make_exec(graph, NULL);
    g_autoptr(TnTensor) data = numbers(5, 0);
    g_autoptr(TnTensor) i = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, two), bad, NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, data) == TN_OK && tn_exec_bind(exec, 1, i) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) == TN_FAILED);
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "model.gather (gather");
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "7");
}

static void
memory_limits_hold(void)
{
    g_autoptr(TnContext) small = tn_test_context("ref", NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("large");
    g_autoptr(GError) error = NULL;
    tn_graph_output(graph, "y", tn_f_exp(graph, tn_graph_input(graph, "x", vector(10000))));
    g_autoptr(TnProgram) program = compile(graph);
    TN_ASSERT_CMPUINT(tn_program_arena_bytes(program), >=, 40000);
    tn_context_set_memory_limit(small, 50000);
    TnExec *exec = tn_exec_new(program, NULL, small, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(tn_context_memory_used(small), ==, tn_program_arena_bytes(program));
    TN_ASSERT(tn_exec_new(program, NULL, small, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "large");
    tn_exec_free(exec);
    TN_ASSERT_CMPUINT(tn_context_memory_used(small), ==, 0);
}

/* Each large allocation of an exec fails once: an error, nothing kept. */
static void
failed_allocations_are_errors(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("memory");
    tn_graph_output(graph, "y", tn_f_exp(graph, tn_graph_input(graph, "x", vector(1000))));
    g_autoptr(TnProgram) program = compile(graph);
    tn_data_fail_nth(0);
    TnExec *exec = tn_exec_new(program, NULL, NULL, NULL);
    TN_REQUIRE(exec != NULL);
    tn_exec_free(exec);
    const guint64 n = tn_data_fail_nth(0);
    TN_ASSERT_CMPUINT(n, >=, 1);
    for (guint64 i = 1; i <= n; i++) {
        g_autoptr(GError) error = NULL;
        tn_data_fail_nth(i);
        TN_ASSERT(tn_exec_new(program, NULL, NULL, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "memory");
    }
    tn_data_fail_nth(0);
}

/* --- Watching --------------------------------------------------------------------------------- */

static TnStatus
find_nan(TnExec *exec, const TnExecStep *step, gpointer data)
{
    (void)exec;
    for (guint i = 0; i < step->n_out; i++) {
        for (gint64 k = 0; k < tn_tensor_count(step->out[i]); k++) {
            const double value = tn_tensor_get(step->out[i], k);
            if (value != value) {
                *(char **)data = g_strdup(step->name);
                return TN_CANCELLED;
            }
        }
    }
    return TN_OK;
}

static void
watches_find_the_first_nan(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("nan");
    g_autofree char *found = NULL;
    tn_graph_push(graph, "model");
    TnVal x = tn_graph_input(graph, "x", vector(2));
    x = tn_f_log(graph, tn_f_sub(graph, tn_f_exp(graph, x), tn_f_const(graph, x, 2)));
    tn_graph_output(graph, "y", tn_f_tanh(graph, x));
    tn_graph_pop(graph);
    g_autoptr(TnExec) exec = make_exec(graph, NULL);
    g_autoptr(TnTensor) zero = tn_tensor_zeros(NULL, vector(2), NULL), one = numbers(2, 1);
    tn_exec_watch(exec, find_nan, &found);
    TN_ASSERT(tn_exec_bind(exec, 0, one) == TN_OK && tn_exec_run(exec) == TN_OK);
    TN_ASSERT(found == NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, zero) == TN_OK && tn_exec_run(exec) == TN_CANCELLED);
    TN_ASSERT_CMPSTR(found, "model.log");
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "model.log");
    tn_exec_watch(exec, NULL, NULL);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
}

/* --- Nothing is allocated --------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS 0
#else
#define COUNTS 1
#endif
#else
#define COUNTS 1
#endif

#if COUNTS
/* glibc's own names, so that this program's malloc can stand before them. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);

/* By the libraries as well. */
#define SEEN __attribute__((visibility("default")))

static atomic_uint allocations;

SEEN void *
malloc(size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_malloc(size);
}

SEEN void *
calloc(size_t n, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_calloc(n, size);
}

SEEN void *
realloc(void *memory, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_realloc(memory, size);
}

SEEN void *
aligned_alloc(size_t align, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_memalign(align, size);
}

SEEN int
posix_memalign(void **memory, size_t align, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    *memory = __libc_memalign(align, size);
    return *memory == NULL ? 12 : 0;
}
#endif

/* A scan of a branch, with its gradient, behind what is there. */
static void
add_control(TnGraph *graph)
{
    const TnVal x = tn_graph_scalar(graph, TN_DTYPE_F64, 1.5);
    const TnVal hot = tn_f_greater(graph, x, tn_f_const(graph, x, 1));
    g_autoptr(TnGraph) body = tn_graph_nested(graph, "body");
    const TnVal s = tn_graph_input(body, "s", tn_type(TN_DTYPE_F64, 0, NULL));
    tn_graph_input(body, "x", tn_type(TN_DTYPE_F64, 0, NULL));
    g_autoptr(TnGraph) yes = tn_graph_nested(body, "then"), no = tn_graph_nested(body, "else");
    g_autoptr(TnTensor) steps = numbers(5, 0);
    const TnVal xs = tn_f_cast(graph, tn_graph_constant(graph, steps), TN_DTYPE_F64);
    const TnVal start = tn_f_reduce_sum(graph, xs, 0, NULL, FALSE);
    TnVal out[TN_MAX_OUT], grad;
    tn_graph_output(yes, "s", tn_f_sin(yes, tn_graph_capture(yes, body, s)));
    tn_graph_output(no, "s", tn_f_neg(no, tn_graph_capture(no, body, s)));
    tn_graph_if(body, tn_graph_capture(body, graph, hot), yes, no, out);
    tn_graph_output(body, "s", out[0]);
    tn_graph_scan(graph, body, 1, &start, 1, &xs, FALSE, out);
    TN_REQUIRE(tn_grad(graph, out[0], TN_VAL_NONE, 1, &start, &grad, NULL));
    tn_graph_output(graph, "control", out[0]);
    tn_graph_output(graph, "control.grad", grad);
}

/* A graph of everything that runs: views, updates, reductions, products, control flow; bound anew
 * for each run. */
static void
runs_allocate_nothing(void)
{
#if COUNTS
    g_auto(TnRandomGraph) random = { 0 };
    tn_random_graph(&random, 17, 80, NULL);
    add_control(random.graph);
    g_autoptr(TnExec) exec = make_exec(random.graph, random.store);
    TN_ASSERT_CMPUINT(tn_program_n_instructions(tn_exec_program(exec)), >, 5);
    for (guint run = 0; run < 50; run++) {
        const unsigned before = atomic_load(&allocations);
        gboolean ok = TRUE;
        for (guint i = 0; i < random.n_inputs; i++) {
            ok &= tn_exec_bind(exec, i, random.inputs[i]) == TN_OK;
        }
        ok &= tn_exec_run(exec) == TN_OK && tn_exec_output(exec, 0) != NULL;
        const unsigned n = atomic_load(&allocations) - before;
        TN_ASSERT(ok);
        TN_ASSERT(run == 0 || n == 0);
    }
    const unsigned before = atomic_load(&allocations);
    G_GNUC_UNUSED g_autoptr(TnTensor) one = tn_tensor_scalar(TN_DTYPE_F32, 1);
    TN_ASSERT_CMPUINT(atomic_load(&allocations), >, before); /* it does count */
#else
    tn_test_leave_out("allocations cannot be counted under a sanitizer");
#endif
}

static const TnTest tests[] = {
    { "runs and reads", runs_and_reads },
    { "scalars and nothing", scalars_and_nothing },
    { "outputs are copies", outputs_are_copies },
    { "assigns come last", assigns_come_last },
    { "updates happen in place", updates_happen_in_place },
    { "wrong inputs are told", wrong_inputs_are_told },
    { "wrong stores are told", wrong_stores_are_told },
    { "failing nodes are named", failing_nodes_are_named },
    { "memory limits hold", memory_limits_hold },
    { "failed allocations are errors", failed_allocations_are_errors },
    { "watches find the first NaN", watches_find_the_first_nan },
    { "runs allocate nothing", runs_allocate_nothing },
};
TN_TEST_MAIN_WITH("exec", tests, set_up, tear_down)
