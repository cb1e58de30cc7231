/* stage.h: "tenon.stage/1": pipelines of named stages joined by edges that carry frames.
 *
 * A frame is one batch: tensors and a sequence number. A source or map is PURE: what it emits as
 * number seq is a function of (options, seed, seq, input frame) alone; so it can have workers,
 * be restarted at any number, and nothing in flight is saved. Whether a stage is called inline
 * by its consumer, in worker threads or in other processes is the driver's choice by the options
 * `workers` and `place`, never the stage's. */
#pragma once

#include <tenon/plugin.h>
#include <tenon/program.h>

G_BEGIN_DECLS

#define TN_IFACE_STAGE "tenon.stage/1"
#define TN_MAX_FIELDS 16

/* What an edge carries: named fields with batch types (dims of the usual batch; the last one of
 * an epoch may be smaller). */
typedef struct {
    guint n;
    const char *names[TN_MAX_FIELDS]; /* interned */
    TnType types[TN_MAX_FIELDS];
    gint64 length;  /* frames per epoch; 0: endless */
    gint64 samples; /* samples per epoch; 0: endless */
} TnSchema;

/* A batch. Refcounted; tensors are read-only once pushed; buffers go back to the edge's pool
 * with the last reference. */
typedef struct TnFrame TnFrame;
TN_API TnFrame *tn_frame_new(guint64 seq, guint n);
TN_API TnFrame *tn_frame_ref(TnFrame *frame);
TN_API void tn_frame_unref(TnFrame *frame);
TN_API guint64 tn_frame_seq(const TnFrame *frame);
TN_API guint tn_frame_n(const TnFrame *frame);
TN_API TnTensor *tn_frame_tensor(const TnFrame *frame, guint i);     /* (transfer none) */
TN_API void tn_frame_set(TnFrame *frame, guint i, TnTensor *tensor); /* (transfer full) */
TN_API gint64 tn_frame_samples(const TnFrame *frame);                /* dims[0] of tensor 0 */
/* Tensor i to write into: the one that the frame had in its last life if it is of the type and
 * nobody else holds it, else a new host one. (transfer none): it is set. NULL with *error if memory
 * is out. */
TN_API TnTensor *tn_frame_buffer(TnFrame *frame, guint i, TnType type, GError **error);
/* Something that a stage keeps with a frame over its lives, such as the exec whose arena its
 * tensors are. */
TN_API gpointer tn_frame_keep(const TnFrame *frame);
TN_API void tn_frame_set_keep(TnFrame *frame, gpointer keep, GDestroyNotify destroy);

/* The consumer's end of an edge. Thread: one at a time. */
typedef struct TnPort TnPort;
TN_API const TnSchema *tn_port_schema(const TnPort *port);
/* The next frame in order (transfer full), *frame NULL otherwise. TN_EOS after the last,
 * TN_CANCELLED, TN_FAILED (the error is on the bus). Waits at most until then.
 *
 * Of a stage that replies: the next answer, whose seq is the number of its ask. TN_AGAIN: a request
 * has had no answer in time; TN_FAILED with tn_port_error: a request failed; both are that request's
 * alone, tn_port_error says its number, and the next pull goes on. TN_EOS: nothing is asked. TN_FAILED
 * without tn_port_error is the end of the stage, as of any. */
TN_API TnStatus tn_port_pull(TnPort *port, TnFrame **frame);
/* Number of the frame that the next pull gives, and a jump to another number (drops what is in
 * flight). Of a stage that replies: of the next ask; a jump drops every request without an answer.
 * Of TN_STAGE_LATEST: the least version that is given next; a jump back changes nothing. */
TN_API guint64 tn_port_seq(const TnPort *port);
TN_API void tn_port_seek(TnPort *port, guint64 seq);

/* Asks a TN_STAGE_REPLIES stage; the answer comes out of tn_port_pull. request: tensors as
 * tn_port_requests has them, of which the first dim may be smaller; (transfer full) whatever the
 * status, and it is not written any more. milliseconds: 0: as long as it takes; else, if no answer is
 * ready in that time (or, of another process, has been received by the first pull after it), the
 * request has failed and a late answer is dropped. *number: which ask it is; they count up. Never
 * waits: as many as the consumer likes may be under way. TN_FAILED (tn_port_error): it does not fit;
 * TN_CANCELLED; TN_UNSUPPORTED: the stage takes no requests. */
