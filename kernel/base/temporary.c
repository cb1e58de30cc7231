/* temporary.c: files that are to take another's place, under names of their own until then.
 *
 * A process that is killed leaves them where they are. So each is locked (flock) as long as its process
 * has it open: one that can be locked is nobody's, and the next that writes into the folder takes it away. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/temporary.h"

#define PREFIX ".tenon-"
#define DIGITS 8

/* Where files cannot be locked, nobody can lock one to take it away. */
static gboolean
is_ours(int fd)
{
    struct stat info;
    const gboolean taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    return !taken && fstat(fd, &info) == 0 && info.st_nlink > 0;
}

int
tn_temporary_open(int folder, char name[TN_TEMPORARY_NAME])
{
    enum { ATTEMPTS = 100 };
    errno = EEXIST;
    for (guint i = 0; i < ATTEMPTS && errno == EEXIST; i++) {
        g_snprintf(name, TN_TEMPORARY_NAME, PREFIX "%08x", g_random_int());
        const int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 && is_ours(fd))
            return fd;
        if (fd >= 0) { /* it was taken away before it was locked */
            close(fd);
            errno = EEXIST;
        }
    }
    return -1;
}

static gboolean
is_name(const char *name)
{
    return g_str_has_prefix(name, PREFIX) && strlen(name) == strlen(PREFIX) + DIGITS &&
           strspn(name + strlen(PREFIX), "0123456789abcdef") == DIGITS;
}

void
tn_temporary_sweep(int folder)
{
    const int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        struct stat info;
        if (!is_name(entry->d_name))
            continue;
        const int file =
            openat(folder, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (file >= 0 && fstat(file, &info) == 0 && S_ISREG(info.st_mode) &&
            flock(file, LOCK_EX | LOCK_NB) == 0)
            (void)!unlinkat(folder, entry->d_name, 0);
        if (file >= 0)
            close(file);
    }
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}
