/* test_block.c: memory shared between processes: names, reuse, limits, what is refused, and what is
 * left when either side ends. */
// tn-test: label=threads
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

/* --- Helpers ---------------------------------------------------------------------------------- */

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

static void
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

static guint8
pattern(gsize i, guint seed)
{
    return (guint8)(i * 31 + i / 4096 + seed);
}

static void
fill(guint8 *memory, gsize n, guint seed)
{
    for (gsize i = 0; i < n; i++)
        memory[i] = pattern(i, seed);
}

static gboolean
is_filled(const guint8 *memory, gsize n, guint seed)
{
    for (gsize i = 0; i < n; i++)
        if (memory[i] != pattern(i, seed))
            return FALSE;
    return TRUE;
}

/* A filled block, as a sender makes it. */
static TnBlockName
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
static guint
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

static void
on_release(guint64 key, gpointer data)
{
    Told *told = data;
    atomic_store(&told->last, key);
    atomic_fetch_add(&told->released, 1);
}

static void
on_destroy(gpointer data)
{
    Told *told = data;
    atomic_fetch_add(&told->destroyed, 1);
}

static TnStorage *
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

/* --- Two processes ---------------------------------------------------------------------------- */

#define LARGE 1000001 /* no multiple of a page */

G_NORETURN static void
send_and_wait(int to_parent)
{
    TnBlocks *blocks = tn_blocks_new(10 * LARGE);
    TnBlockName name;
    void *memory;
    CHILD_CHECK(tn_blocks_take(blocks, LARGE, &name, &memory, NULL));
    fill(memory, LARGE, 5);
    CHILD_CHECK(write(to_parent, &name, sizeof name) == sizeof name);
    for (;;)
        pause(); /* until it is killed */
}

static pid_t
start_sender(TnBlockName *name)
{
    int ends[2];
    TN_REQUIRE(pipe(ends) == 0);
    const pid_t pid = fork();
    TN_REQUIRE(pid >= 0);
    if (pid == 0)
        send_and_wait(ends[1]);
    close(ends[1]);
    const ssize_t n = read(ends[0], name, sizeof *name);
    close(ends[0]);
    TN_REQUIRE(n == sizeof *name);
    return pid;
}

static gboolean
has_name_in_dev_shm(void)
{
    gboolean found = FALSE;
    const char *entry;
    GDir *dir = g_dir_open("/dev/shm", 0, NULL);
    while (dir && (entry = g_dir_read_name(dir)))
        found = found || strstr(entry, "tenon");
    g_clear_pointer(&dir, g_dir_close);
    return found;
}

static void
is_readable_when_its_sender_was_killed(void)
{
    TnBlockName name;
    Told told = { 0 };
    const pid_t pid = start_sender(&name);
    TN_ASSERT_CMPINT(name.pid, ==, pid);
    TN_ASSERT_CMPUINT(name.bytes, ==, LARGE);
    TN_ASSERT_CMPUINT(name.key, !=, 0);
    TN_ASSERT(!has_name_in_dev_shm());
    TnBlockMaps *maps = tn_block_maps_new(on_release, &told, on_destroy);
    TnStorage *storage = open_and_wrap(maps, &name);
    TN_ASSERT(is_filled(tn_storage_memory(storage), LARGE, 5));
    kill(pid, SIGKILL);
    TN_ASSERT(waitpid(pid, NULL, 0) == pid);
    TN_ASSERT(is_filled(tn_storage_memory(storage), LARGE, 5));
    TN_ASSERT_CMPUINT(count_maps("r--s"), ==, 1);
    TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, 0);
    tn_storage_unref(storage);
    TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, 1);
    TN_ASSERT_CMPUINT(atomic_load(&told.last), ==, name.key);
    tn_block_maps_free(maps);
    TN_ASSERT_CMPUINT(atomic_load(&told.destroyed), ==, 1);
    TN_ASSERT_CMPUINT(count_maps(""), ==, 0);
    TN_ASSERT(!has_name_in_dev_shm());
}

