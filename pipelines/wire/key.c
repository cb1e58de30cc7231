/* key.c: CURVE keys by name: two small files a pair in the user's config folder. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/base.h>

#include "wire/key.h"
#include "wire/zmq.h"

/* Bytes that a key's file has at most. */
#define MOST 4096
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

char *
tn_key_folder(void)
{
    return g_build_filename(g_get_user_config_dir(), "tenon", "keys", NULL);
}

/* Whether text is a key's name. */
static gboolean
is_name(const char *text)
{
    const gsize length = strlen(text);
    return length > 0 && length < sizeof((TnKey){ 0 }).name && text[0] != '.' &&
           strspn(text, NAME_CHARS) == length;
}

gboolean
tn_key_check_name(const char *name, GError **error)
{
    if (is_name(name))
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                "'%s' cannot name a key: 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', the first of "
                "them no '.', such as \"cluster\"",
                name);
    return FALSE;
}

static gint
by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

GPtrArray *
tn_key_names(void)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *folder = tn_key_folder();
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *file;
    while (dir && (file = g_dir_read_name(dir))) {
        if (!g_str_has_suffix(file, ".key") && !g_str_has_suffix(file, ".pub"))
            continue;
        g_autofree char *name = g_strndup(file, strlen(file) - strlen(".key"));
        if (is_name(name) && !g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
            g_ptr_array_add(names, g_steal_pointer(&name));
    }
    g_ptr_array_sort(names, by_text);
    return names;
}

void
tn_key_clear(TnKey *key)
{
    explicit_bzero(key->secret_key, sizeof key->secret_key);
}

/* --- Z85 (ZeroMQ RFC 32): five characters for four bytes ---------------------------------------- */

gboolean
tn_key_bytes(const char *z85, guint8 bytes[32])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 ".-:+=^!/*?&<>()[]{}@%$#";
    if (strlen(z85) != 40)
        return FALSE;
    for (guint i = 0; i < 8; i++) {
        guint64 word = 0;
        for (guint k = 0; k < 5; k++) {
            const char *digit = strchr(digits, z85[5 * i + k]);
            if (!digit)
                return FALSE;
            word = word * 85 + (guint64)(digit - digits);
        }
        if (word > G_MAXUINT32)
            return FALSE;
        for (guint k = 0; k < 4; k++)
            bytes[4 * i + k] = (guint8)(word >> (24 - 8 * k));
    }
    return TRUE;
}

static gboolean
is_z85(const char *text)
{
    guint8 bytes[32];
    const gboolean is = tn_key_bytes(text, bytes);
    explicit_bzero(bytes, sizeof bytes);
    return is;
}

/* --- Reading ------------------------------------------------------------------------------------ */

static void
set_corrupt(GError **error, const char *path, const char *what)
{
    /* What stands in the file may be a secret: it is not told. */
    g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                "%s: %s; copy it again from where it was made, or delete it and make a new key "
                "with `tenon key new`",
                path, what);
}

/* Opens a key's file, which is a plain one: a link may lead to what others can read or change. */
static int
open_plain(const char *path, GError **error)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno != ELOOP) {
        const int code = errno;
        g_set_error(error, TN_ERROR, code == ENOENT ? TN_ERROR_NOT_FOUND : TN_ERROR_IO,
                    "%s: cannot open: %s", path, g_strerror(code));
        return -1;
    }
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        return fd;
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                "%s is a link or no file at all; a key is read from a plain file", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static gboolean
check_closed(int fd, const char *path, GError **error)
{
    struct stat info;
    if (fstat(fd, &info) == 0 && !(info.st_mode & 077))
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                "%s holds a secret and others may read or change it (mode %04o): chmod 600 %s; if "
                "others can have read it, make a new key",
                path, (guint)(info.st_mode & 07777), path);
    return FALSE;
}

/* Reads all of fd as text. */
static gboolean
read_text(int fd, const char *path, char text[MOST + 1], GError **error)
{
    gsize used = 0;
    for (;;) {
        const ssize_t got = read(fd, text + used, MOST + 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: cannot read: %s", path,
                        g_strerror(errno));
            return FALSE;
        }
        used += (gsize)got;
        if (got == 0 || used > MOST)
            break;
    }
    text[MIN(used, MOST)] = '\0';
    if (used <= MOST && strlen(text) == used)
        return TRUE;
    set_corrupt(error, path, "this is no key: it is too long or not text");
    return FALSE;
}

