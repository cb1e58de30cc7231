/* conv_direct.c: convolutions of stride 1 over framed images. */
#include "conv_direct.h"

#include "conv_kernels.h"

/* Floats of a group's frames at most: they should stay in the second-level cache. */
#define MAX_FRAME 131072
/* Images whose frames are kept at once for weight gradients, so that sums stay in registers
 * longer. */
#define IMAGES 4
/* Floats of the longest vector; room behind a frame for what a panel reads beyond its end. */
#define MAX_LANES 16
#define SLACK 64

gboolean
conv_frame_fits(const ConvShape *c)
{
    gboolean flat = !c->f64 && c->s[0] == 1 && c->k[0] == 1 && c->pad[0] == 0 && c->o[0] == 1;
    gint64 rows = c->o[1] + c->dilation[1] * (c->k[1] - 1);
    gint64 cols = c->o[2] + c->dilation[2] * (c->k[2] - 1);
    return flat && c->stride[1] == 1 && c->stride[2] == 1 && c->pad[1] >= 0 && c->pad[2] >= 0 &&
           c->taps > 1 && c->o[2] >= cols - cols / 2 && c->depth < G_MAXINT32 &&
           cpu_times(cpu_times(MAX(c->channels, c->maps), rows), cols) <= MAX_FRAME;
}

static void
set_offsets(ConvFrame *f, const ConvShape *c)
{
    gint64 room = (f->depth + CONV_TAPS - 1) / CONV_TAPS * CONV_TAPS;
    f->offset = g_new0(gint32, room + 1);
    for (gint64 i = 0; i < f->depth; i++) {
        gint64 map = i / f->taps, tap = i % f->taps;
        gint64 row = tap / c->k[2] * c->dilation[1], col = tap % c->k[2] * c->dilation[2];
        f->offset[i] = (gint32)(map * f->frame + row * f->frame_cols + col);
    }
}

ConvFrame
conv_frame_new(const ConvShape *c, gboolean flipped)
{
    gint64 reach_rows = c->dilation[1] * (c->k[1] - 1), reach_cols = c->dilation[2] * (c->k[2] - 1);
    ConvFrame f = { .batch = c->batch, .groups = c->groups, .taps = c->taps };
    f.in_maps = flipped ? c->maps : c->channels;
    f.out_maps = flipped ? c->channels : c->maps;
    f.rows = flipped ? c->o[1] : c->s[1];
    f.cols = flipped ? c->o[2] : c->s[2];
    f.out_rows = flipped ? c->s[1] : c->o[1];
    f.out_cols = flipped ? c->s[2] : c->o[2];
    f.pad_rows = flipped ? reach_rows - c->pad[1] : c->pad[1];
    f.pad_cols = flipped ? reach_cols - c->pad[2] : c->pad[2];
    f.frame_cols = f.out_cols + reach_cols;
    f.frame = (f.out_rows + reach_rows) * f.frame_cols;
    f.depth = f.in_maps * f.taps;
    f.run = (f.out_rows - 1) * f.frame_cols + f.out_cols;
    f.padded_run = (f.run + SLACK - 1) / SLACK * SLACK;
    set_offsets(&f, c);
    return f;
}

void
conv_frame_clear(ConvFrame *frame)
{
    g_clear_pointer(&frame->offset, g_free);
}

static gint64
frames_floats(const ConvFrame *f)
{
    return f->in_maps * f->frame + f->padded_run - f->run + SLACK;
}

gint64
conv_forward_floats(const ConvFrame *f)
{
    return frames_floats(f) + f->out_maps * f->padded_run + SLACK;
}

gint64
conv_weight_floats(const ConvFrame *f)
{
    gint64 taps = (f->depth + CONV_TAPS - 1) / CONV_TAPS * CONV_TAPS;
    gint64 rows = (f->out_maps + CONV_ROWS - 1) / CONV_ROWS * CONV_ROWS;
    return IMAGES * (frames_floats(f) + f->out_maps * f->padded_run + 2 * SLACK) +
           rows * taps * MAX_LANES;
}

