/* recompute-weigh.c: what a plan becomes if given values are dropped. It is gone through in its order, as
 * recompute-copy.c will: before a step come the nodes that compute again what the step reads, those that
 * they read likewise, each once. When every value is made and read last, original and copy, gives what is
 * alive at each time. */
#include "recompute-weigh.h"

#include <tenon/plugin.h>

/* An operation takes about as long as this many bytes from memory, of CPUs with wide vectors. */
#define BYTES_PER_FLOP 0.1

static gboolean
is_element_wise(const TnGraphNode *node)
{
    return (node->op->flags & TN_OP_ELEMENTWISE) != 0;
}

double
tn_recompute_node_cost(const TnGraph *graph, const TnGraphNode *node)
{
    TnType in[TN_MAX_IN] = { 0 };
    double bytes = 0;
    if (node->op->flags & TN_OP_VIEW) {
        return 0;
    }
    for (gint i = 0; i < node->n_in; i++) {
        if (!tn_val_is_none(node->in[i])) {
            in[i] = *tn_type_of(graph, node->in[i]);
            bytes += tn_reads_data(node->op, i, node->in[i]) ? (double)tn_type_bytes(&in[i]) : 0;
        }
    }
    for (gint i = 0; i < node->n_out; i++) {
        bytes += (double)tn_type_bytes(&node->out[i]);
    }
    const double flops = tn_op_flops(node->op, node->attrs, node->n_in, in, node->n_out, node->out);
    /* Element-wise nodes are mostly fused with others, so that they read and write little. */
    return MAX(flops, 0) * BYTES_PER_FLOP + (is_element_wise(node) ? bytes / 2 : bytes);
}

/* --- What is computed again --------------------------------------------------------------------- */

static void compute_again(TnWeigh *w, guint32 number, guint32 position);

/* A step at position, or what is computed again before it, needs root. Gives whether it reads a copy. */
static gboolean
need_root(TnWeigh *w, guint32 root, guint32 position)
{
    guint32 *split = &w->r->split[root];
    if (*split == TN_NO_STEP && position > w->last[root] && w->maker[root] != TN_NO_VALUE &&
        w->bytes[root] * (gint64)(position - w->last[root]) > w->small) {
        *split = w->last[root];
        g_array_append_val(w->splits, root);
    }
    if (*split != TN_NO_STEP && position > *split) {
        compute_again(w, w->maker[root], position);
        return TRUE;
    }
    w->until[root] = MAX(w->until[root], position);
    return FALSE;
}

static void
note_read(TnWeigh *w, guint32 root, gboolean copy, guint32 time)
{
    guint32 *read = copy ? &w->copy_read[root] : &w->read[root];
    *read = MAX(*read, time);
}

double
tn_weigh_takes(const TnWeigh *w, guint32 number)
{
    const TnAlike *alike = tn_recompute_alike(w->r, number);
    return w->takes[number] * (alike != NULL && alike->taken ? alike->times : 1);
}

/* The node is computed again, unless it was, after what it reads. */
static void
compute_again(TnWeigh *w, guint32 number, guint32 position)
{
    const guint flags = tn_graph_node(w->r->graph, number)->op->flags;
    gboolean copy[TN_MAX_IN] = { FALSE };
    guint n_reads, n_made;
    const TnWeighRead *reads = TN_LIST(&w->node_reads, TnWeighRead, number, &n_reads);
    const guint32 *made = TN_LIST(&w->node_made, guint32, number, &n_made);
    gint64 place = flags & TN_OP_ELEMENTWISE ? 1 : 0; /* it may take the place of one copy */
    if (w->copied[number]) {
        return;
    }
    w->copied[number] = TRUE;
    for (guint i = 0; i < n_reads; i++) {
        if (reads[i].root != TN_NO_VALUE) {
            copy[i] = need_root(w, reads[i].root, position);
        } else {
            compute_again(w, reads[i].inside, position);
        }
    }
    const guint32 now = w->n_times;
    for (guint i = 0; i < n_reads; i++) {
        if (reads[i].root != TN_NO_VALUE) {
            const gboolean over = place > 0 && copy[i] && now > 0;
            note_read(w, reads[i].root, copy[i], over ? now - 1 : now);
            place -= over;
        }
    }
    if (flags & TN_OP_VIEW) {
        return;
    }
    for (guint i = 0; i < n_made; i++) {
        w->copy_made[made[i]] = w->copy_read[made[i]] = now;
    }
    const TnAlike *alike = tn_recompute_alike(w->r, number);
    const gint64 scratch =
        (gint64)(alike != NULL && alike->taken ? alike->bytes : w->r->scratch[number]);
    w->live[now] += scratch;
    w->live[now + 1] -= scratch;
    w->cost += tn_weigh_takes(w, number);
    w->n_times++;
}

