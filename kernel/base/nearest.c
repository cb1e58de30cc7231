/* nearest.c: which known name a mistyped one was meant to be. */
#include <string.h>

#include <tenon/base.h>

#define MAX_WORD 64 /* longer names get no suggestion */

static guint
min3(guint a, guint b, guint c)
{
    return MIN(MIN(a, b), c);
}

/* Damerau-Levenshtein distance of neighbouring swaps (optimal string alignment). Case does not
 * count: a wrong capital is the smallest of mistakes. */
static guint
distance(const char *a, gsize n_a, const char *b, gsize n_b)
{
    guint rows[3][MAX_WORD + 1];
    for (gsize j = 0; j <= n_b; j++)
        rows[0][j] = (guint)j;
    for (gsize i = 1; i <= n_a; i++) {
        guint *row = rows[i % 3];
        const guint *up = rows[(i - 1) % 3];
        const guint *up2 = rows[(i + 1) % 3];
        row[0] = (guint)i;
        for (gsize j = 1; j <= n_b; j++) {
            const char x = g_ascii_tolower(a[i - 1]), y = g_ascii_tolower(b[j - 1]);
            row[j] = min3(up[j] + 1, row[j - 1] + 1, up[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == g_ascii_tolower(b[j - 2]) && g_ascii_tolower(a[i - 2]) == y)
                row[j] = MIN(row[j], up2[j - 2] + 1);
        }
    }
    return rows[n_a % 3][n_b];
}

const char *
tn_nearest(const char *word, const char *const *candidates, gsize n)
{
    const gsize length = strlen(word);
    if (length > MAX_WORD)
        return NULL;
    const char *best = NULL;
    guint best_distance = 1 + (guint)length / 4;
    for (gsize i = 0; i < n; i++) {
        const gsize n_candidate = candidates[i] ? strlen(candidates[i]) : G_MAXSIZE;
        if (n_candidate > MAX_WORD)
            continue;
        const guint d = distance(word, length, candidates[i], n_candidate);
        if (d < best_distance || (d == best_distance && !best)) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}
