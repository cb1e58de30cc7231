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

/* The root of what a node of the graph reads, if that is in the arena. *inside: it reaches no memory. */
static guint32
root_read(const TnWeigh *w, const TnGraphNode *node, gint i, gboolean *inside)
{
    const TnVal val = node->in[i];
    *inside = FALSE;
    if (!tn_reads_data(node->op, i, val) || tn_recompute_is_given(w->r, val)) {
        return TN_NO_VALUE;
    }
    const guint32 root = tn_recompute_root(w->r, val);
    *inside = root == TN_NO_VALUE;
    return root == TN_NO_VALUE || w->uses[root] == NULL ? TN_NO_VALUE : root;
}

static void
need_inputs(TnWeigh *w, const TnGraphNode *node, guint32 position, guint32 *root, gboolean *copy)
{
    for (gint i = 0; i < node->n_in; i++) {
        gboolean inside;
        root[i] = root_read(w, node, i, &inside);
        copy[i] = root[i] != TN_NO_VALUE && need_root(w, root[i], position);
        if (inside) {
            compute_again(w, node->in[i].node, position);
        }
    }
}

/* The node is computed again, unless it was, after what it reads. */
static void
compute_again(TnWeigh *w, guint32 number, guint32 position)
{
    const TnGraphNode *node = tn_graph_node(w->r->graph, number);
    guint32 root[TN_MAX_IN];
    gboolean copy[TN_MAX_IN];
    gint64 place = is_element_wise(node) ? 1 : 0; /* it may take the place of one copy */
    if (w->copied[number]) {
        return;
    }
    w->copied[number] = TRUE;
    need_inputs(w, node, position, root, copy);
    const guint32 now = w->n_times;
    for (gint i = 0; i < node->n_in; i++) {
        if (root[i] != TN_NO_VALUE) {
            const gboolean over = place > 0 && copy[i] && now > 0;
            note_read(w, root[i], copy[i], over ? now - 1 : now);
            place -= over;
        }
    }
    if (node->op->flags & TN_OP_VIEW) {
        return;
    }
    for (gint i = 0; i < node->n_out; i++) {
        const guint32 made = tn_recompute_root(w->r, (TnVal){ number, (guint32)i });
        if (made != TN_NO_VALUE && w->uses[made] != NULL) {
            w->copy_made[made] = w->copy_read[made] = now;
        }
    }
    const TnAlike *alike = tn_recompute_alike(w->r, number);
    const gboolean lean = alike != NULL && alike->taken;
    const gint64 scratch = (gint64)(lean ? alike->bytes : w->r->scratch[number]);
    w->live[now] += scratch;
    w->live[now + 1] -= scratch;
    w->cost += w->takes[number] * (lean ? alike->times : 1);
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
        const GArray *reads = w->reads[p];
        for (guint i = 0; i < reads->len; i++) {
            need_root(w, g_array_index(reads, guint32, i), p);
        }
        for (guint i = 0; i < reads->len; i++) {
            const guint32 root = g_array_index(reads, guint32, i);
            note_read(w, root, w->r->split[root] < p, w->n_times);
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
        w->reads[p] = g_array_new(FALSE, FALSE, sizeof(guint32));
        for (guint i = 0; i < step->n_in; i++) {
            const guint32 root =
                step->in[i] != TN_NO_VALUE ? tn_plan_value(plan, step->in[i])->root : TN_NO_VALUE;
            if (root != TN_NO_VALUE && tn_plan_value(plan, root)->place.kind == TN_PLACE_ARENA) {
                add_use(w, root, p);
                g_array_append_val(w->reads[p], root);
            }
        }
        for (guint i = 0; i < step->n_out; i++) {
            add_use(w, step->out + i, p);
        }
    }
    for (guint32 v = 0; v < plan->values->len; v++) {
        if (stays(plan, v)) {
            w->last[v] = w->n;
        }
    }
}

/* --- The whole ---------------------------------------------------------------------------------- */

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
                    .reads = g_new0(GArray *, r->plan->steps->len + 1),
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
}

void
tn_weigh_clear(TnWeigh *w)
{
    for (guint32 v = 0; v < w->r->plan->values->len; v++) {
        g_clear_pointer(&w->uses[v], g_array_unref);
    }
    for (guint32 p = 0; p < w->n; p++) {
        g_array_unref(w->reads[p]);
    }
    g_array_unref(w->splits);
    g_free(w->takes);
    g_free(w->bytes);
    g_free(w->uses);
    g_free(w->maker);
    g_free(w->last);
    g_free(w->reads);
    g_free(w->time);
    g_free(w->live);
    g_free(w->until);
    g_free(w->copied);
    g_free(w->read);
    g_free(w->copy_made);
    g_free(w->copy_read);
}
