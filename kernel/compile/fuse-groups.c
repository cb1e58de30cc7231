/* fuse-groups.c: which nodes go together. Nodes join the groups of what they read, one after the other,
 * while the whole is allowed. */
#include "fuse-private.h"

#define MAX_OPS 24
#define MAX_OPS_REDUCING 64
/* Nodes of a walk backwards, at most: groups that are farther apart than that are not put together. */
#define MOST_WALKED 2048

void
tn_fuse_group_free(gpointer data)
{
    TnFuseGroup *group = data;
    if (group != NULL) {
        g_array_unref(group->members);
        g_free(group);
    }
}

static gboolean
reads_widening(const TnFuse *f, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    for (gint i = 0; i < node->n_in; i++) {
        if (!tn_val_is_none(node->in[i]) && f->widens[node->in[i].node]) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
is_reduction(const TnGraphNode *node)
{
    return (node->op->flags & TN_OP_REDUCTION) != 0;
}

static guint32
new_group(TnFuse *f, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    TnFuseGroup *group = g_new0(TnFuseGroup, 1);
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
is_taken(const TnFuse *f, guint32 number)
{
    TnFuseBody body;
    tn_fuse_body(f, number, &body);
    const gboolean taken =
        tn_fuse_kernel(f, &body, f->old_claims[tn_fuse_group(f, number)->last].device) != NULL;
    tn_graph_unref(body.body);
    return taken;
}

/* What is summed in the order in which it lies elsewhere would be summed in another one here. */
static gboolean
reads_view(const TnFuse *f, const TnGraphNode *node)
{
    return (tn_graph_node(f->graph, node->in[0].node)->op->flags & TN_OP_VIEW) != 0;
}

static gboolean
is_candidate(TnFuse *f, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    if (!tn_fuse_may_join(node) || f->widens[number] ||
        (node->op->flags & (TN_OP_RANDOM | TN_OP_EFFECT)) || f->old_claims[number].kernel == NULL) {
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
        tn_fuse_group_free(g_ptr_array_steal_index_fast(f->groups, group));
    }
    return ok;
}

void
tn_fuse_push_inputs(const TnFuse *f, guint32 number, GArray *stack)
{
    const TnGraphNode *node = tn_graph_node(f->graph, number);
    for (gint i = 0; i < node->n_in; i++) {
        const TnVal val =
            f->group[number] != NO_GROUP ? tn_fuse_stored(f, node->in[i]) : node->in[i];
        if (!tn_val_is_none(val)) {
            g_array_append_val(stack, val.node);
        }
    }
}

static guint32
first_member(const TnFuseGroup *group)
{
    return g_array_index(group->members, guint32, 0);
}

/* By so much more or fewer groups span what lies between the group's members. */
static void
add_span(TnFuse *f, const TnFuseGroup *group, guint32 more)
{
    for (guint32 i = first_member(group); i < group->last; i++) {
        f->spans[i] += more;
    }
}

/* Nodes from this number on may need the group; none before does. A node needs lower numbers only, and by way
 * of a group that it reads the members' inputs, later ones too: so the bound is where no group spans. */
static guint32
first_that_may_need(const TnFuse *f, const TnFuseGroup *group)
{
    guint32 first = first_member(group);
    while (first > 0 && f->spans[first - 1] > 0) {
        first--;
    }
    return first;
}

/* Whether the group needs itself by way of nodes outside, or may: a walk from its inputs backwards, group
 * by group. */
static gboolean
may_need_itself(TnFuse *f, guint32 number)
{
    const TnFuseGroup *group = tn_fuse_group(f, number);
    const guint32 first = first_that_may_need(f, group);
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(guint32));
    guint walked = 0;
    f->walk++;
    for (guint i = 0; i < group->members->len; i++) {
        tn_fuse_push_inputs(f, g_array_index(group->members, guint32, i), stack);
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
        if (f->group[at] == number || walked > MOST_WALKED) {
            return TRUE;
        }
        const TnFuseGroup *other = f->group[at] != NO_GROUP ? tn_fuse_group(f, f->group[at]) : NULL;
        if (at < first || f->seen[at] == f->walk) {
            continue;
        }
        f->seen[at] = f->walk;
        walked++;
        if (other == NULL) {
            tn_fuse_push_inputs(f, at, stack);
        }
        for (guint i = 0; other != NULL && i < other->members->len; i++) {
            const guint32 member = g_array_index(other->members, guint32, i);
            f->seen[member] = f->walk;
            tn_fuse_push_inputs(f, member, stack);
        }
    }
    return FALSE;
}

static guint
count_inputs(const TnFuse *f, guint32 number)
{
    const TnFuseGroup *group = tn_fuse_group(f, number);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (guint i = 0; i < group->members->len; i++) {
        const TnGraphNode *node =
            tn_graph_node(f->graph, g_array_index(group->members, guint32, i));
        for (gint k = 0; k < node->n_in; k++) {
            const TnVal val = tn_fuse_stored(f, node->in[k]);
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
count_outputs(const TnFuse *f, guint32 number)
{
    const TnFuseGroup *group = tn_fuse_group(f, number);
    guint n = 0;
    for (guint i = 0; i < group->members->len; i++) {
        n += tn_fuse_is_read_outside(f, g_array_index(group->members, guint32, i), number);
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
set_group(TnFuse *f, const GArray *members, guint32 number)
{
    for (guint i = 0; i < members->len; i++) {
        f->group[g_array_index(members, guint32, i)] = number;
    }
}

/* Whether a member is a composite that the device has a kernel of its own for: faster than its body in a
 * group is, which a reduction's pass over memory does not make up for. */
static gboolean
has_composite(const TnFuse *f, const TnFuseGroup *group)
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
is_allowed(TnFuse *f, guint32 number)
{
    const TnFuseGroup *group = tn_fuse_group(f, number);
    return count_inputs(f, number) <= MAX_INPUTS && count_outputs(f, number) <= MAX_OUTPUTS &&
           !may_need_itself(f, number) &&
           (!group->reduces || (!has_composite(f, group) && is_taken(f, number)));
}

/* Puts group `from` into `into` if the whole is allowed. */
static gboolean
try_merge(TnFuse *f, guint32 into, guint32 from)
{
    TnFuseGroup *a = tn_fuse_group(f, into), *b = tn_fuse_group(f, from);
    const TnFuseGroup before = *a;
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
        add_span(f, &before, -1U);
        add_span(f, b, -1U);
        add_span(f, a, 1);
        g_array_unref(before.members);
        tn_fuse_group_free(b);
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
alike(const TnFuse *f, guint32 a, guint32 b)
{
    const TnFuseGroup *one = tn_fuse_group(f, f->group[a]), *other = tn_fuse_group(f, f->group[b]);
    const TnType *x = &one->space, *y = &other->space;
    const gboolean same =
        x->rank == y->rank && memcmp(x->dims, y->dims, (gsize)x->rank * sizeof(gint64)) == 0;
    return f->old_claims[a].device == f->old_claims[b].device &&
           (same || (one->reduces && is_left_of(y, x)) || (other->reduces && is_left_of(x, y)));
}

/* What is computed again must not be computed at once with what it is computed from, unless that is for
 * the same reader: it would be there for longer than it is needed. */
static gboolean
is_kept_apart(const TnFuse *f, guint32 reader, guint32 from)
{
    return f->again != NULL && f->again[reader] != 0 && f->again[reader] != f->again[from];
}

/* Groups of one, but for those with a cast in them, and those that no kernel takes as a whole, are
 * none. */
static void
drop_groups(TnFuse *f)
{
    for (guint32 i = 0; i < f->groups->len; i++) {
        TnFuseGroup *group = tn_fuse_group(f, i);
        if (group == NULL) {
            continue;
        }
        const guint32 first = g_array_index(group->members, guint32, 0);
        if ((group->members->len == 1 && !reads_widening(f, first)) || !is_taken(f, i)) {
            set_group(f, group->members, NO_GROUP);
            tn_fuse_group_free(group);
            g_ptr_array_index(f->groups, i) = NULL;
        }
    }
}

void
tn_fuse_find_groups(TnFuse *f)
{
    for (guint32 i = 0; i < f->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(f->graph, i);
        const gboolean may_fuse = is_candidate(f, i);
        for (gint k = 0; may_fuse && k < node->n_in; k++) {
            const TnVal val = tn_fuse_stored(f, node->in[k]);
            const guint32 from = tn_val_is_none(val) ? i : val.node;
            if (f->group[from] != NO_GROUP && f->group[from] != f->group[i] && alike(f, i, from) &&
                !is_kept_apart(f, i, from)) {
                try_merge(f, f->group[from], f->group[i]);
            }
        }
    }
    drop_groups(f);
}
