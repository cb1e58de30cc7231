/* conv_lanes_weight.c: weights' gradients of convolutions over lanes.
 *
 * A row of taps is cut into groups whose sums stay in registers. Places all of whose taps of a group lie inside
 * are one piece of work, with one list of steps (LanesStep); any other place is pieces of its own, of the taps
 * that it has. Sums are kept for each lane over a chunk's images in order, then they are added over the lanes, then
 * over the chunks; chunks depend on the sizes alone. */
#include "conv_lanes.h"
#include "cpu.h"

#define CHUNKS 8
/* Rows of images and gradients that are read again for every row of taps: they stay in the first-level
 * cache. */
#define STRIP_BYTES (40 << 10)

/* What some neighbouring taps of every row of the window need of places [place, place + places) of every row. */
typedef struct {
    gint64 tap, taps, place, places;
    gint64 strip;     /* rows of places at a time */
    LanesStep *steps; /* [strip][places] */
} Piece;

typedef struct {
    LanesPlan p;
    gint64 chunks, per_chunk; /* of blocks */
    gint64 chunk_floats, sums_at,
        turned_at;  /* of scratch: gradients, sums for each lane and over them */
    GArray *pieces; /* of Piece */
} Plan;

typedef struct {
    const Plan *plan;
    const float *x, *g;
    float *out;
} Job;

/* --- Pieces ----------------------------------------------------------------------------------- */

static gint64
taps_at_once(gint64 left)
{
    return left >= 5 ? 5 : left >= 3 ? 3 : 1;
}

static void
add_piece(Plan *plan, gint64 tap, gint64 taps, gint64 place, gint64 places, gint64 strip)
{
    const LanesPlan *p = &plan->p;
    Piece piece = { tap, taps, place, places, strip, g_new(LanesStep, (gsize)(strip * places)) };
    LanesStep *to = piece.steps;
    for (gint64 row = 0; row < strip; row++) {
        for (gint64 j = place; j < place + places; j++) {
            *to++ =
                (LanesStep){ (gint32)((row * p->stride[0] * p->x[1] + j * p->stride[1]) * LANES),
                             (gint32)((row * p->y[1] + j) * LANES) };
        }
    }
    g_array_append_val(plan->pieces, piece);
}

/* Of a place at the border: those of taps [tap, end) that lie inside. */
static void
add_border(Plan *plan, gint64 tap, gint64 end, gint64 place)
{
    const LanesPlan *p = &plan->p;
    const gint64 at = place * p->stride[1] - p->pad[1];
    tap = MAX(tap, lanes_first_inside(at, p->dilation[1], p->k[1]));
    end = MIN(end, lanes_end_inside(at, p->dilation[1], p->k[1], p->x[1]));
    for (gint64 taps; tap < end; tap += taps) {
        taps = taps_at_once(end - tap);
        add_piece(plan, tap, taps, place, 1, p->y[0]);
    }
}

static void
add_pieces(Plan *plan)
{
    const LanesPlan *p = &plan->p;
    const gint64 row = (p->x[1] * p->stride[0] + p->y[1] * p->kernels->weight_maps) * LANES;
    const gint64 strip = CLAMP(STRIP_BYTES / (gint64)sizeof(float) / row, 1, p->y[0]);
    for (gint64 tap = 0, taps; tap < p->k[1]; tap += taps) {
        taps = taps_at_once(p->k[1] - tap);
        const gint64 column = tap * p->dilation[1] - p->pad[1];
        const gint64 last = column + (taps - 1) * p->dilation[1];
        const gint64 inside = lanes_first_inside(column, p->stride[1], p->y[1]);
        const gint64 outside = MAX(inside, lanes_end_inside(last, p->stride[1], p->y[1], p->x[1]));
        if (inside < outside) {
            add_piece(plan, tap, taps, inside, outside - inside, strip);
        }
        for (gint64 place = 0; place < p->y[1]; place++) {
            if (place < inside || place >= outside) {
                add_border(plan, tap, tap + taps, place);
            }
        }
    }
}

/* --- Sums ------------------------------------------------------------------------------------- */

/* What one row of taps gives for rows [first, end) of a block's places. */
static void
piece_rows(const LanesPlan *p, const Piece *piece, gint64 maps, gint64 row, gint64 first,
           gint64 end, const float *x, const float *g, float *sum)
{
    const gint64 at = row * p->dilation[0] - p->pad[0], lanes = p->kernels->lanes;
    const gint64 column = piece->tap * p->dilation[1] - p->pad[1];
    first = MAX(first, lanes_first_inside(at, p->stride[0], p->y[0]));
    end = MIN(end, lanes_end_inside(at, p->stride[0], p->y[0], p->x[0]));
    if (first >= end) {
        return;
    }
    const LanesGrads grads = { p->y[0] * p->y[1] * LANES, p->dilation[1] * LANES, p->k[1] * lanes };
    x += ((at + first * p->stride[0]) * p->x[1] + column) * LANES;
    g += first * p->y[1] * LANES;
    for (gint64 part = 0; part < LANES; part += lanes) {
        p->kernels->weight[maps][piece->taps](piece->steps, (end - first) * piece->places, &grads,
                                              x + part, g + part, sum);
    }
}

