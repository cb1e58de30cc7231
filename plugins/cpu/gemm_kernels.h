/* gemm_kernels.h: the innermost products: up to 6 rows by up to 4 vectors of columns, accumulated
 * in registers. */
#pragma once

#include <glib.h>

#define GEMM_ROWS 6
#define GEMM_VECTORS 4

/* c (rows x vectors, c_row apart) = from + a b over k. a: element (i, p) at i * a_row + p * a_col.
 * b: row p at p * b_row, columns are neighbours. from: like c, from_row apart (0: one row for all),
 * may be c; NULL: 0. */
typedef void (*GemmFn)(gint64 k, const void *a, gint64 a_row, gint64 a_col, const void *b,
                       gint64 b_row, void *c, gint64 c_row, const void *from, gint64 from_row);

/* Memory that will be used next: `rows` rows, `row` bytes apart. */
typedef struct {
    const char *at, *row_end; /* of the first: what was not asked for yet, and where it ends */
    gint64 rows, row, skip;   /* skip: from behind a row's last line to the next row */
    guintptr also[2];         /* next_three: bytes from there to what lies alike */
} GemmNext;

#define GEMM_LINE 64
static inline GemmNext
gemm_next(const char *from, gint64 rows, gint64 row, gint64 bytes)
{
    const gint64 lines = (bytes + GEMM_LINE - 1) / GEMM_LINE;
    return (
        GemmNext){ from, from + bytes, bytes > 0 ? rows : 0, row, row - lines * GEMM_LINE, { 0 } };
}

/* Places of k in a turn of the loop. */
#define GEMM_STEP 4
/* The product of GEMM_ROWS rows and all vectors, while a line in GEMM_STEP places of k is fetched into the
 * second-level cache: spread like this it costs little; many lines at once would hold up what the
 * product itself reads. */
typedef void (*GemmNextFn)(gint64 k, const void *a, gint64 a_row, gint64 a_col, const void *b,
                           gint64 b_row, void *c, gint64 c_row, const void *from, gint64 from_row,
                           GemmNext *next);

typedef struct {
    gint lanes[2]; /* of a vector: f32, f64 */
    gint vectors;  /* the most columns at once, in vectors */
    GemmFn fn[2][GEMM_ROWS][GEMM_VECTORS];
    GemmNextFn next[2];
    GemmNextFn next_three; /* f32, of three matrices: three lines at once */
} GemmKernels;

/* Per instruction set. */
extern const GemmKernels gemm_kernels[];
