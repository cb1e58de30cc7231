/* norm.c: layer and batch normalisation and their gradients by oneDNN, on slices that depend on the
 * sizes alone. The images or rows are f32 or bf16, all else f32.
 *
 * Layers are cut into slices of rows, whose gradients of scale and bias are summed in order; batches
 * into slices of channels, or of samples where the statistics are given. The library's code for
 * images [N, C, h, w] takes whole ones alone: slices of channels are copied into blocks of 16. */
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <math.h>
#include <string.h>

#include <tenon/nn.h>

/* Slices at most, and elements that one should have; its channels are a multiple of this. */
#define MOST_SLICES 8
#define SLICE_SIZE 32768
#define CHANNELS 16

/* Which of the node's inputs or outputs a port is, and whether it is as large as x. */
typedef struct {
    OneDnnPort port;
    gboolean out;
    gint number;
    gboolean images;
} Place;

typedef struct {
    Slices slices; /* of rows, channels or samples */
    OneDnnNorm norm;
    const Place *places;
    guint n_places;
    gint64 cut;                  /* rows, channels or samples in all */
    gint64 step[ONEDNN_N_PORTS]; /* bytes from slice to slice */
    /* In a slice's scratch, of layers' gradients: variances, and what is to be summed. */
    gsize variance_at, partial_at;
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
} Job;

static const Place fixed_places[] = {
    { ONEDNN_A, FALSE, 0, TRUE },         { ONEDNN_B, FALSE, 1, FALSE },
    { ONEDNN_BIAS, FALSE, 2, FALSE },     { ONEDNN_MEAN, FALSE, 3, FALSE },
    { ONEDNN_VARIANCE, FALSE, 4, FALSE }, { ONEDNN_OUT, TRUE, 0, TRUE },
};
static const Place forward_places[] = {
    { ONEDNN_A, FALSE, 0, TRUE },     { ONEDNN_B, FALSE, 1, FALSE },
    { ONEDNN_BIAS, FALSE, 2, FALSE }, { ONEDNN_OUT, TRUE, 0, TRUE },
    { ONEDNN_MEAN, TRUE, 1, FALSE },  { ONEDNN_VARIANCE, TRUE, 2, FALSE },
};
/* The bias is asked for and not read: the scale has its size. */
static const Place gradient_places[] = {
    { ONEDNN_A, FALSE, 0, TRUE },         { ONEDNN_B, FALSE, 1, FALSE },
    { ONEDNN_BIAS, FALSE, 1, FALSE },     { ONEDNN_MEAN, FALSE, 2, FALSE },
    { ONEDNN_VARIANCE, FALSE, 3, FALSE }, { ONEDNN_G, FALSE, 4, TRUE },
    { ONEDNN_OUT, TRUE, 0, TRUE },        { ONEDNN_DSCALE, TRUE, 1, FALSE },
    { ONEDNN_DBIAS, TRUE, 2, FALSE },
};

/* --- Sizes ------------------------------------------------------------------------------------ */

static OneDnnBox
vector(gint64 n)
{
    return (OneDnnBox){ .dtype = TN_DTYPE_F32, .rank = 1, .dims = { n }, .strides = { 1 } };
}

static void
set_layer(Plan *plan, const TnNode *node)
{
    const TnNormAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type;
    const gint axis = (gint)(attrs->axis < 0 ? attrs->axis + x->rank : attrs->axis);
    gint64 rows = 1;
    for (gint i = 0; i < axis; i++) {
        rows *= x->dims[i];
    }
    const gint64 n = node->in[0].count / rows;
    OneDnnNorm *norm = &plan->norm;
    norm->epsilon = attrs->epsilon;
    norm->x = (OneDnnBox){ .dtype = x->dtype, .rank = 2, .dims = { rows, n }, .strides = { n, 1 } };
    norm->scale = norm->bias = vector(n);
    norm->stats = vector(rows);
    plan->cut = rows;
    if (norm->gradient) {
        /* The variances that are given are those of 1 / inv_std: epsilon is in them. */
        norm->epsilon = 0;
    } else if (node->n_in < 3 || node->in[2].type.dtype == TN_DTYPE_NONE) {
        norm->bias.dtype = TN_DTYPE_NONE;
    }
}

static void
set_batch(Plan *plan, const TnNode *node)
{
    const TnEpsilonAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type;
    const gint64 samples = x->dims[0], channels = x->dims[1],
                 n = node->in[0].count / samples / channels;
    OneDnnNorm *norm = &plan->norm;
    norm->epsilon = attrs->epsilon;
    norm->x = (OneDnnBox){ .dtype = x->dtype,
                           .rank = 4,
                           .dims = { samples, channels, 1, n },
                           .strides = { channels * n, n, n, 1 } };
    norm->scale = norm->bias = norm->stats = vector(channels);
    plan->cut = norm->fixed ? samples : channels;
}

