/* quantized_rules.c: products of dequantised numbers by fixed weights become quantized_conv, and what
 * follows those becomes part of them, so that a chain of convolutions stays in 8 bits.
 *
 * The rules are those of dequantize_linear, for products that read it, and of from_channels_last, which
 * stands between a quantized_conv and its readers: a batch normalisation, a sum, a rectifier and
 * quantize_linear go into the former, a maximum over windows before the latter. All of it happens as a graph
 * is gone through once, from inputs to outputs. */
#include "quantize.h"

#define MOST_TERMS (G_MAXINT32 / (255 * 128)) /* of a sum that cannot leave 32 bits */
#define MAPS TN_QUANTIZED_MAPS
#define DEEP TN_QUANTIZED_DEEP
enum { X, W, X_ZERO, OFFSET, SCALE, BIAS, MORE, MORE_SCALE, MORE_ZERO, Y_SCALE, Y_ZERO, N_IN };

#define IS(s, op_) (strcmp((s)->op->name, (op_)) == 0)

static const TnType *
type_of(const TnSimplify *s, TnVal x)
{
    return tn_graph_type(s->graph, x);
}

static TnVal
add_1(TnSimplify *s, const char *op, const void *attrs, TnVal x)
{
    return tn_simplify_add(s, op, attrs, 1, &x);
}

/* What from_channels_last was given; none if x is not its result. */
static TnVal
images_last(const TnSimplify *s, TnVal x)
{
    const TnVal *in = tn_simplify_inputs(s, x, "from_channels_last");
    return in != NULL ? in[0] : TN_VAL_NONE;
}

static TnVal
to_channels_last(TnSimplify *s, TnVal x)
{
    const gint rank = type_of(s, x)->rank;
    const TnVal last = images_last(s, x);
    TnTransposeAttrs turn = { .perm = { .n = rank } };
    for (gint i = 1; i < rank - 1; i++) {
        turn.perm.v[i] = i + 1;
    }
    turn.perm.v[rank - 1] = 1;
    return !tn_val_is_none(last) ? last : rank > 2 ? add_1(s, "transpose", &turn, x) : x;
}

/* --- Products --------------------------------------------------------------------------------- */

/* A product whose operands are dequantised. */
typedef struct {
    TnVal x, x_scale, x_zero; /* x: u8 */
    TnVal w, w_scale;         /* i8, symmetric, its scale [] or [M] */
    TnVal bias;               /* or none */
    TnConvAttrs conv;
    gboolean matrix; /* w is [M, K] */
} Product;

/* What x was dequantised from: three inputs, or NULL. */
static gboolean
dequantised(const TnSimplify *s, TnVal x, TnVal *in)
{
    const TnVal *from = tn_simplify_inputs(s, x, "dequantize_linear");
    TnVal *const to = in;
    if (from == NULL) {
        return FALSE;
    }
    const TnVal *all;
    const gint n = tn_graph_node_inputs(s->graph, x.node, &all);
    for (gint i = 0; i < 3; i++) {
        to[i] = i < n ? from[i] : TN_VAL_NONE;
    }
    return TRUE;
}

static gboolean
find_product(TnSimplify *s, Product *p)
{
    TnVal x[3], w[3];
    double zero = 0;
    p->matrix = IS(s, "linear");
    if (!p->matrix && !IS(s, "conv") && !IS(s, "conv_bias")) {
        return FALSE;
    }
    if (!dequantised(s, s->in[0], x) || !dequantised(s, s->in[1], w) ||
        !tn_simplify_fixed(s, s->in[1])) {
        return FALSE;
    }
    const gint64 along = ((const TnAxisAttrs *)tn_graph_node_attrs(s->graph, s->in[1].node))->axis;
    const gint w_rank = type_of(s, w[0])->rank;
    if (tn_val_is_none(x[2]) || type_of(s, x[0])->dtype != TN_DTYPE_U8 ||
        type_of(s, x[1])->rank != 0 || type_of(s, w[0])->dtype != TN_DTYPE_I8 ||
        (type_of(s, w[1])->rank > 0 && along != 0 && along != -w_rank) ||
        (!tn_val_is_none(w[2]) && (!tn_simplify_splat(s, w[2], &zero) || zero != 0))) {
        return FALSE;
    }
    p->x = x[0], p->x_scale = x[1], p->x_zero = x[2];
    p->w = w[0], p->w_scale = w[1];
    p->bias = s->n_in > 2 ? s->in[2] : TN_VAL_NONE;
    p->conv = p->matrix ? (TnConvAttrs){ .group = 1 } : *(const TnConvAttrs *)s->attrs;
    const TnInts *gaps = &p->conv.dilations;
    const gint64 terms = tn_type_count(type_of(s, p->w)) / MAX(1, type_of(s, p->w)->dims[0]);
    return p->conv.group == 1 && terms <= MOST_TERMS && (gaps->n == 0 || gaps->v[gaps->n - 1] == 1);
}

