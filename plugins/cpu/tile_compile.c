/* tile_compile.c: from a node to steps: primitives by the table, a few that need a word of their
 * own, composites and groups through the graph of their body. */
#include "tile_compile.h"

#include <tenon/graph.h>
#include <tenon/nn.h>

#define VALUE(b, i) (&g_array_index((b)->values, TileValue, i))
#define SOURCE(b, i) (&g_array_index((b)->sources, TileSource, i))

/* One operator to be added: its operands as values (-1: absent, or only its type counts). */
typedef struct {
    const TnOp *op;
    const void *attrs;
    gint n_in, n_out;
    gint in[TN_MAX_IN];
    TnType in_type[TN_MAX_IN];
    TnType out_type[TN_MAX_OUT];
    gint out[TN_MAX_OUT];
} Call;

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

static gint
add_source(TileBuilder *b, guint number)
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
emit_same(TileBuilder *b, Call *call)
{
    (void)b;
    call->out[0] = call->in[0];
    return TRUE;
}

static gboolean
emit_cast(TileBuilder *b, Call *call)
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

static gboolean
emit_by_name(TileBuilder *b, Call *call, const char *name)
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
emit_mod(TileBuilder *b, Call *call)
{
    const TnModAttrs *attrs = call->attrs;
    return emit_by_name(b, call, attrs->fmod ? "mod_trunc" : "mod_floor");
}

static gboolean
emit_shift(TileBuilder *b, Call *call)
{
    const TnBitShiftAttrs *attrs = call->attrs;
    return emit_by_name(b, call, attrs->direction == TN_SHIFT_LEFT ? "shift_left" : "shift_right");
}

static gboolean
emit_gelu(TileBuilder *b, Call *call)
{
    const TnGeluAttrs *attrs = call->attrs;
    const gboolean by_tanh = attrs->approximate == TN_GELU_TANH;
    return emit_by_name(b, call, by_tanh ? "gelu_tanh" : "gelu_erf");
}

static gboolean
emit_gelu_grad(TileBuilder *b, Call *call)
{
    const TnGeluAttrs *attrs = call->attrs;
    const gboolean by_tanh = attrs->approximate == TN_GELU_TANH;
    return emit_by_name(b, call, by_tanh ? "gelu_grad_tanh" : "gelu_grad_erf");
}

static gboolean
emit_zeros(TileBuilder *b, Call *call)
{
    call->out[0] = add_number(b, call->out_type[0].dtype, 0);
    return TRUE;
}

static gboolean
emit_ones(TileBuilder *b, Call *call)
{
    call->out[0] = add_number(b, call->out_type[0].dtype, 1);
    return TRUE;
}

static gboolean
emit_full(TileBuilder *b, Call *call)
{
    const TnFullLikeAttrs *attrs = call->attrs;
    call->out[0] = add_number(b, call->out_type[0].dtype, attrs->value);
    return TRUE;
}

static gboolean
emit_size(TileBuilder *b, Call *call)
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
emit_constant(TileBuilder *b, Call *call)
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
    call->out[0] = add_source(b, b->sources->len - 1);
    return TRUE;
}

/* A reduction of its only input over the axes of a mask. */
static gboolean
emit_fold(TileBuilder *b, Call *call, FoldKind kind, guint32 mask)
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
emit_reduce(TileBuilder *b, Call *call)
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
emit_reduce_to(TileBuilder *b, Call *call)
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
    gboolean (*emit)(TileBuilder *b, Call *call);
} special[] = {
    { "identity", emit_same },       { "stop_gradient", emit_same },  { "expand_as", emit_same },
    { "expand", emit_same },         { "cast", emit_cast },           { "mod", emit_mod },
    { "bit_shift", emit_shift },     { "zeros_like", emit_zeros },    { "ones_like", emit_ones },
    { "full_like", emit_full },      { "size", emit_size },           { "constant", emit_constant },
    { "reduce_sum", emit_reduce },   { "reduce_prod", emit_reduce },  { "reduce_max", emit_reduce },
    { "reduce_min", emit_reduce },   { "reduce_to", emit_reduce_to }, { "gelu", emit_gelu },
    { "gelu_grad", emit_gelu_grad },
};

static gboolean emit_body(TileBuilder *b, Call *call, GError **error);

static gboolean
refuse(const Call *call, GError **error)
{
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                "the cpu device has no element-wise %s of %s", call->op->name,
                call->n_in > 0 ? tn_dtype_name(call->in_type[0].dtype) : "nothing");
    return FALSE;
}

static gboolean
emit(TileBuilder *b, Call *call, GError **error)
{
    const char *name = call->op->name;
    for (guint i = 0; i < G_N_ELEMENTS(special); i++) {
        if (strcmp(special[i].op, name) == 0 && special[i].emit(b, call)) {
            return TRUE;
        }
    }
    if (call->op->body) {
        return emit_body(b, call, error);
    }
    if (emit_by_name(b, call, name)) {
        return TRUE;
    }
    return refuse(call, error);
}

/* --- Graphs ----------------------------------------------------------------------------------- */

/* Values of a graph's nodes: outputs of node i begin at first[i]. */
typedef struct {
    const TnGraph *graph;
    guint *first;
    gint *value;
} Map;

