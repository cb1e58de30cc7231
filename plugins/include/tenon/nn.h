/* nn.h: the composite operators of the plugin `nn`: what each one means, and the structs of their
 * attributes.
 *
 * A composite is found with tn_op_find ("softmax"); whoever writes a kernel for one includes this
 * page and nothing else of the plugin. Every composite has a body of primitives, which is what its
 * kernels are judged by. Bodies compute f16 and bf16 in f32 and round each output once. Shapes and
 * dtypes are written as in ops.h; C is the dtype that is computed in: f64 for f64, else f32.
 *
 * Element-wise (flag TN_OP_ELEMENTWISE; float -> T unless said otherwise)
 *   relu sigmoid log_sigmoid silu softplus softsign mish
 *   square rsqrt tan sinh cosh expm1 log1p
 *   leaky_relu elu celu thresholded_relu (alpha)   selu (alpha, gamma)
 *   prelu   x, slope T -> T       slope~x, out has x's shape: x where x > 0, else slope x
 *   gelu (approximate)            none: x/2 (1 + erf (x / sqrt 2))
 *                                 tanh: x/2 (1 + tanh (sqrt (2/pi) (x + 0.044715 x^3)))
 *   gelu_grad (approximate)       x, g T -> T, of one shape: gelu's gradient in x
 *   hard_sigmoid (alpha, beta)    max (0, min (1, alpha x + beta))
 *   hard_swish                    x hard_sigmoid (x) with alpha 1/6, beta 1/2
 *   clip (min, max)               number; a bound of -DBL_MAX, DBL_MAX is none
 *   isinf                         float -> bool
 *
 * Reductions (axes, keepdims as reduce_sum), float -> T
 *   reduce_mean reduce_l1 reduce_l2 reduce_sum_square reduce_log_sum reduce_log_sum_exp
 *   softmax log_softmax (axis)    axis -1
 *   softmax_grad (axis)           y, g T -> T: y (g - sum (g y)), softmax's gradient from its
 *                                 result
 *   log_softmax_grad (axis)       y, g T -> T: g - exp (y) sum (g), likewise
 *
 * Sums of products, float -> T
 *   gemm (alpha, beta, trans_a, trans_b)   a [M, K], b [K, N], c optional ~[M, N]:
 *                         alpha a b + beta c
 *   linear                x [lead…, in], w [out, in], b optional [out] -> [lead…, out]: x w^T + b
 *   linear_turned         the same with w [out / columns, in, columns], panels of so many columns: what the
 *                         compiler makes of linear where w is fixed
 *   fused_linear (TnFusedLinearAttrs)   x, w as linear's or linear_turned's, b optional [out], more optional as
 *                         out: f (linear + b + more), or f (linear + b) + more if last, f the activation. What the
 *                         compiler makes of linear and what follows it
 *   conv_bias, conv_transpose_bias (TnConvAttrs)   x and w as conv and conv_transpose, b [channels
 *                         out]
 *   conv_blocked (TnConvBlockedAttrs)   conv over two axes, channels in blocks of TN_LANES = L:
 *                         x [N, C / L, h, w, L], w [M / L, C / L / group, k, k, L of C, L of M], or x
 *                         [N, C, h, w] and w [M / L, k, k, C, L]; b optional [M], more optional as
 *                         out -> [N, M / L, o, o, L]: conv + b + more, then max (., 0) if relu; f32 if
 *                         wide. With windows in pairs, w [M / L, C / L / group, k, k, L / 2, L of M, 2 of C] or
 *                         [M / L, k, k, C, L, 1], L is TN_PAIR_LANES. What the compiler makes of convolutions
 *                         (TnOp.blocked)
 *   conv_winograd (TnConvBlockedAttrs)   the same of 3 x 3 windows in steps of 1 by Winograd's
 *                         F (4 x 4, 3 x 3): u [36, M / L, C / L, L of C, L of M] for w, each window g
 *                         as G g G^T
 *
 * Numbers of 8 bits: real = scale (q - zero point); q is u8 or i8. ONNX's; scales f32, zero points as what
 * they belong to, each [] or one for each place of an axis
 *   quantize_linear (axis)        x f32, scale, zero point optional (u8) -> q
 *   dequantize_linear (axis)      q or i32, scale, zero point optional -> f32
 *   conv_integer (TnConvAttrs), matmul_integer   a, b, their zero points optional -> i32
 *   qlinear_conv (TnConvAttrs), qlinear_matmul   a, b with scale and zero point each, those of the result
 *                         -> q
 *   quantized_conv (TnQuantizedConvAttrs)   what the compiler makes of convolutions and products of
 *                         dequantised numbers by fixed weights. x u8 [N, s…, C] with the channels last,
 *                         w i8 in tiles (below), x_zero u8, offset i32 [M], scale, bias f32 [M], more
 *                         optional f32 or u8 [N, o…, M] (then with more_scale, more_zero), y_scale
 *                         and y_zero u8 optional -> [N, o…, M] f32, or u8 where y_scale is given:
 *                         scale (offset + sum (x w)) + bias + more, then max (., 0) if relu, then
 *                         times 1 / y_scale, rounded and moved by y_zero. Beside the images lies
 *                         x_zero. One of [N, C] is a product of matrices
 *   from_channels_last    all [N, s…, C] -> [N, C, s…]
 *
 * w of quantized_conv is [M / 16, rows, l / 64, 16, 16 of M, 4]: the last kernel axis and the channels
 * make `rows` rows of l = k C numbers, cut into tiles of 64, each as four, for four products at
 * once; zeros where M or l are no multiples.
 *
 * Pooling (TnPoolAttrs) of x [N, C, s…] float; kernel_shape has a size for each spatial axis
 *   max_pool              padding never wins; 8-bit integers too
 *   max_pool_grad         x, g T -> T: each element of g to the first largest of its window
 *   average_pool          padding counts if count_include_pad; what ceil_mode adds never does
 *   average_pool_grad     g T, like any (x) -> T
 *   global_average_pool, global_max_pool   -> [N, C, 1…]
 *
 * Normalisation. epsilon is added to the variance, which is that of the population. Letters: x, g
 * and y T; scale, bias and their gradients P; statistics S, outputs of them C
 *   batch_normalization            x [N, C, s…], scale, bias, mean, var [C] -> y
 *   batch_normalization_training   x, scale, bias -> y, mean [C], var [C]: those of the batch
 *   batch_normalization_grad       x, scale, mean, var, g -> dx, dscale, dbias: the training form's
 *   layer_normalization (axis)     x, scale, bias optional (x's axes from axis on) -> y, mean,
 *                                  inv_std (x's shape, those axes 1)
 *   layer_normalization_grad (axis)   x, scale, mean, inv_std, g -> dx, dscale, dbias
 *   rms_normalization (axis)       x, scale -> x / sqrt (mean (x^2) + epsilon) scale
 *   rms_normalization_grad (axis)  x, scale, g -> dx, dscale
 *   group_normalization (num_groups), instance_normalization   x [N, C, s…], scale, bias [C] -> y
 *
 * Losses. reduction none: a value for each sample or element; mean, sum: rank 0
 *   cross_entropy         logits [N, C, d…], target [N, d…] i32 or i64, weight optional [C] -> T.
 *                         PyTorch's: a target equal to ignore_index counts for nothing (other
 *                         negative ones count from the end); mean divides by the sum of the
 *                         targets' weights
 *   cross_entropy_grad    logits, target, weight optional, g -> T: its gradient in the logits
 *   nll_loss              log probabilities for logits; no smoothing
 *   mse_loss l1_loss      x, target T;   huber_loss (delta), smooth_l1_loss (beta)
 *   bce_with_logits       x, target T, weight optional ~x, pos_weight optional ~x
 *   kl_div (log_target)   x (log probabilities), target T; batchmean: sum / size of axis 0
 *
 * Indexing
 *   embedding (padding_idx)   weight [V, D], indices -> [indices' shape…, D]; row padding_idx gets
 *                             no gradient
 *   one_hot (depth, axis, on, off, dtype)   indices -> dtype
 *   topk (k, axis, largest)   x number -> values T, indices i64, sorted
 *   trilu (upper, k)          all -> T
 *   arange (start, stop, step, dtype)   -> dtype [ceil ((stop - start) / step)]
 *
 * Random. key as for the primitives; u is uniform, f32, drawn for each element
 *   dropout (p, training)     x, key -> y, mask bool: x / (1 - p) where u >= p, else 0
 *   bernoulli (dtype)         p, key -> 1 where u < p, else 0
 *   random_categorical        logits [lead…, C], key -> i64 [lead…]
 *
 * Attention and recurrent cells (PyTorch's formulas and order of gates), float -> T
 *   scaled_dot_product_attention (causal, scale)   q [lead…, L, E], k [lead…, S, E],
 *               v [lead…, S, D], mask optional ~[lead…, L, S]: bool (what holds is attended) or
 *               T (added) -> [lead…, L, D], log_sum_exp C [lead…, L, 1]: of the masked products of
 *               each row. A row that attends to nothing gives 0, and -inf there. What a place that is
 *               not attended holds is multiplied by 0 or not read at all
 *   scaled_dot_product_attention_grad (the same)   q, k, v, out, log_sum_exp, g, mask optional ->
 *               dq, dk, dv
 *   rnn_cell (nonlinearity)   x [N, I], h [N, H], w_ih [H, I], w_hh [H, H], b_ih, b_hh optional
 *   lstm_cell   x, h, c, w_ih [4H, I], w_hh [4H, H], b_ih, b_hh optional -> h, c; gates i f g o
 *   gru_cell    x, h, w_ih [3H, I], w_hh [3H, H], b_ih, b_hh optional -> h; gates r z n
 *
 * Whole sequences, x [L, N, I] with L = steps, float -> T; weights as the cells', S is C
 *   rnn (steps, nonlinearity)   x, h, w_ih, w_hh, b_ih, b_hh optional -> out [L, N, H]
 *   lstm (steps)   x, h, c, w_ih, w_hh, b_ih, b_hh optional -> out [L, N, H], cells S [L, N, H]: c
 *                  after each step, gates S [L, N, 4H]: i f g o of each step
 *   gru (steps)    x, h, w_ih, w_hh, b_ih, b_hh optional -> out [L, N, H], gates S [L, N, 4H]: r z n
 *                  and W_hn h + b_hn of each step
 *   Their gradients, g that of out; dsums: of the sums that the gates are functions of
 *   rnn_grad       w_hh, h, out, g -> dsums [L, N, H], dh [N, H]
 *   lstm_grad      w_hh, c, cells, gates, g, g_cells optional -> dsums [L, N, 4H], dh, dc [N, H]
 *   gru_grad       w_hh, h, out, gates, g -> dsums_x, dsums_h [L, N, 3H]: of x's and of h's part,
 *                  dh [N, H]
 *
 * Optimiser steps (PyTorch's formulas; element-wise but for lamb_step and steps of products). Letters:
 * param T, grad G, slots S; lr and step have rank 0 and dtypes of their own, step counts updates from
 * 1. C is f64 if param is f64, else f32; what is the same for all elements (1 - beta^step) is computed
 * in f64.
 * Outputs: the new param, then the new slots in their order; an absent slot has no output
 *   sgd_step        param, grad, lr, momentum_buffer optional (if momentum is not 0)
 *   adam_step adamw_step lamb_step   param, grad, exp_avg, exp_avg_sq, lr, step
 *   adam_product_step adamw_product_step   a [M, K], b [K, N] of T, param P, exp_avg, exp_avg_sq of S,
 *                   lr, step: the same with the gradient a b, rounded to T
 *   rmsprop_step    param, grad, square_avg, lr, grad_avg optional (if centered), momentum_buffer
 *                   optional (if momentum is not 0) */
