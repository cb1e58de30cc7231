/* file.c: whole files: read at once, replaced whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "base/base-private.h"
#include "base/temporary.h"

void
tn_set_io_error(GError **error, const char *path, const char *doing)
{
    const int code = errno;
    g_set_error(error, TN_ERROR, code == ENOENT ? TN_ERROR_NOT_FOUND : TN_ERROR_IO,
                "%s: cannot %s: %s", path, doing, g_strerror(code));
}

gboolean
tn_file_write_all(int fd, const char *path, const void *bytes, gsize size, GError **error)
{
    const char *p = bytes;
    while (size > 0) {
        const ssize_t written = write(fd, p, MIN(size, (gsize)1 << 30));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: cannot write: %s", path,
                        g_strerror(errno));
            return FALSE;
        }
        p += written;
        size -= (gsize)written;
    }
    return TRUE;
}

/* --- Replacing -------------------------------------------------------------------------------- */

/* A place for a file: its folder, open, and its name there. */
typedef struct {
    int folder;
    const char *path, *name; /* name: the end of path */
} Place;

static Place
place_of(int folder, const char *path)
{
    const char *slash = strrchr(path, '/');
    return (Place){ folder, path, slash ? slash + 1 : path };
}

/* Makes the temporary file, with the mode of the file that it will replace. Its name does not
 * grow with that of the target, which may be as long as the file system allows. */
static int
open_temporary(const Place *place, char temporary[TN_TEMPORARY_NAME], GError **error)
{
    struct stat old;
    const int fd = tn_temporary_open(place->folder, temporary);
    if (fd < 0)
        tn_set_io_error(error, place->path, "create a file in its folder");
    else if (fstatat(place->folder, place->name, &old, 0) == 0 && S_ISREG(old.st_mode))
        (void)!fchmod(fd, old.st_mode & 0777);
    return fd;
}

/* What closing would say of it, while it stays open: until it has its name it is locked. */
static gboolean
finish(int fd, const char *path, gboolean sync, GError **error)
{
    int result = 0;
    do
        result = sync ? fsync(fd) : 0;
    while (result < 0 && errno == EINTR);
    if (result < 0) {
        tn_set_io_error(error, path, "write to the disk");
        return FALSE;
    }
    const int same = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (same >= 0 && close(same) < 0 && errno != EINTR) {
        tn_set_io_error(error, path, "close");
        return FALSE;
    }
    return TRUE;
}

/* A rename lasts once the folder is on the disk. Some file systems cannot sync folders and say
 * EINVAL. */
static gboolean
sync_folder(int fd, const char *path, GError **error)
{
    if (fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP)
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_IO,
                "%s: replaced, but its folder could not be written to the disk: %s", path,
                g_strerror(errno));
    return FALSE;
}

/* Where the links that path names lead, which need not be there: what writing to path would write.
 * (transfer full); NULL with *error if they go in circles. */
static char *
follow_links(const char *path, GError **error)
{
    enum { MOST = 40 }; /* as Linux has it */
    char *at = g_strdup(path);
    for (guint i = 0; i < MOST; i++) {
        g_autofree char *to = g_file_read_link(at, NULL);
        if (!to)
            return at;
        g_autofree char *folder = g_path_get_dirname(at);
        g_free(at);
        at = g_path_is_absolute(to) ? g_strdup(to) : g_build_filename(folder, to, NULL);
    }
    g_free(at);
    errno = ELOOP;
    tn_set_io_error(error, path, "follow its links");
    return NULL;
}

static gboolean
replace_at(const Place *place, TnFileWriter writer, gpointer data, gboolean sync, GError **error)
{
    char temporary[TN_TEMPORARY_NAME];
    /* Who waits for the disk has the time to look through a folder. */
    if (sync)
        tn_temporary_sweep(place->folder);
    const int fd = open_temporary(place, temporary, error);
    if (fd < 0)
        return FALSE;
    gboolean ok = writer(fd, data, error) && finish(fd, place->path, sync, error);
    if (ok && renameat(place->folder, temporary, place->folder, place->name) < 0) {
        tn_set_io_error(error, place->path, "replace");
        ok = FALSE;
    }
    if (!ok)
        unlinkat(place->folder, temporary, 0);
    close(fd);
    return ok && (!sync || sync_folder(place->folder, place->path, error));
}

static gboolean
replace(const char *given, TnFileWriter writer, gpointer data, gboolean sync, GError **error)
{
    g_autofree char *path = follow_links(given, error);
    g_autofree char *folder = path ? g_path_get_dirname(path) : NULL;
    if (!path)
        return FALSE;
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        tn_set_io_error(error, path, "open its folder");
        return FALSE;
    }
    const Place place = place_of(fd, path);
    const gboolean ok = replace_at(&place, writer, data, sync, error);
    close(fd);
    return ok;
}

gboolean
tn_file_replace(const char *path, TnFileWriter writer, gpointer data, GError **error)
{
    return replace(path, writer, data, TRUE, error);
}

typedef struct {
    const char *path;
    const void *bytes;
    gsize size;
} Bytes;

static gboolean
write_bytes(int fd, gpointer data, GError **error)
{
    const Bytes *bytes = data;
    return tn_file_write_all(fd, bytes->path, bytes->bytes, bytes->size, error);
}

