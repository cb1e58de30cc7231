/* pool_laid.c: planes of pooling with any windows. A plane is laid with its padding, and apart by phases: of
 * each axis, places that are a stride apart are neighbours. So what one tap of all windows sees is a single
 * run, and a tap is a loop over vectors, however narrow the plane is. (Between rows of windows it computes
 * some that there are not.)
 *
 * Maxima are of whole numbers in the order of what they stand for, of which processors take the larger of
 * many at once: NaN is the largest. They and sums go along one axis after the other, in place; gradients
 * through all taps, in the order in which the first of equals is found. */
#include <math.h>

#include "bf16.h"
#include "pool.h"

/* Windows at a time: what is kept of them stays in the first-level cache. */
#define BLOCK 256
/* A gradient's: taps of a window at most, windows of a plane at least. */
#define MOST_TAPS 1024
#define LEAST_LENGTH 16
/* Whole numbers of -infinity, and of no number at all. */
#define LEAST ((gint32)(0xff800000 ^ 0x7fffffff))
#define NOTHING G_MININT32

/* --- Loops ------------------------------------------------------------------------------------ */

#define LANES POOL_LANES
typedef float V __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef gint32 M __attribute__((vector_size(LANES * sizeof(gint32)), aligned(4), may_alias));
#define AT(T, place) (*(T *)(place))

/* n neighbours of a plane as 32 bits each; and back. */
typedef void (*LoadFn)(const void *from, gint64 n, gint32 *to);
typedef void (*StoreFn)(const gint32 *from, gint64 n, void *to);

static CPU_INLINE gint32
ordered(gint32 bits)
{
    const gint32 whole = bits ^ ((bits >> 31) & 0x7fffffff);
    return (bits & 0x7fffffff) > 0x7f800000 ? G_MAXINT32 : whole;
}

static CPU_INLINE void
load_f32_body(const void *from, gint64 n, gint32 *to)
{
    const gint32 *x = from;
    for (gint64 i = 0; i < n; i++) {
        to[i] = ordered(x[i]);
    }
}

static CPU_INLINE void
store_f32_body(const gint32 *from, gint64 n, void *to)
{
    gint32 *y = to;
    for (gint64 i = 0; i < n; i++) {
        y[i] = from[i] ^ ((from[i] >> 31) & 0x7fffffff);
    }
}

/* Zeros of either sign are equal: which one is the first matters to a gradient. */
static CPU_INLINE void
load_equal_body(const void *from, gint64 n, gint32 *to)
{
    const gint32 *x = from;
    for (gint64 i = 0; i < n; i++) {
        to[i] = ordered(x[i] == G_MININT32 ? 0 : x[i]);
    }
}

static CPU_INLINE void
load_bf16_body(const void *from, gint64 n, gint32 *to)
{
    const guint16 *x = from;
    for (gint64 i = 0; i < n; i++) {
        to[i] = ordered((gint32)((guint32)x[i] << 16));
    }
}

static CPU_INLINE void
store_bf16_body(const gint32 *from, gint64 n, void *to)
{
    guint16 *y = to;
    for (gint64 i = 0; i < n; i++) {
        y[i] = (guint16)((guint32)(from[i] ^ ((from[i] >> 31) & 0x7fffffff)) >> 16);
    }
}

static CPU_INLINE void
load_same_body(const void *from, gint64 n, gint32 *to)
{
    memcpy(to, from, (gsize)n * sizeof *to);
}

/* row: numbers of one phase after those of the other; strides of 2 become vector code. */
static CPU_INLINE void
split_body(const gint32 *row, gint64 stride, gint64 m, gint32 *to, gint64 phase)
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
merge_body(const gint32 *from, gint64 stride, gint64 m, gint64 phase, gint32 *row)
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

/* x[i] = the largest of x[i + taps[t]], in place: nothing before i is read. */
static CPU_INLINE void
largest_body(gint32 *x, const gint64 *taps, gint64 n_taps, gint64 length)
{
    gint32 best[BLOCK];
    for (gint64 at = 0; at < length; at += BLOCK) {
        const gint64 n = MIN(BLOCK, length - at);
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
    float sum[BLOCK];
    for (gint64 at = 0; at < length; at += BLOCK) {
        const gint64 n = MIN(BLOCK, length - at);
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
            M best = (M){ 0 } + NOTHING, where = (M){ 0 } - 1;                                     \
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
    for (gint64 at = 0; at < length; at += BLOCK) {
        const gint64 n = MIN(BLOCK, length - at);
        for (gint64 t = 0; t < n_taps; t++) {
            float *to = d + at + taps[t];
            CPU_LOOP
            for (gint64 i = 0; i < n; i++) {
                to[i] += g[at + i];
            }
        }
    }
}

/* y = x / (count counts[i]). */
static CPU_INLINE void
share_body(const float *x, gint64 n, float count, const float *counts, float *y)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        y[i] = x[i] / (count * counts[i]);
    }
}

