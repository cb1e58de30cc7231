/* replies.h: a stage of this process that answers requests (TN_STAGE_REPLIES), inline or in threads. */
#pragma once

#include "stage/stage-private.h"

typedef struct TnReplies TnReplies;
/* With as many threads as the stage has workers. pool must outlive it. (transfer full). */
TnReplies *tn_replies_new(TnNodeStage *stage, TnContext *context, TnFramePool *pool,
                          GError **error);
void tn_replies_stop(TnReplies *replies); /* wakes whoever waits */
void tn_replies_free(TnReplies *replies);
/* request (transfer full) fits; which ask it is. */
guint64 tn_replies_ask(TnReplies *replies, TnFrame *request, guint milliseconds);
TnMade tn_replies_pull(TnReplies *replies, gboolean wait);
void tn_replies_seek(TnReplies *replies, guint64 next);
