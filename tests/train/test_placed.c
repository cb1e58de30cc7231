// tn-test: timeout=240
/* test_placed.c: stages in other processes, by the program itself: the weights at the end are those of
 * a single process, bit for bit, whoever is killed or stopped; and what must end ends
 * in time, with one clear error. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <tenon/dataset.h>

#include "placed.h"

#define LIMIT 5 /* seconds until a loss is told */

/* A run that goes on until it is ended, with its first stage process there. */
static void
begin_long(TnBackground *run, const char *root, const char *overrides)
{
    g_autofree char *all = g_strconcat("train.epochs=1000000 ", overrides, NULL);
    begin(run, "run", root, config_path, all);
    if (!tn_background_says(run, "epoch 2/", 30)) {
        g_autofree char *said = tn_background_text(run);
        tn_test_check(FALSE, TRUE, __FILE__, __LINE__, "no second epoch; it said:\n%s", said);
    }
}

/* How often text contains part. */
static guint
count(const char *text, const char *part)
{
    guint n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

/* A run that had to end did so within seconds, with one error which has both words. */
static void
ended_with(TnBackground *run, double seconds, const char *a, const char *b)
{
    TN_ASSERT(tn_background_wait(run, seconds));
    TN_ASSERT_ENDS(run, 1);
    g_autofree char *said = tn_background_text(run);
    const char *error = strstr(said, "stages.train");
    TN_ASSERT_CONTAINS(error, a);
    TN_ASSERT_CONTAINS(error, b);
    TN_ASSERT_CMPUINT(count(said, "stages.train"), ==, 1);
    no_stage_is_left(run, 3);
    TN_ASSERT_CMPUINT(files_in(sockets), ==, 0);
}

/* --- The same bits ---------------------------------------------------------------------------- */

static void
same_bits(const char *name, const char *overrides)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("same-%s", name);
    begin_run(&run, root, overrides);
    ends_with_the_same_bits(&run, root);
}

static void
processes_of_this_host(void)
{
    same_bits("ipc", "map.place=ipc");
    same_bits("three", "map.place=ipc map.workers=3");
    same_bits("named", "map.place=ipc://tn-test-placed map.queue=1");
    same_bits("read", "read.place=ipc");
    same_bits("both", "read.place=ipc map.workers=2");
    same_bits("evaluate", "map.place=ipc test.place=ipc test.workers=2");
}

/* In the new process: no file may have more bytes than a small frame, which goes for shared memory too. */
static int
small_files(void *data)
{
    const struct rlimit limit = { 50000, 50000 };
    (void)data;
    return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? 0 : errno;
}

/* In the new process: /dev/shm is its own, of one page, which is full. */
static int
full_memory_folder(void *data)
{
    static const char page[4096];
    (void)data;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4096") < 0)
        return 77;
    const int fd = open("/dev/shm/full", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd >= 0 && write(fd, page, sizeof page) == sizeof page ? 0 : 77;
}

/* Frames that would lie in shared memory: where there is none they go through the socket. */
static void
without_shared_memory(void)
{
    static int (*const ways[])(void *data) = { NULL, NULL, small_files, full_memory_folder };
    guint64 digests[G_N_ELEMENTS(ways)] = { 0 };
    guint left_out = 0;
    const char *const env[] = { runtime_env, NULL };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_auto(TnBackground) run = { 0 };
        g_autofree char *root = tn_test_tmp_path("shared-%u", i);
        const char *const argv[] = { program,
                                     "run",
                                     "--runs",
                                     root,
                                     config_path,
                                     "read.batch=250",
                                     "train.epochs=80",
                                     i == 0 ? NULL : "map.place=ipc",
                                     NULL };
        tn_background_start_with(&run, argv, env, ways[i], NULL);
        TN_ASSERT(tn_background_wait(&run, 60));
        if (run.exit_code == 77) {
            left_out++;
            continue;
        }
        TN_ASSERT_ENDS(&run, 0);
        digests[i] = run.exit_code == 0 ? digest_at(root, 160) : 0;
        TN_ASSERT_CMPUINT(digests[i], ==, digests[0]);
    }
    if (left_out)
        tn_test_skip("no mount namespace can be made: the rest was tested");
}

