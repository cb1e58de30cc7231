/* exec-private.h: what an exec is inside: memory, resolved pointers, bindings. */
#pragma once

#include "compile/program-private.h"

#include <pthread.h>
#include <tenon/context.h>
#include <tenon/store.h>

/* A variable whose memory is not that which the program works in: its bytes are brought there
 * and back. */
typedef struct {
    guint variable;
    TnStorage *storage;
} TnShadow;

typedef struct {
    TnTensor *tensor; /* given; NULL: not yet */
    TnStorage
        *staging;    /* in the program's memory, for inputs given on the host; NULL: not needed */
    gboolean staged; /* the tensor given lies on the host and is copied before each run */
    const void *memory; /* of a child's exec: where its input is */
} TnBinding;

typedef struct {
    TnExecWatch func;
    gpointer data;
    TnTensor **tensors; /* of outputs of instructions, by argument; NULL: nobody asked for them */
} TnWatched;

struct TnExec {
    TnProgram *program;
    TnStore *store;
    TnContext *context;
    guint64 taken;       /* from the context's memory */
    TnStorage **arena;   /* per space; NULL: none */
    void **pointers;     /* per argument */
    TnRun *runs;         /* per instruction */
    TnBinding *bindings; /* per input */
    TnTensor **variables;
    TnVar **vars;      /* the same in the store */
    guint64 *versions; /* when what is computed once was */
    gboolean computed;
    TnTensor **outputs;
    guint n_shadows;
    TnShadow *shadows;
    void **streams; /* per stream of the program; the first is NULL */
    void **events;
    TnWatched watch;
    TnExec **children;  /* of the program's children */
    gint64 inner_ns;    /* while somebody watches: what children took since they were last asked */
    guint unbound;      /* inputs that are read and have no tensor */
    gboolean may_stage; /* some input is read in another memory than the host's */
    GError *error;
    pthread_mutex_t fail_lock;
    char fail_text[512]; /* of the kernel that failed */
    gboolean has_fail_text;
};

/* The first instruction of a run: 0, or the first after those that run once. Notes the variables'
 * versions. */
guint tn_exec_begin(TnExec *exec);
/* After a run, however it ended: which variables it wrote; failed: that nothing is computed yet. */
void tn_exec_end(TnExec *exec, gboolean failed);
/* Bytes of a place, as a pointer of its device. */
void *tn_exec_resolve(const TnExec *exec, const TnPlace *place);
/* Whether a tensor lies in the memory that device works in. */
gboolean tn_is_in_memory_of(TnTensor *tensor, TnDevice *device);
/* Sets exec->error for instruction number, which gave status. */
TnStatus tn_exec_fail_at(TnExec *exec, guint number, TnStatus status);
/* Of a child, which an instruction of the exec around runs: input i is at memory of the host for the next
 * run; output i is copied there. */
TnStatus tn_exec_point(TnExec *exec, guint i, const void *memory);
TnStatus tn_exec_fetch(TnExec *exec, guint i, void *memory, gsize bytes);
/* run.c: one instruction with its stream, waits and signal; all streams at rest. */
TnStatus tn_exec_step(TnExec *exec, guint number);
TnStatus tn_exec_sync(TnExec *exec, gint device);
/* watch.c: instructions from `first` on, each shown. */
TnStatus tn_exec_run_watched(TnExec *exec, guint first);
/* Back to who watches the context, if anybody does. */
void tn_exec_drop_watch(TnExec *exec);
