/* placed-status.c: what those who watch are told of a stage in other processes. */
#include "stage/placed-private.h"

static TnValue *
workers_value(TnPlaced *placed)
{
    TnValue *list = tn_value_list();
    pthread_mutex_lock(&placed->watched);
    for (guint i = 0; i < placed->workers->len; i++) {
        const TnPlacedWorker *worker = &g_array_index(placed->workers, TnPlacedWorker, i);
        TnValue *row = tn_value_map();
        tn_value_set(row, "pid", tn_value_int(worker->pid));
        tn_value_set(row, "host", tn_value_string(worker->where));
        tn_value_push(list, row);
    }
    pthread_mutex_unlock(&placed->watched);
    return list;
}

static TnValue *
wire_value(const TnPlaced *placed)
{
    TnValue *map = tn_value_map();
    TnWireStats stats;
    tn_wire_stats(placed->wire, &stats);
    const struct {
        const char *name;
        guint64 value;
    } rows[] = {
        { "messages_in", stats.messages_in },
        { "messages_out", stats.messages_out },
        { "bytes_in", stats.bytes_in },
        { "bytes_out", stats.bytes_out },
        { "waits", stats.waits },
        { "refused", stats.refused },
        { "dropped", stats.dropped },
        { "joined", stats.joined },
        { "left", stats.left },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        tn_value_set(map, rows[i].name, tn_value_int((gint64)rows[i].value));
    return map;
}

TnValue *
tn_placed_status(TnPlaced *placed)
{
    TnValue *map = tn_value_map();
    tn_value_set(map, "stage", tn_value_string(placed->name));
    tn_value_set(map, "place", tn_value_string(tn_wire_url(placed->wire)));
    tn_value_set(map, "processes", workers_value(placed));
    tn_value_set(map, "restarts", tn_value_int((gint64)placed->restarts));
    tn_value_set(map, "frames", tn_value_int((gint64)placed->frames));
    tn_value_set(map, "queue", tn_value_int((gint64)placed->ready));
    tn_value_set(map, "queue_most", tn_value_int(placed->most));
    tn_value_set(map, "seconds_waited", tn_value_double((double)placed->waited_us * 1e-6));
    tn_value_set(map, "wire", wire_value(placed));
    return map;
}