/* The run saw that none of its processes lived for long enough to give a frame. */
static gboolean
gave_up(TnBackground *run)
{
    TN_ASSERT(tn_background_wait(run, 60));
    g_autofree char *said = tn_background_text(run);
    return run->exit_code == 1 && strstr(said, "without a frame in between");
}

/* A run whose stages are killed at whatever moment, also while they begin; whether any was. Where they
 * begin so slowly that the run gives up they are killed later from now on, and these kills do not count. */
static gboolean
some_are_killed(guint round, guint most, guint *kills)
{
    static gint pause_ms = TN_TEST_SANITIZED ? 150 : 0; /* from when a process is seen on */
    const guint before = *kills;
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("replaced-%u", round);
    pid_t pids[8];
    begin_run(&run, root, "map.place=ipc map.workers=2 map.restart=true");
    while (*kills < most && !tn_background_wait(&run, 0.001)) {
        if (stages_of(&run, pids) == 0)
            continue;
        tn_background_wait(&run, 0.001 * g_random_int_range(pause_ms, pause_ms + 140));
        const guint n = stages_of(&run, pids);
        if (n > 0)
            *kills += kill(pids[g_random_int_range(0, (gint)n)], SIGKILL) == 0;
    }
    if (gave_up(&run) && pause_ms < 2000) {
        pause_ms += 200;
        *kills = before;
        return TRUE;
    }
    ends_with_the_same_bits(&run, root);
    return *kills > before;
}

static gboolean
kill_stages(guint way)
{
    enum { KILLS = TN_TEST_SANITIZED ? 6 : 20 };
    static guint kills, round;
    (void)way;
    while (kills < KILLS)
        if (!some_are_killed(round++, KILLS, &kills))
            return FALSE;
    return TRUE;
}

static void
killed_stages_are_replaced(void)
{
    in_time(kill_stages, 0);
}

static gboolean
has_begun(const char *root)
{
    g_autoptr(TnRunDir) run = tn_run_open(root, "placed", FALSE, NULL);
    g_autofree char *provenance =
        run ? g_build_filename(tn_run_path(run), "provenance.json", NULL) : NULL;
    return provenance && g_file_test(provenance, G_FILE_TEST_EXISTS);
}

/* The run itself is killed, its processes end soon, the next one takes the socket's file away. */
static gboolean
kill_runs(guint way)
{
    enum { KILLS = 8 };
    g_autofree char *root = tn_test_tmp_path("killed-%u", epochs);
    (void)way;
    for (guint i = 0;; i++) {
        g_auto(TnBackground) run = { 0 };
        if (has_begun(root))
            begin(&run, "resume", root, "placed", "");
        else
            begin_run(&run, root, "map.place=ipc map.workers=2");
        if (i == KILLS || tn_background_wait(&run, 0.001 * g_random_int_range(20, 300) / SLACK)) {
            ends_with_the_same_bits(&run, root);
            return i > 0;
        }
        kill(run.pid, SIGKILL);
        TN_ASSERT(tn_background_wait(&run, 5));
        no_stage_is_left(&run, 5);
    }
}

static void
killed_runs_are_resumed(void)
{
    in_time(kill_runs, 0);
}

/* --- Losses ----------------------------------------------------------------------------------- */

static void
without_restart_a_loss_is_told(void)
{
    static const struct {
        gint signal;
        const char *says;
    } ways[] = { { SIGKILL, "killed by signal 9" }, { SIGSTOP, "two seconds" }, { SIGTERM, "" } };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_auto(TnBackground) run = { 0 };
        g_autofree char *root = tn_test_tmp_path("lost-%u", i);
        pid_t pids[8];
        begin_long(&run, root, "map.place=ipc");
        TN_REQUIRE(stages_of(&run, pids) == 1);
        kill(pids[0], ways[i].signal);
        /* It stays stopped, also if job control lets it go on. */
        for (guint k = 0; ways[i].signal == SIGSTOP && k < 25 && !tn_background_wait(&run, 0.2);
             k++)
            kill(pids[0], SIGSTOP);
        ended_with(&run, LIMIT + 2, "stage 'map'", ways[i].says);
    }
}

