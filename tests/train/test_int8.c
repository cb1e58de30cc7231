// tn-test: timeout=300
/* test_int8.c: a trained model in 8 bits: `calibrate` after a training and from a checkpoint, `evaluate`
 * and `predict` with what it measured, both ways to choose ranges; what was not calibrated is refused. */
#include <math.h>

#include <tenon/context.h>
#include <tenon/run.h>

#include "tn_test.h"

/* Labels are what a fixed matrix makes of images, so that there is something to learn. */
#define HEAD                                                                                       \
    "local tn = require 'tenon'\n"                                                                 \
    "local nn = tn.nn\n"                                                                           \
    "local weights = tn.arg('weights', '')\n"                                                      \
    "local function model() return nn.sequential {\n"                                              \
    "  nn.conv { 8, 3, padding = 1, bias = false }, nn.batch_norm {}, nn.relu {},\n"               \
    "  nn.max_pool { 2 }, nn.conv { 8, 3, padding = 1 }, nn.relu {}, nn.flatten {},\n"             \
    "  nn.linear { 2 } } end\n"                                                                    \
    "local function label(b)\n"                                                                    \
    "  local y = b.x:flatten(1):slice { starts = {0}, ends = {18}, axes = {1} }:reduce_sum { "     \
    "axes = {1}, keepdims = false }\n"                                                             \
    "  return { x = b.x, y = (y:greater(tn.tensor(0))):cast 'i64' }\n"                             \
    "end\n"                                                                                        \
    "local data = tn.dataset.random { {1, 6, 6}, classes = 2, length = 200 }\n"                    \
    "local function part(from, apply) return tn.stage.map { from = from, apply = apply } end\n"    \
    "return tn.experiment { name = 'e', precision = 'int8', stages = {\n"                          \
    "  read = tn.stage.read { data = data, batch = 20 }, frames = part('read', label),\n"          \
    "  read2 = tn.stage.read { data = data, batch = 40 }, test = part('read2', label),\n"          \
    "  read3 = tn.stage.read { data = data, batch = 10 }, some = part('read3', label),\n"          \
    "  read4 = tn.stage.read { data = data, batch = 50 }, most = part('read4', label),\n"

static const char training[] =
    HEAD "  train = tn.stage.train { from = 'frames', epochs = 20, evaluate = 'plain',\n"
         "    model = model(), loss = 'cross_entropy', metrics = { accuracy = 'accuracy' },\n"
         "    optimizer = tn.optim.adam { lr = 0.02 } },\n"
         "  plain = tn.stage.evaluate { from = 'test', of = 'train' },\n"
         "  calibrate = tn.stage.calibrate { from = 'some', of = 'train', batches = 5,\n"
         "    evaluate = 'narrow' },\n"
         "  narrow = tn.stage.evaluate { from = 'most', of = 'calibrate' },\n"
         "} }\n";

static const char loading[] =
    HEAD "  calibrate = tn.stage.calibrate { from = 'some', model = model(), weights = weights,\n"
         "    loss = 'cross_entropy', metrics = { accuracy = 'accuracy' } },\n"
         "  narrow = tn.stage.evaluate { from = 'most', of = 'calibrate' },\n"
         "  write = tn.stage.predict { from = 'test', of = 'calibrate',\n"
         "    to = tn.writer.hdf5 { 'first.h5' } },\n"
         "} }\n";

static const char serving[] =
    HEAD "  write = tn.stage.predict { from = 'test', model = model(), weights = weights,\n"
         "    to = tn.writer.hdf5 { 'second.h5' } },\n"
         "} }\n";

/* Trained without a word of calibration. */
static const char uncalibrated[] =
    HEAD "  train = tn.stage.train { from = 'frames', model = model(), loss = 'cross_entropy',\n"
         "    optimizer = tn.optim.adam {}, epochs = 1 } } }\n";

