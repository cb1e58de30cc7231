/* tile_emit.c: from one operator to steps: primitives by the table, and those that need a word of their
 * own. */
#include <tenon/nn.h>

#include "tile_compile.h"

#define VALUE(b, i) (&g_array_index((b)->values, TileValue, i))
#define SOURCE(b, i) (&g_array_index((b)->sources, TileSource, i))

static gint
add_value(TileBuilder *b, TnDtype dtype)
{
    TileValue value = { tile_type_of(dtype), dtype, -1, -1, -1, FALSE };
    g_array_append_val(b->values, value);
    return (gint)b->values->len - 1;
}

static gint
add_step(TileBuilder *b, TileFn fn, gint arity, const gint *in, TnDtype dtype)
{
    gint out = add_value(b, dtype);
    TileStep step = { .fn = fn, .arity = arity, .out = out, .dtype = dtype, .fold = -1 };
    memcpy(step.in, in, (gsize)arity * sizeof(gint));
    g_array_append_val(b->steps, step);
    VALUE(b, out)->step = (gint)b->steps->len - 1;
    return out;
}

/* A step whose result is rounded to a dtype that is narrower than what it was computed in. */
static gint
add_rounded(TileBuilder *b, TileFn fn, gint arity, const gint *in, TnDtype dtype)
{
    gint out = add_step(b, fn, arity, in, dtype);
    return tile_is_native(dtype) ? out : add_step(b, tile_rounding(dtype), 1, &out, dtype);
}

gint
tile_add_source(TileBuilder *b, guint number)
{
    TileSource *source = SOURCE(b, number);
    if (source->value < 0) {
        source->value = add_value(b, source->arg.type.dtype);
        VALUE(b, source->value)->input = (gint)number;
    }
    return source->value;
}

/* What source `number` reads, loaded as another dtype. */
static gint
add_source_as(TileBuilder *b, guint number, TnDtype dtype)
{
    TileSource source = *SOURCE(b, number);
    for (guint i = number + 1; i < b->sources->len; i++) {
        const TileSource *other = SOURCE(b, i);
        if (other->value >= 0 && other->in == source.in && other->data == source.data &&
            VALUE(b, other->value)->dtype == dtype) {
            return other->value;
        }
    }
    source.value = add_value(b, dtype);
    VALUE(b, source.value)->input = (gint)b->sources->len;
    g_array_append_val(b->sources, source);
    return source.value;
}

/* A scalar from memory of its dtype. */
static gint
add_constant(TileBuilder *b, TnDtype dtype, const void *memory)
{
    guint64 cell = 0;
    if (tile_is_native(dtype)) {
        memcpy(&cell, memory, tn_dtype_size(dtype));
    } else {
        tn_dtype_info(dtype)->load(&cell, memory, 1, 1);
    }
    gint value = add_value(b, dtype);
    VALUE(b, value)->constant = (gint)b->constants->len;
    g_byte_array_append(b->constants, (const guint8 *)&cell, sizeof cell);
    return value;
}

static gint
add_number(TileBuilder *b, TnDtype dtype, double number)
{
    guint64 memory = 0;
    tn_dtype_convert(dtype, &memory, 1, TN_DTYPE_F64, &number, 1, 1);
    return add_constant(b, dtype, &memory);
}

/* --- Operators that the table does not hold --------------------------------------------------- */

static gboolean
emit_same(TileBuilder *b, TileCall *call)
{
    (void)b;
    call->out[0] = call->in[0];
    return TRUE;
}

