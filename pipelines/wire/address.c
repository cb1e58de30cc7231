/* address.c: what `place` may say: parsed, made into ZeroMQ's urls, and held against what is there. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire/address.h"

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_CHARS LETTERS DIGITS "._-"
/* Bytes of a socket's path: 107 on Linux, and a zero. */
#define MOST_PATH (sizeof((struct sockaddr_un){ 0 }).sun_path - 1)

/* --- Parsing ------------------------------------------------------------------------------------ */

static gboolean
fail(GError **error, const char *place, const char *why)
{
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                "'%s' is no place: %s; expected ipc, ipc://NAME or tcp://HOST:PORT, such as "
                "\"ipc://reader\" or \"tcp://10.0.0.5:5555\"",
                place, why);
    return FALSE;
}

static gboolean
consists_of(const char *text, const char *chars)
{
    return text[strspn(text, chars)] == '\0';
}

static gboolean
parse_ipc(const char *place, const char *name, TnAddress *address, GError **error)
{
    if (name[0] == '\0' || name[0] == '.' || strlen(name) >= sizeof address->name ||
        !consists_of(name, NAME_CHARS))
        return fail(error, place,
                    "NAME is 1 to 40 of a-z, A-Z, 0-9, '.', '_' and '-', the first of them no '.'");
    g_strlcpy(address->name, name, sizeof address->name);
    return TRUE;
}

/* "1" to "65535", or "*". */
static gboolean
parse_port(const char *text, guint16 *port)
{
    *port = 0;
    if (strcmp(text, "*") == 0)
        return TRUE;
    if (text[0] == '\0' || strlen(text) > 5 || !consists_of(text, DIGITS))
        return FALSE;
    const guint64 number = g_ascii_strtoull(text, NULL, 10);
    *port = (guint16)number;
    return number >= 1 && number <= 65535;
}

/* An IPv6 address, perhaps with the interface at which it holds (fe80::1%eth0). */
static gboolean
is_ipv6(const char *text)
{
    struct in6_addr ignored;
    const char *zone = strchr(text, '%');
    g_autofree char *number = zone ? g_strndup(text, (gsize)(zone - text)) : g_strdup(text);
    return inet_pton(AF_INET6, number, &ignored) == 1 &&
           (!zone || (zone[1] != '\0' && consists_of(zone + 1, NAME_CHARS)));
}

static gboolean
is_host(const char *text)
{
    struct in_addr ignored;
    if (text[0] == '\0' || strchr("-.", text[0]) || !consists_of(text, NAME_CHARS))
        return FALSE;
    /* What has the form of an IPv4 address is one. */
    return !consists_of(text, DIGITS ".") || inet_pton(AF_INET, text, &ignored) == 1;
}

static gboolean
parse_tcp(const char *place, const char *rest, TnAddress *address, GError **error)
{
    const char *colon = strrchr(rest, ':');
    if (!colon || strchr(colon, ']'))
        return fail(error, place, "the port is missing");
    if (!parse_port(colon + 1, &address->port))
        return fail(error, place, "PORT is 1 to 65535, or * for one that is free");
    g_autofree char *host = g_strndup(rest, (gsize)(colon - rest));
    const gsize length = strlen(host);
    address->is_ipv6 = length > 2 && host[0] == '[' && host[length - 1] == ']';
    if (address->is_ipv6) {
        memmove(host, host + 1, length - 2);
        host[length - 2] = '\0';
    } else if (strchr(host, ':')) {
        return fail(error, place, "an IPv6 address is written in brackets, tcp://[::1]:5555");
    }
    if (strlen(host) >= sizeof address->host ||
        !(address->is_ipv6 ? is_ipv6(host) : strcmp(host, "*") == 0 || is_host(host)))
        return fail(error, place,
                    "HOST is a name, an IPv4 address, an IPv6 address in brackets, or * for all of "
                    "this host");
    g_strlcpy(address->host, host, sizeof address->host);
    return TRUE;
}

gboolean
tn_address_parse(const char *place, TnAddress *address, GError **error)
{
    TnAddress parsed = { .kind = TN_ADDRESS_IPC };
    gboolean ok = TRUE;
    if (g_str_has_prefix(place, "ipc://")) {
        ok = parse_ipc(place, place + strlen("ipc://"), &parsed, error);
    } else if (g_str_has_prefix(place, "tcp://")) {
        parsed.kind = TN_ADDRESS_TCP;
        ok = parse_tcp(place, place + strlen("tcp://"), &parsed, error);
    } else if (strcmp(place, "ipc") != 0) {
        ok = fail(error, place, "it begins with neither ipc nor tcp://");
    }
    if (ok)
        *address = parsed;
    return ok;
}

/* --- The folder of sockets ---------------------------------------------------------------------- */

/* Where it is; nothing is looked at. (transfer full). */
static char *
folder_path(void)
{
    /* A relative one is invalid by the rules of XDG. */
    const char *runtime = g_getenv("XDG_RUNTIME_DIR");
    return runtime && g_path_is_absolute(runtime)
               ? g_build_filename(runtime, "tenon", NULL)
               : g_strdup_printf("/tmp/tenon-%u", (guint)geteuid());
}

