/* integer_conv.c: convolutions of 8-bit numbers by oneDNN, exact: conv_integer and qlinear_conv.
 *
 * Images are copied first, to channels last and with the zero point around them, as the library likes
 * 8-bit images and as its own padding is 0. Slices are images, or blocks of channels out where there
 * are few images, by sizes alone. */
#include "integer.h"
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <string.h>

#include <tenon/ops.h>
#include <tenon/pool.h>

#define MOST_SLICES 8
/* Channels of a slice are a multiple of this. */
#define CHANNELS 32
/* Places that are finished together. */
#define PLACES 64
#define AXES 3 /* spatial; missing ones come first and are 1 */
#define MOST_PADDED ((gint64)1 << 31)

typedef struct {
    gint64 x, padded, y, kernel, stride, dilation, before;
} Axis;

typedef struct {
    Slices slices; /* of images or maps */
    IntegerTypes types;
    gint n;
    Axis axis[AXES];
    gint64 images, channels, maps, groups, depth; /* depth: products of a sum */
    gint64 padded, places;                        /* of an image */
    gboolean by_images;
    gsize x_at, factor_at; /* in scratch: padded images, maps' factors */
    gsize map_at, w_at;    /* among what is laid: sums of w's maps; w as i8, if it is not */
    gsize sums_at;         /* of a slice's own scratch: sums of products */
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    guint8 *x;
    char *laid;
    gint32 *map;
    float *factor;
    gboolean shifted; /* w has zero points */
} Job;

/* --- Copies ----------------------------------------------------------------------------------- */

/* A row of a padded image. */
static TnStatus
copy_row(gpointer data, gsize item, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const Axis *a = p->axis;
    const gint64 row = (gint64)item % (a[0].padded * a[1].padded);
    const gint64 image = (gint64)item / (a[0].padded * a[1].padded);
    const gint64 i = row / a[1].padded - a[0].before, j = row % a[1].padded - a[1].before;
    const gint64 plane = a[0].x * a[1].x * a[2].x;
    const gint64 first = MIN(a[2].before, a[2].padded),
                 end = MIN(a[2].before + a[2].x, a[2].padded);
    guint8 *to = job->x + (gint64)item * a[2].padded * p->channels;
    (void)n;
    memset(to, (gint)(guint8)integer_x_zero(&p->types, job->run, 0),
           (gsize)(a[2].padded * p->channels));
    if (i < 0 || i >= a[0].x || j < 0 || j >= a[1].x) {
        return TN_OK;
    }
    const guint8 *from = (const guint8 *)job->run->in[p->types.at.x] + image * p->channels * plane +
                         (i * a[1].x + j) * a[2].x;
    for (gint64 c = 0; c < p->channels; c++) {
        for (gint64 k = first; k < end; k++) {
            to[k * p->channels + c] = from[c * plane + k - a[2].before];
        }
    }
    return TN_OK;
}

/* --- What is laid ----------------------------------------------------------------------------- */

/* w as i8. */
static const gint8 *
plain_w(const Plan *p, const TnRun *run, const char *laid)
{
    return p->types.w == TN_DTYPE_U8 ? (const gint8 *)laid + p->w_at : run->in[p->types.at.w];
}

static TnStatus
lay_map(gpointer data, gsize map, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)map * p->depth;
    const gint8 *w = plain_w(p, job->run, job->laid) + first;
    gint32 sum = 0;
    (void)n;
    if (p->types.w == TN_DTYPE_U8) {
        integer_signed(&p->types, job->run->in[p->types.at.w], first, p->depth, (gint8 *)w);
    }
    for (gint64 i = 0; i < p->depth; i++) {
        sum += w[i];
    }
    job->map[map] = sum;
    return TN_OK;
}

static gint32 *
maps_of(const Plan *p, char *laid)
{
    return (gint32 *)(void *)(laid + p->map_at);
}