/* --- What is alive ------------------------------------------------------------------------------ */

/* From time `first` to time `last`, both included; live has differences. */
static void
add_span(TnWeigh *w, guint32 first, guint32 last, gint64 bytes)
{
    if (first <= last) {
        w->live[first] += bytes;
        w->live[last + 1] -= bytes;
    }
}

/* The plan as it stands has root at its last use, where another value may take its place. */
static void
add_root(TnWeigh *w, guint32 root)
{
    const guint32 split = w->r->split[root], last = w->last[root];
    const gint64 bytes = w->bytes[root];
    const guint32 end = last < w->n ? w->time[last] : w->n_times;
    if (split < last) {
        add_span(w, MAX(w->time[split], w->read[root]) + 1, end - 1, -bytes);
    } else if (w->read[root] > end) {
        add_span(w, end + 1, w->read[root], bytes);
    }
    if (w->copy_made[root] != TN_NO_STEP) {
        add_span(w, w->copy_made[root], w->copy_read[root], bytes);
        if (split < last && w->copy_read[root] >= end) {
            add_span(w, end, end, -bytes);
        }
    }
}

/* Nodes that get a leaner kernel. */
static void
add_lean(TnWeigh *w)
{
    const TnGraph *graph = w->r->graph;
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnAlike *alike = tn_recompute_alike(w->r, i);
        if (alike != NULL && alike->taken) {
            const guint32 time = w->time[w->r->position[i]];
            add_span(w, time, time, (gint64)alike->bytes - (gint64)w->r->scratch[i]);
            w->cost += w->takes[i] * (alike->times - 1);
        }
    }
}

static void
sum_up(TnWeigh *w)
{
    const TnPlan *plan = w->r->plan;
    for (guint i = 0; i < plan->slots->len; i++) {
        const TnSlot *slot = &g_array_index(plan->slots, TnSlot, i);
        add_span(w, w->time[slot->first], slot->last < w->n ? w->time[slot->last] : w->n_times - 1,
                 (gint64)slot->bytes);
    }
    for (guint32 v = 0; v < plan->values->len; v++) {
        if (w->uses[v] != NULL) {
            add_root(w, v);
        }
    }
    if (w->r->alike->len > 0) {
        add_lean(w);
    }
    w->excess = 0;
    for (guint32 t = 0; t < w->n_times; t++) {
        w->live[t + 1] += w->live[t];
        w->excess += tn_weigh_beyond(w, w->live[t]);
    }
}

void
tn_weigh(TnWeigh *w)
{
    const guint n_values = w->r->plan->values->len, n_nodes = w->r->graph->nodes->len;
    memset(w->copied, 0, n_nodes * sizeof *w->copied);
    memset(w->live, 0, (w->n + n_nodes + 2) * sizeof *w->live);
    memset(w->copy_made, 0xff, n_values * sizeof *w->copy_made); /* TN_NO_STEP */
    memset(w->copy_read, 0, n_values * sizeof *w->copy_read);
    memset(w->read, 0, n_values * sizeof *w->read);
    memcpy(w->until, w->last, n_values * sizeof *w->until);
    w->n_times = 0;
    w->cost = 0;
    for (guint32 p = 0; p < w->n; p++) {
        guint n;
        const guint32 *reads = TN_LIST(&w->reads, guint32, p, &n);
        for (guint i = 0; i < n; i++) {
            need_root(w, reads[i], p);
        }
        for (guint i = 0; i < n; i++) {
            note_read(w, reads[i], w->r->split[reads[i]] < p, w->n_times);
        }
        w->time[p] = w->n_times++;
    }
    sum_up(w);
}