/* A group's images into frames whose padding is there already. */
static void
fill_frames(const ConvFrame *f, const float *image, float *frames)
{
    gint64 first_row = MAX(0, -f->pad_rows), first_col = MAX(0, -f->pad_cols);
    gint64 frame_rows = f->frame / f->frame_cols;
    gint64 rows = MIN(f->rows - first_row, frame_rows - MAX(0, f->pad_rows));
    gint64 cols = MIN(f->cols - first_col, f->frame_cols - MAX(0, f->pad_cols));
    for (gint64 map = 0; map < f->in_maps; map++) {
        float *to =
            frames + map * f->frame + MAX(0, f->pad_rows) * f->frame_cols + MAX(0, f->pad_cols);
        const float *from = image + (map * f->rows + first_row) * f->cols + first_col;
        for (gint64 row = 0; row < rows; row++) {
            memcpy(to + row * f->frame_cols, from + row * f->cols, (gsize)cols * sizeof(float));
        }
    }
}

/* Outputs out of a run: rows of it, with the bias. */
static void
take_rows(const ConvFrame *f, const float *run, float bias, float *y)
{
    for (gint64 row = 0; row < f->out_rows; row++) {
        const float *from = run + row * f->frame_cols;
        for (gint64 col = 0; col < f->out_cols; col++) {
            y[col] = from[col] + bias;
        }
        y += f->out_cols;
    }
}

static void
forward_group(const ConvFrame *f, const float *frames, const float *w, float *runs)
{
    const ConvKernels *kernels = &conv_kernels[cpu_isa];
    for (gint64 at = 0; at < f->run;) {
        gint64 vectors = MIN((f->run - at + kernels->lanes - 1) / kernels->lanes, kernels->vectors);
        for (gint64 map = 0; map < f->out_maps; map += CONV_ROWS) {
            gint64 rows = MIN(CONV_ROWS, f->out_maps - map);
            kernels->forward[rows - 1][vectors - 1](f->depth, w + map * f->depth, f->depth,
                                                    frames + at, f->offset,
                                                    runs + map * f->padded_run + at, f->padded_run);
        }
        at += vectors * kernels->lanes;
    }
}

void
conv_forward_images(const ConvFrame *f, gint64 first, gint64 end, const float *x, const float *w,
                    const float *bias, float *y, float *scratch)
{
    float *frames = scratch, *runs = scratch + frames_floats(f);
    gint64 in = f->in_maps * f->rows * f->cols, outs = f->out_rows * f->out_cols;
    memset(frames, 0, (gsize)frames_floats(f) * sizeof(float));
    for (gint64 i = first * f->groups; i < end * f->groups; i++) {
        gint64 group = i % f->groups;
        fill_frames(f, x + i * in, frames);
        forward_group(f, frames, w + group * f->out_maps * f->depth, runs);
        for (gint64 map = 0; map < f->out_maps; map++) {
            take_rows(f, runs + map * f->padded_run, bias ? bias[group * f->out_maps + map] : 0,
                      y + (i * f->out_maps + map) * outs);
        }
    }
}

/* --- Weight gradients ------------------------------------------------------------------------- */

/* Gradients of a group's outputs along the frame's rows, zero between the rows. */
static void
fill_runs(const ConvFrame *f, const float *g, float *runs)
{
    for (gint64 map = 0; map < f->out_maps; map++) {
        float *to = runs + map * f->padded_run;
        for (gint64 row = 0; row < f->out_rows; row++) {
            memcpy(to + row * f->frame_cols, g, (gsize)f->out_cols * sizeof(float));
            g += f->out_cols;
        }
    }
}

/* Adds the products of some images, for every group of rows and of taps. */
static void
weight_group(const ConvFrame *f, gint64 images, const float *frames, const float *runs, float *sums)
{
    const ConvKernels *kernels = &conv_kernels[cpu_isa];
    gint64 steps = (f->run + kernels->lanes - 1) / kernels->lanes;
    for (gint64 map = 0; map < f->out_maps; map += kernels->weight_rows) {
        gint64 rows = MIN(kernels->weight_rows, f->out_maps - map);
        for (gint64 tap = 0; tap < f->depth; tap += CONV_TAPS) {
            for (gint64 image = 0; image < images; image++) {
                kernels->weight[rows - 1](steps, runs + (image * f->out_maps + map) * f->padded_run,
                                          f->padded_run, frames + image * frames_floats(f),
                                          f->offset + tap, sums);
            }
            sums += rows * CONV_TAPS * kernels->lanes;
        }
    }
}

