/* test_frame.c: the program's frame as a user and a script meet it: version, help, options, errors,
 * exit codes, output that cannot be written. */
#include <tenon/run.h>
#include <tenon/value.h>

#include "tn_test.h"

static void
version_reads_nothing(void)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *program = tn_test_build_path("tenon");
    g_autofree char *cache = tn_test_tmp_path("unused-cache");
    g_autofree char *cache_env = g_strconcat("XDG_CACHE_HOME=", cache, NULL);
    const char *env[] = { cache_env, "TENON_LOG=*:debug", NULL };
    const char *argv[] = { program, "--version", NULL };
    tn_test_spawn(&child, argv, &(TnChildOptions){ .env = env });
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT(g_str_has_prefix(child.out, "tenon 0."));
    TN_ASSERT_CMPSTR(child.err, "");
    TN_ASSERT(!g_file_test(cache, G_FILE_TEST_EXISTS));
    printf("# tenon --version took %.1f ms\n", child.seconds * 1e3);
}

static void
overview_lists_every_verb(void)
{
    static const char *const verbs[] = { "bench",    "check",   "completion", "help",
                                         "key list", "key new", "new plugin", "new config",
                                         "ops",      "plugins", "resume",     "run",
                                         "runs",     "show",    "stage",      "stages" };
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "help", NULL);
    TN_ASSERT_EXIT(&child, 0);
    for (guint i = 0; i < G_N_ELEMENTS(verbs); i++) {
        g_auto(TnChild) help = { 0 };
        g_auto(GStrv) words = g_strsplit(verbs[i], " ", 2);
        g_autofree char *line = g_strconcat("\n  ", verbs[i], NULL);
        g_autofree char *usage = g_strconcat("usage: tenon ", verbs[i], NULL);
        TN_ASSERT_CONTAINS(child.out, line);
        tn_test_tenon(&help, words[0], words[1] != NULL ? words[1] : "--help", "--help", NULL);
        TN_ASSERT_EXIT(&help, 0);
        TN_ASSERT(g_str_has_prefix(help.out, usage));
        TN_ASSERT_CONTAINS(help.out, "-h, --help");
    }
}

static void
no_verb_is_bad_usage(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, NULL);
    TN_ASSERT_EXIT(&child, 2);
    TN_ASSERT_CMPSTR(child.out, "");
    TN_ASSERT_CONTAINS(child.err, "usage: tenon VERB");
}