CPU_FUNCTIONS(load_f32, (const void *from, gint64 n, gint32 *to), (from, n, to))
CPU_FUNCTIONS(load_equal, (const void *from, gint64 n, gint32 *to), (from, n, to))
CPU_FUNCTIONS(load_bf16, (const void *from, gint64 n, gint32 *to), (from, n, to))
CPU_FUNCTIONS(load_same, (const void *from, gint64 n, gint32 *to), (from, n, to))
CPU_FUNCTIONS(store_f32, (const gint32 *from, gint64 n, void *to), (from, n, to))
CPU_FUNCTIONS(store_bf16, (const gint32 *from, gint64 n, void *to), (from, n, to))
CPU_FUNCTIONS(split, (const gint32 *row, gint64 stride, gint64 m, gint32 *to, gint64 phase),
              (row, stride, m, to, phase))
CPU_FUNCTIONS(merge, (const gint32 *from, gint64 stride, gint64 m, gint64 phase, gint32 *row),
              (from, stride, m, phase, row))
CPU_FUNCTIONS(largest, (gint32 * x, const gint64 *taps, gint64 n_taps, gint64 length),
              (x, taps, n_taps, length))
CPU_FUNCTIONS(total, (float *x, const gint64 *taps, gint64 n_taps, gint64 length),
              (x, taps, n_taps, length))
CPU_FUNCTIONS(to_all, (const float *g, const gint64 *taps, gint64 n_taps, gint64 length, float *d),
              (g, taps, n_taps, length, d))
CPU_FUNCTIONS(share, (const float *x, gint64 n, float count, const float *counts, float *y),
              (x, n, count, counts, y))

typedef struct {
    LoadFn load_f32, load_equal, load_bf16, load_same;
    StoreFn store_f32, store_bf16;
    void (*split)(const gint32 *row, gint64 stride, gint64 m, gint32 *to, gint64 phase);
    void (*merge)(const gint32 *from, gint64 stride, gint64 m, gint64 phase, gint32 *row);
    void (*largest)(gint32 *x, const gint64 *taps, gint64 n_taps, gint64 length);
    void (*total)(float *x, const gint64 *taps, gint64 n_taps, gint64 length);
    void (*to_largest)(const gint32 *x, const float *g, const gint64 *taps, gint64 n_taps,
                       gint64 length, float *d);
    void (*to_all)(const float *g, const gint64 *taps, gint64 n_taps, gint64 length, float *d);
    void (*share)(const float *x, gint64 n, float count, const float *counts, float *y);
} Loops;

#define SET(isa)                                                                                   \
    {                                                                                              \
        load_f32_##isa, load_equal_##isa, load_bf16_##isa, load_same_##isa, store_f32_##isa,       \
            store_bf16_##isa, split_##isa, merge_##isa, largest_##isa, total_##isa,                \
            to_largest_##isa, to_all_##isa, share_##isa                                            \
    }
static const Loops all_loops[CPU_N_ISA] = {
    [CPU_PORTABLE] = SET(portable), [CPU_AVX2] = SET(avx2), [CPU_AVX512] = SET(avx512)
};

/* --- Plans ------------------------------------------------------------------------------------ */

/* Where a tap lies along an axis whose phases are `phase` apart and whose places are `step` apart. */
static gint64
tap_at(const PoolPlan *p, gint axis, gint64 tap, gint64 phase, gint64 step)
{
    const gint64 at = tap * p->dilation[axis];
    return at % p->stride[axis] * phase + at / p->stride[axis] * step;
}

void
pool_lay_out(PoolPlan *p)
{
    gint64 phase[3], step[3], places = 1, phases = 1, n_taps = cpu_count(3, p->k);
    for (gint i = 2; i >= 0; i--) {
        p->m[i] = p->o[i] + (p->k[i] - 1) * p->dilation[i] / p->stride[i];
        step[i] = places;
        places = cpu_times(places, p->m[i]);
    }
    p->area = places;
    p->length = 1;
    for (gint i = 2; i >= 0; i--) {
        phase[i] = cpu_times(phases, p->area);
        phases = cpu_times(phases, p->stride[i]);
        p->length += (p->o[i] - 1) * step[i];
        p->along[i] = g_new(gint64, (gsize)p->k[i]);
        p->counts[i] = g_new(float, (gsize)p->o[i]);
        for (gint64 tap = 0; tap < p->k[i]; tap++) {
            p->along[i][tap] = tap_at(p, i, tap, phase[i], step[i]);
        }
        for (gint64 o = 0; o < p->o[i]; o++) {
            p->counts[i][o] = (float)pool_count(p, i, o);
        }
    }
    p->all = cpu_times(phases, p->area);
    p->taps = n_taps <= MOST_TAPS && p->outs > 0 && p->length >= LEAST_LENGTH
                  ? g_new(gint64, (gsize)n_taps)
                  : NULL;
    for (gint64 t = 0; p->taps != NULL && t < n_taps; t++) {
        p->taps[t] = p->along[0][t / p->k[2] / p->k[1]] + p->along[1][t / p->k[2] % p->k[1]] +
                     p->along[2][t % p->k[2]];
    }
}