static gboolean
emit_cast(TileBuilder *b, TileCall *call)
{
    TnDtype from = call->in_type[0].dtype, to = call->out_type[0].dtype;
    if (from == to) {
        return emit_same(b, call);
    }
    const TileValue *value = VALUE(b, call->in[0]);
    if (value->input >= 0 && SOURCE(b, value->input)->arg.type.dtype == from &&
        tile_is_native(to) && tile_load(from, tile_type_of(to))) {
        call->out[0] = add_source_as(b, (guint)value->input, to);
        return TRUE;
    }
    const gboolean both_floats =
        tn_dtype_in(from, TN_DTYPES_FLOAT) && tile_type_of(from) == tile_type_of(to);
    if (both_floats && tile_is_native(to)) { /* held as that already */
        return emit_same(b, call);
    }
    if (both_floats) {
        call->out[0] = add_step(b, tile_rounding(to), 1, call->in, to);
        return TRUE;
    }
    if (tile_is_native(to)) {
        const TileFn *fn = tile_convert(tile_type_of(to), tile_type_of(from));
        call->out[0] = add_step(b, fn[cpu_isa], 1, call->in, to);
        return TRUE;
    }
    call->out[0] = add_step(b, tile_cast_through, 1, call->in, to);
    g_array_index(b->steps, TileStep, b->steps->len - 1).from = from;
    return TRUE;
}

gboolean
tile_emit_row(TileBuilder *b, TileCall *call, const char *name)
{
    guint arity;
    gboolean to_bool;
    TnDtype dtype = call->in_type[call->n_in - 1].dtype;
    const TileFn *fn = tile_find(name, tile_type_of(dtype), &arity, &to_bool);
    if (!fn || (gint)arity != call->n_in) {
        return FALSE;
    }
    if (to_bool || arity == 3) {
        call->out[0] = add_step(b, fn[cpu_isa], (gint)arity, call->in, call->out_type[0].dtype);
    } else {
        call->out[0] = add_rounded(b, fn[cpu_isa], (gint)arity, call->in, dtype);
    }
    return TRUE;
}

static gboolean
emit_mod(TileBuilder *b, TileCall *call)
{
    const TnModAttrs *attrs = call->attrs;
    return tile_emit_row(b, call, attrs->fmod ? "mod_trunc" : "mod_floor");
}

static gboolean
emit_shift(TileBuilder *b, TileCall *call)
{
    const TnBitShiftAttrs *attrs = call->attrs;
    return tile_emit_row(b, call, attrs->direction == TN_SHIFT_LEFT ? "shift_left" : "shift_right");
}

static gboolean
emit_gelu(TileBuilder *b, TileCall *call)
{
    const TnGeluAttrs *attrs = call->attrs;
    const gboolean by_tanh = attrs->approximate == TN_GELU_TANH;
    return tile_emit_row(b, call, by_tanh ? "gelu_tanh" : "gelu_erf");
}

static gboolean
emit_gelu_grad(TileBuilder *b, TileCall *call)
{
    const TnGeluAttrs *attrs = call->attrs;
    const gboolean by_tanh = attrs->approximate == TN_GELU_TANH;
    return tile_emit_row(b, call, by_tanh ? "gelu_grad_tanh" : "gelu_grad_erf");
}

static gboolean
emit_zeros(TileBuilder *b, TileCall *call)
{
    call->out[0] = add_number(b, call->out_type[0].dtype, 0);
    return TRUE;
}

static gboolean
emit_ones(TileBuilder *b, TileCall *call)
{
    call->out[0] = add_number(b, call->out_type[0].dtype, 1);
    return TRUE;
}

static gboolean
emit_full(TileBuilder *b, TileCall *call)
{
    const TnFullLikeAttrs *attrs = call->attrs;
    call->out[0] = add_number(b, call->out_type[0].dtype, attrs->value);
    return TRUE;
}

static gboolean
emit_size(TileBuilder *b, TileCall *call)
{
    const TnSizeAttrs *attrs = call->attrs;
    const TnType *like = &call->in_type[0];
    guint32 mask = tn_axes_mask(&attrs->axes, like->rank);
    gint64 size = 1;
    guint64 memory = 0;
    for (gint i = 0; i < like->rank; i++) {
        size *= mask >> i & 1 ? like->dims[i] : 1;
    }
    tn_dtype_convert(call->out_type[0].dtype, &memory, 1, TN_DTYPE_I64, &size, 1, 1);
    call->out[0] = add_constant(b, call->out_type[0].dtype, &memory);
    return TRUE;
}

