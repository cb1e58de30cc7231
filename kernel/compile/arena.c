/* arena.c: where values lie. Each gets a slot for the positions between which it is alive; a
 * result may take over the slot of an input that dies with it; slots are laid out largest first,
 * each into the smallest gap that holds it. */
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

static gint
larger_first(gconstpointer a, gconstpointer b, gpointer data)
{
    const GArray *slots = data;
    const TnSlot *x = &g_array_index(slots, TnSlot, *(const guint32 *)a);
    const TnSlot *y = &g_array_index(slots, TnSlot, *(const guint32 *)b);
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? 1 : -1;
    }
    return (*(const guint32 *)a > *(const guint32 *)b) -
           (*(const guint32 *)a < *(const guint32 *)b);
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

static void
lay_out(TnPlan *plan)
{
    const guint n = plan->slots->len;
    const gboolean reuse = !tn_pass_skipped(plan->c->options, "reuse");
    g_autofree guint32 *by_size = g_new(guint32, n + 1);
    g_autoptr(GArray) placed = g_array_new(FALSE, FALSE, sizeof(guint32));
    for (guint32 i = 0; i < n; i++) {
        by_size[i] = i;
        if (!reuse) {
            slot_at(plan, i)->first = 0;
            slot_at(plan, i)->last = plan->steps->len;
        }
    }
    g_qsort_with_data(by_size, (gint)n, sizeof *by_size, larger_first, plan->slots);
    for (guint32 i = 0; i < n; i++) {
        place_slot(slot_at(plan, by_size[i]), plan->slots, placed);
        insert_sorted(placed, plan->slots, by_size[i]);
    }
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

static void
measure(TnPlan *plan)
{
    TnProgram *program = plan->program;
    const guint n = plan->steps->len + 1;
    g_autofree gint64 *change = g_new0(gint64, n + 1);
    program->n_slots = plan->slots->len;
    program->slots = g_new(TnProgramSlot, program->n_slots + 1);
    for (guint i = 0; i < plan->slots->len; i++) {
        const TnSlot *slot = slot_at(plan, i);
        TnProgramSpace *space = &program->spaces[slot->space];
        space->bytes = MAX(space->bytes, slot->offset + slot->bytes);
        program->slots[i] =
            (TnProgramSlot){ slot->space, slot->offset, slot->bytes, slot->first, slot->last };
        change[slot->first] += (gint64)slot->bytes;
        change[slot->last + 1 <= n ? slot->last + 1 : n] -= (gint64)slot->bytes;
    }
    gint64 live = 0;
    for (guint i = 0; i <= n; i++) {
        live += change[i];
        program->live_bytes = MAX(program->live_bytes, (guint64)live);
    }
    for (guint i = 0; i < program->n_spaces; i++) {
        program->arena_bytes += program->spaces[i].bytes;
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
    lay_out(plan);
    measure(plan);
    for (guint32 v = 0; v < plan->values->len; v++) {
        TnPlanValue *value = tn_plan_value(plan, v);
        if (value->root == v && value->place.kind == TN_PLACE_ARENA) {
            const TnSlot *slot = slot_at(plan, value->slot);
            value->place = (TnPlace){ TN_PLACE_ARENA, slot->space, slot->offset };
        }
    }
    return TRUE;
}
