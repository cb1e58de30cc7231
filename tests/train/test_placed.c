// tn-test: timeout=240
/* test_placed.c: stages in other processes, by the program itself: the weights at the end are those of
 * a single process, bit for bit, whoever is killed, stopped, joins or leaves; and what must end ends
 * in time, with one clear error. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/dataset.h>
#include <tenon/run.h>

#include "tn_background.h"

#define EPOCHS 30
#define EPOCH_STEPS 32
#define SLACK (TN_TEST_SANITIZED ? 5 : 1)
#define LIMIT 5 /* seconds until a loss is told */

static const char config[] =
    "local tn = require 'tenon'\n"
    "local nn = tn.nn\n"
    "local file = tn.arg('file', '', {help = 'HDF5 instead of random samples'})\n"
    "local function data()\n"
    "  if file ~= '' then return tn.dataset.hdf5 { path = file, split = 'train', cache = 0 } end\n"
    "  return tn.dataset.random { {1, 8, 8}, classes = 4, length = 500 }\n"
    "end\n"
    "local function half(b) return { x = b.x * 0.5, y = b.y } end\n"
    "return tn.experiment {\n"
    "  name = 'placed', seed = 11,\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = data(), batch = 16, shuffle = file == '' },\n"
    "    map = tn.stage.map { from = 'read', apply = half },\n"
    "    other = tn.stage.read { data = tn.dataset.random { {1, 8, 8}, classes = 4, length = 100, "
    "seed = 5 }, batch = 16 },\n"
    "    test = tn.stage.map { from = 'other', apply = half },\n"
    "    train = tn.stage.train {\n"
    "      from = 'map', input = 'x', target = 'y', epochs = 30, log_every = 10, checkpoint_every "
    "= '100ms', keep = 2, evaluate = 'measure',\n"
    "      model = nn.sequential { nn.flatten {}, nn.linear {16}, nn.batch_norm {}, nn.relu {}, "
    "nn.dropout {0.3}, nn.linear {4} },\n"
    "      loss = tn.loss.cross_entropy {}, metrics = { accuracy = tn.metric.accuracy {} },\n"
    "      optimizer = tn.optim.adam { lr = 1e-2 },\n"
    "    },\n"
    "    measure = tn.stage.evaluate { of = 'train', from = 'test' },\n"
    "  },\n"
    "  loggers = { tn.logger.progress {} },\n"
    "}\n";

static char *config_path, *program, *sockets, *runtime_env, *keys_env;
static guint64 expected; /* the weights of a single process */

/* --- Runs ------------------------------------------------------------------------------------- */

/* All variables at the end of a run, as one digest. */
static guint64
digest_at(const char *root, gint64 steps)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = tn_run_open(root, "placed", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_checkpoint_newest(run), ==, steps);
    g_autofree char *path = g_strdup_printf("%s/checkpoints/%012" G_GINT64_FORMAT ".safetensors",
                                            tn_run_path(run), tn_checkpoint_newest(run));
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, &error);
    TN_REQUIRE_NO_ERROR(error);
    guint64 hash = TN_HASH_INIT;
    for (guint i = 0; i < tn_safetensors_n(file); i++) {
        hash = tn_hash(hash, tn_safetensors_name(file, i), strlen(tn_safetensors_name(file, i)));
        hash = tn_hash(hash, tn_safetensors_data(file, i),
                       (gsize)tn_type_bytes(tn_safetensors_type(file, i)));
    }
    return hash;
}

static guint64
final_digest(const char *root)
{
    return digest_at(root, EPOCHS * EPOCH_STEPS);
}

/* `tenon VERB --runs ROOT LAST…` beside the test; words: more of them in one text. */
static void
begin(TnBackground *child, const char *verb, const char *root, const char *what, const char *words)
{
    const char *const env[] = { runtime_env, keys_env, NULL };
    g_auto(GStrv) more = g_strsplit(words, " ", -1);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    const char *const first[] = { program, verb, "--runs", root, what };
    for (guint i = 0; i < G_N_ELEMENTS(first); i++)
        g_ptr_array_add(argv, (gpointer)first[i]);
    for (guint i = 0; more[i]; i++)
        if (*more[i])
            g_ptr_array_add(argv, more[i]);
    g_ptr_array_add(argv, NULL);
    tn_background_start(child, (const char *const *)argv->pdata, env);
}

static void
begin_run(TnBackground *child, const char *root, const char *overrides)
{
    begin(child, "run", root, config_path, overrides);
}

