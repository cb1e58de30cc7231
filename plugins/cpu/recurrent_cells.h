/* recurrent_cells.h: the functions of the gates and their derivatives for units of some samples, by the
 * formulas of the operators' bodies. recurrent_gates.c includes it once for each kind of number, with
 *   T                   an element
 *   V                   what is computed at once: one element or a vector of them
 *   CELL (name)         a function's name
 *   SIGMOID, TANH       of a V
 * which end here, and
 *   FUNCTION            what stands before a function's type
 *   UNITS               a loop over units; a V begins at unit u
 *   LOAD (p), STORE (p, x)
 *   POSITIVE (x, y)     y where x > 0, else 0
 *   NOT_NEGATIVE (x)    x where it is not below 0, else 0 */

FUNCTION V
CELL(sigmoid_slope)(V y)
{
    return y * (1 - y);
}

FUNCTION V
CELL(tanh_slope)(V y)
{
    return 1 - y * y;
}

FUNCTION void
CELL(rnn_tanh)(const RecurrentStep *s)
{
    const gint64 units = s->units, hidden = s->hidden;
    for (gint64 n = 0; n < s->rows; n++) {
        const T *sum = (const T *)s->sums + n * s->sums_row;
        T *out = (T *)s->out + n * hidden;
        UNITS
        {
            STORE(out + u, TANH(LOAD(sum + u)));
        }
    }
}

FUNCTION void
CELL(rnn_tanh_back)(const RecurrentBack *s)
{
    const gint64 units = s->units, hidden = s->hidden;
    for (gint64 n = 0; n < s->rows; n++) {
        T *later = (T *)s->later + n * s->width, *dsum = (T *)s->dsums + n * hidden;
        const T *g = (const T *)s->g + n * hidden, *out = (const T *)s->now + n * hidden;
        UNITS
        {
            const V dh = LOAD(g + u) + LOAD(later + u);
            STORE(dsum + u, dh * CELL(tanh_slope)(LOAD(out + u)));
            STORE(later + u, (V){ 0 });
        }
    }
}

FUNCTION void
CELL(rnn_relu)(const RecurrentStep *s)
{
    const gint64 units = s->units, hidden = s->hidden;
    for (gint64 n = 0; n < s->rows; n++) {
        const T *sum = (const T *)s->sums + n * s->sums_row;
        T *out = (T *)s->out + n * hidden;
        UNITS
        {
            STORE(out + u, NOT_NEGATIVE(LOAD(sum + u)));
        }
    }
}

FUNCTION void
CELL(rnn_relu_back)(const RecurrentBack *s)
{
    const gint64 units = s->units, hidden = s->hidden;
    for (gint64 n = 0; n < s->rows; n++) {
        T *later = (T *)s->later + n * s->width, *dsum = (T *)s->dsums + n * hidden;
        const T *g = (const T *)s->g + n * hidden, *out = (const T *)s->now + n * hidden;
        UNITS
        {
            const V dh = LOAD(g + u) + LOAD(later + u);
            STORE(dsum + u, POSITIVE(LOAD(out + u), dh));
            STORE(later + u, (V){ 0 });
        }
    }
}

FUNCTION void
CELL(lstm)(const RecurrentStep *s)
{
    const gint64 units = s->units, hidden = s->hidden, width = s->width;
    for (gint64 n = 0; n < s->rows; n++) {
        const T *sum = (const T *)s->sums + n * s->sums_row;
        const T *before = (const T *)s->before + n * hidden;
        T *out = (T *)s->out + n * hidden, *cells = (T *)s->cells + n * hidden;
        T *gate = (T *)s->gates + n * 4 * hidden;
        UNITS
        {
            const V i = SIGMOID(LOAD(sum + u)), f = SIGMOID(LOAD(sum + width + u));
            const V g = TANH(LOAD(sum + 2 * width + u));
            const V o = SIGMOID(LOAD(sum + 3 * width + u));
            const V cell = f * LOAD(before + u) + i * g;
            STORE(gate + u, i);
            STORE(gate + hidden + u, f);
            STORE(gate + 2 * hidden + u, g);
            STORE(gate + 3 * hidden + u, o);
            STORE(cells + u, cell);
            STORE(out + u, o * TANH(cell));
        }
    }
}

