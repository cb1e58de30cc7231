/* recompute-choose.c: which values are computed again instead of kept.
 *
 * What goes beyond the limit, summed up along the plan (recompute-weigh.c), is to become nothing. A value
 * that is idle between two uses may be dropped there. It then takes what it is computed from: values that
 * are there anyway, that are kept for longer because they are small, or that are dropped too, and so on.
 * Taken is always the value that makes the sum smaller by most for the time that it takes, as in Kumar et
 * al., Efficient Rematerialization for Deep Networks (2019); so a chain is cut into segments, where
 * single values would only be halved. What was dropped early may be worth less, or take more, with all that
 * was dropped after it: in the end, what the sum can do without is kept again. */
#include "recompute-weigh.h"

/* A move is made though another may be worth more by this factor: to know which is worth most, all whose worth
 * changed with the last move would have to be weighed after each. */
#define NEARLY 1.5
/* What takes less than one part of the arena of so many is too small for a look. */
#define LEAST_PART 16384
/* How often values are kept again, and others dropped instead. */
#define MOST_TURNS 4

/* What is dropped so far, and what that comes to: while others are tried, the weights change. */
typedef struct {
    TnWeigh w;
    gint64 *live; /* of times */
    guint32 *time, *until;
    gboolean *copied; /* of nodes */
    gint64 excess;
    double cost;
    guint32 *seen; /* of nodes: the last promise that counted them */
    guint32 promises;
} Chooser;

static void
take_weights(Chooser *c)
{
    memcpy(c->live, c->w.live, (c->w.n_times + 1) * sizeof *c->live);
    memcpy(c->time, c->w.time, (c->w.n + 1) * sizeof *c->time);
    memcpy(c->until, c->w.until, c->w.r->plan->values->len * sizeof *c->until);
    memcpy(c->copied, c->w.copied, c->w.r->graph->nodes->len * sizeof *c->copied);
    c->time[c->w.n] = c->w.n_times;
    c->excess = c->w.excess;
    c->cost = c->w.cost;
}

/* --- One value -------------------------------------------------------------------------------- */

/* The two uses between which most of what is beyond the limit lies: how much, of what the value takes there. 0:
 * nothing does. */
static gint64
find_gap(const Chooser *c, guint32 root, guint32 *from, guint32 *to)
{
    const GArray *uses = c->w.uses[root];
    const gint64 bytes = c->w.bytes[root];
    gint64 most = 0;
    for (guint i = 0; i < uses->len; i++) {
        const guint32 use = g_array_index(uses, guint32, i);
        const guint32 next =
            i + 1 < uses->len ? g_array_index(uses, guint32, i + 1) : c->until[root];
        gint64 sum = 0;
        for (guint32 t = c->time[use] + 1; t < c->time[next]; t++) {
            sum += MIN(tn_weigh_beyond(&c->w, c->live[t]), bytes);
        }
        if (sum > most) {
            most = sum;
            *from = use;
            *to = next;
        }
    }
    return most;
}

/* What drops of values that are kept instead are held against, if root is dropped between two positions. */
static gint64
small_beside(const Chooser *c, guint32 root, guint32 from, guint32 to)
{
    return c->w.bytes[root] * (to - from) / c->w.r->small_part;
}

/* Whether the value would still be there at a position, or be kept until it. */
static gboolean
is_there(const Chooser *c, guint32 root, guint32 position, gint64 small)
{
    const TnWeigh *w = &c->w;
    const gint64 longer = (gint64)position - w->last[root];
    return position <= w->r->split[root] &&
           (position <= c->until[root] || w->bytes[root] * longer <= small);
}

/* What it would take besides what is computed again already to compute the node again at a position. */
static double
cost_of(Chooser *c, guint32 number, guint32 position, gint64 small)
{
    const TnWeigh *w = &c->w;
    guint n_reads;
    const TnWeighRead *reads = TN_LIST(&w->node_reads, TnWeighRead, number, &n_reads);
    if (c->copied[number] || c->seen[number] == c->promises) {
        return 0;
    }
    c->seen[number] = c->promises;
    double cost = tn_weigh_takes(w, number);
    for (guint i = 0; i < n_reads; i++) {
        const guint32 root = reads[i].root;
        if (root == TN_NO_VALUE) {
            cost += cost_of(c, reads[i].inside, position, small);
        } else if (w->maker[root] != TN_NO_VALUE && !is_there(c, root, position, small)) {
            cost += cost_of(c, w->maker[root], position, small);
        }
    }
    return cost;
}

