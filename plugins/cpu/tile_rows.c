/* tile_rows.c: runs a program with reductions. A chunk is cut into blocks: some whole rows, one long row,
 * or, where no sum of a row is needed, part of one. For each block the phases run one after the other:
 * what is done for a row, then for each tile loads, operations and reductions. Reductions beyond rows go
 * on from block to block; each chunk has a slice of them, and slices are put together at the end. */
#include "tile_fold.h"
#include "tile_run.h"

typedef struct {
    const TileProgram *program;
    const TnRun *run;
} Job;

/* A reduction under way. */
typedef struct {
    Fold acc;
    guint64 waits[FOLD_BLOCK]; /* of everything: elements that do not fill a block so far */
    gint64 n_waits;
    guint8 *columns; /* accumulators of columns */
    Fold *wide;
    gint64 n_rows;
} Run;

typedef struct {
    TileFrame frame;
    gint64 row_at[TILE_MAX_INPUTS]; /* where each input has the block's first row */
    Run runs[TILE_MAX_FOLDS];
    guint8 stack[TILE_FOLD_STACK + TILE_SLACK] __attribute__((aligned(64)));
    guint8 rows[TILE_MAX_ROW_VALUES * TILE_MAX_ROWS * sizeof(guint64)] __attribute__((aligned(64)));
    guint8 carried[TILE_CARRY + TILE_SLACK] __attribute__((aligned(64)));
} Place;

/* Elements [start, start + n) of the output, of rows [row, row + n_rows), from `at` of the first one on. */
typedef struct {
    gint64 start, n, row, n_rows, at;
} Block;

/* --- Loads ------------------------------------------------------------------------------------ */

/* An element for each row. */
static void
load_row_values(Place *place, const TileInput *input, const Block *block)
{
    const TileProgram *program = place->frame.program;
    const gint outer = program->rank - 1;
    const gsize size = tile_type_size(input->type);
    char *to = place->frame.slot[input->slot];
    const char *memory = tile_memory(&place->frame, input);
    gint64 index[TN_MAX_RANK] = { 0 };
    cpu_position(outer, program->dims, block->row, index);
    for (gint64 i = 0; i < block->n_rows; i++, to += size) {
        const gint64 at = cpu_dot(outer, index, input->strides);
        tile_load_run(input, to, memory + at * (gint64)input->size, 1, 1);
        cpu_next(outer, program->dims, index);
    }
}

static void
begin_block(Place *place, const Block *block)
{
    const TileProgram *program = place->frame.program;
    const gint outer = program->rank - 1;
    gint64 index[TN_MAX_RANK] = { 0 };
    cpu_position(outer, program->dims, block->row, index);
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        place->row_at[i] = cpu_dot(outer, index, input->strides);
        if (input->level == LEVEL_ROW) {
            load_row_values(place, input, block);
        }
    }
}

/* What a phase reads and writes of a tile. */
static void
bind_tile(Place *place, guint phase, const Block *tile)
{
    TileFrame *frame = &place->frame;
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        if (input->level != LEVEL_TILE || input->periodic || !(input->phases >> phase & 1)) {
            continue;
        }
        const gint64 at = program->grouped ? tile->start : place->row_at[i] + tile->at;
        if (input->direct) {
            frame->slot[input->slot] =
                (void *)(tile_memory(frame, input) + at * (gint64)input->size);
        } else if (program->grouped) {
            tile_load_rows(frame, input, tile->row, tile->n_rows);
        } else {
            tile_load_part(frame, input, frame->slot[input->slot], place->row_at[i], tile->at,
                           tile->n);
        }
    }
    for (guint k = 0; k < program->n_outputs && phase == program->last_phase; k++) {
        const TileOutput *output = &program->outputs[k];
        frame->slot[output->slot] =
            (char *)frame->run->out[output->out] + tile->start * (gint64)output->size;
    }
}

/* --- Reductions ------------------------------------------------------------------------------- */

static void
fold_rows(const Place *place, const TileFold *fold, Run *run, const Block *tile)
{
    const TileProgram *program = place->frame.program;
    const char *x = place->frame.slot[fold->in];
    if (!program->grouped) {
        fold->run(&run->acc, x, tile->n);
        return;
    }
    const gsize size = tile_type_size(fold->type);
    char *to = place->frame.slot[fold->out];
    for (gint64 r = 0; r < tile->n_rows; r++, x += program->row * (gint64)size, to += size) {
        Fold acc = fold_begin(fold->kind, fold->dtype);
        fold->run(&acc, x, program->row);
        fold_value(fold->dtype, to, acc);
    }
}

