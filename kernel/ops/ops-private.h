/* ops-private.h: how the files of kernel/ops write their rows: macros for schemas, helpers for
 * infer, rules and samples.
 *
 * A family is one file: a table of TnPrimitive, and the few functions that its rows share. */
#pragma once

#include <tenon/graph.h>
#include <tenon/ops.h>

#define TN_MAX_RULES 3

/* A gradient rule for one input: the gradient that g, the gradient of output 0, gives it. Called
 * only if it is needed and g is not none. */
typedef TnVal (*TnRule)(TnVjp *v, TnVal g);

/* A primitive: the schema that others see, and its rules per input for tn_vjp_rules. */
typedef struct {
    TnOp op;
    TnRule rule[TN_MAX_RULES];
} TnPrimitive;

typedef struct {
    const TnPrimitive *rows;
    guint n;
} TnFamily;

extern const TnFamily tn_family_source, tn_family_unary, tn_family_binary, tn_family_like,
    tn_family_reduce, tn_family_shape, tn_family_slice, tn_family_concat, tn_family_window,
    tn_family_index, tn_family_matmul, tn_family_conv, tn_family_random, tn_family_control;

/* --- Rows ------------------------------------------------------------------------------------- */

#define TN_COUNT(Type, ...) (sizeof((const Type[]){ __VA_ARGS__ }) / sizeof(Type))
#define TN_INPUTS(...)                                                                             \
    .inputs = (const TnOpArg[]){ __VA_ARGS__ }, .n_inputs = TN_COUNT(TnOpArg, __VA_ARGS__)
#define TN_OUTPUTS(...)                                                                            \
    .outputs = (const TnOpArg[]){ __VA_ARGS__ }, .n_outputs = TN_COUNT(TnOpArg, __VA_ARGS__)
/* The members that every row has. */
#define TN_OP(name_, onnx_, help_)                                                                 \
    .size = sizeof(TnOp), .arg_size = sizeof(TnOpArg), .name = (name_), .onnx = (onnx_),           \
    .help = (help_)
/* One argument: name, letter, dtypes, help, then other members. */
#define TN_ARG_ROW(name_, letter, set, help_, ...)                                                 \
    {                                                                                              \
        .name = (name_), .type = (letter), .dtypes = (set), .help = (help_), ##__VA_ARGS__         \
    }
