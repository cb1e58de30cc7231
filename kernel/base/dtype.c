/* dtype.c: the table of element types, and conversion between them.
 *
 * A row's load and store go to and from the row's compute type; a conversion is load, a step
 * between two compute types, store, a tile at a time. A new element type is a new row. */
#include <string.h>

#include <tenon/dtype.h>

#include "base/float16.h"

/* --- Loads and stores ------------------------------------------------------------------------- */

/* Loops whose bodies differ in types only. The contiguous loop stands apart so that it becomes
 * vector code. */
#define DEFINE_LOAD(name, Element, Compute, convert)                                               \
    static void load_##name(void *to, const void *from, gint64 stride, gsize n)                    \
    {                                                                                              \
        Compute *restrict out = to;                                                                \
        const Element *restrict in = from;                                                         \
        if (stride == 1)                                                                           \
            for (gsize i = 0; i < n; i++)                                                          \
                out[i] = convert(in[i]);                                                           \
        else                                                                                       \
            for (gsize i = 0; i < n; i++)                                                          \
                out[i] = convert(in[(gint64)i * stride]);                                          \
    }
#define DEFINE_STORE(name, Element, Compute, convert)                                              \
    static void store_##name(void *to, const void *from, gint64 stride, gsize n)                   \
    {                                                                                              \
        Element *restrict out = to;                                                                \
        const Compute *restrict in = from;                                                         \
        if (stride == 1)                                                                           \
            for (gsize i = 0; i < n; i++)                                                          \
                out[i] = (Element)convert(in[i]);                                                  \
        else                                                                                       \
            for (gsize i = 0; i < n; i++)                                                          \
                out[(gint64)i * stride] = (Element)convert(in[i]);                                 \
    }
#define DEFINE_BOTH(name, Element, Compute, load, store)                                           \
    DEFINE_LOAD(name, Element, Compute, load)                                                      \
    DEFINE_STORE(name, Element, Compute, store)
#define AS_IS(x) (x)
#define IS_SET(x) ((x) != 0)

DEFINE_BOTH(f64, double, double, AS_IS, AS_IS)
DEFINE_BOTH(f32, float, float, AS_IS, AS_IS)
DEFINE_BOTH(f16, guint16, float, tn_f16_to_f32, tn_f16_from_f32)
DEFINE_BOTH(bf16, guint16, float, tn_bf16_to_f32, tn_bf16_from_f32)
DEFINE_BOTH(i8, gint8, gint64, AS_IS, AS_IS)
DEFINE_BOTH(i16, gint16, gint64, AS_IS, AS_IS)
DEFINE_BOTH(i32, gint32, gint64, AS_IS, AS_IS)
DEFINE_BOTH(i64, gint64, gint64, AS_IS, AS_IS)
DEFINE_BOTH(u8, guint8, guint64, AS_IS, AS_IS)
DEFINE_BOTH(u16, guint16, guint64, AS_IS, AS_IS)
DEFINE_BOTH(u32, guint32, guint64, AS_IS, AS_IS)
DEFINE_BOTH(u64, guint64, guint64, AS_IS, AS_IS)
DEFINE_BOTH(bool, guint8, guint64, IS_SET, IS_SET)

/* --- The table -------------------------------------------------------------------------------- */

const char *const tn_dtype_choices[] = {
    "none", "f64", "f32", "f16", "bf16", "i8",   "i16", "i32",
    "i64",  "u8",  "u16", "u32", "u64",  "bool", NULL,
};
G_STATIC_ASSERT(G_N_ELEMENTS(tn_dtype_choices) == TN_N_DTYPES + 1);

/* DLPack's type codes. */
enum { DL_INT = 0, DL_UINT = 1, DL_FLOAT = 2, DL_BFLOAT = 4, DL_BOOL = 6 };

