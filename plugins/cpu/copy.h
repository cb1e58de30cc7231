/* copy.h: strided copies of elements of 1, 2, 4 or 8 bytes, planned once. */
#pragma once

#include "cpu.h"

typedef struct {
    gsize size;
    gint rank;
    gint64 dims[TN_MAX_RANK], to[TN_MAX_RANK], from[TN_MAX_RANK]; /* strides in elements */
    gboolean transposes; /* the last two axes are read column by column */
    gint inner;          /* axes that one item has: 1, or 2 if it transposes */
    gint64 items, per_chunk;
} CpuCopy;

void cpu_copy_plan(CpuCopy *copy, gsize size, gint rank, const gint64 *dims, const gint64 *to,
                   const gint64 *from);
TnStatus cpu_copy_run(const CpuCopy *copy, void *to, const void *from);
/* Fills n elements with the one at `value`. */
TnStatus cpu_fill(void *to, gsize size, gint64 n, const void *value);
