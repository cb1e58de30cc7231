/* pool.c: requests to a pool of repliers that join and leave. */
#include "wire/wire-private.h"

typedef struct {
    guint peer, busy;
} Replier;

typedef struct {
    guint64 topic;
    guint peer;     /* that it is asked of */
    gint64 ends_ms; /* monotonic; 0: never */
    guint n;
    TnTensor *tensors[TN_WIRE_MOST_TENSORS];
} Request;

struct TnWirePool {
    TnWire *wire;
    guint each;
    GArray *repliers;
    GQueue waiting;      /* of Request: not asked of anybody yet */
    GHashTable *numbers; /* number of the ask -> Request */
    guint timed;         /* requests whose time may be over one day */
};

static void
free_request(gpointer data)
{
    Request *request = data;
    for (guint i = 0; i < request->n; i++)
        tn_tensor_unref(request->tensors[i]);
    g_free(request);
}

TnWirePool *
tn_wire_pool_new(TnWire *wire, guint each)
{
    TnWirePool *pool = g_new0(TnWirePool, 1);
    pool->wire = wire;
    pool->each = MAX(each, 1);
    pool->repliers = g_array_new(FALSE, FALSE, sizeof(Replier));
    pool->numbers = g_hash_table_new_full(NULL, NULL, NULL, free_request);
    g_queue_init(&pool->waiting);
    return pool;
}

void
tn_wire_pool_free(TnWirePool *pool)
{
    if (!pool)
        return;
    g_queue_clear_full(&pool->waiting, free_request);
    g_hash_table_unref(pool->numbers);
    g_array_unref(pool->repliers);
    g_free(pool);
}

guint
tn_wire_pool_repliers(const TnWirePool *pool)
{
    return pool->repliers->len;
}

guint
tn_wire_pool_waiting(const TnWirePool *pool)
{
    return g_queue_get_length((GQueue *)&pool->waiting) + g_hash_table_size(pool->numbers);
}

static Replier *
find(TnWirePool *pool, guint peer)
{
    for (guint i = 0; i < pool->repliers->len; i++)
        if (g_array_index(pool->repliers, Replier, i).peer == peer)
            return &g_array_index(pool->repliers, Replier, i);
    return NULL;
}

static Replier *
least_busy(TnWirePool *pool)
{
    Replier *best = NULL;
    for (guint i = 0; i < pool->repliers->len; i++) {
        Replier *replier = &g_array_index(pool->repliers, Replier, i);
        if (replier->busy < (best ? best->busy : pool->each))
            best = replier;
    }
    return best;
}

/* --- Asking ---------------------------------------------------------------------------------------- */

/* FALSE: nobody can be asked now, or memory is out, and it is tried again. A replier that cannot be
 * reached has left: its leaving is an event to come, until which it counts as busy. */
static gboolean
send_one(TnWirePool *pool, Request *request)
{
    Replier *replier;
    guint64 number;
    while ((replier = least_busy(pool))) {
        const TnStatus status = tn_wire_ask(pool->wire, replier->peer, request->topic, request->n,
                                            request->tensors, (TnWireHold){ NULL, NULL }, &number);
        if (status == TN_OK) {
            request->peer = replier->peer;
            replier->busy++;
            g_hash_table_insert(pool->numbers, (gpointer)(gsize)number, request);
            return TRUE;
        }
        if (status != TN_FAILED)
            return FALSE;
        replier->busy = G_MAXUINT;
    }
    return FALSE;
}

static void
send_waiting(TnWirePool *pool)
{
    Request *request;
    while ((request = g_queue_peek_head(&pool->waiting)) && send_one(pool, request))
        g_queue_pop_head(&pool->waiting);
}

void
tn_wire_pool_add(TnWirePool *pool, guint peer)
{
    const Replier replier = { peer, 0 };
    g_array_append_val(pool->repliers, replier);
    send_waiting(pool);
}

void
tn_wire_pool_ask(TnWirePool *pool, guint64 topic, guint n, TnTensor *const *tensors,
                 guint milliseconds)
{
    Request *request = g_new0(Request, 1);
    request->topic = topic;
    request->ends_ms = milliseconds ? g_get_monotonic_time() / 1000 + milliseconds : 0;
    request->n = n;
    for (guint i = 0; i < n; i++)
        request->tensors[i] = tn_tensor_ref(tensors[i]);
    pool->timed += milliseconds ? 1 : 0;
    g_queue_push_tail(&pool->waiting, request);
    send_waiting(pool);
}

