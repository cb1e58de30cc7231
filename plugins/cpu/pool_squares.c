/* pool_squares.c: maxima over windows of 2 x 2 side by side, and their gradient, in f32. */
#include "pool.h"

/* Eight windows at a time, in vectors: their four elements are p0 p1 over p2 p3. */
#define LANES 8
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef gint32 Masks __attribute__((vector_size(LANES * sizeof(gint32))));
typedef Floats Loose __attribute__((aligned(4), may_alias));

#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define FIRST_PAIRS 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_PAIRS 4, 12, 5, 13, 6, 14, 7, 15

#define LOAD_SQUARES(a, b)                                                                         \
    Floats a0 = *(const Loose *)(a), a1 = *(const Loose *)((a) + LANES);                           \
    Floats b0 = *(const Loose *)(b), b1 = *(const Loose *)((b) + LANES);                           \
    Floats p0 = __builtin_shufflevector(a0, a1, EVEN), p1 = __builtin_shufflevector(a0, a1, ODD);  \
    Floats p2 = __builtin_shufflevector(b0, b1, EVEN), p3 = __builtin_shufflevector(b0, b1, ODD);

/* Where y takes x's place as the largest so far; NaN is the largest, the first stays. */
#define BEATS(y, x) ((Masks)((y) > (x)) | ((Masks)((y) != (y)) & (Masks)((x) == (x))))
#define CHOOSE(mask, y, x) (Floats)(((Masks)(y) & (mask)) | ((Masks)(x) & ~(mask)))

static CPU_INLINE void
max_squares(const float *a, const float *b, float *to)
{
    LOAD_SQUARES(a, b)
    Floats top = CHOOSE(BEATS(p1, p0), p1, p0), low = CHOOSE(BEATS(p3, p2), p3, p2);
    *(Loose *)to = CHOOSE(BEATS(low, top), low, top);
}

static CPU_INLINE void
grad_squares(const float *a, const float *b, const float *g, float *c, float *d)
{
    LOAD_SQUARES(a, b)
    Masks right = BEATS(p1, p0), right_low = BEATS(p3, p2);
    Floats top = CHOOSE(right, p1, p0), low = CHOOSE(right_low, p3, p2);
    Masks below = BEATS(low, top), v = (Masks)(*(const Loose *)g);
    Floats c0 = (Floats)(v & ~below & ~right), c1 = (Floats)(v & ~below & right);
    Floats d0 = (Floats)(v & below & ~right_low), d1 = (Floats)(v & below & right_low);
    *(Loose *)c = __builtin_shufflevector(c0, c1, FIRST_PAIRS);
    *(Loose *)(c + LANES) = __builtin_shufflevector(c0, c1, LAST_PAIRS);
    *(Loose *)d = __builtin_shufflevector(d0, d1, FIRST_PAIRS);
    *(Loose *)(d + LANES) = __builtin_shufflevector(d0, d1, LAST_PAIRS);
}

static CPU_INLINE void
square_max_body(const PoolPlan *p, const void *from_x, void *to_y)
{
    const float *x = from_x;
    float *out = to_y;
    gint64 n = p->o[2], full = n / LANES * LANES, rest = n - full;
    float a_end[2 * LANES] = { 0 }, b_end[2 * LANES] = { 0 }, end[LANES];
    for (gint64 row = 0; row < p->o[1]; row++) {
        const float *a = x + row * 2 * p->s[2], *b = a + p->s[2];
        float *to = out + row * n;
        for (gint64 i = 0; i < full; i += LANES) {
            max_squares(a + 2 * i, b + 2 * i, to + i);
        }
        if (rest > 0) {
            memcpy(a_end, a + 2 * full, 2 * (gsize)rest * sizeof(float));
            memcpy(b_end, b + 2 * full, 2 * (gsize)rest * sizeof(float));
            max_squares(a_end, b_end, end);
            memcpy(to + full, end, (gsize)rest * sizeof(float));
        }
    }
}

static CPU_INLINE void
square_grad_body(const PoolPlan *p, const void *from_x, const void *from_g, void *to_dx)
{
    const float *x = from_x, *g = from_g;
    float *out = to_dx;
    gint64 n = p->o[2], full = n / LANES * LANES, rest = n - full;
    float a_end[2 * LANES] = { 0 }, b_end[2 * LANES] = { 0 }, g_end[LANES] = { 0 };
    float c_end[2 * LANES], d_end[2 * LANES];
    for (gint64 row = 0; row < p->o[1]; row++) {
        const float *a = x + row * 2 * p->s[2], *b = a + p->s[2], *from = g + row * n;
        float *c = out + row * 2 * p->s[2], *d = c + p->s[2];
        for (gint64 i = 0; i < full; i += LANES) {
            grad_squares(a + 2 * i, b + 2 * i, from + i, c + 2 * i, d + 2 * i);
        }
        if (rest > 0) {
            memcpy(a_end, a + 2 * full, 2 * (gsize)rest * sizeof(float));
            memcpy(b_end, b + 2 * full, 2 * (gsize)rest * sizeof(float));
            memcpy(g_end, from + full, (gsize)rest * sizeof(float));
            grad_squares(a_end, b_end, g_end, c_end, d_end);
            memcpy(c + 2 * full, c_end, 2 * (gsize)rest * sizeof(float));
            memcpy(d + 2 * full, d_end, 2 * (gsize)rest * sizeof(float));
        }
        for (gint64 i = 2 * n; i < p->s[2]; i++) {
            c[i] = d[i] = 0;
        }
    }
    for (gint64 i = 2 * p->o[1] * p->s[2]; i < p->in; i++) {
        out[i] = 0;
    }
}

#define PLANES(isa, TARGET)                                                                        \
    TARGET static void max_##isa(const PoolPlan *p, const void *x, const void *unused, void *out,  \
                                 void *scratch)                                                    \
    {                                                                                              \
        (void)unused;                                                                              \
        (void)scratch;                                                                             \
        square_max_body(p, x, out);                                                                \
    }                                                                                              \
    TARGET static void grad_##isa(const PoolPlan *p, const void *x, const void *g, void *out,      \
                                  void *scratch)                                                   \
    {                                                                                              \
        (void)scratch;                                                                             \
        square_grad_body(p, x, g, out);                                                            \
    }
#define NO_TARGET
PLANES(portable, NO_TARGET)
PLANES(avx2, CPU_TARGET_AVX2)
PLANES(avx512, CPU_TARGET_AVX512)

const PoolPlaneFn pool_square_max[CPU_N_ISA] = { max_portable, max_avx2, max_avx512 };
const PoolPlaneFn pool_square_grad[CPU_N_ISA] = { grad_portable, grad_avx2, grad_avx512 };

gboolean
pool_is_squares(const PoolPlan *p)
{
    gboolean squares = p->k[0] == 1 && p->s[0] == p->o[0] && p->stride[0] == 1 && p->pad[0] == 0;
    for (gint i = 1; i < 3; i++) {
        /* The stride of a single window is no matter. */
        squares = squares && p->k[i] == 2 && (p->stride[i] == 2 || p->o[i] == 1) &&
                  p->dilation[i] == 1 && p->pad[i] == 0 && 2 * p->o[i] <= p->s[i];
    }
    return squares && p->s[0] == 1;
}
