/* conv_blocked.c: convolutions of images whose channels are in blocks, with what follows a convolution
 * in most networks: a bias, another image added, a rectifier; and the same with windows transformed by
 * Winograd's algorithm (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016). */
#include "nn.h"

#define L TN_LANES
#define WIDE TN_PAIR_LANES /* channels of a block, where windows are in pairs */

#define CONV(member_, type_, help_, ...)                                                           \
    {                                                                                              \
        .name = #member_, .type = (type_),                                                         \
        .offset = G_STRUCT_OFFSET(TnConvBlockedAttrs, conv.member_), .help = (help_),              \
        ##__VA_ARGS__                                                                              \
    }
#define FROM(least) TN_RANGE_I(least, G_MAXINT32)
static const TnOption blocked_rows[] = {
    CONV(group, TN_OPT_INT64, "groups of channels that do not meet, of whole blocks each", FROM(1),
         .dflt = "1"),
    CONV(strides, TN_OPT_INTS, "steps of the kernel; empty: 1", FROM(1)),
    CONV(pads, TN_OPT_INTS, "zeros around x: begins, then ends; empty: 0", FROM(0)),
    CONV(dilations, TN_OPT_INTS, "distances within the kernel; empty: 1", FROM(1)),
    NN_ATTR(TnConvBlockedAttrs, relu, TN_OPT_BOOL, "max (., 0) of the result", .dflt = "false"),
    NN_ATTR(TnConvBlockedAttrs, wide, TN_OPT_BOOL, "the result is f32, whatever x is",
            .dflt = "false"),
};

