/* placed-workers.c: who joins a stage that runs in other processes, and who leaves: the first one says what
 * the stage gives, whoever comes later must say the same. */
#include "stage/placed-private.h"

#include <tenon/run.h>

#define AHEAD 2        /* frames asked ahead of each process, unless `queue` says otherwise */
#define MOST_LOSSES 20 /* of each process, without a frame in between */
#define MOST_BYTES ((gsize)1 << 30) /* of one tensor between processes */
#define TCP_WORKERS 8 /* that a tcp place is ready for, unless `workers` or `queue` say otherwise */

typedef TnPlacedWorker Worker;

static Worker *
find_worker(TnPlaced *placed, guint id)
{
    for (guint i = 0; i < placed->workers->len; i++)
        if (g_array_index(placed->workers, Worker, i).id == id)
            return &g_array_index(placed->workers, Worker, i);
    return NULL;
}

/* Frames, or answers, that may be under way or wait. */
static guint
window(const TnPlaced *placed)
{
    const TnStageCommon *common = placed->common;
    const gint64 workers = common->workers ? common->workers : placed->n_seats ? 1 : TCP_WORKERS;
    const guint64 bytes = MAX(tn_schema_bytes(&placed->schema), 1);
    const guint64 frames = common->queue ? (guint64)common->queue : AHEAD * (guint64)workers + 1;
    return (guint)CLAMP(common->queue_bytes / bytes, 1, frames);
}

/* What travels must not be larger than a message takes. */
static gboolean
check_sizes(TnPlaced *placed, const TnSchema *schema, const char *what)
{
    for (guint i = 0; i < schema->n; i++)
        if (tn_type_bytes(&schema->types[i]) > (gint64)MOST_BYTES)
            return tn_placed_fail(
                placed, TN_ERROR_UNSUPPORTED,
                "its field '%s' has %" G_GINT64_FORMAT " bytes a %s; up to %zu travel "
                "between processes: take a smaller batch, or leave `place` out",
                schema->names[i], tn_type_bytes(&schema->types[i]), what, MOST_BYTES);
    return TRUE;
}

/* The first one says what the stage gives, and takes. */
static gboolean
learn(TnPlaced *placed, const TnValue *hello)
{
    const TnValue *data = tn_value_get(hello, "data");
    if (!data || tn_value_type(data) != TN_VALUE_MAP ||
        !tn_schema_from_value(tn_value_get(hello, "schema"), &placed->schema) ||
        (placed->flags & TN_STAGE_REPLIES &&
         !tn_schema_from_value(tn_value_get(hello, "requests"), &placed->requests)))
        return FALSE;
    if (!check_sizes(placed, &placed->schema, "frame") ||
        !check_sizes(placed, &placed->requests, "request"))
        return FALSE;
    placed->about = tn_value_copy(hello);
    placed->most = window(placed);
    placed->way->begin(placed);
    placed->known = TRUE;
    return TRUE;
}

/* What the newcomer reads must be what the first one reads, and give the same. */
static char *
difference(const TnPlaced *placed, const TnValue *hello)
{
    static const char *const keys[] = { "schema", "data", "requests" };
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        const TnValue *mine = tn_value_get(placed->about, keys[i]);
        const TnValue *theirs = tn_value_get(hello, keys[i]);
        if (mine == theirs || (mine && theirs && tn_value_equal(mine, theirs)))
            continue;
        g_autofree char *a = mine ? tn_json_print(mine, FALSE) : g_strdup("nothing");
        g_autofree char *b = theirs ? tn_json_print(theirs, FALSE) : g_strdup("nothing");
        return g_strdup_printf("%s: others of this stage say %s, you say %s", keys[i], a, b);
    }
    return NULL;
}

/* Another processor may have other kernels, whose last bits may differ. */
static void
compare_kernels(const TnPlaced *placed, const TnValue *hello)
{
    const TnValue *mine = tn_value_get(placed->about, TN_PROVENANCE_CHOICES);
    const TnValue *theirs = tn_value_get(hello, TN_PROVENANCE_CHOICES);
    if (mine && theirs && !tn_value_equal(mine, theirs))
        tn_log("stage", TN_LOG_WARN,
               "stage '%s': a process that has joined computes with other kernels than the first "
               "one, so the last bits may depend on which of them makes a frame",
               placed->name);
}

void
tn_placed_joined(TnPlaced *placed, const TnWireEvent *event)
{
    const TnValue *pid = tn_value_get(event->hello, "pid"),
                  *host = tn_value_get(event->hello, "host");
    Worker worker = { .id = event->peer };
    if (!placed->known && !learn(placed, event->hello)) {
        tn_wire_refuse(placed->wire, event->peer, "its hello does not say what the stage gives%s",
                       placed->flags & TN_STAGE_REPLIES ? " and takes" : "");
        return;
    }
    g_autofree char *why = difference(placed, event->hello);
    if (why) {
        tn_wire_refuse(placed->wire, event->peer, "%s", why);
        return;
    }
    compare_kernels(placed, event->hello);
    worker.pid = pid && tn_value_type(pid) == TN_VALUE_INT ? tn_value_get_int(pid) : 0;
    worker.where = g_strdup(
        host && tn_value_type(host) == TN_VALUE_STRING ? tn_value_get_string(host) : "somewhere");
    pthread_mutex_lock(&placed->watched);
    g_array_append_val(placed->workers, worker);
    pthread_mutex_unlock(&placed->watched);
    tn_placed_seat_joined(placed, worker.pid);
    if (placed->pool)
        tn_wire_pool_add(placed->pool, event->peer);
    tn_log("stage", TN_LOG_INFO, "stage '%s': process %" G_GINT64_FORMAT " on %s has joined",
           placed->name, worker.pid, worker.where);
}

void
tn_placed_left(TnPlaced *placed, const TnWireEvent *event)
{
    Worker *worker = find_worker(placed, event->peer);
    if (!worker) /* it was refused */
        return;
    g_free(placed->lost_how);
    placed->lost_how = g_strdup_printf(
        "its process %" G_GINT64_FORMAT " on %s has gone: %s%s", worker->pid, worker->where,
        event->text,
        placed->common->restart ? "" : "; with restart = true another may join instead");
    if (++placed->losses > MOST_LOSSES * MAX(placed->n_seats, 1))
        tn_placed_fail(placed, TN_ERROR_FAILED,
                       "its connection was lost %u times without a frame in between",
                       placed->losses);
    placed->lost_at = tn_now_ms();
    tn_log("stage", TN_LOG_WARN, "stage '%s': %s", placed->name, placed->lost_how);
    pthread_mutex_lock(&placed->watched);
    g_array_remove_index(placed->workers,
                         (guint)(worker - &g_array_index(placed->workers, Worker, 0)));
    pthread_mutex_unlock(&placed->watched);
}
