/* pool_loops.c: the loops of pool_laid.c over a laid plane, for each instruction set. */
#include "pool_loops.h"

#include "bf16.h"

/* Windows at a time: what is kept of them stays in the first-level cache. */
#define POOL_BLOCK 256
#define LANES POOL_LANES
typedef float V __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef gint32 M __attribute__((vector_size(LANES * sizeof(gint32)), aligned(4), may_alias));
#define AT(T, place) (*(T *)(place))

/* --- Rows ------------------------------------------------------------------------------------- */

/* Bits of a number that is no NaN as a whole number in its order, and back. */
static CPU_INLINE gint32
turned(gint32 bits)
{
    return bits < 0 ? bits ^ G_MAXINT32 : bits;
}

static CPU_INLINE gint32
ordered(gint32 bits)
{
    return (bits & G_MAXINT32) > 0x7f800000 ? G_MAXINT32 : turned(bits);
}

/* n neighbours of x. */
static CPU_INLINE void
load(PoolOrder order, const void *x, gint64 n, gint32 *to)
{
    const gint32 *wide = x;
    const guint16 *narrow = x;
    switch (order) {
    case POOL_AS_IT_IS:
        for (gint64 i = 0; i < n; i++) {
            to[i] = wide[i];
        }
        return;
    case POOL_ORDERED:
        for (gint64 i = 0; i < n; i++) {
            to[i] = ordered(wide[i]);
        }
        return;
    case POOL_ORDERED_EQUAL:
        for (gint64 i = 0; i < n; i++) {
            to[i] = ordered(wide[i] == G_MININT32 ? 0 : wide[i]);
        }
        return;
    case POOL_ORDERED_BF16:
        for (gint64 i = 0; i < n; i++) {
            to[i] = ordered((gint32)((guint32)narrow[i] << 16));
        }
        return;
    }
}

/* row: numbers of one phase after those of the other; strides of 2 become vector code. */
static CPU_INLINE void
split(const gint32 *row, gint64 stride, gint64 m, gint32 *to, gint64 phase)
{
    if (stride == 2) {
        gint32 *odd = to + phase;
        CPU_LOOP
        for (gint64 i = 0; i < m; i++) {
            to[i] = row[2 * i];
            odd[i] = row[2 * i + 1];
        }
        return;
    }
    for (gint64 p = 0; p < stride; p++) {
        for (gint64 i = 0; i < m; i++) {
            to[p * phase + i] = row[i * stride + p];
        }
    }
}

static CPU_INLINE void
merge(const gint32 *from, gint64 stride, gint64 m, gint64 phase, gint32 *row)
{
    if (stride == 2) {
        const gint32 *odd = from + phase;
        CPU_LOOP
        for (gint64 i = 0; i < m; i++) {
            row[2 * i] = from[i];
            row[2 * i + 1] = odd[i];
        }
        return;
    }
    for (gint64 p = 0; p < stride; p++) {
        for (gint64 i = 0; i < m; i++) {
            row[i * stride + p] = from[p * phase + i];
        }
    }
}

/* --- Planes ----------------------------------------------------------------------------------- */

static CPU_INLINE void
lay_body(const PoolPlan *p, PoolOrder order, const void *x, gint32 fill, gint32 *to, gint32 *row)
{
    const gint64 size = order == POOL_ORDERED_BF16 ? 2 : 4, width = p->stride[2] * p->m[2];
    const gint64 lines = p->stride[1] * p->m[1], first = MIN(p->pad[2], width);
    for (gint64 i = 0; i < width; i++) {
        row[i] = fill;
    }
    for (gint64 z = 0; z < p->stride[0] * p->m[0]; z++) {
        for (gint64 y = 0; y < lines; y++) {
            const gint64 i = z - p->pad[0], j = y - p->pad[1];
            const gboolean inside = i >= 0 && i < p->s[0] && j >= 0 && j < p->s[1];
            gint32 *at = to + p->rows[z * lines + y];
            if (inside && p->stride[2] == 1) {
                for (gint64 k = 0; k < first; k++) {
                    at[k] = fill;
                }
                load(order, (const guint8 *)x + (i * p->s[1] + j) * p->s[2] * size, p->seen,
                     at + first);
                for (gint64 k = first + p->seen; k < width; k++) {
                    at[k] = fill;
                }
            } else if (inside) {
                load(order, (const guint8 *)x + (i * p->s[1] + j) * p->s[2] * size, p->seen,
                     row + first);
                split(row, p->stride[2], p->m[2], at, p->area);
            } else {
                for (gint64 phase = 0; phase < p->stride[2]; phase++) {
                    for (gint64 k = 0; k < p->m[2]; k++) {
                        at[phase * p->area + k] = fill;
                    }
                }
            }
        }
    }
}

