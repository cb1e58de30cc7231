/* fuse.c: groups of element-wise nodes of one device and one shape become one node, `fused`, that
 * holds them as a small graph, so that intermediate values never reach memory. Reductions of that shape
 * belong to them, and what is computed of their results for each row. Only where the device has a kernel
 * that takes the group: which reductions go together is for it to say. A group must not need, by way of
 * nodes outside it, what it computes itself. A cast that widens numbers belongs to each group that reads
 * it, so that what is stored narrow is read narrow. */
#include "compile-private.h"

#include "choose.h"

#define MAX_OPS 24
#define MAX_OPS_REDUCING 64
#define MAX_INPUTS 12
#define MAX_OUTPUTS 8
#define NO_GROUP G_MAXUINT32

typedef struct {
    GArray *members;  /* guint32: nodes, in order */
    gboolean emitted; /* its node is in the new graph */
    guint32 node;     /* that node */
    guint32 last;     /* highest member */
    gboolean reduces; /* a member is a reduction */
    TnType space;     /* the shape over which it runs */
} Group;

typedef struct {
    TnCompiler *c;
    const TnGraph *graph;
    const TnOp *fused;
    GPtrArray *groups; /* Group *, or NULL once merged into another */
    guint32 *group;    /* of each node, NO_GROUP */
    GArray **readers; /* of each node: guint32, nodes that read it; G_MAXUINT32: the graph itself */
    gboolean *widens; /* of each node: a cast that is done again in every group that reads it */
    GArray *claims;   /* TnClaim of the new graph's nodes */
    const TnClaim *old_claims;
    const guint32 *again; /* of the old graph's nodes; NULL */
} Fuse;

static void
group_free(gpointer data)
{
    Group *group = data;
    if (group != NULL) {
        g_array_unref(group->members);
        g_free(group);
    }
}

static Group *
group_at(const Fuse *f, guint32 number)
{
    return g_ptr_array_index(f->groups, number);
}

/* Whether a node is of a kind that groups are made of. */
static gboolean
may_join(const TnGraphNode *node)
{
    return (node->op->flags & (TN_OP_ELEMENTWISE | TN_OP_REDUCTION)) && node->n_out == 1;
}

/* --- Casts that widen ------------------------------------------------------------------------- */

/* Whether a node is a cast of floats to a wider type, which loses nothing. */
static gboolean
is_widening(const TnGraph *graph, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(graph, number);
    if (node->op != tn_op_find("cast", NULL) || node->n_in != 1) {
        return FALSE;
    }
    const TnDtype from = tn_type_of(graph, node->in[0])->dtype, to = node->out[0].dtype;
    return tn_dtype_in(from, TN_DT(BF16) | TN_DT(F16)) && to == TN_DTYPE_F32;
}

/* The value that a group needs for one that it reads. */
static TnVal
stored(const Fuse *f, TnVal val)
{
    return !tn_val_is_none(val) && f->widens[val.node] ? tn_graph_node(f->graph, val.node)->in[0]
                                                       : val;
}

static gboolean
reads_widening(const Fuse *f, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    for (gint i = 0; i < node->n_in; i++) {
        if (!tn_val_is_none(node->in[i]) && f->widens[node->in[i].node]) {
            return TRUE;
        }
    }
    return FALSE;
}

/* --- The small graph -------------------------------------------------------------------------- */

/* A group written as inputs, outputs and a graph over them. Values are of the old graph. */
typedef struct {
    TnGraph *body;
    guint n_in, n_out;
    TnVal in[TN_MAX_IN];
    TnVal out[TN_MAX_IN]; /* more than MAX_OUTPUTS: too many */
} Body;

static TnVal
body_value(const Fuse *f, Body *body, GHashTable *inside, TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    TnVal *known = g_hash_table_lookup(inside, &key);
    if (known != NULL) {
        return *known;
    }
    if (body->n_in >= TN_MAX_IN) {
        return TN_VAL_NONE;
    }
    TnVal *added = g_new(TnVal, 1);
    if (f->widens[val.node]) {
        const TnGraphNode *node = tn_graph_node(f->graph, val.node);
        const TnVal from = body_value(f, body, inside, node->in[0]);
        *added = (TnVal){ tn_graph_add_node(body->body, node->op, node->attrs, node->name,
                                            node->path, 1, &from, 1, node->out),
                          0 };
    } else {
        g_autofree char *name = g_strdup_printf("x%u", body->n_in);
        *added = tn_graph_input(body->body, name, *tn_type_of(f->graph, val));
        body->in[body->n_in++] = val;
    }
    g_hash_table_insert(inside, g_memdup2(&key, sizeof key), added);
    return *added;
}

