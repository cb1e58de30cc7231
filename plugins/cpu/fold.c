/* fold.c: the innermost loops of reductions, and how reductions are cut. Sums of floats run over 64
 * lanes in blocks of FOLD_BLOCK elements, whose sums are added in f64: the order is the same for every
 * instruction set, and the error small for any length. Extremes go by the same blocks, so that a run may
 * be cut at any of them and gives the same bits, to the sign of a zero. */
#include "fold.h"

#include <math.h>

#define LANES 64
#define MAX_SLICES 16
/* Elements that slices of a whole sum are multiples of, at most. */
#define MAX_UNIT 4096

/* The sum of up to FOLD_BLOCK elements. Lanes are added pairwise. */
#define SUM(name, T)                                                                               \
    static CPU_INLINE double name##_block(const T *x, gint64 n)                                    \
    {                                                                                              \
        typedef T V __attribute__((vector_size(16 * sizeof(T))));                                  \
        typedef V U __attribute__((aligned(sizeof(T)), may_alias));                                \
        V a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };                                              \
        T lane[16], rest = 0;                                                                      \
        gint64 i = 0;                                                                              \
        for (; i + LANES <= n; i += LANES) {                                                       \
            a += *(const U *)(x + i);                                                              \
            b += *(const U *)(x + i + 16);                                                         \
            c += *(const U *)(x + i + 32);                                                         \
            d += *(const U *)(x + i + 48);                                                         \
        }                                                                                          \
        for (; i + 16 <= n; i += 16) {                                                             \
            a += *(const U *)(x + i);                                                              \
        }                                                                                          \
        a = (a + b) + (c + d);                                                                     \
        memcpy(lane, &a, sizeof lane);                                                             \
        for (; i < n; i++) {                                                                       \
            rest += x[i];                                                                          \
        }                                                                                          \
        for (gint half = 8; half > 0; half /= 2) {                                                 \
            for (gint j = 0; j < half; j++) {                                                      \
                lane[j] += lane[j + half];                                                         \
            }                                                                                      \
        }                                                                                          \
        return (double)lane[0] + (double)rest;                                                     \
    }                                                                                              \
    static CPU_INLINE void name##_body(Fold *acc, const void *from, gint64 n)                      \
    {                                                                                              \
        const T *x = from;                                                                         \
        for (gint64 at = 0; at < n; at += FOLD_BLOCK) {                                            \
            acc->f64 += name##_block(x + at, MIN(FOLD_BLOCK, n - at));                             \
        }                                                                                          \
    }                                                                                              \
    CPU_VERSIONS(name, FoldFn, (Fold * acc, const void *from, gint64 n), (acc, from, n))

/* An associative and commutative choice: lanes, then the rest. */
#define CHOOSE(name, T, member, expression)                                                        \
    static CPU_INLINE T name##_block(T begin, const T *x, gint64 n)                                \
    {                                                                                              \
        T lane[16];                                                                                \
        gint64 i = 0;                                                                              \
        for (gint j = 0; j < 16; j++) {                                                            \
            lane[j] = begin;                                                                       \
        }                                                                                          \
        for (; i + 16 <= n; i += 16) {                                                             \
            for (gint j = 0; j < 16; j++) {                                                        \
                T a = lane[j], b = x[i + j];                                                       \
                lane[j] = (expression);                                                            \
            }                                                                                      \
        }                                                                                          \
        for (; i < n; i++) {                                                                       \
            T a = lane[0], b = x[i];                                                               \
            lane[0] = (expression);                                                                \
        }                                                                                          \
        for (gint j = 1; j < 16; j++) {                                                            \
            T a = lane[0], b = lane[j];                                                            \
            lane[0] = (expression);                                                                \
        }                                                                                          \
        return lane[0];                                                                            \
    }                                                                                              \
    static CPU_INLINE void name##_body(Fold *acc, const void *from, gint64 n)                      \
    {                                                                                              \
        const T *x = from;                                                                         \
        T chosen = (T)acc->member;                                                                 \
        for (gint64 at = 0; at < n; at += FOLD_BLOCK) {                                            \
            chosen = name##_block(chosen, x + at, MIN(FOLD_BLOCK, n - at));                        \
        }                                                                                          \
        acc->member = chosen;                                                                      \
    }                                                                                              \
    CPU_VERSIONS(name, FoldFn, (Fold * acc, const void *from, gint64 n), (acc, from, n))

