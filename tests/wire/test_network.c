// tn-test: timeout=120 label=threads
/* test_network.c: a run and its stage on two hosts with a bad line between them: delay, loss, packets
 * that come twice or in another order, little room, and no line at all for a while. The hosts are
 * network namespaces that go with their processes; the line is this program, which carries packets
 * from one tunnel to the other as badly as a test wants. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_background.h"

#define SLACK (TN_TEST_SANITIZED ? 5 : 1)
#define STEPS (4 * 32)
#define PORT "5555"

static const char *const addresses[] = { "10.203.7.1", "10.203.7.2" };

static const char config[] =
    "local tn = require 'tenon'\n"
    "local nn = tn.nn\n"
    "return tn.experiment {\n"
    "  name = 'far', seed = 3,\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {1, 8, 8}, classes = 4, length = 500 }, "
    "batch = 16, shuffle = true },\n"
    "    map = tn.stage.map { from = 'read', queue = 16,\n"
    "      apply = function(b) return { x = b.x * 0.5, y = b.y } end },\n"
    "    train = tn.stage.train { from = 'map', input = 'x', target = 'y', epochs = 4,\n"
    "      model = nn.sequential { nn.flatten {}, nn.linear {4} },\n"
    "      loss = tn.loss.cross_entropy {}, optimizer = tn.optim.adam { lr = 1e-2 } },\n"
    "  },\n"
    "  loggers = { tn.logger.progress {} },\n"
    "}\n";

static char *config_path, *program, *keys_env;
static guint64 expected;

/* --- The line --------------------------------------------------------------------------------- */

typedef struct {
    guint delay_ms;
    double loss, twice,
        late;   /* shares of all packets; late: another 3 ms or more, so out of order */
    gsize rate; /* bytes a second; 0: no limit */
} Quality;

typedef struct {
    gint64 due; /* monotonic us */
    gsize n;
    guint8 bytes[2048];
} Packet;

typedef struct {
    int fds[2];    /* tunnels: of the run's host, of the stage's */
    int spaces[2]; /* their networks */
    Quality quality;
    atomic_bool cut, stop;
    TnRandom random;
    GSequence *under_way[2]; /* of Packet, to each side, by time */
    gint64 free_at[2];       /* when the line has sent what came before */
    pthread_t thread;
} Line;

static gint
by_time(gconstpointer a, gconstpointer b, gpointer data)
{
    const Packet *x = a, *y = b;
    (void)data;
    return x->due < y->due ? -1 : x->due > y->due;
}

static void
put(Line *line, guint to, const Packet *packet)
{
    const Quality *q = &line->quality;
    const gint64 now = g_get_monotonic_time();
    if (atomic_load(&line->cut) || tn_random_f64(&line->random) < q->loss)
        return;
    Packet *copy = g_memdup2(packet, sizeof *packet);
    copy->due = MAX(now, line->free_at[to]);
    if (q->rate) {
        copy->due += (gint64)(packet->n * G_USEC_PER_SEC / q->rate);
        line->free_at[to] = copy->due;
    }
    copy->due += q->delay_ms * 1000;
    if (tn_random_f64(&line->random) < q->late)
        copy->due += 3000 + (gint64)(10000 * tn_random_f64(&line->random));
    g_sequence_insert_sorted(line->under_way[to], copy, by_time, NULL);
    if (tn_random_f64(&line->random) < q->twice)
        g_sequence_insert_sorted(line->under_way[to], g_memdup2(copy, sizeof *copy), by_time, NULL);
}

/* Packets whose time has come go to the side. */
static void
deliver(Line *line, guint to)
{
    const gint64 now = g_get_monotonic_time();
    for (;;) {
        GSequenceIter *first = g_sequence_get_begin_iter(line->under_way[to]);
        const Packet *packet = g_sequence_iter_is_end(first) ? NULL : g_sequence_get(first);
        if (!packet || packet->due > now)
            return;
        (void)!write(line->fds[to], packet->bytes, packet->n);
        g_sequence_remove(first);
    }
}

static void *
carry(void *data)
{
    Line *line = data;
    Packet packet = { 0 };
    while (!atomic_load(&line->stop)) {
        struct pollfd p[2] = { { line->fds[0], POLLIN, 0 }, { line->fds[1], POLLIN, 0 } };
        const int ready = poll(p, 2, 1);
        for (guint from = 0; from < 2; from++) {
            ssize_t n = 0;
            while (ready > 0 &&
                   (n = read(line->fds[from], packet.bytes, sizeof packet.bytes)) > 0) {
                packet.n = (gsize)n;
                put(line, 1 - from, &packet);
            }
            deliver(line, 1 - from);
            deliver(line, from);
        }
    }
    return NULL;
}

static void
line_begin(Line *line)
{
    tn_random_init(&line->random, 5, "line", 0);
    for (guint i = 0; i < 2; i++) {
        line->under_way[i] = g_sequence_new(g_free);
        fcntl(line->fds[i], F_SETFL, O_NONBLOCK);
    }
    TN_REQUIRE(pthread_create(&line->thread, NULL, carry, line) == 0);
}

