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
 * TN_AGAIN: it is not there yet. */
typedef struct {
    TnStatus status;
    TnFrame *frame;
    GError *error;
} TnMade;

typedef struct TnPlaced TnPlaced; /* placed.h */

/* agree.c: {program, config, stage, world}. (transfer full). */
TnValue *tn_placing_hello(const TnPlacing *placing, const char *stage, const TnContext *context);
/* (transfer full). */
TnValue *tn_schema_to_value(const TnSchema *schema);
/* FALSE: it is none. Nothing of it is trusted. */
gboolean tn_schema_from_value(const TnValue *value, TnSchema *schema);
gsize tn_schema_bytes(const TnSchema *schema); /* of the usual frame */

/* A pure stage as the driver holds it, with the edge that leaves it. */
typedef struct TnNodeStage {
    char *name;
    TnObject *object;
    const TnStageVTable *vtable;
    void *self;
    TnConfig *config; /* of a placed stage: what common is part of */
    TnStageCommon common;
    TnPort *in;       /* of the stage before; NULL: a source */
    TnPlaced *placed; /* it runs elsewhere: no object, no input here; NULL */
    TnSchema schema;
    gboolean opened;
    gboolean async; /* TN_STAGE_ASYNC */
    gboolean taken; /* it has its consumer */
    TnPort *port;
} TnNodeStage;

TnPort *tn_port_new(TnNodeStage *stage, TnContext *context, TnBus *bus, GError **error);
/* tn_port_pull, with the error given instead of posted. */
TnMade tn_port_take(TnPort *port);
gboolean tn_port_is_async(const TnPort *port);
void tn_port_free(TnPort *port);
/* Wakes whoever waits. Safe before tn_port_free. */
void tn_port_stop(TnPort *port);
