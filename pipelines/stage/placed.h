/* placed.h: the consumer's side of a stage that runs in other processes. */
#pragma once

#include "stage/stage-private.h"

/* Starts the processes that `place` says, or waits for those that join, until one has said what the
 * stage gives: schema, and what it reads. common must stay. (transfer full). */
TnPlaced *tn_placed_new(const char *name, guint32 flags, const TnStageCommon *common,
                        const TnPlacing *placing, TnContext *context, GError **error);
void tn_placed_free(TnPlaced *placed);
const TnSchema *tn_placed_schema(const TnPlaced *placed);
/* {stage: what it reads}, of the stage and those before it; all that the first process said of itself.
 * (transfer none) both. */
const TnValue *tn_placed_data(const TnPlaced *placed);
const TnValue *tn_placed_about(const TnPlaced *placed);
/* The next frame: by number; of an asynchronous stage the next one that has come; of one that replies the
 * next answer; the latest. TN_AGAIN, if it need not be waited for: it is not there yet. */
TnMade tn_placed_pull(TnPlaced *placed, gboolean wait);
guint64 tn_placed_next(const TnPlaced *placed); /* as tn_port_seq */
void tn_placed_seek(TnPlaced *placed, guint64 seq);
void tn_placed_stop(TnPlaced *placed); /* nobody waits any more. Thread: any. */
/* Of a stage that replies: the requests it takes; NULL: of another. */
const TnSchema *tn_placed_requests(const TnPlaced *placed);
/* request (transfer full) fits; which ask it is. */
guint64 tn_placed_ask(TnPlaced *placed, TnFrame *request, guint milliseconds);
/* As tn_pipeline_places has it. Thread: any. (transfer full). */
TnValue *tn_placed_status(TnPlaced *placed);
