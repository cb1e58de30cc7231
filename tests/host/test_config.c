/* test_config.c: what loading a config finds: every fault at once with its line, overrides,
 * arguments, and the tree itself. */
#include <tenon/host.h>

#include "tn_test.h"

static char *path;

static void
setup(void)
{
    path = tn_test_tmp_path("c.lua");
}

static void
teardown(void)
{
    g_free(path);
}

/* Faults of a config text, a line each, with the file's path as "c.lua"; *root (may be NULL) is the
 * tree. */
static char *
load(const char *text, const char *const *overrides, TnSpec **root)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnHost) host = tn_host_new(NULL, &error);
    g_autoptr(GString) lines = g_string_new(NULL);
    TN_REQUIRE_NO_ERROR(error);
    tn_test_write_file(path, text, -1);
    const guint n = overrides ? g_strv_length((GStrv)overrides) : 0;
    TnSpec *spec = tn_host_load(host, path, (gint)n, overrides, faults);
    TN_ASSERT((spec == NULL) == (tn_faults_count(faults) > 0));
    for (gsize i = 0; i < tn_faults_count(faults); i++)
        g_string_append_printf(lines, "%s\n", tn_faults_text(faults, i));
    g_string_replace(lines, path, "c.lua", 0);
    if (root)
        *root = spec;
    else if (spec)
        tn_spec_unref(spec);
    return g_string_free(g_steal_pointer(&lines), FALSE);
}

#define HEAD "local tn = require 'tenon'\nlocal nn = tn.nn\n"
#define JOB(rows) HEAD "return tn.experiment {\n" rows "}\n"

/* --- Faults ----------------------------------------------------------------------------------- */

