/* time.c: the clock that measures. */
#include <time.h>

#include <tenon/base.h>

gint64
tn_time_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (gint64)t.tv_sec * 1000000000 + t.tv_nsec;
}