/* `tenon stage CONFIG map …` by hand. */
static void
begin_stage(TnBackground *child, const char *words)
{
    const char *const env[] = { runtime_env, keys_env, NULL };
    g_autofree char *line =
        g_strdup_printf("%s stage --threads=1 %s map %s", program, config_path, words);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    tn_background_start(child, (const char *const *)argv, env);
}

/* Processes that a run has started: how many. */
static guint
stages_of(const TnBackground *run, pid_t pids[8])
{
    g_autofree char *word = g_strdup_printf("--parent=%d", (int)run->group);
    return tn_background_find(word, 8, pids);
}

/* None of them is left soon after the run. */
static void
no_stage_is_left(const TnBackground *run, double seconds)
{
    g_autofree char *word = g_strdup_printf("--parent=%d", (int)run->group);
    TN_ASSERT(tn_background_none(word, seconds));
}

static guint
files_in(const char *folder)
{
    guint n = 0;
    GDir *dir = g_dir_open(folder, 0, NULL);
    while (dir && g_dir_read_name(dir))
        n++;
    if (dir)
        g_dir_close(dir);
    return n;
}

/* To the end of its epochs, with these bits. */
static void
ends_with(TnBackground *run, const char *root, guint epochs, guint64 digest)
{
    TN_ASSERT_ENDS(run, 0);
    if (run->exit_code == 0)
        TN_ASSERT_CMPUINT(digest_at(root, epochs * EPOCH_STEPS), ==, digest);
    no_stage_is_left(run, 3);
    TN_ASSERT_CMPUINT(files_in(sockets), ==, 0);
}

/* To its end, with the bits of a single process. */
static void
ends_with_the_same_bits(TnBackground *run, const char *root)
{
    ends_with(run, root, EPOCHS, expected);
}

/* The weights of a single process after so many epochs. */
static guint64
digest_alone(guint epochs)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("alone-%u", epochs);
    g_autofree char *words = g_strdup_printf("train.epochs=%u", epochs);
    begin_run(&run, root, words);
    return TN_ASSERT_ENDS(&run, 0) ? digest_at(root, epochs * EPOCH_STEPS) : 0;
}

static void
same_bits(const char *name, const char *overrides)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("same-%s", name);
    begin_run(&run, root, overrides);
    ends_with_the_same_bits(&run, root);
}

