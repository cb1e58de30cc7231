/* stage-private.h: the structs behind frames, ports and pipelines, shared by the files of this
 * room. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <tenon/base.h>
#include <tenon/pool.h>
#include <tenon/stage.h>

/* Frames that wait for their next life. */
typedef struct {
    atomic_int refs; /* the edge's, and one for each frame there is: they may outlive the edge */
    guint n_fields;
    pthread_mutex_t lock; /* of who takes: of free */
    TnFrame *free;
    guint8 apart[64];
    _Atomic(TnFrame *) returned; /* by any thread; who takes has them all at once */
} TnFramePool;

TnFramePool *tn_frame_pool_new(guint n_fields);
/* The edge has gone: nobody takes any more. Frames that are out go as they come back. */
void tn_frame_pool_close(TnFramePool *pool);
TnFrame *tn_frame_pool_take(TnFramePool *pool, guint64 seq);
void tn_frame_set_seq(TnFrame *frame, guint64 seq);

/* The first error that any stage posted. */
typedef struct {
    pthread_mutex_t lock;
    GError *error;
    atomic_bool failed;
} TnBus;

void tn_bus_init(TnBus *bus);
void tn_bus_clear(TnBus *bus);
/* Takes error; keeps the first. */
void tn_bus_post(TnBus *bus, GError *error);

/* What came of making a frame: TN_OK with a frame, TN_FAILED with an error, TN_EOS, TN_CANCELLED;
 * TN_AGAIN: it is not there yet. Of a request that came to nothing (TN_FAILED, TN_AGAIN with an error): a
 * frame without tensors that has its number, by which it differs from what ends the stage. */
typedef struct {
    TnStatus status;
    TnFrame *frame;
    GError *error;
} TnMade;
void tn_made_drop(TnMade *made);

/* Conditions whose waits end by CLOCK_MONOTONIC (wait.c). Waits are short: at least every TN_LOOK_US
 * somebody looks at the cancel flag, which signals nobody. */
#define TN_LOOK_US 50000
void tn_cond_init(pthread_cond_t *cond);
void tn_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, gint64 most_us);

typedef struct TnPlaced TnPlaced; /* placed.h */

/* agree.c: {program, config, stage, world}. (transfer full). */
TnValue *tn_placing_hello(const TnPlacing *placing, const char *stage, const TnContext *context);
/* (transfer full). */
TnValue *tn_schema_to_value(const TnSchema *schema);
/* FALSE: it is none. Nothing of it is trusted. */
gboolean tn_schema_from_value(const TnValue *value, TnSchema *schema);
gsize tn_schema_bytes(const TnSchema *schema); /* of the usual frame */
/* Whether tensors are what it says: the batch's size, the first of all, may be smaller at the end of an
 * epoch. None may be NULL. */
gboolean tn_schema_fits(const TnSchema *schema, guint n, TnTensor *const *tensors);
/* "x f32[8, 4], y i64[8]". (transfer full). */
char *tn_schema_print(const TnSchema *schema);
/* TN_ERROR_SHAPE, with both, if a request is not what a stage takes. */
gboolean tn_request_check(const char *stage, const TnSchema *requests, const TnFrame *request,
                          GError **error);

/* A pure stage as the driver holds it, with the edge that leaves it. */
typedef struct TnNodeStage {
    char *name;
    TnContext *context; /* the pipeline's */
    TnObject *object;
    const TnStageVTable *vtable;
    void *self;
    TnConfig *config; /* of a placed stage: what common is part of */
    TnStageCommon common;
    TnPort *in;       /* of the stage before; NULL: a source */
    TnPlaced *placed; /* it runs elsewhere: no object, no input here; NULL */
    TnSchema schema;
    const TnSchema *requests; /* that it takes; NULL: it gives frames by itself */
    gboolean opened;
    guint32 flags;  /* TnStageFlags */
    gboolean taken; /* it has its consumer */
    TnPort *port;
} TnNodeStage;

/* make.c. Makes frame seq of what came of its input: in (transfer full), all zero for a source. state: the
 * worker's. */
TnMade tn_stage_make(TnNodeStage *stage, TnFramePool *pool, void *state, guint64 seq, TnMade in);
/* What a source has for its input (all zero), or the next frame of the stage before. */
TnMade tn_stage_pull_input(const TnNodeStage *stage, gboolean wait);
/* A worker's state; *state NULL and TRUE: the stage has none. */
gboolean tn_stage_worker_new(TnNodeStage *stage, void **state, GError **error);
void tn_stage_worker_free(TnNodeStage *stage, void *state);

/* TnStageFlags of a factory's stages; 0: of one that is no pure stage's, or NULL. */
guint32 tn_stage_flags(const TnFactory *factory);
/* What cannot be, as `check` and whoever makes the pipeline say it. */
#define TN_STAGE_HAS_FROM                                                                          \
    "it answers requests of whoever takes its output, so it takes no stage's frames: leave "       \
    "`from` out"
#define TN_STAGE_FROM_REPLIES                                                                      \
    "stage '%s' answers requests and gives no frames by itself, so only a stage that asks "        \
    "it (tn_port_ask) can take its answers"
#define TN_STAGE_ONE_WORKER                                                                        \
    "its frames are versions of one thing, and those of %" G_GINT64_FORMAT " workers "             \
    "could not be compared: 0 or 1"

TnPort *tn_port_new(TnNodeStage *stage, TnContext *context, TnBus *bus, GError **error);
/* tn_port_pull, with the error given instead of posted. wait FALSE: TN_AGAIN, it is not there yet. */
TnMade tn_port_take(TnPort *port, gboolean wait);
guint32 tn_port_flags(const TnPort *port); /* TnStageFlags of its stage */
void tn_port_free(TnPort *port);
/* Wakes whoever waits. Safe before tn_port_free. */
void tn_port_stop(TnPort *port);