static const struct {
    const char *text, *faults;
} cases[] = {
    /* keys have the lines they were written on */
    { JOB("  name = 'x',\n  sed = 1,\n  stages = {},\n"),
      "c.lua:5: sed: expected the name of an option, got \"sed\" (nearest: seed)\n" },
    { JOB("  stages = {\n    r = tn.stage.read {\n      batch = 0,\n      shuffle = 3,\n      data "
          "= tn.dataset.random "
          "{ {2}, classes = 2, length = 8 } } },\n"),
      "c.lua:6: stages.r.batch: expected an integer in [1, 1073741824], got 0\n"
      "c.lua:7: stages.r.shuffle: expected true or false, got 3\n" },
    /* a string with a brace, a comment with a key, a function with assignments do not mislead */
    { JOB("  name = 'a } b', -- seed = 1\n  --[[ seed = {\n ]] stages = { m = tn.stage.map {\n    "
          "apply = "
          "function(b)\n      local from = 1\n      if b then from = 2 end\n      return b\n    "
          "end,\n    from = 5 } },\n"),
      "c.lua:12: stages.m.from: expected a string, got 5\n" },
    /* several on one line, each with its path */
    { JOB("  stages = { t = tn.stage.train { from = 'r', loss = tn.loss.mse {}, optimizer = "
          "tn.optim.sgd {}, model = "
          "nn.sequential { nn.linear { ot = 1 }, nn.liner {} } } },\n"),
      "c.lua:4: stages.t.model.layers[1].out: expected an integer in [1, inf), got nothing\n"
      "c.lua:4: stages.t.model.layers[1].ot: expected the name of an option, got \"ot\" (nearest: "
      "out)\n"
      "c.lua:4: stages.t.model.layers[2]: there is no layer 'liner'; did you mean 'linear'?\n"
      "c.lua:4: stages.t.from: there is no 'r'; beside it there is nothing\n" },
    /* below an unknown component what hangs there is still checked */
    { JOB("  stages = { t = tn.stage.trian {\n    model = nn.dropout { 2 } } },\n"),
      "c.lua:4: stages.t: there is no stage 'trian'; did you mean 'train'?\n"
      "c.lua:5: stages.t.model.p: expected a number in [0, 1), got 2\n" },
    /* where a number may stand for a component */
    { JOB("  stages = { t = tn.stage.train { from = 'r', loss = 'mse', model = 'relu',\n    "
          "optimizer = tn.optim.sgd { lr "
          "= true } } },\n"),
      "c.lua:4: stages.t.from: there is no 'r'; beside it there is nothing\n"
      "c.lua:5: stages.t.optimizer.lr: expected a component of tenon.schedule/1, got true\n" },
    { JOB("  stages = { t = tn.stage.train { from = 'r', loss = 'mes', model = 'relu', optimizer = "
          "'sgd' } },\n"),
      "c.lua:4: stages.t.loss: there is no loss 'mes'; did you mean 'mse'?\n"
      "c.lua:4: stages.t.from: there is no 'r'; beside it there is nothing\n" },
    { JOB("  stages = {\n    read = tn.stage.read { batch = 1, data = tn.dataset.random { { 2 } } "
          "},\n"
          "    t = tn.stage.train { from = 'reed', loss = 'mse', model = 'relu', optimizer = 'sgd' "
          "} "
          "},\n"),
      "c.lua:6: stages.t.from: there is no 'reed'; did you mean 'read'?\n" },
    { JOB("  stages = { l = tn.logger.progress {} },\n"),
      "c.lua:4: stages.l: expected a component of tenon.stage/1, got component progress of "
      "tenon.logger/1\n" },
    { JOB("  stages = {}, devices = { 1 },\n"), "c.lua:4: devices[1]: expected a string, got 1\n" },
    { JOB("  stages = {}, name = 'a\\0b',\n"), "c.lua:4: name: the string holds a NUL byte\n" },
    { JOB("  stages = {}, [1.5] = 2,\n"),
      "c.lua:3: keys are names or the numbers from 1 without a gap\n" },
    { HEAD
      "local loop = {}\nloop[1] = loop\nreturn tn.experiment { stages = {}, devices = loop }\n",
      NULL },
    { HEAD "return tn.experiment({ stages = {} }, 2)\n",
      "c.lua:3: 'experiment' takes one table of options, got 2 arguments\n" },
    { HEAD "nn.relu { 1 }\nreturn tn.experiment { stages = {} }\n",
      "c.lua:3: relu takes options by their names, as in { name = … }; one was given without\n" },
    /* what ends the load */
    { HEAD "tn.map.normalize { mena = { 1 } }\nreturn tn.experiment { stages = {} }\n",
      "c.lua:3: normalize.mean: expected a list of numbers, got nothing\n"
      "c.lua:3: normalize.deviation: expected a list of numbers, got nothing\n"
      "c.lua:3: normalize.mena: expected the name of an option, got \"mena\" (nearest: mean)\n" },
    { HEAD "tn.map.scale { by = 0 / 0 }\nreturn tn.experiment { stages = {} }\n",
      "c.lua:3: scale.by: expected a number, got nan\n" },
    { HEAD "tn.map.chain { 5 }\nreturn tn.experiment { stages = {} }\n",
      "c.lua:3: chain: item 1 is a number; a function was expected\n" },
    { HEAD "tn.map.chain()\nreturn tn.experiment { stages = {} }\n",
      "c.lua:3: chain: a list of functions was expected, not nil\n" },
    { HEAD "local m = nn.relu {}\nfor i = 1, 100000 do m = nn.sequential { m } end\n"
           "return tn.experiment { stages = {} }\n",
      "c.lua:4: 'sequential': more than 256 components are one in another\n" },
    { "x = = 1\n", "c.lua:1: unexpected symbol near '='\n" },
    { "local t = nil\n\nreturn t.x\n", "c.lua:3: attempt to index a nil value (local 't')\n" },
    { "local function f()\n  error('no')\nend\nlocal function g() f() end\ng()\n",
      "c.lua:2: no\n  called from c.lua:4\n  called from c.lua:5\n" },
    { "error({})\n", NULL },
    { "return 5\n",
      "c.lua:1: the config returns number; it ends with `return tn.experiment { ... }`\n" },
    { "", "c.lua:1: the config returns nothing; it ends with `return tn.experiment { ... }`\n" },
    { HEAD "return nn.relu {}\n",
      "c.lua:3: the config returns a component of tenon.layer/1, 'relu'; it ends with `return "
      "tn.experiment { ... }`\n" },
    { HEAD "return tn.jobs\n", NULL },
    { HEAD "local s = nn.relu {}\ns.alpha = 1\n",
      "c.lua:4: a component does not change once it is written; give the option where it is "
      "constructed\n" },
    { "#!/usr/bin/env tenon\nerror('second')\n", "c.lua:2: second\n" },
    { "\033Lua", "c.lua: this is a compiled chunk; a config is text\n" },
};

