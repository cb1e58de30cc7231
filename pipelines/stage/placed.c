/* placed.c: a stage that runs in other processes, as its consumer sees it.
 *
 * The consumer asks for frames by number, a few ahead of its need, each of whichever process has least
 * to do, and takes them in order. So order, back-pressure and loss are one thing: what a lost process
 * was asked for is asked of another. A frame is a pure function of its number, so nothing else of it
 * matters, and a restarted process is told nothing but the next number.
 *
 * Frames of an asynchronous stage have no numbers of their own: each process is asked for its next one,
 * and they are taken in the order in which they come. */
#include "stage/placed.h"

#include <stdio.h>
#include <string.h>

#include <tenon/run.h>
#include <tenon/wire.h>

#include "stage/process.h"

#define SLICE_MS 50      /* between two looks at processes */
#define GRACE_MS 1500    /* for a process that is there, but whose connection was lost */
#define AHEAD 2          /* frames asked ahead of each process, unless `queue` says otherwise */
#define MOST_LOSSES 20   /* of each process, likewise */
#define MOST_ENDS 5      /* of each process, without a frame in between */
#define PATIENCE_MS 1000 /* for processes to end by themselves */
#define MOST_BYTES ((gsize)1 << 30) /* of one tensor between processes */
#define TCP_WORKERS 8 /* that a tcp place is ready for, unless `workers` or `queue` say otherwise */

typedef enum { OPEN, ASKED, READY } SlotState;

typedef struct {
    SlotState state;
    guint64
        topic; /* what is asked for: the frame's number; of an asynchronous stage just the ask's */
    guint64 came; /* the how manieth answer it was */
    TnMade made;
} Slot;

/* Somebody who has joined. */
typedef struct {
    guint id;
    gint64 pid; /* as it says */
    char *where;
    gboolean ours; /* started by this process */
} Worker;

/* A process that this one starts. */
typedef struct {
    TnProcess *process;
    gint64 began; /* monotonic ms */
    gboolean
        joined; /* once; until then it opens files and compiles, for whatever time that takes */
} Seat;

struct TnPlaced {
    char *name;
    const TnStageCommon *common;
    const TnPlacing *placing;
    TnContext *context;
    TnWire *wire;
    TnWirePool *pool; /* of who has joined */
    TnSchema schema;
    TnValue *about; /* what the first process said of itself */
    gboolean known; /* about and schema are there */
    guint n_slots;  /* frames that may be under way or wait */
    Slot *slots;    /* what is asked for as topic is in slot topic % n_slots */
    guint64 next;   /* number of the frame that is given next */
    guint64 answers;
    gboolean async;
    GArray *workers;
    guint n_seats; /* processes of ours */
    Seat *seats;
    guint ends, losses; /* of them, and of connections, since the last frame */
    /* for those who watch, on any thread */
    pthread_mutex_t watched; /* held while workers change */
    atomic_ullong frames, waited_us, restarts;
    atomic_uint ready;
    gint64 lost_at; /* monotonic ms: somebody left and was not replaced; 0: nobody */
    char *lost_how;
    GError *error; /* told once */
    gboolean failed;
};

static gint64
now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

static gboolean
fail(TnPlaced *placed, TnErrorCode code, const char *format, ...)
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
        return fail(placed, code == 2 ? TN_ERROR_CONFIG : TN_ERROR_FAILED,
                    "its process %d ended before it had begun: %s; what it said is above", pid,
                    fate);
    if (!placed->common->restart)
        return fail(placed, TN_ERROR_FAILED,
                    "its process %d ended: %s; with restart = true it would be started again", pid,
                    fate);
    if (++placed->ends > MOST_ENDS * placed->n_seats)
        return fail(placed, TN_ERROR_FAILED,
                    "its process ended %u times without a frame in between, at last: %s",
                    placed->ends, fate);
    tn_log("stage", TN_LOG_WARN, "stage '%s': process %d ended: %s; it is started again",
           placed->name, pid, fate);
    atomic_fetch_add(&placed->restarts, 1);
    if (!start(placed, seat, &error))
        return fail(placed, TN_ERROR_FAILED, "%s", error->message);
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
        return fail(placed, TN_ERROR_FAILED, "%s", placed->lost_how);
    if (placed->n_seats) {
        placed->lost_at = now_ms();
        return end_silent(placed);
    }
    if (since > timeout_ms(placed))
        return fail(placed, TN_ERROR_FAILED, "%s, and nobody has joined for %g s", placed->lost_how,
                    placed->common->timeout);
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

static guint
window(const TnPlaced *placed)
{
    const TnStageCommon *common = placed->common;
    const gint64 workers = common->workers ? common->workers : placed->n_seats ? 1 : TCP_WORKERS;
    const guint64 bytes = MAX(tn_schema_bytes(&placed->schema), 1);
    const guint64 frames = common->queue ? (guint64)common->queue : AHEAD * (guint64)workers + 1;
    return (guint)CLAMP(common->queue_bytes / bytes, 1, frames);
}

