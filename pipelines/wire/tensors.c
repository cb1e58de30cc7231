/* tensors.c: how tensors travel: small ones inside the first part, large ones in shared memory or in a
 * part of their own. */
#include <string.h>

#include <tenon/device.h>

#include "wire/wire-private.h"

#define MOST_KEYS 1024    /* of one message: they travel inside it */
#define MOST_BLOCKS 65536 /* that a peer may announce */

/* --- What was sent in place ------------------------------------------------------------------------ */

/* Tensors of a message, until they have been copied or ZeroMQ has read them. */
typedef struct {
    atomic_int refs;
    guint n;
    TnTensor *tensors[TN_WIRE_MOST_TENSORS];
    TnWireHold hold;
} Kept;

static void
kept_release(const Kept *kept)
{
    for (guint i = 0; i < kept->n; i++)
        tn_tensor_unref(kept->tensors[i]);
    if (kept->hold.func)
        kept->hold.func(kept->hold.data);
}

static void
kept_unref(Kept *kept)
{
    if (atomic_fetch_sub_explicit(&kept->refs, 1, memory_order_acq_rel) != 1)
        return;
    kept_release(kept);
    g_free(kept);
}

/* On a thread of ZeroMQ's. */
static void
part_was_sent(void *data, void *hint)
{
    (void)data;
    kept_unref(hint);
}

/* Contiguous on the host; (transfer full). */
static TnTensor *
plain(TnTensor *tensor, GError **error)
{
    return tn_tensor_is_contiguous(tensor) && tn_device_is_host(tn_tensor_device(tensor))
               ? tn_tensor_ref(tensor)
               : tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, error);
}

static const void *
elements(const TnTensor *tensor)
{
    const gint64 bits = tn_dtype_info(tn_tensor_dtype(tensor))->bits;
    return (const guint8 *)tn_storage_memory(tn_tensor_storage(tensor)) +
           tn_tensor_offset(tensor) * bits / 8;
}

static gboolean
keep(Kept *kept, guint n, TnTensor *const *tensors, TnWireHold hold, GError **error)
{
    kept->hold = hold;
    kept->n = 0;
    if (n > TN_WIRE_MOST_TENSORS) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "%u tensors cannot be sent at once, at most %d can", n, TN_WIRE_MOST_TENSORS);
        kept_release(kept);
        return FALSE;
    }
    for (; kept->n < n; kept->n++) {
        kept->tensors[kept->n] = plain(tensors[kept->n], error);
        if (!kept->tensors[kept->n]) {
            kept_release(kept);
            return FALSE;
        }
    }
    return TRUE;
}

/* --- Into a message -------------------------------------------------------------------------------- */

static gsize
aligned(gsize bytes)
{
    return (bytes + TN_ALIGN - 1) & ~(gsize)(TN_ALIGN - 1);
}

/* All large tensors into one block, whose key is given; 0: they travel otherwise. */
static guint64
into_block(TnPeer *peer, TnMessage *message, const Kept *kept, TnBlockName *announce)
{
    gsize bytes = 0, offset = 0;
    TnBlockName name;
    void *memory;
    for (guint i = 0; i < kept->n; i++)
        if (message->tensors[i].place != TN_WIRE_INLINE_AT)
            bytes += aligned(message->tensors[i].bytes);
    if (!peer->blocks || bytes == 0 || !tn_blocks_take(peer->blocks, bytes, &name, &memory, NULL))
        return 0;
    for (guint i = 0; i < kept->n; i++) {
        if (message->tensors[i].place == TN_WIRE_INLINE_AT)
            continue;
        message->tensors[i].place = TN_WIRE_IN_BLOCK;
        message->tensors[i].block = name.key;
        message->tensors[i].offset = offset;
        memcpy((guint8 *)memory + offset, elements(kept->tensors[i]), message->tensors[i].bytes);
        offset += aligned(message->tensors[i].bytes);
    }
    if (g_hash_table_add(peer->announced, (gpointer)(gsize)name.key))
        *announce = name;
    tn_count(&peer->counts->bytes_shared, bytes);
    return name.key;
}

/* What is sent in place is kept on the heap until the last part is gone, all else is let go. */
static void
into_parts(const TnZmq *zmq, const TnMessage *message, const Kept *kept, TnParts *parts)
{
    Kept *sent = NULL;
    for (guint i = 0; i < kept->n; i++) {
        if (message->tensors[i].place != TN_WIRE_OWN_PART)
            continue;
        if (!sent) {
            sent = g_memdup2(kept, sizeof *kept);
            atomic_init(&sent->refs, 1);
        }
        atomic_fetch_add_explicit(&sent->refs, 1, memory_order_relaxed);
        zmq->msg_init_data(&parts->parts[parts->n++], (void *)elements(kept->tensors[i]),
                           message->tensors[i].bytes, part_was_sent, sent);
    }
    if (sent)
        kept_unref(sent);
    else
        kept_release(kept);
}

