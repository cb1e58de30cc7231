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