/* Windows [M, C, kernel…] in tiles: [M / 16, rows, l / 64, 16, 16 of M, 4]. */
static TnVal
add_tiles(TnSimplify *s, const Product *p, const TnQuantizedConvAttrs *attrs)
{
    const TnInts *kernel = &attrs->window.kernel_shape;
    const gint64 length = attrs->channels * (kernel->n > 0 ? kernel->v[kernel->n - 1] : 1);
    const gint64 tiles = (length + DEEP - 1) / DEEP, blocks = (attrs->maps + MAPS - 1) / MAPS;
    gint64 rows = 1;
    for (gint i = 0; i < kernel->n - 1; i++) {
        rows *= kernel->v[i];
    }
    const TnReshapeAttrs flat = { .shape = NN_SHAPE(attrs->maps, rows, length) };
    const TnPadAttrs whole = { .pads = NN_INTS(0, 0, blocks * MAPS - attrs->maps,
                                               tiles * DEEP - length),
                               .axes = NN_INTS(0, 2) };
    const TnReshapeAttrs split = { .shape = NN_SHAPE(blocks, MAPS, rows, tiles, DEEP / 4, 4) };
    const TnTransposeAttrs turn = { .perm = NN_INTS(0, 2, 3, 4, 1, 5) };
    TnVal w = add_1(s, "reshape", &flat, to_channels_last(s, p->w));
    w = add_1(s, "pad", &whole, w);
    return add_1(s, "transpose", &turn, add_1(s, "reshape", &split, w));
}

/* - x_zero times the sum of each map's weights. */
static TnVal
add_offset(TnSimplify *s, const Product *p)
{
    const TnCastAttrs wide = { TN_DTYPE_I32 };
    TnReduceAttrs rest = { .axes = { .n = type_of(s, p->w)->rank - 1 } };
    for (gint i = 0; i < rest.axes.n; i++) {
        rest.axes.v[i] = i + 1;
    }
    const TnVal sums = add_1(s, "reduce_sum", &rest, add_1(s, "cast", &wide, p->w));
    const TnVal zero = add_1(s, "cast", &wide, p->x_zero);
    return add_1(s, "neg", NULL, nn_rule_2(s, "mul", sums, zero));
}

static TnVal
expanded(TnSimplify *s, TnVal x, gint64 n)
{
    const TnExpandAttrs shape = { .shape = NN_SHAPE(n) };
    return type_of(s, x)->rank == 0 ? add_1(s, "expand", &shape, x) : x;
}

/* Rows of a matrix [lead…, K], and back. */
static TnVal
with_rows(TnSimplify *s, TnVal x, gint64 features, const TnType *like)
{
    TnReshapeAttrs shape = { .shape = { .rank = 2, .dims = { -1, features } } };
    if (like != NULL) {
        shape.shape.rank = like->rank;
        memcpy(shape.shape.dims, like->dims, sizeof shape.shape.dims);
    }
    return add_1(s, "reshape", &shape, x);
}

static TnQuantizedConvAttrs
attrs_of(const TnSimplify *s, const Product *p)
{
    const TnType *w = type_of(s, p->w);
    TnQuantizedConvAttrs attrs = { .channels = w->dims[1], .maps = w->dims[0] };
    attrs.window = (TnWindowAttrs){ .strides = p->conv.strides,
                                    .pads = p->conv.pads,
                                    .dilations = p->conv.dilations,
                                    .kernel_shape = { .n = w->rank - 2 } };
    for (gint i = 2; i < w->rank; i++) {
        attrs.window.kernel_shape.v[i - 2] = w->dims[i];
    }
    return attrs;
}

