/* elementwise.c: primitives whose output element depends on one element of each input: a table of
 * scalar functions per compute type, and one loop. Functions of f32 go through double and are
 * rounded once, which makes them exact to half a unit in the last place but for very rare cases. */
#include "ref.h"

#include <math.h>

typedef RefValue (*Function)(const RefValue *in, const RefNode *node);

typedef struct {
    const char *op;
    Function function[TN_N_COMPUTE]; /* by compute type of the last input; NULL: not of this type */
} Row;

/* Functions of a in f32 and f64; of a and b in f32 and f64; of a and b in i64 and u64. */
#define FLOAT1(ident, single, full)                                                                \
    static RefValue ident##_f32(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        float a = in[0].f32;                                                                       \
        (void)node;                                                                                \
        return (RefValue){ .f32 = (float)(single) };                                               \
    }                                                                                              \
    static RefValue ident##_f64(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        double a = in[0].f64;                                                                      \
        (void)node;                                                                                \
        return (RefValue){ .f64 = (full) };                                                        \
    }
#define FLOAT2(ident, single, full)                                                                \
    static RefValue ident##_f32(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        float a = in[0].f32, b = in[1].f32;                                                        \
        (void)node;                                                                                \
        return (RefValue){ .f32 = (float)(single) };                                               \
    }                                                                                              \
    static RefValue ident##_f64(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        double a = in[0].f64, b = in[1].f64;                                                       \
        (void)node;                                                                                \
        return (RefValue){ .f64 = (full) };                                                        \
    }
#define INT2(ident, signed_, unsigned_)                                                            \
    static RefValue ident##_i64(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        gint64 a = in[0].i64, b = in[1].i64;                                                       \
        (void)node;                                                                                \
        return (RefValue){ .i64 = (signed_) };                                                     \
    }                                                                                              \
    static RefValue ident##_u64(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        guint64 a = in[0].u64, b = in[1].u64;                                                      \
        (void)node;                                                                                \
        return (RefValue){ .u64 = (unsigned_) };                                                   \
    }
#define INT1(ident, signed_, unsigned_)                                                            \
    static RefValue ident##_i64(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        gint64 a = in[0].i64;                                                                      \
        (void)node;                                                                                \
        return (RefValue){ .i64 = (signed_) };                                                     \
    }                                                                                              \
    static RefValue ident##_u64(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        guint64 a = in[0].u64;                                                                     \
        (void)node;                                                                                \
        return (RefValue){ .u64 = (unsigned_) };                                                   \
    }
/* A truth value of a and b, in every compute type. */
#define COMPARE(ident, expression)                                                                 \
    static RefValue ident##_f32(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        float a = in[0].f32, b = in[1].f32;                                                        \
        (void)node;                                                                                \
        return (RefValue){ .u64 = (expression) };                                                  \
    }                                                                                              \
    static RefValue ident##_f64(const RefValue *in, const RefNode *node)                           \
    {                                                                                              \
        double a = in[0].f64, b = in[1].f64;                                                       \
        (void)node;                                                                                \
        return (RefValue){ .u64 = (expression) };                                                  \
    }                                                                                              \
    INT2(ident, (expression), (expression))

static gint64
wrap(guint64 bits)
{
    return (gint64)bits;
}