/* A run that goes on until it is ended, with its first stage process there. */
static void
begin_long(TnBackground *run, const char *root, const char *overrides)
{
    g_autofree char *all = g_strconcat("train.epochs=1000000 ", overrides, NULL);
    begin_run(run, root, all);
    TN_REQUIRE(tn_background_says(run, "epoch 2/", 30));
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

static void
setup(void)
{
    g_autofree char *runtime = tn_test_tmp_path("r"), *keys = tn_test_tmp_path("config");
    config_path = tn_test_tmp_path("placed.lua");
    program = tn_test_build_path("tenon");
    sockets = g_build_filename(runtime, "tenon", NULL);
    runtime_env = g_strconcat("XDG_RUNTIME_DIR=", runtime, NULL);
    keys_env = g_strconcat("XDG_CONFIG_HOME=", keys, NULL);
    g_mkdir_with_parents(runtime, 0700);
    tn_test_write_file(config_path, config, -1);
    expected = digest_alone(EPOCHS);
}

static void
teardown(void)
{
    char *const all[] = { config_path, program, sockets, runtime_env, keys_env };
    for (guint i = 0; i < G_N_ELEMENTS(all); i++)
        g_free(all[i]);
}

/* --- The same bits ---------------------------------------------------------------------------- */

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

/* Whoever is killed at whatever moment, also while it begins. A run that was over before anyone could
 * be killed was too short for this machine: the next ones have twice its epochs. */
static void
killed_stages_are_replaced(void)
{
    /* From when a process is seen on; instrumented ones take half a second to start, and those that
     * never gave a frame would end the run. */
    enum { KILLS = TN_TEST_SANITIZED ? 6 : 20, PAUSE_MS = TN_TEST_SANITIZED ? 150 : 0 };
    guint kills = 0, epochs = EPOCHS;
    guint64 alone = expected;
    for (guint round = 0; kills < KILLS && round < 60; round++) {
        const guint before = kills;
        g_auto(TnBackground) run = { 0 };
        g_autofree char *root = tn_test_tmp_path("replaced-%u", round);
        g_autofree char *words =
            g_strdup_printf("train.epochs=%u map.place=ipc map.workers=2 map.restart=true", epochs);
        pid_t pids[8];
        begin_run(&run, root, words);
        while (kills < KILLS && !tn_background_wait(&run, 0.001)) {
            if (stages_of(&run, pids) == 0)
                continue;
            tn_background_wait(&run, 0.001 * g_random_int_range(PAUSE_MS, PAUSE_MS + 140));
            const guint n = stages_of(&run, pids);
            if (n > 0)
                kills += kill(pids[g_random_int_range(0, (gint)n)], SIGKILL) == 0;
        }
        ends_with(&run, root, epochs, alone);
        if (kills == before && epochs < 64 * EPOCHS) {
            epochs *= 2;
            alone = digest_alone(epochs);
        }
    }
    TN_ASSERT_CMPUINT(kills, ==, KILLS);
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
static void
killed_runs_are_resumed(void)
{
    enum { KILLS = 8 };
    g_autofree char *root = tn_test_tmp_path("killed");
    for (guint i = 0;; i++) {
        g_auto(TnBackground) run = { 0 };
        if (has_begun(root))
            begin(&run, "resume", root, "placed", "");
        else
            begin_run(&run, root, "map.place=ipc map.workers=2");
        if (i == KILLS) {
            ends_with_the_same_bits(&run, root);
            break;
        }
        if (tn_background_wait(&run, 0.001 * g_random_int_range(20, 300) / SLACK)) {
            ends_with_the_same_bits(&run, root);
            break;
        }
        kill(run.pid, SIGKILL);
        TN_ASSERT(tn_background_wait(&run, 5));
        no_stage_is_left(&run, 5);
    }
}

/* --- Who joins by hand ------------------------------------------------------------------------ */

/* A run that awaits its stage at a port, words of the stage in *words. */
static void
begin_awaiting(TnBackground *run, const char *root, const char *more, char **place)
{
    for (guint tries = 0; tries < 5; tries++) {
        *place = g_strdup_printf("tcp://127.0.0.1:%d", g_random_int_range(20000, 32000));
        g_autofree char *overrides = g_strdup_printf("map.place=%s %s", *place, more);
        begin_run(run, root, overrides);
        if (tn_background_says(run, "is awaited at", 20))
            return;
        g_autofree char *said = tn_background_text(run);
        if (!strstr(said, "in use")) {
            TN_FAIL("it does not wait: %s", said);
            return;
        }
        tn_background_clear(run);
        g_free(*place);
    }
}

/* Two join, one leaves in the middle, by Ctrl-C or without a word. */
static void
joined_by_hand(void)
{
    for (guint way = 0; way < 2; way++) {
        g_auto(TnBackground) run = { 0 }, first = { 0 }, second = { 0 };
        g_autofree char *root = tn_test_tmp_path("hand-%u", way), *place = NULL;
        begin_awaiting(&run, root, "map.insecure=true map.restart=true", &place);
        g_autofree char *words = g_strdup_printf("--connect=%s --insecure", place);
        begin_stage(&first, words);
        /* At once: a quick machine ends the run before one that comes later has begun. Either of the
         * two may have made what there is by then. */
        begin_stage(&second, words);
        TN_ASSERT(tn_background_says(&run, "epoch 2/", 30));
        kill(first.pid, way ? SIGKILL : SIGINT);
        TN_ASSERT(tn_background_wait(&first, 5));
        TN_ASSERT_CMPINT(way ? first.signal : first.exit_code, ==, way ? SIGKILL : 0);
        ends_with_the_same_bits(&run, root);
        TN_ASSERT(tn_background_wait(&second, 5));
        TN_ASSERT_ENDS(&second, 0);
    }
}

/* The run is killed and resumed, who joined it by hand finds it again. */
static void
found_again_by_hand(void)
{
    g_auto(TnBackground) run = { 0 }, again = { 0 }, stage = { 0 };
    g_autofree char *root = tn_test_tmp_path("again"), *place = NULL;
    begin_awaiting(&run, root, "map.insecure=true", &place);
    g_autofree char *words = g_strdup_printf("--connect=%s --insecure", place);
    begin_stage(&stage, words);
    TN_ASSERT(tn_background_says(&run, "epoch 2/", 30));
    kill(run.pid, SIGKILL);
    TN_ASSERT(tn_background_wait(&run, 5));
    begin(&again, "resume", root, "placed", "");
    ends_with_the_same_bits(&again, root);
    TN_ASSERT_ENDS(&stage, 0);
}

static void
make_key(const char *name)
{
    g_auto(TnBackground) child = { 0 };
    const char *const env[] = { keys_env, NULL };
    const char *const argv[] = { program, "key", "new", name, NULL };
    tn_background_start(&child, argv, env);
    TN_ASSERT_ENDS(&child, 0);
}

/* A stage that must not be let in: it ends with an error that has both words, and the run waits on. */
static void
is_refused(TnBackground *run, const char *words, const char *a, const char *b)
{
    g_auto(TnBackground) stage = { 0 };
    begin_stage(&stage, words);
    TN_ASSERT(tn_background_wait(&stage, 20));
    TN_ASSERT(stage.exit_code == 1 || stage.exit_code == 2);
    g_autofree char *said = tn_background_text(&stage);
    TN_ASSERT_CONTAINS(said, a);
    TN_ASSERT_CONTAINS(said, b);
    TN_ASSERT(!tn_background_wait(run, 0.01));
}

/* With a key: who has another, none, another config or other overrides is told so. */
static void
joined_with_a_key(void)
{
    g_auto(TnBackground) run = { 0 }, stage = { 0 };
    g_autofree char *root = tn_test_tmp_path("key"), *place = NULL;
    make_key("lab");
    make_key("other");
    begin_awaiting(&run, root, "map.key=lab", &place);
    g_autofree char *good = g_strdup_printf("--connect=%s --key=lab", place);
    g_autofree char *wrong = g_strdup_printf("--connect=%s --key=other", place);
    g_autofree char *none = g_strdup_printf("--connect=%s --insecure", place);
    g_autofree char *changed = g_strconcat(good, " seed=12", NULL);
    is_refused(&run, wrong, place, "this side has the key 'other'");
    is_refused(&run, none, place, "this side has no key");
    TN_ASSERT(tn_background_says(&run, "here it is the key 'lab'", 10));
    is_refused(&run, changed, "config: the run's is", "the stage's is");
    begin_stage(&stage, good);
    ends_with_the_same_bits(&run, root);
    TN_ASSERT_ENDS(&stage, 0);
}

/* What a run without a key says to who has one, and to another config; then nobody comes. */
static void
nobody_joins(void)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("nobody"), *place = NULL;
    make_key("unused");
    const gint timeout = 4 * SLACK;
    g_autofree char *more = g_strdup_printf("map.insecure=true map.timeout=%ds", timeout);
    begin_awaiting(&run, root, more, &place);
    g_autofree char *keyed = g_strdup_printf("--connect=%s --key=unused", place);
    is_refused(&run, keyed, place, "refused the connection");
    TN_ASSERT(tn_background_wait(&run, timeout + 10));
    g_autofree char *said = tn_background_text(&run);
    TN_ASSERT_CMPINT(run.exit_code, ==, 1);
    TN_ASSERT_CONTAINS(said, "stage 'map' at tcp://127.0.0.1:");
    TN_ASSERT_CONTAINS(said, "nobody has joined for");
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
        ended_with(&run, LIMIT + 2, "stage 'map'", ways[i].says);
    }
}

