/* recompute-weigh.h: what a plan becomes if given values are dropped: bytes alive along its steps, and
 * what computing again takes. */
#pragma once

#include "recompute.h"

typedef struct {
    TnRecompute *r; /* r->split: what is weighed */
    guint32 n;      /* positions */
    gint64 limit;
    /* Bytes times positions: a value that is to be read after its last use is dropped there if keeping it takes
     * more, its split set; G_MAXINT64: none is. */
    gint64 small;
    GArray *splits; /* guint32: roots that were dropped so */

    double *takes; /* of nodes: what computing them takes */

    /* Of the plan's roots. */
    gint64 *bytes;  /* as they lie in the arena */
    GArray **uses;  /* guint32, positions, of its producer first; NULL: not in the arena */
    guint32 *maker; /* the node of the graph that gives it; TN_NO_VALUE: none that can again */
    guint32 *last;  /* position until which it is there; n: to the end */
    GArray **reads; /* of positions: guint32, roots in the arena */

    /* Found by tn_weigh. Times count steps, and nodes that are computed again before them. */
    guint32 n_times;
    guint32 *time; /* of positions */
    gint64 *live;  /* of times: bytes */
    guint32
        *until; /* of roots: position of the last reader of what is not the copy, at least `last` */
    gint64 excess; /* of live beyond the limit, summed over the times */
    double cost;   /* of what is computed again, in bytes that could be moved meanwhile */

    /* While weighing. */
    gboolean *copied;               /* of nodes */
    guint32 *read;                  /* of roots: time of the last reader of what is not the copy */
    guint32 *copy_made, *copy_read; /* of roots: times; TN_NO_STEP: there is no copy */
} TnWeigh;

/* Nothing is dropped to begin with. tn_weigh_clear after it. */
void tn_weigh_init(TnWeigh *w, TnRecompute *r, gint64 limit);
void tn_weigh_clear(TnWeigh *w);
/* Fills what is found. */
void tn_weigh(TnWeigh *w);
/* Of live bytes, those beyond the limit. */
static inline gint64
tn_weigh_beyond(const TnWeigh *w, gint64 live)
{
    return MAX(live - w->limit, 0);
}
