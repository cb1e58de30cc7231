/* tile_axes.c: over which shape a program runs, which of its axes make a row, and what is computed how
 * often. */
#include "tile_plan.h"

static gboolean
same_sizes(const TnType *a, const TnType *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (gsize)a->rank * sizeof a->dims[0]) == 0;
}

static gboolean
broadcasts(const TnType *from, const TnType *to)
{
    for (gint i = 0; i < from->rank; i++) {
        gint k = i + to->rank - from->rank;
        if (from->dims[i] != 1 && (k < 0 || from->dims[i] != to->dims[k])) {
            return FALSE;
        }
    }
    return from->rank <= to->rank;
}

/* --- Reductions ------------------------------------------------------------------------------- */

/* Elements that are reduced, and those kept, if one lies behind the other; else FALSE. Axes of size 1 are
 * neither. */
static gboolean
split(const TileReduction *fold, gboolean *inner, gint64 *reduced, gint64 *kept)
{
    gint changes = 0, before = -1;
    *reduced = *kept = 1;
    for (gint i = 0; i < fold->in.rank; i++) {
        const gint is_reduced = fold->mask >> i & 1;
        const gint64 size = fold->in.dims[i];
        if (size == 1) {
            continue;
        }
        *(is_reduced ? reduced : kept) *= size;
        changes += before >= 0 && before != is_reduced;
        before = is_reduced;
    }
    *inner = before == 1;
    return changes <= 1 && before >= 0 && *reduced > 1;
}

/* A reduction of everything that is small is over the only row, so that more can be made of it. */
static gboolean
is_only_row(const TilePlan *p, const TileReduction *fold)
{
    return p->only_row && tn_type_count(&fold->in) <= CPU_GRAIN;
}

/* The elements of a row as the reductions want it; 0: they do not say. */
static gboolean
find_row(TilePlan *p, gint64 *row, GError **error)
{
    *row = 0;
    for (guint pass = 0; pass < 2; pass++) { /* those of everything last: others may have a row */
        for (guint s = 0; s < p->b->steps->len; s++) {
            gboolean inner;
            gint64 reduced, kept;
            const gint number = STEP(p, s)->fold;
            if (number < 0 || !p->live[s]) {
                continue;
            }
            const TileReduction *fold = FOLD(p, number);
            if (!split(fold, &inner, &reduced, &kept)) {
                return tile_plan_fail(error, "a reduction over axes that are no row");
            }
            if ((kept == 1) != (pass == 1)) {
                continue;
            }
            const gboolean only =
                kept == 1 && is_only_row(p, fold) && (*row == 0 || *row == reduced);
            const gint64 wanted = kept > 1 ? (inner ? reduced : kept) : only ? reduced : *row;
            if (*row != 0 && wanted != *row) {
                return tile_plan_fail(error, "reductions of different rows");
            }
            *row = wanted;
            p->reach[number] = kept == 1 && !only ? REACH_ALL : inner ? REACH_ROW : REACH_COLUMNS;
            p->program->by_rows |= p->reach[number] == REACH_ROW;
        }
    }
    return TRUE;
}

/* Whether reduce.c would give the same bits, and be no faster. */
static gboolean
check_fold(TilePlan *p, const TileStep *step, GError **error)
{
    const TileReduction *fold = FOLD(p, step->fold);
    const TileReach reach = p->reach[step->fold];
    const TileProgram *program = p->program;
    const gint64 rows = program->count / program->row;
    const gboolean invariant = p->b->node->batch_invariant;
    const TileValue *value = VALUE(p, step->in[0]);
    if (value->constant >= 0) {
        return tile_plan_fail(error, "a reduction of a number");
    }
    if (value->input >= 0) {
        const TileSource *source = SOURCE(p, value->input);
        if (source->arg.type.dtype == value->dtype &&
            (!cpu_contiguous(&source->arg) || !same_sizes(&source->arg.type, &p->shape))) {
            return tile_plan_fail(error, "a reduction of a view");
        }
    }
    if (reach == REACH_ROW &&
        (fold_slices(fold_sliced(rows, rows, program->row, invariant), program->row, 1).n > 1 ||
         (rows < 4 && program->count > CPU_GRAIN))) {
        return tile_plan_fail(error, "few long rows");
    }
    if (reach == REACH_COLUMNS &&
        (program->row < 8 || (!fold_columns(fold->kind, value->type)) ||
         (!tile_is_native(value->dtype) && !fold_columns_of(fold->kind, value->dtype)))) {
        return tile_plan_fail(error, "columns that are summed otherwise");
    }
    return TRUE;
}

/* --- Inputs and outputs ----------------------------------------------------------------------- */

TileOutputKind
tile_output_kind(const TilePlan *p, gint k)
{
    const TileValue *value = VALUE(p, p->b->outputs[k]);
    const gint fold = value->step >= 0 ? STEP(p, value->step)->fold : -1;
    if (fold >= 0 && p->reach[fold] != REACH_ROW) {
        return OUTPUT_END;
    }
    return same_sizes(&p->b->node->out[k].type, &p->shape) ? OUTPUT_FULL : OUTPUT_ROWS;
}

