/* recurrent_tiles.h: what the kernels of whole sequences of bf16 share: products of 16 samples with packed
 * weights, summed in f32, and rows between bf16 and f32. For processors that have instructions for products
 * of bf16 (CPU_BF16_PAIRS, CPU_BF16_TILES); all of them add up over k from its beginning. */
#pragma once

#include "gemm_bf16.h"

/* Samples that a product takes at once, and columns of a group. */
#define TILE_ROWS BF16_TILE

/* Rows of k numbers times panels of up to four groups of 16 columns. Rows of `row` numbers are read, k
 * rounded up; those behind k must be numbers. */
typedef struct {
    gint64 k, deep, row;
    gint groups;
} TileProduct;

TileProduct tile_product(gint64 k, gint64 columns);
static inline gint64
tile_bytes(const TileProduct *p)
{
    return p->deep * p->groups * BF16_TILE_BYTES;
}
/* Columns first .. first + n - 1 of a panel from rows of w, whose numbers are neighbours; zeros up to
 * first + room. first and room: multiples of 16. */
void tile_pack_rows(const TileProduct *p, const guint16 *w, gint64 n, gint64 first, gint64 room,
                    guint16 *panel);
/* All columns of a panel from n columns of w on, rows w_row apart; zeros behind them. */
void tile_pack_columns(const TileProduct *p, const guint16 *w, gint64 w_row, gint64 n,
                       guint16 *panel);
/* to = from + a b, for 16 rows; rows are a_row, from_row (0: one row for all) and to_row apart. to may be
 * from. Between tile_begin and tile_end, on their thread. */
void tile_multiply(const TileProduct *p, const guint16 *a, gint64 a_row, const guint16 *panel,
                   const float *from, gint64 from_row, float *to, gint64 to_row);
void tile_begin(void);
void tile_end(void);

/* Rows of n numbers; results too small to be normal become zero. */
void tile_narrow(gint64 rows, gint64 n, const float *from, gint64 from_row, guint16 *to,
                 gint64 to_row);
void tile_widen(gint64 rows, gint64 n, const guint16 *from, gint64 from_row, float *to,
                gint64 to_row);
