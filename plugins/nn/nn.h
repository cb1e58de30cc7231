/* nn.h: how the files of this plugin write their operators: one macro that makes schema and
 * factory, and the few helpers that bodies and rules share. What the operators mean is in
 * tenon/nn.h.
 *
 * A body knows ranks and dtypes, never sizes: counts come from `size`, shapes from `like`
 * inputs. */
#pragma once

#include <float.h>
#include <math.h>
#include <string.h>

#include <tenon/graph.h>
#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

/* Every operator of the plugin. */
/* clang-format off */
#define NN_OPERATORS(X)                                                                            \
    X(relu) X(leaky_relu) X(elu) X(celu) X(selu) X(thresholded_relu) X(prelu) X(gelu)              \
    X(gelu_grad) X(sigmoid) X(log_sigmoid) X(silu) X(softplus) X(softsign) X(mish)                 \
    X(hard_sigmoid) X(hard_swish) X(clip)                                                          \
    X(square) X(rsqrt) X(tan) X(sinh) X(cosh) X(expm1) X(log1p) X(isinf)                           \
    X(reduce_mean) X(reduce_l1) X(reduce_l2) X(reduce_sum_square) X(reduce_log_sum)                \
    X(reduce_log_sum_exp) X(softmax) X(log_softmax) X(softmax_grad) X(log_softmax_grad)            \
    X(quantize_linear) X(dequantize_linear) X(conv_integer) X(matmul_integer)                      \
    X(qlinear_conv) X(qlinear_matmul) X(quantized_conv) X(from_channels_last)                      \
    X(gemm) X(linear) X(linear_turned) X(fused_linear) X(conv_bias) X(conv_transpose_bias)         \
    X(conv_blocked) X(conv_winograd)                                                               \
    X(max_pool) X(max_pool_grad) X(average_pool) X(average_pool_grad) X(global_average_pool)       \
    X(global_max_pool)                                                                             \
    X(batch_normalization) X(batch_normalization_training) X(batch_normalization_grad)             \
    X(layer_normalization) X(layer_normalization_grad) X(rms_normalization) X(rms_normalization_grad) \
    X(group_normalization) X(instance_normalization)                                               \
    X(cross_entropy) X(cross_entropy_grad) X(nll_loss) X(mse_loss) X(l1_loss) X(huber_loss)        \
    X(smooth_l1_loss) X(bce_with_logits) X(kl_div)                                                 \
    X(embedding) X(one_hot) X(topk) X(trilu) X(arange)                                             \
    X(dropout) X(bernoulli) X(random_categorical)                                                  \
    X(scaled_dot_product_attention) X(scaled_dot_product_attention_grad)                           \
    X(rnn_cell) X(lstm_cell) X(gru_cell)                                                           \
    X(rnn) X(rnn_grad) X(lstm) X(lstm_grad) X(gru) X(gru_grad)                                     \
    X(sgd_step) X(adam_step) X(adamw_step) X(lamb_step) X(rmsprop_step)                            \
    X(adam_product_step) X(adamw_product_step)
/* clang-format on */

#define NN_DECLARE(ident) extern const TnFactory nn_factory_##ident;
NN_OPERATORS(NN_DECLARE)

/* The rule of dense layers (fused_linear.c): the layer and the node that reads it as one, where a device has a
 * kernel for that. */
TnVal nn_linear_join(TnSimplify *simplify);
/* What follows a convolution in blocks, simplify->of, as part of it; else TN_VAL_NONE. */
TnVal nn_conv_blocked_follow(TnSimplify *simplify);

/* --- Rows ------------------------------------------------------------------------------------ */

#define NN_COUNT(Type, ...) (sizeof((const Type[]){ __VA_ARGS__ }) / sizeof(Type))
#define NN_IN(...)                                                                                 \
    .inputs = (const TnOpArg[]){ __VA_ARGS__ }, .n_inputs = NN_COUNT(TnOpArg, __VA_ARGS__)
#define NN_OUT(...)                                                                                \
    .outputs = (const TnOpArg[]){ __VA_ARGS__ }, .n_outputs = NN_COUNT(TnOpArg, __VA_ARGS__)
#define NN_ARG(name_, letter, set, help_, ...)                                                     \
    {                                                                                              \
        .name = (name_), .type = (letter), .dtypes = (set), .help = (help_), ##__VA_ARGS__         \
    }
#define NN_ATTR(Struct, member_, type_, help_, ...)                                                \
    {                                                                                              \
        .name = #member_, .type = (type_), .offset = G_STRUCT_OFFSET(Struct, member_),             \
        .help = (help_), ##__VA_ARGS__                                                             \
    }
#define NN_ATTR_DTYPE(Struct, member_, help_, ...)                                                 \
    NN_ATTR(Struct, member_, TN_OPT_ENUM, help_, .choices = tn_dtype_choices, ##__VA_ARGS__)
#define NN_INDICES (TN_DT(I32) | TN_DT(I64))
#define NN_STAT (TN_DT(F64) | TN_DT(F32))
#define NN_RANK(lo_, hi_) .min_rank = (lo_), .max_rank = (hi_)

/* The members of a TnOp that every operator has. */
#define NN_HEAD(ident, onnx_, help_)                                                               \
    .size = sizeof(TnOp), .arg_size = sizeof(TnOpArg), .name = #ident, .onnx = (onnx_),            \
    .help = (help_)
#define NN_FACTORY(ident, help_, op_)                                                              \
    const TnFactory nn_factory_##ident = { .size = sizeof(TnFactory),                              \
                                           .iface = "tenon.op/1",                                  \
                                           .name = #ident,                                         \
                                           .help = (help_),                                        \
                                           .vtable = (op_) }
