// tn-test: timeout=120
/* test_predict.c: what `predict` and `sink` write, read back as a dataset: the logits are those
 * that an evaluation of the same model measured, also from a checkpoint in a config that trains
 * nothing. */
#include <math.h>
#include <unistd.h>

#include <tenon/context.h>
#include <tenon/dataset.h>
#include <tenon/run.h>

#include "tn_test.h"

#define SAMPLES 50
#define CLASSES 3

#define MODEL                                                                                      \
    "nn.sequential { nn.linear {8}, nn.batch_norm {}, nn.tanh {}, nn.dropout {0.5}, nn.linear "    \
    "{3} }"
#define HEAD                                                                                       \
    "local tn = require 'tenon'\n"                                                                 \
    "local nn = tn.nn\n"                                                                           \
    "local data = tn.dataset.random { {4}, classes = 3, length = 50 }\n"                           \
    "local weights = tn.arg('weights', '')\n"                                                      \
    "return tn.experiment { name = 'p', stages = {\n"                                              \
    "  test = tn.stage.read { data = data, batch = 16 },\n"                                        \
    "  twice = tn.stage.map { from = 'test',\n"                                                    \
    "    apply = function(b) return { x = b.x * 2, y = b.y } end },\n"

static const char training[] =
    HEAD "  read = tn.stage.read { data = data, batch = 16, shuffle = true },\n"
         "  evaluate = tn.stage.evaluate { from = 'twice', of = 'train' },\n"
         "  train = tn.stage.train { from = 'read', epochs = 3, evaluate = 'evaluate',\n"
         "    model = " MODEL ", loss = 'cross_entropy',\n"
         "    optimizer = tn.optim.adam { lr = 0.01 }, metrics = { accuracy = 'accuracy' } },\n"
         "  again = tn.stage.read { data = data, batch = 7 },\n"
         "  also = tn.stage.map { from = 'again',\n"
         "    apply = function(b) return { x = b.x * 2, y = b.y } end },\n"
         "  write = tn.stage.predict { from = 'also', of = 'train', fields = { 'y' },\n"
         "    to = tn.writer.hdf5 { 'out.h5' } },\n"
         "} }\n";

static const char loading[] =
    HEAD "  write = tn.stage.predict { from = 'twice', model = " MODEL ", weights = weights,\n"
         "    fields = { 'y' }, output = 'logits', split = 'test',\n"
         "    to = tn.writer.hdf5 { 'loaded.h5', compress = 4 } },\n"
         "} }\n";

static const char sinking[] =
    HEAD "  write = tn.stage.sink { from = 'twice', to = tn.writer.hdf5 { 'frames.h5' } },\n"
         "} }\n";

static char *folder, *runs;

static void
setup(void)
{
    static const struct {
        const char *name, *text;
    } files[] = { { "training.lua", training },
                  { "loading.lua", loading },
                  { "sinking.lua", sinking } };
    folder = g_strdup(tn_test_tmp_dir());
    runs = tn_test_tmp_path("runs");
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = tn_test_tmp_path("%s", files[i].name);
        tn_test_write_file(path, files[i].text, -1);
    }
}

static void
teardown(void)
{
    g_free(folder);
    g_free(runs);
}

/* All samples of one field into out, which has room for them. */
static void
read_field(TnSpec *spec, const char *field, void *out)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnObject) object = tn_object_new(spec, context, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetVTable *vtable = tn_object_vtable(object);
    void *self = tn_object_self(object), *fields[16] = { NULL };
    gint64 positions[SAMPLES];
    guint found = 0;
    TN_ASSERT_CMPINT(vtable->length(self), ==, SAMPLES);
    for (guint i = 0; i < vtable->n_fields(self); i++)
        if (strcmp(vtable->field(self, i)->name, field) == 0) {
            fields[i] = out;
            found++;
        }
    TN_REQUIRE(found == 1);
    for (gint64 i = 0; i < SAMPLES; i++)
        positions[i] = i;
    tn_object_enter(object);
    TN_ASSERT_CMPINT(vtable->read(self, SAMPLES, positions, fields), ==, TN_OK);
    tn_object_leave(object);
}

