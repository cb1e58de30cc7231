// tn-test: timeout=120
/* test_resolved.c: the resolved.lua of a run's folder is a config: it gives the same weights, also
 * when nothing is left of the config that was given, and its own resolved.lua does so again. */
#include <glib/gstdio.h>
#include <stdlib.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"

/* What cannot be printed: functions, one of them of an argument; a component of the config's own,
 * and one of a module beside it; and a file that is read. */
static const char config[] =
    "local tn = require 'tenon'\n"
    "local nn = tn.nn\n"
    "require 'more.layers'\n"
    "local by = tn.arg('by', 1.0, { help = 'what features are multiplied by' })\n"
    "local width = tn.arg('width', 8, { help = 'of the hidden layer', min = 1 })\n"
    "tn.component {\n"
    "  interface = 'tenon.layer/1', name = 'from_file', help = 'times a number',\n"
    "  options = { { name = 'file', type = 'path', positional = true, help = 'that has it' } },\n"
    "  forward = function(self, x)\n"
    "    local file <close> = assert(io.open(self.file))\n"
    "    return x * file:read('n')\n"
    "  end,\n"
    "}\n"
    "return tn.experiment {\n"
    "  seed = 3,\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {6}, classes = 3, length = 90 },\n"
    "                           batch = 16, shuffle = true },\n"
    "    map = tn.stage.map { from = 'read', apply = function(b)\n"
    "      return { ['the x'] = b.x * by, y = b.y }\n"
    "    end },\n"
    "    train = tn.stage.train {\n"
    "      from = 'map', input = 'the x', target = 'y', epochs = 3, log_every = '2min',\n"
    "      model = nn.sequential { nn.from_file { 'scale.txt' }, nn.shifted { 2 },\n"
    "                              nn.linear { width }, nn(function(x) return x:tanh() "
    "end),\n"
    "                              nn.dropout { 0.2 }, nn.linear { 3 } },\n"
    "      loss = 'cross_entropy', optimizer = tn.optim.adam { lr = 1e-2 },\n"
    "      callbacks = { tn.callback.functions { epoch = function() end } },\n"
    "    },\n"
    "  },\n"
    "}\n";
static const char layers[] =
    "require('tenon').component {\n"
    "  interface = 'layer', name = 'shifted', help = 'plus a number',\n"
    "  options = { { name = 'shift', type = 'number', positional = true, help = 'the number' } },\n"
    "  forward = function(self, x) return x + self.shift end,\n"
    "}\n";

static char *folder;

static void
setup(void)
{
    folder = tn_test_tmp_path("the config");
    g_autofree char *more = g_build_filename(folder, "more", NULL);
    g_autofree char *file = g_build_filename(folder, "given.lua", NULL);
    g_autofree char *module = g_build_filename(more, "layers.lua", NULL);
    g_autofree char *scale = g_build_filename(folder, "scale.txt", NULL);
    g_mkdir_with_parents(more, 0700);
    tn_test_write_file(file, config, -1);
    tn_test_write_file(module, layers, -1);
    tn_test_write_file(scale, "0.75\n", -1);
}

static void
teardown(void)
{
    g_free(folder);
}

/* Of all variables at the end of the newest run below root. */
static guint64
final_digest(const char *root)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = tn_run_open(root, "given", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *path =
        g_strdup_printf("%s/checkpoints/%012d.safetensors", tn_run_path(run), 18);
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, &error);
    TN_REQUIRE_NO_ERROR(error);
    guint64 hash = TN_HASH_INIT;
    TN_ASSERT_CMPUINT(tn_safetensors_n(file), >, 5);
    for (guint i = 0; i < tn_safetensors_n(file); i++) {
        hash = tn_hash(hash, tn_safetensors_name(file, i), strlen(tn_safetensors_name(file, i)));
        hash = tn_hash(hash, tn_safetensors_data(file, i),
                       (gsize)tn_type_bytes(tn_safetensors_type(file, i)));
    }
    return hash;
}

/* The path of the resolved tree of the newest run below root. */
static char *
resolved_of(const char *root)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = tn_run_open(root, "given", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    return g_build_filename(tn_run_path(run), "resolved.lua", NULL);
}

