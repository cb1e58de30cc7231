/* cell.c: one step of recurrent networks, with PyTorch's formulas and order of gates. */
#include "nn.h"

static const char *const nonlinearities[] = { "tanh", "relu", NULL };
static const TnOption rnn_rows[] = {
    NN_ATTR(TnRnnAttrs, nonlinearity, TN_OPT_ENUM, "what makes the new state",
            .choices = nonlinearities, .dflt = "tanh"),
};

/* x [N, I], h [N, H] (and c), then w_ih [gates H, I], w_hh [gates H, H], b_ih, b_hh [gates H];
 * w: position of w_ih. */
static gboolean
cell_infer(TnInfer *infer, gint w, gint gates, GError **error)
{
    const TnType *x = &infer->in[0];
    const TnType *h = &infer->in[1];
    const gint64 hidden = h->dims[1];
    gint64 rows;
    if (__builtin_mul_overflow(gates, hidden, &rows)) {
        return nn_infer_fail(infer, 1, error, "the state is too large for its gates");
    }
    const gint64 state[] = { x->dims[0], hidden };
    const gint64 w_ih[] = { rows, x->dims[1] };
    const gint64 w_hh[] = { rows, hidden };
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
    for (gint k = 0; k < infer->n_out; k++) {
        infer->out[k] = *h;
    }
    return TRUE;
}

static gboolean
rnn_infer(TnInfer *infer, GError **error)
{
    return cell_infer(infer, 2, 1, error);
}

static gboolean
lstm_infer(TnInfer *infer, GError **error)
{
    return cell_infer(infer, 3, 4, error);
}

static gboolean
gru_infer(TnInfer *infer, GError **error)
{
    return cell_infer(infer, 2, 3, error);
}

static TnVal
product(TnBody *body, gint x, gint w, gint b)
{
    TnGraph *graph = body->graph;
    const TnVal in[] = { nn_wide(graph, body->in[x]), nn_wide(graph, body->in[w]),
                         nn_wide(graph, nn_in(body, b)) };
    return tn_graph_op(graph, "linear", NULL, tn_val_is_none(in[2]) ? 2 : 3, in, NULL);
}

/* Both products together; w: position of w_ih. */
static TnVal
drive(TnBody *body, gint w)
{
    return tn_f_add(body->graph, product(body, 0, w, w + 2), product(body, 1, w + 1, w + 3));
}

static void
gates_of(TnGraph *graph, TnVal all, gint n, TnVal *gates)
{
    const TnSplitAttrs attrs = { .axis = -1, .num_outputs = n };
    for (gint i = 0; i < n; i++) {
        gates[i] = TN_VAL_NONE;
    }
    tn_graph_op(graph, "split", &attrs, 1, &all, gates);
}

static TnVal
sigmoid(TnGraph *graph, TnVal x)
{
    return nn_1(graph, "sigmoid", NULL, x);
}

static void
give(TnBody *body, gint k, TnVal val)
{
    body->out[k] = nn_to(body->graph, val, nn_dtype(body->graph, body->in[1]));
}

static gboolean
rnn_body(TnBody *body, GError **error)
{
    const gboolean relu = ((const TnRnnAttrs *)body->attrs)->nonlinearity == TN_RNN_RELU;
    const TnVal sum = drive(body, 2);
    (void)error;
    give(body, 0, nn_1(body->graph, relu ? "relu" : "tanh", NULL, sum));
    return TRUE;
}

/* i, f, o = sigmoid; g = tanh; c' = f c + i g; h' = o tanh (c') (Hochreiter & Schmidhuber 1997,
 * Gers et al. 2000) */
static gboolean
lstm_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    TnVal gate[TN_MAX_OUT];
    (void)error;
    gates_of(graph, drive(body, 3), 4, gate);
    const TnVal kept = tn_f_mul(graph, sigmoid(graph, gate[1]), nn_wide(graph, body->in[2]));
    const TnVal news = tn_f_mul(graph, sigmoid(graph, gate[0]), tn_f_tanh(graph, gate[2]));
    const TnVal c = tn_f_add(graph, kept, news);
    give(body, 0, tn_f_mul(graph, sigmoid(graph, gate[3]), tn_f_tanh(graph, c)));
    give(body, 1, c);
    return TRUE;
}

/* r, z = sigmoid of both products; n = tanh (x's part + r h's part); h' = n + z (h - n) (Cho et
 * al. 2014) */