/* The first one says what the stage gives. */
static gboolean
learn(TnPlaced *placed, const TnValue *hello)
{
    const TnValue *schema = tn_value_get(hello, "schema"), *data = tn_value_get(hello, "data");
    if (!schema || !data || tn_value_type(data) != TN_VALUE_MAP ||
        !tn_schema_from_value(schema, &placed->schema))
        return FALSE;
    for (guint i = 0; i < placed->schema.n; i++)
        if (tn_type_bytes(&placed->schema.types[i]) > (gint64)MOST_BYTES)
            return fail(placed, TN_ERROR_UNSUPPORTED,
                        "its field '%s' has %" G_GINT64_FORMAT " bytes a frame; up to %zu travel "
                        "between processes: take a smaller batch, or leave `place` out",
                        placed->schema.names[i], tn_type_bytes(&placed->schema.types[i]),
                        MOST_BYTES);
    placed->about = tn_value_copy(hello);
    placed->n_slots = window(placed);
    placed->slots = g_new0(Slot, placed->n_slots);
    for (guint i = 0; i < placed->n_slots; i++)
        placed->slots[i].topic = i;
    placed->pool = tn_wire_pool_new(placed->wire, placed->n_slots);
    placed->known = TRUE;
    return TRUE;
}

/* What the newcomer reads must be what the first one reads, and give the same. */
static char *
difference(const TnPlaced *placed, const TnValue *hello)
{
    static const char *const keys[] = { "schema", "data" };
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        const TnValue *mine = tn_value_get(placed->about, keys[i]);
        const TnValue *theirs = tn_value_get(hello, keys[i]);
        if (theirs && tn_value_equal(mine, theirs))
            continue;
        g_autofree char *a = tn_json_print(mine, FALSE);
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
        tn_wire_refuse(placed->wire, event->peer, "its hello does not say what the stage gives");
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
        fail(placed, TN_ERROR_FAILED, "its connection was lost %u times without a frame in between",
             placed->losses);
    placed->lost_at = now_ms();
    tn_log("stage", TN_LOG_WARN, "stage '%s': %s", placed->name, placed->lost_how);
    pthread_mutex_lock(&placed->watched);
    g_array_remove_index(placed->workers,
                         (guint)(worker - &g_array_index(placed->workers, Worker, 0)));
    pthread_mutex_unlock(&placed->watched);
}

/* --- Frames ---------------------------------------------------------------------------------------- */

/* Whether tensors are what the edge carries: the batch's size, the first of all, may be smaller at the
 * end of an epoch. */
static gboolean
fits(const TnSchema *schema, const TnWireEvent *event)
{
    if (event->n != schema->n)
        return FALSE;
    for (guint i = 0; i < event->n; i++) {
        const TnType *type = tn_tensor_type(event->tensors[i]);
        const TnType *wanted = &schema->types[i];
        if (type->dtype != wanted->dtype || type->rank != wanted->rank)
            return FALSE;
        for (gint k = 0; k < type->rank; k++)
            if (type->dims[k] > wanted->dims[k] || (k > 0 && type->dims[k] != wanted->dims[k]))
                return FALSE;
    }
    return TRUE;
}

/* An answer to what was asked by the frame's number. */
static void
take_answer(TnPlaced *placed, TnWireEvent *event)
{
    Slot *slot = &placed->slots[event->topic % placed->n_slots];
    slot->state = READY;
    slot->came = ++placed->answers;
    atomic_fetch_add(&placed->ready, 1);
    slot->made = (TnMade){ TN_OK, NULL, NULL };
    if (event->kind == TN_WIRE_FAILED) {
        slot->made.status = event->status == TN_EOS ? TN_EOS : TN_FAILED;
        if (slot->made.status == TN_FAILED)
            g_set_error(&slot->made.error, TN_ERROR, TN_ERROR_FAILED, "%s",
                        event->text ? event->text : "it does not say why");
    } else if (!fits(&placed->schema, event)) {
        slot->made.status = TN_FAILED;
        g_set_error(&slot->made.error, TN_ERROR, TN_ERROR_CORRUPT,
                    "stage '%s' at %s: a frame is not what the stage said it gives", placed->name,
                    tn_wire_url(placed->wire));
    } else {
        slot->made.frame = tn_frame_new(event->topic, event->n);
        for (guint i = 0; i < event->n; i++)
            tn_frame_set(slot->made.frame, i, event->tensors[i]);
        event->n = 0;
    }
}

/* Asks for whatever may be under way and is not. */
static void
ask_ahead(TnPlaced *placed)
{
    for (guint i = 0; i < placed->n_slots; i++) {
        const guint64 seq = placed->next + i;
        Slot *slot = &placed->slots[seq % placed->n_slots];
        if (slot->state != OPEN)
            continue;
        slot->state = ASKED;
        slot->topic = placed->async ? slot->topic + placed->n_slots : seq;
        tn_wire_pool_ask(placed->pool, slot->topic, 0, NULL, 0);
    }
}