/* Opens a folder that is the user's alone. */
static int
open_own_folder(const char *path, GError **error)
{
    struct stat info;
    const char *what_to_do =
        "move it away, or set XDG_RUNTIME_DIR to a folder of yours (mode 0700)";
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int code = fd < 0 || fstat(fd, &info) < 0 ? errno : 0;
    /* Linux says ENOTDIR of a link, other systems ELOOP. */
    if (code == ENOTDIR || code == ELOOP)
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "%s, where sockets of ipc lie, is a link or no folder at all: %s", path,
                    what_to_do);
    else if (code)
        g_set_error(error, TN_ERROR, code == ENOENT ? TN_ERROR_NOT_FOUND : TN_ERROR_IO,
                    "%s, where sockets of ipc lie, cannot be opened: %s", path, g_strerror(code));
    else if (info.st_uid != geteuid())
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "%s, where sockets of ipc lie, is the folder of user %u, not yours: %s", path,
                    (guint)info.st_uid, what_to_do);
    else if (info.st_mode & 077)
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "%s, where sockets of ipc lie, can be entered by others (mode %04o): chmod 700 "
                    "%s",
                    path, (guint)(info.st_mode & 07777), path);
    else
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

char *
tn_address_folder(GError **error)
{
    g_autofree char *path = folder_path();
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO,
                    "%s: cannot make this folder, where sockets of ipc lie: %s; XDG_RUNTIME_DIR "
                    "names the folder it is made in",
                    path, g_strerror(errno));
        return NULL;
    }
    const int fd = open_own_folder(path, error);
    if (fd < 0)
        return NULL;
    close(fd);
    return g_steal_pointer(&path);
}

/* --- Hosts -------------------------------------------------------------------------------------- */

/* What a host's name stands for; NULL with *error. */
static struct addrinfo *
look_up(const char *host, gboolean serve, GError **error)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = serve ? AI_PASSIVE : 0 };
    struct addrinfo *found = NULL;
    const int code = getaddrinfo(host, NULL, &hints, &found);
    if (code == 0)
        return found;
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "host '%s' cannot be found: %s", host,
                code == EAI_SYSTEM ? g_strerror(errno) : gai_strerror(code));
    return NULL;
}

/* The number of a host as a url has it, IPv4 before IPv6, which not every host can. (transfer
 * full). */
static char *
host_number(const char *host, GError **error)
{
    char text[NI_MAXHOST] = "";
    struct addrinfo *found = look_up(host, TRUE, error);
    if (!found)
        return NULL;
    const struct addrinfo *best = found;
    for (const struct addrinfo *at = found; at && best->ai_family != AF_INET; at = at->ai_next)
        if (at->ai_family == AF_INET)
            best = at;
    const int code =
        getnameinfo(best->ai_addr, best->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
    const gboolean brackets = best->ai_family == AF_INET6;
    freeaddrinfo(found);
    if (code == 0)
        return brackets ? g_strdup_printf("[%s]", text) : g_strdup(text);
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "host '%s' cannot be found: %s", host,
                gai_strerror(code));
    return NULL;
}

/* --- Urls --------------------------------------------------------------------------------------- */

static char *
url_tcp(const TnAddress *address, gboolean serve, GError **error)
{
    const gboolean any = strcmp(address->host, "*") == 0;
    g_autofree char *host = NULL, *port = NULL;
    if (!serve && (any || address->port == 0)) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "a place with %s can be served, not connected to: write the %s of who serves, "
                    "such as \"tcp://10.0.0.5:5555\"",
                    any ? "host *" : "port *", any ? "host" : "port");
        return NULL;
    }
    if (address->is_ipv6)
        host = g_strdup_printf("[%s]", address->host);
    else
        host = any || !serve ? g_strdup(address->host) : host_number(address->host, error);
    if (!host)
        return NULL;
    port = address->port ? g_strdup_printf("%u", address->port) : g_strdup("*");
    return g_strdup_printf("tcp://%s:%s", host, port);
}

/* A name that no config can write, since it begins with a dot. FALSE with *error. */
static gboolean
private_name(char name[32], GError **error)
{
    guint64 number;
    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "the system has no random numbers: %s",
                    g_strerror(errno));
        return FALSE;
    }
    g_snprintf(name, 32, ".%016" G_GINT64_MODIFIER "x", number);
    return TRUE;
}

static char *
url_ipc(const TnAddress *address, gboolean serve, GError **error)
{
    char name[sizeof address->name + 32];
    g_strlcpy(name, address->name, sizeof name);
    if (!serve && name[0] == '\0') {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "place \"ipc\" has a name of its own each time: to connect to it from "
                    "elsewhere give it one, such as \"ipc://reader\"");
        return NULL;
    }
    if (name[0] == '\0' && !private_name(name, error))
        return NULL;
    g_autofree char *folder = tn_address_folder(error);
    g_autofree char *path = folder ? g_build_filename(folder, name, NULL) : NULL;
    if (!path)
        return NULL;
    if (strlen(path) > MOST_PATH) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "%s is longer than the %u bytes that a socket's path may have: set "
                    "XDG_RUNTIME_DIR to a folder with a shorter name",
                    path, (guint)MOST_PATH);
        return NULL;
    }
    return g_strconcat("ipc://", path, NULL);
}

