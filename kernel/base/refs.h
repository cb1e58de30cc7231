/* refs.h: reference counts in C11 atomics, which ThreadSanitizer follows; GLib's are calls into a
 * library that it does not see. */
#pragma once

#include <stdatomic.h>

#include <glib.h>

typedef atomic_int TnRefs;

static inline void
tn_refs_init(TnRefs *refs)
{
    atomic_init(refs, 1);
}

static inline void
tn_refs_inc(TnRefs *refs)
{
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

/* TRUE for the last one: the object is the caller's to free. */
static inline gboolean
tn_refs_dec(TnRefs *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

/* The caller's reference is the only one, and what the others did has happened. */
static inline gboolean
tn_refs_only(const TnRefs *refs)
{
    return atomic_load_explicit((TnRefs *)refs, memory_order_acquire) == 1;
}