TN_API TnStatus tn_port_ask(TnPort *port, TnFrame *request, guint milliseconds, guint64 *number);
/* What is asked of the stage; NULL: nothing is. (transfer none). */
TN_API const TnSchema *tn_port_requests(const TnPort *port);
/* Why the last tn_port_pull or tn_port_ask gave no answer, and (number may be NULL) the number of that
 * ask; NULL: it did, or it was not the matter of one request. (transfer none), until the next call. */
TN_API const GError *tn_port_error(const TnPort *port, guint64 *number);
/* Of a TN_STAGE_LATEST stage, without waiting: a newer version than the last one that was given
 * (transfer full). TN_AGAIN: there is none yet; TN_UNSUPPORTED: frames of this stage are pulled in
 * order; else as tn_port_pull. Made by the call where the stage runs inline. Of another process it is
 * what has been received: asked for by the call before, so newer than what that one gave. */
TN_API TnStatus tn_port_latest(TnPort *port, TnFrame **frame);

typedef enum {
    /* What it emits is no function of the number: each worker goes on from where it is, frames of
     * several processes are taken in the order in which they come, what a lost one had made is lost,
     * and a seek or resume brings nothing back. Processes may join and leave. */
    TN_STAGE_ASYNC = 1 << 0,
    /* It answers requests: its input frames are those of tn_port_ask, seq is the number of the ask, and
     * what it makes is the answer. It has no `from`, and only who asks can take its frames: no map,
     * train or evaluate. Answers come in the order of the asks, with TN_STAGE_ASYNC in that in which
     * they are ready. Where `make` fails that request alone has failed, also with TN_EOS. Several
     * workers or processes each take whatever request is next; one that a lost process had goes to
     * another. */
    TN_STAGE_REPLIES = 1 << 1,
    /* Each frame is a newer version of the same thing, seq is the version: who pulls gets the newest
     * there is, never an older one, and none that it was too slow for. One worker at most: what
     * several make could not be compared. A worker, or a process, makes one after another without
     * being asked, from the time when the first is wanted. Tensors that somebody still holds must not
     * be written again (tn_frame_buffer sees to that). */
    TN_STAGE_LATEST = 1 << 2,
} TnStageFlags;

/* Vtable of a PURE stage (read, map). Turned stages (train, evaluate) are driven by the job
 * and pull from ports. */
typedef struct {
    guint32 size, minor;
    /* After creation: input schema (NULL for a source) in, own output schema out. */
    gboolean (*open)(void *self, TnContext *context, const TnSchema *in, TnSchema *out,
                     GError **error);
    /* One per worker; may be NULL. */
    void *(*worker_new)(void *self, GError **error);
    void (*worker_free)(void *self, void *worker);
    /* Makes frame seq from in (NULL for a source): tensors of frame are to be set (it may still
     * hold those of an earlier life: tn_frame_buffer). TN_EOS: there
     * is no such frame (a source at its end). On TN_FAILED *error is set. Called concurrently
     * for different workers. */
    TnStatus (*make)(void *self, void *worker, guint64 seq, TnFrame *in, TnFrame *frame,
                     GError **error);
    void (*close)(void *self);
    /* What it reads, open: a map for the run's provenance, with strings "dataset", "fingerprint"
     * and, where there are any, "files". A run whose fingerprint has changed is not resumed.
     * (transfer full). May be NULL: it reads nothing. */
    TnValue *(*data)(void *self);
    /* The graph that frames go through, open: its kernels stand in the run's provenance. (transfer
     * none). May be NULL: there is none. */
    TnGraph *(*graph)(void *self);
    guint32 flags; /* TnStageFlags */
    /* Of TN_STAGE_REPLIES: the requests it takes, 1 to TN_MAX_FIELDS fields; open. (transfer none), the
     * same until close. */
    const TnSchema *(*requests)(void *self);
} TnStageVTable;

/* The first member of every pure stage's option struct; the driver reads it. Its rows:
 * TN_STAGE_ROWS. */
