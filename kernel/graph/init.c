/* init.c: initial values of variables, drawn in f64 on the host from Philox keyed by (seed, name), so that they depend on nothing
 * else. */
#include "init.h"

#include <math.h>
#include <string.h>

#include <tenon/base.h>

typedef struct {
    double in, out;
} Fans;

/* dims[0] is out, dims[1] is in, the rest the receptive field; a vector or scalar has its length as both. */
static Fans
fans_of(const TnVarInfo *info)
{
    const TnType *type = &info->type;
    double field = 1;
    for (gint i = 2; i < type->rank; i++)
        field *= (double)type->dims[i];
    double first = type->rank > 0 ? (double)type->dims[0] : 1;
    Fans fans = { type->rank > 1 ? (double)type->dims[1] * field : first, first * field };
    if (info->init.fan_in)
        fans.in = (double)info->init.fan_in;
    return fans;
}

/* A distribution: uniform in [a, b) or normal with mean a and deviation b. */
typedef struct {
    gboolean normal;
    double a, b;
} Draw;

static Draw
uniform_within(double bound)
{
    return (Draw){ FALSE, -bound, bound };
}

static Draw
normal_of(double deviation)
{
    return (Draw){ TRUE, 0, deviation };
}

/* What the kind means for this variable. Glorot & Bengio 2010, eq. 16; He et al. 2015, eq. 10; LeCun et al. 1998, sec. 4.6. */
static Draw
draw_of(const TnVarInfo *info)
{
    const TnInit *init = &info->init;
    Fans fans = fans_of(info);
    double glorot = (init->a ? init->a : 1) * sqrt(2 / fmax(fans.in + fans.out, 1));
    double he = (init->a ? init->a : sqrt(2)) / sqrt(fmax(fans.in, 1));
    switch (init->kind) {
    case TN_INIT_ONES: return (Draw){ FALSE, 1, 1 };
    case TN_INIT_CONSTANT: return (Draw){ FALSE, init->a, init->a };
    case TN_INIT_UNIFORM: return (Draw){ FALSE, init->a, init->b };
    case TN_INIT_NORMAL: return (Draw){ TRUE, init->a, init->b };
    case TN_INIT_GLOROT_UNIFORM: return uniform_within(sqrt(3) * glorot);
    case TN_INIT_GLOROT_NORMAL: return normal_of(glorot);
    case TN_INIT_HE_UNIFORM: return uniform_within(sqrt(3) * he);
    case TN_INIT_HE_NORMAL: return normal_of(he);
    case TN_INIT_LECUN_UNIFORM: return uniform_within(1 / sqrt(fmax(fans.in, 1)));
    case TN_INIT_ORTHOGONAL: return normal_of(1);
    case TN_INIT_ZEROS: break;
    }
    return (Draw){ FALSE, 0, 0 };
}

static void
fill(double *to, gint64 n, Draw draw, guint64 seed, const char *name)
{
    TnRandom random;
    tn_random_init(&random, seed, name, 0);
    if (!draw.normal && draw.a == draw.b) {
        for (gint64 i = 0; i < n; i++)
            to[i] = draw.a;
        return;
    }
    for (gint64 i = 0; i < n; i++)
        to[i] = draw.normal ? draw.a + draw.b * tn_random_normal(&random)
                            : draw.a + (draw.b - draw.a) * tn_random_f64(&random);
}

/* Rows of q[rows][cols], rows <= cols, made orthonormal: modified Gram-Schmidt, twice, which is as orthogonal as Householder's
 * (Giraud, Langou, Rozložník 2005); a row that vanishes (never with normal numbers) becomes a unit vector. */
static void
orthonormalise(double *q, gint64 rows, gint64 cols)
{
    for (gint64 i = 0; i < rows; i++) {
        double *row = q + i * cols;
        for (gint pass = 0; pass < 2; pass++) {
            for (gint64 k = 0; k < i; k++) {
                const double *other = q + k * cols;
                double dot = 0;
                for (gint64 c = 0; c < cols; c++)
                    dot += row[c] * other[c];
                for (gint64 c = 0; c < cols; c++)
                    row[c] -= dot * other[c];
            }
        }
        double norm = 0;
        for (gint64 c = 0; c < cols; c++)
            norm += row[c] * row[c];
        norm = sqrt(norm);
        for (gint64 c = 0; c < cols; c++)
            row[c] = norm > 0 ? row[c] / norm : (c == i);
    }
}

/* Saxe et al. 2014: the matrix [dims[0], rest] has orthonormal rows or columns, whichever are fewer, times the gain. */
static gboolean
make_orthogonal(const TnVarInfo *info, double *to, gint64 n, GError **error)
{
    gint64 rows = info->type.rank > 0 ? info->type.dims[0] : 1, cols = rows ? n / rows : 0;
    double gain = info->init.a ? info->init.a : 1;
    if (rows <= cols) {
        orthonormalise(to, rows, cols);
    } else {
        double *turned =
            tn_data_alloc_for((gsize)n * sizeof(double), "an orthogonal matrix", error);
        if (!turned)
            return FALSE;
        memcpy(turned, to, (gsize)n * sizeof(double)); /* [cols][rows], as random as it was */
        orthonormalise(turned, cols, rows);
        for (gint64 r = 0; r < rows; r++)
            for (gint64 c = 0; c < cols; c++)
                to[r * cols + c] = turned[c * rows + r];
        tn_data_free(turned);
    }
    for (gint64 i = 0; i < n; i++)
        to[i] *= gain;
    return TRUE;
}

TnTensor *
tn_init_make(const TnVarInfo *info, guint64 seed, GError **error)
{
    g_autoptr(TnTensor) tensor = tn_tensor_zeros(NULL, info->type, error);
    Draw draw = draw_of(info);
    gint64 n = tn_type_count(&info->type);
    if (!tensor || n == 0 || (!draw.normal && draw.a == 0 && draw.b == 0))
        return g_steal_pointer(&tensor);
    double *values = tn_data_alloc_for((gsize)n * sizeof(double), "initial values", error);
    if (!values)
        return NULL;
    fill(values, n, draw, seed, info->name);
    gboolean ok = info->init.kind != TN_INIT_ORTHOGONAL || make_orthogonal(info, values, n, error);
    if (ok)
        tn_dtype_convert(info->type.dtype, tn_storage_memory(tn_tensor_storage(tensor)), 1,
                         TN_DTYPE_F64, values, 1, (gsize)n);
    tn_data_free(values);
    return ok ? g_steal_pointer(&tensor) : NULL;
}
