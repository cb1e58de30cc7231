/* test_dtype.c: the table of element types: names and codes of the formats, every half-precision
 * number, rounding against exact arithmetic, conversions with C's rules. */
#include <math.h>

#include <tenon/dtype.h>

#include "tn_test.h"

/* --- Names and codes -------------------------------------------------------------------------- */

/* What the formats' own documents say: ONNX's TensorProto.DataType, dlpack.h, NumPy's descr,
 * safetensors' README. */
static const struct {
    const char *name, *torch, *numpy, *safetensors;
    gint onnx, dlpack;
    guint bits;
} formats[] = {
    { "f64", "float64", "<f8", "F64", 11, 2, 64 }, { "f32", "float32", "<f4", "F32", 1, 2, 32 },
    { "f16", "float16", "<f2", "F16", 10, 2, 16 }, { "bf16", "bfloat16", NULL, "BF16", 16, 4, 16 },
    { "i8", "int8", "|i1", "I8", 3, 0, 8 },        { "i16", "int16", "<i2", "I16", 5, 0, 16 },
    { "i32", "int32", "<i4", "I32", 6, 0, 32 },    { "i64", "int64", "<i8", "I64", 7, 0, 64 },
    { "u8", "uint8", "|u1", "U8", 2, 1, 8 },       { "u16", "uint16", "<u2", "U16", 4, 1, 16 },
    { "u32", "uint32", "<u4", "U32", 12, 1, 32 },  { "u64", "uint64", "<u8", "U64", 13, 1, 64 },
    { "bool", "bool", "|b1", "BOOL", 9, 6, 8 },
};

static void
names(void)
{
    TN_ASSERT_CMPUINT(G_N_ELEMENTS(formats), ==, TN_N_DTYPES - 1);
    for (guint i = 0; i < G_N_ELEMENTS(formats); i++) {
        const TnDtype dtype = tn_dtype_from_name(formats[i].name);
        const TnDtypeInfo *info = tn_dtype_info(dtype);
        TN_REQUIRE(info != NULL);
        TN_ASSERT_CMPINT(info->id, ==, dtype);
        TN_ASSERT_CMPSTR(tn_dtype_name(dtype), formats[i].name);
        TN_ASSERT_CMPSTR(tn_dtype_choices[dtype], formats[i].name);
        TN_ASSERT_CMPSTR(info->torch, formats[i].torch);
        TN_ASSERT_CMPSTR(info->numpy, formats[i].numpy);
        TN_ASSERT_CMPSTR(info->safetensors, formats[i].safetensors);
        TN_ASSERT_CMPINT(info->onnx, ==, formats[i].onnx);
        TN_ASSERT_CMPINT(info->dlpack_code, ==, formats[i].dlpack);
        TN_ASSERT_CMPUINT(info->bits, ==, formats[i].bits);
        TN_ASSERT_CMPUINT(tn_dtype_size(dtype), ==, formats[i].bits / 8);
        TN_ASSERT_CMPINT(tn_dtype_from_name(formats[i].torch), ==, dtype);
        TN_ASSERT_CMPINT(tn_dtype_from_name(formats[i].safetensors), ==, dtype);
    }
    TN_ASSERT(tn_dtype_choices[TN_N_DTYPES] == NULL);
}

static void
unknown(void)
{
    TN_ASSERT_CMPINT(tn_dtype_from_name("f8"), ==, TN_DTYPE_NONE);
    TN_ASSERT_CMPINT(tn_dtype_from_name(""), ==, TN_DTYPE_NONE);
    TN_ASSERT_CMPINT(tn_dtype_from_name(NULL), ==, TN_DTYPE_NONE);
    TN_ASSERT(tn_dtype_info(TN_DTYPE_NONE) == NULL);
    TN_ASSERT(tn_dtype_info(TN_N_DTYPES) == NULL);
    TN_ASSERT(tn_dtype_info((TnDtype)-1) == NULL);
    TN_ASSERT_CMPSTR(tn_dtype_name(TN_DTYPE_NONE), "none");
    TN_ASSERT_CMPUINT(tn_dtype_size(TN_DTYPE_NONE), ==, 0);
}

