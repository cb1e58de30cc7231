// tn-test: timeout=300
/* test_resume.c: a run that is killed with SIGKILL twenty times and resumed ends with the bits of
 * one that never was, with one and with two threads, with and without workers. */
#include <signal.h>
#include <stdlib.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"

#define KILLS 20

static const char config[] =
    "local tn = require 'tenon'\n"
    "local nn = tn.nn\n"
    "local workers = tn.arg('workers', 0, {help = 'of the reading stage'})\n"
    "return tn.experiment {\n"
    "  name = 'killed', seed = 11,\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {1, 8, 8}, classes = 4, length = 500 }, "
    "batch = 16,\n"
    "                           shuffle = true, workers = workers },\n"
    "    map = tn.stage.map { from = 'read', apply = function(b) return { x = b.x * 0.5, y = b.y } "
    "end },\n"
    "    train = tn.stage.train {\n"
    "      from = 'map', input = 'x', target = 'y', epochs = 250, log_every = 10, checkpoint_every "
    "= '20ms', keep = 2,\n"
    "      model = nn.sequential { nn.conv {4, 3, padding = 1}, nn.batch_norm {}, nn.relu {}, "
    "nn.max_pool {2},\n"
    "                              nn.flatten {}, nn.dropout {0.3}, nn.linear {4} },\n"
    "      loss = tn.loss.cross_entropy {}, metrics = { accuracy = tn.metric.accuracy {} },\n"
    "      optimizer = tn.optim.adam { lr = tn.schedule.cosine { 1e-2, steps = 8000 } },\n"
    "    },\n"
    "  },\n"
    "  loggers = { tn.logger.progress {}, tn.logger.tensorboard {} },\n"
    "}\n";

static char *config_path;

static void
setup(void)
{
    config_path = tn_test_tmp_path("killed.lua");
    tn_test_write_file(config_path, config, -1);
}

static void
teardown(void)
{
    g_free(config_path);
}

static TnRunDir *
open_run(const char *root, GError **error)
{
    return tn_run_open(root, "killed", FALSE, error);
}

/* All variables at the end of a run, as one digest; *step of it. */
static guint64
final_digest(const char *root, gint64 *step)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = open_run(root, &error);
    TN_REQUIRE_NO_ERROR(error);
    *step = tn_checkpoint_newest(run);
    g_autofree char *path = g_strdup_printf("%s/checkpoints/%012" G_GINT64_FORMAT ".safetensors",
                                            tn_run_path(run), *step);
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, &error);
    TN_REQUIRE_NO_ERROR(error);
    guint64 hash = TN_HASH_INIT;
    TN_ASSERT_CMPUINT(tn_safetensors_n(file), >, 10);
    for (guint i = 0; i < tn_safetensors_n(file); i++) {
        hash = tn_hash(hash, tn_safetensors_name(file, i), strlen(tn_safetensors_name(file, i)));
        hash = tn_hash(hash, tn_safetensors_data(file, i),
                       (gsize)tn_type_bytes(tn_safetensors_type(file, i)));
    }
    return hash;
}

static double whole_seconds; /* that a run takes which is not killed */

static guint64
never_killed(const char *threads, const char *workers)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *root = tn_test_tmp_path("whole-%s-%s", threads, workers);
    g_autofree char *override = g_strdup_printf("workers=%s", workers);
    gint64 step;
    tn_test_tenon(&child, "run", "--runs", root, "--threads", threads, config_path, override, NULL);
    TN_ASSERT_EXIT(&child, 0);
    whole_seconds = child.seconds;
    guint64 digest = final_digest(root, &step);
    TN_ASSERT_CMPINT(step, ==, 250 * 32);
    return digest;
}

/* One process, killed after a random while unless it ends before. Returns TRUE if it ended. */
static gboolean
run_a_while(const char *root, const char *threads, const char *workers, gboolean first,
            TnRandom *random)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *program = tn_test_build_path("tenon");
    g_autofree char *override = g_strdup_printf("workers=%s", workers);
    const char *const run[] = { program, "run",       "--runs", root, "--threads",
                                threads, config_path, override, NULL };
    const char *const resume[] = { program,     "resume", "--runs", root,
                                   "--threads", threads,  "killed", NULL };
    TnChildOptions options = { .timeout = 60, .signal_number = SIGKILL };
    options.signal_after = 0.02 + MAX(0.2, whole_seconds / 30) * tn_random_f64(random);
    tn_test_spawn(&child, first ? run : resume, &options);
    if (child.signal == SIGKILL)
        return FALSE;
    TN_ASSERT_EXIT(&child, 0);
    return TRUE;
}

