/* block.c: blocks of shared memory: who sends makes and reuses them, who receives maps them. */
#include "wire/block.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/dlpack.h>

#define NAME "tenon-block" /* in /proc/PID/fd and /proc/PID/maps */
#define MOST_KEPT 64       /* mappings that nobody uses, and those in use, together */
#define MOST_CONTENTS ((guint64)G_MAXINT64 / 2) /* so that no sum with them overflows */

/* --- Names ------------------------------------------------------------------------------------ */

gboolean
tn_block_name_read(TnBlockName *name, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 5);
    const guint n = g_strv_length(parts);
    guint64 number[4] = { 0 };
    for (guint i = 0; i < n && n <= G_N_ELEMENTS(number); i++)
        if (!g_ascii_string_to_unsigned(parts[i], 10, 0, i < 2 ? G_MAXINT32 : G_MAXUINT64,
                                        &number[i], NULL))
            return FALSE;
    if (n != 2 && n != 4)
        return FALSE;
    name->pid = (gint32)number[0];
    name->fd = (gint32)number[1];
    if (n == 4) {
        name->key = number[2];
        name->bytes = number[3];
    }
    return TRUE;
}

/* --- The side that sends ---------------------------------------------------------------------- */

typedef struct {
    TnBlockName name;
    guint8 *memory; /* of the whole file; NULL: none yet */
    gboolean taken;
} Block;

struct TnBlocks {
    GPtrArray *all; /* of Block */
    gsize most, bytes;
};

static gsize
whole(const TnBlockName *name)
{
    return (gsize)name->bytes + TN_BLOCK_HEAD;
}

static void
block_free(gpointer data)
{
    Block *block = data;
    if (block->memory)
        munmap(block->memory, whole(&block->name));
    /* Who has it mapped would hold on to its memory, though nobody reads what was released. The hole
     * reaches over the end: a page of which only a part is in it would stay. */
    if (block->name.fd >= 0 && !block->taken)
        (void)!fallocate(block->name.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                         (off_t)whole(&block->name) + getpagesize());
    if (block->name.fd >= 0)
        close(block->name.fd);
    g_free(block);
}

static guint64
random_key(void)
{
    guint64 key = 0;
    while (key == 0)
        if (getrandom(&key, sizeof key, 0) != sizeof key)
            key = 0;
    return key;
}

/* Memory is there before anybody touches it. The file keeps its size, so that no reader meets its
 * end, and nobody else may open it for writing. */