static void
read_file(const char *name, const char *split, const char *field, void *out)
{
    g_autoptr(TnSpec) spec = tn_spec_new(TN_IFACE_DATASET, "hdf5", (TnWhere){ NULL, 0 });
    g_autofree char *path = g_build_filename(folder, name, NULL);
    tn_value_set(tn_spec_options(spec), "path", tn_value_string(path));
    tn_value_set(tn_spec_options(spec), "split", tn_value_string(split));
    read_field(spec, field, out);
}

static void
run_config(const char *name, const char *override, gint code, const char *word)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *path = tn_test_tmp_path("%s", name);
    g_autofree char *program = tn_test_build_path("tenon");
    const char *const argv[] = { program, "run", "--runs", runs, path, override, NULL };
    tn_test_spawn(&child, argv, &(TnChildOptions){ .cwd = folder });
    TN_ASSERT_EXIT(&child, code);
    TN_ASSERT_CONTAINS(code ? child.err : child.out, word);
}

/* Mean cross-entropy of logits, and the share whose largest is the label's, in plain loops. */
static double
cross_entropy(const float *logits, const gint64 *labels, double *accuracy)
{
    double loss = 0;
    guint right = 0;
    for (guint i = 0; i < SAMPLES; i++) {
        const float *row = logits + (gsize)i * CLASSES;
        double sum = 0;
        guint best = 0;
        for (guint k = 0; k < CLASSES; k++) {
            sum += exp((double)row[k]);
            best = row[k] > row[best] ? k : best;
        }
        loss += log(sum) - (double)row[labels[i]];
        right += best == labels[i];
    }
    *accuracy = (double)right / SAMPLES;
    return loss / SAMPLES;
}

