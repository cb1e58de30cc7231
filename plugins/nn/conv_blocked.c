/* conv_blocked.c: convolutions of images whose channels are in blocks, with what follows a convolution
 * in most networks: a bias, another image added, a rectifier. */
#include "nn.h"

#define L TN_LANES

#define CONV(member_, type_, help_, ...)                                                           \
    {                                                                                              \
        .name = #member_, .type = (type_),                                                         \
        .offset = G_STRUCT_OFFSET(TnConvBlockedAttrs, conv.member_), .help = (help_),              \
        ##__VA_ARGS__                                                                              \
    }
#define FROM(least) TN_RANGE_I(least, G_MAXINT32)
static const TnOption blocked_rows[] = {
    CONV(group, TN_OPT_INT64, "must be 1", FROM(1), .dflt = "1"),
    CONV(strides, TN_OPT_INTS, "steps of the kernel; empty: 1", FROM(1)),
    CONV(pads, TN_OPT_INTS, "zeros around x: begins, then ends; empty: 0", FROM(0)),
    CONV(dilations, TN_OPT_INTS, "distances within the kernel; empty: 1", FROM(1)),
    NN_ATTR(TnConvBlockedAttrs, relu, TN_OPT_BOOL, "max (., 0) of the result", .dflt = "false"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

/* x and w as conv has them; FALSE if they are not in blocks. */
static gboolean
plain_types(const TnInfer *infer, TnType *plain)
{
    const TnType *x = &infer->in[0], *w = &infer->in[1];
    const gboolean blocks = x->rank == 5;
    const gint k = blocks ? 2 : 1;
    const gint64 last = w->dims[w->rank - 1];
    if (w->rank != (blocks ? 6 : 5) || last != L ||
        (blocks && (x->dims[4] != L || w->dims[4] != L || w->dims[1] != x->dims[1]))) {
        return FALSE;
    }
    plain[0] = *x;
    plain[0].rank = 4;
    plain[0].dims[1] = x->dims[1] * (blocks ? L : 1);
    plain[1] = (TnType){ .dtype = w->dtype,
                         .rank = 4,
                         .dims = { w->dims[0] * L, blocks ? w->dims[1] * L : w->dims[3], w->dims[k],
                                   w->dims[k + 1] } };
    return TRUE;
}

static gboolean
blocked_infer(TnInfer *infer, GError **error)
{
    const TnConvBlockedAttrs *attrs = infer->attrs;
    const TnOp *conv = tn_op_find("conv", error);
    TnType plain[2], out[TN_MAX_OUT];
    gint n_out;
    if (conv == NULL) {
        return FALSE;
    }
    if (attrs->conv.group != 1 || !plain_types(infer, plain)) {
        return nn_infer_fail(infer, 1, error,
                             "group must be 1, and w in blocks of %d that go with those of x", L);
    }
    if (!tn_op_infer(conv, &attrs->conv, infer->name, 2, plain, NULL, &n_out, out, error)) {
        return FALSE;
    }
    infer->out[0] = out[0];
    infer->out[0].rank = 5;
    infer->out[0].dims[1] /= L;
    infer->out[0].dims[4] = L;
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
split_last(TnGraph *graph, TnVal x, gint rank)
{
    TnReshapeAttrs attrs = { .shape = { .rank = rank + 1 } };
    attrs.shape.dims[rank - 1] = -1;
    attrs.shape.dims[rank] = L;
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
blocked_images(TnGraph *graph, TnVal x)
{
    static const gint64 channels_last[] = { 0, 2, 3, 1 }, back[] = { 0, 3, 1, 2, 4 };
    return tn_f_transpose(graph, split_last(graph, tn_f_transpose(graph, x, 4, channels_last), 4),
                          5, back);
}

static TnVal
plain_window(TnGraph *graph, TnVal w)
{
    static const gint64 whole[] = { 1, 2, 3, 0, 4 }, to[] = { 3, 2, 0, 1 };
    static const gint64 maps[] = { 2, 3, 1, 4, 0, 5 }, channels[] = { 0, 1, 4, 2, 3 },
                        back[] = { 2, 3, 0, 1 };
    if (tn_f_rank(graph, w) == 5) {
        return tn_f_transpose(graph, join_last(graph, tn_f_transpose(graph, w, 5, whole), 5), 4,
                              to);
    }
    const TnVal by_map = join_last(graph, tn_f_transpose(graph, w, 6, maps), 6);
    return tn_f_transpose(graph, join_last(graph, tn_f_transpose(graph, by_map, 5, channels), 5), 4,
                          back);
}

static gboolean
blocked_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnConvBlockedAttrs *attrs = body->attrs;
    const TnVal bias = nn_in(body, 2), more = nn_in(body, 3), w = plain_window(graph, body->in[1]);
    const TnVal x =
        tn_f_rank(graph, body->in[0]) == 5 ? plain_images(graph, body->in[0]) : body->in[0];
    (void)error;
    TnVal y = tn_val_is_none(bias) ? nn_2(graph, "conv", &attrs->conv, x, w)
                                   : nn_3(graph, "conv_bias", &attrs->conv, x, w, bias);
    y = blocked_images(graph, y);
    y = tn_val_is_none(more) ? y : tn_f_add(graph, y, more);
    body->out[0] = attrs->relu ? tn_f_max(graph, y, tn_f_const(graph, y, 0)) : y;
    return TRUE;
}

/* --- What follows ----------------------------------------------------------------------------- */

/* A sum with an image, or max (., 0), of a result that nobody else reads is the operator's own. */
static TnVal
blocked_simplify(TnSimplify *s)
{
    double zero;
    if (s->of < 0 || s->n_in != 2 || !tn_simplify_sole(s, s->of)) {
        return TN_VAL_NONE;
    }
    const TnVal val = s->in[s->of], other = s->in[1 - s->of];
    const TnVal *in;
    const gint n_in = tn_graph_node_inputs(s->graph, val.node, &in);
    TnConvBlockedAttrs attrs = *(const TnConvBlockedAttrs *)tn_graph_node_attrs(s->graph, val.node);
    if (attrs.relu) {
        return TN_VAL_NONE;
    }
    TnVal with[] = { in[0], in[1], n_in > 2 ? in[2] : TN_VAL_NONE, n_in > 3 ? in[3] : TN_VAL_NONE };
    if (strcmp(s->op->name, "add") == 0 && tn_val_is_none(with[3]) &&
        tn_type_equal(tn_graph_type(s->graph, other), s->type)) {
        with[3] = other;
    } else if (strcmp(s->op->name, "max") == 0 && tn_simplify_splat(s, other, &zero) && zero == 0) {
        attrs.relu = TRUE;
    } else {
        return TN_VAL_NONE;
    }
    return tn_simplify_add(s, "conv_blocked", &attrs, G_N_ELEMENTS(with), with);
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
    { 2, { NN_SHAPE(0, 1, 3, 4, L), NN_SHAPE(1, 1, 1, 1, L, L) } },
};
NN_SAMPLER(blocked_sample, blocked_cases, TnConvBlockedAttrs)

#define ARG(name_, help_, ...) NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, ##__VA_ARGS__)
NN_OP(conv_blocked, NULL, "Convolution of images in blocks of channels, and what follows it",
      NN_IN(ARG("x", "[N, C / 16, h, w, 16] or [N, C, h, w]", NN_RANK(4, 5)),
            ARG("w", "[M / 16, C / 16, k, k, 16 of C, 16 of M] or [M / 16, k, k, C, 16]",
                NN_RANK(5, 6)),
            ARG("b", "[M]", NN_RANK(1, 1), .flags = TN_ARG_OPTIONAL),
            ARG("more", "out's shape: added", NN_RANK(5, 5), .flags = TN_ARG_OPTIONAL)),
      NN_OUT(ARG("out", "[N, M / 16, o, o, 16]")),
      .attrs = TN_OPTIONS(TnConvBlockedAttrs, blocked_rows), .infer = blocked_infer,
      .body = blocked_body, .sample = blocked_sample, .simplify = blocked_simplify);
