/* layout.h: what laying images shares: which axis is split and where it is there already (layout-move.c),
 * windows in blocks of channels (layout-blocks.c), and what follows without a window (layout-follow.c). */
#pragma once

#include "compile-private.h"

#define TN_IMAGE_RANK 4 /* [N, C, h, w] */

/* What is split: samples, channels, channels of numbers that are multiplied in pairs. */
typedef enum {
    TN_SPLIT_SAMPLES,
    TN_SPLIT_CHANNELS,
    TN_SPLIT_PAIRED,
    TN_N_SPLITS,
    TN_NOT_LAID
} TnSplit;

/* The axis of that, and the length of its last part. */
extern const struct TnSplitRow {
    gint axis;
    gint64 lanes;
} tn_splits[TN_N_SPLITS];

typedef struct {
    TnCompiler *c;
    const TnCompile *options;
    const TnClaim *claims;
    const gboolean *fixed;         /* of the old graph's nodes */
    GHashTable *laid[TN_N_SPLITS]; /* of a value of the new graph: TnVal, the same split */
    /* Values that came of a split node: those of laid that cost nothing. */
    GHashTable *made[TN_N_SPLITS];
} TnLaying;

/* --- layout-move.c ---------------------------------------------------------------------------- */

/* The row of val in laid or made; NULL: none. */
TnVal *tn_laid_find(GHashTable *table, TnVal val);
TnType tn_laid_type(const TnType *type, TnSplit way);
/* One axis of size 1 more. */
TnType tn_longer_type(const TnType *type);
gboolean tn_is_images(const TnType *type, TnSplit way);
/* How an input is there at no cost. */
TnSplit tn_way_of_inputs(const TnLaying *l, const TnGraphNode *node, const TnVal *in);

/* x with axis `from` standing where axis `to` did. */
TnVal tn_move_axis(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint from, gint to);
/* x with an axis as two, the second of `lanes`. */
TnVal tn_split_axis(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint axis, gint64 lanes);
/* x with one axis of size 1 more. */
TnVal tn_longer(TnRewriter *rw, const TnGraphNode *node, TnVal x);
/* A value of which only the type is read. */
TnVal tn_only_type(TnRewriter *rw, const TnGraphNode *node, const TnType *type);
/* x laid, moved unless it is there so; and back to `type`. */
TnVal tn_to_laid(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, TnVal x, TnSplit way);
TnVal tn_from_laid(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, TnVal laid,
                   const TnType *type, TnSplit way);

/* --- Ways to lay a node ----------------------------------------------------------------------- */

/* What the device that runs the node would have for op on these; us: tn_kernel_of_types. */
const TnKernel *tn_kernel_laid(const TnLaying *l, guint number, const TnGraphNode *node,
                               const TnOp *op, const void *attrs, gint n_in, const TnType *types,
                               double *us);
/* Whether channels of x make whole blocks; else tn_lay_blocked takes it as it is. */
gboolean tn_in_blocks(const TnRewriter *rw, TnVal x);
/* Each: FALSE where the node is not of that sort or has no such kernel; else out is set. */
gboolean tn_lay_blocked(TnLaying *l, TnRewriter *rw, guint number, const TnGraphNode *node,
                        const TnVal *in, TnVal *out);
gboolean tn_lay_elements(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in,
                         TnSplit way, TnVal *out);
gboolean tn_lay_sum(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in,
                    TnVal *out);
gboolean tn_lay_places(TnLaying *l, TnRewriter *rw, guint number, const TnGraphNode *node,
                       const TnVal *in, TnVal *out);
