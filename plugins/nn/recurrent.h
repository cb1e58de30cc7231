/* recurrent.h: what whole sequences and their gradients share. */
#pragma once

#include "nn.h"

extern const char *const nn_nonlinearities[];

/* Of rnn and its gradient; the others have the first alone. */
#define NN_STEPS_ROW                                                                               \
    NN_ATTR(TnSequenceAttrs, steps, TN_OPT_INT64, "steps of the sequence, x's first size",         \
            TN_RANGE_I(1, 1 << 20), .flags = TN_OPTION_REQUIRED)
#define NN_NONLINEARITY_ROW                                                                        \
    NN_ATTR(TnSequenceAttrs, nonlinearity, TN_OPT_ENUM, "what makes the new state",                \
            .choices = nn_nonlinearities, .dflt = "tanh")

static inline const TnSequenceAttrs *
nn_sequence(const TnBody *body)
{
    return body->attrs;
}
/* Input i in the dtype that is computed in; output k in that of input 0. */
static inline TnVal
nn_computed(const TnBody *body, gint i)
{
    return nn_wide(body->graph, nn_in(body, i));
}
static inline void
nn_give(TnBody *body, gint k, TnVal val)
{
    body->out[k] = nn_to(body->graph, val, nn_dtype(body->graph, body->in[0]));
}

/* Input i, if it is there, is [steps, n, features]; -1: any n, any features. */
gboolean nn_want_sequence(const TnInfer *infer, gint i, gint64 n, gint64 features, const char *of,
                          GError **error);
/* *rows = gates * hidden; FALSE if that is too large. */
gboolean nn_gate_rows(const TnInfer *infer, gint i, gint64 gates, gint64 hidden, gint64 *rows,
                      GError **error);
/* [steps, n, features] in the dtype that is computed in. */
TnType nn_kept_type(const TnType *like, gint64 steps, gint64 n, gint64 features);

/* x of step t: [N, features] of [steps, N, features]; none stays none. */
TnVal nn_at(TnGraph *graph, TnVal x, gint64 t);
/* What was computed at each step, and will be one value. */
typedef struct {
    TnGraph *graph;
    gint64 n;
    TnVal *step;
} NnSteps;
NnSteps nn_steps_new(TnGraph *graph, gint64 n);
/* The steps as [n, N, features]; frees the table. */
TnVal nn_steps_join(NnSteps *steps);
/* n equal parts of the last axis; n values side by side along it. */
void nn_parts(TnGraph *graph, TnVal all, gint n, TnVal *parts);
TnVal nn_beside(TnGraph *graph, gint n, const TnVal *parts);
