/* progress.c: the logger that tells a person how far a run is: one line redrawn on a terminal,
 * plain lines elsewhere. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/logger.h>

typedef struct {
    double every;
} ProgressOptions;

typedef struct {
    double every;
    gboolean terminal, color;
    gboolean drawn; /* a line stands on the terminal, without its end */
    GString *held;  /* no terminal: the newest line that was not written; empty: none */
    gint64 last;    /* monotonic µs of the last line written there; 0: none yet */
    guint64 epoch;  /* of the newest line */
} Progress;

static const TnOption rows[] = {
    { .name = "every",
      .type = TN_OPT_DURATION,
      .offset = G_STRUCT_OFFSET(ProgressOptions, every),
      .dflt = "10",
      TN_RANGE_F(0, 86400),
      .unit = "s",
      .help = "time between lines where the output is no terminal" },
};

static void *
progress_create(TnConfig *config, TnContext *context, GError **error)
{
    Progress *progress = g_new0(Progress, 1);
    const char *term = g_getenv("TERM");
    (void)context;
    (void)error;
    progress->every = ((const ProgressOptions *)tn_config_data(config))->every;
    progress->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    const char *no_color = g_getenv("NO_COLOR");
    progress->color = progress->terminal && !(no_color && *no_color);
    progress->held = g_string_new(NULL);
    return progress;
}

/* "1:02:03" or "02:03". */
static void
append_time(GString *line, double seconds)
{
    guint64 s = (guint64)(seconds + 0.5);
    if (s >= 3600)
        g_string_append_printf(line, "%" G_GUINT64_FORMAT ":%02u:%02u", s / 3600,
                               (guint)(s / 60 % 60), (guint)(s % 60));
    else
        g_string_append_printf(line, "%02u:%02u", (guint)(s / 60), (guint)(s % 60));
}

static void
append_bar(GString *line, double share)
{
    enum { WIDTH = 16 };
    guint full = (guint)(CLAMP(share, 0, 1) * WIDTH);
    for (guint i = 0; i < WIDTH; i++)
        g_string_append(line, i < full ? "█" : "░");
    g_string_append_printf(line, " %3.0f%%", 100 * CLAMP(share, 0, 1));
}

/* "  [scale at ipc ×2: 250/s, queue 3/5, lag 0.2 ms]" */
static void
append_stage(GString *line, const TnStageProgress *stage)
{
    const gboolean here = g_str_has_prefix(stage->place, "ipc:");
    g_string_append_printf(line, "  [%s at %s", stage->name, here ? "ipc" : stage->place);
    if (stage->processes != 1)
        g_string_append_printf(line, " ×%u", stage->processes);
    g_string_append_printf(line, ": %.0f/s, queue %u/%u, lag %.1f ms]", stage->rate, stage->queue,
                           stage->queue_most, stage->lag);
}

static GString *
make_line(const Progress *progress, const TnProgress *p)
{
    GString *line = g_string_new(NULL);
    const char *bold = progress->color ? "\033[1m" : "", *plain = progress->color ? "\033[0m" : "";
    if (p->epochs)
        g_string_append_printf(line, "epoch %" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT "  ",
                               p->epoch, p->epochs);
    if (p->steps && progress->terminal)
        append_bar(line, (double)p->step / (double)p->steps);
    else
        g_string_append_printf(line, "step %" G_GUINT64_FORMAT, p->step);
    for (guint i = 0; i < p->n; i++)
        g_string_append_printf(line, "  %s %s%.4f%s", p->names[i], bold, p->values[i], plain);
    if (p->samples_per_second > 0)
        g_string_append_printf(line, "  %.*f samples/s", p->samples_per_second < 100 ? 1 : 0,
                               p->samples_per_second);
    if (p->seconds_left >= 0 && isfinite(p->seconds_left)) {
        g_string_append(line, "  left ");
        append_time(line, p->seconds_left);
    }
    for (guint i = 0; i < p->n_stages; i++)
        append_stage(line, &p->stages[i]);
    return line;
}

/* Cuts a line to the terminal's width less one, in columns; escapes take none. A terminal that does
 * not tell has 80. */
static void
fit_line(const Progress *progress, GString *line)
{
    struct winsize size;
    const guint columns =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 ? 80 : size.ws_col;
    guint shown = 0;
    g_autofree char *valid = g_utf8_make_valid(line->str, (gssize)line->len);
    g_string_assign(line, valid);
    for (const char *at = line->str; *at; at = g_utf8_next_char(at)) {
        if (*at == '\033') {
            while (*at && *at != 'm')
                at++;
            continue;
        }
        const gunichar c = g_utf8_get_char(at);
        shown += g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
        if (shown >= columns) {
            g_string_truncate(line, (gsize)(at - line->str));
            g_string_append(line, progress->color ? "\033[0m" : "");
            return;
        }
    }
}

/* The end of what is shown so far: a line on the terminal gets its end, one that was held is
 * written. */
static void
end_line(Progress *progress)
{
    if (progress->drawn)
        fputs("\n", stderr);
    else if (progress->held->len)
        fprintf(stderr, "%s\n", progress->held->str);
    progress->drawn = FALSE;
    g_string_truncate(progress->held, 0);
    fflush(stderr);
}

static void
draw(Progress *progress, GString *line)
{
    fit_line(progress, line);
    fprintf(stderr, "\r\033[K%s", line->str);
    fflush(stderr);
    progress->drawn = TRUE;
}

static void
show(Progress *progress, const TnProgress *p)
{
    g_autoptr(GString) line = make_line(progress, p);
    if (p->epochs && progress->epoch && p->epoch != progress->epoch)
        end_line(progress); /* the last line of an epoch stays */
    progress->epoch = p->epoch;
    if (progress->terminal) {
        draw(progress, line);
        return;
    }
    const gint64 now = g_get_monotonic_time();
    g_string_assign(progress->held, line->str);
    if (progress->last && now - progress->last < (gint64)(progress->every * 1e6))
        return;
    end_line(progress);
    progress->last = now;
}

static TnStatus
progress_write(void *self, const TnRecord *record)
{
    if (record->kind == TN_RECORD_PROGRESS)
        show(self, record->progress);
    return TN_OK;
}

static TnStatus
progress_flush(void *self)
{
    end_line(self);
    return TN_OK;
}

static void
progress_close(void *self)
{
    end_line(self);
}

static void
progress_destroy(void *self)
{
    Progress *progress = self;
    g_string_free(progress->held, TRUE);
    g_free(progress);
}

static const TnLoggerVTable vtable = {
    .size = sizeof(TnLoggerVTable),
    .write = progress_write,
    .flush = progress_flush,
    .close = progress_close,
};

static const TnFactory factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_LOGGER,
    .name = "progress",
    .help = "a line on the terminal: epoch, numbers, rate, time left",
    .threads = TN_THREADS_SERIAL,
    .options = TN_OPTIONS(ProgressOptions, rows),
    .create = progress_create,
    .destroy = progress_destroy,
    .vtable = &vtable,
};

static const TnFactory *const factories[] = { &factory, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("progress", TN_PLUGIN_VERSION, "Apache-2.0", "the progress line"),
    .factories = factories,
};

TN_PLUGIN(progress, descriptor)
