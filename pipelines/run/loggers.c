/* loggers.c: the loggers of a run: every record goes to each; one that fails goes quiet, the run
 * goes on. */
#include <tenon/logger.h>

#include "run-private.h"

typedef struct {
    TnObject *object;
    gboolean opened;
    gboolean quiet; /* it failed */
} Sink;

struct TnLoggers {
    GArray *sinks;      /* of Sink */
    TnContext *context; /* (transfer none) */
    TnRunDir *run;      /* (transfer none), may be NULL */
    gboolean metrics_failed;
};

static const TnLoggerVTable *
vtable(const Sink *sink)
{
    return tn_object_vtable(sink->object);
}

TnLoggers *
tn_loggers_new(TnContext *context, guint n, TnSpec *const *specs, TnRunDir *run, gboolean resumed,
               GError **error)
{
    g_autoptr(TnLoggers) loggers = g_new0(TnLoggers, 1);
    loggers->sinks = g_array_new(FALSE, TRUE, sizeof(Sink));
    loggers->context = context;
    loggers->run = run;
    for (guint i = 0; i < n; i++) {
        Sink sink = { .object = tn_object_new(specs[i], context, error) };
        if (!sink.object)
            return NULL;
        const TnLoggerVTable *vt = vtable(&sink);
        sink.opened = !TN_HAS(vt, open) || vt->open(tn_object_self(sink.object),
                                                    run ? tn_run_path(run) : NULL, resumed, error);
        g_array_append_val(loggers->sinks, sink);
        if (!sink.opened) {
            tn_error_prefix(error, "logger '%s'", tn_spec_component(specs[i]));
            return NULL;
        }
    }
    return g_steal_pointer(&loggers);
}

void
tn_loggers_free(TnLoggers *loggers)
{
    if (!loggers)
        return;
    for (guint i = 0; i < loggers->sinks->len; i++) {
        Sink *sink = &g_array_index(loggers->sinks, Sink, i);
        if (sink->opened && TN_HAS(vtable(sink), close))
            vtable(sink)->close(tn_object_self(sink->object));
        tn_object_unref(sink->object);
    }
    g_array_unref(loggers->sinks);
    g_free(loggers);
}

static void
write_record(TnLoggers *loggers, TnRecord *record)
{
    const gint64 begin = tn_span_begin(loggers->context);
    record->size = sizeof *record;
    record->wall_time = (double)g_get_real_time() * 1e-6;
    for (guint i = 0; i < loggers->sinks->len; i++) {
        Sink *sink = &g_array_index(loggers->sinks, Sink, i);
        if (!sink->quiet && vtable(sink)->write(tn_object_self(sink->object), record) != TN_OK) {
            sink->quiet = TRUE;
            tn_log("run", TN_LOG_WARN,
                   "logger '%s' failed and gets no more records; the run goes on",
                   tn_object_factory(sink->object)->name);
        }
    }
    tn_span_end(loggers->context, "log", record->name, begin);
}

void
tn_loggers_scalar(TnLoggers *loggers, const char *name, guint64 step, double value)
{
    TnRecord record = { .kind = TN_RECORD_SCALAR, .name = name, .step = step, .value = value };
    g_autoptr(GError) error = NULL;
    const gint64 begin = tn_span_begin(loggers->context);
    if (loggers->run && !loggers->metrics_failed &&
        !tn_run_metric(loggers->run, name, step, value, &error)) {
        loggers->metrics_failed = TRUE;
        tn_log("run", TN_LOG_WARN, "%s; no more metrics are written there", error->message);
    }
    tn_span_end(loggers->context, "log", "metrics", begin);
    write_record(loggers, &record);
}

void
tn_loggers_text(TnLoggers *loggers, const char *name, guint64 step, const char *text)
{
    TnRecord record = { .kind = TN_RECORD_TEXT, .name = name, .step = step, .text = text };
    write_record(loggers, &record);
}

void
tn_loggers_tensor(TnLoggers *loggers, const char *name, guint64 step, TnTensor *tensor)
{
    TnRecord record = { .kind = TN_RECORD_TENSOR, .name = name, .step = step, .tensor = tensor };
    write_record(loggers, &record);
}

void
tn_loggers_progress(TnLoggers *loggers, const TnProgress *progress)
{
    TnRecord record = {
        .kind = TN_RECORD_PROGRESS, .name = "progress", .step = progress->step, .progress = progress
    };
    write_record(loggers, &record);
}

void
tn_loggers_flush(TnLoggers *loggers)
{
    const gint64 begin = tn_span_begin(loggers->context);
    if (loggers->run)
        tn_run_flush(loggers->run);
    for (guint i = 0; i < loggers->sinks->len; i++) {
        Sink *sink = &g_array_index(loggers->sinks, Sink, i);
        if (!sink->quiet && TN_HAS(vtable(sink), flush))
            vtable(sink)->flush(tn_object_self(sink->object));
    }
    tn_span_end(loggers->context, "log", "flush", begin);
}
