/* norm_rows_sums.h: the sums of norm_rows.c for one instruction set, included once for each: TARGET is its
 * attribute, VERSION (name) a function's name. (Vectors in functions that are inlined would be taken apart
 * for the plainest processor first.) Blocks are summed in four vectors, whose lanes are added pairwise. */

/* The last elements of x, from `at` to end - 1, less than a vector, with `other` in the lanes of which there
 * are none: read with what is before them where there is so much. */
TARGET static inline void
VERSION(last)(const float *x, gint64 at, gint64 end, float other, V *to)
{
    const V none = (V){ 0 } + other;
    if (end >= LANES) {
        const M is = (M)LANE_NUMBERS >= (M){ 0 } + (gint32)(LANES - (end - at));
        *to = (V)(((M)AT(x + end - LANES) & is) | ((M)none & ~is));
        return;
    }
    *to = none;
    memcpy(to, x + at, (gsize)(end - at) * sizeof *x);
}

TARGET static inline double
VERSION(lanes)(const V *sums, gint n)
{
    V a = sums[0] + sums[1];
    a = n == 4 ? a + (sums[2] + sums[3]) : a;
    a += UPPER(a, 8);
    a += UPPER(a, 4);
    a += UPPER(a, 2);
    a += UPPER(a, 1);
    return (double)a[0];
}

TARGET static void
VERSION(sum)(const float *x, gint64 n, double *sum)
{
    *sum = 0;
    for (gint64 at = 0, end; at < n; at = end) {
        V s[4] = { 0 }, last;
        end = MIN(n, at + BLOCK);
        for (; at + 4 * LANES <= end; at += 4 * LANES) {
            s[0] += AT(x + at);
            s[1] += AT(x + at + LANES);
            s[2] += AT(x + at + 2 * LANES);
            s[3] += AT(x + at + 3 * LANES);
        }
        for (; at + LANES <= end; at += LANES) {
            s[0] += AT(x + at);
        }
        if (at < end) {
            VERSION(last)(x, at, end, 0, &last);
            s[1] += last;
        }
        *sum += VERSION(lanes)(s, 4);
    }
}

#define ADD(to, place)                                                                             \
    {                                                                                              \
        const V rest = AT(place) - mean;                                                           \
        to += rest * rest;                                                                         \
    }
TARGET static void
VERSION(spread)(const float *x, gint64 n, float mean, double *sum)
{
    *sum = 0;
    for (gint64 at = 0, end; at < n; at = end) {
        V s[4] = { 0 }, last;
        end = MIN(n, at + BLOCK);
        for (; at + 4 * LANES <= end; at += 4 * LANES) {
            ADD(s[0], x + at)
            ADD(s[1], x + at + LANES)
            ADD(s[2], x + at + 2 * LANES)
            ADD(s[3], x + at + 3 * LANES)
        }
        for (; at + LANES <= end; at += LANES) {
            ADD(s[0], x + at)
        }
        if (at < end) {
            VERSION(last)(x, at, end, mean, &last);
            ADD(s[1], &last)
        }
        *sum += VERSION(lanes)(s, 4);
    }
}
#undef ADD

#define ADD(k, x_at, g_at, scale_at)                                                               \
    {                                                                                              \
        V each = AT(g_at);                                                                         \
        if (scale) {                                                                               \
            each *= AT(scale_at);                                                                  \
        }                                                                                          \
        s[k] += each;                                                                              \
        p[k] += each * ((AT(x_at) - mean) * inverse);                                              \
    }
TARGET static void
VERSION(sums)(const float *x, const float *g, gint64 n, float mean, float inverse,
              const float *scale, double *sum, double *along)
{
    *sum = *along = 0;
    for (gint64 at = 0, end; at < n; at = end) {
        V s[2] = { 0 }, p[2] = { 0 }, last[3];
        end = MIN(n, at + BLOCK);
        for (; at + 2 * LANES <= end; at += 2 * LANES) {
            ADD(0, x + at, g + at, scale + at)
            ADD(1, x + at + LANES, g + at + LANES, scale + at + LANES)
        }
        for (; at + LANES <= end; at += LANES) {
            ADD(0, x + at, g + at, scale + at)
        }
        if (at < end) {
            VERSION(last)(x, at, end, mean, &last[0]);
            VERSION(last)(g, at, end, 0, &last[1]);
            VERSION(last)(scale ? scale : g, at, end, 0, &last[2]);
            ADD(1, &last[0], &last[1], &last[2])
        }
        *sum += VERSION(lanes)(s, 2);
        *along += VERSION(lanes)(p, 2);
    }
}
#undef ADD

TARGET static void
VERSION(layer)(const NormLayer *layer, gint64 first, gint64 end)
{
    const gint64 n = layer->n;
    const double share = 1 / (double)n;
    for (gint64 row = first; row < end; row++) {
        const float *x = layer->x + row * n;
        double sum = 0, spread;
        if (layer->mean) {
            VERSION(sum)(x, n, &sum);
        }
        const float mean = (float)(sum * share);
        VERSION(spread)(x, n, mean, &spread);
        const float inverse = (float)(1 / sqrt(spread * share + layer->epsilon));
        VERSION(apply)(x, n, mean, inverse, layer->scale, layer->bias, 0, 0, layer->y + row * n);
        if (layer->mean) {
            layer->mean[row] = mean;
            layer->inverse[row] = inverse;
        }
    }
}