static void
line_end(Line *line)
{
    atomic_store(&line->stop, TRUE);
    pthread_join(line->thread, NULL);
    for (guint i = 0; i < 2; i++) {
        g_sequence_free(line->under_way[i]);
        close(line->fds[i]);
        close(line->spaces[i]);
    }
}

/* --- Hosts ------------------------------------------------------------------------------------ */

typedef struct {
    guint side;
    int to; /* a socket: the tunnel's number goes there */
} Host;

static void
set_address(struct ifreq *request, const char *text)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    inet_pton(AF_INET, text, &address.sin_addr);
    memcpy(&request->ifr_addr, &address, sizeof address);
}

static gboolean
bring_up(int fd, const char *name, guint side)
{
    struct ifreq r = { 0 };
    g_strlcpy(r.ifr_name, name, sizeof r.ifr_name);
    if (side < 2) {
        set_address(&r, addresses[side]);
        if (ioctl(fd, SIOCSIFADDR, &r) < 0)
            return FALSE;
        set_address(&r, addresses[1 - side]);
        if (ioctl(fd, SIOCSIFDSTADDR, &r) < 0)
            return FALSE;
        r.ifr_mtu = 1400;
        if (ioctl(fd, SIOCSIFMTU, &r) < 0)
            return FALSE;
    }
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    return ioctl(fd, SIOCSIFFLAGS, &r) == 0;
}

static gboolean
hand_over(int to, int fd)
{
    char byte = 0;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(part), &fd, sizeof fd);
    return sendmsg(to, &message, 0) == 1;
}

static int
receive_fd(int from)
{
    char byte;
    int fd = -1;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

/* In the new process: a network of its own, with a tunnel as its only way out. 0 or errno. */
static int
become_host(void *data)
{
    const Host *host = data;
    struct ifreq r = { .ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "tn0" };
    if (unshare(CLONE_NEWNET) < 0)
        return errno;
    const int tunnel = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    const int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (tunnel < 0 || any < 0 || ioctl(tunnel, TUNSETIFF, &r) < 0 || !bring_up(any, "lo", 2) ||
        !bring_up(any, "tn0", host->side) || !hand_over(host->to, tunnel))
        return errno ? errno : EIO;
    return 0;
}

/* A program on a host of its own: its tunnel, and the network, which stays with its last words. */
static int
start_on(guint side, TnBackground *child, const char *line, int *space)
{
    int ends[2];
    const char *const env[] = { keys_env, NULL };
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    TN_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    Host host = { side, ends[1] };
    tn_background_start_with(child, (const char *const *)argv, env, become_host, &host);
    close(ends[1]);
    const int tunnel = receive_fd(ends[0]);
    close(ends[0]);
    TN_REQUIRE(tunnel >= 0);
    g_autofree char *path = g_strdup_printf("/proc/%d/ns/net", (int)child->pid);
    *space = open(path, O_RDONLY | O_CLOEXEC);
    TN_REQUIRE(*space >= 0);
    return tunnel;
}

/* Why there can be no such hosts here; NULL: there can. (transfer full). */
static char *
why_not(void)
{
    int ends[2], status = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return g_strdup(g_strerror(errno));
    Host host = { 0, ends[1] };
    const pid_t pid = fork();
    if (pid == 0)
        _exit(become_host(&host));
    if (pid > 0)
        waitpid(pid, &status, 0);
    close(ends[0]);
    close(ends[1]);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? NULL
               : g_strdup_printf("no network namespace with a tunnel can be made: %s",
                                 g_strerror(WIFEXITED(status) ? WEXITSTATUS(status) : EIO));
}

/* --- A run here, its stage there -------------------------------------------------------------- */

static guint64
final_digest(const char *root)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = tn_run_open(root, "far", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_checkpoint_newest(run), ==, STEPS);
    g_autofree char *path = g_strdup_printf("%s/checkpoints/%012" G_GINT64_FORMAT ".safetensors",
                                            tn_run_path(run), tn_checkpoint_newest(run));
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, &error);
    TN_REQUIRE_NO_ERROR(error);
    guint64 hash = TN_HASH_INIT;
    for (guint i = 0; i < tn_safetensors_n(file); i++)
        hash = tn_hash(hash, tn_safetensors_data(file, i),
                       (gsize)tn_type_bytes(tn_safetensors_type(file, i)));
    return hash;
}

typedef struct {
    TnBackground run, stage;
    Line line;
    char *root;
} Pair;

static void
begin_pair(Pair *pair, const char *name, const char *overrides, double stage_timeout)
{
    g_autofree char *why = why_not();
    if (why) {
        static char said[256];
        g_strlcpy(said, why, sizeof said);
        g_clear_pointer(&why, g_free);
        tn_test_skip("%s", said);
    }
    pair->root = tn_test_tmp_path("%s", name);
    g_autofree char *run =
        g_strdup_printf("%s run --runs %s %s map.place=tcp://*:" PORT " map.key=line%s", program,
                        pair->root, config_path, overrides);
    g_autofree char *stage = g_strdup_printf(
        "%s stage --threads=1 %s map --key=line --timeout=%gs --connect=tcp://%s:" PORT, program,
        config_path, stage_timeout * SLACK, addresses[0]);
    pair->line.fds[0] = start_on(0, &pair->run, run, &pair->line.spaces[0]);
    TN_REQUIRE(tn_background_says(&pair->run, "is awaited at", 20));
    pair->line.fds[1] = start_on(1, &pair->stage, stage, &pair->line.spaces[1]);
    line_begin(&pair->line);
}