#pragma once

#include <tenon/op.h>

G_BEGIN_DECLS

typedef struct {
    double alpha;
} TnAlphaAttrs; /* leaky_relu 0.01; elu, celu, thresholded_relu 1 */
typedef struct {
    double alpha, gamma;
} TnSeluAttrs;
typedef enum { TN_GELU_NONE, TN_GELU_TANH } TnGeluApproximate;
typedef struct {
    gint approximate; /* TnGeluApproximate */
} TnGeluAttrs;
typedef struct {
    double alpha, beta; /* 0.2, 0.5 */
} TnHardSigmoidAttrs;
typedef struct {
    double min, max; /* -DBL_MAX, DBL_MAX: none */
} TnClipAttrs;

/* reductions: TnReduceAttrs; softmax, log_softmax and their gradients: TnAxisAttrs (op.h) */

typedef struct {
    double alpha, beta; /* 1, 1 */
    gboolean trans_a, trans_b;
} TnGemmAttrs;

typedef enum {
    TN_LINEAR_NONE,
    TN_LINEAR_RELU,
    TN_LINEAR_GELU,
    TN_LINEAR_GELU_TANH,
} TnLinearActivation;
typedef struct {
    gint activation; /* TnLinearActivation */
    gboolean last;   /* more is added behind it, not before */
} TnFusedLinearAttrs;

