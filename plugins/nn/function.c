/* function.c: functions of mathematics made of the primitive ones. */
#include "unary.h"

FORMULA(square)
{
    return tn_f_mul(graph, x, x);
}

FORMULA(rsqrt)
{
    return tn_f_reciprocal(graph, tn_f_sqrt(graph, x));
}

/* -y^3 / 2 */
RULE(rsqrt)
{
    const TnVal cube = tn_f_mul(graph, tn_f_mul(graph, y, y), y);
    return tn_f_mul(graph, g, nn_scaled(graph, cube, -0.5));
}

FORMULA(tan)
{
    return tn_f_div(graph, tn_f_sin(graph, x), tn_f_cos(graph, x));
}

RULE(tan)
{
    return tn_f_mul(graph, g, nn_shifted(graph, tn_f_mul(graph, y, y), 1));
}

/* (e + e / (e + 1)) / 2 with e = expm1 (x): no digits are lost near 0. */
FORMULA(sinh)
{
    const TnVal e = nn_expm1(graph, tn_f_abs(graph, x));
    const TnVal tail =
        tn_f_sub(graph, nn_constant(graph, x, 1), tn_f_reciprocal(graph, nn_shifted(graph, e, 1)));
    const TnVal small = tn_f_div(graph, e, nn_shifted(graph, e, 1));
    const TnVal far = tn_f_greater(graph, e, nn_constant(graph, x, 1));
    const TnVal sum = tn_f_add(graph, e, tn_f_where(graph, far, tail, small));
    return tn_f_mul(graph, tn_f_sign(graph, x), nn_scaled(graph, sum, 0.5));
}

RULE(sinh)
{
    return tn_f_mul(graph, g, nn_1(graph, "cosh", NULL, x));
}

FORMULA(cosh)
{
    const TnVal e = tn_f_exp(graph, tn_f_abs(graph, x));
    return nn_scaled(graph, tn_f_add(graph, e, tn_f_reciprocal(graph, e)), 0.5);
}

RULE(cosh)
{
    return tn_f_mul(graph, g, nn_1(graph, "sinh", NULL, x));
}

FORMULA(expm1)
{
    return nn_expm1(graph, x);
}

RULE(expm1)
{
    return tn_f_mul(graph, g, nn_shifted(graph, y, 1));
}

FORMULA(log1p)
{
    return nn_log1p(graph, x);
}

RULE(log1p)
{
    return tn_f_div(graph, g, nn_shifted(graph, x, 1));
}

FORMULA(isinf)
{
    return tn_f_equal(graph, tn_f_abs(graph, x), nn_constant(graph, x, INFINITY));
}

UNARY(square, NULL, TN_DTYPES_NUMBER, "x x", NO_ATTRS, nn_unary_sample, square_formula, NULL, NULL,
      TN_PRECISION_WIDE);
PLAIN(rsqrt, NULL, "1 / sqrt (x)", .lo = 0.2, .hi = 4);
PLAIN(tan, "Tan", "Tangent of radians", .lo = -1.2, .hi = 1.2);
PLAIN(sinh, "Sinh", "Hyperbolic sine", KINK_AT_0);
PLAIN(cosh, "Cosh", "Hyperbolic cosine", KINK_AT_0);
PLAIN(expm1, NULL, "exp (x) - 1, accurate near 0", .lo = -3, .hi = 3);
PLAIN(log1p, NULL, "log (1 + x), accurate near 0", .lo = -0.8, .hi = 4);

static const NnUnary isinf_row = {
    .op = { NN_HEAD(isinf, "IsInf", "Whether x is infinite"),
            .flags = TN_OP_ELEMENTWISE | TN_OP_NO_GRAD,
            NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "any shape")),
            NN_OUT(NN_ARG("out", 'B', TN_DT(BOOL), "x's shape")), .infer = nn_infer_shape,
            .body = nn_unary_body, .sample = nn_unary_sample },
    .formula = isinf_formula,
};
NN_FACTORY(isinf, "Whether x is infinite", &isinf_row.op);