static TnStatus
lay(gconstpointer data, const TnRun *run, char *to)
{
    const Plan *p = data;
    Job job = { .plan = p, .run = run, .laid = to, .map = maps_of(p, to) };
    const TnStatus status = tn_parallel_for((gsize)p->maps, lay_map, &job);
    return status == TN_OK ? slices_lay(&p->slices, 0, run, plain_w(p, run, to), to) : status;
}

/* --- Running ---------------------------------------------------------------------------------- */

/* Sum of what a place's window sees of a group's channels. */
static gint32
window_sum(const Job *job, gint64 image, gint64 place, gint64 group)
{
    const Plan *p = job->plan;
    const Axis *a = p->axis;
    const gint64 depth = p->channels / p->groups;
    const gint64 at[AXES] = { place / a[2].y / a[1].y, place / a[2].y % a[1].y, place % a[2].y };
    gint32 sum = 0;
    for (gint64 i = 0; i < a[0].kernel; i++) {
        for (gint64 j = 0; j < a[1].kernel; j++) {
            for (gint64 k = 0; k < a[2].kernel; k++) {
                const gint64 row = at[0] * a[0].stride + i * a[0].dilation;
                const gint64 col = at[1] * a[1].stride + j * a[1].dilation;
                const gint64 seen = (row * a[1].padded + col) * a[2].padded + at[2] * a[2].stride +
                                    k * a[2].dilation;
                sum += integer_sum(&p->types, job->x,
                                   (image * p->padded + seen) * p->channels + group * depth, depth);
            }
        }
    }
    return sum;
}

/* Sums of some places, [places, maps] from map `first` on, less what the zero points made of them. */
static void
finish_places(const Job *job, gint64 image, gint64 place, gint64 n, gint64 first, gint64 maps,
              const gint32 *sums)
{
    const Plan *p = job->plan;
    const guint32 x_zero = (guint32)integer_x_zero(&p->types, job->run, 0);
    const gint64 per_group = p->maps / p->groups;
    guint32 seen[PLACES] = { 0 };
    gint32 of_map[PLACES];
    for (gint64 m = first; m < first + maps; m++) {
        if (job->shifted && (m == first || m % per_group == 0)) {
            for (gint64 i = 0; i < n; i++) {
                seen[i] = (guint32)window_sum(job, image, place + i, m / per_group) -
                          (guint32)p->depth * x_zero;
            }
        }
        const guint32 w_zero = (guint32)integer_w_zero(&p->types, job->run, m);
        const guint32 less = x_zero * (guint32)job->map[m];
        for (gint64 i = 0; i < n; i++) {
            of_map[i] = (gint32)((guint32)sums[i * maps + m - first] - less - w_zero * seen[i]);
        }
        integer_store(&p->types, job->run, of_map, n, m, FALSE, job->factor,
                      (image * p->maps + m) * p->places + place);
    }
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n_slices)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = slices_first(&p->slices, slice), size = slices_size(&p->slices, slice);
    const gint64 image = p->by_images ? first : 0, images = p->by_images ? size : p->images;
    const gint64 map = p->by_images ? 0 : first, maps = p->by_images ? p->maps : size;
    char *own = slices_own(&p->slices, slice, job->run->scratch);
    gint32 *sums = (gint32 *)(void *)(own + p->sums_at);
    void *ports[ONEDNN_N_PORTS] = { NULL };
    ports[ONEDNN_A] = job->x + image * p->padded * p->channels;
    ports[ONEDNN_B] =
        slices_weights(&p->slices, 0, slice, plain_w(p, job->run, job->laid), job->laid);
    ports[ONEDNN_OUT] = sums;
    const TnStatus status = slices_call(&p->slices, slice, ports, job->run->scratch);
    (void)n_slices;
    for (gint64 i = 0; status == TN_OK && i < images; i++) {
        for (gint64 place = 0; place < p->places; place += PLACES) {
            finish_places(job, image + i, place, MIN(PLACES, p->places - place), map, maps,
                          sums + (i * p->places + place) * maps);
        }
    }
    return status;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    char *scratch = run->scratch;
    Job job = { .plan = p,
                .run = run,
                .x = (guint8 *)(scratch + p->x_at),
                .factor = (float *)(void *)(scratch + p->factor_at),
                .shifted = integer_any_w_zero(&p->types, run, p->maps) };
    TnStatus status = slices_laid(&p->slices, run, &job.laid);
    if (status != TN_OK) {
        return status;
    }
    job.map = maps_of(p, job.laid);
    for (gint64 m = 0; m < p->maps; m++) {
        job.factor[m] = integer_factor(&p->types, run, m);
    }
    status =
        tn_parallel_for((gsize)(p->images * p->axis[0].padded * p->axis[1].padded), copy_row, &job);
    return status == TN_OK ? slices_run(&p->slices, run, run_slice, &job, "a convolution") : status;
}