void
tn_wire_pool_forget(TnWirePool *pool)
{
    for (guint i = pool->repliers->len; i > 0; i--) {
        Replier *replier = &g_array_index(pool->repliers, Replier, i - 1);
        const gboolean gone =
            replier->busy > 0 && tn_wire_forget(pool->wire, replier->peer) != TN_OK;
        replier->busy = gone ? G_MAXUINT : 0;
    }
    g_queue_clear_full(&pool->waiting, free_request);
    g_hash_table_remove_all(pool->numbers);
    pool->timed = 0;
}

/* --- Answers --------------------------------------------------------------------------------------- */

/* In the order of their asks. */
static gint
by_topic(gconstpointer a, gconstpointer b, gpointer data)
{
    const Request *x = a, *y = b;
    (void)data;
    return x->topic < y->topic ? -1 : x->topic > y->topic;
}

/* What it had to do waits again, before what waits already. */
static void
take_left(TnWirePool *pool, guint peer)
{
    Replier *replier = find(pool, peer);
    GQueue back = G_QUEUE_INIT;
    GHashTableIter iter;
    Request *request;
    if (!replier)
        return;
    g_array_remove_index(pool->repliers,
                         (guint)(replier - &g_array_index(pool->repliers, Replier, 0)));
    g_hash_table_iter_init(&iter, pool->numbers);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&request))
        if (request->peer == peer) {
            g_hash_table_iter_steal(&iter);
            g_queue_insert_sorted(&back, request, by_topic, NULL);
        }
    while ((request = g_queue_pop_tail(&back)))
        g_queue_push_head(&pool->waiting, request);
    send_waiting(pool);
}

gboolean
tn_wire_pool_take(TnWirePool *pool, TnWireEvent *event)
{
    const gpointer number = (gpointer)(gsize)event->number;
    Replier *replier = find(pool, event->peer);
    if (event->kind == TN_WIRE_LEFT)
        take_left(pool, event->peer);
    if ((event->kind != TN_WIRE_ANSWERED && event->kind != TN_WIRE_FAILED) || !replier)
        return FALSE;
    Request *request = g_hash_table_lookup(pool->numbers, number);
    replier->busy -= replier->busy > 0 && replier->busy < G_MAXUINT ? 1 : 0;
    if (!request) { /* its time was over, or it was forgotten */
        tn_wire_event_clear(event);
        send_waiting(pool);
        return FALSE;
    }
    event->topic = request->topic;
    pool->timed -= request->ends_ms ? 1 : 0;
    g_hash_table_remove(pool->numbers, number);
    send_waiting(pool);
    return TRUE;
}

static void
fill_timeout(TnWireEvent *event, const Request *request, guint peer)
{
    *event = (TnWireEvent){ .kind = TN_WIRE_FAILED,
                            .peer = peer,
                            .topic = request->topic,
                            .status = TN_AGAIN,
                            .text = g_strdup("no answer came in time") };
}

/* One request whose time is over. */
static gboolean
time_out(TnWirePool *pool, TnWireEvent *event)
{
    const gint64 now = g_get_monotonic_time() / 1000;
    GHashTableIter iter;
    Request *request;
    for (GList *item = pool->waiting.head; item; item = item->next) {
        request = item->data;
        if (request->ends_ms && request->ends_ms <= now) {
            fill_timeout(event, request, G_MAXUINT);
            g_queue_delete_link(&pool->waiting, item);
            free_request(request);
            return TRUE;
        }
    }
    g_hash_table_iter_init(&iter, pool->numbers);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&request))
        if (request->ends_ms && request->ends_ms <= now) {
            fill_timeout(event, request, request->peer);
            g_hash_table_iter_remove(&iter);
            return TRUE;
        }
    return FALSE;
}

gboolean
tn_wire_pool_look(TnWirePool *pool, TnWireEvent *event)
{
    send_waiting(pool);
    if (pool->timed == 0 || !time_out(pool, event))
        return FALSE;
    pool->timed--;
    return TRUE;
}