static void
predictions(void)
{
    float logits[SAMPLES * CLASSES], loaded[SAMPLES * CLASSES];
    gint64 labels[SAMPLES], again[SAMPLES];
    double accuracy;
    g_autoptr(GError) error = NULL;
    run_config("training.lua", "seed=0", 0, "write/samples  50");
    read_file("out.h5", "data", "prediction", logits);
    read_file("out.h5", "data", "y", labels);
    g_autoptr(TnRunDir) run = tn_run_open(runs, "p", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnValue) status = tn_run_get_json(run, "status.json", &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnValue *result = tn_value_get(status, "result");
    TN_ASSERT_NEAR(cross_entropy(logits, labels, &accuracy),
                   tn_value_get_double(tn_value_get(result, "evaluate/loss")), 1e-6, 0);
    TN_ASSERT_NEAR(accuracy, tn_value_get_double(tn_value_get(result, "evaluate/accuracy")), 1e-12,
                   0);

    g_autofree char *weights =
        g_strdup_printf("weights=%s/checkpoints/%012d.safetensors", tn_run_path(run), 12);
    run_config("loading.lua", weights, 0, "write/samples  50");
    read_file("loaded.h5", "test", "logits", loaded);
    read_file("loaded.h5", "test", "y", again);
    TN_ASSERT_NEAR_F32(loaded, logits, SAMPLES * CLASSES, 1e-6, 1e-6);
    TN_ASSERT_BYTES(again, labels, sizeof labels);

    run_config("loading.lua", "write.model.layers[1].out=9", 2, "weights");
    g_auto(TnChild) other = { 0 };
    g_autofree char *path = tn_test_tmp_path("loading.lua");
    tn_test_tenon(&other, "run", "--trust", "--runs", runs, path, weights,
                  "write.model.layers[1].out=9", NULL);
    TN_ASSERT_EXIT(&other, 1);
    TN_ASSERT_CONTAINS(other.err,
                       "variable 'model.1.weight' is f32[8, 4] there, the model's is f32[9, 4]");
}

static void
frames(void)
{
    float written[SAMPLES * 4], given[SAMPLES * 4];
    g_autoptr(TnSpec) spec = tn_spec_new(TN_IFACE_DATASET, "random", (TnWhere){ NULL, 0 });
    TnValue *shape = tn_value_list(), *options = tn_spec_options(spec);
    tn_value_push(shape, tn_value_int(4));
    tn_value_set(options, "shape", shape);
    tn_value_set(options, "classes", tn_value_int(CLASSES));
    tn_value_set(options, "length", tn_value_int(SAMPLES));
    run_config("sinking.lua", "seed=0", 0, "write/samples  50");
    read_file("frames.h5", "data", "x", written);
    read_field(spec, "x", given);
    for (guint i = 0; i < G_N_ELEMENTS(given); i++)
        given[i] *= 2;
    TN_ASSERT_BYTES(written, given, sizeof given);
    run_config("sinking.lua", "write.fields={x,z}", 2, "no field 'z'; they have: x, y");
}

/* Below the working folder, wherever links lead, and elsewhere with --trust alone. */
static void
confined(void)
{
    static const struct {
        const char *override;
        gint code;
    } rows[] = {
        { "write.to.path=inside/x.h5", 0 },    { "write.to.path=not/there.h5", 0 },
        { "write.to.path=../x.h5", 2 },        { "write.to.path=/x.h5", 2 },
        { "write.to.path=away/x.h5", 2 },      { "write.to.path=dangling", 2 },
        { "write.to.path=linked.h5", 2 },      { "write.to.path=inside/../../x.h5", 2 },
        { "write.to.path=not/../../x.h5", 2 }, { "write.to.path=back/box/x.h5", 0 },
    };
    g_autofree char *box = tn_test_tmp_path("box"), *config = tn_test_tmp_path("box/sinking.lua");
    g_autofree char *inside = tn_test_tmp_path("box/inside"), *away = tn_test_tmp_path("box/away");
    g_autofree char *dangling = tn_test_tmp_path("box/dangling");
    g_autofree char *linked = tn_test_tmp_path("box/linked.h5");
    g_autofree char *back = tn_test_tmp_path("box/back");
    g_autofree char *program = tn_test_build_path("tenon");
    TN_REQUIRE(g_mkdir_with_parents(inside, 0700) == 0 && symlink(runs, away) == 0 &&
               symlink("../missing.h5", dangling) == 0 && symlink(program, linked) == 0 &&
               symlink("..", back) == 0);
    tn_test_write_file(config, sinking, -1);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *const argv[] = { program, "check", config, rows[i].override, NULL };
        g_auto(TnChild) child = { 0 };
        tn_test_spawn(&child, argv, &(TnChildOptions){ .cwd = box });
        tn_test_check(child.exit_code == rows[i].code, FALSE, __FILE__, __LINE__, "%s gives %d: %s",
                      rows[i].override, child.exit_code, child.err);
        if (rows[i].code) {
            TN_ASSERT_CONTAINS(child.err, "stages.write.to.path: '/");
            TN_ASSERT_CONTAINS(child.err, "--trust");
        }
    }
    g_auto(TnChild) refused = { 0 }, trusted = { 0 };
    tn_test_tenon(&refused, "run", "--runs", runs, config, NULL);
    TN_ASSERT_EXIT(&refused, 2);
    TN_ASSERT_CONTAINS(refused.err, "box/frames.h5' is not below the working folder");
    tn_test_tenon(&trusted, "run", "--trust", "--runs", runs, config, NULL);
    TN_ASSERT_EXIT(&trusted, 0);
}

/* What is made while the job runs is judged when it is made. */
static void
confined_later(void)
{
    static const char text[] =
        "local tn = require 'tenon'\n"
        "local core = require 'tenon.core'\n"
        "return tn.script { name = 'later', run = function(job)\n"
        "  local ok, why = pcall(core.writer, tn.writer.hdf5 { '%s/x.h5' })\n"
        "  assert(not ok and tostring(why):find('--trust', 1, true), why)\n"
        "  ok, why = pcall(core.object, tn.logger.tensorboard { folder = '%s' })\n"
        "  assert(not ok and tostring(why):find('--trust', 1, true), why)\n"
        "  return { n = 3 }\n"
        "end }\n";
    g_autofree char *config = tn_test_tmp_path("later.lua");
    g_autofree char *whole = g_strdup_printf(text, folder, folder);
    g_auto(TnChild) child = { 0 };
    tn_test_write_file(config, whole, -1);
    tn_test_tenon(&child, "run", "--runs", runs, config, NULL);
    TN_ASSERT_EXIT(&child, 0);
}

static const TnTest tests[] = {
    { "predictions", predictions },
    { "frames", frames },
    { "confined", confined },
    { "confined later", confined_later },
};
TN_TEST_MAIN_WITH("predict", tests, setup, teardown)
