/* tile_plan.h: what the parts of planning a program share: tile_axes.c (how axes are walked, what is
 * computed how often), tile_order.c (in which phase), tile_place.c (where each value lies), tile_plan.c
 * (sizes). */
#pragma once

#include "tile_compile.h"

#define VALUE(p, i) (&g_array_index((p)->b->values, TileValue, i))
#define STEP(p, i) (&g_array_index((p)->b->steps, TileStep, i))
#define SOURCE(p, i) (&g_array_index((p)->b->sources, TileSource, i))
#define FOLD(p, i) (&g_array_index((p)->b->folds, TileReduction, i))

typedef struct {
    gsize size; /* bytes of an element */
    gboolean carried;
    gboolean used;
} TileRegister;

/* What is known of a value. */
typedef struct {
    TileLevel level;
    gint last_use;   /* the last place in the order at which it is read; -1: nobody does */
    gint phase;      /* in which it is computed */
    gint last_phase; /* in which it is read */
    gint slot;       /* -1: none yet */
    gint input;      /* number in program->inputs; -1 */
    gint reg;        /* register; -1 */
    gboolean is_output;
} TilePlace;

typedef struct {
    TileBuilder *b;
    TileProgram *program;
    TnType shape;      /* over which the program runs */
    gboolean *live;    /* of steps */
    TilePlace *at;     /* of values */
    TileReach *reach;  /* of reductions */
    gboolean whole;    /* a row is to fit a tile */
    gboolean only_row; /* a small reduction of everything is over the only row */
    GArray *order;     /* gint: live steps */
    GArray *slots;     /* TileSlot */
    GArray *registers; /* TileRegister */
    guint n_scalars, n_row_values;
    GArray *ops[N_LEVELS];
    GArray *stores, *row_stores; /* TileOp */
    GArray *folds;               /* TileFold */
    GArray *phases;              /* TilePhase */
} TilePlan;

typedef enum { OUTPUT_FULL, OUTPUT_ROWS, OUTPUT_END } TileOutputKind;

/* An element each; one for each row; a reduction beyond rows. */
TileOutputKind tile_output_kind(const TilePlan *p, gint k);
/* FALSE with *error. */
gboolean tile_plan_fail(GError **error, const char *why);
/* Chooses shape, axes and levels. */
gboolean tile_plan_axes(TilePlan *p, GError **error);
/* Puts live steps in order, phase by phase. */
gboolean tile_plan_order(TilePlan *p, GError **error);
/* Gives each value a place, each step an operation. */
gboolean tile_plan_places(TilePlan *p, GError **error);

static inline gboolean
tile_is_fold(const TilePlan *p, gint step)
{
    return STEP(p, step)->fold >= 0;
}

/* Whether a value has an element for each row of a tile, in a vector: it is spread before a tile reads
 * it. */
static inline gboolean
tile_is_vector(const TilePlan *p, gint value)
{
    return p->program->grouped && p->at[value].level == LEVEL_ROW;
}
