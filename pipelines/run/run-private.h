/* run-private.h: the run folder's struct, shared by the files of this room. */
#pragma once

#include <stdio.h>

#include <tenon/base.h>
#include <tenon/run.h>

struct TnRunDir {
    char *path;
    int lock; /* -1: open for reading */
    FILE *log, *metrics;
    guint log_sink;
    gint64 metrics_flushed; /* real time in µs */
    GArray *pinned;         /* guint64: checkpoints that stay */
};

void tn_run_flush(TnRunDir *run);

/* The processor's name. (transfer full). */
char *tn_run_processor(void);

/* tn_safetensors_save for a file of a run's folder: through no link below it. */
gboolean tn_safetensors_save_below(const char *folder, const char *name, guint n,
                                   const TnNamedTensor *tensors, const TnValue *metadata,
                                   GError **error);
