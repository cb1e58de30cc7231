/* tile_math.h: how micro-operations are written: one expression of a and b, compiled for each
 * instruction set. */
#pragma once

#include "tile.h"

#define TILE_VERSIONS(name)                                                                        \
    CPU_VERSIONS(name, TileFn, (void *out, const void *const *in, gint64 n, const TileOp *op),     \
                 (out, in, n, op))

/* R out[i] = expression of T a = in[0][i]. */
#define TILE_UNARY(name, T, R, expression)                                                         \
    static CPU_INLINE void name##_body(void *out, const void *const *in, gint64 n,                 \
                                       const TileOp *op)                                           \
    {                                                                                              \
        R *to = out;                                                                               \
        const T *x = in[0];                                                                        \
        (void)op;                                                                                  \
        CPU_LOOP                                                                                   \
        for (gint64 i = 0; i < n; i++) {                                                           \
            T a = x[i];                                                                            \
            to[i] = (R)(expression);                                                               \
        }                                                                                          \
    }                                                                                              \
    TILE_VERSIONS(name)

/* The same of a and T b = in[1][i]; either may be a scalar. */
#define TILE_BINARY(name, T, R, expression)                                                        \
    static CPU_INLINE void name##_body(void *out, const void *const *in, gint64 n,                 \
                                       const TileOp *op)                                           \
    {                                                                                              \
        R *to = out;                                                                               \
        const T *x = in[0], *y = in[1];                                                            \
        if (op->scalar == 0) {                                                                     \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < n; i++) {                                                       \
                T a = x[i], b = y[i];                                                              \
                to[i] = (R)(expression);                                                           \
            }                                                                                      \
        } else if (op->scalar == 1) {                                                              \
            T a = x[0];                                                                            \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < n; i++) {                                                       \
                T b = y[i];                                                                        \
                to[i] = (R)(expression);                                                           \
            }                                                                                      \
        } else {                                                                                   \
            T b = y[0];                                                                            \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < n; i++) {                                                       \
                T a = x[i];                                                                        \
                to[i] = (R)(expression);                                                           \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    TILE_VERSIONS(name)

/* T out[i] = condition[i] ? a[i] : b[i]; a and b may be scalars. */
#define TILE_WHERE(name, T)                                                                        \
    static CPU_INLINE void name##_body(void *out, const void *const *in, gint64 n,                 \
                                       const TileOp *op)                                           \
    {                                                                                              \
        T *to = out;                                                                               \
        const guint8 *c = in[0];                                                                   \
        const T *x = in[1], *y = in[2];                                                            \
        if (op->scalar == 0) {                                                                     \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < n; i++) {                                                       \
                T a = x[i], b = y[i];                                                              \
                to[i] = c[i] ? a : b;                                                              \
            }                                                                                      \
        } else if (op->scalar == 2) {                                                              \
            T a = x[0];                                                                            \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < n; i++) {                                                       \
                T b = y[i];                                                                        \
                to[i] = c[i] ? a : b;                                                              \
            }                                                                                      \
        } else if (op->scalar == 4) {                                                              \
            T b = y[0];                                                                            \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < n; i++) {                                                       \
                T a = x[i];                                                                        \
                to[i] = c[i] ? a : b;                                                              \
            }                                                                                      \
        } else {                                                                                   \
            T a = x[0], b = y[0];                                                                  \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < n; i++) {                                                       \
                to[i] = c[i] ? a : b;                                                              \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    TILE_VERSIONS(name)

/* The functions that f32 and f64 have alike, each rounded by itself: named prefix_…; S: what libm's names end in. */
#define TILE_FLOATS(prefix, T, S)                                                                  \
    static CPU_INLINE T prefix##_floor_of(T a, T b)                                                \
    {                                                                                              \
        T r = fmod##S(a, b);                                                                       \
        if (r == 0) {                                                                              \
            return copysign##S(r, b);                                                              \
        }                                                                                          \
        return (r < 0) != (b < 0) && r == r ? r + b : r;                                           \
    }                                                                                              \
    TILE_UNARY(prefix##_neg, T, T, -a)                                                             \
    TILE_UNARY(prefix##_abs, T, T, fabs##S(a))                                                     \
    TILE_UNARY(prefix##_sign, T, T, a != a ? a : (T)(a > 0) - (T)(a < 0))                          \
    TILE_UNARY(prefix##_sqrt, T, T, sqrt##S(a))                                                    \
    TILE_UNARY(prefix##_reciprocal, T, T, (T)1 / a)                                                \
    TILE_UNARY(prefix##_floor, T, T, floor##S(a))                                                  \
    TILE_UNARY(prefix##_ceil, T, T, ceil##S(a))                                                    \
    TILE_UNARY(prefix##_round, T, T, rint##S(a))                                                   \
    TILE_UNARY(prefix##_isnan, T, guint8, a != a)                                                  \
    TILE_BINARY(prefix##_add, T, T, a + b)                                                         \
    TILE_BINARY(prefix##_sub, T, T, a - b)                                                         \
    TILE_BINARY(prefix##_mul, T, T, a *b)                                                          \
    TILE_BINARY(prefix##_div, T, T, a / b)                                                         \
    TILE_BINARY(prefix##_max, T, T, ((a > b) | (a != a)) ? a : b)                                  \
    TILE_BINARY(prefix##_min, T, T, ((a < b) | (a != a)) ? a : b)                                  \
    TILE_BINARY(prefix##_mod_trunc, T, T, fmod##S(a, b))                                           \
    TILE_BINARY(prefix##_mod_floor, T, T, prefix##_floor_of(a, b))                                 \
    TILE_BINARY(prefix##_equal, T, guint8, a == b)                                                 \
    TILE_BINARY(prefix##_less, T, guint8, a < b)                                                   \
    TILE_BINARY(prefix##_greater, T, guint8, a > b)                                                \
    TILE_BINARY(prefix##_less_or_equal, T, guint8, a <= b)                                         \
    TILE_BINARY(prefix##_greater_or_equal, T, guint8, a >= b)                                      \
    TILE_WHERE(prefix##_where, T)

/* A row of a function of operands of one type, and those of TILE_FLOATS. */
#define TILE_ENTRY(TYPE, name, n, function, ...)                                                   \
    {                                                                                              \
        .op = (name), .arity = (n), .fn = { [TYPE] = (function) }, ##__VA_ARGS__                   \
    }
#define TILE_FLOAT_ROWS(TYPE, prefix)                                                              \
    TILE_ENTRY(TYPE, "neg", 1, prefix##_neg), TILE_ENTRY(TYPE, "abs", 1, prefix##_abs),            \
        TILE_ENTRY(TYPE, "sign", 1, prefix##_sign), TILE_ENTRY(TYPE, "sqrt", 1, prefix##_sqrt),    \
        TILE_ENTRY(TYPE, "reciprocal", 1, prefix##_reciprocal),                                    \
        TILE_ENTRY(TYPE, "floor", 1, prefix##_floor), TILE_ENTRY(TYPE, "ceil", 1, prefix##_ceil),  \
        TILE_ENTRY(TYPE, "round", 1, prefix##_round),                                              \
        TILE_ENTRY(TYPE, "isnan", 1, prefix##_isnan, .to_bool = TRUE),                             \
        TILE_ENTRY(TYPE, "add", 2, prefix##_add), TILE_ENTRY(TYPE, "sub", 2, prefix##_sub),        \
        TILE_ENTRY(TYPE, "mul", 2, prefix##_mul), TILE_ENTRY(TYPE, "div", 2, prefix##_div),        \
        TILE_ENTRY(TYPE, "max", 2, prefix##_max), TILE_ENTRY(TYPE, "min", 2, prefix##_min),        \
        TILE_ENTRY(TYPE, "mod_trunc", 2, prefix##_mod_trunc),                                      \
        TILE_ENTRY(TYPE, "mod_floor", 2, prefix##_mod_floor),                                      \
        TILE_ENTRY(TYPE, "equal", 2, prefix##_equal, .to_bool = TRUE),                             \
        TILE_ENTRY(TYPE, "less", 2, prefix##_less, .to_bool = TRUE),                               \
        TILE_ENTRY(TYPE, "greater", 2, prefix##_greater, .to_bool = TRUE),                         \
        TILE_ENTRY(TYPE, "less_or_equal", 2, prefix##_less_or_equal, .to_bool = TRUE),             \
        TILE_ENTRY(TYPE, "greater_or_equal", 2, prefix##_greater_or_equal, .to_bool = TRUE),       \
        TILE_ENTRY(TYPE, "where", 3, prefix##_where)
