/* test_bindings.c: what crosses between C and Lua: methods of plugins' objects, functions traced
 * into graphs, values whose host is gone, errors with their kind. */
#include <tenon/host.h>

#include "tn_test.h"

/* --- An object with methods ------------------------------------------------------------------- */

typedef struct {
    gint64 start;
} CounterOptions;
static const TnOption counter_rows[] = {
    { .name = "start",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(CounterOptions, start),
      .dflt = "0",
      .help = "first number" },
};
typedef struct {
    gint64 by, times;
} AddArgs;
static const TnOption add_rows[] = {
    { .name = "by",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(AddArgs, by),
      .flags = TN_OPTION_POSITIONAL | TN_OPTION_REQUIRED,
      .help = "how much" },
    { .name = "times",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(AddArgs, times),
      .dflt = "1",
      TN_RANGE_I(1, 9),
      .help = "how often" },
};

static gint alive;

static void *
counter_create(TnConfig *config, TnContext *context, GError **error)
{
    gint64 *counter = g_new(gint64, 1);
    (void)context;
    (void)error;
    *counter = ((const CounterOptions *)tn_config_data(config))->start;
    alive++;
    return counter;
}

static void
counter_destroy(void *self)
{
    alive--;
    g_free(self);
}

static gboolean
counter_add(void *self, const void *args, TnValue **result, GError **error)
{
    gint64 *counter = self;
    const AddArgs *add = args;
    if (add->by == 13) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "13 is not added");
        return FALSE;
    }
    *counter += add->by * add->times;
    *result = tn_value_map();
    tn_value_set(*result, "now", tn_value_int(*counter));
    return TRUE;
}

static const TnMethod counter_methods[] = {
    { .size = sizeof(TnMethod),
      .name = "add",
      .help = "adds",
      .args = TN_OPTIONS(AddArgs, add_rows),
      .call = counter_add },
};
static const TnFactory counter = {
    .size = sizeof(TnFactory),
    .iface = "tenon.dataset/1",
    .name = "test_counter",
    .help = "counts",
    .options = TN_OPTIONS(CounterOptions, counter_rows),
    .create = counter_create,
    .destroy = counter_destroy,
    .n_methods = G_N_ELEMENTS(counter_methods),
    .methods = counter_methods,
};

/* --- Running a text --------------------------------------------------------------------------- */

static TnStatus
run(const char *body, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnHost) host = tn_host_new(NULL, error);
    g_autofree char *path = tn_test_tmp_path("b.lua");
    g_autofree char *text = g_strdup_printf(
        "local tn = require 'tenon'\nreturn tn.script { run = function(job)\n%s\nend }\n", body);
    tn_test_write_file(path, text, -1);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    if (!root) {
        tn_faults_to_error(faults, error);
        return TN_FAILED;
    }
    g_autoptr(TnJob) job = tn_job_prepare(host, root, NULL, FALSE, error);
    return job ? tn_job_run(job, error) : TN_FAILED;
}

static void
methods(void)
{
    GError *error = NULL;
    tn_registry_add_factory(&counter, "test");
    TN_ASSERT_CMPINT(
        run("local c = tn.new(tn.dataset.test_counter { start = 5 })\n"
            "assert(c:add(2).now == 7)\n"
            "assert(c:add { by = 1, times = 3 }.now == 10)\n"
            "assert(c:add(1, { times = 2 }).now == 12)\n"
            "do local d <close> = tn.new(tn.dataset.test_counter {}) assert(d:add(1).now "
            "== 1) end",
            &error),
        ==, TN_OK);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPINT(alive, ==, 0);
    TN_ASSERT_CMPINT(run("tn.new(tn.dataset.test_counter {}):add(13)", &error), ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "b.lua:3:", "test_counter:add",
                    "13 is not added");
    TN_ASSERT_CMPINT(run("tn.new(tn.dataset.test_counter {}):add { by = 1, times = 10 }", &error),
                     ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "times", "[1, 9]", "10");
    TN_ASSERT_CMPINT(run("tn.new(tn.dataset.test_counter {}):add(1, 2)", &error), ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "takes 1 values", "got 2");
    TN_ASSERT_CMPINT(run("tn.new(tn.dataset.test_counter {}):sub(1)", &error), ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "has no method 'sub'");
    TN_ASSERT_CMPINT(run("local c = tn.new(tn.dataset.test_counter {}) c:close() c:add(1)", &error),
                     ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "closed");
    TN_ASSERT_CMPINT(alive, ==, 0);
    tn_registry_remove_factory(&counter);
}

/* What kind of error it was survives the way through Lua. */
static void
kinds(void)
{
    GError *error = NULL;
    TN_ASSERT_CMPINT(run("return tn.ones { 2, 3 }:matmul(tn.ones { 2, 3 })", &error), ==,
                     TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "b.lua:3:", "matmul", "[2, 3]");
    TN_ASSERT_CMPINT(run("tn.ones({ 2 }, 'i64'):exp()", &error), ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DTYPE, "exp", "i64");
    TN_ASSERT_CMPINT(run("error('plain')", &error), ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_FAILED, "b.lua:3: plain");
    TN_ASSERT_CMPINT(run("error { 1 }", &error), ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_FAILED, "table");
    TN_ASSERT_CMPINT(
        run("local function deep(n) return n == 0 and nil + 1 or deep(n - 1) + 1 end deep(40)",
            &error),
        ==, TN_FAILED);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_FAILED, "b.lua:3:", "called from");
}

