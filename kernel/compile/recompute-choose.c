/* recompute-choose.c: which values are computed again instead of kept.
 *
 * Along the plan's positions stands how many bytes are alive; what goes beyond the limit, summed up, is
 * to become nothing. A value that is idle between two uses may be dropped there. It then takes what it
 * is computed from: values that are there anyway, that are kept for longer because they are small, or
 * that are computed again too, and so on. Taken is always the value that makes the sum smaller by most
 * for the time that it takes, as in Kumar et al., Efficient Rematerialization for Deep Networks
 * (2019); so a chain is cut into segments, where single values would only be halved. */
#include "recompute.h"

#include <tenon/plugin.h>

/* An operation takes about as long as this many bytes from memory, of CPUs with wide vectors. */
#define BYTES_PER_FLOP 0.1
/* What takes at most this part of the bytes times positions that a dropped value frees is rather kept for
 * longer than computed again. */
#define SMALL_PART 16

typedef struct {
    guint32 *where;
    guint32 before;
} Change;

typedef struct {
    guint32 first, last; /* positions */
    gint64 bytes;
} Span;

typedef struct {
    TnRecompute *r;
    guint32 n; /* positions */
    gint64 *live;
    gint64 limit;
    gint64 excess; /* of live beyond limit, summed over the positions */
    GArray **uses; /* of each root in the arena: guint32, positions, of its producer first; NULL */
    guint32 *
        maker; /* of roots: the node of the graph that gives it; TN_NO_VALUE: none that can again */
    guint32 *last; /* of roots: until where it is there */
    guint32 *first_again,
        *last_again; /* of roots: where the copy is there; TN_NO_STEP: there is none */
    guint32 *again;  /* of nodes: whether they are computed again */
    GArray *changes; /* Change: what is undone if nothing comes of it */
    GArray *spans;   /* Span: likewise */
    double cost;     /* in bytes, of the value that is looked at */
    gint64 passing;  /* bytes of the largest value on the way to it */
    gint64 scratch;  /* most that a node on the way works in */
    gint64 small;    /* bytes times positions that are rather kept */
} Chooser;

/* --- What can be undone ----------------------------------------------------------------------- */

static void
set(Chooser *c, guint32 *where, guint32 value)
{
    const Change change = { where, *where };
    g_array_append_val(c->changes, change);
    *where = value;
}

static gint64
beyond(const Chooser *c, gint64 live)
{
    return MAX(live - c->limit, 0);
}

static void
add_bytes(Chooser *c, Span span)
{
    for (guint32 p = span.first; p <= span.last && p < c->n; p++) {
        c->excess -= beyond(c, c->live[p]);
        c->live[p] += span.bytes;
        c->excess += beyond(c, c->live[p]);
    }
}

/* From first to last, both included. */
static void
add_span(Chooser *c, guint32 first, guint32 last, gint64 bytes)
{
    const Span span = { first, last, bytes };
    if (first <= last) {
        g_array_append_val(c->spans, span);
        add_bytes(c, span);
    }
}

static void
undo(Chooser *c)
{
    for (guint i = c->changes->len; i-- > 0;) {
        const Change *change = &g_array_index(c->changes, Change, i);
        *change->where = change->before;
    }
    for (guint i = c->spans->len; i-- > 0;) {
        Span span = g_array_index(c->spans, Span, i);
        span.bytes = -span.bytes;
        add_bytes(c, span);
    }
}

/* --- What computing again takes --------------------------------------------------------------- */

static gint64
root_bytes(const Chooser *c, guint32 root)
{
    return (gint64)tn_align((gsize)tn_type_bytes(&tn_plan_value(c->r->plan, root)->type));
}

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

static void need_value(Chooser *c, TnVal val, guint32 position);

static void
need_node(Chooser *c, guint32 number, guint32 position)
{
    const TnGraphNode *node = tn_graph_node(c->r->graph, number);
    if (c->again[number]) {
        return;
    }
    set(c, &c->again[number], TRUE);
    c->cost += tn_recompute_node_cost(c->r->graph, node);
    c->scratch = MAX(c->scratch, (gint64)c->r->scratch[number]);
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, node->in[i])) {
            need_value(c, node->in[i], position);
        }
    }
}

/* The copy of root is there at position too. */
static void
widen(Chooser *c, guint32 root, guint32 position)
{
    const gint64 bytes = root_bytes(c, root);
    if (position < c->first_again[root]) {
        add_span(c, position, c->first_again[root] - 1, bytes);
        set(c, &c->first_again[root], position);
    } else if (position > c->last_again[root]) {
        add_span(c, c->last_again[root] + 1, position, bytes);
        set(c, &c->last_again[root], position);
    }
}

