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
    char *digest, *here; /* of placing */
    GPtrArray *later;    /* of char *: devices to open when something is first computed */
    GPtrArray *steppers; /* of TnStepper; gone before the pipeline */
    TnLoggers *loggers;
    GPtrArray *functions; /* of TnFunction */
    GPtrArray *names;     /* of char * */
    int instance;         /* registry: the job component; LUA_NOREF */
    TnValue *result;
    TnValue *progress;  /* what was last told; NULL */
    gint64 status_put;  /* when status.json was written last: monotonic µs */
    gboolean cancelled; /* it stopped because it was told to */
};
