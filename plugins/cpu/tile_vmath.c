/* tile_vmath.c: micro-operations on f32 that are functions of vmath.h. */
#include "gelu.h"
#include "tile_math.h"

TILE_UNARY(f32_exp, float, float, vm_exp(a))
TILE_UNARY(f32_log, float, float, vm_log(a))
TILE_UNARY(f32_tanh, float, float, vm_tanh(a))
TILE_UNARY(f32_erf, float, float, vm_erf(a))

TILE_UNARY(f32_gelu_tanh, float, float, gelu_by_tanh_at(a, 0))
TILE_UNARY(f32_gelu_erf, float, float, gelu_by_erf_at(a, 0))
TILE_BINARY(f32_gelu_grad_tanh, float, float, gelu_by_tanh_grad_at(a, b))
TILE_BINARY(f32_gelu_grad_erf, float, float, gelu_by_erf_grad_at(a, b))

/* The vector loop runs over blocks whose arguments it covers; a block with any other goes through
 * libm whole. Which one that is depends on the values alone, but a block must not depend on where a
 * tile begins: each element's result is therefore taken from libm only if its own argument is
 * outside. */
#define BLOCK 64
#define TRIG(name, vector, scalar)                                                                 \
    static CPU_INLINE void name##_body(void *out, const void *const *in, gint64 n,                 \
                                       const TileOp *op)                                           \
    {                                                                                              \
        float *to = out, kept[BLOCK];                                                              \
        const float *x = in[0];                                                                    \
        (void)op;                                                                                  \
        for (gint64 at = 0; at < n; at += BLOCK) {                                                 \
            gint64 m = MIN(BLOCK, n - at);                                                         \
            gint32 outside = 0;                                                                    \
            memcpy(kept, x + at, (gsize)m * sizeof(float));                                        \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < m; i++) {                                                       \
                to[at + i] = vector(kept[i]);                                                      \
                outside |= !(fabsf(kept[i]) <= VM_TRIG_LIMIT);                                     \
            }                                                                                      \
            for (gint64 i = 0; outside && i < m; i++) {                                            \
                if (!(fabsf(kept[i]) <= VM_TRIG_LIMIT)) {                                          \
                    to[at + i] = scalar(kept[i]);                                                  \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    TILE_VERSIONS(name)
TRIG(f32_sin, vm_sin, sinf)
TRIG(f32_cos, vm_cos, cosf)

static CPU_INLINE gboolean
pow_inside(float a, float b)
{
    return (a >= 0x1p-126f) & (a <= 0x1.fffffep127f) & (fabsf(b) <= 0x1.fffffep127f);
}

static CPU_INLINE void
f32_pow_body(void *out, const void *const *in, gint64 n, const TileOp *op)
{
    float *to = out, x[BLOCK], y[BLOCK];
    const float *from_x = in[0], *from_y = in[1];
    gint64 step_x = !(op->scalar & 1), step_y = !(op->scalar & 2);
    float x0 = from_x[0], y0 = from_y[0];
    for (gint64 at = 0; at < n; at += BLOCK) {
        gint64 m = MIN(BLOCK, n - at);
        gint32 outside = 0;
        for (gint64 i = 0; i < m; i++) {
            x[i] = step_x ? from_x[at + i] : x0;
            y[i] = step_y ? from_y[at + i] : y0;
        }
        CPU_LOOP
        for (gint64 i = 0; i < m; i++) {
            to[at + i] = vm_pow(x[i], y[i]);
            outside |= !pow_inside(x[i], y[i]);
        }
        for (gint64 i = 0; outside && i < m; i++) {
            if (!pow_inside(x[i], y[i])) {
                to[at + i] = powf(x[i], y[i]);
            }
        }
    }
}
TILE_VERSIONS(f32_pow)

#define ROW(name, n, function) TILE_ENTRY(TILE_F32, name, n, function)
const TileRow tile_vmath_rows[] = {
    ROW("exp", 1, f32_exp),
    ROW("log", 1, f32_log),
    ROW("sin", 1, f32_sin),
    ROW("cos", 1, f32_cos),
    ROW("tanh", 1, f32_tanh),
    ROW("erf", 1, f32_erf),
    ROW("pow", 2, f32_pow),
    ROW("gelu_tanh", 1, f32_gelu_tanh),
    ROW("gelu_erf", 1, f32_gelu_erf),
    ROW("gelu_grad_tanh", 2, f32_gelu_grad_tanh),
    ROW("gelu_grad_erf", 2, f32_gelu_grad_erf),
};
const guint tile_n_vmath_rows = G_N_ELEMENTS(tile_vmath_rows);
