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
    atomic_int refs; /* the edge's and each frame's: frames may outlive the edge */
    pthread_mutex_t lock;
    TnFrame *free;
    guint n_fields;
} TnFramePool;

TnFramePool *tn_frame_pool_new(guint n_fields);
void tn_frame_pool_unref(TnFramePool *pool);
TnFrame *tn_frame_pool_take(TnFramePool *pool, guint64 seq);

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

/* A pure stage as the driver holds it, with the edge that leaves it. */
typedef struct TnNodeStage {
    char *name;
    TnObject *object;
    const TnStageVTable *vtable;
    void *self;
    TnStageCommon common;
    TnPort *in; /* of the stage before; NULL: a source */
    TnSchema schema;
    gboolean opened;
    gboolean taken; /* it has its consumer */
    TnPort *port;
} TnNodeStage;

TnPort *tn_port_new(TnNodeStage *stage, TnContext *context, TnBus *bus, GError **error);
void tn_port_free(TnPort *port);
/* Wakes whoever waits. Safe before tn_port_free. */
void tn_port_stop(TnPort *port);
