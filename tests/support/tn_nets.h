/* tn_nets.h - networks over images, to be compiled in several ways: layers whose weights are variables, and
 * how far two results are apart. */
#ifndef TN_NETS_H
#define TN_NETS_H

#include <tenon/graph.h>
#include <tenon/program.h>
#include <tenon/store.h>

typedef struct {
    TnGraph *graph;
    TnStore *store;
} TnNet;

TnNet tn_net_new(guint64 seed);
void tn_net_clear(TnNet *net);

/* A variable "layer.name" of random numbers between low and high. */
TnVal tn_net_param(TnNet *net, const char *layer, const char *name, gint rank, const gint64 *dims,
                   double low, double high);

typedef struct {
    gint64 maps, channels, kernel, stride, pad, group; /* group 0: 1 */
    gboolean bias;
} TnNetConv;
TnVal tn_net_conv(TnNet *net, const char *name, TnVal x, TnNetConv c);
TnVal tn_net_norm(TnNet *net, const char *name, TnVal x); /* batch_normalization */
TnVal tn_net_op1(TnNet *net, const char *op, TnVal x);
/* max_pool or average_pool with a window of height x width. */
TnVal tn_net_pool(TnNet *net, const char *op, TnVal x, gint64 height, gint64 width);

/* (transfer full): an exec whose first input, of type x, is a wave; odd, if it is not 0, is its element 40.
 * A failure ends the test. x NULL: as the graph was built. */
TnExec *tn_net_exec(const TnNet *net, TnProgram *program, const TnType *x, double odd);

/* Largest difference as a share of b's largest element; both NaN: none. */
double tn_test_difference(TnTensor *a, TnTensor *b);

#endif
