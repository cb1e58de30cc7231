/* placed.c: a stage that runs in other processes, as its consumer sees it: who they are, who joins,
 * leaves and is replaced. What they are asked for is the business of one of three ways: frames by number
 * (placed-frames.c), requests (placed-requests.c), the latest version (placed-latest.c). */
#include "stage/placed-private.h"

#include <stdio.h>
#include <string.h>

#include <tenon/run.h>

#include "stage/process.h"

#define SLICE_MS 50      /* between two looks at processes */
#define GRACE_MS 1500    /* for a process that is there, but whose connection was lost */
#define AHEAD 2          /* frames asked ahead of each process, unless `queue` says otherwise */
#define LEAST_TAKEN 16   /* events that are taken at once, if there are so many */
#define MOST_LOSSES 20   /* of each process, likewise */
#define MOST_ENDS 5      /* of each process, without a frame in between */
#define PATIENCE_MS 1000 /* for processes to end by themselves */
#define MOST_BYTES ((gsize)1 << 30) /* of one tensor between processes */
#define TCP_WORKERS 8 /* that a tcp place is ready for, unless `workers` or `queue` say otherwise */

/* A process that this one starts. */
struct TnSeat {
    TnProcess *process;
    gint64 began; /* monotonic ms */
    gboolean
        joined; /* once; until then it opens files and compiles, for whatever time that takes */
};
typedef struct TnSeat Seat;
typedef TnPlacedWorker Worker;

static gint64
now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

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

/* --- Processes ------------------------------------------------------------------------------------- */

static gboolean
start(TnPlaced *placed, Seat *seat, GError **error)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; placed->placing->launch[i]; i++)
        g_ptr_array_add(words, g_strdup(placed->placing->launch[i]));
    g_ptr_array_add(words, g_strdup_printf("--stage=%s", placed->name));
    g_ptr_array_add(words, g_strdup_printf("--connect=%s", tn_wire_url(placed->wire)));
    g_ptr_array_add(words, NULL);
    *seat = (Seat){ tn_process_start((const char *const *)words->pdata, error), now_ms(), FALSE };
    return seat->process != NULL;
}

/* The process of ours that has this number; NULL: none. */
static Seat *
find_seat(const TnPlaced *placed, gint64 pid)
{
    for (guint i = 0; i < placed->n_seats; i++)
        if (placed->seats[i].process && tn_process_pid(placed->seats[i].process) == pid)
            return &placed->seats[i];
    return NULL;
}

/* A process of ours has ended: begun anew, where that was asked for and can help. */
static gboolean
replace(TnPlaced *placed, Seat *seat)
{
    const gint pid = tn_process_pid(seat->process);
    const gint code = tn_process_code(seat->process);
    g_autofree char *fate = tn_process_fate(seat->process);
    g_autoptr(GError) error = NULL;
    tn_process_free(g_steal_pointer(&seat->process), 0);
    /* What ends by itself before it has begun would do so again. */
    if (!placed->known && !(code < 0 && placed->common->restart))
        return tn_placed_fail(placed, code == 2 ? TN_ERROR_CONFIG : TN_ERROR_FAILED,
                              "its process %d ended before it had begun: %s; what it said is above",
                              pid, fate);
    if (!placed->common->restart)
        return tn_placed_fail(
            placed, TN_ERROR_FAILED,
            "its process %d ended: %s; with restart = true it would be started again", pid, fate);
    if (++placed->ends > MOST_ENDS * placed->n_seats)
        return tn_placed_fail(placed, TN_ERROR_FAILED,
                              "its process ended %u times without a frame in between, at last: %s",
                              placed->ends, fate);
    tn_log("stage", TN_LOG_WARN, "stage '%s': process %d ended: %s; it is started again",
           placed->name, pid, fate);
    atomic_fetch_add(&placed->restarts, 1);
    if (!start(placed, seat, &error))
        return tn_placed_fail(placed, TN_ERROR_FAILED, "%s", error->message);
    return TRUE;
}

static gboolean
look_at_processes(TnPlaced *placed)
{
    for (guint i = 0; i < placed->n_seats; i++)
        if (placed->seats[i].process && tn_process_ended(placed->seats[i].process) &&
            !replace(placed, &placed->seats[i]))
            return FALSE;
    return TRUE;
}

static gint64
timeout_ms(const TnPlaced *placed)
{
    return (gint64)(placed->common->timeout * 1000);
}

/* Processes that are there, but whose connection was lost: they have stopped answering. One that was
 * begun anew has its time to join. */
static gboolean
end_silent(TnPlaced *placed)
{
    for (guint i = 0; i < placed->n_seats; i++) {
        const Seat *seat = &placed->seats[i];
        gboolean there = !seat->joined && now_ms() - seat->began < timeout_ms(placed);
        for (guint k = 0; k < placed->workers->len; k++)
            there = there ||
                    g_array_index(placed->workers, Worker, k).pid == tn_process_pid(seat->process);
        if (!there)
            tn_process_kill(seat->process);
    }
    return look_at_processes(placed);
}

