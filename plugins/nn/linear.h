/* linear.h: the rules by which a dense layer takes in what follows it (fused_linear.c). */
#pragma once

#include "nn.h"

/* Of linear, linear_turned and fused_linear: the node reads its input s->of, which is such a layer. */
TnVal nn_linear_and_rest(TnSimplify *s);
/* relu_grad's own. */
TnVal nn_relu_grad_simplify(TnSimplify *s);
