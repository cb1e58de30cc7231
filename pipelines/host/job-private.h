/* job-private.h: a job's parts in C, which Lua drives through one handle. */
#pragma once

#include "host-private.h"

struct TnJob {
    TnHost *host;
    TnSpec *root;
    TnContext *context;
    TnRunDir *run; /* (transfer none), may be NULL */
    gboolean resume;
    TnPipeline *pipeline;
    TnPlacing placing;
    char *digest, *here, *typed; /* of placing */
    GPtrArray *later;            /* of char *: devices to open when something is first computed */
    GPtrArray *steppers;         /* of TnStepper; gone before the pipeline */
    TnLoggers *loggers;
    GPtrArray *functions; /* of TnFunction */
    GPtrArray *names;     /* of char * */
    int instance;         /* registry: the job component; LUA_NOREF */
    TnValue *result;
    TnValue *progress;  /* what was last told; NULL */
    gint64 status_put;  /* when status.json was written last: monotonic µs */
    TnValue *places;    /* what was last seen of stages elsewhere; NULL */
    gint64 places_at;   /* monotonic µs */
    gboolean cancelled; /* it stopped because it was told to */
    TnValue *costs;     /* this machine's table, if the context's costs are of it; NULL */
};

/* Opens a device and puts it behind those that are there. */
gboolean tn_job_add_device(TnJob *job, const char *name, GError **error);

#define TN_MOST_PLACES 16 /* that progress shows */
/* places.c: what stages elsewhere do now: their numbers to the loggers at step, all of it for
 * status.json ((transfer full), NULL: there are none), and up to TN_MOST_PLACES for the progress line,
 * whose texts are the value's. */
struct TnProgress;
TnValue *tn_job_look_at_places(TnJob *job, guint64 step, struct TnProgress *progress,
                               gpointer stages);
