/* job-verbs.c: loading a config for a verb, and taking a job to its end. */
#include "job-verbs.h"

#include <signal.h>
#include <string.h>

#include <tenon/pool.h>

gboolean
config_load(TnVerbCall *call, const ConfigOptions *options, const char *path, const char *kept,
            gint n_overrides, const char *const *overrides, LoadedConfig *loaded, GError **error)
{
    TnHostOptions host_options = { .trust = options->trust,
                                   .data_root = options->data_root,
                                   .kept = kept,
                                   .joins = options->joins };
    g_autoptr(TnFaults) faults = tn_faults_new();
    *loaded = (LoadedConfig){ NULL, NULL };
    if (options->threads)
        tn_pool_set_threads((guint)options->threads);
    loaded->host = tn_host_new(&host_options, error);
    if (!loaded->host)
        return FALSE;
    loaded->root = tn_host_load(loaded->host, path, n_overrides, overrides, faults);
    for (gsize i = 0; i < tn_faults_n_notices(faults); i++)
        fprintf(call->err, "tenon: notice: %s\n", tn_faults_notice_text(faults, i));
    for (gsize i = 0; i < tn_faults_count(faults); i++)
        fprintf(call->err, "%s\n", tn_faults_text(faults, i));
    if (loaded->root)
        return TRUE;
    gsize n = tn_faults_count(faults);
    fprintf(call->err, "tenon: %s: %zu fault%s\n", path, n, n == 1 ? "" : "s");
    return FALSE;
}

void
config_clear(LoadedConfig *loaded)
{
    if (loaded->root)
        tn_spec_unref(loaded->root);
    tn_host_free(loaded->host);
    *loaded = (LoadedConfig){ NULL, NULL };
}

/* --- Signals --------------------------------------------------------------------------------- */

static TnContext *signalled; /* of the running job; set while handlers are in place */

static void
ask_to_stop(int number)
{
    tn_context_cancel(signalled);
    signal(number, SIG_DFL); /* a second one ends the process at once */
}

void
job_watch_signals(TnContext *context, gboolean interrupts)
{
    struct sigaction action = { .sa_handler = context ? ask_to_stop : SIG_DFL };
    sigemptyset(&action.sa_mask);
    if (context)
        signalled = context;
    if (interrupts)
        sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* --- The end --------------------------------------------------------------------------------- */

/* job may be NULL: there is none yet, or none any more. */
static void
put_status(TnRunDir *run, const char *state, const TnJob *job, const TnValue *result,
           const char *message)
{
    g_autoptr(TnValue) status = tn_value_map();
    g_autoptr(TnValue) progress = job ? tn_job_progress(job) : tn_value_map();
    g_autoptr(GError) error = NULL;
    for (gsize i = 0; i < tn_value_len(progress); i++)
        tn_value_set(status, tn_value_key_at(progress, i), tn_value_copy(tn_value_at(progress, i)));
    tn_value_set(status, "time", tn_value_double((double)g_get_real_time() * 1e-6));
    tn_value_set(status, "state", tn_value_string(state));
    if (message)
        tn_value_set(status, "error", tn_value_string(message));
    if (result)
        tn_value_set(status, "result", tn_value_copy(result));
    if (!tn_run_put_json(run, "status.json", status, &error))
        tn_log("run", TN_LOG_WARN, "%s", error->message);
}

void
job_failed(TnRunDir *run, const GError *why)
{
    put_status(run, "failed", NULL, NULL, why->message);
    tn_log("run", TN_LOG_INFO, "failed: %s", why->message);
}

const char *
job_short_path(const char *path)
{
    g_autofree char *here = g_get_current_dir();
    gsize n = strlen(here);
    return strncmp(path, here, n) == 0 && path[n] == '/' ? path + n + 1 : path;
}

static void
print_result(TnVerbCall *call, const TnValue *result)
{
    for (gsize i = 0; i < tn_value_len(result); i++) {
        const TnValue *item = tn_value_at(result, i);
        TnValueType type = tn_value_type(item);
        if (type == TN_VALUE_DOUBLE)
            fprintf(call->out, "%-14s %.4f\n", tn_value_key_at(result, i),
                    tn_value_get_double(item));
        else if (type == TN_VALUE_INT)
            fprintf(call->out, "%-14s %" G_GINT64_FORMAT "\n", tn_value_key_at(result, i),
                    tn_value_get_int(item));
        else if (type == TN_VALUE_STRING)
            fprintf(call->out, "%-14s %s\n", tn_value_key_at(result, i), tn_value_get_string(item));
    }
}

/* Whether somebody has written events for TensorBoard into a run's folder. */
static gboolean
has_events(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name = NULL;
    while (dir && (name = g_dir_read_name(dir)))
        if (g_str_has_prefix(name, "events.out.tfevents."))
            return TRUE;
    return FALSE;
}

static void
print_end(TnVerbCall *call, TnRunDir *run, const TnValue *result, TnStatus status)
{
    const char *path = job_short_path(tn_run_path(run));
    if (call->json) {
        g_autoptr(TnValue) all = tn_value_map();
        tn_value_set(all, "run", tn_value_string(tn_run_path(run)));
        tn_value_set(all, "state", tn_value_string(status == TN_OK ? "done" : "stopped"));
        tn_value_set(all, "result", tn_value_copy(result));
        g_autofree char *text = tn_json_print(all, FALSE);
        fprintf(call->out, "%s\n", text);
        return;
    }
    print_result(call, result);
    fprintf(call->out, "%-14s %s\n", "run", path);
    if (status != TN_OK)
        fprintf(call->out, "%-14s tenon resume %s\n", "stopped; next", path);
    else if (has_events(tn_run_path(run)))
        fprintf(call->out, "%-14s tensorboard --logdir %s\n", "next", path);
}

gint
job_finish(TnVerbCall *call, TnJob *job, TnRunDir *run, const char *config, GError **error)
{
    GError *why = NULL;
    put_status(run, "running", job, NULL, NULL);
    job_watch_signals(tn_job_context(job), TRUE);
    TnStatus status = tn_job_run(job, &why);
    job_watch_signals(NULL, TRUE);
    g_autoptr(TnValue) result = tn_job_result(job);
    if (status == TN_OK || status == TN_CANCELLED) {
        g_clear_error(&why);
        put_status(run, status == TN_OK ? "done" : "stopped", job, result, NULL);
        print_end(call, run, result, status);
        return status == TN_OK ? 0 : 1;
    }
    if (!why)
        tn_status_set_error(&why, status, "%s", config);
    put_status(run, "failed", job, result, why->message);
    tn_log("run", TN_LOG_INFO, "failed: %s",
           why->message); /* the program prints it; this keeps it in the run's log */
    fprintf(call->err, "tenon: the run's folder is %s\n", job_short_path(tn_run_path(run)));
    g_propagate_error(error, why);
    return 1;
}
