/* bench-wire.c: what it costs to hand a frame to another thread, another process, another host, each
 * beside the plain way of doing it.
 *
 * The two ways take turns between the same two processes, so that both meet the same machine; what a
 * turn does first is not counted. */
#include "bench-core.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/host.h>
#include <tenon/stage.h>

#include "bench-partner.h"
#include "bench-timing.h"
#include "launch.h"

#define TURNS 8 /* of each way */

/* g_get_monotonic_time counts whole microseconds, of which a hand-over is a part. */
static double
now_finely(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- In one process -------------------------------------------------------------------------------- */

/* A stage whose frames are empty. */
typedef struct {
    TnStageCommon common;
} NothingOptions;

static const TnOption nothing_rows[] = { TN_STAGE_ROWS(NothingOptions, common) };

static void *
nothing_create(TnConfig *config, TnContext *context, GError **error)
{
    (void)context;
    (void)error;
    return tn_config_ref(config);
}

static void
nothing_destroy(void *self)
{
    tn_config_unref(self);
}

static gboolean
nothing_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    (void)self;
    (void)context;
    (void)in;
    (void)error;
    out->n = 0;
    return TRUE;
}

static TnStatus
nothing_make(void *self, void *worker, guint64 seq, TnFrame *in, TnFrame *frame, GError **error)
{
    (void)self;
    (void)worker;
    (void)seq;
    (void)in;
    (void)frame;
    (void)error;
    return TN_OK;
}

static const TnStageVTable nothing_vtable = { .size = sizeof(TnStageVTable),
                                              .open = nothing_open,
                                              .make = nothing_make };

const TnFactory bench_nothing_stage = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_STAGE,
    .name = "bench_nothing",
    .help = "frames without anything in them, for a case of `tenon bench`",
    .options = TN_OPTIONS(NothingOptions, nothing_rows),
    .create = nothing_create,
    .destroy = nothing_destroy,
    .vtable = &nothing_vtable,
};

static TnPipeline *
nothing_pipeline(TnContext *context, TnPort **port, GError **error)
{
    g_autoptr(TnSpec) spec = tn_spec_new(TN_IFACE_STAGE, bench_nothing_stage.name, (TnWhere){ 0 });
    tn_value_set(tn_spec_options(spec), "workers", tn_value_int(1));
    tn_value_set(tn_spec_options(spec), "queue", tn_value_int(1024));
    TnPipeline *pipeline =
        tn_pipeline_new(context, 1, (const char *const[]){ "nothing" }, &spec, NULL, error);
    *port = pipeline ? tn_pipeline_port(pipeline, "nothing", error) : NULL;
    return pipeline;
}

/* Seconds a frame, of so many. */
static double
pull_some(TnPort *port, guint n)
{
    const double begin = now_finely();
    for (guint i = 0; i < n; i++) {
        TnFrame *frame;
        if (tn_port_pull(port, &frame) != TN_OK)
            return 0.0 / 0.0;
        tn_frame_unref(frame);
    }
    return (now_finely() - begin) / n;
}

gboolean
bench_wire_inproc(TnBench *bench, GError **error)
{
    enum { BLOCK = 20000 }; /* many times the queue: not what was made ahead, but what goes on */
    TnPort *port;
    TnContext *context = tn_context_new();
    TnPipeline *pipeline = nothing_pipeline(context, &port, error);
    g_autoptr(GArray) times = bench_times();
    if (port) {
        pull_some(port, BLOCK);
        for (const double end = bench_now() + bench->seconds;
             bench_now() < end || times->len == 0;) {
            const double took = pull_some(port, BLOCK);
            g_array_append_val(times, took);
        }
        bench->report(bench, NULL, 1e6 * bench_quantile(times, 0.5), "us",
                      "a frame through an edge with one worker thread, of a stage that does "
                      "nothing, when nobody sleeps");
    }
    tn_pipeline_free(pipeline);
    tn_context_unref(context);
    return port != NULL;
}

/* --- Two ways in turn ------------------------------------------------------------------------------ */

typedef struct Pair Pair;
typedef gboolean (*Once)(Pair *pair, GError **error);

