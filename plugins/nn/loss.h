/* loss.h: what the losses share. */
#pragma once

#include "nn.h"

extern const char *const nn_reductions[]; /* names of TnLossReduction, batchmean last */

/* Losses of elements as the reduction asks; sum and mean have rank 0. */
TnVal nn_reduce_loss(TnGraph *graph, gint reduction, TnVal loss);
