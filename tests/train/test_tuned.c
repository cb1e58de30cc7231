// tn-test: timeout=120
/* test_tuned.c: `tenon tune`, and runs with its table: which kernels they take, what they keep of it,
 * and that a resumed run does not see that the table has changed. */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include <glib/gstdio.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"
#include "weights.h"

/* 100 samples by 16: the last batch is smaller than what graphs are built for. */
static const char config[] =
    "local tn = require 'tenon'\n"
    "local epochs = tn.arg('epochs', 2, {help = 'how many'})\n"
    "return tn.experiment {\n"
    "  name = 'tuned', seed = 5,\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {7}, classes = 3, length = 100 }, batch "
    "= 16,\n"
    "                           shuffle = true },\n"
    "    train = tn.stage.train {\n"
    "      from = 'read', input = 'x', target = 'y', epochs = epochs,\n"
    "      model = tn.nn.sequential { tn.nn.linear {9}, tn.nn.tanh {}, tn.nn.linear {3} },\n"
    "      loss = tn.loss.cross_entropy {}, optimizer = tn.optim.adam { lr = 1e-2 },\n"
    "    },\n"
    "  },\n"
    "}\n";
/* Two kernels of the plugin cpu for a step of Adam: by rank, and by its body. */
static const char usual[] = "cpu-adam 1", plain[] = "cpu-elementwise 0";

static char *config_path, *table;

static void
setup(void)
{
    config_path = tn_test_tmp_path("tuned.lua");
    table = tn_test_tmp_path("tuned-costs.json");
    tn_test_write_file(config_path, config, -1);
    g_unlink(table);
    g_setenv("TENON_COSTS", table, TRUE);
}

static void
teardown(void)
{
    g_unsetenv("TENON_COSTS");
    g_free(config_path);
    g_free(table);
}

