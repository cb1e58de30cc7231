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

/* --- job-lua.c: the job's handle in Lua ---------------------------------------------------------- */

#define TN_JOB_HANDLE "tenon.job"

/* The job whose handle is the first argument; raises if it is over. */
TnJob *tn_job_of(lua_State *L);
/* The port at index of the pipeline that the job has now; raises. */
TnPort *tn_check_port(lua_State *L, int index);

/* Methods of the handle, a subject each. */
int tn_job_pipeline_open(lua_State *L);
int tn_job_stepper_open(lua_State *L);
int tn_job_loggers_open(lua_State *L);
int tn_job_checkpoints_open(lua_State *L);
