/* recompute-weigh.h: what a plan becomes if given values are dropped: bytes alive along its steps, and
 * what computing again takes. */
#pragma once

#include "recompute.h"

/* What a node of the graph reads in the arena or, root being TN_NO_VALUE, of a node whose value reaches no memory
 * and is computed again with it. */
typedef struct {
    guint32 root, inside;
} TnWeighRead;

/* Many small lists in one array: list i is that from first[i] to before first[i + 1]. */
typedef struct {
    guint32 *first;
    GArray *all;
} TnLists;

typedef struct {
    TnRecompute *r; /* r->split: what is weighed */
    guint32 n;      /* positions */
    gint64 limit;
    /* Bytes times positions: a value that is to be read after its last use is dropped there if keeping it takes
     * more, its split set; G_MAXINT64: none is. */
    gint64 small;
    GArray *splits; /* guint32: roots that were dropped so */

    double *takes;      /* of nodes: what computing them takes */
    TnLists node_reads; /* of nodes: TnWeighRead */
    TnLists node_made;  /* of nodes: guint32, roots in the arena that they give; none of views */

    /* Of the plan's roots. */
    gint64 *bytes;  /* as they lie in the arena */
    GArray **uses;  /* guint32, positions, of its producer first; NULL: not in the arena */
    guint32 *maker; /* the node of the graph that gives it; TN_NO_VALUE: none that can again */
    guint32 *last;  /* position until which it is there; n: to the end */
    TnLists reads;  /* of positions: guint32, roots in the arena */

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
/* What computing the node takes with the kernel that it now has. */
double tn_weigh_takes(const TnWeigh *w, guint32 number);
#define TN_LIST(lists, type, i, n)                                                                 \
    (*(n) = (lists)->first[(i) + 1] - (lists)->first[i],                                           \
     &g_array_index((lists)->all, type, (lists)->first[i]))
/* Of live bytes, those beyond the limit. */
static inline gint64
tn_weigh_beyond(const TnWeigh *w, gint64 live)
{
    return MAX(live - w->limit, 0);
}