/* Somebody left, and nobody has come instead for a while. */
static gboolean
look_at_losses(TnPlaced *placed)
{
    if (placed->workers->len >= MAX(placed->n_seats, 1))
        placed->lost_at = 0; /* there is somebody instead */
    if (!placed->lost_at)
        return TRUE;
    const gint64 since = now_ms() - placed->lost_at;
    if (since < GRACE_MS)
        return TRUE;
    if (!placed->common->restart)
        return tn_placed_fail(placed, TN_ERROR_FAILED, "%s", placed->lost_how);
    if (placed->n_seats) {
        placed->lost_at = now_ms();
        return end_silent(placed);
    }
    if (since > timeout_ms(placed))
        return tn_placed_fail(placed, TN_ERROR_FAILED, "%s, and nobody has joined for %g s",
                              placed->lost_how, placed->common->timeout);
    return TRUE;
}

/* --- Who joins and leaves -------------------------------------------------------------------------- */

static Worker *
find_worker(TnPlaced *placed, guint id)
{
    for (guint i = 0; i < placed->workers->len; i++)
        if (g_array_index(placed->workers, Worker, i).id == id)
            return &g_array_index(placed->workers, Worker, i);
    return NULL;
}

static void
clear_worker(gpointer data)
{
    g_free(((Worker *)data)->where);
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

static void
take_joined(TnPlaced *placed, const TnWireEvent *event)
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
    Seat *seat = find_seat(placed, worker.pid);
    if (seat)
        seat->joined = TRUE;
    if (placed->pool)
        tn_wire_pool_add(placed->pool, event->peer);
    tn_log("stage", TN_LOG_INFO, "stage '%s': process %" G_GINT64_FORMAT " on %s has joined",
           placed->name, worker.pid, worker.where);
}

static void
take_left(TnPlaced *placed, const TnWireEvent *event)
{
    Worker *worker = find_worker(placed, event->peer);
    if (!worker) /* it was refused */
        return;
    g_free(placed->lost_how);
    placed->lost_how = g_strdup_printf("its process %" G_GINT64_FORMAT " on %s has gone: %s%s",
                                       worker->pid, worker->where, event->text,
                                       worker->ours || placed->common->restart
                                           ? ""
                                           : "; with restart = true another may join instead");
    if (++placed->losses > MOST_LOSSES * MAX(placed->n_seats, 1))
        tn_placed_fail(placed, TN_ERROR_FAILED,
                       "its connection was lost %u times without a frame in between",
                       placed->losses);
    placed->lost_at = now_ms();
    tn_log("stage", TN_LOG_WARN, "stage '%s': %s", placed->name, placed->lost_how);
    pthread_mutex_lock(&placed->watched);
    g_array_remove_index(placed->workers,
                         (guint)(worker - &g_array_index(placed->workers, Worker, 0)));
    pthread_mutex_unlock(&placed->watched);
}

/* --- Pulling --------------------------------------------------------------------------------------- */

static void
take_event(TnPlaced *placed, TnWireEvent *event)
{
    if (placed->known && placed->way->take(placed, event))
        ; /* it was an answer */
    else if (event->kind == TN_WIRE_JOINED)
        take_joined(placed, event);
    else if (event->kind == TN_WIRE_LEFT)
        take_left(placed, event);
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
    return !placed->failed && look_at_processes(placed) && look_at_losses(placed) ? TN_OK
                                                                                  : TN_FAILED;
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
    const gint64 end = now_ms() + timeout_ms(placed);
    if (!placed->n_seats)
        say_how_to_join(placed);
    while (!placed->known) {
        const TnStatus status = go_on(placed, SLICE_MS);
        if (status == TN_CANCELLED)
            return tn_placed_fail(placed, TN_ERROR_CANCELLED, "nobody has joined yet");
        if (status != TN_OK)
            return FALSE;
        if (now_ms() > end)
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
    gboolean ok = placed->wire != NULL;
    if (ok && g_str_has_prefix(common->place, "ipc")) {
        placed->n_seats = (guint)MAX(common->workers, 1);
        placed->seats = g_new0(Seat, placed->n_seats);
    }
    for (guint i = 0; ok && i < placed->n_seats; i++)
        ok = start(placed, &placed->seats[i], error);
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
    const gint64 patience = now_ms() + PATIENCE_MS; /* of all together */
    for (guint i = 0; i < placed->n_seats; i++)
        tn_process_free(placed->seats[i].process, (gint)MAX(patience - now_ms(), 0));
    g_array_unref(placed->workers);
    pthread_mutex_destroy(&placed->watched);
    tn_value_unref(placed->about);
    tn_context_unref(placed->context);
    g_clear_error(&placed->error);
    g_free(placed->lost_how);
    g_free(placed->seats);
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

/* --- Watching -------------------------------------------------------------------------------------- */

static TnValue *
workers_value(TnPlaced *placed)
{
    TnValue *list = tn_value_list();
    pthread_mutex_lock(&placed->watched);
    for (guint i = 0; i < placed->workers->len; i++) {
        const Worker *worker = &g_array_index(placed->workers, Worker, i);
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
