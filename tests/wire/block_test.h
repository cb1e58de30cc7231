/* block_test.h: for tests of memory shared between processes: what is sent, looked at and counted, and
 * other processes. */
#pragma once

#include "wire/block.c"

#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tn_test.h"

#define LARGE 1000001 /* no multiple of a page */

/* Checks of the harness stay in the process that runs the test; a forked one ends. */
#define CHILD_CHECK(x)                                                                             \
    G_STMT_START                                                                                   \
    {                                                                                              \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: in a forked process: %s\n", __FILE__, __LINE__, #x);           \
            _exit(1);                                                                              \
        }                                                                                          \
    }                                                                                              \
    G_STMT_END

static inline void
run_child(void (*func)(gconstpointer data), gconstpointer data)
{
    int status = -1;
    const pid_t pid = fork();
    TN_REQUIRE(pid >= 0);
    if (pid == 0) {
        func(data);
        _exit(0);
    }
    TN_ASSERT(waitpid(pid, &status, 0) == pid);
    TN_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline guint8
pattern(gsize i, guint seed)
{
    return (guint8)(i * 31 + i / 4096 + seed);
}

static inline void
fill(guint8 *memory, gsize n, guint seed)
{
    for (gsize i = 0; i < n; i++)
        memory[i] = pattern(i, seed);
}

static inline gboolean
is_filled(const guint8 *memory, gsize n, guint seed)
{
    for (gsize i = 0; i < n; i++)
        if (memory[i] != pattern(i, seed))
            return FALSE;
    return TRUE;
}

/* A filled block, as a sender makes it. */
static inline TnBlockName
take_filled(TnBlocks *blocks, gsize n, guint seed)
{
    g_autoptr(GError) error = NULL;
    TnBlockName name = { 0 };
    void *memory = NULL;
    TN_REQUIRE(tn_blocks_take(blocks, n, &name, &memory, &error));
    TN_REQUIRE_NO_ERROR(error);
    fill(memory, n, seed);
    return name;
}

/* Mappings of blocks in this process with the rights ("r--s", "rw-s"). */
static inline guint
count_maps(const char *rights)
{
    g_autofree char *text = NULL;
    TN_REQUIRE(g_file_get_contents("/proc/self/maps", &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint n = 0;
    for (guint i = 0; lines[i]; i++)
        n += strstr(lines[i], "memfd:" NAME) && strstr(lines[i], rights);
    return n;
}

/* What a receiver was told, and when. */
typedef struct {
    atomic_uint released, destroyed;
    _Atomic guint64 last;
} Told;

static inline void
on_release(guint64 key, gpointer data)
{
    Told *told = data;
    atomic_store(&told->last, key);
    atomic_fetch_add(&told->released, 1);
}

static inline void
on_destroy(gpointer data)
{
    Told *told = data;
    atomic_fetch_add(&told->destroyed, 1);
}

static inline TnStorage *
open_and_wrap(TnBlockMaps *maps, const TnBlockName *name)
{
    g_autoptr(GError) error = NULL;
    TnStorage *storage = tn_block_maps_wrap(maps, name, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_REQUIRE(storage != NULL);
    TN_ASSERT_CMPUINT(tn_storage_bytes(storage), ==, name->bytes);
    TN_ASSERT_CMPUINT((guintptr)tn_storage_memory(storage) % TN_ALIGN, ==, 0);
    return storage;
}
