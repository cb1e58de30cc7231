/* recurrent_gates.c: the functions of the gates and their derivatives for a panel's units, by the formulas
 * of the operators' bodies. */
#include "recurrent.h"

#include "vmath.h"

/* All that is written for a type. UNITS: what follows is about unit u of a sample, whose pointers are
 * there. */
#define UNITS                                                                                      \
    CPU_LOOP                                                                                       \
    for (gint64 u = 0; u < s->units; u++)

#define DEFINE(T, suffix, EXP, TANH)                                                               \
    static CPU_INLINE T sigmoid_##suffix(T x)                                                      \
    {                                                                                              \
        return 1 / (1 + EXP(-x));                                                                  \
    }                                                                                              \
    static CPU_INLINE T sigmoid_slope_##suffix(T y)                                                \
    {                                                                                              \
        return y * (1 - y);                                                                        \
    }                                                                                              \
    static CPU_INLINE T tanh_slope_##suffix(T y)                                                   \
    {                                                                                              \
        return 1 - y * y;                                                                          \
    }                                                                                              \
                                                                                                   \
    static CPU_INLINE void rnn_tanh_##suffix##_body(const RecurrentStep *s)                        \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            const T *sum = (const T *)s->sums + n * s->sums_row;                                   \
            T *out = (T *)s->out + n * s->hidden;                                                  \
            UNITS                                                                                  \
            {                                                                                      \
                out[u] = TANH(sum[u]);                                                             \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static CPU_INLINE void rnn_tanh_back_##suffix##_body(const RecurrentBack *s)                   \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            T *later = (T *)s->later + n * s->width, *dsum = (T *)s->dsums + n * s->hidden;        \
            const T *g = (const T *)s->g + n * s->hidden,                                          \
                    *out = (const T *)s->now + n * s->hidden;                                      \
            UNITS                                                                                  \
            {                                                                                      \
                dsum[u] = (g[u] + later[u]) * tanh_slope_##suffix(out[u]);                         \
                later[u] = 0;                                                                      \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static CPU_INLINE void rnn_relu_##suffix##_body(const RecurrentStep *s)                        \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            const T *sum = (const T *)s->sums + n * s->sums_row;                                   \
            T *out = (T *)s->out + n * s->hidden;                                                  \
            UNITS                                                                                  \
            {                                                                                      \
                out[u] = ((sum[u] > 0) | (sum[u] != sum[u])) ? sum[u] : 0;                         \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static CPU_INLINE void rnn_relu_back_##suffix##_body(const RecurrentBack *s)                   \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            T *later = (T *)s->later + n * s->width, *dsum = (T *)s->dsums + n * s->hidden;        \
            const T *g = (const T *)s->g + n * s->hidden,                                          \
                    *out = (const T *)s->now + n * s->hidden;                                      \
            UNITS                                                                                  \
            {                                                                                      \
                const T dh = g[u] + later[u];                                                      \
                dsum[u] = out[u] > 0 ? dh : 0;                                                     \
                later[u] = 0;                                                                      \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static CPU_INLINE void lstm_##suffix##_body(const RecurrentStep *s)                            \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            const T *sum = (const T *)s->sums + n * s->sums_row;                                   \
            const T *before = (const T *)s->before + n * s->hidden;                                \
            T *out = (T *)s->out + n * s->hidden, *cells = (T *)s->cells + n * s->hidden;          \
            T *gate = (T *)s->gates + n * 4 * s->hidden;                                           \
            UNITS                                                                                  \
            {                                                                                      \
                const T i = sigmoid_##suffix(sum[u]), f = sigmoid_##suffix(sum[s->width + u]);     \
                const T g = TANH(sum[2 * s->width + u]);                                           \
                const T o = sigmoid_##suffix(sum[3 * s->width + u]);                               \
                const T cell = f * before[u] + i * g;                                              \
                gate[u] = i;                                                                       \
                gate[s->hidden + u] = f;                                                           \
                gate[2 * s->hidden + u] = g;                                                       \
                gate[3 * s->hidden + u] = o;                                                       \
                cells[u] = cell;                                                                   \
                out[u] = o * TANH(cell);                                                           \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static CPU_INLINE void lstm_back_##suffix##_body(const RecurrentBack *s)                       \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            T *later = (T *)s->later + n * s->width, *dc = (T *)s->dc + n * s->hidden;             \
            const T *g = (const T *)s->g + n * s->hidden;                                          \
            const T *g_cell = (const T *)s->g_cells + n * s->g_cells_row;                          \
            const T *cells = (const T *)s->now + n * s->hidden;                                    \
            const T *before = (const T *)s->before + n * s->hidden;                                \
            const T *gate = (const T *)s->gates + n * 4 * s->hidden;                               \
            T *dsum = (T *)s->dsums + n * 4 * s->hidden;                                           \
            UNITS                                                                                  \
            {                                                                                      \
                const T i = gate[u], f = gate[s->hidden + u], c = gate[2 * s->hidden + u];         \
                const T o = gate[3 * s->hidden + u], tanh_c = TANH(cells[u]);                      \
                const T dh = g[u] + later[u];                                                      \
                const T d = dh * o * tanh_slope_##suffix(tanh_c) + dc[u] + g_cell[u];              \
                dsum[u] = d * c * sigmoid_slope_##suffix(i);                                       \
                dsum[s->hidden + u] = d * before[u] * sigmoid_slope_##suffix(f);                   \
                dsum[2 * s->hidden + u] = d * i * tanh_slope_##suffix(c);                          \
                dsum[3 * s->hidden + u] = dh * tanh_c * sigmoid_slope_##suffix(o);                 \
                dc[u] = d * f;                                                                     \
                later[u] = 0;                                                                      \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    /* Sums: x's part of n, r, z, h's part of n. */                                                \
    static CPU_INLINE void gru_##suffix##_body(const RecurrentStep *s)                             \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            const T *sum = (const T *)s->sums + n * s->sums_row;                                   \
            const T *before = (const T *)s->before + n * s->hidden;                                \
            T *out = (T *)s->out + n * s->hidden, *gate = (T *)s->gates + n * 4 * s->hidden;       \
            UNITS                                                                                  \
            {                                                                                      \
                const T r = sigmoid_##suffix(sum[s->width + u]);                                   \
                const T z = sigmoid_##suffix(sum[2 * s->width + u]);                               \
                const T q = sum[3 * s->width + u], x = TANH(sum[u] + r * q);                       \
                gate[u] = r;                                                                       \
                gate[s->hidden + u] = z;                                                           \
                gate[2 * s->hidden + u] = x;                                                       \
                gate[3 * s->hidden + u] = q;                                                       \
                out[u] = x + z * (before[u] - x);                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static CPU_INLINE void gru_back_##suffix##_body(const RecurrentBack *s)                        \
    {                                                                                              \
        for (gint64 n = 0; n < s->rows; n++) {                                                     \
            T *later = (T *)s->later + n * s->width;                                               \
            const T *g = (const T *)s->g + n * s->hidden;                                          \
            const T *before = (const T *)s->before + n * s->hidden;                                \
            const T *gate = (const T *)s->gates + n * 4 * s->hidden;                               \
            T *of_x = (T *)s->dsums + n * 3 * s->hidden;                                           \
            T *of_h = (T *)s->dsums_h + n * 3 * s->hidden;                                         \
            UNITS                                                                                  \
            {                                                                                      \
                const T r = gate[u], z = gate[s->hidden + u], x = gate[2 * s->hidden + u];         \
                const T q = gate[3 * s->hidden + u], dh = g[u] + later[u];                         \
                const T dx = dh * (1 - z) * tanh_slope_##suffix(x);                                \
                const T dz = dh * (before[u] - x) * sigmoid_slope_##suffix(z);                     \
                const T dr = dx * q * sigmoid_slope_##suffix(r);                                   \
                of_x[u] = of_h[u] = dr;                                                            \
                of_x[s->hidden + u] = of_h[s->hidden + u] = dz;                                    \
                of_x[2 * s->hidden + u] = dx;                                                      \
                of_h[2 * s->hidden + u] = dx * r;                                                  \
                later[u] = dh * z;                                                                 \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE(float, f32, vm_exp, vm_tanh)
DEFINE(double, f64, exp, tanh)

#define VERSIONS(name, suffix)                                                                     \
    CPU_VERSIONS(name##_##suffix, RecurrentStepFn, (const RecurrentStep *step), (step))            \
    CPU_VERSIONS(name##_back_##suffix, RecurrentBackFn, (const RecurrentBack *step), (step))
VERSIONS(rnn_tanh, f32)
VERSIONS(rnn_tanh, f64)
VERSIONS(rnn_relu, f32)
VERSIONS(rnn_relu, f64)
VERSIONS(lstm, f32)
VERSIONS(lstm, f64)
VERSIONS(gru, f32)
VERSIONS(gru, f64)

#define ROW(name) .step = { name##_f32, name##_f64 }, .back = { name##_back_f32, name##_back_f64 }

const RecurrentGates recurrent_gates[N_CELLS] = {
    [CELL_RNN_TANH] = { 1, 1, 0, 64, { 0 }, { 0 }, ROW(rnn_tanh) },
    [CELL_RNN_RELU] = { 1, 1, 0, 64, { 0 }, { 0 }, ROW(rnn_relu) },
    [CELL_LSTM] = { 4, 4, 0, 16, { 0, 1, 2, 3 }, { 0, 1, 2, 3 }, ROW(lstm) },
    [CELL_GRU] = { 3, 4, 1, 16, { 2, 0, 1 }, { 0, 1, 2 }, ROW(gru) },
};
