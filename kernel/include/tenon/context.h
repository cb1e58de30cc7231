/* context.h: one experiment as the kernel sees it: seed, rank, devices, store, sinks, limits,
 * cancel flag.
 *
 * Process-wide are only the registry, the pool and the option tables; everything else hangs
 * here. */
#pragma once

#include <tenon/dtype.h>

G_BEGIN_DECLS

/* (transfer full). rank 0 of world 1, seed 0, no devices, an empty store. */
TN_API TnContext *tn_context_new(void);
TN_API TnContext *tn_context_ref(TnContext *context);
TN_API void tn_context_unref(TnContext *context);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnContext, tn_context_unref)

TN_API guint64 tn_context_seed(const TnContext *context);
/* also of its store; before variables are made */
TN_API void tn_context_set_seed(TnContext *context, guint64 seed);
TN_API guint tn_context_rank(const TnContext *context);
TN_API guint tn_context_world(const TnContext *context);
TN_API void tn_context_set_rank(TnContext *context, guint rank, guint world);

/* Devices in the order in which they claim nodes; the first is where tensors live unless said
 * otherwise. */
TN_API void tn_context_add_device(TnContext *context, TnDevice *device); /* takes a reference */
TN_API guint tn_context_n_devices(const TnContext *context);
/* (transfer none); NULL beyond */
TN_API TnDevice *tn_context_device(const TnContext *context, guint i);
/* All of them, until the next is added. */
TN_API TnDevice *const *tn_context_devices(const TnContext *context);

/* The choices (TnCompile) that the functions of this context are compiled with; NULL: none. Takes a
 * reference; before functions are used. */
TN_API void tn_context_set_choices(TnContext *context, TnValue *choices);
TN_API const TnValue *tn_context_choices(const TnContext *context); /* (transfer none) */
/* The measured times that they are compiled by, likewise. */
TN_API void tn_context_set_costs(TnContext *context, TnCosts *costs);
TN_API TnCosts *tn_context_costs(const TnContext *context); /* (transfer none) */

/* Whether the functions of this context, and imperative mode, are compiled batch-invariant (TnCompile);
 * FALSE at first. Before functions are used. */
TN_API void tn_context_set_batch_invariant(TnContext *context, gboolean invariant);
TN_API gboolean tn_context_batch_invariant(const TnContext *context);

/* Whether they may be rounded otherwise than written (TnCompile.fast_math), likewise. */
TN_API void tn_context_set_fast_math(TnContext *context, gboolean fast);
TN_API gboolean tn_context_fast_math(const TnContext *context);

/* What the functions of this context compute products in (TnCompile.precision); TN_DTYPE_F32 unless
 * set, before functions are used. */
TN_API void tn_context_set_precision(TnContext *context, TnDtype precision);
TN_API TnDtype tn_context_precision(const TnContext *context);

TN_API TnStore *tn_context_store(const TnContext *context); /* (transfer none) */

/* Bytes that programs' arenas and stores may take together; 0: no limit. A limit that cannot be
 * met fails the call that would pass it. */
TN_API void tn_context_set_memory_limit(TnContext *context, guint64 bytes);
TN_API gboolean tn_context_take_memory(TnContext *context, guint64 bytes, const char *what,
                                       GError **error);
TN_API void tn_context_give_memory(TnContext *context, guint64 bytes);
TN_API guint64 tn_context_memory_used(const TnContext *context);

/* The memory_limit (TnCompile) that the functions of this context are compiled with; 0: none. Before
 * functions are used. */
TN_API void tn_context_set_program_limit(TnContext *context, guint64 bytes);
TN_API guint64 tn_context_program_limit(const TnContext *context);

/* Asks all work of the experiment to stop; safe in a signal handler. Long calls look at it and
 * return TN_CANCELLED. */
TN_API void tn_context_cancel(TnContext *context);
TN_API gboolean tn_context_cancelled(const TnContext *context);
TN_API void tn_context_clear_cancel(TnContext *context);

/* A measured number at a step. Sinks are called in the order added, on the caller's thread. */
typedef void (*TnMetricSink)(const char *name, guint64 step, double value, gpointer data);
TN_API void tn_context_add_metric_sink(TnContext *context, TnMetricSink sink, gpointer data);
TN_API void tn_context_metric(TnContext *context, const char *name, guint64 step, double value);

/* --- Where time goes -------------------------------------------------------------------------- */

/* An instruction that has run, with nothing of it under way any more. */
typedef struct {
    guint32 size;
    guint number;         /* among the instructions of the exec's program */
    const char *name;     /* of its node, dotted */
    gint64 begin, end;    /* tn_time_ns */
    guint n_out;          /* 0 unless tn_exec_watch asked for the outputs */
    TnTensor *const *out; /* NULL where nobody reads an output: it may be unwritten */
} TnExecStep;
/* Called after every instruction, on the thread that runs the exec. What it returns, if not TN_OK,
 * ends the run. */
typedef TnStatus (*TnExecWatch)(TnExec *exec, const TnExecStep *step, gpointer data);

/* Who is told where an experiment's time goes: of instructions, and of spans in which something else
 * was done, which nest on each thread. Calls come from every thread that works. */
typedef struct {
    guint32 size;
    TnExecWatch instruction;
    void (*begin)(gpointer data); /* of a span, on the calling thread */
    /* The span begun last on this thread ends. kind: such as "wait", a literal; name lives for the
     * call. */
    void (*end)(const char *kind, const char *name, gint64 begin, gint64 end, gpointer data);
    gpointer data;
} TnWatch;

/* Execs that are made from now on, and spans that begin, are watched. NULL: nobody watches, and
 * nothing is measured. watch must outlive the context. Before the context is used. */
TN_API void tn_context_set_watch(TnContext *context, const TnWatch *watch);
TN_API const TnWatch *tn_context_watch(const TnContext *context); /* (transfer none) */
/* A span of who works for the context: what begin gave (0: nobody watches) belongs to end, which
 * comes on the same thread in any case. context may be NULL. */
TN_API gint64 tn_span_begin(const TnContext *context);
TN_API void tn_span_end(const TnContext *context, const char *kind, const char *name, gint64 begin);

G_END_DECLS
