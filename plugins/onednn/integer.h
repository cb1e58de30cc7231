/* integer.h: what products and convolutions of 8-bit numbers share (conv_integer, matmul_integer,
 * qlinear_conv, qlinear_matmul): real = scale (q - zero point).
 *
 * The library multiplies x, u8 or i8, by w', which is w as i8: u8 ones are moved by 128 with their zero
 * point. With K products in a sum, that of (x - zx) (w' - zw) is
 *     sum (x w') - zx sum (w') - zw sum (x) + K zx zw,
 * exact in 32 bits whatever overflows on the way. */
#pragma once

#include <tenon/device.h>

/* Products of a sum at most: none of two numbers of 8 bits and 9 with a zero point then leaves 32. */
#define INTEGER_DEPTH 33000

/* Which input is what; -1: none. */
typedef struct {
    gint x, x_zero, w, w_zero, x_scale, w_scale, y_scale, y_zero, bias;
} IntegerPlaces;

/* What sums become: i32 as they are, or 8 bits again. Filled from a run's inputs. */
typedef struct {
    IntegerPlaces at;
    TnDtype x, w, to;
    gboolean each_x, each_w, each_scale; /* zero points of rows, of columns; scales of columns */
    gboolean has_x_zero, has_w_zero, has_bias;
} IntegerTypes;

IntegerTypes integer_types(const TnNode *node);
/* Whether the library is there, and computes such numbers exactly. */
gboolean integer_takes(void);

/* Zero point of row `row` of x; of column `col` of w', as i8. */
gint32 integer_x_zero(const IntegerTypes *types, const TnRun *run, gint64 row);
gint32 integer_w_zero(const IntegerTypes *types, const TnRun *run, gint64 col);
/* Whether one of so many columns has one. */
gboolean integer_any_w_zero(const IntegerTypes *types, const TnRun *run, gint64 cols);
/* Numbers of w from `from` on as i8. */
void integer_signed(const IntegerTypes *types, const void *w, gint64 from, gint64 n, gint8 *to);
/* Sum of n numbers of x. */
gint32 integer_sum(const IntegerTypes *types, const void *x, gint64 from, gint64 n);
/* What a step of column col's sum is in steps of y; of i32 1. */
float integer_factor(const IntegerTypes *types, const TnRun *run, gint64 col);
/* n sums to out from element `at` on. Column `first` is the first one's; cols: the next are the next
 * columns', else of one column. factors: of all columns. */
void integer_store(const IntegerTypes *types, const TnRun *run, const gint32 *sums, gint64 n,
                   gint64 first, gboolean cols, const float *factors, gint64 at);