/* The slot whose frame is next, if it is there. */
static Slot *
next_slot(TnPlaced *placed)
{
    Slot *first = placed->async ? NULL : &placed->slots[placed->next % placed->n_slots];
    for (guint i = 0; placed->async && i < placed->n_slots; i++) {
        Slot *slot = &placed->slots[i];
        if (slot->state == READY && (!first || slot->came < first->came))
            first = slot;
    }
    return first && first->state == READY ? first : NULL;
}

/* --- Pulling --------------------------------------------------------------------------------------- */

static void
take_event(TnPlaced *placed, TnWireEvent *event)
{
    if (placed->pool && tn_wire_pool_take(placed->pool, event))
        take_answer(placed, event);
    else if (event->kind == TN_WIRE_JOINED)
        take_joined(placed, event);
    else if (event->kind == TN_WIRE_LEFT)
        take_left(placed, event);
    else if (event->kind == TN_WIRE_ASKED)
        tn_wire_refuse(placed->wire, event->peer, "a stage asks nothing of its consumer");
    tn_wire_event_clear(event);
}

/* What happens within so many milliseconds. TN_OK, TN_CANCELLED, TN_FAILED. */
static TnStatus
go_on(TnPlaced *placed, gint wait_ms)
{
    TnWireEvent event;
    TnStatus status = tn_wire_next(placed->wire, wait_ms, &event);
    while (status == TN_OK) {
        take_event(placed, &event);
        status = tn_wire_next(placed->wire, 0, &event);
    }
    if (status == TN_FAILED)
        fail(placed, TN_ERROR_FAILED, "%s", tn_wire_error(placed->wire)->message);
    if (status == TN_CANCELLED)
        return status;
    return !placed->failed && look_at_processes(placed) && look_at_losses(placed) ? TN_OK
                                                                                  : TN_FAILED;
}

static TnMade
take_slot(TnPlaced *placed, Slot *slot)
{
    TnMade made = slot->made;
    if (made.status != TN_OK) { /* an end or failure stays for the next pull, but is told once */
        slot->made.error = NULL;
        return made;
    }
    tn_frame_set_seq(made.frame, placed->next);
    *slot = (Slot){ .state = OPEN, .topic = slot->topic };
    placed->next++;
    atomic_fetch_add(&placed->frames, 1);
    atomic_fetch_sub(&placed->ready, 1);
    placed->ends = placed->losses = 0;
    ask_ahead(placed);
    return made;
}

TnMade
tn_placed_pull(TnPlaced *placed, guint64 seq, gboolean wait)
{
    TnStatus status = TN_OK;
    if (placed->next != seq)
        tn_placed_forget(placed);
    placed->next = seq;
    for (gboolean looked = FALSE; status == TN_OK; looked = TRUE) {
        Slot *slot = next_slot(placed);
        if (slot)
            return take_slot(placed, slot);
        if (looked && !wait)
            return (TnMade){ TN_AGAIN, NULL, NULL };
        ask_ahead(placed);
        const gint64 began = g_get_monotonic_time();
        status = go_on(placed, looked ? SLICE_MS : 0);
        if (looked)
            atomic_fetch_add(&placed->waited_us, (guint64)(g_get_monotonic_time() - began));
    }
    return (TnMade){ status, NULL, g_steal_pointer(&placed->error) };
}

void
tn_placed_forget(TnPlaced *placed)
{
    if (placed->async) /* nothing of it can be had again */
        return;
    for (guint i = 0; i < placed->n_slots; i++) {
        Slot *slot = &placed->slots[i];
        tn_frame_unref(slot->made.frame);
        g_clear_error(&slot->made.error);
        *slot = (Slot){ .state = OPEN };
    }
    atomic_store(&placed->ready, 0);
    tn_wire_pool_forget(placed->pool);
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
            return fail(placed, TN_ERROR_CANCELLED, "nobody has joined yet");
        if (status != TN_OK)
            return FALSE;
        if (now_ms() > end)
            return fail(placed, TN_ERROR_FAILED, "nobody has joined for %g s (timeout)",
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
tn_placed_new(const char *name, gboolean async, const TnStageCommon *common,
              const TnPlacing *placing, TnContext *context, GError **error)
{
    TnPlaced *placed = g_new0(TnPlaced, 1);
    placed->name = g_strdup(name);
    placed->async = async;
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
    for (guint i = 0; i < placed->n_slots; i++) {
        tn_frame_unref(placed->slots[i].made.frame);
        g_clear_error(&placed->slots[i].made.error);
    }
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
    g_free(placed->slots);
    g_free(placed->name);
    g_free(placed);
}

const TnSchema *
tn_placed_schema(const TnPlaced *placed)
{
    return &placed->schema;
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
    tn_value_set(map, "queue_most", tn_value_int(placed->n_slots));
    tn_value_set(map, "seconds_waited", tn_value_double((double)placed->waited_us * 1e-6));
    tn_value_set(map, "wire", wire_value(placed));
    return map;
}
