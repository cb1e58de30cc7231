/* test_file.c: files are replaced whole or not at all, whatever goes wrong on the way. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/base.h>

#include "tn_test.h"

static char *
new_folder(const char *name)
{
    char *folder = tn_test_tmp_path("%s", name);
    TN_REQUIRE(mkdir(folder, 0777) == 0);
    return folder;
}

static guint
n_files(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    guint n = 0;
    TN_REQUIRE(dir != NULL);
    while (g_dir_read_name(dir))
        n++;
    return n;
}

static void
assert_content(const char *path, const char *expected)
{
    g_autoptr(GError) error = NULL;
    gsize size = 0;
    char *text = tn_file_read(path, 0, &size, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(text, expected);
    TN_ASSERT_CMPUINT(size, ==, strlen(expected));
    tn_data_free(text);
}

static void
replaces(void)
{
    g_autofree char *folder = new_folder("replaces");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_file_replace_bytes(path, "first", 5, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(path, "first");
    TN_REQUIRE(chmod(path, 0640) == 0);
    TN_ASSERT(tn_file_replace_bytes(path, "second one", 10, &error));
    assert_content(path, "second one");
    struct stat info;
    TN_REQUIRE(stat(path, &info) == 0);
    TN_ASSERT_CMPINT(info.st_mode & 0777, ==, 0640);
    TN_ASSERT(tn_file_replace_bytes(path, NULL, 0, &error));
    assert_content(path, "");
    TN_ASSERT_CMPUINT(n_files(folder), ==, 1);
}

static void
puts_whole(void)
{
    g_autofree char *folder = new_folder("puts");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_file_put_bytes(path, "first", 5, &error));
    TN_ASSERT(tn_file_put_bytes(path, "second one", 10, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(path, "second one");
    TN_ASSERT_CMPUINT(n_files(folder), ==, 1);
    TN_ASSERT(!tn_file_put_bytes("/nowhere/file", "x", 1, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "/nowhere/file");
}

static gboolean
write_more(int fd, gpointer data, GError **error)
{
    return tn_file_write_all(fd, data, "more", 4, error);
}

/* What a link leads to is replaced, also through a second link, and made where it is not there
 * yet. */
