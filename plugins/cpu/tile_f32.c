/* tile_f32.c: micro-operations on f32 that round each operation by itself. */
#include "tile_math.h"

#include <math.h>

TILE_UNARY(f32_neg, float, float, -a)
TILE_UNARY(f32_abs, float, float, fabsf(a))
TILE_UNARY(f32_sign, float, float, a != a ? a : (float)(a > 0) - (float)(a < 0))
TILE_UNARY(f32_sqrt, float, float, sqrtf(a))
TILE_UNARY(f32_reciprocal, float, float, 1.0f / a)
TILE_UNARY(f32_floor, float, float, floorf(a))
TILE_UNARY(f32_ceil, float, float, ceilf(a))
TILE_UNARY(f32_round, float, float, rintf(a))
TILE_UNARY(f32_isnan, float, guint8, a != a)
TILE_BINARY(f32_add, float, float, a + b)
TILE_BINARY(f32_sub, float, float, a - b)
TILE_BINARY(f32_mul, float, float, a *b)
TILE_BINARY(f32_div, float, float, a / b)
TILE_BINARY(f32_max, float, float, ((a > b) | (a != a)) ? a : b)
TILE_BINARY(f32_min, float, float, ((a < b) | (a != a)) ? a : b)
TILE_BINARY(f32_equal, float, guint8, a == b)
TILE_BINARY(f32_less, float, guint8, a < b)
TILE_BINARY(f32_greater, float, guint8, a > b)
TILE_BINARY(f32_less_or_equal, float, guint8, a <= b)
TILE_BINARY(f32_greater_or_equal, float, guint8, a >= b)
TILE_BINARY(f32_mod_trunc, float, float, fmodf(a, b))
TILE_WHERE(f32_where, float)

static CPU_INLINE float
mod_floor(float a, float b)
{
    float r = fmodf(a, b);
    if (r == 0) {
        return copysignf(r, b);
    }
    return (r < 0) != (b < 0) && r == r ? r + b : r;
}
TILE_BINARY(f32_mod_floor, float, float, mod_floor(a, b))

#define ROW(name, n, function, ...)                                                                \
    {                                                                                              \
        .op = (name), .arity = (n), .fn = { [TILE_F32] = (function) }, ##__VA_ARGS__               \
    }
const TileRow tile_f32_rows[] = {
    ROW("neg", 1, f32_neg),
    ROW("abs", 1, f32_abs),
    ROW("sign", 1, f32_sign),
    ROW("sqrt", 1, f32_sqrt),
    ROW("reciprocal", 1, f32_reciprocal),
    ROW("floor", 1, f32_floor),
    ROW("ceil", 1, f32_ceil),
    ROW("round", 1, f32_round),
    ROW("isnan", 1, f32_isnan, .to_bool = TRUE),
    ROW("add", 2, f32_add),
    ROW("sub", 2, f32_sub),
    ROW("mul", 2, f32_mul),
    ROW("div", 2, f32_div),
    ROW("max", 2, f32_max),
    ROW("min", 2, f32_min),
    ROW("mod_trunc", 2, f32_mod_trunc),
    ROW("mod_floor", 2, f32_mod_floor),
    ROW("equal", 2, f32_equal, .to_bool = TRUE),
    ROW("less", 2, f32_less, .to_bool = TRUE),
    ROW("greater", 2, f32_greater, .to_bool = TRUE),
    ROW("less_or_equal", 2, f32_less_or_equal, .to_bool = TRUE),
    ROW("greater_or_equal", 2, f32_greater_or_equal, .to_bool = TRUE),
    ROW("where", 3, f32_where),
};
const guint tile_n_f32_rows = G_N_ELEMENTS(tile_f32_rows);
