/* optimiser.c: one step of an optimiser as an operator: new parameter and new slots from the old
 * ones and the gradient.
 *
 * All but lamb_step are element-wise, so that one fused pass over memory does a step. Sums and
 * products of elements are in C (f64 if the parameter is f64, else f32) whatever the dtypes of
 * gradient and slots; what is the same for all elements (corrections of bias) is computed in
 * f64, where 1 - beta^step keeps its digits. */
#include "optimiser.h"

/* The elements in C, the numbers of the step in f64. */
typedef struct {
    TnBody *body;
    TnGraph *graph;
    TnDtype dtype;
    TnVal param, grad;
} Step;

static Step
step_of(TnBody *body)
{
    TnGraph *graph = body->graph;
    Step s = { body, graph, nn_dtype(graph, body->in[0]), TN_VAL_NONE, TN_VAL_NONE };
    s.dtype = s.dtype == TN_DTYPE_F64 ? TN_DTYPE_F64 : TN_DTYPE_F32;
    s.param = nn_to(graph, body->in[0], s.dtype);
    s.grad = nn_to(graph, body->in[1], s.dtype);
    return s;
}

static TnVal
slot(const Step *s, gint i)
{
    return nn_to(s->graph, nn_in(s->body, i), s->dtype);
}

static TnVal
exact(const Step *s, gint i)
{
    return nn_to(s->graph, s->body->in[i], TN_DTYPE_F64);
}

static void
give(const Step *s, gint k, TnVal val, gint like)
{
    s->body->out[k] = nn_to(s->graph, val, nn_dtype(s->graph, s->body->in[like]));
}

static TnVal
scaled(const Step *s, TnVal x, double factor)
{
    return tn_f_mul(s->graph, x, tn_f_const(s->graph, x, factor));
}

/* x + factor y */
static TnVal
plus(const Step *s, TnVal x, TnVal y, double factor)
{
    return factor == 0 ? x : tn_f_add(s->graph, x, scaled(s, y, factor));
}

/* keep old + (1 - keep) new */
static TnVal
mixed(const Step *s, TnVal old, TnVal new, double keep)
{
    return tn_f_add(s->graph, scaled(s, old, keep), scaled(s, new, 1 - keep));
}

static TnVal
squared(const Step *s, TnVal x)
{
    return tn_f_mul(s->graph, x, x);
}

/* param - rate direction */
static TnVal
moved(const Step *s, TnVal rate, TnVal direction)
{
    const TnVal way = tn_f_mul(s->graph, direction, nn_to(s->graph, rate, s->dtype));
    return tn_f_sub(s->graph, s->param, way);
}

/* --- Infer ----------------------------------------------------------------------------------- */

