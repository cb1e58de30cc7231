/* bench-turns.c: see bench-turns.h. */
#include "bench-turns.h"

#include "bench-timing.h"

#define TURN_SECONDS 4e-3 /* of one turn, or one run where that takes longer */
#define LEAST_TURNS 5

static gboolean
run_times(TnExec *exec, guint runs, double *took, GError **error)
{
    const double begin = bench_now();
    for (guint i = 0; i < runs; i++) {
        if (tn_exec_run(exec) != TN_OK) {
            g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
            return FALSE;
        }
    }
    *took = (bench_now() - begin) / runs;
    return TRUE;
}

gboolean
bench_take_turns(TnExec *const exec[2], double seconds, double *one, double *share, GError **error)
{
    g_autoptr(GArray) times = bench_times();
    g_autoptr(GArray) shares = bench_times();
    double took[2], first;
    for (guint i = 0; i < 2; i++)
        if (!run_times(exec[i], 2, &first, error) || !run_times(exec[i], 1, &first, error))
            return FALSE;
    const guint runs = (guint)CLAMP(TURN_SECONDS / MAX(first, 1e-7), 1, 100000);
    const double end = bench_now() + seconds;
    for (guint turn = 0; turn < LEAST_TURNS || bench_now() < end; turn++) {
        for (guint i = 0; i < 2; i++) {
            const guint which = (turn + i) % 2;
            if (!run_times(exec[which], runs, &took[which], error))
                return FALSE;
        }
        const double each = took[1] / took[0];
        g_array_append_val(times, took[0]);
        g_array_append_val(shares, each);
    }
    *one = bench_median(times);
    *share = bench_median(shares);
    return TRUE;
}
