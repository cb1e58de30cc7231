/* wait.c: conditions whose waits end by a clock that only goes forward. */
#include <time.h>

#include "stage/stage-private.h"

void
tn_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

void
tn_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, gint64 most_us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += CLAMP(most_us, 0, TN_LOOK_US) * 1000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(cond, lock, &until);
}
