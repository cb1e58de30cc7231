/* algebra.c: the loop over rules that replace a node by something that computes the same with
 * less. Rules keep the bits of every result, but for those that `fast_math` allows: a sum of one element that is
 * left out is that element, -0 included. */
#include "algebra-private.h"

#include "choose.h"

#include <pthread.h>

#include <tenon/plugin.h>

static const TnRules *const families[] = { &tn_arithmetic_rules, &tn_movement_rules,
                                           &tn_fast_rules };
static pthread_once_t once = PTHREAD_ONCE_INIT;
static GHashTable *by_op; /* const TnOp * → GPtrArray of const TnRule * */

static void
index_rules(void)
{
    by_op = g_hash_table_new(NULL, NULL);
    for (gsize f = 0; f < G_N_ELEMENTS(families); f++) {
        for (guint i = 0; i < families[f]->n; i++) {
            const TnRule *rule = &families[f]->rules[i];
            const TnOp *op = tn_op_find(rule->op, NULL);
            GPtrArray *list = op != NULL ? g_hash_table_lookup(by_op, op) : NULL;
            if (op != NULL && list == NULL) {
                list = g_ptr_array_new();
                g_hash_table_insert(by_op, (gpointer)op, list);
            }
            if (list != NULL) {
                g_ptr_array_add(list, (gpointer)rule);
            }
        }
    }
}

/* --- What rules are made of ------------------------------------------------------------------- */

TnVal
tn_match_inside(const TnMatch *m, TnVal val, const char *op)
{
    const TnGraphNode *node = tn_match_node(m, val);
    return tn_is_op(node, op) ? node->in[0] : TN_VAL_NONE;
}

TnVal
tn_match_add(const TnMatch *m, const char *op, const void *attrs, gint n_in, TnVal a, TnVal b)
{
    const TnVal in[2] = { a, b };
    return tn_rewrite_add(m->rw, m->node, tn_op_find(op, NULL), attrs, n_in, in);
}

TnVal
tn_match_scalar(const TnMatch *m, TnVal like, double value)
{
    g_autoptr(TnTensor) tensor = tn_tensor_scalar(tn_match_type(m, like)->dtype, value);
    return tensor != NULL ? tn_rewrite_constant(m->rw, m->node, tensor) : TN_VAL_NONE;
}

gboolean
tn_match_splat(const TnMatch *m, TnVal val, double *value)
{
    const TnGraphNode *node = tn_match_node(m, val);
    const gboolean ones = tn_is_op(node, "ones_like");
    if (ones || tn_is_op(node, "zeros_like")) {
        *value = ones;
        return TRUE;
    }
    const TnVal inside = tn_match_inside(m, val, "expand_as");
    return tn_constant_splat(m->rw->to, tn_val_is_none(inside) ? val : inside, value);
}

/* --- Rules of operators ----------------------------------------------------------------------- */

TnVal
tn_simplify_add(TnSimplify *simplify, const char *name, const void *attrs, gint n_in,
                const TnVal *in)
{
    const TnMatch *m = simplify->data;
    const TnOp *op = tn_op_find(name, NULL);
    g_autofree void *defaults = NULL;
    for (gint i = 0; i < n_in && op != NULL; i++) {
        if (tn_val_is_none(in[i]) && !(tn_op_input(op, i)->flags & TN_ARG_OPTIONAL)) {
            return TN_VAL_NONE;
        }
    }
    if (op != NULL && attrs == NULL && op->attrs.struct_size > 0) {
        attrs = defaults = g_malloc0(op->attrs.struct_size);
        tn_options_defaults(&op->attrs, defaults);
    }
    return op != NULL ? tn_rewrite_add(m->rw, m->node, op, attrs, n_in, in) : TN_VAL_NONE;
}

const TnVal *
tn_simplify_inputs(const TnSimplify *simplify, TnVal val, const char *op)
{
    const TnMatch *m = simplify->data;
    const TnGraphNode *node = tn_val_is_none(val) ? NULL : tn_match_node(m, val);
    return node != NULL && tn_is_op(node, op) ? node->in : NULL;
}

gboolean
tn_simplify_splat(const TnSimplify *simplify, TnVal val, double *value)
{
    return !tn_val_is_none(val) && tn_match_splat(simplify->data, val, value);
}

gboolean
tn_simplify_fixed(const TnSimplify *simplify, TnVal val)
{
    const TnMatch *m = simplify->data;
    return tn_fixed_nodes(&m->algebra->fixed, m->rw->to, m->rw->from)[val.node];
}