/* Images that are no f32 numbers. */
static const char whole_numbers[] =
    "local tn = require 'tenon'\n"
    "return tn.experiment { precision = 'int8', stages = {\n"
    "  read = tn.stage.read { data = tn.dataset.random { {36}, classes = 2, length = 40 }, batch = "
    "20 },\n"
    "  some = tn.stage.map { from = 'read', apply = function(b) return { x = b.x:cast 'u8' } end "
    "},\n"
    "  calibrate = tn.stage.calibrate { from = 'some', weights = 'none',\n"
    "    model = tn.nn.sequential { tn.nn.flatten {}, tn.nn.linear { 2 } } } } }\n";

/* Weights that are 8-bit tensors, not variables; fewer and more than constants that are folded. */
static const char constants[] =
    "local tn = require 'tenon'\n"
    "local s, z = tn.tensor(0.05), tn.full({}, 128, 'u8')\n"
    "local function product(x, n)\n"
    "  local scale, k = tn.full({ n }, 0.01), x.shape[2]\n"
    "  local w = tn.normal({ n, k }, 3):quantize_linear(scale, tn.full({ n }, 0, 'i8'), { axis = 0 "
    "})\n"
    "  local q = x:quantize_linear(s, z):dequantize_linear(s, z)\n"
    "  return q:linear(w:dequantize_linear(scale, { axis = 0 }))\n"
    "end\n"
    "local Layer = tn.component { interface = 'tenon.layer/1', name = 'eight',\n"
    "  forward = function(self, x) return product(product(x, 48):relu(), 5) end }\n"
    "return tn.experiment { stages = {\n"
    "  read = tn.stage.read { data = tn.dataset.random { {36}, classes = 2, length = 40 }, batch = "
    "20 },\n"
    "  write = tn.stage.predict { from = 'read', input = 'x', weights = 'none',\n"
    "    model = tn.nn.sequential { Layer {} }, to = tn.writer.hdf5 { 'none.h5' } } } }\n";

static char *folder, *runs;

static void
set_up(void)
{
    static const struct {
        const char *name, *text;
    } files[] = { { "training.lua", training },
                  { "loading.lua", loading },
                  { "serving.lua", serving },
                  { "uncalibrated.lua", uncalibrated },
                  { "whole_numbers.lua", whole_numbers },
                  { "constants.lua", constants } };
    folder = g_strdup(tn_test_tmp_dir());
    runs = tn_test_tmp_path("runs");
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = tn_test_tmp_path("%s", files[i].name);
        tn_test_write_file(path, files[i].text, -1);
    }
}

static void
tear_down(void)
{
    g_free(folder);
    g_free(runs);
}

static void
run_config(const char *name, const char *const *overrides, gint code, const char *word)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *path = tn_test_tmp_path("%s", name);
    g_autofree char *program = tn_test_build_path("tenon");
    const char *argv[10] = { program, "run", "--runs", runs, path };
    for (guint i = 0; overrides != NULL && overrides[i] != NULL; i++)
        argv[5 + i] = overrides[i];
    tn_test_spawn(&child, argv, &(TnChildOptions){ .cwd = folder });
    TN_ASSERT_EXIT(&child, code);
    TN_ASSERT_CONTAINS(code ? child.err : child.out, word);
}

/* Of the newest run. */
static double
result_of(const char *name, char **path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = tn_run_open(runs, "e", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnValue) status = tn_run_get_json(run, "status.json", &error);
    TN_REQUIRE_NO_ERROR(error);
    if (path)
        *path = g_strdup(tn_run_path(run));
    return tn_value_get_double(tn_value_get(tn_value_get(status, "result"), name));
}

static char *
contents(const char *name, gsize *size)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *bytes = NULL;
    TN_REQUIRE(g_file_get_contents(path, &bytes, size, NULL));
    return bytes;
}

/* Trained, calibrated and measured in one run; then from its checkpoint; then served from the file that
 * the calibration wrote. */