#define ROW(NAME, row_name, n_bits, class, computed_in, dl, np, safe, onnx_code, long_name)        \
    [TN_DTYPE_##NAME] = { .id = TN_DTYPE_##NAME,                                                   \
                          .name = #row_name,                                                       \
                          .bits = (n_bits),                                                        \
                          .klass = TN_CLASS_##class,                                               \
                          .compute = TN_COMPUTE_##computed_in,                                     \
                          .dlpack_code = (dl),                                                     \
                          .numpy = (np),                                                           \
                          .safetensors = (safe),                                                   \
                          .onnx = (onnx_code),                                                     \
                          .torch = (long_name),                                                    \
                          .load = load_##row_name,                                                 \
                          .store = store_##row_name }

static const TnDtypeInfo rows[TN_N_DTYPES] = {
    ROW(F64, f64, 64, FLOAT, F64, DL_FLOAT, "<f8", "F64", 11, "float64"),
    ROW(F32, f32, 32, FLOAT, F32, DL_FLOAT, "<f4", "F32", 1, "float32"),
    ROW(F16, f16, 16, FLOAT, F32, DL_FLOAT, "<f2", "F16", 10, "float16"),
    ROW(BF16, bf16, 16, FLOAT, F32, DL_BFLOAT, NULL, "BF16", 16, "bfloat16"),
    ROW(I8, i8, 8, INT, I64, DL_INT, "|i1", "I8", 3, "int8"),
    ROW(I16, i16, 16, INT, I64, DL_INT, "<i2", "I16", 5, "int16"),
    ROW(I32, i32, 32, INT, I64, DL_INT, "<i4", "I32", 6, "int32"),
    ROW(I64, i64, 64, INT, I64, DL_INT, "<i8", "I64", 7, "int64"),
    ROW(U8, u8, 8, UINT, U64, DL_UINT, "|u1", "U8", 2, "uint8"),
    ROW(U16, u16, 16, UINT, U64, DL_UINT, "<u2", "U16", 4, "uint16"),
    ROW(U32, u32, 32, UINT, U64, DL_UINT, "<u4", "U32", 12, "uint32"),
    ROW(U64, u64, 64, UINT, U64, DL_UINT, "<u8", "U64", 13, "uint64"),
    ROW(BOOL, bool, 8, BOOL, U64, DL_BOOL, "|b1", "BOOL", 9, "bool"),
};

const TnDtypeInfo *
tn_dtype_info(TnDtype dtype)
{
    return (guint)dtype < TN_N_DTYPES && dtype != TN_DTYPE_NONE ? &rows[dtype] : NULL;
}

const char *
tn_dtype_name(TnDtype dtype)
{
    return (guint)dtype < TN_N_DTYPES ? tn_dtype_choices[dtype] : "unknown";
}

TnDtype
tn_dtype_from_name(const char *name)
{
    for (gint i = TN_DTYPE_NONE + 1; i < TN_N_DTYPES && name; i++) {
        const char *const names[] = { rows[i].name, rows[i].torch, rows[i].safetensors,
                                      rows[i].numpy };
        for (guint j = 0; j < G_N_ELEMENTS(names); j++)
            if (names[j] && strcmp(names[j], name) == 0)
                return (TnDtype)i;
    }
    return TN_DTYPE_NONE;
}

gsize
tn_dtype_size(TnDtype dtype)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    return info ? (info->bits + 7) / 8 : 0;
}

/* --- Steps between compute types -------------------------------------------------------------- */

#define TILE 512

/* n elements of one compute type to another, on the way to an element of the target's row. */
typedef void (*Step)(void *to, const void *from, gsize n, const TnDtypeInfo *target);

/* What is stored in half precision is first rounded to odd: rounding to nearest twice, once for
 * f32 and once for the element, would be wrong where the first hits a tie of the second. */
#define DEFINE_TO_F32(name, From, to_odd)                                                          \
    static void name(void *to, const void *from, gsize n, const TnDtypeInfo *target)               \
    {                                                                                              \
        float *restrict out = to;                                                                  \
        const From *restrict in = from;                                                            \
        if (target->bits < 32)                                                                     \
            for (gsize i = 0; i < n; i++)                                                          \
                out[i] = to_odd(in[i]);                                                            \
        else                                                                                       \
            for (gsize i = 0; i < n; i++)                                                          \
                out[i] = (float)in[i];                                                             \
    }
#define DEFINE_CAST(name, From, To)                                                                \
    static void name(void *to, const void *from, gsize n, const TnDtypeInfo *target)               \
    {                                                                                              \
        (void)target;                                                                              \
        To *restrict out = to;                                                                     \
        const From *restrict in = from;                                                            \
        for (gsize i = 0; i < n; i++)                                                              \
            out[i] = (To)in[i];                                                                    \
    }

/* Truncates and saturates at the target's range; its limits are powers of two, exact in From. */
#define DEFINE_FLOAT_TO_I64(name, From)                                                            \
    static void name(void *to, const void *from, gsize n, const TnDtypeInfo *target)               \
    {                                                                                              \
        gint64 *restrict out = to;                                                                 \
        const From *restrict in = from;                                                            \
        const guint64 half = G_GUINT64_CONSTANT(1) << (target->bits - 1);                          \
        const gint64 most = (gint64)(half - 1), least = -most - 1;                                 \
        const From limit = (From)half;                                                             \
        for (gsize i = 0; i < n; i++) {                                                            \
            const From x = in[i];                                                                  \
            out[i] = x != x ? 0 : x >= limit ? most : x < -limit ? least : (gint64)x;              \
        }                                                                                          \
    }