static gboolean
is_read_outside(const Fuse *f, guint32 node, guint32 group)
{
    for (guint i = 0; i < f->readers[node]->len; i++) {
        const guint32 reader = g_array_index(f->readers[node], guint32, i);
        if (reader == G_MAXUINT32 || f->group[reader] != group) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
add_member(const Fuse *f, Body *body, GHashTable *inside, guint32 number, gboolean is_output)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    TnVal in[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        in[i] =
            tn_val_is_none(node->in[i]) ? TN_VAL_NONE : body_value(f, body, inside, node->in[i]);
    }
    TnVal *added = g_new(TnVal, 1);
    *added = (TnVal){ tn_graph_add_node(body->body, node->op, node->attrs, node->name, node->path,
                                        node->n_in, in, node->n_out, node->out),
                      0 };
    const guint64 key = (guint64)number << 8;
    g_hash_table_insert(inside, g_memdup2(&key, sizeof key), added);
    if (is_output && body->n_out < TN_MAX_IN) {
        g_autofree char *name = g_strdup_printf("y%u", body->n_out);
        tn_graph_output(body->body, name, *added);
        body->out[body->n_out++] = (TnVal){ number, 0 };
    }
}

static void
make_body(const Fuse *f, guint32 number, Body *body)
{
    const Group *group = group_at(f, number);
    g_autoptr(GHashTable) inside =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    *body = (Body){ .body = tn_graph_new("fused") };
    for (guint i = 0; i < group->members->len; i++) {
        const guint32 member = g_array_index(group->members, guint32, i);
        add_member(f, body, inside, member, is_read_outside(f, member, number));
    }
}

/* The kernel of the device that takes the body, or NULL. */
static const TnKernel *
find_kernel(const Fuse *f, const Body *body, gint device)
{
    g_autoptr(TnGraph) probe = tn_graph_new("probe");
    TnVal in[TN_MAX_IN];
    TnType out[TN_MAX_OUT];
    if (body->n_out < 1 || body->n_out > MAX_OUTPUTS || body->n_in < 1 || body->n_in > MAX_INPUTS) {
        return NULL;
    }
    for (guint i = 0; i < body->n_in; i++) {
        /* Constants as they are, so that the kernel sees their values. */
        TnTensor *constant = tn_constant_value(f->graph, body->in[i]);
        g_autofree char *name = g_strdup_printf("x%u", i);
        in[i] = constant != NULL ? tn_graph_constant(probe, constant)
                                 : tn_graph_input(probe, name, *tn_type_of(f->graph, body->in[i]));
    }
    for (guint i = 0; i < body->n_out; i++) {
        out[i] = *tn_type_of(f->graph, body->out[i]);
    }
    const TnCallAttrs attrs = { .graph = body->body };
    const guint number = tn_graph_add_node(probe, f->fused, &attrs, "fused", NULL, (gint)body->n_in,
                                           in, (gint)body->n_out, out);
    TnNodeView view;
    tn_node_view(&view, probe, number);
    return tn_choose_kernel(f->c->options, (guint)device, &view.node);
}

/* --- Grouping --------------------------------------------------------------------------------- */

static gboolean
is_reduction(const TnGraphNode *node)
{
    return (node->op->flags & TN_OP_REDUCTION) != 0;
}

static guint32
new_group(Fuse *f, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    Group *group = g_new0(Group, 1);
    group->members = g_array_new(FALSE, FALSE, sizeof(guint32));
    group->last = number;
    group->reduces = is_reduction(node);
    group->space = group->reduces ? *tn_type_of(f->graph, node->in[0]) : node->out[0];
    g_array_append_val(group->members, number);
    g_ptr_array_add(f->groups, group);
    f->group[number] = f->groups->len - 1;
    return f->groups->len - 1;
}

/* Whether the device takes the group as it is. */
static gboolean
is_taken(const Fuse *f, guint32 number)
{
    Body body;
    make_body(f, number, &body);
    const gboolean taken =
        find_kernel(f, &body, f->old_claims[group_at(f, number)->last].device) != NULL;
    tn_graph_unref(body.body);
    return taken;
}

/* What is summed in the order in which it lies elsewhere would be summed in another one here. */
static gboolean
reads_view(const Fuse *f, const TnGraphNode *node)
{
    return (tn_graph_node(f->graph, node->in[0].node)->op->flags & TN_OP_VIEW) != 0;
}

static gboolean
is_candidate(Fuse *f, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    if (!may_join(node) || f->widens[number] || (node->op->flags & (TN_OP_RANDOM | TN_OP_EFFECT)) ||
        f->old_claims[number].kernel == NULL) {
        return FALSE;
    }
    if (is_reduction(node) && reads_view(f, node)) {
        return FALSE;
    }
    /* Asked for the node alone, as if somebody read it. */
    const guint32 group = new_group(f, number);
    const gboolean ok = is_taken(f, group);
    if (!ok) {
        f->group[number] = NO_GROUP;
        group_free(g_ptr_array_steal_index_fast(f->groups, group));
    }
    return ok;
}

static void
push_inputs(const Fuse *f, guint32 number, GArray *stack)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    for (gint i = 0; i < node->n_in; i++) {
        const TnVal val = f->group[number] != NO_GROUP ? stored(f, node->in[i]) : node->in[i];
        if (!tn_val_is_none(val)) {
            g_array_append_val(stack, val.node);
        }
    }
}