void
tn_match_types(const TnMatch *m, const TnOp *op, gint n_in, const TnVal *in, TnType *types)
{
    const TnCompile *options = m->algebra->options;
    const gboolean narrows = TN_HAS(op, precision) && op->precision == TN_PRECISION_NARROW &&
                             options->precision != TN_DTYPE_NONE;
    for (gint i = 0; i < n_in; i++) {
        types[i] = tn_val_is_none(in[i]) ? (TnType){ 0 } : *tn_match_type(m, in[i]);
        const gboolean main = narrows && types[i].dtype == TN_DTYPE_F32 &&
                              tn_op_input(op, i)->type == tn_op_input(op, 0)->type;
        types[i].dtype = main ? options->precision : types[i].dtype;
    }
}

gboolean
tn_simplify_has_kernel(const TnSimplify *simplify, const char *name, const void *attrs, gint n_in,
                       const TnVal *in)
{
    const TnMatch *m = simplify->data;
    const TnCompile *options = m->algebra->options;
    const TnOp *op = tn_op_find(name, NULL);
    TnType types[TN_MAX_IN];
    gboolean has = FALSE;
    if (op == NULL) {
        return FALSE;
    }
    tn_match_types(m, op, n_in, in, types);
    for (guint d = 0; d < options->n_devices && !has; d++) {
        has =
            tn_kernel_of_types(options, d, op, attrs, m->node->name, n_in, types, 0, NULL) != NULL;
    }
    return has;
}

gboolean
tn_simplify_sole(const TnSimplify *simplify, gint i)
{
    const TnMatch *m = simplify->data;
    gboolean sole = FALSE;
    /* What was left out is the same value now: each has one reader, the last of them the node. */
    for (guint32 v = 0; v < m->rw->first[m->number]; v++) {
        if (tn_val_equal(m->rw->map[v], m->in[i])) {
            if (m->algebra->readers[v] != 1) {
                return FALSE;
            }
            sole = TRUE;
        }
    }
    return sole;
}

/* What the rule of op says, where op is the node's (of -1) or that of its input `of`. */
static TnVal
ask_rule(const TnMatch *m, const TnOp *op, gint of)
{
    const TnGraphNode *node = m->node;
    TnVal (*rule)(TnSimplify *) = NULL;
    if (m->algebra->joins) {
        rule = TN_HAS(op, join) ? op->join : NULL;
    } else {
        rule = TN_HAS(op, simplify) ? op->simplify : NULL;
    }
    if (rule == NULL) {
        return TN_VAL_NONE;
    }
    TnSimplify simplify = { .size = sizeof simplify,
                            .graph = m->rw->to,
                            .op = node->op,
                            .attrs = node->attrs,
                            .n_in = node->n_in,
                            .in = m->in,
                            .type = &node->out[0],
                            .of = of,
                            .fast_math = m->algebra->options->fast_math,
                            .data = (gpointer)(gsize)m };
    return rule(&simplify);
}

static TnVal
ask_rules(const TnMatch *m)
{
    TnVal val = ask_rule(m, m->node->op, -1);
    for (gint i = 0; i < m->node->n_in && tn_val_is_none(val); i++) {
        if (!tn_val_is_none(m->in[i])) {
            val = ask_rule(m, tn_match_node(m, m->in[i])->op, i);
        }
    }
    return val;
}

/* --- The pass --------------------------------------------------------------------------------- */

/* Element-wise operators broadcast by themselves: an input need not be expanded for them. */
static gboolean
drop_expansions(TnRewriter *rw, const TnGraphNode *node, TnVal *use)
{
    static const char *const names[] = { "expand_as", "expand" };
    gboolean changed = FALSE;
    if (!(node->op->flags & TN_OP_ELEMENTWISE) || tn_op_is_composite(node->op) || node->n_in < 2) {
        return FALSE;
    }
    for (gint i = 0; i < node->n_in; i++) {
        for (gsize k = 0; k < G_N_ELEMENTS(names) && !tn_val_is_none(use[i]); k++) {
            const TnGraphNode *from = tn_graph_node(rw->to, use[i].node);
            if (!tn_is_op(from, names[k])) {
                continue;
            }
            const TnVal before = use[i];
            TnType types[TN_MAX_IN], out = { 0 };
            use[i] = from->in[0];
            for (gint j = 0; j < node->n_in; j++) {
                types[j] = *tn_type_of(rw->to, use[j]);
            }
            out.dtype = node->out[0].dtype;
            if (tn_infer_broadcast(node->n_in, types, &out, NULL) &&
                tn_type_equal(&out, &node->out[0])) {
                changed = TRUE;
            } else {
                use[i] = before;
            }
        }
    }
    return changed;
}

