/* serve.c: a stage's own process: makes the frames that the run asks for, until it says goodbye.
 *
 * What it is asked for waits in a queue; between frames it looks at the wire, so that what was
 * forgotten is not made. A request comes with its ask, and is what the frame is made of. Versions
 * (TN_STAGE_LATEST) are made one after another from the first ask on, and published: an ask waits until
 * there is one that is new enough. A run that is lost is sought again for a while; what it had asked for
 * is then of no use, since it asks again. */
#include "stage/stage-private.h"

#include <string.h>
#include <unistd.h>

#include <tenon/wire.h>

#define SLICE_MS 100

typedef struct {
    guint64 number, seq;
    TnFrame *request; /* NULL: a frame is asked for by its number alone */
} Wanted;

typedef struct {
    const TnServe *options;
    TnPipeline *pipeline;
    TnPort *port;
    TnWire *wire;
    GQueue wanted;              /* of Wanted */
    TnWirePublisher *publisher; /* of versions; NULL: of another stage */
    TnFrame *published;         /* its tensors are with the publisher */
    guint64 newest;             /* version that is published; they count from 1 */
    Wanted subscribed;          /* the last ask for one; number 0: none since the run joined */
    TnMade end;                 /* why there will be no newer one; TN_OK: it goes on */
    gboolean joined, over;
    gint64 alone_since; /* monotonic us: when the run was last there */
    char *why;          /* the last loss */
} Serving;

static void
free_wanted(Wanted *wanted)
{
    tn_frame_unref(wanted->request);
    g_free(wanted);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Wanted, free_wanted)

static void
forget(Serving *s, guint64 number)
{
    Wanted *first;
    while ((first = g_queue_peek_head(&s->wanted)) && first->number <= number)
        free_wanted(g_queue_pop_head(&s->wanted));
    if (s->subscribed.number <= number)
        s->subscribed.number = 0;
}

/* What came of making what number asks for, if it is no frame. */
static void
tell_failure(Serving *s, guint64 number, const TnMade *made)
{
    tn_wire_fail(s->wire, 0, number, made->status, made->error ? made->error->message : NULL);
}

/* --- Versions --------------------------------------------------------------------------------- */

/* After the end only the last version can be had. */
static void
tell_end(Serving *s)
{
    if (s->end.status != TN_OK && s->subscribed.number && s->subscribed.seq > s->newest)
        tell_failure(s, s->subscribed.number, &s->end);
}

/* The run says how many versions there have been: those of a process before this one count too. */
static void
take_subscription(Serving *s, TnWireEvent *event)
{
    s->subscribed = (Wanted){ event->number, MAX(event->topic, 1), NULL };
    if (tn_port_seq(s->port) < s->subscribed.seq - 1) {
        tn_port_seek(s->port, s->subscribed.seq - 1);
        tn_made_drop(&s->end); /* which was before that */
    }
    tn_wire_publisher_take(s->publisher, event);
    tell_end(s);
}

static gboolean
makes_versions(const Serving *s)
{
    return s->publisher && s->joined && s->subscribed.number && s->end.status == TN_OK;
}

static void
make_version(Serving *s)
{
    TnTensor *tensors[TN_MAX_FIELDS];
    const TnMade made = tn_port_take(s->port, TRUE);
    if (made.status == TN_CANCELLED)
        return;
    if (made.status != TN_OK) {
        s->end = made;
        tell_end(s);
        return;
    }
    const guint n = tn_frame_n(made.frame);
    for (guint i = 0; i < n; i++)
        tensors[i] = tn_frame_tensor(made.frame, i);
    s->newest = tn_frame_seq(made.frame) + 1;
    tn_wire_publish(s->publisher, s->newest, n, tensors);
    tn_frame_unref(s->published);
    s->published = made.frame;
}

/* --- Asks ------------------------------------------------------------------------------------- */

static void
take_ask(Serving *s, TnWireEvent *event)
{
    Wanted *wanted = g_new0(Wanted, 1);
    *wanted = (Wanted){ event->number, event->topic, NULL };
    if (tn_port_requests(s->port)) {
        wanted->request = tn_frame_new(event->topic, event->n);
        for (guint i = 0; i < event->n; i++)
            tn_frame_set(wanted->request, i, event->tensors[i]);
        event->n = 0;
    }
    g_queue_push_tail(&s->wanted, wanted);
}