/* One that stops answering is replaced. */
static void
a_stopped_stage_is_replaced(void)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("stopped");
    pid_t pids[8];
    begin_run(&run, root, "map.place=ipc map.restart=true");
    for (guint i = 0; i < 1000 && stages_of(&run, pids) == 0; i++)
        g_usleep(2000);
    TN_ASSERT(tn_background_says(&run, "epoch 2/", 20));
    if (stages_of(&run, pids) == 1)
        kill(pids[0], SIGSTOP);
    ends_with_the_same_bits(&run, root);
}

/* Stopped for longer than heartbeats wait, the run goes on with those it had. */
static void
a_stopped_run_goes_on(void)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("paused");
    begin_run(&run, root, "map.place=ipc map.workers=2");
    TN_ASSERT(tn_background_says(&run, "epoch 2/", 30));
    kill(run.pid, SIGSTOP);
    g_usleep(5 * G_USEC_PER_SEC);
    kill(run.pid, SIGCONT);
    ends_with_the_same_bits(&run, root);
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
    { "joined by hand", joined_by_hand },
    { "found again by hand", found_again_by_hand },
    { "joined with a key", joined_with_a_key },
    { "nobody joins", nobody_joins },
    { "without restart a loss is told", without_restart_a_loss_is_told },
    { "a stopped stage is replaced", a_stopped_stage_is_replaced },
    { "a stopped run goes on", a_stopped_run_goes_on },
    { "SIGINT to all", sigint_to_all },
    { "a failing stage fails as here", a_failing_stage_fails_as_here },
    { "places are checked", places_are_checked },
};
TN_TEST_MAIN_WITH("placed", tests, setup, teardown)
