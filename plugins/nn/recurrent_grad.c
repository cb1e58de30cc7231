/* recurrent_grad.c: back through the steps of whole sequences: from the gradient of what each step
 * gave to those of the sums that its gates are functions of, by the formulas of recurrent.c. */
#include "recurrent.h"

static const TnOption rnn_rows[] = { NN_STEPS_ROW, NN_NONLINEARITY_ROW };
static const TnOption gated_rows[] = { NN_STEPS_ROW };

/* --- Infer ------------------------------------------------------------------------------------ */

/* w_hh [gates H, H], then h [N, H] at position 1, then sequences of `parts` times H each; a last
 * optional one of H. */
static gboolean
grad_infer(TnInfer *infer, gint64 gates, gint n, const gint *parts, GError **error)
{
    const gint64 samples = infer->in[1].dims[0], hidden = infer->in[1].dims[1];
    gint64 rows;
    if (!nn_gate_rows(infer, 1, MAX(gates, 4), hidden, &rows, error)) {
        return FALSE;
    }
    rows = gates * hidden;
    const gint64 w_hh[] = { rows, hidden };
    if (!nn_infer_want(infer, 0, 2, w_hh, "the gates of the state", error)) {
        return FALSE;
    }
    for (gint i = 0; i < n; i++) {
        if (2 + i < infer->n_in && !nn_want_sequence(infer, 2 + i, samples, parts[i] * hidden,
                                                     "the state and 'steps'", error)) {
            return FALSE;
        }
    }
    const gint64 steps = ((const TnSequenceAttrs *)infer->attrs)->steps;
    infer->out[0] = tn_type(infer->in[1].dtype, 3, (const gint64[]){ steps, samples, rows });
    return TRUE;
}

static gboolean
rnn_grad_infer(TnInfer *infer, GError **error)
{
    infer->out[1] = infer->in[1];
    return grad_infer(infer, 1, 2, (const gint[]){ 1, 1 }, error);
}

static gboolean
lstm_grad_infer(TnInfer *infer, GError **error)
{
    infer->out[1] = infer->out[2] = infer->in[1];
    return grad_infer(infer, 4, 4, (const gint[]){ 1, 4, 1, 1 }, error);
}

static gboolean
gru_grad_infer(TnInfer *infer, GError **error)
{
    infer->out[2] = infer->in[1];
    if (!grad_infer(infer, 3, 3, (const gint[]){ 1, 4, 1 }, error)) {
        return FALSE;
    }
    infer->out[1] = infer->out[0];
    return TRUE;
}

/* --- Bodies ----------------------------------------------------------------------------------- */

/* 1 - x */
static TnVal
rest_of(TnGraph *graph, TnVal x)
{
    return tn_f_sub(graph, tn_f_const(graph, x, 1), x);
}

/* y (1 - y), the derivative of y = sigmoid. */
static TnVal
sigmoid_slope(TnGraph *graph, TnVal y)
{
    return tn_f_mul(graph, y, rest_of(graph, y));
}

/* 1 - y^2, that of y = tanh. */
static TnVal
tanh_slope(TnGraph *graph, TnVal y)
{
    return rest_of(graph, tn_f_mul(graph, y, y));
}

/* a + b, where b may be none. */
static TnVal
plus(TnGraph *graph, TnVal a, TnVal b)
{
    return tn_val_is_none(b) ? a : tn_f_add(graph, a, b);
}

static gboolean
rnn_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 n = nn_sequence(body)->steps;
    const gboolean relu = nn_sequence(body)->nonlinearity == TN_RNN_RELU;
    const TnVal w_hh = nn_computed(body, 0), out = nn_computed(body, 2), g = nn_computed(body, 3);
    TnVal later = TN_VAL_NONE;
    NnSteps sums = nn_steps_new(graph, n);
    (void)error;
    for (gint64 t = n - 1; t >= 0; t--) {
        const TnVal y = nn_at(graph, out, t), dh = plus(graph, nn_at(graph, g, t), later);
        const TnVal zero = tn_f_const(graph, y, 0);
        sums.step[t] = relu ? tn_f_where(graph, tn_f_greater(graph, y, zero), dh, zero)
                            : tn_f_mul(graph, dh, tanh_slope(graph, y));
        later = tn_f_matmul(graph, sums.step[t], w_hh);
    }
    nn_give(body, 0, nn_steps_join(&sums));
    nn_give(body, 1, later);
    return TRUE;
}