static void
faults(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *got = load(cases[i].text, NULL, NULL);
        if (cases[i].faults)
            tn_test_check(g_strcmp0(got, cases[i].faults) == 0, FALSE, __FILE__, __LINE__,
                          "case %u:\n%s--- gives\n%s--- expected\n%s", i, cases[i].text, got,
                          cases[i].faults);
        else
            TN_ASSERT(g_str_has_prefix(got, "c.lua:"));
    }
}

static void
no_file(void)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnHost) host = tn_host_new(NULL, NULL);
    TN_ASSERT(tn_host_load(host, "/nowhere/c.lua", 0, NULL, faults) == NULL);
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, 1);
    TN_ASSERT_CONTAINS(tn_faults_text(faults, 0), "/nowhere/c.lua");
    TN_ASSERT_CONTAINS(tn_faults_text(faults, 0), "No such file");
}

/* --- The tree --------------------------------------------------------------------------------- */

static const TnValue *
find(const TnSpec *root, const char *where)
{
    return tn_value_find(tn_spec_options(root), where, NULL);
}

#define TREE                                                                                       \
    JOB("  name = 'tree',\n"                                                                       \
        "  stages = {\n"                                                                           \
        "    read = tn.stage.read { data = tn.dataset.random { {2}, classes = 2, length = 8 } "    \
        "},\n"                                                                                     \
        "    train = tn.stage.train {\n"                                                           \
        "      from = 'read', epochs = 2, loss = tn.loss.cross_entropy {},\n"                      \
        "      model = nn.sequential { nn.linear { 4 }, nn.linear { 2, bias = false } },\n"        \
        "      optimizer = tn.optim.adam { lr = tn.schedule.warmup { 0.1, steps = 3 } },\n"        \
        "    },\n"                                                                                 \
        "  },\n")

static void
tree(void)
{
    TnSpec *root = NULL;
    g_autofree char *got = load(TREE, NULL, &root);
    TN_REQUIRE(root != NULL);
    TN_ASSERT_CMPSTR(got, "");
    TN_ASSERT_CMPSTR(tn_spec_iface(root), "tenon.job/1");
    TN_ASSERT_CMPSTR(tn_spec_component(root), "experiment");
    TN_ASSERT_CMPINT(tn_spec_where(root).line, ==, 3);
    TN_ASSERT_CMPSTR(tn_value_get_string(find(root, "name")), "tree");
    /* the order of the file, not of names */
    TN_ASSERT_CMPSTR(tn_value_key_at(tn_spec_options(root), 0), "name");
    TN_ASSERT_CMPSTR(tn_value_key_at(find(root, "stages"), 0), "read");
    TN_ASSERT_CMPINT(tn_value_get_int(find(root, "stages.train.model.layers[2].out")), ==, 2);
    TN_ASSERT(!tn_value_get_bool(find(root, "stages.train.model.layers[2].bias")));
    /* a number became the component it stands for */
    const TnValue *after = find(root, "stages.train.optimizer.lr.after");
    TN_REQUIRE(tn_value_type(after) == TN_VALUE_SPEC);
    TN_ASSERT_CMPSTR(tn_spec_component(tn_value_get_spec(after)), "constant");
    TN_ASSERT_CMPFLOAT(tn_value_get_double(find(root, "stages.train.optimizer.lr.after.value")), ==,
                       0.1);
    TN_ASSERT_CMPINT(tn_value_where(find(root, "stages.train.epochs")).line, ==, 8);
    tn_spec_unref(root);
}

