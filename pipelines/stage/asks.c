/* asks.c: the asks of a stage that replies: their numbers, their times, and the order in which what came
 * of them is told. */
#include "stage/asks.h"

static void
free_ask(gpointer data)
{
    TnAsk *ask = data;
    tn_frame_unref(ask->request);
    tn_made_drop(&ask->made);
    g_free(ask);
}

void
tn_asks_init(TnAsks *asks, const char *stage, gboolean ordered)
{
    *asks = (TnAsks){ .stage = stage, .ordered = ordered };
    asks->table = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, free_ask);
    g_queue_init(&asks->over);
}

void
tn_asks_clear(TnAsks *asks)
{
    g_queue_clear(&asks->over);
    g_clear_pointer(&asks->table, g_hash_table_unref);
}

TnAsk *
tn_asks_add(TnAsks *asks, TnFrame *request, guint milliseconds)
{
    TnAsk *ask = g_new0(TnAsk, 1);
    ask->number = asks->next++;
    ask->ends = milliseconds ? g_get_monotonic_time() + (gint64)milliseconds * 1000 : G_MAXINT64;
    ask->request = request;
    asks->timed += milliseconds ? 1 : 0;
    g_hash_table_insert(asks->table, &ask->number, ask);
    return ask;
}

TnAsk *
tn_asks_find(const TnAsks *asks, guint64 number)
{
    TnAsk *ask = g_hash_table_lookup(asks->table, &number);
    return ask && !ask->over ? ask : NULL;
}

/* One that came to nothing has its number in a frame without tensors. */
static void
end(TnAsks *asks, TnAsk *ask, TnMade made)
{
    if (made.status != TN_OK) {
        made.frame = tn_frame_new(ask->number, 0);
        if (!made.error)
            tn_status_set_error(&made.error, made.status,
                                "stage '%s': request %" G_GUINT64_FORMAT " has no answer",
                                asks->stage, ask->number);
        made.status = made.status == TN_AGAIN ? TN_AGAIN : TN_FAILED;
    }
    ask->made = made;
    ask->over = TRUE;
    asks->timed -= ask->ends < G_MAXINT64 ? 1 : 0;
    g_clear_pointer(&ask->request, tn_frame_unref);
    if (!asks->ordered)
        g_queue_push_tail(&asks->over, ask);
}

void
tn_asks_end(TnAsks *asks, guint64 number, TnMade made)
{
    TnAsk *ask = tn_asks_find(asks, number);
    if (ask)
        end(asks, ask, made);
    else
        tn_made_drop(&made);
}

void
tn_asks_end_late(TnAsks *asks, guint64 number)
{
    TnMade made = { TN_AGAIN, NULL, NULL };
    g_set_error(&made.error, TN_ERROR, TN_ERROR_FAILED,
                "stage '%s': request %" G_GUINT64_FORMAT " had no answer in time", asks->stage,
                number);
    tn_asks_end(asks, number, made);
}

static gint
by_number(gconstpointer a, gconstpointer b, gpointer data)
{
    const TnAsk *x = a, *y = b;
    (void)data;
    return x->number < y->number ? -1 : x->number > y->number;
}

void
tn_asks_look(TnAsks *asks, gint64 now)
{
    GQueue late = G_QUEUE_INIT;
    GHashTableIter iter;
    TnAsk *ask;
    if (asks->timed == 0)
        return;
    g_hash_table_iter_init(&iter, asks->table);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&ask))
        if (!ask->over && ask->ends <= now)
            g_queue_insert_sorted(&late, ask, by_number, NULL);
    while ((ask = g_queue_pop_head(&late)))
        tn_asks_end_late(asks, ask->number);
}

gint64
tn_asks_soonest(const TnAsks *asks)
{
    gint64 soonest = G_MAXINT64;
    GHashTableIter iter;
    const TnAsk *ask;
    if (asks->timed == 0)
        return soonest;
    g_hash_table_iter_init(&iter, asks->table);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&ask))
        if (!ask->over)
            soonest = MIN(soonest, ask->ends);
    return soonest;
}

gboolean
tn_asks_take(TnAsks *asks, TnMade *made)
{
    TnAsk *ask = asks->ordered ? g_hash_table_lookup(asks->table, &asks->told)
                               : g_queue_pop_head(&asks->over);
    if (!ask || !ask->over) {
        *made = (TnMade){ TN_EOS, NULL, NULL };
        return g_hash_table_size(asks->table) == 0;
    }
    *made = ask->made;
    ask->made = (TnMade){ TN_OK, NULL, NULL };
    g_hash_table_remove(asks->table, &ask->number);
    asks->told++;
    return TRUE;
}

void
tn_asks_forget(TnAsks *asks, guint64 next)
{
    g_queue_clear(&asks->over);
    g_hash_table_remove_all(asks->table);
    asks->timed = 0;
    asks->next = asks->told = next;
}
