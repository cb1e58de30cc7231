/* alloc.c: memory whose size depends on the user's data: its failure is an error, and tests can
 * make it fail at will. */
#include <stdatomic.h>
#include <stdlib.h>

#include <tenon/base.h>

/* Allocations since the last tn_data_fail_nth, and the one of them that fails (0: none). */
static atomic_ullong allocations;
static atomic_ullong failing;

__attribute__((constructor)) static void
read_environment(void)
{
    const char *text = getenv("TENON_FAIL_ALLOC");
    if (text)
        atomic_store(&failing, strtoull(text, NULL, 10));
}

guint64
tn_data_fail_nth(guint64 nth)
{
    atomic_store(&failing, 0);
    const guint64 before = atomic_exchange(&allocations, 0);
    atomic_store(&failing, nth);
    return before;
}

gboolean
tn_size_mul(gsize count, gsize size, gsize *bytes)
{
    gsize product;
    if (__builtin_mul_overflow(count, size, &product) || product > (gsize)G_MAXINT64)
        return FALSE;
    *bytes = product;
    return TRUE;
}

void *
tn_data_alloc(gsize bytes)
{
    const guint64 number = atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed) + 1;
    if (number == atomic_load_explicit(&failing, memory_order_relaxed) ||
        bytes > (gsize)G_MAXINT64 - TN_ALIGN)
        return NULL;
    /* aligned_alloc wants a multiple of the alignment, and 0 bytes may give NULL. */
    const gsize rounded = MAX((bytes + TN_ALIGN - 1) & ~(gsize)(TN_ALIGN - 1), TN_ALIGN);
    return aligned_alloc(TN_ALIGN, rounded);
}

void *
tn_data_alloc_for(gsize bytes, const char *what, GError **error)
{
    void *memory = tn_data_alloc(bytes);
    if (!memory)
        g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY,
                    "out of memory: %" G_GSIZE_FORMAT " bytes for %s", bytes, what);
    return memory;
}

void
tn_data_free(void *memory)
{
    free(memory);
}