/* What dropping the value is worth at most, by what it takes alone: little work beside weighing the whole. */
static double
promise_of_drop(Chooser *c, guint32 root)
{
    guint32 from = 0, to = 0;
    const gint64 most = c->w.r->split[root] == TN_NO_STEP ? find_gap(c, root, &from, &to) : 0;
    if (most == 0) {
        return 0;
    }
    c->promises++;
    const double cost = cost_of(c, c->w.maker[root], to, small_beside(c, root, from, to));
    return (double)most / MAX(cost, 1);
}

/* Drops the value where that is best, with what is dropped for it. Gives what that is worth; 0: nothing is
 * dropped. */
static double
drop(Chooser *c, guint32 root)
{
    TnWeigh *w = &c->w;
    guint32 from = 0, to = 0;
    g_array_set_size(w->splits, 0);
    if (w->r->split[root] != TN_NO_STEP || find_gap(c, root, &from, &to) == 0) {
        return 0;
    }
    w->r->split[root] = from;
    w->small = small_beside(c, root, from, to);
    tn_weigh(w);
    w->small = G_MAXINT64;
    if (w->splits->len > 0) {
        tn_weigh(w);
    }
    g_array_append_val(w->splits, root);
    return (double)(c->excess - w->excess) / MAX(w->cost - c->cost, 1);
}

/* Gives nodes that look alike a kernel that works in less. Gives what that is worth; 0: they have none. */
static double
make_lean(Chooser *c, TnAlike *alike)
{
    if (alike->taken || alike->leaner == NULL) {
        return 0;
    }
    alike->taken = TRUE;
    tn_weigh(&c->w);
    return (double)(c->excess - c->w.excess) / MAX(c->w.cost - c->cost, 1);
}

/* --- All -------------------------------------------------------------------------------------- */

/* What can be done, by numbers: the plan's values dropped, and after them nodes that look alike made lean. */
static guint
n_moves(const Chooser *c)
{
    return c->w.r->plan->values->len + c->w.r->alike->len;
}

static TnAlike *
alike_at(const Chooser *c, guint move)
{
    const guint n_values = c->w.r->plan->values->len;
    return move < n_values ? NULL : &g_array_index(c->w.r->alike, TnAlike, move - n_values);
}

/* From what was taken last. */
static double
make_move(Chooser *c, guint move)
{
    TnAlike *alike = alike_at(c, move);
    return alike != NULL ? make_lean(c, alike) : drop(c, move);
}

/* What the move is worth at most. Of nodes made lean nothing is known before that is tried. */
static double
promise(Chooser *c, guint move)
{
    const TnAlike *alike = alike_at(c, move);
    if (alike != NULL) {
        return alike->taken || alike->leaner == NULL ? 0 : G_MAXDOUBLE;
    }
    return promise_of_drop(c, move);
}

/* Of the move that was made last and not taken. */
static void
undo_move(Chooser *c, guint move)
{
    TnAlike *alike = alike_at(c, move);
    if (alike != NULL) {
        alike->taken = FALSE;
        return;
    }
    for (guint i = 0; i < c->w.splits->len; i++) {
        c->w.r->split[g_array_index(c->w.splits, guint32, i)] = TN_NO_STEP;
    }
}

static gboolean
is_possible(const Chooser *c, guint move)
{
    const gint64 least = (gint64)(c->w.r->plan->program->arena_bytes / LEAST_PART);
    return alike_at(c, move) != NULL ||
           (c->w.maker[move] != TN_NO_VALUE && c->w.bytes[move] > least);
}

/* The move that is worth most. *next: what the next one is. */
static guint
best_move(const double *worth, guint n, double *next)
{
    guint best = 0;
    *next = 0;
    for (guint i = 1; i < n; i++) {
        const guint less = worth[i] > worth[best] ? best : i;
        *next = MAX(*next, worth[less]);
        best = less == best ? i : best;
    }
    return best;
}