static void
the_same_run(void)
{
    g_auto(TnChild) first = { 0 }, check = { 0 }, fixed = { 0 }, second = { 0 }, third = { 0 },
                    again = { 0 }, gone = { 0 };
    g_autofree char *a = tn_test_tmp_path("first"), *b = tn_test_tmp_path("second"),
                    *c = tn_test_tmp_path("third"), *moved = tn_test_tmp_path("moved"),
                    *file = g_build_filename(folder, "given.lua", NULL);
    tn_test_tenon(&first, "run", "--runs", a, file, "by=0.5", "width=12", "train.lr=0.02", NULL);
    TN_ASSERT_EXIT(&first, 0);
    const guint64 digest = final_digest(a);
    TN_ASSERT_CMPINT(g_rename(folder, moved), ==, 0);

    g_autofree char *resolved = resolved_of(a), *text = tn_test_read_file(resolved, NULL);
    TN_ASSERT_CONTAINS(text, "tn.given { by = 0.5, width = 12 }");
    TN_ASSERT_CONTAINS(text, "beta1 = 0.9");
    TN_ASSERT_CONTAINS(text, "log_every = 120.0");
    TN_ASSERT_CONTAINS(text, "name = \"given\"");
    TN_ASSERT_CONTAINS(text, "apply = given.stages.map.apply");
    tn_test_tenon(&check, "check", resolved, NULL);
    TN_ASSERT_EXIT(&check, 0);
    tn_test_tenon(&fixed, "check", resolved, "width=3", NULL); /* no argument any more */
    TN_ASSERT_EXIT(&fixed, 2);
    TN_ASSERT_CONTAINS(fixed.err, "width");

    tn_test_tenon(&second, "run", "--runs", b, resolved, NULL);
    TN_ASSERT_EXIT(&second, 0);
    TN_ASSERT_CMPUINT(final_digest(b), ==, digest);
    g_autofree char *second_resolved = resolved_of(b);
    g_autofree char *second_text = tn_test_read_file(second_resolved, NULL);
    TN_ASSERT_CONTAINS(second_text, "tn.given {}"); /* its config has the arguments already */
    TN_ASSERT_CMPSTR(strstr(second_text, "return"), strstr(text, "return"));

    /* The second run stands alone, also when it goes on. */
    g_autofree char *other = tn_test_tmp_path("first moved");
    TN_ASSERT_CMPINT(g_rename(a, other), ==, 0);
    tn_test_tenon(&third, "run", "--runs", c, second_resolved, "train.epochs=2", NULL);
    TN_ASSERT_EXIT(&third, 0);
    g_autofree char *third_other = tn_test_tmp_path("second moved");
    TN_ASSERT_CMPINT(g_rename(b, third_other), ==, 0);
    tn_test_tenon(&again, "resume", "--runs", c, "given", "train.epochs=3", NULL);
    TN_ASSERT_EXIT(&again, 0);
    TN_ASSERT_CMPUINT(final_digest(c), ==, digest);

    /* Without what was kept it says so. */
    g_autofree char *alone = tn_test_tmp_path("alone.lua");
    tn_test_write_file(alone, text, -1);
    tn_test_tenon(&gone, "check", alone, NULL);
    TN_ASSERT_EXIT(&gone, 2);
    TN_ASSERT_CONTAINS(gone.err, "alone.lua:4:");
    TN_ASSERT_CONTAINS(gone.err, "tn.given");
}

/* A config may be called as the given one is among the sources: lines of its faults stay right. */
static void
any_name(void)
{
    static const char given[] = "return require('tenon').script { name = 'given', run = function() "
                                "return { n = 3 } end }\n";
    static const char text[] = "local tn = require 'tenon'\n"
                               "local given = tn.given {}\n"
                               "return tn.script {\n"
                               "  nonsense = 1,\n"
                               "  run = given.run,\n"
                               "}\n";
    static const char *const names[] = { "given1.lua", "config.lua (given 1)" };
    g_autofree char *box = tn_test_tmp_path("any-name");
    g_autofree char *beside = g_build_filename(box, "config.lua", NULL);
    g_autofree char *index = g_build_filename(box, "sources.json", NULL);
    TN_REQUIRE(g_mkdir(box, 0700) == 0);
    tn_test_write_file(beside, given, -1);
    tn_test_write_file(index, "{}", -1);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *file = g_build_filename(box, names[i], NULL);
        g_autofree char *expected = g_strconcat(names[i], ":4: nonsense", NULL);
        tn_test_write_file(file, text, -1);
        tn_test_tenon(&child, "check", file, NULL);
        TN_ASSERT_EXIT(&child, 2);
        TN_ASSERT_CONTAINS(child.err, expected);
    }
}

/* A tree without functions needs nothing beside it. */
static void
stands_alone(void)
{
    g_auto(TnChild) first = { 0 }, second = { 0 };
    g_autofree char *a = tn_test_tmp_path("alone-first"), *b = tn_test_tmp_path("alone-second");
    g_autofree char *file = tn_test_tmp_path("given.lua"), *copy = tn_test_tmp_path("copy.lua");
    tn_test_write_file(
        file,
        "local tn = require 'tenon'\n"
        "return tn.experiment { stages = {\n"
        "  read = tn.stage.read { data = tn.dataset.random { {4}, classes = 2, length = 96 }, "
        "batch = 16 },\n"
        "  train = tn.stage.train { from = 'read', epochs = 3, model = tn.nn.linear { 2 },\n"
        "    loss = 'cross_entropy', optimizer = tn.optim.sgd { lr = 0.1, momentum = 0.9 } } } }\n",
        -1);
    tn_test_tenon(&first, "run", "--runs", a, file, NULL);
    TN_ASSERT_EXIT(&first, 0);
    g_autofree char *resolved = resolved_of(a), *text = tn_test_read_file(resolved, NULL);
    TN_ASSERT(!strstr(text, "given ="));
    tn_test_write_file(copy, text, -1);
    tn_test_tenon(&second, "run", "--runs", b, copy, NULL);
    TN_ASSERT_EXIT(&second, 0);
    TN_ASSERT_CMPUINT(final_digest(b), ==, final_digest(a));
}

static const TnTest tests[] = {
    { "the same run", the_same_run },
    { "any name", any_name },
    { "stands alone", stands_alone },
};
TN_TEST_MAIN_WITH("resolved", tests, setup, teardown)