/* Takes `WORD = "…"` into half; FALSE if the line says something else or says it again. */
static gboolean
take_half(const char *line, const char *word, char half[41])
{
    const gsize length = strlen(word);
    if (strncmp(line, word, length) != 0 || half[0] != '\0')
        return FALSE;
    line += length;
    line += strspn(line, " \t");
    if (*line++ != '=')
        return FALSE;
    line += strspn(line, " \t");
    if (strlen(line) < 42 || line[0] != '"' || line[41] != '"' ||
        line[42 + strspn(line + 42, " \t\r")] != '\0')
        return FALSE;
    memcpy(half, line + 1, 40);
    half[40] = '\0';
    return is_z85(half);
}

/* Takes text apart, which is changed. secret: whether it must hold that half; else it must not. */
static gboolean
parse(char *text, const char *path, gboolean secret, TnKey *key, GError **error)
{
    guint number = 1;
    for (char *line = text, *next; line; line = next, number++) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        const gsize blank = strspn(line, " \t\r");
        if (line[blank] == '\0' || line[0] == '#' || take_half(line, "public", key->public_key) ||
            (secret && take_half(line, "secret", key->secret_key)))
            continue;
        g_autofree char *what =
            g_strdup_printf("line %u is not %s once, with 40 characters of Z85", number,
                            secret ? "public = \"…\" or secret = \"…\"" : "public = \"…\"");
        set_corrupt(error, path, what);
        return FALSE;
    }
    if (key->public_key[0] && (!secret || key->secret_key[0]))
        return TRUE;
    set_corrupt(error, path,
                secret ? "public = \"…\" or secret = \"…\" is missing"
                       : "public = \"…\" is missing");
    return FALSE;
}

/* The secret half leads to the public one, so that a wrong pair is told here and not by peers that
 * do not answer. */
static gboolean
check_pair(const TnKey *key, const char *path, GError **error)
{
    char derived[41];
    const TnZmq *zmq = tn_zmq(error);
    if (!zmq)
        return FALSE;
    if (zmq->curve_public(derived, key->secret_key) != 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "ZeroMQ on this machine cannot use keys: it was built without CURVE");
        return FALSE;
    }
    if (strcmp(derived, key->public_key) == 0)
        return TRUE;
    set_corrupt(error, path, "the secret half does not belong to the public one");
    return FALSE;
}

/* Reads a file of a pair; *key is set when all of it is right. */
static gboolean
load(const char *name, gboolean secret, TnKey *key, GError **error)
{
    TnKey found = { 0 };
    char text[MOST + 1];
    gboolean ok = FALSE;
    if (!tn_key_check_name(name, error))
        return FALSE;
    g_autofree char *folder = tn_key_folder();
    g_autofree char *path = g_strconcat(folder, "/", name, secret ? ".key" : ".pub", NULL);
    g_strlcpy(found.name, name, sizeof found.name);
    const int fd = open_plain(path, error);
    if (fd < 0)
        return FALSE;
    ok = (!secret || check_closed(fd, path, error)) && read_text(fd, path, text, error) &&
         parse(text, path, secret, &found, error) && (!secret || check_pair(&found, path, error));
    close(fd);
    if (ok)
        *key = found;
    explicit_bzero(text, sizeof text);
    explicit_bzero(&found, sizeof found);
    return ok;
}

gboolean
tn_key_load(const char *name, TnKey *key, GError **error)
{
    g_autoptr(GError) why = NULL;
    if (load(name, TRUE, key, &why))
        return TRUE;
    if (g_error_matches(why, TN_ERROR, TN_ERROR_NOT_FOUND)) {
        g_autoptr(GPtrArray) names = tn_key_names();
        const char *nearest = tn_nearest(name, (const char *const *)names->pdata, names->len);
        g_autofree char *meant = nearest && strcmp(nearest, name) != 0
                                     ? g_strdup_printf("did you mean '%s'? ", nearest)
                                     : g_strdup("");
        tn_error_prefix(&why, "there is no key '%s'", name);
        g_set_error(
            error, TN_ERROR, TN_ERROR_NOT_FOUND,
            "%s; %s`tenon key new %s` makes one; if another host has it, copy it from there",
            why->message, meant, name);
    } else {
        g_propagate_error(error, g_steal_pointer(&why));
    }
    return FALSE;
}

