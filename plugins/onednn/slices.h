/* slices.h: what kernels share that run one call of oneDNN on slices of a node: how it is cut, both sizes'
 * calls, their scratch, running them. Slices depend on sizes alone, and so do the bits. */
#pragma once

#include "call.h"

#include <tenon/device.h>
#include <tenon/pool.h>

/* The first member of a kernel's state. */
typedef struct {
    gint64 all, per, n;  /* what is cut; of it a slice has; slices: the last may have less */
    gint64 times;        /* batches, which are cut alike; 0 is 1 */
    gint64 parts;        /* at most so many run at once and have memory; 0: all */
    OneDnnCall *call[2]; /* of every slice but the last; of the last */
    gsize bytes;         /* of a slice's scratch; more may be added when the calls are made */
} Slices;

/* A call on a slice that has `size` of what is cut. plan: the kernel's state. */
typedef OneDnnCall *(*SliceNew)(gconstpointer plan, gint64 size, GError **error);

/* At most `most` slices, each but the last a multiple of `unit`. */
void slices_cut(Slices *slices, gint64 all, gint64 unit, gint64 most);
/* Makes the calls and what threads need to run them at once. */
gboolean slices_make(Slices *slices, SliceNew make, GError **error);
/* Of all slices of all batches, or of the parts. */
gsize slices_scratch(const Slices *slices);

/* Calls func for each slice, batch after batch; those of a part, neighbours, follow each other. What ends a run
 * without words of its own: "oneDNN failed to run WHAT". */
TnStatus slices_run(const Slices *slices, const TnRun *run, TnChunkFunc func, gpointer job,
                    const char *what);
/* Of a slice that func was called for: the batch, what comes before it of what is cut, what it has. */
gint64 slices_batch(const Slices *slices, gsize item);
gint64 slices_first(const Slices *slices, gsize item);
gint64 slices_size(const Slices *slices, gsize item);
/* Its scratch, its part's, in that of all, and its call there. */
char *slices_memory(const Slices *slices, gsize item, char *scratch);
TnStatus slices_call(const Slices *slices, gsize item, void *const *ports, char *scratch);

/* `release` of kernels that own nothing else. */
void slices_release(void *state);