static void
is_not_there_when_its_sender_is_gone(void)
{
    TnBlockName name;
    g_autoptr(GError) error = NULL;
    const pid_t pid = start_sender(&name);
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    kill(pid, SIGKILL);
    TN_ASSERT(waitpid(pid, NULL, 0) == pid);
    TN_ASSERT(!tn_block_maps_wrap(maps, &name, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "/proc/", "cannot open");
    TN_ASSERT_CMPUINT(count_maps(""), ==, 0);
    tn_block_maps_free(maps);
}

static void
open_as_nobody(gconstpointer data)
{
    GError *error = NULL;
    CHILD_CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    CHILD_CHECK(!tn_block_maps_wrap(maps, data, &error));
    CHILD_CHECK(g_error_matches(error, TN_ERROR, TN_ERROR_IO));
}

static void
cannot_be_opened_by_another_user(void)
{
    if (geteuid() != 0)
        tn_test_skip("only root can become another user");
    TnBlocks *blocks = tn_blocks_new(LARGE);
    const TnBlockName name = take_filled(blocks, LARGE, 1);
    run_child(open_as_nobody, &name);
    tn_blocks_free(blocks);
}

/* --- The side that sends ---------------------------------------------------------------------- */

static void
uses_released_blocks_again(void)
{
    TnBlocks *blocks = tn_blocks_new(100000);
    TnBlockName first, second, third;
    void *memory, *other;
    TN_REQUIRE(tn_blocks_take(blocks, 1000, &first, &memory, NULL));
    TN_ASSERT_CMPUINT((guintptr)memory % TN_ALIGN, ==, 0);
    fill(memory, 1000, 3);
    TN_REQUIRE(tn_blocks_take(blocks, 1000, &second, &other, NULL));
    TN_ASSERT(second.key != first.key && second.fd != first.fd && other != memory);
    TN_ASSERT_CMPUINT(tn_blocks_taken(blocks), ==, 2);
    TN_ASSERT_CMPUINT(tn_blocks_bytes(blocks), ==, 2000);

    TN_ASSERT(tn_blocks_release(blocks, first.key));
    TN_ASSERT(!tn_blocks_release(blocks, first.key)); /* it is free already */
    TN_ASSERT(!tn_blocks_release(blocks, 0));
    TN_ASSERT(!tn_blocks_release(blocks, ~first.key));
    TN_ASSERT_CMPUINT(tn_blocks_taken(blocks), ==, 1);
    TN_REQUIRE(tn_blocks_take(blocks, 900, &third, &other, NULL));
    TN_ASSERT_CMPUINT(third.key, ==, first.key);
    TN_ASSERT_CMPINT(third.fd, ==, first.fd);
    TN_ASSERT_CMPUINT(third.bytes, ==, 1000);
    TN_ASSERT(other == memory && is_filled(memory, 1000, 3)); /* nobody cleared it */

    tn_blocks_release_all(blocks);
    TN_ASSERT_CMPUINT(tn_blocks_taken(blocks), ==, 0);
    TN_ASSERT_CMPUINT(tn_blocks_bytes(blocks), ==, 2000);
    TN_ASSERT_CMPUINT(count_maps("rw-s"), ==, 2);
    tn_blocks_free(blocks);
    TN_ASSERT_CMPUINT(count_maps(""), ==, 0);
}

/* The block of `bytes` that is given for `wanted`. */
static void
assert_takes(TnBlocks *blocks, gsize wanted, gsize bytes)
{
    TnBlockName name = { 0 };
    void *memory;
    TN_ASSERT(tn_blocks_take(blocks, wanted, &name, &memory, NULL));
    TN_ASSERT_CMPUINT(name.bytes, ==, bytes);
}

static void
takes_blocks_that_fit(void)
{
    TnBlocks *blocks = tn_blocks_new(30000);
    assert_takes(blocks, 10000, 10000);
    assert_takes(blocks, 6000, 6000);
    tn_blocks_release_all(blocks);
    assert_takes(blocks, 5000, 6000); /* the smaller of two */
    assert_takes(blocks, 5000, 10000);
    tn_blocks_release_all(blocks);
    assert_takes(blocks, 2999, 2999); /* there is room for one that fits */
    TN_ASSERT_CMPUINT(tn_blocks_bytes(blocks), ==, 18999);
    assert_takes(blocks, 3000, 6000); /* twice is not too large */
    tn_blocks_free(blocks);
}

static void
takes_what_there_is_before_it_gives_up(void)
{
    TnBlocks *blocks = tn_blocks_new(30000);
    assert_takes(blocks, 10000, 10000);
    assert_takes(blocks, 20000, 20000);
    tn_blocks_release_all(blocks);
    assert_takes(blocks, 10, 10000); /* no room for one that fits */
    assert_takes(blocks, 10, 20000);
    tn_blocks_release_all(blocks);
    assert_takes(blocks, 25000, 25000); /* free ones that are too small make room */
    TN_ASSERT_CMPUINT(tn_blocks_bytes(blocks), ==, 25000);
    TN_ASSERT_CMPUINT(count_maps("rw-s"), ==, 1);
    tn_blocks_free(blocks);
}

static void
stops_at_most(void)
{
    TnBlocks *blocks = tn_blocks_new(30000);
    TnBlockName name;
    void *memory;
    g_autoptr(GError) error = NULL;
    assert_takes(blocks, 10000, 10000);
    assert_takes(blocks, 20000, 20000);
    const gsize beyond[] = { 1, 10000, 30001, G_MAXINT64, G_MAXSIZE };
    for (guint i = 0; i < G_N_ELEMENTS(beyond); i++) {
        TN_ASSERT(!tn_blocks_take(blocks, beyond[i], &name, &memory, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, "30000");
    }
    tn_blocks_release_all(blocks);
    TN_ASSERT(!tn_blocks_take(blocks, 30001, &name, &memory, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, "30001");
    TN_ASSERT_CMPUINT(tn_blocks_bytes(blocks), ==, 30000); /* none went in vain */
    assert_takes(blocks, 30000, 30000);
    tn_blocks_free(blocks);
    blocks = tn_blocks_new(0);
    TN_ASSERT(!tn_blocks_take(blocks, 1, &name, &memory, NULL));
    tn_blocks_free(blocks);
    tn_blocks_free(NULL);
}

static void
run_out_of_memory(gconstpointer data)
{
    (void)data;
    GError *error = NULL;
    TnBlockName name;
    void *memory;
    TnBlocks *blocks = tn_blocks_new(G_MAXSIZE);
    CHILD_CHECK(tn_blocks_take(blocks, 1 << 20, &name, &memory, NULL));
    const guint64 large = name.key;
    /* A system without memory: files of more than 64 KiB cannot be. */
    signal(SIGXFSZ, SIG_IGN);
    CHILD_CHECK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 65536, 65536 }) == 0);
    const gsize wanted[] = { 65536, 1 << 22, (gsize)1 << 50, MOST_CONTENTS, G_MAXINT64 };
    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++) {
        const gsize before = tn_blocks_bytes(blocks);
        CHILD_CHECK(!tn_blocks_take(blocks, wanted[i], &name, &memory, &error));
        CHILD_CHECK(g_error_matches(error, TN_ERROR, TN_ERROR_NO_MEMORY));
        CHILD_CHECK(strstr(error->message, "shared block"));
        CHILD_CHECK(tn_blocks_bytes(blocks) == before);
        g_clear_error(&error);
    }
    CHILD_CHECK(tn_blocks_take(blocks, 1000, &name, &memory, NULL));
    /* One that is far too large is better than none. */
    CHILD_CHECK(tn_blocks_release(blocks, large));
    CHILD_CHECK(tn_blocks_take(blocks, 100000, &name, &memory, NULL) && name.key == large);
    /* No more files. */
    CHILD_CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 3, 3 }) == 0);
    CHILD_CHECK(!tn_blocks_take(blocks, 1000, &name, &memory, &error));
    CHILD_CHECK(g_error_matches(error, TN_ERROR, TN_ERROR_NO_MEMORY));
    tn_blocks_free(blocks);
}

