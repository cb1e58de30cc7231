/* recurrent.c: whole sequences through recurrent networks, with PyTorch's formulas and order of
 * gates; a step at a time is cell.c.
 *
 * x's part of every step is one product, before the first. What needs the step before is unrolled:
 * the attribute `steps` says how often, as bodies and rules know no sizes. A gradient goes back
 * through the steps in one operator, which gives the gradients of the sums that the gates are
 * functions of; those of the weights are one product over all steps each (as in Appleyard et al.,
 * "Optimizing performance of recurrent neural networks on GPUs", 2016). */
#include "recurrent.h"

const char *const nn_nonlinearities[] = { "tanh", "relu", NULL };
static const TnAxesAttrs first_axis = { { 1, { 0 } } };

static const TnOption rnn_rows[] = { NN_STEPS_ROW, NN_NONLINEARITY_ROW };
static const TnOption gated_rows[] = { NN_STEPS_ROW };

/* --- Infer ------------------------------------------------------------------------------------ */

gboolean
nn_want_sequence(const TnInfer *infer, gint i, gint64 n, gint64 features, const char *of,
                 GError **error)
{
    const gint64 steps = ((const TnSequenceAttrs *)infer->attrs)->steps;
    const gint64 *dims = infer->in[i].dims;
    const gint64 want[] = { steps, n < 0 ? dims[1] : n, features < 0 ? dims[2] : features };
    return !nn_present(infer, i) || nn_infer_want(infer, i, 3, want, of, error);
}

gboolean
nn_gate_rows(const TnInfer *infer, gint i, gint64 gates, gint64 hidden, gint64 *rows,
             GError **error)
{
    return !__builtin_mul_overflow(gates, hidden, rows) ||
           nn_infer_fail(infer, i, error, "the state is too large for its gates");
}

TnType
nn_kept_type(const TnType *like, gint64 steps, gint64 n, gint64 features)
{
    return tn_type(nn_wider(like->dtype), 3, (const gint64[]){ steps, n, features });
}

/* x [T, N, I], states [N, H], then w_ih [gates H, I], w_hh [gates H, H], b_ih, b_hh [gates H] from
 * position w on. Output 0 is [T, N, H]; *rows: gates H. */
static gboolean
sequence_infer(TnInfer *infer, gint w, gint gates, gint64 *rows, GError **error)
{
    const TnType *x = &infer->in[0];
    const gint64 steps = ((const TnSequenceAttrs *)infer->attrs)->steps;
    const gint64 hidden = infer->in[1].dims[1];
    if (!nn_want_sequence(infer, 0, -1, -1, "the attribute 'steps'", error) ||
        !nn_gate_rows(infer, 1, gates, hidden, rows, error)) {
        return FALSE;
    }
    const gint64 state[] = { x->dims[1], hidden };
    const gint64 w_ih[] = { *rows, x->dims[2] };
    const gint64 w_hh[] = { *rows, hidden };
    for (gint i = 1; i < w; i++) {
        if (!nn_infer_want(infer, i, 2, state, "the samples of 'x' and the size of 'h'", error)) {
            return FALSE;
        }
    }
    if (!nn_infer_want(infer, w, 2, w_ih, "the gates of 'h' and the features of 'x'", error) ||
        !nn_infer_want(infer, w + 1, 2, w_hh, "the gates of 'h' and its size", error)) {
        return FALSE;
    }
    for (gint i = w + 2; i < infer->n_in; i++) {
        if (nn_present(infer, i) && !nn_infer_want(infer, i, 1, w_hh, "the gates of 'h'", error)) {
            return FALSE;
        }
    }
    infer->out[0] = tn_type(x->dtype, 3, (const gint64[]){ steps, x->dims[1], hidden });
    return TRUE;
}

static gboolean
rnn_infer(TnInfer *infer, GError **error)
{
    gint64 rows;
    return sequence_infer(infer, 2, 1, &rows, error);
}