/* --- Sizes ------------------------------------------------------------------------------------ */

static void
set_axes(Plan *plan, const TnNode *node)
{
    const TnConvAttrs *attrs = node->attrs;
    const TnType *x = &node->in[plan->types.at.x].type, *w = &node->in[plan->types.at.w].type;
    plan->n = x->rank - 2;
    for (gint i = 0; i < AXES; i++) {
        const gint k = i - (AXES - plan->n);
        Axis *axis = &plan->axis[i];
        *axis = (Axis){ 1, 1, 1, 1, 1, 1, 0 };
        if (k >= 0) {
            const TnConvAxis a = tn_conv_axis(attrs, plan->n, k);
            axis->x = x->dims[2 + k];
            axis->y = node->out[0].type.dims[2 + k];
            axis->kernel = w->dims[2 + k];
            axis->stride = a.stride;
            axis->dilation = a.dilation;
            axis->before = a.pad_begin;
            axis->padded = (axis->y - 1) * a.stride + (axis->kernel - 1) * a.dilation + 1;
        }
    }
}

static void
set_sizes(Plan *plan, const TnNode *node)
{
    plan->types = integer_types(node);
    const TnType *x = &node->in[plan->types.at.x].type, *w = &node->in[plan->types.at.w].type;
    set_axes(plan, node);
    plan->images = x->dims[0];
    plan->channels = x->dims[1];
    plan->maps = w->dims[0];
    plan->groups = ((const TnConvAttrs *)node->attrs)->group;
    plan->depth = w->dims[1];
    plan->padded = plan->places = 1;
    for (gint i = 0; i < AXES; i++) {
        plan->depth *= plan->axis[i].kernel;
        plan->padded *= plan->axis[i].padded;
        plan->places *= plan->axis[i].y;
    }
    const gint64 blocks = plan->maps / CHANNELS;
    plan->by_images = plan->groups > 1 || plan->images >= MOST_SLICES || blocks < 2;
    slices_cut(&plan->slices, plan->by_images ? plan->images : plan->maps,
               plan->by_images ? 1 : CHANNELS, plan->by_images ? plan->images : MOST_SLICES);
    plan->slices.lay = lay;
    plan->slices.n_in = node->n_in;
    plan->slices.kept = node->in[plan->types.at.w].fixed;
    slices_add_weights(&plan->slices, ONEDNN_B,
                       plan->by_images ? 0 : plan->slices.per * plan->depth);
}

/* Sizes with the channels last. */
static OneDnnBox
images_of(const Plan *plan, TnDtype dtype, gint64 images, gint64 channels, gboolean y)
{
    OneDnnBox box = { .dtype = dtype, .rank = plan->n + 2 };
    gint64 step = channels;
    for (gint i = AXES - 1; i >= AXES - plan->n; i--) {
        const gint at = 2 + i - (AXES - plan->n);
        box.dims[at] = y ? plan->axis[i].y : plan->axis[i].padded;
        box.strides[at] = step;
        step *= box.dims[at];
    }
    box.dims[0] = images;
    box.strides[0] = step;
    box.dims[1] = channels;
    box.strides[1] = 1;
    return box;
}