/* Output 0's value that a rule gave, and with it what stands for the others; FALSE: there is none, or it is
 * not of their types. */
static gboolean
take(const TnRewriter *rw, const TnGraphNode *node, TnVal val, TnVal *out)
{
    if (tn_val_is_none(val)) {
        return FALSE;
    }
    const TnGraphNode *by = tn_graph_node(rw->to, val.node);
    gboolean fits = node->n_out == 1 || (val.out == 0 && by->n_out == node->n_out);
    for (gint i = 0; i < node->n_out && fits; i++) {
        fits = tn_type_equal(&by->out[(gint)val.out + i], &node->out[i]);
    }
    for (gint i = 0; i < node->n_out && fits; i++) {
        out[i] = (TnVal){ val.node, val.out + (guint)i };
    }
    return fits;
}

/* A rule of an input's operator may ask for inputs that this node has not: they are none. */
static void
copy_inputs(const TnGraphNode *node, const TnVal *in, TnVal *use)
{
    memcpy(use, in, (gsize)node->n_in * sizeof *in);
    for (gint i = node->n_in; i < TN_MAX_IN; i++) {
        use[i] = TN_VAL_NONE;
    }
}

static gboolean
algebra_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
             gboolean *done, GError **error)
{
    (void)error;
    TnVal use[TN_MAX_IN];
    copy_inputs(node, in, use);
    const TnMatch match = { rw, number, node, use, rw->data };
    const gboolean dropped = drop_expansions(rw, node, use);
    GPtrArray *rules = g_hash_table_lookup(by_op, node->op);
    for (guint i = 0; rules != NULL && i < rules->len; i++) {
        const TnRule *rule = g_ptr_array_index(rules, i);
        if (take(rw, node, rule->rule(&match), out)) {
            return TRUE;
        }
    }
    if (take(rw, node, ask_rules(&match), out)) {
        return TRUE;
    }
    if (dropped) {
        tn_rewrite_copy(rw, node, use, out);
    }
    *done = dropped;
    return TRUE;
}

static gboolean
join_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
          gboolean *done, GError **error)
{
    TnVal use[TN_MAX_IN];
    const TnMatch match = { rw, number, node, use, rw->data };
    (void)error;
    copy_inputs(node, in, use);
    *done = take(rw, node, ask_rules(&match), out);
    match.algebra->joined |= *done;
    return TRUE;
}

/* Of each value, in the order of nodes: inputs that read it, outputs and assignments too. (transfer
 * full). */
static guint *
count_readers(const TnGraph *graph)
{
    g_autofree guint32 *first = g_new(guint32, graph->nodes->len + 1);
    guint32 n = 0;
    for (guint i = 0; i < graph->nodes->len; i++) {
        first[i] = n;
        n += (guint32)tn_graph_node(graph, i)->n_out;
    }
    guint *readers = g_new0(guint, n + 1);
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        for (gint k = 0; k < node->n_in; k++) {
            if (tn_reads_data(node->op, k, node->in[k])) {
                readers[first[node->in[k].node] + node->in[k].out]++;
            }
        }
    }
    for (guint i = 0; i < graph->outputs->len; i++) {
        const TnVal val = g_array_index(graph->outputs, TnGraphPort, i).val;
        readers[first[val.node] + val.out]++;
    }
    for (guint i = 0; i < graph->variables->len; i++) {
        const TnVal val = g_array_index(graph->variables, TnGraphVariable, i).assigned;
        if (!tn_val_is_none(val)) {
            readers[first[val.node] + val.out]++;
        }
    }
    return readers;
}

static gboolean
rewrite_by(TnCompiler *c, TnRewrite func, TnAlgebra *algebra, GError **error)
{
    g_autofree guint *readers = count_readers(c->graph);
    algebra->options = c->options;
    algebra->readers = readers;
    tn_kernels_refresh();
    const gboolean ok = tn_rewrite_into(c, NULL, func, algebra, error);
    tn_fixed_clear(&algebra->fixed);
    return ok;
}

gboolean
tn_pass_algebra(TnCompiler *c, GError **error)
{
    pthread_once(&once, index_rules);
    return rewrite_by(c, algebra_node, &(TnAlgebra){ .joins = FALSE }, error);
}

/* Values that were equal are one and what nobody reads is gone, so readers are counted as they are. */
gboolean
tn_pass_join(TnCompiler *c, GError **error)
{
    TnAlgebra algebra = { .joins = TRUE };
    return rewrite_by(c, join_node, &algebra, error) && (!algebra.joined || tn_pass_dce(c, error));
}