typedef struct {
    TnConvAttrs conv;
    gboolean relu, wide; /* wide: the result is f32 */
} TnConvBlockedAttrs;

/* quantized_conv. kernel_shape has a size for each spatial axis; the last one's dilation is 1. */
typedef struct {
    TnWindowAttrs window;
    gint64 channels, maps; /* of x, of the result */
    gboolean relu;
} TnQuantizedConvAttrs;
#define TN_QUANTIZED_MAPS 16 /* of a tile of weights */
#define TN_QUANTIZED_DEEP 64 /* numbers of a row of one */

/* ceil_mode rounds the number of windows up; what is read beyond the padding then is as if it were
 * not there. */
typedef struct {
    TnWindowAttrs window; /* pads: begins, then ends; strides none given: 1 */
    gboolean ceil_mode, count_include_pad;
} TnPoolAttrs;

/* batch and instance normalisation, and the first member of the others' */
typedef struct {
    double epsilon; /* 1e-5 */
} TnEpsilonAttrs;
typedef struct {
    double epsilon;
    gint64 axis; /* the first normalised one; -1 */
} TnNormAttrs;   /* layer, rms */
typedef struct {
    double epsilon;
    gint64 num_groups;
} TnGroupNormAttrs;

typedef enum { TN_LOSS_MEAN, TN_LOSS_SUM, TN_LOSS_NONE, TN_LOSS_BATCHMEAN } TnLossReduction;
/* The beginning of every loss's attributes. */
typedef struct {
    gint reduction; /* TnLossReduction */
} TnLossAttrs;      /* mse_loss, l1_loss, bce_with_logits */
typedef struct {
    gint reduction;
    double delta; /* huber_loss: delta; smooth_l1_loss: beta; 1 */
} TnHuberAttrs;
typedef struct {
    gint reduction; /* batchmean too */
    gboolean log_target;
} TnKlDivAttrs;
typedef struct {
    gint reduction;
    gint64 ignore_index;    /* -100 */
    double label_smoothing; /* cross_entropy only */
} TnCrossEntropyAttrs;