gboolean
tn_key_load_public(const char *name, TnKey *key, GError **error)
{
    return load(name, FALSE, key, error);
}

/* --- Making ------------------------------------------------------------------------------------- */

/* Opens the folder of keys, made where it is missing, and closes it to others. */
static int
open_folder(const char *folder, GError **error)
{
    struct stat info;
    if (!g_path_is_absolute(folder)) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "keys would lie in %s, which depends on the working directory: set HOME or "
                    "XDG_CONFIG_HOME to a path that begins with /",
                    folder);
        return -1;
    }
    int fd = -1;
    if (g_mkdir_with_parents(folder, 0700) == 0)
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &info) == 0 &&
        (!(info.st_mode & 077) || fchmod(fd, info.st_mode & 0700) == 0))
        return fd;
    g_set_error(error, TN_ERROR, TN_ERROR_IO,
                "%s: cannot make this folder of keys, for you alone: %s", folder,
                g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Writes a file that was not there. */
static gboolean
write_new(int folder, const char *path, mode_t mode, const char *text, GError **error)
{
    const char *name = strrchr(path, '/') + 1;
    const int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0 && errno == EEXIST) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "%s is there already: name the new key otherwise, or delete this one if nobody "
                    "uses it",
                    path);
        return FALSE;
    }
    if (fd < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: cannot create: %s", path, g_strerror(errno));
        return FALSE;
    }
    gboolean ok = tn_file_write_all(fd, path, text, strlen(text), error);
    if (ok && fsync(fd) < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: cannot write to the disk: %s", path,
                    g_strerror(errno));
        ok = FALSE;
    }
    close(fd);
    if (!ok)
        unlinkat(folder, name, 0);
    return ok;
}

/* The secret file first: with it alone a key can be used. */
static gboolean
write_pair(const char *folder, const TnKey *key, GError **error)
{
    char text[512];
    g_autofree char *secret = g_strconcat(folder, "/", key->name, ".key", NULL);
    g_autofree char *public = g_strconcat(folder, "/", key->name, ".pub", NULL);
    const int fd = open_folder(folder, error);
    if (fd < 0)
        return FALSE;
    g_snprintf(text, sizeof text,
               "# The key \"%s\" of Tenon, with its secret: whoever has this file may serve and "
               "join. Nobody else may read it.\npublic = \"%s\"\nsecret = \"%s\"\n",
               key->name, key->public_key, key->secret_key);
    gboolean ok = write_new(fd, secret, 0600, text, error);
    if (ok) {
        g_snprintf(text, sizeof text,
                   "# The public half of the key \"%s\" of Tenon: no secret, and of no use "
                   "without it.\npublic = \"%s\"\n",
                   key->name, key->public_key);
        ok = write_new(fd, public, 0644, text, error);
        if (!ok)
            unlinkat(fd, strrchr(secret, '/') + 1, 0);
    }
    explicit_bzero(text, sizeof text);
    /* Some file systems cannot sync folders; the files themselves are on the disk. */
    (void)!fsync(fd);
    close(fd);
    return ok;
}

gboolean
tn_key_make(const char *name, TnKey *key, GError **error)
{
    TnKey made = { 0 };
    if (!tn_key_check_name(name, error))
        return FALSE;
    const TnZmq *zmq = tn_zmq(error);
    if (!zmq)
        return FALSE;
    if (zmq->curve_keypair(made.public_key, made.secret_key) != 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "ZeroMQ on this machine cannot make keys: it was built without CURVE");
        return FALSE;
    }
    g_strlcpy(made.name, name, sizeof made.name);
    g_autofree char *folder = tn_key_folder();
    const gboolean ok = write_pair(folder, &made, error);
    if (ok)
        *key = made;
    explicit_bzero(&made, sizeof made);
    return ok;
}
