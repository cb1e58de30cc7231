/* random.c: random numbers that are a pure function of (key, stream, element), so that recomputing
 * draws the same. */
#include "ops-private.h"

#define RANDOM_ATTRS(Struct)                                                                       \
    { .name = "shape",                                                                             \
      .type = TN_OPT_SHAPE,                                                                        \
      .offset = G_STRUCT_OFFSET(Struct, random.shape),                                             \
      .help = "sizes of the output, without 'like'" },                                             \
        { .name = "dtype",                                                                         \
          .type = TN_OPT_ENUM,                                                                     \
          .offset = G_STRUCT_OFFSET(Struct, random.dtype),                                         \
          .choices = tn_dtype_choices,                                                             \
          .dflt = "none",                                                                          \
          .help = "dtype of the output; none: like's if it can be, else 32 bits" },                \
    {                                                                                              \
        .name = "stream", .type = TN_OPT_UINT64, .offset = G_STRUCT_OFFSET(Struct, random.stream), \
        .dflt = "0", .help = "stream of numbers; 0: from the node's name"                          \
    }

typedef struct {
    TnRandomAttrs random;
} Bits; /* the same layout as TnRandomAttrs, so that the rows above serve it too */

static const TnOption bits_rows[] = { RANDOM_ATTRS(Bits) };
static const TnOption uniform_rows[] = {
    RANDOM_ATTRS(TnUniformAttrs),
    TN_ATTR(TnUniformAttrs, low, TN_OPT_DOUBLE, "least value", .dflt = "0"),
    TN_ATTR(TnUniformAttrs, high, TN_OPT_DOUBLE, "bound above, not reached", .dflt = "1"),
};
static const TnOption normal_rows[] = {
    RANDOM_ATTRS(TnNormalAttrs),
    TN_ATTR(TnNormalAttrs, mean, TN_OPT_DOUBLE, "mean", .dflt = "0"),
    TN_ATTR(TnNormalAttrs, scale, TN_OPT_DOUBLE, "standard deviation", .dflt = "1"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

static gboolean
random_infer(TnInfer *infer, GError **error)
{
    const TnRandomAttrs *attrs = infer->attrs;
    const TnDtypes set = tn_op_output(infer->op, 0)->dtypes;
    const TnType *key = &infer->in[0];
    const gboolean has_like = infer->n_in > 1 && infer->in[1].dtype != TN_DTYPE_NONE;
    if (key->rank != 1 || key->dims[0] != 2) {
        return tn_infer_fail(infer, 0, error, "must be u64[2]: seed and position");
    }
    TnDtype dtype = (TnDtype)attrs->dtype;
    if (dtype == TN_DTYPE_NONE && has_like && tn_dtype_in(infer->in[1].dtype, set)) {
        dtype = infer->in[1].dtype;
    } else if (dtype == TN_DTYPE_NONE) {
        dtype = tn_dtype_in(TN_DTYPE_F32, set) ? TN_DTYPE_F32 : TN_DTYPE_U32;
    }
    if (!tn_dtype_in(dtype, set)) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "dtype %s cannot be drawn",
                    tn_dtype_name(dtype));
        return FALSE;
    }
    for (gint i = 0; i < attrs->shape.rank && !has_like; i++) {
        if (attrs->shape.dims[i] < 0) {
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "size %" G_GINT64_FORMAT " in attribute 'shape'", attrs->shape.dims[i]);
            return FALSE;
        }
    }
    const gint rank = has_like ? infer->in[1].rank : attrs->shape.rank;
    infer->out[0] = tn_type(dtype, rank, has_like ? infer->in[1].dims : attrs->shape.dims);
    return TRUE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define KEY                                                                                        \
    {                                                                                              \
        TN_DTYPE_U64, TN_DTYPE_F32                                                                 \
    }
#define KEY_ONLY(...)                                                                              \
    {                                                                                              \
        1, { TN_SHAPE_OF(2) }, KEY, __VA_ARGS__                                                    \
    }