/* Killed before it had a folder, it is simply begun again. */
static gboolean
has_run(const char *root)
{
    g_autoptr(TnRunDir) run = open_run(root, NULL);
    g_autofree char *provenance =
        run ? g_build_filename(tn_run_path(run), "provenance.json", NULL) : NULL;
    return provenance && g_file_test(provenance, G_FILE_TEST_EXISTS);
}

/* One run, killed until it ends or `kills` reaches KILLS, and then left to end: what it gives. */
static guint64
killed_run(const char *root, const char *threads, const char *workers, TnRandom *random,
           guint *kills)
{
    gint64 step;
    gboolean ended = FALSE;
    while (!ended && *kills < KILLS) {
        ended = run_a_while(root, threads, workers, !has_run(root), random);
        *kills += !ended;
    }
    if (!ended) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *override = g_strdup_printf("workers=%s", workers);
        if (has_run(root))
            tn_test_tenon(&child, "resume", "--runs", root, "--threads", threads, "killed", NULL);
        else
            tn_test_tenon(&child, "run", "--runs", root, "--threads", threads, config_path,
                          override, NULL);
        TN_ASSERT_EXIT(&child, 0);
    }
    guint64 digest = final_digest(root, &step);
    TN_ASSERT_CMPINT(step, ==, 250 * 32);
    return digest;
}

/* Killed KILLS times; a quick machine ends a run before that, and then does another. */
static void
killed(const char *threads, const char *workers, guint64 expected)
{
    TnRandom random;
    guint kills = 0;
    tn_random_init(&random, tn_test_seed(), "kills", 0);
    for (guint round = 0; kills < KILLS; round++) {
        g_autofree char *root = tn_test_tmp_path("killed-%s-%s-%u", threads, workers, round);
        const guint before = kills;
        TN_ASSERT_CMPUINT(killed_run(root, threads, workers, &random, &kills), ==, expected);
        TN_REQUIRE(kills > before || round < 100); /* else nothing is ever killed */
    }
}

static void
the_same_bits(void)
{
    guint64 expected = never_killed("1", "0");
    TN_ASSERT_CMPUINT(never_killed("2", "0"), ==, expected);
    TN_ASSERT_CMPUINT(never_killed("2", "2"), ==, expected);
    killed("1", "0", expected);
    killed("2", "0", expected);
    killed("2", "2", expected);
}

static void
sigint_ends_cleanly(void)
{
    g_auto(TnChild) child = { 0 }, again = { 0 };
    g_autofree char *root = tn_test_tmp_path("interrupted"), *program = tn_test_build_path("tenon");
    g_autoptr(GError) error = NULL;
    const char *const argv[] = { program,
                                 "run",
                                 "--runs",
                                 root,
                                 config_path,
                                 "train.epochs=100000",
                                 "train.checkpoint_every=1h",
                                 NULL };
    TnChildOptions options = { .timeout = 60, .signal_number = SIGINT, .signal_when_text = "step" };
    tn_test_spawn(&child, argv, &options);
    TN_ASSERT_CMPINT(child.signal, ==, 0);
    TN_ASSERT_EXIT(&child, 1);
    TN_ASSERT_CONTAINS(child.out, "tenon resume");
    g_autoptr(TnRunDir) run = open_run(root, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_checkpoint_newest(run), >, 0);
    g_autoptr(TnValue) status = tn_run_get_json(run, "status.json", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(status, "state")), "stopped");
    tn_test_tenon(&again, "resume", "--runs", root, "killed", "train.epochs=1", NULL);
    TN_ASSERT_EXIT(&again, 0);
}

static void
a_second_writer_is_refused(void)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *root = tn_test_tmp_path("held");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = tn_run_create(root, "killed", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_run_put(run, "provenance.json", "{}", &error)); /* it has begun */
    tn_test_tenon(&child, "resume", "--runs", root, "killed", NULL);
    TN_ASSERT_EXIT(&child, 1);
    TN_ASSERT_CONTAINS(child.err, "another process");
}

static const TnTest tests[] = {
    { "the same bits", the_same_bits },
    { "SIGINT ends cleanly", sigint_ends_cleanly },
    { "a second writer is refused", a_second_writer_is_refused },
};
TN_TEST_MAIN_WITH("resume", tests, setup, teardown)
