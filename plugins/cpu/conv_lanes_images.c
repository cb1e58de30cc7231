/* conv_lanes_images.c: the images of convolutions over lanes, and of their transposes.
 *
 * Neighbouring columns whose places see the same taps share one list of steps (LanesStep): all of the middle, and
 * at the border mostly one column each, so that no sum holds anything that lies outside. What is computed
 * together are neighbours in a row, or of a single column neighbours in it, where all their taps' rows are
 * inside. */
#include "conv_lanes.h"
#include "cpu.h"

/* Blocks of samples are cut into bands of rows where there are fewer than so many. */
#define CHUNKS 8

/* Columns [first, end) see taps [tap, tap_end) of each row of the window. */
typedef struct {
    gint64 first, end, tap, tap_end;
    LanesStep *steps; /* [map][row][tap] */
} Columns;

typedef struct {
    LanesPlan p;
    gint64 bands; /* parts of a block's rows */
    gboolean bias;
    GArray *columns; /* of Columns */
} Plan;

typedef struct {
    const Plan *plan;
    const float *x, *w, *bias; /* w in groups of maps */
    float *out;
} Job;

/* Some maps: w and bias begin with them, out with the first one's image. */
typedef struct {
    const LanesPlan *p;
    gint64 maps;
    const float *x, *w, *bias;
    float *out;
} Group;

/* --- Steps ------------------------------------------------------------------------------------ */

static LanesStep *
steps_new(const LanesPlan *p, gint64 tap, gint64 tap_end)
{
    LanesStep *steps = g_new(LanesStep, (gsize)(p->x_maps * p->k[0] * (tap_end - tap) + 1));
    LanesStep *to = steps;
    for (gint64 c = 0; c < p->x_maps; c++) {
        for (gint64 row = 0; row < p->k[0]; row++) {
            const gint64 line = (c * p->x[0] + row * p->dilation[0]) * p->x[1];
            for (gint64 t = tap; t < tap_end; t++) {
                *to++ = (LanesStep){ (gint32)((line + t * p->dilation[1]) * LANES),
                                     (gint32)((c * p->k[0] + row) * p->k[1] + t) };
            }
        }
    }
    return steps;
}

static GArray *
columns_new(const LanesPlan *p)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(Columns));
    for (gint64 column = 0; column < p->y[1]; column++) {
        const gint64 at = column * p->stride[1] - p->pad[1];
        const gint64 tap = lanes_first_inside(at, p->dilation[1], p->k[1]);
        const gint64 end = MAX(tap, lanes_end_inside(at, p->dilation[1], p->k[1], p->x[1]));
        Columns *last = all->len > 0 ? &g_array_index(all, Columns, all->len - 1) : NULL;
        if (last && last->tap == tap && last->tap_end == end) {
            last->end++;
        } else {
            const Columns columns = { column, column + 1, tap, end, steps_new(p, tap, end) };
            g_array_append_val(all, columns);
        }
    }
    return all;
}

/* --- Places ----------------------------------------------------------------------------------- */

/* n places, in a row or `down` a column. */
static void
tile(const Group *g, const Columns *columns, gint64 row, gint64 column, gint64 n, gboolean down)
{
    const LanesPlan *p = g->p;
    const gint64 at = row * p->stride[0] - p->pad[0], lanes = p->kernels->lanes;
    const gint64 first = lanes_first_inside(at, p->dilation[0], p->k[0]);
    const gint64 end = MAX(first, lanes_end_inside(at, p->dilation[0], p->k[0], p->x[0]));
    const gint64 taps = columns->tap_end - columns->tap, map = p->k[0] * taps;
    const gboolean whole = end - first == p->k[0];
    const LanesSteps steps = { columns->steps + first * taps,
                               whole ? p->x_maps * map : (end - first) * taps,
                               whole ? 1 : p->x_maps, map };
    const LanesOut to = { p->y[0] * p->y[1] * LANES, (down ? p->y[1] : 1) * LANES };
    const gint64 place_step = (down ? p->stride[0] * p->x[1] : p->stride[1]) * LANES;
    const float *x = g->x + (at * p->x[1] + column * p->stride[1] - p->pad[1]) * LANES;
    float *out = g->out + (row * p->y[1] + column) * LANES;
    for (gint64 part = 0; part < LANES; part += lanes) {
        p->kernels->forward[g->maps][n](&steps, x + part, place_step, g->w, g->bias, out + part,
                                        &to);
    }
}