struct Pair {
    Partner partner;
    TnTensor *request; /* of small ones */
    guint8 *from, *to; /* of a memcpy */
    Once by_wire, plainly;
    gboolean plain_is_here; /* the partner has no part in it */
    guint warm;             /* that do not count, at the beginning of a turn */
    double sum;             /* of what was read, so that it is */
    GArray *times[2];       /* by wire, plainly: seconds */
};

static gboolean
take_turn(Pair *pair, gboolean plain, double seconds, GError **error)
{
    const Once once = plain ? pair->plainly : pair->by_wire;
    double last = now_finely();
    const double end = last + seconds;
    for (guint i = 0; i <= pair->warm || last < end; i++) {
        if (!once(pair, error))
            return FALSE;
        const double at = now_finely(), took = at - last;
        if (i >= pair->warm)
            g_array_append_val(pair->times[plain], took);
        last = at;
    }
    return TRUE;
}

static gboolean
take_turns(Pair *pair, double seconds, GError **error)
{
    const double each = seconds / (2 * TURNS);
    for (guint turn = 0; turn < TURNS; turn++)
        if (!take_turn(pair, FALSE, each, error) ||
            (!pair->plain_is_here && !partner_to_plain(&pair->partner, error)) ||
            !take_turn(pair, TRUE, each, error) ||
            (!pair->plain_is_here && !partner_to_wire(&pair->partner, error)))
            return FALSE;
    return TRUE;
}

/* Starts the partner and measures. */
static gboolean
measure_pair(TnBench *bench, Pair *pair, const char *place, const char *plain, gboolean large,
             GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(pair->times); i++)
        pair->times[i] = bench_times();
    return partner_start(&pair->partner, bench->program, place, plain, large, error) &&
           take_turns(pair, bench->seconds, error);
}

static void
pair_clear(Pair *pair)
{
    partner_end(&pair->partner);
    if (pair->request)
        tn_tensor_unref(pair->request);
    g_free(pair->from);
    g_free(pair->to);
    for (guint i = 0; i < G_N_ELEMENTS(pair->times); i++)
        g_clear_pointer(&pair->times[i], g_array_unref);
}

/* An address of this host's that nobody else has, and no file. (transfer full). */
static char *
private_address(void)
{
    return g_strdup_printf("ipc://@tenon-bench-%d-%" G_GINT64_FORMAT, (int)getpid(),
                           g_get_monotonic_time());
}

/* --- Small messages -------------------------------------------------------------------------------- */

static gboolean
small_by_wire(Pair *pair, GError **error)
{
    TnWireEvent answer;
    if (!partner_ask(&pair->partner, PARTNER_SMALL, 1, &pair->request, &answer, error))
        return FALSE;
    pair->sum += (double)tn_tensor_bytes(answer.tensors[0]);
    tn_wire_event_clear(&answer);
    return TRUE;
}

static gboolean
small_plainly(Pair *pair, GError **error)
{
    zmq_msg_t answer;
    const void *request = tn_storage_memory(tn_tensor_storage(pair->request));
    if (!partner_ask_plain(&pair->partner, request, PARTNER_REQUEST, &answer, error))
        return FALSE;
    pair->sum += (double)pair->partner.zmq->msg_size(&answer);
    pair->partner.zmq->msg_close(&answer);
    return TRUE;
}

gboolean
bench_wire_ipc_small(TnBench *bench, GError **error)
{
    const gint64 n = PARTNER_REQUEST;
    g_autofree char *plain = private_address();
    Pair pair = { .by_wire = small_by_wire, .plainly = small_plainly, .warm = 50 };
    g_autofree guint8 *bytes = g_malloc0(PARTNER_REQUEST);
    pair.request = tn_tensor_from(tn_type(TN_DTYPE_U8, 1, &n), bytes, error);
    const gboolean ok = pair.request && measure_pair(bench, &pair, "ipc", plain, FALSE, error);
    if (ok) {
        bench->report(bench, NULL, 1e6 * bench_quantile(pair.times[0], 0.5), "us",
                      "a tensor of 3 KB to another process and 40 bytes back, median");
        bench->report(bench, "p99", 1e6 * bench_quantile(pair.times[0], 0.99), "us",
                      "99 % are faster");
        bench->report(bench, "zeromq", 1e6 * bench_quantile(pair.times[1], 0.5), "us",
                      "as many bytes between the same processes with plain ZeroMQ (REQ, REP)");
        bench->report(bench, "zeromq_p99", 1e6 * bench_quantile(pair.times[1], 0.99), "us",
                      "99 % of those are faster");
    }
    pair_clear(&pair);
    return ok;
}