static void
end_pair(Pair *pair)
{
    tn_background_clear(&pair->run);
    tn_background_clear(&pair->stage);
    line_end(&pair->line);
    g_free(pair->root);
}

static void
ends_with_the_same_bits(Pair *pair)
{
    TN_ASSERT_ENDS(&pair->run, 0);
    if (pair->run.exit_code == 0)
        TN_ASSERT_CMPUINT(final_digest(pair->root), ==, expected);
    TN_ASSERT_ENDS(&pair->stage, 0);
}

static void
bad_lines(void)
{
    static const Quality lines[] = {
        { .delay_ms = 20 },
        { .delay_ms = 2, .twice = 0.1, .late = 0.2 },
        { .delay_ms = 1, .loss = 0.02 },
        { .rate = 400000 },
    };
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        Pair pair = { .line.quality = lines[i] };
        g_autofree char *name = g_strdup_printf("bad-%u", i);
        begin_pair(&pair, name, "", 20);
        ends_with_the_same_bits(&pair);
        end_pair(&pair);
    }
}

/* A line on which the whole takes some seconds. */
static const Quality slow = { .delay_ms = 10, .rate = 100000 };

static void
cut_for_a_moment(void)
{
    Pair pair = { .line.quality = slow };
    begin_pair(&pair, "moment", "", 20);
    TN_ASSERT(tn_background_says(&pair.run, "epoch 1/", 20));
    atomic_store(&pair.line.cut, TRUE);
    g_usleep(G_USEC_PER_SEC / 2); /* TCP tries again 0.6 s after, and heartbeats wait for two */
    atomic_store(&pair.line.cut, FALSE);
    ends_with_the_same_bits(&pair);
    end_pair(&pair);
}

/* Both sides end, each with its reason, the run within the time that a loss may take. */
static void
cut_for_good(void)
{
    Pair pair = { .line.quality = slow };
    begin_pair(&pair, "good", "", 3);
    TN_ASSERT(tn_background_says(&pair.run, "epoch 1/", 20));
    atomic_store(&pair.line.cut, TRUE);
    TN_ASSERT(tn_background_wait(&pair.run, 5 + 2));
    TN_ASSERT_ENDS(&pair.run, 1);
    TN_ASSERT(tn_background_wait(&pair.stage, 10));
    TN_ASSERT_ENDS(&pair.stage, 1);
    g_autofree char *run = tn_background_text(&pair.run), *stage = tn_background_text(&pair.stage);
    TN_ASSERT_CONTAINS(run, "stage 'map' at tcp://");
    TN_ASSERT_CONTAINS(run, "two seconds");
    TN_ASSERT_CONTAINS(stage, "no run has been there for");
    end_pair(&pair);
}

/* With restart the run awaits the stage, which seeks the run. */
static void
cut_and_awaited(void)
{
    Pair pair = { .line.quality = slow };
    begin_pair(&pair, "awaited", " map.restart=true", 30);
    TN_ASSERT(tn_background_says(&pair.run, "epoch 1/", 20));
    atomic_store(&pair.line.cut, TRUE);
    TN_ASSERT(tn_background_says(&pair.run, "two seconds", 10));
    atomic_store(&pair.line.cut, FALSE);
    ends_with_the_same_bits(&pair);
    end_pair(&pair);
}

static void
setup(void)
{
    g_autofree char *keys = tn_test_tmp_path("config"), *root = tn_test_tmp_path("alone");
    g_auto(TnBackground) key = { 0 }, run = { 0 };
    config_path = tn_test_tmp_path("far.lua");
    program = tn_test_build_path("tenon");
    keys_env = g_strconcat("XDG_CONFIG_HOME=", keys, NULL);
    tn_test_write_file(config_path, config, -1);
    const char *const env[] = { keys_env, NULL };
    const char *const make_key[] = { program, "key", "new", "line", NULL };
    const char *const alone[] = { program, "run", "--runs", root, config_path, NULL };
    tn_background_start(&key, make_key, env);
    TN_ASSERT_ENDS(&key, 0);
    tn_background_start(&run, alone, env);
    if (TN_ASSERT_ENDS(&run, 0))
        expected = final_digest(root);
}

static void
teardown(void)
{
    g_free(config_path);
    g_free(program);
    g_free(keys_env);
}

static const TnTest tests[] = {
    { "bad lines", bad_lines },
    { "cut for a moment", cut_for_a_moment },
    { "cut for good", cut_for_good },
    { "cut and awaited", cut_and_awaited },
};
TN_TEST_MAIN_WITH("network", tests, setup, teardown)