/* --- The plan as it stands ---------------------------------------------------------------------- */

static gboolean
can_compute_again(const TnRecompute *r, guint32 number)
{
    const TnGraphNode *node = tn_graph_node(r->graph, number);
    return !tn_is_source(node) && !(node->op->flags & TN_OP_EFFECT) &&
           r->claims[number].kernel != NULL;
}

/* To the end of every run: outputs, and what is computed once. */
static gboolean
stays(const TnPlan *plan, guint32 v)
{
    const TnPlanValue *value = tn_plan_value(plan, v);
    return value->is_output ||
           (value->producer != TN_NO_STEP && tn_plan_step(plan, value->producer)->once);
}

static void
find_makers(TnWeigh *w)
{
    const TnRecompute *r = w->r;
    for (guint32 i = 0; i < r->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(r->graph, i);
        for (guint32 k = 0; k < (guint32)node->n_out && can_compute_again(r, i); k++) {
            const guint32 root = tn_recompute_root(r, (TnVal){ i, k });
            if (root != TN_NO_VALUE && w->maker[root] == TN_NO_VALUE && w->uses[root] != NULL) {
                w->maker[root] = i;
            }
        }
    }
    /* What must be there at the end. */
    for (guint i = 0; i < r->graph->variables->len; i++) {
        const TnVal val = g_array_index(r->graph->variables, TnGraphVariable, i).assigned;
        const guint32 root = tn_val_is_none(val) ? TN_NO_VALUE : tn_recompute_root(r, val);
        if (root != TN_NO_VALUE) {
            w->maker[root] = TN_NO_VALUE;
        }
    }
    for (guint32 v = 0; v < r->plan->values->len; v++) {
        if (stays(r->plan, v)) {
            w->maker[v] = TN_NO_VALUE;
        }
    }
}

static void
add_use(TnWeigh *w, guint32 root, guint32 position)
{
    if (tn_plan_value(w->r->plan, root)->place.kind != TN_PLACE_ARENA) {
        return;
    }
    if (w->uses[root] == NULL) {
        w->uses[root] = g_array_new(FALSE, FALSE, sizeof(guint32));
    }
    GArray *uses = w->uses[root];
    if (uses->len == 0 || g_array_index(uses, guint32, uses->len - 1) != position) {
        g_array_append_val(uses, position);
    }
    w->last[root] = position;
}

static void
find_uses(TnWeigh *w)
{
    const TnPlan *plan = w->r->plan;
    for (guint32 p = 0; p < w->n; p++) {
        const TnStep *step = tn_plan_step(plan, plan->order[p]);
        w->reads.first[p] = w->reads.all->len;
        for (guint i = 0; i < step->n_in; i++) {
            const guint32 root =
                step->in[i] != TN_NO_VALUE ? tn_plan_value(plan, step->in[i])->root : TN_NO_VALUE;
            if (root != TN_NO_VALUE && tn_plan_value(plan, root)->place.kind == TN_PLACE_ARENA) {
                add_use(w, root, p);
                g_array_append_val(w->reads.all, root);
            }
        }
        for (guint i = 0; i < step->n_out; i++) {
            add_use(w, step->out + i, p);
        }
    }
    w->reads.first[w->n] = w->reads.all->len;
    for (guint32 v = 0; v < plan->values->len; v++) {
        if (stays(plan, v)) {
            w->last[v] = w->n;
        }
    }
}

/* FALSE: the node reads nothing there that takes memory of the arena or is in none. */
static gboolean
read_of(const TnWeigh *w, const TnGraphNode *node, gint i, TnWeighRead *read)
{
    const TnVal val = node->in[i];
    if (!tn_reads_data(node->op, i, val) || tn_recompute_is_given(w->r, val)) {
        return FALSE;
    }
    *read = (TnWeighRead){ tn_recompute_root(w->r, val), val.node };
    return read->root == TN_NO_VALUE || w->uses[read->root] != NULL;
}