static gboolean
lstm_infer(TnInfer *infer, GError **error)
{
    gint64 rows;
    if (!sequence_infer(infer, 3, 4, &rows, error)) {
        return FALSE;
    }
    const gint64 *dims = infer->out[0].dims;
    infer->out[1] = nn_kept_type(&infer->in[0], dims[0], dims[1], dims[2]);
    infer->out[2] = nn_kept_type(&infer->in[0], dims[0], dims[1], rows);
    return TRUE;
}

static gboolean
gru_infer(TnInfer *infer, GError **error)
{
    gint64 rows;
    if (!sequence_infer(infer, 2, 3, &rows, error) ||
        !nn_gate_rows(infer, 1, 4, infer->in[1].dims[1], &rows, error)) {
        return FALSE;
    }
    const gint64 *dims = infer->out[0].dims;
    infer->out[1] = nn_kept_type(&infer->in[0], dims[0], dims[1], rows);
    return TRUE;
}

/* --- Sequences -------------------------------------------------------------------------------- */

TnVal
nn_at(TnGraph *graph, TnVal x, gint64 t)
{
    const TnSliceAttrs one = { .starts = { 1, { t } },
                               .ends = { 1, { t + 1 } },
                               .axes = { 1, { 0 } } };
    return tn_val_is_none(x) ? x
                             : nn_1(graph, "squeeze", &first_axis, nn_1(graph, "slice", &one, x));
}

NnSteps
nn_steps_new(TnGraph *graph, gint64 n)
{
    return (NnSteps){ graph, n, g_new(TnVal, (gsize)n) };
}

/* Along a first axis, as many at a time as concat takes. */
TnVal
nn_steps_join(NnSteps *steps)
{
    enum { MOST = TN_MAX_IN - 1 };
    const TnAxisAttrs along = { 0 };
    for (gint64 t = 0; t < steps->n; t++) {
        steps->step[t] = nn_1(steps->graph, "unsqueeze", &first_axis, steps->step[t]);
    }
    for (gint64 n = steps->n; n > 1;) {
        gint64 joined = 0;
        for (gint64 t = 0; t < n; t += MOST, joined++) {
            const gint part = (gint)MIN(n - t, MOST);
            steps->step[joined] = part == 1 ? steps->step[t]
                                            : tn_graph_op(steps->graph, "concat", &along, part,
                                                          &steps->step[t], NULL);
        }
        n = joined;
    }
    const TnVal all = steps->step[0];
    g_clear_pointer(&steps->step, g_free);
    return all;
}

void
nn_parts(TnGraph *graph, TnVal all, gint n, TnVal *parts)
{
    const TnSplitAttrs attrs = { .axis = -1, .num_outputs = n };
    for (gint i = 0; i < n; i++) {
        parts[i] = TN_VAL_NONE;
    }
    tn_graph_op(graph, "split", &attrs, 1, &all, parts);
}

TnVal
nn_beside(TnGraph *graph, gint n, const TnVal *parts)
{
    const TnAxisAttrs last = { -1 };
    return tn_graph_op(graph, "concat", &last, n, parts, NULL);
}

static TnVal
linear(TnGraph *graph, TnVal x, TnVal w, TnVal b)
{
    const TnVal in[] = { x, w, b };
    return tn_graph_op(graph, "linear", NULL, tn_val_is_none(b) ? 2 : 3, in, NULL);
}

static TnVal
sigmoid(TnGraph *graph, TnVal x)
{
    return nn_1(graph, "sigmoid", NULL, x);
}

/* --- Bodies ----------------------------------------------------------------------------------- */

/* x's part of all steps; w: position of w_ih. The biases may be added at once unless a gate stands
 * between them. */
static TnVal
drive(const TnBody *body, gint w, gboolean both_biases)
{
    TnVal bias = nn_computed(body, w + 2);
    const TnVal other = both_biases ? nn_computed(body, w + 3) : TN_VAL_NONE;
    if (!tn_val_is_none(other)) {
        bias = tn_val_is_none(bias) ? other : tn_f_add(body->graph, bias, other);
    }
    return linear(body->graph, nn_computed(body, 0), nn_computed(body, w), bias);
}

