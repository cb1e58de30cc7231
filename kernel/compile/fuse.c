/* fuse.c: groups of element-wise nodes of one device and one shape become one node, `fused`, that
 * holds them as a small graph, so that intermediate values never reach memory. Reductions of that shape
 * belong to them, and what is computed of their results for each row. Only where the device has a kernel
 * that takes the group: which reductions go together is for it to say. A group must not need, by way of
 * nodes outside it, what it computes itself. A cast that widens numbers belongs to each group that reads
 * it, so that what is stored narrow is read narrow. */
#include "fuse-private.h"

/* --- Order and rewriting ---------------------------------------------------------------------- */

/* Puts a node, or its whole group, after everything it needs. */
static void
visit(const TnFuse *f, guint32 number, gboolean *done, GArray *order)
{
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_array_append_val(stack, number);
    while (stack->len > 0) {
        const guint32 at = g_array_index(stack, guint32, stack->len - 1);
        const guint before = stack->len;
        const TnFuseGroup *group = f->group[at] != NO_GROUP ? tn_fuse_group(f, f->group[at]) : NULL;
        if (done[at]) {
            g_array_set_size(stack, before - 1);
            continue;
        }
        if (group == NULL) {
            tn_fuse_push_inputs(f, at, stack);
        }
        for (guint i = 0; group != NULL && i < group->members->len; i++) {
            tn_fuse_push_inputs(f, g_array_index(group->members, guint32, i), stack);
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
note_claim(TnFuse *f, guint number, TnClaim claim)
{
    g_array_set_size(f->claims, number + 1);
    g_array_index(f->claims, TnClaim, number) = claim;
}

static void
emit_group(TnFuse *f, TnRewriter *rw, guint32 number)
{
    TnFuseGroup *group = tn_fuse_group(f, number);
    const TnGraphNode *last = tn_graph_node(f->graph, group->last);
    TnFuseBody body;
    TnVal in[TN_MAX_IN];
    TnType types[TN_MAX_OUT];
    tn_fuse_body(f, number, &body);
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
    note_claim(f, added, (TnClaim){ device, tn_fuse_kernel(f, &body, device), 0 });
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
    TnFuse *f = rw->data;
    if (f->group[number] == NO_GROUP) {
        const TnVal val = tn_rewrite_copy(rw, node, in, out);
        note_claim(f, val.node, f->old_claims[number]);
        f->c->trace[number] = val;
        return TRUE;
    }
    TnFuseGroup *group = tn_fuse_group(f, f->group[number]);
    if (!group->emitted) {
        emit_group(f, rw, f->group[number]);
    }
    out[0] = rw->map[rw->first[number]];
    f->c->trace[number] = tn_val_is_none(out[0]) ? (TnVal){ group->node, TN_INSIDE } : out[0];
    return TRUE;
}

/* --- The pass --------------------------------------------------------------------------------- */

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

/* Who reads a cast that widens reads what it widens: by itself if it may be of a group. */
static void
add_reader(const TnFuse *f, TnVal val, guint32 reader, gboolean in_group)
{
    if (tn_val_is_none(val)) {
        return;
    }
    g_array_append_val(f->readers[val.node], reader);
    if (f->widens[val.node]) {
        const guint32 through = in_group ? reader : val.node;
        g_array_append_val(f->readers[tn_fuse_stored(f, val).node], through);
    }
}

static void
find_readers(TnFuse *f)
{
    const TnGraph *graph = f->graph;
    const guint32 outside = G_MAXUINT32;
    for (guint32 i = 0; i < graph->nodes->len; i++) {
        f->readers[i] = g_array_new(FALSE, FALSE, sizeof(guint32));
        const TnGraphNode *node = tn_graph_node(graph, i);
        f->widens[i] = is_widening(graph, i);
        const gboolean in_group = tn_fuse_may_join(node);
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
is_dropped(const TnFuse *f, guint32 number)
{
    gboolean dropped = f->widens[number] && f->readers[number]->len > 0;
    for (guint i = 0; dropped && i < f->readers[number]->len; i++) {
        const guint32 reader = g_array_index(f->readers[number], guint32, i);
        dropped = reader != G_MAXUINT32 && f->group[reader] != NO_GROUP;
    }
    return dropped;
}

static gboolean
rewrite_groups(TnFuse *f, GError **error)
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
    TnFuse f = { .c = c,
                 .graph = graph,
                 .fused = tn_source_ops()->fused,
                 .groups = g_ptr_array_new_with_free_func(tn_fuse_group_free),
                 .group = g_new(guint32, n + 1),
                 .spans = g_new0(guint32, n + 1),
                 .seen = g_new0(guint32, n + 1),
                 .readers = g_new0(GArray *, n + 1),
                 .widens = widens,
                 .claims = g_array_new(FALSE, TRUE, sizeof(TnClaim)),
                 .old_claims = claims,
                 .again = again };
    for (guint i = 0; i < n; i++) {
        f.group[i] = NO_GROUP;
    }
    find_readers(&f);
    tn_fuse_find_groups(&f);
    const gboolean ok = rewrite_groups(&f, error);
    for (guint i = 0; i < n; i++) {
        g_array_unref(f.readers[i]);
    }
    g_clear_pointer(&f.claims, g_array_unref);
    g_ptr_array_unref(f.groups);
    g_free(f.group);
    g_free(f.spans);
    g_free(f.seen);
    g_free(f.readers);
    return ok;
}
