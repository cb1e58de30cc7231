/* profiling.c: --profile of verbs that run a job. */
#include "profiling.h"

TnProfile *
profiling_begin(TnVerbCall *call, TnHost *host)
{
    g_autoptr(GError) error = NULL;
    TnProfile *profile = tn_profile_new();
    const double peak = tn_measure_peak(&error);
    if (error)
        fprintf(call->err, "tenon: the profile shows no shares of the peak: %s\n", error->message);
    tn_profile_set_peak(profile, peak);
    tn_host_set_watch(host, tn_profile_watch(profile));
    tn_profile_start(profile);
    return profile;
}

void
profiling_end(TnVerbCall *call, TnProfile *profile, TnJob *job, TnRunDir *run)
{
    g_autoptr(GError) error = NULL;
    /* Standard output is one JSON value with --json. */
    FILE *out = call->json ? call->err : call->out;
    const char *path = job_short_path(tn_run_path(run));
    tn_profile_stop(profile);
    if (tn_profile_write(profile, tn_job_context(job), run, &error)) {
        fprintf(out, "%-14s %s/%s\n", "profile", path, TN_PROFILE_TEXT);
        fprintf(out, "%-14s %s/%s (ui.perfetto.dev, chrome://tracing)\n", "trace", path,
                TN_PROFILE_TRACE);
    } else {
        fprintf(call->err, "tenon: no profile: %s\n", error->message);
    }
}
