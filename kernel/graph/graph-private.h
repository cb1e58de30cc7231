/* graph-private.h: what a graph is inside, for the rooms graph, compile and exec.
 *
 * Nodes stand in an order in which inputs come before their readers. Passes do not change a TnGraph
 * that somebody else may hold: they build another with tn_graph_add_node, or change their own
 * copy's nodes in place. */
#pragma once

#include <tenon/graph.h>

#include "base/refs.h"

typedef struct {
    const TnOp *op;
    void *attrs;      /* op->attrs.struct_size bytes (NULL if 0), owned, tensors and graphs held */
    const char *name; /* unique in the graph, dotted, interned */
    /* Where random streams come from, interned. The name, but for nodes of a body: the path of the
     * composite + the name inside, so that each copy of a body draws the same numbers. */
    const char *path;
    gint n_in, n_out;
    TnVal *in;
    TnType *out; /* at the binding that the graph was built with */
} TnGraphNode;

typedef struct {
    const char *name; /* interned */
    TnVal val;
} TnGraphPort;

typedef struct {
    const char *name; /* interned */
    TnType type;
    TnVal read;     /* TN_VAL_NONE: only assigned */
    TnVal assigned; /* TN_VAL_NONE: only read */
    guint assign;   /* the node that assigns; G_MAXUINT: none */
} TnGraphVariable;

struct TnGraph {
    TnRefs refs;
    char *name;
    GPtrArray *nodes;  /* TnGraphNode * */
    GArray *inputs;    /* TnGraphPort */
    GArray *outputs;   /* TnGraphPort */
    GArray *variables; /* TnGraphVariable */
    GHashTable *names; /* interned name → number of the last suffix given (guint) */
    /* Where the next node's name begins. */
    GPtrArray *scopes;      /* char *: stack of dotted prefixes; the last is the scope */
    GPtrArray *paths;       /* char *: the same for paths */
    GHashTable *path_names; /* as names, inside a body; NULL: paths are names */
    GError *error;          /* the first failure */
    struct TnGraph *outer;  /* nested: the graph around, until the node is there; owned */
    GArray *captures;       /* nested: TnGraphCapture, in the order of the last inputs */
};

/* A value of the graph around and the input that stands for it. */
typedef struct {
    TnVal outer, inner;
} TnGraphCapture;

static inline TnGraphNode *
tn_graph_node(const TnGraph *graph, guint node)
{
    return (TnGraphNode *)g_ptr_array_index(graph->nodes, node);
}

/* Latches *error (transfer full) as the graph's first failure, or frees it if there is one. */
void tn_graph_latch(TnGraph *graph, GError *error);
/* tn_graph_add with the last part of the name given (NULL: the operator's name). */
TnVal tn_graph_add_named(TnGraph *graph, const TnOp *op, const void *attrs, const char *base,
                         gint n_in, const TnVal *in, TnVal *out);
/* `want`, or with the first free number from 2 up behind it; interned and entered into names. */
const char *tn_graph_unique(GHashTable *names, const char *want);
/* tn_graph_input of that name, or with a number behind it if there is one. */
TnVal tn_graph_further_input(TnGraph *graph, const char *name, const TnType *type);
/* By name and type, without a variable at hand: for copies of graphs. */
TnVal tn_graph_read_named(TnGraph *graph, const char *name, const TnType *type);
void tn_graph_assign_named(TnGraph *graph, const char *name, const TnType *type, TnVal value);

/* Adds a node whose attributes and types are known already; the name is made unique, the path kept
 * (NULL: the name). Random streams are not touched. Returns the node's number. For passes that copy
 * nodes from graph to graph. */
guint tn_graph_add_node(TnGraph *graph, const TnOp *op, const void *attrs, const char *name,
                        const char *path, gint n_in, const TnVal *in, gint n_out,
                        const TnType *out);
/* Nodes added between begin and end are a body's: names begin with `name`, random streams follow
 * `path`, counted anew. Returns what end wants back. */
typedef struct {
    GHashTable *path_names;
} TnGraphBodyMark;
TnGraphBodyMark tn_graph_begin_body(TnGraph *graph, const char *name, const char *path);
void tn_graph_end_body(TnGraph *graph, TnGraphBodyMark mark);

/* For an operator that runs sub-graphs: a graph of the inputs of `graph`, then the gradients of those of
 * its outputs with given[k]; its outputs are the gradients of those of its inputs with wanted[i] (zeros
 * where there is no path). Random nodes draw as in graph. NULL with *error as of tn_grad. (transfer full). */
TnGraph *tn_graph_pullback(const TnGraph *graph, const gboolean *given, const gboolean *wanted,
                           GError **error);
/* Whether random streams inside the operator's nodes, composites or sub-graphs, come from the
 * node's path. */
gboolean tn_op_draws_by_path(const TnOp *op);

/* The contents of a value that is known while building (a constant's), or NULL. (transfer none). */
TnTensor *tn_graph_static_value(const TnGraph *graph, TnVal val);
