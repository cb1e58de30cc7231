/* quantized.c: quantized_conv by oneDNN: convolutions of 8-bit images whose channels lie last, dense layers
 * among them.
 *
 * The operator's tiles of weights, laid once by the graph, are a layout that the library's products of matrices
 * take: nothing is packed. So a convolution is a product: what a place sees is copied as a row of a
 * matrix, with the zero point for what lies beside the image. Windows of 1 whose channels fill tiles
 * are read where they lie. Sums are the library's and exact; what follows is done here, while they are in
 * the cache.
 *
 * Slices are blocks of places, or of maps where places are few, by sizes alone. */
#include "integer.h"
#include "quantized_finish.h"
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <string.h>

#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/pool.h>

#define MAPS TN_QUANTIZED_MAPS
#define DEEP TN_QUANTIZED_DEEP
#define AXES 3 /* spatial; missing ones come first and are 1 */
/* Slices that run at once at most, and multiplications that each should have. */
#define MOST_PARTS 8
#define PART_WORK (1 << 22)
/* Bytes of a block's rows, and of its sums. */
#define BLOCK ((gint64)1 << 18)
#define BLOCK_PLACES 1024
/* With fewer places than this maps are cut, each slice at most so many. */
#define FEW_PLACES 128
#define SLICE_MAPS 512
/* Places that are copied by one chunk. */
#define COPY_PLACES 16
#define MOST G_MAXINT32 /* elements of the result: work is then a number, too */

enum { X, W, X_ZERO, OFFSET, SCALE, BIAS, MORE, MORE_SCALE, MORE_ZERO, Y_SCALE, Y_ZERO };

typedef struct {
    gint64 x, y, kernel, stride, dilation, before;
} Axis;

typedef struct {
    Slices slices; /* of places or maps */
    Axis axis[AXES];
    gint64 channels, maps, all_maps; /* all: of whole tiles */
    gint64 places;                   /* of all images */
    gint64 row, whole_row; /* what a place sees along the last axis; with its tiles filled */
    gint64 depth;          /* of all axes */
    gboolean by_maps, copies;
    gboolean relu, has_more, more_narrow, narrow;
    gsize rows_at, sums_at; /* of a slice's own scratch; rows where maps are cut of the node's */
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    QuantizedFinish finish;
} Job;

/* --- Rows of the matrix ----------------------------------------------------------------------- */

/* What a place sees of one line of an image, along the last axis. */
static void
copy_line(const Job *job, const guint8 *line, gint64 place, guint8 *to)
{
    const Plan *p = job->plan;
    const Axis *a = &p->axis[AXES - 1];
    const guint8 zero = *(const guint8 *)job->run->in[X_ZERO];
    const gint64 from = place * a->stride - a->before;
    const gint64 first = CLAMP(-from, 0, a->kernel), end = CLAMP(a->x - from, first, a->kernel);
    const gint64 c = p->channels;
    if (line == NULL || first == end) {
        memset(to, zero, (gsize)p->row);
        return;
    }
    memset(to, zero, (gsize)(first * c));
    memcpy(to + first * c, line + (from + first) * c, (gsize)((end - first) * c));
    memset(to + end * c, zero, (gsize)((a->kernel - end) * c));
}

/* A place's row. What fills tiles is multiplied by 0. */
static void
copy_place(const Job *job, gint64 place, guint8 *to)
{
    const Plan *p = job->plan;
    const Axis *a = p->axis;
    const gint64 last = place % a[2].y, i = place / a[2].y % a[1].y;
    const gint64 h = place / a[2].y / a[1].y % a[0].y, image = place / a[2].y / a[1].y / a[0].y;
    for (gint64 u = 0; u < a[0].kernel; u++) {
        const gint64 plane = h * a[0].stride + u * a[0].dilation - a[0].before;
        for (gint64 v = 0; v < a[1].kernel; v++, to += p->whole_row) {
            const gint64 row = i * a[1].stride + v * a[1].dilation - a[1].before;
            const gboolean in = plane >= 0 && plane < a[0].x && row >= 0 && row < a[1].x;
            const gint64 at = ((image * a[0].x + plane) * a[1].x + row) * a[2].x * p->channels;
            copy_line(job, in ? (const guint8 *)job->run->in[X] + at : NULL, last, to);
            memset(to + p->row, 0, (gsize)(p->whole_row - p->row));
        }
    }
}