/* Tunes for the config; then the table says that a step of Adam is fastest by `winner`. */
static void
make_table(const char *winner)
{
    g_autoptr(GError) error = NULL;
    g_auto(TnChild) child = { 0 };
    guint n = 0;
    tn_test_tenon(&child, "tune", "--device", "cpu", "--seconds", "0.001", config_path, NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CONTAINS(child.out, "adam_step");
    g_autofree char *text = tn_test_read_file(table, NULL);
    g_autoptr(TnValue) file = tn_json_parse(text, strlen(text), &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnValue *rows = tn_value_get(file, "rows");
    for (gsize i = 0; i < tn_value_len(rows); i++) {
        TnValue *us = tn_value_get(tn_value_at(rows, i), "us");
        if (!tn_value_get(us, usual))
            continue;
        TN_ASSERT(tn_value_get(us, plain) != NULL);
        tn_value_set(us, usual, tn_value_double(strcmp(winner, usual) == 0 ? 1 : 9));
        tn_value_set(us, plain, tn_value_double(strcmp(winner, plain) == 0 ? 1 : 9));
        n++;
    }
    TN_ASSERT_CMPUINT(n, >, 2);
    g_autofree char *changed = tn_json_print(file, TRUE);
    tn_test_write_file(table, changed, -1);
}

/* --- Runs ------------------------------------------------------------------------------------- */

static TnRunDir *
open_run(const char *root)
{
    g_autoptr(GError) error = NULL;
    TnRunDir *run = tn_run_open(root, "tuned", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    return run;
}

static guint64
digest_at(const char *root, guint step)
{
    g_autoptr(TnRunDir) run = open_run(root);
    return weights_at(run, step);
}

/* How many steps of Adam the provenance says that a kernel has. */
static guint
n_chosen(const char *root, const char *id, gboolean *has_table)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = open_run(root);
    g_autoptr(TnValue) about = tn_run_get_json(run, TN_PROVENANCE, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnValue *choices = tn_value_get(about, TN_PROVENANCE_CHOICES);
    g_autofree char *copy = g_build_filename(tn_run_path(run), TN_RUN_COSTS, NULL);
    guint n = 0;
    for (gsize i = 0; i < tn_value_len(choices); i++)
        n += g_str_has_prefix(tn_value_key_at(choices, i), "cpu adam_step ") &&
             strcmp(tn_value_get_string(tn_value_at(choices, i)), id) == 0;
    *has_table = tn_value_get(about, TN_PROVENANCE_COSTS) != NULL;
    TN_ASSERT_CMPINT(*has_table, ==, g_file_test(copy, G_FILE_TEST_EXISTS));
    return n;
}

static void
run(TnChild *child, const char *root, const char *override)
{
    tn_test_tenon(child, "run", "--runs", root, config_path, override, NULL);
    TN_ASSERT_EXIT(child, 0);
}

static void
takes_the_table(void)
{
    g_autofree char *with = tn_test_tmp_path("tuned-with"), *without = tn_test_tmp_path("tuned-no");
    g_auto(TnChild) a = { 0 }, b = { 0 }, c = { 0 };
    gboolean has_table;
    run(&a, without, "epochs=1");
    TN_ASSERT_CMPUINT(n_chosen(without, usual, &has_table), ==, 4);
    TN_ASSERT(!has_table && !strstr(a.err, "tune"));
    make_table(plain);
    run(&b, with, "epochs=1");
    TN_ASSERT_CMPUINT(n_chosen(with, plain, &has_table), ==, 4);
    TN_ASSERT_CMPUINT(n_chosen(with, usual, &has_table), ==, 0);
    TN_ASSERT(has_table);
    tn_test_tenon(&c, "show", "--kernels", config_path, NULL);
    TN_ASSERT_EXIT(&c, 0);
    TN_ASSERT_CONTAINS(c.out, table);
    TN_ASSERT_CONTAINS(c.out, ": cpu-elementwise 0, measured, one of 2\n");
}

/* The same bits as one that was never interrupted, whatever has become of the table. */
static void
resumes_as_it_began(void)
{
    g_autofree char *whole = tn_test_tmp_path("tuned-whole"), *parts = tn_test_tmp_path("tuned-pa");
    g_auto(TnChild) a = { 0 }, b = { 0 }, c = { 0 };
    gboolean has_table;
    make_table(plain);
    run(&a, whole, "epochs=2");
    run(&b, parts, "epochs=1");
    make_table(usual);
    tn_test_tenon(&c, "resume", "--runs", parts, "tuned", "epochs=2", NULL);
    TN_ASSERT_EXIT(&c, 0);
    TN_ASSERT(!strstr(c.err, "warning"));
    TN_ASSERT_CMPUINT(n_chosen(parts, plain, &has_table), ==, 4);
    TN_ASSERT_CMPUINT(digest_at(parts, 14), ==, digest_at(whole, 14));
}

static void
bad_tables(void)
{
    static const char *const texts[] = { "nonsense", "{\"tenon-costs\": 9, \"machine\": {}, "
                                                     "\"plugins\": {}, \"rows\": []}" };
    g_autofree char *root = tn_test_tmp_path("tuned-bad");
    gboolean has_table;
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_auto(TnChild) child = { 0 };
        tn_test_write_file(table, texts[i], -1);
        run(&child, root, "epochs=1");
        const char *first = strstr(child.err, "kernels are chosen without it");
        TN_ASSERT(first != NULL && !strstr(first + 1, "kernels are chosen without it"));
        TN_ASSERT_CONTAINS(child.err, table);
        TN_ASSERT_CONTAINS(child.err, "`tenon tune --anew` makes another");
        TN_ASSERT_CMPUINT(n_chosen(root, usual, &has_table), ==, 4);
        TN_ASSERT(!has_table);
    }
}

static void
tune_some(TnChild *child, const char *more)
{
    tn_test_tenon(child, "tune", "--device", "cpu", "--ops", "adam_step", "--seconds", "0.001",
                  config_path, more, NULL);
}

static gsize
n_rows(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnCosts) costs = tn_costs_load(table, TRUE, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    return tn_value_len(tn_costs_rows(costs));
}

/* Whatever stands there is no table: cut short, and somebody's poem. It is replaced when that is asked. */
static void
what_is_no_table_stays(void)
{
    make_table(usual);
    g_autofree char *cut = tn_test_read_file(table, NULL);
    cut[strlen(cut) / 2] = 0;
    const char *const texts[] = { cut, "Shall I compare thee to a summer's day?\n", "" };
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_auto(TnChild) refused = { 0 }, anew = { 0 };
        tn_test_write_file(table, texts[i], -1);
        tune_some(&refused, NULL);
        TN_ASSERT_EXIT(&refused, 1);
        TN_ASSERT_CONTAINS(refused.err, table);
        TN_ASSERT_CONTAINS(refused.err, "`tenon tune --anew` replaces it");
        g_autofree char *got = tn_test_read_file(table, NULL);
        TN_ASSERT_CMPSTR(got, texts[i]);
        tune_some(&anew, "--anew");
        TN_ASSERT_EXIT(&anew, 0);
        TN_ASSERT_CMPUINT(n_rows(), >, 2);
    }
}

/* A table all right, but not of here: it is no use to anybody. */
static void
of_elsewhere_is_replaced(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_write_file(table,
                       "{\"tenon-costs\": 1, \"machine\": {\"processor\": \"Abacus\"}, "
                       "\"plugins\": {}, \"rows\": []}",
                       -1);
    tune_some(&child, NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CONTAINS(child.err, "measured where processor was \"Abacus\"");
    TN_ASSERT_CONTAINS(child.err, "a new table takes its place");
    TN_ASSERT_CMPUINT(n_rows(), >, 2);
}

/* A table that was measured with another library. */
static void
other_library(void)
{
    g_autofree char *root = tn_test_tmp_path("tuned-library");
    g_auto(TnChild) child = { 0 };
    gboolean has_table;
    make_table(plain);
    g_setenv("TENON_CPU_ISA", "portable", TRUE);
    run(&child, root, "epochs=1");
    g_unsetenv("TENON_CPU_ISA");
    TN_ASSERT_CONTAINS(child.err, "measured where cpu was ");
    TN_ASSERT_CMPUINT(n_chosen(root, usual, &has_table), ==, 4);
    TN_ASSERT(!has_table);
}

static void
tunes_what_is_asked(void)
{
    g_auto(TnChild) none = { 0 }, absent = { 0 }, some = { 0 }, off = { 0 }, wrong = { 0 };
    g_auto(TnChild) unknown = { 0 }, choice = { 0 }, empty = { 0 };
    g_autofree char *fresh = g_strconcat(table, ".fresh", NULL);
    g_setenv("TENON_COSTS", fresh, TRUE);
    tn_test_tenon(&none, "tune", "--device", "cpu", "--ops", "tanh", config_path, NULL);
    TN_ASSERT_EXIT(&none, 0);
    TN_ASSERT_CONTAINS(none.err, "nothing to measure: there is no choice");
    tn_test_tenon(&absent, "tune", "--device", "cpu", "--ops", "conv", config_path, NULL);
    TN_ASSERT_EXIT(&absent, 0);
    TN_ASSERT_CONTAINS(absent.err, "nothing to measure: no node is of these operators");
    tn_test_tenon(&unknown, "tune", "--ops", "tanh,matmal", config_path, NULL);
    TN_ASSERT_EXIT(&unknown, 2);
    TN_ASSERT_CONTAINS(unknown.err, "matmal");
    tn_test_tenon(&empty, "tune", "--ops", "", config_path, NULL);
    TN_ASSERT_EXIT(&empty, 2);
    TN_ASSERT_CONTAINS(empty.err, "there is no operator ''");
    tn_test_tenon(&some, "tune", "--device", "cpu", "--ops", "tanh,adam_step", "--seconds", "0.001",
                  "--json", config_path, NULL);
    TN_ASSERT_EXIT(&some, 0);
    TN_ASSERT_CONTAINS(some.out, "\"cpu-adam 1\": ");
    TN_ASSERT(!strstr(some.out, "matmul"));
    /* That the table has something does not make a choice. */
    tn_test_tenon(&choice, "tune", "--device", "cpu", "--ops", "tanh", "--missing", config_path,
                  NULL);
    TN_ASSERT_EXIT(&choice, 0);
    TN_ASSERT_CONTAINS(choice.err, "nothing to measure: there is no choice");
    g_setenv("TENON_COSTS", "none", TRUE);
    tn_test_tenon(&off, "tune", config_path, NULL);
    TN_ASSERT_EXIT(&off, 2);
    TN_ASSERT_CONTAINS(off.err, "TENON_COSTS is none");
    g_setenv("TENON_COSTS", table, TRUE);
    tn_test_tenon(&wrong, "tune", "--device", "abacus", NULL);
    TN_ASSERT_EXIT(&wrong, 2);
    TN_ASSERT_CONTAINS(wrong.err, "abacus");
}

/* The table that was there stays whole, and nothing is left beside it. */
static void
a_full_disk(void)
{
    g_auto(TnChild) child = { 0 };
    struct rlimit before, little;
    make_table(usual);
    g_autofree char *want = tn_test_read_file(table, NULL);
    g_autofree char *folder = g_path_get_dirname(table);
    TN_REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    little = (struct rlimit){ .rlim_cur = 100, .rlim_max = before.rlim_max };
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    TN_REQUIRE(setrlimit(RLIMIT_FSIZE, &little) == 0);
    tn_test_tenon(&child, "tune", "--device", "cpu", "--ops", "adam_step", "--seconds", "0.001",
                  config_path, NULL);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    TN_ASSERT_EXIT(&child, 1);
    TN_ASSERT_CONTAINS(child.err, "cannot write");
    g_autofree char *got = tn_test_read_file(table, NULL);
    TN_ASSERT(g_strcmp0(got, want) == 0);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        TN_ASSERT(!g_str_has_prefix(name, ".tenon-"));
}

/* Killed from the first moment to the last: the table is the one that was there, or the whole new one. */
static void
killed(void)
{
    enum { MOMENTS = 8 };
    g_auto(TnChild) whole = { 0 };
    g_autofree char *program = tn_test_build_path("tenon");
    const char *const argv[] = { program,     "tune",      "--device", "cpu",       "--ops",
                                 "adam_step", "--seconds", "0.01",     config_path, NULL };
    make_table(usual);
    const gsize rows = n_rows();
    tn_test_spawn(&whole, argv, &(TnChildOptions){ 0 });
    TN_ASSERT_EXIT(&whole, 0);
    TN_ASSERT_CMPUINT(n_rows(), ==, rows);
    for (guint i = 0; i < MOMENTS; i++) {
        g_auto(TnChild) child = { 0 };
        const double moment = whole.seconds * (0.2 + 0.9 * i / MOMENTS);
        tn_test_spawn(&child, argv,
                      &(TnChildOptions){ .signal_after = moment, .signal_number = SIGKILL });
        TN_ASSERT_CMPUINT(n_rows(), ==, rows);
    }
}

/* The number after `before`. */
static guint
number_after(const char *text, const char *before)
{
    const char *at = strstr(text, before);
    TN_REQUIRE(at != NULL);
    return (guint)g_ascii_strtoull(at + strlen(before), NULL, 10);
}

/* Stopped, what was measured is kept, and the end says that it is not all; killed, what was written every
 * few seconds. `--missing` measures the rest and nothing else. */
static void
goes_on(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGKILL };
    g_autofree char *program = tn_test_build_path("tenon");
    const char *const argv[] = { program,     "tune", "--device",  "cpu",
                                 "--seconds", "0.3",  config_path, NULL };
    for (guint i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_auto(TnChild) child = { 0 }, rest = { 0 }, none = { 0 };
        g_unlink(table);
        tn_test_spawn(&child, argv,
                      &(TnChildOptions){ .signal_number = signals[i], .signal_when_text = " 3/" });
        const guint all = number_after(child.err, "tenon: "), kept = (guint)n_rows();
        TN_ASSERT(kept >= 1 && kept < all);
        if (signals[i] != SIGKILL) {
            TN_ASSERT_EXIT(&child, 1);
            TN_ASSERT_CMPUINT(number_after(child.err, "stopped after "), ==, kept);
        }
        tn_test_tenon(&rest, "tune", "--device", "cpu", "--seconds", "0.001", "--missing",
                      config_path, NULL);
        TN_ASSERT_EXIT(&rest, 0);
        TN_ASSERT_CMPUINT(number_after(rest.err, "tenon: "), ==, all - kept);
        TN_ASSERT_CMPUINT(n_rows(), ==, all);
        tn_test_tenon(&none, "tune", "--device", "cpu", "--missing", config_path, NULL);
        TN_ASSERT_EXIT(&none, 0);
        TN_ASSERT_CONTAINS(none.err, "nothing to measure: the table has it all");
    }
}

/* A kernel of the table that is another one's now is not the one that is there. */
static void
misses_kernels_by_name(void)
{
    g_auto(TnChild) rest = { 0 };
    make_table(usual);
    g_autofree char *text = tn_test_read_file(table, NULL);
    g_auto(GStrv) parts = g_strsplit(text, usual, -1);
    g_autofree char *other = g_strjoinv("cpu-former 1", parts);
    TN_REQUIRE(g_strv_length(parts) > 1);
    tn_test_write_file(table, other, -1);
    tn_test_tenon(&rest, "tune", "--device", "cpu", "--seconds", "0.001", "--missing", config_path,
                  NULL);
    TN_ASSERT_EXIT(&rest, 0);
    TN_ASSERT_CMPUINT(number_after(rest.err, "tenon: "), ==, g_strv_length(parts) - 1);
    g_autofree char *now = tn_test_read_file(table, NULL);
    TN_ASSERT_CONTAINS(now, usual);
}

static const TnTest tests[] = {
    { "takes the table", takes_the_table },
    { "resumes as it began", resumes_as_it_began },
    { "misses kernels by name", misses_kernels_by_name },
    { "bad tables", bad_tables },
    { "what is no table stays", what_is_no_table_stays },
    { "of elsewhere is replaced", of_elsewhere_is_replaced },
    { "other library", other_library },
    { "tunes what is asked", tunes_what_is_asked },
    { "a full disk", a_full_disk },
    { "killed", killed },
    { "goes on", goes_on },
};
TN_TEST_MAIN_WITH("tuned", tests, setup, teardown)