static gboolean
lstm_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 n = nn_sequence(body)->steps;
    const TnVal w_hh = nn_computed(body, 0), cells = nn_computed(body, 2),
                gates = nn_computed(body, 3);
    const TnVal g = nn_computed(body, 4), g_cells = nn_computed(body, 5);
    TnVal dh = TN_VAL_NONE, dc = TN_VAL_NONE;
    NnSteps sums = nn_steps_new(graph, n);
    (void)error;
    for (gint64 t = n - 1; t >= 0; t--) {
        TnVal gate[TN_MAX_OUT], sum[4];
        const TnVal before = t > 0 ? nn_at(graph, cells, t - 1) : nn_computed(body, 1);
        const TnVal tanh_c = tn_f_tanh(graph, nn_at(graph, cells, t));
        nn_parts(graph, nn_at(graph, gates, t), 4, gate);
        dh = plus(graph, nn_at(graph, g, t), dh);
        dc = plus(graph, tn_f_mul(graph, tn_f_mul(graph, dh, gate[3]), tanh_slope(graph, tanh_c)),
                  dc);
        dc = plus(graph, dc, nn_at(graph, g_cells, t));
        const TnVal to[] = { tn_f_mul(graph, dc, gate[2]), tn_f_mul(graph, dc, before),
                             tn_f_mul(graph, dc, gate[0]), tn_f_mul(graph, dh, tanh_c) };
        for (gint k = 0; k < 4; k++) {
            sum[k] = tn_f_mul(graph, to[k],
                              k == 2 ? tanh_slope(graph, gate[k]) : sigmoid_slope(graph, gate[k]));
        }
        sums.step[t] = nn_beside(graph, 4, sum);
        dh = tn_f_matmul(graph, sums.step[t], w_hh);
        dc = tn_f_mul(graph, dc, gate[1]);
    }
    nn_give(body, 0, nn_steps_join(&sums));
    nn_give(body, 1, dh);
    nn_give(body, 2, dc);
    return TRUE;
}

static gboolean
gru_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 n = nn_sequence(body)->steps;
    const TnVal w_hh = nn_computed(body, 0), out = nn_computed(body, 2),
                gates = nn_computed(body, 3);
    const TnVal g = nn_computed(body, 4);
    TnVal dh = TN_VAL_NONE;
    NnSteps of_x = nn_steps_new(graph, n), of_h = nn_steps_new(graph, n);
    (void)error;
    for (gint64 t = n - 1; t >= 0; t--) {
        TnVal gate[TN_MAX_OUT], sum[3];
        const TnVal before = t > 0 ? nn_at(graph, out, t - 1) : nn_computed(body, 1);
        nn_parts(graph, nn_at(graph, gates, t), 4, gate);
        dh = plus(graph, nn_at(graph, g, t), dh);
        const TnVal to_n = tn_f_mul(graph, dh, rest_of(graph, gate[1]));
        const TnVal to_z = tn_f_mul(graph, dh, tn_f_sub(graph, before, gate[2]));
        sum[2] = tn_f_mul(graph, to_n, tanh_slope(graph, gate[2]));
        sum[1] = tn_f_mul(graph, to_z, sigmoid_slope(graph, gate[1]));
        sum[0] = tn_f_mul(graph, tn_f_mul(graph, sum[2], gate[3]), sigmoid_slope(graph, gate[0]));
        of_x.step[t] = nn_beside(graph, 3, sum);
        sum[2] = tn_f_mul(graph, sum[2], gate[0]);
        of_h.step[t] = nn_beside(graph, 3, sum);
        dh = tn_f_add(graph, tn_f_mul(graph, dh, gate[1]), tn_f_matmul(graph, of_h.step[t], w_hh));
    }
    nn_give(body, 0, nn_steps_join(&of_x));
    nn_give(body, 1, nn_steps_join(&of_h));
    nn_give(body, 2, dh);
    return TRUE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define STEPS(n_) (&(const TnSequenceAttrs){ .steps = (n_) })
