/* random.c: random primitives, drawn as tenon/ops.h states: word i of a node is word i % 4 of block
 * i / 4. */
#include "ref.h"

#include <math.h>

#include <tenon/base.h>

static guint32
word(const guint64 *key, gint64 stride, guint64 stream, guint64 i)
{
    guint32 words[4];
    tn_random_words(key[0], stream, key[stride], i / 4, words);
    return words[i % 4];
}

typedef struct {
    const RefNode *node;
    const guint64 *key;
    gint64 stride;
    guint64 stream;
} Draw;

static Draw
draw_of(const RefNode *node, const TnRun *run)
{
    const TnRandomAttrs *attrs = node->attrs;
    return (Draw){ node, run->in[0], node->in[0].strides[0], attrs->stream };
}

static guint32
draw(const Draw *d, guint64 i)
{
    return word(d->key, d->stride, d->stream, i);
}

static TnStatus
run_bits(void *state, const TnRun *run)
{
    const RefNode *node = state;
    Draw d = draw_of(node, run);
    for (gint64 e = 0; e < node->out[0].count; e++) {
        guint64 i = (guint64)e;
        if (node->out[0].type.dtype == TN_DTYPE_U32) {
            ((guint32 *)run->out[0])[e] = draw(&d, i);
        } else {
            ((guint64 *)run->out[0])[e] = draw(&d, 2 * i) | (guint64)draw(&d, 2 * i + 1) << 32;
        }
    }
    return TN_OK;
}

static double
unit_f64(const Draw *d, guint64 i)
{
    return tn_random_unit_f64(draw(d, i), draw(d, i + 1));
}

static TnStatus
run_uniform(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnUniformAttrs *attrs = node->attrs;
    TnDtype dtype = node->out[0].type.dtype;
    Draw d = draw_of(node, run);
    for (gint64 e = 0; e < node->out[0].count; e++) {
        RefValue value;
        if (tn_dtype_info(dtype)->compute == TN_COMPUTE_F32) {
            float low = (float)attrs->low, range = (float)(attrs->high - attrs->low);
            float scaled = tn_random_unit_f32(draw(&d, (guint64)e)) * range;
            value.f32 = low + scaled;
        } else {
            double scaled = unit_f64(&d, 2 * (guint64)e) * (attrs->high - attrs->low);
            value.f64 = attrs->low + scaled;
        }
        ref_store(dtype, run->out[0], e, value);
    }
    return TN_OK;
}

/* Box-Muller in f32, each function rounded once. */
static float
normal_f32(const Draw *d, guint64 e)
{
    guint64 p = e / 2;
    float u = 1 - tn_random_unit_f32(draw(d, 2 * p)), v = tn_random_unit_f32(draw(d, 2 * p + 1));
    float radius = sqrtf(-2 * (float)log((double)u)), angle = (float)(2 * G_PI) * v;
    return radius * (float)(e & 1 ? sin((double)angle) : cos((double)angle));
}

static double
normal_f64(const Draw *d, guint64 e)
{
    guint64 p = e / 2;
    double u = 1 - unit_f64(d, 4 * p), v = unit_f64(d, 4 * p + 2);
    double radius = sqrt(-2 * log(u)), angle = 2 * G_PI * v;
    return radius * (e & 1 ? sin(angle) : cos(angle));
}

static TnStatus
run_normal(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnNormalAttrs *attrs = node->attrs;
    TnDtype dtype = node->out[0].type.dtype;
    Draw d = draw_of(node, run);
    for (gint64 e = 0; e < node->out[0].count; e++) {
        RefValue value;
        if (tn_dtype_info(dtype)->compute == TN_COMPUTE_F32) {
            float scaled = (float)attrs->scale * normal_f32(&d, (guint64)e);
            value.f32 = (float)attrs->mean + scaled;
        } else {
            double scaled = attrs->scale * normal_f64(&d, (guint64)e);
            value.f64 = attrs->mean + scaled;
        }
        ref_store(dtype, run->out[0], e, value);
    }
    return TN_OK;
}

static const TnKernel kernels[] = {
    REF_ROW("random_bits", run_bits),
    REF_ROW("random_uniform", run_uniform),
    REF_ROW("random_normal", run_normal),
};

const TnKernelTable ref_random = REF_TABLE(kernels);
