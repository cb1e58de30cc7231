/* linear_rest.h: what follows a dense layer, done with each region of its result while that is in the cache: an
 * activation and the sum with another value of the result's shape. The functions are those of element-wise nodes
 * (tile.h), so the bits are theirs. */
#pragma once

#include "copy.h"
#include "gemm.h"
#include "tile.h"

typedef struct {
    TileFn act, add; /* NULL: none */
    gint arity;      /* of act: 2 where its second operand is 0 */
    gboolean last;   /* what is added is so behind the activation */
    gboolean f64;    /* elements are doubles, not floats */
    gint64 n;        /* columns of the result */
    gint64
        more_row; /* from one row of what is added to the next, in elements; its columns are neighbours */
    gboolean copies; /* it has gaps: it is copied first, to copy_at in scratch */
    gsize copy_at;
    CpuCopy copy;
} LinearRest;

/* Whether there are functions for what a fused_linear does; FALSE too for another operator. */
gboolean linear_rest_fits(const TnNode *node);
/* Of a fused_linear that it fits. More scratch is reserved where it is needed. */
void linear_rest_plan(LinearRest *rest, const TnNode *node, gsize *scratch);
/* Where there is something to add, more: input 3, which is copied if it must be. Where it is read then. */
const char *linear_rest_begin(const LinearRest *rest, const void *more, void *scratch);
/* Of rows [row, row + rows) of the whole result and columns [col, col + cols), in place. c, more: the whole ones'
 * first elements. */
void linear_rest_run(const LinearRest *rest, char *c, const char *more, gint64 row, gint64 rows,
                     gint64 col, gint64 cols);