static gboolean
block_fill(Block *block)
{
    const gsize size = whole(&block->name);
    int rc;
    if ((block->name.fd = memfd_create(NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0)
        return FALSE;
    do
        rc = fallocate(block->name.fd, 0, 0, (off_t)size);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 || fchmod(block->name.fd, S_IRUSR) < 0 ||
        fcntl(block->name.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return FALSE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, block->name.fd, 0);
    if (memory == MAP_FAILED)
        return FALSE;
    block->memory = memory;
    memcpy(block->memory, &block->name.key, sizeof block->name.key);
    return TRUE;
}

static Block *
block_new(gsize bytes, GError **error)
{
    Block *block = g_new0(Block, 1);
    block->name = (TnBlockName){ getpid(), -1, random_key(), bytes };
    errno = ENOMEM;
    if (bytes > MOST_CONTENTS || !block_fill(block)) {
        g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY,
                    "out of memory: a shared block of %zu bytes: %s", bytes, g_strerror(errno));
        block_free(block);
        return NULL;
    }
    return block;
}

TnBlocks *
tn_blocks_new(gsize most)
{
    TnBlocks *blocks = g_new0(TnBlocks, 1);
    blocks->all = g_ptr_array_new_with_free_func(block_free);
    blocks->most = most;
    return blocks;
}

void
tn_blocks_free(TnBlocks *blocks)
{
    if (!blocks)
        return;
    g_ptr_array_unref(blocks->all);
    g_free(blocks);
}

/* The smallest that is free and large enough, or NULL. */
static Block *
find_free(const TnBlocks *blocks, gsize bytes)
{
    Block *best = NULL;
    for (guint i = 0; i < blocks->all->len; i++) {
        Block *block = g_ptr_array_index(blocks->all, i);
        if (!block->taken && block->name.bytes >= bytes &&
            (!best || block->name.bytes < best->name.bytes))
            best = block;
    }
    return best;
}

/* Free blocks, of which none is large enough, go until there is room; none does if that is in vain. */
static void
make_room(TnBlocks *blocks, gsize bytes)
{
    gsize taken = 0;
    for (guint i = 0; i < blocks->all->len; i++) {
        const Block *block = g_ptr_array_index(blocks->all, i);
        taken += block->taken ? (gsize)block->name.bytes : 0;
    }
    if (bytes > blocks->most - taken)
        return;
    for (guint i = 0; bytes > blocks->most - blocks->bytes;) {
        const Block *block = g_ptr_array_index(blocks->all, i);
        if (block->taken) {
            i++;
            continue;
        }
        blocks->bytes -= (gsize)block->name.bytes;
        g_ptr_array_remove_index(blocks->all, i);
    }
}

static Block *
add(TnBlocks *blocks, gsize bytes, GError **error)
{
    if (bytes > blocks->most - blocks->bytes) {
        g_set_error(error, TN_ERROR, TN_ERROR_BUSY,
                    "no room for a shared block of %zu bytes: %zu of at most %zu are there", bytes,
                    blocks->bytes, blocks->most);
        return NULL;
    }
    Block *block = block_new(bytes, error);
    if (block) {
        blocks->bytes += bytes;
        g_ptr_array_add(blocks->all, block);
    }
    return block;
}

gboolean
tn_blocks_take(TnBlocks *blocks, gsize bytes, TnBlockName *name, void **memory, GError **error)
{
    Block *block = find_free(blocks, bytes);
    if (!block) {
        make_room(blocks, bytes);
        block = add(blocks, bytes, error);
    } else if (block->name.bytes / 2 > bytes) {
        Block *fitting = add(blocks, bytes, NULL);
        block = fitting ? fitting : block;
    }
    if (!block)
        return FALSE;
    block->taken = TRUE;
    *name = block->name;
    *memory = block->memory + TN_BLOCK_HEAD;
    return TRUE;
}

gboolean
tn_blocks_release(TnBlocks *blocks, guint64 key)
{
    for (guint i = 0; i < blocks->all->len; i++) {
        Block *block = g_ptr_array_index(blocks->all, i);
        if (block->taken && block->name.key == key) {
            block->taken = FALSE;
            return TRUE;
        }
    }
    return FALSE;
}

void
tn_blocks_release_all(TnBlocks *blocks)
{
    for (guint i = 0; i < blocks->all->len; i++)
        ((Block *)g_ptr_array_index(blocks->all, i))->taken = FALSE;
}

gsize
tn_blocks_bytes(const TnBlocks *blocks)
{
    return blocks->bytes;
}

guint
tn_blocks_taken(const TnBlocks *blocks)
{
    guint n = 0;
    for (guint i = 0; i < blocks->all->len; i++)
        n += ((const Block *)g_ptr_array_index(blocks->all, i))->taken != 0;
    return n;
}

/* --- The side that receives ------------------------------------------------------------------- */

typedef struct {
    TnBlockName name;
    const guint8 *memory; /* of the whole file */
    gboolean lent;
} Map;

struct TnBlockMaps {
    void (*release)(guint64 key, gpointer data);
    gpointer data;
    GDestroyNotify destroy;
    pthread_mutex_t lock; /* of what is below: what was lent comes back on any thread */
    GPtrArray *all;       /* of Map, the one that was used last at the end */
    guint lent;
    gboolean freed; /* by its owner; it stays until nothing is lent */
};

static void
map_free(gpointer data)
{
    Map *map = data;
    munmap((void *)map->memory, whole(&map->name));
    g_free(map);
}

TnBlockMaps *
tn_block_maps_new(void (*release)(guint64 key, gpointer data), gpointer data,
                  GDestroyNotify destroy)
{
    TnBlockMaps *maps = g_new0(TnBlockMaps, 1);
    maps->release = release;
    maps->data = data;
    maps->destroy = destroy;
    pthread_mutex_init(&maps->lock, NULL);
    maps->all = g_ptr_array_new_with_free_func(map_free);
    return maps;
}

static void
maps_end(TnBlockMaps *maps)
{
    g_ptr_array_unref(maps->all);
    pthread_mutex_destroy(&maps->lock);
    if (maps->destroy)
        maps->destroy(maps->data);
    g_free(maps);
}

/* Under the lock: the oldest that are not lent go until at most `most` are left. */
static void
shrink(TnBlockMaps *maps, guint most)
{
    for (guint i = 0; i < maps->all->len && maps->all->len > most;)
        if (((const Map *)g_ptr_array_index(maps->all, i))->lent)
            i++;
        else
            g_ptr_array_remove_index(maps->all, i);
}

void
tn_block_maps_free(TnBlockMaps *maps)
{
    if (!maps)
        return;
    pthread_mutex_lock(&maps->lock);
    maps->freed = TRUE;
    shrink(maps, 0);
    const gboolean last = maps->lent == 0;
    pthread_mutex_unlock(&maps->lock);
    if (last)
        maps_end(maps);
}

/* Under the lock. What is found is from now on the one that was used last. */
static Map *
find_map(TnBlockMaps *maps, guint64 key)
{
    for (guint i = 0; i < maps->all->len; i++) {
        Map *map = g_ptr_array_index(maps->all, i);
        if (map->name.key != key)
            continue;
        g_ptr_array_add(maps->all, g_ptr_array_steal_index(maps->all, i));
        return map;
    }
    return NULL;
}

static gboolean
corrupt(const TnBlockName *name, GError **error, const char *why)
{
    g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                "shared block %d of process %d, of %" G_GUINT64_FORMAT " bytes: %s", name->fd,
                name->pid, name->bytes, why);
    return FALSE;
}

