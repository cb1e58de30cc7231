/* compile-private.h: what the passes share: the compiler's state, rewriting a graph into another,
 * claims.
 *
 * A pass reads the compiler's graph and replaces it. Nodes of the graph stand in an order in
 * which inputs come first, types are those of the binding. A few operators of the compiler's own
 * stand for things that a user cannot write. */
#pragma once

#include "graph/graph-private.h"

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/ops.h>
#include <tenon/program.h>

/* Who runs a node. kernel NULL: nobody (yet), or nothing is to be run. */
typedef struct {
    gint device; /* index into TnCompile.devices; -1: none */
    const TnKernel *kernel;
    guint64 unread; /* a bit for each output that nobody read then: the kernel was chosen by it */
    gboolean mixed; /* its results hang on all samples: chosen as without batch_invariant */
} TnClaim;

#define TN_INSIDE G_MAXUINT32

typedef struct {
    const TnCompile *options;
    TnGraph *graph;  /* owned */
    TnClaim *claims; /* of graph's nodes; NULL before `claim` and after each change of graph */
    guint n_spaces;  /* memories: 0 is the host's, each other device has its own */
    guint *space;    /* of device i */
    guint *input_home,
        *variable_home; /* devices in whose memory they are; known after `transfer` */
    /* Of graph's nodes: 0, or a copy of an earlier one, which computes again; those made for the same reader
     * have the same number. NULL: there are none. */
    guint32 *again;
    TnVal *
        trace; /* of the nodes before `fuse`: their first value after it; out TN_INSIDE: in a group */
    guint64 least_bytes; /* the smallest arena that `recompute` reached; 0: it was not needed */
    GHashTable *mixed;   /* paths of nodes whose results hang on all samples; NULL: none do */
} TnCompiler;

/* --- The table of passes ---------------------------------------------------------------------- */

typedef enum {
    TN_PASS_NEUTRAL = 1 << 0, /* knows no device; run again after each expansion */
    TN_PASS_NEEDED = 1 << 1,  /* cannot be left out */
    TN_PASS_PLAN = 1 << 2,    /* a choice of the memory plan: changes no graph, `run` is NULL */
} TnPassFlags;

typedef struct {
    const char *name;
    const char *help;
    guint32 flags;
    gboolean (*run)(TnCompiler *c, GError **error);
} TnPass;

extern const TnPass tn_pass_table[];
extern const guint tn_n_passes;
gboolean tn_run_passes(TnCompiler *c, GError **error);
gboolean tn_pass_skipped(const TnCompile *options, const char *name);
/* Runs the neutral passes that are not skipped on c->graph. */
gboolean tn_run_neutral(TnCompiler *c, GError **error);

gboolean tn_pass_infer(TnCompiler *c, GError **error);
gboolean tn_pass_canonical(TnCompiler *c, GError **error);
gboolean tn_pass_fold(TnCompiler *c, GError **error);
gboolean tn_pass_algebra(TnCompiler *c, GError **error);
gboolean tn_pass_cse(TnCompiler *c, GError **error);
gboolean tn_pass_dce(TnCompiler *c, GError **error);
/* Of each node whether an output, an assignment or an effect needs it. keep: zeros. */
void tn_mark_needed(const TnGraph *graph, gboolean *keep);
gboolean tn_pass_join(TnCompiler *c, GError **error);
gboolean tn_pass_precision(TnCompiler *c, GError **error);
gboolean tn_pass_claim(TnCompiler *c, GError **error);
gboolean tn_pass_expand(TnCompiler *c, GError **error);
gboolean tn_pass_layout(TnCompiler *c, GError **error);
gboolean tn_pass_recompute(TnCompiler *c, GError **error);
gboolean tn_pass_fuse(TnCompiler *c, GError **error);
gboolean tn_pass_transfer(TnCompiler *c, GError **error);

/* The graph at the types of c->options->inputs, calls of sub-graphs put in place. */
gboolean tn_infer_graph(TnCompiler *c, GError **error);

/* --- What batch_invariant is not for ----------------------------------------------------------- */

/* Sets c->mixed, to the nodes of the graph that sum over the samples. The graph is as `infer` left it. */
void tn_find_mixers(TnCompiler *c);
/* Of each node of c->graph whether all its results hang on all samples; those that do are added to c->mixed, by
 * which later graphs' nodes are known. (transfer full): g_free. */
gboolean *tn_mixed_nodes(TnCompiler *c);
/* What the kernel of a claimed node is chosen by: options, without batch_invariant where it is mixed. */
TnCompile tn_claim_options(const TnCompile *options, const TnClaim *claim);

/* --- Operators that passes must know ---------------------------------------------------------- */

typedef struct {
    const TnOp *input, *variable, *constant, *assign, *call, *fused;
} TnSourceOps;
const TnSourceOps *tn_source_ops(void);

/* Of the compiler's own: a value of which only the type is ever looked at. */
extern const TnOp tn_type_only_op;
/* Copies its input into the memory of a device: attributes TnTransferAttrs. */
typedef struct {
    gint device; /* index into TnCompile.devices */
    gint from;   /* the device whose memory the input is in; -1: the same memory */
} TnTransferAttrs;
extern const TnOp tn_transfer_op;
/* Makes what a kernel keeps from run to run (TnPrepared.keep). In programs alone. */
extern const TnOp tn_keep_op;

/* Whether input i of op is data (not absent, not just a type). */
static inline gboolean
tn_reads_data(const TnOp *op, gint i, TnVal val)
{
    return !tn_val_is_none(val) && !(tn_op_input(op, i)->flags & TN_ARG_SHAPE);
}
/* A node without inputs of its own that no device computes. */
static inline gboolean
tn_is_source(const TnGraphNode *node)
{
    return (node->op->flags & TN_OP_SOURCE) != 0;
}
/* The tensor of a constant, or NULL. (transfer none). */
TnTensor *tn_constant_value(const TnGraph *graph, TnVal val);
/* A rank-0-like constant: TRUE with *value if every element of the constant is the same finite
 * number. */
