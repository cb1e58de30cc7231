/* init.c: how variables begin. Element i is a function of (seed, name, i), so values do not depend
 * on the order in which variables are made or on the number of threads.
 *
 * References: LeCun et al., "Efficient backprop" (1998); Glorot & Bengio, "Understanding the
 * difficulty of training deep feedforward neural networks" (2010); He et al., "Delving deep into
 * rectifiers" (2015); Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep
 * linear neural networks" (2014). */
#include "graph/init.h"

#include <math.h>

#include <tenon/base.h>
#include <tenon/pool.h>

#define CHUNK 8192 /* elements a task draws; even, as two are drawn at a time */

typedef enum { DRAW_CONSTANT, DRAW_UNIFORM, DRAW_NORMAL } DrawKind;

typedef struct {
    DrawKind kind;
    double a, b; /* the constant; [a, b); mean and deviation */
    guint64 seed, stream;
    TnDtype dtype;
    gint64 count;
    void *to;
} Draw;

/* --- Drawing ---------------------------------------------------------------------------------- */

/* Elements 2 * pair and 2 * pair + 1. Uniform numbers have no more bits than f32 holds, unless the
 * dtype is f64, so that rounding does not reach the open end of [0, 1). */
static void
draw_pair(const Draw *draw, guint64 pair, double out[2])
{
    guint32 w[4];
    tn_random_words(draw->seed, draw->stream, 0, pair, w);
    const double u = tn_random_unit_f64(w[0], w[1]), v = tn_random_unit_f64(w[2], w[3]);
    if (draw->kind == DRAW_NORMAL) {
        /* Box and Muller; 1 - u is in (0, 1], where the logarithm is finite. */
        const double radius = draw->b * sqrt(-2.0 * log(1.0 - u));
        out[0] = draw->a + radius * cos(2.0 * G_PI * v);
        out[1] = draw->a + radius * sin(2.0 * G_PI * v);
    } else if (draw->dtype == TN_DTYPE_F64) {
        out[0] = draw->a + (draw->b - draw->a) * u;
        out[1] = draw->a + (draw->b - draw->a) * v;
    } else {
        out[0] = draw->a + (draw->b - draw->a) * (double)tn_random_unit_f32(w[1]);
        out[1] = draw->a + (draw->b - draw->a) * (double)tn_random_unit_f32(w[3]);
    }
}

static TnStatus
draw_chunk(gpointer data, gsize chunk, gsize n)
{
    (void)n;
    const Draw *draw = data;
    double drawn[256];
    const gint64 first = (gint64)chunk * CHUNK, end = MIN(first + CHUNK, draw->count);
    for (gint64 at = first; at < end; at += (gint64)G_N_ELEMENTS(drawn)) {
        const gint64 count = MIN(end - at, (gint64)G_N_ELEMENTS(drawn));
        for (gint64 i = 0; i < count; i += 2) {
            if (draw->kind == DRAW_CONSTANT)
                drawn[i] = drawn[i + 1] = draw->a;
            else
                draw_pair(draw, (guint64)(at + i) / 2, &drawn[i]);
        }
        tn_dtype_convert(draw->dtype, (char *)draw->to + at * (gint64)tn_dtype_size(draw->dtype), 1,
                         TN_DTYPE_F64, drawn, 1, (gsize)count);
    }
    return TN_OK;
}

static void
draw_all(Draw *draw)
{
    if (draw->count > 0)
        (void)tn_parallel_for((gsize)((draw->count + CHUNK - 1) / CHUNK), draw_chunk, draw);
}

/* --- Orthogonal matrices ---------------------------------------------------------------------- */