/* One that stops answering is replaced. */
static gboolean
stop_a_stage(guint way)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("stopped-%u", epochs);
    pid_t pids[8];
    (void)way;
    begin_run(&run, root, "map.place=ipc map.restart=true");
    TN_ASSERT(tn_background_says(&run, "epoch 2/", 30));
    const gboolean stopped = stages_of(&run, pids) == 1 && kill(pids[0], SIGSTOP) == 0;
    ends_with_the_same_bits(&run, root);
    return stopped;
}

static void
a_stopped_stage_is_replaced(void)
{
    in_time(stop_a_stage, 0);
}

/* Stopped for longer than heartbeats wait, the run goes on with those it had. */
static gboolean
stop_a_run(guint way)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("paused-%u", epochs);
    (void)way;
    begin_run(&run, root, "map.place=ipc map.workers=2");
    TN_ASSERT(tn_background_says(&run, "epoch 2/", 30));
    const gboolean stopped = tn_background_kill(&run, SIGSTOP);
    if (stopped) {
        g_usleep(5 * G_USEC_PER_SEC);
        kill(run.pid, SIGCONT);
    }
    ends_with_the_same_bits(&run, root);
    return stopped;
}

static void
a_stopped_run_goes_on(void)
{
    in_time(stop_a_run, 0);
}