static void
train_calibrate_serve(void)
{
    g_autofree char *path = NULL, *again = NULL;
    gsize n[2];
    run_config("training.lua", NULL, 0, "narrow/accuracy");
    const double narrow = result_of("narrow/loss", &path), plain = result_of("plain/loss", NULL);
    TN_ASSERT(narrow != plain);
    TN_ASSERT_NEAR(narrow, plain, 0, 0.05);
    TN_ASSERT(result_of("narrow/accuracy", NULL) > 0.8);

    g_autofree char *trained =
        g_strdup_printf("weights=%s/checkpoints/%012d.safetensors", path, 200);
    run_config("loading.lua", (const char *[]){ trained, "calibrate.batches=5", NULL }, 0,
               "narrow/accuracy");
    TN_ASSERT(result_of("narrow/loss", &again) == narrow);
    g_autofree char *calibrated = g_strdup_printf("weights=%s/int8.safetensors", again);
    run_config("serving.lua", (const char *[]){ calibrated, NULL }, 0, "write/samples");
    g_autofree char *first = contents("first.h5", &n[0]), *second = contents("second.h5", &n[1]);
    TN_REQUIRE(n[0] == n[1]);
    gsize differ = 0;
    for (gsize i = 0; i < n[0]; i++)
        differ += first[i] != second[i];
    TN_ASSERT_CMPUINT(differ, <=, 16); /* when objects in the file were made */

    /* In f32 from the same file; by percentiles. */
    run_config("loading.lua", (const char *[]){ calibrated, "precision=f32", NULL }, 0,
               "narrow/accuracy");
    TN_ASSERT_NEAR(result_of("narrow/loss", NULL), plain, 1e-5, 1e-6);
    run_config("loading.lua",
               (const char *[]){ trained, "calibrate.method=percentile",
                                 "calibrate.percentile=99.9", NULL },
               0, "narrow/accuracy");
    TN_ASSERT_NEAR(result_of("narrow/loss", NULL), plain, 0, 0.1);
    /* A last frame of one image has fewer numbers than a share of a frame is. */
    run_config("loading.lua",
               (const char *[]){ trained, "calibrate.method=percentile", "calibrate.percentile=90",
                                 "read3.batch=199", NULL },
               0, "narrow/accuracy");

    /* No ranges in it. */
    run_config("serving.lua", (const char *[]){ trained, NULL }, 2, "was not measured");
}

static void
faults(void)
{
    run_config("loading.lua", (const char *[]){ "weights=none", "calibrate.file=a/b", NULL }, 1,
               "stages.calibrate.weights: ");
    run_config("uncalibrated.lua", NULL, 2,
               "uncalibrated.lua:14: precision: nothing would be computed in 8 bits");
    run_config("whole_numbers.lua", NULL, 1, "model.2.linear (linear): input 'x' is u8[20, 36]");
    run_config("loading.lua", (const char *[]){ "precision=int4", NULL }, 2, "int8");
}

/* Both products are of 8-bit numbers, none is in f32. */
static void
constant_weights(void)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *path = tn_test_tmp_path("constants.lua");
    g_autofree char *program = tn_test_build_path("tenon");
    const char *const argv[] = { program, "show", "--graph", "program", path, NULL };
    tn_test_spawn(&child, argv, &(TnChildOptions){ .cwd = folder });
    TN_ASSERT_EXIT(&child, 0);
    const char *first = strstr(child.out, " quantized_conv ");
    TN_ASSERT(first != NULL && strstr(first + 1, " quantized_conv ") != NULL);
    TN_ASSERT(strstr(child.out, "linear_turned") == NULL);
    TN_ASSERT(strstr(child.out, " linear ") == NULL);
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", "TENON_CPU_ISA=avx512_bf16",
                                         NULL },
                  (const char *const[]){ "train, calibrate, serve", NULL });
}

static const TnTest tests[] = {
    { "train, calibrate, serve", train_calibrate_serve },
    { "constant weights", constant_weights },
    { "faults", faults },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN_WITH("int8", tests, set_up, tear_down)
