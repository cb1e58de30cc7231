/* tile_frame.c: what is loaded into a frame and stored from it. */
#include "tile_run.h"

void
tile_frame_init(TileFrame *frame)
{
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_slots; i++) {
        const TileSlot *slot = &program->slots[i];
        switch (slot->kind) {
        case SLOT_REGISTER: frame->slot[i] = frame->stack + slot->at; break;
        case SLOT_SCALAR: frame->slot[i] = &frame->scalars[slot->at]; break;
        case SLOT_CONSTANT: frame->slot[i] = program->constants + slot->at; break;
        case SLOT_CARRIED: frame->slot[i] = frame->carried + slot->at; break;
        case SLOT_ROWS:
            frame->slot[i] = frame->rows + slot->at * TILE_MAX_ROWS * sizeof(guint64);
            break;
        default: frame->slot[i] = NULL; break;
        }
    }
}

/* --- Loads ------------------------------------------------------------------------------------ */

#define STRIDED(T)                                                                                 \
    {                                                                                              \
        T *out = to;                                                                               \
        const T *in = from;                                                                        \
        for (gint64 i = 0; i < n; i++) {                                                           \
            out[i] = in[i * stride];                                                               \
        }                                                                                          \
    }

void
tile_load_run(const TileInput *input, void *to, const void *from, gint64 stride, gint64 n)
{
    if (input->load) {
        input->load(to, from, stride, (gsize)n);
    } else if (stride == 1 && n >= 16) {
        memcpy(to, from, (gsize)n * input->size);
    } else if (input->size == 4) {
        STRIDED(guint32)
    } else if (input->size == 8) {
        STRIDED(guint64)
    } else {
        STRIDED(guint8)
    }
}

void
tile_load_one(TileFrame *frame, const TileInput *input, gint64 at)
{
    const char *from = tile_memory(frame, input) + at * (gint64)input->size;
    tile_load_run(input, frame->slot[input->slot], from, 1, 1);
}

/* Of a row that the input walks along several axes. */
static void
load_several(const TileInput *input, char *to, const char *row, gint64 at, gint64 n)
{
    const gint last = input->inner_rank - 1;
    const gint64 size = (gint64)tile_type_size(input->type), run = input->inner_dims[last];
    gint64 index[TN_MAX_RANK];
    while (n > 0) {
        cpu_position(input->inner_rank, input->inner_dims, at, index);
        const gint64 m = MIN(n, run - index[last]);
        const gint64 from = cpu_dot(input->inner_rank, index, input->inner_strides);
        tile_load_run(input, to, row + from * (gint64)input->size, input->inner_strides[last], m);
        to += m * size;
        at += m;
        n -= m;
    }
}

void
tile_load_part(const TileFrame *frame, const TileInput *input, void *to, gint64 row_at, gint64 at,
               gint64 n)
{
    const char *row = tile_memory(frame, input) + row_at * (gint64)input->size;
    if (input->inner_rank > 0) {
        load_several(input, to, row, at, n);
        return;
    }
    const gint64 stride = input->strides[frame->program->rank - 1];
    tile_load_run(input, to, row + at * stride * (gint64)input->size, stride, n);
}

void
tile_load_rows(TileFrame *frame, const TileInput *input, gint64 row, gint64 rows)
{
    const TileProgram *program = frame->program;
    gint outer = program->rank - 1;
    gint64 index[TN_MAX_RANK] = { 0 };
    gint64 step = (gint64)tile_type_size(input->type) * program->row;
    char *to = frame->slot[input->slot];
    cpu_position(outer, program->dims, row, index);
    for (gint64 i = 0; i < rows; i++, to += step) {
        tile_load_part(frame, input, to, cpu_dot(outer, index, input->strides), 0, program->row);
        cpu_next(outer, program->dims, index);
    }
}

/* --- Stores ------------------------------------------------------------------------------------ */

void
tile_store_as(const TileOp *op, char *to, const void *from, gint64 n)
{
    if (tile_is_native(op->dtype)) {
        const void *const in[TILE_MAX_ARITY] = { from };
        op->fn(to, in, n, op);
        return;
    }
    const TileStore store = tile_store(op->dtype);
    const gsize size = tn_dtype_size(op->dtype), m = op->scalar ? MIN((gsize)n, 1) : (gsize)n;
    if (store != NULL) {
        store(to, from, m);
    } else {
        tn_dtype_info(op->dtype)->store(to, from, 1, m);
    }
    for (gint64 i = 1; op->scalar && i < n; i++) {
        memcpy(to + (gsize)i * size, to, size);
    }
}

void
tile_store_outputs(TileFrame *frame, gint64 n)
{
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_stores; i++) {
        const TileOp *op = &program->stores[i];
        tile_store_as(op, frame->slot[op->out], frame->slot[op->in[0]], n);
    }
}

void
tile_begin_chunk(TileFrame *frame)
{
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        if (input->level == LEVEL_ONCE) {
            tile_load_one(frame, input, 0);
        } else if (input->periodic) {
            tile_load_rows(frame, input, 0, program->per_row);
        }
    }
    for (guint i = 0; i < program->n_ops[LEVEL_ONCE]; i++) {
        tile_execute(frame, &program->ops[LEVEL_ONCE][i], 1);
    }
}
