/* arena.c: where values lie. Each gets a slot for the positions between which it is alive; a
 * result may take over the slot of an input that dies with it; slots are laid out one after the
 * other, each into the smallest gap that holds it, in the best of several orders. */
#include "plan-private.h"

static guint32
add_slot(TnPlan *plan, guint space, gsize bytes, guint32 first, guint32 last)
{
    const TnSlot slot = { .space = space, .bytes = tn_align(bytes), .first = first, .last = last };
    g_array_append_val(plan->slots, slot);
    return plan->slots->len - 1;
}

static TnSlot *
slot_at(const TnPlan *plan, guint32 slot)
{
    return &g_array_index(plan->slots, TnSlot, slot);
}

/* Position of the last reader of each root; its producer's if there is none. What was computed once
 * stays for all that does not. */
static guint32 *
last_readers(const TnPlan *plan)
{
    guint32 *last = g_new0(guint32, plan->values->len + 1);
    for (guint p = 0; p < plan->steps->len; p++) {
        const TnStep *step = tn_plan_step(plan, plan->order[p]);
        for (guint i = 0; i < step->n_out; i++) {
            last[step->out + i] = MAX(last[step->out + i], p);
        }
        for (guint i = 0; i < step->n_in; i++) {
            if (step->in[i] != TN_NO_VALUE) {
                const guint32 root = tn_plan_value(plan, step->in[i])->root;
                const guint32 producer = tn_plan_value(plan, root)->producer;
                const gboolean stays =
                    !step->once && producer != TN_NO_STEP && tn_plan_step(plan, producer)->once;
                last[root] = MAX(last[root], stays ? plan->steps->len : p);
            }
        }
    }
    for (guint32 v = 0; v < plan->values->len; v++) {
        if (tn_plan_value(plan, v)->is_output) {
            last[v] = plan->steps->len;
        }
    }
    return last;
}

/* The slot of an input that output `out` of step may take over, or TN_NO_VALUE. */
static guint32
slot_to_take(const TnPlan *plan, const TnStep *step, guint out, const guint32 *last)
{
    for (guint i = 0; i < step->n_in; i++) {
        if (!tn_plan_may_overwrite(plan, step, out, i)) {
            continue;
        }
        const guint32 root_number = tn_plan_value(plan, step->in[i])->root;
        const TnPlanValue *root = tn_plan_value(plan, root_number);
        if (root->place.kind != TN_PLACE_ARENA || last[root_number] != step->position ||
            root->slot == TN_NO_VALUE ||
            tn_plan_space(plan, root->device) != tn_plan_space(plan, step->device)) {
            continue;
        }
        gboolean taken = FALSE;
        for (guint k = 0; k < out; k++) {
            taken |= tn_plan_value(plan, step->out + k)->slot == root->slot;
        }
        if (!taken) {
            return root->slot;
        }
    }
    return TN_NO_VALUE;
}

static void
make_slots(TnPlan *plan)
{
    const gboolean in_place = !tn_pass_skipped(plan->c->options, "in-place");
    g_autofree guint32 *last = last_readers(plan);
    for (guint p = 0; p < plan->steps->len; p++) {
        TnStep *step = tn_plan_step(plan, plan->order[p]);
        const guint space = tn_plan_space(plan, step->device);
        for (guint i = 0; i < step->n_out; i++) {
            TnPlanValue *value = tn_plan_value(plan, step->out + i);
            if (value->place.kind != TN_PLACE_ARENA) {
                continue;
            }
            value->slot = in_place ? slot_to_take(plan, step, i, last) : TN_NO_VALUE;
            if (value->slot == TN_NO_VALUE) {
                value->slot = add_slot(plan, space, (gsize)tn_type_bytes(&value->type), p,
                                       last[step->out + i]);
            } else {
                slot_at(plan, value->slot)->last = last[step->out + i];
            }
        }
        if (step->prepared.scratch > 0) {
            step->scratch_slot = add_slot(plan, space, step->prepared.scratch, p, p);
        }
    }
    /* Values without elements that no step makes still need a place to point to. */
    for (guint32 v = 0; v < plan->values->len; v++) {
        TnPlanValue *value = tn_plan_value(plan, v);
        if (value->root == v && value->place.kind == TN_PLACE_ARENA && value->slot == TN_NO_VALUE) {
            value->slot = add_slot(plan, tn_plan_space(plan, value->device), 0, 0, 0);
        }
    }
}

/* --- Offsets ---------------------------------------------------------------------------------- */

/* The order in which slots are laid decides how many gaps stay empty; which is best differs from program
 * to program: Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference (2020). A slot
 * with the larger key comes earlier. */