static CPU_INLINE void
unlay_body(const PoolPlan *p, const float *from, gint32 *row, float *dx)
{
    const gint64 planes = p->stride[0] * p->m[0], lines = p->stride[1] * p->m[1];
    for (gint64 i = 0; i < p->s[0]; i++) {
        for (gint64 j = 0; j < p->s[1]; j++) {
            const gint64 z = i + p->pad[0], y = j + p->pad[1];
            const gint32 *values = row + p->pad[2];
            gint32 *to = (gint32 *)dx + (i * p->s[1] + j) * p->s[2];
            gint64 n = 0;
            if (z < planes && y < lines && p->seen > 0) {
                const gint32 *at = (const gint32 *)from + p->rows[z * lines + y];
                n = p->seen;
                if (p->stride[2] == 1) {
                    values = at + p->pad[2];
                } else {
                    merge(at, p->stride[2], p->m[2], p->area, row);
                }
            }
            for (gint64 k = 0; k < n; k++) {
                to[k] = values[k];
            }
            for (gint64 k = n; k < p->s[2]; k++) {
                to[k] = 0;
            }
        }
    }
}

static CPU_INLINE void
store_body(const PoolPlan *p, const gint32 *laid, void *out)
{
    for (gint64 i = 0; i < p->o[0] * p->o[1]; i++) {
        const gint32 *from = laid + p->places[i];
        gint32 *wide = (gint32 *)out + i * p->o[2];
        guint16 *narrow = (guint16 *)out + i * p->o[2];
        if (p->dtype == TN_DTYPE_BF16) {
            for (gint64 k = 0; k < p->o[2]; k++) {
                narrow[k] = (guint16)((guint32)turned(from[k]) >> 16);
            }
        } else {
            for (gint64 k = 0; k < p->o[2]; k++) {
                wide[k] = turned(from[k]);
            }
        }
    }
}

/* Windows' numbers, laid or not, shared among what they average over. */
static CPU_INLINE void
share_body(const PoolPlan *p, const float *x, gboolean x_laid, float *y, gboolean y_laid)
{
    for (gint64 i = 0; i < p->o[0]; i++) {
        for (gint64 j = 0; j < p->o[1]; j++) {
            const gint64 line = i * p->o[1] + j;
            const float count = p->counts[0][i] * p->counts[1][j], *each = p->counts[2];
            const float *from = x + (x_laid ? p->places[line] : line * p->o[2]);
            float *to = y + (y_laid ? p->places[line] : line * p->o[2]);
            CPU_LOOP
            for (gint64 k = 0; k < p->o[2]; k++) {
                to[k] = from[k] / (count * each[k]);
            }
        }
    }
}

static CPU_INLINE void
place_body(const PoolPlan *p, const float *g, float *to)
{
    for (gint64 i = 0; i < p->o[0] * p->o[1]; i++) {
        float *at = to + p->places[i];
        const float *from = g + i * p->o[2];
        CPU_LOOP
        for (gint64 k = 0; k < p->o[2]; k++) {
            at[k] = from[k];
        }
    }
}

/* --- Taps ------------------------------------------------------------------------------------- */

/* x[i] = the largest of x[i + taps[t]], in place: nothing before i is read. */
static CPU_INLINE void
largest_body(gint32 *x, const gint64 *taps, gint64 n_taps, gint64 length)
{
    gint32 best[POOL_BLOCK];
    for (gint64 at = 0; at < length; at += POOL_BLOCK) {
        const gint64 n = MIN(POOL_BLOCK, length - at);
        memcpy(best, x + at + taps[0], (gsize)n * sizeof *best);
        for (gint64 t = 1; t < n_taps; t++) {
            const gint32 *y = x + at + taps[t];
            CPU_LOOP
            for (gint64 i = 0; i < n; i++) {
                best[i] = y[i] > best[i] ? y[i] : best[i];
            }
        }
        memcpy(x + at, best, (gsize)n * sizeof *best);
    }
}

