/* placed.h: runs whose stages are in other processes, of one config, by the program itself; what their
 * end must be; and runs that are long enough for this machine to do something to them. */
#pragma once

#include <unistd.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_background.h"

#define LEAST_EPOCHS 30
#define EPOCH_STEPS 32
#define SLACK (TN_TEST_SANITIZED ? 5 : 1)

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
static guint epochs = LEAST_EPOCHS; /* of a run */
static guint64 expected;            /* the weights of a single process after them */

/* --- Runs ------------------------------------------------------------------------------------- */

/* All variables at the end of a run, as one digest. */
static inline guint64
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

/* `tenon VERB --runs ROOT LAST…` beside the test; words: more of them in one text. */
static inline void
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

static inline void
begin_run(TnBackground *child, const char *root, const char *overrides)
{
    g_autofree char *all = g_strdup_printf("train.epochs=%u %s", epochs, overrides);
    begin(child, "run", root, config_path, all);
}

/* Processes that a run has started: how many. */
static inline guint
stages_of(const TnBackground *run, pid_t pids[8])
{
    g_autofree char *word = g_strdup_printf("--parent=%d", (int)run->group);
    return tn_background_find(word, 8, pids);
}

/* None of them is left soon after the run. */
static inline void
no_stage_is_left(const TnBackground *run, double seconds)
{
    g_autofree char *word = g_strdup_printf("--parent=%d", (int)run->group);
    TN_ASSERT(tn_background_none(word, seconds));
}

static inline guint
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

/* To its end, with the bits of a single process. */
static inline void
ends_with_the_same_bits(TnBackground *run, const char *root)
{
    TN_ASSERT_ENDS(run, 0);
    if (run->exit_code == 0)
        TN_ASSERT_CMPUINT(digest_at(root, epochs * EPOCH_STEPS), ==, expected);
    no_stage_is_left(run, 3);
    TN_ASSERT_CMPUINT(files_in(sockets), ==, 0);
}

static inline void
run_alone(void)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("alone-%u", epochs);
    begin_run(&run, root, "");
    if (TN_ASSERT_ENDS(&run, 0))
        expected = digest_at(root, epochs * EPOCH_STEPS);
}

/* Does `once` until it was in time: FALSE says that a run was over before anything could be done to it, so
 * it is too short for this machine, and those that come are twice as long. */
static inline void
in_time(gboolean (*once)(guint way), guint way)
{
    while (!once(way)) {
        TN_REQUIRE(epochs < 64 * LEAST_EPOCHS);
        epochs *= 2;
        run_alone();
    }
}

static inline void
placed_setup(void)
{
    g_autofree char *runtime = tn_test_tmp_path("r"), *keys = tn_test_tmp_path("config");
    config_path = tn_test_tmp_path("placed.lua");
    program = tn_test_build_path("tenon");
    sockets = g_build_filename(runtime, "tenon", NULL);
    runtime_env = g_strconcat("XDG_RUNTIME_DIR=", runtime, NULL);
    keys_env = g_strconcat("XDG_CONFIG_HOME=", keys, NULL);
    g_mkdir_with_parents(runtime, 0700);
    tn_test_write_file(config_path, config, -1);
    g_random_set_seed((guint32)tn_test_seed());
    run_alone();
}

static inline void
placed_teardown(void)
{
    char *const all[] = { config_path, program, sockets, runtime_env, keys_env };
    for (guint i = 0; i < G_N_ELEMENTS(all); i++)
        g_free(all[i]);
}
