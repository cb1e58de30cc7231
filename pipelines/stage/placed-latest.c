/* placed-latest.c: versions that a stage in another process makes.
 *
 * One process publishes, whichever joined first; others that join wait until it has gone. It is asked
 * for what is newer than the consumer has, one ask at a time and again as soon as a version is taken, so
 * that the next has come by itself when it is wanted. An ask says how many versions there have been, so
 * whoever replaces the process goes on above them. On the wire versions count from 1: 0 is none. */
#include "stage/placed-private.h"

typedef struct {
    gboolean asked;
    guint peer; /* that is asked */
    guint64 number;
    gboolean there; /* made is something that nobody has taken, or the end */
    TnMade made;
} Latest;

static void
begin(TnPlaced *placed)
{
    placed->state = g_new0(Latest, 1);
}

static void
end(TnPlaced *placed)
{
    Latest *latest = placed->state;
    tn_made_drop(&latest->made);
    g_free(latest);
}

static gboolean
take(TnPlaced *placed, TnWireEvent *event)
{
    Latest *latest = placed->state;
    if (!latest->asked || event->peer != latest->peer)
        return FALSE;
    if (event->kind == TN_WIRE_LEFT)
        latest->asked = FALSE;
    if ((event->kind != TN_WIRE_ANSWERED && event->kind != TN_WIRE_FAILED) ||
        event->number != latest->number)
        return FALSE;
    latest->asked = FALSE;
    latest->there = TRUE;
    latest->made = tn_placed_made(placed, event, event->topic - 1);
    if (latest->made.status == TN_OK &&
        (event->topic <= placed->next || event->topic == G_MAXUINT64)) {
        tn_made_drop(&latest->made);
        latest->made.status = TN_FAILED;
        g_set_error(&latest->made.error, TN_ERROR, TN_ERROR_CORRUPT,
                    "stage '%s' at %s: it was asked for more than %" G_GUINT64_FORMAT
                    " versions and gives %" G_GUINT64_FORMAT,
                    placed->name, tn_wire_url(placed->wire), placed->next, event->topic);
    }
    return TRUE;
}

/* Who cannot be asked has left, which is an event to come. */
static gint
ask(TnPlaced *placed)
{
    Latest *latest = placed->state;
    for (guint i = 0; !latest->asked && !latest->there && i < placed->workers->len; i++) {
        latest->peer = g_array_index(placed->workers, TnPlacedWorker, i).id;
        latest->asked =
            tn_wire_subscribe(placed->wire, latest->peer, placed->next, &latest->number) == TN_OK;
    }
    return G_MAXINT;
}

static gboolean
next(TnPlaced *placed, TnMade *made)
{
    Latest *latest = placed->state;
    if (!latest->there)
        return FALSE;
    *made = latest->made;
    latest->made.error = NULL; /* an end or failure stays for the next pull, but is told once */
    if (made->status != TN_OK)
        return TRUE;
    latest->made.frame = NULL;
    latest->there = FALSE;
    placed->next = tn_frame_seq(made->frame) + 1;
    tn_placed_took(placed);
    ask(placed);
    return TRUE;
}

static void
seek(TnPlaced *placed)
{
    Latest *latest = placed->state;
    if (latest->asked)
        tn_wire_forget(placed->wire, latest->peer);
    latest->asked = latest->there = FALSE;
    tn_made_drop(&latest->made);
}

const TnPlacedWay tn_placed_latest_way = {
    .begin = begin, .end = end, .take = take, .ask = ask, .next = next, .seek = seek
};
