/* norm.h: what normalisations by statistics share: of each channel over a batch (norm_batch.c), of each
 * sample over its features (norm_features.c) or over groups of channels (norm_group.c). */
#pragma once

#include "nn.h"

#define NN_EPSILON(Struct)                                                                         \
    NN_ATTR(Struct, epsilon, TN_OPT_DOUBLE, "added to the variance", TN_RANGE_F(0, 1),             \
            .dflt = "1e-5")
static const TnOption nn_epsilon_rows[] = { NN_EPSILON(TnEpsilonAttrs) };

/* Inputs [first, last] are [C] of input 0's axis 1. */
gboolean nn_norm_want_channels(const TnInfer *infer, gint first, gint last, GError **error);
/* x, and [C] of all others. */
gboolean nn_norm_channels_infer(TnInfer *infer, GError **error);

/* Of any attributes that begin with it. */
double nn_norm_epsilon(const void *attrs);
/* Input i in the dtype that is computed in, which is that of x. */
TnVal nn_norm_in(TnBody *body, gint i);
/* The same for [C], in a shape that broadcasts with x. */
TnVal nn_norm_channel(TnBody *body, gint i);
/* Output k, in like's dtype. */
void nn_norm_give(TnBody *body, gint k, TnVal val, TnVal like);
/* 1 / sqrt (var + epsilon) */
TnVal nn_inverse_deviation(TnGraph *graph, TnVal var, double epsilon);

typedef struct {
    TnVal mean, var, rest; /* rest: x less its mean */
} NnMoments;

/* Over axes, which stay. */
NnMoments nn_moments(TnGraph *graph, TnVal x, gint n, const gint64 *axes);

/* op computes all inputs' gradients. */
void nn_norm_vjp(TnVjp *v, const char *op, gint n_in, const TnVal *in);
/* The fast gradient, if nobody asks for that of the statistics: in, grad_in: x, scale, bias. */
gboolean nn_norm_vjp_through(TnVjp *v, const char *op, TnVal mean, TnVal spread, GError **error);

/* --- Rows of the tables ------------------------------------------------------------------------ */

#define NORM_X(help_, ...) NN_ARG("x", 'T', TN_DTYPES_FLOAT, help_, NN_RANK(__VA_ARGS__))
#define NORM_P(name_, help_, ...) NN_ARG(name_, 'P', TN_DTYPES_FLOAT, help_, ##__VA_ARGS__)
#define NORM_S(name_, help_, ...) NN_ARG(name_, 'S', TN_DTYPES_FLOAT, help_, ##__VA_ARGS__)
#define NORM_POSITIVE .lo = 0.3, .hi = 2
#define NORM_ATTRS(Struct, rows_) .attrs = TN_OPTIONS(Struct, rows_)
