/* gemm_rest.h: what follows a product of matrices, done with each part of the result while that is in the
 * cache. */
#pragma once

#include "cpu.h"

/* + bias + more, then max (., 0) if relu, then 0 where gate is not above 0: in this order, each rounded. What
 * is NULL is left out. more, gate: as the whole result lies, n elements a row. */
typedef struct {
    const void *bias; /* n neighbours, of the result's type */
    const float *more, *gate;
    gboolean relu;
} CpuGemmRest;

/* Whether there is more to do than to add the bias, which products begin with. Only for results of f32. */
static inline gboolean
gemm_rest_is_work(const CpuGemmRest *rest)
{
    return rest != NULL && (rest->more != NULL || rest->gate != NULL || rest->relu);
}

/* What is to be fetched in time; NULL: nothing. */
static inline const float *
gemm_rest_reads(const CpuGemmRest *rest)
{
    return rest->gate != NULL ? rest->gate : rest->more;
}

/* All but the bias. c: [rows, cols], c_row apart; at: where its first element is in `more` and `gate`, n elements a
 * row. */
void gemm_rest_run(const CpuGemmRest *rest, gint64 at, gint64 n, gint64 rows, gint64 cols, float *c,
                   gint64 c_row);
