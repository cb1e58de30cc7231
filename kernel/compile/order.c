/* order.c: the order of steps. Two are tried, the graph's own and one that takes next what frees
 * most (or costs least); the one with the lower peak of live bytes wins, the graph's own if they
 * are equal. */
#include "plan-private.h"

typedef struct {
    const TnPlan *plan;
    guint n;
    GArray **after; /* of each step: steps that wait for it */
    guint *n_before;
    guint *n_readers; /* of each root value: steps that read it */
    guint *left_before, *left_readers;
} Order;

static gsize
arena_bytes(const TnPlan *plan, guint32 root)
{
    const TnPlanValue *value = tn_plan_value(plan, root);
    return value->place.kind == TN_PLACE_ARENA ? tn_align((gsize)tn_type_bytes(&value->type)) : 0;
}

/* Calls func for every root that the step reads, once each. */
static void
each_root(const TnPlan *plan, const TnStep *step, void (*func)(Order *, guint32, gpointer),
          Order *order, gpointer data)
{
    for (guint i = 0; i < step->n_in; i++) {
        if (step->in[i] == TN_NO_VALUE) {
            continue;
        }
        const guint32 root = tn_plan_value(plan, step->in[i])->root;
        gboolean seen = FALSE;
        for (guint k = 0; k < i && !seen; k++) {
            seen = step->in[k] != TN_NO_VALUE && tn_plan_value(plan, step->in[k])->root == root;
        }
        if (!seen) {
            func(order, root, data);
        }
    }
}

static void
count_reader(Order *order, guint32 root, gpointer data)
{
    (void)data;
    order->n_readers[root]++;
}

static void
link_steps(Order *order, guint32 before, guint32 after)
{
    g_array_append_val(order->after[before], after);
    order->n_before[after]++;
}

static void
link_step(Order *order, guint32 s)
{
    const TnPlan *plan = order->plan;
    const TnStep *step = tn_plan_step(plan, s);
    for (guint i = 0; i < step->n_in; i++) {
        if (step->in[i] != TN_NO_VALUE && tn_plan_root(plan, step->in[i])->producer != TN_NO_STEP) {
            link_steps(order, tn_plan_root(plan, step->in[i])->producer, s);
        }
    }
    for (guint i = 0; i < step->before->len; i++) {
        link_steps(order, g_array_index(step->before, guint32, i), s);
    }
    each_root(plan, step, count_reader, order, NULL);
}

static Order *
order_new(const TnPlan *plan)
{
    Order *order = g_new0(Order, 1);
    order->plan = plan;
    order->n = plan->steps->len;
    order->after = g_new(GArray *, order->n + 1);
    order->n_before = g_new0(guint, order->n + 1);
    order->left_before = g_new0(guint, order->n + 1);
    order->n_readers = g_new0(guint, plan->values->len + 1);
    order->left_readers = g_new0(guint, plan->values->len + 1);
    for (guint i = 0; i < order->n; i++) {
        order->after[i] = g_array_new(FALSE, FALSE, sizeof(guint32));
    }
    for (guint i = 0; i < order->n; i++) {
        link_step(order, i);
    }
    return order;
}

static void
order_free(Order *order)
{
    for (guint i = 0; i < order->n; i++) {
        g_array_unref(order->after[i]);
    }
    g_free(order->after);
    g_free(order->n_before);
    g_free(order->left_before);
    g_free(order->n_readers);
    g_free(order->left_readers);
    g_free(order);
}

static void
add_freed(Order *order, guint32 root, gpointer data)
{
    if (order->left_readers[root] == 1 && !tn_plan_value(order->plan, root)->is_output) {
        *(gsize *)data += arena_bytes(order->plan, root);
    }
}

static void
drop_reader(Order *order, guint32 root, gpointer data)
{
    (void)data;
    order->left_readers[root]--;
}

static gsize
made_bytes(const TnPlan *plan, const TnStep *step)
{
    gsize bytes = 0;
    for (guint i = 0; i < step->n_out; i++) {
        bytes += arena_bytes(plan, step->out + i);
    }
    return bytes;
}

/* The next of the ready steps: what is computed once comes first, then the one that leaves least alive,
 * or simply the first. */
static guint
choose(Order *order, const GArray *ready, gboolean greedy)
{
    guint best = 0;
    gboolean best_once = FALSE;
    gssize best_cost = G_MAXSSIZE;
    for (guint i = 0; i < ready->len; i++) {
        const guint32 s = g_array_index(ready, guint32, i);
        const TnStep *step = tn_plan_step(order->plan, s);
        gsize freed = 0;
        if (greedy) {
            each_root(order->plan, step, add_freed, order, &freed);
        }
        const gssize cost = greedy ? (gssize)(made_bytes(order->plan, step) - freed) : (gssize)s;
        if (step->once < best_once) {
            continue;
        }
        if (step->once > best_once || cost < best_cost ||
            (cost == best_cost && s < g_array_index(ready, guint32, best))) {
            best = i;
            best_once = step->once;
            best_cost = cost;
        }
    }
    return best;
}

/* Fills result with an order; returns the peak of live bytes. */
static gsize
sort_steps(Order *order, gboolean greedy, guint32 *result)
{
    const TnPlan *plan = order->plan;
    g_autoptr(GArray) ready = g_array_new(FALSE, FALSE, sizeof(guint32));
    gsize live = 0, peak = 0;
    guint done = 0;
    memcpy(order->left_before, order->n_before, order->n * sizeof(guint));
    memcpy(order->left_readers, order->n_readers, plan->values->len * sizeof(guint));
    for (guint32 i = 0; i < order->n; i++) {
        if (order->left_before[i] == 0) {
            g_array_append_val(ready, i);
        }
    }
    while (ready->len > 0) {
        const guint at = choose(order, ready, greedy);
        const guint32 s = g_array_index(ready, guint32, at);
        const TnStep *step = tn_plan_step(plan, s);
        gsize freed = 0;
        g_array_remove_index_fast(ready, at);
        result[done++] = s;
        live += made_bytes(plan, step);
        peak = MAX(peak, live + tn_align(step->prepared.scratch));
        each_root(plan, step, add_freed, order, &freed);
        each_root(plan, step, drop_reader, order, NULL);
        for (guint i = 0; i < step->n_out; i++) {
            if (order->n_readers[step->out + i] == 0 &&
                !tn_plan_value(plan, step->out + i)->is_output) {
                freed += arena_bytes(plan, step->out + i);
            }
        }
        live -= freed;
        for (guint i = 0; i < order->after[s]->len; i++) {
            const guint32 next = g_array_index(order->after[s], guint32, i);
            if (--order->left_before[next] == 0) {
                g_array_append_val(ready, next);
            }
        }
    }
    g_assert(done == order->n);
    return peak;
}

void
tn_plan_order(TnPlan *plan)
{
    Order *order = order_new(plan);
    plan->order = g_new(guint32, order->n + 1);
    const gsize peak = sort_steps(order, FALSE, plan->order);
    if (!tn_pass_skipped(plan->c->options, "order")) {
        g_autofree guint32 *other = g_new(guint32, order->n + 1);
        if (sort_steps(order, TRUE, other) < peak) {
            memcpy(plan->order, other, order->n * sizeof *other);
        }
    }
    for (guint32 i = 0; i < order->n; i++) {
        tn_plan_step(plan, plan->order[i])->position = i;
    }
    order_free(order);
}
