/* tn_graphs.h - devices to test on, and graphs made at random out of whatever operators the
 * registry knows.
 *
 * A device that computes on the host with part of ref's kernels is there too: kind "half", for
 * programs on two devices. */
#ifndef TN_GRAPHS_H
#define TN_GRAPHS_H

#include <tenon/context.h>
#include <tenon/device.h>
#include <tenon/graph.h>
#include <tenon/program.h>
#include <tenon/store.h>

/* (transfer full): "ref", "cpu", "far", "far:1" (one stream), "half". A device that cannot be
 * opened ends the test. */
TnDevice *tn_test_device(const char *name);
/* (transfer full): a context with these devices, NULL-terminated. */
TnContext *tn_test_context(const char *device, ...) G_GNUC_NULL_TERMINATED;

/* A graph with the tensors for its inputs. Outputs "y0", "y1" …; variables "v0", "v1" … of the
 * store, some of them assigned. Equal seeds give equal graphs. */
typedef struct {
    TnGraph *graph;
    guint n_inputs;
    TnTensor *inputs[8];
    TnStore *store;
} TnRandomGraph;

/* size: about how many nodes; ops: NULL-terminated names to choose from, NULL: all that can be
 * chosen. */
void tn_random_graph(TnRandomGraph *random, guint64 seed, guint size, const char *const *ops);
void tn_random_graph_clear(TnRandomGraph *random);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TnRandomGraph, tn_random_graph_clear)

/* Everything a graph gives when it is run `runs` times: outputs and variables as text, an
 * element a word (zeros without sign). (transfer full). NULL after recording a failure. */
char *tn_random_graph_run(const TnRandomGraph *random, const TnCompile *options, guint runs);

/* Whether two tensors agree in every element; NaN equals NaN. */
gboolean tn_test_same(TnTensor *a, TnTensor *b);

#endif
