// tn-test: timeout=240
/* test_profile_verbs.c: `run --profile`, `resume --profile` and `bench --profile`: the files and
 * lines that they leave, and that a profiled run has the bits of one that is not. */
#include <stdlib.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"

static const char config[] =
    "local tn = require 'tenon'\n"
    "local nn = tn.nn\n"
    "local epochs = tn.arg('epochs', 3, {help = 'of the run'})\n"
    "local workers = tn.arg('workers', 0, {help = 'of the reading stage'})\n"
    "return tn.experiment {\n"
    "  name = 'profiled', seed = 11,\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {1, 8, 8}, classes = 4, length = 100 }, "
    "batch = 16,\n"
    "                           shuffle = true, workers = workers },\n"
    "    map = tn.stage.map { from = 'read', apply = function(b) return { x = b.x * 0.5, y = b.y } "
    "end },\n"
    "    train = tn.stage.train {\n"
    "      from = 'map', input = 'x', target = 'y', epochs = epochs, log_every = 4,\n"
    "      model = nn.sequential { nn.conv {4, 3, padding = 1}, nn.batch_norm {}, nn.relu {}, "
    "nn.max_pool {2},\n"
    "                              nn.flatten {}, nn.dropout {0.3}, nn.linear {4} },\n"
    "      loss = tn.loss.cross_entropy {}, optimizer = tn.optim.adam { lr = 1e-2 },\n"
    "    },\n"
    "  },\n"
    "}\n";

static char *config_path;

static void
setup(void)
{
    config_path = tn_test_tmp_path("profiled.lua");
    tn_test_write_file(config_path, config, -1);
}

static void
teardown(void)
{
    g_free(config_path);
}

static TnRunDir *
open_run(const char *root)
{
    g_autoptr(GError) error = NULL;
    TnRunDir *run = tn_run_open(root, "profiled", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    return run;
}

/* A file of the run's folder, NULL if it is not there. (transfer full). */
static char *
file_of(const char *root, const char *name)
{
    g_autoptr(TnRunDir) run = open_run(root);
    g_autofree char *path = g_build_filename(tn_run_path(run), name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS) ? tn_test_read_file(path, NULL) : NULL;
}

/* All variables of the newest checkpoint. */
static guint64
digest(const char *root)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = open_run(root);
    g_autofree char *path = g_strdup_printf("%s/checkpoints/%012" G_GINT64_FORMAT ".safetensors",
                                            tn_run_path(run), tn_checkpoint_newest(run));
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, &error);
    TN_REQUIRE_NO_ERROR(error);
    guint64 hash = TN_HASH_INIT;
    TN_ASSERT_CMPUINT(tn_safetensors_n(file), >, 8);
    for (guint i = 0; i < tn_safetensors_n(file); i++)
        hash = tn_hash(hash, tn_safetensors_data(file, i),
                       (gsize)tn_type_bytes(tn_safetensors_type(file, i)));
    return hash;
}

/* The number in the column of a line that begins with label. */
static double
column(const char *text, const char *label, guint number)
{
    g_autofree char *head = g_strdup_printf("\n%s ", label);
    const char *line = strstr(text, head);
    TN_REQUIRE(line != NULL);
    char *at = (char *)line + strlen(head);
    double value = 0;
    for (guint i = 0; i <= number; i++) {
        at += strspn(at, " %");
        value = g_ascii_strtod(at, &at);
    }
    return value;
}

/* The same weights to the last bit, the same log but for the times. */
static void
profiled_runs_keep_their_bits(void)
{
    g_autofree char *plain = tn_test_tmp_path("plain"), *watched = tn_test_tmp_path("watched"),
                    *threads = tn_test_tmp_path("threads");
    g_auto(TnChild) a = { 0 }, b = { 0 }, c = { 0 };
    tn_test_tenon(&a, "run", "--runs", plain, config_path, NULL);
    tn_test_tenon(&b, "run", "--profile", "--runs", watched, config_path, NULL);
    tn_test_tenon(&c, "run", "--profile", "--threads", "2", "--runs", threads, config_path,
                  "workers=2", NULL);
    TN_ASSERT_EXIT(&a, 0);
    TN_ASSERT_EXIT(&b, 0);
    TN_ASSERT_EXIT(&c, 0);
    TN_ASSERT_CMPUINT(digest(plain), ==, digest(watched));
    TN_ASSERT_CMPUINT(digest(plain), ==, digest(threads));
    g_autofree char *none = file_of(plain, "profile.txt"), *no_trace = file_of(plain, "trace.json");
    TN_ASSERT(!none && !no_trace);
    TN_ASSERT(!strstr(a.out, "trace.json"));
}

