/* file.c: whole files: read at once, replaced whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "base/base-private.h"

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

/* Makes the temporary file, with the mode of the file that it will replace. Its name does not
 * grow with that of the target, which may be as long as the file system allows. */
static int
open_temporary(const char *path, const char *folder, char **temporary, GError **error)
{
    *temporary = g_build_filename(folder, ".tenon-XXXXXX", NULL);
    const int fd = g_mkstemp_full(*temporary, O_WRONLY | O_CLOEXEC, 0666);
    struct stat old;
    if (fd < 0)
        g_set_error(error, TN_ERROR, errno == ENOENT ? TN_ERROR_NOT_FOUND : TN_ERROR_IO,
                    "%s: cannot create a file in %s: %s", path, folder, g_strerror(errno));
    else if (stat(path, &old) == 0 && S_ISREG(old.st_mode))
        (void)!fchmod(fd, old.st_mode & 0777);
    return fd;
}

static gboolean
finish(int fd, const char *path, gboolean sync, GError **error)
{
    int result = 0;
    do
        result = sync ? fsync(fd) : 0;
    while (result < 0 && errno == EINTR);
    if (result < 0)
        tn_set_io_error(error, path, "write to the disk");
    if (close(fd) < 0 && result == 0 && errno != EINTR) {
        tn_set_io_error(error, path, "close");
        result = -1;
    }
    return result == 0;
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
replace(const char *given, TnFileWriter writer, gpointer data, gboolean sync, GError **error)
{
    g_autofree char *path = follow_links(given, error);
    g_autofree char *folder = path ? g_path_get_dirname(path) : NULL;
    g_autofree char *temporary = NULL;
    gboolean ok = FALSE, exists = FALSE;
    int fd = -1;
    if (!path)
        return FALSE;
    const int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) {
        tn_set_io_error(error, path, "open its folder");
        goto out;
    }
    fd = open_temporary(path, folder, &temporary, error);
    exists = fd >= 0;
    if (!exists || !writer(fd, data, error))
        goto out;
    ok = finish(fd, path, sync, error);
    fd = -1;
    if (ok && rename(temporary, path) < 0) {
        tn_set_io_error(error, path, "replace");
        ok = FALSE;
    }
    exists = !ok;
    ok = ok && (!sync || sync_folder(folder_fd, path, error));
out:
    if (fd >= 0)
        close(fd);
    if (exists)
        unlink(temporary);
    if (folder_fd >= 0)
        close(folder_fd);
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