TnVal
nn_dequantized_simplify(TnSimplify *s)
{
    Product p;
    if (s->of != 0 || !find_product(s, &p) || tn_type_count(type_of(s, p.w)) == 0 ||
        tn_type_count(s->type) == 0) {
        return TN_VAL_NONE;
    }
    const TnQuantizedConvAttrs attrs = attrs_of(s, &p);
    const gint rank = type_of(s, p.x)->rank;
    const gboolean rows = p.matrix && rank != 2;
    const TnVal x = rows ? with_rows(s, p.x, attrs.channels, NULL) : to_channels_last(s, p.x);
    const TnVal scale = expanded(s, nn_rule_2(s, "mul", p.x_scale, p.w_scale), attrs.maps);
    const TnVal bias = tn_val_is_none(p.bias) ? nn_rule_number(s, TN_DTYPE_F32, 0) : p.bias;
    const TnVal in[] = { x,     add_tiles(s, &p, &attrs),     p.x_zero, add_offset(s, &p),
                         scale, expanded(s, bias, attrs.maps) };
    for (gsize i = 0; i < G_N_ELEMENTS(in); i++) {
        if (tn_val_is_none(in[i])) {
            return TN_VAL_NONE;
        }
    }
    if (!tn_simplify_has_kernel(s, "quantized_conv", &attrs, G_N_ELEMENTS(in), in)) {
        return TN_VAL_NONE;
    }
    const TnVal y = tn_simplify_add(s, "quantized_conv", &attrs, G_N_ELEMENTS(in), in);
    return rows ? with_rows(s, y, 0, s->type) : add_1(s, "from_channels_last", NULL, y);
}

/* --- What follows ----------------------------------------------------------------------------- */

/* A quantized_conv that may be given more to do. */
typedef struct {
    TnQuantizedConvAttrs attrs;
    TnVal in[N_IN];
} Conv;

/* Whether val is one that gives f32. */
static gboolean
conv_of(const TnSimplify *s, TnVal val, Conv *conv)
{
    if (tn_val_is_none(val) || tn_simplify_inputs(s, val, "quantized_conv") == NULL) {
        return FALSE;
    }
    const TnVal *in;
    const gint n = tn_graph_node_inputs(s->graph, val.node, &in);
    conv->attrs = *(const TnQuantizedConvAttrs *)tn_graph_node_attrs(s->graph, val.node);
    for (gint i = 0; i < N_IN; i++) {
        conv->in[i] = i < n ? in[i] : TN_VAL_NONE;
    }
    return tn_val_is_none(conv->in[Y_SCALE]);
}

static TnVal
add_conv(TnSimplify *s, const Conv *conv)
{
    return tn_simplify_add(s, "quantized_conv", &conv->attrs, N_IN, conv->in);
}

/* scale (y - mean) / deviation + bias, of each map. */
static gboolean
take_batch_norm(TnSimplify *s, Conv *conv)
{
    const double epsilon = ((const TnEpsilonAttrs *)s->attrs)->epsilon;
    if (!tn_val_is_none(conv->in[MORE]) || conv->attrs.relu) {
        return FALSE;
    }
    for (gint i = 1; i < s->n_in; i++) {
        if (type_of(s, s->in[i])->dtype != TN_DTYPE_F32) {
            return FALSE;
        }
    }
    const TnVal var = nn_rule_2(s, "add", s->in[4], nn_rule_number(s, TN_DTYPE_F32, epsilon));
    const TnVal factor = nn_rule_2(s, "div", s->in[1], add_1(s, "sqrt", NULL, var));
    const TnVal rest = nn_rule_2(s, "sub", conv->in[BIAS], s->in[3]);
    conv->in[SCALE] = nn_rule_2(s, "mul", conv->in[SCALE], factor);
    conv->in[BIAS] = nn_rule_2(s, "add", nn_rule_2(s, "mul", rest, factor), s->in[2]);
    return TRUE;
}

/* Another image of the same sizes, best one that is stored in 8 bits. */
static gboolean
take_sum(TnSimplify *s, Conv *conv)
{
    const TnVal other = s->in[1 - s->of];
    TnVal from[3];
    if (!tn_val_is_none(conv->in[MORE]) || conv->attrs.relu ||
        !tn_type_equal(type_of(s, other), s->type)) {
        return FALSE;
    }
    if (dequantised(s, other, from) && !tn_val_is_none(from[2]) &&
        type_of(s, from[0])->dtype == TN_DTYPE_U8 && type_of(s, from[1])->rank == 0 &&
        !tn_val_is_none(images_last(s, from[0]))) {
        conv->in[MORE] = images_last(s, from[0]);
        conv->in[MORE_SCALE] = from[1];
        conv->in[MORE_ZERO] = from[2];
        return TRUE;
    }
    conv->in[MORE] = images_last(s, other);
    return !tn_val_is_none(conv->in[MORE]);
}

/* quantize_linear of the whole tensor to u8. */
static gboolean
is_quantize(const TnSimplify *s)
{
    return IS(s, "quantize_linear") && s->of == 0 && s->n_in > 2 && !tn_val_is_none(s->in[2]) &&
           s->type->dtype == TN_DTYPE_U8 && type_of(s, s->in[1])->rank == 0;
}

