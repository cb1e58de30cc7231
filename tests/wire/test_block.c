/* test_block.c: memory shared between processes: names, reuse, limits, and what is left when either side
 * ends. */
// tn-test: label=threads
#include "block_test.h"

/* --- Two processes ---------------------------------------------------------------------------- */

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
};
TN_TEST_MAIN("block", tests)
