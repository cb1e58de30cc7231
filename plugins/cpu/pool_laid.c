/* pool_laid.c: planes of pooling with any windows. A plane is laid with its padding, and apart by phases: of
 * each axis, places that are a stride apart are neighbours. So what one tap of all windows sees is a single
 * run, and a tap is a loop over vectors, however narrow the plane is. (Between rows of windows it computes
 * some that there are not.)
 *
 * Maxima are of whole numbers in the order of what they stand for, of which processors take the larger of
 * many at once: NaN is the largest. They and sums go along one axis after the other, in place; gradients
 * through all taps, in the order in which the first of equals is found. */
#include "pool_loops.h"

/* A gradient's: taps of a window at most, windows of a plane at least. */
#define MOST_TAPS 1024
#define LEAST_LENGTH 16

/* Windows' places of an axis, and those of their further taps. */
static gint64
places_of(const PoolPlan *p, gint axis)
{
    return p->o[axis] + cpu_times(p->k[axis] - 1, p->dilation[axis]) / p->stride[axis];
}

gint64
pool_laid_size(const PoolPlan *p)
{
    gint64 size = 1;
    for (gint i = 0; i < 3; i++) {
        size = cpu_times(size, cpu_times(p->stride[i], places_of(p, i)));
    }
    return size;
}

static gint64
row_width(const PoolPlan *p)
{
    return p->stride[2] * p->m[2];
}

/* Where a tap lies along an axis whose phases are `phase` apart and whose places are `step` apart. */
static gint64
tap_at(const PoolPlan *p, gint axis, gint64 tap, gint64 phase, gint64 step)
{
    const gint64 at = tap * p->dilation[axis];
    return at % p->stride[axis] * phase + at / p->stride[axis] * step;
}

/* Where rows of a padded plane, and of windows, begin. */
static void
find_rows(PoolPlan *p)
{
    const gint64 planes = p->stride[0] * p->m[0], lines = p->stride[1] * p->m[1];
    p->seen = CLAMP(row_width(p) - p->pad[2], 0, p->s[2]);
    p->rows = g_new(gint64, (gsize)(planes * lines));
    p->places = g_new(gint64, (gsize)(p->o[0] * p->o[1]));
    for (gint64 i = 0; i < planes * lines; i++) {
        const gint64 z = i / lines, y = i % lines,
                     phase = z % p->stride[0] * p->stride[1] + y % p->stride[1];
        p->rows[i] = phase * p->stride[2] * p->area +
                     (z / p->stride[0] * p->m[1] + y / p->stride[1]) * p->m[2];
    }
    for (gint64 i = 0; i < p->o[0] * p->o[1]; i++) {
        p->places[i] = (i / p->o[1] * p->m[1] + i % p->o[1]) * p->m[2];
    }
}

void
pool_lay_out(PoolPlan *p)
{
    gint64 phase[3], step[3], places = 1, phases = 1, n_taps = cpu_count(3, p->k);
    for (gint i = 2; i >= 0; i--) {
        p->m[i] = places_of(p, i);
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
    find_rows(p);
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
    g_free(p->rows);
    g_free(p->places);
}

gint64
pool_laid_numbers(const PoolPlan *p)
{
    return p->all + row_width(p);
}

gint64
pool_laid_average_grad_numbers(const PoolPlan *p)
{
    return pool_laid_numbers(p) + p->length + 2 * POOL_LANES;
}

gint64
pool_laid_max_grad_numbers(const PoolPlan *p)
{
    return pool_laid_average_grad_numbers(p) + p->all + POOL_LANES;
}

/* --- Planes ----------------------------------------------------------------------------------- */

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
    pool_loops[cpu_isa].largest(x, taps, n_taps, length);
}

static void
along_total(void *x, const gint64 *taps, gint64 n_taps, gint64 length)
{
    pool_loops[cpu_isa].total(x, taps, n_taps, length);
}

void
pool_laid_max(const PoolPlan *p, const void *x, const void *unused, void *out, void *scratch)
{
    const PoolOrder order = p->dtype == TN_DTYPE_BF16 ? POOL_ORDERED_BF16 : POOL_ORDERED;
    gint32 *laid = scratch;
    (void)unused;
    pool_loops[cpu_isa].lay(p, order, x, POOL_LEAST, laid, laid + p->all);
    along_axes(p, laid, along_largest);
    pool_loops[cpu_isa].store(p, laid, out);
}

void
pool_laid_average(const PoolPlan *p, const void *x, const void *unused, void *out, void *scratch)
{
    gint32 *laid = scratch;
    (void)unused;
    pool_loops[cpu_isa].lay(p, POOL_AS_IT_IS, x, 0, laid, laid + p->all);
    along_axes(p, laid, along_total);
    pool_loops[cpu_isa].share(p, (const float *)scratch, TRUE, out, FALSE);
}

/* Scratch of gradients: d, theirs at windows' places, both 0 at first, then what remains. */
static float *
grads_of(const PoolPlan *p, void *scratch, gint32 **rest)
{
    const gint64 numbers = p->all + p->length + 2 * POOL_LANES;
    memset(scratch, 0, (gsize)numbers * sizeof(float));
    *rest = (gint32 *)scratch + numbers;
    return (float *)scratch + p->all + POOL_LANES;
}

void
pool_laid_max_grad(const PoolPlan *p, const void *x, const void *g, void *out, void *scratch)
{
    gint32 *laid, *row;
    float *grads = grads_of(p, scratch, &laid);
    row = laid + p->all + POOL_LANES;
    pool_loops[cpu_isa].lay(p, POOL_ORDERED_EQUAL, x, POOL_NOTHING, laid, row);
    pool_loops[cpu_isa].place(p, g, grads);
    pool_loops[cpu_isa].to_largest(laid, grads, p->taps, cpu_count(3, p->k), p->length, scratch);
    pool_loops[cpu_isa].unlay(p, scratch, row, out);
}

void
pool_laid_average_grad(const PoolPlan *p, const void *g, const void *unused, void *out,
                       void *scratch)
{
    gint32 *row;
    float *grads = grads_of(p, scratch, &row);
    (void)unused;
    pool_loops[cpu_isa].share(p, g, FALSE, grads, TRUE);
    pool_loops[cpu_isa].to_all(grads, p->taps, cpu_count(3, p->k), p->length, scratch);
    pool_loops[cpu_isa].unlay(p, scratch, row, out);
}