static gboolean
rnn_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 n = nn_sequence(body)->steps;
    const char *function = nn_nonlinearities[nn_sequence(body)->nonlinearity];
    const TnVal from_x = drive(body, 2, TRUE), w_hh = nn_computed(body, 3);
    TnVal h = nn_computed(body, 1);
    NnSteps out = nn_steps_new(graph, n);
    (void)error;
    for (gint64 t = 0; t < n; t++) {
        const TnVal from_h = linear(graph, h, w_hh, TN_VAL_NONE);
        h = nn_1(graph, function, NULL, tn_f_add(graph, nn_at(graph, from_x, t), from_h));
        out.step[t] = h;
    }
    nn_give(body, 0, nn_steps_join(&out));
    return TRUE;
}

/* i, f, o = sigmoid; g = tanh; c' = f c + i g; h' = o tanh (c') (Hochreiter & Schmidhuber 1997,
 * Gers et al. 2000) */
static gboolean
lstm_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 n = nn_sequence(body)->steps;
    const TnVal from_x = drive(body, 3, TRUE), w_hh = nn_computed(body, 4);
    TnVal h = nn_computed(body, 1), c = nn_computed(body, 2);
    NnSteps out = nn_steps_new(graph, n), cells = nn_steps_new(graph, n),
            gates = nn_steps_new(graph, n);
    (void)error;
    for (gint64 t = 0; t < n; t++) {
        TnVal gate[TN_MAX_OUT];
        const TnVal from_h = linear(graph, h, w_hh, TN_VAL_NONE);
        nn_parts(graph, tn_f_add(graph, nn_at(graph, from_x, t), from_h), 4, gate);
        for (gint k = 0; k < 4; k++) {
            gate[k] = k == 2 ? tn_f_tanh(graph, gate[k]) : sigmoid(graph, gate[k]);
        }
        c = tn_f_add(graph, tn_f_mul(graph, gate[1], c), tn_f_mul(graph, gate[0], gate[2]));
        h = tn_f_mul(graph, gate[3], tn_f_tanh(graph, c));
        out.step[t] = h;
        cells.step[t] = c;
        gates.step[t] = nn_beside(graph, 4, gate);
    }
    nn_give(body, 0, nn_steps_join(&out));
    body->out[1] = nn_steps_join(&cells);
    body->out[2] = nn_steps_join(&gates);
    return TRUE;
}

/* r, z = sigmoid of both products; n = tanh (x's part + r q), q h's part; h' = n + z (h - n) (Cho
 * et al. 2014) */
static gboolean
gru_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 n = nn_sequence(body)->steps;
    const TnVal from_x = drive(body, 2, FALSE), w_hh = nn_computed(body, 3),
                b_hh = nn_computed(body, 5);
    TnVal h = nn_computed(body, 1);
    NnSteps out = nn_steps_new(graph, n), gates = nn_steps_new(graph, n);
    (void)error;
    for (gint64 t = 0; t < n; t++) {
        TnVal x[TN_MAX_OUT], q[TN_MAX_OUT], gate[4];
        nn_parts(graph, nn_at(graph, from_x, t), 3, x);
        nn_parts(graph, linear(graph, h, w_hh, b_hh), 3, q);
        gate[0] = sigmoid(graph, tn_f_add(graph, x[0], q[0]));
        gate[1] = sigmoid(graph, tn_f_add(graph, x[1], q[1]));
        gate[2] = tn_f_tanh(graph, tn_f_add(graph, x[2], tn_f_mul(graph, gate[0], q[2])));
        gate[3] = q[2];
        h = tn_f_add(graph, gate[2], tn_f_mul(graph, gate[1], tn_f_sub(graph, h, gate[2])));
        out.step[t] = h;
        gates.step[t] = nn_beside(graph, 4, gate);
    }
    nn_give(body, 0, nn_steps_join(&out));
    body->out[1] = nn_steps_join(&gates);
    return TRUE;
}