static void
sets(void)
{
    TN_ASSERT(tn_dtype_in(TN_DTYPE_BF16, TN_DTYPES_FLOAT));
    TN_ASSERT(!tn_dtype_in(TN_DTYPE_I8, TN_DTYPES_FLOAT));
    for (gint i = 1; i < TN_N_DTYPES; i++) {
        const TnDtypeClass klass = tn_dtype_info((TnDtype)i)->klass;
        TN_ASSERT(tn_dtype_in((TnDtype)i, TN_DTYPES_ALL));
        TN_ASSERT_CMPINT(!!tn_dtype_in((TnDtype)i, TN_DTYPES_FLOAT), ==, klass == TN_CLASS_FLOAT);
        TN_ASSERT_CMPINT(!!tn_dtype_in((TnDtype)i, TN_DTYPES_UINT), ==, klass == TN_CLASS_UINT);
    }
}

/* --- Half precision --------------------------------------------------------------------------- */

/* The value of a half from the definition of its fields. */
static double
half_value(guint16 bits, gint exponent_bits)
{
    const gint mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    const gint exponent = (bits & 0x7fff) >> mantissa_bits;
    const gint mantissa = bits & ((1 << mantissa_bits) - 1);
    double value;
    if (exponent == (1 << exponent_bits) - 1)
        value = mantissa ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexp(mantissa, 1 - bias - mantissa_bits);
    else
        value = ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
    return bits & 0x8000 ? -value : value;
}

/* The half nearest to value, ties to the even one, by searching all of one sign. */
static guint16
nearest_half(double value, gint exponent_bits)
{
    const guint16 infinity = (guint16)(((1 << exponent_bits) - 1) << (15 - exponent_bits));
    const double size = fabs(value);
    guint16 low = 0, high = infinity; /* half_value(low) <= size < half_value(high) */
    while (high - low > 1) {
        const guint16 middle = (guint16)((low + high) / 2);
        if (half_value(middle, exponent_bits) <= size)
            low = middle;
        else
            high = middle;
    }
    /* Infinity stands where the next number would be. */
    const double below = half_value(low, exponent_bits);
    const double above = high == infinity
                             ? 2 * below - half_value((guint16)(low - 1), exponent_bits)
                             : half_value(high, exponent_bits);
    const double to_low = size - below, to_high = above - size;
    const guint16 found = size == INFINITY                                          ? infinity
                          : to_low < to_high || (to_low == to_high && low % 2 == 0) ? low
                                                                                    : high;
    return found | (signbit(value) ? 0x8000 : 0);
}

static const struct {
    TnDtype dtype;
    gint exponent_bits;
} halves[] = { { TN_DTYPE_F16, 5 }, { TN_DTYPE_BF16, 8 } };

static void
every_half(void)
{
    for (guint k = 0; k < G_N_ELEMENTS(halves); k++) {
        const TnDtypeInfo *info = tn_dtype_info(halves[k].dtype);
        guint bad = 0;
        for (guint bits = 0; bits < 65536; bits++) {
            const guint16 half = (guint16)bits;
            const double expected = half_value(half, halves[k].exponent_bits);
            float loaded;
            guint16 stored;
            info->load(&loaded, &half, 1, 1);
            info->store(&stored, &loaded, 1, 1);
            if (isnan(expected))
                bad += !isnan(loaded) || !isnan(half_value(stored, halves[k].exponent_bits));
            else
                bad += (double)loaded != expected || !!signbit(loaded) != !!signbit(expected) ||
                       stored != half;
        }
        TN_ASSERT_CMPUINT(bad, ==, 0);
    }
}

