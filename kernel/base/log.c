/* log.c: the log: lines with a category and a level, to stderr and to sinks. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/base.h>

/* What categories without a word of their own in the filter show. */
#define DEFAULT_STDERR TN_LOG_WARN
#define DEFAULT_SINK TN_LOG_INFO
#define OFF (-1)

static const char *const level_names[] = { "error", "warn", "info", "debug" };

typedef struct {
    char *category; /* "*": all that are not named */
    gint level;     /* the highest that passes; OFF: none */
} Rule;

typedef struct {
    guint id;
    TnLogSink call;
    gpointer data;
} Sink;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static GArray *rules; /* Rule, under lock */
static GArray *sinks; /* Sink, under lock */
static guint last_sink;
/* No line above this level goes anywhere: most debug lines end here without the lock. */
static atomic_int highest = DEFAULT_STDERR;
/* A sink that logs would wait for itself; its lines go to stderr alone. */
static _Thread_local gboolean inside;

/* --- Filter ----------------------------------------------------------------------------------- */

static void
rule_clear(gpointer rule)
{
    g_free(((Rule *)rule)->category);
}

static gboolean
parse_level(const char *name, gint *level)
{
    for (guint i = 0; i < G_N_ELEMENTS(level_names); i++)
        if (g_ascii_strcasecmp(name, level_names[i]) == 0) {
            *level = (gint)i;
            return TRUE;
        }
    *level = OFF;
    return g_ascii_strcasecmp(name, "off") == 0;
}

/* "loader:debug,*:info"; a level alone is meant for all. (transfer full), NULL on bad syntax. */
static GArray *
parse_filter(const char *filter, GError **error)
{
    g_auto(GStrv) words = g_strsplit(filter, ",", -1);
    GArray *parsed = g_array_new(FALSE, FALSE, sizeof(Rule));
    g_array_set_clear_func(parsed, rule_clear);
    for (guint i = 0; words[i]; i++) {
        char *word = g_strstrip(words[i]);
        if (!*word)
            continue;
        char *colon = strrchr(word, ':');
        if (colon)
            *colon = 0;
        Rule rule = { NULL, OFF };
        if (!parse_level(colon ? g_strstrip(colon + 1) : word, &rule.level) ||
            (colon && !*g_strstrip(word))) {
            g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                        "log filter \"%s\": expected CATEGORY:LEVEL with a level of error, warn, "
                        "info, debug, off; got \"%s%s%s\"",
                        filter, word, colon ? ":" : "", colon ? colon + 1 : "");
            g_array_unref(parsed);
            return NULL;
        }
        rule.category = g_strdup(colon ? word : "*");
        g_array_append_val(parsed, rule);
    }
    return parsed;
}

/* The level up to which a category passes; under lock. The last rule that fits wins, a named one
 * before "*". */
static gint
passing(const char *category, gint otherwise)
{
    gint level = otherwise;
    gboolean named = FALSE;
    for (guint i = 0; i < rules->len; i++) {
        const Rule *rule = &g_array_index(rules, Rule, i);
        const gboolean same = strcmp(rule->category, category) == 0;
        if (same || (!named && strcmp(rule->category, "*") == 0))
            level = rule->level;
        named = named || same;
    }
    return level;
}

/* Under lock, after every change of rules and sinks. */
static void
update_highest(void)
{
    gint level = sinks->len > 0 ? DEFAULT_SINK : DEFAULT_STDERR;
    for (guint i = 0; i < rules->len; i++)
        level = MAX(level, g_array_index(rules, Rule, i).level);
    atomic_store(&highest, level);
}

static void
start(void)
{
    g_autoptr(GError) error = NULL;
    const char *filter = getenv("TENON_LOG");
    sinks = g_array_new(FALSE, FALSE, sizeof(Sink));
    rules = parse_filter(filter ? filter : "", &error);
    if (!rules) {
        fprintf(stderr, "warn log: TENON_LOG: %s\n", error->message);
        rules = parse_filter("", NULL);
    }
    update_highest();
}

gboolean
tn_log_set_filter(const char *filter, GError **error)
{
    pthread_once(&once, start);
    GArray *parsed = parse_filter(filter ? filter : "", error);
    if (!parsed)
        return FALSE;
    pthread_mutex_lock(&lock);
    GArray *old = rules;
    rules = parsed;
    update_highest();
    pthread_mutex_unlock(&lock);
    g_array_unref(old);
    return TRUE;
}

/* --- Sinks ------------------------------------------------------------------------------------ */

guint
tn_log_add_sink(TnLogSink sink, gpointer data)
{
    pthread_once(&once, start);
    pthread_mutex_lock(&lock);
    const Sink added = { ++last_sink, sink, data };
    g_array_append_val(sinks, added);
    update_highest();
    pthread_mutex_unlock(&lock);
    return added.id;
}

void
tn_log_remove_sink(guint id)
{
    pthread_once(&once, start);
    pthread_mutex_lock(&lock);
    for (guint i = 0; i < sinks->len; i++)
        if (g_array_index(sinks, Sink, i).id == id) {
            g_array_remove_index(sinks, i);
            break;
        }
    update_highest();
    pthread_mutex_unlock(&lock);
}

/* --- Lines ------------------------------------------------------------------------------------ */

gboolean
tn_log_enabled(const char *category, TnLogLevel level)
{
    pthread_once(&once, start);
    if ((gint)level > atomic_load_explicit(&highest, memory_order_relaxed))
        return FALSE;
    if (inside)
        return (gint)level <= DEFAULT_STDERR;
    pthread_mutex_lock(&lock);
    const gboolean enabled =
        (gint)level <= passing(category, sinks->len > 0 ? DEFAULT_SINK : DEFAULT_STDERR);
    pthread_mutex_unlock(&lock);
    return enabled;
}

/* One write, so that lines of several processes do not mix. On a terminal a line that is redrawn
 * may stand there: it is cleared away. */
static void
write_stderr(const char *category, TnLogLevel level, const char *line)
{
    const char *term = isatty(STDERR_FILENO) ? g_getenv("TERM") : NULL;
    const char *clear = term && strcmp(term, "dumb") != 0 ? "\r\033[K" : "";
    g_autofree char *whole =
        g_strdup_printf("%s%s %s: %s\n", clear, level_names[level], category, line);
    fputs(whole, stderr);
}

static void
deliver(const char *category, TnLogLevel level, const char *line)
{
    pthread_mutex_lock(&lock);
    if ((gint)level <= passing(category, DEFAULT_STDERR))
        write_stderr(category, level, line);
    if ((gint)level <= passing(category, DEFAULT_SINK)) {
        inside = TRUE;
        for (guint i = 0; i < sinks->len; i++) {
            const Sink *sink = &g_array_index(sinks, Sink, i);
            sink->call(category, level, line, sink->data);
        }
        inside = FALSE;
    }
    pthread_mutex_unlock(&lock);
}

void
tn_log(const char *category, TnLogLevel level, const char *format, ...)
{
    g_return_if_fail((guint)level < G_N_ELEMENTS(level_names));
    if (!tn_log_enabled(category, level))
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    g_strchomp(line);
    if (inside)
        write_stderr(category, level, line);
    else
        deliver(category, level, line);
}
