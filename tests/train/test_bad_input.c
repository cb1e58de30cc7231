// tn-test: timeout=180
/* test_bad_input.c: wrong configs and wrong files, through the program: the exit code, and a
 * message that says where and what. */
#include <glib/gstdio.h>
#include <stdlib.h>

#include <tenon/base.h>

#include "tn_test.h"

/* A small experiment; %s stand for what a case changes: text before, the read stage, the model,
 * more of train. */
#define CONFIG(before, read, model, train)                                                         \
    "local tn = require 'tenon'\n"                                                                 \
    "local nn = tn.nn\n" before "\n"                                                               \
    "return tn.experiment {\n"                                                                     \
    "  name = 'bad',\n"                                                                            \
    "  stages = {\n"                                                                               \
    "    read = tn.stage.read { data = " read ", batch = 8 },\n"                                   \
    "    train = tn.stage.train {\n"                                                               \
    "      from = 'read', input = 'x', target = 'y', epochs = 1,\n"                                \
    "      model = " model ",\n"                                                                   \
    "      loss = tn.loss.cross_entropy {},\n"                                                     \
    "      optimizer = tn.optim.sgd { lr = 0.1 },\n"                                               \
    "      " train "\n"                                                                            \
    "    },\n"                                                                                     \
    "  },\n"                                                                                       \
    "}\n"
#define DATA "tn.dataset.random { {4}, classes = 3, length = 64 }"
#define MODEL "nn.sequential { nn.linear {8}, nn.relu {}, nn.linear {3} }"

static const struct {
    const char *name, *config;
    gint code;
    const char *words[4];
} configs[] = {
    { "syntax",
      "local tn = require 'tenon'\nreturn tn.experiment {\n  name = = 3\n}\n",
      2,
      { "syntax.lua:3:", "'='" } },
    { "runtime",
      "local tn = require 'tenon'\nlocal x = nil\nreturn x.y\n",
      2,
      { "runtime.lua:3:", "'x'" } },
    { "nothing", "local tn = require 'tenon'\n", 2, { "nothing.lua", "return" } },
    { "unknown_option",
      CONFIG("", DATA, MODEL, "epoch = 3,"),
      2,
      { "unknown_option.lua:13:", "epoch", "epochs" } },
    { "wrong_type",
      CONFIG("", DATA, MODEL, "log_every = {},"),
      2,
      { "wrong_type.lua:13:", "log_every" } },
    { "out_of_range",
      CONFIG("", DATA, "nn.sequential { nn.dropout {1.5}, nn.linear {3} }", ""),
      2,
      { "out_of_range.lua:10:", "1.5" } },
    { "too_large",
      CONFIG("", DATA, "nn.sequential { nn.linear {4611686018427387904}, nn.linear {3} }", ""),
      1,
      { "too_large.lua:8: stages.train: variable 'model.1.weight': f32[4611686018427387904, 4] is "
        "too large to address" } },
    { "missing",
      CONFIG("", DATA, "nn.sequential { nn.linear {} }", ""),
      2,
      { "missing.lua:10:", "out" } },
    { "unknown_layer",
      CONFIG("", DATA, "nn.sequential { nn.linaer {8} }", ""),
      2,
      { "unknown_layer.lua:10:", "linaer", "linear" } },
    { "unknown_dataset",
      CONFIG("", "tn.dataset.hdf6 {}", MODEL, ""),
      2,
      { "unknown_dataset.lua:7:", "hdf6", "hdf5" } },
    { "unknown_stage",
      CONFIG("", DATA, MODEL, "evaluate = 'raed',"),
      2,
      { "unknown_stage.lua:13: stages.train.evaluate: there is no 'raed'; did you mean 'read'?" } },
    { "unknown_stages",
      "local tn = require 'tenon'\n"
      "return tn.experiment { stages = {\n"
      "  read = tn.stage.read { data = " DATA ", from = 'red' },\n"
      "  scale = tn.stage.map { from = 'reda', apply = function(b) return b end },\n"
      "  test = tn.stage.evaluate {\n"
      "    from = 'scael',\n"
      "    of = 'training' },\n"
      "} }\n",
      2,
      { ":3: stages.read.from: there is no 'red'", ":4: stages.scale.from: there is no 'reda'",
        ":6: stages.test.from: there is no 'scael'; did you mean 'scale'?",
        ":7: stages.test.of: there is no 'training'; beside it there is read, scale" } },
    { "unknown_op",
      CONFIG("", DATA, "tn.layer(function(x) return x:sofmax {} end)", ""),
      2,
      { "sofmax" } },
    { "all_at_once",
      CONFIG("", DATA, "nn.sequential { nn.linaer {8}, nn.linear {'x'} }",
             "epoch = 3, optimiser = 1,"),
      2,
      { "linaer", "epoch", "optimiser", ":10:" } },
    { "shapes",
      CONFIG("", "tn.dataset.random { {1, 8, 8}, classes = 3, length = 64 }",
             "nn.sequential { nn.conv {4, 11}, nn.flatten {}, nn.linear {3} }", ""),
      1,
      { "model.1", "conv", "[8, 1, 8, 8]" } },
    { "too_large",
      CONFIG("", DATA, "nn.sequential { nn.linear {1 << 62}, nn.linear {3} }", ""),
      1,
      { "[4611686018427387904, 4] is too large to address" } },
    { "more_than_memory",
      CONFIG("", DATA, "nn.sequential { nn.linear {1 << 48}, nn.linear {3} }", ""),
      1,
      { "model.1.weight", "out of memory", "4503599627370496 bytes" } },
    { "endless", "while true do end\n", 2, { "endless.lua" } },
    { "hungry",
      "local t = {}\nfor i = 1, 1e9 do t[i] = ('x'):rep(1e6) .. i end\n",
      2,
      { "hungry.lua" } },
    { "pattern",
      "local s = ('a'):rep(50000)\nreturn s:find(('a?'):rep(5000) .. ('a'):rep(5000) .. 'b')\n",
      2,
      { "pattern.lua" } },
    { "deep",
      "local function f() return 1 + f() end\nreturn f()\n",
      2,
      { "deep.lua", "overflow" } },
    { "escape_os", "os.execute('touch /tmp/escaped')\n", 2, { "escape_os.lua:1:", "execute" } },
    { "escape_io", "io.open('/tmp/escaped', 'w')\n", 2, { "escape_io.lua:1:" } },
    { "escape_require", "require '../../../etc/passwd'\n", 2, { "escape_require.lua:1:" } },
    { "escape_bytecode",
      "return load(string.dump(function() end))()\n",
      2,
      { "escape_bytecode.lua:1:" } },
    { "escape_debug", "return debug.getregistry()\n", 2, { "escape_debug.lua:1:", "debug" } },
    { "escape_loadlib",
      "return package.loadlib('/lib/x86_64-linux-gnu/libc.so.6', 'system')\n",
      2,
      { "escape_loadlib.lua:1:" } },
    { "map",
      "local tn = require 'tenon'\n"
      "return tn.experiment { stages = {\n"
      "  read = tn.stage.read { data = " DATA " },\n"
      "  map = tn.stage.map { from = 'read', apply = function(b)\n"
      "    return { x = b.x + b.z }\n"
      "  end } } }\n",
      2,
      { "map.lua:5: stages.map: add: input 'b' is missing" } },
    { "few",
      CONFIG("", DATA ", limit = 5, drop_last = true", MODEL, ""),
      2,
      { "few.lua:7: stages.read: data: 5 samples do not fill a batch of 8" } },
    { "from",
      CONFIG("", DATA, MODEL, "from = 'raed',"),
      2,
      { "from.lua:13: stages.train.from: there is no", "read" } },
    { "groups",
      CONFIG("", DATA, MODEL, "optimizer = tn.optim.sgd { lr = 0.1, groups = 3 },"),
      2,
      { "groups.lua:13: groups: wants a list" } },
    { "label",
      CONFIG("", DATA, "nn.linear {2}", ""),
      1,
      { "label.lua:8: stages.train, frame 1: loss.cross_entropy", "target 2 of sample" } },
    { "loss_shape",
      CONFIG("", DATA, MODEL, "loss = 'mse',"),
      1,
      { "loss.reshape_as", "f32[8, 3]" } },
    { "nan", CONFIG("", DATA, MODEL, "log_every = 1,"), 1, { "nan", "step", "model" } },
};

