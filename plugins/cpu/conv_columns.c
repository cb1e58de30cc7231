/* conv_columns.c: between images and columns. */
#include "conv.h"

/* Elements of col that one block has at most: 256 KiB of f32. */
#define BLOCK_ELEMENTS 65536

ConvShape
conv_shape(const TnConvAttrs *attrs, const TnType *x, const TnType *w, const TnType *y)
{
    gint n = x->rank - 2;
    ConvShape c = { .f64 = x->dtype == TN_DTYPE_F64, .batch = x->dims[0], .groups = attrs->group };
    c.size = c.f64 ? sizeof(double) : sizeof(float);
    c.channels = w->dims[1];
    c.maps = w->dims[0] / c.groups;
    for (gint i = 0; i < 3; i++) {
        c.s[i] = c.k[i] = c.o[i] = c.stride[i] = c.dilation[i] = 1;
    }
    for (gint i = 0; i < n; i++) {
        TnConvAxis axis = tn_conv_axis(attrs, n, i);
        gint to = i + 3 - n;
        c.s[to] = x->dims[2 + i];
        c.k[to] = w->dims[2 + i];
        c.o[to] = y->dims[2 + i];
        c.stride[to] = axis.stride;
        c.dilation[to] = axis.dilation;
        c.pad[to] = axis.pad_begin;
    }
    c.in = cpu_count(3, c.s);
    c.taps = cpu_count(3, c.k);
    c.outs = cpu_count(3, c.o);
    c.depth = c.channels * c.taps;
    c.rows = c.o[0] * c.o[1];
    c.block_rows = CLAMP(BLOCK_ELEMENTS / MAX(1, cpu_times(c.depth, c.o[2])), 1, MAX(1, c.rows));
    c.plain = c.taps == 1 && c.in == c.outs;
    for (gint i = 0; i < 3; i++) {
        c.plain = c.plain && c.stride[i] == 1 && c.pad[i] == 0;
    }
    return c;
}

gint64
conv_col_bytes(const ConvShape *c)
{
    const gint64 elements = cpu_times(cpu_times(c->depth, c->block_rows), c->o[2]);
    return (MIN(cpu_times(elements, (gint64)c->size), G_MAXINT64 - 63) + 63) & ~(gint64)63;
}

/* Outputs [*low, *high) of a row read inside the image through tap k of the last axis. */
static void
inside(const ConvShape *c, gint64 k, gint64 *low, gint64 *high)
{
    gint64 first = c->pad[2] - k * c->dilation[2], stride = c->stride[2];
    gint64 last = first + c->s[2] - 1;
    *low = CLAMP(first <= 0 ? 0 : (first + stride - 1) / stride, 0, c->o[2]);
    *high = CLAMP(last < 0 ? 0 : last / stride + 1, *low, c->o[2]);
}

/* Offset of the row of the image that outputs' row `row` reads through taps (k0, k1); -1 in the
 * padding. */
static gint64
image_row(const ConvShape *c, gint64 row, gint64 k0, gint64 k1)
{
    gint64 i0 = row / c->o[1] * c->stride[0] + k0 * c->dilation[0] - c->pad[0];
    gint64 i1 = row % c->o[1] * c->stride[1] + k1 * c->dilation[1] - c->pad[1];
    if (i0 < 0 || i0 >= c->s[0] || i1 < 0 || i1 >= c->s[1]) {
        return -1;
    }
    return (i0 * c->s[1] + i1) * c->s[2];
}

#define DEFINE(T, suffix)                                                                          \
    static void line_##suffix(const ConvShape *c, const T *image, gint64 k0, gint64 k1, gint64 k2, \
                              gint64 row, gint64 rows, T *to)                                      \
    {                                                                                              \
        gint64 low, high, shift = k2 * c->dilation[2] - c->pad[2], stride = c->stride[2];          \
        inside(c, k2, &low, &high);                                                                \
        for (gint64 r = 0; r < rows; r++, to += c->o[2]) {                                         \
            gint64 at = image_row(c, row + r, k0, k1);                                             \
            gint64 first = at < 0 ? c->o[2] : low, end = at < 0 ? c->o[2] : high;                  \
            const T *from = image + at + shift;                                                    \
            for (gint64 o = 0; o < first; o++) {                                                   \
                to[o] = 0;                                                                         \
            }                                                                                      \
            if (stride == 1) {                                                                     \
                for (gint64 o = first; o < end; o++) {                                             \
                    to[o] = from[o];                                                               \
                }                                                                                  \
            } else {                                                                               \
                for (gint64 o = first; o < end; o++) {                                             \
                    to[o] = from[o * stride];                                                      \
                }                                                                                  \
            }                                                                                      \
            for (gint64 o = end; o < c->o[2]; o++) {                                               \
                to[o] = 0;                                                                         \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void add_line_##suffix(const ConvShape *c, const T *from, gint64 k0, gint64 k1,         \
                                  gint64 k2, gint64 row, gint64 rows, T *image)                    \
    {                                                                                              \
        gint64 low, high, shift = k2 * c->dilation[2] - c->pad[2], stride = c->stride[2];          \
        inside(c, k2, &low, &high);                                                                \
        for (gint64 r = 0; r < rows; r++, from += c->o[2]) {                                       \
            gint64 at = image_row(c, row + r, k0, k1);                                             \
            if (at < 0) {                                                                          \
                continue;                                                                          \
            }                                                                                      \
            T *to = image + at + shift;                                                            \
            if (stride == 1) {                                                                     \
                for (gint64 o = low; o < high; o++) {                                              \
                    to[o] += from[o];                                                              \
                }                                                                                  \
            } else {                                                                               \
                for (gint64 o = low; o < high; o++) {                                              \
                    to[o * stride] += from[o];                                                     \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE(float, f32)
DEFINE(double, f64)

void
conv_im2col(const ConvShape *c, const void *image, gint64 first, gint64 n, gint64 row, gint64 rows,
            void *col, gint64 ld)
{
    for (gint64 channel = first; channel < first + n; channel++) {
        for (gint64 k = 0; k < c->taps; k++) {
            gint64 k2 = k % c->k[2], k1 = k / c->k[2] % c->k[1], k0 = k / c->k[2] / c->k[1];
            gint64 to = ((channel - first) * c->taps + k) * ld;
            if (c->f64) {
                line_f64(c, (const double *)image + channel * c->in, k0, k1, k2, row, rows,
                         (double *)col + to);
            } else {
                line_f32(c, (const float *)image + channel * c->in, k0, k1, k2, row, rows,
                         (float *)col + to);
            }
        }
    }
}

void
conv_col2im(const ConvShape *c, const void *col, gint64 ld, gint64 row, gint64 rows, void *image)
{
    for (gint64 channel = 0; channel < c->channels; channel++) {
        for (gint64 k = 0; k < c->taps; k++) {
            gint64 k2 = k % c->k[2], k1 = k / c->k[2] % c->k[1], k0 = k / c->k[2] / c->k[1];
            gint64 from = (channel * c->taps + k) * ld;
            if (c->f64) {
                add_line_f64(c, (const double *)col + from, k0, k1, k2, row, rows,
                             (double *)image + channel * c->in);
            } else {
                add_line_f32(c, (const float *)col + from, k0, k1, k2, row, rows,
                             (float *)image + channel * c->in);
            }
        }
    }
}
