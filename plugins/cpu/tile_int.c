/* tile_int.c: micro-operations on integers and truth values, and conversions between the types of
 * tiles. */
#include "tile_fold.h"
#include "tile_math.h"

#include <math.h>

/* Wrapping arithmetic is done on the bits; signed and unsigned share it. */
TILE_UNARY(u64_neg, guint64, guint64, 0 - a)
TILE_UNARY(i64_abs, gint64, guint64, a < 0 ? 0 - (guint64)a : (guint64)a)
TILE_UNARY(u64_abs, guint64, guint64, a)
TILE_UNARY(i64_sign, gint64, gint64, (a > 0) - (a < 0))
TILE_UNARY(u64_sign, guint64, guint64, a > 0)
TILE_UNARY(u64_not, guint64, guint64, ~a)
TILE_UNARY(bool_not, guint8, guint8, !a)
TILE_BINARY(u64_add, guint64, guint64, a + b)
TILE_BINARY(u64_sub, guint64, guint64, a - b)
TILE_BINARY(u64_mul, guint64, guint64, a *b)
TILE_BINARY(u64_and, guint64, guint64, a &b)
TILE_BINARY(u64_or, guint64, guint64, a | b)
TILE_BINARY(u64_xor, guint64, guint64, a ^ b)
TILE_BINARY(u64_shift_left, guint64, guint64, b < 64 ? a << (b & 63) : 0)
TILE_BINARY(u64_shift_right, guint64, guint64, b < 64 ? a >> (b & 63) : 0)
TILE_BINARY(i64_max, gint64, gint64, a > b ? a : b)
TILE_BINARY(u64_max, guint64, guint64, a > b ? a : b)
TILE_BINARY(i64_min, gint64, gint64, a < b ? a : b)
TILE_BINARY(u64_min, guint64, guint64, a < b ? a : b)
TILE_BINARY(u64_equal, guint64, guint8, a == b)
TILE_BINARY(i64_less, gint64, guint8, a < b)
TILE_BINARY(u64_less, guint64, guint8, a < b)
TILE_BINARY(i64_less_or_equal, gint64, guint8, a <= b)
TILE_BINARY(u64_less_or_equal, guint64, guint8, a <= b)
TILE_BINARY(i64_greater, gint64, guint8, a > b)
TILE_BINARY(u64_greater, guint64, guint8, a > b)
TILE_BINARY(i64_greater_or_equal, gint64, guint8, a >= b)
TILE_BINARY(u64_greater_or_equal, guint64, guint8, a >= b)
TILE_BINARY(bool_equal, guint8, guint8, a == b)
TILE_BINARY(bool_and, guint8, guint8, a &b)
TILE_BINARY(bool_or, guint8, guint8, a | b)
TILE_BINARY(bool_xor, guint8, guint8, a ^ b)
TILE_WHERE(u64_where, guint64)
TILE_WHERE(bool_where, guint8)

static gint64
divide(gint64 a, gint64 b)
{
    return b == 0 ? 0 : b == -1 ? (gint64)(0 - (guint64)a) : a / b;
}

static gint64
mod_trunc(gint64 a, gint64 b)
{
    return b == 0 || b == -1 ? 0 : a % b;
}

