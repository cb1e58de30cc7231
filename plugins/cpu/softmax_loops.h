/* softmax_loops.h: the loops of softmax_rows.c over a row for one instruction set, included once for each:
 * TARGET is its attribute, VERSION (name) a function's name. (Vectors in functions that are inlined would
 * be taken apart for the plainest processor first.) Sums run over lanes, which are added pairwise. */

TARGET static inline float
VERSION(add_lanes)(const V *v)
{
    V sum = *v;
    sum += UPPER(sum, 8);
    sum += UPPER(sum, 4);
    sum += UPPER(sum, 2);
    sum += UPPER(sum, 1);
    return sum[0];
}

/* The largest that is a number. */
TARGET static inline float
VERSION(most)(const float *x, gint64 n)
{
    const V least = (V){ 0 } - INFINITY;
    V a = least, b = least;
    float most;
    gint64 i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a = LARGER(AT(x + i), a);
        b = LARGER(AT(x + i + LANES), b);
    }
    a = LARGER(b, a);
    if (i + LANES <= n) {
        a = LARGER(AT(x + i), a);
        i += LANES;
    }
    if (i < n && n >= LANES) {
        a = LARGER(AT(x + n - LANES), a);
        i = n;
    }
    a = LARGER(UPPER(a, 8), a);
    a = LARGER(UPPER(a, 4), a);
    a = LARGER(UPPER(a, 2), a);
    a = LARGER(UPPER(a, 1), a);
    most = a[0];
    for (; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

#define POWERS(to, from)                                                                           \
    for (gint j = 0; j < LANES; j++) {                                                             \
        (to)[j] = vm_exp_below((from)[j] - most);                                                  \
    }
/* e^(x - most) into out, or nowhere if it is NULL; their sum. What is left behind whole vectors is computed
 * with what is before it, or, in rows of less than a vector, with lanes of e^0: those count for nothing. */
TARGET static inline float
VERSION(powers)(const float *x, gint64 n, float most, float *out)
{
    V sum = { 0 };
    float part[LANES] __attribute__((aligned(64))) = { 0 };
    float last[LANES] __attribute__((aligned(64)));
    const gint64 whole = n / LANES * LANES;
    if (n >= LANES) {
        memcpy(last, x + n - LANES, sizeof last);
    }
    for (gint64 i = 0; i < whole; i += LANES) {
        float *to = out ? out + i : part;
        POWERS(to, x + i)
        sum += AT(to);
    }
    if (whole < n && n >= LANES) {
        POWERS(part, last)
        if (out) {
            memcpy(out + n - LANES, part, sizeof part);
        }
        sum += (V)((M)AT(part) & ((M)LANE_NUMBERS >= (M){ 0 } + (gint32)(LANES - (n - whole))));
    } else if (whole < n) {
        for (gint j = 0; j < LANES; j++) {
            part[j] = j < n ? x[j] : most;
        }
        POWERS(part, part)
        if (out) {
            memcpy(out, part, (gsize)n * sizeof(float));
        }
        sum += (V)((M)AT(part) & ((M)LANE_NUMBERS < (M){ 0 } + (gint32)n));
    }
    return VERSION(add_lanes)(&sum);
}
#undef POWERS

TARGET static void
VERSION(row)(const float *x, gint64 n, float *out, float *max, float *sum)
{
    *max = VERSION(most)(x, n);
    *sum = VERSION(powers)(x, n, *max, out);
}

TARGET static void
VERSION(total)(const float *x, gint64 n, float *max, float *sum)
{
    *max = VERSION(most)(x, n);
    *sum = VERSION(powers)(x, n, *max, NULL);
}

#define ADD(to, at)                                                                                \
    {                                                                                              \
        V each = AT(a + (at));                                                                     \
        if (b) {                                                                                   \
            each *= AT(b + (at));                                                                  \
        }                                                                                          \
        to += each;                                                                                \
    }
TARGET static void
VERSION(dot)(const float *a, const float *b, gint64 n, float *sum)
{
    V s = { 0 }, t = { 0 };
    float rest = 0;
    gint64 i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        ADD(s, i)
        ADD(t, i + LANES)
    }
    if (i + LANES <= n) {
        ADD(s, i)
        i += LANES;
    }
    for (; i < n; i++) {
        rest += b ? a[i] * b[i] : a[i];
    }
    s += t;
    *sum = VERSION(add_lanes)(&s) + rest;
}
#undef ADD