static gint64
places_at_once(gint64 left)
{
    return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* How many rows from `row` on see the whole window; 1 if that one does not. */
static gint64
whole_rows(const LanesPlan *p, gint64 row, gint64 end)
{
    const gint64 reach = (p->k[0] - 1) * p->dilation[0];
    gint64 n = 0;
    for (gint64 at; row + n < end; n++) {
        at = (row + n) * p->stride[0] - p->pad[0];
        if (at < 0 || at + reach >= p->x[0]) {
            break;
        }
    }
    return MAX(1, n);
}

static void
rows_of_columns(const Group *g, const Columns *columns, gint64 row, gint64 end)
{
    const gboolean down = columns->end - columns->first == 1;
    for (gint64 n; row < end; row += n) {
        n = down ? places_at_once(whole_rows(g->p, row, end)) : 1;
        for (gint64 column = columns->first, places; column < columns->end; column += places) {
            places = places_at_once(columns->end - column);
            tile(g, columns, row, column, down ? n : places, down);
        }
    }
}

static const float no_bias[LANES_MAPS];

static TnStatus
images_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const LanesPlan *p = &plan->p;
    const gint64 block = (gint64)chunk / plan->bands, band = (gint64)chunk % plan->bands;
    const gint64 rows = (p->y[0] + plan->bands - 1) / plan->bands;
    const gint64 first = MIN(p->y[0], band * rows), end = MIN(p->y[0], first + rows);
    (void)n;
    for (gint64 map = 0, maps; map < p->y_maps; map += maps) {
        maps = lanes_maps_at_once(p->y_maps - map, p->kernels->maps);
        const Group group = { p,
                              maps,
                              job->x + block * p->x_block,
                              job->w + map * p->x_maps * p->k[0] * p->k[1],
                              job->bias ? job->bias + map : no_bias,
                              job->out + block * p->y_block + map * p->y[0] * p->y[1] * LANES };
        for (guint i = 0; i < plan->columns->len; i++) {
            rows_of_columns(&group, &g_array_index(plan->columns, Columns, i), first, end);
        }
    }
    return TN_OK;
}

/* w [y_maps, x_maps, k0, k1], of the transpose [x_maps, y_maps, k0, k1] turned round, into groups of
 * the maps that are computed together: [group][x_maps, k0, k1][maps of the group]. */
static void
pack(const LanesPlan *p, const float *w, float *to)
{
    const gint64 window = p->k[0] * p->k[1];
    for (gint64 map = 0, maps; map < p->y_maps; map += maps) {
        maps = lanes_maps_at_once(p->y_maps - map, p->kernels->maps);
        for (gint64 c = 0; c < p->x_maps; c++) {
            for (gint64 tap = 0; tap < window; tap++) {
                for (gint64 i = map; i < map + maps; i++) {
                    *to++ = !p->turned ? w[(i * p->x_maps + c) * window + tap]
                                       : w[(c * p->y_maps + i) * window + window - 1 - tap];
                }
            }
        }
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

void
lanes_images_prepare(const LanesPlan *plan, gboolean bias, TnPrepared *prepared)
{
    Plan *p = g_new(Plan, 1);
    *p = (Plan){ .p = *plan,
                 .bands = CLAMP((CHUNKS + plan->blocks - 1) / plan->blocks, 1, plan->y[0]),
                 .bias = bias,
                 .columns = columns_new(plan) };
    prepared->state = p;
    prepared->scratch = (gsize)plan->weights * sizeof(float);
}

TnStatus
lanes_images_run(void *state, const TnRun *run)
{
    const Plan *p = state;
    float *packed = run->scratch;
    const Job job = {
        .plan = p,
        .x = run->in[0],
        .w = packed,
        .bias = p->bias ? run->in[2] : NULL,
        .out = run->out[0],
    };
    pack(&p->p, run->in[1], packed);
    return tn_parallel_for((gsize)(p->p.blocks * p->bands), images_chunk, (gpointer)(gsize)&job);
}

void
lanes_images_free(void *state)
{
    Plan *p = state;
    for (guint i = 0; i < p->columns->len; i++) {
        g_free(g_array_index(p->columns, Columns, i).steps);
    }
    g_array_unref(p->columns);
    g_free(p);
}