char *
tn_address_url(const TnAddress *address, gboolean serve, GError **error)
{
    return address->kind == TN_ADDRESS_TCP ? url_tcp(address, serve, error)
                                           : url_ipc(address, serve, error);
}

/* --- What is there ------------------------------------------------------------------------------ */

typedef enum {
    NOTHING,  /* no file of that name */
    OTHER,    /* a file that is no socket */
    STALE,    /* a socket at which nobody answers */
    ANSWERED, /* a socket at which somebody answers, or may: it could not be asked (errno) */
} There;

/* Asks at a socket. 0, or an error's number; a queue that is full has somebody at its end. */
static int
ask(const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    g_strlcpy(to.sun_path, path, sizeof to.sun_path);
    const int code = connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
    close(fd);
    return code == EAGAIN || code == EINPROGRESS || code == EPROTOTYPE ? 0 : code;
}

/* Looks at a path, without following a link. */
static There
look_at(const char *path)
{
    struct stat info;
    if (lstat(path, &info) < 0)
        return errno == ENOENT ? NOTHING : ANSWERED;
    if (!S_ISSOCK(info.st_mode))
        return OTHER;
    if (strlen(path) > MOST_PATH) {
        errno = ENAMETOOLONG;
        return ANSWERED;
    }
    int code = ask(path);
    /* One that was made this moment may be about to listen. */
    if (code == ECONNREFUSED && time(NULL) - info.st_ctime <= 1) {
        g_usleep(50000);
        code = ask(path);
    }
    errno = code;
    return code == ECONNREFUSED ? STALE : code == ENOENT ? NOTHING : ANSWERED;
}

static gboolean
check_serve_ipc(const char *path, GError **error)
{
    const There there = look_at(path);
    const int code = errno;
    if (there == NOTHING || (there == STALE && (unlink(path) == 0 || errno == ENOENT)))
        return TRUE;
    if (there == OTHER)
        g_set_error(error, TN_ERROR, TN_ERROR_IO,
                    "ipc://%s cannot be served: a file of that name is no socket; delete it or "
                    "name the place otherwise",
                    path);
    else if (there == STALE)
        g_set_error(error, TN_ERROR, TN_ERROR_IO,
                    "ipc://%s cannot be served: the socket left there cannot be removed: %s", path,
                    g_strerror(errno));
    else if (code == 0)
        g_set_error(error, TN_ERROR, TN_ERROR_BUSY,
                    "ipc://%s is served by another process: end that one or name the place "
                    "otherwise",
                    path);
    else
        g_set_error(error, TN_ERROR, TN_ERROR_IO,
                    "ipc://%s cannot be served: the socket there cannot be asked: %s", path,
                    g_strerror(code));
    return FALSE;
}

/* The host of tcp://HOST:PORT, without brackets. (transfer full). */
static char *
host_of(const char *url)
{
    const char *host = url + strlen("tcp://"), *end = strrchr(host, ':');
    gsize length = end ? (gsize)(end - host) : strlen(host);
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    }
    return g_strndup(host, length);
}

static gboolean
check_tcp(const char *url, gboolean serve, GError **error)
{
    g_autofree char *host = host_of(url);
    if (serve && strcmp(host, "*") == 0)
        return TRUE;
    struct addrinfo *found = look_up(host, serve, error);
    if (!found) {
        tn_error_prefix(error, "%s", url);
        return FALSE;
    }
    freeaddrinfo(found);
    return TRUE;
}

gboolean
tn_address_check_serve(const char *url, GError **error)
{
    if (g_str_has_prefix(url, "tcp://"))
        return check_tcp(url, TRUE, error);
    g_return_val_if_fail(g_str_has_prefix(url, "ipc://"), FALSE);
    return check_serve_ipc(url + strlen("ipc://"), error);
}

gboolean
tn_address_check_join(const char *url, GError **error)
{
    if (g_str_has_prefix(url, "tcp://"))
        return check_tcp(url, FALSE, error);
    g_return_val_if_fail(g_str_has_prefix(url, "ipc://"), FALSE);
    g_autofree char *folder = g_path_get_dirname(url + strlen("ipc://"));
    const int fd = open_own_folder(folder, error);
    if (fd < 0)
        return FALSE;
    close(fd);
    return TRUE;
}

void
tn_address_remove(const char *url)
{
    if (g_str_has_prefix(url, "ipc://") && look_at(url + strlen("ipc://")) == STALE)
        unlink(url + strlen("ipc://"));
}

guint
tn_address_sweep(void)
{
    guint n = 0;
    g_autofree char *folder = folder_path();
    const int fd = open_own_folder(folder, NULL);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !dir)
        close(fd);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        g_autofree char *path = g_build_filename(folder, entry->d_name, NULL);
        n += look_at(path) == STALE && unlink(path) == 0;
    }
    if (dir)
        closedir(dir);
    return n;
}
