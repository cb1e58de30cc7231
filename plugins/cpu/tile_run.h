/* tile_run.h: a thread's place in a program, and what programs with and without reductions do alike. */
#pragma once

#include "tile.h"

/* Registers may be rounded up to whole cache lines. */
#define TILE_SLACK 8192

typedef struct {
    const TileProgram *program;
    const TnRun *run;
    guint8 *stack; /* registers */
    guint8 *carried,
        *rows; /* of programs with reductions: long rows; vectors with an element a row */
    void *slot[TILE_MAX_SLOTS];
    guint64 scalars[TILE_MAX_SCALARS];
} TileFrame;

/* program, run, stack, carried and rows are set. */
void tile_frame_init(TileFrame *frame);
/* n elements of an input, `stride` apart, into a tile's type. */
void tile_load_run(const TileInput *input, void *to, const void *from, gint64 stride, gint64 n);
/* n elements of a row from `at` on; the input has the row's first one at row_at. */
void tile_load_part(const TileFrame *frame, const TileInput *input, void *to, gint64 row_at,
                    gint64 at, gint64 n);
/* The element at `at`, into the input's slot. */
void tile_load_one(TileFrame *frame, const TileInput *input, gint64 at);
/* Rows [row, row + rows) of an input, put together. */
void tile_load_rows(TileFrame *frame, const TileInput *input, gint64 row, gint64 rows);
/* What does not change, and what is the same for every tile. */
void tile_begin_chunk(TileFrame *frame);
/* What no operation stored where it belongs. */
void tile_store_outputs(TileFrame *frame, gint64 n);
/* n elements of a dtype, rounded, into memory; of a scalar the same n times. */
void tile_store_as(const TileOp *op, char *to, const void *from, gint64 n);
/* A program with reductions (tile_rows.c). */
TnStatus tile_run_folds(const TileProgram *program, const TnRun *run);

static inline const char *
tile_memory(const TileFrame *frame, const TileInput *input)
{
    return input->in >= 0 ? frame->run->in[input->in] : input->data;
}

static inline void
tile_execute(const TileFrame *frame, const TileOp *op, gint64 n)
{
    const void *in[TILE_MAX_ARITY];
    for (guint k = 0; k < TILE_MAX_ARITY; k++) {
        in[k] = frame->slot[op->in[k]];
    }
    op->fn(frame->slot[op->out], in, n, op);
}