static guint64
life(const TnSlot *slot)
{
    return (guint64)slot->last - slot->first + 1;
}

static guint64
largest(const TnSlot *slot)
{
    return slot->bytes;
}

static guint64
earliest(const TnSlot *slot)
{
    return G_MAXUINT32 - slot->first;
}

static guint64
latest(const TnSlot *slot)
{
    return slot->last;
}

static guint64 (*const keys[])(const TnSlot *slot) = { largest, life, earliest, latest };

typedef struct {
    const TnPlan *plan;
    guint64 (*key)(const TnSlot *slot);
    guint32 *order; /* slots, the first laid first */
    GArray *placed; /* guint32: slots by offset */
    gsize *best;    /* offsets of the best order so far */
    guint64 best_sum, bound;
    guint32 *top; /* of each space: the slot that reaches highest; TN_NO_VALUE */
} Layout;

static gint
by_key(gconstpointer a, gconstpointer b, gpointer data)
{
    const Layout *l = data;
    const guint32 i = *(const guint32 *)a, k = *(const guint32 *)b;
    const guint64 x = l->key(slot_at(l->plan, i)), y = l->key(slot_at(l->plan, k));
    if (x != y) {
        return x < y ? 1 : -1;
    }
    return (i > k) - (i < k);
}

static gboolean
alive_together(const TnSlot *a, const TnSlot *b)
{
    return a->space == b->space && a->first <= b->last && b->first <= a->last;
}

/* Puts slot into the smallest gap between those of `placed` (sorted by offset) that are alive
 * with it. */
static void
place_slot(TnSlot *slot, const GArray *slots, const GArray *placed)
{
    gsize end = 0, best_gap = G_MAXSIZE, best = G_MAXSIZE;
    for (guint i = 0; i < placed->len; i++) {
        const TnSlot *other = &g_array_index(slots, TnSlot, g_array_index(placed, guint32, i));
        if (!alive_together(slot, other)) {
            continue;
        }
        if (other->offset > end && other->offset - end >= slot->bytes &&
            other->offset - end < best_gap) {
            best_gap = other->offset - end;
            best = end;
        }
        end = MAX(end, other->offset + other->bytes);
    }
    slot->offset = best != G_MAXSIZE ? best : end;
}