static void
find_nodes(TnWeigh *w)
{
    const TnGraph *graph = w->r->graph;
    for (guint32 i = 0; i <= graph->nodes->len; i++) {
        w->node_reads.first[i] = w->node_reads.all->len;
        w->node_made.first[i] = w->node_made.all->len;
        const TnGraphNode *node = i < graph->nodes->len ? tn_graph_node(graph, i) : NULL;
        for (gint k = 0; node != NULL && k < node->n_in; k++) {
            TnWeighRead read;
            if (read_of(w, node, k, &read)) {
                g_array_append_val(w->node_reads.all, read);
            }
        }
        const gint n_out = node != NULL && !(node->op->flags & TN_OP_VIEW) ? node->n_out : 0;
        for (gint k = 0; k < n_out; k++) {
            const guint32 root = tn_recompute_root(w->r, (TnVal){ i, (guint32)k });
            if (root != TN_NO_VALUE && w->uses[root] != NULL) {
                g_array_append_val(w->node_made.all, root);
            }
        }
    }
}

/* --- The whole ---------------------------------------------------------------------------------- */

static TnLists
lists_new(guint n, gsize element)
{
    return (TnLists){ g_new0(guint32, n + 1),
                      g_array_sized_new(FALSE, FALSE, (guint)element, n + 1) };
}

static void
lists_clear(TnLists *lists)
{
    g_free(lists->first);
    g_array_unref(lists->all);
}

static guint32 *
none_of(guint n)
{
    guint32 *array = g_new(guint32, n + 1);
    memset(array, 0xff, (n + 1) * sizeof *array); /* TN_NO_STEP, TN_NO_VALUE */
    return array;
}

void
tn_weigh_init(TnWeigh *w, TnRecompute *r, gint64 limit)
{
    const guint n_values = r->plan->values->len, n_nodes = r->graph->nodes->len;
    *w = (TnWeigh){ .r = r,
                    .n = r->plan->steps->len,
                    .limit = limit,
                    .small = G_MAXINT64,
                    .splits = g_array_new(FALSE, FALSE, sizeof(guint32)),
                    .uses = g_new0(GArray *, n_values + 1),
                    .maker = none_of(n_values),
                    .last = g_new0(guint32, n_values + 1),
                    .takes = g_new0(double, n_nodes + 1),
                    .bytes = g_new0(gint64, n_values + 1),
                    .reads = lists_new(r->plan->steps->len, sizeof(guint32)),
                    .node_reads = lists_new(n_nodes, sizeof(TnWeighRead)),
                    .node_made = lists_new(n_nodes, sizeof(guint32)),
                    .time = g_new0(guint32, r->plan->steps->len + 1),
                    .live = g_new0(gint64, r->plan->steps->len + n_nodes + 2),
                    .until = g_new0(guint32, n_values + 1),
                    .copied = g_new0(gboolean, n_nodes + 1),
                    .read = g_new0(guint32, n_values + 1),
                    .copy_made = none_of(n_values),
                    .copy_read = g_new0(guint32, n_values + 1) };
    memset(r->split, 0xff, (n_values + 1) * sizeof *r->split); /* TN_NO_STEP */
    for (guint i = 0; i < n_nodes; i++) {
        w->takes[i] = tn_recompute_node_cost(r->graph, tn_graph_node(r->graph, i));
    }
    for (guint32 v = 0; v < n_values; v++) {
        w->bytes[v] = (gint64)tn_align((gsize)tn_type_bytes(&tn_plan_value(r->plan, v)->type));
    }
    find_uses(w);
    find_makers(w);
    find_nodes(w);
}

void
tn_weigh_clear(TnWeigh *w)
{
    for (guint32 v = 0; v < w->r->plan->values->len; v++) {
        g_clear_pointer(&w->uses[v], g_array_unref);
    }
    lists_clear(&w->reads);
    lists_clear(&w->node_reads);
    lists_clear(&w->node_made);
    g_array_unref(w->splits);
    g_free(w->takes);
    g_free(w->bytes);
    g_free(w->uses);
    g_free(w->maker);
    g_free(w->last);
    g_free(w->time);
    g_free(w->live);
    g_free(w->until);
    g_free(w->copied);
    g_free(w->read);
    g_free(w->copy_made);
    g_free(w->copy_read);
}
