/* row_lanes.h: 16 lanes of a row of f32, for loops of rows that are compiled once for each instruction set. */
#pragma once

#include <tenon/base.h>

#define LANES 16

typedef float V __attribute__((vector_size(LANES * sizeof(float))));
typedef gint32 M __attribute__((vector_size(LANES * sizeof(gint32))));
typedef V U __attribute__((aligned(sizeof(float)), may_alias));

#define LANE_NUMBERS                                                                               \
    {                                                                                              \
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15                                       \
    }
#define AT(place) (*(const U *)(place))
/* What lies `half` lanes above. */
#define UPPER(v, half)                                                                             \
    __builtin_shufflevector(v, v, half, half + 1, half + 2, half + 3, half + 4, half + 5,          \
                            half + 6, half + 7, half + 8, half + 9, half + 10, half + 11,          \
                            half + 12, half + 13, half + 14, half + 15)