/* The same spec in two places is two in the tree: an override changes one. */
static void
shared_specs(void)
{
    static const char *const overrides[] = { "a.batch=5", NULL };
    TnSpec *root = NULL;
    g_autofree char *got =
        load(HEAD "local r = tn.stage.read { data = tn.dataset.random { {2}, classes = 2, length = "
                  "8 }, batch = 1 }\nreturn tn.experiment { stages = { a = r, b = r } }\n",
             overrides, &root);
    TN_ASSERT_CMPSTR(got, "");
    TN_REQUIRE(root != NULL);
    TN_ASSERT_CMPINT(tn_value_get_int(find(root, "stages.a.batch")), ==, 5);
    TN_ASSERT_CMPINT(tn_value_get_int(find(root, "stages.b.batch")), ==, 1);
    tn_spec_unref(root);
}

/* --- Overrides -------------------------------------------------------------------------------- */

static void
overrides(void)
{
    static const char *const good[] = { "train.epochs=7",
                                        "stages.train.model.layers[1].out=9",
                                        "name=2024",
                                        "train.lr=3e-4", /* the optimiser's: train has none */
                                        "train.log_every=500ms",
                                        "devices={ref}",
                                        NULL };
    static const struct {
        const char *text, *fault;
    } bad[] = {
        { "train.epoch=7",
          "train.epoch: expected the name of an option, got \"epoch\" (nearest: epochs)" },
        { "trian.epochs=7", "trian.epochs: the config has no option, component or argument "
                            "'trian'; did you mean 'train'?" },
        { "train.epochs=many",
          "train.epochs: expected an integer in [0, inf), got string \"many\"" },
        { "train.model.layers[3].out=1", "layers" },
        { "epochs", "'epochs': an override is written key=value" },
        { "=3", "'=3': an override is written key=value" },
        { "train.epochs={1", "train.epochs:" },
    };
    TnSpec *root = NULL;
    g_autofree char *none = load(TREE, good, &root);
    TN_ASSERT_CMPSTR(none, "");
    TN_REQUIRE(root != NULL);
    TN_ASSERT_CMPINT(tn_value_get_int(find(root, "stages.train.epochs")), ==, 7);
    TN_ASSERT_CMPINT(tn_value_get_int(find(root, "stages.train.model.layers[1].out")), ==, 9);
    TN_ASSERT_CMPSTR(tn_value_get_string(find(root, "name")), "2024");
    TN_ASSERT_CMPFLOAT(tn_value_get_double(find(root, "stages.train.optimizer.lr.value")), ==,
                       3e-4);
    TN_ASSERT_CMPSTR(tn_value_get_string(find(root, "devices[1]")), "ref");
    tn_spec_unref(root);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        const char *const one[] = { bad[i].text, NULL };
        g_autofree char *got = load(TREE, one, NULL);
        TN_ASSERT_CONTAINS(got, bad[i].fault);
        TN_ASSERT_CONTAINS(got, "command line");
    }
}

#define ARGS                                                                                       \
    HEAD "local n = tn.arg('n', 3, { help = 'how many', min = 1, max = 9 })\n"                     \
         "local lr = tn.arg('lr', 1e-3)\n"                                                         \
         "local kind = tn.arg('kind', 'adam', { choices = { 'adam', 'sgd' } })\n"                  \
         "local on = tn.arg('on', false)\n"                                                        \
         "local free = tn.arg('free', nil)\n"                                                      \
         "return tn.experiment { stages = {}, name = ('%d %g %s %s %s'):format(n, lr, kind, on, "  \
         "free), seed = n }\n"

