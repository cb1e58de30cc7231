/* placed.c: a stage that runs in other processes, as its consumer sees it. Processes that this one starts
 * are placed-processes.c's, who joins and leaves placed-workers.c's. What they are asked for is the business
 * of one of three ways: frames by number (placed-frames.c), requests (placed-requests.c), the latest version
 * (placed-latest.c). */
#include "stage/placed-private.h"

#include <stdio.h>
#include <string.h>

#define SLICE_MS 50    /* between two looks at processes */
#define LEAST_TAKEN 16 /* events that are taken at once, if there are so many */

typedef TnPlacedWorker Worker;

gboolean
tn_placed_fail(TnPlaced *placed, TnErrorCode code, const char *format, ...)
{
    va_list args;
    if (!placed->failed) {
        va_start(args, format);
        g_autofree char *text = g_strdup_vprintf(format, args);
        va_end(args);
        g_set_error(&placed->error, TN_ERROR, code, "stage '%s' at %s: %s", placed->name,
                    tn_wire_url(placed->wire), text);
        placed->failed = TRUE;
    }
    return FALSE;
}

/* --- Pulling --------------------------------------------------------------------------------------- */

static void
take_event(TnPlaced *placed, TnWireEvent *event)
{
    if (placed->known && placed->way->take(placed, event))
        ; /* it was an answer */
    else if (event->kind == TN_WIRE_JOINED)
        tn_placed_joined(placed, event);
    else if (event->kind == TN_WIRE_LEFT)
        tn_placed_left(placed, event);
    else if (event->kind == TN_WIRE_ASKED)
        tn_wire_refuse(placed->wire, event->peer, "a stage asks nothing of its consumer");
    tn_wire_event_clear(event);
}

/* What happens within so many milliseconds. TN_OK, TN_CANCELLED, TN_FAILED. An answer makes room for
 * another ask, so there may be more to take for as long as there are requests: what can have come by now
 * is enough, the consumer waits. */
static TnStatus
go_on(TnPlaced *placed, gint wait_ms)
{
    TnWireEvent event;
    TnStatus status = tn_wire_next(placed->wire, wait_ms, &event);
    for (guint taken = 0; status == TN_OK; taken++) {
        take_event(placed, &event);
        if (taken >= MAX(placed->most, LEAST_TAKEN))
            break;
        status = tn_wire_next(placed->wire, 0, &event);
    }
    if (placed->known && placed->way->look)
        placed->way->look(placed);
    if (status == TN_FAILED)
        tn_placed_fail(placed, TN_ERROR_FAILED, "%s", tn_wire_error(placed->wire)->message);
    if (status == TN_CANCELLED || atomic_load(&placed->stopped))
        return TN_CANCELLED;
    return !placed->failed && tn_placed_look(placed) ? TN_OK : TN_FAILED;
}

TnMade
tn_placed_pull(TnPlaced *placed, gboolean wait)
{
    TnStatus status = TN_OK;
    TnMade made;
    for (gboolean looked = FALSE; status == TN_OK; looked = TRUE) {
        if (placed->way->next(placed, &made))
            return made;
        if (looked && !wait)
            return (TnMade){ TN_AGAIN, NULL, NULL };
        const gint patience = placed->way->ask(placed);
        const gint64 began = g_get_monotonic_time();
        status = go_on(placed, looked ? MIN(patience, SLICE_MS) : 0);
        if (looked)
            atomic_fetch_add(&placed->waited_us, (guint64)(g_get_monotonic_time() - began));
    }
    return (TnMade){ status, NULL, g_steal_pointer(&placed->error) };
}

TnMade
tn_placed_made(const TnPlaced *placed, TnWireEvent *event, guint64 seq)
{
    TnMade made = { TN_OK, NULL, NULL };
    if (event->kind == TN_WIRE_FAILED) {
        made.status = event->status == TN_EOS ? TN_EOS : TN_FAILED;
        if (made.status == TN_FAILED)
            g_set_error(&made.error, TN_ERROR, TN_ERROR_FAILED, "%s",
                        event->text ? event->text : "it does not say why");
    } else if (!tn_schema_fits(&placed->schema, event->n, event->tensors)) {
        made.status = TN_FAILED;
        g_set_error(&made.error, TN_ERROR, TN_ERROR_CORRUPT,
                    "stage '%s' at %s: a frame is not what the stage said it gives", placed->name,
                    tn_wire_url(placed->wire));
    } else {
        made.frame = tn_frame_new(seq, event->n);
        for (guint i = 0; i < event->n; i++)
            tn_frame_set(made.frame, i, event->tensors[i]);
        event->n = 0;
    }
    return made;
}

void
tn_placed_took(TnPlaced *placed)
{
    atomic_fetch_add(&placed->frames, 1);
    placed->ends = placed->losses = 0;
}

guint64
tn_placed_next(const TnPlaced *placed)
{
    return placed->next;
}