static gboolean
emit_node(TileBuilder *b, Map *map, guint number, GError **error)
{
    const TnVal *in;
    g_autofree Call *call = g_new0(Call, 1);
    call->op = tn_graph_node_op(map->graph, number);
    call->attrs = tn_graph_node_attrs(map->graph, number);
    call->n_in = tn_graph_node_inputs(map->graph, number, &in);
    call->n_out = tn_graph_node_n_outputs(map->graph, number);
    for (gint i = 0; i < call->n_in; i++) {
        call->in[i] = -1;
        if (!tn_val_is_none(in[i])) {
            call->in[i] = map->value[map->first[in[i].node] + in[i].out];
            call->in_type[i] = *tn_graph_type(map->graph, in[i]);
        }
    }
    for (gint i = 0; i < call->n_out; i++) {
        call->out_type[i] = *tn_graph_type(map->graph, (TnVal){ number, (guint32)i });
    }
    if (!emit(b, call, error)) {
        return FALSE;
    }
    memcpy(map->value + map->first[number], call->out, (gsize)call->n_out * sizeof(gint));
    return TRUE;
}

/* Every node of graph whose inputs are in[]; the values of wanted[n]. */
static gboolean
emit_graph(TileBuilder *b, const TnGraph *graph, const gint *in, gint n, const TnVal *wanted,
           gint *out, GError **error)
{
    guint n_nodes = tn_graph_n_nodes(graph), total = 0;
    g_autofree guint *first = g_new0(guint, n_nodes + 1);
    for (guint i = 0; i < n_nodes; i++) {
        first[i] = total;
        total += (guint)tn_graph_node_n_outputs(graph, i);
    }
    g_autofree gint *value = g_new0(gint, total + 1);
    g_autofree gboolean *done = g_new0(gboolean, n_nodes + 1);
    Map map = { graph, first, value };
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        TnVal val = tn_graph_input_at(graph, i, NULL);
        value[first[val.node] + val.out] = in[i];
        done[val.node] = TRUE;
    }
    for (guint i = 0; i < n_nodes; i++) {
        if (!done[i] && !emit_node(b, &map, i, error)) {
            return FALSE;
        }
    }
    for (gint i = 0; i < n; i++) {
        out[i] = value[first[wanted[i].node] + wanted[i].out];
    }
    return TRUE;
}

static gboolean
emit_body(TileBuilder *b, Call *call, GError **error)
{
    g_autoptr(TnGraph) graph = tn_graph_new(call->op->name);
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    gint present[TN_MAX_IN], n_present = 0;
    for (gint i = 0; i < call->n_in; i++) {
        in[i] = TN_VAL_NONE;
        if (call->in_type[i].dtype != TN_DTYPE_NONE) {
            g_autofree char *name = g_strdup_printf("x%d", i);
            in[i] = tn_graph_input(graph, name, call->in_type[i]);
            present[n_present++] = call->in[i];
        }
    }
    TnBody body = { .size = sizeof body,
                    .graph = graph,
                    .op = call->op,
                    .attrs = call->attrs,
                    .n_in = call->n_in,
                    .in = in,
                    .n_out = call->n_out,
                    .out = out };
    if (!call->op->body(&body, error) || !tn_graph_check(graph, error)) {
        return FALSE;
    }
    return emit_graph(b, graph, present, call->n_out, out, call->out, error);
}

/* --- A node ----------------------------------------------------------------------------------- */

static void
builder_init(TileBuilder *b, const TnNode *node)
{
    *b =
        (TileBuilder){ .node = node,
                       .values = g_array_new(FALSE, TRUE, sizeof(TileValue)),
                       .steps = g_array_new(FALSE, TRUE, sizeof(TileStep)),
                       .folds = g_array_new(FALSE, TRUE, sizeof(TileReduction)),
                       .sources = g_array_new(FALSE, TRUE, sizeof(TileSource)),
                       .constants = g_byte_array_new(),
                       .tensors = g_ptr_array_new_with_free_func((GDestroyNotify)tn_tensor_unref) };
    for (gint i = 0; i < node->n_in; i++) {
        TileSource source = { .in = i, .arg = node->in[i], .value = -1 };
        g_array_append_val(b->sources, source);
    }
}

static void
builder_clear(TileBuilder *b)
{
    g_array_unref(b->values);
    g_array_unref(b->steps);
    g_array_unref(b->folds);
    g_array_unref(b->sources);
    g_byte_array_unref(b->constants);
    g_clear_pointer(&b->tensors, g_ptr_array_unref);
}

/* Values of the node's inputs; reading a type alone needs none. */
static void
node_call(TileBuilder *b, Call *call)
{
    const TnNode *node = b->node;
    call->op = node->op;
    call->attrs = node->attrs;
    call->n_in = node->n_in;
    call->n_out = node->n_out;
    for (gint i = 0; i < node->n_in; i++) {
        gboolean absent = node->in[i].type.dtype == TN_DTYPE_NONE ||
                          (tn_op_input(node->op, i)->flags & TN_ARG_SHAPE);
        call->in_type[i] = node->in[i].type;
        call->in[i] = absent ? -1 : add_source(b, (guint)i);
    }
    for (gint i = 0; i < node->n_out; i++) {
        call->out_type[i] = node->out[i].type;
    }
}

static TileProgram *
compile(const TnNode *node, gboolean any_strides, GError **error)
{
    TileBuilder b;
    TileProgram *program = NULL;
    g_autofree Call *call = g_new0(Call, 1);
    builder_init(&b, node);
    b.any_strides = any_strides;
    node_call(&b, call);
    if (emit(&b, call, error)) {
        memcpy(b.outputs, call->out, sizeof b.outputs);
        program = tile_plan(&b, error);
    }
    builder_clear(&b);
    return program;
}

TileProgram *
tile_compile(const TnNode *node, GError **error)
{
    return compile(node, FALSE, error);
}

TileProgram *
tile_compile_any(const TnNode *node, GError **error)
{
    return compile(node, TRUE, error);
}
