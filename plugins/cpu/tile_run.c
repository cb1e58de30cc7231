/* tile_run.c: runs a program without reductions: chunks of tiles, and for each tile loads, operations,
 * stores. */
#include "tile_run.h"

typedef struct {
    const TileProgram *program;
    const TnRun *run;
} Job;

/* Part i of n_parts of the `left` elements behind the n at `at`. */
static inline void
fetch(const char *at, gsize size, gint64 n, gint64 left, guint i, guint n_parts)
{
    const gint64 lines = (MIN(n, left) * (gint64)size + 63) / 64;
    const char *from = at + n * (gint64)size;
    for (gint64 line = lines * i / n_parts; line < lines * (i + 1) / n_parts; line++) {
        __builtin_prefetch(from + line * 64, 0, 2);
    }
}

static void
execute_level(const TileFrame *frame, TileLevel level, gint64 n)
{
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_ops[level]; i++) {
        tile_execute(frame, &program->ops[level][i], n);
    }
}

/* The operations of a tile of memory that is in no cache; between them what the next tile reads and
 * writes is fetched, a part at a time: the processor's own prefetch stops at the end of a page, which
 * is about where tiles end. */
static void
execute_fetching(const TileFrame *frame, gint64 n, gint64 left)
{
    const TileProgram *program = frame->program;
    const guint n_ops = program->n_ops[LEVEL_TILE];
    for (guint i = 0; i < n_ops; i++) {
        for (guint k = 0; k < program->n_inputs; k++) {
            const TileInput *input = &program->inputs[k];
            if (input->direct) {
                fetch(frame->slot[input->slot], input->size, n, left, i, n_ops);
            }
        }
        for (guint k = 0; k < program->n_outputs; k++) {
            const TileOutput *output = &program->outputs[k];
            fetch(frame->slot[output->slot], output->size, n, left, i, n_ops);
        }
        tile_execute(frame, &program->ops[LEVEL_TILE][i], n);
    }
}

/* --- Tiles ------------------------------------------------------------------------------------ */

static void
finish_tile(TileFrame *frame, gint64 start, gint64 n)
{
    const TileProgram *program = frame->program;
    for (guint k = 0; k < program->n_outputs; k++) {
        const TileOutput *output = &program->outputs[k];
        frame->slot[output->slot] =
            (char *)frame->run->out[output->out] + start * (gint64)output->size;
    }
    if (program->fetches && start + n < program->count) {
        execute_fetching(frame, n, program->count - start - n);
    } else {
        execute_level(frame, LEVEL_TILE, n);
    }
    tile_store_outputs(frame, n);
}

/* A part of a row that begins at `at` of it; row_at[i] is where input i has the row's first
 * element. */
static void
part_tile(TileFrame *frame, gint64 row, gint64 at, const gint64 *row_at)
{
    const TileProgram *program = frame->program;
    gint64 n = MIN(program->length, program->row - at);
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        if (input->level != LEVEL_TILE) {
            continue;
        }
        gint64 stride = input->strides[program->rank - 1];
        const char *from =
            tile_memory(frame, input) + (row_at[i] + at * stride) * (gint64)input->size;
        if (input->direct) {
            frame->slot[input->slot] = (void *)from;
        } else {
            tile_load_run(input, frame->slot[input->slot], from, stride, n);
        }
    }
    finish_tile(frame, row * program->row + at, n);
}

/* Whole rows put together. */
static void
grouped_tile(TileFrame *frame, gint64 tile)
{
    const TileProgram *program = frame->program;
    gint64 start = tile * program->length, n = MIN(program->length, program->count - start);
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        if (input->direct) {
            frame->slot[input->slot] =
                (void *)(tile_memory(frame, input) + start * (gint64)input->size);
        } else if (input->level == LEVEL_TILE && !input->periodic) {
            tile_load_rows(frame, input, tile * program->per_row, n / program->row);
        }
    }
    finish_tile(frame, start, n);
}

/* Where each input has a row's first element, and what changes with the row. */
static void
begin_row(TileFrame *frame, gint64 row, gint64 *row_at)
{
    const TileProgram *program = frame->program;
    gint64 index[TN_MAX_RANK] = { 0 };
    gint outer = program->rank - 1;
    cpu_position(outer, program->dims, row, index);
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        row_at[i] = cpu_dot(outer, index, input->strides);
        if (input->level == LEVEL_ROW) {
            tile_load_one(frame, input, row_at[i]);
        }
    }
    execute_level(frame, LEVEL_ROW, 1);
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const TileProgram *program = job->program;
    gint64 first = (gint64)chunk * program->tiles_per_chunk, row = -1;
    gint64 end = MIN(program->n_tiles, first + program->tiles_per_chunk);
    gint64 row_at[TILE_MAX_INPUTS];
    guint8 stack[TILE_STACK + TILE_SLACK] __attribute__((aligned(64)));
    TileFrame frame;
    (void)n;
    frame.program = program;
    frame.run = job->run;
    frame.stack = stack;
    tile_frame_init(&frame);
    tile_begin_chunk(&frame);
    for (gint64 tile = first; tile < end; tile++) {
        if (program->grouped) {
            grouped_tile(&frame, tile);
            continue;
        }
        if (tile / program->per_row != row) {
            row = tile / program->per_row;
            begin_row(&frame, row, row_at);
        }
        gint64 at = tile % program->per_row * program->length;
        if (at < program->row) {
            part_tile(&frame, row, at, row_at);
        }
    }
    return TN_OK;
}

TnStatus
tile_run(const TileProgram *program, const TnRun *run)
{
    Job job = { program, run };
    if (program->n_tiles == 0) {
        return TN_OK;
    }
    if (program->n_folds > 0) {
        return tile_run_folds(program, run);
    }
    return tn_parallel_for((gsize)program->n_chunks, run_chunk, &job);
}
