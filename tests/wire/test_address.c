/* test_address.c: what a place may say, the folder of sockets and whose it must be, sockets that are
 * live and sockets that a killed process left. */
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include <tenon/status.h>

#include "tn_test.h"
#include "wire/address.h"
#include "wire/zmq.h"

#define SECONDS 20

/* A name of 64 characters before the first dot is refused without asking anybody. */
#define NO_HOST "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.invalid"

/* --- Parsing ------------------------------------------------------------------------------------ */

static void
good_places(void)
{
    static const struct {
        const char *place;
        TnAddress wanted;
    } cases[] = {
        { "ipc", { .kind = TN_ADDRESS_IPC } },
        { "ipc://a", { .kind = TN_ADDRESS_IPC, .name = "a" } },
        { "ipc://Reader-1.b_c", { .kind = TN_ADDRESS_IPC, .name = "Reader-1.b_c" } },
        { "ipc://0123456789012345678901234567890123456789",
          { .kind = TN_ADDRESS_IPC, .name = "0123456789012345678901234567890123456789" } },
        { "tcp://10.0.0.5:5555", { .kind = TN_ADDRESS_TCP, .host = "10.0.0.5", .port = 5555 } },
        { "tcp://node-7.cluster:1",
          { .kind = TN_ADDRESS_TCP, .host = "node-7.cluster", .port = 1 } },
        { "tcp://h:65535", { .kind = TN_ADDRESS_TCP, .host = "h", .port = 65535 } },
        { "tcp://*:5555", { .kind = TN_ADDRESS_TCP, .host = "*", .port = 5555 } },
        { "tcp://*:*", { .kind = TN_ADDRESS_TCP, .host = "*" } },
        { "tcp://[::1]:80",
          { .kind = TN_ADDRESS_TCP, .host = "::1", .is_ipv6 = TRUE, .port = 80 } },
        { "tcp://[::]:*", { .kind = TN_ADDRESS_TCP, .host = "::", .is_ipv6 = TRUE } },
        { "tcp://[fe80::1%eth0]:80",
          { .kind = TN_ADDRESS_TCP, .host = "fe80::1%eth0", .is_ipv6 = TRUE, .port = 80 } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        TnAddress address;
        g_autoptr(GError) error = NULL;
        TN_ASSERT(tn_address_parse(cases[i].place, &address, &error));
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT_CMPINT(address.kind, ==, cases[i].wanted.kind);
        TN_ASSERT_CMPSTR(address.name, cases[i].wanted.name);
        TN_ASSERT_CMPSTR(address.host, cases[i].wanted.host);
        TN_ASSERT_CMPINT(address.is_ipv6, ==, cases[i].wanted.is_ipv6);
        TN_ASSERT_CMPUINT(address.port, ==, cases[i].wanted.port);
    }
}

static void
bad_places(void)
{
    static const struct {
        const char *place, *said;
    } cases[] = {
        { "", "begins with neither" },
        { "local", "begins with neither" },
        { "ipc:", "begins with neither" },
        { "IPC", "begins with neither" },
        { " ipc", "begins with neither" },
        { "tcp", "begins with neither" },
        { "udp://h:1", "begins with neither" },
        { "inproc://a", "begins with neither" },
        { "ipc://", "NAME is 1 to 40" },
        { "ipc://.hidden", "NAME is 1 to 40" },
        { "ipc://..", "NAME is 1 to 40" },
        { "ipc://a/b", "NAME is 1 to 40" },
        { "ipc:///tmp/a", "NAME is 1 to 40" },
        { "ipc://*", "NAME is 1 to 40" },
        { "ipc://@a", "NAME is 1 to 40" },
        { "ipc://a b", "NAME is 1 to 40" },
        { "ipc://\xc3\xa4", "NAME is 1 to 40" },
        { "ipc://01234567890123456789012345678901234567890", "NAME is 1 to 40" },
        { "tcp://", "port is missing" },
        { "tcp://host", "port is missing" },
        { "tcp://[::1]", "port is missing" },
        { "tcp://host:", "PORT is 1 to 65535" },
        { "tcp://host:0", "PORT is 1 to 65535" },
        { "tcp://host:65536", "PORT is 1 to 65535" },
        { "tcp://host:99999999999999999999", "PORT is 1 to 65535" },
        { "tcp://host:-1", "PORT is 1 to 65535" },
        { "tcp://host:+1", "PORT is 1 to 65535" },
        { "tcp://host:1 ", "PORT is 1 to 65535" },
        { "tcp://host:1/x", "PORT is 1 to 65535" },
        { "tcp://host:http", "PORT is 1 to 65535" },
        { "tcp://host:**", "PORT is 1 to 65535" },
        { "tcp://:5", "HOST is a name" },
        { "tcp://-a:5", "HOST is a name" },
        { "tcp://a b:5", "HOST is a name" },
        { "tcp://a/b:5", "HOST is a name" },
        { "tcp://u@h:5", "HOST is a name" },
        { "tcp://1.2.3:5", "HOST is a name" },
        { "tcp://1.2.3.256:5", "HOST is a name" },
        { "tcp://*a:5", "HOST is a name" },
        { "tcp://[]:5", "HOST is a name" },
        { "tcp://[h]:5", "HOST is a name" },
        { "tcp://[1.2.3.4]:5", "HOST is a name" },
        { "tcp://[::1%]:5", "HOST is a name" },
        { "tcp://::1:5", "in brackets" },
        { "tcp://[::1:5", "in brackets" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        TnAddress address = { .name = "before" };
        g_autoptr(GError) error = NULL;
        TN_ASSERT(!tn_address_parse(cases[i].place, &address, &error));
        TN_ASSERT_CMPSTR(address.name, "before");
        if (error && !strstr(error->message, cases[i].said))
            TN_FAIL("%s: %s", cases[i].place, error->message);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, cases[i].place, "tcp://HOST:PORT",
                        "\"ipc://reader\"");
    }
    g_autofree char *long_host = g_strnfill(254, 'h');
    g_autofree char *place = g_strconcat("tcp://", long_host, ":5", NULL);
    TnAddress address;
    g_autoptr(GError) error = NULL;
    TN_ASSERT(!tn_address_parse(place, &address, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "HOST is a name");
}

/* --- Folder and urls ---------------------------------------------------------------------------- */

/* Sets XDG_RUNTIME_DIR to a new folder and gives what lies in it. (transfer full). */
static char *
use_runtime(const char *name)
{
    g_autofree char *runtime = tn_test_tmp_path("%s", name);
    TN_REQUIRE(g_mkdir(runtime, 0700) == 0);
    g_setenv("XDG_RUNTIME_DIR", runtime, TRUE);
    return g_build_filename(runtime, "tenon", NULL);
}

/* (transfer full); NULL with *error. */
static char *
url_of(const char *place, gboolean serve, GError **error)
{
    TnAddress address;
    TN_REQUIRE(tn_address_parse(place, &address, NULL));
    return tn_address_url(&address, serve, error);
}

static void
folder_is_made(void)
{
    g_autofree char *wanted = use_runtime("made");
    g_autoptr(GError) error = NULL;
    const mode_t before = umask(0);
    g_autofree char *folder = tn_address_folder(&error);
    umask(before);
    struct stat info;
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPSTR(folder, wanted);
    TN_REQUIRE(lstat(wanted, &info) == 0);
    TN_ASSERT_CMPUINT(info.st_mode & 07777, ==, 0700);
    g_autofree char *again = tn_address_folder(&error);
    TN_ASSERT_CMPSTR(again, wanted);
    /* A relative folder is none, by the rules of XDG. */
    g_autofree char *fallback = g_strdup_printf("/tmp/tenon-%u", (guint)geteuid());
    static const char *const none[] = { "", "relative", NULL };
    for (guint i = 0; i < G_N_ELEMENTS(none); i++) {
        if (none[i])
            g_setenv("XDG_RUNTIME_DIR", none[i], TRUE);
        else
            g_unsetenv("XDG_RUNTIME_DIR");
        g_autofree char *found = tn_address_folder(&error);
        TN_ASSERT_NO_ERROR(error);
        TN_ASSERT_CMPSTR(found, fallback);
    }
}

/* Every call that needs the folder says what is wrong with it. */
static void
folder_is_refused(const char *folder, TnErrorCode code, const char *said)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *url = g_strconcat("ipc://", folder, "/a", NULL);
    TN_ASSERT(tn_address_folder(&error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, code, folder, said);
    TN_ASSERT(url_of("ipc://a", TRUE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, code, folder, said);
    TN_ASSERT(!tn_address_check_join(url, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, code, folder, said);
    TN_ASSERT_CMPUINT(tn_address_sweep(), ==, 0);
}

static void
folder_of_others(void)
{
    g_autofree char *folder = use_runtime("others");
    g_autofree char *told = g_strconcat("chmod 700 ", folder, NULL);
    g_autofree char *target = tn_test_tmp_path("target");
    TN_REQUIRE(g_mkdir(folder, 0700) == 0);
    static const guint modes[] = { 0755, 0710, 0701, 0770, 01777 };
    for (guint i = 0; i < G_N_ELEMENTS(modes); i++) {
        TN_REQUIRE(chmod(folder, modes[i]) == 0);
        folder_is_refused(folder, TN_ERROR_USAGE, told);
    }
    TN_REQUIRE(g_rmdir(folder) == 0 && g_mkdir(target, 0700) == 0);
    TN_REQUIRE(symlink(target, folder) == 0);
    folder_is_refused(folder, TN_ERROR_USAGE, "set XDG_RUNTIME_DIR");
    TN_REQUIRE(g_unlink(folder) == 0);
    tn_test_write_file(folder, "", -1);
    folder_is_refused(folder, TN_ERROR_USAGE, "set XDG_RUNTIME_DIR");
    g_autofree char *missing = tn_test_tmp_path("missing");
    g_setenv("XDG_RUNTIME_DIR", missing, TRUE);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_address_folder(&error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "missing/tenon", "XDG_RUNTIME_DIR");
    TN_ASSERT(!tn_address_check_join("ipc:///nowhere/tenon/a", &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "/nowhere/tenon");
}

static void
folder_of_another_user(void)
{
    if (geteuid() != 0)
        tn_test_skip("only root can give a folder away");
    g_autofree char *folder = use_runtime("given");
    TN_REQUIRE(g_mkdir(folder, 0700) == 0);
    TN_REQUIRE(chown(folder, 12345, 12345) == 0);
    folder_is_refused(folder, TN_ERROR_USAGE, "user 12345");
}

static void
urls_of_ipc(void)
{
    g_autofree char *folder = use_runtime("urls");
    g_autoptr(GError) error = NULL;
    g_autofree char *wanted = g_strconcat("ipc://", folder, "/a.b", NULL);
    g_autofree char *served = url_of("ipc://a.b", TRUE, &error);
    g_autofree char *joined = url_of("ipc://a.b", FALSE, &error);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPSTR(served, wanted);
    TN_ASSERT_CMPSTR(joined, wanted);
    g_autofree char *one = url_of("ipc", TRUE, &error), *two = url_of("ipc", TRUE, &error);
    g_autofree char *prefix = g_strconcat("ipc://", folder, "/.", NULL);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT(g_str_has_prefix(one, prefix) && g_str_has_prefix(two, prefix));
    TN_ASSERT(strcmp(one, two) != 0);
    TN_ASSERT(tn_address_check_join(one, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT(url_of("ipc", FALSE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "ipc://reader");
}

static void
urls_of_tcp(void)
{
    static const struct {
        const char *place, *served, *joined, *said;
    } cases[] = {
        { "tcp://10.0.0.5:5555", "tcp://10.0.0.5:5555", "tcp://10.0.0.5:5555", NULL },
        { "tcp://[::1]:5555", "tcp://[::1]:5555", "tcp://[::1]:5555", NULL },
        { "tcp://*:5555", "tcp://*:5555", NULL, "host *" },
        { "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", NULL, "port *" },
        { "tcp://*:*", "tcp://*:*", NULL, "host *" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *served = url_of(cases[i].place, TRUE, &error);
        TN_ASSERT_NO_ERROR(error);
        TN_ASSERT_CMPSTR(served, cases[i].served);
        TN_ASSERT(tn_address_check_serve(served, &error));
        TN_ASSERT_NO_ERROR(error);
        g_autofree char *joined = url_of(cases[i].place, FALSE, &error);
        TN_ASSERT_CMPSTR(joined, cases[i].joined);
        if (cases[i].said)
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, cases[i].said);
        else
            TN_ASSERT(tn_address_check_join(joined, &error));
        TN_ASSERT_NO_ERROR(error);
    }
}

static void
hosts_that_are_not_there(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *joined = url_of("tcp://" NO_HOST ":5", FALSE, &error);
    TN_ASSERT_CMPSTR(joined, "tcp://" NO_HOST ":5");
    TN_ASSERT(!tn_address_check_join(joined, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "host '" NO_HOST "' cannot be found: ");
    TN_ASSERT(!tn_address_check_serve(joined, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "host '" NO_HOST "' cannot be found: ");
    TN_ASSERT(url_of("tcp://" NO_HOST ":5", TRUE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "host '" NO_HOST "' cannot be found: ");
}

/* --- ZeroMQ takes them -------------------------------------------------------------------------- */

/* Binds a ROUTER to url in a context; NULL after a failure. */
static void *
bind_router(const TnZmq *zmq, void *context, const char *url)
{
    void *socket = zmq->socket(context, ZMQ_ROUTER);
    zmq->setsockopt(socket, ZMQ_LINGER, &(int){ 0 }, sizeof(int));
    if (zmq->bind(socket, url) == 0)
        return socket;
    TN_FAIL("%s: %s", url, zmq->strerror(zmq->errno_()));
    zmq->close(socket);
    return NULL;
}

/* A host's name becomes what can be bound. */
static void
zeromq_binds(void)
{
    g_autofree char *folder = use_runtime("zeromq");
    g_autoptr(GError) error = NULL;
    const TnZmq *zmq = tn_zmq(&error);
    TN_REQUIRE_NO_ERROR(error);
    static const char *const places[] = { "tcp://localhost:*", "tcp://127.0.0.1:*", "tcp://*:*",
                                          "ipc", "ipc://a" };
    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *url = url_of(places[i], TRUE, &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT(tn_address_check_serve(url, &error));
        TN_ASSERT_NO_ERROR(error);
        void *context = zmq->ctx_new(), *socket = bind_router(zmq, context, url);
        if (g_str_has_prefix(url, "ipc://")) {
            TN_ASSERT(!tn_address_check_serve(url, &error));
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, url);
            TN_ASSERT_CMPUINT(tn_address_sweep(), ==, 0);
            tn_address_remove(url);
            TN_ASSERT(!tn_address_check_serve(url, &error));
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, url);
        }
        if (socket)
            zmq->close(socket);
        zmq->ctx_term(context);
        tn_address_remove(url);
        TN_ASSERT(!g_file_test(url + strlen("ipc://"), G_FILE_TEST_EXISTS));
    }
}

/* The longest path that fits is bound; one more byte is refused. */
static void
long_paths(void)
{
    const gsize most = 107, name = 26;
    g_autofree char *start = tn_test_tmp_path("long-");
    const gsize before = strlen(start) + strlen("/tenon/") + name;
    TN_REQUIRE(before < most);
    g_autofree char *fill = g_strnfill(most - before, 'x');
    g_autofree char *base = g_strconcat("long-", fill, NULL);
    g_autofree char *folder = use_runtime(base);
    g_autofree char *fits = g_strnfill(name, 'n'), *beyond = g_strnfill(name + 1, 'n');
    g_autofree char *good = g_strconcat("ipc://", fits, NULL);
    g_autofree char *bad = g_strconcat("ipc://", beyond, NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *url = url_of(good, TRUE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(strlen(url), ==, strlen("ipc://") + most);
    const TnZmq *zmq = tn_zmq(NULL);
    TN_REQUIRE(zmq != NULL);
    void *context = zmq->ctx_new();
    void *socket = bind_router(zmq, context, url);
    TN_ASSERT(!tn_address_check_serve(url, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, url);
    if (socket)
        zmq->close(socket);
    zmq->ctx_term(context);
    TN_ASSERT(url_of(bad, TRUE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, beyond, "107 bytes", "XDG_RUNTIME_DIR");
}

/* --- Live and left ------------------------------------------------------------------------------ */

/* Starts a process that listens at a path until it is killed. */
static pid_t
listen_elsewhere(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int ends[2];
    g_strlcpy(at.sun_path, path, sizeof at.sun_path);
    TN_REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        const gboolean ok = bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
                            listen(fd, 8) == 0 && write(ends[1], "x", 1) == 1;
        while (ok)
            pause();
        _exit(1);
    }
    TN_REQUIRE(child > 0);
    close(ends[1]);
    struct pollfd wait = { .fd = ends[0], .events = POLLIN };
    char ready = 0;
    const gboolean ok = poll(&wait, 1, SECONDS * 1000) == 1 && read(ends[0], &ready, 1) == 1;
    close(ends[0]);
    TN_REQUIRE(ok);
    return child;
}

static void
end_child(pid_t child)
{
    kill(child, SIGKILL);
    TN_ASSERT(waitpid(child, NULL, 0) == child);
}

static void
left_by_a_killed_process(void)
{
    g_autofree char *folder = use_runtime("left");
    g_autoptr(GError) error = NULL;
    g_autofree char *url = url_of("ipc://a", TRUE, &error);
    TN_REQUIRE_NO_ERROR(error);
    const char *path = url + strlen("ipc://");
    TN_ASSERT(tn_address_check_serve(url, &error));
    const pid_t child = listen_elsewhere(path);
    for (guint i = 0; i < 20; i++) { /* its queue of 8 is full then */
        TN_ASSERT(!tn_address_check_serve(url, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, url, "another process");
    }
    TN_ASSERT_CMPUINT(tn_address_sweep(), ==, 0);
    end_child(child);
    TN_ASSERT(g_file_test(path, G_FILE_TEST_EXISTS));
    TN_ASSERT(tn_address_check_serve(url, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT(!g_file_test(path, G_FILE_TEST_EXISTS));
}

static void
what_is_no_socket(void)
{
    g_autofree char *folder = use_runtime("none");
    g_autoptr(GError) error = NULL;
    g_autofree char *file = url_of("ipc://file", TRUE, &error);
    g_autofree char *link = url_of("ipc://link", TRUE, &error);
    g_autofree char *live = url_of("ipc://live", TRUE, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_test_write_file(file + strlen("ipc://"), "precious", -1);
    const pid_t child = listen_elsewhere(live + strlen("ipc://"));
    end_child(child);
    TN_REQUIRE(symlink("live", link + strlen("ipc://")) == 0);
    TN_ASSERT(!tn_address_check_serve(file, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, file, "no socket");
    TN_ASSERT(!tn_address_check_serve(link, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, link, "no socket");
    TN_ASSERT(g_file_test(live + strlen("ipc://"), G_FILE_TEST_EXISTS));
}

static void
sweep(void)
{
    g_autofree char *folder = use_runtime("sweep");
    TN_ASSERT_CMPUINT(tn_address_sweep(), ==, 0); /* there is no folder yet */
    TN_ASSERT(!g_file_test(folder, G_FILE_TEST_EXISTS));
    g_autofree char *made = tn_address_folder(NULL), *outside = tn_test_tmp_path("outside");
    TN_REQUIRE(made != NULL);
    g_autofree char *left = g_build_filename(folder, "left", NULL);
    g_autofree char *hidden = g_build_filename(folder, ".0123", NULL);
    g_autofree char *live = g_build_filename(folder, "live", NULL);
    g_autofree char *file = g_build_filename(folder, "file", NULL);
    g_autofree char *link = g_build_filename(folder, "link", NULL);
    g_autofree char *below = g_build_filename(folder, "below", NULL);
    g_autofree char *deep = g_build_filename(below, "deep", NULL);
    TN_REQUIRE(g_mkdir(below, 0700) == 0);
    const char *const killed[] = { left, hidden, outside, deep };
    for (guint i = 0; i < G_N_ELEMENTS(killed); i++)
        end_child(listen_elsewhere(killed[i]));
    tn_test_write_file(file, "precious", -1);
    TN_REQUIRE(symlink(outside, link) == 0);
    const pid_t child = listen_elsewhere(live);
    TN_ASSERT_CMPUINT(tn_address_sweep(), ==, 2);
    TN_ASSERT(!g_file_test(left, G_FILE_TEST_EXISTS));
    TN_ASSERT(!g_file_test(hidden, G_FILE_TEST_EXISTS));
    const char *const kept[] = { live, file, link, below, outside, deep };
    for (guint i = 0; i < G_N_ELEMENTS(kept); i++)
        TN_ASSERT(g_file_test(kept[i], G_FILE_TEST_EXISTS));
    end_child(child);
    TN_ASSERT_CMPUINT(tn_address_sweep(), ==, 1);
}

static const TnTest tests[] = {
    { "good places", good_places },
    { "bad places", bad_places },
    { "the folder is made", folder_is_made },
    { "a folder of others", folder_of_others },
    { "a folder of another user", folder_of_another_user },
    { "urls of ipc", urls_of_ipc },
    { "urls of tcp", urls_of_tcp },
    { "hosts that are not there", hosts_that_are_not_there },
    { "ZeroMQ binds", zeromq_binds },
    { "long paths", long_paths },
    { "left by a killed process", left_by_a_killed_process },
    { "what is no socket", what_is_no_socket },
    { "sweep", sweep },
};
TN_TEST_MAIN("addresses", tests)
