/* plan-private.h: what the memory plan is made of: values with their places, steps with their
 * order.
 *
 * A value is an output of a node, or a copy that the plan adds. Values that are views share
 * their root's memory. Positions count steps in the order found. */
#pragma once

#include "compile-private.h"
#include "program-private.h"

#define TN_NO_VALUE G_MAXUINT32
#define TN_NO_STEP G_MAXUINT32

typedef struct {
    TnType type;
    TnLayout layout;    /* over the root's memory */
    guint32 root;       /* itself if it is no view */
    guint device;       /* in whose memory (roots) */
    TnPlace place;      /* of the root; arena offsets come last */
    guint32 producer;   /* step that writes it (roots); TN_NO_STEP: there from the beginning */
    guint32 slot;       /* arena roots */
    gboolean is_output; /* an output of the program lies in it (roots) */
    gboolean contiguous;
} TnPlanValue;

/* KEEP: what the kernel of a later step keeps from run to run (TnPrepared.keep). */
typedef enum { TN_STEP_KERNEL, TN_STEP_COPY, TN_STEP_ASSIGN, TN_STEP_KEEP } TnStepKind;

typedef struct {
    TnStepKind kind;
    guint32 node; /* KERNEL, KEEP; of a COPY whose name it bears */
    const TnKernel *kernel;
    guint device;
    gint from; /* COPY from another memory: its device; -1 */
    guint n_in;
    guint32 *in; /* values; TN_NO_VALUE: absent or only a type */
    guint n_out;
    guint32 out;      /* first of n_out values in a row */
    guint32 variable; /* ASSIGN: written */
    GArray *before;   /* guint32: steps that come first */
    TnPrepared prepared;
    guint32 scratch_slot; /* TN_NO_VALUE: none */
    guint32 position;
    gboolean once;  /* not in every run */
    guint64 unread; /* a bit for each output that nobody reads */
} TnStep;

/* A piece of arena with the positions between which it holds something. */
typedef struct {
    guint space;
    gsize bytes; /* aligned */
    gsize offset;
    guint32 first, last;
} TnSlot;

/* Bytes that an argument may touch: its root's, from the start of what its place names. */
typedef struct {
    gsize start, bytes;
} TnReach;

typedef struct {
    TnCompiler *c;
    const TnGraph *graph;
    guint32 *first_value; /* of node i's outputs */
    GArray *values;       /* TnPlanValue */
    gboolean *is_view;    /* of nodes: no instruction */
    GPtrArray *steps;     /* TnStep * */
    guint32 *order;       /* positions → steps */
    GArray *slots;        /* TnSlot */
    guint32 *output;      /* value of each graph output */
    TnReach *reach;       /* of each argument of the program */
    TnReach *scratch;     /* of each instruction */
    TnProgram *program;
} TnPlan;

static inline TnPlanValue *
tn_plan_value(const TnPlan *plan, guint32 value)
{
    return &g_array_index(plan->values, TnPlanValue, value);
}
static inline TnPlanValue *
tn_plan_root(const TnPlan *plan, guint32 value)
{
    return tn_plan_value(plan, tn_plan_value(plan, value)->root);
}
static inline TnStep *
tn_plan_step(const TnPlan *plan, guint32 step)
{
    return g_ptr_array_index(plan->steps, step);
}
static inline guint32
tn_plan_value_of(const TnPlan *plan, TnVal val)
{
    return tn_val_is_none(val) ? TN_NO_VALUE : plan->first_value[val.node] + val.out;
}
static inline guint
tn_plan_space(const TnPlan *plan, guint device)
{
    return plan->c->space[device];
}
static inline gsize
tn_align(gsize bytes)
{
    return (bytes + TN_ALIGN - 1) & ~(gsize)(TN_ALIGN - 1);
}
gboolean tn_layout_contiguous(const TnType *type, const TnLayout *layout);
/* Whether step may compute output `out` (0, 1 …) into the memory of its input `in`. */
gboolean tn_plan_may_overwrite(const TnPlan *plan, const TnStep *step, guint out, guint in);

/* Everything of planning up to where values lie; the program gets its ports, sizes and slots.
 * tn_plan_clear in any case, then tn_program_destroy. */
gboolean tn_plan_make(TnPlan *plan, TnCompiler *c, GError **error);
void tn_plan_clear(TnPlan *plan);

/* The parts of planning, in order. */
void tn_plan_views(TnPlan *plan); /* views.c: values, and which nodes are no instruction */
void tn_plan_steps(TnPlan *plan); /* steps.c: steps, outputs that need a copy */
void tn_plan_assigns(
    TnPlan *plan);               /* assign.c: results in variables' memory, or copies at the end */
void tn_plan_once(TnPlan *plan); /* once.c */
/* Whether a value is computed once, or there from the beginning and not assigned (TnArg.fixed). */
gboolean tn_plan_is_fixed(const TnPlan *plan, guint32 value);
/* The step before `step`, just prepared, that makes what its kernel keeps; an input more of `step`. */
void tn_plan_add_keep(TnPlan *plan, TnStep *step);
gboolean tn_plan_prepare(TnPlan *plan, GError **error); /* emit.c: kernels' own preparation */
void tn_plan_order(TnPlan *plan);                       /* order.c */
gboolean tn_plan_arena(TnPlan *plan, GError **error);   /* arena.c: slots, in place, offsets */
gboolean tn_plan_emit(TnPlan *plan, GError **error);    /* emit.c: the program */
void tn_plan_streams(
    TnPlan *plan); /* streams.c: streams, waits and signals of the program's instructions */

/* A step that copies a value into a new one; gives the new value. */
guint32 tn_plan_add_copy(TnPlan *plan, guint32 value, guint32 node, guint device, gint from);
TnStep *tn_plan_add_step(TnPlan *plan, TnStepKind kind, guint32 node, guint device, guint n_in,
                         guint n_out);
