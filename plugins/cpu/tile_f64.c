/* tile_f64.c: micro-operations on f64; transcendental functions are libm's. */
#include "tile_math.h"

#include <math.h>

TILE_UNARY(f64_neg, double, double, -a)
TILE_UNARY(f64_abs, double, double, fabs(a))
TILE_UNARY(f64_sign, double, double, a != a ? a : (double)(a > 0) - (double)(a < 0))
TILE_UNARY(f64_sqrt, double, double, sqrt(a))
TILE_UNARY(f64_reciprocal, double, double, 1.0 / a)
TILE_UNARY(f64_floor, double, double, floor(a))
TILE_UNARY(f64_ceil, double, double, ceil(a))
TILE_UNARY(f64_round, double, double, rint(a))
TILE_UNARY(f64_isnan, double, guint8, a != a)
TILE_BINARY(f64_add, double, double, a + b)
TILE_BINARY(f64_sub, double, double, a - b)
TILE_BINARY(f64_mul, double, double, a *b)
TILE_BINARY(f64_div, double, double, a / b)
TILE_BINARY(f64_max, double, double, ((a > b) | (a != a)) ? a : b)
TILE_BINARY(f64_min, double, double, ((a < b) | (a != a)) ? a : b)
TILE_BINARY(f64_equal, double, guint8, a == b)
TILE_BINARY(f64_less, double, guint8, a < b)
TILE_BINARY(f64_greater, double, guint8, a > b)
TILE_BINARY(f64_less_or_equal, double, guint8, a <= b)
TILE_BINARY(f64_greater_or_equal, double, guint8, a >= b)
TILE_WHERE(f64_where, double)

/* libm calls: one version serves every instruction set. */
#define LIBM1(name, expression)                                                                    \
    static void name(void *out, const void *const *in, gint64 n, const TileOp *op)                 \
    {                                                                                              \
        double *to = out;                                                                          \
        const double *x = in[0];                                                                   \
        (void)op;                                                                                  \
        for (gint64 i = 0; i < n; i++) {                                                           \
            double a = x[i];                                                                       \
            to[i] = (expression);                                                                  \
        }                                                                                          \
    }                                                                                              \
    static const TileFn name##_all[CPU_N_ISA] = { name, name, name };
#define LIBM2(name, expression)                                                                    \
    static void name(void *out, const void *const *in, gint64 n, const TileOp *op)                 \
    {                                                                                              \
        double *to = out;                                                                          \
        const double *x = in[0], *y = in[1];                                                       \
        double x0 = x[0], y0 = y[0];                                                               \
        for (gint64 i = 0; i < n; i++) {                                                           \
            double a = op->scalar & 1 ? x0 : x[i], b = op->scalar & 2 ? y0 : y[i];                 \
            to[i] = (expression);                                                                  \
        }                                                                                          \
    }                                                                                              \
    static const TileFn name##_all[CPU_N_ISA] = { name, name, name };

static double
mod_floor(double a, double b)
{
    double r = fmod(a, b);
    if (r == 0) {
        return copysign(r, b);
    }
    return (r < 0) != (b < 0) && r == r ? r + b : r;
}

LIBM1(f64_exp, exp(a))
LIBM1(f64_log, log(a))
LIBM1(f64_sin, sin(a))
LIBM1(f64_cos, cos(a))
LIBM1(f64_tanh, tanh(a))
LIBM1(f64_erf, erf(a))
LIBM2(f64_pow, pow(a, b))
LIBM2(f64_mod_trunc, fmod(a, b))
LIBM2(f64_mod_floor, mod_floor(a, b))

#define ROW(name, n, function, ...)                                                                \
    {                                                                                              \
        .op = (name), .arity = (n), .fn = { [TILE_F64] = (function) }, ##__VA_ARGS__               \
    }
const TileRow tile_f64_rows[] = {
    ROW("neg", 1, f64_neg),
    ROW("abs", 1, f64_abs),
    ROW("sign", 1, f64_sign),
    ROW("sqrt", 1, f64_sqrt),
    ROW("reciprocal", 1, f64_reciprocal),
    ROW("floor", 1, f64_floor),
    ROW("ceil", 1, f64_ceil),
    ROW("round", 1, f64_round),
    ROW("isnan", 1, f64_isnan, .to_bool = TRUE),
    ROW("exp", 1, f64_exp_all),
    ROW("log", 1, f64_log_all),
    ROW("sin", 1, f64_sin_all),
    ROW("cos", 1, f64_cos_all),
    ROW("tanh", 1, f64_tanh_all),
    ROW("erf", 1, f64_erf_all),
    ROW("add", 2, f64_add),
    ROW("sub", 2, f64_sub),
    ROW("mul", 2, f64_mul),
    ROW("div", 2, f64_div),
    ROW("max", 2, f64_max),
    ROW("min", 2, f64_min),
    ROW("pow", 2, f64_pow_all),
    ROW("mod_trunc", 2, f64_mod_trunc_all),
    ROW("mod_floor", 2, f64_mod_floor_all),
    ROW("equal", 2, f64_equal, .to_bool = TRUE),
    ROW("less", 2, f64_less, .to_bool = TRUE),
    ROW("greater", 2, f64_greater, .to_bool = TRUE),
    ROW("less_or_equal", 2, f64_less_or_equal, .to_bool = TRUE),
    ROW("greater_or_equal", 2, f64_greater_or_equal, .to_bool = TRUE),
    ROW("where", 3, f64_where),
};
const guint tile_n_f64_rows = G_N_ELEMENTS(tile_f64_rows);