/* How many slices, and whether their channels must be copied. */
static void
set_slices(Plan *plan, gint64 count)
{
    const gint64 unit = plan->norm.kind == ONEDNN_BATCH && !plan->norm.fixed ? CHANNELS : 1;
    slices_cut(&plan->slices, plan->cut, unit, MIN(MOST_SLICES, count / SLICE_SIZE));
    plan->norm.blocked = unit > 1 && plan->slices.n > 1;
}

static OneDnnNorm
slice_of(const Plan *plan, gint64 size)
{
    OneDnnNorm slice = plan->norm;
    if (slice.kind == ONEDNN_LAYER) {
        slice.x.dims[0] = slice.stats.dims[0] = size;
    } else if (slice.fixed) {
        slice.x.dims[0] = size;
    } else {
        slice.x.dims[1] = size;
        slice.scale = slice.bias = slice.stats = vector(size);
    }
    return slice;
}

static void
set_steps(Plan *plan)
{
    const OneDnnNorm *norm = &plan->norm;
    const gboolean by_channels = norm->kind == ONEDNN_BATCH && !norm->fixed;
    const gint64 images = norm->x.strides[by_channels ? 1 : 0] * plan->slices.per *
                          (gint64)tn_dtype_size(norm->x.dtype);
    const gint64 numbers = plan->slices.per * (gint64)sizeof(float);
    for (guint i = 0; i < plan->n_places; i++) {
        const Place *place = &plan->places[i];
        const gboolean stats = place->port == ONEDNN_MEAN || place->port == ONEDNN_VARIANCE;
        const gboolean cut = by_channels || (norm->kind == ONEDNN_LAYER && stats);
        plan->step[place->port] = place->images ? images : cut ? numbers : 0;
    }
}

static void
set_plan(Plan *plan, const TnNode *node, OneDnnNormKind kind, gboolean gradient, gboolean fixed)
{
    plan->norm = (OneDnnNorm){ .kind = kind, .gradient = gradient, .fixed = fixed };
    plan->places = gradient ? gradient_places : fixed ? fixed_places : forward_places;
    plan->n_places = gradient ? G_N_ELEMENTS(gradient_places)
                     : fixed  ? G_N_ELEMENTS(fixed_places)
                              : G_N_ELEMENTS(forward_places);
    (kind == ONEDNN_LAYER ? set_layer : set_batch)(plan, node);
    set_slices(plan, node->in[0].count);
    set_steps(plan);
}

/* --- Running ---------------------------------------------------------------------------------- */

/* What the library has for 1 / inv_std or inv_std: variances, with epsilon and without it. */
static void
variances_of(const float *inverse, gint64 n, float *variance)
{
    for (gint64 i = 0; i < n; i++) {
        variance[i] = (float)(1 / ((double)inverse[i] * (double)inverse[i]));
    }
}

static void
inverses_of(float *variance, gint64 n, double epsilon)
{
    for (gint64 i = 0; i < n; i++) {
        variance[i] = (float)(1 / sqrt((double)variance[i] + epsilon));
    }
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const TnRun *run = job->run;
    const gboolean layer = plan->norm.kind == ONEDNN_LAYER;
    const gint64 size = slices_size(&plan->slices, slice);
    char *scratch = slices_own(&plan->slices, slice, run->scratch);
    void *ports[ONEDNN_N_PORTS] = { NULL };
    for (guint i = 0; i < plan->n_places; i++) {
        const Place *place = &plan->places[i];
        if (place->port != ONEDNN_BIAS || plan->norm.bias.dtype != TN_DTYPE_NONE) {
            void *at = (place->out ? run->out : run->in)[place->number];
            ports[place->port] = (char *)at + (gint64)slice * plan->step[place->port];
        }
    }
    if (layer && plan->norm.gradient) {
        float *variance = (float *)(void *)(scratch + plan->variance_at);
        variances_of(ports[ONEDNN_VARIANCE], size, variance);
        ports[ONEDNN_VARIANCE] = variance;
        ports[ONEDNN_DSCALE] = scratch + plan->partial_at;
        ports[ONEDNN_DBIAS] = (float *)ports[ONEDNN_DSCALE] + plan->norm.scale.dims[0];
    }
    const TnStatus status = slices_call(&plan->slices, slice, ports, run->scratch);
    (void)n;
    if (layer && !plan->norm.gradient) {
        inverses_of(ports[ONEDNN_VARIANCE], size, plan->norm.epsilon);
    }
    return status;
}