static void
says_when_there_is_no_memory(void)
{
    run_child(run_out_of_memory, NULL);
}

static gint64
memory_of(int fd)
{
    struct stat st;
    TN_REQUIRE(fstat(fd, &st) == 0);
    return st.st_blocks;
}

static int
open_name(const TnBlockName *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd/%d", name->pid, name->fd);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    TN_REQUIRE(fd >= 0);
    return fd;
}

/* A receiver keeps what it reads, and nothing of what it has read. */
static void
gives_memory_back_that_nobody_reads(void)
{
    TnBlocks *blocks = tn_blocks_new(1 << 22);
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    const TnBlockName read = take_filled(blocks, LARGE, 1),
                      was_read = take_filled(blocks, LARGE, 2);
    TnStorage *storage = open_and_wrap(maps, &read);
    tn_storage_unref(open_and_wrap(maps, &was_read));
    TN_ASSERT(tn_blocks_release(blocks, was_read.key));
    const int read_fd = open_name(&read), was_read_fd = open_name(&was_read);
    tn_blocks_free(blocks);
    TN_ASSERT(is_filled(tn_storage_memory(storage), LARGE, 1));
    TN_ASSERT_CMPINT(memory_of(read_fd), >=, LARGE / 512);
    TN_ASSERT_CMPINT(memory_of(was_read_fd), ==, 0);
    close(read_fd);
    close(was_read_fd);
    tn_storage_unref(storage);
    tn_block_maps_free(maps);
}

