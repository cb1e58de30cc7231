/* ring.h: a stage of this process whose frames threads make ahead, in order. */
#pragma once

#include "stage/stage-private.h"

typedef struct TnRing TnRing;
/* With as many threads as the stage has workers, `queue` frames ahead (0: twice as many as threads). pool
 * must outlive it. (transfer full). */
TnRing *tn_ring_new(TnNodeStage *stage, TnContext *context, TnFramePool *pool, GError **error);
void tn_ring_stop(TnRing *ring); /* wakes whoever waits */
void tn_ring_free(TnRing *ring);
/* The next frame, or the end, which stays for the next pull. */
TnMade tn_ring_pull(TnRing *ring, gboolean wait);
guint64 tn_ring_next(const TnRing *ring); /* as tn_port_seq */
/* Whether some frame was the end, or failed: then a seek goes on. */
gboolean tn_ring_ended(const TnRing *ring);
/* From frame seq on; the stage's input too. */
void tn_ring_seek(TnRing *ring, guint64 seq);
