/* pool_lanes_planes.h: the planes of pool_lanes.c for one instruction set, included once for each:
 * TARGET is its attribute, VERSION (name) a function's name. (Vectors in functions that are inlined
 * would be taken apart for the plainest processor first.) */

TARGET static void
VERSION(max)(const Plan *p, const float *x, const float *unused, float *out)
{
    (void)unused;
    EACH_WINDOW(p, rows, cols)
    {
        V best = (V){ 0 } - INFINITY;
        EACH_TAP(rows, cols)
        {
            const V y = *(const V *)AT(p, x, rows, cols, i, j);
            best = CHOOSE(BEATS(y, best), y, best);
        }
        *(V *)(out + (row * p->o[1] + col) * LANES) = best;
    }
}

TARGET static void
VERSION(max_grad)(const Plan *p, const float *x, const float *g, float *out)
{
    if (!p->apart || !p->all) {
        memset(out, 0, (gsize)p->out * sizeof(float));
    }
    EACH_WINDOW(p, rows, cols)
    {
        const M from = *(const M *)(g + (row * p->o[1] + col) * LANES);
        V best = { 0 };
        M where = { 0 };
        gint32 tap = 0;
        EACH_TAP(rows, cols)
        {
            const V y = *(const V *)AT(p, x, rows, cols, i, j);
            const M beats = BEATS(y, best) | ((M){ 0 } - (tap == 0));
            best = CHOOSE(beats, y, best);
            where = (where & ~beats) | (((M){ 0 } + tap) & beats);
            tap++;
        }
        tap = 0;
        EACH_TAP(rows, cols)
        {
            V *to = (V *)AT(p, out, rows, cols, i, j);
            const V share = (V)(from & (M)(where == tap));
            if (p->apart) {
                *to = share;
            } else {
                *to += share;
            }
            tap++;
        }
    }
}

/* Windows of 2 x 2 that share nothing: their elements are a b over c d. */
#define SQUARE(p, x, row, col)                                                                     \
    const float *at = (x) + (2 * (row) * (p)->s[1] + 2 * (col)) * LANES;                           \
    const V a = *(const V *)at, b = *(const V *)(at + LANES);                                      \
    const V c = *(const V *)(at + (p)->s[1] * LANES),                                              \
            d = *(const V *)(at + (p)->s[1] * LANES + LANES);                                      \
    const M right = BEATS(b, a), low_right = BEATS(d, c);                                          \
    const V top = CHOOSE(right, b, a), low = CHOOSE(low_right, d, c);                              \
    const M below = BEATS(low, top);

TARGET static void
VERSION(square_max)(const Plan *p, const float *x, const float *unused, float *out)
{
    (void)unused;
    for (gint64 row = 0; row < p->o[0]; row++) {
        for (gint64 col = 0; col < p->o[1]; col++) {
            SQUARE(p, x, row, col)
            *(V *)(out + (row * p->o[1] + col) * LANES) = CHOOSE(below, low, top);
        }
    }
}

/* out may be x: each window is read before it is written, what is in none is written last. */
TARGET static void
VERSION(square_max_grad)(const Plan *p, const float *x, const float *g, float *out)
{
    const gint64 whole = p->s[1] * LANES, inside = 2 * p->o[1] * LANES;
    for (gint64 row = 0; row < p->o[0]; row++) {
        float *rows = out + 2 * row * whole;
        for (gint64 col = 0; col < p->o[1]; col++) {
            SQUARE(p, x, row, col)
            const M from = *(const M *)(g + (row * p->o[1] + col) * LANES);
            M *to = (M *)(out + (at - x)), *to_low = to + p->s[1];
            to[0] = from & ~below & ~right;
            to[1] = from & ~below & right;
            to_low[0] = from & below & ~low_right;
            to_low[1] = from & below & low_right;
        }
        for (gint64 i = 0; i < 2 && inside < whole; i++) {
            memset(rows + i * whole + inside, 0, (gsize)(whole - inside) * sizeof(float));
        }
    }
    memset(out + 2 * p->o[0] * whole, 0, (gsize)(p->s[0] - 2 * p->o[0]) * (gsize)whole * sizeof(float));
}

TARGET static void
VERSION(average)(const Plan *p, const float *x, const float *unused, float *out)
{
    (void)unused;
    EACH_WINDOW(p, rows, cols)
    {
        V sum = { 0 };
        EACH_TAP(rows, cols)
        sum += *(const V *)AT(p, x, rows, cols, i, j);
        *(V *)(out + (row * p->o[1] + col) * LANES) = sum / divisor(p, &rows, &cols);
    }
}

TARGET static void
VERSION(average_grad)(const Plan *p, const float *g, const float *unused, float *out)
{
    (void)unused;
    memset(out, 0, (gsize)p->out * sizeof(float));
    EACH_WINDOW(p, rows, cols)
    {
        const V share = *(const V *)(g + (row * p->o[1] + col) * LANES) / divisor(p, &rows, &cols);
        EACH_TAP(rows, cols)
        *(V *)AT(p, out, rows, cols, i, j) += share;
    }
}