#define KEY_LIKE(...)                                                                              \
    {                                                                                              \
        2, { TN_SHAPE_OF(2), TN_SHAPE_OF(__VA_ARGS__) }, KEY                                       \
    }
#define STREAM 12345

/* dtype is the suite's: in these operators it is an attribute. */
static gboolean
with_dtype(TnSample *sample, const TnCase *cases, guint n, gsize size)
{
    if (!tn_sample_case(sample, cases, n, size)) {
        return FALSE;
    }
    TnRandomAttrs *attrs = sample->attrs;
    attrs->dtype = (gint)sample->dtype;
    attrs->stream = STREAM;
    return TRUE;
}

static gboolean
bits_sample(TnSample *sample)
{
    static const TnRandomAttrs shaped = { TN_SHAPE_OF(3, 7), 0, STREAM };
    static const TnCase cases[] = { KEY_ONLY(), KEY_ONLY(.attrs = &shaped), KEY_LIKE(5),
                                    KEY_LIKE(0, 3) };
    return with_dtype(sample, cases, G_N_ELEMENTS(cases), sizeof(TnRandomAttrs));
}

static gboolean
uniform_sample(TnSample *sample)
{
    static const TnUniformAttrs shaped = { { TN_SHAPE_OF(3, 7), 0, STREAM }, -1, 3 };
    static const TnCase cases[] = { KEY_ONLY(), KEY_ONLY(.attrs = &shaped), KEY_LIKE(5),
                                    KEY_LIKE(0, 3) };
    return with_dtype(sample, cases, G_N_ELEMENTS(cases), sizeof(TnUniformAttrs));
}

static gboolean
normal_sample(TnSample *sample)
{
    static const TnNormalAttrs shaped = { { TN_SHAPE_OF(3, 7), 0, STREAM }, 1, 0.5 };
    static const TnCase cases[] = { KEY_ONLY(), KEY_ONLY(.attrs = &shaped), KEY_LIKE(5),
                                    KEY_LIKE(0, 3) };
    return with_dtype(sample, cases, G_N_ELEMENTS(cases), sizeof(TnNormalAttrs));
}

/* --- The table -------------------------------------------------------------------------------- */

#define RANDOM(name_, onnx_, help_, set, Attrs, rows_, sample_)                                    \
    {                                                                                              \
        .op = {                                                                                    \
            TN_OP(name_, onnx_, help_),                                                            \
            .flags = TN_OP_RANDOM | TN_OP_NO_GRAD,                                                 \
            TN_INPUTS(TN_ARG_ROW("key", 'K', TN_DT(U64), "[2]: seed and position",                 \
                                 .flags = TN_ARG_NO_GRAD),                                         \
                      TN_LIKE_ROW("like", "any shape: the output's", TN_ARG_OPTIONAL)),            \
            TN_OUTPUTS(TN_ARG_ROW("out", 'T', set, "like's shape, or the attribute's")),           \
            .attrs = TN_OPTIONS(Attrs, rows_),                                                     \
            .infer = random_infer,                                                                 \
            .sample = sample_,                                                                     \
            .flops = tn_flops_outputs                                                              \
        }                                                                                          \
    }

static const TnPrimitive rows[] = {
    RANDOM("random_bits", NULL, "Random words", TN_DT(U32) | TN_DT(U64), TnRandomAttrs, bits_rows,
           bits_sample),
    RANDOM("random_uniform", "RandomUniformLike", "Uniform in [low, high)", TN_DTYPES_FLOAT,
           TnUniformAttrs, uniform_rows, uniform_sample),
    RANDOM("random_normal", "RandomNormalLike", "Normal of a mean and deviation", TN_DTYPES_FLOAT,
           TnNormalAttrs, normal_rows, normal_sample),
};

const TnFamily tn_family_random = { rows, G_N_ELEMENTS(rows) };
