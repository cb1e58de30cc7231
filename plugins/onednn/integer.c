/* integer.c: zero points, scales and rounding of 8-bit numbers, as the operators' bodies have them. */
#include "integer.h"

#include "library.h"

#include <string.h>

static const IntegerPlaces integer_places = { 0, 2, 1, 3, -1, -1, -1, -1, -1 };
static const IntegerPlaces qlinear_places = { 0, 2, 3, 5, 1, 4, 6, 7, 8 };

static gboolean
is_there(const TnNode *node, gint i)
{
    return i >= 0 && i < node->n_in && node->in[i].type.dtype != TN_DTYPE_NONE;
}

static gboolean
is_vector(const TnNode *node, gint i)
{
    return is_there(node, i) && node->in[i].type.rank > 0;
}

IntegerTypes
integer_types(const TnNode *node)
{
    IntegerTypes t = { .at = node->op->name[0] == 'q' ? qlinear_places : integer_places };
    t.x = node->in[t.at.x].type.dtype;
    t.w = node->in[t.at.w].type.dtype;
    t.to = node->out[0].type.dtype;
    t.has_x_zero = is_there(node, t.at.x_zero);
    t.has_w_zero = is_there(node, t.at.w_zero);
    t.has_bias = is_there(node, t.at.bias);
    t.each_x = is_vector(node, t.at.x_zero);
    t.each_w = is_vector(node, t.at.w_zero);
    t.each_scale = is_vector(node, t.at.w_scale);
    return t;
}

gboolean
integer_takes(void)
{
    return onednn.usable && onednn.int8;
}

static gint32
number(TnDtype dtype, const void *from, gint64 i)
{
    return dtype == TN_DTYPE_U8 ? ((const guint8 *)from)[i] : ((const gint8 *)from)[i];
}

gint32
integer_x_zero(const IntegerTypes *t, const TnRun *run, gint64 row)
{
    return t->has_x_zero ? number(t->x, run->in[t->at.x_zero], t->each_x ? row : 0) : 0;
}

gint32
integer_w_zero(const IntegerTypes *t, const TnRun *run, gint64 col)
{
    const gint32 zero =
        t->has_w_zero ? number(t->w, run->in[t->at.w_zero], t->each_w ? col : 0) : 0;
    return t->w == TN_DTYPE_U8 ? zero - 128 : zero;
}

gboolean
integer_any_w_zero(const IntegerTypes *t, const TnRun *run, gint64 cols)
{
    const gint64 n = t->each_w ? cols : 1;
    for (gint64 i = 0; i < n; i++) {
        if (integer_w_zero(t, run, i) != 0) {
            return TRUE;
        }
    }
    return FALSE;
}

void
integer_signed(const IntegerTypes *t, const void *w, gint64 from, gint64 n, gint8 *to)
{
    const guint8 *bytes = (const guint8 *)w + from;
    const guint8 flip = t->w == TN_DTYPE_U8 ? 0x80 : 0;
    guint8 *out = (guint8 *)to;
    for (gint64 i = 0; i < n; i++) {
        out[i] = bytes[i] ^ flip;
    }
}

gint32
integer_sum(const IntegerTypes *t, const void *x, gint64 from, gint64 n)
{
    gint32 sum = 0;
    if (t->x == TN_DTYPE_U8) {
        const guint8 *u = (const guint8 *)x + from;
        for (gint64 i = 0; i < n; i++) {
            sum += u[i];
        }
    } else {
        const gint8 *s = (const gint8 *)x + from;
        for (gint64 i = 0; i < n; i++) {
            sum += s[i];
        }
    }
    return sum;
}

float
integer_factor(const IntegerTypes *t, const TnRun *run, gint64 col)
{
    if (t->at.x_scale < 0) {
        return 1;
    }
    const float *scales = run->in[t->at.w_scale];
    const float both = *(const float *)run->in[t->at.x_scale] * scales[t->each_scale ? col : 0];
    return both / *(const float *)run->in[t->at.y_scale];
}

/* What is farther away than this is beyond 8 bits with any zero point, and NaN the lowest; what is not
 * is rounded by a sum with a number whose next one is 1 away. */
#define FAR 65536.0f
#define ROUND 12582912.0f

static gint32
rounded(float steps, float zero, float low, float high)
{
    steps = steps > -FAR ? steps : -FAR;
    steps = steps < FAR ? steps : FAR;
    float q = (steps + ROUND) - ROUND + zero;
    q = q > low ? q : low;
    q = q < high ? q : high;
    return (gint32)q;
}

void
integer_store(const IntegerTypes *t, const TnRun *run, const gint32 *sums, gint64 n, gint64 first,
              gboolean cols, const float *factors, gint64 at)
{
    const gint64 next = cols ? 1 : 0;
    if (t->to == TN_DTYPE_I32) {
        gint32 *out = (gint32 *)run->out[0] + at;
        for (gint64 i = 0; i < n; i++) {
            out[i] = sums[i];
        }
        return;
    }
    const gboolean is_signed = t->to == TN_DTYPE_I8;
    const float low = is_signed ? -128 : 0, high = is_signed ? 127 : 255;
    const float zero = (float)number(t->to, run->in[t->at.y_zero], 0);
    const gint32 *bias = t->has_bias ? run->in[t->at.bias] : NULL;
    guint8 *out = (guint8 *)run->out[0] + at;
    for (gint64 i = 0; i < n; i++) {
        const gint64 col = first + i * next;
        const gint32 sum = sums[i];
        const float whole = bias != NULL ? (float)((double)sum + (double)bias[col]) : (float)sum;
        out[i] = (guint8)rounded(whole * factors[col], zero, low, high);
    }
}