FLOAT1(neg, -a, -a)
INT1(neg, wrap(0 - (guint64)a), 0 - a)
FLOAT1(abs, fabsf(a), fabs(a))
INT1(abs, a < 0 ? wrap(0 - (guint64)a) : a, a)
FLOAT1(sign, a > 0 ? 1 : a < 0 ? -1 : a == 0 ? 0 : a, a > 0 ? 1 : a < 0 ? -1 : a == 0 ? 0 : a)
INT1(sign, (a > 0) - (a < 0), a > 0)
FLOAT1(exp, exp((double)a), exp(a))
FLOAT1(log, log((double)a), log(a))
FLOAT1(sqrt, sqrtf(a), sqrt(a))
FLOAT1(reciprocal, 1 / a, 1 / a)
FLOAT1(sin, sin((double)a), sin(a))
FLOAT1(cos, cos((double)a), cos(a))
FLOAT1(tanh, tanh((double)a), tanh(a))
FLOAT1(erf, erf((double)a), erf(a))
FLOAT1(floor, floorf(a), floor(a))
FLOAT1(ceil, ceilf(a), ceil(a))
FLOAT1(round, rintf(a), rint(a))
INT1(bitwise_not, ~a, ~a)
INT1(not, !a, !a)

FLOAT2(add, a + b, a + b)
INT2(add, wrap((guint64)a + (guint64)b), a + b)
FLOAT2(sub, a - b, a - b)
INT2(sub, wrap((guint64)a - (guint64)b), a - b)
FLOAT2(mul, a *b, a *b)
INT2(mul, wrap((guint64)a *(guint64)b), a *b)
FLOAT2(div, a / b, a / b)
INT2(div, b == 0 ? 0 : b == -1 ? wrap(0 - (guint64)a) : a / b, b == 0 ? 0 : a / b)
FLOAT2(max, isnan(a) || a > b ? a : b, isnan(a) || a > b ? a : b)
INT2(max, MAX(a, b), MAX(a, b))
FLOAT2(min, isnan(a) || a < b ? a : b, isnan(a) || a < b ? a : b)
INT2(min, MIN(a, b), MIN(a, b))
FLOAT2(pow, pow((double)a, (double)b), pow(a, b))
INT2(bitwise_and, a &b, a &b)
INT2(bitwise_or, a | b, a | b)
INT2(bitwise_xor, a ^ b, a ^ b)
COMPARE(equal, a == b)
COMPARE(less, a < b)
COMPARE(greater, a > b)
COMPARE(less_or_equal, a <= b)
COMPARE(greater_or_equal, a >= b)

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
        return wrap(power((guint64)base, (guint64)exponent));
    }
    return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
}
INT2(pow, signed_power(a, b), power(a, b))

/* C's remainder, or the one with b's sign. */
static double
remainder_of(double a, double b, gboolean fmod_)
{
    double r = fmod(a, b);
    if (fmod_ || isnan(r)) {
        return r;
    }
    if (r == 0) {
        return copysign(r, b);
    }
    return (r < 0) != (b < 0) ? r + b : r;
}

static RefValue
mod_f32(const RefValue *in, const RefNode *node)
{
    const TnModAttrs *attrs = node->attrs;
    float a = in[0].f32, b = in[1].f32, r = fmodf(a, b);
    if (attrs->fmod || isnan(r)) {
        return (RefValue){ .f32 = r };
    }
    if (r == 0) {
        return (RefValue){ .f32 = copysignf(r, b) };
    }
    return (RefValue){ .f32 = (r < 0) != (b < 0) ? r + b : r };
}

static RefValue
mod_f64(const RefValue *in, const RefNode *node)
{
    const TnModAttrs *attrs = node->attrs;
    return (RefValue){ .f64 = remainder_of(in[0].f64, in[1].f64, attrs->fmod) };
}

static RefValue
mod_i64(const RefValue *in, const RefNode *node)
{
    const TnModAttrs *attrs = node->attrs;
    gint64 a = in[0].i64, b = in[1].i64;
    if (b == 0 || b == -1) {
        return (RefValue){ .i64 = 0 };
    }
    gint64 r = a % b;
    return (RefValue){ .i64 = !attrs->fmod && r != 0 && (r < 0) != (b < 0) ? r + b : r };
}

static RefValue
mod_u64(const RefValue *in, const RefNode *node)
{
    (void)node;
    return (RefValue){ .u64 = in[1].u64 == 0 ? 0 : in[0].u64 % in[1].u64 };
}