static void
take_event(Serving *s, TnWireEvent *event)
{
    switch (event->kind) {
    case TN_WIRE_JOINED:
        forget(s, G_MAXUINT64);
        tn_made_drop(&s->end); /* of another run's asks */
        s->joined = TRUE;
        tn_log("stage", TN_LOG_INFO, "stage '%s': joined the run at %s", s->options->stage,
               tn_wire_url(s->wire));
        break;
    case TN_WIRE_LEFT:
        forget(s, G_MAXUINT64);
        s->joined = FALSE;
        s->over = g_strcmp0(event->text, TN_WIRE_GOODBYE) == 0;
        s->alone_since = g_get_monotonic_time();
        if (s->publisher)
            tn_wire_publisher_take(s->publisher, event);
        g_free(s->why);
        s->why = g_steal_pointer(&event->text);
        break;
    case TN_WIRE_ASKED: (s->publisher ? take_subscription : take_ask)(s, event); break;
    case TN_WIRE_FORGOTTEN:
        forget(s, event->number);
        if (s->publisher)
            tn_wire_publisher_take(s->publisher, event);
        break;
    case TN_WIRE_ANSWERED:
    case TN_WIRE_FAILED: /* nothing was asked */ break;
    }
    tn_wire_event_clear(event);
}

/* What is wanted, by its number or of its request. */
static TnMade
make(Serving *s, Wanted *wanted)
{
    TnMade made = { TN_OK, NULL, NULL };
    guint64 number;
    if (wanted->request || !(tn_port_flags(s->port) & TN_STAGE_ASYNC))
        tn_port_seek(s->port, wanted->seq);
    if (wanted->request)
        made.status = tn_port_ask(s->port, g_steal_pointer(&wanted->request), 0, &number);
    if (made.status == TN_OK)
        return tn_port_take(s->port, TRUE);
    if (tn_port_error(s->port, NULL))
        made.error = g_error_copy(tn_port_error(s->port, NULL));
    return made;
}

static void
answer(Serving *s, Wanted *wanted)
{
    TnTensor *tensors[TN_MAX_FIELDS];
    TnMade made = make(s, wanted);
    if (made.status != TN_OK) {
        if (made.status != TN_CANCELLED) /* it leaves, and the run asks another */
            tell_failure(s, wanted->number, &made);
        tn_made_drop(&made);
        return;
    }
    const guint n = tn_frame_n(made.frame);
    for (guint i = 0; i < n; i++)
        tensors[i] = tn_frame_tensor(made.frame, i);
    /* The frame's memory is used again with its last reference, which the wire takes. */
    const TnWireHold hold = { (GDestroyNotify)tn_frame_unref, made.frame };
    const TnStatus status =
        tn_wire_answer(s->wire, 0, wanted->number, wanted->seq, n, tensors, hold);
    if (status != TN_OK) /* if the run is still there, it must not wait */
        tn_wire_fail(s->wire, 0, wanted->number, status, "the frame could not be sent");
}

/* --- Life ------------------------------------------------------------------------------------- */

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
        const gint wait = s->wanted.length || makes_versions(s) ? 0 : SLICE_MS;
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
        g_autoptr(Wanted) wanted = g_queue_pop_head(&s->wanted);
        if (wanted)
            answer(s, wanted);
        else if (makes_versions(s))
            make_version(s);
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
    if (tn_port_requests(port))
        tn_value_set(about, "requests", tn_schema_to_value(tn_port_requests(port)));
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
    if (s.wire && tn_port_flags(port) & TN_STAGE_LATEST)
        s.publisher = tn_wire_publisher_new(s.wire);
    const gboolean ok = s.wire && serve_on(&s, error);
    forget(&s, G_MAXUINT64);
    tn_wire_publisher_free(s.publisher);
    tn_frame_unref(s.published);
    tn_made_drop(&s.end);
    tn_wire_free(s.wire);
    g_free(s.why);
    return ok;
}
