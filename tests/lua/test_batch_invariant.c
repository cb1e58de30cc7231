/* test_batch_invariant.c: with `batch_invariant` a sample has the same bits in a batch of any size and
 * with any number of threads: tests/lua/batch_invariant.lua asks for it of every model. */
// tn-test: timeout=300 label=threads
#include <tenon/host.h>
#include <tenon/pool.h>

#include "tn_test.h"

/* The number that stands for the bits of all results of the last batch. */
static double
digest(guint threads, const char *device, const char *precision, gboolean quick)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autofree char *path = tn_test_source_path("tests/lua/batch_invariant.lua");
    g_autofree char *where = g_strdup_printf("device=%s", device);
    g_autofree char *how = g_strdup_printf("precision=%s", precision);
    /* What sanitizers watch is done many times in small batches too. */
    const char *const settings[] = { where, how,
                                     TN_TEST_SANITIZED || quick ? "quick=true" : "quick=false" };
    tn_pool_set_threads(threads);
    g_autoptr(TnHost) host = tn_host_new(NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnSpec) root = tn_host_load(host, path, G_N_ELEMENTS(settings), settings, faults);
    tn_faults_to_error(faults, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnJob) job = tn_job_prepare(host, root, NULL, FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_job_run(job, &error), ==, TN_OK);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnValue) result = tn_job_result(job);
    return tn_value_get_double(tn_value_get(result, "digest"));
}

/* That threads change no bit is seen without sanitizers too; they are there to watch several. */
static void
check(const char *device)
{
    const double of_many = digest(3, device, "f32", FALSE);
    if (!TN_TEST_SANITIZED) {
        TN_ASSERT_CMPFLOAT(of_many, ==, digest(1, device, "f32", FALSE));
    }
}

static void
models(void)
{
    check("cpu");
}

/* Beside a plugin whose kernels would be taken otherwise. */
static void
with_onednn(void)
{
    g_autoptr(GError) error = NULL;
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
        return;
    }
    check("cpu+onednn");
}

static void
bf16(void)
{
    (void)digest(2, "cpu", "bf16", TRUE);
    if (!TN_TEST_SANITIZED && tn_registry_open("onednn", NULL)) {
        (void)digest(2, "cpu+onednn", "bf16", TRUE);
    }
}

static const TnTest tests[] = {
    { "models", models },
    { "with oneDNN", with_onednn },
    { "bf16", bf16 },
};
TN_TEST_MAIN("batch invariant", tests)