/* Whether mapping it for reading is safe: whoever has it cannot take pages away from under us. */
static gboolean
check_file(int fd, const TnBlockName *name, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return corrupt(name, error, "it is not a regular file");
    if ((guint64)st.st_size != name->bytes + TN_BLOCK_HEAD)
        return corrupt(name, error, "the file has another size");
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return corrupt(name, error, "the file may become shorter");
    return TRUE;
}

static const guint8 *
map_file(int fd, const TnBlockName *name, GError **error)
{
    if (!check_file(fd, name, error))
        return NULL;
    guint8 *memory = mmap(NULL, whole(name), PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "shared block %d of process %d: cannot map: %s",
                    name->fd, name->pid, g_strerror(errno));
        return NULL;
    }
    if (memcmp(memory, &name->key, sizeof name->key) == 0)
        return memory;
    corrupt(name, error, "it holds another key");
    munmap(memory, whole(name));
    return NULL;
}

static const guint8 *
open_and_map(const TnBlockName *name, GError **error)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", name->pid, name->fd);
    /* The number may have become that of a pipe or a terminal: neither is waited for or taken. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: cannot open: %s", path, g_strerror(errno));
        return NULL;
    }
    const guint8 *memory = map_file(fd, name, error);
    close(fd);
    return memory;
}

/* Under the lock, which is held until it is lent: a map that nobody uses may be forgotten. */
static Map *
open_map(TnBlockMaps *maps, const TnBlockName *name, GError **error)
{
    Map *map = find_map(maps, name->key);
    if (map && (map->name.pid != name->pid || map->name.fd != name->fd ||
                map->name.bytes != name->bytes)) {
        corrupt(name, error, "another one has its key");
        return NULL;
    }
    if (map)
        return map;
    const guint8 *memory = open_and_map(name, error);
    if (!memory)
        return NULL;
    shrink(maps, MOST_KEPT - 1);
    map = g_new0(Map, 1);
    map->name = *name;
    map->memory = memory;
    g_ptr_array_add(maps->all, map);
    return map;
}

/* --- What is lent ----------------------------------------------------------------------------- */

/* It goes to the kernel as another library's memory that is read-only, which is what it is. */
typedef struct {
    DLManagedTensorVersioned managed;
    int64_t size;
    TnBlockMaps *maps;
    guint64 key;
} Loan;

static void
give_back(DLManagedTensorVersioned *managed)
{
    Loan *loan = managed->manager_ctx;
    TnBlockMaps *maps = loan->maps;
    pthread_mutex_lock(&maps->lock);
    find_map(maps, loan->key)->lent = FALSE;
    shrink(maps, maps->freed ? 0 : MOST_KEPT);
    pthread_mutex_unlock(&maps->lock);
    /* Only now, since the sender may use the block again at once; and before the count falls, with
     * which data may go. */
    if (maps->release)
        maps->release(loan->key, maps->data);
    g_free(loan);
    pthread_mutex_lock(&maps->lock);
    const gboolean last = --maps->lent == 0 && maps->freed;
    pthread_mutex_unlock(&maps->lock);
    if (last)
        maps_end(maps);
}

static Loan *
loan_new(TnBlockMaps *maps, const Map *map)
{
    Loan *loan = g_new0(Loan, 1);
    loan->maps = maps;
    loan->key = map->name.key;
    loan->size = (int64_t)map->name.bytes;
    loan->managed = (DLManagedTensorVersioned){
        .version = { DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION },
        .manager_ctx = loan,
        .deleter = give_back,
        .flags = DLPACK_FLAG_BITMASK_READ_ONLY,
        .dl_tensor = { .data = (void *)(map->memory + TN_BLOCK_HEAD),
                       .device = { kDLCPU, 0 },
                       .ndim = 1,
                       .dtype = { kDLUInt, 8, 1 },
                       .shape = &loan->size },
    };
    return loan;
}

/* Under the lock. */
static Loan *
lend(TnBlockMaps *maps, const TnBlockName *name, GError **error)
{
    Map *map = open_map(maps, name, error);
    if (map && map->lent)
        corrupt(name, error, "it was sent again before it was released");
    if (!map || map->lent)
        return NULL;
    map->lent = TRUE;
    maps->lent++;
    return loan_new(maps, map);
}

TnStorage *
tn_block_maps_wrap(TnBlockMaps *maps, const TnBlockName *name, GError **error)
{
    if (name->pid <= 0 || name->fd < 0 || name->key == 0 || name->bytes > MOST_CONTENTS) {
        corrupt(name, error, "there can be no such block");
        return NULL;
    }
    pthread_mutex_lock(&maps->lock);
    Loan *loan = lend(maps, name, error);
    pthread_mutex_unlock(&maps->lock);
    g_autoptr(TnTensor) bytes = loan ? tn_tensor_from_dlpack(&loan->managed, NULL, error) : NULL;
    return bytes ? tn_storage_ref(tn_tensor_storage(bytes)) : NULL;
}