/* --- Large tensors --------------------------------------------------------------------------------- */

static gboolean
check_large(Pair *pair, const guint8 *bytes, gsize size, GError **error)
{
    if (size == PARTNER_BYTES && bytes[0] == PARTNER_FIRST && bytes[size - 1] == PARTNER_LAST) {
        pair->sum += bytes[0];
        return TRUE;
    }
    g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "what came is not what was sent");
    return FALSE;
}

static gboolean
large_by_wire(Pair *pair, GError **error)
{
    TnWireEvent answer;
    if (!partner_ask(&pair->partner, PARTNER_LARGE, 0, NULL, &answer, error))
        return FALSE;
    TnTensor *tensor = answer.tensors[0];
    const guint8 *bytes = tn_tensor_map(tensor, TN_MAP_READ, error);
    const gboolean ok = bytes && check_large(pair, bytes, (gsize)tn_tensor_bytes(tensor), error);
    if (bytes)
        tn_tensor_unmap(tensor);
    tn_wire_event_clear(&answer);
    return ok;
}

static gboolean
large_plainly(Pair *pair, GError **error)
{
    zmq_msg_t answer;
    const TnZmq *zmq = pair->partner.zmq;
    if (!partner_ask_plain(&pair->partner, "large", 5, &answer, error))
        return FALSE;
    const gboolean ok = check_large(pair, zmq->msg_data(&answer), zmq->msg_size(&answer), error);
    zmq->msg_close(&answer);
    return ok;
}

static gboolean
copy_once(Pair *pair, GError **error)
{
    (void)error;
    memcpy(pair->to, pair->from, PARTNER_BYTES);
    pair->sum += pair->to[PARTNER_BYTES - 1];
    return TRUE;
}

/* What both ways gave, in bytes a second, and the share. */
static void
report_large(TnBench *bench, Pair *pair, const char *what, const char *plain,
             const char *plain_what)
{
    const double wire = PARTNER_BYTES / bench_quantile(pair->times[0], 0.5);
    const double other = PARTNER_BYTES / bench_quantile(pair->times[1], 0.5);
    g_autofree char *share = g_strdup_printf("of %s", plain);
    bench->report(bench, NULL, wire * 1e-9, "GB/s", what);
    bench->report(bench, plain, other * 1e-9, "GB/s", plain_what);
    bench->report(bench, "share", 100 * wire / other, "%", share);
}

gboolean
bench_wire_ipc_large(TnBench *bench, GError **error)
{
    g_autofree char *plain = private_address();
    Pair pair = {
        .by_wire = large_by_wire, .plainly = copy_once, .plain_is_here = TRUE, .warm = 1
    };
    pair.from = g_malloc0(PARTNER_BYTES);
    pair.to = g_malloc0(PARTNER_BYTES);
    memset(pair.from, 1, PARTNER_BYTES); /* zeros would be one page, many times */
    const gboolean ok = measure_pair(bench, &pair, "ipc", plain, TRUE, error);
    if (ok)
        report_large(bench, &pair, "100 MB from another process, held and let go", "memcpy",
                     "100 MB copied by one thread");
    pair_clear(&pair);
    return ok;
}

gboolean
bench_wire_tcp_large(TnBench *bench, GError **error)
{
    Pair pair = { .by_wire = large_by_wire, .plainly = large_plainly, .warm = 1 };
    const gboolean ok =
        measure_pair(bench, &pair, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", TRUE, error);
    if (ok)
        report_large(bench, &pair, "100 MB from another process over tcp of this host", "zeromq",
                     "the same with plain ZeroMQ (ROUTER, DEALER, sent in place)");
    pair_clear(&pair);
    return ok;
}
