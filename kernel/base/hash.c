/* hash.c: FNV-1a, 64 bits: names of streams, digests of graphs and caches. Not for secrets. */
#include <tenon/base.h>

guint64
tn_hash(guint64 hash, const void *bytes, gsize size)
{
    const guint8 *p = bytes;
    for (gsize i = 0; i < size; i++)
        hash = (hash ^ p[i]) * G_GUINT64_CONSTANT(0x100000001b3);
    return hash;
}
