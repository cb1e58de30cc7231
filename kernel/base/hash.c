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

guint64
tn_hash_sample(guint64 hash, const void *bytes, gsize size)
{
    enum { BLOCK = 16384, BLOCKS = 64 };
    const guint64 length = size;
    hash = tn_hash(hash, &length, sizeof length);
    if (size <= (gsize)BLOCK * BLOCKS)
        return tn_hash(hash, bytes, size);
    /* In two parts, so that no product overflows. */
    const gsize last = size - BLOCK, step = last / (BLOCKS - 1), rest = last % (BLOCKS - 1);
    for (gsize i = 0; i < BLOCKS; i++)
        hash = tn_hash(hash, (const guint8 *)bytes + i * step + i * rest / (BLOCKS - 1), BLOCK);
    return hash;
}
