/* publish.c: the newest version of something for those who ask for what is newer than they have. */
#include "wire/wire-private.h"

/* An ask that waits for a version. */
typedef struct {
    guint peer;
    guint64 number, version;
} Subscriber;

struct TnWirePublisher {
    TnWire *wire;
    GArray *subscribers;
    guint64 version; /* 0: nothing yet */
    guint n;
    TnTensor *tensors[TN_WIRE_MOST_TENSORS];
};

TnWirePublisher *
tn_wire_publisher_new(TnWire *wire)
{
    TnWirePublisher *publisher = g_new0(TnWirePublisher, 1);
    publisher->wire = wire;
    publisher->subscribers = g_array_new(FALSE, FALSE, sizeof(Subscriber));
    return publisher;
}

static void
drop_version(TnWirePublisher *publisher)
{
    for (guint i = 0; i < publisher->n; i++)
        tn_tensor_unref(publisher->tensors[i]);
    publisher->n = 0;
}

void
tn_wire_publisher_free(TnWirePublisher *publisher)
{
    if (!publisher)
        return;
    drop_version(publisher);
    g_array_unref(publisher->subscribers);
    g_free(publisher);
}

/* Gives the version to everybody who waits for it, or for an older one. */
static void
serve(TnWirePublisher *publisher)
{
    GArray *subscribers = publisher->subscribers;
    for (guint i = subscribers->len; i > 0; i--) {
        const Subscriber subscriber = g_array_index(subscribers, Subscriber, i - 1);
        if (subscriber.version > publisher->version)
            continue;
        g_array_remove_index_fast(subscribers, i - 1);
        tn_wire_answer(publisher->wire, subscriber.peer, subscriber.number, publisher->version,
                       publisher->n, publisher->tensors, (TnWireHold){ NULL, NULL });
    }
}

void
tn_wire_publish(TnWirePublisher *publisher, guint64 version, guint n, TnTensor *const *tensors)
{
    g_return_if_fail(version > publisher->version && n <= TN_WIRE_MOST_TENSORS);
    drop_version(publisher);
    publisher->version = version;
    for (guint i = 0; i < n; i++)
        publisher->tensors[i] = tn_tensor_ref(tensors[i]);
    publisher->n = n;
    serve(publisher);
}

/* Asks of a peer up to number are void. */
static void
remove_asks(TnWirePublisher *publisher, guint peer, guint64 number)
{
    for (guint i = publisher->subscribers->len; i > 0; i--) {
        const Subscriber *s = &g_array_index(publisher->subscribers, Subscriber, i - 1);
        if (s->peer == peer && s->number <= number)
            g_array_remove_index_fast(publisher->subscribers, i - 1);
    }
}

gboolean
tn_wire_publisher_take(TnWirePublisher *publisher, TnWireEvent *event)
{
    const Subscriber subscriber = { event->peer, event->number, event->topic };
    if (event->kind == TN_WIRE_LEFT || event->kind == TN_WIRE_FORGOTTEN)
        remove_asks(publisher, event->peer,
                    event->kind == TN_WIRE_LEFT ? G_MAXUINT64 : event->number);
    if (event->kind != TN_WIRE_ASKED)
        return FALSE;
    g_array_append_val(publisher->subscribers, subscriber);
    tn_wire_event_clear(event);
    if (publisher->version > 0)
        serve(publisher);
    return TRUE;
}

TnStatus
tn_wire_subscribe(TnWire *wire, guint peer, guint64 have, guint64 *number)
{
    return tn_wire_ask(wire, peer, have + 1, 0, NULL, (TnWireHold){ NULL, NULL }, number);
}