/* A copy that is made at position needs val. */
static void
need_value(Chooser *c, TnVal val, guint32 position)
{
    if (tn_recompute_is_given(c->r, val)) {
        return;
    }
    const guint32 root = tn_recompute_root(c->r, val);
    if (root == TN_NO_VALUE) {
        need_node(c, val.node, position);
        return;
    }
    if (c->uses[root] == NULL || position <= MIN(c->last[root], c->r->split[root])) {
        return;
    }
    if (c->first_again[root] != TN_NO_STEP) {
        widen(c, root, position);
    } else if (c->maker[root] == TN_NO_VALUE ||
               root_bytes(c, root) * (position - c->last[root]) <= c->small) {
        add_span(c, c->last[root] + 1, position, root_bytes(c, root));
        set(c, &c->last[root], position);
        return;
    } else {
        set(c, &c->r->split[root], c->last[root]);
        set(c, &c->first_again[root], position);
        set(c, &c->last_again[root], position);
        c->passing = MAX(c->passing, root_bytes(c, root));
        need_node(c, c->maker[root], position);
    }
    need_node(c, val.node, position); /* a view of it, if it is one */
}

/* --- One value -------------------------------------------------------------------------------- */

/* The two uses between which most of what is beyond the limit lies: numbers i, i + 1. FALSE: nothing
 * does. */
static gboolean
find_gap(const Chooser *c, guint32 root, guint *gap)
{
    const GArray *uses = c->uses[root];
    const gint64 bytes = root_bytes(c, root);
    gint64 most = 0;
    for (guint i = 0; i + 1 < uses->len; i++) {
        gint64 sum = 0;
        const guint32 end = g_array_index(uses, guint32, i + 1);
        for (guint32 p = g_array_index(uses, guint32, i) + 1; p < end; p++) {
            sum += MIN(beyond(c, c->live[p]), bytes);
        }
        if (sum > most) {
            most = sum;
            *gap = i;
        }
    }
    return most > 0;
}

/* Drops the value where that is best. Gives what that is worth; what was done is undone unless
 * `keep`. */
static double
drop(Chooser *c, guint32 root, gboolean keep)
{
    const gint64 before = c->excess, bytes = root_bytes(c, root);
    guint gap = 0;
    if (c->first_again[root] != TN_NO_STEP || !find_gap(c, root, &gap)) {
        return 0;
    }
    const guint32 from = g_array_index(c->uses[root], guint32, gap),
                  to = g_array_index(c->uses[root], guint32, gap + 1);
    g_array_set_size(c->changes, 0);
    g_array_set_size(c->spans, 0);
    c->cost = 1;
    c->passing = 0;
    c->scratch = 0;
    c->small = bytes * (to - from) / SMALL_PART;
    add_span(c, from + 1, to - 1, -bytes);
    set(c, &c->r->split[root], from);
    set(c, &c->first_again[root], to);
    set(c, &c->last_again[root], c->last[root]);
    need_node(c, c->maker[root], to);
    add_span(c, to, to, c->passing + c->scratch);
    const double worth = (double)(before - c->excess) / c->cost;
    if (!keep) {
        undo(c);
    }
    return worth;
}

/* The values one after the other, that is worth most first: what each is worth is worked out again when
 * its turn comes, since others were dropped meanwhile. */
static gboolean
drop_values(Chooser *c)
{
    const guint n = c->r->plan->values->len;
    g_autofree double *worth = g_new0(double, n + 1);
    const gint64 least =
        (gint64)(c->r->plan->program->arena_bytes >> 11); /* what is not worth a look */
    gboolean any = FALSE;
    for (guint32 v = 0; v < n; v++) {
        worth[v] = c->maker[v] != TN_NO_VALUE && root_bytes(c, v) > least ? drop(c, v, FALSE) : 0;
    }
    while (c->excess > 0) {
        guint32 best = 0;
        double next = 0;
        for (guint32 v = 1; v < n; v++) {
            if (worth[v] > worth[best]) {
                best = v;
            }
        }
        if (worth[best] <= 0) {
            break;
        }
        worth[best] = drop(c, best, FALSE);
        for (guint32 v = 0; v < n; v++) {
            next = v != best ? MAX(next, worth[v]) : next;
        }
        if (worth[best] > 0 && worth[best] >= next) {
            drop(c, best, TRUE);
            any = TRUE;
            worth[best] = 0;
        }
    }
    return any;
}