/* One line on stderr, nothing on stdout, exit code 2. */
static void
what_cannot_be_meant(void)
{
    static const struct {
        const char *words[4];
        const char *said;
    } cases[] = {
        { { "pluggins" }, "tenon: there is no 'pluggins'; did you mean 'tenon plugins'?\n" },
        { { "zzzzzzzz" }, "tenon: there is no 'zzzzzzzz'; tenon help lists what there is\n" },
        { { "new" }, "tenon: 'new' is followed by one of: config, plugin\n" },
        { { "new", "plugon" },
          "tenon: there is no 'new plugon'; did you mean 'tenon new plugin'?\n" },
        { { "--frob" }, "tenon: there is no option '--frob'; see tenon --help\n" },
        { { "ops", "--jsun" }, "tenon: 'ops' has no option '--jsun'; did you mean '--json'?\n" },
        { { "ops", "-x" }, "tenon: 'ops' has no option '-x'; see tenon ops --help\n" },
        { { "ops", "a", "b" }, "tenon: 'ops' takes fewer arguments; usage: tenon ops [NAME]\n" },
        { { "runs", "--runs" }, "tenon: --runs needs a value\n" },
        { { "--plugin-path" }, "tenon: --plugin-path needs a folder\n" },
        { { "plugins", "--quick=7" }, "--quick" },
        { { "ops", "addd" }, "'add'" },
        { { "plugins", "reff" }, "did you mean 'ref'?" },
        { { "help", "plugims" }, "did you mean 'plugins'?" },
        { { "new", "plugin", "Wrong-Name" }, "'Wrong-Name' cannot name a plugin" },
        { { "new", "config", "../x" }, "'../x' cannot name a config" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(TnChild) child = { 0 };
        const char *const *w = cases[i].words;
        tn_test_tenon(&child, w[0], w[1], w[2], w[3], NULL);
        TN_ASSERT_EXIT(&child, 2);
        TN_ASSERT_CMPSTR(child.out, "");
        TN_ASSERT_CONTAINS(child.err, cases[i].said);
        TN_ASSERT(g_str_has_prefix(child.err, "tenon: "));
        TN_ASSERT(strchr(child.err, '\n') == child.err + strlen(child.err) - 1);
    }
}

/* --- Verbs of plugins, and how options are written -------------------------------------------- */

static void
options_are_read_by_their_rows(void)
{
    static const struct {
        const char *words[4];
        const char *out;
    } cases[] = {
        { { "anna", "bert" }, "hello anna\nhello bert\n" },
        { { "--loud", "anna" }, "HELLO anna\n" },
        { { "anna", "--loud" }, "HELLO anna\n" },
        { { "--loud", "--no-loud", "anna" }, "hello anna\n" },
        { { "--loud=true", "anna" }, "HELLO anna\n" },
        { { "--loud=false", "anna" }, "hello anna\n" },
        { { "--", "--loud" }, "hello --loud\n" },
        { { "-1", "-" }, "hello -1\nhello -\n" },
    };
    g_autofree char *folder = tn_test_build_path("tests/plugins");
    g_autofree char *path = g_strconcat("--plugin-path=", folder, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(TnChild) child = { 0 };
        const char *const *w = cases[i].words;
        tn_test_tenon(&child, path, "good", "greet", w[0], w[1], w[2], w[3], NULL);
        TN_ASSERT_EXIT(&child, 0);
        TN_ASSERT_CMPSTR(child.out, cases[i].out);
    }
    g_auto(TnChild) none = { 0 };
    tn_test_tenon(&none, path, "good", "greet", NULL);
    TN_ASSERT_EXIT(&none, 2);
    TN_ASSERT_CONTAINS(none.err, "usage: tenon good greet NAME ...");
    g_auto(TnChild) after = { 0 };
    tn_test_tenon(&after, "good", "greet", "--help", "--plugin-path", folder, NULL);
    TN_ASSERT_EXIT(&after, 2);
}

/* --- Output ----------------------------------------------------------------------------------- */

static void
shell(TnChild *child, const char *script)
{
    g_autofree char *program = tn_test_build_path("tenon");
    g_autofree char *env = g_strconcat("T=", program, NULL);
    const char *vars[] = { env, NULL };
    const char *argv[] = { "bash", "-c", script, NULL };
    tn_test_spawn(child, argv, &(TnChildOptions){ .env = vars });
}

static void
a_reader_may_go_away(void)
{
    g_auto(TnChild) child = { 0 };
    shell(&child, "set -o pipefail; \"$T\" ops | head -n 1");
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CMPSTR(child.err, "");
    TN_ASSERT(strlen(child.out) > 0);
}

static void
a_full_disk_is_told(void)
{
    g_auto(TnChild) child = { 0 };
    shell(&child, "\"$T\" ops > /dev/full");
    TN_ASSERT_EXIT(&child, 1);
    TN_ASSERT_CONTAINS(child.err, "No space left on device");
    /* Written on the way, not at the end. */
    g_auto(TnChild) flushed = { 0 };
    shell(&flushed, "\"$T\" show --graph program module:tenon.bench.train_tiny > /dev/full");
    TN_ASSERT_EXIT(&flushed, 1);
    TN_ASSERT_CONTAINS(flushed.err, "could not be written");
}

static void
no_color_in_a_pipe(void)
{
    g_auto(TnChild) child = { 0 };
    shell(&child, "NO_COLOR= TERM=xterm \"$T\" plugins --quick");
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT(strchr(child.out, '\033') == NULL);
}

/* --- Completion ------------------------------------------------------------------------------- */

static void
completed(const char *words, const char *const *wanted)
{
    g_autofree char *script = g_strdup_printf(
        "tenon() { \"$T\" \"$@\"; }; source <(tenon completion); COMP_WORDS=(tenon %s);"
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tenon; printf '%%s\\n' \"${COMPREPLY[@]}\"",
        words);
    g_auto(TnChild) child = { 0 };
    shell(&child, script);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CMPSTR(child.err, "");
    g_autofree char *lines = g_strconcat("\n", child.out, NULL);
    for (; *wanted != NULL; wanted++) {
        g_autofree char *line = g_strconcat("\n", *wanted, "\n", NULL);
        TN_ASSERT_CONTAINS(lines, line);
    }
}

static void
completion_in_bash(void)
{
    completed("plu", (const char *const[]){ "plugins", NULL });
    completed("new ''", (const char *const[]){ "plugin", "config", NULL });
    completed("plugins --q", (const char *const[]){ "--quick", NULL });
    completed("plugins re", (const char *const[]){ "ref", NULL });
    completed("ops matm", (const char *const[]){ "matmul", NULL });
    completed("ops --", (const char *const[]){ "--help", "--json", "--plugin-path", NULL });
}

static const TnTest tests[] = {
    { "version_reads_nothing", version_reads_nothing },
    { "overview_lists_every_verb", overview_lists_every_verb },
    { "no_verb_is_bad_usage", no_verb_is_bad_usage },
    { "what_cannot_be_meant", what_cannot_be_meant },
    { "options_are_read_by_their_rows", options_are_read_by_their_rows },
    { "a_reader_may_go_away", a_reader_may_go_away },
    { "a_full_disk_is_told", a_full_disk_is_told },
    { "no_color_in_a_pipe", no_color_in_a_pipe },
    { "completion_in_bash", completion_in_bash },
};
TN_TEST_MAIN("frame of the program", tests)