static gboolean
emit_constant(TileBuilder *b, TileCall *call)
{
    const TnConstantAttrs *attrs = call->attrs;
    TnTensor *tensor = attrs->value;
    const void *memory = (const char *)tn_storage_memory(tn_tensor_storage(tensor)) +
                         tn_tensor_offset(tensor) * (gint64)tn_dtype_size(tn_tensor_dtype(tensor));
    if (tn_tensor_count(tensor) == 1) {
        call->out[0] = add_constant(b, tn_tensor_dtype(tensor), memory);
        return TRUE;
    }
    TileSource source = { .in = -1, .data = memory, .value = -1 };
    source.arg.type = *tn_tensor_type(tensor);
    source.arg.count = tn_tensor_count(tensor);
    memcpy(source.arg.strides, tn_tensor_strides(tensor), sizeof source.arg.strides);
    g_ptr_array_add(b->tensors, tn_tensor_ref(tensor));
    g_array_append_val(b->sources, source);
    call->out[0] = tile_add_source(b, b->sources->len - 1);
    return TRUE;
}

/* A reduction of its only input over the axes of a mask. */
static gboolean
emit_fold(TileBuilder *b, TileCall *call, FoldKind kind, guint32 mask)
{
    TileReduction fold = { kind, mask, call->in_type[0] };
    if (VALUE(b, call->in[0])->type == TILE_BOOL) {
        return FALSE;
    }
    call->out[0] = add_step(b, NULL, 1, call->in, call->out_type[0].dtype);
    g_array_index(b->steps, TileStep, b->steps->len - 1).fold = (gint)b->folds->len;
    g_array_append_val(b->folds, fold);
    VALUE(b, call->out[0])->apart =
        call->out_type[0].rank != call->in_type[0].rank && call->out_type[0].rank != 0;
    return TRUE;
}

static gboolean
emit_reduce(TileBuilder *b, TileCall *call)
{
    static const struct {
        const char *op;
        FoldKind kind;
    } kinds[] = {
        { "reduce_sum", FOLD_SUM },
        { "reduce_prod", FOLD_PROD },
        { "reduce_max", FOLD_MAX },
        { "reduce_min", FOLD_MIN },
    };
    const TnReduceAttrs *attrs = call->attrs;
    guint i = 0;
    while (strcmp(kinds[i].op, call->op->name) != 0) {
        i++;
    }
    return emit_fold(b, call, kinds[i].kind, tn_axes_mask(&attrs->axes, call->in_type[0].rank));
}

/* Sums over every axis in which out has size 1 or no axis at all. */
static gboolean
emit_reduce_to(TileBuilder *b, TileCall *call)
{
    const TnType *in = &call->in_type[0], *out = &call->out_type[0];
    const gint lead = in->rank - out->rank;
    guint32 mask = 0;
    for (gint i = 0; i < in->rank; i++) {
        mask |= i < lead || out->dims[i - lead] == 1 ? 1u << i : 0;
    }
    return emit_fold(b, call, FOLD_SUM, mask);
}

static const struct {
    const char *op;
    gboolean (*emit)(TileBuilder *b, TileCall *call);
} special[] = {
    { "identity", emit_same },       { "stop_gradient", emit_same },  { "expand_as", emit_same },
    { "expand", emit_same },         { "cast", emit_cast },           { "mod", emit_mod },
    { "bit_shift", emit_shift },     { "zeros_like", emit_zeros },    { "ones_like", emit_ones },
    { "full_like", emit_full },      { "size", emit_size },           { "constant", emit_constant },
    { "reduce_sum", emit_reduce },   { "reduce_prod", emit_reduce },  { "reduce_max", emit_reduce },
    { "reduce_min", emit_reduce },   { "reduce_to", emit_reduce_to }, { "gelu", emit_gelu },
    { "gelu_grad", emit_gelu_grad },
};

gboolean
tile_emit_own(TileBuilder *b, TileCall *call)
{
    for (guint i = 0; i < G_N_ELEMENTS(special); i++) {
        if (strcmp(special[i].op, call->op->name) == 0) {
            return special[i].emit(b, call);
        }
    }
    return FALSE;
}