/* --- The side that receives ------------------------------------------------------------------- */

static void
sees_what_is_written_next(void)
{
    Told told = { 0 };
    TnBlocks *blocks = tn_blocks_new(LARGE);
    TnBlockMaps *maps = tn_block_maps_new(on_release, &told, NULL);
    guint64 key = 0;
    for (guint round = 0; round < 5; round++) {
        const TnBlockName name = take_filled(blocks, LARGE, round);
        TN_ASSERT(round == 0 || name.key == key);
        key = name.key;
        TnStorage *storage = open_and_wrap(maps, &name);
        TN_ASSERT(is_filled(tn_storage_memory(storage), LARGE, round));
        TN_ASSERT_CMPUINT(count_maps("r--s"), ==, 1);
        tn_storage_unref(storage);
        TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, round + 1);
        TN_ASSERT(tn_blocks_release(blocks, atomic_load(&told.last)));
    }
    tn_block_maps_free(maps);
    tn_blocks_free(blocks);
}

static void
lends_for_reading_only(void)
{
    g_autoptr(GError) error = NULL;
    TnBlocks *blocks = tn_blocks_new(LARGE);
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    const TnBlockName name = take_filled(blocks, 4096, 9);
    TnStorage *storage = open_and_wrap(maps, &name);
    TnTensor *tensor =
        tn_tensor_view(storage, tn_type(TN_DTYPE_U8, 2, (gint64[]){ 8, 16 }), NULL, 64, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_storage_unref(storage); /* the view's is the only reference */
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tensor, 5), ==, pattern(69, 9));
    TN_ASSERT(!tn_tensor_is_writable(tensor));
    TN_ASSERT(tn_tensor_map(tensor, TN_MAP_WRITE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, "copy");
    TN_ASSERT(tn_tensor_map(tensor, TN_MAP_READ, &error) != NULL);
    tn_tensor_unmap(tensor);
    TnTensor *copy = tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_tensor_is_writable(copy));
    TN_ASSERT_CMPUINT(count_maps("r--s"), ==, 1);
    TN_ASSERT_CMPUINT(count_maps("rw-s"), ==, 1); /* the sender's own */
    tn_tensor_unref(copy);
    tn_tensor_unref(tensor);
    tn_block_maps_free(maps);
    tn_blocks_free(blocks);
}

static void
lends_a_block_once_at_a_time(void)
{
    g_autoptr(GError) error = NULL;
    Told told = { 0 };
    TnBlocks *blocks = tn_blocks_new(LARGE);
    TnBlockMaps *maps = tn_block_maps_new(on_release, &told, NULL);
    const TnBlockName name = take_filled(blocks, 0, 0); /* without contents */
    TnStorage *storage = open_and_wrap(maps, &name);
    TN_ASSERT(tn_block_maps_wrap(maps, &name, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "before it was released");
    TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, 0);
    tn_storage_unref(storage);
    TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, 1);
    tn_storage_unref(open_and_wrap(maps, &name));
    TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, 2);
    tn_block_maps_free(maps);
    tn_blocks_free(blocks);
}

static void
lends_beyond_its_own_end(void)
{
    Told told = { 0 };
    TnBlocks *blocks = tn_blocks_new(10 * LARGE);
    TnBlockMaps *maps = tn_block_maps_new(on_release, &told, on_destroy);
    const TnBlockName first = take_filled(blocks, LARGE, 1), second = take_filled(blocks, LARGE, 2);
    TnStorage *one = open_and_wrap(maps, &first), *two = open_and_wrap(maps, &second);
    tn_block_maps_free(maps);
    tn_blocks_free(blocks);
    TN_ASSERT(is_filled(tn_storage_memory(one), LARGE, 1));
    tn_storage_unref(one);
    TN_ASSERT_CMPUINT(atomic_load(&told.last), ==, first.key);
    TN_ASSERT_CMPUINT(count_maps(""), ==, 1);
    TN_ASSERT(is_filled(tn_storage_memory(two), LARGE, 2));
    TN_ASSERT_CMPUINT(atomic_load(&told.destroyed), ==, 0);
    tn_storage_unref(two);
    TN_ASSERT_CMPUINT(atomic_load(&told.last), ==, second.key);
    TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, 2);
    TN_ASSERT_CMPUINT(atomic_load(&told.destroyed), ==, 1);
    TN_ASSERT_CMPUINT(count_maps(""), ==, 0);
    tn_block_maps_free(NULL);
}