void
tn_placed_seek(TnPlaced *placed, guint64 seq)
{
    placed->next = seq;
    placed->way->seek(placed);
}

void
tn_placed_stop(TnPlaced *placed)
{
    atomic_store(&placed->stopped, TRUE);
}

/* --- Life ------------------------------------------------------------------------------------------ */

static void
clear_worker(gpointer data)
{
    g_free(((Worker *)data)->where);
}

/* What to type on another host, as far as this one knows. */
static void
say_how_to_join(const TnPlaced *placed)
{
    const TnStageCommon *common = placed->common;
    const char *url = tn_wire_url(placed->wire), *port = strrchr(url, ':');
    const gboolean any =
        g_str_has_prefix(url, "tcp://0.0.0.0:") || g_str_has_prefix(url, "tcp://[::]:");
    g_autofree char *named =
        any ? g_strconcat("tcp://", g_get_host_name(), port, NULL) : g_strdup(url);
    g_autofree char *quoted = common->key ? g_shell_quote(common->key) : NULL;
    fprintf(stderr,
            "tenon: stage '%s' is awaited at %s; on its host type\n"
            "    tenon stage %s --stage=%s%s%s --connect %s\n",
            placed->name, url, placed->placing->typed ? placed->placing->typed : "CONFIG",
            placed->name,
            quoted             ? " --key "
            : common->insecure ? " --insecure"
                               : "",
            quoted ? quoted : "", named);
}

static gboolean
wait_for_first(TnPlaced *placed)
{
    const gint64 end = tn_now_ms() + tn_placed_timeout_ms(placed);
    if (!placed->n_seats)
        say_how_to_join(placed);
    while (!placed->known) {
        const TnStatus status = go_on(placed, SLICE_MS);
        if (status == TN_CANCELLED)
            return tn_placed_fail(placed, TN_ERROR_CANCELLED, "nobody has joined yet");
        if (status != TN_OK)
            return FALSE;
        if (tn_now_ms() > end)
            return tn_placed_fail(placed, TN_ERROR_FAILED, "nobody has joined for %g s (timeout)",
                                  placed->common->timeout);
    }
    return TRUE;
}

static TnWire *
serve(TnPlaced *placed, GError **error)
{
    g_autoptr(TnValue) hello = tn_placing_hello(placed->placing, placed->name, placed->context);
    const TnWireOptions options = {
        .address = placed->common->place,
        .serve = TRUE,
        .key = placed->common->key,
        .insecure = placed->common->insecure,
        .hello = hello,
        .context = placed->context,
    };
    return tn_wire_new(&options, error);
}

TnPlaced *
tn_placed_new(const char *name, guint32 flags, const TnStageCommon *common,
              const TnPlacing *placing, TnContext *context, GError **error)
{
    TnPlaced *placed = g_new0(TnPlaced, 1);
    placed->name = g_strdup(name);
    placed->flags = flags;
    placed->way = flags & TN_STAGE_REPLIES  ? &tn_placed_requests_way
                  : flags & TN_STAGE_LATEST ? &tn_placed_latest_way
                                            : &tn_placed_frames_way;
    placed->common = common;
    placed->placing = placing;
    placed->context = tn_context_ref(context);
    placed->workers = g_array_new(FALSE, FALSE, sizeof(Worker));
    g_array_set_clear_func(placed->workers, clear_worker);
    pthread_mutex_init(&placed->watched, NULL);
    placed->wire = serve(placed, error);
    gboolean ok = placed->wire != NULL && tn_placed_start(placed, error);
    if (ok && !wait_for_first(placed)) {
        g_propagate_error(error, g_steal_pointer(&placed->error));
        ok = FALSE;
    }
    if (ok)
        return placed;
    tn_placed_free(placed);
    return NULL;
}

void
tn_placed_free(TnPlaced *placed)
{
    if (!placed)
        return;
    if (placed->state)
        placed->way->end(placed);
    tn_wire_pool_free(placed->pool);
    tn_wire_free(placed->wire);
    tn_placed_end(placed);
    g_array_unref(placed->workers);
    pthread_mutex_destroy(&placed->watched);
    tn_value_unref(placed->about);
    tn_context_unref(placed->context);
    g_clear_error(&placed->error);
    g_free(placed->lost_how);
    g_free(placed->name);
    g_free(placed);
}

const TnSchema *
tn_placed_schema(const TnPlaced *placed)
{
    return &placed->schema;
}

const TnSchema *
tn_placed_requests(const TnPlaced *placed)
{
    return placed->flags & TN_STAGE_REPLIES ? &placed->requests : NULL;
}

const TnValue *
tn_placed_data(const TnPlaced *placed)
{
    return tn_value_get(placed->about, "data");
}

const TnValue *
tn_placed_about(const TnPlaced *placed)
{
    return placed->about;
}
