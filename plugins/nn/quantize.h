/* quantize.h: what the files about 8-bit numbers share. real = scale (q - zero point). */
#pragma once

#include "nn.h"

#define NN_8BIT (TN_DT(U8) | TN_DT(I8))

/* A parameter of the whole tensor or of each place of an axis of it: [] or [n], as a row of x's rank
 * broadcasts. */
TnVal nn_along(TnGraph *graph, TnVal parameter, gint axis, gint rank);
/* x less its zero point (none: 0), in `to`, which holds the difference exactly. */
TnVal nn_less_zero(TnGraph *graph, TnVal x, TnVal zero, gint axis, TnDtype to);
/* f32 numbers counted in steps, rounded (halves to even), moved by the zero point and held within `to`;
 * NaN becomes the lowest. */
TnVal nn_saturated(TnGraph *graph, TnVal steps, TnVal zero, TnDtype to);
/* A rule's constant of one number. */
TnVal nn_rule_number(TnSimplify *s, TnDtype dtype, double value);
/* A rule's node of two inputs. */
TnVal nn_rule_2(TnSimplify *s, const char *op, TnVal a, TnVal b);

/* Rules of quantized_rules.c. */
TnVal nn_dequantized_simplify(TnSimplify *s);
TnVal nn_channels_last_simplify(TnSimplify *s);