static OneDnnBox
windows_of(const Plan *plan, gint64 maps)
{
    const gint lead = plan->groups > 1 ? 1 : 0;
    OneDnnBox box = { .dtype = TN_DTYPE_I8, .rank = lead + 2 + plan->n };
    box.dims[0] = plan->groups;
    box.dims[lead] = maps / plan->groups;
    box.dims[lead + 1] = plan->channels / plan->groups;
    for (gint i = 0; i < plan->n; i++) {
        box.dims[lead + 2 + i] = plan->axis[AXES - plan->n + i].kernel;
    }
    gint64 step = 1;
    for (gint i = box.rank - 1; i >= 0; i--) {
        box.strides[i] = step;
        step *= box.dims[i];
    }
    return box;
}

static OneDnnConv
slice_of(const Plan *plan, gint64 size)
{
    const gint64 images = plan->by_images ? size : plan->images;
    const gint64 maps = plan->by_images ? plan->maps : size;
    OneDnnConv conv = { .kind = ONEDNN_CONV, .n = plan->n, .laid = TRUE };
    conv.x = images_of(plan, plan->types.x, images, plan->channels, FALSE);
    conv.w = windows_of(plan, maps);
    conv.y = images_of(plan, TN_DTYPE_I32, images, maps, TRUE);
    for (gint i = 0; i < plan->n; i++) {
        conv.stride[i] = plan->axis[AXES - plan->n + i].stride;
        conv.dilation[i] = plan->axis[AXES - plan->n + i].dilation;
    }
    return conv;
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer plan, gint64 size, GError **error)
{
    const OneDnnConv slice = slice_of(plan, size);
    return onednn_conv_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    set_sizes(plan, node);
    const gint64 most =
        plan->slices.per * (plan->by_images ? plan->maps : plan->images) * plan->places;
    plan->sums_at = slices_reserve_own(&plan->slices, most * (gint64)sizeof(gint32));
    plan->x_at = slices_reserve(&plan->slices, plan->images * plan->padded * plan->channels);
    plan->factor_at = slices_reserve(&plan->slices, plan->maps * (gint64)sizeof(float));
    plan->map_at = slices_reserve_laid(&plan->slices, plan->maps * (gint64)sizeof(gint32));
    if (plan->types.w == TN_DTYPE_U8) {
        plan->w_at = slices_reserve_laid(&plan->slices, plan->maps * plan->depth);
    }
    return slices_prepare(plan, slice_new, prepared, error);
}

/* Sizes with padding can be beyond what numbers hold. */
static gboolean
padded_fits(const Plan *plan)
{
    gint64 count = plan->images * plan->channels;
    for (gint i = 0; i < AXES; i++) {
        if (__builtin_mul_overflow(count, plan->axis[i].padded, &count) || count > MOST_PADDED) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
claims(const TnNode *node)
{
    const IntegerTypes types = integer_types(node);
    Plan plan = { .images = 0 };
    if (!integer_takes() || node->in[types.at.x].count == 0 || node->in[types.at.w].count == 0 ||
        node->out[0].count == 0) {
        return FALSE;
    }
    set_sizes(&plan, node);
    if (plan.depth > INTEGER_DEPTH || !padded_fits(&plan)) {
        return FALSE;
    }
    const OneDnnConv slice = slice_of(&plan, plan.slices.per);
    return onednn_way_fits(onednn_conv_way(&slice));
}

static gboolean
pays(const TnNode *node)
{
    const TnArg *w = &node->in[integer_types(node).at.w];
    return node->out[0].count > 0 &&
           onednn_integer_pays(node->out[0].count * (w->count / w->type.dims[0]));
}

#define ROW(op_)                                                                                   \
    {                                                                                              \
        .op = (op_), .dtypes = TN_DT(U8) | TN_DT(I8), .rank = ONEDNN_RANK, .claims = claims,       \
        .prepare = prepare, .run = run, .release = slices_release, .pays = pays                    \
    }

static const TnKernel kernels[] = { ROW("conv_integer"), ROW("qlinear_conv") };

const TnKernelTable onednn_integer_conv = ONEDNN_TABLE_EXACT(kernels);