static void
arguments(void)
{
    static const struct {
        const char *overrides[4];
        const char *name, *fault;
    } rows[] = {
        { { NULL }, "3 0.001 adam false nil", NULL },
        { { "n=5", "lr=2", "kind=sgd" }, "5 2 sgd false nil", NULL },
        { { "on=true", "free={1, 2}", "n=1" }, "1 0.001 adam true table: ", NULL },
        { { "n=10" }, NULL, "n: expected an integer in [1, 9], got 10" },
        { { "n=2.5" }, NULL, "n: expected an integer in [1, 9], got 2.5" },
        { { "kind=adm" }, NULL, "kind: expected" },
        { { "lr=fast" }, NULL, "lr: expected a number, got string \"fast\"" },
        { { "m=1" }, NULL, "'m'; did you mean 'n'?" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        TnSpec *root = NULL;
        g_autofree char *got = load(ARGS, rows[i].overrides, &root);
        if (rows[i].fault) {
            TN_ASSERT_CONTAINS(got, rows[i].fault);
            TN_ASSERT(root == NULL);
            continue;
        }
        TN_ASSERT_CMPSTR(got, "");
        TN_REQUIRE(root != NULL);
        TN_ASSERT(g_str_has_prefix(tn_value_get_string(find(root, "name")), rows[i].name));
        tn_spec_unref(root);
    }
}

static void
argument_rows(void)
{
    g_autoptr(TnFaults) none = tn_faults_new();
    g_autoptr(TnHost) host = tn_host_new(NULL, NULL);
    tn_test_write_file(path, ARGS, -1);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, none);
    TN_REQUIRE(root != NULL);
    TN_ASSERT_CMPUINT(tn_host_n_args(host), ==, 5);
    TN_ASSERT_CMPSTR(tn_host_arg(host, 0)->name, "n");
    TN_ASSERT_CMPSTR(tn_host_arg(host, 0)->help, "how many");
    TN_ASSERT_CMPINT(tn_value_get_int(tn_host_arg(host, 0)->dflt), ==, 3);
    TN_ASSERT_CMPINT(tn_host_arg(host, 0)->where.line, ==, 3);
    TN_ASSERT(tn_host_arg(host, 5) == NULL);
}

static void
data_paths(void)
{
    g_autoptr(TnFaults) none = tn_faults_new();
    g_autoptr(TnHost) host = tn_host_new(&(TnHostOptions){ .data_root = "/data/sets" }, NULL);
    tn_test_write_file(path,
                       HEAD "return tn.experiment { stages = {}, name = tn.data 'a.h5' .. ' ' .. "
                            "tn.data '/b.h5' }\n",
                       -1);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, none);
    TN_REQUIRE(root != NULL);
    TN_ASSERT_CMPSTR(tn_value_get_string(find(root, "name")), "/data/sets/a.h5 /b.h5");
}

/* --- Components in the config ----------------------------------------------------------------- */

#define COMPONENT                                                                                  \
    HEAD "local Scale = tn.component {\n"                                                          \
         "  interface = 'layer', name = 'my_scale', help = 'x times a number',\n"                  \
         "  options = {\n"                                                                         \
         "    { name = 'by', type = 'number', positional = true, required = true, min = 0,\n"      \
         "      open_min = true, help = 'the number' },\n"                                         \
         "    { name = 'mode', type = 'enum', choices = { 'up', 'down' }, default = 'up' },\n"     \
         "    { name = 'sizes', type = 'ints', min = 1 },\n"                                       \
         "  },\n"                                                                                  \
         "  forward = function(self, x) return x * self.by end,\n"                                 \
         "}\n"

static void
components(void)
{
    static const struct {
        const char *use, *fault;
    } rows[] = {
        { "Scale { 2 }", "" },
        { "nn.my_scale { 2, mode = 'down', sizes = { 1, 2 } }", "" },
        { "Scale(2)", "" },
        { "Scale {}", "c.lua:13: model.by: expected a number in (0, inf), got nothing\n" },
        { "Scale { 0 }", "c.lua:13: model.by: expected a number in (0, inf), got 0\n" },
        { "Scale { 2, mode = 'dwn' }",
          "c.lua:13: model.mode: expected one of up, down, got string \"dwn\" (nearest: down)\n" },
        { "Scale { 2, sizes = { 1, 0 } }",
          "c.lua:13: model.sizes[2]: expected an integer in [1, inf), got 0\n" },
        { "nn.my_scal { 2 }",
          "c.lua:13: model: there is no layer 'my_scal'; did you mean 'my_scale'?\n" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strdup_printf(
            COMPONENT
            "local j = tn.component { interface = 'job', name = 'holder', options = { { "
            "name = 'model', type = 'component', of = 'layer' } } } return j { model = %s }\n",
            rows[i].use);
        g_autofree char *got = load(text, NULL, NULL);
        TN_ASSERT_CMPSTR(got, rows[i].fault);
    }
}

/* The rows of a component in Lua are rows like any other: what `help` reads. */
static void
component_rows(void)
{
    g_autoptr(TnFaults) none = tn_faults_new();
    g_autoptr(TnHost) host = tn_host_new(NULL, NULL);
    tn_test_write_file(path, COMPONENT "return tn.experiment { stages = {} }\n", -1);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, none);
    TN_REQUIRE(root != NULL);
    const TnFactory *factory = tn_registry_find("tenon.layer/1", "my_scale", NULL);
    TN_REQUIRE(factory != NULL);
    TN_ASSERT_CMPSTR(factory->help, "x times a number");
    const TnOption *mode = tn_options_find(&factory->options, "mode");
    TN_REQUIRE(mode != NULL);
    TN_ASSERT_CMPINT(mode->type, ==, TN_OPT_ENUM);
    g_autofree char *by = tn_option_describe(tn_options_find(&factory->options, "by"));
    TN_ASSERT_CONTAINS(by, "(0, inf)");
    tn_spec_unref(g_steal_pointer(&root));
    tn_host_free(g_steal_pointer(&host));
    /* and they go with their host */
    TN_ASSERT(tn_registry_find("tenon.layer/1", "my_scale", NULL) == NULL);
}

