/* tile_plan.c: from steps to a program: which axes are walked how, what is computed how often,
 * where each value lies. */
#include "tile_compile.h"

#define VALUE(p, i) (&g_array_index((p)->b->values, TileValue, i))
#define STEP(p, i) (&g_array_index((p)->b->steps, TileStep, i))
#define SOURCE(p, i) (&g_array_index((p)->b->sources, TileSource, i))

typedef struct {
    gsize size; /* bytes of an element */
    gboolean used;
} Register;

typedef struct {
    TileBuilder *b;
    TileProgram *program;
    gboolean *live;      /* of steps */
    gint *last_use;      /* of values: the last step that reads it */
    gboolean *is_output; /* of values: stored at the end */
    TileLevel *level;    /* of values */
    gint *slot;          /* of values; -1: none yet */
    gint *input;         /* of values: number in program->inputs; -1 */
    gint *reg;           /* of values: register; -1 */
    GArray *slots;       /* TileSlot */
    GArray *registers;   /* Register */
    guint n_scalars;
    GArray *ops[N_LEVELS];
    GArray *stores;
} Plan;

static gboolean
fail(GError **error, const char *why)
{
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "element-wise group: %s", why);
    return FALSE;
}

/* --- What is needed --------------------------------------------------------------------------- */

static void
mark_live(Plan *p)
{
    const TnNode *node = p->b->node;
    for (gint k = 0; k < node->n_out; k++) {
        p->is_output[p->b->outputs[k]] = TRUE;
        p->last_use[p->b->outputs[k]] = G_MAXINT;
    }
    for (gint s = (gint)p->b->steps->len - 1; s >= 0; s--) {
        const TileStep *step = STEP(p, s);
        p->live[s] = p->last_use[step->out] >= 0;
        for (gint k = 0; p->live[s] && k < step->arity; k++) {
            p->last_use[step->in[k]] = MAX(p->last_use[step->in[k]], s);
        }
    }
}

/* --- Axes ------------------------------------------------------------------------------------- */

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

static gboolean
add_inputs(Plan *p, GError **error)
{
    const TnType *shape = &p->b->node->out[0].type;
    p->program->inputs = g_new0(TileInput, p->b->sources->len + 1);
    for (guint i = 0; i < p->b->sources->len; i++) {
        const TileSource *source = SOURCE(p, i);
        if (source->value < 0 || p->last_use[source->value] < 0) {
            continue;
        }
        if (!broadcasts(&source->arg.type, shape)) {
            return fail(error, "an input does not broadcast to the output");
        }
        p->input[source->value] = (gint)p->program->n_inputs;
        TileInput *input = &p->program->inputs[p->program->n_inputs++];
        input->in = source->in;
        input->data = source->data;
        input->size = tn_dtype_size(source->arg.type.dtype);
        input->type = VALUE(p, source->value)->type;
        input->load = tile_load(source->arg.type.dtype, input->type);
        if (!input->load && (input->type != tile_type_of(source->arg.type.dtype) ||
                             !tile_is_native(source->arg.type.dtype))) {
            return fail(error, "an input cannot be loaded as what it is cast to");
        }
        cpu_broadcast(&source->arg, shape->rank, input->strides);
    }
    return TRUE;
}

