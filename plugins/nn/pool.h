/* pool.h: what pooling over windows of the spatial axes shares: attributes, types, padding, samples. The
 * largest are in pool_max.c, means in pool_average.c, both over all places in pool_global.c. */
#pragma once

#include "nn.h"

#define NN_N_POOL_ROWS 6
extern const TnOption nn_pool_rows[NN_N_POOL_ROWS];

/* x [N, C, s…] to out [N, C, o…]. */
gboolean nn_pool_infer(TnInfer *infer, GError **error);
/* Of a gradient with images as input x and windows as input g: x's shape, g's dtype. */
gboolean nn_pool_grad_infer(TnInfer *infer, gint x, gint g, GError **error);

/* The user's pads, made explicit. */
TnInts nn_pool_own_pads(const TnPoolAttrs *attrs);
/* What ceil_mode adds behind them: `window` takes as many windows as fit. */
TnInts nn_pool_more_pads(const TnPoolAttrs *attrs);
TnInts nn_pool_all_pads(const TnPoolAttrs *attrs);
/* x with places before and after its spatial axes. sign -1 takes them off again. */
TnVal nn_padded(TnGraph *graph, TnVal x, const TnInts *pads, double value, gint64 sign);
/* The windows of x, which is padded: [N, C, o…, k…]. */
TnVal nn_pool_windows(TnGraph *graph, const TnPoolAttrs *attrs, TnVal x);
/* The n last axes: those within the windows. */
gint nn_pool_axes(const TnPoolAttrs *attrs, gint64 *axes);
/* Values of the windows back into their places, overlapping ones added, the padding taken off. */
TnVal nn_pool_scattered(TnGraph *graph, const TnPoolAttrs *attrs, TnVal values, TnVal wide,
                        const TnInts *pads);

/* x; x and the gradient of its windows. */
gboolean nn_pool_sample(TnSample *sample);
gboolean nn_pool_grad_sample(TnSample *sample);

/* Rules of maxima (pool_rules.c). */
TnVal nn_max_pool_simplify(TnSimplify *s);
TnVal nn_max_pool_grad_simplify(TnSimplify *s);

/* --- Rows of the tables ------------------------------------------------------------------------ */

#define POOL_IMAGES(name_, dtypes_, help_)                                                         \
    NN_ARG(name_, 'T', dtypes_, help_, NN_RANK(3, 5), .flags = TN_ARG_SPATIAL)
#define POOL_Y(name_, help_) POOL_IMAGES(name_, TN_DTYPES_FLOAT, help_)
#define POOL_X(help_) POOL_Y("x", help_)
#define POOL_ATTRS .attrs = TN_OPTIONS(TnPoolAttrs, nn_pool_rows)
