/* optimiser_product.c: a step of an optimiser whose gradient is a product of two matrices, as that of a
 * dense layer's weights is. As one node, so that a device may compute a part of the product, take the
 * step there, and never store the gradient. */
#include "optimiser.h"

enum { A, B, PARAM_AT, SLOTS_AT, N_IN = 7 };
/* Inputs of the step alone: param, grad, then slots and numbers. */
#define N_STEP 6
#define GRAD_AT 1

static const char *const names[][2] = {
    { "adam_step", "adam_product_step" },
    { "adamw_step", "adamw_product_step" },
};

/* The step's name (of 0) and that of the step of a product (1). */
static const char *const *
names_of(const TnOp *op, gint which)
{
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(names[i][which], op->name) == 0) {
            return names[i];
        }
    }
    return NULL;
}

static gboolean
product_infer(TnInfer *infer, GError **error)
{
    const TnType *a = &infer->in[A], *b = &infer->in[B];
    const TnOp *step = tn_op_find(names_of(infer->op, 1)[0], error);
    if (step == NULL || !nn_infer_want(infer, B, 2, (gint64[]){ a->dims[1], b->dims[1] },
                                       "the columns of 'a'", error)) {
        return FALSE;
    }
    TnType in[N_STEP] = { infer->in[PARAM_AT],
                          tn_type(a->dtype, 2, (gint64[]){ a->dims[0], b->dims[1] }) };
    memcpy(in + 2, infer->in + SLOTS_AT, (N_STEP - 2) * sizeof *in);
    return tn_op_infer(step, infer->attrs, infer->name, N_STEP, in, NULL, &infer->n_out, infer->out,
                       error);
}

static gboolean
product_body(TnBody *body, GError **error)
{
    TnVal in[N_STEP] = { body->in[PARAM_AT], tn_f_matmul(body->graph, body->in[A], body->in[B]) };
    (void)error;
    memcpy(in + 2, body->in + SLOTS_AT, (N_STEP - 2) * sizeof *in);
    tn_graph_op(body->graph, names_of(body->op, 1)[0], body->attrs, N_STEP, in, body->out);
    return TRUE;
}

TnVal
nn_product_step_join(TnSimplify *s)
{
    /* Asked for readers, too, which have other inputs. */
    const TnVal *of = s->of < 0 ? tn_simplify_inputs(s, s->in[GRAD_AT], "matmul") : NULL;
    if (of == NULL) {
        return TN_VAL_NONE;
    }
    TnVal in[N_IN] = { of[0], of[1], s->in[0] };
    const char *name = names_of(s->op, 0)[1];
    memcpy(in + SLOTS_AT, s->in + 2, (N_STEP - 2) * sizeof *in);
    return tn_simplify_joins(s, name, s->attrs, N_IN, in, GRAD_AT)
               ? tn_simplify_add(s, name, s->attrs, N_IN, in)
               : TN_VAL_NONE;
}

#define CASE(m, k, n, ...)                                                                         \
    {                                                                                              \
        N_IN, { NN_SHAPE(m, k), NN_SHAPE(k, n), NN_SHAPE(m, n), NN_SHAPE(m, n),                    \
                NN_SHAPE(m, n), NN_RANK0,       NN_RANK0 },                                        \
            ##__VA_ARGS__                                                                          \
    }
static const NnCase cases[] = {
    CASE(3, 4, 5, .dtype = { [N_IN - 1] = TN_DTYPE_U64 }),
    CASE(17, 33, 40, .attrs = ADAM(0.8, 0.95, 1e-6, 0.1)),
    CASE(165, 65, 201, .attrs = ADAM(0.8, 0.95, 1e-6, 0.1)),
    CASE(1, 1, 1),
    CASE(2, 0, 3),
    CASE(0, 2, 3),
};
NN_SAMPLER(product_sample, cases, TnAdamAttrs)

#define MATRIX .min_rank = 2, .max_rank = 2
#define PRODUCT_STEP(ident, help_, rows_)                                                          \
    NN_OP(ident##_product_step, NULL, help_,                                                       \
          NN_IN(NN_ARG("a", 'T', F, "[M, K]", MATRIX), NN_ARG("b", 'T', F, "[K, N]", MATRIX),      \
                NN_ARG("param", 'P', F, "[M, N]", MATRIX), SLOT("exp_avg"),                        \
                SLOT("exp_avg_sq", SQUARES), LR, STEP),                                            \
          NN_OUT(NN_ARG("param", 'P', F, "[M, N]", .flags = TN_ARG_REPLACES),                      \
                 SLOT("exp_avg", .flags = TN_ARG_REPLACES),                                        \
                 SLOT("exp_avg_sq", .flags = TN_ARG_REPLACES)),                                    \
          .attrs = TN_OPTIONS(TnAdamAttrs, rows_), .infer = product_infer, .body = product_body,   \
          .sample = product_sample, .precision = TN_PRECISION_NARROW)

PRODUCT_STEP(adam, "Adam with the gradient a b", nn_adam_rows);
PRODUCT_STEP(adamw, "Adam with decay of the parameter itself and the gradient a b", nn_adamw_rows);
