/* tile_f64.c: micro-operations on f64; transcendental functions are libm's. */
#include <math.h>

#include "tile_math.h"

TILE_FLOATS(f64, double, )

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

LIBM1(f64_exp, exp(a))
LIBM1(f64_log, log(a))
LIBM1(f64_sin, sin(a))
LIBM1(f64_cos, cos(a))
LIBM1(f64_tanh, tanh(a))
LIBM1(f64_erf, erf(a))

static void
f64_pow(void *out, const void *const *in, gint64 n, const TileOp *op)
{
    double *to = out;
    const double *x = in[0], *y = in[1];
    double x0 = x[0], y0 = y[0];
    for (gint64 i = 0; i < n; i++) {
        to[i] = pow(op->scalar & 1 ? x0 : x[i], op->scalar & 2 ? y0 : y[i]);
    }
}
static const TileFn f64_pow_all[CPU_N_ISA] = { f64_pow, f64_pow, f64_pow };

#define ROW(name, n, function) TILE_ENTRY(TILE_F64, name, n, function)
const TileRow tile_f64_rows[] = {
    TILE_FLOAT_ROWS(TILE_F64, f64), ROW("exp", 1, f64_exp_all), ROW("log", 1, f64_log_all),
    ROW("sin", 1, f64_sin_all),     ROW("cos", 1, f64_cos_all), ROW("tanh", 1, f64_tanh_all),
    ROW("erf", 1, f64_erf_all),     ROW("pow", 2, f64_pow_all),
};
const guint tile_n_f64_rows = G_N_ELEMENTS(tile_f64_rows);