typedef struct {
    gint64 padding_idx; /* -1: none */
} TnEmbeddingAttrs;
typedef struct {
    gint64 depth, axis; /* axis in the output's rank; -1 */
    double on, off;     /* 1, 0 */
    gint dtype;         /* f32 */
} TnOneHotAttrs;
typedef struct {
    gint64 k, axis;   /* axis -1 */
    gboolean largest; /* true; results are sorted */
} TnTopkAttrs;
typedef struct {
    gboolean upper; /* true */
    gint64 k;       /* diagonal that is kept with the rest; 0: the main one, 1: the one above it */
} TnTriluAttrs;
typedef struct {
    double start, stop, step; /* 0, required, 1 */
    gint dtype;               /* i64 */
} TnArangeAttrs;

typedef struct {
    double p; /* 0.5: probability of a zero */
    gboolean training;
} TnDropoutAttrs;
typedef struct {
    gint dtype; /* none: p's */
} TnBernoulliAttrs;

typedef struct {
    gboolean causal;
    double scale; /* 0: 1 / sqrt (E) */
} TnAttentionAttrs;
typedef enum { TN_RNN_TANH, TN_RNN_RELU } TnRnnNonlinearity;
typedef struct {
    gint nonlinearity; /* TnRnnNonlinearity */
} TnRnnAttrs;
/* rnn, lstm, gru and their gradients; rnn's alone have a nonlinearity */
typedef struct {
    gint64 steps;      /* x's first size: how often the body repeats a step */
    gint nonlinearity; /* TnRnnNonlinearity */
} TnSequenceAttrs;

typedef struct {
    double momentum, weight_decay; /* 0, 0 */
    gboolean nesterov;
} TnSgdAttrs;
typedef struct {
    double beta1, beta2, eps, weight_decay; /* 0.9, 0.999, 1e-8 (lamb 1e-6), 0 (adamw 0.01) */
} TnAdamAttrs;
typedef struct {
    double alpha, eps, momentum, weight_decay; /* 0.99, 1e-8, 0, 0 */
    gboolean centered;
} TnRmspropAttrs;

G_END_DECLS
