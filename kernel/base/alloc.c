/* alloc.c: memory whose size depends on the user's data: its failure is an error, and tests can
 * make it fail at will. */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <tenon/base.h>

/* Large memory is put on pages of 2 MiB where the system has them: a walk over it, or a jump into
 * it, then seldom waits for where a page is. */
#define HUGE_PAGE ((gsize)2 << 20)
#define HUGE_FROM (2 * HUGE_PAGE)

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
        bytes > (gsize)G_MAXINT64 - HUGE_PAGE)
        return NULL;
    /* aligned_alloc wants a multiple of the alignment, and 0 bytes may give NULL. */
    const gsize alignment = bytes >= HUGE_FROM ? HUGE_PAGE : TN_ALIGN;
    const gsize rounded = MAX((bytes + alignment - 1) & ~(alignment - 1), alignment);
    void *memory = aligned_alloc(alignment, rounded);
#ifdef MADV_HUGEPAGE
    if (memory && alignment == HUGE_PAGE)
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* without it, only slower */
#endif
    return memory;
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