static void
insert_sorted(GArray *placed, const GArray *slots, guint32 number)
{
    const gsize offset = g_array_index(slots, TnSlot, number).offset;
    guint lo = 0, hi = placed->len;
    while (lo < hi) {
        const guint mid = (lo + hi) / 2;
        if (g_array_index(slots, TnSlot, g_array_index(placed, guint32, mid)).offset < offset) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    g_array_insert_val(placed, lo, number);
}

/* Lays the slots in order; keeps the offsets if they are the best so far. */
static void
lay_in_order(Layout *l)
{
    GArray *slots = l->plan->slots;
    const guint n_spaces = l->plan->program->n_spaces;
    guint64 sum = 0;
    g_array_set_size(l->placed, 0);
    for (guint32 i = 0; i < slots->len; i++) {
        place_slot(slot_at(l->plan, l->order[i]), slots, l->placed);
        insert_sorted(l->placed, slots, l->order[i]);
    }
    for (guint space = 0; space < n_spaces; space++) {
        gsize height = 0;
        l->top[space] = TN_NO_VALUE;
        for (guint32 i = 0; i < slots->len; i++) {
            const TnSlot *slot = slot_at(l->plan, i);
            if (slot->space == space && slot->offset + slot->bytes > height) {
                height = slot->offset + slot->bytes;
                l->top[space] = i;
            }
        }
        sum += height;
    }
    if (sum < l->best_sum) {
        l->best_sum = sum;
        for (guint i = 0; i < slots->len; i++) {
            l->best[i] = slot_at(l->plan, i)->offset;
        }
    }
}

/* Lays what reached highest earlier than before, half the way to the first place. */
static void
move_up(Layout *l, guint32 top)
{
    guint at = 0;
    while (l->order[at] != top) {
        at++;
    }
    memmove(l->order + at / 2 + 1, l->order + at / 2, (at - at / 2) * sizeof *l->order);
    l->order[at / 2] = top;
}

/* Laying takes time with the square of the number of slots: about this many looks at a slot from each
 * order on, and never fewer rounds than a few. */
#define MOST_LOOKS 20000000
#define LEAST_ROUNDS 8
#define MOST_ROUNDS 100

static gboolean
good_enough(const Layout *l)
{
    return l->best_sum <= l->bound + l->bound / 256;
}

static void
improve(Layout *l)
{
    const guint64 n = MAX(l->plan->slots->len, 1);
    const guint64 rounds = CLAMP(MOST_LOOKS / (n * n), LEAST_ROUNDS, MOST_ROUNDS);
    for (guint64 i = 0; i < rounds && !good_enough(l); i++) {
        for (guint space = 0; space < l->plan->program->n_spaces; space++) {
            if (l->top[space] != TN_NO_VALUE) {
                move_up(l, l->top[space]);
            }
        }
        lay_in_order(l);
    }
}

/* bound: no layout takes less. */
static void
lay_out(TnPlan *plan, guint64 bound)
{
    const guint n = plan->slots->len;
    Layout l = { .plan = plan,
                 .order = g_new(guint32, n + 1),
                 .placed = g_array_new(FALSE, FALSE, sizeof(guint32)),
                 .best = g_new0(gsize, n + 1),
                 .best_sum = G_MAXUINT64,
                 .bound = bound,
                 .top = g_new(guint32, plan->program->n_spaces + 1) };
    for (guint32 i = 0; i < n; i++) {
        l.order[i] = i;
    }
    for (gsize k = 0; k < G_N_ELEMENTS(keys) && !good_enough(&l); k++) {
        l.key = keys[k];
        g_qsort_with_data(l.order, (gint)n, sizeof *l.order, by_key, &l);
        lay_in_order(&l);
        improve(&l);
    }
    for (guint i = 0; i < n; i++) {
        slot_at(plan, i)->offset = l.best[i];
    }
    g_free(l.order);
    g_array_unref(l.placed);
    g_free(l.best);
    g_free(l.top);
}

/* Whether no sum of sizes goes beyond what can be addressed, even with every slot beside the
 * others. */
static gboolean
can_address(const TnPlan *plan)
{
    gsize sum = 0;
    for (guint i = 0; i < plan->slots->len; i++) {
        if (__builtin_add_overflow(sum, slot_at(plan, i)->bytes, &sum) || sum > G_MAXSSIZE) {
            return FALSE;
        }
    }
    return TRUE;
}

/* --- What is told about it -------------------------------------------------------------------- */

/* The largest set alive at once. */
static guint64
live_at_most(const TnPlan *plan)
{
    const guint n = plan->steps->len + 1;
    g_autofree gint64 *change = g_new0(gint64, n + 1);
    gint64 live = 0, most = 0;
    for (guint i = 0; i < plan->slots->len; i++) {
        const TnSlot *slot = slot_at(plan, i);
        change[slot->first] += (gint64)slot->bytes;
        change[slot->last + 1 <= n ? slot->last + 1 : n] -= (gint64)slot->bytes;
    }
    for (guint i = 0; i <= n; i++) {
        live += change[i];
        most = MAX(most, live);
    }
    return (guint64)most;
}

static void
tell(TnPlan *plan)
{
    TnProgram *program = plan->program;
    program->n_slots = plan->slots->len;
    program->slots = g_new(TnProgramSlot, program->n_slots + 1);
    for (guint i = 0; i < plan->slots->len; i++) {
        const TnSlot *slot = slot_at(plan, i);
        TnProgramSpace *space = &program->spaces[slot->space];
        space->bytes = MAX(space->bytes, slot->offset + slot->bytes);
        program->slots[i] =
            (TnProgramSlot){ slot->space, slot->offset, slot->bytes, slot->first, slot->last };
    }
    for (guint i = 0; i < program->n_spaces; i++) {
        program->arena_bytes += program->spaces[i].bytes;
    }
}

/* Without reuse everything is alive all the time. */
static void
keep_all(TnPlan *plan)
{
    for (guint i = 0; i < plan->slots->len; i++) {
        slot_at(plan, i)->first = 0;
        slot_at(plan, i)->last = plan->steps->len;
    }
}

gboolean
tn_plan_arena(TnPlan *plan, GError **error)
{
    make_slots(plan);
    if (!can_address(plan)) {
        g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY,
                    "its values together are larger than memory can be");
        return FALSE;
    }
    if (tn_pass_skipped(plan->c->options, "reuse")) {
        keep_all(plan);
    }
    plan->program->live_bytes = live_at_most(plan);
    lay_out(plan, plan->program->live_bytes);
    tell(plan);
    for (guint32 v = 0; v < plan->values->len; v++) {
        TnPlanValue *value = tn_plan_value(plan, v);
        if (value->root == v && value->place.kind == TN_PLACE_ARENA) {
            const TnSlot *slot = slot_at(plan, value->slot);
            value->place = (TnPlace){ TN_PLACE_ARENA, slot->space, slot->offset };
        }
    }
    return TRUE;
}
