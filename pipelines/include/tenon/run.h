/* run.h: the run folder: what is kept of a run, and how it goes on after the process died.
 *
 * runs/NAME/TIME-ID/ holds
 *   config.lua          the config file as given
 *   sources.json, modules/, files/   what else the config was made of (tn_host_keep)
 *   resolved.lua        the resolved tree
 *   settings.json       config's path, data root, trust, overrides: of the first run and of resumes
 *   provenance.json     command line, versions, plugins and digests, kernels chosen (resumes choose
 *                       the same), host, devices, seed, data fingerprints, commit
 *   checkpoints/STEP.safetensors   variables; their metadata holds the state as JSON, so that one
 *                       rename makes it whole
 *   metrics.jsonl       {"name", "step", "time", "value"} a line
 *   log.txt             the log
 *   events.out.tfevents…   TensorBoard's
 *   status.json         running | done | failed | stopped, step, epoch, last metrics; while it runs,
 *                       written when it logs, at most once a second
 *   profile.txt, trace.json   with --profile: where time and memory went (profile.h)
 *   lock                held by the one writer (flock) */
#pragma once

#include <tenon/context.h>
#include <tenon/cost.h>
#include <tenon/store.h>
#include <tenon/value.h>

G_BEGIN_DECLS

typedef struct TnRunDir TnRunDir;

/* Where runs are: --runs, TENON_RUNS, else ./runs. (transfer full). */
TN_API char *tn_runs_root(const char *option);
/* Makes root/NAME/TIME-ID and takes its lock. (transfer full). */
TN_API TnRunDir *tn_run_create(const char *root, const char *name, GError **error);
/* Opens an existing one for writing (TN_ERROR_BUSY names the process that has it) or for reading.
 * path: the folder, or NAME, or NAME/TIME-ID under root (NAME alone: its newest). */
TN_API TnRunDir *tn_run_open(const char *root, const char *path, gboolean write, GError **error);
TN_API void tn_run_close(TnRunDir *run);
/* Whether some process writes it now. */
TN_API gboolean tn_run_is_held(const TnRunDir *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnRunDir, tn_run_close)
TN_API const char *tn_run_path(const TnRunDir *run);
/* Writes a file of the folder whole; it does not wait for the disk, as checkpoints do. */
TN_API gboolean tn_run_put(TnRunDir *run, const char *name, const char *text, GError **error);
TN_API gboolean tn_run_put_json(TnRunDir *run, const char *name, const TnValue *value,
                                GError **error);
TN_API TnValue *tn_run_get_json(TnRunDir *run, const char *name,
                                GError **error); /* (transfer full) */
/* A line of metrics.jsonl. Buffered; flushed with every checkpoint and once a second. */
TN_API gboolean tn_run_metric(TnRunDir *run, const char *name, guint64 step, double value,
                              GError **error);
/* Removes the lines of steps beyond step (-1: all), which a run that goes on from there writes
 * again; the file is replaced whole. run is open for writing. TN_ERROR_IO. */
TN_API gboolean tn_run_drop_metrics(TnRunDir *run, gint64 step, GError **error);
#define TN_PROVENANCE "provenance.json"
/* In it: TnCompile's `chosen` of all graphs, at the sizes they were built with. */
#define TN_PROVENANCE_CHOICES "kernel_choices"
#define TN_RUN_COSTS                                                                               \
    "costs.json" /* the measured times that its kernels were chosen by; absent: none */
#define TN_PROVENANCE_COSTS "kernel_costs" /* digest of the table of TN_RUN_COSTS; absent: none */
#define TN_PROVENANCE_PLACED "placed_kernel_choices" /* {stage: the same of its own process} */
/* The part of the provenance that says what computes: {version, devices, host: {name, system,
 * processor …}, plugins: [{name, version, path, sha256}]}. (transfer full). */
TN_API TnValue *tn_run_machinery(TnContext *context);
/* Command line, versions, host, devices, seed, git commit of the config's folder …, extra merged
 * in. */
TN_API gboolean tn_run_write_provenance(TnRunDir *run, TnContext *context, int argc,
                                        char *const *argv, const TnValue *extra, GError **error);

/* All variables of store and state into checkpoints/STEP.safetensors, replaced atomically; keeps
 * the newest `keep` (0: all) and those in pinned steps. */
TN_API gboolean tn_checkpoint_save(TnRunDir *run, guint64 step, TnStore *store,
                                   const TnValue *state, guint keep, GError **error);
/* What a model is to be used with elsewhere, parameters and statistics, into the run's file NAME, which
 * ends in .safetensors; replaced atomically. TN_ERROR_CONFIG for another name. */
TN_API gboolean tn_checkpoint_export(TnRunDir *run, const char *name, TnStore *store,
                                     GError **error);
/* A pinned step's checkpoint is not removed by later saves (the best one so far). */
TN_API void tn_checkpoint_pin(TnRunDir *run, guint64 step);
TN_API void tn_checkpoint_unpin(TnRunDir *run, guint64 step);
/* Newest step with a readable checkpoint, -1 if there is none; broken ones are said in the log and
 * passed over. */