/* An input of which only the type counts; flags_: others. */
#define TN_LIKE_ROW(name_, help_, flags_, ...)                                                     \
    TN_ARG_ROW(name_, 0, TN_DTYPES_ALL, help_, .flags = TN_ARG_SHAPE | TN_ARG_NO_GRAD | (flags_),  \
               ##__VA_ARGS__)
#define TN_ATTR(Struct, member, type_, help_, ...)                                                 \
    {                                                                                              \
        .name = #member, .type = (type_), .offset = G_STRUCT_OFFSET(Struct, member),               \
        .help = (help_), ##__VA_ARGS__                                                             \
    }
#define TN_ATTR_DTYPE(Struct, member, help_, ...)                                                  \
    TN_ATTR(Struct, member, TN_OPT_ENUM, help_, .choices = tn_dtype_choices, ##__VA_ARGS__)
#define TN_INTEGERS (TN_DTYPES_INT | TN_DTYPES_UINT)
#define TN_INDICES (TN_DT(I32) | TN_DT(I64))
#define TN_BOOL TN_DT(BOOL)

extern const TnOptions tn_attrs_axis0; /* TnAxisAttrs, default 0 */

/* --- Infer ------------------------------------------------------------------------------------ */

/* "input 'x' f32[2]: TEXT" with *error of TN_ERROR_SHAPE; returns FALSE. */
gboolean tn_infer_fail(const TnInfer *infer, gint i, GError **error, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* "inputs 'A' f32[2] and 'B' f32[3]: TEXT". */
gboolean tn_infer_fail2(const TnInfer *infer, gint i, gint j, GError **error, const char *format,
                        ...) G_GNUC_PRINTF(5, 6);
/* axis of input i's rank (of `rank`), as tn_infer_axis, told with the input's name. */
gboolean tn_infer_input_axis(const TnInfer *infer, gint i, gint64 axis, gint rank, gint *out,
                             GError **error);
/* Axes, each once: bit i of *mask. */
gboolean tn_infer_axes(const TnInfer *infer, gint i, const TnInts *axes, gint rank, guint32 *mask,
                       GError **error);
/* out 0 has in[from]'s shape (its dtype is left alone). */
gboolean tn_infer_shape_of(TnInfer *infer, gint from);
/* a non-negative axis from one that infer accepted. */
static inline gint
tn_axis(gint64 axis, gint rank)
{
    return (gint)(axis < 0 ? axis + rank : axis);
}
/* Product of sizes of axes [from, to); the largest number where there is none. */
gint64 tn_sizes_product(const TnType *type, gint from, gint to);

/* --- Floating-point operations ---------------------------------------------------------------- */

/* For the `flops` of rows: none, since elements are only moved; one for each element of output 0, if
 * any input or output is of floating-point numbers; of input 0, if it is; of input 2 (updates). */
double tn_flops_none(const TnFlops *call);
double tn_flops_outputs(const TnFlops *call);
double tn_flops_inputs(const TnFlops *call);
double tn_flops_updates(const TnFlops *call);

/* --- Views ------------------------------------------------------------------------------------ */

gboolean tn_view_same(const void *attrs, const TnType *in, const TnLayout *in_layout,
                      const TnType *out, TnLayout *out_layout);
/* x repeated along axes of size 1 and new leading ones. */
gboolean tn_view_broadcast(const void *attrs, const TnType *in, const TnLayout *in_layout,
                           const TnType *out, TnLayout *out_layout);
/* Any operator that keeps the elements in row-major order. */
gboolean tn_view_reshape(const void *attrs, const TnType *in, const TnLayout *in_layout,
                         const TnType *out, TnLayout *out_layout);

/* --- Rules ------------------------------------------------------------------------------------ */

/* Calls the row's rules. */
gboolean tn_vjp_rules(TnVjp *v, GError **error);
/* The same for element-wise operators: what a rule gives has the output's shape, and is reduced to
 * the input's. */
gboolean tn_vjp_elementwise(TnVjp *v, GError **error);
/* Rules that many rows share: g itself; g in input 0's shape. */
TnVal tn_rule_pass(TnVjp *v, TnVal g);
TnVal tn_rule_reshape(TnVjp *v, TnVal g);

static inline TnVal
tn_add1(TnVjp *v, const char *op, const void *attrs, TnVal a)
{
    return tn_graph_op(v->graph, op, attrs, 1, &a, NULL);
}
static inline TnVal
tn_add2(TnVjp *v, const char *op, const void *attrs, TnVal a, TnVal b)
{
    return tn_graph_op(v->graph, op, attrs, 2, (const TnVal[]){ a, b }, NULL);
}
static inline TnVal
tn_add3(TnVjp *v, const char *op, const void *attrs, TnVal a, TnVal b, TnVal c)
{
    return tn_graph_op(v->graph, op, attrs, 3, (const TnVal[]){ a, b, c }, NULL);
}

/* control-grad.c: TnOp.vjp of the operators that run sub-graphs. A while has none: it says so. */
gboolean tn_control_if_vjp(TnVjp *v, GError **error);
gboolean tn_control_while_vjp(TnVjp *v, GError **error);
gboolean tn_control_scan_vjp(TnVjp *v, GError **error);

/* --- Samples ---------------------------------------------------------------------------------- */

/* One variant. A shape of rank -1: the input is absent. dtype none: the suite's. */
typedef struct {
    gint n_in;
    TnShape in[4];
    TnDtype dtype[4];
    gint64 bound[4];   /* of indices */
    const void *attrs; /* NULL: defaults */
} TnCase;
#define TN_SHAPE_OF(...)                                                                           \
    {                                                                                              \
        (gint32) TN_COUNT(gint64, __VA_ARGS__),                                                    \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define TN_RANK0                                                                                   \
    {                                                                                              \
        0,                                                                                         \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define TN_ABSENT                                                                                  \
    {                                                                                              \
        -1,                                                                                        \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define TN_INTS_OF(...)                                                                            \
    {                                                                                              \
        (gint32) TN_COUNT(gint64, __VA_ARGS__),                                                    \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
/* Fills sample from row `variant` of a table; FALSE beyond its end. */
gboolean tn_sample_case(TnSample *sample, const TnCase *cases, guint n, gsize attrs_size);
#define TN_SAMPLE_CASES(sample, cases, Attrs)                                                      \
    tn_sample_case((sample), (cases), G_N_ELEMENTS(cases), sizeof(Attrs))
/* Any shape; two that broadcast; three that broadcast. No attributes. */
gboolean tn_sample_unary(TnSample *sample);
gboolean tn_sample_binary(TnSample *sample);
/* The shapes of tn_sample_unary for attributes set by the caller; FALSE beyond their end. */
gboolean tn_sample_shape(TnSample *sample, guint i);
guint tn_sample_n_shapes(void);