/* --- Gradients -------------------------------------------------------------------------------- */

/* Of input i, if it is asked for. */
static void
put(TnVjp *v, gint i, TnVal grad)
{
    if (i < v->n_in && v->need[i] && !tn_val_is_none(v->in[i])) {
        v->grad_in[i] = nn_to(v->graph, grad, nn_dtype(v->graph, v->in[i]));
    }
}

/* Rows of all steps as one matrix. */
static TnVal
rows_of(TnGraph *graph, TnVal x)
{
    const TnAxisAttrs last = { -1 };
    return nn_1(graph, "flatten", &last, nn_wide(graph, x));
}

/* sums^T x over all steps and samples. */
static TnVal
weight_gradient(TnGraph *graph, TnVal sums, TnVal x)
{
    return tn_f_matmul(graph, tn_f_transpose_matrix(graph, rows_of(graph, sums)),
                       rows_of(graph, x));
}

/* The state before each step: h, then what the steps before the last gave. */
static TnVal
states_before(TnVjp *v)
{
    const TnSliceAttrs but_last = { .starts = { 1, { 0 } },
                                    .ends = { 1, { -1 } },
                                    .axes = { 1, { 0 } } };
    const TnAxisAttrs along = { 0 };
    const TnVal first = nn_1(v->graph, "unsqueeze", &first_axis, v->in[1]);
    return nn_2(v->graph, "concat", &along, first, nn_1(v->graph, "slice", &but_last, v->out[0]));
}

/* Both weights' gradients at once, where x's and h's parts go into the same sums: a product with few columns
 * is slow for its size. */
static void
put_both(TnVjp *v, gint w, TnVal sums)
{
    TnGraph *graph = v->graph;
    const TnAxisAttrs last = { -1 };
    const TnVal x = nn_wide(graph, v->in[0]), h = nn_wide(graph, states_before(v));
    const TnVal all = weight_gradient(graph, sums, nn_2(graph, "concat", &last, x, h));
    for (gint i = 0; i < 2; i++) {
        const TnConcatPartAttrs part = { -1, i };
        const TnVal in[] = { all, nn_wide(graph, v->in[w]), nn_wide(graph, v->in[w + 1]) };
        put(v, w + i, tn_graph_op(graph, "concat_part", &part, G_N_ELEMENTS(in), in, NULL));
    }
}

/* x's, the weights' and the biases' gradients from those of the sums that x and h go into; w:
 * position of w_ih. */
static void
put_products(TnVjp *v, gint w, TnVal of_x, TnVal of_h)
{
    TnGraph *graph = v->graph;
    of_h = tn_val_equal(of_x, of_h) ? TN_VAL_NONE : nn_wide(graph, of_h);
    of_x = nn_wide(graph, of_x);
    if (v->need[0]) {
        put(v, 0, tn_f_matmul(graph, of_x, nn_wide(graph, v->in[w])));
    }
    const gboolean same = tn_val_is_none(of_h);
    of_h = same ? of_x : of_h;
    if (v->need[w] && v->need[w + 1] && same) {
        put_both(v, w, of_x);
    } else {
        if (v->need[w]) {
            put(v, w, weight_gradient(graph, of_x, v->in[0]));
        }
        if (v->need[w + 1]) {
            put(v, w + 1, weight_gradient(graph, of_h, states_before(v)));
        }
    }
    TnVal bias = TN_VAL_NONE;
    for (gint i = w + 2; i < v->n_in; i++) {
        if (v->need[i] && !tn_val_is_none(v->in[i])) {
            bias = same && !tn_val_is_none(bias)
                       ? bias
                       : tn_f_reduce_to(graph, i == w + 2 ? of_x : of_h, v->in[i]);
            put(v, i, bias);
        }
    }
}

/* Zeros for a gradient that is none. */
static TnVal
or_zeros(TnGraph *graph, TnVal grad, TnVal like)
{
    return tn_val_is_none(grad) ? tn_f_zeros_like(graph, like) : grad;
}

