/* tile_run.c: runs a program: chunks of tiles, and for each tile loads, operations, stores. */
#include "tile.h"

/* Registers may be rounded up to whole cache lines. */
#define STACK_SLACK 8192

typedef struct {
    const TileProgram *program;
    const TnRun *run;
} Job;

/* One thread's place in a program. */
typedef struct {
    const TileProgram *program;
    const TnRun *run;
    void *slot[TILE_MAX_SLOTS];
    guint64 scalars[TILE_MAX_SCALARS];
    guint8 stack[TILE_STACK + STACK_SLACK] __attribute__((aligned(64)));
} Frame;

static void
frame_init(Frame *frame, const Job *job)
{
    const TileProgram *program = job->program;
    frame->program = program;
    frame->run = job->run;
    for (guint i = 0; i < program->n_slots; i++) {
        const TileSlot *slot = &program->slots[i];
        switch (slot->kind) {
        case SLOT_REGISTER: frame->slot[i] = frame->stack + slot->at; break;
        case SLOT_SCALAR: frame->slot[i] = &frame->scalars[slot->at]; break;
        case SLOT_CONSTANT: frame->slot[i] = program->constants + slot->at; break;
        default: frame->slot[i] = NULL; break;
        }
    }
}

static inline const char *
input_memory(const Frame *frame, const TileInput *input)
{
    return input->in >= 0 ? frame->run->in[input->in] : input->data;
}

static inline void
execute(const Frame *frame, const TileOp *op, gint64 n)
{
    const void *in[TILE_MAX_ARITY];
    for (guint k = 0; k < TILE_MAX_ARITY; k++) {
        in[k] = frame->slot[op->in[k]];
    }
    op->fn(frame->slot[op->out], in, n, op);
}

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
execute_level(const Frame *frame, TileLevel level, gint64 n)
{
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_ops[level]; i++) {
        execute(frame, &program->ops[level][i], n);
    }
}

/* The operations of a tile of memory that is in no cache; between them what the next tile reads and
 * writes is fetched, a part at a time: the processor's own prefetch stops at the end of a page, which
 * is about where tiles end. */
static void
execute_fetching(const Frame *frame, gint64 n, gint64 left)
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
        execute(frame, &program->ops[LEVEL_TILE][i], n);
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

/* n elements of an input, `stride` apart, into a tile's type. */
static void
load_run(const TileInput *input, void *to, const void *from, gint64 stride, gint64 n)
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

static void
load_one(Frame *frame, const TileInput *input, gint64 at)
{
    const char *from = input_memory(frame, input) + at * (gint64)input->size;
    load_run(input, frame->slot[input->slot], from, 1, 1);
}

/* Rows [row, row + rows) of an input, put together. */
static void
load_rows(Frame *frame, const TileInput *input, gint64 row, gint64 rows)
{
    const TileProgram *program = frame->program;
    gint outer = program->rank - 1;
    gint64 index[TN_MAX_RANK] = { 0 }, stride = input->strides[outer];
    gint64 step = (gint64)tile_type_size(input->type) * program->row;
    const char *memory = input_memory(frame, input);
    char *to = frame->slot[input->slot];
    cpu_position(outer, program->dims, row, index);
    for (gint64 i = 0; i < rows; i++, to += step) {
        gint64 at = cpu_dot(outer, index, input->strides);
        load_run(input, to, memory + at * (gint64)input->size, stride, program->row);
        cpu_next(outer, program->dims, index);
    }
}

/* --- Tiles ------------------------------------------------------------------------------------ */

/* n elements of a dtype that is not computed in; of a scalar the same n times. */
static void
store_converted(const TileOp *op, char *to, const void *from, gint64 n)
{
    const TnDtypeInfo *info = tn_dtype_info(op->dtype);
    const gsize size = tn_dtype_size(op->dtype);
    info->store(to, from, 1, op->scalar ? MIN((gsize)n, 1) : (gsize)n);
    for (gint64 i = 1; op->scalar && i < n; i++) {
        memcpy(to + (gsize)i * size, to, size);
    }
}

static void
store_outputs(Frame *frame, gint64 n)
{
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_stores; i++) {
        const TileOp *op = &program->stores[i];
        if (tile_is_native(op->dtype)) {
            execute(frame, op, n);
        } else {
            store_converted(op, frame->slot[op->out], frame->slot[op->in[0]], n);
        }
    }
}

static void
finish_tile(Frame *frame, gint64 start, gint64 n)
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
    store_outputs(frame, n);
}

/* A part of a row that begins at `at` of it; row_at[i] is where input i has the row's first
 * element. */
static void
part_tile(Frame *frame, gint64 row, gint64 at, const gint64 *row_at)
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
            input_memory(frame, input) + (row_at[i] + at * stride) * (gint64)input->size;
        if (input->direct) {
            frame->slot[input->slot] = (void *)from;
        } else {
            load_run(input, frame->slot[input->slot], from, stride, n);
        }
    }
    finish_tile(frame, row * program->row + at, n);
}

/* Whole rows put together. */
static void
grouped_tile(Frame *frame, gint64 tile)
{
    const TileProgram *program = frame->program;
    gint64 start = tile * program->length, n = MIN(program->length, program->count - start);
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        if (input->direct) {
            frame->slot[input->slot] =
                (void *)(input_memory(frame, input) + start * (gint64)input->size);
        } else if (input->level == LEVEL_TILE && !input->periodic) {
            load_rows(frame, input, tile * program->per_row, n / program->row);
        }
    }
    finish_tile(frame, start, n);
}

/* Where each input has a row's first element, and what changes with the row. */
static void
begin_row(Frame *frame, gint64 row, gint64 *row_at)
{
    const TileProgram *program = frame->program;
    gint64 index[TN_MAX_RANK] = { 0 };
    gint outer = program->rank - 1;
    cpu_position(outer, program->dims, row, index);
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        row_at[i] = cpu_dot(outer, index, input->strides);
        if (input->level == LEVEL_ROW) {
            load_one(frame, input, row_at[i]);
        }
    }
    execute_level(frame, LEVEL_ROW, 1);
}

static void
begin_chunk(Frame *frame)
{
    const TileProgram *program = frame->program;
    for (guint i = 0; i < program->n_inputs; i++) {
        const TileInput *input = &program->inputs[i];
        if (input->level == LEVEL_ONCE) {
            load_one(frame, input, 0);
        } else if (input->periodic) {
            load_rows(frame, input, 0, program->per_row);
        }
    }
    execute_level(frame, LEVEL_ONCE, 1);
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const TileProgram *program = job->program;
    gint64 first = (gint64)chunk * program->tiles_per_chunk, row = -1;
    gint64 end = MIN(program->n_tiles, first + program->tiles_per_chunk);
    gint64 row_at[TILE_MAX_INPUTS];
    Frame frame;
    (void)n;
    frame_init(&frame, job);
    begin_chunk(&frame);
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
    return tn_parallel_for((gsize)program->n_chunks, run_chunk, &job);
}
