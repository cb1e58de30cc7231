/* placed-processes.c: the processes that this one starts for a stage: begun, watched, begun anew, or ended
 * when their connection was lost. */
#include "stage/placed-private.h"

#include <tenon/run.h>

#include "stage/process.h"

#define GRACE_MS 1500    /* for a process that is there, but whose connection was lost */
#define MOST_ENDS 5      /* of each process, without a frame in between */
#define PATIENCE_MS 1000 /* for processes to end by themselves */

/* A process that this one starts. */
struct TnSeat {
    TnProcess *process;
    gint64 began; /* monotonic ms */
    gboolean
        joined; /* once; until then it opens files and compiles, for whatever time that takes */
};
typedef struct TnSeat Seat;

static gboolean
start(TnPlaced *placed, Seat *seat, GError **error)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; placed->placing->launch[i]; i++)
        g_ptr_array_add(words, g_strdup(placed->placing->launch[i]));
    g_ptr_array_add(words, g_strdup_printf("--stage=%s", placed->name));
    g_ptr_array_add(words, g_strdup_printf("--connect=%s", tn_wire_url(placed->wire)));
    g_ptr_array_add(words, NULL);
    *seat =
        (Seat){ tn_process_start((const char *const *)words->pdata, error), tn_now_ms(), FALSE };
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

/* Processes that are there, but whose connection was lost: they have stopped answering. One that was
 * begun anew has its time to join. */
static gboolean
end_silent(TnPlaced *placed)
{
    for (guint i = 0; i < placed->n_seats; i++) {
        const Seat *seat = &placed->seats[i];
        gboolean there = !seat->joined && tn_now_ms() - seat->began < tn_placed_timeout_ms(placed);
        for (guint k = 0; k < placed->workers->len; k++)
            there = there || g_array_index(placed->workers, TnPlacedWorker, k).pid ==
                                 tn_process_pid(seat->process);
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
    const gint64 since = tn_now_ms() - placed->lost_at;
    if (since < GRACE_MS)
        return TRUE;
    if (!placed->common->restart)
        return tn_placed_fail(placed, TN_ERROR_FAILED, "%s", placed->lost_how);
    if (placed->n_seats) {
        placed->lost_at = tn_now_ms();
        return end_silent(placed);
    }
    if (since > tn_placed_timeout_ms(placed))
        return tn_placed_fail(placed, TN_ERROR_FAILED, "%s, and nobody has joined for %g s",
                              placed->lost_how, placed->common->timeout);
    return TRUE;
}

gboolean
tn_placed_look(TnPlaced *placed)
{
    return look_at_processes(placed) && look_at_losses(placed);
}

void
tn_placed_seat_joined(TnPlaced *placed, gint64 pid)
{
    Seat *seat = find_seat(placed, pid);
    if (seat)
        seat->joined = TRUE;
}

gboolean
tn_placed_start(TnPlaced *placed, GError **error)
{
    if (!g_str_has_prefix(placed->common->place, "ipc"))
        return TRUE;
    placed->n_seats = (guint)MAX(placed->common->workers, 1);
    placed->seats = g_new0(Seat, placed->n_seats);
    for (guint i = 0; i < placed->n_seats; i++)
        if (!start(placed, &placed->seats[i], error))
            return FALSE;
    return TRUE;
}

void
tn_placed_end(TnPlaced *placed)
{
    const gint64 patience = tn_now_ms() + PATIENCE_MS; /* of all together */
    for (guint i = 0; i < placed->n_seats; i++)
        tn_process_free(placed->seats[i].process, (gint)MAX(patience - tn_now_ms(), 0));
    g_free(placed->seats);
}
