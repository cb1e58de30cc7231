/* serve.c: a stage's own process: makes the frames that the run asks for, until it says goodbye.
 *
 * What it is asked for waits in a queue; between frames it looks at the wire, so that what was
 * forgotten is not made. A run that is lost is sought again for a while; what it had asked for is then
 * of no use, since it asks again. */
#include "stage/stage-private.h"

#include <string.h>
#include <unistd.h>

#include <tenon/wire.h>

#define SLICE_MS 100

typedef struct {
    guint64 number, seq;
} Wanted;

typedef struct {
    const TnServe *options;
    TnPipeline *pipeline;
    TnPort *port;
    TnWire *wire;
    GQueue wanted; /* of Wanted */
    gboolean joined, over;
    gint64 alone_since; /* monotonic us: when the run was last there */
    char *why;          /* the last loss */
} Serving;

static void
forget(Serving *s, guint64 number)
{
    Wanted *first;
    while ((first = g_queue_peek_head(&s->wanted)) && first->number <= number)
        g_free(g_queue_pop_head(&s->wanted));
}

static void
take_event(Serving *s, TnWireEvent *event)
{
    switch (event->kind) {
    case TN_WIRE_JOINED:
        forget(s, G_MAXUINT64);
        s->joined = TRUE;
        tn_log("stage", TN_LOG_INFO, "stage '%s': joined the run at %s", s->options->stage,
               tn_wire_url(s->wire));
        break;
    case TN_WIRE_LEFT:
        forget(s, G_MAXUINT64);
        s->joined = FALSE;
        s->over = g_strcmp0(event->text, TN_WIRE_GOODBYE) == 0;
        s->alone_since = g_get_monotonic_time();
        g_free(s->why);
        s->why = g_steal_pointer(&event->text);
        break;
    case TN_WIRE_ASKED: {
        const Wanted wanted = { event->number, event->topic };
        g_queue_push_tail(&s->wanted, g_memdup2(&wanted, sizeof wanted));
        break;
    }
    case TN_WIRE_FORGOTTEN: forget(s, event->number); break;
    case TN_WIRE_ANSWERED:
    case TN_WIRE_FAILED: /* nothing was asked */ break;
    }
    tn_wire_event_clear(event);
}

static void
make(Serving *s, Wanted wanted)
{
    TnTensor *tensors[TN_MAX_FIELDS];
    if (!tn_port_is_async(s->port))
        tn_port_seek(s->port, wanted.seq);
    TnMade made = tn_port_take(s->port);
    if (made.status == TN_CANCELLED) /* it leaves, and the run asks another */
        return;
    if (made.status != TN_OK) {
        tn_wire_fail(s->wire, 0, wanted.number, made.status,
                     made.error ? made.error->message : NULL);
        g_clear_error(&made.error);
        return;
    }
    const guint n = tn_frame_n(made.frame);
    for (guint i = 0; i < n; i++)
        tensors[i] = tn_frame_tensor(made.frame, i);
    /* The frame's memory is used again with its last reference, which the wire takes. */
    const TnWireHold hold = { (GDestroyNotify)tn_frame_unref, made.frame };
    const TnStatus status = tn_wire_answer(s->wire, 0, wanted.number, wanted.seq, n, tensors, hold);
    if (status != TN_OK) /* if the run is still there, it must not wait */
        tn_wire_fail(s->wire, 0, wanted.number, status, "the frame could not be sent");
}

static gboolean
must_end(Serving *s, GError **error)
{
    const TnServe *options = s->options;
    if (options->parent && getppid() != (pid_t)options->parent) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: the run's process %d has ended",
                    tn_wire_url(s->wire), (int)options->parent);
        return TRUE;
    }
    const double alone = (double)(g_get_monotonic_time() - s->alone_since) * 1e-6;
    if (!s->joined && alone > options->timeout) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO,
                    "%s: no run has been there for %g s%s%s; is it still running, and is the "
                    "address right as seen from this host?",
                    tn_wire_url(s->wire), options->timeout, s->why ? ": " : "",
                    s->why ? s->why : "");
        return TRUE;
    }
    return FALSE;
}

static gboolean
serve_on(Serving *s, GError **error)
{
    while (!s->over) {
        TnWireEvent event;
        const gint wait = s->wanted.length ? 0 : SLICE_MS;
        const TnStatus status = tn_wire_next(s->wire, wait, &event);
        if (status == TN_OK) {
            take_event(s, &event);
            continue;
        }
        if (status == TN_CANCELLED)
            return TRUE;
        if (status == TN_FAILED) {
            g_propagate_error(error, g_error_copy(tn_wire_error(s->wire)));
            return FALSE;
        }
        if (must_end(s, error))
            return FALSE;
        g_autofree Wanted *wanted = g_queue_pop_head(&s->wanted);
        if (wanted)
            make(s, *wanted);
    }
    return TRUE;
}

static TnWire *
join(const TnServe *options, TnPipeline *pipeline, TnContext *context, const TnPort *port,
     GError **error)
{
    g_autoptr(TnValue) hello = tn_placing_hello(options->placing, options->stage, context);
    g_autoptr(TnValue) about = options->about ? tn_value_copy(options->about) : tn_value_map();
    tn_value_set(about, "schema", tn_schema_to_value(tn_port_schema(port)));
    tn_value_set(about, "data", tn_pipeline_data(pipeline));
    tn_value_set(about, "pid", tn_value_int(getpid()));
    tn_value_set(about, "host", tn_value_string(g_get_host_name()));
    const TnWireOptions wire = {
        .address = options->address,
        .key = options->key,
        .insecure = options->insecure,
        .hello = hello,
        .about = about,
        .context = context,
    };
    return tn_wire_new(&wire, error);
}

gboolean
tn_stage_serve(TnPipeline *pipeline, TnContext *context, const TnServe *options, GError **error)
{
    TnPort *port = tn_pipeline_port(pipeline, options->stage, error);
    if (!port)
        return FALSE;
    Serving s = { .options = options, .pipeline = pipeline, .port = port };
    g_queue_init(&s.wanted);
    s.alone_since = g_get_monotonic_time();
    s.wire = join(options, pipeline, context, port, error);
    const gboolean ok = s.wire && serve_on(&s, error);
    forget(&s, G_MAXUINT64);
    tn_wire_free(s.wire);
    g_free(s.why);
    return ok;
}