#define DEFINE_FLOAT_TO_U64(name, From)                                                            \
    static void name(void *to, const void *from, gsize n, const TnDtypeInfo *target)               \
    {                                                                                              \
        guint64 *restrict out = to;                                                                \
        const From *restrict in = from;                                                            \
        const gboolean is_bool = target->klass == TN_CLASS_BOOL;                                   \
        const guint64 most = G_MAXUINT64 >> (64 - target->bits);                                   \
        const From limit = (From)(most / 2 + 1) * 2;                                               \
        for (gsize i = 0; i < n; i++) {                                                            \
            const From x = in[i];                                                                  \
            out[i] = is_bool ? x != 0 : !(x > 0) ? 0 : x >= limit ? most : (guint64)x;             \
        }                                                                                          \
    }

DEFINE_CAST(f32_to_f64, float, double)
DEFINE_FLOAT_TO_I64(f32_to_i64, float)
DEFINE_FLOAT_TO_U64(f32_to_u64, float)
DEFINE_TO_F32(f64_to_f32, double, tn_f32_odd_from_f64)
DEFINE_FLOAT_TO_I64(f64_to_i64, double)
DEFINE_FLOAT_TO_U64(f64_to_u64, double)
DEFINE_TO_F32(i64_to_f32, gint64, tn_f32_odd_from_i64)
DEFINE_CAST(i64_to_f64, gint64, double)
DEFINE_CAST(i64_to_u64, gint64, guint64)
DEFINE_TO_F32(u64_to_f32, guint64, tn_f32_odd_from_u64)
DEFINE_CAST(u64_to_f64, guint64, double)
DEFINE_CAST(u64_to_i64, guint64, gint64)

/* NULL: the same type, nothing to do. */
static const Step steps[TN_N_COMPUTE][TN_N_COMPUTE] = {
    [TN_COMPUTE_F32] = { [TN_COMPUTE_F64] = f32_to_f64,
                         [TN_COMPUTE_I64] = f32_to_i64,
                         [TN_COMPUTE_U64] = f32_to_u64 },
    [TN_COMPUTE_F64] = { [TN_COMPUTE_F32] = f64_to_f32,
                         [TN_COMPUTE_I64] = f64_to_i64,
                         [TN_COMPUTE_U64] = f64_to_u64 },
    [TN_COMPUTE_I64] = { [TN_COMPUTE_F32] = i64_to_f32,
                         [TN_COMPUTE_F64] = i64_to_f64,
                         [TN_COMPUTE_U64] = i64_to_u64 },
    [TN_COMPUTE_U64] = { [TN_COMPUTE_F32] = u64_to_f32,
                         [TN_COMPUTE_F64] = u64_to_f64,
                         [TN_COMPUTE_I64] = u64_to_i64 },
};

/* --- Conversion ------------------------------------------------------------------------------- */

#define DEFINE_COPY(name, Element)                                                                 \
    static void name(Element *restrict to, gint64 to_stride, const Element *restrict from,         \
                     gint64 from_stride, gsize n)                                                  \
    {                                                                                              \
        for (gsize i = 0; i < n; i++)                                                              \
            to[(gint64)i * to_stride] = from[(gint64)i * from_stride];                             \
    }
DEFINE_COPY(copy_8, guint8)
DEFINE_COPY(copy_16, guint16)
DEFINE_COPY(copy_32, guint32)
DEFINE_COPY(copy_64, guint64)

/* The same type: bits are moved, not numbers, so that a NaN keeps its payload. */
static void
copy(gsize size, void *to, gint64 to_stride, const void *from, gint64 from_stride, gsize n)
{
    if (to_stride == 1 && from_stride == 1)
        memcpy(to, from, n * size);
    else if (size == 8)
        copy_64(to, to_stride, from, from_stride, n);
    else if (size == 4)
        copy_32(to, to_stride, from, from_stride, n);
    else if (size == 2)
        copy_16(to, to_stride, from, from_stride, n);
    else
        copy_8(to, to_stride, from, from_stride, n);
}

void
tn_dtype_convert(TnDtype to_dtype, void *to, gint64 to_stride, TnDtype from_dtype, const void *from,
                 gint64 from_stride, gsize n)
{
    const TnDtypeInfo *target = tn_dtype_info(to_dtype), *source = tn_dtype_info(from_dtype);
    g_return_if_fail(target && source);
    if (n == 0)
        return;
    const gint64 to_size = (gint64)tn_dtype_size(to_dtype);
    const gint64 from_size = (gint64)tn_dtype_size(from_dtype);
    if (target == source) {
        copy((gsize)to_size, to, to_stride, from, from_stride, n);
        return;
    }
    const Step step = steps[source->compute][target->compute];
    guint64 loaded[TILE], stepped[TILE];
    for (gsize done = 0; done < n; done += TILE) {
        const gsize count = MIN(n - done, TILE);
        char *out = (char *)to + (gint64)done * to_stride * to_size;
        source->load(loaded, (const char *)from + (gint64)done * from_stride * from_size,
                     from_stride, count);
        if (step)
            step(stepped, loaded, count, target);
        target->store(out, step ? stepped : loaded, to_stride, count);
    }
}