typedef struct {
    const char *from;  /* name of the stage whose frames it takes; NULL for a source */
    gint64 workers;    /* threads, or processes where it is placed; 0: inline, or one */
    const char *place; /* NULL: this process */
    gint64 queue;      /* frames made ahead; 0: twice the workers */
    /* of a placed stage */
    guint64 queue_bytes; /* of frames made ahead */
    gboolean restart;    /* a process that ends is replaced */
    const char *key;     /* name of a CURVE key; NULL */
    gboolean insecure;   /* tcp without a key */
    double timeout;      /* seconds in which somebody must join */
} TnStageCommon;
#define TN_STAGE_ROWS(Struct, member)                                                              \
    { .name = "from",                                                                              \
      .type = TN_OPT_STRING,                                                                       \
      .offset = G_STRUCT_OFFSET(Struct, member.from),                                              \
      .flags = TN_OPTION_SIBLING,                                                                  \
      .help = "stage whose frames it takes" },                                                     \
        { .name = "workers",                                                                       \
          .type = TN_OPT_INT64,                                                                    \
          .offset = G_STRUCT_OFFSET(Struct, member.workers),                                       \
          .dflt = "0",                                                                             \
          TN_RANGE_I(0, 256),                                                                      \
          .help = "threads that make frames ahead, in order, or processes with place = \"ipc\"; "  \
                  "0: made when they are asked for, or by one process" },                          \
        { .name = "place",                                                                         \
          .type = TN_OPT_STRING,                                                                   \
          .offset = G_STRUCT_OFFSET(Struct, member.place),                                         \
          .flags = TN_OPTION_NULLABLE,                                                             \
          .help = "where it and the stages before it run; nothing: with the stage that takes its " \
                  "frames; \"ipc\" or \"ipc://NAME\": in processes that the run starts; "          \
                  "\"tcp://HOST:PORT\": wherever `tenon stage` joins this address of ours" },      \
        { .name = "queue",                                                                         \
          .type = TN_OPT_INT64,                                                                    \
          .offset = G_STRUCT_OFFSET(Struct, member.queue),                                         \
          .dflt = "0",                                                                             \
          TN_RANGE_I(0, 65536),                                                                    \
          .unit = "frames",                                                                        \
          .help = "frames made ahead at most; 0: two for each worker" },                           \
        { .name = "queue_bytes",                                                                   \
          .type = TN_OPT_SIZE,                                                                     \
          .offset = G_STRUCT_OFFSET(Struct, member.queue_bytes),                                   \
          .dflt = "256MiB",                                                                        \
          .help = "bytes of frames that other processes make ahead at most, one frame at least" }, \
        { .name = "restart",                                                                       \
          .type = TN_OPT_BOOL,                                                                     \
          .offset = G_STRUCT_OFFSET(Struct, member.restart),                                       \
          .dflt = "false",                                                                         \
          .help = "a process of its place that ends is started again, or awaited again; else the " \
                  "run ends" },                                                                    \
        { .name = "key",                                                                           \
          .type = TN_OPT_STRING,                                                                   \
          .offset = G_STRUCT_OFFSET(Struct, member.key),                                           \
          .flags = TN_OPTION_NULLABLE,                                                             \
          .help = "name of the key (`tenon key new NAME`) with which a tcp place is encrypted" },  \
        { .name = "insecure",                                                                      \
          .type = TN_OPT_BOOL,                                                                     \
          .offset = G_STRUCT_OFFSET(Struct, member.insecure),                                      \
          .dflt = "false",                                                                         \
          .help = "a tcp place without a key: who reaches it may read and change the frames" },    \
    {                                                                                              \
        .name = "timeout", .type = TN_OPT_DURATION,                                                \
        .offset = G_STRUCT_OFFSET(Struct, member.timeout), .dflt = "60s", TN_RANGE_F(0, 1e9),      \
        .help = "time in which somebody must have joined its place, and join again with restart"   \
    }

/* The stages of this library (read, map) into the registry; may be called again. Before a config is
 * checked. */
TN_API void tn_stages_register(void);

/* How a function of the host language becomes a graph: its inputs are named and typed as in's
 * fields, its outputs named as the function names them. (transfer full). Set for the stages that
 * this thread creates. */
typedef TnGraph *(*TnTracer)(const TnValue *function, const TnSchema *in, gpointer data,
                             GError **error);
TN_API void tn_stages_set_tracer(TnTracer tracer, gpointer data);

/* --- Pipeline: the DAG of one job ------------------------------------------------------------- */
typedef struct TnPipeline TnPipeline;

/* What `place` means to a pipeline. */
typedef struct {
    /* Words that start this job's `tenon stage`, without --stage and --connect; NULL-terminated. NULL:
     * `place` is not looked at, every stage runs here (check, show). */
    const char *const *launch;
    const char *digest; /* of the config: both sides must have the same; NULL: "" */
    const char *here;   /* a stage whose place this process is, so it runs here; NULL: none */
    gboolean single; /* stages have no worker threads here: several such processes share the work */
    const char *typed; /* the config and its overrides as somebody would type them; NULL */
} TnPlacing;

/* Creates and opens the PURE stages among specs (name -> spec), in order of their edges; unknown
 * `from`, cycles, two consumers of one edge without a tee: TN_ERROR_CONFIG with the place. Stages
 * that others place elsewhere, with those before them, are not opened here; it returns when the first
 * process of each has joined. placing: what it points to must outlive the pipeline; NULL: everything
 * runs here. (transfer full). */