/* Sums in eight fixed parts, which compilers may compute side by side. */
static double
dot(const double *restrict a, const double *restrict b, gint64 n)
{
    double parts[8] = { 0 };
    gint64 i = 0;
    for (; i + 8 <= n; i += 8)
        for (gint k = 0; k < 8; k++)
            parts[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        parts[0] += a[i] * b[i];
    return ((parts[0] + parts[4]) + (parts[1] + parts[5])) +
           ((parts[2] + parts[6]) + (parts[3] + parts[7]));
}

/* x -= 2 v (v . x): the reflection at the plane that is normal to the unit vector v. */
static void
reflect(const double *restrict v, double *restrict x, gint64 n)
{
    const double twice = 2 * dot(v, x, n);
    for (gint64 i = 0; i < n; i++)
        x[i] -= twice * v[i];
}

/* Reflects each column of a (m x n, m >= n, columns contiguous) onto its axis in turn; the unit
 * vectors stay where the columns were. sign[j]: of R's diagonal. */
static void
householder(double *a, gint64 m, gint64 n, double *sign)
{
    for (gint64 j = 0; j < n; j++) {
        double *v = a + j * m + j;
        const gint64 rest = m - j;
        const double norm = sqrt(dot(v, v, rest));
        sign[j] = v[0] > 0 ? -1 : 1;
        /* Towards the axis's other end, or digits would cancel. */
        v[0] -= sign[j] * norm;
        const double length = sqrt(dot(v, v, rest));
        for (gint64 i = 0; i < rest && length > 0; i++)
            v[i] /= length;
        for (gint64 k = j + 1; k < n; k++)
            reflect(v, a + k * m + j, rest);
    }
}

/* Columns of Q, times the signs of R's diagonal, without which Q would not be drawn evenly from all
 * orthogonal matrices (Mezzadri 2007). */
static void
form_q(const double *a, gint64 m, gint64 n, const double *sign, double *q)
{
    for (gint64 c = 0; c < n; c++) {
        double *column = q + c * m;
        for (gint64 i = 0; i < m; i++)
            column[i] = i == c ? sign[c] : 0;
        for (gint64 j = c; j >= 0; j--) /* the others leave this column of the unit matrix alone */
            reflect(a + j * m + j, column + j, m - j);
    }
}

/* rows x columns; the vectors of the shorter side are orthonormal. */
static gboolean
fill_orthogonal(const Draw *normal, gint64 rows, double gain, GError **error)
{
    const gint64 columns = normal->count / rows;
    const gint64 m = MAX(rows, columns), n = MIN(rows, columns);
    gsize bytes = 0;
    const gboolean fits = tn_size_mul(2 * (gsize)n, ((gsize)m + 1) * sizeof(double), &bytes);
    double *a = tn_data_alloc_for(fits ? bytes : G_MAXINT64, "an orthogonal initialiser", error);
    if (!a)
        return FALSE;
    double *q = a + n * m, *sign = q + n * m;
    Draw draw = *normal;
    draw.to = a;
    draw.dtype = TN_DTYPE_F64;
    draw_all(&draw);
    householder(a, m, n, sign);
    form_q(a, m, n, sign, q);
    for (gint64 i = 0; i < n * m; i++)
        q[i] *= gain;
    /* q holds n vectors of m: the rows of a wide matrix, the columns of a tall one. */
    const gint64 size = (gint64)tn_dtype_size(normal->dtype);
    for (gint64 r = 0; r < rows; r++)
        tn_dtype_convert(normal->dtype, (char *)normal->to + r * columns * size, 1, TN_DTYPE_F64,
                         rows < columns ? q + r * m : q + r, rows < columns ? 1 : m,
                         (gsize)columns);
    tn_data_free(a);
    return TRUE;
}

/* --- Kinds ------------------------------------------------------------------------------------ */

typedef struct {
    double in, out;
} Fans;

/* A vector or scalar has its length as both. */
static Fans
fans_of(const TnInit *init, const TnType *type)
{
    double field = 1;
    for (gint i = 2; i < type->rank; i++)
        field *= (double)type->dims[i];
    const double first = type->rank > 0 ? (double)type->dims[0] : 1;
    Fans fans = { type->rank > 1 ? (double)type->dims[1] * field : first, first * field };
    if (init->fan_in > 0)
        fans.in = (double)init->fan_in;
    /* An empty variable draws nothing, but its formula is evaluated. */
    return (Fans){ MAX(fans.in, 1), MAX(fans.out, 1) };
}

/* What is drawn, and how wide. */
static void
choose(const TnInit *init, const TnType *type, Draw *draw)
{
    const Fans fans = fans_of(init, type);
    double deviation = 1; /* of the kinds that are centred at 0 */
    draw->a = init->a;
    draw->b = init->b;
    switch (init->kind) {
    case TN_INIT_ZEROS: draw->a = 0; return;
    case TN_INIT_ONES: draw->a = 1; return;
    case TN_INIT_CONSTANT: return;
    case TN_INIT_UNIFORM: draw->kind = DRAW_UNIFORM; return;
    case TN_INIT_NORMAL: draw->kind = DRAW_NORMAL; return;
    case TN_INIT_GLOROT_NORMAL:
    case TN_INIT_GLOROT_UNIFORM:
        deviation = (init->a != 0 ? init->a : 1) / sqrt((fans.in + fans.out) / 2);
        break;
    case TN_INIT_HE_NORMAL:
    case TN_INIT_HE_UNIFORM: deviation = (init->a != 0 ? init->a : sqrt(2)) / sqrt(fans.in); break;
    case TN_INIT_LECUN_NORMAL:
    case TN_INIT_LECUN_UNIFORM: deviation = (init->a != 0 ? init->a : 1) / sqrt(fans.in); break;
    case TN_INIT_FAN_IN_UNIFORM: deviation = 1 / sqrt(3 * fans.in); break;
    case TN_INIT_ORTHOGONAL: break;
    }
    const gboolean normal = init->kind == TN_INIT_GLOROT_NORMAL ||
                            init->kind == TN_INIT_HE_NORMAL || init->kind == TN_INIT_LECUN_NORMAL ||
                            init->kind == TN_INIT_ORTHOGONAL;
    draw->kind = normal ? DRAW_NORMAL : DRAW_UNIFORM;
    /* A uniform number from [-w, w) has the deviation w / sqrt 3. */
    draw->a = normal ? 0 : -deviation * sqrt(3);
    draw->b = normal ? deviation : deviation * sqrt(3);
}

static void
clear_row(gint64 number, const TnType *type, char *to)
{
    if (number > 0 && type->rank > 0 && number <= type->dims[0]) {
        const gsize bytes = (gsize)(tn_type_bytes(type) / type->dims[0]);
        memset(to + (gsize)(number - 1) * bytes, 0, bytes);
    }
}

gboolean
tn_init_fill(const TnVarInfo *info, guint64 seed, void *to, GError **error)
{
    const TnInit *init = &info->init;
    Draw draw = { .seed = seed,
                  .stream = tn_random_stream(info->name),
                  .dtype = info->type.dtype,
                  .count = tn_type_count(&info->type),
                  .to = to };
    choose(init, &info->type, &draw);
    if (init->kind == TN_INIT_ORTHOGONAL && draw.count > 0)
        return fill_orthogonal(&draw, info->type.rank > 0 ? info->type.dims[0] : 1,
                               init->a != 0 ? init->a : 1, error);
    draw_all(&draw);
    clear_row(init->zero_row, &info->type, to);
    return TRUE;
}