static CPU_INLINE float
add_lanes(const float *sum, gint lanes)
{
    float lane[MAX_LANES];
    memcpy(lane, sum, (gsize)lanes * sizeof(float));
    for (gint half = lanes / 2; half > 0; half /= 2) {
        for (gint j = 0; j < half; j++) {
            lane[j] += lane[j + half];
        }
    }
    return lane[0];
}

/* Sums of the lanes into to [out_maps, depth]. */
static CPU_INLINE void
take_sums_of(const ConvFrame *f, const float *sums, float *to, gint lanes, gint64 most_rows)
{
    for (gint64 map = 0; map < f->out_maps; map += most_rows) {
        gint64 rows = MIN(most_rows, f->out_maps - map);
        for (gint64 tap = 0; tap < f->depth; tap += CONV_TAPS) {
            gint64 taps = MIN(CONV_TAPS, f->depth - tap);
            for (gint64 row = map; row < map + rows; row++, sums += CONV_TAPS * lanes) {
                for (gint64 t = 0; t < taps; t++) {
                    to[row * f->depth + tap + t] = add_lanes(sums + t * lanes, lanes);
                }
            }
        }
    }
}

static void
take_sums(const ConvFrame *f, const float *sums, float *to)
{
    const ConvKernels *kernels = &conv_kernels[cpu_isa];
    switch (kernels->lanes) { /* the compiler adds vectors where it knows how many there are */
    case 16: take_sums_of(f, sums, to, 16, kernels->weight_rows); break;
    case 8: take_sums_of(f, sums, to, 8, kernels->weight_rows); break;
    default: take_sums_of(f, sums, to, 4, kernels->weight_rows); break;
    }
}

void
conv_weight_images(const ConvFrame *f, gint64 first, gint64 end, const float *x, const float *g,
                   float *to, float *scratch)
{
    gint64 in = f->in_maps * f->rows * f->cols, out = f->out_maps * f->out_rows * f->out_cols;
    float *frames = scratch, *runs = frames + IMAGES * frames_floats(f);
    float *sums = runs + IMAGES * (f->out_maps * f->padded_run + 2 * SLACK);
    gsize sum_bytes = (gsize)(scratch + conv_weight_floats(f) - sums) * sizeof(float);
    const gint64 most = MIN(IMAGES, end - first);
    memset(frames, 0, (gsize)(most * frames_floats(f)) * sizeof(float));
    memset(runs, 0, (gsize)(most * f->out_maps * f->padded_run + 2 * SLACK) * sizeof(float));
    for (gint64 group = 0; group < f->groups; group++) {
        memset(sums, 0, sum_bytes);
        for (gint64 at = first; at < end; at += IMAGES) {
            gint64 images = MIN(IMAGES, end - at);
            for (gint64 i = 0; i < images; i++) {
                gint64 item = (at + i) * f->groups + group;
                fill_frames(f, x + item * in, frames + i * frames_floats(f));
                fill_runs(f, g + item * out, runs + i * f->out_maps * f->padded_run);
            }
            weight_group(f, images, frames, runs, sums);
        }
        take_sums(f, sums, to + group * f->out_maps * f->depth);
    }
}

void
conv_flip_weights(const ConvShape *c, const float *w, float *to)
{
    for (gint64 group = 0; group < c->groups; group++) {
        for (gint64 m = 0; m < c->maps; m++) {
            for (gint64 channel = 0; channel < c->channels; channel++) {
                const float *from = w + ((group * c->maps + m) * c->channels + channel) * c->taps;
                float *place = to + ((group * c->channels + channel) * c->maps + m) * c->taps;
                for (gint64 tap = 0; tap < c->taps; tap++) {
                    place[tap] = from[c->taps - 1 - tap];
                }
            }
        }
    }
}