static RefValue
shift_u64(const RefValue *in, const RefNode *node)
{
    const TnBitShiftAttrs *attrs = node->attrs;
    guint64 a = in[0].u64, b = in[1].u64;
    if (b >= tn_dtype_info(node->out[0].type.dtype)->bits) {
        return (RefValue){ .u64 = 0 };
    }
    return (RefValue){ .u64 = attrs->direction == TN_SHIFT_LEFT ? a << b : a >> b };
}

static RefValue
isnan_f32(const RefValue *in, const RefNode *node)
{
    (void)node;
    return (RefValue){ .u64 = isnan(in[0].f32) };
}

static RefValue
isnan_f64(const RefValue *in, const RefNode *node)
{
    (void)node;
    return (RefValue){ .u64 = isnan(in[0].f64) };
}

#define FLOATS(name) [TN_COMPUTE_F32] = name##_f32, [TN_COMPUTE_F64] = name##_f64
#define INTS(name) [TN_COMPUTE_I64] = name##_i64, [TN_COMPUTE_U64] = name##_u64

static const Row rows[] = {
    { "neg", { FLOATS(neg), INTS(neg) } },
    { "abs", { FLOATS(abs), INTS(abs) } },
    { "sign", { FLOATS(sign), INTS(sign) } },
    { "exp", { FLOATS(exp) } },
    { "log", { FLOATS(log) } },
    { "sqrt", { FLOATS(sqrt) } },
    { "reciprocal", { FLOATS(reciprocal) } },
    { "sin", { FLOATS(sin) } },
    { "cos", { FLOATS(cos) } },
    { "tanh", { FLOATS(tanh) } },
    { "erf", { FLOATS(erf) } },
    { "floor", { FLOATS(floor) } },
    { "ceil", { FLOATS(ceil) } },
    { "round", { FLOATS(round) } },
    { "not", { INTS(not ) } },
    { "bitwise_not", { INTS(bitwise_not) } },
    { "isnan", { FLOATS(isnan) } },
    { "add", { FLOATS(add), INTS(add) } },
    { "sub", { FLOATS(sub), INTS(sub) } },
    { "mul", { FLOATS(mul), INTS(mul) } },
    { "div", { FLOATS(div), INTS(div) } },
    { "pow", { FLOATS(pow), INTS(pow) } },
    { "mod", { FLOATS(mod), INTS(mod) } },
    { "max", { FLOATS(max), INTS(max) } },
    { "min", { FLOATS(min), INTS(min) } },
    { "equal", { FLOATS(equal), INTS(equal) } },
    { "less", { FLOATS(less), INTS(less) } },
    { "greater", { FLOATS(greater), INTS(greater) } },
    { "less_or_equal", { FLOATS(less_or_equal), INTS(less_or_equal) } },
    { "greater_or_equal", { FLOATS(greater_or_equal), INTS(greater_or_equal) } },
    { "and", { INTS(bitwise_and) } },
    { "or", { INTS(bitwise_or) } },
    { "xor", { INTS(bitwise_xor) } },
    { "bitwise_and", { INTS(bitwise_and) } },
    { "bitwise_or", { INTS(bitwise_or) } },
    { "bitwise_xor", { INTS(bitwise_xor) } },
    { "bit_shift", { [TN_COMPUTE_U64] = shift_u64 } },
};

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    TnCompute compute = tn_dtype_info(node->in[0].type.dtype)->compute;
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (strcmp(rows[i].op, node->op->name) == 0 && rows[i].function[compute]) {
            RefNode *state = ref_node_new(node);
            state->row = &rows[i].function[compute];
            prepared->state = state;
            return TRUE;
        }
    }
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "the reference device cannot do %s of %s",
                node->op->name, tn_dtype_name(node->in[0].type.dtype));
    return FALSE;
}

