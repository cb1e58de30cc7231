/* program-private.h: what a program is inside, for compile (which makes it) and exec (which runs
 * it). */
#pragma once

#include <tenon/device.h>
#include <tenon/program.h>

typedef enum {
    TN_PLACE_NONE,     /* absent, or only its type counts: NULL */
    TN_PLACE_ARENA,    /* index: space */
    TN_PLACE_INPUT,    /* index: input */
    TN_PLACE_VARIABLE, /* index: variable */
    TN_PLACE_CONSTANT, /* index: constant */
} TnPlaceKind;

/* Where element [0, 0, …] of an argument is: offset bytes into what kind and index name. */
typedef struct {
    TnPlaceKind kind;
    guint32 index;
    gsize offset;
} TnPlace;

#define TN_NO_EVENT G_MAXUINT32

typedef struct {
    TnStatus (*run)(void *state, const TnRun *run);
    void *state;
    guint32 first_arg; /* into places and types: inputs, then outputs */
    guint16 n_in, n_out;
    guint32 stream;              /* into streams; 0: the host's own order */
    guint32 first_wait, n_waits; /* into waits */
    guint32 signal;              /* event recorded afterwards, or TN_NO_EVENT */
    gint32 barrier;              /* device whose streams are waited for first; -1: none */
    TnPlace scratch;
} TnInstruction;

/* What is said of an instruction, beside running it. */
typedef struct {
    const TnOp *op;
    const TnKernel *kernel; /* NULL: a copy */
    char *name;
    guint device;
    guint32 node; /* of the program's graph */
    guint64 bytes_read;
    guint64 unread; /* a bit for each output that nobody reads: its contents mean nothing */
} TnInstructionInfo;

/* A piece of arena with the instructions between which it holds something. */
typedef struct {
    guint space;
    gsize offset, bytes;
    guint32 first, last;
} TnProgramSlot;

typedef struct {
    char *name;
    TnType type;
    guint device; /* at home in its memory */
    guint space;
    TnTensor *value;                /* inputs: static contents, NULL if any will do */
    gboolean read;                  /* variables: the value at the beginning counts */
    gboolean assigned;              /* variables */
    gboolean once;                  /* variables: read by instructions that run once */
    guint32 first_patch, n_patches; /* into patches: arguments that point into it */
} TnProgramPort;

typedef struct {
    char *name;
    TnType type;
    TnPlace place;
    guint device;
} TnProgramOutput;

typedef struct {
    TnTensor *tensor;   /* on the host, contiguous */
    TnStorage *storage; /* in the memory of another device; NULL: the tensor's own */
    void *memory;
} TnProgramConstant;

typedef struct {
    guint device;
} TnProgramStream;

typedef struct {
    guint device; /* whose memory it is */
    gsize bytes;
} TnProgramSpace;

/* A program that an instruction of another runs, its memory a part of that one's arena. */
typedef struct {
    TnProgram *program; /* owned by the instruction's state */
    TnPlace memory;
} TnProgramChild;

struct TnProgram {
    guint32 n_refs; /* under the lock of cache.c */
    GBytes *key;    /* in the process-wide cache; NULL: not there */
    char *name;
    TnGraph *graph; /* after the last pass: kernels may point to its attributes and names */
    guint n_devices;
    TnDevice **devices;
    guint *space; /* of each device */
    guint n_spaces;
    TnProgramSpace *spaces;
    guint n_instructions;
    guint n_once; /* the first so many run once, and again when a variable they read has changed */
    TnInstruction *instructions;
    TnInstructionInfo *infos;
    guint n_args;
    TnPlace *places;
    TnType *types;
    guint n_inputs, n_variables, n_outputs, n_constants;
    TnProgramPort *inputs, *variables;
    TnProgramOutput *outputs;
    TnProgramConstant *constants;
    guint32 *patches; /* numbers of arguments, by input, then by variable */
    guint n_streams;  /* the first is the host's */
    TnProgramStream *streams;
    guint32 *waits; /* events */
    guint n_waits;
    guint n_events;
    guint *event_device;
    gboolean simple; /* nothing but host instructions: one loop */
    guint64 arena_bytes, live_bytes;
    guint n_slots;
    TnProgramSlot *slots;
    guint n_children;
    TnProgramChild *children;
};

/* --- Control flow ----------------------------------------------------------------------------- */

#define TN_MAX_PROGRAMS 2

/* State of an instruction that runs sub-graphs, each a program whose inputs are the instruction's but
 * for a condition that comes first. */
typedef struct {
    guint n_programs;
    TnProgram *programs[TN_MAX_PROGRAMS]; /* owned */
    guint first_child;                    /* the first of them among the program's children */
    guint skip;                           /* inputs that come before those of the sub-graphs */
    guint n_states, n_slices; /* the first inputs of the sub-graphs; others are captures */
    guint n_in, n_out;        /* of the sub-graphs */
    gint64 steps;             /* scan */
    gboolean reverse, save;
    gsize in_bytes[TN_MAX_IN], out_bytes[TN_MAX_OUT]; /* of a step */
} TnControl;
/* kernel/exec/control.c */
TnStatus tn_if_run(void *state, const TnRun *run);
TnStatus tn_while_run(void *state, const TnRun *run);
TnStatus tn_scan_run(void *state, const TnRun *run);
/* Adds control's programs to those of program, each in that memory. */
void tn_control_place(TnProgram *program, TnControl *control, const TnPlace *memory);

/* Copies as an instruction: state of tn_copy_run. */
typedef struct {
    TnDevice *device; /* not owned: the program's */
    gsize bytes;
    TnCopyKind kind;
} TnCopyState;
TnStatus tn_copy_run(void *state, const TnRun *run);

/* Frees a program that nobody refers to. */
void tn_program_destroy(TnProgram *program);

/* --- cache.c ---------------------------------------------------------------------------------- */

/* What two compilations must have in common to give the same program. (transfer full). */
GBytes *tn_program_key(const TnGraph *graph, const TnCompile *options);
/* A program of that key if one is alive (transfer full); NULL. */
TnProgram *tn_program_cache_find(GBytes *key);
/* Makes program findable under key until its last reference goes. If another thread was quicker,
 * drops program and gives that one. (transfer full). */
TnProgram *tn_program_cache_add(GBytes *key, TnProgram *program);
/* tn_compile through the cache. (transfer full). */
TnProgram *tn_compile_shared(const TnGraph *graph, const TnCompile *options, GError **error);