gboolean
pool_laid_fits(const PoolPlan *p)
{
    return p->taps != NULL;
}

void
pool_laid_clear(PoolPlan *p)
{
    for (gint i = 0; i < 3; i++) {
        g_free(p->along[i]);
        g_free(p->counts[i]);
    }
    g_free(p->taps);
}

/* --- Planes ----------------------------------------------------------------------------------- */

static gint64
row_width(const PoolPlan *p)
{
    return p->stride[2] * p->m[2];
}

gint64
pool_laid_numbers(const PoolPlan *p)
{
    return p->all + row_width(p);
}

gint64
pool_laid_average_grad_numbers(const PoolPlan *p)
{
    return pool_laid_numbers(p) + p->length + 2 * LANES;
}

gint64
pool_laid_max_grad_numbers(const PoolPlan *p)
{
    return pool_laid_average_grad_numbers(p) + p->all + LANES;
}

/* The first place of the row of a laid plane that is padded row [z, y]; its phases of the last axis are
 * area apart. -1: no window sees it. */
static gint64
row_at(const PoolPlan *p, gint64 z, gint64 y)
{
    const gint64 phase = z % p->stride[0] * p->stride[1] + y % p->stride[1];
    if (z / p->stride[0] >= p->m[0] || y / p->stride[1] >= p->m[1]) {
        return -1;
    }
    return phase * p->stride[2] * p->area +
           (z / p->stride[0] * p->m[1] + y / p->stride[1]) * p->m[2];
}

/* Numbers of a row of x that windows see. */
static gint64
seen(const PoolPlan *p)
{
    return CLAMP(row_width(p) - p->pad[2], 0, p->s[2]);
}

static void
lay(const PoolPlan *p, const guint8 *x, LoadFn load, gint32 fill, gint32 *to, gint32 *row)
{
    const gsize size = tn_dtype_size(p->dtype);
    const gint64 n = seen(p), width = row_width(p), first = MIN(p->pad[2], width);
    for (gint64 i = 0; i < width; i++) {
        row[i] = fill;
    }
    for (gint64 z = 0; z < p->stride[0] * p->m[0]; z++) {
        for (gint64 y = 0; y < p->stride[1] * p->m[1]; y++) {
            const gint64 i = z - p->pad[0], j = y - p->pad[1];
            gint32 *at = to + row_at(p, z, y);
            if (i < 0 || i >= p->s[0] || j < 0 || j >= p->s[1]) {
                for (gint64 k = 0; k < width; k++) {
                    at[k / p->m[2] * p->area + k % p->m[2]] = fill;
                }
            } else {
                load(x + (gsize)((i * p->s[1] + j) * p->s[2]) * size, n, row + first);
                all_loops[cpu_isa].split(row, p->stride[2], p->m[2], at, p->area);
            }
        }
    }
}

/* Back again: what no window sees is 0. */
static void
unlay(const PoolPlan *p, const float *from, gint32 *row, float *dx)
{
    const gint64 n = seen(p);
    for (gint64 i = 0; i < p->s[0] * p->s[1]; i++) {
        const gint64 at = row_at(p, i / p->s[1] + p->pad[0], i % p->s[1] + p->pad[1]);
        float *to = dx + i * p->s[2];
        if (at >= 0 && n > 0) {
            all_loops[cpu_isa].merge((const gint32 *)(from + at), p->stride[2], p->m[2], p->area,
                                     row);
            memcpy(to, row + p->pad[2], (gsize)n * sizeof *to);
        }
        const gint64 rest = at >= 0 ? n : 0;
        memset(to + rest, 0, (gsize)(p->s[2] - rest) * sizeof *to);
    }
}

/* One axis after the other: each ends at phase 0 of it. */
typedef void (*AlongFn)(void *x, const gint64 *taps, gint64 n_taps, gint64 length);

