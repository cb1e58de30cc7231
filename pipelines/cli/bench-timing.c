/* bench-timing.c: see bench-timing.h. */
#include "bench-timing.h"

#include <stdlib.h>

static int
by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double
bench_quantile(GArray *values, double quantile)
{
    qsort(values->data, values->len, sizeof(double), by_value);
    return g_array_index(values, double, (guint)(quantile * (values->len - 1)));
}