static gboolean
is_relu(const TnSimplify *s)
{
    double zero;
    return IS(s, "relu") ||
           (IS(s, "max") && tn_simplify_splat(s, s->in[1 - s->of], &zero) && zero == 0);
}

/* The node as part of the convolution. */
static TnVal
into_conv(TnSimplify *s, Conv *conv)
{
    gboolean taken = FALSE;
    if (is_quantize(s)) {
        conv->in[Y_SCALE] = s->in[1];
        conv->in[Y_ZERO] = s->in[2];
        taken = TRUE;
    } else if (IS(s, "batch_normalization") && s->of == 0) {
        taken = take_batch_norm(s, conv);
    } else if (IS(s, "add") && s->n_in == 2) {
        taken = take_sum(s, conv);
    } else if (is_relu(s)) {
        taken = conv->attrs.relu = TRUE;
    }
    return taken ? add_conv(s, conv) : TN_VAL_NONE;
}

/* --- Maxima over windows ---------------------------------------------------------------------- */

/* [N, h, w, C] as images of one channel with one more spatial axis, along which the window is 1. */
static TnVal
as_volume(TnSimplify *s, TnVal x)
{
    const TnType *type = type_of(s, x);
    const TnReshapeAttrs shape = { .shape = NN_SHAPE(type->dims[0], 1, type->dims[1], type->dims[2],
                                                     type->dims[3]) };
    return add_1(s, "reshape", &shape, x);
}

static void
add_place(TnInts *list, gint64 value, gboolean twice)
{
    if (list->n > 0 && twice) {
        memmove(list->v + 3, list->v + 2, 2 * sizeof *list->v);
        list->v[2] = list->v[5] = value;
        list->n = 6;
    } else if (list->n > 0) {
        list->v[list->n++] = value;
    }
}

static TnVal
add_max_pool(TnSimplify *s, const TnPoolAttrs *attrs, TnVal x)
{
    const TnType out = *s->type; /* [N, C, h, w] */
    const TnReshapeAttrs back = { .shape = NN_SHAPE(out.dims[0], out.dims[2], out.dims[3],
                                                    out.dims[1]) };
    return add_1(s, "reshape", &back, add_1(s, "max_pool", attrs, as_volume(s, x)));
}

static TnVal
pool_last(TnSimplify *s, TnVal x)
{
    TnPoolAttrs attrs = *(const TnPoolAttrs *)s->attrs;
    if (attrs.ceil_mode) {
        return TN_VAL_NONE;
    }
    add_place(&attrs.window.kernel_shape, 1, FALSE);
    add_place(&attrs.window.strides, 1, FALSE);
    add_place(&attrs.window.dilations, 1, FALSE);
    add_place(&attrs.window.pads, 0, TRUE);
    return add_max_pool(s, &attrs, x);
}

/* quantize_linear of such maxima of a quantized_conv: the largest of 8-bit numbers is the largest's. */
static TnVal
quantized_maxima(TnSimplify *s, TnVal x)
{
    const TnVal *outer = tn_simplify_inputs(s, x, "reshape");
    const TnVal pool = outer != NULL ? outer[0] : TN_VAL_NONE;
    const TnVal *pooled = tn_simplify_inputs(s, pool, "max_pool");
    const TnVal *inner = pooled != NULL ? tn_simplify_inputs(s, pooled[0], "reshape") : NULL;
    Conv conv;
    if (!is_quantize(s) || inner == NULL || !conv_of(s, inner[0], &conv)) {
        return TN_VAL_NONE;
    }
    const TnPoolAttrs attrs = *(const TnPoolAttrs *)tn_graph_node_attrs(s->graph, pool.node);
    return add_max_pool(s, &attrs, into_conv(s, &conv));
}

TnVal
nn_channels_last_simplify(TnSimplify *s)
{
    Conv conv;
    if (s->of < 0 || !tn_simplify_sole(s, s->of)) {
        return TN_VAL_NONE;
    }
    const TnVal x = images_last(s, s->in[s->of]);
    TnVal y = TN_VAL_NONE;
    if (conv_of(s, x, &conv)) {
        y = into_conv(s, &conv);
        if (tn_val_is_none(y) && IS(s, "max_pool") && type_of(s, x)->rank == 4) {
            y = pool_last(s, x);
        }
    } else {
        y = quantized_maxima(s, x);
    }
    return tn_val_is_none(y) ? y : add_1(s, "from_channels_last", NULL, y);
}
