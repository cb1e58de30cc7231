/* asks.h: what was asked of a stage that replies, each from the ask until its outcome is told. Whoever
 * answers (replies.c: threads; placed-requests.c: processes) keeps one. Thread: one at a time. */
#pragma once

#include "stage/stage-private.h"

typedef struct {
    guint64 number;
    gint64 ends;      /* monotonic us in which it must be over; G_MAXINT64: whenever */
    TnFrame *request; /* NULL: who works at it has it */
    gboolean over;
    TnMade made; /* if it is */
} TnAsk;

typedef struct {
    const char *stage; /* for messages */
    gboolean ordered;  /* outcomes are told in the order of the asks */
    guint64 next;      /* number of the next ask */
    guint64 told;      /* ordered: the number that is told next */
    guint timed;       /* asks that are not over and may be too late one day */
    GHashTable *table; /* number -> TnAsk */
    GQueue over;       /* of TnAsk, in the order in which they came to be; unless ordered */
} TnAsks;

void tn_asks_init(TnAsks *asks, const char *stage, gboolean ordered);
void tn_asks_clear(TnAsks *asks);
/* request: (transfer full). milliseconds 0: as long as it takes. (transfer none). */
TnAsk *tn_asks_add(TnAsks *asks, TnFrame *request, guint milliseconds);
TnAsk *tn_asks_find(const TnAsks *asks,
                    guint64 number); /* not over yet; NULL: nobody waits for it */
/* What came of it: made (transfer full); dropped if nobody waits for it any more. */
void tn_asks_end(TnAsks *asks, guint64 number, TnMade made);
void tn_asks_end_late(TnAsks *asks, guint64 number); /* no answer came in time */
/* Those whose time is over have failed. */
void tn_asks_look(TnAsks *asks, gint64 now);
/* When the first of them will be too late; G_MAXINT64. */
gint64 tn_asks_soonest(const TnAsks *asks);
/* The next outcome: TRUE. TN_EOS if nothing is asked; FALSE: none yet. */
gboolean tn_asks_take(TnAsks *asks, TnMade *made);
/* Nobody waits for anything any more; the next ask has the number next. */
void tn_asks_forget(TnAsks *asks, guint64 next);