/* --- Functions in the tree -------------------------------------------------------------------- */

static TnSpec *
map_spec(TnHost *host, const char *function)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autofree char *path = tn_test_tmp_path("m.lua");
    g_autofree char *text = g_strdup_printf("local tn = require 'tenon'\nreturn tn.experiment { "
                                            "stages = { m = tn.stage.map {\n"
                                            "apply = %s } } }\n",
                                            function);
    tn_test_write_file(path, text, -1);
    TnSpec *root = tn_host_load(host, path, 0, NULL, faults);
    TN_REQUIRE(root != NULL);
    return root;
}

/* A config with a further stage, whose text has a function in it, is ready to run, or `fault` says why not. */
static void
prepares(const char *stage, const char *function, const char *fault)
{
    GError *error = NULL;
    g_autoptr(TnHost) host = tn_host_new(NULL, NULL);
    g_autofree char *path = tn_test_tmp_path("m.lua");
    g_auto(GStrv) parts = g_strsplit(stage, "%s", 2);
    g_autofree char *text =
        g_strconcat("local tn = require 'tenon'\nreturn tn.experiment { stages = { r = "
                    "tn.stage.read { data = tn.dataset.random { { 3 }, classes = 2, length = 8 }, "
                    "batch = 2 }, ",
                    parts[0], function, parts[1], " } }\n", NULL);
    g_autoptr(TnFaults) faults = tn_faults_new();
    tn_test_write_file(path, text, -1);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    TN_REQUIRE(root != NULL);
    g_autoptr(TnJob) job = tn_job_prepare(host, root, NULL, FALSE, &error);
    TN_ASSERT((job != NULL) == (fault == NULL));
    if (fault)
        TN_ASSERT_CONTAINS(error ? error->message : "", fault);
    else
        TN_ASSERT_NO_ERROR(error);
    g_clear_error(&error);
}

/* Through a pipeline's tracer, as the map stage asks for it. */
static void
traced(void)
{
    static const struct {
        const char *function, *fault;
    } rows[] = {
        { "function(b) return { x = b.x * 2 } end", NULL },
        { "function(b) return { x = b.z * 2 } end",
          "m.lua:3: stages.m: attempt to perform arithmetic on a nil value" },
        { "function(b) return 5 end", "gives a number" },
        { "function(b) return { 5 } end", "fields with names" },
        { "function(b) return { x = b.x:matmul(b.x) } end", "m.lua:3:" },
        { "function(b) return { x = b.x, y = 5 } end",
          "stages.m: the field 'y' is a number; a value was expected" },
        { "tn.map.chain { tn.map.flatten { field = 'x' } }", NULL },
        { "tn.map.flatten {}", "the batch has no field 'image'; it has x, y" },
        { "tn.map.scale { field = 'x', by = 0.5 }", NULL },
        { "tn.map.normalize { field = 'x', mean = { 1, 2, 3 }, deviation = { 1 } }", NULL },
        { "tn.map.normalize { field = 'x', mean = { 1, 2 }, deviation = { 1 } }", "broadcast" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        prepares("m = tn.stage.map { from = 'r',\napply = %s }", rows[i].function, rows[i].fault);
}

static void
losses(void)
{
    static const struct {
        const char *function, *fault;
    } rows[] = {
        { "function(p, t) return p:sum() end", NULL },
        { "function(p, t) return p end", "stages.t.loss: gives f32[2, 2]; the gradient needs" },
        { "function(p, t) return 5 end", "stages.t.loss: gives a Lua number; the gradient needs" },
        { "function(p, t) end",
          "stages.t.loss: gives a Lua nil; the gradient needs a value of one number" },
    };
    prepares("t = tn.stage.train { from = 'r', input = 'x', target = 'y', epochs = 1,\n"
             "model = tn.layer(%s), optimizer = tn.optim.sgd {}, loss = 'mse' }",
             "function(x) x = x * 2 end", "mse: the prediction is nothing; a value was expected");
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        prepares("t = tn.stage.train { from = 'r', input = 'x', target = 'y', epochs = 1,\n"
                 "model = tn.nn.linear { 2 }, optimizer = tn.optim.sgd {}, loss = tn.loss(%s) }",
                 rows[i].function, rows[i].fault);
}

/* A tree may outlive the state its functions live in. */
static void
tree_outlives_host(void)
{
    TnHost *host = tn_host_new(NULL, NULL);
    TnSpec *root = map_spec(host, "function(b) return b end");
    const TnValue *apply = tn_value_find(tn_spec_options(root), "stages.m.apply", NULL);
    TN_ASSERT_CMPINT(tn_value_type(apply), ==, TN_VALUE_FUNC);
    tn_host_free(host);
    TN_ASSERT_CMPINT(tn_value_type(apply), ==, TN_VALUE_FUNC);
    tn_spec_unref(root);
}

static const TnTest tests[] = {
    { "methods", methods },
    { "kinds", kinds },
    { "traced", traced },
    { "losses", losses },
    { "tree outlives host", tree_outlives_host },
};
TN_TEST_MAIN("bindings", tests)