enum { MANY = MOST_KEPT + 6 };

static void
take_many(TnBlocks *blocks, TnBlockName *names)
{
    for (guint i = 0; i < MANY; i++)
        names[i] = take_filled(blocks, 100, i);
}

/* Lent and given back at once. */
static void
use(TnBlockMaps *maps, const TnBlockName *name)
{
    tn_storage_unref(open_and_wrap(maps, name));
}

/* Whether this process has a block of its own mapped for reading. */
static gboolean
is_mapped(const TnBlockName *name)
{
    struct stat st;
    g_autofree char *maps = NULL;
    TN_REQUIRE(fstat(name->fd, &st) == 0);
    TN_REQUIRE(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    g_autofree char *inode = g_strdup_printf(" %llu ", (unsigned long long)st.st_ino);
    g_auto(GStrv) lines = g_strsplit(maps, "\n", -1);
    for (guint i = 0; lines[i]; i++)
        if (strstr(lines[i], "r--s") && strstr(lines[i], inode))
            return TRUE;
    return FALSE;
}

static void
forgets_what_was_not_used_for_longest(void)
{
    TnBlockName names[MANY];
    TnBlocks *blocks = tn_blocks_new(LARGE);
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    take_many(blocks, names);
    TnStorage *lent = open_and_wrap(maps, &names[0]);
    for (guint i = 1; i < MOST_KEPT; i++)
        use(maps, &names[i]);
    use(maps, &names[1]); /* again */
    for (guint i = MOST_KEPT; i < MANY; i++)
        use(maps, &names[i]);
    TN_ASSERT_CMPUINT(count_maps("r--s"), ==, MOST_KEPT);
    /* 0 is in use, 1 was used since, 2 to 7 have gone. */
    TN_ASSERT(is_filled(tn_storage_memory(lent), 100, 0));
    for (guint i = 0; i < MANY; i++)
        TN_ASSERT(is_mapped(&names[i]) == !(i >= 2 && i < 2 + MANY - MOST_KEPT));
    use(maps, &names[2]); /* and is mapped anew */
    TN_ASSERT_CMPUINT(count_maps("r--s"), ==, MOST_KEPT);
    tn_storage_unref(lent);
    tn_block_maps_free(maps);
    tn_blocks_free(blocks);
}

static void
keeps_more_while_they_are_in_use(void)
{
    TnBlockName names[MANY];
    TnStorage *lent[MANY];
    TnBlocks *blocks = tn_blocks_new(LARGE);
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    take_many(blocks, names);
    for (guint i = 0; i < MANY; i++)
        lent[i] = open_and_wrap(maps, &names[i]);
    TN_ASSERT_CMPUINT(count_maps("r--s"), ==, MANY);
    for (guint i = 0; i < MANY; i++) {
        TN_ASSERT(is_filled(tn_storage_memory(lent[i]), 100, i));
        tn_storage_unref(lent[i]);
        TN_ASSERT_CMPUINT(count_maps("r--s"), ==, MAX(MANY - i - 1, MOST_KEPT));
    }
    tn_block_maps_free(maps);
    tn_blocks_free(blocks);
}

typedef struct {
    TnStorage **lent;
    guint first;
    atomic_uint *wrong;
} Returner;

enum { N_RETURNERS = 4 };

static gpointer
give_all_back(gpointer data)
{
    const Returner *returner = data;
    for (guint i = returner->first; i < MANY; i += N_RETURNERS) {
        if (!is_filled(tn_storage_memory(returner->lent[i]), 100, i))
            atomic_fetch_add(returner->wrong, 1);
        tn_storage_unref(returner->lent[i]);
    }
    return NULL;
}

/* While its owner opens and lends others, and then frees it. */
static void
takes_back_on_any_thread(void)
{
    TnBlockName names[MANY], more[MANY];
    TnStorage *lent[MANY];
    Returner returners[N_RETURNERS];
    pthread_t threads[N_RETURNERS];
    Told told = { 0 };
    atomic_uint wrong = 0;
    TnBlocks *blocks = tn_blocks_new(LARGE);
    TnBlockMaps *maps = tn_block_maps_new(on_release, &told, on_destroy);
    take_many(blocks, names);
    take_many(blocks, more);
    for (guint i = 0; i < MANY; i++)
        lent[i] = open_and_wrap(maps, &names[i]);
    for (guint i = 0; i < N_RETURNERS; i++) {
        returners[i] = (Returner){ lent, i, &wrong };
        TN_REQUIRE(pthread_create(&threads[i], NULL, give_all_back, &returners[i]) == 0);
    }
    for (guint i = 0; i < MANY; i++)
        tn_storage_unref(open_and_wrap(maps, &more[i]));
    tn_block_maps_free(maps);
    for (guint i = 0; i < N_RETURNERS; i++)
        pthread_join(threads[i], NULL);
    TN_ASSERT_CMPUINT(atomic_load(&wrong), ==, 0);
    TN_ASSERT_CMPUINT(atomic_load(&told.released), ==, 2 * MANY);
    TN_ASSERT_CMPUINT(atomic_load(&told.destroyed), ==, 1);
    TN_ASSERT_CMPUINT(count_maps("r--s"), ==, 0);
    tn_blocks_free(blocks);
}

/* --- What is refused -------------------------------------------------------------------------- */

static void
assert_refused(const TnBlockName *name, gint code, const char *word)
{
    g_autoptr(GError) error = NULL;
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    const guint before = count_maps("r--s");
    TN_ASSERT(!tn_block_maps_wrap(maps, name, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, code, word);
    TN_ASSERT_CMPUINT(count_maps("r--s"), ==, before);
    tn_block_maps_free(maps);
}

static void
refuses_names_that_are_not_its(void)
{
    TnBlocks *blocks = tn_blocks_new(LARGE);
    const TnBlockName right = take_filled(blocks, 5000, 1), other = take_filled(blocks, 5000, 2);
    const struct {
        TnBlockName name;
        gint code;
        const char *word;
    } table[] = {
        { { right.pid, right.fd, right.key ^ 1, 5000 }, TN_ERROR_CORRUPT, "another key" },
        { { right.pid, right.fd, other.key, 5000 }, TN_ERROR_CORRUPT, "another key" },
        { { right.pid, other.fd, right.key, 5000 }, TN_ERROR_CORRUPT, "another key" },
        { { right.pid, right.fd, 0, 5000 }, TN_ERROR_CORRUPT, "no such" },
        { { right.pid, right.fd, right.key, 4999 }, TN_ERROR_CORRUPT, "size" },
        { { right.pid, right.fd, right.key, 5001 }, TN_ERROR_CORRUPT, "size" },
        { { right.pid, right.fd, right.key, MOST_CONTENTS }, TN_ERROR_CORRUPT, "size" },
        { { right.pid, right.fd, right.key, G_MAXUINT64 }, TN_ERROR_CORRUPT, "no such" },
        { { right.pid, -1, right.key, 5000 }, TN_ERROR_CORRUPT, "no such" },
        { { right.pid, G_MAXINT32, right.key, 5000 }, TN_ERROR_IO, "cannot open" },
        { { 0, right.fd, right.key, 5000 }, TN_ERROR_CORRUPT, "no such" },
        { { -1, right.fd, right.key, 5000 }, TN_ERROR_CORRUPT, "no such" },
        { { G_MAXINT32, right.fd, right.key, 5000 }, TN_ERROR_IO, "cannot open" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        assert_refused(&table[i].name, table[i].code, table[i].word);
    tn_blocks_free(blocks);
}

static void
refuses_another_block_with_the_key_of_one_that_is_open(void)
{
    g_autoptr(GError) error = NULL;
    TnBlocks *blocks = tn_blocks_new(LARGE);
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    const TnBlockName name = take_filled(blocks, 5000, 1);
    use(maps, &name);
    for (guint i = 0; i < 3; i++) {
        TnBlockName wrong = name;
        wrong.bytes -= i == 0;
        wrong.fd += i == 1;
        wrong.pid += i == 2;
        TN_ASSERT(!tn_block_maps_wrap(maps, &wrong, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "another one has its key");
    }
    use(maps, &name);
    tn_block_maps_free(maps);
    tn_blocks_free(blocks);
}

/* A file with a head and contents as a block has them. */
static void
write_like_a_block(int fd, const TnBlockName *name)
{
    TN_REQUIRE(ftruncate(fd, (off_t)(TN_BLOCK_HEAD + name->bytes)) == 0);
    TN_REQUIRE(pwrite(fd, &name->key, sizeof name->key, 0) == sizeof name->key);
}

static void
refuses_files_that_are_no_blocks(void)
{
    TnBlockName name = { getpid(), -1, 77, 100 };
    g_autofree char *path = tn_test_tmp_path("like-a-block");
    int ends[2];

    TN_REQUIRE((name.fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    assert_refused(&name, TN_ERROR_CORRUPT, "regular");
    close(name.fd);

    TN_REQUIRE(pipe(ends) == 0);
    close(ends[1]); /* nobody writes: opening it again would wait */
    name.fd = ends[0];
    assert_refused(&name, TN_ERROR_CORRUPT, "regular");
    close(ends[0]);

    TN_REQUIRE((name.fd = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
    assert_refused(&name, TN_ERROR_IO, "cannot open");
    close(name.fd);

    TN_REQUIRE((name.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) >= 0);
    assert_refused(&name, TN_ERROR_CORRUPT, "size"); /* shorter than its head */
    write_like_a_block(name.fd, &name);
    assert_refused(&name, TN_ERROR_CORRUPT, "shorter"); /* it could be cut while it is read */
    close(name.fd);

    TN_REQUIRE((name.fd = memfd_create("like-a-block", MFD_CLOEXEC | MFD_ALLOW_SEALING)) >= 0);
    write_like_a_block(name.fd, &name);
    TN_REQUIRE(fcntl(name.fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    assert_refused(&name, TN_ERROR_CORRUPT, "shorter");
    close(name.fd);
}

/* What a block promises to its receivers. */
static void
has_a_size_that_stays(void)
{
    TnBlocks *blocks = tn_blocks_new(LARGE);
    const TnBlockName name = take_filled(blocks, 5000, 1);
    struct stat st;
    TN_ASSERT(ftruncate(name.fd, 100) < 0);
    TN_ASSERT(ftruncate(name.fd, 100000) < 0);
    TN_ASSERT(fcntl(name.fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
    TN_REQUIRE(fstat(name.fd, &st) == 0);
    TN_ASSERT_CMPINT(st.st_size, ==, TN_BLOCK_HEAD + 5000);
    TN_ASSERT_CMPUINT(st.st_mode & 0777, ==, 0400);
    TN_ASSERT(fcntl(name.fd, F_GETFD) & FD_CLOEXEC);
    tn_blocks_free(blocks);
}

static const TnTest tests[] = {
    { "is_readable_when_its_sender_was_killed", is_readable_when_its_sender_was_killed },
    { "is_not_there_when_its_sender_is_gone", is_not_there_when_its_sender_is_gone },
    { "cannot_be_opened_by_another_user", cannot_be_opened_by_another_user },
    { "uses_released_blocks_again", uses_released_blocks_again },
    { "takes_blocks_that_fit", takes_blocks_that_fit },
    { "takes_what_there_is_before_it_gives_up", takes_what_there_is_before_it_gives_up },
    { "stops_at_most", stops_at_most },
    { "says_when_there_is_no_memory", says_when_there_is_no_memory },
    { "gives_memory_back_that_nobody_reads", gives_memory_back_that_nobody_reads },
    { "sees_what_is_written_next", sees_what_is_written_next },
    { "lends_for_reading_only", lends_for_reading_only },
    { "lends_a_block_once_at_a_time", lends_a_block_once_at_a_time },
    { "lends_beyond_its_own_end", lends_beyond_its_own_end },
    { "forgets_what_was_not_used_for_longest", forgets_what_was_not_used_for_longest },
    { "keeps_more_while_they_are_in_use", keeps_more_while_they_are_in_use },
    { "takes_back_on_any_thread", takes_back_on_any_thread },
    { "refuses_names_that_are_not_its", refuses_names_that_are_not_its },
    { "refuses_another_block_with_the_key_of_one_that_is_open",
      refuses_another_block_with_the_key_of_one_that_is_open },
    { "refuses_files_that_are_no_blocks", refuses_files_that_are_no_blocks },
    { "has_a_size_that_stays", has_a_size_that_stays },
};
TN_TEST_MAIN("block", tests)
