/* tile_order.c: in which phase each step runs. What hangs on a reduction over a row comes in a later phase
 * than that; everything else as late as its readers let it, so that little is kept from phase to phase. */
#include "tile_plan.h"

/* The phase before which no step can run, and that of each reduction. */
static gboolean
early(TilePlan *p, GError **error)
{
    gint last = 0;
    for (guint s = 0; s < p->b->steps->len; s++) {
        const TileStep *step = STEP(p, s);
        TilePlace *out = &p->at[step->out];
        for (gint k = 0; p->live[s] && k < step->arity; k++) {
            out->phase = MAX(out->phase, p->at[step->in[k]].phase);
        }
        if (p->live[s] && step->fold >= 0 && p->reach[step->fold] == REACH_ROW) {
            out->phase++; /* known then */
        }
        last = MAX(last, out->phase);
    }
    p->program->n_phases = (guint)last + 1;
    return last < TILE_MAX_PHASES || tile_plan_fail(error, "too many reductions after another");
}

/* The phase in which a step runs, once its result's is known. */
static gint
phase_of(const TilePlan *p, guint s)
{
    const gint fold = STEP(p, s)->fold;
    return p->at[STEP(p, s)->out].phase - (fold >= 0 && p->reach[fold] == REACH_ROW);
}

/* The last phase in which something is done for each element: outputs are written there, since that is
 * where inputs, whose memory they may have, are read for the last time. */
static void
find_last(TilePlan *p)
{
    gint last = 0;
    for (guint s = 0; s < p->b->steps->len; s++) {
        if (p->live[s] && (STEP(p, s)->fold >= 0 || p->at[STEP(p, s)->out].level == LEVEL_TILE)) {
            last = MAX(last, phase_of(p, s));
        }
    }
    for (gint k = 0; k < p->b->node->n_out; k++) {
        if (tile_output_kind(p, k) == OUTPUT_FULL) {
            last = MAX(last, p->at[p->b->outputs[k]].phase);
        }
    }
    p->program->last_phase = (guint)last;
}

static void
read_in(TilePlan *p, gint value, gint phase)
{
    p->at[value].last_phase = MAX(p->at[value].last_phase, phase);
}

/* From the end: a step that is no reduction runs in the first phase in which it is read. */
static void
late(TilePlan *p)
{
    const gint never = G_MAXINT;
    g_autofree gint *first = g_new(gint, p->b->values->len + 1);
    for (guint v = 0; v < p->b->values->len; v++) {
        first[v] = never;
    }
    for (gint k = 0; k < p->b->node->n_out; k++) {
        const gint v = p->b->outputs[k];
        if (tile_output_kind(p, k) == OUTPUT_FULL) {
            first[v] = MIN(first[v], (gint)p->program->last_phase);
            read_in(p, v, (gint)p->program->last_phase);
        }
    }
    for (gint s = (gint)p->b->steps->len - 1; s >= 0; s--) {
        const TileStep *step = STEP(p, s);
        TilePlace *out = &p->at[step->out];
        if (!p->live[s]) {
            continue;
        }
        if (step->fold < 0 && out->level == LEVEL_TILE && first[step->out] != never) {
            out->phase = first[step->out];
        }
        const gint phase = phase_of(p, (guint)s);
        for (gint k = 0; k < step->arity; k++) {
            first[step->in[k]] = MIN(first[step->in[k]], phase);
            read_in(p, step->in[k], phase);
        }
    }
}

/* Of a phase what is done for a row comes first, reductions last. */
static void
sort(TilePlan *p)
{
    for (gint phase = 0; phase < (gint)p->program->n_phases; phase++) {
        for (guint kind = 0; kind < 3; kind++) {
            for (gint s = 0; s < (gint)p->b->steps->len; s++) {
                const guint is =
                    tile_is_fold(p, s) ? 2 : p->at[STEP(p, s)->out].level == LEVEL_TILE;
                if (p->live[s] && is == kind && phase_of(p, (guint)s) == phase) {
                    g_array_append_val(p->order, s);
                }
            }
        }
    }
}

/* From here on uses count by places in the order; outputs are read after it. */
static void
find_uses(TilePlan *p)
{
    for (guint v = 0; v < p->b->values->len; v++) {
        p->at[v].last_use = p->at[v].is_output ? G_MAXINT : -1;
    }
    for (gint i = 0; i < (gint)p->order->len; i++) {
        const TileStep *step = STEP(p, g_array_index(p->order, gint, i));
        for (gint k = 0; k < step->arity; k++) {
            p->at[step->in[k]].last_use = MAX(p->at[step->in[k]].last_use, i);
        }
    }
}

/* A row that fits a tile is loaded once, a longer one in each phase that reads it. */
static void
find_loads(TilePlan *p)
{
    for (guint s = 0; s < p->b->steps->len; s++) {
        for (gint k = 0; p->live[s] && k < STEP(p, s)->arity; k++) {
            const gint in = p->at[STEP(p, s)->in[k]].input;
            if (in >= 0) {
                p->program->inputs[in].phases |= p->whole ? 1 : 1u << phase_of(p, s);
            }
        }
    }
    for (gint k = 0; k < p->b->node->n_out; k++) {
        const gint in = p->at[p->b->outputs[k]].input;
        if (in >= 0) {
            p->program->inputs[in].phases |= p->whole ? 1 : 1u << p->program->last_phase;
        }
    }
}

gboolean
tile_plan_order(TilePlan *p, GError **error)
{
    if (!early(p, error)) {
        return FALSE;
    }
    find_last(p);
    late(p);
    sort(p);
    find_uses(p);
    find_loads(p);
    return TRUE;
}
