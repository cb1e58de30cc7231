/* graph.h: the builder: nodes, names, variables, sub-graphs, gradients.
 *
 * Errors latch: after the first failure every add gives TN_VAL_NONE (which is also accepted as
 * an input then), and tn_graph_check reports it once, with the node's dotted name. So rules and
 * bodies read as formulas. A graph is built by one thread and never changes after its first
 * compilation; then it may be shared. */
#pragma once

#include <tenon/op.h>

G_BEGIN_DECLS

/* (transfer full). name: for messages, such as "step". */
TN_API TnGraph *tn_graph_new(const char *name);
TN_API TnGraph *tn_graph_ref(TnGraph *graph);
TN_API void tn_graph_unref(TnGraph *graph);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnGraph, tn_graph_unref)
TN_API const char *tn_graph_name(const TnGraph *graph);

/* Scopes make dotted names: within "model" and "conv1" a node of operator conv is
 * "model.conv1.conv"; repeated names get "_2", "_3" … Variables made inside take the scope as
 * prefix through tn_graph_scope. */
TN_API void tn_graph_push(TnGraph *graph, const char *name);
TN_API void tn_graph_pop(TnGraph *graph);
/* "model.conv1", "" at the top; valid until push or pop */
TN_API const char *tn_graph_scope(const TnGraph *graph);

/* A named input. type->dims are those of the binding at hand; another binding may have others
 * (of the same rank). */
TN_API TnVal tn_graph_input(TnGraph *graph, const char *name, TnType type);
/* A constant (keeps a reference; host tensor, not written any more). */
TN_API TnVal tn_graph_constant(TnGraph *graph, TnTensor *tensor);
TN_API TnVal tn_graph_scalar(TnGraph *graph, TnDtype dtype, double value);
/* The value a variable has when the program begins, whatever the graph assigns to it. The graph keeps
 * the variable's name and type, not the variable. */
TN_API TnVal tn_graph_variable(TnGraph *graph, TnVar *var);
/* Writes value to the variable at the end of the program, once per graph and variable; types
 * must agree. */
TN_API void tn_graph_assign(TnGraph *graph, TnVar *var, TnVal value);
/* Names a value as an output. */
TN_API void tn_graph_output(TnGraph *graph, const char *name, TnVal value);

/* Adds a node. in[n_in]: TN_VAL_NONE for absent optional inputs. attrs: a filled struct of
 * op->attrs (NULL: defaults), copied. out: room for TN_MAX_OUT, may be NULL. Returns output 0. */
TN_API TnVal tn_graph_add(TnGraph *graph, const TnOp *op, const void *attrs, gint n_in,
                          const TnVal *in, TnVal *out);
/* By operator name. */
TN_API TnVal tn_graph_op(TnGraph *graph, const char *op, const void *attrs, gint n_in,
                         const TnVal *in, TnVal *out);