/* Of map c of x and maps [map, map + maps) of y: sums [k0][map][k1] of lanes. Some rows of places at a time, for all
 * rows of taps, so that they stay in the first-level cache. */
static void
weight_window(const Job *job, gint64 first, gint64 end, gint64 c, gint64 map, gint64 maps,
              float *out)
{
    const Plan *plan = job->plan;
    const LanesPlan *p = &plan->p;
    const gint64 lanes = p->kernels->lanes, n = p->k[0] * maps * p->k[1], fours = (n + 3) & ~3;
    float *sum = out + plan->sums_at, *turned = out + plan->turned_at;
    memset(sum, 0, (gsize)(fours * lanes) * sizeof *sum);
    for (gint64 block = first; block < end; block++) {
        const float *x = job->x + block * p->x_block + c * p->x[0] * p->x[1] * LANES;
        const float *g = job->g + block * p->y_block + map * p->y[0] * p->y[1] * LANES;
        for (guint i = 0; i < plan->pieces->len; i++) {
            const Piece *piece = &g_array_index(plan->pieces, Piece, i);
            for (gint64 strip = 0; strip < p->y[0]; strip += piece->strip) {
                for (gint64 row = 0; row < p->k[0]; row++) {
                    piece_rows(p, piece, maps, row, strip, strip + piece->strip, x, g,
                               sum + (row * maps * p->k[1] + piece->tap) * lanes);
                }
            }
        }
    }
    p->kernels->sum(sum, fours, turned);
    for (gint64 row = 0; row < p->k[0]; row++) {
        for (gint64 i = map; i < map + maps; i++) {
            float *to = out + ((i * p->x_maps + c) * p->k[0] + row) * p->k[1];
            for (gint64 t = 0; t < p->k[1]; t++) {
                to[t] = *turned++;
            }
        }
    }
}

static TnStatus
weight_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const LanesPlan *p = &plan->p;
    const gint64 first = MIN(p->blocks, (gint64)chunk * plan->per_chunk);
    const gint64 end = MIN(p->blocks, first + plan->per_chunk);
    float *out = job->out + (gint64)chunk * plan->chunk_floats;
    (void)n;
    for (gint64 map = 0, maps; map < p->y_maps; map += maps) {
        maps = lanes_maps_at_once(p->y_maps - map, p->kernels->weight_maps);
        for (gint64 c = 0; c < p->x_maps; c++) {
            weight_window(job, first, end, c, map, maps, out);
        }
    }
    return TN_OK;
}

/* --- Running ---------------------------------------------------------------------------------- */

void
lanes_weight_prepare(const LanesPlan *plan, TnPrepared *prepared)
{
    Plan *p = g_new(Plan, 1);
    const gint64 window = plan->k[0] * plan->k[1];
    const gint64 sums = (plan->kernels->weight_maps * window + 3) & ~3;
    *p = (Plan){ .p = *plan, .pieces = g_array_new(FALSE, FALSE, sizeof(Piece)) };
    p->per_chunk = (plan->blocks + CHUNKS - 1) / CHUNKS;
    p->chunks = (plan->blocks + p->per_chunk - 1) / p->per_chunk;
    p->sums_at = cpu_parts(plan->weights, LANES) * LANES;
    p->turned_at = p->sums_at + sums * LANES;
    p->chunk_floats = p->turned_at + cpu_parts(sums, LANES) * LANES;
    add_pieces(p);
    prepared->state = p;
    prepared->scratch = (gsize)(p->chunks * p->chunk_floats) * sizeof(float);
}

TnStatus
lanes_weight_run(void *state, const TnRun *run)
{
    const Plan *p = state;
    float *parts = run->scratch, *out = run->out[0];
    const Job job = { .plan = p, .x = run->in[0], .g = run->in[1], .out = parts };
    const TnStatus status = tn_parallel_for((gsize)p->chunks, weight_chunk, (gpointer)(gsize)&job);
    if (status != TN_OK) {
        return status;
    }
    memcpy(out, parts, (gsize)p->p.weights * sizeof(float));
    for (gint64 chunk = 1; chunk < p->chunks; chunk++) {
        for (gint64 i = 0; i < p->p.weights; i++) {
            out[i] += parts[chunk * p->chunk_floats + i];
        }
    }
    return TN_OK;
}

void
lanes_weight_free(void *state)
{
    Plan *p = state;
    for (guint i = 0; i < p->pieces->len; i++) {
        g_free(g_array_index(p->pieces, Piece, i).steps);
    }
    g_array_unref(p->pieces);
    g_free(p);
}