static void
choose_axes(Plan *p)
{
    TileProgram *program = p->program;
    const TnArg *out = &p->b->node->out[0];
    guint n = program->n_inputs + 1;
    gint64(*strides)[TN_MAX_RANK] = g_malloc0(n * sizeof *strides);
    for (guint i = 0; i < program->n_inputs; i++) {
        memcpy(strides[i], program->inputs[i].strides, sizeof *strides);
    }
    tn_type_strides(&out->type, strides[n - 1]);
    memcpy(program->dims, out->type.dims, sizeof program->dims);
    program->rank = cpu_collapse(out->type.rank, program->dims, (gint)n, strides);
    for (guint i = 0; i < program->n_inputs; i++) {
        memcpy(program->inputs[i].strides, strides[i], sizeof *strides);
    }
    if (program->rank == 0) {
        program->rank = 1;
        program->dims[0] = 1;
        for (guint i = 0; i < program->n_inputs; i++) {
            program->inputs[i].strides[0] = 0;
        }
    }
    program->count = out->count;
    program->row = program->dims[program->rank - 1];
    program->grouped = program->rank > 1 && program->row < TILE_ROW;
    g_free(strides);
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

/* How an input is read. One that is an output as it is is never read in place: the output's memory
 * may be that of another input. */
static void
choose_access(Plan *p, TileInput *input, gboolean is_output)
{
    const TileProgram *program = p->program;
    gint last = program->rank - 1;
    if (zeros(input->strides, program->rank)) {
        input->level = LEVEL_ONCE;
    } else if (!program->grouped && input->strides[last] == 0) {
        input->level = LEVEL_ROW;
    } else {
        input->level = LEVEL_TILE;
        input->periodic = program->grouped && zeros(input->strides, last);
        input->direct = !input->load && !is_output &&
                        (program->grouped ? runs_flat(program, input) : input->strides[last] == 1);
    }
}

/* --- Slots ------------------------------------------------------------------------------------ */

static gint
new_slot(Plan *p, TileSlotKind kind, guint at)
{
    TileSlot slot = { kind, at };
    g_array_append_val(p->slots, slot);
    return (gint)p->slots->len - 1;
}

static gint
new_register(Plan *p, gint value)
{
    gsize size = tile_type_size(VALUE(p, value)->type);
    guint i = 0;
    for (; i < p->registers->len; i++) {
        Register *r = &g_array_index(p->registers, Register, i);
        if (!r->used && r->size == size) {
            break;
        }
    }
    if (i == p->registers->len) {
        Register fresh = { size, FALSE };
        g_array_append_val(p->registers, fresh);
    }
    g_array_index(p->registers, Register, i).used = TRUE;
    p->reg[value] = (gint)i;
    return new_slot(p, SLOT_REGISTER, i);
}

static void
release_register(Plan *p, gint value)
{
    gboolean stays = p->input[value] >= 0 && p->program->inputs[p->input[value]].periodic;
    if (p->reg[value] >= 0 && !stays) {
        g_array_index(p->registers, Register, p->reg[value]).used = FALSE;
        p->reg[value] = -1;
    }
}

/* Constants and inputs have their places before the first step. */
static void
place_inputs(Plan *p)
{
    for (gint v = 0; v < (gint)p->b->values->len; v++) {
        const TileValue *value = VALUE(p, v);
        if (p->last_use[v] < 0) {
            continue;
        }
        if (value->constant >= 0) {
            p->level[v] = LEVEL_ONCE;
            p->slot[v] = new_slot(p, SLOT_CONSTANT, (guint)value->constant);
        } else if (p->input[v] >= 0) {
            TileInput *input = &p->program->inputs[p->input[v]];
            choose_access(p, input, p->is_output[v]);
            p->level[v] = input->level;
            p->slot[v] = input->level != LEVEL_TILE ? new_slot(p, SLOT_SCALAR, p->n_scalars++)
                         : input->direct            ? new_slot(p, SLOT_INPUT, (guint)p->input[v])
                                                    : new_register(p, v);
            input->slot = (guint16)p->slot[v];
        }
    }
}

/* Whether a step may write output k's memory while inputs are still read: not if a later step reads
 * an input of the same dtype where it is, for that may be the same memory. */
static gboolean
may_write(Plan *p, gint step, TnDtype dtype)
{
    for (gint s = step + 1; s < (gint)p->b->steps->len; s++) {
        for (gint k = 0; p->live[s] && k < STEP(p, s)->arity; k++) {
            const gint value = STEP(p, s)->in[k], in = p->input[value];
            if (in >= 0 && p->program->inputs[in].direct && VALUE(p, value)->dtype == dtype) {
                return FALSE;
            }
        }
    }
    return TRUE;
}

/* The output that a step may write where it lies, or -1. */
static gint
direct_output(Plan *p, gint number)
{
    const TileStep *step = STEP(p, number);
    for (gint k = 0; k < p->b->node->n_out; k++) {
        TnDtype dtype = VALUE(p, step->out)->dtype;
        if (p->b->outputs[k] == step->out && tile_is_native(dtype) && may_write(p, number, dtype)) {
            return k;
        }
    }
    return -1;
}

/* The operands' slots; those that must not be scalars are spread first. */
static void
bind_operands(Plan *p, gint number, TileOp *op)
{
    const TileStep *step = STEP(p, number);
    for (gint k = 0; k < step->arity; k++) {
        gint v = step->in[k];
        op->in[k] = (guint16)p->slot[v];
        if (p->level[step->out] == LEVEL_TILE && p->level[v] < LEVEL_TILE) {
            op->scalar |= (guint8)(1 << k);
        }
    }
}

/* `where` with a scalar condition: the condition is spread into a register of its own. */
static gint
spread_condition(Plan *p, TileOp *op)
{
    Register fresh = { 1, TRUE };
    guint at = p->registers->len;
    for (guint i = 0; i < p->registers->len; i++) {
        const Register *r = &g_array_index(p->registers, Register, i);
        if (!r->used && r->size == 1) {
            at = i;
        }
    }
    if (at == p->registers->len) {
        g_array_append_val(p->registers, fresh);
    }
    gint slot = new_slot(p, SLOT_REGISTER, at);
    TileOp spread = { .fn = tile_copy(TILE_BOOL)[cpu_isa],
                      .out = (guint16)slot,
                      .in = { op->in[0] },
                      .arity = 1,
                      .scalar = 1 };
    g_array_append_val(p->ops[LEVEL_TILE], spread);
    op->in[0] = (guint16)slot;
    op->scalar &= (guint8)~1;
    return (gint)at;
}

static void
place_step(Plan *p, gint number)
{
    const TileStep *step = STEP(p, number);
    TileOp op = {
        .fn = step->fn, .arity = (guint8)step->arity, .dtype = step->dtype, .from = step->from
    };
    TileLevel level = LEVEL_ONCE;
    for (gint k = 0; k < step->arity; k++) {
        level = MAX(level, p->level[step->in[k]]);
    }
    p->level[step->out] = level;
    bind_operands(p, number, &op);
    gint spread = -1;
    if (step->arity == 3 && (op.scalar & 1)) {
        spread = spread_condition(p, &op);
    }
    for (gint k = 0; k < step->arity; k++) {
        gboolean same = tile_type_size(VALUE(p, step->in[k])->type) ==
                        tile_type_size(VALUE(p, step->out)->type);
        if (p->last_use[step->in[k]] == number && same) {
            release_register(p, step->in[k]); /* the result may take its place */
        }
    }
    gint out = level == LEVEL_TILE ? direct_output(p, number) : -1;
    p->slot[step->out] = level < LEVEL_TILE ? new_slot(p, SLOT_SCALAR, p->n_scalars++)
                         : out >= 0         ? new_slot(p, SLOT_OUTPUT, (guint)out)
                                            : new_register(p, step->out);
    op.out = (guint16)p->slot[step->out];
    g_array_append_val(p->ops[level], op);
    for (gint k = 0; k < step->arity; k++) {
        if (p->last_use[step->in[k]] == number) {
            release_register(p, step->in[k]);
        }
    }
    if (spread >= 0) {
        g_array_index(p->registers, Register, spread).used = FALSE;
    }
}

static void
place_outputs(Plan *p)
{
    TileProgram *program = p->program;
    const TnNode *node = p->b->node;
    program->n_outputs = (guint)node->n_out;
    program->outputs = g_new0(TileOutput, node->n_out + 1);
    for (gint k = 0; k < node->n_out; k++) {
        gint v = p->b->outputs[k];
        TileOutput *output = &program->outputs[k];
        const TileSlot *slot = &g_array_index(p->slots, TileSlot, p->slot[v]);
        output->out = k;
        output->size = tn_dtype_size(node->out[k].type.dtype);
        output->direct = slot->kind == SLOT_OUTPUT && slot->at == (guint)k;
        output->slot = (guint16)(output->direct ? p->slot[v] : new_slot(p, SLOT_OUTPUT, (guint)k));
        if (!output->direct) {
            TileOp store = { .out = output->slot,
                             .in = { (guint16)p->slot[v] },
                             .arity = 1,
                             .scalar = p->level[v] < LEVEL_TILE,
                             .dtype = node->out[k].type.dtype };
            store.fn = tile_copy(tile_type_of(store.dtype))[cpu_isa];
            g_array_append_val(p->stores, store);
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

static gboolean
choose_length(Plan *p, GError **error)
{
    TileProgram *program = p->program;
    gsize bytes = 0;
    for (guint i = 0; i < p->registers->len; i++) {
        bytes += g_array_index(p->registers, Register, i).size;
    }
    gint64 most =
        bytes == 0 ? TILE_MAX_LENGTH : MIN(TILE_MAX_LENGTH, (gint64)(TILE_STACK / bytes) & ~63);
    if (most < TILE_ROW) {
        return fail(error, "too many values at once");
    }
    if (program->grouped) {
        program->per_row = MIN(most / program->row, program->count / program->row);
        program->length = program->per_row * program->row;
        program->n_tiles = cpu_parts(program->count, program->length);
    } else {
        program->per_row = MAX(1, cpu_parts(program->row, most));
        program->length = (cpu_parts(program->row, program->per_row) + 15) & ~15;
        program->n_tiles = program->count / program->row * program->per_row;
    }
    gint64 filled = MAX(1, program->count / program->n_tiles);
    program->tiles_per_chunk = cpu_items_per_chunk(program->n_tiles, filled);
    program->n_chunks =
        (program->n_tiles + program->tiles_per_chunk - 1) / program->tiles_per_chunk;
    program->fetches = is_large(program);
    gsize at = 0;
    for (guint i = 0; i < p->slots->len; i++) {
        TileSlot *slot = &g_array_index(p->slots, TileSlot, i);
        at = 0;
        for (guint r = 0; slot->kind == SLOT_REGISTER && r < slot->at; r++) {
            gsize size = g_array_index(p->registers, Register, r).size;
            at += (size * (gsize)program->length + 63) & ~(gsize)63;
        }
        if (slot->kind == SLOT_REGISTER) {
            slot->at = (guint32)at;
        }
    }
    return TRUE;
}

static gboolean
plan_steps(Plan *p, GError **error)
{
    const TnNode *node = p->b->node;
    for (gint k = 1; k < node->n_out; k++) {
        if (!same_sizes(&node->out[k].type, &node->out[0].type)) {
            return fail(error, "outputs of different shapes");
        }
    }
    mark_live(p);
    if (!add_inputs(p, error)) {
        return FALSE;
    }
    if (node->out[0].count == 0) {
        return TRUE;
    }
    choose_axes(p);
    place_inputs(p);
    for (gint s = 0; s < (gint)p->b->steps->len; s++) {
        if (p->live[s]) {
            place_step(p, s);
        }
    }
    place_outputs(p);
    if (p->slots->len > TILE_MAX_SLOTS || p->n_scalars > TILE_MAX_SCALARS ||
        p->program->n_inputs > TILE_MAX_INPUTS) {
        return fail(error, "too many values");
    }
    return choose_length(p, error);
}

static void
plan_init(Plan *p, TileBuilder *b)
{
    guint n = b->values->len + 1;
    *p = (Plan){ .b = b,
                 .program = g_new0(TileProgram, 1),
                 .live = g_new0(gboolean, b->steps->len + 1),
                 .last_use = g_new(gint, n),
                 .is_output = g_new0(gboolean, n),
                 .level = g_new0(TileLevel, n),
                 .slot = g_new(gint, n),
                 .input = g_new(gint, n),
                 .reg = g_new(gint, n),
                 .slots = g_array_new(FALSE, TRUE, sizeof(TileSlot)),
                 .registers = g_array_new(FALSE, TRUE, sizeof(Register)),
                 .stores = g_array_new(FALSE, TRUE, sizeof(TileOp)) };
    memset(p->last_use, 0xff, n * sizeof(gint));
    memset(p->slot, 0xff, n * sizeof(gint));
    memset(p->input, 0xff, n * sizeof(gint));
    memset(p->reg, 0xff, n * sizeof(gint));
    for (gint i = 0; i < N_LEVELS; i++) {
        p->ops[i] = g_array_new(FALSE, TRUE, sizeof(TileOp));
    }
}

/* Moves what was built into the program. */
static TileProgram *
plan_finish(Plan *p, gboolean ok)
{
    TileProgram *program = p->program;
    program->n_slots = p->slots->len;
    program->slots = (TileSlot *)(gpointer)g_array_free(p->slots, FALSE);
    for (gint i = 0; i < N_LEVELS; i++) {
        program->n_ops[i] = p->ops[i]->len;
        program->ops[i] = (TileOp *)(gpointer)g_array_free(p->ops[i], FALSE);
    }
    program->n_stores = p->stores->len;
    program->stores = (TileOp *)(gpointer)g_array_free(p->stores, FALSE);
    program->constants = g_memdup2(p->b->constants->data, p->b->constants->len);
    program->tensors = g_steal_pointer(&p->b->tensors);
    g_array_unref(p->registers);
    g_free(p->live);
    g_free(p->last_use);
    g_free(p->is_output);
    g_free(p->level);
    g_free(p->slot);
    g_free(p->input);
    g_free(p->reg);
    if (!ok) {
        tile_free(program);
        return NULL;
    }
    return program;
}

TileProgram *
tile_plan(TileBuilder *builder, GError **error)
{
    Plan p;
    plan_init(&p, builder);
    gboolean ok = plan_steps(&p, error);
    return plan_finish(&p, ok);
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
    g_free(program->constants);
    g_clear_pointer(&program->tensors, g_ptr_array_unref);
    g_free(program);
}