static TnStatus
copy_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * COPY_PLACES, end = MIN(p->places, first + COPY_PLACES);
    (void)n;
    for (gint64 i = first; i < end; i++) {
        copy_place(job, i, (guint8 *)job->run->scratch + i * p->depth);
    }
    return TN_OK;
}

/* Rows from place `first` on, where they lie or copied to the slice's memory. */
static guint8 *
rows_of(const Job *job, gint64 first, gint64 places, char *memory)
{
    const Plan *p = job->plan;
    if (!p->copies || p->by_maps) {
        return (guint8 *)(p->copies ? job->run->scratch : job->run->in[X]) + first * p->depth;
    }
    guint8 *rows = (guint8 *)memory + p->rows_at;
    for (gint64 i = 0; i < places; i++) {
        copy_place(job, first + i, rows + i * p->depth);
    }
    return rows;
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnStatus
run_slice(gpointer data, gsize slice, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = slices_first(&p->slices, slice), size = slices_size(&p->slices, slice);
    const gint64 place = p->by_maps ? 0 : first, places = p->by_maps ? p->places : size;
    const gint64 map = p->by_maps ? first : 0, maps = p->by_maps ? size : p->all_maps;
    char *memory = slices_own(&p->slices, slice, job->run->scratch);
    gint32 *sums = (gint32 *)(void *)(memory + p->sums_at);
    void *ports[ONEDNN_N_PORTS] = { NULL };
    (void)n;
    ports[ONEDNN_A] = rows_of(job, place, places, memory);
    ports[ONEDNN_B] = (gint8 *)job->run->in[W] + map * p->depth;
    ports[ONEDNN_OUT] = sums;
    const TnStatus status = slices_call(&p->slices, slice, ports, job->run->scratch);
    if (status == TN_OK) {
        quantized_finish(&job->finish, sums, maps, place, places, map, MIN(maps, p->maps - map),
                         job->run->out[0]);
    }
    return status;
}

static QuantizedFinish
finish_of(const Plan *p, const TnRun *run)
{
    QuantizedFinish finish = { .maps = p->maps,
                               .offset = run->in[OFFSET],
                               .scale = run->in[SCALE],
                               .bias = run->in[BIAS],
                               .more = p->has_more ? run->in[MORE] : NULL,
                               .more_narrow = p->more_narrow,
                               .relu = p->relu,
                               .narrow = p->narrow };
    if (p->more_narrow) {
        finish.more_scale = *(const float *)run->in[MORE_SCALE];
        finish.more_zero = *(const guint8 *)run->in[MORE_ZERO];
    }
    if (p->narrow) {
        finish.y_inverse = 1 / *(const float *)run->in[Y_SCALE];
        finish.y_zero = *(const guint8 *)run->in[Y_ZERO];
    }
    return finish;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { p, run, finish_of(p, run) };
    TnStatus status = TN_OK;
    if (p->copies && p->by_maps) {
        const gint64 chunks = (p->places + COPY_PLACES - 1) / COPY_PLACES;
        status = tn_parallel_for((gsize)chunks, copy_chunk, &job);
    }
    if (status == TN_OK) {
        status = slices_run(&p->slices, run, run_slice, &job, "a convolution");
    }
    return status;
}

/* --- Sizes ------------------------------------------------------------------------------------ */

static void
set_axes(Plan *p, const TnNode *node)
{
    const TnQuantizedConvAttrs *attrs = node->attrs;
    const TnWindowAttrs *window = &attrs->window;
    const TnConvAttrs conv = { .strides = window->strides,
                               .pads = window->pads,
                               .dilations = window->dilations };
    const gint n = window->kernel_shape.n;
    for (gint i = 0; i < AXES; i++) {
        const gint k = i - (AXES - n);
        p->axis[i] = (Axis){ 1, 1, 1, 1, 1, 0 };
        if (k >= 0) {
            const TnConvAxis at = tn_conv_axis(&conv, n, k);
            p->axis[i] = (Axis){ node->in[X].type.dims[1 + k],
                                 node->out[0].type.dims[1 + k],
                                 window->kernel_shape.v[k],
                                 at.stride,
                                 at.dilation,
                                 at.pad_begin };
        }
    }
}

static void
set_slices(Plan *p)
{
    const gint64 work = p->places * p->all_maps * p->depth;
    p->by_maps = p->places < FEW_PLACES && p->all_maps >= FEW_PLACES;
    if (p->by_maps) {
        slices_cut(&p->slices, p->all_maps, 4 * MAPS, MAX(MOST_PARTS, p->all_maps / SLICE_MAPS));
    } else {
        const gint64 bytes =
            MAX(p->copies ? p->depth : 1, MAX(1, p->all_maps * (gint64)sizeof(gint32)));
        const gint64 block = CLAMP(BLOCK / bytes, 32, BLOCK_PLACES);
        slices_cut(&p->slices, p->places, 16,
                   MAX(MIN(MOST_PARTS, work / PART_WORK), (p->places + block - 1) / block));
    }
    p->slices.parts = CLAMP(work / PART_WORK, 1, MOST_PARTS);
}

static void
set_sizes(Plan *p, const TnNode *node)
{
    const TnQuantizedConvAttrs *attrs = node->attrs;
    gboolean moves = FALSE; /* places are not the pixels of x */
    set_axes(p, node);
    p->channels = attrs->channels;
    p->maps = attrs->maps;
    p->all_maps = node->in[W].type.dims[0] * MAPS;
    p->depth = node->in[W].count / p->all_maps;
    p->places = node->out[0].count / p->maps;
    for (gint i = 0; i < AXES; i++) {
        const Axis *a = &p->axis[i];
        moves = moves || a->x != a->y || a->kernel != 1 || a->stride != 1 || a->before != 0;
    }
    p->row = p->axis[AXES - 1].kernel * p->channels;
    p->whole_row = node->in[W].type.dims[2] * DEEP;
    p->copies = moves || p->row != p->whole_row;
    p->relu = attrs->relu;
    p->has_more = node->n_in > MORE && node->in[MORE].type.dtype != TN_DTYPE_NONE;
    p->more_narrow = p->has_more && node->in[MORE].type.dtype == TN_DTYPE_U8;
    p->narrow = node->out[0].type.dtype == TN_DTYPE_U8;
    set_slices(p);
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnMatmul
slice_of(const Plan *p, gint64 size)
{
    const gint64 places = p->by_maps ? p->places : size, maps = p->by_maps ? size : p->all_maps;
    return (OneDnnMatmul){
        .a = { .dtype = TN_DTYPE_U8,
               .rank = 2,
               .dims = { places, p->depth },
               .strides = { p->depth, 1 } },
        .b = { .dtype = TN_DTYPE_I8,
               .layout = ONEDNN_TILES,
               .rank = 2,
               .dims = { p->depth, maps } },
        .out = { .dtype = TN_DTYPE_I32,
                 .rank = 2,
                 .dims = { places, maps },
                 .strides = { maps, 1 } },
    };
}

static OneDnnCall *
slice_new(gconstpointer plan, gint64 size, GError **error)
{
    const OneDnnMatmul slice = slice_of(plan, size);
    return onednn_matmul_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = g_new0(Plan, 1);
    set_sizes(p, node);
    const gint64 places = p->by_maps ? p->places : p->slices.per;
    const gint64 maps = p->by_maps ? p->slices.per : p->all_maps;
    p->sums_at = slices_reserve_own(&p->slices, places * maps * (gint64)sizeof(gint32));
    if (p->copies) {
        p->rows_at =
            (p->by_maps ? slices_reserve : slices_reserve_own)(&p->slices, places * p->depth);
    }
    return slices_prepare(p, slice_new, prepared, error);
}

static gboolean
claims(const TnNode *node)
{
    const TnQuantizedConvAttrs *attrs = node->attrs;
    Plan p = { .places = 0 };
    if (!integer_takes() || attrs->window.kernel_shape.n > AXES || node->in[X].count == 0 ||
        node->out[0].count == 0 || node->in[W].count > G_MAXINT32 || node->out[0].count > MOST) {
        return FALSE;
    }
    set_sizes(&p, node);
    const OneDnnMatmul slice = slice_of(&p, p.slices.per);
    return onednn_way_fits(onednn_matmul_way(&slice));
}

static gboolean
pays(const TnNode *node)
{
    (void)node;
    return onednn_table_alone_pays();
}

static const TnKernel kernels[] = {
    { .op = "quantized_conv",
      .dtypes = TN_DT(U8),
      .rank = ONEDNN_RANK,
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = slices_release,
      .pays = pays },
};

const TnKernelTable onednn_quantized = ONEDNN_TABLE_EXACT(kernels);
