/* latest.h: a stage of this process whose frames are versions (TN_STAGE_LATEST), made by a thread. */
#pragma once

#include "stage/stage-private.h"

typedef struct TnLatest TnLatest;
/* pool must outlive it. (transfer full). */
TnLatest *tn_latest_new(TnNodeStage *stage, TnContext *context, TnFramePool *pool, GError **error);
void tn_latest_stop(TnLatest *latest); /* wakes whoever waits */
void tn_latest_free(TnLatest *latest);
/* The newest version that was not taken. */
TnMade tn_latest_pull(TnLatest *latest, gboolean wait);
/* From version next on, which is none that was given; the stage's input too. */
void tn_latest_seek(TnLatest *latest, guint64 next);
