/* tile_compile.h: a program in the making: steps over values (tile_compile.c, tile_emit.c), before places
 * and sizes are chosen (tile_plan.h). */
#pragma once

#include "tile_fold.h"

typedef struct {
    TileType type;
    TnDtype dtype;
    gint input;     /* number among the builder's inputs, or -1 */
    gint constant;  /* byte offset among the constants, or -1 */
    gint step;      /* that computes it, or -1 */
    gboolean apart; /* of other axes than the program's: nothing here can read it */
} TileValue;

typedef struct {
    TileFn fn;
    gint arity, in[TILE_MAX_ARITY], out; /* values */
    TnDtype dtype, from;
    gint fold; /* number among the builder's reductions, or -1 */
} TileStep;

/* A reduction over the axes of a mask. */
typedef struct {
    FoldKind kind;
    guint32 mask;
    TnType in;
} TileReduction;

/* What a value that is not computed is read from. */
typedef struct {
    gint in; /* the node's input, or -1 */
    const void *data;
    TnArg arg;
    gint value; /* -1: not read so far */
} TileSource;

typedef struct {
    const TnNode *node;
    gboolean any_strides; /* as if no input could be read where it is */
    GArray *values;       /* TileValue */
    GArray *steps;        /* TileStep */
    GArray *folds;        /* TileReduction */
    GArray *sources;      /* TileSource: the node's inputs, then constants that are no scalars */
    GByteArray *constants;
    GPtrArray *tensors;
    gint outputs[TN_MAX_OUT]; /* values */
} TileBuilder;

/* One operator to be added: its operands as values (-1: absent, or only its type counts). */
typedef struct {
    const TnOp *op;
    const void *attrs;
    gint n_in, n_out;
    gint in[TN_MAX_IN];
    TnType in_type[TN_MAX_IN];
    TnType out_type[TN_MAX_OUT];
    gint out[TN_MAX_OUT];
} TileCall;

/* The value of source `number`. */
gint tile_add_source(TileBuilder *b, guint number);
/* Adds an operator that needs a word of its own, sets call->out; FALSE: it needs none, or is not taken of
 * those types. */
gboolean tile_emit_own(TileBuilder *b, TileCall *call);
/* Adds the operator that the table of micro-operations has under a name. FALSE: none of that type. */
gboolean tile_emit_row(TileBuilder *b, TileCall *call, const char *name);
/* Chooses loops, places and sizes for what the builder holds. NULL with *error if it is too much.
 * (transfer full). */
TileProgram *tile_plan(TileBuilder *builder, GError **error);
