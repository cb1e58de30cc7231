/* test_lua.c: runs the tests written in Lua: every *.lua here that is a config is loaded and run in
 * a host of its own. */
// tn-test: timeout=180
#include <string.h>
#include <tenon/base.h>
#include <tenon/host.h>

#include "tn_test.h"

/* Loads and runs tests/lua/NAME.lua; a failed check of it is this test's failure. */
static void
run(const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autofree char *below = g_strdup_printf("tests/lua/%s.lua", name);
    g_autofree char *path = tn_test_source_path(below);
    g_autoptr(TnHost) host = tn_host_new(NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    tn_faults_to_error(faults, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnJob) job = tn_job_prepare(host, root, NULL, FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_job_run(job, &error), ==, TN_OK);
    TN_ASSERT_NO_ERROR(error);
}

static void
layers(void)
{
    run("layers");
}

static void
schedules(void)
{
    run("schedules");
}

static void
optimisers(void)
{
    run("optimisers");
}

static void
eager(void)
{
    run("eager");
}

static void
numbers(void)
{
    run("numbers");
}

static void
jit(void)
{
    run("jit");
}

static void
zero_sizes(void)
{
    run("zero_sizes");
}

static void
models(void)
{
    run("models");
}

static void
training(void)
{
    run("training");
}

static void
control(void)
{
    run("control");
}

static void
fast_math(void)
{
    run("fast_math");
}

static void
forgetting(void)
{
    run("forgetting");
}

typedef struct {
    guint n;
    gboolean traced, narrow;
} Heard;

static void
hear(const char *category, TnLogLevel level, const char *line, gpointer data)
{
    Heard *heard = data;
    if (strcmp(category, "config") == 0 && level == TN_LOG_INFO) {
        heard->n++;
        heard->traced |= strstr(line, "argument 1 was f32[2], is f32[3]; argument 2 was f32[2], is "
                                      "f32[3]: traced again, 2 of at most 16") != NULL;
        heard->narrow |= strstr(line, "argument 1 was bf16[5, 40], is f32[33, 40]; ") != NULL;
    }
}

/* A function that is traced for other types says for which, once each. */
static void
jit_says_what_changed(void)
{
    Heard heard = { 0 };
    TN_REQUIRE(tn_log_set_filter("*:info", NULL));
    const guint sink = tn_log_add_sink(hear, &heard);
    run("eager");
    tn_log_remove_sink(sink);
    TN_ASSERT(heard.traced && heard.narrow);
    TN_ASSERT_CMPUINT(heard.n, <=, 6);
}

static void
maml(void)
{
    run("maml");
}

static void
hessian(void)
{
    run("hessian");
}

static const TnTest tests[] = {
    { "layers", layers },
    { "schedules", schedules },
    { "optimisers", optimisers },
    { "eager", eager },
    { "numbers", numbers },
    { "jit", jit },
    { "zero sizes", zero_sizes },
    { "models", models },
    { "training", training },
    { "control", control },
    { "fast math", fast_math },
    { "forgetting", forgetting },
    { "maml", maml },
    { "hessian", hessian },
    { "jit says what changed", jit_says_what_changed },
};
TN_TEST_MAIN("lua", tests)