/* The sum likewise. */
static CPU_INLINE void
total_body(float *x, const gint64 *taps, gint64 n_taps, gint64 length)
{
    float sum[POOL_BLOCK];
    for (gint64 at = 0; at < length; at += POOL_BLOCK) {
        const gint64 n = MIN(POOL_BLOCK, length - at);
        memcpy(sum, x + at + taps[0], (gsize)n * sizeof *sum);
        for (gint64 t = 1; t < n_taps; t++) {
            const float *y = x + at + taps[t];
            CPU_LOOP
            for (gint64 i = 0; i < n; i++) {
                sum[i] += y[i];
            }
        }
        memcpy(x + at, sum, (gsize)n * sizeof *sum);
    }
}

/* d[i + taps[t]] += g[i], t the first of the taps where x[i + taps[t]] is the largest. Whole vectors: all
 * have LANES numbers more. */
#define TO_LARGEST(isa, TARGET)                                                                    \
    TARGET static void to_largest_##isa(const gint32 *x, const float *g, const gint64 *taps,       \
                                        gint64 n_taps, gint64 length, float *d)                    \
    {                                                                                              \
        for (gint64 i = 0; i < length; i += LANES) {                                               \
            const M own = AT(const M, g + i);                                                      \
            M best = (M){ 0 } + POOL_NOTHING, where = (M){ 0 } - 1;                                \
            for (gint64 t = 0; t < n_taps; t++) {                                                  \
                const M y = AT(const M, x + i + taps[t]), beats = y > best;                        \
                best = (y & beats) | (best & ~beats);                                              \
                where = (((M){ 0 } + (gint32)t) & beats) | (where & ~beats);                       \
            }                                                                                      \
            for (gint64 t = 0; t < n_taps; t++) {                                                  \
                AT(V, d + i + taps[t]) += (V)(own & (where == (M){ 0 } + (gint32)t));              \
            }                                                                                      \
        }                                                                                          \
    }
#define NO_TARGET
TO_LARGEST(portable, NO_TARGET)
TO_LARGEST(avx2, CPU_TARGET_AVX2)
TO_LARGEST(avx512, CPU_TARGET_AVX512)

/* d[i + taps[t]] += g[i] of all taps. */
static CPU_INLINE void
to_all_body(const float *g, const gint64 *taps, gint64 n_taps, gint64 length, float *d)
{
    for (gint64 at = 0; at < length; at += POOL_BLOCK) {
        const gint64 n = MIN(POOL_BLOCK, length - at);
        for (gint64 t = 0; t < n_taps; t++) {
            float *to = d + at + taps[t];
            CPU_LOOP
            for (gint64 i = 0; i < n; i++) {
                to[i] += g[at + i];
            }
        }
    }
}

CPU_FUNCTIONS(lay,
              (const PoolPlan *p, PoolOrder order, const void *x, gint32 fill, gint32 *to,
               gint32 *row),
              (p, order, x, fill, to, row))
CPU_FUNCTIONS(unlay, (const PoolPlan *p, const float *from, gint32 *row, float *dx),
              (p, from, row, dx))
CPU_FUNCTIONS(store, (const PoolPlan *p, const gint32 *laid, void *out), (p, laid, out))
CPU_FUNCTIONS(share,
              (const PoolPlan *p, const float *x, gboolean x_laid, float *y, gboolean y_laid),
              (p, x, x_laid, y, y_laid))
CPU_FUNCTIONS(place, (const PoolPlan *p, const float *g, float *to), (p, g, to))
CPU_FUNCTIONS(largest, (gint32 * x, const gint64 *taps, gint64 n_taps, gint64 length),
              (x, taps, n_taps, length))
CPU_FUNCTIONS(total, (float *x, const gint64 *taps, gint64 n_taps, gint64 length),
              (x, taps, n_taps, length))
CPU_FUNCTIONS(to_all, (const float *g, const gint64 *taps, gint64 n_taps, gint64 length, float *d),
              (g, taps, n_taps, length, d))

#define SET(isa)                                                                                   \
    {                                                                                              \
        lay_##isa, unlay_##isa, store_##isa, share_##isa, place_##isa, largest_##isa, total_##isa, \
            to_largest_##isa, to_all_##isa                                                         \
    }
const PoolLoops pool_loops[CPU_N_ISA] = {
    [CPU_PORTABLE] = SET(portable), [CPU_AVX2] = SET(avx2), [CPU_AVX512] = SET(avx512)
};
