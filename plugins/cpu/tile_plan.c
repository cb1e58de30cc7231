/* tile_plan.c: from steps to a program: what is needed, then axes, order and places (tile_plan.h), then
 * the sizes of tiles and of what threads get. */
#include "tile_plan.h"

gboolean
tile_plan_fail(GError **error, const char *why)
{
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "element-wise group: %s", why);
    return FALSE;
}

/* --- What is needed --------------------------------------------------------------------------- */

static void
mark_live(TilePlan *p)
{
    const TnNode *node = p->b->node;
    for (gint k = 0; k < node->n_out; k++) {
        p->at[p->b->outputs[k]].is_output = TRUE;
        p->at[p->b->outputs[k]].last_use = G_MAXINT;
    }
    for (gint s = (gint)p->b->steps->len - 1; s >= 0; s--) {
        const TileStep *step = STEP(p, s);
        p->live[s] = p->at[step->out].last_use >= 0;
        for (gint k = 0; p->live[s] && k < step->arity; k++) {
            p->at[step->in[k]].last_use = MAX(p->at[step->in[k]].last_use, s);
        }
    }
}

/* --- Sizes ------------------------------------------------------------------------------------ */

/* Bytes from which on it pays to fetch what the next tile reads and writes: about a core's second-
 * level cache. Of less than that each fetch is one instruction in vain. */
#define FETCH_FROM (2 << 20)

static gboolean
is_large(const TileProgram *program)
{
    gsize size = 0;
    for (guint i = 0; i < program->n_inputs; i++) {
        size += program->inputs[i].direct ? program->inputs[i].size : 0;
    }
    for (guint i = 0; i < program->n_outputs; i++) {
        size += program->outputs[i].size;
    }
    return (gsize)program->count * size > FETCH_FROM;
}

static gsize
register_bytes(const TilePlan *p, gboolean carried)
{
    gsize bytes = 0;
    for (guint i = 0; i < p->registers->len; i++) {
        const TileRegister *r = &g_array_index(p->registers, TileRegister, i);
        bytes += r->carried == carried ? r->size : 0;
    }
    return bytes;
}

/* Rows put together in a tile of at most so many elements. */
static void
group_rows(TileProgram *program, gint64 most)
{
    program->per_row = MIN(most / program->row, program->count / program->row);
    if (program->by_rows) {
        program->per_row = MIN(program->per_row, TILE_MAX_ROWS);
    }
    program->length = program->per_row * program->row;
    program->n_tiles = cpu_parts(program->count, program->length);
}

/* Tiles that are parts of a row, alike or (where a sum is cut) of whole blocks. */
static void
cut_rows(TilePlan *p, gint64 most)
{
    TileProgram *program = p->program;
    const gboolean blocks = p->folds->len > 0 && most >= FOLD_BLOCK && most < program->row;
    program->per_row = MAX(1, cpu_parts(program->row, most));
    program->length = (cpu_parts(program->row, program->per_row) + 15) & ~15;
    if (blocks) {
        program->length = most / FOLD_BLOCK * FOLD_BLOCK;
        program->per_row = cpu_parts(program->row, program->length);
    }
    program->n_tiles = program->count / program->row * program->per_row;
}

/* Elements that a tile may have at most; 0: too few. */
static gint64
most_elements(const TilePlan *p)
{
    const TileProgram *program = p->program;
    const gsize bytes = register_bytes(p, FALSE);
    if (program->by_rows && !program->grouped && p->whole) {
        return (gsize)program->row * bytes <= TILE_FOLD_STACK && program->row <= 4 * TILE_MAX_LENGTH
                   ? program->row
                   : 0;
    }
    const gint64 most =
        bytes == 0 ? TILE_MAX_LENGTH : MIN(TILE_MAX_LENGTH, (gint64)(TILE_STACK / bytes) & ~63);
    const gboolean cut = program->by_rows && !program->grouped;
    return most >= (cut ? FOLD_BLOCK : TILE_ROW) ? most : 0;
}