static void
wrong_configs(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *path = tn_test_tmp_path("%s.lua", configs[i].name),
                        *runs = tn_test_tmp_path("runs");
        gboolean nan = strcmp(configs[i].name, "nan") == 0;
        tn_test_write_file(path, configs[i].config, -1);
        tn_test_tenon(&child, "run", "--runs", runs, path, nan ? "train.optimizer.lr=1e38" : NULL,
                      NULL);
        g_autofree char *all = g_strconcat(configs[i].name, ": ", child.err, NULL);
        TN_ASSERT_EXIT(&child, configs[i].code);
        TN_ASSERT_CMPINT(child.signal, ==, 0);
        for (guint k = 0; k < 4 && configs[i].words[k]; k++)
            TN_ASSERT_CONTAINS(all, configs[i].words[k]);
    }
    TN_ASSERT(!g_file_test("/tmp/escaped", G_FILE_TEST_EXISTS));
}

static void
wrong_command_lines(void)
{
    static const struct {
        const char *args[6];
        gint code;
        const char *word;
    } table[] = {
        { { "rnu", "x.lua" }, 2, "run" },
        { { "run" }, 2, "CONFIG" },
        { { "run", "/nowhere/x.lua" }, 2, "/nowhere/x.lua" },
        { { "run", "--thread", "2", "x.lua" }, 2, "threads" },
        { { "run", "--threads", "many", "x.lua" }, 2, "threads" },
        { { "run", "--threads", "-1", "x.lua" }, 2, "threads" },
        { { "resume", "nothing-of-that-name" }, 2, "nothing-of-that-name" },
        { { "help", "linaer" }, 2, "linear" },
        { { "ops", "sofmax" }, 2, "softmax" },
        { { "plugins", "cup" }, 2, "cpu" },
        { { "bench", "train_mpl" }, 2, "train_mlp" },
        { { "data", "info", "/nowhere/x.h5" }, 2, "/nowhere/x.h5" },
        { { "data", "imprt" }, 2, "import" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_auto(TnChild) child = { 0 };
        const char *const *a = table[i].args;
        tn_test_tenon(&child, a[0], a[1], a[2], a[3], a[4], NULL);
        g_autofree char *all = g_strconcat(a[0], " ", a[1] ? a[1] : "", ": ", child.err, NULL);
        TN_ASSERT_EXIT(&child, table[i].code);
        TN_ASSERT_CONTAINS(all, table[i].word);
    }
}

/* A dataset without a sample. */
static void
no_samples(void)
{
    static const guint8 images[] = { 0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2 };
    static const guint8 labels[] = { 0, 0, 8, 1, 0, 0, 0, 0 };
    g_auto(TnChild) run = { 0 };
    g_autofree char *path = tn_test_tmp_path("empty.lua"), *runs = tn_test_tmp_path("runs"),
                    *image = tn_test_tmp_path("image.idx"), *label = tn_test_tmp_path("label.idx");
    tn_test_write_file(image, images, sizeof images);
    tn_test_write_file(label, labels, sizeof labels);
    tn_test_write_file(
        path, CONFIG("", "tn.dataset.idx { image = 'image.idx', label = 'label.idx' }", MODEL, ""),
        -1);
    tn_test_tenon(&run, "run", "--runs", runs, path, "train.input=image", "train.target=label",
                  NULL);
    TN_ASSERT_EXIT(&run, 2);
    TN_ASSERT_CONTAINS(run.err, "empty.lua:7: stages.read: data: there are no samples");
}

/* The path of an override that names nothing, and values that do not fit. */
static void
wrong_overrides(void)
{
    static const struct {
        const char *override, *word;
    } table[] = {
        { "train.epcohs=3", "epochs" },
        { "train.epochs=many", "epochs" },
        { "train.epochs", "=" },
        { "tarin.epochs=3", "train" },
        { "train.epochs=-3", "epochs" },
        /* The path once, and the keys that there are. */
        { "stages.tran.epochs=2", "command line: stages.tran.epochs: there is no stages.tran" },
        { "train.model.layers[9].out=2", "line: stages.train.model.layers[9].out: there is no" },
        { "train.lr={1", "command line: train.lr: \"{1\": expected" },
        { "train.lr={1", "got the end" },
        { "train.shuffle=1", "known: from, model, loss" },
        { "n=0", "command line: n: expected an integer in [1, inf), got 0" },
    };
    g_autofree char *path = tn_test_tmp_path("good.lua");
    tn_test_write_file(path, CONFIG("local n = tn.arg('n', 3, { min = 1 })", DATA, MODEL, ""), -1);
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_auto(TnChild) child = { 0 };
        tn_test_tenon(&child, "check", path, table[i].override, NULL);
        TN_ASSERT_EXIT(&child, 2);
        TN_ASSERT_CONTAINS(child.err, table[i].word);
        TN_ASSERT(!strstr(child.err, "line: command line"));
    }
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "check", path, "train.epochs=3", "train.optimizer.lr=3e-4",
                  "train.metrics={a=accuracy}", "train.callbacks=histograms", NULL);
    TN_ASSERT_EXIT(&child, 0);
}