static gboolean
rnn_vjp(TnVjp *v, GError **error)
{
    TnVal grad[TN_MAX_OUT];
    (void)error;
    if (tn_val_is_none(v->grad_out[0])) {
        return TRUE;
    }
    const TnVal in[] = { v->in[3], v->in[1], v->out[0], v->grad_out[0] };
    tn_graph_op(v->graph, "rnn_grad", v->attrs, G_N_ELEMENTS(in), in, grad);
    if (tn_graph_check(v->graph, NULL)) {
        put(v, 1, grad[1]);
        put_products(v, 2, grad[0], grad[0]);
    }
    return TRUE;
}

/* The gates are there for this rule; whoever asks for a gradient through them gets the body's. */
static gboolean
lstm_vjp(TnVjp *v, GError **error)
{
    TnVal grad[TN_MAX_OUT];
    if (!tn_val_is_none(v->grad_out[2])) {
        return tn_vjp_of_body(v, error);
    }
    if (tn_val_is_none(v->grad_out[0]) && tn_val_is_none(v->grad_out[1])) {
        return TRUE;
    }
    const TnVal in[] = { v->in[4],
                         v->in[2],
                         v->out[1],
                         v->out[2],
                         or_zeros(v->graph, v->grad_out[0], v->out[0]),
                         v->grad_out[1] };
    const gint n = tn_val_is_none(v->grad_out[1]) ? 5 : 6;
    tn_graph_op(v->graph, "lstm_grad", v->attrs, n, in, grad);
    if (tn_graph_check(v->graph, NULL)) {
        put(v, 1, grad[1]);
        put(v, 2, grad[2]);
        put_products(v, 3, grad[0], grad[0]);
    }
    return TRUE;
}

