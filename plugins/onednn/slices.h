/* slices.h: what kernels share that run one call of oneDNN on slices of a node: how it is cut, both sizes'
 * calls, their scratch, weights that are laid once for all of them, running them. Slices depend on sizes
 * alone, and so do the bits. */
#pragma once

#include "call.h"

#include <tenon/device.h>
#include <tenon/pool.h>

/* A tensor that all slices, or all batches of a slice, read in the library's own layout. */
typedef struct {
    OneDnnPort port;
    gboolean cut; /* a slice has a part of its own; else all read the whole */
    gint64 step;  /* cut: bytes from part to part, as they lie */
    /* Of the parts of slices but the last; of the last. NULL: they are taken as they lie; of the second also
     * where all read the same. */
    OneDnnCall *call[2];
    gsize bytes[2], at; /* at: among what is laid */
} SliceWeights;
#define SLICE_MOST_WEIGHTS 2

/* Lays a node's weights at `to` (slices_lay), with what else the kernel derives from them. */
typedef TnStatus (*SliceLay)(gconstpointer plan, const TnRun *run, char *to);

/* The first member of a kernel's state. Whoever fills it sets what is to hold before slices_prepare. */
typedef struct {
    gint64 all, per, n;  /* what is cut; of it a slice has; slices: the last may have less */
    gint64 times;        /* batches, which are cut alike; 0 is 1 */
    gint64 parts;        /* at most so many run at once and have memory; 0: all */
    OneDnnCall *call[2]; /* of every slice but the last; of the last */
    gsize bytes;         /* of a slice's scratch, its call's part */
    gsize own, before;   /* scratch reserved: of a slice besides; of the node, before the slices' */
    SliceLay lay;        /* NULL: no weights that are laid apart */
    gint n_weights;
    SliceWeights weights[SLICE_MOST_WEIGHTS];
    gboolean kept;       /* weights are fixed: laid by TnPrepared.keep, not in each run */
    gint n_in;           /* of the node: where they are found then */
    gsize laid, laid_at; /* bytes of what is laid; where in scratch, unless kept */
} Slices;

/* A call on a slice that has `size` of what is cut. plan: the kernel's state. */
typedef OneDnnCall *(*SliceNew)(gconstpointer plan, gint64 size, GError **error);

/* At most `most` slices, each but the last a multiple of `unit`. */
void slices_cut(Slices *slices, gint64 all, gint64 unit, gint64 most);
/* Bytes of the node's scratch; of each slice's. Where, for slices_own of the latter. */
gsize slices_reserve(Slices *slices, gint64 bytes);
gsize slices_reserve_own(Slices *slices, gint64 bytes);
/* Bytes among what is laid, which `lay` fills itself. Where. */
gsize slices_reserve_laid(Slices *slices, gint64 bytes);
/* The tensor of a port of the calls is laid apart; call it before slices_prepare, and not with
 * `parts`, whose memory is shared. step: 0: not cut. */
void slices_add_weights(Slices *slices, OneDnnPort port, gint64 step);

/* Makes the calls and what threads need to run them at once. */
gboolean slices_make(Slices *slices, SliceNew make, GError **error);
/* `prepare` of a kernel with that state, which is taken: makes the calls unless they are there, those that
 * lay weights, and fills prepared. */
gboolean slices_prepare(gpointer state, SliceNew make, TnPrepared *prepared, GError **error);

/* Calls func for each slice, batch after batch; those of a part, neighbours, follow each other. What ends a run
 * without words of its own: "oneDNN failed to run WHAT". */
TnStatus slices_run(const Slices *slices, const TnRun *run, TnChunkFunc func, gpointer job,
                    const char *what);
/* Of a slice that func was called for: the batch, what comes before it of what is cut, what it has. */
gint64 slices_batch(const Slices *slices, gsize item);
gint64 slices_first(const Slices *slices, gsize item);
gint64 slices_size(const Slices *slices, gsize item);
/* Its own scratch, its part's, in the node's; and its call there. */
char *slices_own(const Slices *slices, gsize item, void *scratch);
TnStatus slices_call(const Slices *slices, gsize item, void *const *ports, void *scratch);

/* What is laid: kept, or laid now. */
TnStatus slices_laid(const Slices *slices, const TnRun *run, char **laid);
/* Lays weights number k, which lie at `plain`, among what is laid at `to`. */
TnStatus slices_lay(const Slices *slices, gint k, const TnRun *run, const void *plain, char *to);
/* Weights number k of a slice. */
void *slices_weights(const Slices *slices, gint k, gsize item, const void *plain, char *laid);

/* `release` of kernels that own nothing else. */
void slices_release(void *state);
