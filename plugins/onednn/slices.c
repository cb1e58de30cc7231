/* slices.c: calls of oneDNN on slices of a node. */
#include "slices.h"

/* --- Sizes ------------------------------------------------------------------------------------ */

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

/* So many bytes more at *end, on lines of the cache; where. */
static gsize
reserve(gsize *end, gint64 bytes)
{
    const gsize at = *end;
    *end += ((gsize)bytes + 63) & ~(gsize)63;
    return at;
}

gsize
slices_reserve(Slices *s, gint64 bytes)
{
    return reserve(&s->before, bytes);
}

gsize
slices_reserve_own(Slices *s, gint64 bytes)
{
    return reserve(&s->own, bytes);
}

gsize
slices_reserve_laid(Slices *s, gint64 bytes)
{
    return reserve(&s->laid, bytes);
}

void
slices_add_weights(Slices *s, OneDnnPort port, gint64 step)
{
    g_assert(s->parts == 0 && s->n_weights < (gint)G_N_ELEMENTS(s->weights));
    s->weights[s->n_weights++] = (SliceWeights){ .port = port, .cut = step != 0, .step = step };
}

/* --- Making ----------------------------------------------------------------------------------- */

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

/* Parts of weights that call i lays: none if the slices that the other one is of have the same. */
static gint64
parts_laid(const Slices *s, const SliceWeights *w, gint i)
{
    if (w->cut) {
        return i == 0 ? s->n - 1 : 1;
    }
    return i == 1 || (s->n > 1 && !onednn_lie_alike(s->call[0], s->call[1], w->port));
}

static gboolean
make_weights(Slices *s, SliceWeights *w, GError **error)
{
    w->at = s->laid;
    for (gint i = 0; i < 2; i++) {
        g_autoptr(GError) why = NULL;
        const gint64 parts = parts_laid(s, w, i);
        if (parts == 0) {
            continue;
        }
        w->call[i] = onednn_lay_new(s->call[i], w->port, &w->bytes[i], &why);
        if (why != NULL) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        if (w->call[i] != NULL) {
            onednn_call_spare(w->call[i], onednn_at_once(parts));
            s->bytes = MAX(s->bytes, onednn_call_scratch(w->call[i]));
            w->bytes[i] = (w->bytes[i] + 63) & ~(gsize)63;
            reserve(&s->laid, parts * (gint64)w->bytes[i]);
        }
    }
    return TRUE;
}

static TnStatus
keep(void *state, const TnRun *run)
{
    const Slices *s = state;
    return s->lay(s, run, run->out[0]);
}

gboolean
slices_prepare(gpointer state, SliceNew make, TnPrepared *prepared, GError **error)
{
    Slices *s = state;
    gboolean ok = s->call[0] != NULL || slices_make(s, make, error);
    for (gint i = 0; ok && i < s->n_weights; i++) {
        ok = make_weights(s, &s->weights[i], error);
    }
    if (!ok) {
        slices_release(state);
        return FALSE;
    }
    s->kept = s->kept && s->laid > 0;
    if (s->kept) {
        prepared->kept = s->laid;
        prepared->keep = keep;
    } else {
        s->laid_at = reserve(&s->before, (gint64)s->laid);
    }
    prepared->scratch = s->before + (gsize)parts_of(s) * (s->own + s->bytes);
    prepared->state = state;
    return TRUE;
}

void
slices_release(void *state)
{
    Slices *s = state;
    for (gint i = 0; i < 2; i++) {
        g_clear_pointer(&s->call[i], onednn_call_free);
        for (gint k = 0; k < s->n_weights; k++) {
            g_clear_pointer(&s->weights[k].call[i], onednn_call_free);
        }
    }
    g_free(s);
}

/* --- Running ---------------------------------------------------------------------------------- */

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
slices_own(const Slices *s, gsize item, void *scratch)
{
    return (char *)scratch + s->before + item / (gsize)per_part(s) * (s->own + s->bytes);
}

TnStatus
slices_call(const Slices *s, gsize item, void *const *ports, void *scratch)
{
    const gboolean last = (gint64)item % s->n == s->n - 1;
    return onednn_call_run(s->call[last], ports, slices_own(s, item, scratch) + s->own);
}

/* --- Weights ---------------------------------------------------------------------------------- */

TnStatus
slices_laid(const Slices *s, const TnRun *run, char **laid)
{
    if (s->kept) {
        *laid = run->in[s->n_in];
        return TN_OK;
    }
    *laid = (char *)run->scratch + s->laid_at;
    return s->lay(s, run, *laid);
}

typedef struct {
    const Slices *slices;
    const SliceWeights *weights;
    const TnRun *run;
    const char *plain;
    char *to;
} Laying;

static TnStatus
lay_part(gpointer data, gsize part, gsize n)
{
    const Laying *job = data;
    const Slices *s = job->slices;
    const SliceWeights *w = job->weights;
    const gboolean last = part == n - 1;
    const gsize before = (gsize)(w->cut ? s->n - 1 : parts_laid(s, w, 0));
    void *ports[ONEDNN_N_PORTS] = { NULL };
    ports[ONEDNN_A] = (char *)job->plain + (gint64)part * w->step;
    ports[ONEDNN_OUT] = job->to + w->at + MIN(part, before) * w->bytes[0];
    return w->call[last] == NULL ? TN_OK
                                 : onednn_call_run(w->call[last], ports,
                                                   slices_own(s, part, job->run->scratch) + s->own);
}

TnStatus
slices_lay(const Slices *s, gint k, const TnRun *run, const void *plain, char *to)
{
    const SliceWeights *w = &s->weights[k];
    Laying job = { s, w, run, plain, to };
    if (w->call[0] == NULL && w->call[1] == NULL) {
        return TN_OK;
    }
    const TnStatus status =
        tn_parallel_for((gsize)(parts_laid(s, w, 0) + parts_laid(s, w, 1)), lay_part, &job);
    return status == TN_FAILED ? tn_run_fail(run, "oneDNN failed to lay weights") : status;
}

void *
slices_weights(const Slices *s, gint k, gsize item, const void *plain, char *laid)
{
    const SliceWeights *w = &s->weights[k];
    const gint64 slice = (gint64)item % s->n, before = parts_laid(s, w, 0);
    const gboolean last = slice == s->n - 1;
    if (w->call[last || before == 0] == NULL) {
        return (char *)plain + slice * w->step;
    }
    const gint64 part = w->cut ? slice : (last ? before : 0);
    return laid + w->at + (gsize)part * w->bytes[0];
}