/* Whether the group needs itself by way of nodes outside: a walk from its inputs backwards, group
 * by group. */
static gboolean
needs_itself(const Fuse *f, guint32 number)
{
    const Group *group = group_at(f, number);
    g_autofree gboolean *seen = g_new0(gboolean, f->graph->nodes->len + 1);
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(guint32));
    for (guint i = 0; i < group->members->len; i++) {
        push_inputs(f, g_array_index(group->members, guint32, i), stack);
    }
    /* Inputs that are members are no way outside. */
    for (guint i = stack->len; i-- > 0;) {
        if (f->group[g_array_index(stack, guint32, i)] == number) {
            g_array_remove_index_fast(stack, i);
        }
    }
    while (stack->len > 0) {
        const guint32 at = g_array_index(stack, guint32, stack->len - 1);
        g_array_set_size(stack, stack->len - 1);
        if (f->group[at] == number) {
            return TRUE;
        }
        const Group *other = f->group[at] != NO_GROUP ? group_at(f, f->group[at]) : NULL;
        /* Numbers give no bound here: a group that is read may have later members, which need this
         * one. */
        if (seen[at]) {
            continue;
        }
        seen[at] = TRUE;
        if (other == NULL) {
            push_inputs(f, at, stack);
        }
        for (guint i = 0; other != NULL && i < other->members->len; i++) {
            const guint32 member = g_array_index(other->members, guint32, i);
            seen[member] = TRUE;
            push_inputs(f, member, stack);
        }
    }
    return FALSE;
}

static guint
count_inputs(const Fuse *f, guint32 number)
{
    const Group *group = group_at(f, number);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (guint i = 0; i < group->members->len; i++) {
        const TnGraphNode *node =
            tn_graph_node(f->graph, g_array_index(group->members, guint32, i));
        for (gint k = 0; k < node->n_in; k++) {
            const TnVal val = stored(f, node->in[k]);
            const guint64 key = (guint64)val.node << 8 | val.out;
            if (!tn_val_is_none(val) && f->group[val.node] != number) {
                g_hash_table_add(seen, g_memdup2(&key, sizeof key));
            }
        }
    }
    return g_hash_table_size(seen);
}

/* Values of the group that are read outside it, at present. */
static guint
count_outputs(const Fuse *f, guint32 number)
{
    const Group *group = group_at(f, number);
    guint n = 0;
    for (guint i = 0; i < group->members->len; i++) {
        n += is_read_outside(f, g_array_index(group->members, guint32, i), number);
    }
    return n;
}

static gint
by_number(gconstpointer a, gconstpointer b)
{
    const guint32 x = *(const guint32 *)a, y = *(const guint32 *)b;
    return (x > y) - (x < y);
}