static gboolean
gru_vjp(TnVjp *v, GError **error)
{
    TnVal grad[TN_MAX_OUT];
    if (!tn_val_is_none(v->grad_out[1])) {
        return tn_vjp_of_body(v, error);
    }
    if (tn_val_is_none(v->grad_out[0])) {
        return TRUE;
    }
    const TnVal in[] = { v->in[3], v->in[1], v->out[0], v->out[1], v->grad_out[0] };
    tn_graph_op(v->graph, "gru_grad", v->attrs, G_N_ELEMENTS(in), in, grad);
    if (tn_graph_check(v->graph, NULL)) {
        put(v, 1, grad[2]);
        put_products(v, 2, grad[0], grad[1]);
    }
    return TRUE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

/* Steps, samples, features and state all differ, so that each may be another. */
#define STEPS(n_) (&(const TnSequenceAttrs){ .steps = (n_) })
#define W(gates_, h_) NN_SHAPE((gates_) * (h_), 4), NN_SHAPE((gates_) * (h_), h_)
#define B(gates_, h_) NN_SHAPE((gates_) * (h_)), NN_SHAPE((gates_) * (h_))
#define X(steps_, n_, h_) NN_SHAPE(steps_, n_, 4), NN_SHAPE(n_, h_)
static const NnCase rnn_cases[] = {
    { 6, { X(3, 5, 2), W(1, 2), B(1, 2) }, .attrs = STEPS(3) },
    { 4, { X(1, 5, 3), W(1, 3) }, .attrs = &(const TnSequenceAttrs){ 1, TN_RNN_RELU } },
    { 6,
      { X(3, 5, 2), W(1, 2), NN_ABSENT, NN_SHAPE(2) },
      .attrs = &(const TnSequenceAttrs){ 3, TN_RNN_RELU } },
    { 5, { X(2, 0, 3), W(1, 3), NN_SHAPE(3) }, .attrs = STEPS(2) },
    { 4, { X(70, 1, 1), W(1, 1) }, .attrs = STEPS(70) }, /* more steps than concat takes */
};
NN_SAMPLER(rnn_sample, rnn_cases, TnSequenceAttrs)
static const NnCase lstm_cases[] = {
    { 7, { X(3, 5, 2), NN_SHAPE(5, 2), W(4, 2), B(4, 2) }, .attrs = STEPS(3) },
    { 5, { X(2, 3, 1), NN_SHAPE(3, 1), W(4, 1) }, .attrs = STEPS(2) },
    { 7, { X(1, 5, 2), NN_SHAPE(5, 2), W(4, 2), NN_ABSENT, NN_SHAPE(8) }, .attrs = STEPS(1) },
    { 6, { X(3, 0, 2), NN_SHAPE(0, 2), W(4, 2), NN_SHAPE(8) }, .attrs = STEPS(3) },
};
NN_SAMPLER(lstm_sample, lstm_cases, TnSequenceAttrs)
static const NnCase gru_cases[] = {
    { 6, { X(3, 5, 2), W(3, 2), B(3, 2) }, .attrs = STEPS(3) },
    { 4, { X(2, 3, 1), W(3, 1) }, .attrs = STEPS(2) },
    { 6, { X(1, 5, 2), W(3, 2), NN_ABSENT, NN_SHAPE(6) }, .attrs = STEPS(1) },
    { 5, { X(3, 0, 2), W(3, 2), NN_SHAPE(6) }, .attrs = STEPS(3) },
};
NN_SAMPLER(gru_sample, gru_cases, TnSequenceAttrs)

/* ONNX's operators of these names keep their weights otherwise: another order of gates, a row for
 * each direction. */

/* --- The table -------------------------------------------------------------------------------- */

#define ROW(name_, rank_, help_, ...)                                                              \
    NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(rank_, rank_), ##__VA_ARGS__)
#define KEPT(name_, help_) NN_ARG(name_, 'S', NN_STAT, help_, NN_RANK(3, 3))
#define WEIGHTS(gates_)                                                                            \
    ROW("w_ih", 2, "[" gates_ "H, I]"), ROW("w_hh", 2, "[" gates_ "H, H]"),                        \
        ROW("b_ih", 1, "[" gates_ "H]", .flags = TN_ARG_OPTIONAL),                                 \
        ROW("b_hh", 1, "[" gates_ "H]", .flags = TN_ARG_OPTIONAL)

NN_OP(rnn, NULL, "A plain recurrent network over a sequence",
      NN_IN(ROW("x", 3, "[steps, N, I]"), ROW("h", 2, "[N, H]"), WEIGHTS("")),
      NN_OUT(ROW("out", 3, "[steps, N, H]")), .attrs = TN_OPTIONS(TnSequenceAttrs, rnn_rows),
      .infer = rnn_infer, .vjp = rnn_vjp, .body = rnn_body, .sample = rnn_sample,
      .precision = TN_PRECISION_NARROW);
NN_OP(lstm, NULL, "A long short-term memory over a sequence; gates i, f, g, o",
      NN_IN(ROW("x", 3, "[steps, N, I]"), ROW("h", 2, "[N, H]"), ROW("c", 2, "[N, H]"),
            WEIGHTS("4 ")),
      NN_OUT(ROW("out", 3, "[steps, N, H]"), KEPT("cells", "[steps, N, H]"),
             KEPT("gates", "[steps, N, 4 H], for the gradient")),
      .attrs = TN_OPTIONS(TnSequenceAttrs, gated_rows), .infer = lstm_infer, .vjp = lstm_vjp,
      .body = lstm_body, .sample = lstm_sample, .precision = TN_PRECISION_NARROW);
NN_OP(gru, NULL, "A gated recurrent unit over a sequence; gates r, z, n",
      NN_IN(ROW("x", 3, "[steps, N, I]"), ROW("h", 2, "[N, H]"), WEIGHTS("3 ")),
      NN_OUT(ROW("out", 3, "[steps, N, H]"),
             KEPT("gates", "[steps, N, 4 H], and h's part of n, for the gradient")),
      .attrs = TN_OPTIONS(TnSequenceAttrs, gated_rows), .infer = gru_infer, .vjp = gru_vjp,
      .body = gru_body, .sample = gru_sample, .precision = TN_PRECISION_NARROW);