static void
place_registers(TilePlan *p)
{
    const gsize row = (gsize)p->program->row;
    for (guint i = 0; i < p->slots->len; i++) {
        TileSlot *slot = &g_array_index(p->slots, TileSlot, i);
        gsize at = 0;
        if (slot->kind != SLOT_REGISTER && slot->kind != SLOT_CARRIED) {
            continue;
        }
        slot->size = (guint32)g_array_index(p->registers, TileRegister, slot->at).size;
        for (guint r = 0; r < slot->at; r++) {
            const TileRegister *other = &g_array_index(p->registers, TileRegister, r);
            if (other->carried == (slot->kind == SLOT_CARRIED)) {
                const gsize n = other->carried ? row : (gsize)p->program->length;
                at += (other->size * n + 63) & ~(gsize)63;
            }
        }
        slot->at = (guint32)at;
    }
}

/* Elements of a chunk where some are summed beyond rows: slices as reduce.c has them. */
static gboolean
slice_folds(TilePlan *p, GError **error)
{
    TileProgram *program = p->program;
    const gboolean invariant = p->b->node->batch_invariant;
    const gint64 rows = program->count / program->row;
    for (guint i = 0; i < p->folds->len; i++) {
        TileFold *fold = &g_array_index(p->folds, TileFold, i);
        const gboolean columns = fold->reach == REACH_COLUMNS;
        if (fold->reach == REACH_ROW) {
            continue;
        }
        fold->width = columns ? program->row : 1;
        const gint64 reduced = columns ? rows : program->count;
        const FoldSlices slices = fold_slices(
            fold_sliced(columns ? fold_blocks(fold->width) : 1, fold->width, reduced, invariant),
            reduced, columns ? 1 : fold_unit(&p->shape));
        const gint64 each = slices.each * fold->width;
        if (slices.n == 1 && program->count > 2 * CPU_GRAIN) {
            return tile_plan_fail(error, "one long sum");
        }
        if ((program->per_chunk > 0 && program->per_chunk != each) ||
            ((program->by_rows || program->grouped) && each % program->row != 0)) {
            return tile_plan_fail(error, "sums that are cut differently");
        }
        program->per_chunk = each;
        fold->slices = slices.n;
        fold->scratch = program->scratch;
        program->scratch += (gsize)(fold->slices * fold->width) * sizeof(Fold) * (columns ? 2 : 1);
    }
    return TRUE;
}

static gboolean
choose_chunks(TilePlan *p, GError **error)
{
    TileProgram *program = p->program;
    /* Parts of a row whose sum is needed stay together. */
    const gboolean rows = program->by_rows && !program->grouped;
    const gint64 together = rows ? program->per_row : 1, n = program->n_tiles / together;
    program->fetches = is_large(program);
    program->tiles_per_chunk =
        cpu_items_per_chunk(n, MAX(1, program->count / MAX(1, n))) * together;
    if (!slice_folds(p, error)) {
        return FALSE;
    }
    if (program->per_chunk == 0) {
        program->per_chunk =
            program->tiles_per_chunk / together * (rows ? program->row : program->length);
        program->n_chunks = cpu_parts(program->n_tiles, program->tiles_per_chunk);
    } else {
        program->n_chunks = cpu_parts(program->count, program->per_chunk);
    }
    return TRUE;
}

static gboolean
choose_length(TilePlan *p, GError **error)
{
    TileProgram *program = p->program;
    const gint64 most = most_elements(p);
    if (most == 0 || register_bytes(p, TRUE) * (gsize)program->row > TILE_CARRY) {
        return tile_plan_fail(error, "too many values at once");
    }
    if (program->grouped) {
        group_rows(program, most);
    } else {
        cut_rows(p, most);
    }
    place_registers(p);
    return choose_chunks(p, error);
}

static gboolean
plan_steps(TilePlan *p, GError **error)
{
    mark_live(p);
    if (!tile_plan_axes(p, error)) {
        return FALSE;
    }
    if (tn_type_count(&p->shape) == 0) {
        return TRUE;
    }
    p->whole |= !p->program->by_rows || p->program->grouped;
    if (!tile_plan_order(p, error) || !tile_plan_places(p, error)) {
        return FALSE;
    }
    if (p->slots->len > TILE_MAX_SLOTS || p->n_scalars > TILE_MAX_SCALARS ||
        p->n_row_values > TILE_MAX_ROW_VALUES || p->program->n_inputs > TILE_MAX_INPUTS) {
        return tile_plan_fail(error, "too many values");
    }
    return choose_length(p, error);
}

