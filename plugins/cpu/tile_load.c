/* tile_load.c: how elements that are not held as they lie in memory come into a tile. Small
 * integers can come as the floats they are cast to, which images and labels are: a step in 64 bits
 * would cost more than all that follows. */
#include "tile_math.h"

/* `to` is another type than `from`, so it lies elsewhere. */
#define TILE_LOAD(name, From, To, expression)                                                      \
    static CPU_INLINE void name##_body(void *out, const void *in, gint64 stride, gsize n)          \
    {                                                                                              \
        To *restrict to = out;                                                                     \
        const From *restrict from = in;                                                            \
        if (stride == 1) {                                                                         \
            for (gsize i = 0; i < n; i++) {                                                        \
                From a = from[i];                                                                  \
                to[i] = (To)(expression);                                                          \
            }                                                                                      \
        } else {                                                                                   \
            for (gsize i = 0; i < n; i++) {                                                        \
                From a = from[(gint64)i * stride];                                                 \
                to[i] = (To)(expression);                                                          \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    CPU_VERSIONS(name, TileLoad, (void *out, const void *in, gint64 stride, gsize n),              \
                 (out, in, stride, n))

static CPU_INLINE float
from_bf16(guint16 bits)
{
    const guint32 word = (guint32)bits << 16;
    float x;
    memcpy(&x, &word, sizeof x);
    return x;
}

TILE_LOAD(f32_of_bf16, guint16, float, from_bf16(a))
TILE_LOAD(f32_of_i8, gint8, float, a)
TILE_LOAD(f32_of_i16, gint16, float, a)
TILE_LOAD(f32_of_i32, gint32, float, a)
TILE_LOAD(f32_of_u8, guint8, float, a)
TILE_LOAD(f32_of_u16, guint16, float, a)
TILE_LOAD(f32_of_u32, guint32, float, a)
TILE_LOAD(f64_of_f32, float, double, a)
TILE_LOAD(f64_of_i8, gint8, double, a)
TILE_LOAD(f64_of_i16, gint16, double, a)
TILE_LOAD(f64_of_i32, gint32, double, a)
TILE_LOAD(f64_of_u8, guint8, double, a)
TILE_LOAD(f64_of_u16, guint16, double, a)
TILE_LOAD(f64_of_u32, guint32, double, a)
TILE_LOAD(i64_of_i8, gint8, gint64, a)
TILE_LOAD(i64_of_i16, gint16, gint64, a)
TILE_LOAD(i64_of_i32, gint32, gint64, a)
TILE_LOAD(i64_of_u8, guint8, gint64, a)
TILE_LOAD(u64_of_u8, guint8, guint64, a)
TILE_LOAD(u64_of_u16, guint16, guint64, a)
TILE_LOAD(u64_of_u32, guint32, guint64, a)

/* --- bf16, which networks are computed in ----------------------------------------------------- */

/* Rounds to nearest, ties to even; a NaN stays one and becomes quiet. */
static CPU_INLINE guint32
bf16_bits(float x)
{
    guint32 bits;
    memcpy(&bits, &x, sizeof bits);
    const guint32 is_nan = -(guint32)((bits & 0x7fffffff) > 0x7f800000u);
    const guint32 rounded = bits + 0x7fff + ((bits >> 16) & 1), nan = bits | 0x400000;
    return (nan & is_nan) | (rounded & ~is_nan);
}

static CPU_INLINE void
round_bf16_body(void *out, const void *const *in, gint64 n, const TileOp *op)
{
    guint32 *to = out;
    const float *x = in[0];
    (void)op;
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        to[i] = bf16_bits(x[i]) & 0xffff0000u;
    }
}
TILE_VERSIONS(round_bf16)

static CPU_INLINE void
store_bf16_body(void *out, const void *in, gsize n)
{
    guint16 *restrict to = out;
    const float *restrict x = in;
    for (gsize i = 0; i < n; i++) {
        to[i] = (guint16)(bf16_bits(x[i]) >> 16);
    }
}
CPU_VERSIONS(store_bf16, TileStore, (void *out, const void *in, gsize n), (out, in, n))

TileFn
tile_rounding(TnDtype dtype)
{
    return dtype == TN_DTYPE_BF16 ? round_bf16[cpu_isa] : tile_round;
}

TileStore
tile_store(TnDtype to)
{
    return to == TN_DTYPE_BF16 ? store_bf16[cpu_isa] : NULL;
}

static const TileLoad *const loads[TN_N_DTYPES][TILE_N_TYPES] = {
    [TN_DTYPE_F32] = { [TILE_F64] = f64_of_f32 },
    [TN_DTYPE_BF16] = { [TILE_F32] = f32_of_bf16 },
    [TN_DTYPE_I8] = { f32_of_i8, f64_of_i8, i64_of_i8 },
    [TN_DTYPE_I16] = { f32_of_i16, f64_of_i16, i64_of_i16 },
    [TN_DTYPE_I32] = { f32_of_i32, f64_of_i32, i64_of_i32 },
    [TN_DTYPE_U8] = { f32_of_u8, f64_of_u8, i64_of_u8, u64_of_u8 },
    [TN_DTYPE_U16] = { f32_of_u16, f64_of_u16, NULL, u64_of_u16 },
    [TN_DTYPE_U32] = { f32_of_u32, f64_of_u32, NULL, u64_of_u32 },
};
G_STATIC_ASSERT(TILE_F32 == 0 && TILE_F64 == 1 && TILE_I64 == 2 && TILE_U64 == 3);

TileLoad
tile_load(TnDtype from, TileType to)
{
    if (loads[from][to]) {
        return loads[from][to][cpu_isa];
    }
    return to == tile_type_of(from) && !tile_is_native(from) ? tn_dtype_info(from)->load : NULL;
}
