/* test_lua.c: runs the tests written in Lua: every *.lua here that is a config is loaded and run in
 * a host of its own. */
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
maml(void)
{
    run("maml");
}

static const TnTest tests[] = {
    { "layers", layers },   { "schedules", schedules }, { "optimisers", optimisers },
    { "eager", eager },     { "models", models },       { "training", training },
    { "control", control }, { "maml", maml },
};
TN_TEST_MAIN("lua", tests)
