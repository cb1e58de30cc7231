/* bench-profile.c: operations a second, their share of what the processor can do, memory, and the
 * table of operators. Measured after a case's own figures, so that those are of a plain loop. */
#include "bench-profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <tenon/base.h>
#include <tenon/profile.h>

#define LEAST_RUNS 10

/* --- Memory ----------------------------------------------------------------------------------- */

void
bench_forget_memory(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) { /* "5": the peak becomes what is resident now (proc(5)) */
        fputs("5", file);
        fclose(file);
    }
}

/* MiB; since bench_forget_memory, else since the process began. */
static double
peak_memory(void)
{
    struct rusage usage = { 0 };
    g_autofree char *text = NULL;
    if (g_file_get_contents("/proc/self/status", &text, NULL, NULL)) {
        const char *at = strstr(text, "VmHWM:");
        if (at)
            return g_ascii_strtod(at + strlen("VmHWM:"), NULL) / 1024; /* KiB */
    }
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

/* --- Operations ------------------------------------------------------------------------------- */

/* Once per process: 0 if it cannot be measured, which is said once. */
static double
peak(void)
{
    static double measured = -1;
    if (measured < 0) {
        g_autoptr(GError) error = NULL;
        measured = tn_measure_peak(&error);
        if (error)
            tn_log("bench", TN_LOG_WARN, "no share of the peak: %s", error->message);
    }
    return measured;
}

/* "215.5 GFLOP/s by the operators' own count, 88.2 % of …; 384 MiB resident at most" */
static void
remark(TnBench *bench, TnExec *exec, double seconds, double memory)
{
    guint unknown = 0;
    const double rate = tn_program_flops(tn_exec_program(exec), &unknown) / seconds;
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, "%.4g GFLOP/s by the operators' own count", rate * 1e-9);
    if (unknown)
        g_string_append_printf(text, " (%u instructions have none)", unknown);
    if (peak() > 0)
        g_string_append_printf(text, ", %.3g %% of the peak (%.4g, products of 1024 x 1024 f32)",
                               100 * rate / peak(), peak() * 1e-9);
    g_string_append_printf(text, "; %.4g MiB resident at most", memory);
    bench->remark(bench, text->str);
}

static gboolean
print_table(TnBench *bench, TnExec *exec, GError **error)
{
    g_autoptr(TnProfile) profile = tn_profile_new();
    const TnWatch *watch = tn_profile_watch(profile);
    const gint64 end = tn_time_ns() + (gint64)(bench->seconds * 1e9);
    TnStatus status = TN_OK;
    tn_profile_set_peak(profile, peak());
    tn_exec_watch(exec, watch->instruction, watch->data);
    tn_profile_start(profile);
    for (guint i = 0; status == TN_OK && (i < LEAST_RUNS || tn_time_ns() < end); i++)
        status = tn_exec_run(exec);
    tn_profile_stop(profile);
    tn_exec_watch(exec, NULL, NULL);
    if (status != TN_OK) {
        g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
        return FALSE;
    }
    g_autofree char *text = tn_profile_operators(profile);
    bench->print(bench, text);
    return TRUE;
}

gboolean
bench_report_program(TnBench *bench, TnExec *exec, double seconds, GError **error)
{
    const double memory = peak_memory(); /* before the peak's own matrices */
    remark(bench, exec, seconds, memory);
    return !bench->profile || print_table(bench, exec, error);
}
