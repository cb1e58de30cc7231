/* host.h: Lua: loading a config into a tree of specs, checking it, and running the job it names.
 *
 * A host is one lua_State, used by one thread. Nothing is created while a config loads;
 * constructors record faults and go on. Only specs and tensors pass between hosts. */
#pragma once

#include <tenon/context.h>
#include <tenon/option.h>
#include <tenon/run.h>
#include <tenon/stage.h>

G_BEGIN_DECLS

#define TN_IFACE_JOB "tenon.job/1"
/* A config's path may name a module of the library instead of a file:
 * "module:tenon.bench.train_mlp". */
#define TN_CONFIG_MODULE "module:"

typedef struct TnHost TnHost;

typedef struct {
    gboolean trust;        /* --trust: lifts the sandbox */
    const char *data_root; /* --data-root; NULL: TENON_DATA, else XDG_DATA_HOME/tenon/data */
    guint64 memory_limit;  /* bytes of Lua memory while loading; 0: 256 MiB */
    double load_seconds;   /* watchdog on loading; 0: 10 */
    const char *text;      /* instead of what the config's file says; NULL: the file */
    /* Folder that tn_host_keep has filled: config and modules are read there, as is what the config
     * read with io.open. The config's path then only says where it stood, and from where relative
     * paths start; it need not be there. NULL: none */
    const char *kept;
    gboolean joins; /* a stage of it joins a run elsewhere: keys may be given to that stage alone */
} TnHostOptions;

TN_API TnHost *tn_host_new(const TnHostOptions *options, GError **error); /* NULL: defaults */
TN_API void tn_host_free(TnHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnHost, tn_host_free)

/* The folder where tn.data looks, absolute. (transfer none). */
TN_API const char *tn_host_data_root(const TnHost *host);

/* Loads every embedded module, so that the registry knows all components written in Lua (`tenon
 * help`). */
TN_API gboolean tn_host_load_modules(TnHost *host, GError **error);

/* Evaluates the config, applies overrides ("train.lr=3e-4", also to tn.arg names) and validates
 * the whole tree. The root is a spec of "tenon.job/1" (transfer full); NULL if there is any
 * fault: syntax and runtime errors, sandbox breaches, limits are faults too, each with
 * FILE:LINE. */
TN_API TnSpec *tn_host_load(TnHost *host, const char *path, gint n_overrides,
                            const char *const *overrides, TnFaults *faults);

/* After a load: copies of what the config was made of into a run's folder, byte for byte as they
 * were read: config.lua, modules/…, files/…, and sources.json that says what is which. What the job
 * reads later is added then. TN_ERROR_IO. */
TN_API gboolean tn_host_keep(TnHost *host, const char *folder, GError **error);

/* The loaded tree as the text of a config that gives it again: every component by name, every
 * option with its value, defaults too. Functions, and components that the config declared, are
 * taken from config.lua in the folder that tn_host_keep filled, where the text must lie then. name:
 * of the run, for a tree without one; may be NULL. TN_ERROR_FAILED. (transfer full): g_free. */
TN_API char *tn_host_resolved(TnHost *host, const TnSpec *root, const char *name, GError **error);

/* Words that start `tenon stage` for this config with all that it was loaded with, without --stage and
 * --connect; NULL-terminated. Without them stages run here, whatever their `place`. Before
 * tn_job_prepare. */
TN_API void tn_host_set_launch(TnHost *host, const char *const *words);
/* The contexts of jobs that are prepared from now on are watched (tn_context_set_watch). watch must
 * outlive those jobs; NULL: nobody watches. */
TN_API void tn_host_set_watch(TnHost *host, const TnWatch *watch);
/* Of the texts that a config was loaded from, the files that it read, the time if it asked for it, and
 * its overrides, but for those that only say where a stage runs. (transfer full): g_free. */
TN_API char *tn_host_digest(TnHost *host);
/* The config and those overrides as somebody would type them. (transfer full): g_free. */
TN_API char *tn_host_typed(TnHost *host);

/* What the config declared with tn.arg, in order: rows for `tenon help CONFIG`. Valid as long as
 * the host. */
typedef struct {
    const char *name, *help;
    const TnValue *dflt;
    TnWhere where;
    const char *accepts; /* "integer in [1, inf)" */
} TnHostArg;
TN_API guint tn_host_n_args(const TnHost *host);
TN_API const TnHostArg *tn_host_arg(const TnHost *host, guint i);

/* The job's life. Instances and graphs are made by `prepare`; `run` returns when it is over. */
typedef struct TnJob TnJob;
/* Creates context, devices, stages and graphs of the job. run may be NULL (check, show).
 * (transfer full). */
TN_API TnJob *tn_job_prepare(TnHost *host, TnSpec *root, TnRunDir *run, gboolean resume,
                             GError **error);
/* The same of one stage and those before it, which are all that is made: for the process that
 * runs it. single: without worker threads, since it is one of several. (transfer full). */
TN_API TnJob *tn_job_prepare_stage(TnHost *host, TnSpec *root, const char *stage, gboolean single,
                                   GError **error);
/* tn_stage_serve of its pipeline; serve->placing is the job's. */
TN_API gboolean tn_job_serve(TnJob *job, const TnServe *serve, GError **error);
TN_API void tn_job_free(TnJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnJob, tn_job_free)
TN_API TnContext *tn_job_context(TnJob *job);
/* Runs to the end, to the cancel flag (TN_CANCELLED, a checkpoint was written) or to an error. */
TN_API TnStatus tn_job_run(TnJob *job, GError **error);
/* Named graphs ("step", "eval") for `show`. */
TN_API guint tn_job_n_functions(const TnJob *job);
TN_API TnFunction *tn_job_function(const TnJob *job, guint i, const char **name);
/* What runs `function` on the frames of a stage; NULL if nothing does. (transfer none). */
TN_API TnStepper *tn_job_stepper(const TnJob *job, const TnFunction *function);
/* Graph i of those that stages run their frames through, and the stage's name; NULL beyond. (transfer
 * none). */
TN_API TnGraph *tn_job_stage_graph(const TnJob *job, guint i, const char **name);
/* tn_pipeline_placed of its pipeline. */
TN_API const TnValue *tn_job_placed(const TnJob *job, guint i, const char **name);
/* A table of the model: layers, output shapes, parameters, multiply-adds. (transfer full):
 * g_free. */
TN_API char *tn_job_summary(TnJob *job, GError **error);
/* tn_pipeline_data of its pipeline; an empty map without. (transfer full). */
TN_API TnValue *tn_job_data(const TnJob *job);
/* How far it is, as it told last: step, steps, epoch, epochs (0: unknown), samples_per_second,
 * metrics {name: number}; an empty map before. (transfer full). */
TN_API TnValue *tn_job_progress(const TnJob *job);
/* What to say at the end: last metrics as a map. (transfer full). */
TN_API TnValue *tn_job_result(TnJob *job);

G_END_DECLS