/* Schema and factory: NN_OP(name, "OnnxName", "one line", members of TnOp…); */
#define NN_OP(ident, onnx_, help_, ...)                                                            \
    static const TnOp ident##_op = { NN_HEAD(ident, onnx_, help_), __VA_ARGS__ };                  \
    NN_FACTORY(ident, help_, &ident##_op)

/* --- Samples --------------------------------------------------------------------------------- */

#define NN_CASE_IN 12
/* One variant. A shape of rank -1: the input is absent. dtype none: the suite's. */
typedef struct {
    gint n_in;
    TnShape in[NN_CASE_IN];
    TnDtype dtype[NN_CASE_IN];
    gint64 bound[NN_CASE_IN]; /* of indices */
    const void *attrs;        /* NULL: defaults */
} NnCase;
#define NN_SHAPE(...)                                                                              \
    {                                                                                              \
        (gint32) NN_COUNT(gint64, __VA_ARGS__),                                                    \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define NN_RANK0                                                                                   \
    {                                                                                              \
        0,                                                                                         \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define NN_ABSENT                                                                                  \
    {                                                                                              \
        -1,                                                                                        \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define NN_INTS(...)                                                                               \
    {                                                                                              \
        (gint32) NN_COUNT(gint64, __VA_ARGS__),                                                    \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
/* Fills sample from row `variant` of a table; FALSE beyond its end. */
gboolean nn_sample_case(TnSample *sample, const NnCase *cases, guint n, gsize attrs_size);
#define NN_SAMPLE(sample, cases, Attrs)                                                            \
    nn_sample_case((sample), (cases), G_N_ELEMENTS(cases), sizeof(Attrs))
/* A function `ident` that walks a table. */
#define NN_SAMPLER(ident, cases, Attrs)                                                            \
    static gboolean ident(TnSample *sample)                                                        \
    {                                                                                              \
        return NN_SAMPLE(sample, cases, Attrs);                                                    \
    }

/* --- Infer ----------------------------------------------------------------------------------- */

/* "input 'x' f32[2]: TEXT" with TN_ERROR_SHAPE; returns FALSE. */
gboolean nn_infer_fail(const TnInfer *infer, gint i, GError **error, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* Input i has exactly these sizes; `of` says in words where they come from. */
gboolean nn_infer_want(const TnInfer *infer, gint i, gint rank, const gint64 *dims, const char *of,
                       GError **error);
/* Input i broadcasts to `wide` without changing it. */
gboolean nn_infer_fits(const TnInfer *infer, gint i, const TnType *wide, const char *of,
                       GError **error);
static inline gboolean
nn_present(const TnInfer *infer, gint i)
{
    return i < infer->n_in && infer->in[i].dtype != TN_DTYPE_NONE;
}
/* f32 for f16 and bf16, else the same. */
static inline TnDtype
nn_wider(TnDtype dtype)
{
    return dtype == TN_DTYPE_F16 || dtype == TN_DTYPE_BF16 ? TN_DTYPE_F32 : dtype;
}
/* out 0 has in 0's shape; its dtype is left alone. */
gboolean nn_infer_shape(TnInfer *infer, GError **error);

/* --- Graph ----------------------------------------------------------------------------------- */

static inline TnVal
nn_1(TnGraph *graph, const char *op, const void *attrs, TnVal a)
{
    return tn_graph_op(graph, op, attrs, 1, &a, NULL);
}
static inline TnVal
nn_2(TnGraph *graph, const char *op, const void *attrs, TnVal a, TnVal b)
{
    return tn_graph_op(graph, op, attrs, 2, (const TnVal[]){ a, b }, NULL);
}
static inline TnVal
nn_3(TnGraph *graph, const char *op, const void *attrs, TnVal a, TnVal b, TnVal c)
{
    return tn_graph_op(graph, op, attrs, 3, (const TnVal[]){ a, b, c }, NULL);
}
/* Input i of a body or rule; none if it was not given. */
#define nn_in(call, i) ((i) < (call)->n_in ? (call)->in[i] : TN_VAL_NONE)
/* Its dtype; f32 for none, so that rules go on after a failure. */
TnDtype nn_dtype(TnGraph *graph, TnVal x);
/* Cast if the dtype is another; none stays none. */
TnVal nn_to(TnGraph *graph, TnVal x, TnDtype dtype);
/* f16 and bf16 as f32. */
TnVal nn_wide(TnGraph *graph, TnVal x);
/* With n new axes of size 1 that begin at axis `at` of the result. */
TnVal nn_insert(TnGraph *graph, TnVal x, gint at, gint n);
/* [C] as [C, 1…] for a value of `rank` axes whose axis 1 it belongs to. */
TnVal nn_channel(TnGraph *graph, TnVal x, gint rank);
/* x summed in the shape of like, and in its dtype. */
TnVal nn_reduce_like(TnGraph *graph, TnVal x, TnVal like);
/* Axes from, from + 1, … to - 1. */
gint nn_range(gint from, gint to, gint64 *axes);
/* The accurate forms, which the composites log1p and expm1 stand for. */
TnVal nn_log1p(TnGraph *graph, TnVal x);
TnVal nn_expm1(TnGraph *graph, TnVal x);
TnVal nn_sigmoid(TnGraph *graph, TnVal x);
/* max (x, 0) + log (1 + exp (-|x|)) */
TnVal nn_softplus(TnGraph *graph, TnVal x);
