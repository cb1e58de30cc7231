/* quantized_finish.h: what quantized_conv makes of its sums (tenon/nn.h). */
#pragma once

#include <glib.h>

/* Of all maps; `more` and what comes out have `maps` elements a place. */
typedef struct {
    gint64 maps;
    const gint32 *offset;
    const float *scale, *bias;
    const void *more;     /* u8 if more_narrow, else f32; NULL: none */
    gboolean more_narrow; /* with the next two */
    float more_scale, more_zero;
    gboolean relu, narrow; /* narrow: u8, with the next two, else f32 */
    float y_inverse, y_zero;
} QuantizedFinish;

/* Sums [places, apart] of `maps` maps from map `first` on, of neighbouring places from place `at` on; an out
 * of whole tensors. The bits are those of the plugin cpu. */
void quantized_finish(const QuantizedFinish *finish, const gint32 *sums, gint64 apart, gint64 at,
                      gint64 places, gint64 first, gint64 maps, void *out);
