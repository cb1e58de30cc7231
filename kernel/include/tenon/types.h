/* types.h: names of the kernel's objects and the limits they share.
 *
 * Every other public header includes this one, so that a header needs another only for its
 * functions. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Marks a symbol that libtenon (or a helper library) exports; everything else is hidden. */
#define TN_API __attribute__((visibility("default")))

/* Version of the plugin ABI. While the major is 0, a plugin's minor must equal the host's. */
#define TN_ABI_MAJOR 0
#define TN_ABI_MINOR 1

#define TN_MAX_RANK 8 /* dimensions of a tensor */
#define TN_MAX_IN 64  /* inputs of one node, variadic ones counted */
#define TN_MAX_OUT 64 /* outputs of one node */
#define TN_ALIGN 64   /* bytes: alignment of every storage and arena slot */

typedef struct TnContext TnContext; /* context.h: one experiment */
typedef struct TnValue TnValue;     /* value.h: what a config file says */
typedef struct TnSpec TnSpec;       /* value.h: a component named in a config, not yet created */
typedef struct TnFaults TnFaults;   /* option.h: all that is wrong with a config */
typedef struct TnOption TnOption;   /* option.h: one option row */
typedef struct TnConfig TnConfig;   /* option.h: a filled, checked option struct */
typedef struct TnDevice TnDevice;   /* device.h */
typedef struct TnStorage TnStorage; /* tensor.h: memory of one device */
typedef struct TnTensor TnTensor;   /* tensor.h: a view of a storage */
typedef struct TnOp TnOp;           /* op.h: an operator's schema */
typedef struct TnGraph TnGraph;     /* graph.h */
typedef struct TnVar TnVar;         /* store.h: what outlives a step */
typedef struct TnStore TnStore;     /* store.h: an experiment's variables */
typedef struct TnProgram TnProgram; /* program.h: a compiled graph */
typedef struct TnExec TnExec;       /* program.h: one thread's use of a program */
/* program.h: a graph and its programs, one per set of shapes */
typedef struct TnFunction TnFunction;
typedef struct TnTape TnTape;       /* tape.h: imperative mode */
typedef struct TnCosts TnCosts;     /* cost.h: measured times of kernels */
typedef struct TnPlugin TnPlugin;   /* plugin.h: a shared library's descriptor */
typedef struct TnFactory TnFactory; /* plugin.h: one thing that a plugin supplies */

G_END_DECLS
