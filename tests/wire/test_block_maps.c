/* test_block_maps.c: memory shared between processes, as who receives it has it: maps, what is kept, what
 * is refused. */
// tn-test: label=threads
#include "block_test.h"

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
TN_TEST_MAIN("block maps", tests)
