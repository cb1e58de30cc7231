/* tile_place.c: where each value lies, and what each step becomes: an operation of a level, or a
 * reduction at the end of a phase. */
#include "tile_plan.h"

/* --- Slots ------------------------------------------------------------------------------------ */

static gint
new_slot(TilePlan *p, TileSlotKind kind, guint at)
{
    TileSlot slot = { kind, at, 0 };
    g_array_append_val(p->slots, slot);
    return (gint)p->slots->len - 1;
}

/* A free register of elements of that size. */
static guint
take_register(TilePlan *p, gsize size, gboolean carried)
{
    guint i = 0;
    for (; i < p->registers->len; i++) {
        const TileRegister *r = &g_array_index(p->registers, TileRegister, i);
        if (!r->used && r->size == size && r->carried == carried) {
            break;
        }
    }
    if (i == p->registers->len) {
        TileRegister fresh = { size, carried, FALSE };
        g_array_append_val(p->registers, fresh);
    }
    g_array_index(p->registers, TileRegister, i).used = TRUE;
    return i;
}

/* What is read in a later phase than it is computed in, of a row that does not fit a tile. */
static gboolean
is_carried(const TilePlan *p, gint value)
{
    return !p->whole && p->at[value].input < 0 && p->at[value].last_phase > p->at[value].phase;
}

static gint
new_register(TilePlan *p, gint value)
{
    const gboolean carried = is_carried(p, value);
    const guint i = take_register(p, tile_type_size(VALUE(p, value)->type), carried);
    p->at[value].reg = (gint)i;
    return new_slot(p, carried ? SLOT_CARRIED : SLOT_REGISTER, i);
}

static void
free_register(TilePlan *p, gint reg)
{
    if (reg >= 0) {
        g_array_index(p->registers, TileRegister, reg).used = FALSE;
    }
}

static void
release_register(TilePlan *p, gint value)
{
    const TilePlace *at = &p->at[value];
    if (at->input < 0 || !p->program->inputs[at->input].periodic) {
        free_register(p, at->reg);
        p->at[value].reg = -1;
    }
}

/* Of a value that is not computed for each element. */
static gint
small_slot(TilePlan *p, gint value)
{
    return tile_is_vector(p, value) ? new_slot(p, SLOT_ROWS, p->n_row_values++)
                                    : new_slot(p, SLOT_SCALAR, p->n_scalars++);
}