/* --- Making ----------------------------------------------------------------------------------- */

static void
plan_init(TilePlan *p, TileBuilder *b, gboolean whole, gboolean only_row)
{
    const guint n = b->values->len + 1;
    *p = (TilePlan){ .b = b,
                     .program = g_new0(TileProgram, 1),
                     .live = g_new0(gboolean, b->steps->len + 1),
                     .at = g_new0(TilePlace, n),
                     .reach = g_new0(TileReach, b->folds->len + 1),
                     .whole = whole,
                     .only_row = only_row,
                     .order = g_array_new(FALSE, TRUE, sizeof(gint)),
                     .slots = g_array_new(FALSE, TRUE, sizeof(TileSlot)),
                     .registers = g_array_new(FALSE, TRUE, sizeof(TileRegister)),
                     .stores = g_array_new(FALSE, TRUE, sizeof(TileOp)),
                     .row_stores = g_array_new(FALSE, TRUE, sizeof(TileOp)),
                     .folds = g_array_new(FALSE, TRUE, sizeof(TileFold)),
                     .phases = g_array_new(FALSE, TRUE, sizeof(TilePhase)) };
    for (guint v = 0; v < n; v++) {
        p->at[v] = (TilePlace){ .last_use = -1, .slot = -1, .input = -1, .reg = -1 };
    }
    for (gint i = 0; i < N_LEVELS; i++) {
        p->ops[i] = g_array_new(FALSE, TRUE, sizeof(TileOp));
    }
}

static gpointer
take(GArray *array, guint *n)
{
    *n = array->len;
    return g_array_free(array, FALSE);
}

/* Moves what was built into the program. */
static TileProgram *
plan_finish(TilePlan *p, gboolean ok)
{
    TileProgram *program = p->program;
    program->slots = take(p->slots, &program->n_slots);
    for (gint i = 0; i < N_LEVELS; i++) {
        program->ops[i] = take(p->ops[i], &program->n_ops[i]);
    }
    program->stores = take(p->stores, &program->n_stores);
    program->row_stores = take(p->row_stores, &program->n_row_stores);
    program->folds = take(p->folds, &program->n_folds);
    program->phases = take(p->phases, &program->n_phases);
    g_array_unref(p->order);
    g_array_unref(p->registers);
    g_free(p->live);
    g_free(p->at);
    g_free(p->reach);
    if (!ok) {
        tile_free(program);
        return NULL;
    }
    program->constants = g_memdup2(p->b->constants->data, p->b->constants->len);
    program->tensors = g_steal_pointer(&p->b->tensors);
    return program;
}

TileProgram *
tile_plan(TileBuilder *builder, GError **error)
{
    /* From what is fastest to what takes the most. */
    static const struct {
        gboolean whole, only_row;
    } ways[] = { { TRUE, FALSE }, { FALSE, FALSE }, { TRUE, TRUE }, { FALSE, TRUE } };
    const guint n = builder->folds->len > 0 ? G_N_ELEMENTS(ways) : 1;
    TileProgram *program = NULL;
    for (guint i = 0; i < n && program == NULL; i++) {
        TilePlan p;
        plan_init(&p, builder, ways[i].whole, ways[i].only_row);
        const gboolean ok = plan_steps(&p, i + 1 == n ? error : NULL);
        program = plan_finish(&p, ok);
    }
    return program;
}

void
tile_free(TileProgram *program)
{
    if (!program) {
        return;
    }
    for (gint i = 0; i < N_LEVELS; i++) {
        g_free(program->ops[i]);
    }
    g_free(program->slots);
    g_free(program->inputs);
    g_free(program->outputs);
    g_free(program->stores);
    g_free(program->row_stores);
    g_free(program->folds);
    g_free(program->phases);
    g_free(program->constants);
    g_clear_pointer(&program->tensors, g_ptr_array_unref);
    g_free(program);
}