/* By blocks from the slice's beginning, wherever tiles begin. */
static void
fold_all(const TileFold *fold, Run *run, const char *x, gint64 n)
{
    const gint64 size = (gint64)tile_type_size(fold->type);
    if (run->n_waits > 0) {
        const gint64 m = MIN(n, FOLD_BLOCK - run->n_waits);
        memcpy((char *)run->waits + run->n_waits * size, x, (gsize)(m * size));
        run->n_waits += m;
        x += m * size;
        n -= m;
        if (run->n_waits < FOLD_BLOCK) {
            return;
        }
        fold->run(&run->acc, run->waits, FOLD_BLOCK);
    }
    const gint64 blocks = n / FOLD_BLOCK * FOLD_BLOCK;
    fold->run(&run->acc, x, blocks);
    run->n_waits = n - blocks;
    memcpy(run->waits, x + blocks * size, (gsize)(run->n_waits * size));
}

static void
fold_columns_of_tile(const Place *place, const TileFold *fold, Run *run, const Block *tile)
{
    const TileProgram *program = place->frame.program;
    const gint64 size = (gint64)tile_type_size(fold->type);
    const char *x = place->frame.slot[fold->in];
    const gint64 n = program->grouped ? program->row : tile->n;
    for (gint64 r = 0; r < tile->n_rows; r++, x += n * size) {
        fold->columns(run->columns + tile->at * size, x, n);
        if (tile->at + n < program->row) {
            continue;
        }
        run->n_rows++;
        if (run->n_rows % FOLD_ROWS == 0 && fold_columns_widen(fold->kind, fold->dtype)) {
            fold_columns_flush(fold->kind, fold->dtype, run->columns, run->wide, fold->width);
        }
    }
}

static void
fold_tile(Place *place, guint first, guint end, const Block *tile)
{
    const TileProgram *program = place->frame.program;
    for (guint i = first; i < end; i++) {
        const TileFold *fold = &program->folds[i];
        Run *run = &place->runs[i];
        switch (fold->reach) {
        case REACH_ROW: fold_rows(place, fold, run, tile); break;
        case REACH_ALL: fold_all(fold, run, place->frame.slot[fold->in], tile->n); break;
        case REACH_COLUMNS: fold_columns_of_tile(place, fold, run, tile); break;
        }
    }
}

/* --- Phases ----------------------------------------------------------------------------------- */

static void
execute_from(const TileFrame *frame, TileLevel level, guint phase, gint64 n)
{
    const TileProgram *program = frame->program;
    const guint first = phase > 0 ? program->phases[phase - 1].ops[level] : 0;
    for (guint i = first; i < program->phases[phase].ops[level]; i++) {
        tile_execute(frame, &program->ops[level][i], n);
    }
}

static void
run_tile(Place *place, guint phase, const Block *tile)
{
    const TileProgram *program = place->frame.program;
    bind_tile(place, phase, tile);
    execute_from(&place->frame, LEVEL_TILE, phase, tile->n);
    fold_tile(place, phase > 0 ? program->phases[phase - 1].folds : 0, program->phases[phase].folds,
              tile);
    if (phase == program->last_phase) {
        tile_store_outputs(&place->frame, tile->n);
    }
}

/* Where the rows that are kept from phase to phase have their element `at`. */
static void
move_carried(Place *place, gint64 at)
{
    const TileProgram *program = place->frame.program;
    for (guint i = 0; i < program->n_slots; i++) {
        const TileSlot *slot = &program->slots[i];
        if (slot->kind == SLOT_CARRIED) {
            place->frame.slot[i] = place->frame.carried + slot->at + at * (gint64)slot->size;
        }
    }
}

static void
run_tiles(Place *place, guint phase, const Block *block)
{
    const TileProgram *program = place->frame.program;
    if (program->grouped || block->n <= program->length) {
        run_tile(place, phase, block);
        return;
    }
    for (gint64 at = 0; at < block->n; at += program->length) {
        const Block tile = { block->start + at, MIN(program->length, block->n - at), block->row, 1,
                             block->at + at };
        move_carried(place, at);
        run_tile(place, phase, &tile);
    }
}

/* A row's sums, at the end of the phase that makes them, if it is the block's only one. */
static void
end_rows(Place *place, guint phase)
{
    const TileProgram *program = place->frame.program;
    const guint first = phase > 0 ? program->phases[phase - 1].folds : 0;
    for (guint i = first; i < program->phases[phase].folds && !program->grouped; i++) {
        const TileFold *fold = &program->folds[i];
        if (fold->reach == REACH_ROW) {
            fold_value(fold->dtype, place->frame.slot[fold->out], place->runs[i].acc);
            place->runs[i].acc = fold_begin(fold->kind, fold->dtype);
        }
    }
}