static float
float_of(guint32 bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Around every tie of every pair of neighbours, and at many other floats. */
static void
rounds_f32(void)
{
    for (guint k = 0; k < G_N_ELEMENTS(halves); k++) {
        const TnDtypeInfo *info = tn_dtype_info(halves[k].dtype);
        guint bad = 0;
        for (guint32 i = 0; i < 1u << 17; i++) {
            /* All high halves with low halves at, beside and far from a tie. */
            static const guint32 lows[] = { 0,      1,      0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000,
                                            0x3001, 0x7fff, 0x8000, 0x8001, 0xffff, 0x5a5a };
            const guint32 low = lows[i % G_N_ELEMENTS(lows)];
            const float x = float_of((i * 0x9e37u & 0xffff) << 16 | low);
            guint16 stored;
            info->store(&stored, &x, 1, 1);
            if (isnan(x))
                bad += !isnan(half_value(stored, halves[k].exponent_bits));
            else
                bad += stored != nearest_half((double)x, halves[k].exponent_bits);
        }
        TN_ASSERT_CMPUINT(bad, ==, 0);
    }
}

/* From f64 and integers in one rounding: values just beside a tie of halves that f32 would round to
 * the tie itself. */
static void
rounds_once(void)
{
    for (guint k = 0; k < G_N_ELEMENTS(halves); k++) {
        const gint bits = halves[k].exponent_bits;
        guint bad = 0;
        for (guint half = 1; half < 0x7f00; half += 3) {
            const double a = half_value((guint16)half, bits);
            const double b = half_value((guint16)(half + 1), bits);
            if (!isfinite(a) || !isfinite(b))
                continue;
            const double tie = (a + b) / 2;
            const double tries[] = { tie,
                                     tie * (1 + 0x1p-40),
                                     tie * (1 - 0x1p-40),
                                     -tie,
                                     -tie * (1 + 0x1p-45),
                                     nextafter(tie, 0),
                                     nextafter(tie, 1e99) };
            guint16 stored[G_N_ELEMENTS(tries)];
            tn_dtype_convert(halves[k].dtype, stored, 1, TN_DTYPE_F64, tries, 1,
                             G_N_ELEMENTS(tries));
            for (guint i = 0; i < G_N_ELEMENTS(tries); i++)
                bad += stored[i] != nearest_half(tries[i], bits);
        }
        TN_ASSERT_CMPUINT(bad, ==, 0);
    }
    /* 2^40 + 2^32 is the tie of two bf16; one more is above it, and f32 cannot tell them apart. */
    const gint64 ties[] = { (1ll << 40) + (1ll << 32),
                            (1ll << 40) + (1ll << 32) + 1,
                            -((1ll << 40) + (1ll << 32) + 1),
                            G_MAXINT64,
                            G_MININT64,
                            0,
                            -1 };
    guint16 stored[G_N_ELEMENTS(ties)];
    tn_dtype_convert(TN_DTYPE_BF16, stored, 1, TN_DTYPE_I64, ties, 1, G_N_ELEMENTS(ties));
    static const guint16 expected[] = { 0x5380, 0x5381, 0xd381, 0x5f00, 0xdf00, 0x0000, 0xbf80 };
    TN_ASSERT_BYTES(stored, expected, sizeof expected);
    const guint64 naturals[] = { G_MAXUINT64, (1ull << 40) + (1ull << 32) + 1, 65519, 65520, 2049 };
    tn_dtype_convert(TN_DTYPE_F16, stored, 1, TN_DTYPE_U64, naturals, 1, G_N_ELEMENTS(naturals));
    static const guint16 expected16[] = { 0x7c00, 0x7c00, 0x7bff, 0x7c00, 0x6800 };
    TN_ASSERT_BYTES(stored, expected16, sizeof expected16);
    const double extremes[] = { 1e300, -1e300, 1e-300, -1e-300, INFINITY, NAN };
    tn_dtype_convert(TN_DTYPE_F16, stored, 1, TN_DTYPE_F64, extremes, 1, G_N_ELEMENTS(extremes));
    static const guint16 expected_extremes[] = { 0x7c00, 0xfc00, 0x0000, 0x8000, 0x7c00 };
    TN_ASSERT_BYTES(stored, expected_extremes, sizeof expected_extremes);
    TN_ASSERT(isnan(half_value(stored[5], 5)));
}

/* --- Conversion ------------------------------------------------------------------------------- */

/* C's own arithmetic on one number; saturation where C leaves the result open. */
static gint64
saturate(double x, guint bits)
{
    const double limit = ldexp(1, (gint)bits - 1);
    const gint64 most = (gint64)((1ull << (bits - 1)) - 1);
    return isnan(x) ? 0 : x >= limit ? most : x <= -limit ? -most - 1 : (gint64)x;
}

static guint64
saturate_natural(double x, guint bits)
{
    const guint64 most = bits == 64 ? G_MAXUINT64 : (1ull << bits) - 1;
    return isnan(x) || x <= 0 ? 0 : x >= ldexp(1, (gint)bits) ? most : (guint64)x;
}

static void
floats_to_integers(void)
{
    static const double x[] = { 0.9,     -0.9,    127.5,    128,          -128.5,
                                -129,    300,     255.5,    256,          -1,
                                65535.9, 1e10,    -1e10,    2147483647.5, 9.3e18,
                                -9.3e18, 1.9e19,  INFINITY, -INFINITY,    NAN,
                                0x1p63,  -0x1p63, 0x1p64,   1e300,        4294967296.0 };
    for (gint d = 1; d < TN_N_DTYPES; d++) {
        const TnDtypeInfo *info = tn_dtype_info((TnDtype)d);
        guint64 raw[G_N_ELEMENTS(x)];
        if (info->klass == TN_CLASS_FLOAT)
            continue;
        tn_dtype_convert((TnDtype)d, raw, 1, TN_DTYPE_F64, x, 1, G_N_ELEMENTS(x));
        gint64 signed_back[G_N_ELEMENTS(x)];
        guint64 back[G_N_ELEMENTS(x)];
        tn_dtype_convert(TN_DTYPE_I64, signed_back, 1, (TnDtype)d, raw, 1, G_N_ELEMENTS(x));
        tn_dtype_convert(TN_DTYPE_U64, back, 1, (TnDtype)d, raw, 1, G_N_ELEMENTS(x));
        for (guint i = 0; i < G_N_ELEMENTS(x); i++) {
            if (info->klass == TN_CLASS_INT)
                TN_ASSERT_CMPINT(signed_back[i], ==, saturate(x[i], info->bits));
            else if (info->klass == TN_CLASS_UINT)
                TN_ASSERT_CMPUINT(back[i], ==, saturate_natural(x[i], info->bits));
            else
                TN_ASSERT_CMPUINT(back[i], ==, x[i] != 0);
        }
        float y[G_N_ELEMENTS(x)];
        guint64 raw32[G_N_ELEMENTS(x)];
        double y64[G_N_ELEMENTS(x)];
        for (guint i = 0; i < G_N_ELEMENTS(x); i++)
            y64[i] = y[i] = (float)x[i];
        tn_dtype_convert((TnDtype)d, raw32, 1, TN_DTYPE_F32, y, 1, G_N_ELEMENTS(x));
        tn_dtype_convert((TnDtype)d, raw, 1, TN_DTYPE_F64, y64, 1, G_N_ELEMENTS(x));
        TN_ASSERT_BYTES(raw32, raw, G_N_ELEMENTS(x) * tn_dtype_size((TnDtype)d));
    }
}

/* 64-bit integers never pass through a double, narrower ones wrap as C's do. */
static void
integers_to_integers(void)
{
    static const gint64 x[] = { G_MAXINT64, G_MININT64, G_MAXINT64 - 1, (1ll << 53) + 1,
                                -1,         0,          0x1234567890,   255,
                                256,        -129 };
    guint64 as_u64[G_N_ELEMENTS(x)];
    guint8 as_u8[G_N_ELEMENTS(x)];
    gint8 as_i8[G_N_ELEMENTS(x)];
    gint32 as_i32[G_N_ELEMENTS(x)];
    guint8 as_bool[G_N_ELEMENTS(x)];
    const gsize n = G_N_ELEMENTS(x);
    tn_dtype_convert(TN_DTYPE_U64, as_u64, 1, TN_DTYPE_I64, x, 1, n);
    tn_dtype_convert(TN_DTYPE_U8, as_u8, 1, TN_DTYPE_I64, x, 1, n);
    tn_dtype_convert(TN_DTYPE_I8, as_i8, 1, TN_DTYPE_I64, x, 1, n);
    tn_dtype_convert(TN_DTYPE_I32, as_i32, 1, TN_DTYPE_I64, x, 1, n);
    tn_dtype_convert(TN_DTYPE_BOOL, as_bool, 1, TN_DTYPE_I64, x, 1, n);
    for (gsize i = 0; i < n; i++) {
        TN_ASSERT_CMPUINT(as_u64[i], ==, (guint64)x[i]);
        TN_ASSERT_CMPUINT(as_u8[i], ==, (guint8)x[i]);
        TN_ASSERT_CMPINT(as_i8[i], ==, (gint8)x[i]);
        TN_ASSERT_CMPINT(as_i32[i], ==, (gint32)x[i]);
        TN_ASSERT_CMPINT(as_bool[i], ==, x[i] != 0);
    }
    double as_f64[G_N_ELEMENTS(x)];
    float as_f32[G_N_ELEMENTS(x)];
    tn_dtype_convert(TN_DTYPE_F64, as_f64, 1, TN_DTYPE_I64, x, 1, n);
    tn_dtype_convert(TN_DTYPE_F32, as_f32, 1, TN_DTYPE_I64, x, 1, n);
    for (gsize i = 0; i < n; i++) {
        TN_ASSERT_CMPFLOAT(as_f64[i], ==, (double)x[i]);
        TN_ASSERT_CMPFLOAT(as_f32[i], ==, (float)x[i]);
    }
    /* A bool of any nonzero byte is true, and stays one byte of 1. */
    const guint8 odd[] = { 0, 1, 2, 255 };
    float truth[4];
    tn_dtype_convert(TN_DTYPE_F32, truth, 1, TN_DTYPE_BOOL, odd, 1, 4);
    static const float expected[] = { 0, 1, 1, 1 };
    TN_ASSERT_BYTES(truth, expected, sizeof expected);
}

/* Every pair of dtypes, more elements than a tile, every kind of stride: as one element at a
 * time. */
static void
strides(void)
{
    enum { N = 1301 };
    static const gint64 steps[] = { 1, 2, -1, 3, 0 };
    g_autofree guint8 *from = g_malloc(N * 3 * 8), *to = g_malloc(N * 3 * 8);
    g_autofree guint8 *expected = g_malloc(N * 3 * 8);
    for (guint i = 0; i < N * 3 * 8; i++)
        from[i] = (guint8)(i * 197 + i / 251 * 7);
    for (gint a = 1; a < TN_N_DTYPES; a++)
        for (gint b = 1; b < TN_N_DTYPES; b++)
            for (guint s = 0; s < G_N_ELEMENTS(steps); s++) {
                const gint64 in_step = steps[s], out_step = steps[(s + (guint)a) % 4];
                const gint64 in_size = (gint64)tn_dtype_size((TnDtype)a);
                const gint64 out_size = (gint64)tn_dtype_size((TnDtype)b);
                guint8 *in = from + (in_step < 0 ? (N - 1) * in_size : 0);
                guint8 *out = to + (out_step < 0 ? (N - 1) * out_size : 0);
                guint8 *want = expected + (out_step < 0 ? (N - 1) * out_size : 0);
                memset(to, 0x5a, N * 3 * 8);
                memset(expected, 0x5a, N * 3 * 8);
                tn_dtype_convert((TnDtype)b, out, out_step, (TnDtype)a, in, in_step, N);
                for (gint64 i = 0; i < N; i++)
                    tn_dtype_convert((TnDtype)b, want + i * out_step * out_size, 1, (TnDtype)a,
                                     in + i * in_step * in_size, 1, 1);
                if (memcmp(to, expected, N * 3 * 8) != 0)
                    TN_FAIL("%s to %s with strides %d and %d", tn_dtype_name((TnDtype)a),
                            tn_dtype_name((TnDtype)b), (int)in_step, (int)out_step);
            }
    tn_dtype_convert(TN_DTYPE_F32, NULL, 1, TN_DTYPE_F64, NULL, 1, 0);
}

static void
same_dtype_keeps_bits(void)
{
    const guint32 signalling = 0x7f800123;
    guint32 copied = 0;
    tn_dtype_convert(TN_DTYPE_F32, &copied, 1, TN_DTYPE_F32, &signalling, 1, 1);
    TN_ASSERT_CMPUINT(copied, ==, signalling);
}

static const TnTest tests[] = {
    { "names", names },
    { "unknown", unknown },
    { "sets", sets },
    { "every-half", every_half },
    { "rounds-f32", rounds_f32 },
    { "rounds-once", rounds_once },
    { "floats-to-integers", floats_to_integers },
    { "integers-to-integers", integers_to_integers },
    { "strides", strides },
    { "same-dtype-keeps-bits", same_dtype_keeps_bits },
};
TN_TEST_MAIN("dtype", tests)