/* One after the other. */
#define PLAIN(name, T, member, expression)                                                         \
    static CPU_INLINE void name##_body(Fold *acc, const void *from, gint64 n)                      \
    {                                                                                              \
        const T *x = from;                                                                         \
        for (gint64 i = 0; i < n; i++) {                                                           \
            __typeof__(acc->member) a = acc->member, b = x[i];                                     \
            acc->member = (expression);                                                            \
        }                                                                                          \
    }                                                                                              \
    CPU_VERSIONS(name, FoldFn, (Fold * acc, const void *from, gint64 n), (acc, from, n))

#define COLUMNS(name, T, expression)                                                               \
    static CPU_INLINE void name##_body(void *acc, const void *from, gint64 n)                      \
    {                                                                                              \
        T *to = acc;                                                                               \
        const T *x = from;                                                                         \
        CPU_LOOP                                                                                   \
        for (gint64 i = 0; i < n; i++) {                                                           \
            T a = to[i], b = x[i];                                                                 \
            to[i] = (expression);                                                                  \
        }                                                                                          \
    }                                                                                              \
    CPU_VERSIONS(name, FoldColumnsFn, (void *acc, const void *from, gint64 n), (acc, from, n))

#define HIGHER ((a > b) | (a != a)) ? a : b
#define LOWER ((a < b) | (a != a)) ? a : b

SUM(f32_sum, float)
SUM(f64_sum, double)
PLAIN(u64_sum, guint64, u64, a + b)
PLAIN(f32_prod, float, f64, a *b)
PLAIN(f64_prod, double, f64, a *b)
PLAIN(u64_prod, guint64, u64, a *b)
CHOOSE(f32_max, float, f64, HIGHER)
CHOOSE(f64_max, double, f64, HIGHER)
CHOOSE(f32_min, float, f64, LOWER)
CHOOSE(f64_min, double, f64, LOWER)
CHOOSE(i64_max, gint64, i64, a > b ? a : b)
CHOOSE(u64_max, guint64, u64, a > b ? a : b)
CHOOSE(i64_min, gint64, i64, a < b ? a : b)
CHOOSE(u64_min, guint64, u64, a < b ? a : b)
COLUMNS(f32_sum_columns, float, a + b)
COLUMNS(f64_sum_columns, double, a + b)
COLUMNS(u64_sum_columns, guint64, a + b)
COLUMNS(f32_prod_columns, float, a *b)
COLUMNS(f64_prod_columns, double, a *b)
COLUMNS(u64_prod_columns, guint64, a *b)
COLUMNS(f32_max_columns, float, HIGHER)
COLUMNS(f64_max_columns, double, HIGHER)
COLUMNS(f32_min_columns, float, LOWER)
COLUMNS(f64_min_columns, double, LOWER)
COLUMNS(i64_max_columns, gint64, a > b ? a : b)
COLUMNS(u64_max_columns, guint64, a > b ? a : b)
COLUMNS(i64_min_columns, gint64, a < b ? a : b)
COLUMNS(u64_min_columns, guint64, a < b ? a : b)

static CPU_INLINE void
bf16_sum_columns_body(void *acc, const void *from, gint64 n)
{
    guint32 *to = acc;
    const guint16 *x = from;
    for (gint64 i = 0; i < n; i++) {
        const guint32 bits = (guint32)x[i] << 16;
        float a, b;
        memcpy(&a, &to[i], sizeof a);
        memcpy(&b, &bits, sizeof b);
        a += b;
        memcpy(&to[i], &a, sizeof a);
    }
}
CPU_VERSIONS(bf16_sum_columns, FoldColumnsFn, (void *acc, const void *from, gint64 n),
             (acc, from, n))

static const FoldFn *const runs[FOLD_N][TILE_BOOL] = {
    [FOLD_SUM] = { f32_sum, f64_sum, u64_sum, u64_sum },
    [FOLD_PROD] = { f32_prod, f64_prod, u64_prod, u64_prod },
    [FOLD_MAX] = { f32_max, f64_max, i64_max, u64_max },
    [FOLD_MIN] = { f32_min, f64_min, i64_min, u64_min },
};
static const FoldColumnsFn *const columns[FOLD_N][TILE_BOOL] = {
    [FOLD_SUM] = { f32_sum_columns, f64_sum_columns, u64_sum_columns, u64_sum_columns },
    [FOLD_PROD] = { f32_prod_columns, f64_prod_columns, u64_prod_columns, u64_prod_columns },
    [FOLD_MAX] = { f32_max_columns, f64_max_columns, i64_max_columns, u64_max_columns },
    [FOLD_MIN] = { f32_min_columns, f64_min_columns, i64_min_columns, u64_min_columns },
};

FoldFn
fold_run(FoldKind kind, TileType type)
{
    return runs[kind][type][cpu_isa];
}