static void
store_rows(Place *place, const Block *block)
{
    const TileProgram *program = place->frame.program;
    for (guint i = 0; i < program->n_row_stores; i++) {
        const TileOp *op = &program->row_stores[i];
        char *to = place->frame.run->out[op->out];
        tile_store_as(op, to + block->row * (gint64)tn_dtype_size(op->dtype),
                      place->frame.slot[op->in[0]], block->n_rows);
    }
}

static void
run_block(Place *place, const Block *block)
{
    const TileProgram *program = place->frame.program;
    begin_block(place, block);
    for (guint phase = 0; phase < program->n_phases; phase++) {
        execute_from(&place->frame, LEVEL_ROW, phase, block->n_rows);
        if (phase <= program->last_phase) {
            run_tiles(place, phase, block);
            end_rows(place, phase);
        }
    }
    store_rows(place, block);
}

/* --- Chunks ----------------------------------------------------------------------------------- */

static void
begin_folds(Place *place, gint64 slice)
{
    const TileProgram *program = place->frame.program;
    for (guint i = 0; i < program->n_folds; i++) {
        const TileFold *fold = &program->folds[i];
        Run *run = &place->runs[i];
        run->acc = fold_begin(fold->kind, fold->dtype);
        run->n_waits = run->n_rows = 0;
        if (fold->reach == REACH_COLUMNS) {
            Fold *partial = (Fold *)(gpointer)((char *)place->frame.run->scratch + fold->scratch);
            run->wide = partial + slice * fold->width;
            run->columns = (guint8 *)(partial + (fold->slices + slice) * fold->width);
            memset(run->wide, 0, (gsize)fold->width * sizeof(Fold));
            fold_columns_begin(fold->kind, fold->dtype, run->columns, fold->width);
        }
    }
}

static void
end_columns(const TileFold *fold, Run *run)
{
    if (fold_columns_widen(fold->kind, fold->dtype)) {
        fold_columns_flush(fold->kind, fold->dtype, run->columns, run->wide, fold->width);
        return;
    }
    for (gint64 j = 0; j < fold->width; j++) {
        run->wide[j] = fold_column(fold->dtype, run->columns, j);
    }
}

static void
end_folds(Place *place, gint64 slice)
{
    const TileProgram *program = place->frame.program;
    for (guint i = 0; i < program->n_folds; i++) {
        const TileFold *fold = &program->folds[i];
        Run *run = &place->runs[i];
        if (fold->reach == REACH_ALL) {
            fold->run(&run->acc, run->waits, run->n_waits);
            memcpy((char *)place->frame.run->scratch + fold->scratch + (gsize)slice * sizeof(Fold),
                   &run->acc, sizeof run->acc);
        } else if (fold->reach == REACH_COLUMNS) {
            end_columns(fold, run);
        }
    }
}

/* The block that begins at an element and does not go beyond `end`. */
static Block
block_at(const TileProgram *program, gint64 start, gint64 end)
{
    Block block = { start, end - start, start / program->row, 1, start % program->row };
    if (program->grouped) {
        block.n = MIN(block.n, program->length);
        block.n_rows = block.n / program->row;
    } else if (program->by_rows) {
        block.n = program->row;
    } else {
        block.n = MIN(MIN(block.n, program->row - block.at), program->length);
    }
    return block;
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const TileProgram *program = job->program;
    const gint64 first = (gint64)chunk * program->per_chunk;
    const gint64 end = MIN(program->count, first + program->per_chunk);
    Place place;
    (void)n;
    place.frame.program = program;
    place.frame.run = job->run;
    place.frame.stack = place.stack;
    place.frame.rows = place.rows;
    place.frame.carried = place.carried;
    tile_frame_init(&place.frame);
    tile_begin_chunk(&place.frame);
    begin_folds(&place, (gint64)chunk);
    for (gint64 at = first; at < end;) {
        const Block block = block_at(program, at, end);
        run_block(&place, &block);
        at += block.n;
    }
    end_folds(&place, (gint64)chunk);
    return TN_OK;
}

TnStatus
tile_run_folds(const TileProgram *program, const TnRun *run)
{
    Job job = { program, run };
    const TnStatus status = tn_parallel_for((gsize)program->n_chunks, run_chunk, &job);
    for (guint i = 0; i < program->n_folds && status == TN_OK; i++) {
        const TileFold *fold = &program->folds[i];
        if (fold->reach == REACH_ROW) {
            continue;
        }
        Fold *partial = (Fold *)(gpointer)((char *)run->scratch + fold->scratch);
        const gsize size = tn_dtype_size(fold->dtype);
        fold_combine(fold->kind, fold->type, partial, fold->slices, fold->width);
        for (gint64 j = 0; j < fold->width; j++) {
            fold_store(fold->dtype, (char *)run->out[fold->output] + (gsize)j * size, partial[j]);
        }
    }
    return status;
}
