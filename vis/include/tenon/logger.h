/* logger.h: "tenon.logger/1": where measured numbers, texts and progress go. */
#pragma once

#include <tenon/plugin.h>

G_BEGIN_DECLS

#define TN_IFACE_LOGGER "tenon.logger/1"

typedef enum {
    TN_RECORD_SCALAR = 1, /* name, step, value */
    TN_RECORD_TEXT,       /* name, step, text (Markdown) */
    TN_RECORD_TENSOR,     /* name, step, tensor: shown as a histogram */
    TN_RECORD_PROGRESS,   /* progress */
} TnRecordKind;

/* A stage that runs in other processes or on other hosts. */
typedef struct {
    const char *name, *place; /* "scale", "tcp://10.0.0.5:5555" */
    guint processes;
    guint queue, queue_most; /* frames that wait, and may */
    double rate;             /* frames a second */
    double lag;              /* milliseconds that its consumer waited for a frame, on average */
} TnStageProgress;

/* How far the work is; shown, not kept. */
typedef struct TnProgress {
    guint64 step, steps;   /* done and in all; steps 0: unknown */
    guint64 epoch, epochs; /* from 1 */
    double samples_per_second;
    double seconds_left; /* negative: unknown */
    guint n;             /* further named numbers: loss, accuracy */
    const char *const *names;
    const double *values;
    guint n_stages;
    const TnStageProgress *stages;
} TnProgress;

typedef struct {
    guint32 size;
    TnRecordKind kind;
    const char *name; /* tag such as "train/loss" */
    guint64 step;
    double wall_time; /* seconds since 1970 */
    double value;
    const char *text;
    TnTensor *tensor; /* host, any float or integer dtype */
    const TnProgress *progress;
} TnRecord;

/* Called from one thread at a time. A logger that fails says so once through tn_log and goes
 * quiet: it never stops a run; write returns TN_FAILED then. */
typedef struct {
    guint32 size, minor;
    /* the run's folder */
    gboolean (*open)(void *self, const char *folder, gboolean resumed, GError **error);
    TnStatus (*write)(void *self, const TnRecord *record);
    TnStatus (*flush)(void *self);
    void (*close)(void *self);
} TnLoggerVTable;

G_END_DECLS
