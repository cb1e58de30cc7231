/* gemm_pack.h: copies of parts of operands in the order in which the innermost products read
 * them. */
#pragma once

#include <glib.h>

/* A part of a matrix: element (i, j) at i * row + j * col. */
typedef struct {
    gboolean f64;
    const void *from;
    gint64 row, col;
} GemmPart;

/* `rows` rows over k, in groups of GEMM_ROWS; within a group column by column. */
void gemm_pack_a(const GemmPart *a, gint64 rows, gint64 k, void *to);
/* k rows of cols columns, in panels of `width` columns (k * width elements each); zeros behind the
 * last column. */
void gemm_pack_b(const GemmPart *b, gint64 k, gint64 cols, gint64 width, void *to);
/* One panel of columns whose elements are neighbours, as rows of `width` columns `step` apart. */
void gemm_pack_columns(const GemmPart *b, gint64 k, gint64 cols, gint64 width, gint64 step,
                       void *to);