static const TnOption winograd_rows[] = {
    CONV(pads, TN_OPT_INTS, "zeros around x: begins, then ends; empty: 0", FROM(0)),
    NN_ATTR(TnConvBlockedAttrs, relu, TN_OPT_BOOL, "max (., 0) of the result", .dflt = "false"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

/* x and w as conv has them; FALSE if they are not in blocks. lanes: channels of one. */
static gboolean
plain_types(const TnInfer *infer, gint64 group, TnType *plain, gint64 *lanes)
{
    const TnType *x = &infer->in[0];
    TnType w = infer->in[1];
    const gboolean blocks = x->rank == 5, pairs = w.rank > x->rank + 1;
    const gint k = blocks ? 2 : 1;
    *lanes = pairs ? WIDE : L;
    if (pairs) { /* [M, pairs of C, 2 of C] as if they were single */
        const gint64 pair = w.dims[--w.rank];
        if (pair != (blocks ? 2 : 1)) {
            return FALSE;
        }
        w.dims[w.rank - 2] *= pair;
    }
    if (w.rank != x->rank + 1 || w.dims[w.rank - 1] != *lanes ||
        (blocks &&
         (x->dims[4] != *lanes || w.dims[4] != *lanes || w.dims[1] * group != x->dims[1]))) {
        return FALSE;
    }
    plain[0] = *x;
    plain[0].rank = 4;
    plain[0].dims[1] = x->dims[1] * (blocks ? *lanes : 1);
    plain[1] = (TnType){ .dtype = w.dtype,
                         .rank = 4,
                         .dims = { w.dims[0] * *lanes, blocks ? w.dims[1] * *lanes : w.dims[3],
                                   w.dims[k], w.dims[k + 1] } };
    return TRUE;
}

static gboolean
blocked_infer(TnInfer *infer, GError **error)
{
    const TnConvBlockedAttrs *attrs = infer->attrs;
    const TnOp *conv = tn_op_find("conv", error);
    TnType plain[2], out[TN_MAX_OUT];
    gint64 lanes;
    gint n_out;
    if (conv == NULL) {
        return FALSE;
    }
    if (!plain_types(infer, attrs->conv.group, plain, &lanes) ||
        (plain[1].dims[0] / lanes) % MAX(1, attrs->conv.group) != 0) {
        return nn_infer_fail(
            infer, 1, error,
            "must be in blocks of %d that go with those of x and do not span groups", (int)lanes);
    }
    if (!tn_op_infer(conv, &attrs->conv, infer->name, 2, plain, NULL, &n_out, out, error)) {
        return FALSE;
    }
    infer->out[0] = out[0];
    infer->out[0].rank = 5;
    infer->out[0].dims[1] /= lanes;
    infer->out[0].dims[4] = lanes;
    infer->out[0].dtype = attrs->wide ? TN_DTYPE_F32 : infer->in[0].dtype;
    return (!nn_present(infer, 2) ||
            nn_infer_want(infer, 2, 1, &out[0].dims[1], "the channels out", error)) &&
           (!nn_present(infer, 3) ||
            nn_infer_want(infer, 3, 5, infer->out[0].dims, "the result", error));
}

/* --- Body ------------------------------------------------------------------------------------- */

static TnVal
join_last(TnGraph *graph, TnVal x, gint rank)
{
    TnReshapeAttrs attrs = { .shape = { .rank = rank - 1 } };
    attrs.shape.dims[rank - 2] = -1;
    return nn_1(graph, "reshape", &attrs, x);
}

static TnVal
split_last(TnGraph *graph, TnVal x, gint rank, gint64 lanes)
{
    TnReshapeAttrs attrs = { .shape = { .rank = rank + 1 } };
    attrs.shape.dims[rank - 1] = -1;
    attrs.shape.dims[rank] = lanes;
    return nn_1(graph, "reshape", &attrs, x);
}

static TnVal
plain_images(TnGraph *graph, TnVal x)
{
    static const gint64 channels_last[] = { 0, 2, 3, 1, 4 }, back[] = { 0, 3, 1, 2 };
    return tn_f_transpose(graph, join_last(graph, tn_f_transpose(graph, x, 5, channels_last), 5), 4,
                          back);
}

static TnVal
blocked_images(TnGraph *graph, TnVal x, gint64 lanes)
{
    static const gint64 channels_last[] = { 0, 2, 3, 1 }, back[] = { 0, 3, 1, 2, 4 };
    return tn_f_transpose(
        graph, split_last(graph, tn_f_transpose(graph, x, 4, channels_last), 4, lanes), 5, back);
}

static TnVal
plain_window(TnGraph *graph, TnVal w, gboolean blocks, gboolean pairs)
{
    static const gint64 whole[] = { 1, 2, 3, 0, 4 }, to[] = { 3, 2, 0, 1 };
    static const gint64 maps[] = { 2, 3, 1, 4, 0, 5 }, maps_first[] = { 2, 3, 1, 5, 0, 4 },
                        channels[] = { 0, 1, 4, 2, 3 }, back[] = { 2, 3, 0, 1 },
                        beside[] = { 0, 1, 2, 3, 5, 4, 6 };
    if (!blocks) {
        w = pairs ? join_last(graph, w, 6) : w;
        return tn_f_transpose(graph, join_last(graph, tn_f_transpose(graph, w, 5, whole), 5), 4,
                              to);
    }
    w = pairs ? join_last(graph, tn_f_transpose(graph, w, 7, beside), 7) : w;
    const TnVal by_map =
        join_last(graph, tn_f_transpose(graph, w, 6, pairs ? maps_first : maps), 6);
    return tn_f_transpose(graph, join_last(graph, tn_f_transpose(graph, by_map, 5, channels), 5), 4,
                          back);
}

static gboolean
blocked_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnConvBlockedAttrs *attrs = body->attrs;
    const TnVal bias = nn_in(body, 2), more = nn_in(body, 3);
    const gint rank = tn_f_rank(graph, body->in[0]);
    const gboolean pairs = tn_f_rank(graph, body->in[1]) > rank + 1;
    const TnVal w = plain_window(graph, body->in[1], rank == 5, pairs);
    const TnVal x = rank == 5 ? plain_images(graph, body->in[0]) : body->in[0];
    (void)error;
    TnVal y = tn_val_is_none(bias) ? nn_2(graph, "conv", &attrs->conv, x, w)
                                   : nn_3(graph, "conv_bias", &attrs->conv, x, w, bias);
    y = blocked_images(graph, y, pairs ? WIDE : L);
    y = attrs->wide ? nn_to(graph, y, TN_DTYPE_F32) : y;
    y = tn_val_is_none(more) ? y : tn_f_add(graph, y, nn_to(graph, more, nn_dtype(graph, y)));
    body->out[0] = attrs->relu ? tn_f_max(graph, y, tn_f_const(graph, y, 0)) : y;
    return TRUE;
}

/* --- Winograd's windows ------------------------------------------------------------------------ */

#define TILE 6 /* of an image, for 4 x 4 places */

/* A window g as G g G^T, and back with P G = 1. */
static const double winograd_g[TILE][3] = {
    { 1 / 4.0, 0, 0 },
    { -1 / 6.0, -1 / 6.0, -1 / 6.0 },
    { -1 / 6.0, 1 / 6.0, -1 / 6.0 },
    { 1 / 24.0, 1 / 12.0, 1 / 6.0 },
    { 1 / 24.0, -1 / 12.0, 1 / 6.0 },
    { 0, 0, 1 },
};
static const double winograd_p[3][TILE] = {
    { 4, 0, 0, 0, 0, 0 },
    { 0, -3, 3, 0, 0, 0 },
    { 0, 0, 0, 0, 0, 1 },
};

/* a (x) a for a [rows, cols], of rows and columns of windows at once. (transfer full). */
static TnTensor *
squared(gint rows, gint cols, const double *a, TnDtype dtype)
{
    const gint64 dims[] = { (gint64)rows * rows, (gint64)cols * cols };
    g_autofree double *both = g_new(double, dims[0] * dims[1]);
    for (gint64 i = 0; i < dims[0] * dims[1]; i++) {
        const gint64 row = i / dims[1], col = i % dims[1];
        both[i] = a[row / rows * cols + col / cols] * a[row % rows * cols + col % cols];
    }
    g_autoptr(TnTensor) tensor = tn_tensor_from(tn_type(TN_DTYPE_F64, 2, dims), both, NULL);
    return tensor != NULL ? tn_tensor_copy(tensor, NULL, dtype, NULL) : NULL;
}

static gboolean
winograd_infer(TnInfer *infer, GError **error)
{
    TnConvBlockedAttrs attrs = *(const TnConvBlockedAttrs *)infer->attrs;
    const TnType *u = &infer->in[1];
    TnType in[4] = { infer->in[0], *u };
    TnInfer blocked = *infer;
    attrs.conv.group = 1;
    attrs.conv.strides.n = attrs.conv.dilations.n = 0;
    if (u->dims[0] != (gint64)TILE * TILE) {
        return nn_infer_fail(infer, 1, error, "has windows of %d", TILE * TILE);
    }
    in[1] = (TnType){ .dtype = u->dtype,
                      .rank = 6,
                      .dims = { u->dims[1], u->dims[2], 3, 3, u->dims[3], u->dims[4] } };
    for (gint i = 2; i < infer->n_in; i++) {
        in[i] = infer->in[i];
    }
    blocked.attrs = &attrs;
    blocked.in = in;
    return blocked_infer(&blocked, error);
}

static gboolean
winograd_body(TnBody *body, GError **error)
{
    static const gint64 last[] = { 1, 2, 3, 4, 0 }, windows[] = { 0, 1, 4, 5, 2, 3 };
    TnGraph *graph = body->graph;
    TnConvBlockedAttrs attrs = *(const TnConvBlockedAttrs *)body->attrs;
    const TnDtype dtype = nn_dtype(graph, body->in[1]);
    g_autoptr(TnTensor) back = squared(3, TILE, &winograd_p[0][0], dtype);
    const TnReshapeAttrs square = { .shape = NN_SHAPE(0, 0, 0, 0, 3, 3) };
    (void)error;
    attrs.conv.group = 1;
    attrs.conv.strides.n = attrs.conv.dilations.n = 0;
    const TnVal by = tn_f_transpose_matrix(graph, tn_graph_constant(graph, back));
    const TnVal u = tn_f_transpose(graph, body->in[1], 5, last);
    const TnVal w = nn_1(graph, "reshape", &square, tn_f_matmul(graph, u, by));
    const TnVal in[] = { body->in[0], tn_f_transpose(graph, w, 6, windows), nn_in(body, 2),
                         nn_in(body, 3) };
    body->out[0] = tn_graph_op(graph, "conv_blocked", &attrs, G_N_ELEMENTS(in), in, NULL);
    return TRUE;
}

/* Whether all steps and distances are 1. */
static gboolean
all_ones(const TnInts *list)
{
    gboolean all = TRUE;
    for (gint i = 0; i < list->n; i++) {
        all = all && list->v[i] == 1;
    }
    return all;
}

/* Windows of 3 x 3 that are fixed, where a device finds that it pays. */
static TnVal
with_winograd(TnSimplify *s)
{
    const TnConvBlockedAttrs *attrs = s->attrs;
    const TnType *w = tn_graph_type(s->graph, s->in[1]);
    if (s->n_in != 4 || w->rank != 6 || tn_graph_type(s->graph, s->in[0])->rank != 5 ||
        w->dims[2] != 3 || w->dims[3] != 3 || attrs->conv.group != 1 ||
        !all_ones(&attrs->conv.strides) || !all_ones(&attrs->conv.dilations) ||
        !tn_simplify_fixed(s, s->in[1])) {
        return TN_VAL_NONE;
    }
    const gint64 blocks[] = { w->dims[0], w->dims[1] };
    const TnReshapeAttrs flat = { .shape = NN_SHAPE(blocks[0], blocks[1], 9, L * L) },
                         whole = { .shape =
                                       NN_SHAPE((gint64)TILE * TILE, blocks[0], blocks[1], L, L) };
    const TnTransposeAttrs first = { .perm = NN_INTS(2, 0, 1, 3) };
    g_autoptr(TnTensor) both = squared(TILE, 3, &winograd_g[0][0], w->dtype);
    const TnConstantAttrs constant = { .value = both };
    const TnVal product[] = { tn_simplify_add(s, "constant", &constant, 0, NULL),
                              tn_simplify_add(s, "reshape", &flat, 1, &s->in[1]) };
    const TnVal windows = tn_simplify_add(s, "matmul", NULL, 2, product);
    const TnVal moved = tn_simplify_add(s, "transpose", &first, 1, &windows);
    const TnVal in[] = { s->in[0], tn_simplify_add(s, "reshape", &whole, 1, &moved), s->in[2],
                         s->in[3] };
    return tn_simplify_has_kernel(s, "conv_winograd", attrs, G_N_ELEMENTS(in), in)
               ? tn_simplify_add(s, "conv_winograd", attrs, G_N_ELEMENTS(in), in)
               : TN_VAL_NONE;
}

static TnVal
blocked_simplify(TnSimplify *s)
{
    if (s->of >= 0) {
        return nn_conv_blocked_follow(s);
    }
    return strcmp(s->op->name, "conv_blocked") == 0 ? with_winograd(s) : TN_VAL_NONE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define BLOCKED(relu_, ...) (&(const TnConvBlockedAttrs){ { 1, __VA_ARGS__ }, relu_ })
static const NnCase blocked_cases[] = {
    { 2, { NN_SHAPE(1, 1, 3, 4, L), NN_SHAPE(1, 1, 1, 1, L, L) } },
    { 4,
      { NN_SHAPE(2, 1, 3, 3, L), NN_SHAPE(1, 1, 3, 3, L, L), NN_SHAPE(L), NN_SHAPE(2, 1, 3, 3, L) },
      .attrs = BLOCKED(TRUE, .pads = NN_INTS(1, 1, 1, 1)) },
    { 4,
      { NN_SHAPE(1, 2, 5, 4, L), NN_SHAPE(3, 2, 1, 1, L, L), NN_ABSENT, NN_SHAPE(1, 3, 3, 2, L) },
      .attrs = BLOCKED(FALSE, .strides = NN_INTS(2, 2)) },
    { 3,
      { NN_SHAPE(1, 3, 7, 6), NN_SHAPE(2, 3, 2, 3, L), NN_SHAPE(2 * L) },
      .attrs = BLOCKED(TRUE, .strides = NN_INTS(2, 1), .pads = NN_INTS(1, 0, 0, 2)) },
    { 2,
      { NN_SHAPE(1, 1, 6, 5, L), NN_SHAPE(1, 1, 2, 2, L, L) },
      .attrs = BLOCKED(FALSE, .pads = NN_INTS(0, 1, 1, 0), .dilations = NN_INTS(2, 3)) },
    { 2, { NN_SHAPE(1, 2, 4, 4), NN_SHAPE(1, 2, 2, 2, L) } },
    { 2,
      { NN_SHAPE(1, 2, 4, 4, L), NN_SHAPE(2, 1, 3, 3, L, L) },
      .attrs = &(const TnConvBlockedAttrs){ { 2, .pads = NN_INTS(1, 1, 1, 1) }, TRUE } },
    { 2, { NN_SHAPE(0, 1, 3, 4, L), NN_SHAPE(1, 1, 1, 1, L, L) } },
    { 2,
      { NN_SHAPE(1, 1, 3, 3, L), NN_SHAPE(1, 1, 2, 2, L, L) },
      .attrs = &(const TnConvBlockedAttrs){ { 1 }, .wide = TRUE } },
    { 4,
      { NN_SHAPE(1, 2, 3, 4, WIDE), NN_SHAPE(1, 2, 3, 2, WIDE / 2, WIDE, 2), NN_SHAPE(WIDE),
        NN_SHAPE(1, 1, 2, 3, WIDE) },
      .attrs = BLOCKED(TRUE, .pads = NN_INTS(1, 0, 0, 0)) },
    { 2,
      { NN_SHAPE(1, 3, 5, 4), NN_SHAPE(1, 3, 2, 3, WIDE, 1) },
      .attrs = BLOCKED(FALSE, .strides = NN_INTS(2, 1), .pads = NN_INTS(1, 0, 0, 1)) },
};
NN_SAMPLER(blocked_sample, blocked_cases, TnConvBlockedAttrs)

static const NnCase winograd_cases[] = {
    { 2, { NN_SHAPE(1, 1, 3, 4, L), NN_SHAPE(36, 1, 1, L, L) } },
    { 4,
      { NN_SHAPE(2, 1, 5, 4, L), NN_SHAPE(36, 2, 1, L, L), NN_SHAPE(2 * L),
        NN_SHAPE(2, 2, 5, 4, L) },
      .attrs = BLOCKED(FALSE, .pads = NN_INTS(1, 1, 1, 1)) },
    { 3,
      { NN_SHAPE(1, 2, 9, 6, L), NN_SHAPE(36, 1, 2, L, L), NN_SHAPE(L) },
      .attrs = BLOCKED(FALSE, .pads = NN_INTS(0, 2, 1, 0)) },
    { 2, { NN_SHAPE(1, 1, 3, 4, L), NN_SHAPE(36, 1, 1, L, L) }, .attrs = BLOCKED(TRUE, ) },
    { 2, { NN_SHAPE(0, 1, 3, 4, L), NN_SHAPE(36, 1, 1, L, L) } },
};

/* Of whole number i: in [-1, 1]. */
static double
spread(gint64 i)
{
    return (double)(i * 7 % 23 - 11) / 11;
}

/* (transfer full), of type's dtype. */
static TnTensor *
tensor_of(TnType type, const double *values)
{
    TnType wide = type;
    wide.dtype = TN_DTYPE_F64;
    g_autoptr(TnTensor) tensor = tn_tensor_from(wide, values, NULL);
    return tn_tensor_copy(tensor, NULL, type.dtype, NULL);
}

/* Only what is a transformed window may be given. Where results are rectified, they are far from 0: even
 * channels above, odd ones below, as rounded inputs and finite differences may meet no kink. */
static gboolean
winograd_sample(TnSample *sample)
{
    if (!nn_sample_case(sample, winograd_cases, G_N_ELEMENTS(winograd_cases),
                        sizeof(TnConvBlockedAttrs))) {
        return FALSE;
    }
    const gboolean relu = ((const TnConvBlockedAttrs *)sample->attrs)->relu;
    const gint64 n = tn_type_count(&sample->in[1]) / (TILE * TILE);
    const gint64 n_x = tn_type_count(&sample->in[0]);
    g_autofree double *u = g_new0(double, n *TILE *TILE), *x = g_new(double, n_x + 1);
    for (gint64 i = 0; i < n * TILE * TILE; i++) {
        const gint64 at = i / n, window = i % n;
        for (gint64 k = 0; k < 9; k++) {
            const double w = spread(window * 9 + k);
            u[i] += winograd_g[at / TILE][k / 3] * winograd_g[at % TILE][k % 3] *
                    (!relu        ? 2 * w - 1
                     : window % 2 ? -w
                                  : w);
        }
    }
    for (gint64 i = 0; relu && i < n_x; i++) {
        x[i] = 1.2 + spread(i);
    }
    sample->value[0] = relu ? tensor_of(sample->in[0], x) : NULL;
    sample->value[1] = tensor_of(sample->in[1], u);
    return TRUE;
}

#define ARG(name_, help_, ...) NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, ##__VA_ARGS__)
NN_OP(conv_blocked, NULL, "Convolution of images in blocks of channels, and what follows it",
      NN_IN(ARG("x", "[N, C / 16, h, w, 16] or [N, C, h, w]", NN_RANK(4, 5)),
            ARG("w",
                "[M / 16, C / 16 / group, k, k, 16 of C, 16 of M] or [M / 16, k, k, C, 16]; in "
                "pairs, for blocks of 32: […, 16, 32 of M, 2 of C], […, C, 32, 1]",
                NN_RANK(5, 7)),
            ARG("b", "[M]", NN_RANK(1, 1), .flags = TN_ARG_OPTIONAL),
            ARG("more", "out's shape: added", NN_RANK(5, 5), .flags = TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'O', TN_DTYPES_FLOAT, "[N, M / 16, o, o, 16]")),
      .attrs = TN_OPTIONS(TnConvBlockedAttrs, blocked_rows), .infer = blocked_infer,
      .body = blocked_body, .sample = blocked_sample, .simplify = blocked_simplify,
      .in_place = 1u << 3);
NN_OP(conv_winograd, NULL, "Convolution of images in blocks by Winograd's F (4 x 4, 3 x 3)",
      NN_IN(ARG("x", "[N, C / 16, h, w, 16]", NN_RANK(5, 5)),
            ARG("u", "[36, M / 16, C / 16, 16 of C, 16 of M], windows transformed", NN_RANK(5, 5)),
            ARG("b", "[M]", NN_RANK(1, 1), .flags = TN_ARG_OPTIONAL),
            ARG("more", "out's shape: added", NN_RANK(5, 5), .flags = TN_ARG_OPTIONAL)),
      NN_OUT(ARG("out", "[N, M / 16, o, o, 16]")),
      .attrs = TN_OPTIONS(TnConvBlockedAttrs, winograd_rows), .infer = winograd_infer,
      .body = winograd_body, .sample = winograd_sample, .simplify = blocked_simplify,
      .in_place = 1u << 3);