/* Constants and inputs have their places before the first step. */
static void
place_inputs(TilePlan *p)
{
    for (gint v = 0; v < (gint)p->b->values->len; v++) {
        const TileValue *value = VALUE(p, v);
        TilePlace *at = &p->at[v];
        if (at->last_use < 0) {
            continue;
        }
        if (value->constant >= 0) {
            at->slot = new_slot(p, SLOT_CONSTANT, (guint)value->constant);
        } else if (at->input >= 0) {
            TileInput *input = &p->program->inputs[at->input];
            at->slot = input->level != LEVEL_TILE ? small_slot(p, v)
                       : input->direct            ? new_slot(p, SLOT_INPUT, (guint)at->input)
                                                  : new_register(p, v);
            input->slot = (guint16)at->slot;
        }
    }
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* Whether the step at that place of the order may write output k's memory while inputs are still read: not
 * if a later step reads an input of the same dtype where it is, for that may be the same memory. */
static gboolean
may_write(const TilePlan *p, guint place, TnDtype dtype)
{
    for (guint i = place + 1; i < p->order->len; i++) {
        const TileStep *step = STEP(p, g_array_index(p->order, gint, i));
        for (gint k = 0; k < step->arity; k++) {
            const gint in = p->at[step->in[k]].input;
            if (in >= 0 && p->program->inputs[in].direct && VALUE(p, step->in[k])->dtype == dtype) {
                return FALSE;
            }
        }
    }
    return TRUE;
}

/* The output that a step may write where it lies, or -1. */
static gint
direct_output(const TilePlan *p, guint place, const TileStep *step)
{
    const TnDtype dtype = VALUE(p, step->out)->dtype;
    if (p->at[step->out].phase != (gint)p->program->last_phase) {
        return -1;
    }
    for (gint k = 0; k < p->b->node->n_out; k++) {
        if (p->b->outputs[k] == step->out && tile_is_native(dtype) && may_write(p, place, dtype)) {
            return k;
        }
    }
    return -1;
}

/* An operation of tiles that writes one slot's value to each element of a register, which is freed by the
 * caller. */
static gint
spread(TilePlan *p, gint value, gint *reg)
{
    const TileType type = VALUE(p, value)->type;
    const gboolean vector = tile_is_vector(p, value);
    *reg = (gint)take_register(p, tile_type_size(type), FALSE);
    TileOp op = { .fn = vector ? tile_spread(tile_type_size(type)) : tile_copy(type)[cpu_isa],
                  .out = (guint16)new_slot(p, SLOT_REGISTER, (guint)*reg),
                  .in = { (guint16)p->at[value].slot },
                  .arity = 1,
                  .scalar = !vector,
                  .row = (guint32)p->program->row };
    g_array_append_val(p->ops[LEVEL_TILE], op);
    return op.out;
}

/* `where` cannot take a condition that is one element: of a row it is copied for each. */
static gint
repeat(TilePlan *p, gint value)
{
    TileOp op = { .fn = tile_copy(VALUE(p, value)->type)[cpu_isa],
                  .out = (guint16)new_slot(p, SLOT_ROWS, p->n_row_values++),
                  .in = { (guint16)p->at[value].slot },
                  .arity = 1,
                  .scalar = 1 };
    g_array_append_val(p->ops[LEVEL_ROW], op);
    return op.out;
}

/* The operands' slots; those that may not be one element, or are one a row, are spread first, into
 * registers that are put into spread[]. */
static void
bind_operands(TilePlan *p, const TileStep *step, TileOp *op, gint *spreads)
{
    const TileLevel level = p->at[step->out].level;
    for (gint k = 0; k < step->arity; k++) {
        const gint v = step->in[k];
        const gboolean condition = step->arity == 3 && k == 0;
        spreads[k] = -1;
        op->in[k] = (guint16)p->at[v].slot;
        if (p->at[v].level >= level) {
            continue;
        }
        if (level == LEVEL_TILE && (condition || tile_is_vector(p, v))) {
            op->in[k] = (guint16)spread(p, v, &spreads[k]);
        } else if (condition && tile_is_vector(p, step->out)) {
            op->in[k] = (guint16)repeat(p, v);
        } else {
            op->scalar |= (guint8)(1 << k);
        }
    }
}

static void
release_operands(TilePlan *p, gint place, const TileStep *step, gboolean same_size)
{
    for (gint k = 0; k < step->arity; k++) {
        const gboolean same = tile_type_size(VALUE(p, step->in[k])->type) ==
                              tile_type_size(VALUE(p, step->out)->type);
        if (p->at[step->in[k]].last_use == place && (same || !same_size)) {
            release_register(p, step->in[k]);
        }
    }
}

static void
place_step(TilePlan *p, gint place, const TileStep *step)
{
    TileOp op = {
        .fn = step->fn, .arity = (guint8)step->arity, .dtype = step->dtype, .from = step->from
    };
    TilePlace *at = &p->at[step->out];
    gint spreads[TILE_MAX_ARITY];
    bind_operands(p, step, &op, spreads);
    release_operands(p, place, step, TRUE); /* the result may take the place of one */
    const gint out = at->level == LEVEL_TILE ? direct_output(p, (guint)place, step) : -1;
    at->slot = at->level < LEVEL_TILE ? small_slot(p, step->out)
               : out >= 0             ? new_slot(p, SLOT_OUTPUT, (guint)out)
                                      : new_register(p, step->out);
    op.out = (guint16)at->slot;
    g_array_append_val(p->ops[at->level], op);
    release_operands(p, place, step, FALSE);
    for (gint k = 0; k < step->arity; k++) {
        free_register(p, spreads[k]);
    }
}

/* --- Reductions ------------------------------------------------------------------------------- */

static gboolean
place_fold(TilePlan *p, const TileStep *step, GError **error)
{
    const TileReduction *from = FOLD(p, step->fold);
    const TileValue *value = VALUE(p, step->in[0]);
    TilePlace *at = &p->at[step->out];
    TileFold fold = { .reach = p->reach[step->fold],
                      .kind = from->kind,
                      .type = value->type,
                      .dtype = step->dtype,
                      .run = fold_run(from->kind, value->type),
                      .columns = fold_columns(from->kind, value->type),
                      .output = -1 };
    gint reg; /* kept: reductions come last */
    fold.in = (guint16)(p->at[step->in[0]].level < LEVEL_TILE ? spread(p, step->in[0], &reg)
                                                              : p->at[step->in[0]].slot);
    if (fold.reach == REACH_ROW) {
        at->slot = small_slot(p, step->out);
        fold.out = (guint16)at->slot;
    }
    for (gint k = 0; fold.reach != REACH_ROW && k < p->b->node->n_out; k++) {
        if (p->b->outputs[k] == step->out && fold.output >= 0) {
            return tile_plan_fail(error, "two outputs are one reduction");
        }
        fold.output = p->b->outputs[k] == step->out ? k : fold.output;
    }
    if (p->folds->len >= TILE_MAX_FOLDS) {
        return tile_plan_fail(error, "too many reductions");
    }
    g_array_append_val(p->folds, fold);
    return TRUE;
}

/* --- Outputs ---------------------------------------------------------------------------------- */

static void
place_output(TilePlan *p, gint k)
{
    const TnNode *node = p->b->node;
    const gint v = p->b->outputs[k];
    const TilePlace *at = &p->at[v];
    const TileSlot *slot = &g_array_index(p->slots, TileSlot, at->slot);
    TileOutput *output = &p->program->outputs[p->program->n_outputs++];
    output->out = k;
    output->size = tn_dtype_size(node->out[k].type.dtype);
    output->direct = slot->kind == SLOT_OUTPUT && slot->at == (guint)k;
    output->slot = (guint16)(output->direct ? at->slot : new_slot(p, SLOT_OUTPUT, (guint)k));
    if (!output->direct) {
        gint reg;
        TileOp store = { .out = output->slot,
                         .in = { (guint16)at->slot },
                         .arity = 1,
                         .scalar = at->level < LEVEL_TILE,
                         .dtype = node->out[k].type.dtype };
        if (tile_is_vector(p, v)) {
            store.in[0] = (guint16)spread(p, v, &reg); /* kept: stores come last */
            store.scalar = 0;
        }
        store.fn = tile_copy(tile_type_of(store.dtype))[cpu_isa];
        g_array_append_val(p->stores, store);
    }
}

static void
place_outputs(TilePlan *p, TileOutputKind kind)
{
    const TnNode *node = p->b->node;
    for (gint k = 0; k < node->n_out; k++) {
        const gint v = p->b->outputs[k];
        if (tile_output_kind(p, k) != kind) {
            continue;
        }
        if (kind == OUTPUT_FULL) {
            place_output(p, k);
            continue;
        }
        const TnDtype dtype = node->out[k].type.dtype;
        TileOp store = { .fn = tile_copy(tile_type_of(dtype))[cpu_isa],
                         .out = (guint16)k,
                         .in = { (guint16)p->at[v].slot },
                         .arity = 1,
                         .scalar = p->at[v].level == LEVEL_ONCE,
                         .dtype = dtype };
        g_array_append_val(p->row_stores, store);
    }
}

static void
end_phase(TilePlan *p)
{
    TilePhase end = { { 0 }, p->folds->len };
    for (gint l = 0; l < N_LEVELS; l++) {
        end.ops[l] = p->ops[l]->len;
    }
    g_array_append_val(p->phases, end);
}

gboolean
tile_plan_places(TilePlan *p, GError **error)
{
    guint i = 0, ended = 0;
    p->program->outputs = g_new0(TileOutput, p->b->node->n_out + 1);
    place_inputs(p);
    for (gint phase = 0; phase < (gint)p->program->n_phases; phase++) {
        for (; i < p->order->len; i++) {
            const gint s = g_array_index(p->order, gint, i);
            const TileStep *step = STEP(p, s);
            const gboolean ends = tile_is_fold(p, s) && p->reach[step->fold] == REACH_ROW;
            if (p->at[step->out].phase - ends != phase) {
                break;
            }
            if (!tile_is_fold(p, s)) {
                place_step(p, (gint)i, step);
            } else if (!place_fold(p, step, error)) {
                return FALSE;
            }
        }
        if (phase == (gint)p->program->last_phase) {
            place_outputs(p, OUTPUT_FULL);
        }
        end_phase(p);
        /* What is reduced at the end of a phase is needed until then. */
        for (; ended < i; ended++) {
            const gint s = g_array_index(p->order, gint, ended);
            if (tile_is_fold(p, s)) {
                release_operands(p, (gint)ended, STEP(p, s), FALSE);
            }
        }
    }
    place_outputs(p, OUTPUT_ROWS);
    return TRUE;
}