static gboolean
check_outputs(const TilePlan *p, gint64 row, GError **error)
{
    const TnNode *node = p->b->node;
    for (gint k = 0; k < node->n_out; k++) {
        const TnType *type = &node->out[k].type;
        if (tile_output_kind(p, k) == OUTPUT_ROWS &&
            (!p->program->by_rows || node->out[k].count != tn_type_count(&p->shape) / MAX(1, row) ||
             (!VALUE(p, p->b->outputs[k])->apart && !broadcasts(type, &p->shape)))) {
            return tile_plan_fail(error, "outputs of different shapes");
        }
    }
    return TRUE;
}

static gboolean
choose_shape(TilePlan *p, gint64 *row, GError **error)
{
    gboolean found = FALSE;
    p->shape = p->b->node->out[0].type;
    for (guint s = 0; s < p->b->steps->len; s++) {
        const TileStep *step = STEP(p, s);
        for (gint k = 0; p->live[s] && k < step->arity; k++) {
            if (VALUE(p, step->in[k])->apart) {
                return tile_plan_fail(error, "a reduced value without its axes is read");
            }
        }
        if (p->live[s] && step->fold >= 0) {
            const TnType *in = &FOLD(p, step->fold)->in;
            if ((found && !same_sizes(in, &p->shape)) || tn_type_count(in) == 0) {
                return tile_plan_fail(error, "reductions of different shapes, or of nothing");
            }
            p->shape = *in;
            found = TRUE;
        }
    }
    return find_row(p, row, error) && check_outputs(p, *row, error);
}

static gboolean
add_inputs(TilePlan *p, GError **error)
{
    p->program->inputs = g_new0(TileInput, p->b->sources->len + 1);
    for (guint i = 0; i < p->b->sources->len; i++) {
        const TileSource *source = SOURCE(p, i);
        if (source->value < 0 || p->at[source->value].last_use < 0) {
            continue;
        }
        if (!broadcasts(&source->arg.type, &p->shape)) {
            return tile_plan_fail(error, "an input does not broadcast to the output");
        }
        p->at[source->value].input = (gint)p->program->n_inputs;
        TileInput *input = &p->program->inputs[p->program->n_inputs++];
        input->in = source->in;
        input->data = source->data;
        input->size = tn_dtype_size(source->arg.type.dtype);
        input->type = VALUE(p, source->value)->type;
        input->load = tile_load(source->arg.type.dtype, input->type);
        if (!input->load && (input->type != tile_type_of(source->arg.type.dtype) ||
                             !tile_is_native(source->arg.type.dtype))) {
            return tile_plan_fail(error, "an input cannot be loaded as what it is cast to");
        }
        cpu_broadcast(&source->arg, p->shape.rank, input->wide_strides);
    }
    return TRUE;
}

/* The stride along a row of an input that walks several axes there: neither 0 nor 1. */
#define SEVERAL 2

/* --- Axes ------------------------------------------------------------------------------------- */

/* Collapses axes [first, end) of all inputs (and of the output, the last one). */
static gint
collapse(TilePlan *p, gint first, gint end, gint to)
{
    TileProgram *program = p->program;
    const guint n = program->n_inputs + 1;
    gint64(*strides)[TN_MAX_RANK] = g_malloc0(n * sizeof *strides);
    gint64 dims[TN_MAX_RANK] = { 0 }, out[TN_MAX_RANK];
    const gsize size = (gsize)(end - first) * sizeof(gint64);
    tn_type_strides(&p->shape, out);
    memcpy(dims, p->shape.dims + first, size);
    memcpy(strides[n - 1], out + first, size);
    for (guint i = 0; i < program->n_inputs; i++) {
        memcpy(strides[i], program->inputs[i].wide_strides + first, size);
    }
    const gint rank = cpu_collapse(end - first, dims, (gint)n, strides);
    memcpy(program->dims + to, dims, (gsize)rank * sizeof dims[0]);
    for (guint i = 0; i < program->n_inputs; i++) {
        memcpy(program->inputs[i].strides + to, strides[i], (gsize)rank * sizeof(gint64));
    }
    g_free(strides);
    return rank;
}

/* Axes [border, rank) as the row's only one, at `to`. */
static void
make_row(TilePlan *p, gint border, gint to, gint64 row)
{
    TileProgram *program = p->program;
    const gint n = p->shape.rank - border;
    program->dims[to] = row;
    for (guint i = 0; i < program->n_inputs; i++) {
        TileInput *input = &program->inputs[i];
        gint64 strides[1][TN_MAX_RANK] = { 0 };
        memcpy(input->inner_dims, p->shape.dims + border, (gsize)n * sizeof(gint64));
        memcpy(strides[0], input->wide_strides + border, (gsize)n * sizeof(gint64));
        const gint rank = cpu_collapse(n, input->inner_dims, 1, strides);
        memcpy(input->inner_strides, strides[0], sizeof strides[0]);
        input->inner_rank = rank > 1 ? rank : 0;
        input->strides[to] = rank == 0 ? 0 : rank > 1 ? SEVERAL : strides[0][0];
    }
}