/* Each allocation of data in a short run fails once: a sentence and exit code 1, or no effect;
 * never a crash. */
static void
failing_allocations(void)
{
    g_autofree char *path = tn_test_tmp_path("alloc.lua"), *runs = tn_test_tmp_path("alloc-runs"),
                    *program = tn_test_build_path("tenon");
    tn_test_write_file(path, CONFIG("", DATA, MODEL, ""), -1);
    guint failures = 0;
    gboolean ended = FALSE;
    for (guint nth = 1; nth < 4000 && !ended; nth += nth < 40 ? 1 : nth / 8) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *env = g_strdup_printf("TENON_FAIL_ALLOC=%u", nth);
        const char *const argv[] = { program, "run", "--runs", runs, path, NULL };
        const char *const environment[] = { env, NULL };
        tn_test_spawn(&child, argv, &(TnChildOptions){ .env = environment, .timeout = 30 });
        TN_ASSERT_CMPINT(child.signal, ==, 0);
        if (child.exit_code == 0) {
            ended = nth > 40;
            continue;
        }
        TN_ASSERT_EXIT(&child, 1);
        TN_ASSERT_CONTAINS(child.err, "memory");
        failures++;
    }
    TN_ASSERT_CMPUINT(failures, >, 5);
}

static const TnTest tests[] = {
    { "wrong configs", wrong_configs },
    { "wrong command lines", wrong_command_lines },
    { "no samples", no_samples },
    { "wrong overrides", wrong_overrides },
    { "failing allocations", failing_allocations },
};
TN_TEST_MAIN("bad input", tests)
