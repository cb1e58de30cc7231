/* conv_blocked_bf16_copy.c: images and windows as convolutions of bf16 over blocks read them: with the zeros
 * around, with places a step apart beside each other, or what each place sees of a row of the window. */
#include "conv_blocked_bf16.h"

#define L CONV_BF16_L

/* Of a row of an image with the zeros around it, every so-manieth place from one of the first on. x: NULL:
 * all zeros. */
static void
pad_row(const BlockedBf16 *p, const guint16 *x, gint64 from, guint16 *to)
{
    const gint64 inside = p->s.x[1] * L, begin = p->s.pad[1] * L;
    if (x == NULL) {
        memset(to, 0, (gsize)p->copy_row * sizeof *to);
    } else if (p->parts[1] == 1) {
        memset(to, 0, (gsize)begin * sizeof *to);
        memcpy(to + begin, x, (gsize)inside * sizeof *to);
        memset(to + begin + inside, 0, (gsize)(p->copy_row - begin - inside) * sizeof *to);
    } else {
        for (gint64 j = 0, at = from - p->s.pad[1]; j < p->part_size[1]; j++, at += p->parts[1]) {
            if (at >= 0 && at < p->s.x[1]) {
                memcpy(to + j * L, x + at * L, L * sizeof *to);
            } else {
                memset(to + j * L, 0, L * sizeof *to);
            }
        }
    }
}

/* A row of an image [C, h, w] as [w, C]; channels: p's, known to the compiler where that is common. */
static CPU_INLINE void
turn_row(const BlockedBf16 *p, const guint16 *restrict x, gint64 channels, guint16 *restrict to)
{
    const gint64 plane = p->s.x[0] * p->s.x[1];
    for (gint64 j = 0; j < p->s.x[1]; j++) {
        for (gint64 c = 0; c < channels; c++) {
            to[j * channels + c] = x[c * plane + j];
        }
    }
}

/* Of such a row with the zeros around it, for each place along it what its window sees, and zeros up to
 * whole steps. */
static CPU_INLINE void
spread_body(const BlockedBf16 *p, const guint16 *x, guint16 *line, guint16 *to)
{
    const gint64 seen = p->s.window[1] * p->s.channels, step = p->step[1] * p->s.channels;
    memset(line, 0, (gsize)p->line_numbers * sizeof *line);
    if (p->s.channels == 3) {
        turn_row(p, x, 3, line + p->s.pad[1] * 3);
    } else {
        turn_row(p, x, p->s.channels, line + p->s.pad[1] * p->s.channels);
    }
    for (gint64 j = 0; j < p->s.y[1]; j++, line += step) {
        for (gint64 d = 0; d < p->deep; d++, to += L) {
            guint16 part[L];
            memcpy(part, line + d * L, sizeof part);
            for (gint i = 0; i < L; i++) {
                part[i] = d * L + i < seen ? part[i] : 0;
            }
            memcpy(to, part, sizeof part);
        }
    }
}

typedef void (*SpreadFn)(const BlockedBf16 *p, const guint16 *x, guint16 *line, guint16 *to);
CPU_VERSIONS(spread, SpreadFn, (const BlockedBf16 *p, const guint16 *x, guint16 *line, guint16 *to),
             (p, x, line, to))

TnStatus
blocked_bf16_copy(gpointer data, gsize chunk, gsize n)
{
    const BlockedBf16Job *job = data;
    const BlockedBf16 *p = job->plan;
    const gint64 first = (gint64)chunk * p->copies_per_chunk;
    const gint64 end = MIN(p->copy_items, first + p->copies_per_chunk);
    (void)n;
    for (gint64 i = first; i < end; i++) {
        const gint64 part = i / p->part_size[0], plane = part / p->seen_parts[0];
        const gint64 row =
            i % p->part_size[0] * p->parts[0] + part % p->seen_parts[0] - p->s.pad[0];
        const gboolean inside = row >= 0 && row < p->s.x[0];
        if (p->s.plain) {
            guint16 *to = job->copy + i * p->copy_row;
            guint16 *line = job->turned + (gint64)chunk * p->line_numbers;
            if (inside) {
                spread[cpu_isa](p,
                                job->given + (plane * p->s.channels * p->s.x[0] + row) * p->s.x[1],
                                line, to);
            } else {
                memset(to, 0, (gsize)p->copy_row * sizeof *to);
            }
            continue;
        }
        const guint16 *x = inside ? job->given + (plane * p->s.x[0] + row) * p->s.x[1] * L : NULL;
        for (gint64 j = 0; j < p->seen_parts[1]; j++) {
            const gint64 at = (part * p->seen_parts[1] + j) * p->part_size[0];
            pad_row(p, x, j, job->copy + (at + i % p->part_size[0]) * p->copy_row);
        }
    }
    return TN_OK;
}

void
blocked_bf16_pair(const BlockedBf16 *p, const guint16 *w, guint16 *to)
{
    const gint64 seen = p->s.window[1] * p->s.channels, rows = p->reads.steps / p->deep;
    memset(to, 0, (gsize)(p->s.blocks_out * p->reads.steps * CONV_BF16_WEIGHTS) * sizeof *to);
    for (gint64 r = 0; r < p->s.blocks_out * rows; r++, to += p->deep * CONV_BF16_WEIGHTS) {
        for (gint64 k = 0; k < seen; k++, w += L) {
            for (gint64 m = 0; m < L; m++) {
                to[(k / 2 * L + m) * 2 + k % 2] = w[m];
            }
        }
    }
}