TN_API TnPipeline *tn_pipeline_new(TnContext *context, guint n, const char *const *names,
                                   TnSpec *const *specs, const TnPlacing *placing, GError **error);
TN_API void tn_pipeline_free(TnPipeline *pipeline); /* stops workers, joins them, closes stages */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnPipeline, tn_pipeline_free)
/* The consumer's end of stage `name`'s output; one per consumer. (transfer none). */
TN_API TnPort *tn_pipeline_port(TnPipeline *pipeline, const char *name, GError **error);
/* The first (stage, error) that was posted; NULL. Thread: any. */
TN_API const GError *tn_pipeline_error(const TnPipeline *pipeline);
/* {stage name: {seq = …}} of all ports, and back: what a checkpoint holds of a pipeline. */
TN_API TnValue *tn_pipeline_save(const TnPipeline *pipeline);
TN_API gboolean tn_pipeline_load(TnPipeline *pipeline, const TnValue *state, GError **error);
/* {stage name: what its `data` says} of the stages that read something. (transfer full). */
TN_API TnValue *tn_pipeline_data(const TnPipeline *pipeline);
/* Graph number i of the stages' graphs, and the stage's name; NULL beyond. (transfer none). */
TN_API TnGraph *tn_pipeline_graph(const TnPipeline *pipeline, guint i, const char **name);

/* The stages that run elsewhere: a list of {stage, place, processes: [{pid, host}], restarts, frames:
 * taken so far, queue: frames that wait, queue_most, seconds_waited: by the consumer, wire: {messages_in,
 * bytes_in, waits, refused …}}. Thread: any. (transfer full). */
TN_API TnValue *tn_pipeline_places(const TnPipeline *pipeline);

/* What the process of the i-th of them said of itself when the first one joined: its TnServe.about, with
 * pid, host, schema, data. (transfer none); NULL beyond. */
TN_API const TnValue *tn_pipeline_placed(const TnPipeline *pipeline, guint i, const char **name);

/* --- A stage's own process -------------------------------------------------------------------- */
typedef struct {
    const char *stage;   /* of the pipeline: its frames are what is asked for */
    const char *address; /* where it is awaited */
    const char *key;     /* as the stage's `key` */
    gboolean insecure;
    const TnPlacing *placing;
    const TnValue *about; /* map: what it says of itself beside; NULL: nothing */
    gint64 parent;        /* process whose end ends this; 0: none */
    double timeout; /* seconds in which the run must be found, at first and after it was lost */
} TnServe;
/* Joins the run and makes the frames that it asks for, until it says goodbye (TRUE). FALSE: it refused
 * (TN_ERROR_CONFIG), is not there or has gone (TN_ERROR_IO). */
TN_API gboolean tn_stage_serve(TnPipeline *pipeline, TnContext *context, const TnServe *serve,
                               GError **error);

/* --- Stepper: k steps of a program fed by a port, in C ---------------------------------------- */
typedef struct TnStepper TnStepper;
/* function's graph inputs are matched by name with the port's fields (unmatched:
 * TN_ERROR_CONFIG, both lists named). port may be NULL if the graph has no inputs. (transfer
 * full). */
TN_API TnStepper *tn_stepper_new(TnFunction *function, TnPort *port, TnContext *context,
                                 GError **error);
TN_API void tn_stepper_free(TnStepper *stepper);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnStepper, tn_stepper_free)
TN_API TnFunction *tn_stepper_function(const TnStepper *stepper); /* (transfer none) */
/* Up to k steps, or until seconds have passed (0: no limit); *done and *samples count what was
 * done. TN_OK, TN_EOS (end of the stream), TN_CANCELLED (after a whole step), TN_FAILED
 * (tn_stepper_error). */
TN_API TnStatus tn_stepper_run(TnStepper *stepper, guint64 k, double seconds, guint64 *done,
                               guint64 *samples);
/* of the last step; (transfer none) */
TN_API TnTensor *tn_stepper_output(TnStepper *stepper, const char *name);
TN_API const GError *tn_stepper_error(const TnStepper *stepper);
/* Steps at most k times with every tensor watched and stops at the first NaN or infinity: "node
 * 'model.3.conv', element 17 of f32[128, 6]: nan". *done counts the whole steps before it. Meant to
 * replay from a checkpoint, so slow is fine. (transfer full): g_free; NULL if none was found or the
 * step failed. */
TN_API char *tn_stepper_find_bad(TnStepper *stepper, guint64 k, guint64 *done);

G_END_DECLS