gboolean tn_constant_splat(const TnGraph *graph, TnVal val, double *value);

/* --- What is computed once -------------------------------------------------------------------- */

/* Of each node of a graph whether it hangs on constants and on variables alone that `assigned`, a
 * graph of the same variables, does not assign. Zeroed to begin with; the graph may grow between
 * calls. (transfer none): until the next one. */
typedef struct {
    GArray *fixed; /* gboolean */
} TnFixed;
const gboolean *tn_fixed_nodes(TnFixed *f, const TnGraph *graph, const TnGraph *assigned);
void tn_fixed_clear(TnFixed *f);

/* --- Rewriting a graph into another ----------------------------------------------------------- */

typedef struct TnRewriter TnRewriter;
/* Gives values of rw->to for the outputs of a node of rw->from, whose inputs are in[] in rw->to.
 * Sets *done to FALSE (its value when called) to have the node copied as it is. */
typedef gboolean (*TnRewrite)(TnRewriter *rw, guint number, const TnGraphNode *node,
                              const TnVal *in, TnVal *out, gboolean *done, GError **error);
struct TnRewriter {
    const TnGraph *from;
    TnGraph *to;
    guint32 *first;       /* of node i's outputs in map */
    TnVal *map;           /* old value → new value */
    const gboolean *keep; /* of nodes; NULL: all */
    gpointer data;
};

/* A new graph (transfer full) from what func says of each node, in order (NULL: as they stand);
 * inputs, outputs and variables follow. Nodes with keep[i] FALSE are left out (inputs are always
 * kept; keep NULL: all). NULL with *error if func failed. */
TnGraph *tn_rewrite(const TnGraph *from, const gboolean *keep, const guint32 *order, TnRewrite func,
                    gpointer data, GError **error);
/* tn_rewrite of c->graph, which the result replaces. */
gboolean tn_rewrite_into(TnCompiler *c, const gboolean *keep, TnRewrite func, gpointer data,
                         GError **error);
void tn_compiler_set_graph(TnCompiler *c, TnGraph *graph); /* (transfer full) */
void tn_compiler_clear(TnCompiler *c);
guint64 tn_compiler_variable_bytes(const TnCompiler *c);
/* The new value of an old one. */
static inline TnVal
tn_rewritten(const TnRewriter *rw, TnVal val)
{
    return tn_val_is_none(val) ? val : rw->map[rw->first[val.node] + val.out];
}
/* A copy of node with other inputs; its first output. */
TnVal tn_rewrite_copy(TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out);
/* Adds op to rw->to under the name of node, types inferred; TN_VAL_NONE if infer refuses. */
TnVal tn_rewrite_add(TnRewriter *rw, const TnGraphNode *node, const TnOp *op, const void *attrs,
                     gint n_in, const TnVal *in);
/* x in type's shape (as many elements). */
TnVal tn_rewrite_reshape(TnRewriter *rw, const TnGraphNode *node, TnVal x, const TnType *type);
TnVal tn_rewrite_constant(TnRewriter *rw, const TnGraphNode *node, TnTensor *tensor);
static inline const TnType *
tn_type_of(const TnGraph *graph, TnVal val)
{
    return &tn_graph_node(graph, val.node)->out[val.out];
}

/* --- control.c -------------------------------------------------------------------------------- */

/* The compiler's own kernel, on a host, of an operator that runs sub-graphs (TN_OP_CONTROL); NULL: it is
 * none. */
const TnKernel *tn_control_kernel(const TnOp *op);
/* Instead of that kernel's `prepare`: compiles the sub-graphs. */
gboolean tn_control_prepare(const TnCompile *options, const TnNode *node, TnPrepared *prepared,
                            GError **error);
/* Adds such a node without those of its outputs that nobody reads (read[]: of each) and need not be
 * computed; FALSE: it is no such node, or stays as it is. */
gboolean tn_control_narrow(TnRewriter *rw, const TnGraphNode *node, const gboolean *read,
                           const TnVal *in, TnVal *out);

/* --- Nodes as kernels see them ---------------------------------------------------------------- */

typedef struct {
    TnNode node;
    TnArg in[TN_MAX_IN];
    TnArg out[TN_MAX_OUT];
} TnNodeView;
void tn_arg_contiguous(TnArg *arg, const TnType *type);
/* Says of the outputs of view, a node of graph, which nobody reads. Where none is read nothing is said: the
 * node is there for its effect, or to be looked at by itself. What is unread when a node is claimed stays
 * so: no later pass reads more of it. */
void tn_node_mark_unread(TnNodeView *view, const TnGraph *graph, guint number);

/* The view of a node that was claimed, as its kernel was chosen: what copies of it made unread since is
 * not told. */
void tn_node_view_claimed(TnNodeView *view, const TnGraph *graph, guint number,
                          const TnClaim *claim);
/* Fills view for a node of graph: contiguous arguments, values of constants, what nobody reads. */
void tn_node_view(TnNodeView *view, const TnGraph *graph, guint number);

/* Computes a node on host tensors at once, with the kernel of the last host device that has one:
 * devices stand in the order in which they claim, so that is the plain one. types[]: of the
 * inputs (dtype none: absent); in[i] NULL: absent, or only the type counts. FALSE without *error
 * if there is no such kernel. out[] (transfer full). */
gboolean tn_eval_node(const TnCompile *options, const TnGraphNode *node, const TnType *types,
                      TnTensor *const *in, TnTensor **out, GError **error);
