/* attention_rows.c: loops over a row of attention's scores, 16 lanes at a time. */
#include "attention.h"
#include "vmath.h"

#define LANES ATTENTION_LANES

/* What the scale makes -inf of. */
static CPU_INLINE float
nothing(float scale)
{
    return scale < 0 ? INFINITY : -INFINITY;
}

/* Scores are scaled in a loop of their own, so that a score less itself is 0: a fused multiply-add would
 * leave what rounding took, which is large where scores are. */
static CPU_INLINE void
exp_body(float *x, gint64 n, float base)
{
    for (gint64 i = 0; i < n; i++) {
        x[i] = vm_exp(x[i] - base);
    }
}
CPU_FUNCTIONS(exp, (float *x, gint64 n, float base), (x, n, base))

/* Vectors by name, for what a compiler makes of loops with a result differs. A NaN stays the largest. */
#define FORWARD(isa, TARGET, LANES)                                                                \
    TARGET static void forward_##isa(float *x, gint64 n, gint64 full, float scale,                 \
                                     AttentionState *state, float *factor)                         \
    {                                                                                              \
        typedef float V __attribute__((vector_size(LANES * sizeof(float))));                       \
        typedef gint32 I __attribute__((vector_size(LANES * sizeof(float))));                      \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        V most = (V){ 0 } + state->max, sum = { 0 };                                               \
        float max = state->max, added = 0;                                                         \
        for (gint64 i = n; i < full; i++) {                                                        \
            x[i] = nothing(scale);                                                                 \
        }                                                                                          \
        for (gint64 i = 0; i < full; i += LANES) {                                                 \
            const V next = *(U *)(x + i) *= scale;                                                 \
            const I is = (next > most) | (next != next);                                           \
            most = (V)(((I)next & is) | ((I)most & ~is));                                          \
        }                                                                                          \
        for (gint j = 0; j < LANES; j++) {                                                         \
            max = most[j] > max || most[j] != most[j] ? most[j] : max;                             \
        }                                                                                          \
        const float base = max == -INFINITY ? 0 : max;                                             \
        exp_##isa(x, full, base);                                                                  \
        for (gint64 i = 0; i < full; i += LANES) {                                                 \
            sum += *(const U *)(x + i);                                                            \
        }                                                                                          \
        for (gint j = 0; j < LANES; j++) {                                                         \
            added += sum[j];                                                                       \
        }                                                                                          \
        *factor = state->max == -INFINITY ? 1 : vm_exp(state->max - base);                         \
        *state = (AttentionState){ max, state->sum * *factor + added };                            \
    }
#define NO_TARGET
FORWARD(portable, NO_TARGET, 4)
FORWARD(avx2, CPU_TARGET_AVX2, 8)
FORWARD(avx512, CPU_TARGET_AVX512, 16)

static CPU_INLINE void
backward_body(float *x, float *dp, gint64 n, gint64 full, const AttentionBackward *row)
{
    const float base = row->base, weighed = row->weighed, scale = row->scale, factor = row->factor;
    for (gint64 i = 0; i < n; i++) {
        x[i] *= scale;
    }
    for (gint64 i = n; i < full; i++) {
        x[i] = -INFINITY;
        dp[i] = 0;
    }
    for (gint64 i = 0; i < full; i++) {
        x[i] = vm_exp(x[i] - base);
    }
    for (gint64 i = 0; i < full; i++) {
        dp[i] = x[i] * (dp[i] - weighed) * factor;
    }
}

CPU_FUNCTIONS(backward, (float *x, float *dp, gint64 n, gint64 full, const AttentionBackward *row),
              (x, dp, n, full, row))

const AttentionForwardFn attention_forward_row[CPU_N_ISA] = {
    [CPU_PORTABLE] = forward_portable, [CPU_AVX2] = forward_avx2, [CPU_AVX512] = forward_avx512
};
const AttentionBackwardFn attention_backward_row[CPU_N_ISA] = {
    [CPU_PORTABLE] = backward_portable, [CPU_AVX2] = backward_avx2, [CPU_AVX512] = backward_avx512
};