static void
along_axes(const PoolPlan *p, gint32 *x, AlongFn along)
{
    gint64 phases = p->stride[0] * p->stride[1] * p->stride[2], short_of = 0, step = 1;
    for (gint i = 2; i >= 0; i--) {
        const gint64 whole = p->stride[i];
        phases /= whole;
        short_of += (p->m[i] - p->o[i]) * step;
        step *= p->m[i];
        for (gint64 phase = 0; phase < phases; phase++) {
            gint64 first = phase * whole * p->area;
            for (gint j = i + 1; j < 3; j++) {
                first *= p->stride[j];
            }
            if (p->k[i] > 1) {
                along(x + first, p->along[i], p->k[i], p->area - short_of);
            }
        }
    }
}

static void
along_largest(void *x, const gint64 *taps, gint64 n_taps, gint64 length)
{
    all_loops[cpu_isa].largest(x, taps, n_taps, length);
}

static void
along_total(void *x, const gint64 *taps, gint64 n_taps, gint64 length)
{
    all_loops[cpu_isa].total(x, taps, n_taps, length);
}

/* Windows' row i of all, from its first place on. */
static gint64
windows_at(const PoolPlan *p, gint64 i)
{
    return (i / p->o[1] * p->m[1] + i % p->o[1]) * p->m[2];
}

void
pool_laid_max(const PoolPlan *p, const void *x, const void *unused, void *out, void *scratch)
{
    const Loops *loops = &all_loops[cpu_isa];
    const gboolean narrow = p->dtype == TN_DTYPE_BF16;
    gint32 *laid = scratch, *row = laid + p->all;
    (void)unused;
    lay(p, x, narrow ? loops->load_bf16 : loops->load_f32, LEAST, laid, row);
    along_axes(p, laid, along_largest);
    for (gint64 i = 0; i < p->o[0] * p->o[1]; i++) {
        (narrow ? loops->store_bf16
                : loops->store_f32)(laid + windows_at(p, i), p->o[2],
                                    (guint8 *)out + (gsize)(i * p->o[2]) * tn_dtype_size(p->dtype));
    }
}

void
pool_laid_average(const PoolPlan *p, const void *x, const void *unused, void *out, void *scratch)
{
    const Loops *loops = &all_loops[cpu_isa];
    float *laid = scratch;
    (void)unused;
    lay(p, x, loops->load_same, 0, scratch, (gint32 *)scratch + p->all);
    along_axes(p, scratch, along_total);
    for (gint64 i = 0; i < p->o[0] * p->o[1]; i++) {
        const float count = p->counts[0][i / p->o[1]] * p->counts[1][i % p->o[1]];
        loops->share(laid + windows_at(p, i), p->o[2], count, p->counts[2],
                     (float *)out + i * p->o[2]);
    }
}

/* Gradients of windows where their places are, and 0 between; d is set to 0. */
static float *
lay_grads(const PoolPlan *p, const float *g, gboolean share, float *d, float *to)
{
    memset(d, 0, (gsize)(p->all + LANES) * sizeof *d);
    memset(to, 0, (gsize)(p->length + LANES) * sizeof *to);
    for (gint64 i = 0; i < p->o[0] * p->o[1]; i++) {
        const float count = p->counts[0][i / p->o[1]] * p->counts[1][i % p->o[1]];
        const float *from = g + i * p->o[2];
        if (share) {
            all_loops[cpu_isa].share(from, p->o[2], count, p->counts[2], to + windows_at(p, i));
        } else {
            memcpy(to + windows_at(p, i), from, (gsize)p->o[2] * sizeof *to);
        }
    }
    return to;
}

void
pool_laid_max_grad(const PoolPlan *p, const void *x, const void *g, void *out, void *scratch)
{
    float *d = scratch, *grads = d + p->all + LANES;
    gint32 *laid = (gint32 *)(grads + p->length + LANES), *row = laid + p->all + LANES;
    lay(p, x, all_loops[cpu_isa].load_equal, NOTHING, laid, row);
    lay_grads(p, g, FALSE, d, grads);
    all_loops[cpu_isa].to_largest(laid, grads, p->taps, cpu_count(3, p->k), p->length, d);
    unlay(p, d, row, out);
}

void
pool_laid_average_grad(const PoolPlan *p, const void *g, const void *unused, void *out,
                       void *scratch)
{
    float *d = scratch, *grads = d + p->all + LANES;
    (void)unused;
    lay_grads(p, g, TRUE, d, grads);
    all_loops[cpu_isa].to_all(grads, p->taps, cpu_count(3, p->k), p->length, d);
    unlay(p, d, (gint32 *)(grads + p->length + LANES), out);
}
