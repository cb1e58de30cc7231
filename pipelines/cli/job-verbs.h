/* job-verbs.h: what the verbs that load a config share: options, loading with all faults told,
 * ending. */
#pragma once

#include <tenon/base.h>
#include <tenon/host.h>
#include <tenon/plugin.h>

/* First member of those verbs' option structs. */
typedef struct {
    const char *data_root;
    gboolean trust;
    gint64 threads;
    gboolean joins; /* no option: as in TnHostOptions */
} ConfigOptions;

#define CONFIG_ROWS(Struct, member)                                                                \
    { .name = "data-root",                                                                         \
      .type = TN_OPT_STRING,                                                                       \
      .flags = TN_OPTION_NULLABLE,                                                                 \
      .offset = G_STRUCT_OFFSET(Struct, member.data_root),                                         \
      .help = "folder where tn.data looks" },                                                      \
        { .name = "trust",                                                                         \
          .type = TN_OPT_BOOL,                                                                     \
          .offset = G_STRUCT_OFFSET(Struct, member.trust),                                         \
          .help = "lift the config's sandbox: it may run commands and write files" },              \
    {                                                                                              \
        .name = "threads", .type = TN_OPT_INT64,                                                   \
        .offset = G_STRUCT_OFFSET(Struct, member.threads), .dflt = "0", TN_RANGE_I(0, 256),        \
        .help = "threads that compute; 0: TENON_THREADS, else the processors at hand"              \
    }

#define RUNS_ROW(Struct, member)                                                                   \
    {                                                                                              \
        .name = "runs", .type = TN_OPT_STRING, .flags = TN_OPTION_NULLABLE,                        \
        .offset = G_STRUCT_OFFSET(Struct, member),                                                 \
        .help = "folder of run folders; else TENON_RUNS, else ./runs"                              \
    }

/* A config as loaded, checked. */
typedef struct {
    TnHost *host;
    TnSpec *root;
} LoadedConfig;

/* Loads and checks; prints every fault to call->err. FALSE: exit code 2 (with *error if it is more
 * than faults). kept as in TnHostOptions. */
gboolean config_load(TnVerbCall *call, const ConfigOptions *options, const char *path,
                     const char *kept, gint n_overrides, const char *const *overrides,
                     LoadedConfig *loaded, GError **error);
void config_clear(LoadedConfig *loaded);

/* From now on SIGTERM, and SIGINT with interrupts, ask the context's job to stop; a second one ends the
 * process. context NULL: they end it again. */
void job_watch_signals(TnContext *context, gboolean interrupts);

/* Runs a prepared job to its end with SIGINT and SIGTERM asking it to stop, writes status.json,
 * tells the end. Returns the exit code. */
gint job_finish(TnVerbCall *call, TnJob *job, TnRunDir *run, const char *config, GError **error);

/* A path as somebody would type it from here. (transfer none): part of path. */
const char *job_short_path(const char *path);

/* Marks a run that could not even begin; *why says how. */
void job_failed(TnRunDir *run, const GError *why);