/* Inputs whose bit is set in `slots` have the parameter's shape, the others rank 0. */
static gboolean
want_slots(const TnInfer *infer, guint slots, GError **error)
{
    const TnType *param = &infer->in[0];
    for (gint i = 1; i < infer->n_in; i++) {
        const gint rank = slots & 1u << i ? param->rank : 0;
        const char *of = slots & 1u << i ? "'param'" : "a number of the whole step";
        if (nn_present(infer, i) && !nn_infer_want(infer, i, rank, param->dims, of, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* A slot is given exactly if `wanted`. */
static gboolean
want_optional(const TnInfer *infer, gint i, gboolean wanted, const char *when, GError **error)
{
    if (nn_present(infer, i) == wanted) {
        return TRUE;
    }
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "input '%s' must be given if %s, and only then",
                tn_op_input(infer->op, i)->name, when);
    return FALSE;
}

/* --- sgd ------------------------------------------------------------------------------------- */

enum { SGD_LR = 2, SGD_BUFFER };

static gboolean
sgd_infer(TnInfer *infer, GError **error)
{
    const TnSgdAttrs *attrs = infer->attrs;
    const gboolean slow = attrs->momentum != 0;
    if (!want_optional(infer, SGD_BUFFER, slow, "momentum is not 0", error) ||
        !want_slots(infer, 1u << 1 | 1u << SGD_BUFFER, error)) {
        return FALSE;
    }
    infer->out[0] = infer->in[0];
    infer->n_out = slow ? 2 : 1;
    infer->out[1] = slow ? infer->in[SGD_BUFFER] : infer->out[1];
    return TRUE;
}

/* buffer' = momentum buffer + d; param' = param - lr buffer', or - lr (d + momentum buffer')
 * (Sutskever et al. 2013). */
static gboolean
sgd_body(TnBody *body, GError **error)
{
    const TnSgdAttrs *attrs = body->attrs;
    const Step s = step_of(body);
    TnVal way = plus(&s, s.grad, s.param, attrs->weight_decay);
    (void)error;
    if (attrs->momentum != 0) {
        const TnVal buffer = plus(&s, way, slot(&s, SGD_BUFFER), attrs->momentum);
        give(&s, 1, buffer, SGD_BUFFER);
        way = attrs->nesterov ? plus(&s, way, buffer, attrs->momentum) : buffer;
    }
    give(&s, 0, moved(&s, exact(&s, SGD_LR), way), 0);
    return TRUE;
}

/* --- adam, adamw, lamb ----------------------------------------------------------------------- */

enum { ADAM_MEAN = 2, ADAM_SQUARE, ADAM_LR, ADAM_STEP };

static gboolean
adam_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->in[0];
    infer->out[1] = infer->in[ADAM_MEAN];
    infer->out[2] = infer->in[ADAM_SQUARE];
    return want_slots(infer, 1u << 1 | 1u << ADAM_MEAN | 1u << ADAM_SQUARE, error);
}

/* 1 - beta^step */
static TnVal
correction(const Step *s, double beta)
{
    const TnVal step = exact(s, ADAM_STEP);
    const TnVal power = tn_f_pow(s->graph, tn_f_const(s->graph, step, beta), step);
    return tn_f_sub(s->graph, tn_f_const(s->graph, step, 1), power);
}

typedef struct {
    TnVal mean; /* the new one, not corrected */
    TnVal size; /* sqrt (square / (1 - beta2^step)) + eps */
    TnVal bias; /* 1 - beta1^step */
} Moments;

/* The new moments, given as outputs 1 and 2 (Kingma & Ba, "Adam", 2015). */
static Moments
moments(const Step *s, TnVal grad)
{
    const TnAdamAttrs *attrs = s->body->attrs;
    TnGraph *graph = s->graph;
    Moments m;
    m.mean = mixed(s, slot(s, ADAM_MEAN), grad, attrs->beta1);
    const TnVal square = mixed(s, slot(s, ADAM_SQUARE), squared(s, grad), attrs->beta2);
    const TnVal root = tn_f_sqrt(graph, correction(s, attrs->beta2));
    const TnVal size = tn_f_div(graph, tn_f_sqrt(graph, square), nn_to(graph, root, s->dtype));
    m.size = tn_f_add(graph, size, tn_f_const(graph, size, attrs->eps));
    m.bias = correction(s, attrs->beta1);
    give(s, 1, m.mean, ADAM_MEAN);
    give(s, 2, square, ADAM_SQUARE);
    return m;
}

static gboolean
adam_body(TnBody *body, GError **error)
{
    const TnAdamAttrs *attrs = body->attrs;
    const Step s = step_of(body);
    (void)error;
    const Moments m = moments(&s, plus(&s, s.grad, s.param, attrs->weight_decay));
    const TnVal rate = tn_f_div(s.graph, exact(&s, ADAM_LR), m.bias);
    give(&s, 0, moved(&s, rate, tn_f_div(s.graph, m.mean, m.size)), 0);
    return TRUE;
}

/* The decay acts on the parameter, not on the gradient (Loshchilov & Hutter 2019). */
static gboolean
adamw_body(TnBody *body, GError **error)
{
    const double decay = ((const TnAdamAttrs *)body->attrs)->weight_decay;
    Step s = step_of(body);
    (void)error;
    const Moments m = moments(&s, s.grad);
    const TnVal lr = exact(&s, ADAM_LR);
    if (decay != 0) {
        const TnVal left = tn_f_sub(s.graph, tn_f_const(s.graph, lr, 1), scaled(&s, lr, decay));
        s.param = tn_f_mul(s.graph, s.param, nn_to(s.graph, left, s.dtype));
    }
    const TnVal rate = tn_f_div(s.graph, lr, m.bias);
    give(&s, 0, moved(&s, rate, tn_f_div(s.graph, m.mean, m.size)), 0);
    return TRUE;
}

static TnVal
norm(const Step *s, TnVal x)
{
    return tn_f_sqrt(s->graph, tn_f_reduce_sum(s->graph, squared(s, x), 0, NULL, FALSE));
}

/* Adam's direction plus decay, as long as the parameter (You et al., "Large batch optimization",
 * 2020, algorithm 2; 1 where either length is 0). */
static gboolean
lamb_body(TnBody *body, GError **error)
{
    const TnAdamAttrs *attrs = body->attrs;
    const Step s = step_of(body);
    TnGraph *graph = s.graph;
    (void)error;
    const Moments m = moments(&s, s.grad);
    const TnVal mean = tn_f_div(graph, m.mean, nn_to(graph, m.bias, s.dtype));
    const TnVal way = plus(&s, tn_f_div(graph, mean, m.size), s.param, attrs->weight_decay);
    const TnVal have = norm(&s, s.param);
    const TnVal go = norm(&s, way);
    const TnVal zero = tn_f_const(graph, have, 0);
    const TnVal both =
        tn_f_and(graph, tn_f_greater(graph, have, zero), tn_f_greater(graph, go, zero));
    const TnVal one = tn_f_const(graph, have, 1);
    const TnVal safe = tn_f_where(graph, both, go, one);
    const TnVal trust = tn_f_where(graph, both, tn_f_div(graph, have, safe), one);
    const TnVal rate = tn_f_mul(graph, exact(&s, ADAM_LR), nn_to(graph, trust, TN_DTYPE_F64));
    give(&s, 0, moved(&s, rate, way), 0);
    return TRUE;
}

/* --- rmsprop --------------------------------------------------------------------------------- */

enum { RMS_SQUARE = 2, RMS_LR, RMS_MEAN, RMS_BUFFER };

static gboolean
rmsprop_infer(TnInfer *infer, GError **error)
{
    const TnRmspropAttrs *attrs = infer->attrs;
    const gboolean slow = attrs->momentum != 0;
    gint n = 0;
    if (!want_optional(infer, RMS_MEAN, attrs->centered, "centered", error) ||
        !want_optional(infer, RMS_BUFFER, slow, "momentum is not 0", error) ||
        !want_slots(infer, 1u << 1 | 1u << RMS_SQUARE | 1u << RMS_MEAN | 1u << RMS_BUFFER, error)) {
        return FALSE;
    }
    infer->out[n++] = infer->in[0];
    infer->out[n++] = infer->in[RMS_SQUARE];
    if (attrs->centered) {
        infer->out[n++] = infer->in[RMS_MEAN];
    }
    if (slow) {
        infer->out[n++] = infer->in[RMS_BUFFER];
    }
    infer->n_out = n;
    return TRUE;
}

/* Tieleman & Hinton, lecture 6.5 (2012); centered: Graves, "Generating sequences", 2013. */
static gboolean
rmsprop_body(TnBody *body, GError **error)
{
    const TnRmspropAttrs *attrs = body->attrs;
    const Step s = step_of(body);
    TnGraph *graph = s.graph;
    gint n = 1;
    (void)error;
    const TnVal grad = plus(&s, s.grad, s.param, attrs->weight_decay);
    const TnVal square = mixed(&s, slot(&s, RMS_SQUARE), squared(&s, grad), attrs->alpha);
    TnVal spread = square;
    give(&s, n++, square, RMS_SQUARE);
    if (attrs->centered) {
        const TnVal mean = mixed(&s, slot(&s, RMS_MEAN), grad, attrs->alpha);
        /* Rounding may leave less than nothing. */
        const TnVal rest = tn_f_sub(graph, square, squared(&s, mean));
        spread = tn_f_max(graph, rest, tn_f_const(graph, rest, 0));
        give(&s, n++, mean, RMS_MEAN);
    }
    const TnVal root = tn_f_sqrt(graph, spread);
    const TnVal size = tn_f_add(graph, root, tn_f_const(graph, root, attrs->eps));
    TnVal way = tn_f_div(graph, grad, size);
    if (attrs->momentum != 0) {
        way = plus(&s, way, slot(&s, RMS_BUFFER), attrs->momentum);
        give(&s, n++, way, RMS_BUFFER);
    }
    give(&s, 0, moved(&s, exact(&s, RMS_LR), way), 0);
    return TRUE;
}

/* --- Attributes ------------------------------------------------------------------------------ */

static const TnOption sgd_rows[] = {
    AMOUNT(TnSgdAttrs, momentum, "share of the last direction that is kept", "0"),
    AMOUNT(TnSgdAttrs, weight_decay, "share of the parameter added to its gradient", "0"),
    NN_ATTR(TnSgdAttrs, nesterov, TN_OPT_BOOL, "look ahead along the momentum", .dflt = "false"),
};
static const TnOption lamb_rows[] = {
    ADAM_ROWS("1e-6", "0", "share of the parameter added to the direction"),
};
static const TnOption rmsprop_rows[] = {
    SHARE(TnRmspropAttrs, alpha, "share of the mean square that is kept", "0.99"),
    AMOUNT(TnRmspropAttrs, eps, "added to the divisor", "1e-8"),
    AMOUNT(TnRmspropAttrs, momentum, "share of the last direction that is kept", "0"),
    AMOUNT(TnRmspropAttrs, weight_decay, "share of the parameter added to its gradient", "0"),
    NN_ATTR(TnRmspropAttrs, centered, TN_OPT_BOOL, "divide by the deviation, not the mean square",
            .dflt = "false"),
};

/* --- Samples --------------------------------------------------------------------------------- */

#define SGD(...) (&(const TnSgdAttrs){ __VA_ARGS__ })
static const NnCase sgd_cases[] = {
    { 3, { NN_SHAPE(7), NN_SHAPE(7), NN_RANK0 } },
    { 3, { NN_SHAPE(2, 3), NN_SHAPE(2, 3), NN_RANK0 }, .attrs = SGD(0, 0.1, FALSE) },
    { 4,
      { NN_SHAPE(3, 5), NN_SHAPE(3, 5), NN_RANK0, NN_SHAPE(3, 5) },
      .attrs = SGD(0.9, 0, FALSE) },
    { 4,
      { NN_SHAPE(1031), NN_SHAPE(1031), NN_RANK0, NN_SHAPE(1031) },
      .attrs = SGD(0.9, 0.01, TRUE) },
    { 3, { NN_SHAPE(0), NN_SHAPE(0), NN_RANK0 } },
};
NN_SAMPLER(sgd_sample, sgd_cases, TnSgdAttrs)

#define LIKE4(...)                                                                                 \
    NN_SHAPE(__VA_ARGS__), NN_SHAPE(__VA_ARGS__), NN_SHAPE(__VA_ARGS__), NN_SHAPE(__VA_ARGS__)
#define STEP_AT_5(dtype_) .dtype = { [ADAM_STEP] = TN_DTYPE_##dtype_ }
static const NnCase adam_cases[] = {
    { 6, { LIKE4(7), NN_RANK0, NN_RANK0 }, STEP_AT_5(U64) },
    { 6, { LIKE4(3, 5), NN_RANK0, NN_RANK0 }, .attrs = ADAM(0.8, 0.95, 1e-6, 0.1) },
    { 6, { LIKE4(1031), NN_RANK0, NN_RANK0 }, STEP_AT_5(I64), .attrs = ADAM(0, 0.9, 1e-3, 0) },
    { 6, { LIKE4(0, 2), NN_RANK0, NN_RANK0 }, STEP_AT_5(U64) },
};
NN_SAMPLER(adam_sample, adam_cases, TnAdamAttrs)

#define RMS(...) (&(const TnRmspropAttrs){ __VA_ARGS__ })
#define LIKE3(...) NN_SHAPE(__VA_ARGS__), NN_SHAPE(__VA_ARGS__), NN_SHAPE(__VA_ARGS__)
/* Slots as a run would leave them: a mean whose square is less than the mean square. */
static const NnCase rmsprop_cases[] = {
    { 4, { LIKE3(7), NN_RANK0 } },
    { 5, { LIKE3(2, 3), NN_RANK0, NN_SHAPE(2, 3) }, .attrs = RMS(0.9, 1e-3, 0, 0.1, TRUE) },
    { 6,
      { LIKE3(3, 5), NN_RANK0, NN_ABSENT, NN_SHAPE(3, 5) },
      .attrs = RMS(0.99, 1e-8, 0.9, 0, FALSE) },
    { 6,
      { LIKE3(1031), NN_RANK0, NN_SHAPE(1031), NN_SHAPE(1031) },
      .attrs = RMS(0.9, 1e-3, 0.5, 0.01, TRUE) },
    { 4, { LIKE3(0), NN_RANK0 } },
};
NN_SAMPLER(rmsprop_sample, rmsprop_cases, TnRmspropAttrs)

/* --- The table ------------------------------------------------------------------------------- */

#define OPTIMISER(ident, help_, elementwise, ...)                                                  \
    NN_OP(ident##_step, NULL, help_, .flags = (elementwise), .in_place = 1, .body = ident##_body,  \
          .precision = TN_PRECISION_AS_STORED, ##__VA_ARGS__)
#define ADAM_ARGS                                                                                  \
    NN_IN(PARAM, GRAD, SLOT("exp_avg"), SLOT("exp_avg_sq", SQUARES), LR, STEP),                    \
        NN_OUT(PARAM, SLOT("exp_avg"), SLOT("exp_avg_sq")), .infer = adam_infer,                   \
                                                            .sample = adam_sample

OPTIMISER(sgd, "Gradient descent, with momentum if asked", TN_OP_ELEMENTWISE,
          NN_IN(PARAM, GRAD, LR, SLOT("momentum_buffer", .flags = TN_ARG_OPTIONAL)),
          NN_OUT(PARAM, SLOT("momentum_buffer")), .attrs = TN_OPTIONS(TnSgdAttrs, sgd_rows),
          .infer = sgd_infer, .sample = sgd_sample);
OPTIMISER(adam, "Adam", TN_OP_ELEMENTWISE, ADAM_ARGS,
          .attrs = TN_OPTIONS(TnAdamAttrs, nn_adam_rows), .join = nn_product_step_join);
OPTIMISER(adamw, "Adam with decay of the parameter itself", TN_OP_ELEMENTWISE, ADAM_ARGS,
          .attrs = TN_OPTIONS(TnAdamAttrs, nn_adamw_rows), .join = nn_product_step_join);
OPTIMISER(lamb, "Adam's direction as long as the parameter", 0, ADAM_ARGS,
          .attrs = TN_OPTIONS(TnAdamAttrs, lamb_rows));
OPTIMISER(rmsprop, "Gradient over the root of its mean square", TN_OP_ELEMENTWISE,
          NN_IN(PARAM, GRAD, SLOT("square_avg", .lo = 5, .hi = 8), LR,
                SLOT("grad_avg", .flags = TN_ARG_OPTIONAL),
                SLOT("momentum_buffer", .flags = TN_ARG_OPTIONAL)),
          NN_OUT(PARAM, SLOT("square_avg"), SLOT("grad_avg"), SLOT("momentum_buffer")),
          .attrs = TN_OPTIONS(TnRmspropAttrs, rmsprop_rows), .infer = rmsprop_infer,
          .sample = rmsprop_sample);