FUNCTION void
CELL(lstm_back)(const RecurrentBack *s)
{
    const gint64 units = s->units, hidden = s->hidden;
    for (gint64 n = 0; n < s->rows; n++) {
        T *later = (T *)s->later + n * s->width, *dc = (T *)s->dc + n * hidden;
        const T *g = (const T *)s->g + n * hidden;
        const T *g_cell = (const T *)s->g_cells + n * s->g_cells_row;
        const T *cells = (const T *)s->now + n * hidden;
        const T *before = (const T *)s->before + n * hidden;
        const T *gate = (const T *)s->gates + n * 4 * hidden;
        T *dsum = (T *)s->dsums + n * 4 * hidden;
        UNITS
        {
            const V i = LOAD(gate + u), f = LOAD(gate + hidden + u);
            const V c = LOAD(gate + 2 * hidden + u), o = LOAD(gate + 3 * hidden + u);
            const V tanh_c = TANH(LOAD(cells + u)), dh = LOAD(g + u) + LOAD(later + u);
            const V d = dh * o * CELL(tanh_slope)(tanh_c) + LOAD(dc + u) + LOAD(g_cell + u);
            STORE(dsum + u, d * c * CELL(sigmoid_slope)(i));
            STORE(dsum + hidden + u, d * LOAD(before + u) * CELL(sigmoid_slope)(f));
            STORE(dsum + 2 * hidden + u, d * i * CELL(tanh_slope)(c));
            STORE(dsum + 3 * hidden + u, dh * tanh_c * CELL(sigmoid_slope)(o));
            STORE(dc + u, d * f);
            STORE(later + u, (V){ 0 });
        }
    }
}

/* Sums: x's part of n, r, z, h's part of n. */
FUNCTION void
CELL(gru)(const RecurrentStep *s)
{
    const gint64 units = s->units, hidden = s->hidden, width = s->width;
    for (gint64 n = 0; n < s->rows; n++) {
        const T *sum = (const T *)s->sums + n * s->sums_row;
        const T *before = (const T *)s->before + n * hidden;
        T *out = (T *)s->out + n * hidden, *gate = (T *)s->gates + n * 4 * hidden;
        UNITS
        {
            const V r = SIGMOID(LOAD(sum + width + u));
            const V z = SIGMOID(LOAD(sum + 2 * width + u));
            const V q = LOAD(sum + 3 * width + u), x = TANH(LOAD(sum + u) + r * q);
            STORE(gate + u, r);
            STORE(gate + hidden + u, z);
            STORE(gate + 2 * hidden + u, x);
            STORE(gate + 3 * hidden + u, q);
            STORE(out + u, x + z * (LOAD(before + u) - x));
        }
    }
}

FUNCTION void
CELL(gru_back)(const RecurrentBack *s)
{
    const gint64 units = s->units, hidden = s->hidden;
    for (gint64 n = 0; n < s->rows; n++) {
        T *later = (T *)s->later + n * s->width;
        const T *g = (const T *)s->g + n * hidden;
        const T *before = (const T *)s->before + n * hidden;
        const T *gate = (const T *)s->gates + n * 4 * hidden;
        T *of_x = (T *)s->dsums + n * 3 * hidden;
        T *of_h = (T *)s->dsums_h + n * 3 * hidden;
        UNITS
        {
            const V r = LOAD(gate + u), z = LOAD(gate + hidden + u);
            const V x = LOAD(gate + 2 * hidden + u), q = LOAD(gate + 3 * hidden + u);
            const V dh = LOAD(g + u) + LOAD(later + u);
            const V dx = dh * (1 - z) * CELL(tanh_slope)(x);
            const V dz = dh * (LOAD(before + u) - x) * CELL(sigmoid_slope)(z);
            const V dr = dx * q * CELL(sigmoid_slope)(r);
            STORE(of_x + u, dr);
            STORE(of_h + u, dr);
            STORE(of_x + hidden + u, dz);
            STORE(of_h + hidden + u, dz);
            STORE(of_x + 2 * hidden + u, dx);
            STORE(of_h + 2 * hidden + u, dx * r);
            STORE(later + u, dh * z);
        }
    }
}

#undef T
#undef V
#undef CELL
#undef SIGMOID
#undef TANH
