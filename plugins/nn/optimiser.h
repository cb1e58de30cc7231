/* optimiser.h: what the rows of optimisers' steps share, and steps of a gradient that is a product. */
#pragma once

#include "nn.h"

#define SHARE(Struct, member_, help_, dflt_)                                                       \
    NN_ATTR(Struct, member_, TN_OPT_DOUBLE, help_, TN_RANGE_F(0, 1), .flags = TN_OPTION_OPEN_MAX,  \
            .dflt = (dflt_))
#define AMOUNT(Struct, member_, help_, dflt_)                                                      \
    NN_ATTR(Struct, member_, TN_OPT_DOUBLE, help_, TN_RANGE_F(0, DBL_MAX), .dflt = (dflt_))

#define ADAM_ROWS(eps_, decay_, decay_help_)                                                       \
    SHARE(TnAdamAttrs, beta1, "share of the mean gradient that is kept", "0.9"),                   \
        SHARE(TnAdamAttrs, beta2, "share of the mean square that is kept", "0.999"),               \
        AMOUNT(TnAdamAttrs, eps, "added to the divisor", eps_),                                    \
        AMOUNT(TnAdamAttrs, weight_decay, decay_help_, decay_)
static const TnOption nn_adam_rows[] = {
    ADAM_ROWS("1e-8", "0", "share of the parameter added to its gradient"),
};
static const TnOption nn_adamw_rows[] = {
    ADAM_ROWS("1e-8", "0.01", "share of the parameter taken off, times lr"),
};
#define ADAM(...) (&(const TnAdamAttrs){ __VA_ARGS__ })

#define F TN_DTYPES_FLOAT
#define PARAM NN_ARG("param", 'T', F, "any shape")
#define GRAD NN_ARG("grad", 'G', F, "param's shape")
#define SLOT(name_, ...) NN_ARG(name_, 'S', F, "param's shape", ##__VA_ARGS__)
#define LR NN_ARG("lr", 'L', F, "[]: learning rate", .lo = 0.01, .hi = 0.1)
#define STEP                                                                                       \
    NN_ARG("step", 'N', TN_DTYPES_NUMBER, "[]: number of this update, from 1",                     \
           .flags = TN_ARG_NO_GRAD, .lo = 1, .hi = 9)
#define SQUARES .lo = 1, .hi = 2

/* The rule of adam_step and adamw_step: a gradient that is a product of two matrices, which nobody else
 * reads, and the step as one node, where a device has a kernel for that. */
TnVal nn_product_step_join(TnSimplify *simplify);