/* Latches an error from a caller's own check, prefixed by the scope. */
TN_API void tn_graph_fail(TnGraph *graph, TnErrorCode code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* TRUE if no error has latched; otherwise FALSE and a copy of it. */
TN_API gboolean tn_graph_check(const TnGraph *graph, GError **error);

/* Reading. */
TN_API guint tn_graph_n_nodes(const TnGraph *graph);
/* at the binding it was built with */
TN_API const TnType *tn_graph_type(const TnGraph *graph, TnVal val);
TN_API const TnOp *tn_graph_node_op(const TnGraph *graph, guint node);
TN_API const void *tn_graph_node_attrs(const TnGraph *graph, guint node);
TN_API const char *tn_graph_node_name(const TnGraph *graph, guint node);
TN_API gint tn_graph_node_inputs(const TnGraph *graph, guint node, const TnVal **in);
TN_API gint tn_graph_node_n_outputs(const TnGraph *graph, guint node);
TN_API guint tn_graph_n_inputs(const TnGraph *graph);
TN_API TnVal tn_graph_input_at(const TnGraph *graph, guint i, const char **name);
TN_API guint tn_graph_n_outputs(const TnGraph *graph);
TN_API TnVal tn_graph_output_at(const TnGraph *graph, guint i, const char **name);
TN_API guint tn_graph_n_variables(const TnGraph *graph); /* read or assigned */
TN_API const char *tn_graph_variable_at(const TnGraph *graph, guint i, TnType *type, TnVal *read,
                                        TnVal *assigned);
/* Digest over operators, attributes, streams of random nodes, inputs, outputs, variables and their
 * sizes; not over the sizes of inputs. */
TN_API guint64 tn_graph_digest(const TnGraph *graph);
/* As text, a node a line, or as Graphviz. (transfer full): g_free. */
TN_API char *tn_graph_print(const TnGraph *graph);
TN_API char *tn_graph_to_dot(const TnGraph *graph);

/* --- Whole graphs ----------------------------------------------------------------------------- */

/* The same nodes, inputs, outputs and variables under the same numbers. (transfer full). */
TN_API TnGraph *tn_graph_copy(const TnGraph *graph);
/* Copies the nodes of `inner` into graph, its inputs replaced by in[] (as many as inner has);
 * out[i] gets inner's output i. Variables are graph's of the same name. Names begin with the scope;
 * random nodes whose stream came from their name draw by their new one. Errors latch in graph. */
TN_API void tn_graph_inline(TnGraph *graph, const TnGraph *inner, const TnVal *in, TnVal *out);
/* Builds op's body in graph on the values in[n_in]: out[n_out] gets its results. name: what names
 * of the new nodes begin with; path: what streams of random ones follow (a node's own name, unless
 * it is itself of a body). FALSE with *error if the body failed or its results are not of the types
 * want[n_out] (NULL: not asked). */
TN_API gboolean tn_graph_expand(TnGraph *graph, const TnOp *op, const void *attrs, const char *name,
                                const char *path, gint n_in, const TnVal *in, gint n_out,
                                const TnType *want, TnVal *out, GError **error);

/* Types of every value at other input types. */
typedef struct {
    guint n_nodes;
    guint32 *first; /* of node i's outputs in type */
    TnType *type;
} TnGraphTypes;
static inline const TnType *
tn_graph_types_at(const TnGraphTypes *types, TnVal val)
{
    return &types->type[types->first[val.node] + val.out];
}
/* inputs[i]: type of graph input i (dtype and rank as built). values[i]: its contents for
 * TN_ARG_STATIC readers, NULL: unknown; values NULL: none known. FALSE with *error (names the node)
 * if a node does not accept its inputs, or gets outputs of another dtype or rank than it was built
 * with. On success tn_graph_types_clear frees what *types holds. */
TN_API gboolean tn_graph_infer(const TnGraph *graph, const TnType *inputs, TnTensor *const *values,
                               TnGraphTypes *types, GError **error);
TN_API void tn_graph_types_clear(TnGraphTypes *types);

/* Adds nodes that compute d(sum(y * seed))/d(x[i]) and gives them in grad[i] (never TN_VAL_NONE:
 * zeros_like where there is no path). seed TN_VAL_NONE: ones. Operators' own rules come first,
 * else the body's gradient. Values again, so it can be called on its own results. FALSE if an
 * operator on the path has neither rule nor body (TN_ERROR_UNSUPPORTED). Reference: reverse
 * accumulation, Griewank & Walther, Evaluating Derivatives, ch. 3. */
TN_API gboolean tn_grad(TnGraph *graph, TnVal y, TnVal seed, gint n, const TnVal *x, TnVal *grad,
                        GError **error);
/* A vjp that adds the operator's body and goes back through it: what tn_grad does for composites
 * without a rule, for rules that want it in some cases only. */
TN_API gboolean tn_vjp_of_body(TnVjp *vjp, GError **error);

/* --- Control flow ----------------------------------------------------------------------------- */

/* A graph to be run by a node of `outer`: while it is built, values of the graphs around can be brought
 * into it, and are its further inputs; variables are read in the outermost graph and brought in. Its
 * own inputs are made first, by tn_graph_input. Names of its nodes begin with outer's scope and name,
 * made unique. It keeps outer until it was given to its node. (transfer full). */
TN_API TnGraph *tn_graph_nested(TnGraph *outer, const char *name);
/* val of graph `of` (graph itself or one around it) as a value of graph; a constant is copied. The same
 * again when called again. Latches TN_ERROR_USAGE if `of` is not around graph. */
TN_API TnVal tn_graph_capture(TnGraph *graph, TnGraph *of, TnVal val);
/* Whether graph is `of` or within it. */
TN_API gboolean tn_graph_is_within(const TnGraph *graph, const TnGraph *of);

/* Each adds a node that runs graphs made by tn_graph_nested (graph, …), which are complete then, and
 * gives its outputs in out[] (room for TN_MAX_OUT). Errors latch in graph, also those of the
 * sub-graphs.
 *
 * condition: bool []. The branches have no inputs of their own and give values of the same types. */
TN_API void tn_graph_if(TnGraph *graph, TnVal condition, TnGraph *then_branch, TnGraph *else_branch,
                        TnVal *out);
/* body's inputs: n states; its outputs: whether to go on, bool [], and the next states, of the same types.
 * condition: whether to begin. max_iterations 0: no bound, and no gradient; else it ends after as many at
 * the latest, and keeps the states of each for a gradient. out[n]: the last states. */
TN_API void tn_graph_while(TnGraph *graph, TnVal condition, TnGraph *body, gint n,
                           const TnVal *states, gint64 max_iterations, TnVal *out);
/* body's inputs: n_states states, then a slice of each of the n_xs scan inputs [steps, …] (at least
 * one); its outputs: the next states, of the same types, then values that are stacked. out: the last
 * states, then the stacks [steps, …]. Gradients go back through the steps in another scan, which computes
 * a step again from the states that were kept before it (Griewank & Walther, ch. 12: a checkpoint a
 * step). */
TN_API void tn_graph_scan(TnGraph *graph, TnGraph *body, gint n_states, const TnVal *states,
                          gint n_xs, const TnVal *xs, gboolean reverse, TnVal *out);

/* --- Formulas: the operators that rules and bodies use most ----------------------------------- */
/* clang-format off */
#define TN_UNARY_FORMULAS(X)                                                                       \
    X(neg) X(abs) X(sign) X(exp) X(log) X(sqrt) X(reciprocal) X(sin) X(cos) X(tanh) X(erf)         \
    X(floor) X(not) X(zeros_like) X(ones_like)
#define TN_BINARY_FORMULAS(X)                                                                      \
    X(add) X(sub) X(mul) X(div) X(pow) X(mod) X(max) X(min) X(equal) X(less) X(greater)            \
    X(less_or_equal) X(greater_or_equal) X(and) X(or) X(xor) X(matmul) X(expand_as) X(reduce_to)   \
    X(reshape_as)
/* clang-format on */
#define TN_DECLARE_UNARY(op) TN_API TnVal tn_f_##op(TnGraph *graph, TnVal x);
#define TN_DECLARE_BINARY(op) TN_API TnVal tn_f_##op(TnGraph *graph, TnVal a, TnVal b);
TN_UNARY_FORMULAS(TN_DECLARE_UNARY)
TN_BINARY_FORMULAS(TN_DECLARE_BINARY)
TN_API TnVal tn_f_where(TnGraph *graph, TnVal condition, TnVal a, TnVal b);
TN_API TnVal tn_f_cast(TnGraph *graph, TnVal x, TnDtype to);
/* value as a rank-0 constant of x's dtype: broadcasts in binary operators. */
TN_API TnVal tn_f_const(TnGraph *graph, TnVal x, double value);
/* n axes; n 0: all. keepdims as ONNX. */
TN_API TnVal tn_f_reduce_sum(TnGraph *graph, TnVal x, gint n, const gint64 *axes,
                             gboolean keepdims);
TN_API TnVal tn_f_reduce_max(TnGraph *graph, TnVal x, gint n, const gint64 *axes,
                             gboolean keepdims);
/* Elements along axes of x as a rank-0 value of x's dtype. */
TN_API TnVal tn_f_size(TnGraph *graph, TnVal x, gint n, const gint64 *axes);
TN_API TnVal tn_f_reduce_mean(TnGraph *graph, TnVal x, gint n, const gint64 *axes,
                              gboolean keepdims);
TN_API TnVal tn_f_transpose(TnGraph *graph, TnVal x, gint rank, const gint64 *perm);
/* Swaps the last two axes. */
TN_API TnVal tn_f_transpose_matrix(TnGraph *graph, TnVal x);
TN_API TnVal tn_f_unsqueeze(TnGraph *graph, TnVal x, gint n, const gint64 *axes);
TN_API TnVal tn_f_squeeze(TnGraph *graph, TnVal x, gint n, const gint64 *axes);
TN_API gint tn_f_rank(TnGraph *graph, TnVal x);

G_END_DECLS
