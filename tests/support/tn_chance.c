/*
 * tn_chance.c - what differs from one run of a test to the next: how long things take, its seed, and
 * ports that are free.
 */
#include "tn_test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static double
now(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

TnPatience
tn_test_patience(double seconds)
{
    return (TnPatience){ now(), seconds };
}

gboolean
tn_test_patient(TnPatience *patience)
{
    const double before = patience->last;
    patience->last = now();
    patience->left -= MIN(patience->last - before, 0.1);
    return patience->left >= 0;
}

guint64
tn_test_seed(void)
{
    static guint64 seed;
    static gsize known;
    if (g_once_init_enter(&known)) {
        const char *text = g_getenv("TN_TEST_SEED");
        seed = text != NULL ? g_ascii_strtoull(text, NULL, 10) : (guint64)g_get_real_time();
        printf("# TN_TEST_SEED=%" G_GUINT64_FORMAT "\n", seed);
        fflush(stdout);
        g_once_init_leave(&known, 1);
    }
    return seed;
}

static gboolean
is_free(guint port)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                         .sin_port = htons((guint16)port) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const gboolean ok = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

guint
tn_test_port(void)
{
    for (guint tries = 0; tries < 1000; tries++) {
        const guint port =
            (guint)g_random_int_range(20000, 32000); /* the system's begin at 32768 */
        if (is_free(port))
            return port;
    }
    TN_FAIL("127.0.0.1 has no port");
    return 1;
}