static gboolean
gru_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    TnVal from_x[TN_MAX_OUT], from_h[TN_MAX_OUT];
    (void)error;
    gates_of(graph, product(body, 0, 2, 4), 3, from_x);
    gates_of(graph, product(body, 1, 3, 5), 3, from_h);
    const TnVal r = sigmoid(graph, tn_f_add(graph, from_x[0], from_h[0]));
    const TnVal z = sigmoid(graph, tn_f_add(graph, from_x[1], from_h[1]));
    const TnVal n = tn_f_tanh(graph, tn_f_add(graph, from_x[2], tn_f_mul(graph, r, from_h[2])));
    const TnVal h = nn_wide(graph, body->in[1]);
    give(body, 0, tn_f_add(graph, n, tn_f_mul(graph, z, tn_f_sub(graph, h, n))));
    return TRUE;
}

/* --- Samples --------------------------------------------------------------------------------- */

static const NnCase rnn_cases[] = {
    { 6,
      { NN_SHAPE(2, 3), NN_SHAPE(2, 4), NN_SHAPE(4, 3), NN_SHAPE(4, 4), NN_SHAPE(4),
        NN_SHAPE(4) } },
    { 4,
      { NN_SHAPE(2, 3), NN_SHAPE(2, 4), NN_SHAPE(4, 3), NN_SHAPE(4, 4) },
      .attrs = &(const TnRnnAttrs){ TN_RNN_RELU } },
    { 6,
      { NN_SHAPE(0, 3), NN_SHAPE(0, 4), NN_SHAPE(4, 3), NN_SHAPE(4, 4), NN_SHAPE(4),
        NN_SHAPE(4) } },
};
NN_SAMPLER(rnn_sample, rnn_cases, TnRnnAttrs)
#define LSTM(n_) NN_SHAPE(n_, 3), NN_SHAPE(n_, 2), NN_SHAPE(n_, 2), NN_SHAPE(8, 3), NN_SHAPE(8, 2)
static const NnCase lstm_cases[] = {
    { 7, { LSTM(2), NN_SHAPE(8), NN_SHAPE(8) } },
    { 5, { LSTM(3) } },
    { 7, { LSTM(0), NN_SHAPE(8), NN_SHAPE(8) } },
};
NN_SAMPLER(lstm_sample, lstm_cases, char)
#define GRU(n_) NN_SHAPE(n_, 3), NN_SHAPE(n_, 2), NN_SHAPE(6, 3), NN_SHAPE(6, 2)
static const NnCase gru_cases[] = {
    { 6, { GRU(2), NN_SHAPE(6), NN_SHAPE(6) } },
    { 4, { GRU(3) } },
    { 6, { GRU(0), NN_SHAPE(6), NN_SHAPE(6) } },
};
NN_SAMPLER(gru_sample, gru_cases, char)

/* --- The table ------------------------------------------------------------------------------- */

#define MATRIX(name_, help_) NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(2, 2))
#define BIAS(name_, help_)                                                                         \
    NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(1, 1), .flags = TN_ARG_OPTIONAL)

NN_OP(rnn_cell, NULL, "One step of a plain recurrent network",
      NN_IN(MATRIX("x", "[N, I]"), MATRIX("h", "[N, H]"), MATRIX("w_ih", "[H, I]"),
            MATRIX("w_hh", "[H, H]"), BIAS("b_ih", "[H]"), BIAS("b_hh", "[H]")),
      NN_OUT(MATRIX("out", "[N, H]")), .attrs = TN_OPTIONS(TnRnnAttrs, rnn_rows),
      .infer = rnn_infer, .body = rnn_body, .sample = rnn_sample);
NN_OP(lstm_cell, NULL, "One step of a long short-term memory; gates i, f, g, o",
      NN_IN(MATRIX("x", "[N, I]"), MATRIX("h", "[N, H]"), MATRIX("c", "[N, H]"),
            MATRIX("w_ih", "[4 H, I]"), MATRIX("w_hh", "[4 H, H]"), BIAS("b_ih", "[4 H]"),
            BIAS("b_hh", "[4 H]")),
      NN_OUT(MATRIX("h", "[N, H]"), MATRIX("c", "[N, H]")), .infer = lstm_infer, .body = lstm_body,
      .sample = lstm_sample);
NN_OP(gru_cell, NULL, "One step of a gated recurrent unit; gates r, z, n",
      NN_IN(MATRIX("x", "[N, I]"), MATRIX("h", "[N, H]"), MATRIX("w_ih", "[3 H, I]"),
            MATRIX("w_hh", "[3 H, H]"), BIAS("b_ih", "[3 H]"), BIAS("b_hh", "[3 H]")),
      NN_OUT(MATRIX("out", "[N, H]")), .infer = gru_infer, .body = gru_body, .sample = gru_sample);
