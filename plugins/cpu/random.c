/* random.c: random primitives, drawn as tenon/ops.h states: word i of a node is word i % 4 of block
 * i / 4. Elements are made in blocks, so that a node's numbers are the same however they are cut
 * into chunks. */
#include "cpu.h"
#include "random_words.h"
#include "tables.h"
#include "vmath.h"

/* Elements made at once; a multiple of what four words give in every dtype. */
#define BLOCK 256

typedef struct {
    TnDtype dtype;
    gint64 count, key_stride;
    guint64 stream;
    double first, second; /* low and range, or mean and scale */
    void (*make)(const guint32 *words, void *to, gint64 n, double first, double second);
    gint words; /* per element */
} State;

typedef struct {
    const State *state;
    const guint64 *key;
    guint32 philox[2];
    char *out;
} Job;

static void
make_u32(const guint32 *words, void *to, gint64 n, double first, double second)
{
    (void)first;
    (void)second;
    memcpy(to, words, (gsize)n * sizeof(guint32));
}

static void
make_u64(const guint32 *words, void *to, gint64 n, double first, double second)
{
    guint64 *out = to;
    (void)first;
    (void)second;
    for (gint64 i = 0; i < n; i++) {
        out[i] = words[2 * i] | (guint64)words[2 * i + 1] << 32;
    }
}

static void
uniform_f32(const guint32 *words, void *to, gint64 n, double first, double second)
{
    float *out = to, low = (float)first, range = (float)second;
    for (gint64 i = 0; i < n; i++) {
        float scaled = tn_random_unit_f32(words[i]) * range;
        out[i] = low + scaled;
    }
}

static void
uniform_f64(const guint32 *words, void *to, gint64 n, double first, double second)
{
    double *out = to;
    for (gint64 i = 0; i < n; i++) {
        double scaled = tn_random_unit_f64(words[2 * i], words[2 * i + 1]) * second;
        out[i] = first + scaled;
    }
}

/* Pairs: n is even but at the very end, where the odd one of the last pair is not wanted. */
static void
normal_f32(const guint32 *words, void *to, gint64 n, double first, double second)
{
    float *out = to, mean = (float)first, scale = (float)second;
    float radius[BLOCK / 2], sine[BLOCK / 2], cosine[BLOCK / 2];
    gint64 pairs = (n + 1) / 2;
    for (gint64 p = 0; p < pairs; p++) {
        float angle = (float)(2 * G_PI) * tn_random_unit_f32(words[2 * p + 1]);
        radius[p] = sqrtf(-2 * vm_log(1 - tn_random_unit_f32(words[2 * p])));
        cosine[p] = vm_cos(angle);
        sine[p] = vm_sin(angle);
    }
    for (gint64 i = 0; i < n; i++) {
        float scaled = scale * (radius[i / 2] * (i & 1 ? sine[i / 2] : cosine[i / 2]));
        out[i] = mean + scaled;
    }
}

static void
normal_f64(const guint32 *words, void *to, gint64 n, double first, double second)
{
    double *out = to;
    for (gint64 i = 0; i < n; i += 2) {
        double u = 1 - tn_random_unit_f64(words[2 * i], words[2 * i + 1]);
        double angle = 2 * G_PI * tn_random_unit_f64(words[2 * i + 2], words[2 * i + 3]);
        double radius = sqrt(-2 * log(u)), scaled = second * (radius * cos(angle));
        out[i] = first + scaled;
        if (i + 1 < n) {
            scaled = second * (radius * sin(angle));
            out[i + 1] = first + scaled;
        }
    }
}

/* Elements [first, first + n) of the node; first is a multiple of BLOCK. */
static void
draw_block(const Job *job, gint64 first, gint64 n)
{
    const State *s = job->state;
    const TnDtypeInfo *info = tn_dtype_info(s->dtype);
    guint32 words[BLOCK * 2];
    guint64 made[BLOCK];
    gint64 wanted = ((n + 1) / 2 * 2 * s->words + 3) / 4, block = first * s->words / 4;
    gboolean narrow = s->dtype == TN_DTYPE_F16 || s->dtype == TN_DTYPE_BF16;
    char *to = job->out + (gsize)first * tn_dtype_size(s->dtype);
    cpu_random_words[cpu_isa](job->philox, job->key[s->key_stride], (guint64)block, wanted, words);
    s->make(words, narrow ? (void *)made : to, n, s->first, s->second);
    if (narrow) {
        info->store(to, made, 1, (gsize)n);
    }
}

/* Blocks of a chunk: a random number costs about as much as ten additions. */
#define PER_CHUNK 16
static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    gint64 first = (gint64)chunk * PER_CHUNK * BLOCK;
    gint64 end = MIN(job->state->count, first + PER_CHUNK * BLOCK);
    (void)n;
    for (gint64 at = first; at < end; at += BLOCK) {
        draw_block(job, at, MIN(BLOCK, end - at));
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const State *s = state;
    Job job = { .state = s, .key = run->in[0], .out = run->out[0] };
    gint64 each = PER_CHUNK * BLOCK;
    if (s->count == 0) {
        return TN_OK;
    }
    tn_random_key(job.key[0], s->stream, job.philox);
    return tn_parallel_for((gsize)((s->count + each - 1) / each), run_chunk, &job);
}

static State *
state_new(const TnNode *node)
{
    const TnRandomAttrs *attrs = node->attrs;
    State *s = g_new0(State, 1);
    s->dtype = node->out[0].type.dtype;
    s->count = node->out[0].count;
    s->key_stride = node->in[0].strides[0];
    s->stream = attrs->stream;
    s->words = 1 + (s->dtype == TN_DTYPE_F64 || s->dtype == TN_DTYPE_U64);
    return s;
}

static gboolean
prepare_bits(const TnNode *node, TnPrepared *prepared, GError **error)
{
    State *s = state_new(node);
    (void)error;
    s->make = s->words == 2 ? make_u64 : make_u32;
    prepared->state = s;
    return TRUE;
}

static gboolean
prepare_uniform(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnUniformAttrs *attrs = node->attrs;
    State *s = state_new(node);
    (void)error;
    s->first = attrs->low;
    s->second = attrs->high - attrs->low;
    s->make = s->words == 2 ? uniform_f64 : uniform_f32;
    prepared->state = s;
    return TRUE;
}

static gboolean
prepare_normal(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnNormalAttrs *attrs = node->attrs;
    State *s = state_new(node);
    (void)error;
    s->first = attrs->mean;
    s->second = attrs->scale;
    s->make = s->words == 2 ? normal_f64 : normal_f32;
    prepared->state = s;
    return TRUE;
}

#define ROW(name, function)                                                                        \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_ALL, .flags = TN_KERNEL_STRIDED, .prepare = (function),  \
        .run = run, .release = g_free                                                              \
    }

static const TnKernel kernels[] = {
    ROW("random_bits", prepare_bits),
    ROW("random_uniform", prepare_uniform),
    ROW("random_normal", prepare_normal),
};

const TnKernelTable cpu_random = CPU_TABLE(kernels);