/* row: 0, or the elements that a row must have. */
static void
choose_axes(TilePlan *p, gint64 row)
{
    TileProgram *program = p->program;
    gint border = p->shape.rank;
    for (gint64 n = 1; row > 0 && n < row && border > 0;) {
        n *= p->shape.dims[--border];
    }
    program->rank = collapse(p, 0, border, 0);
    if (row > 0) {
        make_row(p, border, program->rank++, row);
    }
    if (program->rank == 0) {
        program->rank = 1;
        program->dims[0] = 1;
        for (guint i = 0; i < program->n_inputs; i++) {
            program->inputs[i].strides[0] = 0;
        }
    }
    program->count = tn_type_count(&p->shape);
    program->row = program->dims[program->rank - 1];
    program->grouped = program->rank > 1 && program->row < TILE_ROW;
}

static gboolean
zeros(const gint64 *strides, gint n)
{
    for (gint i = 0; i < n; i++) {
        if (strides[i] != 0) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
runs_flat(const TileProgram *program, const TileInput *input)
{
    gint64 expected = 1;
    for (gint i = program->rank - 1; i >= 0; i--) {
        if (input->strides[i] != expected) {
            return FALSE;
        }
        expected *= program->dims[i];
    }
    return TRUE;
}

/* How an input is read. */
static void
choose_access(const TileProgram *program, TileInput *input, gboolean in_place)
{
    gint last = program->rank - 1;
    if (zeros(input->strides, program->rank)) {
        input->level = LEVEL_ONCE;
    } else if ((!program->grouped || program->by_rows) && input->strides[last] == 0) {
        input->level = LEVEL_ROW;
    } else {
        input->level = LEVEL_TILE;
        input->periodic = program->grouped && zeros(input->strides, last);
        input->direct = !input->load && in_place &&
                        (program->grouped ? runs_flat(program, input) : input->strides[last] == 1);
    }
}

/* --- Levels ----------------------------------------------------------------------------------- */

static void
input_levels(TilePlan *p)
{
    for (gint v = 0; v < (gint)p->b->values->len; v++) {
        TilePlace *at = &p->at[v];
        if (at->input >= 0) {
            TileInput *input = &p->program->inputs[at->input];
            /* One that is an output as it is is not read where it is: the output's memory may be that of
             * another input. */
            choose_access(p->program, input, !at->is_output && !p->b->any_strides);
            at->level = input->level;
        }
    }
}

static gboolean
step_levels(TilePlan *p, GError **error)
{
    for (guint s = 0; s < p->b->steps->len; s++) {
        const TileStep *step = STEP(p, s);
        TilePlace *at = &p->at[step->out];
        for (gint k = 0; p->live[s] && k < step->arity; k++) {
            const TileValue *value = VALUE(p, step->in[k]);
            const gint fold = value->step >= 0 ? STEP(p, value->step)->fold : -1;
            if (fold >= 0 && p->reach[fold] != REACH_ROW) {
                return tile_plan_fail(error, "what is known at the end is read before");
            }
            at->level = MAX(at->level, p->at[step->in[k]].level);
        }
        if (p->live[s] && step->fold >= 0) {
            if (!check_fold(p, step, error)) {
                return FALSE;
            }
            at->level = LEVEL_ROW;
        }
    }
    return TRUE;
}

/* An output with an element a row must not lie over an input that all rows read. */
static gboolean
check_row_outputs(const TilePlan *p, GError **error)
{
    const TnNode *node = p->b->node;
    for (gint k = 0; k < node->n_out; k++) {
        if (tile_output_kind(p, k) != OUTPUT_ROWS) {
            continue;
        }
        if (p->at[p->b->outputs[k]].level == LEVEL_TILE) {
            return tile_plan_fail(error, "outputs of different shapes");
        }
        for (guint i = 0; i < p->program->n_inputs; i++) {
            const TileInput *input = &p->program->inputs[i];
            if (input->in >= 0 && input->level == LEVEL_TILE &&
                tn_type_equal(&node->in[input->in].type, &node->out[k].type)) {
                return tile_plan_fail(error, "an output that may lie over what all rows read");
            }
        }
    }
    return TRUE;
}

gboolean
tile_plan_axes(TilePlan *p, GError **error)
{
    gint64 row = 0;
    if (!choose_shape(p, &row, error) || !add_inputs(p, error)) {
        return FALSE;
    }
    if (tn_type_count(&p->shape) == 0) {
        return TRUE;
    }
    choose_axes(p, row);
    input_levels(p);
    return step_levels(p, error) && check_row_outputs(p, error);
}
