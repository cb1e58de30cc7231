/* recurrent_gates.c: the functions of the gates and their derivatives for a panel's units, by the formulas
 * of the operators' bodies. */
#include "recurrent.h"

#include "vmath.h"

/* 1 / x for 1 <= x < 2^126: a first guess off by an eighth, from the exponent with its sign turned, and two
 * steps of third order (Householder's). A division takes as long as all of a gate's other arithmetic. */
static CPU_INLINE float
one_over(float x)
{
    float y = vm_float(0x7ef311c7u - vm_bits(x));
    for (gint i = 0; i < 2; i++) {
        const float e = 1.0f - x * y;
        y = y + y * (e + e * e);
    }
    return y;
}

/* The sign of x, and its size if that is no more than `most`, whose word it is. A limit of words: compilers
 * work out for both its outcomes what follows a limit of floats. A NaN becomes a number. */
static CPU_INLINE float
at_most(float x, guint32 most)
{
    const guint32 size = vm_bits(x) & 0x7fffffffu;
    return vm_float(MIN(size, most) | (vm_bits(x) & 0x80000000u));
}

#define GATE_FAR 0x42ae0000u /* 87: little beyond e^-x is no normal number, nor is a guess of it */

/* e^x - less, which is 0 or 1, within what one_over takes; vm_exp's polynomial. Near 0 that of less = 1 is as
 * exact as x. */
static CPU_INLINE float
gate_exp(float x, float less)
{
    const float near = at_most(x, GATE_FAR);
    const float shifted = near * 0x1.715476p0f + VM_ROUND, n = shifted - VM_ROUND;
    const float scale = vm_float((vm_bits(shifted) - vm_bits(VM_ROUND) + 127) << 23);
    const float r = (near - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    float q = 0x1.6a2352p-10f;
    q = q * r + 0x1.123a6ap-7f;
    q = q * r + 0x1.5558f4p-5f;
    q = q * r + 0x1.555490p-3f;
    q = q * r + 0x1.fffffcp-2f;
    return (r + r * r * q) * scale + (scale - less);
}

static CPU_INLINE float
gate_sigmoid(float x)
{
    const float y = one_over(1.0f + gate_exp(-x, 0.0f));
    return x != x ? x : x < -vm_float(GATE_FAR) ? 0.0f : y;
}

static CPU_INLINE float
gate_tanh(float x)
{
    const float e = gate_exp(2.0f * x, 1.0f);
    const float size = fabsf(e * one_over(e + 2.0f));
    const float y = copysignf(at_most(size, 0x3f800000u), x); /* 1 */
    return x != x ? x : y;
}

/* All that is written for a type. UNITS: what follows is about unit u of a sample, whose pointers are
 * there. */
#define UNITS                                                                                      \
    CPU_LOOP                                                                                       \
    for (gint64 u = 0; u < s->units; u++)

#define DEFINE(T, suffix, SIGMOID, TANH)                                                           \
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
                const T i = SIGMOID(sum[u]), f = SIGMOID(sum[s->width + u]);                       \
                const T g = TANH(sum[2 * s->width + u]);                                           \
                const T o = SIGMOID(sum[3 * s->width + u]);                                        \
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
                const T r = SIGMOID(sum[s->width + u]);                                            \
                const T z = SIGMOID(sum[2 * s->width + u]);                                        \
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

static CPU_INLINE double
sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

DEFINE(float, f32, gate_sigmoid, gate_tanh)
DEFINE(double, f64, sigmoid, tanh)

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