static void
set_group(Fuse *f, const GArray *members, guint32 number)
{
    for (guint i = 0; i < members->len; i++) {
        f->group[g_array_index(members, guint32, i)] = number;
    }
}

/* Whether a member is a composite that the device has a kernel of its own for: faster than its body in a
 * group is, which a reduction's pass over memory does not make up for. */
static gboolean
has_composite(const Fuse *f, const Group *group)
{
    for (guint i = 0; i < group->members->len; i++) {
        const guint32 member = g_array_index(group->members, guint32, i);
        if (tn_op_is_composite(tn_graph_node(f->graph, member)->op)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Readers that come later may still join: there will be no more outputs than are counted here. A group
 * without reductions is asked about when it is whole. */
static gboolean
is_allowed(const Fuse *f, guint32 number)
{
    const Group *group = group_at(f, number);
    return count_inputs(f, number) <= MAX_INPUTS && count_outputs(f, number) <= MAX_OUTPUTS &&
           !needs_itself(f, number) &&
           (!group->reduces || (!has_composite(f, group) && is_taken(f, number)));
}

/* Puts group `from` into `into` if the whole is allowed. */
static gboolean
try_merge(Fuse *f, guint32 into, guint32 from)
{
    Group *a = group_at(f, into), *b = group_at(f, from);
    const Group before = *a;
    const gboolean reduces = a->reduces || b->reduces;
    if (a->members->len + b->members->len > (reduces ? MAX_OPS_REDUCING : MAX_OPS)) {
        return FALSE;
    }
    a->members = g_array_copy(before.members);
    g_array_append_vals(a->members, b->members->data, b->members->len);
    g_array_sort(a->members, by_number);
    a->last = MAX(a->last, b->last);
    a->reduces = reduces;
    a->space = tn_type_count(&b->space) > tn_type_count(&a->space) ? b->space : a->space;
    set_group(f, b->members, into);
    if (is_allowed(f, into)) {
        g_array_unref(before.members);
        group_free(b);
        g_ptr_array_index(f->groups, from) = NULL;
        return TRUE;
    }
    g_array_unref(a->members);
    *a = before;
    set_group(f, b->members, from);
    return FALSE;
}

/* Whether one shape is the other, or what is left of it when its last axes are reduced. */
static gboolean
is_left_of(const TnType *part, const TnType *whole)
{
    gint i = 0;
    while (i < part->rank && i < whole->rank && part->dims[i] == whole->dims[i]) {
        i++;
    }
    while (i < part->rank && part->dims[i] == 1) {
        i++;
    }
    return i == part->rank && (part->rank == whole->rank || part->rank == 0);
}

static gboolean
alike(const Fuse *f, guint32 a, guint32 b)
{
    const Group *one = group_at(f, f->group[a]), *other = group_at(f, f->group[b]);
    const TnType *x = &one->space, *y = &other->space;
    const gboolean same =
        x->rank == y->rank && memcmp(x->dims, y->dims, (gsize)x->rank * sizeof(gint64)) == 0;
    return f->old_claims[a].device == f->old_claims[b].device &&
           (same || (one->reduces && is_left_of(y, x)) || (other->reduces && is_left_of(x, y)));
}

/* What is computed again must not be computed at once with what it is computed from, unless that is for
 * the same reader: it would be there for longer than it is needed. */
static gboolean
is_kept_apart(const Fuse *f, guint32 reader, guint32 from)
{
    return f->again != NULL && f->again[reader] != 0 && f->again[reader] != f->again[from];
}

static void
find_groups(Fuse *f)
{
    for (guint32 i = 0; i < f->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(f->graph, i);
        const gboolean may_fuse = is_candidate(f, i);
        for (gint k = 0; may_fuse && k < node->n_in; k++) {
            const TnVal val = stored(f, node->in[k]);
            const guint32 from = tn_val_is_none(val) ? i : val.node;
            if (f->group[from] != NO_GROUP && f->group[from] != f->group[i] && alike(f, i, from) &&
                !is_kept_apart(f, i, from)) {
                try_merge(f, f->group[from], f->group[i]);
            }
        }
    }
}

/* Groups of one, but for those with a cast in them, and those that no kernel takes as a whole, are
 * none. */
static void
drop_groups(Fuse *f)
{
    for (guint32 i = 0; i < f->groups->len; i++) {
        Group *group = group_at(f, i);
        if (group == NULL) {
            continue;
        }
        const guint32 first = g_array_index(group->members, guint32, 0);
        if ((group->members->len == 1 && !reads_widening(f, first)) || !is_taken(f, i)) {
            set_group(f, group->members, NO_GROUP);
            group_free(group);
            g_ptr_array_index(f->groups, i) = NULL;
        }
    }
}

/* --- Order and rewriting ---------------------------------------------------------------------- */

/* Puts a node, or its whole group, after everything it needs. */
static void
visit(const Fuse *f, guint32 number, gboolean *done, GArray *order)
{
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_array_append_val(stack, number);
    while (stack->len > 0) {
        const guint32 at = g_array_index(stack, guint32, stack->len - 1);
        const guint before = stack->len;
        const Group *group = f->group[at] != NO_GROUP ? group_at(f, f->group[at]) : NULL;
        if (done[at]) {
            g_array_set_size(stack, before - 1);
            continue;
        }
        if (group == NULL) {
            push_inputs(f, at, stack);
        }
        for (guint i = 0; group != NULL && i < group->members->len; i++) {
            push_inputs(f, g_array_index(group->members, guint32, i), stack);
        }
        for (guint i = stack->len; i-- > before;) {
            const guint32 need = g_array_index(stack, guint32, i);
            if (done[need] || (group != NULL && f->group[need] == f->group[at])) {
                g_array_remove_index_fast(stack, i);
            }
        }
        if (stack->len > before) {
            continue;
        }
        g_array_set_size(stack, before - 1);
        for (guint i = 0; i < (group != NULL ? group->members->len : 1); i++) {
            const guint32 member = group != NULL ? g_array_index(group->members, guint32, i) : at;
            done[member] = TRUE;
            g_array_append_val(order, member);
        }
    }
}

static void
note_claim(Fuse *f, guint number, TnClaim claim)
{
    g_array_set_size(f->claims, number + 1);
    g_array_index(f->claims, TnClaim, number) = claim;
}

static void
emit_group(Fuse *f, TnRewriter *rw, guint32 number)
{
    Group *group = group_at(f, number);
    const TnGraphNode *last = tn_graph_node(f->graph, group->last);
    Body body;
    TnVal in[TN_MAX_IN];
    TnType types[TN_MAX_OUT];
    make_body(f, number, &body);
    for (guint i = 0; i < body.n_in; i++) {
        in[i] = tn_rewritten(rw, body.in[i]);
    }
    for (guint i = 0; i < body.n_out; i++) {
        types[i] = *tn_type_of(f->graph, body.out[i]);
    }
    const TnCallAttrs attrs = { .graph = body.body };
    const guint added = tn_graph_add_node(rw->to, f->fused, &attrs, last->name, last->path,
                                          (gint)body.n_in, in, (gint)body.n_out, types);
    const gint device = f->old_claims[group->last].device;
    note_claim(f, added, (TnClaim){ device, find_kernel(f, &body, device) });
    for (guint i = 0; i < body.n_out; i++) {
        rw->map[rw->first[body.out[i].node]] = (TnVal){ added, i };
    }
    tn_graph_unref(body.body);
    group->emitted = TRUE;
    group->node = added;
}

static gboolean
fuse_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
          gboolean *done, GError **error)
{
    (void)done;
    (void)error;
    Fuse *f = rw->data;
    if (f->group[number] == NO_GROUP) {
        const TnVal val = tn_rewrite_copy(rw, node, in, out);
        note_claim(f, val.node, f->old_claims[number]);
        f->c->trace[number] = val;
        return TRUE;
    }
    Group *group = group_at(f, f->group[number]);
    if (!group->emitted) {
        emit_group(f, rw, f->group[number]);
    }
    out[0] = rw->map[rw->first[number]];
    f->c->trace[number] = tn_val_is_none(out[0]) ? (TnVal){ group->node, TN_INSIDE } : out[0];
    return TRUE;
}

/* --- The pass --------------------------------------------------------------------------------- */

/* Who reads a cast that widens reads what it widens: by itself if it may be of a group. */
static void
add_reader(const Fuse *f, TnVal val, guint32 reader, gboolean in_group)
{
    if (tn_val_is_none(val)) {
        return;
    }
    g_array_append_val(f->readers[val.node], reader);
    if (f->widens[val.node]) {
        const guint32 through = in_group ? reader : val.node;
        g_array_append_val(f->readers[stored(f, val).node], through);
    }
}

static void
find_readers(Fuse *f)
{
    const TnGraph *graph = f->graph;
    const guint32 outside = G_MAXUINT32;
    for (guint32 i = 0; i < graph->nodes->len; i++) {
        f->readers[i] = g_array_new(FALSE, FALSE, sizeof(guint32));
        const TnGraphNode *node = tn_graph_node(graph, i);
        f->widens[i] = is_widening(graph, i);
        const gboolean in_group = may_join(node);
        for (gint k = 0; !f->widens[i] && k < node->n_in; k++) {
            add_reader(f, node->in[k], i, in_group);
        }
    }
    for (guint i = 0; i < graph->outputs->len; i++) {
        add_reader(f, g_array_index(graph->outputs, TnGraphPort, i).val, outside, FALSE);
    }
    for (guint i = 0; i < graph->variables->len; i++) {
        add_reader(f, g_array_index(graph->variables, TnGraphVariable, i).assigned, outside, FALSE);
    }
}

/* Whether only groups read a cast that widens, which have it in them. */
static gboolean
is_dropped(const Fuse *f, guint32 number)
{
    gboolean dropped = f->widens[number] && f->readers[number]->len > 0;
    for (guint i = 0; dropped && i < f->readers[number]->len; i++) {
        const guint32 reader = g_array_index(f->readers[number], guint32, i);
        dropped = reader != G_MAXUINT32 && f->group[reader] != NO_GROUP;
    }
    return dropped;
}

static gboolean
rewrite_groups(Fuse *f, GError **error)
{
    const guint n = f->graph->nodes->len;
    g_autofree gboolean *keep = g_new0(gboolean, n + 1);
    g_autofree gboolean *done = g_new0(gboolean, n + 1);
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(guint32));
    for (guint32 i = 0; i < n; i++) {
        visit(f, i, done, order);
        keep[i] = !is_dropped(f, i);
    }
    TnGraph *graph =
        tn_rewrite(f->graph, keep, &g_array_index(order, guint32, 0), fuse_node, f, error);
    if (graph == NULL) {
        return FALSE;
    }
    /* A cast that groups do again is, where it was, what it widens. */
    for (guint32 i = 0; i < n; i++) {
        if (!keep[i]) {
            const TnVal in = tn_graph_node(f->graph, i)->in[0], at = f->c->trace[in.node];
            f->c->trace[i] = (TnVal){ at.node, at.out == TN_INSIDE ? TN_INSIDE : at.out + in.out };
        }
    }
    tn_compiler_set_graph(f->c, graph);
    f->c->claims = (TnClaim *)(void *)g_array_free(g_steal_pointer(&f->claims), FALSE);
    return TRUE;
}

gboolean
tn_pass_fuse(TnCompiler *c, GError **error)
{
    const guint n = c->graph->nodes->len;
    g_autoptr(TnGraph) graph = tn_graph_ref(c->graph);
    g_autofree TnClaim *claims = g_memdup2(c->claims, (n + 1) * sizeof *claims);
    g_autofree guint32 *again = g_steal_pointer(&c->again);
    g_free(c->trace);
    c->trace = g_new0(TnVal, n + 1);
    g_autofree gboolean *widens = g_new0(gboolean, n + 1);
    Fuse f = { .c = c,
               .graph = graph,
               .fused = tn_source_ops()->fused,
               .groups = g_ptr_array_new_with_free_func(group_free),
               .group = g_new(guint32, n + 1),
               .readers = g_new0(GArray *, n + 1),
               .widens = widens,
               .claims = g_array_new(FALSE, TRUE, sizeof(TnClaim)),
               .old_claims = claims,
               .again = again };
    for (guint i = 0; i < n; i++) {
        f.group[i] = NO_GROUP;
    }
    find_readers(&f);
    find_groups(&f);
    drop_groups(&f);
    const gboolean ok = rewrite_groups(&f, error);
    for (guint i = 0; i < n; i++) {
        g_array_unref(f.readers[i]);
    }
    g_clear_pointer(&f.claims, g_array_unref);
    g_ptr_array_unref(f.groups);
    g_free(f.group);
    g_free(f.readers);
    return ok;
}
