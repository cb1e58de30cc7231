/* test_far.c: programs on a device whose memory nobody else can touch and whose streams run
 * late, alone and together with a device on the host. */
// tn-test: timeout=180 label=threads
#include <pthread.h>
#include <tenon/base.h>
#include <tenon/ops.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *ref, *far2, *far1, *half;

static void
set_up(void)
{
    ref = tn_test_device("ref");
    far2 = tn_test_device("far");
    far1 = tn_test_device("far:1");
    half = tn_test_device("half");
}

static void
tear_down(void)
{
    tn_device_unref(ref);
    tn_device_unref(far2);
    tn_device_unref(far1);
    tn_device_unref(half);
}

static guint64
n_seeds(guint64 n)
{
    const char *text = g_getenv("TN_SEEDS");
    return text != NULL ? g_ascii_strtoull(text, NULL, 10) : n;
}

/* Graphs made at random give on `devices` what they give on ref. */
static void
check_seeds(guint64 first, TnDevice *const *devices, guint n, const char *what)
{
    for (guint64 seed = first; seed < first + n_seeds(25); seed++) {
        g_auto(TnRandomGraph) random = { 0 };
        tn_random_graph(&random, seed, 24, NULL);
        const TnCompile plain = { .devices = &ref, .n_devices = 1 };
        const TnCompile options = { .devices = devices, .n_devices = n };
        g_autofree char *want = tn_random_graph_run(&random, &plain, 2);
        g_autofree char *got = tn_random_graph_run(&random, &options, 2);
        if (g_strcmp0(want, got) != 0) {
            g_autofree char *graph = tn_graph_print(random.graph);
            TN_FAIL("seed %d on %s\n%s\nref:\n%s\n%s:\n%s", (int)seed, what, graph, want, what,
                    got);
        }
    }
}

static void
one_stream(void)
{
    check_seeds(0, &far1, 1, "far:1");
}

static void
two_streams(void)
{
    check_seeds(100, &far2, 1, "far");
}

static void
with_a_host_device_first(void)
{
    TnDevice *const devices[] = { half, far2 };
    check_seeds(200, devices, 2, "half, far");
}

static void
two_far_devices_and_the_host(void)
{
    TnDevice *const devices[] = { half, far1, far2, ref };
    check_seeds(300, devices, 4, "half, far:1, far, ref");
}

/* Many independent chains: both streams are used, and waits are there only where needed. */
static void
streams_wait_for_each_other(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("streams");
    const gint64 dims[] = { 8 };
    TnVal chain[4];
    for (guint i = 0; i < 4; i++) {
        g_autofree char *name = g_strdup_printf("x%u", i);
        chain[i] = tn_graph_input(graph, name, tn_type(TN_DTYPE_F32, 1, dims));
        for (guint k = 0; k < 5; k++) {
            chain[i] = tn_f_tanh(graph, chain[i]);
        }
    }
    tn_graph_output(
        graph, "y",
        tn_f_add(graph, tn_f_mul(graph, chain[0], chain[1]), tn_f_mul(graph, chain[2], chain[3])));
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = &far2, .n_devices = 1 };
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *text = tn_program_print(program);
    TN_ASSERT_CONTAINS(text, "stream 1");
    TN_ASSERT_CONTAINS(text, "stream 2");
    TN_ASSERT_CONTAINS(text, "wait");
    TN_ASSERT_CONTAINS(text, "signal");
}

static TnProgram *
index_program(TnDevice *device)
{
    g_autoptr(TnGraph) graph = tn_graph_new("index");
    const gint64 ten[] = { 10 }, three[] = { 3 };
    const TnVal in[] = { tn_graph_input(graph, "data", tn_type(TN_DTYPE_F32, 1, ten)),
                         tn_graph_input(graph, "i", tn_type(TN_DTYPE_I64, 1, three)) };
    tn_graph_output(graph, "y", tn_graph_op(graph, "gather", NULL, 2, in, NULL));
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = &device, .n_devices = 1 };
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

/* A stream tells of a failure late, but it tells, and the next run is sound. */
static void
late_failures_are_told(void)
{
    g_autoptr(TnProgram) program = index_program(far2);
    g_autoptr(TnExec) exec = tn_exec_new(program, NULL, NULL, NULL);
    const gint64 ten[] = { 10 }, three[] = { 3 };
    const gint64 bad[] = { 1, 99, 2 }, good[] = { 1, 9, 2 };
    g_autoptr(TnTensor) data = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 1, ten), NULL);
    g_autoptr(TnTensor) wrong = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, three), bad, NULL);
    g_autoptr(TnTensor) right = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, three), good, NULL);
    TN_REQUIRE(exec != NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, data) == TN_OK && tn_exec_bind(exec, 1, wrong) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) != TN_OK);
    TN_REQUIRE(tn_exec_error(exec) != NULL);
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "99");
    TN_ASSERT(tn_exec_bind(exec, 1, right) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
}

