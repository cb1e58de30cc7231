// tn-test: timeout=120
/* test_progress.c: what the progress line looks like on terminals of several widths and kinds, and
 * elsewhere. */
#include <errno.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tn_test.h"

/* Three epochs of four steps; a callback prints in the middle of the line. */
static const char config[] =
    "local tn = require 'tenon'\n"
    "return tn.experiment { stages = {\n"
    "  read = tn.stage.read { data = tn.dataset.random { {4}, classes = 3, length = 64 }, batch = "
    "16 },\n"
    "  test = tn.stage.read { data = tn.dataset.random { {4}, classes = 3, length = 64 }, batch = "
    "16 },\n"
    "  train = tn.stage.train { from = 'read', epochs = 3, log_steps = 1, model = tn.nn.linear { 3 "
    "},\n"
    "    loss = 'cross_entropy', optimizer = tn.optim.sgd { lr = 0.1 }, evaluate = 'evaluate',\n"
    "    callbacks = { tn.callback.functions { every = 6, step = function() print 'printed' end } "
    "} },\n"
    "  evaluate = tn.stage.evaluate { from = 'test', of = 'train', metrics = { ['übermaß'] = "
    "'accuracy' } },\n"
    "}, loggers = { tn.logger.progress { every = '1h' } } }\n";

static char *path, *runs;

static void
setup(void)
{
    path = tn_test_tmp_path("progress.lua");
    runs = tn_test_tmp_path("runs");
    tn_test_write_file(path, config, -1);
}

static void
teardown(void)
{
    g_free(path);
    g_free(runs);
}

/* All that a run writes on a terminal of so many columns. (transfer full). */
static char *
on_terminal(guint columns, const char *term, const char *no_color)
{
    struct winsize size = { .ws_row = 24, .ws_col = (gushort)columns };
    g_autofree char *program = tn_test_build_path("tenon");
    GString *text = g_string_new(NULL);
    char bytes[4096];
    int terminal, status;
    const pid_t child = forkpty(&terminal, NULL, NULL, &size);
    if (child == 0) {
        g_setenv("TERM", term, TRUE);
        g_setenv("NO_COLOR", no_color, TRUE);
        execl(program, program, "run", "--runs", runs, path, NULL);
        _exit(127);
    }
    if (child < 0) /* as in a bare chroot */
        tn_test_skip("there are no pseudo terminals here: %s", g_strerror(errno));
    for (gssize n; (n = read(terminal, bytes, sizeof bytes)) > 0 || (n < 0 && errno == EINTR);)
        g_string_append_len(text, bytes, MAX(n, 0));
    waitpid(child, &status, 0);
    close(terminal);
    TN_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return g_string_free(text, FALSE);
}

/* The most columns that any drawn line takes, escapes not counted. */
static guint
widest(const char *text)
{
    guint most = 0;
    g_auto(GStrv) lines = g_strsplit_set(text, "\r\n", -1);
    for (guint i = 0; lines[i]; i++) {
        guint n = 0;
        if (!g_str_has_prefix(lines[i], "\033[K") || !strstr(lines[i], "epoch"))
            continue;
        for (const char *at = lines[i]; *at; at = g_utf8_next_char(at)) {
            if (*at == '\033')
                at += strcspn(at, "mK");
            else
                n++;
        }
        most = MAX(most, n);
    }
    return most;
}

static void
widths(void)
{
    static const guint columns[] = { 10, 40, 80, 200 };
    for (guint i = 0; i < G_N_ELEMENTS(columns); i++) {
        g_autofree char *text = on_terminal(columns[i], "xterm", "");
        TN_ASSERT_CMPUINT(widest(text), <, columns[i]);
        TN_ASSERT_CMPUINT(widest(text), >=, MIN(columns[i] - 2, 60));
        TN_ASSERT_CONTAINS(text, "\r\033[Kprinted"); /* not behind half a line */
        TN_ASSERT_CONTAINS(text, "\033[0m");
    }
    g_autofree char *unknown = on_terminal(0, "xterm", "");
    TN_ASSERT_CMPUINT(widest(unknown), ==, 79);
}

static void
no_color(void)
{
    g_autofree char *text = on_terminal(40, "xterm", "1");
    TN_ASSERT_CMPUINT(widest(text), ==, 39);
    TN_ASSERT(!strstr(text, "m\r") && !strstr(text, "\033[0") && !strstr(text, "\033[1"));
}

static void
dumb(void)
{
    g_autofree char *text = on_terminal(80, "dumb", "");
    TN_ASSERT(!strchr(text, '\033'));
    TN_ASSERT_CONTAINS(text, "epoch 3/3  step 12  loss");
}

/* The first line, and the last of each epoch, with what the evaluation gave, once. */
static void
piped(void)
{
    g_auto(TnChild) child = { 0 };
    guint n = 0;
    tn_test_tenon(&child, "run", "--runs", runs, path, NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT(!strchr(child.err, '\033') && !strchr(child.err, '\r'));
    g_auto(GStrv) lines = g_strsplit(child.err, "\n", -1);
    for (guint i = 0; lines[i]; i++) {
        int epoch, step;
        if (sscanf(lines[i], "epoch %d/3  step %d", &epoch, &step) != 2)
            continue;
        TN_ASSERT_CMPINT(step, ==, n == 0 ? 1 : (int)n * 4);
        TN_ASSERT_CMPINT(epoch, ==, MAX(n, 1));
        TN_ASSERT_CMPINT(strstr(lines[i], "evaluate/übermaß") != NULL, ==, n > 0);
        n++;
    }
    TN_ASSERT_CMPUINT(n, ==, 4);
}

static const TnTest tests[] = {
    { "widths", widths },
    { "NO_COLOR", no_color },
    { "a dumb terminal", dumb },
    { "piped", piped },
};
TN_TEST_MAIN_WITH("progress", tests, setup, teardown)
