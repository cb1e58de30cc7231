/* fuse-body.c: a group as inputs, outputs and a small graph over them, and the kernel that takes it. */
#include "choose.h"
#include "fuse-private.h"

static TnVal
body_value(const TnFuse *f, TnFuseBody *body, GHashTable *inside, TnVal val)
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

gboolean
tn_fuse_is_read_outside(const TnFuse *f, guint32 node, guint32 group)
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
add_member(const TnFuse *f, TnFuseBody *body, GHashTable *inside, guint32 number,
           gboolean is_output)
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

void
tn_fuse_body(const TnFuse *f, guint32 number, TnFuseBody *body)
{
    const TnFuseGroup *group = tn_fuse_group(f, number);
    g_autoptr(GHashTable) inside =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    *body = (TnFuseBody){ .body = tn_graph_new("fused") };
    for (guint i = 0; i < group->members->len; i++) {
        const guint32 member = g_array_index(group->members, guint32, i);
        add_member(f, body, inside, member, tn_fuse_is_read_outside(f, member, number));
    }
}

const TnKernel *
tn_fuse_kernel(const TnFuse *f, const TnFuseBody *body, gint device)
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