/* --- The plan as it stands -------------------------------------------------------------------- */

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
find_makers(Chooser *c)
{
    const TnRecompute *r = c->r;
    for (guint32 i = 0; i < r->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(r->graph, i);
        for (guint32 k = 0; k < (guint32)node->n_out && can_compute_again(r, i); k++) {
            const guint32 root = tn_recompute_root(r, (TnVal){ i, k });
            if (root != TN_NO_VALUE && c->maker[root] == TN_NO_VALUE && c->uses[root] != NULL) {
                c->maker[root] = i;
            }
        }
    }
    /* What must be there at the end. */
    for (guint i = 0; i < r->graph->variables->len; i++) {
        const TnVal val = g_array_index(r->graph->variables, TnGraphVariable, i).assigned;
        const guint32 root = tn_val_is_none(val) ? TN_NO_VALUE : tn_recompute_root(r, val);
        if (root != TN_NO_VALUE) {
            c->maker[root] = TN_NO_VALUE;
        }
    }
    for (guint32 v = 0; v < r->plan->values->len; v++) {
        if (stays(r->plan, v)) {
            c->maker[v] = TN_NO_VALUE;
        }
    }
}

static void
add_use(Chooser *c, guint32 root, guint32 position)
{
    if (tn_plan_value(c->r->plan, root)->place.kind != TN_PLACE_ARENA) {
        return;
    }
    if (c->uses[root] == NULL) {
        c->uses[root] = g_array_new(FALSE, FALSE, sizeof(guint32));
    }
    GArray *uses = c->uses[root];
    if (uses->len == 0 || g_array_index(uses, guint32, uses->len - 1) != position) {
        g_array_append_val(uses, position);
    }
    c->last[root] = position;
}

static void
find_uses(Chooser *c)
{
    const TnPlan *plan = c->r->plan;
    for (guint32 p = 0; p < c->n; p++) {
        const TnStep *step = tn_plan_step(plan, plan->order[p]);
        for (guint i = 0; i < step->n_in; i++) {
            if (step->in[i] != TN_NO_VALUE) {
                add_use(c, tn_plan_value(plan, step->in[i])->root, p);
            }
        }
        for (guint i = 0; i < step->n_out; i++) {
            add_use(c, step->out + i, p);
        }
    }
    for (guint i = 0; i < plan->slots->len; i++) {
        const TnSlot *slot = &g_array_index(plan->slots, TnSlot, i);
        add_bytes(c, (Span){ slot->first, slot->last, (gint64)slot->bytes });
    }
    for (guint32 v = 0; v < plan->values->len; v++) {
        if (stays(plan, v)) {
            c->last[v] = c->n;
        }
    }
}

static guint32 *
none_of(guint n)
{
    guint32 *array = g_new(guint32, n + 1);
    memset(array, 0xff, (n + 1) * sizeof *array); /* TN_NO_STEP, TN_NO_VALUE */
    return array;
}

gboolean
tn_recompute_choose(TnRecompute *r, guint64 limit)
{
    const guint n_values = r->plan->values->len;
    Chooser c = { .r = r,
                  .n = r->plan->steps->len,
                  .live = g_new0(gint64, r->plan->steps->len + 1),
                  .limit = (gint64)limit,
                  .uses = g_new0(GArray *, n_values + 1),
                  .maker = none_of(n_values),
                  .last = g_new0(guint32, n_values + 1),
                  .first_again = none_of(n_values),
                  .last_again = none_of(n_values),
                  .again = g_new0(guint32, r->graph->nodes->len + 1),
                  .changes = g_array_new(FALSE, FALSE, sizeof(Change)),
                  .spans = g_array_new(FALSE, FALSE, sizeof(Span)) };
    memset(r->split, 0xff, (n_values + 1) * sizeof *r->split);
    find_uses(&c);
    find_makers(&c);
    const gboolean any = drop_values(&c);
    for (guint32 v = 0; v < n_values; v++) {
        g_clear_pointer(&c.uses[v], g_array_unref);
    }
    g_free(c.live);
    g_free(c.uses);
    g_free(c.maker);
    g_free(c.last);
    g_free(c.first_again);
    g_free(c.last_again);
    g_free(c.again);
    g_array_unref(c.changes);
    g_array_unref(c.spans);
    return any;
}