static void
fill_rows(TnMessage *message, const Kept *kept)
{
    message->n = kept->n;
    for (guint i = 0; i < kept->n; i++) {
        const gsize bytes = (gsize)tn_tensor_bytes(kept->tensors[i]);
        const gboolean small = bytes <= TN_WIRE_INLINE;
        message->tensors[i].type = *tn_tensor_type(kept->tensors[i]);
        message->tensors[i].bytes = bytes;
        message->tensors[i].block = message->tensors[i].offset = 0;
        message->tensors[i].place = small ? TN_WIRE_INLINE_AT : TN_WIRE_OWN_PART;
        message->tensors[i].data = small ? elements(kept->tensors[i]) : NULL;
    }
}

gboolean
tn_tensors_pack(const TnZmq *zmq, TnPeer *peer, TnMessage *message, guint n,
                TnTensor *const *tensors, TnWireHold hold, TnParts *parts, TnBlockName *announce,
                GError **error)
{
    Kept kept;
    *announce = (TnBlockName){ 0 };
    parts->n = 0;
    if (!keep(&kept, n, tensors, hold, error))
        return FALSE;
    fill_rows(message, &kept);
    const guint64 shared = into_block(peer, message, &kept, announce);
    const gsize size = tn_message_size(message);
    if (size == 0 || zmq->msg_init_size(&parts->parts[0], size) != 0) {
        g_set_error(error, TN_ERROR, size ? TN_ERROR_NO_MEMORY : TN_ERROR_UNSUPPORTED,
                    "a %s cannot be sent: %s", tn_wire_kind_name(message->kind),
                    size ? "memory is out" : "it has more tensors or text than a message holds");
        if (shared)
            tn_blocks_release(peer->blocks, shared);
        if (announce->key)
            g_hash_table_remove(peer->announced, (gpointer)(gsize)announce->key);
        kept_release(&kept);
        return FALSE;
    }
    parts->n = 1;
    tn_message_write(message, zmq->msg_data(&parts->parts[0]));
    into_parts(zmq, message, &kept, parts);
    return TRUE;
}

/* --- Out of a message ------------------------------------------------------------------------------ */

/* Blocks that nobody here reads any more, to be told to their owner. Outlives the peer while tensors
 * lie in its blocks. */
struct TnReleases {
    atomic_int refs;
    pthread_mutex_t lock;
    GArray *keys; /* of guint64 */
};

static void
releases_unref(gpointer data)
{
    TnReleases *releases = data;
    if (atomic_fetch_sub_explicit(&releases->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&releases->lock);
    g_array_unref(releases->keys);
    g_free(releases);
}

static void
note_release(guint64 key, gpointer data)
{
    TnReleases *releases = data;
    pthread_mutex_lock(&releases->lock);
    g_array_append_val(releases->keys, key);
    pthread_mutex_unlock(&releases->lock);
}

typedef struct {
    const TnZmq *zmq;
    zmq_msg_t part;
} Part;

static void
free_part(gpointer data)
{
    Part *part = data;
    part->zmq->msg_close(&part->part);
    g_free(part);
}

/* A part's bytes as they lie, where elements may lie so, else copied. */
static TnTensor *
from_part(const TnZmq *zmq, TnType type, gsize bytes, zmq_msg_t *from, GError **error)
{
    void *data = zmq->msg_data(from);
    if ((gsize)data % sizeof(gint64) != 0)
        return tn_tensor_from(type, data, error);
    Part *part = g_new(Part, 1);
    part->zmq = zmq;
    zmq->msg_init(&part->part);
    zmq->msg_move(&part->part, from);
    g_autoptr(TnStorage) storage =
        tn_storage_wrap(tn_device_host(), zmq->msg_data(&part->part), bytes, free_part, part);
    return tn_tensor_view(storage, type, NULL, 0, error);
}

/* block: that of the tensor before, which is often the same. */
static TnTensor *
from_block(TnPeer *peer, TnType type, guint64 key, guint64 offset, guint64 *block,
           TnStorage **storage, GError **error)
{
    const guint64 each = (guint64)tn_dtype_info(type.dtype)->bits / 8;
    if (*block != key) {
        const TnBlockName *name =
            peer->maps ? g_hash_table_lookup(peer->blocks_in, (gpointer)(gsize)key) : NULL;
        g_clear_pointer(storage, tn_storage_unref);
        *block = 0;
        if (!name) {
            g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                        "a tensor lies in a block that was not announced");
            return NULL;
        }
        if (!(*storage = tn_block_maps_wrap(peer->maps, name, error)))
            return NULL;
        *block = key;
    }
    if (offset % each != 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                    "a tensor begins inside an element of its block");
        return NULL;
    }
    return tn_tensor_view(*storage, type, NULL, (gint64)(offset / each), error);
}