static gint64
mod_floor(gint64 a, gint64 b)
{
    gint64 r = mod_trunc(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static guint64
power(guint64 base, guint64 exponent)
{
    guint64 result = 1;
    for (; exponent > 0; exponent >>= 1) {
        result *= exponent & 1 ? base : 1;
        base *= base;
    }
    return result;
}

static gint64
signed_power(gint64 base, gint64 exponent)
{
    if (exponent >= 0) {
        return (gint64)power((guint64)base, (guint64)exponent);
    }
    return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
}

TILE_BINARY(i64_div, gint64, gint64, divide(a, b))
TILE_BINARY(u64_div, guint64, guint64, b == 0 ? 0 : a / b)
TILE_BINARY(i64_mod_trunc, gint64, gint64, mod_trunc(a, b))
TILE_BINARY(i64_mod_floor, gint64, gint64, mod_floor(a, b))
TILE_BINARY(u64_mod, guint64, guint64, b == 0 ? 0 : a % b)
TILE_BINARY(i64_pow, gint64, gint64, signed_power(a, b))
TILE_BINARY(u64_pow, guint64, guint64, power(a, b))

#define ROW(name, n, signed_, unsigned_, boolean, ...)                                             \
    {                                                                                              \
        .op = (name), .arity = (n),                                                                \
        .fn = { [TILE_I64] = (signed_), [TILE_U64] = (unsigned_), [TILE_BOOL] = (boolean) },       \
        ##__VA_ARGS__                                                                              \
    }
const TileRow tile_int_rows[] = {
    ROW("neg", 1, u64_neg, u64_neg, NULL),
    ROW("abs", 1, i64_abs, u64_abs, NULL),
    ROW("sign", 1, i64_sign, u64_sign, NULL),
    ROW("not", 1, NULL, NULL, bool_not),
    ROW("bitwise_not", 1, u64_not, u64_not, NULL),
    ROW("add", 2, u64_add, u64_add, NULL),
    ROW("sub", 2, u64_sub, u64_sub, NULL),
    ROW("mul", 2, u64_mul, u64_mul, NULL),
    ROW("div", 2, i64_div, u64_div, NULL),
    ROW("pow", 2, i64_pow, u64_pow, NULL),
    ROW("mod_trunc", 2, i64_mod_trunc, u64_mod, NULL),
    ROW("mod_floor", 2, i64_mod_floor, u64_mod, NULL),
    ROW("max", 2, i64_max, u64_max, NULL),
    ROW("min", 2, i64_min, u64_min, NULL),
    ROW("and", 2, NULL, NULL, bool_and),
    ROW("or", 2, NULL, NULL, bool_or),
    ROW("xor", 2, NULL, NULL, bool_xor),
    ROW("bitwise_and", 2, u64_and, u64_and, NULL),
    ROW("bitwise_or", 2, u64_or, u64_or, NULL),
    ROW("bitwise_xor", 2, u64_xor, u64_xor, NULL),
    ROW("shift_left", 2, NULL, u64_shift_left, NULL),
    ROW("shift_right", 2, NULL, u64_shift_right, NULL),
    ROW("equal", 2, u64_equal, u64_equal, bool_equal, .to_bool = TRUE),
    ROW("less", 2, i64_less, u64_less, NULL, .to_bool = TRUE),
    ROW("greater", 2, i64_greater, u64_greater, NULL, .to_bool = TRUE),
    ROW("less_or_equal", 2, i64_less_or_equal, u64_less_or_equal, NULL, .to_bool = TRUE),
    ROW("greater_or_equal", 2, i64_greater_or_equal, u64_greater_or_equal, NULL, .to_bool = TRUE),
    ROW("where", 3, u64_where, u64_where, bool_where),
};
const guint tile_n_int_rows = G_N_ELEMENTS(tile_int_rows);

const TileFn *
tile_find(const char *op, TileType type, guint *arity, gboolean *to_bool)
{
    const TileRow *tables[] = { tile_f32_rows, tile_vmath_rows, tile_f64_rows, tile_int_rows };
    const guint sizes[] = { tile_n_f32_rows, tile_n_vmath_rows, tile_n_f64_rows, tile_n_int_rows };
    for (guint t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (guint i = 0; i < sizes[t]; i++) {
            if (tables[t][i].fn[type] && strcmp(tables[t][i].op, op) == 0) {
                *arity = tables[t][i].arity;
                *to_bool = tables[t][i].to_bool;
                return tables[t][i].fn[type];
            }
        }
    }
    return NULL;
}

/* --- Conversions ------------------------------------------------------------------------------ */

static CPU_INLINE gint64
to_i64(double a)
{
    if (a != a) {
        return 0;
    }
    return a >= 0x1p63 ? G_MAXINT64 : a < -0x1p63 ? G_MININT64 : (gint64)a;
}

static CPU_INLINE guint64
to_u64(double a)
{
    if (!(a > 0)) {
        return 0;
    }
    return a >= 0x1p64 ? G_MAXUINT64 : (guint64)a;
}

TILE_UNARY(f64_from_f32, float, double, a)
TILE_UNARY(i64_from_f32, float, gint64, to_i64((double)a))
TILE_UNARY(u64_from_f32, float, guint64, to_u64((double)a))
TILE_UNARY(bool_from_f32, float, guint8, a != 0)
TILE_UNARY(f32_from_f64, double, float, a)
TILE_UNARY(i64_from_f64, double, gint64, to_i64(a))
TILE_UNARY(u64_from_f64, double, guint64, to_u64(a))
TILE_UNARY(bool_from_f64, double, guint8, a != 0)
TILE_UNARY(f32_from_i64, gint64, float, a)
TILE_UNARY(f64_from_i64, gint64, double, a)
TILE_UNARY(f32_from_u64, guint64, float, a)
TILE_UNARY(f64_from_u64, guint64, double, a)
TILE_UNARY(bool_from_u64, guint64, guint8, a != 0)
TILE_UNARY(f32_from_bool, guint8, float, a)
TILE_UNARY(f64_from_bool, guint8, double, a)
TILE_UNARY(u64_from_bool, guint8, guint64, a)

#define COPY(name, T)                                                                              \
    static CPU_INLINE void name##_body(void *out, const void *const *in, gint64 n,                 \
                                       const TileOp *op)                                           \
    {                                                                                              \
        T *to = out;                                                                               \
        const T *x = in[0], first = x[0];                                                          \
        if (op->scalar) {                                                                          \
            for (gint64 i = 0; i < n; i++) {                                                       \
                to[i] = first;                                                                     \
            }                                                                                      \
        } else if (to != x) {                                                                      \
            memcpy(to, x, (gsize)n * sizeof(T));                                                   \
        }                                                                                          \
    }                                                                                              \
    TILE_VERSIONS(name)
COPY(copy4, guint32)
COPY(copy8, guint64)
COPY(copy1, guint8)

static const TileFn *const conversions[TILE_N_TYPES][TILE_N_TYPES] = {
    [TILE_F32] = { NULL, f32_from_f64, f32_from_i64, f32_from_u64, f32_from_bool },
    [TILE_F64] = { f64_from_f32, NULL, f64_from_i64, f64_from_u64, f64_from_bool },
    [TILE_I64] = { i64_from_f32, i64_from_f64, copy8, copy8, u64_from_bool },
    [TILE_U64] = { u64_from_f32, u64_from_f64, copy8, copy8, u64_from_bool },
    [TILE_BOOL] = { bool_from_f32, bool_from_f64, bool_from_u64, bool_from_u64, NULL },
};

#define SPREAD(name, T)                                                                            \
    static CPU_INLINE void name##_body(void *out, const void *const *in, gint64 n,                 \
                                       const TileOp *op)                                           \
    {                                                                                              \
        T *to = out;                                                                               \
        const T *x = in[0];                                                                        \
        const gint64 row = op->row;                                                                \
        for (gint64 r = 0; r * row < n; r++) {                                                     \
            const T a = x[r];                                                                      \
            CPU_LOOP                                                                               \
            for (gint64 i = 0; i < row; i++) {                                                     \
                to[r * row + i] = a;                                                               \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    TILE_VERSIONS(name)

SPREAD(spread_8, guint8)
SPREAD(spread_32, guint32)
SPREAD(spread_64, guint64)

TileFn
tile_spread(gsize size)
{
    return (size == 1 ? spread_8 : size == 4 ? spread_32 : spread_64)[cpu_isa];
}

const TileFn *
tile_copy(TileType type)
{
    return type == TILE_F32 ? copy4 : type == TILE_BOOL ? copy1 : copy8;
}

const TileFn *
tile_convert(TileType to, TileType from)
{
    return to == from ? tile_copy(to) : conversions[to][from];
}

/* Blocks small enough for the stack. */
#define BLOCK 128

void
tile_round(void *out, const void *const *in, gint64 n, const TileOp *op)
{
    const TnDtypeInfo *info = tn_dtype_info(op->dtype);
    gsize size = tile_type_size(tile_type_of(op->dtype));
    guint64 rounded[BLOCK];
    for (gint64 at = 0; at < n; at += BLOCK) {
        gsize m = (gsize)MIN(BLOCK, n - at);
        info->store(rounded, (const char *)in[0] + (gsize)at * size, 1, m);
        info->load((char *)out + (gsize)at * size, rounded, 1, m);
    }
}

/* The dtype that a tile of a type is an array of. */
static const TnDtype memory_dtype[TILE_N_TYPES] = { TN_DTYPE_F32, TN_DTYPE_F64, TN_DTYPE_I64,
                                                    TN_DTYPE_U64, TN_DTYPE_BOOL };

void
tile_cast_through(void *out, const void *const *in, gint64 n, const TileOp *op)
{
    const TnDtypeInfo *info = tn_dtype_info(op->dtype);
    gsize to_size = tile_type_size(tile_type_of(op->dtype));
    TnDtype from = memory_dtype[tile_type_of(op->from)];
    gsize from_size = tn_dtype_size(from);
    guint64 input[BLOCK], converted[BLOCK];
    for (gint64 at = 0; at < n; at += BLOCK) {
        gsize m = (gsize)MIN(BLOCK, n - at);
        memcpy(input, (const char *)in[0] + (gsize)at * from_size, m * from_size);
        tn_dtype_convert(op->dtype, converted, 1, from, input, 1, m);
        if (tile_is_native(op->dtype)) {
            memcpy((char *)out + (gsize)at * to_size, converted, m * to_size);
        } else {
            info->load((char *)out + (gsize)at * to_size, converted, 1, m);
        }
    }
}

TileType
tile_type_of(TnDtype dtype)
{
    static const TileType types[TN_N_COMPUTE] = { [TN_COMPUTE_F32] = TILE_F32,
                                                  [TN_COMPUTE_F64] = TILE_F64,
                                                  [TN_COMPUTE_I64] = TILE_I64,
                                                  [TN_COMPUTE_U64] = TILE_U64 };
    return dtype == TN_DTYPE_BOOL ? TILE_BOOL : types[tn_dtype_info(dtype)->compute];
}

gboolean
tile_is_native(TnDtype dtype)
{
    return dtype == memory_dtype[tile_type_of(dtype)];
}