/* Ctrl-C reaches the run and its processes. */
static void
sigint_to_all(void)
{
    for (guint i = 0; i < 5; i++) {
        g_auto(TnBackground) run = { 0 };
        g_autofree char *root = tn_test_tmp_path("interrupted-%u", i);
        g_autoptr(GError) error = NULL;
        begin_long(&run, root, "map.place=ipc map.workers=3 train.checkpoint_every=1h");
        g_usleep((gulong)g_random_int_range(0, 50000));
        kill(-run.group, SIGINT);
        TN_ASSERT_ENDS(&run, 1);
        g_autofree char *said = tn_background_text(&run);
        TN_ASSERT_CONTAINS(said, "stopped; next");
        TN_ASSERT(!strstr(said, "ended before") && !strstr(said, "stages.train"));
        no_stage_is_left(&run, 3);
        g_autoptr(TnRunDir) dir = tn_run_open(root, "placed", FALSE, &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT_CMPINT(tn_checkpoint_newest(dir), >, 0);
        TN_ASSERT_CMPUINT(files_in(sockets), ==, 0);
    }
}

/* --- Failures --------------------------------------------------------------------------------- */

/* A file of 4000 samples as the random ones are, with a byte of it turned over far from its head. */
static char *
damaged_file(void)
{
    enum { N = 4000, EACH = 64 };
    char *path = tn_test_tmp_path("damaged.h5");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) options = tn_value_map();
    TnRandom random;
    size_t n;
    tn_value_set(options, "path", tn_value_string(path));
    tn_value_set(options, "compress", tn_value_int(4));
    g_autoptr(TnObject) object = tn_object_create(
        tn_registry_find(TN_IFACE_DATASET_WRITER, "hdf5", &error), options, context, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetWriterVTable *writer = tn_object_vtable(object);
    void *self = tn_object_self(object);
    TnField fields[] = { { "x", tn_type(TN_DTYPE_F32, 3, (gint64[]){ 1, 8, 8 }) },
                         { "y", tn_type(TN_DTYPE_I64, 0, NULL) } };
    g_autofree float *x = g_new(float, (gsize)N *EACH);
    g_autofree gint64 *y = g_new(gint64, N);
    tn_random_init(&random, 1, "samples", 0);
    for (gsize i = 0; i < (gsize)N * EACH; i++)
        x[i] = (float)tn_random_f64(&random);
    for (gsize i = 0; i < N; i++)
        y[i] = (gint64)i % 4;
    TN_REQUIRE(writer->begin(self, "train", 2, fields, N, &error));
    TN_REQUIRE(writer->write(self, N, (const void *const[]){ x, y }, &error));
    TN_REQUIRE(writer->finish(self, &error));
    g_autofree char *bytes = tn_test_read_file(path, &n);
    bytes[n * 3 / 4] = (char)~bytes[n * 3 / 4];
    tn_test_write_file(path, bytes, (gssize)n);
    return path;
}

/* The error of a run, without what is of this run alone. (transfer full). */
static char *
error_of(const char *root, const char *overrides)
{
    g_auto(TnBackground) run = { 0 };
    begin_run(&run, root, overrides);
    TN_ASSERT_ENDS(&run, 1);
    no_stage_is_left(&run, 3);
    g_autofree char *said = tn_background_text(&run);
    const char *error = strstr(said, "stages.train");
    return g_strdup(error ? error : "none");
}

static void
a_failing_stage_fails_as_here(void)
{
    g_autofree char *path = damaged_file(), *first = tn_test_tmp_path("fails"),
                    *second = tn_test_tmp_path("fails-there");
    g_autofree char *here = g_strdup_printf("file=%s", path);
    g_autofree char *there = g_strconcat(here, " map.place=ipc map.workers=2", NULL);
    g_autofree char *a = error_of(first, here), *b = error_of(second, there);
    TN_ASSERT_CONTAINS(a, "damaged.h5");
    TN_ASSERT_CONTAINS(a, "stage 'read'");
    TN_ASSERT_CMPSTR(b, a);
}

/* A verb over the config with an override: exit code and a word of what it says; nothing is started. */
static void
says(const char *verb, const char *override, gint code, const char *word)
{
    g_auto(TnBackground) child = { 0 };
    const char *const env[] = { runtime_env, NULL };
    const char *const argv[] = { program, verb, config_path, override, NULL };
    tn_background_start(&child, argv, env);
    TN_ASSERT_ENDS(&child, code);
    g_autofree char *said = tn_background_text(&child);
    TN_ASSERT_CONTAINS(said, word);
    TN_ASSERT_CMPUINT(files_in(sockets), ==, 0);
}

static void
places_are_checked(void)
{
    g_autofree char *placed = tn_test_tmp_path("nowhere.lua");
    g_autofree char *text = g_strdup(config);
    says("check", "map.place=nonsense", 2, "'nonsense' is no place");
    says("check", "map.place=ipc://a/b", 2, "is no place");
    says("check", "map.place=tcp://127.0.0.1:5555", 2, "tenon key new");
    says("run", "map.place=tcp://127.0.0.1:5555", 2, "tenon key new");
    says("check", "map.place=ipc", 0, "no faults");
    says("show", "map.place=ipc", 0, "linear");
    says("show", "map.place=ipc://tn-test-shown", 0, "linear");
    memcpy(strstr(text, "from = 'read',"), "place = 'tcp',", strlen("place = 'tcp',"));
    tn_test_write_file(placed, text, -1);
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "check", placed, NULL);
    TN_ASSERT_EXIT(&child, 2);
    TN_ASSERT_CONTAINS(child.err, "nowhere.lua:13: stages.map.place: 'tcp' is no place");
}

static const TnTest tests[] = {
    { "processes of this host", processes_of_this_host },
    { "without shared memory", without_shared_memory },
    { "killed stages are replaced", killed_stages_are_replaced },
    { "killed runs are resumed", killed_runs_are_resumed },
    { "without restart a loss is told", without_restart_a_loss_is_told },
    { "a stopped stage is replaced", a_stopped_stage_is_replaced },
    { "a stopped run goes on", a_stopped_run_goes_on },
    { "SIGINT to all", sigint_to_all },
    { "a failing stage fails as here", a_failing_stage_fails_as_here },
    { "places are checked", places_are_checked },
};
TN_TEST_MAIN_WITH("placed", tests, placed_setup, placed_teardown)
