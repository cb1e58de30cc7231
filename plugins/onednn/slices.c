/* slices.c: calls of oneDNN on slices of a node. */
#include "slices.h"

void
slices_cut(Slices *s, gint64 all, gint64 unit, gint64 most)
{
    const gint64 blocks = (all + unit - 1) / unit, n = CLAMP(most, 1, MAX(1, blocks));
    s->all = all;
    s->per = MIN(all, (blocks + n - 1) / n * unit);
    s->n = (all + s->per - 1) / MAX(1, s->per);
}

static gint64
count_of(const Slices *s)
{
    return s->n * MAX(1, s->times);
}

static gint64
per_part(const Slices *s)
{
    const gint64 n = count_of(s);
    return s->parts > 0 ? (n + s->parts - 1) / s->parts : 1;
}

static gint64
parts_of(const Slices *s)
{
    return (count_of(s) + per_part(s) - 1) / per_part(s);
}

gboolean
slices_make(Slices *s, SliceNew make, GError **error)
{
    for (gint i = 0; i < 2; i++) {
        s->call[i] = make(s, i == 0 ? s->per : s->all - (s->n - 1) * s->per, error);
        if (s->call[i] == NULL) {
            return FALSE;
        }
        /* One of them is the last, unless there are more batches. */
        onednn_call_spare(s->call[i],
                          onednn_at_once(i == 0 ? parts_of(s) : count_of(s) / MAX(1, s->n)));
        s->bytes = MAX(s->bytes, onednn_call_scratch(s->call[i]));
    }
    return TRUE;
}

gsize
slices_scratch(const Slices *s)
{
    return (gsize)parts_of(s) * s->bytes;
}

typedef struct {
    const Slices *slices;
    TnChunkFunc func;
    gpointer data;
} Parts;

static TnStatus
run_part(gpointer data, gsize part, gsize n)
{
    const Parts *job = data;
    const gint64 per = per_part(job->slices), first = (gint64)part * per;
    const gint64 all = count_of(job->slices), end = MIN(all, first + per);
    TnStatus status = TN_OK;
    (void)n;
    for (gint64 i = first; status == TN_OK && i < end; i++) {
        status = job->func(job->data, (gsize)i, (gsize)all);
    }
    return status;
}

TnStatus
slices_run(const Slices *s, const TnRun *run, TnChunkFunc func, gpointer job, const char *what)
{
    Parts parts = { s, func, job };
    const TnStatus status = tn_parallel_for((gsize)parts_of(s), run_part, &parts);
    return status == TN_FAILED ? tn_run_fail(run, "oneDNN failed to run %s", what) : status;
}

gint64
slices_batch(const Slices *s, gsize item)
{
    return (gint64)item / s->n;
}

gint64
slices_first(const Slices *s, gsize item)
{
    return (gint64)item % s->n * s->per;
}

gint64
slices_size(const Slices *s, gsize item)
{
    return MIN(s->per, s->all - slices_first(s, item));
}

char *
slices_memory(const Slices *s, gsize item, char *scratch)
{
    return scratch + item / (gsize)per_part(s) * s->bytes;
}

TnStatus
slices_call(const Slices *s, gsize item, void *const *ports, char *scratch)
{
    const gboolean last = (gint64)item % s->n == s->n - 1;
    return onednn_call_run(s->call[last], ports, slices_memory(s, item, scratch));
}

void
slices_release(void *state)
{
    Slices *s = state;
    for (gint i = 0; i < 2; i++) {
        g_clear_pointer(&s->call[i], onednn_call_free);
    }
    g_free(s);
}
