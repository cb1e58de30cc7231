/* program.h: compiling a graph and running what comes out.
 *
 * A program is immutable and shared; an exec is one thread's arena and bindings. After the first
 * run of an exec a run calls no allocator, and takes no lock unless it uses several threads. */
#pragma once

#include <tenon/context.h>
#include <tenon/cost.h>
#include <tenon/graph.h>
#include <tenon/store.h>

G_BEGIN_DECLS

/* Sees the graph after a pass: for `show --graph PASS`. */
typedef void (*TnPassSink)(const char *pass, const TnGraph *graph, gpointer data);

typedef struct {
    const TnType *inputs; /* types of the graph's inputs in order; NULL: those it was built with */
    TnTensor *const *values;  /* of static inputs (host); NULL: none */
    TnDevice *const *devices; /* claim in this order; at least one */
    guint n_devices;
    const char *const *skip; /* NULL-terminated names of passes to leave out; NULL: none */
    TnPassSink sink;
    gpointer sink_data;
    /* What an earlier compilation chose (its `chosen`): the same kernels are taken where they are
     * still there. NULL: the best. */
    const TnValue *choices;
    TnValue *chosen; /* a map that gets what is chosen now; NULL: nobody asks */
    /* The bits of a sample's results do not depend on how many samples there are. Kernels of tables
     * that do not say that they heed it are passed over. */
    gboolean batch_invariant;
    /* Bytes that the graph's variables and the arena may take together; 0: as many as need be. Where
     * they would take more, values are computed again instead of kept; TN_ERROR_NO_MEMORY says what is
     * missing if that is not enough. The results are the same bits. */
    guint64 memory_limit;
    /* What was measured, for what `choices` do not say. NULL: nothing, ranks and `pays` decide. */
    const TnCosts *costs;
    TnChoiceSink choice_sink; /* sees every choice; NULL: nobody does */
    gpointer choice_data;
    /* Products of f32 are computed from numbers of this type, and summed in f32 (TnOp.precision);
     * TN_DTYPE_NONE, TN_DTYPE_F32: as built. */
    TnDtype precision;
    /* Results may have other bits where they are the same for real numbers and take less: log (exp x) is x. */
    gboolean fast_math;
    /* With choice_data: told of the nodes of the finished program, each with the kernel that runs it, which
     * under a memory limit may be another than was chosen; TnChoice.source says nothing. NULL: nobody asks. */
    TnChoiceSink used_sink;
    /* Gets the least memory_limit that can be met where the given one cannot; NULL: nobody asks. */
    guint64 *least_limit;
} TnCompile;

/* What all compilations in a context have in common: its devices and what was set there; the rest is
 * nothing. Until another device is added. */
TN_API void tn_compile_init(TnCompile *options, const TnContext *context);

/* Names of the passes in order, NULL-terminated; (transfer none). */
TN_API const char *const *tn_passes(void);

/* (transfer full). TN_ERROR_UNSUPPORTED lists the nodes that no device takes. Thread: any, one
 * at a time per graph. */
TN_API TnProgram *tn_compile(const TnGraph *graph, const TnCompile *options, GError **error);
TN_API TnProgram *tn_program_ref(TnProgram *program);
TN_API void tn_program_unref(TnProgram *program);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnProgram, tn_program_unref)
TN_API guint64 tn_program_arena_bytes(const TnProgram *program); /* per exec */
/* the largest set alive at once: the lower bound */
TN_API guint64 tn_program_live_bytes(const TnProgram *program);
TN_API guint tn_program_n_instructions(const TnProgram *program);
/* An instruction a line: device, kernel's operator, name, shapes, place in the arena; the table and
 * rank of a kernel that took it from one of rank 0; "slow" ones marked; then the same of the programs that
 * its control flow runs. (transfer full). */
TN_API char *tn_program_print(const TnProgram *program);
/* "op device" of every kernel chosen, a line each, with counts. (transfer full). For the run's
 * provenance. */
TN_API char *tn_program_kernels(const TnProgram *program);