gboolean
tn_tensors_unpack(const TnZmq *zmq, TnPeer *peer, const TnMessage *message, TnParts *parts,
                  TnTensor **tensors, GError **error)
{
    guint own = 0, i;
    guint64 block = 0;
    g_autoptr(TnStorage) storage = NULL;
    for (i = 0; i < message->n; i++) {
        const TnType type = message->tensors[i].type;
        const gsize bytes = message->tensors[i].bytes;
        tensors[i] = NULL;
        if (message->tensors[i].place == TN_WIRE_INLINE_AT) {
            tensors[i] = tn_tensor_from(type, message->tensors[i].data, error);
        } else if (message->tensors[i].place == TN_WIRE_IN_BLOCK) {
            tensors[i] = from_block(peer, type, message->tensors[i].block,
                                    message->tensors[i].offset, &block, &storage, error);
        } else if (++own < parts->n && zmq->msg_size(&parts->parts[own]) == bytes) {
            tensors[i] = from_part(zmq, type, bytes, &parts->parts[own], error);
        } else {
            g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                        "tensor %u has %" G_GSIZE_FORMAT " bytes, its part has %" G_GSIZE_FORMAT, i,
                        bytes, own < parts->n ? zmq->msg_size(&parts->parts[own]) : 0);
        }
        if (!tensors[i])
            break;
    }
    if (i == message->n && own + 1 == parts->n) {
        tn_count(&peer->counts->bytes_in, tn_message_bytes(message));
        return TRUE;
    }
    if (i == message->n)
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "%u parts, %u are wanted", parts->n,
                    own + 1);
    while (i > 0)
        tn_tensor_unref(tensors[--i]);
    return FALSE;
}

gboolean
tn_tensors_announced(TnPeer *peer, const TnBlockName *name)
{
    if (!peer->maps || g_hash_table_size(peer->blocks_in) >= MOST_BLOCKS)
        return FALSE;
    g_hash_table_replace(peer->blocks_in, (gpointer)(gsize)name->key,
                         g_memdup2(name, sizeof *name));
    return TRUE;
}

void
tn_tensors_drop(TnPeer *peer, const TnMessage *message)
{
    guint64 last = 0;
    for (guint i = 0; i < message->n && peer->releases; i++) {
        if (message->tensors[i].place != TN_WIRE_IN_BLOCK || message->tensors[i].block == last)
            continue;
        last = message->tensors[i].block;
        note_release(last, peer->releases);
    }
}

/* --- Peers ------------------------------------------------------------------------------------------ */

void
tn_tensors_open(TnPeer *peer, gboolean shares, gsize most_shared)
{
    if (!shares)
        return;
    peer->blocks = tn_blocks_new(most_shared);
    peer->announced = g_hash_table_new(NULL, NULL);
    peer->blocks_in = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    peer->releases = g_new0(TnReleases, 1);
    atomic_init(&peer->releases->refs, 2);
    pthread_mutex_init(&peer->releases->lock, NULL);
    peer->releases->keys = g_array_new(FALSE, FALSE, sizeof(guint64));
    peer->maps = tn_block_maps_new(note_release, peer->releases, releases_unref);
}

void
tn_tensors_close(TnPeer *peer)
{
    if (!peer->blocks)
        return;
    g_clear_pointer(&peer->blocks, tn_blocks_free);
    g_clear_pointer(&peer->announced, g_hash_table_unref);
    g_clear_pointer(&peer->blocks_in, g_hash_table_unref);
    g_clear_pointer(&peer->maps, tn_block_maps_free);
    g_clear_pointer(&peer->releases, releases_unref);
}

TnTensor *
tn_tensors_released(TnPeer *peer)
{
    TnReleases *releases = peer->releases;
    TnTensor *keys = NULL;
    if (!releases)
        return NULL;
    pthread_mutex_lock(&releases->lock);
    const gint64 n = MIN(releases->keys->len, MOST_KEYS);
    if (n > 0) {
        keys = tn_tensor_from(tn_type(TN_DTYPE_U64, 1, &n), releases->keys->data, NULL);
        if (keys)
            g_array_remove_range(releases->keys, 0, (guint)n);
    }
    pthread_mutex_unlock(&releases->lock);
    return keys;
}
