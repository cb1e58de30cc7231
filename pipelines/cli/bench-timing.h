/* bench-timing.h: the clock of benchmark cases, and what is told of many times. */
#pragma once

#include <glib.h>

/* Seconds. */
static inline double
bench_now(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

/* An empty array of doubles. (transfer full). */
static inline GArray *
bench_times(void)
{
    return g_array_new(FALSE, FALSE, sizeof(double));
}

/* Of an array of doubles, which it sorts; quantile 0.5: the median. */
double bench_quantile(GArray *values, double quantile);

static inline double
bench_median(GArray *values)
{
    return bench_quantile(values, 0.5);
}
