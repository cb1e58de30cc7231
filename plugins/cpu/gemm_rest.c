/* gemm_rest.c: what follows a product of matrices: a sum with another matrix, max (., 0), the gradient of that.
 * The same functions as those of element-wise nodes (tile_math.h), so the bits are theirs. */
#include "gemm_rest.h"

typedef void (*RestFn)(const CpuGemmRest *rest, gint64 at, gint64 n, gint64 rows, gint64 cols,
                       float *c, gint64 c_row);

static CPU_INLINE void
row_body(const CpuGemmRest *rest, gint64 at, gint64 cols, float *c)
{
    if (rest->more != NULL) {
        const float *more = rest->more + at;
        CPU_LOOP
        for (gint64 j = 0; j < cols; j++) {
            c[j] += more[j];
        }
    }
    if (rest->relu) {
        CPU_LOOP
        for (gint64 j = 0; j < cols; j++) {
            c[j] = c[j] <= 0 ? 0 : c[j];
        }
    }
    if (rest->gate != NULL) {
        const float *gate = rest->gate + at;
        CPU_LOOP
        for (gint64 j = 0; j < cols; j++) {
            c[j] = gate[j] > 0 ? c[j] : 0;
        }
    }
}

/* Columns of a whole panel of the longest vectors. */
#define WHOLE 64

static CPU_INLINE void
rest_of_body(const CpuGemmRest *rest, gint64 at, gint64 n, gint64 rows, gint64 cols, float *c,
             gint64 c_row)
{
    for (gint64 i = 0; i < rows; i++, at += n, c += c_row) {
        if (cols == WHOLE) {
            row_body(rest, at, WHOLE, c);
        } else {
            row_body(rest, at, cols, c);
        }
    }
}

CPU_VERSIONS(rest_of, RestFn,
             (const CpuGemmRest *rest, gint64 at, gint64 n, gint64 rows, gint64 cols, float *c,
              gint64 c_row),
             (rest, at, n, rows, cols, c, c_row))

void
gemm_rest_run(const CpuGemmRest *rest, gint64 at, gint64 n, gint64 rows, gint64 cols, float *c,
              gint64 c_row)
{
    rest_of[cpu_isa](rest, at, n, rows, cols, c, c_row);
}