static void
files_are_written_and_named(void)
{
    g_autofree char *runs = tn_test_tmp_path("files");
    g_auto(TnChild) child = { 0 };
    g_autoptr(GError) error = NULL;
    tn_test_tenon(&child, "run", "--profile", "--runs", runs, config_path, NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_autofree char *text = file_of(runs, "profile.txt"), *trace = file_of(runs, "trace.json");
    g_autoptr(TnRunDir) run = open_run(runs);
    TN_REQUIRE(text && trace);
    TN_ASSERT_CONTAINS(child.out, tn_run_path(run));
    TN_ASSERT_CONTAINS(child.out, "/profile.txt");
    TN_ASSERT_CONTAINS(child.out, "/trace.json");
    g_autoptr(TnValue) value = tn_json_parse(trace, strlen(trace), &error);
    TN_ASSERT_NO_ERROR(error);
    static const char *const words[] = {
        "cpu/cpu-conv", "model.1.conv", "waiting for frames of", "stage ",    "alive at",
        "variables",    "compiling",    "checkpoints",           "preparing", "Lua, and all else"
    };
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        TN_ASSERT_CONTAINS(text, words[i]);
    /* Of 100 samples 7 batches an epoch, the last of another size. */
    TN_ASSERT_CMPFLOAT(column(text, "map", 0), >=, 21); /* made; one ahead at most */
    TN_ASSERT_CMPFLOAT(column(text, "map", 0), <=, 22);
    TN_ASSERT_CMPFLOAT(column(text, "map", 3), ==, 21); /* taken */
    /* The first "sum" is of the wall time. */
    TN_ASSERT_CMPFLOAT(column(text, "sum", 1), ==, 100);
}

/* With --json standard output is one value. */
static void
json_stays_json(void)
{
    g_autofree char *runs = tn_test_tmp_path("json");
    g_auto(TnChild) child = { 0 };
    g_autoptr(GError) error = NULL;
    tn_test_tenon(&child, "--json", "run", "--profile", "--runs", runs, config_path, NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_autoptr(TnValue) value = tn_json_parse(child.out, strlen(child.out), &error);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CONTAINS(child.err, "/trace.json");
}

/* A profiled run that was stopped goes on, profiled or not, to the same weights. */
static void
profiled_runs_resume(void)
{
    g_autofree char *whole = tn_test_tmp_path("whole"), *parts = tn_test_tmp_path("parts");
    g_auto(TnChild) a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    tn_test_tenon(&a, "run", "--runs", whole, config_path, "epochs=6", NULL);
    tn_test_tenon(&b, "run", "--profile", "--runs", parts, config_path, "epochs=2", NULL);
    TN_ASSERT_EXIT(&a, 0);
    TN_ASSERT_EXIT(&b, 0);
    g_autofree char *first = file_of(parts, "profile.txt");
    tn_test_tenon(&c, "resume", "--runs", parts, "profiled", "epochs=4", NULL);
    TN_ASSERT_EXIT(&c, 0);
    g_autofree char *same = file_of(parts, "profile.txt");
    TN_ASSERT_CMPSTR(first, same); /* of the part that was profiled */
    tn_test_tenon(&d, "resume", "--profile", "--runs", parts, "profiled", "epochs=6", NULL);
    TN_ASSERT_EXIT(&d, 0);
    TN_ASSERT_CONTAINS(d.out, "/profile.txt");
    g_autofree char *last = file_of(parts, "profile.txt");
    TN_ASSERT(g_strcmp0(first, last) != 0);
    TN_ASSERT_CMPUINT(digest(whole), ==, digest(parts));
}

/* A run that fails leaves the profile of what it did. */
static void
failing_runs_are_profiled(void)
{
    g_autofree char *runs = tn_test_tmp_path("failing");
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "run", "--profile", "--runs", runs, config_path,
                  "train.optimizer.lr=1e38", "train.log_every=1", NULL);
    TN_ASSERT_EXIT(&child, 1);
    g_autofree char *text = file_of(runs, "profile.txt");
    TN_ASSERT_CONTAINS(text, "cpu/cpu-conv");
}

static void
bad_options(void)
{
    static const struct {
        const char *args[4];
        gint code;
        const char *word;
    } table[] = {
        { { "run", "--profil", "x.lua" }, 2, "--profile" },
        { { "run", "--profile=maybe", "x.lua" }, 2, "profile" },
        { { "run", "--profile", "/nowhere/x.lua" }, 2, "/nowhere/x.lua" },
        { { "run", "--profile" }, 2, "CONFIG" },
        { { "bench", "--profile", "train_mpl" }, 2, "train_mlp" },
        { { "run", "--help" }, 0, "profile.txt and trace.json" },
        { { "resume", "--help" }, 0, "profile.txt and trace.json" },
        { { "bench", "--help" }, 0, "--profile" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_auto(TnChild) child = { 0 };
        const char *const *a = table[i].args;
        tn_test_tenon(&child, a[0], a[1], a[2], NULL);
        g_autofree char *all = g_strconcat(child.out, child.err, NULL);
        TN_ASSERT_EXIT(&child, table[i].code);
        TN_ASSERT_CONTAINS(all, table[i].word);
    }
}

/* --- bench ------------------------------------------------------------------------------------ */

/* What stands behind "NAME\tVALUE\tUNIT\t"; the value in *value. */
static void
check_line(const char *out, const char *name, const char *unit, double *value)
{
    g_autofree char *head = g_strdup_printf("%s\t", name), *tail = g_strdup_printf("\t%s\t", unit);
    const char *line = strstr(out, head);
    char *end = NULL;
    TN_REQUIRE(line != NULL && (line == out || line[-1] == '\n'));
    *value = g_ascii_strtod(line + strlen(head), &end);
    TN_ASSERT(g_str_has_prefix(end, tail));
    TN_ASSERT(end[strlen(tail)] != '\n');
}

/* The line for people behind the figures. */
static void
read_remark(const char *out, double *gflops, double *share, double *peak, double *rss)
{
    const char *line = strstr(out, "\ntrain_tiny: ");
    TN_REQUIRE(line != NULL);
    TN_REQUIRE(
        sscanf(line + 1,
               "train_tiny: %lf GFLOP/s by the operators' own count, %lf %% of the peak (%lf, "
               "products of 1024 x 1024 f32); %lf MiB resident at most",
               gflops, share, peak, rss) == 4);
}

static void
bench_says_more(void)
{
    g_auto(TnChild) plain = { 0 }, table = { 0 }, none = { 0 };
    double rate, mean, gflops, share, peak, rss;
    tn_test_tenon(&plain, "bench", "--seconds", "0.05", "train_tiny", NULL);
    TN_ASSERT_EXIT(&plain, 0);
    check_line(plain.out, "train_tiny", "samples/s", &rate);
    check_line(plain.out, "train_tiny.mean", "samples/s", &mean);
    read_remark(plain.out, &gflops, &share, &peak, &rss);
    /* The products alone of forward and backward passes are 2 and 4 operations a weight and sample,
     * but for the first layer's inputs, which need no gradient. */
    const double least = 6.0 * (4 * 64 + 64 * 64 + 64 * 2) - 2 * 4 * 64;
    TN_ASSERT_CMPFLOAT(1e9 * gflops / rate, >, least);
    TN_ASSERT_CMPFLOAT(1e9 * gflops / rate, <, 2 * least);
    TN_ASSERT_CMPFLOAT(fabs(share - 100 * gflops / peak), <=, 0.01 * share);
    TN_ASSERT_CMPFLOAT(rss, >, 1);
    TN_ASSERT_CMPFLOAT(rss, <, 2000);
    TN_ASSERT(!strstr(plain.out, "plugin/kernel"));

    tn_test_tenon(&table, "bench", "--profile", "--seconds", "0.05", "train_tiny", NULL);
    TN_ASSERT_EXIT(&table, 0);
    read_remark(table.out, &gflops, &share, &peak, &rss);
    TN_ASSERT_CONTAINS(table.out, "plugin/kernel");
    TN_ASSERT_CONTAINS(table.out, "adam_step");
    tn_test_tenon(&none, "bench", "--profile", "--seconds", "0.01", "startup", NULL);
    TN_ASSERT_EXIT(&none, 0);
    TN_ASSERT_CONTAINS(none.err, "startup: there is no table");
}

static const TnTest tests[] = {
    { "profiled runs keep their bits", profiled_runs_keep_their_bits },
    { "files are written and named", files_are_written_and_named },
    { "json stays json", json_stays_json },
    { "profiled runs resume", profiled_runs_resume },
    { "failing runs are profiled", failing_runs_are_profiled },
    { "bad options", bad_options },
    { "bench says more", bench_says_more },
};
TN_TEST_MAIN_WITH("profile verbs", tests, setup, teardown)