/* Makes the move if it is worth nearly as much as the next one. */
static gboolean
make_if_best(Chooser *c, double *worth, guint move, double next)
{
    const double found = make_move(c, move);
    if (found > 0 && found * NEARLY >= next) {
        take_weights(c);
        *worth = 0;
        return TRUE;
    }
    undo_move(c, move);
    *worth = MIN(*worth, found);
    return FALSE;
}

/* One move after the other, that promises most first: what each does is worked out again when its turn comes,
 * since others were made meanwhile. */
static gboolean
make_moves(Chooser *c)
{
    const guint n = n_moves(c);
    g_autofree double *worth = g_new0(double, n + 1);
    g_autofree guint *promised = g_new0(guint, n + 1); /* after how many moves */
    guint made = 0;
    for (guint i = 0; i < n; i++) {
        if (is_possible(c, i)) {
            worth[i] = promise(c, i);
        }
    }
    while (c->excess > 0) {
        double next;
        const guint best = best_move(worth, n, &next);
        if (worth[best] <= 0) {
            break;
        }
        if (promised[best] < made && alike_at(c, best) == NULL) {
            promised[best] = made;
            worth[best] = MIN(worth[best], promise(c, best));
        }
        if (worth[best] * NEARLY >= next) {
            made += make_if_best(c, &worth[best], best, next);
        }
    }
    return made > 0;
}

/* Whether what is now weighed takes less and is within the limit as well as what was taken last, which it then
 * becomes. */
static gboolean
take_if_better(Chooser *c)
{
    tn_weigh(&c->w);
    const gboolean better = c->w.excess <= c->excess && c->w.cost < c->cost;
    if (better) {
        take_weights(c);
    }
    return better;
}

static gint
by_cost(gconstpointer a, gconstpointer b, gpointer data)
{
    const Chooser *c = data;
    const guint32 i = *(const guint32 *)a, k = *(const guint32 *)b;
    const double x = c->w.takes[c->w.maker[i]], y = c->w.takes[c->w.maker[k]];
    return x != y ? (x < y) - (x > y) : (i > k) - (i < k);
}

/* Undoes what the sum can do without, of values what takes most first. */
static gboolean
undo_moves(Chooser *c)
{
    guint32 *split = c->w.r->split;
    g_autoptr(GArray) dropped = g_array_new(FALSE, FALSE, sizeof(guint32));
    gboolean any = FALSE;
    for (guint32 v = 0; v < c->w.r->plan->values->len; v++) {
        if (split[v] != TN_NO_STEP) {
            g_array_append_val(dropped, v);
        }
    }
    g_array_sort_with_data(dropped, by_cost, c);
    for (guint i = 0; i < c->w.r->alike->len; i++) {
        TnAlike *alike = &g_array_index(c->w.r->alike, TnAlike, i);
        if (alike->taken) {
            alike->taken = FALSE;
            alike->taken = !take_if_better(c);
            any = any || !alike->taken;
        }
    }
    for (guint i = 0; i < dropped->len; i++) {
        const guint32 root = g_array_index(dropped, guint32, i), before = split[root];
        split[root] = TN_NO_STEP;
        if (take_if_better(c)) {
            any = TRUE;
        } else {
            split[root] = before;
        }
    }
    return any;
}

gboolean
tn_recompute_choose(TnRecompute *r, guint64 limit)
{
    const guint n_times = r->plan->steps->len + r->graph->nodes->len + 2;
    Chooser c = { .live = g_new0(gint64, n_times),
                  .time = g_new0(guint32, r->plan->steps->len + 1),
                  .until = g_new0(guint32, r->plan->values->len + 1),
                  .copied = g_new0(gboolean, r->graph->nodes->len + 1),
                  .seen = g_new0(guint32, r->graph->nodes->len + 1) };
    tn_weigh_init(&c.w, r, (gint64)limit);
    tn_weigh(&c.w);
    take_weights(&c);
    gboolean any = FALSE, more = TRUE;
    for (guint turn = 0; turn < MOST_TURNS && more; turn++) {
        const gboolean dropped = make_moves(&c);
        any = any || dropped;
        more = dropped && undo_moves(&c);
    }
    tn_weigh_clear(&c.w);
    g_free(c.live);
    g_free(c.time);
    g_free(c.until);
    g_free(c.copied);
    g_free(c.seen);
    return any;
}