TN_API gint64 tn_checkpoint_newest(TnRunDir *run);
/* Restores every variable of store (all must be there with equal types; unknown ones in the file
 * are an error) and gives the state (transfer full). */
TN_API TnValue *tn_checkpoint_load(TnRunDir *run, guint64 step, TnStore *store, GError **error);

/* --- safetensors: 8-byte little-endian header length, JSON header, data ----------------------- */
typedef struct {
    const char *name;
    TnTensor *tensor;
} TnNamedTensor;
/* Written through tn_file_replace, in the order given; names are unique; metadata: map of strings,
 * may be NULL. */
TN_API gboolean tn_safetensors_save(const char *path, guint n, const TnNamedTensor *tensors,
                                    const TnValue *metadata, GError **error);
typedef struct TnSafetensors TnSafetensors;
/* Maps the file and checks the whole header (lengths, overlaps, dtypes, order): TN_ERROR_CORRUPT
 * names the entry. */
TN_API TnSafetensors *tn_safetensors_open(const char *path, GError **error);
/* The same for bytes in memory that outlive it (fuzzing, wires). */
TN_API TnSafetensors *tn_safetensors_open_bytes(const void *bytes, gsize size, const char *name,
                                                GError **error);
TN_API void tn_safetensors_free(TnSafetensors *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnSafetensors, tn_safetensors_free)
TN_API guint tn_safetensors_n(const TnSafetensors *file);
TN_API const char *tn_safetensors_name(const TnSafetensors *file, guint i);
TN_API const TnType *tn_safetensors_type(const TnSafetensors *file, guint i);
TN_API const void *tn_safetensors_data(const TnSafetensors *file, guint i);   /* may be unaligned */
TN_API gint tn_safetensors_find(const TnSafetensors *file, const char *name); /* -1 */
TN_API TnTensor *tn_safetensors_get(const TnSafetensors *file, guint i,
                                    GError **error); /* a copy */
TN_API const TnValue *tn_safetensors_metadata(
    const TnSafetensors *file); /* map; NULL if there is none */

/* --- Measured times of kernels (tenon/cost.h) in a file --------------------------------------- */

/* JSON: {"tenon-costs": 1, "machine": {"version", "processor", "features", "processors"}, "plugins":
 * {NAME: "VERSION, what it says of itself"}, "rows": [{"node", "us"}]}. */

/* This user's: TENON_COSTS, else XDG_CACHE_HOME/tenon/costs.json. NULL: TENON_COSTS is "none".
 * (transfer full). */
TN_API char *tn_costs_path(void);
/* rows with the machine that they hold for, and the plugins that are open. (transfer full). */
TN_API TnValue *tn_costs_file(const TnValue *rows);
/* Writes that to path, whose folder is made. */
TN_API gboolean tn_costs_save(const char *path, const TnValue *rows, GError **error);
/* Reads a file, or what one says. NULL with TN_ERROR_NOT_FOUND if there is none, TN_ERROR_CORRUPT,
 * TN_ERROR_VERSION, or TN_ERROR_UNSUPPORTED: made elsewhere, with what is different; machine FALSE:
 * taken all the same. (transfer full); *file (may be NULL) gets what it says (transfer full). */
TN_API TnCosts *tn_costs_load(const char *path, gboolean machine, TnValue **file, GError **error);
TN_API TnCosts *tn_costs_parse(const TnValue *file, gboolean machine, GError **error);
/* FALSE with TN_ERROR_UNSUPPORTED if a plugin that is open is another than the one that was measured. */
TN_API gboolean tn_costs_fit(const TnValue *file, GError **error);

/* --- JSON ------------------------------------------------------------------------------------- */
/* (transfer full) each. NaN and infinity are written as strings "nan", "inf", "-inf". */
TN_API char *tn_json_print(const TnValue *value, gboolean pretty);
TN_API TnValue *tn_json_parse(const char *text, gsize size, GError **error);

/* --- Loggers of a run: a record goes to every one --------------------------------------------- */
typedef struct TnLoggers TnLoggers;
TN_API TnLoggers *tn_loggers_new(TnContext *context, guint n, TnSpec *const *specs, TnRunDir *run,
                                 gboolean resumed, GError **error);
TN_API void tn_loggers_free(TnLoggers *loggers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnLoggers, tn_loggers_free)
TN_API void tn_loggers_scalar(TnLoggers *loggers, const char *name, guint64 step, double value);
TN_API void tn_loggers_text(TnLoggers *loggers, const char *name, guint64 step, const char *text);
TN_API void tn_loggers_tensor(TnLoggers *loggers, const char *name, guint64 step, TnTensor *tensor);
struct TnProgress; /* logger.h */
TN_API void tn_loggers_progress(TnLoggers *loggers, const struct TnProgress *progress);
TN_API void tn_loggers_flush(TnLoggers *loggers);

G_END_DECLS