/* Inputs that are on the device already are used where they are. */
static void
inputs_may_be_on_the_device(void)
{
    g_autoptr(TnProgram) program = index_program(far1);
    g_autoptr(TnExec) exec = tn_exec_new(program, NULL, NULL, NULL);
    g_autoptr(GError) error = NULL;
    const gint64 ten[] = { 10 }, three[] = { 3 }, index[] = { 1, 9, 2 };
    float numbers[10];
    for (guint i = 0; i < 10; i++) {
        numbers[i] = (float)i * 10;
    }
    g_autoptr(TnTensor) near_data = tn_tensor_from(tn_type(TN_DTYPE_F32, 1, ten), numbers, NULL);
    g_autoptr(TnTensor) data = tn_tensor_copy(near_data, far1, TN_DTYPE_NONE, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnTensor) elsewhere = tn_tensor_copy(near_data, far2, TN_DTYPE_NONE, &error);
    g_autoptr(TnTensor) i = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, three), index, NULL);
    TN_REQUIRE(exec != NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, elsewhere) != TN_OK);
    TN_ASSERT_CONTAINS(tn_exec_error(exec)->message, "another device");
    TN_ASSERT(tn_exec_bind(exec, 0, data) == TN_OK && tn_exec_bind(exec, 1, i) == TN_OK);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TnTensor *out = tn_exec_output(exec, 0);
    TN_ASSERT(tn_tensor_device(out) == far1);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(out, 0), ==, 10);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(out, 1), ==, 90);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(out, 2), ==, 20);
}

/* --- Several execs of one program ------------------------------------------------------------- */

typedef struct {
    TnProgram *program;
    guint number;
    guint wrong;
} Worker;

static void *
work(void *data)
{
    Worker *worker = data;
    g_autoptr(TnExec) exec = tn_exec_new(worker->program, NULL, NULL, NULL);
    const gint64 ten[] = { 10 }, three[] = { 3 };
    for (guint run = 0; run < 20; run++) {
        float numbers[10];
        const gint64 index[] = { run % 10, 9, worker->number % 10 };
        for (guint i = 0; i < 10; i++) {
            numbers[i] = (float)(i * 1000 + run * 10 + worker->number);
        }
        g_autoptr(TnTensor) in = tn_tensor_from(tn_type(TN_DTYPE_F32, 1, ten), numbers, NULL);
        g_autoptr(TnTensor) at = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, three), index, NULL);
        worker->wrong += tn_exec_bind(exec, 0, in) != TN_OK || tn_exec_bind(exec, 1, at) != TN_OK ||
                         tn_exec_run(exec) != TN_OK;
        g_autoptr(TnTensor) out =
            tn_tensor_copy(tn_exec_output(exec, 0), NULL, TN_DTYPE_NONE, NULL);
        for (guint i = 0; i < 3; i++) {
            worker->wrong += tn_tensor_get(out, i) != numbers[index[i]];
        }
    }
    return NULL;
}

static void
execs_run_at_once(void)
{
    TnDevice *const devices[] = { far2, ref };
    for (guint d = 0; d < 2; d++) {
        g_autoptr(TnProgram) program = index_program(devices[d]);
        Worker workers[4];
        pthread_t threads[4];
        for (guint i = 0; i < 4; i++) {
            workers[i] = (Worker){ program, i, 0 };
            TN_REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
        }
        for (guint i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            TN_ASSERT_CMPUINT(workers[i].wrong, ==, 0);
        }
    }
}

static const TnTest tests[] = {
    { "one stream", one_stream },
    { "two streams", two_streams },
    { "with a host device first", with_a_host_device_first },
    { "two far devices and the host", two_far_devices_and_the_host },
    { "streams wait for each other", streams_wait_for_each_other },
    { "late failures are told", late_failures_are_told },
    { "inputs may be on the device", inputs_may_be_on_the_device },
    { "execs run at once", execs_run_at_once },
};
TN_TEST_MAIN_WITH("far", tests, set_up, tear_down)
