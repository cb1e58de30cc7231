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

/* Lanes of 16 rows at a time, turned so that a row's are below each other: a sum or the like of all rows
 * is one of vectors. */
static void
turn_lanes(const float *lanes, gint64 first, float *turned)
{
    bf16_kernels()->turn((const void *)(lanes + first * LANES), 2 * LANES, (void *)turned);
}

static CPU_INLINE void
sums_body(const float *turned, float *sums)
{
    float sum[LANES] = { 0 };
    for (gint j = 0; j < LANES; j++) {
        for (gint i = 0; i < LANES; i++) {
            sum[i] += turned[j * LANES + i];
        }
    }
    memcpy(sums, sum, sizeof sum);
}

typedef void (*FoldFn)(const float *turned, float *to);
CPU_VERSIONS(sums, FoldFn, (const float *turned, float *sums), (turned, sums))

static void
fold(const FoldFn fn, const float *lanes, float *to)
{
    float turned[LANES * LANES] __attribute__((aligned(64)));
    for (gint64 i = 0; i < BLOCK; i += LANES) {
        turn_lanes(lanes, i, turned);
        fn(turned, to + i);
    }
}

void
attention_bf16_fold(const float *lanes, float *to)
{
    fold(sums[cpu_isa], lanes, to);
}

typedef float V __attribute__((vector_size(LANES * sizeof(float))));
typedef gint32 I __attribute__((vector_size(LANES * sizeof(float))));
typedef V U __attribute__((aligned(sizeof(float)), may_alias));

/* Vectors by name, for what compilers make of loops with a result differs. Scores are scaled in a loop of
 * their own (attention_rows.c). */
#define ROWS(isa, TARGET)                                                                          \
    /* A NaN stays the largest. */                                                                 \
    TARGET static void largest_##isa(const float *turned, float *largest)                          \
    {                                                                                              \
        V most = *(const U *)largest;                                                              \
        for (gint j = 0; j < LANES; j++) {                                                         \
            const V next = *(const U *)(turned + j * LANES);                                       \
            const I is = (next > most) | (next != next);                                           \
            most = (V)(((I)next & is) | ((I)most & ~is));                                          \
        }                                                                                          \
        *(U *)largest = most;                                                                      \
    }                                                                                              \
                                                                                                   \
    TARGET static void scale_scores_##isa(float *scores, const AttentionSeen *s, float *lanes)     \
    {                                                                                              \
        const I lane = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };                   \
        const V none = (V){ 0 } - INFINITY;                                                        \
        for (gint64 i = 0; i < BLOCK; i++) {                                                       \
            const gint64 seen = CLAMP(s->first + i * s->more, 0, s->n);                            \
            float *x = scores + i * BLOCK;                                                         \
            V most = none;                                                                         \
            for (gint64 b = 0; b < s->blocks; b++, x += AREA) {                                    \
                const gint in = (gint)CLAMP(seen - b * BLOCK, 0, BLOCK);                           \
                for (gint j = 0; j < BLOCK; j += LANES) {                                          \
                    const V scaled = *(const U *)(x + j) * s->scale;                               \
                    const I is_in = lane + j < in;                                                 \
                    const V next = (V)(((I)scaled & is_in) | ((I)none & ~is_in));                  \
                    const I is = (next > most) | (next != next);                                   \
                    *(U *)(x + j) = next;                                                          \
                    most = (V)(((I)next & is) | ((I)most & ~is));                                  \
                }                                                                                  \
            }                                                                                      \
            *(U *)(lanes + i * LANES) = most;                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    TARGET static void exp_scores_##isa(float *scores, gint64 blocks, const float *base,           \
                                        float *lanes)                                              \
    {                                                                                              \
        for (gint64 i = 0; i < BLOCK; i++) {                                                       \
            float *x = scores + i * BLOCK;                                                         \
            V sum = { 0 };                                                                         \
            for (gint64 b = 0; b < blocks; b++, x += AREA) {                                       \
                CPU_LOOP                                                                           \
                for (gint j = 0; j < BLOCK; j++) {                                                 \
                    x[j] = vm_exp(x[j] - base[i]);                                                 \
                }                                                                                  \
                sum += *(const U *)x;                                                              \
                sum += *(const U *)(x + LANES);                                                    \
            }                                                                                      \
            *(U *)(lanes + i * LANES) = sum;                                                       \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    TARGET static void rows_##isa(float *scores, const AttentionSeen *s, AttentionStates *states)  \
    {                                                                                              \
        float lanes[BLOCK * LANES] __attribute__((aligned(64)));                                   \
        float max[BLOCK], base[BLOCK], added[BLOCK];                                               \
        memcpy(max, states->max, sizeof max);                                                      \
        scale_scores_##isa(scores, s, lanes);                                                      \
        fold(largest_##isa, lanes, max);                                                           \
        for (gint i = 0; i < BLOCK; i++) {                                                         \
            const float earlier = states->max[i];                                                  \
            base[i] = max[i] == -INFINITY ? 0 : max[i];                                            \
            const float factor = vm_exp(earlier - base[i]);                                        \
            states->factor[i] = earlier == -INFINITY ? 1 : factor;                                 \
        }                                                                                          \
        exp_scores_##isa(scores, s->blocks, base, lanes);                                          \
        fold(sums_##isa, lanes, added);                                                            \
        for (gint i = 0; i < BLOCK; i++) {                                                         \
            states->sum[i] = states->sum[i] * states->factor[i] + added[i];                        \
            states->max[i] = max[i];                                                               \
        }                                                                                          \
    }
#define NO_TARGET
ROWS(portable, NO_TARGET)
ROWS(avx2, CPU_TARGET_AVX2)
ROWS(avx512, CPU_TARGET_AVX512)

const AttentionRowsFn attention_bf16_rows[CPU_N_ISA] = {
    [CPU_PORTABLE] = rows_portable, [CPU_AVX2] = rows_avx2, [CPU_AVX512] = rows_avx512
};

static CPU_INLINE void
scale_body(float *block, const float *factors)
{
    for (gint i = 0; i < BLOCK; i++) {
        for (gint j = 0; j < BLOCK; j++) {
            block[i * BLOCK + j] *= factors[i];
        }
    }
}
CPU_FUNCTIONS(scale, (float *block, const float *factors), (block, factors))

const AttentionScaleFn attention_bf16_scale[CPU_N_ISA] = {
    [CPU_PORTABLE] = scale_portable, [CPU_AVX2] = scale_avx2, [CPU_AVX512] = scale_avx512
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
dot_body(const guint16 *a, gint64 a_step, const guint16 *b, gint64 b_step, gint64 n, float *lanes)
{
    float sum[LANES] = { 0 };
    gint64 i = 0;
    for (; a_step == 1 && b_step == 1 && i + LANES <= n; i += LANES) {
        for (gint j = 0; j < LANES; j++) {
            sum[j] += cpu_bf16_wide(a[i + j]) * cpu_bf16_wide(b[i + j]);
        }
    }
    for (; i < n; i++) {
        sum[i % LANES] += cpu_bf16_wide(a[i * a_step]) * cpu_bf16_wide(b[i * b_step]);
    }
    memcpy(lanes, sum, sizeof sum);
}
CPU_FUNCTIONS(dot,
              (const guint16 *a, gint64 a_step, const guint16 *b, gint64 b_step, gint64 n,
               float *lanes),
              (a, a_step, b, b_step, n, lanes))

const AttentionDotFn attention_bf16_dot[CPU_N_ISA] = {
    [CPU_PORTABLE] = dot_portable, [CPU_AVX2] = dot_avx2, [CPU_AVX512] = dot_avx512
};
