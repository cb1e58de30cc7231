/* quantized_finish.c: what follows the sums of quantized_conv: a scale and a bias, another image, a rectifier,
 * the step to 8 bits.
 *
 * The library could do all of this as its post-operations, but products with them took it 1.1 to 5 times as long as
 * those that end with the sums (oneDNN 2.6.3, AMX, one thread, ResNet-50's sizes), and it rounds otherwise. */
#include "quantized_finish.h"

#include <math.h>

/* Processors on which the library's sums are exact have these. */
#if defined(__x86_64__)
#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#else
#define WIDE
#endif
/* 1.5 * 2^23: sums with it have no digits behind the point, so it rounds, halves to even. */
#define ROUNDER 12582912.0F

typedef enum { NO_MORE, WIDE_MORE, NARROW_MORE } More;

/* One place. What is not a number is the lowest in 8 bits. */
static inline __attribute__((always_inline)) void
finish_place(const QuantizedFinish *f, More kind, gboolean narrow, const gint32 *restrict sums,
             gint64 first, gint64 maps, const void *more, void *out)
{
    const gint32 *restrict offset = f->offset + first;
    const float *restrict scale = f->scale + first, *restrict bias = f->bias + first;
    const guint8 *restrict steps = more;
    const float *restrict floats = more;
    guint8 *restrict bytes = out;
    float *restrict numbers = out;
    const float lowest = f->relu ? 0 : -INFINITY;
    const float low = 0 - f->y_zero, high = 255 - f->y_zero, inverse = f->y_inverse;
    const float zero = f->y_zero, more_scale = f->more_scale, more_zero = f->more_zero;
    for (gint64 j = 0; j < maps; j++) {
        float y = (float)(gint32)((guint32)sums[j] + (guint32)offset[j]) * scale[j] + bias[j];
        if (kind == NARROW_MORE) {
            y += ((float)steps[j] - more_zero) * more_scale;
        } else if (kind == WIDE_MORE) {
            y += floats[j];
        }
        y = y < lowest ? lowest : y;
        if (narrow) {
            y *= inverse;
            y = y > low ? y : low;
            y = y < high ? y : high;
            bytes[j] = (guint8)(gint32)(y + ROUNDER - ROUNDER + zero);
        } else {
            numbers[j] = y;
        }
    }
}

static inline __attribute__((always_inline)) void
finish_places(const QuantizedFinish *f, More kind, gboolean narrow, const gint32 *sums,
              gint64 apart, gint64 at, gint64 places, gint64 first, gint64 maps, void *out)
{
    const gint64 size = narrow ? 1 : sizeof(float);
    const gint64 more_size = kind == NARROW_MORE ? 1 : sizeof(float);
    for (gint64 i = 0; i < places; i++) {
        const gint64 to = (at + i) * f->maps + first;
        finish_place(f, kind, narrow, sums + i * apart, first, maps,
                     kind == NO_MORE ? NULL : (const char *)f->more + to * more_size,
                     (char *)out + to * size);
    }
}

/* A loop for each case. */
WIDE void
quantized_finish(const QuantizedFinish *f, const gint32 *sums, gint64 apart, gint64 at,
                 gint64 places, gint64 first, gint64 maps, void *out)
{
    const More kind = f->more == NULL ? NO_MORE : f->more_narrow ? NARROW_MORE : WIDE_MORE;
    if (f->narrow && kind == NO_MORE) {
        finish_places(f, NO_MORE, TRUE, sums, apart, at, places, first, maps, out);
    } else if (f->narrow && kind == NARROW_MORE) {
        finish_places(f, NARROW_MORE, TRUE, sums, apart, at, places, first, maps, out);
    } else if (f->narrow) {
        finish_places(f, WIDE_MORE, TRUE, sums, apart, at, places, first, maps, out);
    } else if (kind == NO_MORE) {
        finish_places(f, NO_MORE, FALSE, sums, apart, at, places, first, maps, out);
    } else if (kind == NARROW_MORE) {
        finish_places(f, NARROW_MORE, FALSE, sums, apart, at, places, first, maps, out);
    } else {
        finish_places(f, WIDE_MORE, FALSE, sums, apart, at, places, first, maps, out);
    }
}
