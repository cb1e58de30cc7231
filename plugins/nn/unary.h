/* unary.h: element-wise composites of one input: a formula and, where the body's own gradient is longer
 * or wrong at a kink, a formula of the gradient. */
#pragma once

#include "nn.h"

/* Values come in C and go back to the outputs' dtypes. */
typedef TnVal (*NnFormula)(TnGraph *graph, const void *attrs, TnVal x);
/* The gradient in x from y = formula (x) and its gradient g. */
typedef TnVal (*NnRule)(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g);

/* The heads of both, of the operator `ident`. */
#define FORMULA(ident)                                                                             \
    static TnVal ident##_formula(TnGraph *graph, G_GNUC_UNUSED const void *attrs, TnVal x)
#define RULE(ident)                                                                                \
    static TnVal ident##_rule(TnGraph *graph, G_GNUC_UNUSED const void *attrs,                     \
                              G_GNUC_UNUSED TnVal x, G_GNUC_UNUSED TnVal y, TnVal g)

typedef struct {
    TnOp op; /* the schema others see: a pointer to it is one to the row */
    NnFormula formula;
    NnRule rule;
} NnUnary;

/* Of an operator that begins an NnUnary. */
gboolean nn_unary_body(TnBody *body, GError **error);
gboolean nn_unary_vjp(TnVjp *v, GError **error);
gboolean nn_unary_sample(TnSample *sample);
/* n structs of attributes that are not the defaults, on the shapes after those with the defaults. */
gboolean nn_unary_sample_attrs(TnSample *sample, const void *attrs, gsize size, guint n);

static inline TnVal
nn_constant(TnGraph *graph, TnVal x, double value)
{
    return tn_f_const(graph, x, value);
}

static inline TnVal
nn_scaled(TnGraph *graph, TnVal x, double factor)
{
    return tn_f_mul(graph, x, nn_constant(graph, x, factor));
}

static inline TnVal
nn_shifted(TnGraph *graph, TnVal x, double term)
{
    return tn_f_add(graph, x, nn_constant(graph, x, term));
}

static inline TnVal
nn_positive(TnGraph *graph, TnVal x)
{
    return tn_f_greater(graph, x, nn_constant(graph, x, 0));
}

/* g where the condition holds, else 0. */
static inline TnVal
nn_gated(TnGraph *graph, TnVal condition, TnVal g)
{
    return tn_f_where(graph, condition, g, nn_constant(graph, g, 0));
}

/* A sampler with the defaults, then with these. */
#define ATTRS_SAMPLER(ident, Struct, ...)                                                          \
    static gboolean ident(TnSample *sample)                                                        \
    {                                                                                              \
        static const Struct more[] = { __VA_ARGS__ };                                              \
        return nn_unary_sample_attrs(sample, more, sizeof more[0], G_N_ELEMENTS(more));            \
    }

/* --- Rows of the table ------------------------------------------------------------------------- */

#define NO_ATTRS                                                                                   \
    {                                                                                              \
        0                                                                                          \
    }
#define KINK_AT_0 .kinks = { 0 }, .n_kinks = 1, .gap = 0.1
#define KINKS(lo_, hi_, a, b)                                                                      \
    .lo = (lo_), .hi = (hi_), .kinks = { (a), (b) }, .n_kinks = 2, .gap = 0.1
#define UNARY(ident, onnx_, set, help_, attrs_, sample_, formula_, rule_, vjp_, says, ...)         \
    static const NnUnary ident##_row = {                                                           \
        .op = { NN_HEAD(ident, onnx_, help_), .flags = TN_OP_ELEMENTWISE,                          \
                NN_IN(NN_ARG("x", 'T', set, "any shape", ##__VA_ARGS__)),                          \
                NN_OUT(NN_ARG("out", 'T', set, "x's shape")), .attrs = attrs_,                     \
                .infer = nn_infer_shape, .vjp = vjp_, .body = nn_unary_body, .sample = sample_,    \
                .in_place = 1, .precision = says },                                                \
        .formula = formula_,                                                                       \
        .rule = rule_,                                                                             \
    };                                                                                             \
    NN_FACTORY(ident, help_, &ident##_row.op)
/* With a gradient rule, with attributes and one, with the body's gradient. */
#define PLAIN(ident, onnx_, help_, ...)                                                            \
    UNARY(ident, onnx_, TN_DTYPES_FLOAT, help_, NO_ATTRS, nn_unary_sample, ident##_formula,        \
          ident##_rule, nn_unary_vjp, TN_PRECISION_WIDE, ##__VA_ARGS__)
#define WITH(ident, onnx_, help_, Struct, rows_, sample_, ...)                                     \
    UNARY(ident, onnx_, TN_DTYPES_FLOAT, help_, TN_OPTIONS(Struct, rows_), sample_,                \
          ident##_formula, ident##_rule, nn_unary_vjp, TN_PRECISION_WIDE, ##__VA_ARGS__)
