/* test_log.c: which lines reach stderr and sinks, by filter; lines from many threads. */
// tn-test: label=threads
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tenon/base.h>

#include "tn_test.h"

static void
collect(const char *category, TnLogLevel level, const char *line, gpointer data)
{
    g_string_append_printf(data, "%s/%d/%s\n", category, level, line);
}

static void
filter(const char *text)
{
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_log_set_filter(text, &error));
    TN_ASSERT_NO_ERROR(error);
}

/* Without a filter sinks get all but debug. */
static void
sinks(void)
{
    g_autoptr(GString) a = g_string_new(NULL), b = g_string_new(NULL);
    filter("");
    const guint first = tn_log_add_sink(collect, a), second = tn_log_add_sink(collect, b);
    TN_ASSERT(first != second);
    tn_log("loader", TN_LOG_INFO, "read %d", 5);
    tn_log("loader", TN_LOG_DEBUG, "not this");
    tn_log_remove_sink(first);
    tn_log("loader", TN_LOG_INFO, "only for b\n");
    tn_log_remove_sink(second);
    tn_log("loader", TN_LOG_INFO, "for nobody");
    tn_log_remove_sink(12345);
    TN_ASSERT_CMPSTR(a->str, "loader/2/read 5\n");
    TN_ASSERT_CMPSTR(b->str, "loader/2/read 5\nloader/2/only for b\n");
}

static void
filters(void)
{
    g_autoptr(GString) lines = g_string_new(NULL);
    const guint id = tn_log_add_sink(collect, lines);
    filter(" loader:debug , *:error ");
    TN_ASSERT(tn_log_enabled("loader", TN_LOG_DEBUG));
    TN_ASSERT(!tn_log_enabled("other", TN_LOG_WARN));
    TN_ASSERT(tn_log_enabled("other", TN_LOG_ERROR));
    filter("*:debug,loader:off"); /* a name wins over *, wherever it stands */
    TN_ASSERT(!tn_log_enabled("loader", TN_LOG_ERROR));
    TN_ASSERT(tn_log_enabled("loader2", TN_LOG_DEBUG));
    filter("loader:off,*:debug");
    TN_ASSERT(!tn_log_enabled("loader", TN_LOG_ERROR));
    filter("info");
    TN_ASSERT(tn_log_enabled("x", TN_LOG_INFO) && !tn_log_enabled("x", TN_LOG_DEBUG));
    filter("");
    TN_ASSERT(tn_log_enabled("x", TN_LOG_INFO) && !tn_log_enabled("x", TN_LOG_DEBUG));
    tn_log_remove_sink(id);
    TN_ASSERT(!tn_log_enabled("x", TN_LOG_INFO) && tn_log_enabled("x", TN_LOG_WARN));
}

static void
bad_filters(void)
{
    static const char *const bad[] = { "loader:loud", "loader", ":info", "a:b:c", "*:info,x:" };
    g_autoptr(GError) error = NULL;
    filter("loader:debug");
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        TN_ASSERT(!tn_log_set_filter(bad[i], &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, bad[i], "expected");
        TN_ASSERT(tn_log_enabled("loader", TN_LOG_DEBUG)); /* the old one holds */
    }
    filter("");
}

/* Runs in a child, so that its stderr can be read. */
static void
speak(void)
{
    tn_log("loader", TN_LOG_WARN, "careful");
    tn_log("loader", TN_LOG_INFO, "by the way");
    tn_log("other", TN_LOG_ERROR, "broken");
}

static char *
listen(const char *env)
{
    TnChild child = { 0 };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const argv[] = { self, "child:speak", NULL };
    const char *const envs[] = { env, NULL };
    const TnChildOptions options = { .env = envs };
    TN_REQUIRE(tn_test_spawn(&child, argv, &options));
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT(strstr(child.out, "careful") == NULL); /* never on stdout */
    char *err = g_strdup(child.err);
    tn_child_clear(&child);
    return err;
}

static void
on_stderr(void)
{
    g_autofree char *plain = listen("TENON_LOG");
    TN_ASSERT_CONTAINS(plain, "warn loader: careful\n");
    TN_ASSERT_CONTAINS(plain, "error other: broken\n");
    TN_ASSERT(strstr(plain, "by the way") == NULL);
    g_autofree char *chatty = listen("TENON_LOG=loader:info,*:off");
    TN_ASSERT_CONTAINS(chatty, "info loader: by the way\n");
    TN_ASSERT(strstr(chatty, "broken") == NULL);
    g_autofree char *wrong = listen("TENON_LOG=loader:shout");
    TN_ASSERT_CONTAINS(wrong, "TENON_LOG");
    TN_ASSERT_CONTAINS(wrong, "careful");
}

/* A sink that logs does not wait for itself. */
static void
complain(const char *category, TnLogLevel level, const char *line, gpointer data)
{
    collect(category, level, line, data);
    tn_log("sink", TN_LOG_INFO, "the sink's own line");
}

static void
from_a_sink(void)
{
    g_autoptr(GString) lines = g_string_new(NULL);
    const guint id = tn_log_add_sink(complain, lines);
    tn_log("loader", TN_LOG_INFO, "one");
    tn_log_remove_sink(id);
    TN_ASSERT_CMPSTR(lines->str, "loader/2/one\n");
}

static void *
chat(void *data)
{
    for (guint i = 0; i < 200; i++) {
        tn_log("chat", TN_LOG_INFO, "%s", (const char *)data);
        (void)tn_log_enabled("chat", TN_LOG_DEBUG);
        if (i % 50 == 0)
            (void)tn_log_set_filter(i % 100 ? "chat:info" : "*:info", NULL);
    }
    return NULL;
}

static void
count(const char *category, TnLogLevel level, const char *line, gpointer data)
{
    (void)category;
    (void)level;
    *(guint *)data += strcmp(line, "a line") == 0;
}

static void
threads(void)
{
    pthread_t ids[4];
    guint lines = 0;
    const int quiet = dup(STDERR_FILENO);
    TN_REQUIRE(freopen("/dev/null", "w", stderr) != NULL);
    filter("*:info");
    const guint id = tn_log_add_sink(count, &lines);
    for (guint i = 0; i < 4; i++)
        TN_REQUIRE(pthread_create(&ids[i], NULL, chat, (gpointer) "a line") == 0);
    for (guint i = 0; i < 4; i++)
        pthread_join(ids[i], NULL);
    tn_log_remove_sink(id);
    filter("");
    fflush(stderr);
    dup2(quiet, STDERR_FILENO);
    close(quiet);
    TN_ASSERT_CMPUINT(lines, ==, 800);
}

static const TnTest tests[] = {
    { "sinks", sinks },       { "filters", filters },     { "bad-filters", bad_filters },
    { "child:speak", speak }, { "on-stderr", on_stderr }, { "from-a-sink", from_a_sink },
    { "threads", threads },
};
TN_TEST_MAIN("log", tests)