static void
follows_links(void)
{
    g_autofree char *folder = new_folder("links"), *other = new_folder("links-other");
    g_autofree char *link = g_build_filename(folder, "link", NULL);
    g_autofree char *second = g_build_filename(folder, "second", NULL);
    g_autofree char *target = g_build_filename(other, "target", NULL);
    g_autofree char *hard = g_build_filename(other, "hard", NULL);
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(symlink("../links-other/target", link) == 0);
    TN_REQUIRE(symlink(link, second) == 0);
    TN_ASSERT(tn_file_replace_bytes(second, "made", 4, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(target, "made");
    TN_REQUIRE(linkat(AT_FDCWD, target, AT_FDCWD, hard, 0) == 0);
    TN_ASSERT(tn_file_put_bytes(link, "again", 5, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(target, "again");
    assert_content(hard, "made");
    TN_ASSERT(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    TN_ASSERT(g_file_test(second, G_FILE_TEST_IS_SYMLINK));
    TN_ASSERT_CMPUINT(n_files(folder), ==, 2);
    TN_ASSERT_CMPUINT(n_files(other), ==, 2);
    g_autofree char *circle = g_build_filename(folder, "circle", NULL);
    TN_REQUIRE(symlink("circle", circle) == 0);
    TN_ASSERT(!tn_file_replace_bytes(circle, "x", 1, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, circle, g_strerror(ELOOP));
    TN_ASSERT(g_file_test(circle, G_FILE_TEST_IS_SYMLINK));
}

/* Below a folder nothing is written through a link, to the file or to a folder on the way. */
static void
below(void)
{
    g_autofree char *folder = new_folder("below"), *other = new_folder("below-other");
    g_autofree char *link = g_build_filename(folder, "link", NULL);
    g_autofree char *inside = g_build_filename(folder, "a", "b", "file", NULL);
    g_autofree char *away = g_build_filename(folder, "away", NULL);
    g_autofree char *through = g_build_filename(folder, "through", NULL);
    g_autofree char *target = g_build_filename(other, "target", NULL);
    static const char *const names[] = { "link", "away/file", "away/deep/file" };
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(symlink(target, link) == 0 && symlink(other, away) == 0);
    TN_ASSERT(tn_file_put_below(folder, "a/b/file", "made", 4, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(inside, "made");
    TN_ASSERT(tn_file_replace_below(folder, "a/b/file", write_more, inside, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(inside, "more");
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *const named = i ? away : link;
        TN_ASSERT(!tn_file_put_below(folder, names[i], "x", 1, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, named, "is a link");
        TN_ASSERT(!tn_file_replace_below(folder, names[i], write_more, inside, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, named, "is a link");
        TN_ASSERT_CMPINT(tn_file_open_below(folder, names[i], O_WRONLY | O_CREAT, &error), ==, -1);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, named, "is a link");
    }
    TN_ASSERT_CMPUINT(n_files(other), ==, 0);
    TN_ASSERT_CMPUINT(n_files(folder), ==, 3);
    /* Where the folder itself is, is the caller's business. */
    TN_REQUIRE(symlink(folder, through) == 0);
    TN_ASSERT(tn_file_put_below(through, "a/b/file", "again", 5, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(inside, "again");
    TN_ASSERT_CMPINT(tn_file_open_below(folder, "a/b", O_RDONLY, &error), ==, -1);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "is no plain file");
}

/* A name of 255 bytes leaves no room for a suffix. */
static void
longest_name(void)
{
    g_autofree char *folder = new_folder("longest");
    g_autofree char *name = g_strnfill(255, 'n');
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_file_replace_bytes(path, "x", 1, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_content(path, "x");
}

static gboolean
write_half(int fd, gpointer data, GError **error)
{
    (void)tn_file_write_all(fd, "half", "half of it", 10, NULL);
    g_set_error(error, TN_ERROR, TN_ERROR_CANCELLED, "%s", (const char *)data);
    return FALSE;
}

static void
writer_fails(void)
{
    g_autofree char *folder = new_folder("writer");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_file_replace_bytes(path, "old", 3, NULL));
    TN_ASSERT(!tn_file_replace(path, write_half, (gpointer) "thought better of it", &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CANCELLED, "thought better of it");
    assert_content(path, "old");
    TN_ASSERT_CMPUINT(n_files(folder), ==, 1);
}

/* What a killed process left goes with the next file that is written; what is somebody's stays: a file that
 * is being written, other names, folders, links. */
static void
left_behind(void)
{
    static const char *const stay[] = { ".tenon-0123456", ".tenon-0123456789", ".tenon-0123456x",
                                        "tenon-01234567", ".tenon-" };
    g_autofree char *folder = new_folder("behind");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autofree char *dead = g_build_filename(folder, ".tenon-01234567", NULL);
    g_autofree char *alive = g_build_filename(folder, ".tenon-89abcdef", NULL);
    g_autofree char *inner = g_build_filename(folder, ".tenon-aaaaaaaa", NULL);
    g_autofree char *link = g_build_filename(folder, ".tenon-bbbbbbbb", NULL);
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < G_N_ELEMENTS(stay); i++) {
        g_autofree char *other = g_build_filename(folder, stay[i], NULL);
        tn_test_write_file(other, "x", 1);
    }
    tn_test_write_file(dead, "half", 4);
    TN_REQUIRE(mkdir(inner, 0777) == 0 && symlink(path, link) == 0);
    const int fd = open(alive, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    TN_REQUIRE(fd >= 0 && flock(fd, LOCK_EX) == 0);
    TN_ASSERT(tn_file_replace_bytes(path, "x", 1, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT(!g_file_test(dead, G_FILE_TEST_EXISTS));
    TN_ASSERT_CMPUINT(n_files(folder), ==, G_N_ELEMENTS(stay) + 4);
    close(fd);
    TN_ASSERT(tn_file_replace_bytes(path, "x", 1, &error));
    TN_ASSERT(!g_file_test(alive, G_FILE_TEST_EXISTS));
    TN_ASSERT_CMPUINT(n_files(folder), ==, G_N_ELEMENTS(stay) + 3);
}

static gpointer
replace_often(gpointer path)
{
    for (guint i = 0; i < 50; i++)
        if (!tn_file_replace_bytes(path, "content", 7, NULL))
            return NULL;
    return path;
}

/* None takes away what another is writing. */
static void
at_once(void)
{
    enum { WRITERS = 4 };
    g_autofree char *folder = new_folder("at-once");
    char *paths[WRITERS];
    GThread *threads[WRITERS];
    for (guint i = 0; i < WRITERS; i++) {
        paths[i] = g_strdup_printf("%s/%u", folder, i % 2);
        threads[i] = g_thread_new("writer", replace_often, paths[i]);
    }
    for (guint i = 0; i < WRITERS; i++) {
        TN_ASSERT(g_thread_join(threads[i]) == paths[i]);
        g_free(paths[i]);
    }
    TN_ASSERT_CMPUINT(n_files(folder), ==, 2);
}

/* The system refuses more bytes: through a limit on file sizes, as a full disk would. */
static void
size_limit(void)
{
    g_autofree char *folder = new_folder("limit");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autofree char *bytes = g_strnfill(100000, 'x');
    g_autoptr(GError) error = NULL;
    struct rlimit old, small = { 4096, 0 };
    TN_REQUIRE(tn_file_replace_bytes(path, "old", 3, NULL));
    TN_REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small.rlim_max = old.rlim_max;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    TN_REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const gboolean replaced = tn_file_replace_bytes(path, bytes, 100000, &error);
    TN_REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
    signal(SIGXFSZ, handler);
    TN_ASSERT(!replaced);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, path, g_strerror(EFBIG));
    assert_content(path, "old");
    TN_ASSERT_CMPUINT(n_files(folder), ==, 1);
}

static void
full_disk(void)
{
    g_autofree char *folder = new_folder("disk");
    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autofree char *bytes = g_strnfill(1 << 20, 'x');
    g_autoptr(GError) error = NULL;
    if (mount("none", folder, "tmpfs", 0, "size=64k") != 0)
        tn_test_skip("a small tmpfs needs the right to mount: %s", g_strerror(errno));
    TN_ASSERT(tn_file_replace_bytes(path, "old", 3, NULL));
    TN_ASSERT(!tn_file_replace_bytes(path, bytes, 1 << 20, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, path, g_strerror(ENOSPC));
    assert_content(path, "old");
    TN_ASSERT_CMPUINT(n_files(folder), ==, 1);
    TN_ASSERT_CMPINT(umount(folder), ==, 0);
}

static void
bad_places(void)
{
    g_autofree char *folder = new_folder("places");
    g_autofree char *missing = g_build_filename(folder, "no", "such", NULL);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(!tn_file_replace_bytes(missing, "x", 1, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, missing);
    g_autofree char *inside = g_build_filename(folder, "folder", NULL);
    TN_REQUIRE(mkdir(inside, 0777) == 0);
    TN_ASSERT(!tn_file_replace_bytes(inside, "x", 1, &error)); /* a folder is no file */
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, inside);
    TN_ASSERT_CMPUINT(n_files(folder), ==, 1);
    gsize size = 77;
    TN_ASSERT(tn_file_read(missing, 0, &size, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, missing);
    TN_ASSERT(tn_file_read(inside, 0, &size, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, g_strerror(EISDIR));
    TN_ASSERT_CMPUINT(size, ==, 77);
    const int fd = open("/dev/null", O_RDONLY);
    TN_ASSERT(!tn_file_write_all(fd, "a name", "x", 1, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "a name", g_strerror(EBADF));
    close(fd);
}

static void
reads(void)
{
    g_autofree char *path = tn_test_tmp_path("reads");
    g_autoptr(GError) error = NULL;
    gsize size = 0;
    g_autofree char *bytes = g_malloc(300000);
    for (guint i = 0; i < 300000; i++)
        bytes[i] = (char)(i * 7);
    TN_REQUIRE(tn_file_replace_bytes(path, bytes, 300000, NULL));
    char *got = tn_file_read(path, 300000, &size, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(size, ==, 300000);
    TN_ASSERT_BYTES(got, bytes, 300000);
    TN_ASSERT_CMPINT(got[300000], ==, 0);
    tn_data_free(got);
    TN_ASSERT(tn_file_read(path, 299999, &size, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, path, "299999");
    /* Its size is said to be 0. */
    got = tn_file_read("/proc/self/status", 0, &size, &error);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CONTAINS(got, "VmPeak");
    tn_data_free(got);
}

static void
no_memory(void)
{
    g_autofree char *path = tn_test_tmp_path("no-memory");
    guint failures = 0;
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_file_replace_bytes(path, "content", 7, NULL));
    for (guint nth = 1;; nth++) {
        gsize size;
        (void)tn_data_fail_nth(nth);
        char *text = tn_file_read("/proc/self/status", 0, &size, &error);
        (void)tn_data_fail_nth(0);
        tn_data_free(text);
        if (text)
            break;
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "/proc/self/status");
        failures++;
    }
    TN_ASSERT_CMPUINT(failures, >=, 2);
}

static const TnTest tests[] = {
    { "follows links", follows_links }, { "below", below },
    { "replaces", replaces },           { "puts-whole", puts_whole },
    { "longest-name", longest_name },   { "writer-fails", writer_fails },
    { "left-behind", left_behind },     { "at-once", at_once },
    { "size-limit", size_limit },       { "full-disk", full_disk },
    { "bad-places", bad_places },       { "reads", reads },
    { "no-memory", no_memory },
};
TN_TEST_MAIN("file", tests)