/* Gradients of scale and bias, in the slices' order. */
static void
sum_slices(const Plan *plan, const TnRun *run)
{
    const gint64 n = plan->norm.scale.dims[0];
    for (gint64 i = 0; i < 2 * n; i++) {
        double sum = 0;
        for (gint64 s = 0; s < plan->slices.n; s++) {
            const char *scratch = slices_own(&plan->slices, (gsize)s, run->scratch);
            sum += (double)((const float *)(const void *)(scratch + plan->partial_at))[i];
        }
        ((float *)run->out[i < n ? 1 : 2])[i % n] = (float)sum;
    }
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run };
    const TnStatus status = slices_run(&plan->slices, run, run_slice, &job, "a normalisation");
    if (status == TN_OK && plan->norm.kind == ONEDNN_LAYER && plan->norm.gradient) {
        sum_slices(plan, run);
    }
    return status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer plan, gint64 size, GError **error)
{
    const OneDnnNorm slice = slice_of(plan, size);
    return onednn_norm_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, OneDnnNormKind kind, gboolean gradient,
        gboolean fixed, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    set_plan(plan, node, kind, gradient, fixed);
    if (kind == ONEDNN_LAYER && gradient) {
        const gint64 cell = sizeof(float);
        plan->variance_at = slices_reserve_own(&plan->slices, plan->slices.per * cell);
        plan->partial_at = slices_reserve_own(&plan->slices, 2 * plan->norm.scale.dims[0] * cell);
    }
    return slices_prepare(plan, slice_new, prepared, error);
}

/* Everything is there; images have x's dtype, all else is f32. */
static gboolean
types_fit(const TnNode *node, const Plan *plan)
{
    for (guint i = 0; i < plan->n_places; i++) {
        const Place *place = &plan->places[i];
        const TnDtype want = place->images ? node->in[0].type.dtype : TN_DTYPE_F32;
        const gboolean absent =
            place->port == ONEDNN_BIAS && plan->norm.bias.dtype == TN_DTYPE_NONE;
        if (!absent && (place->out ? node->out : node->in)[place->number].type.dtype != want) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
claims(const TnNode *node, OneDnnNormKind kind, gboolean gradient, gboolean fixed)
{
    Plan plan = { .cut = 0 };
    if (node->in[0].count == 0 || !onednn_takes(node->in[0].type.dtype)) {
        return FALSE;
    }
    set_plan(&plan, node, kind, gradient, fixed);
    const OneDnnNorm slice = slice_of(&plan, plan.slices.per);
    /* Layers' kernels call themselves simple and are not. */
    return types_fit(node, &plan) && onednn_norm_way(&slice) != ONEDNN_NOT;
}

static gboolean
pays(const TnNode *node, OneDnnNormKind kind, gboolean gradient, gboolean fixed)
{
    Plan plan = { .cut = 0 };
    if (kind == ONEDNN_BATCH || node->in[0].count == 0) {
        return onednn_table_alone_pays();
    }
    set_plan(&plan, node, kind, gradient, fixed);
    return onednn_layer_norm_pays(plan.norm.x.dtype, gradient, plan.cut, plan.norm.x.dims[1]);
}

#define DEFINE(name, kind, gradient, fixed)                                                        \
    static gboolean claims_##name(const TnNode *node)                                              \
    {                                                                                              \
        return claims(node, kind, gradient, fixed);                                                \
    }                                                                                              \
    static gboolean pays_##name(const TnNode *node)                                                \
    {                                                                                              \
        return pays(node, kind, gradient, fixed);                                                  \
    }                                                                                              \
    static gboolean prepare_##name(const TnNode *node, TnPrepared *prepared, GError **error)       \
    {                                                                                              \
        return prepare(node, prepared, kind, gradient, fixed, error);                              \
    }
DEFINE(layer, ONEDNN_LAYER, FALSE, FALSE)
DEFINE(layer_grad, ONEDNN_LAYER, TRUE, FALSE)
DEFINE(batch_fixed, ONEDNN_BATCH, FALSE, TRUE)
DEFINE(batch, ONEDNN_BATCH, FALSE, FALSE)
DEFINE(batch_grad, ONEDNN_BATCH, TRUE, FALSE)

#define ROW(op_, name)                                                                             \
    {                                                                                              \
        .op = (op_), .dtypes = TN_DT(F32) | TN_DT(BF16), .rank = ONEDNN_RANK,                      \
        .claims = claims_##name, .prepare = prepare_##name, .run = run, .release = slices_release, \
        .pays = pays_##name                                                                        \
    }

static const TnKernel kernels[] = {
    ROW("layer_normalization", layer),           ROW("layer_normalization_grad", layer_grad),
    ROW("batch_normalization", batch_fixed),     ROW("batch_normalization_training", batch),
    ROW("batch_normalization_grad", batch_grad),
};

const TnKernelTable onednn_norm = ONEDNN_TABLE(kernels);