/* Positions of each input while out runs in row-major order. */
typedef struct {
    gint64 strides[3][TN_MAX_RANK];
    gint64 index[TN_MAX_RANK];
} Walk;

static void
walk_init(Walk *walk, const RefNode *node)
{
    memset(walk->index, 0, sizeof walk->index);
    for (gint i = 0; i < node->n_in; i++) {
        ref_broadcast(&node->in[i], node->out[0].type.rank, walk->strides[i]);
    }
}

static TnStatus
run_function(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *out = &node->out[0];
    Function function = *(const Function *)node->row;
    Walk walk;
    walk_init(&walk, node);
    for (gint64 i = 0; i < out->count; i++) {
        RefValue in[2];
        for (gint k = 0; k < node->n_in; k++) {
            in[k] = ref_load(node->in[k].type.dtype, run->in[k],
                             ref_dot(out->type.rank, walk.index, walk.strides[k]));
        }
        ref_store(out->type.dtype, run->out[0], i, function(in, node));
        ref_next(out->type.rank, out->type.dims, walk.index);
    }
    return TN_OK;
}

static TnStatus
run_where(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *out = &node->out[0];
    gsize size = tn_dtype_size(out->type.dtype);
    Walk walk;
    walk_init(&walk, node);
    for (gint64 i = 0; i < out->count; i++) {
        gint64 at = ref_dot(out->type.rank, walk.index, walk.strides[0]);
        gint from = ((const guint8 *)run->in[0])[at] ? 1 : 2;
        at = ref_dot(out->type.rank, walk.index, walk.strides[from]);
        memcpy((char *)run->out[0] + i * (gint64)size,
               (const char *)run->in[from] + at * (gint64)size, size);
        ref_next(out->type.rank, out->type.dims, walk.index);
    }
    return TN_OK;
}

static TnStatus
run_cast(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *out = &node->out[0];
    TnDtype from = node->in[0].type.dtype, to = out->type.dtype;
    Walk walk;
    walk_init(&walk, node);
    for (gint64 i = 0; i < out->count; i++) {
        gint64 at = ref_dot(out->type.rank, walk.index, walk.strides[0]);
        tn_dtype_convert(to, (char *)run->out[0] + i * (gint64)tn_dtype_size(to), 1, from,
                         (const char *)run->in[0] + at * (gint64)tn_dtype_size(from), 1, 1);
        ref_next(out->type.rank, out->type.dims, walk.index);
    }
    return TN_OK;
}

#define ROW(name)                                                                                  \
    {                                                                                              \
        .op = name, .dtypes = TN_DTYPES_ALL, .flags = REF_FLAGS | TN_KERNEL_IN_PLACE,              \
        .prepare = prepare, .run = run_function, .release = g_free                                 \
    }

static const TnKernel kernels[] = {
    ROW("neg"),
    ROW("abs"),
    ROW("sign"),
    ROW("exp"),
    ROW("log"),
    ROW("sqrt"),
    ROW("reciprocal"),
    ROW("sin"),
    ROW("cos"),
    ROW("tanh"),
    ROW("erf"),
    ROW("floor"),
    ROW("ceil"),
    ROW("round"),
    ROW("not"),
    ROW("bitwise_not"),
    ROW("isnan"),
    ROW("add"),
    ROW("sub"),
    ROW("mul"),
    ROW("div"),
    ROW("pow"),
    ROW("mod"),
    ROW("max"),
    ROW("min"),
    ROW("equal"),
    ROW("less"),
    ROW("greater"),
    ROW("less_or_equal"),
    ROW("greater_or_equal"),
    ROW("and"),
    ROW("or"),
    ROW("xor"),
    ROW("bitwise_and"),
    ROW("bitwise_or"),
    ROW("bitwise_xor"),
    ROW("bit_shift"),
    REF_ROW("where", run_where),
    REF_ROW("cast", run_cast),
};

const TnKernelTable ref_elementwise = REF_TABLE(kernels);