static void
wrong_components(void)
{
    static const struct {
        const char *text, *fault;
    } rows[] = {
        { "tn.component { name = 'x' }", "'interface' and 'name' are needed" },
        { "tn.component { interface = 'layer', name = 'x', options = { { name = 'a', type = 'itn' "
          "} } }",
          "option 'a': unknown type 'itn'; did you mean 'int'?" },
        { "tn.component { interface = 'layer', name = 'x', options = { { type = 'int' } } }",
          "option 1 has no name" },
        { "tn.component { interface = 'layer', name = 'x', options = { { name = 'e', type = 'enum' "
          "} } }",
          "option 'e': an enum has 'choices'" },
        { "tn.component { interface = 'layer', name = 5 }", "'name' is a string" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strconcat(HEAD, rows[i].text, "\n", NULL);
        g_autofree char *got = load(text, NULL, NULL);
        TN_ASSERT_CONTAINS(got, rows[i].fault);
        TN_ASSERT_CONTAINS(got, "c.lua:3:");
    }
}

/* Every module loads, and `help` finds components of each interface. */
static void
all_modules(void)
{
    static const char *const some[][2] = {
        { "tenon.layer/1", "linear" },       { "tenon.optimizer/1", "adam" },
        { "tenon.schedule/1", "cosine" },    { "tenon.loss/1", "mse" },
        { "tenon.metric/1", "accuracy" },    { "tenon.pass/1", "clip_norm" },
        { "tenon.callback/1", "functions" }, { "tenon.stage/1", "train" },
        { "tenon.job/1", "experiment" },
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnHost) host = tn_host_new(NULL, NULL);
    TN_ASSERT(tn_host_load_modules(host, &error));
    TN_ASSERT_NO_ERROR(error);
    for (guint i = 0; i < G_N_ELEMENTS(some); i++) {
        g_autoptr(GPtrArray) all = tn_registry_query(some[i][0]);
        TN_ASSERT(tn_registry_find(some[i][0], some[i][1], NULL) != NULL);
        /* each option of each says what it is */
        for (guint k = 0; k < all->len; k++) {
            const TnFactory *factory = all->pdata[k];
            TN_ASSERT(factory->help != NULL && *factory->help);
            for (guint32 r = 0; r < factory->options.n; r++)
                if (!tn_options_row(&factory->options, r)->help)
                    TN_FAIL("%s: option %s has no help", factory->name,
                            tn_options_row(&factory->options, r)->name);
        }
    }
}

static const TnTest tests[] = {
    { "faults", faults },
    { "no file", no_file },
    { "tree", tree },
    { "shared specs", shared_specs },
    { "overrides", overrides },
    { "arguments", arguments },
    { "argument rows", argument_rows },
    { "data paths", data_paths },
    { "components", components },
    { "component rows", component_rows },
    { "wrong components", wrong_components },
    { "all modules", all_modules },
};
TN_TEST_MAIN_WITH("config", tests, setup, teardown)
