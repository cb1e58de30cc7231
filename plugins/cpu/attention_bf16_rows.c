/* attention_bf16_rows.c: loops of attention of bf16 over blocks of scores, in f32, and its copies. */
#include "attention_bf16.h"
#include "bf16.h"
#include "vmath.h"

#define BLOCK ATTENTION_BLOCK
#define AREA ATTENTION_AREA
#define LANES ATTENTION_LANES

/* --- Copies ----------------------------------------------------------------------------------- */

void
attention_left(const AttentionMatrix *m, gint64 block, guint16 *to)
{
    const Bf16Columns rows = { m->from, m->col, m->row, m->cols, m->rows };
    cpu_gemm_bf16_pack_rows(&rows, 2 * block, 2, to);
}

static void
right(const Bf16Columns *columns, guint16 *to)
{
    for (gint64 i = 0; i < attention_blocks(columns->columns); i++) {
        cpu_gemm_bf16_pack_columns(columns, 2 * i, 2, to);
        to += attention_blocks(columns->deep) * ATTENTION_AREA;
    }
}

void
attention_right_turned(const AttentionMatrix *m, guint16 *to)
{
    right(&(Bf16Columns){ m->from, m->col, m->row, m->cols, m->rows }, to);
}

void
attention_right(const AttentionMatrix *m, guint16 *to)
{
    right(&(Bf16Columns){ m->from, m->row, m->col, m->rows, m->cols }, to);
}

/* --- Forward ---------------------------------------------------------------------------------- */

typedef float V __attribute__((vector_size(LANES * sizeof(float))));
typedef gint32 I __attribute__((vector_size(LANES * sizeof(float))));
typedef V U __attribute__((aligned(sizeof(float)), may_alias));

/* Lanes folded by halves. A NaN stays the largest. */
static CPU_INLINE float
largest_lane(const float *lanes)
{
    float m[LANES];
    memcpy(m, lanes, sizeof m);
    for (gint half = LANES / 2; half > 0; half /= 2) {
        for (gint j = 0; j < half; j++) {
            m[j] = m[j + half] > m[j] || m[j + half] != m[j + half] ? m[j + half] : m[j];
        }
    }
    return m[0];
}

static CPU_INLINE float
sum_of_lanes(const float *lanes)
{
    float m[LANES];
    memcpy(m, lanes, sizeof m);
    for (gint half = LANES / 2; half > 0; half /= 2) {
        for (gint j = 0; j < half; j++) {
            m[j] += m[j + half];
        }
    }
    return m[0];
}

/* Vectors by name, for what compilers make of loops with a result differs. */
#define ROW(isa, TARGET)                                                                           \
    TARGET static void row_##isa(float *row, gint64 blocks, gint64 n, float scale,                 \
                                 AttentionState *state, float *factor)                             \
    {                                                                                              \
        const I lane = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };                   \
        const V none = (V){ 0 } - INFINITY;                                                        \
        V most = (V){ 0 } + state->max, sum = { 0 };                                               \
        float *x = row;                                                                            \
        for (gint64 b = 0; b < blocks; b++, x += AREA) {                                           \
            const gint in = (gint)CLAMP(n - b * BLOCK, 0, BLOCK);                                  \
            for (gint j = 0; j < BLOCK; j += LANES) {                                              \
                const V scaled = *(const U *)(x + j) * scale;                                      \
                const I is_in = lane + j < in;                                                     \
                const V next = (V)(((I)scaled & is_in) | ((I)none & ~is_in));                      \
                const I is = (next > most) | (next != next);                                       \
                *(U *)(x + j) = next;                                                              \
                most = (V)(((I)next & is) | ((I)most & ~is));                                      \
            }                                                                                      \
        }                                                                                          \
        const float max = largest_lane((const float *)&most), base = max == -INFINITY ? 0 : max;   \
        x = row;                                                                                   \
        for (gint64 b = 0; b < blocks; b++, x += AREA) {                                           \
            CPU_LOOP                                                                               \
            for (gint j = 0; j < BLOCK; j++) {                                                     \
                x[j] = vm_exp(x[j] - base);                                                        \
            }                                                                                      \
            sum += *(const U *)x;                                                                  \
            sum += *(const U *)(x + LANES);                                                        \
        }                                                                                          \
        *factor = state->max == -INFINITY ? 1 : vm_exp(state->max - base);                         \
        *state =                                                                                   \
            (AttentionState){ max, state->sum * *factor + sum_of_lanes((const float *)&sum) };     \
    }
#define NO_TARGET
ROW(portable, NO_TARGET)
ROW(avx2, CPU_TARGET_AVX2)
ROW(avx512, CPU_TARGET_AVX512)

const AttentionRowFn attention_bf16_row[CPU_N_ISA] = {
    [CPU_PORTABLE] = row_portable, [CPU_AVX2] = row_avx2, [CPU_AVX512] = row_avx512
};

/* --- Gradient --------------------------------------------------------------------------------- */

/* Scores are scaled in a loop of their own (attention_rows.c). */
static CPU_INLINE void
shares_body(float *scores, float *dp, const AttentionShares *s)
{
    const float scale = s->scale, factor = s->factor;
    for (gint64 i = 0; i < s->keys; i++) {
        const gint hidden = (gint)CLAMP(s->first + i, 0, BLOCK);
        float *x = scores + i * BLOCK, *d = dp + i * BLOCK;
        CPU_LOOP
        for (gint j = 0; j < BLOCK; j++) {
            x[j] = x[j] * scale;
        }
        CPU_LOOP
        for (gint j = 0; j < BLOCK; j++) {
            const float p = vm_exp(x[j] - s->base[j]), ds = p * (d[j] - s->weighed[j]) * factor;
            x[j] = j < hidden ? 0 : p;
            d[j] = j < hidden ? 0 : ds;
        }
    }
    const gsize rest = (gsize)(BLOCK - s->keys) * BLOCK * sizeof(float);
    memset(scores + s->keys * BLOCK, 0, rest);
    memset(dp + s->keys * BLOCK, 0, rest);
}
CPU_FUNCTIONS(shares, (float *scores, float *dp, const AttentionShares *s), (scores, dp, s))

const AttentionSharesFn attention_bf16_shares[CPU_N_ISA] = {
    [CPU_PORTABLE] = shares_portable, [CPU_AVX2] = shares_avx2, [CPU_AVX512] = shares_avx512
};

static CPU_INLINE void
dot_body(const guint16 *a, gint64 a_step, const guint16 *b, gint64 b_step, gint64 n, float *sum)
{
    float lanes[LANES] = { 0 };
    gint64 i = 0;
    *sum = 0;
    for (; a_step == 1 && b_step == 1 && i + LANES <= n; i += LANES) {
        CPU_LOOP
        for (gint j = 0; j < LANES; j++) {
            lanes[j] += bf16_wide(a[i + j]) * bf16_wide(b[i + j]);
        }
    }
    for (gint j = 0; j < LANES; j++) {
        *sum += lanes[j];
    }
    for (; i < n; i++) {
        *sum += bf16_wide(a[i * a_step]) * bf16_wide(b[i * b_step]);
    }
}
CPU_FUNCTIONS(dot,
              (const guint16 *a, gint64 a_step, const guint16 *b, gint64 b_step, gint64 n,
               float *sum),
              (a, a_step, b, b_step, n, sum))

const AttentionDotFn attention_bf16_dot[CPU_N_ISA] = {
    [CPU_PORTABLE] = dot_portable, [CPU_AVX2] = dot_avx2, [CPU_AVX512] = dot_avx512
};