gboolean
tn_file_replace_bytes(const char *path, const void *bytes, gsize size, GError **error)
{
    Bytes data = { path, bytes, size };
    return replace(path, write_bytes, &data, TRUE, error);
}

gboolean
tn_file_put_bytes(const char *path, const void *bytes, gsize size, GError **error)
{
    Bytes data = { path, bytes, size };
    return replace(path, write_bytes, &data, FALSE, error);
}

/* --- In a folder that may be somebody else's -------------------------------------------------- */

static gboolean
is_link(const Place *place)
{
    struct stat info;
    return fstatat(place->folder, place->name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISLNK(info.st_mode);
}

static gboolean
refuse_link(const Place *place, GError **error)
{
    if (is_link(place))
        g_set_error(error, TN_ERROR, TN_ERROR_IO,
                    "%s: is a link, and nothing is written through links there; put what it leads "
                    "to in its place",
                    place->path);
    return is_link(place);
}

/* The folder of that name, which is made if it is not there; -1 with *error. */
static int
enter(const Place *place, GError **error)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(place->folder, place->name, flags);
    if (fd < 0 && errno == ENOENT) {
        (void)mkdirat(place->folder, place->name, 0777);
        fd = openat(place->folder, place->name, flags);
    }
    if (fd < 0 && !refuse_link(place, error))
        tn_set_io_error(error, place->path, "open the folder");
    return fd;
}

/* The folder in which `name` lies below top; -1 with *error. */
static int
open_folder_below(const char *top, const char *name, GError **error)
{
    int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        tn_set_io_error(error, top, "open the folder");
    for (const char *end = strchr(name, '/'); fd >= 0 && end; end = strchr(end + 1, '/')) {
        g_autofree char *below = g_strndup(name, (gsize)(end - name));
        g_autofree char *path = g_build_filename(top, below, NULL);
        const Place place = place_of(fd, path);
        const int inner = enter(&place, error);
        close(fd);
        fd = inner;
    }
    return fd;
}

static gboolean
replace_below(const char *folder, const char *name, TnFileWriter writer, gpointer data,
              gboolean sync, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    const int fd = open_folder_below(folder, name, error);
    const Place place = place_of(fd, path);
    const gboolean ok =
        fd >= 0 && !refuse_link(&place, error) && replace_at(&place, writer, data, sync, error);
    if (fd >= 0)
        close(fd);
    return ok;
}

gboolean
tn_file_replace_below(const char *folder, const char *name, TnFileWriter writer, gpointer data,
                      GError **error)
{
    return replace_below(folder, name, writer, data, TRUE, error);
}

gboolean
tn_file_put_below(const char *folder, const char *name, const void *bytes, gsize size,
                  GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    Bytes data = { path, bytes, size };
    return replace_below(folder, name, write_bytes, &data, FALSE, error);
}

int
tn_file_open_below(const char *folder, const char *name, int flags, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    const int at = open_folder_below(folder, name, error);
    const Place place = place_of(at, path);
    struct stat info;
    if (at < 0)
        return -1;
    /* Not to wait at a pipe. */
    int fd = openat(at, place.name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0 && !refuse_link(&place, error))
        tn_set_io_error(error, path, "open");
    if (fd >= 0 && (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: is no plain file", path);
        close(fd);
        fd = -1;
    }
    close(at);
    return fd;
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* Moves the used bytes to a larger block. */
static char *
grow(char *block, gsize used, gsize capacity, const char *path, GError **error)
{
    char *larger = tn_data_alloc_for(capacity, path, error);
    if (larger && block)
        memcpy(larger, block, used);
    tn_data_free(block);
    return larger;
}

/* Reads fd to its end. A file's size is only a hint: it may grow meanwhile, and some (pipes,
 * /proc) say 0. */
static char *
read_all(int fd, const char *path, gsize hint, gsize limit, gsize *size, GError **error)
{
    gsize capacity = hint + 2, used = 0;
    char *block = grow(NULL, 0, capacity, path, error);
    while (block) {
        if (used + 1 == capacity) {
            capacity = MAX(capacity * 2, (gsize)4096);
            block = grow(block, used, capacity, path, error);
            continue;
        }
        const ssize_t got = read(fd, block + used, MIN(capacity - used - 1, (gsize)1 << 30));
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0) {
            block[used] = 0;
            *size = used;
            return block;
        }
        used += got > 0 ? (gsize)got : 0;
        if (got < 0)
            tn_set_io_error(error, path, "read");
        else if (limit > 0 && used > limit)
            g_set_error(error, TN_ERROR, TN_ERROR_IO,
                        "%s: more than the %" G_GSIZE_FORMAT " bytes that are read at most", path,
                        limit);
        else
            continue;
        g_clear_pointer(&block, tn_data_free);
    }
    return NULL;
}

char *
tn_file_read(const char *path, gsize limit, gsize *size, GError **error)
{
    char *bytes = NULL;
    struct stat info;
    gsize length = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0) {
        tn_set_io_error(error, path, "open");
        goto out;
    }
    gsize hint = S_ISREG(info.st_mode) ? (gsize)info.st_size : 0;
    if (limit > 0)
        hint = MIN(hint, limit);
    bytes = read_all(fd, path, hint, limit, &length, error);
    if (bytes && size)
        *size = length;
out:
    if (fd >= 0)
        close(fd);
    return bytes;
}