FoldColumnsFn
fold_columns(FoldKind kind, TileType type)
{
    return columns[kind][type][cpu_isa];
}

FoldColumnsFn
fold_columns_of(FoldKind kind, TnDtype dtype)
{
    return kind == FOLD_SUM && dtype == TN_DTYPE_BF16 ? bf16_sum_columns[cpu_isa] : NULL;
}

Fold
fold_begin(FoldKind kind, TnDtype dtype)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    guint shift = 64 - MIN(info->bits, 64);
    if (info->klass == TN_CLASS_FLOAT) {
        static const double neutral[FOLD_N] = { 0, 1, -INFINITY, INFINITY };
        return (Fold){ .f64 = neutral[kind] };
    }
    if (kind == FOLD_SUM || kind == FOLD_PROD) {
        return (Fold){ .u64 = kind == FOLD_PROD };
    }
    if (info->klass == TN_CLASS_INT) {
        return (Fold){ .i64 = kind == FOLD_MAX ? G_MININT64 >> shift : G_MAXINT64 >> shift };
    }
    if (info->klass == TN_CLASS_BOOL) {
        return (Fold){ .u64 = kind == FOLD_MIN };
    }
    return (Fold){ .u64 = kind == FOLD_MAX ? 0 : G_MAXUINT64 >> shift };
}

/* --- Columns ---------------------------------------------------------------------------------- */

void
fold_columns_begin(FoldKind kind, TnDtype dtype, void *acc, gint64 n)
{
    const Fold begin = fold_begin(kind, dtype);
    const gboolean single = tile_type_of(dtype) == TILE_F32;
    for (gint64 j = 0; j < n; j++) {
        if (single) {
            ((float *)acc)[j] = (float)begin.f64;
        } else {
            ((Fold *)acc)[j] = begin;
        }
    }
}

gboolean
fold_columns_widen(FoldKind kind, TnDtype dtype)
{
    return kind == FOLD_SUM && tile_type_of(dtype) == TILE_F32;
}

void
fold_columns_flush(FoldKind kind, TnDtype dtype, void *acc, Fold *wide, gint64 n)
{
    const float *single = acc;
    for (gint64 j = 0; j < n; j++) {
        wide[j].f64 += (double)single[j];
    }
    fold_columns_begin(kind, dtype, acc, n);
}

Fold
fold_column(TnDtype dtype, const void *acc, gint64 j)
{
    if (tile_type_of(dtype) == TILE_F32) {
        return (Fold){ .f64 = (double)((const float *)acc)[j] };
    }
    return ((const Fold *)acc)[j];
}

/* --- Slices ----------------------------------------------------------------------------------- */

gint64
fold_unit(const TnType *type)
{
    gint64 unit = 1;
    for (gint i = type->rank; i-- > 0 && cpu_times(unit, type->dims[i]) <= MAX_UNIT;) {
        unit *= MAX(1, type->dims[i]);
    }
    return unit;
}

FoldSlices
fold_slices(gint64 sliced, gint64 first, gint64 unit)
{
    FoldSlices slices = { 1, first };
    if (sliced > CPU_GRAIN && first > 0) {
        const gint64 n = sliced > MAX_SLICES / 2 * CPU_GRAIN ? MAX_SLICES : MAX_SLICES / 2;
        slices.each = cpu_parts(cpu_parts(first, n), unit) * unit;
        slices.n = cpu_parts(first, slices.each);
    }
    return slices;
}

gint64
fold_sliced(gint64 blocks, gint64 n_kept, gint64 n_reduced, gboolean invariant)
{
    return invariant ? n_reduced : blocks < 4 ? cpu_times(n_kept, n_reduced) : 0;
}

void
fold_combine(FoldKind kind, TileType type, Fold *partial, gint64 slices, gint64 n_kept)
{
    const FoldColumnsFn fold = fold_columns(kind, type == TILE_F32 ? TILE_F64 : type);
    for (gint64 s = 1; s < slices; s++) {
        fold(partial, partial + s * n_kept, n_kept);
    }
}

void
fold_store(TnDtype dtype, void *out, Fold fold)
{
    const float single = (float)fold.f64;
    const gboolean is_single = tile_type_of(dtype) == TILE_F32;
    tn_dtype_info(dtype)->store(out, is_single ? (const void *)&single : (const void *)&fold, 1, 1);
}

void
fold_value(TnDtype dtype, void *to, Fold fold)
{
    guint64 memory = 0;
    if (tile_is_native(dtype)) {
        fold_store(dtype, to, fold);
    } else {
        fold_store(dtype, &memory, fold);
        tn_dtype_info(dtype)->load(to, &memory, 1, 1);
    }
}
