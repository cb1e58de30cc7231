/* block.h: memory that two processes of one host share, so that large tensors need no socket.
 *
 * A block is an anonymous file (memfd) of the process that sends. A message names it by process, file
 * number and a random key that stands in its first page; who receives opens
 * /proc/PID/fd/NUMBER, maps it for reading and compares the key. So no name lies in a file system,
 * nobody but the user's own processes can open it, and nothing is left after kill -9. Where it cannot
 * be opened (another user, another PID namespace) tensors travel through the socket. */
#pragma once

#include <tenon/tensor.h>

#define TN_BLOCK_HEAD 4096 /* bytes before the contents */

typedef struct {
    gint32 pid, fd;
    guint64 key;   /* random, never 0 */
    guint64 bytes; /* of the contents */
} TnBlockName;

/* "PID/FD", or "PID/FD/KEY/BYTES", as peers say it; FALSE: it is neither, or has numbers that none has. */
gboolean tn_block_name_read(TnBlockName *name, const char *text);

/* --- The side that sends: a set of blocks that are used again. Thread: one at a time. ---------- */
typedef struct TnBlocks TnBlocks;
/* most: bytes of the contents of all blocks together. */
TnBlocks *tn_blocks_new(gsize most);
/* Unmaps and closes all; who has mapped one that is taken keeps it. The memory of those that are
 * free goes back to the system, mapped or not. */
void tn_blocks_free(TnBlocks *blocks);
/* A free block of at least bytes of contents: one that was released, else a new one whose memory is
 * reserved before it is touched (fallocate), so that a full machine is an error here and no SIGBUS
 * later. A block that is more than twice too large is not taken for it while there is room for
 * another; free ones that are too small go where that makes room. FALSE with *error where there is
 * none (TN_ERROR_BUSY: most is reached; TN_ERROR_NO_MEMORY: the system has none): the tensor travels
 * otherwise. *memory is 64-byte aligned; name->bytes are those of the block, which may be more. */
gboolean tn_blocks_take(TnBlocks *blocks, gsize bytes, TnBlockName *name, void **memory,
                        GError **error);
/* The receiver needs it no more; FALSE: no block that is taken has this key. */
gboolean tn_blocks_release(TnBlocks *blocks, guint64 key);
/* All that are taken are free: their receivers are gone. */
void tn_blocks_release_all(TnBlocks *blocks);
gsize tn_blocks_bytes(const TnBlocks *blocks); /* of the contents of all blocks */
guint tn_blocks_taken(const TnBlocks *blocks);

/* --- The side that receives. Thread: one at a time, but for what is said of wrap. -------------- */
typedef struct TnBlockMaps TnBlockMaps;
/* release(key, data) is called with the last reference to what tn_block_maps_wrap gave, on whatever
 * thread that is, also after tn_block_maps_free. */
TnBlockMaps *tn_block_maps_new(void (*release)(guint64 key, gpointer data), gpointer data,
                               GDestroyNotify destroy);
void tn_block_maps_free(TnBlockMaps *maps);
/* The contents of a block, as a host storage that may be read and is never written: the mapping is
 * PROT_READ, and no tensor in it is writable (tn_tensor_is_writable). One at a time for each block: a
 * second before the first is released is TN_ERROR_CORRUPT.
 *
 * Maps the block, or finds its mapping. At most 64 are kept, and those in use: the one that was not
 * used for longest goes. Checks that it is a regular file of the size told that cannot become shorter,
 * and holds the key: TN_ERROR_CORRUPT; TN_ERROR_IO where the system refuses. (transfer full). Thread of
 * its last unref: any. */
TnStorage *tn_block_maps_wrap(TnBlockMaps *maps, const TnBlockName *name, GError **error);