/* Sequences of n_ steps of c_ samples. */
#define S(n_, c_, features_) NN_SHAPE(n_, c_, features_)
static const NnCase rnn_grad_cases[] = {
    { 4, { NN_SHAPE(2, 2), NN_SHAPE(5, 2), S(3, 5, 2), S(3, 5, 2) }, .attrs = STEPS(3) },
    { 4,
      { NN_SHAPE(3, 3), NN_SHAPE(5, 3), S(2, 5, 3), S(2, 5, 3) },
      .attrs = &(const TnSequenceAttrs){ 2, TN_RNN_RELU } },
    { 4, { NN_SHAPE(2, 2), NN_SHAPE(0, 2), S(1, 0, 2), S(1, 0, 2) }, .attrs = STEPS(1) },
};
NN_SAMPLER(rnn_grad_sample, rnn_grad_cases, TnSequenceAttrs)
static const NnCase lstm_grad_cases[] = {
    { 5,
      { NN_SHAPE(8, 2), NN_SHAPE(5, 2), S(3, 5, 2), S(3, 5, 8), S(3, 5, 2) },
      .attrs = STEPS(3) },
    { 6,
      { NN_SHAPE(8, 2), NN_SHAPE(5, 2), S(3, 5, 2), S(3, 5, 8), S(3, 5, 2), S(3, 5, 2) },
      .attrs = STEPS(3) },
    { 5,
      { NN_SHAPE(4, 1), NN_SHAPE(0, 1), S(1, 0, 1), S(1, 0, 4), S(1, 0, 1) },
      .attrs = STEPS(1) },
};
NN_SAMPLER(lstm_grad_sample, lstm_grad_cases, TnSequenceAttrs)
static const NnCase gru_grad_cases[] = {
    { 5,
      { NN_SHAPE(6, 2), NN_SHAPE(5, 2), S(3, 5, 2), S(3, 5, 8), S(3, 5, 2) },
      .attrs = STEPS(3) },
    { 5,
      { NN_SHAPE(3, 1), NN_SHAPE(0, 1), S(1, 0, 1), S(1, 0, 4), S(1, 0, 1) },
      .attrs = STEPS(1) },
};
NN_SAMPLER(gru_grad_sample, gru_grad_cases, TnSequenceAttrs)

/* --- The table -------------------------------------------------------------------------------- */

#define ROW(name_, rank_, help_, ...)                                                              \
    NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(rank_, rank_), ##__VA_ARGS__)
#define KEPT(name_, help_, ...)                                                                    \
    NN_ARG(name_, 'S', TN_DTYPES_FLOAT, help_, NN_RANK(3, 3), ##__VA_ARGS__)

NN_OP(rnn_grad, NULL, "Gradient of rnn's sums and its first state",
      NN_IN(ROW("w_hh", 2, "[H, H]"), ROW("h", 2, "[N, H]"),
            ROW("out", 3, "[steps, N, H], as rnn gave it", .n_kinks = 1, .gap = 0.05),
            ROW("g", 3, "[steps, N, H]")),
      NN_OUT(ROW("dsums", 3, "[steps, N, H]"), ROW("dh", 2, "[N, H]")),
      .attrs = TN_OPTIONS(TnSequenceAttrs, rnn_rows), .infer = rnn_grad_infer,
      .body = rnn_grad_body, .sample = rnn_grad_sample, .precision = TN_PRECISION_NARROW);
NN_OP(lstm_grad, NULL, "Gradient of lstm's sums and its first states",
      NN_IN(ROW("w_hh", 2, "[4 H, H]"), ROW("c", 2, "[N, H]"),
            KEPT("cells", "[steps, N, H], as lstm gave them"),
            KEPT("gates", "[steps, N, 4 H], likewise"), ROW("g", 3, "[steps, N, H]"),
            KEPT("g_cells", "[steps, N, H]", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(ROW("dsums", 3, "[steps, N, 4 H]"), ROW("dh", 2, "[N, H]"), ROW("dc", 2, "[N, H]")),
      .attrs = TN_OPTIONS(TnSequenceAttrs, gated_rows), .infer = lstm_grad_infer,
      .body = lstm_grad_body, .sample = lstm_grad_sample, .in_place = 1u << 3,
      .precision = TN_PRECISION_NARROW);
NN_OP(gru_grad, NULL, "Gradient of gru's sums, of x and of h, and its first state",
      NN_IN(ROW("w_hh", 2, "[3 H, H]"), ROW("h", 2, "[N, H]"),
            ROW("out", 3, "[steps, N, H], as gru gave it"),
            KEPT("gates", "[steps, N, 4 H], likewise"), ROW("g", 3, "[steps, N, H]")),
      NN_OUT(ROW("dsums_x", 3, "[steps, N, 3 H]"), ROW("dsums_h", 3, "[steps, N, 3 H]"),
             ROW("dh", 2, "[N, H]")),
      .attrs = TN_OPTIONS(TnSequenceAttrs, gated_rows), .infer = gru_grad_infer,
      .body = gru_grad_body, .sample = gru_grad_sample, .precision = TN_PRECISION_NARROW);