/* What there is to say of an instruction. Strings and types live as long as the program. */
typedef struct {
    guint32 size;
    const char *name; /* of its node, dotted; of a group its last node's; of a variable assigned */
    const TnOp *op;   /* of a copy: one of the compiler's own */
    const char *device;
    const char *kernel; /* "TABLE RANK": the factory of its table; "" for a copy */
    const char *plugin; /* whose kernel it is; "" for a copy */
    guint n_in, n_out;
    const TnType *types;               /* of inputs (dtype none: absent, or only its type counts),
                                        * then outputs */
    guint64 bytes_read, bytes_written; /* each element once, repeated ones of a view too */
    double flops;                      /* as tn_op_flops */
    guint64 live_bytes;                /* of the arena that hold something while it runs */
} TnProgramStep;
/* FALSE beyond the last. info->size is set by the caller. Slow: for reports. Thread: any. */
TN_API gboolean tn_program_step(const TnProgram *program, guint i, TnProgramStep *info);
/* The operators of a fused group in order, "mul add tanh"; NULL: instruction i is none. (transfer
 * full). */
TN_API char *tn_program_group(const TnProgram *program, guint i);
TN_API const char *tn_program_name(const TnProgram *program);
/* Operations of one run; *unknown (may be NULL) gets how many instructions are not in it, since
 * nobody says what they take. */
TN_API double tn_program_flops(const TnProgram *program, guint *unknown);

/* A piece of the arena that holds something while an instruction runs. */
typedef struct {
    guint32 size;
    guint space; /* memories: 0 is the host's */
    guint64 offset, bytes;
    guint first, last;  /* instructions between which it is alive */
    const char *name;   /* of the instruction that wrote it last */
    const TnType *type; /* NULL: scratch of that instruction */
} TnProgramPiece;
/* Those alive while instruction i runs, largest first. (transfer full): of TnProgramPiece. */
TN_API GArray *tn_program_pieces(const TnProgram *program, guint i);

/* Binds the program to a store's variables by name (missing or of other type:
 * TN_ERROR_NOT_FOUND, TN_ERROR_SHAPE) and allocates the arena. store may be NULL if the graph
 * has no variables. (transfer full). */
TN_API TnExec *tn_exec_new(TnProgram *program, TnStore *store, TnContext *context, GError **error);
TN_API void tn_exec_free(TnExec *exec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnExec, tn_exec_free)
/* Gives input i for the next runs; of the program's type, contiguous, on host or the device. Holds
 * a reference until the next bind; tensor NULL drops it and binds nothing. Does not allocate.
 * TN_FAILED with the error in tn_exec_error otherwise. */
TN_API TnStatus tn_exec_bind(TnExec *exec, guint i, TnTensor *tensor);
/* One run. On failure variables may be half-written; tn_exec_error names the node. */
TN_API TnStatus tn_exec_run(TnExec *exec);
/* Output i: a view of the arena, valid until the next run (transfer none); copy it to keep it.
 * Waits for the device. */
TN_API TnTensor *tn_exec_output(TnExec *exec, guint i);
TN_API gint tn_exec_find_output(const TnExec *exec, const char *name); /* -1 if there is none */
TN_API gint tn_exec_find_input(const TnExec *exec, const char *name);
TN_API const GError *tn_exec_error(const TnExec *exec); /* of the last failed call; NULL */
TN_API TnProgram *tn_exec_program(const TnExec *exec);
/* Debugging: watch is called after every instruction of this exec with its outputs (host copies are
 * the callee's business), instead of who watches the context (tn_context_set_watch). NULL turns that
 * off. Used to find the first tensor that went NaN. */
TN_API void tn_exec_watch(TnExec *exec, TnExecWatch watch, gpointer data);
/* Whether anybody is called between instructions: where nobody is, a run is one plain loop. */
TN_API gboolean tn_exec_is_watched(const TnExec *exec);

/* A graph with its programs, one per set of input types (the newest 16 are kept) and static
 * values. Thread: serial. */
/* devices and store of the context */
TN_API TnFunction *tn_function_new(TnGraph *graph, TnContext *context);
TN_API TnFunction *tn_function_ref(TnFunction *function);
TN_API void tn_function_unref(TnFunction *function);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnFunction, tn_function_unref)
TN_API TnGraph *tn_function_graph(const TnFunction *function);
/* The exec for these inputs, compiled if need be, with the inputs bound. (transfer none): valid
 * until 16 other sets came. */
TN_API TnExec *tn_function_exec(TnFunction *function, guint n, TnTensor *const *inputs,
                                GError **error);
/* The same and runs it; out[i] (transfer full) are copies of the outputs. */
TN_API gboolean tn_function_call(TnFunction *function, guint n, TnTensor *const *inputs,
                                 TnTensor **out, GError **error);

G_END_DECLS
