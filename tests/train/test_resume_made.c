// tn-test: timeout=180
/* test_resume_made.c: what a resumed run is made of: the config, modules, files and settings that
 * it began with, whatever has become of them since; data that has changed ends it. */
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_background.h"
#include "weights.h"

/* A model in a module, its width in a module of the module, the rate in a file, the seed of the
 * data from Lua; modules that are not beside it. */
static const char config[] =
    "local tn = require 'tenon'\n"
    "local net = require 'parts.net'\n"
    "assert(not pcall(require, 'parts.absent') and require 'tn.nn')\n"
    "local lr\n"
    "for line in io.lines(tn.data 'rates.txt') do lr = tonumber(line) end\n"
    "local also = assert(io.open(tn.data 'rates.txt')):read('n')\n"
    "assert(also == 0.5 and not io.open(tn.data 'none.txt'))\n"
    "return tn.experiment {\n"
    "  name = 'made', seed = os.time(),\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {8}, classes = 4, length = 320, seed = "
    "math.random(1000000) },\n"
    "                           batch = 16, shuffle = true },\n"
    "    train = tn.stage.train {\n"
    "      from = 'read', input = 'x', target = 'y', epochs = 2, log_steps = 5, keep = 100,\n"
    "      model = net.model(), loss = tn.loss.cross_entropy {}, optimizer = tn.optim.adam { lr = "
    "lr },\n"
    "      stop_when = function() return require('later').stop end,\n"
    "    },\n"
    "  },\n"
    "}\n";
static const char net[] =
    "local tn = require 'tenon'\n"
    "return { model = function() return tn.nn.sequential { tn.nn.linear { require('parts.width') "
    "}, tn.nn.relu {}, tn.nn.linear {4} } end }\n";

typedef struct {
    char *folder, *config, *data, *root;
} Case;

static void
put(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    TN_REQUIRE(g_mkdir_with_parents(parent, 0777) == 0);
    tn_test_write_file(path, text, -1);
}

static void
case_init(Case *c, const char *name)
{
    c->folder = tn_test_tmp_path("%s-config", name);
    c->config = g_build_filename(c->folder, "made.lua", NULL);
    c->data = tn_test_tmp_path("%s-data", name);
    c->root = tn_test_tmp_path("%s-runs", name);
    put(c->folder, "made.lua", config);
    put(c->folder, "parts/net/init.lua", net);
    put(c->folder, "parts/width.lua", "return 16");
    put(c->folder, "later.lua", "return { stop = false }");
    put(c->data, "rates.txt", "0.5\n0.01\n");
}

static void
case_clear(Case *c)
{
    g_free(c->folder);
    g_free(c->config);
    g_free(c->data);
    g_free(c->root);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

static TnRunDir *
open_run(const Case *c)
{
    g_autoptr(GError) error = NULL;
    TnRunDir *run = tn_run_open(c->root, "made", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    return run;
}

/* Every variable of a checkpoint, as one digest. */
static guint64
digest_at(const Case *c, guint step)
{
    g_autoptr(TnRunDir) run = open_run(c);
    return weights_at(run, step);
}

/* Removes a checkpoint, so that the one before is the newest: as if the process had died then. */
static void
forget(const Case *c, guint step)
{
    g_autoptr(TnRunDir) run = open_run(c);
    g_autofree char *path =
        g_strdup_printf("%s/checkpoints/%012u.safetensors", tn_run_path(run), step);
    TN_ASSERT_CMPINT(g_unlink(path), ==, 0);
}

static char *
text_of_run(const Case *c, const char *name)
{
    g_autoptr(TnRunDir) run = open_run(c);
    g_autofree char *path = g_build_filename(tn_run_path(run), name, NULL);
    return tn_test_read_file(path, NULL);
}

/* Runs to step 40 with checkpoints at 20 and 40, then forgets the last. */
static guint64
begin(const Case *c)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "run", "--runs", c->root, "--data-root", c->data, c->config,
                  "train.checkpoint_steps=20", NULL);
    TN_ASSERT_EXIT(&child, 0);
    const guint64 digest = digest_at(c, 40);
    forget(c, 40);
    return digest;
}

static void
resume(const Case *c, gint code)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "resume", "--runs", c->root, "made", NULL);
    TN_ASSERT_EXIT(&child, code);
}

/* --- What it is made of ----------------------------------------------------------------------- */

static void
changed_sources(void)
{
    g_auto(Case) c = { 0 };
    case_init(&c, "changed");
    const guint64 expected = begin(&c);
    g_autofree char *kept = text_of_run(&c, "modules/parts/net/init.lua");
    TN_ASSERT_CMPSTR(kept, net);
    put(c.folder, "made.lua", "error 'not this one'");
    put(c.folder, "parts/net/init.lua", "error 'nor this'");
    put(c.folder, "parts/net.lua", "error 'this was not there'");
    put(c.folder, "parts/width.lua", "return 17");
    put(c.folder, "parts/absent.lua", "return 'it is there now'");
    put(c.folder, "tn/nn.lua", "error 'nor this, beside it'");
    put(c.folder, "later.lua", "return { stop = true }");
    put(c.data, "rates.txt", "0.7\n");
    put(c.data, "none.txt", "it is there now");
    resume(&c, 0);
    TN_ASSERT_CMPUINT(digest_at(&c, 40), ==, expected);
}

static void
missing_sources(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnChild) child = { 0 };
    case_init(&c, "missing");
    const guint64 expected = begin(&c);
    tn_test_run(&child, "rm", "-r", c.folder, c.data, NULL);
    TN_ASSERT_EXIT(&child, 0);
    resume(&c, 0);
    TN_ASSERT_CMPUINT(digest_at(&c, 40), ==, expected);
    forget(&c, 40);
    resume(&c, 0); /* a resumed run is kept as well as a new one */
    TN_ASSERT_CMPUINT(digest_at(&c, 40), ==, expected);
}

/* A config that writes its own file while it loads: what was evaluated is kept, byte for byte. */
static void
evaluated_bytes(void)
{
    static const char text[] = "#! /usr/bin/env tenon\n"
                               "local tn = require 'tenon'\r\n"
                               "local f = io.open(SELF, 'w') f:write('return 1') f:close()\n"
                               "return tn.script { name = 'made', run = function() return { n = 3 "
                               "} end } -- no newline";
    g_auto(Case) c = { 0 };
    g_auto(TnChild) child = { 0 };
    case_init(&c, "bytes");
    g_autoptr(GString) own = g_string_new(text);
    g_autofree char *quoted = g_strdup_printf("'%s'", c.config);
    g_string_replace(own, "SELF", quoted, 0);
    put(c.folder, "made.lua", own->str);
    tn_test_tenon(&child, "run", "--trust", "--runs", c.root, c.config, NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_autofree char *now = tn_test_read_file(c.config, NULL), *kept = text_of_run(&c, "config.lua");
    TN_ASSERT_CMPSTR(now, "return 1");
    TN_ASSERT_CMPSTR(kept, own->str);
}

/* A config may say at which moment it was loaded, and draw numbers: the same ones in every load of
 * a run. */
static void
time_and_chance(void)
{
    static const char text[] =
        "local tn = require 'tenon'\n"
        "local a, b, c = os.time(), os.date('!%H %M %S'), math.random(1 << 40)\n"
        "math.randomseed()\nlocal d = math.random(1 << 40)\n"
        "math.randomseed()\nlocal e = math.random(1 << 40)\n"
        "math.randomseed(7)\nlocal f = math.random(1 << 40)\n"
        "math.randomseed(7)\n"
        "assert(d ~= e and f == math.random(1 << 40))\n"
        "assert(os.time { year = 2000, month = 1, day = 1, hour = 12 } < a)\n"
        "assert(os.date('!%Y', 0) == '1970' and os.date('*t').year > 2000 and os.date())\n"
        "return tn.script { name = 'made', run = function()\n"
        "  return { a = a, b = b, c = c, d = d, e = e, now = os.time() } end }\n";
    g_auto(Case) c = { 0 };
    g_auto(TnChild) first = { 0 }, second = { 0 };
    case_init(&c, "time");
    put(c.folder, "made.lua", text);
    tn_test_tenon(&first, "run", "--runs", c.root, c.config, NULL);
    TN_ASSERT_EXIT(&first, 0);
    g_usleep(1100000);
    tn_test_tenon(&second, "resume", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&second, 0);
    /* The last line of those is "now", the others stand before it. */
    char *a = strstr(first.out, "now"), *b = strstr(second.out, "now");
    TN_REQUIRE(a && b);
    TN_ASSERT(strncmp(a, b, strcspn(a, "\n")) != 0);
    *a = *b = '\0';
    TN_ASSERT_CMPSTR(second.out, first.out);
}

/* --- What it was told ------------------------------------------------------------------------- */

static gint64
number_in(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? g_ascii_strtoll(at + strlen(key), NULL, 10) : -1;
}

/* Overrides of the run and of earlier resumes hold, the newest first; so does the data root of the
 * environment. */
static void
settings_hold(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnChild) first = { 0 }, second = { 0 }, third = { 0 }, fourth = { 0 }, fifth = { 0 };
    case_init(&c, "settings");
    g_autofree char *program = tn_test_build_path("tenon"),
                    *data = g_strconcat("TENON_DATA=", c.data, NULL);
    const char *const run[] = {
        program, "run", "--runs", c.root, c.config, "train.epochs=1", NULL
    };
    const char *const env[] = { data, NULL }, *const other[] = { "TENON_DATA=/nowhere", NULL };
    const char *const plain[] = { program, "resume", "--runs", c.root, "made", NULL };
    tn_test_spawn(&first, run, &(TnChildOptions){ .env = env });
    TN_ASSERT_EXIT(&first, 0);
    TN_ASSERT_CMPINT(number_in(first.out, "\nstep"), ==, 20);
    tn_test_tenon(&second, "resume", "--runs", c.root, "made", "train.epochs=3", "train.keep=7",
                  NULL);
    TN_ASSERT_EXIT(&second, 0);
    TN_ASSERT_CMPINT(number_in(second.out, "\nstep"), ==, 60);
    forget(&c, 60);
    tn_test_spawn(&third, plain, &(TnChildOptions){ .env = other });
    TN_ASSERT_EXIT(&third, 0);
    TN_ASSERT_CMPINT(number_in(third.out, "\nstep"), ==, 60);
    /* One that cannot begin changes nothing. */
    tn_test_tenon(&fourth, "resume", "--runs", c.root, "made", "train.epcohs=9", NULL);
    TN_ASSERT_EXIT(&fourth, 2);
    /* Nor one whose variables are others than the checkpoint's. */
    tn_test_tenon(&fifth, "resume", "--runs", c.root, "made", "--changed-data",
                  "read.data.shape={9}", NULL);
    TN_ASSERT_EXIT(&fifth, 1);
    TN_ASSERT_CONTAINS(fifth.err, "the config makes it");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) dir = open_run(&c);
    g_autoptr(TnValue) settings = tn_run_get_json(dir, "settings.json", &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *overrides = tn_json_print(tn_value_get(settings, "overrides"), FALSE);
    TN_ASSERT_CMPSTR(overrides, "[\"train.epochs=3\",\"train.keep=7\"]");
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(settings, "data_root")), c.data);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(settings, "config")), c.config);
}

/* One that is given again keeps its place among them: here a list, then an item of it. */
static void
overrides_keep_their_order(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnChild) first = { 0 }, second = { 0 };
    g_autoptr(GError) error = NULL;
    case_init(&c, "order");
    tn_test_tenon(&first, "run", "--runs", c.root, "--data-root", c.data, c.config,
                  "read.data.shape={4}", "read.data.shape[1]=5", NULL);
    TN_ASSERT_EXIT(&first, 0);
    tn_test_tenon(&second, "resume", "--runs", c.root, "made", "read.data.shape={3}", NULL);
    TN_ASSERT_EXIT(&second, 0);
    g_autoptr(TnRunDir) run = open_run(&c);
    g_autoptr(TnValue) settings = tn_run_get_json(run, "settings.json", &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *overrides = tn_json_print(tn_value_get(settings, "overrides"), FALSE);
    TN_ASSERT_CMPSTR(overrides, "[\"read.data.shape={3}\",\"read.data.shape[1]=5\"]");
    g_autofree char *resolved = text_of_run(&c, "resolved.lua");
    TN_ASSERT_CONTAINS(resolved, "shape = { 5 }");
}

/* A data root given to a resume is that of later ones. What was read from the old one is kept by
 * its name below it. */
static void
another_data_root(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnChild) child = { 0 };
    case_init(&c, "root");
    const guint64 expected = begin(&c);
    g_autofree char *elsewhere = tn_test_tmp_path("elsewhere");
    put(elsewhere, "rates.txt", "0.7\n");
    tn_test_tenon(&child, "resume", "--runs", c.root, "--data-root", elsewhere, "made", NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CMPUINT(digest_at(&c, 40), ==, expected);
    g_autofree char *settings = text_of_run(&c, "settings.json");
    TN_ASSERT_CONTAINS(settings, elsewhere);
}

static void
trust_is_said_again(void)
{
    static const char text[] =
        "local tn = require 'tenon'\nassert(os.getenv)('HOME')\n"
        "return tn.script { name = 'made', run = function() return { n = 3 } end }\n";
    g_auto(Case) c = { 0 };
    g_auto(TnChild) first = { 0 }, without = { 0 }, with = { 0 };
    case_init(&c, "trust");
    put(c.folder, "made.lua", text);
    tn_test_tenon(&first, "run", "--trust", "--runs", c.root, c.config, NULL);
    TN_ASSERT_EXIT(&first, 0);
    tn_test_tenon(&without, "resume", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&without, 2);
    TN_ASSERT_CONTAINS(without.err, "--trust");
    tn_test_tenon(&with, "resume", "--trust", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&with, 0);
}

/* --- What it is compared with ----------------------------------------------------------------- */

static void
other_kernels(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnChild) same = { 0 }, other = { 0 };
    case_init(&c, "kernels");
    const guint64 expected = begin(&c);
    tn_test_tenon(&same, "resume", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&same, 0);
    TN_ASSERT(!strstr(same.err, "warning"));
    TN_ASSERT_CMPUINT(digest_at(&c, 40), ==, expected);
    g_autoptr(GString) provenance = g_string_new(NULL);
    g_autofree char *text = text_of_run(&c, "provenance.json");
    g_string_assign(provenance, text);
    TN_ASSERT_CMPUINT(g_string_replace(provenance, "\"matmul cpu", "\"matmul gpu", 0), ==, 1);
    g_string_replace(provenance, "\"processor\": \"", "\"processor\": \"Abacus\", \"was\": \"", 0);
    TN_ASSERT_CMPUINT(g_string_replace(provenance, "\"name\": \"nn\"", "\"name\": \"mm\"", 0), ==,
                      1);
    char *plugin = strstr(provenance->str, "\"name\": \"cpu\"");
    TN_REQUIRE(plugin != NULL);
    char *version = strstr(plugin, "\"version\": \"0.");
    TN_REQUIRE(version != NULL);
    memcpy(version, "\"version\": \"0.0.9", strlen("\"version\": \"0.0.9"));
    {
        g_autoptr(TnRunDir) run = open_run(&c);
        put(tn_run_path(run), "provenance.json", provenance->str);
    }
    tn_test_tenon(&other, "resume", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&other, 0);
    TN_ASSERT_CONTAINS(other.err, "warning: the run began with other machinery");
    TN_ASSERT_CONTAINS(other.err, "\n  processor: stored Abacus; used ");
    TN_ASSERT_CONTAINS(other.err, "\n  plugin cpu: stored 0.0.9 (sha256 ");
    TN_ASSERT_CONTAINS(other.err, "\n  plugin nn: stored none; used 0.");
    TN_ASSERT_CONTAINS(other.err, "\n  plugin mm: stored 0.");
    TN_ASSERT(!strstr(other.err, "plugin ref"));
    TN_ASSERT_CONTAINS(other.err, "step: matmul: stored gpu");
    TN_ASSERT_CONTAINS(other.err, "; used cpu");
    TN_ASSERT(!strstr(other.err, "adam"));
}

/* The resumed run takes the kernels that were chosen, while they are there: here a composite that was
 * expanded, and a kernel that there is not. */
static void
chosen_kernels(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnChild) child = { 0 };
    case_init(&c, "chosen");
    begin(&c);
    g_autofree char *text = text_of_run(&c, "provenance.json");
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GString) provenance = g_string_new(NULL);
    guint n_loss = 0, n_matmul = 0;
    for (guint i = 0; lines[i]; i++) {
        GString *line = g_string_new(lines[i]);
        n_loss += g_string_replace(line, "\"cpu-cross_entropy 0\"", "\"none\"", 0);
        n_matmul += g_string_replace(line, "\"cpu-matmul 0\"", "\"gone 7\"", 0);
        g_string_append_printf(provenance, "%s\n", line->str);
        g_string_free(line, TRUE);
    }
    TN_ASSERT_CMPUINT(n_loss, >, 0);
    TN_ASSERT_CMPUINT(n_matmul, >, 0);
    {
        g_autoptr(TnRunDir) run = open_run(&c);
        put(tn_run_path(run), "provenance.json", provenance->str);
    }
    tn_test_tenon(&child, "resume", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CONTAINS(child.err, "; used none\n"); /* of the loss, as a whole */
    TN_ASSERT_CONTAINS(child.err, "\n  kernel of cpu matmul f32[");
    TN_ASSERT_CONTAINS(child.err, ": stored gone 7; used cpu-matmul 0\n");
    TN_ASSERT(!strstr(child.err, "stored none; used cpu-cross_entropy"));
}

static void
put_idx(const Case *c, guint8 odd)
{
    /* 64 samples of 6 bytes, and 64 labels. */
    guint8 bytes[12 + 64 * 6] = { 0, 0, 8, 2, 0, 0, 0, 64, 0, 0, 0, 6 },
                           labels[8 + 64] = { 0, 0, 8, 1, 0, 0, 0, 64 };
    for (guint i = 12; i < sizeof bytes; i++)
        bytes[i] = (guint8)(i * 37);
    bytes[100] = odd;
    for (guint i = 8; i < sizeof labels; i++)
        labels[i] = i % 3;
    g_autofree char *x = g_build_filename(c->data, "x.idx", NULL),
                    *y = g_build_filename(c->data, "y.idx", NULL);
    tn_test_write_file(x, bytes, sizeof bytes);
    tn_test_write_file(y, labels, sizeof labels);
}

static void
other_data(void)
{
    static const char text[] =
        "local tn = require 'tenon'\n"
        "return tn.experiment { name = 'made', stages = {\n"
        "  read = tn.stage.read { data = tn.dataset.idx { image = tn.data 'x.idx', label = tn.data "
        "'y.idx' }, batch = 16 },\n"
        "  scale = tn.stage.map { from = 'read', apply = function(b)\n"
        "    return { x = b.image:cast('f32') * (1 / 255), y = b.label } end },\n"
        "  train = tn.stage.train { from = 'scale', epochs = 2, checkpoint_steps = 4, model = "
        "tn.nn.linear {3},\n"
        "    loss = tn.loss.cross_entropy {}, optimizer = tn.optim.sgd { lr = 0.1 } } } }\n";
    g_auto(Case) c = { 0 };
    g_auto(TnChild) first = { 0 }, changed = { 0 }, allowed = { 0 }, later = { 0 };
    case_init(&c, "data");
    put(c.folder, "made.lua", text);
    put_idx(&c, 1);
    tn_test_tenon(&first, "run", "--runs", c.root, "--data-root", c.data, c.config, NULL);
    TN_ASSERT_EXIT(&first, 0);
    const guint64 expected = digest_at(&c, 8);
    g_autofree char *provenance = text_of_run(&c, "provenance.json");
    char *map = strstr(provenance, "\"stages.scale\": [");
    TN_REQUIRE(map != NULL);
    TN_ASSERT(g_str_has_prefix(strstr(map, "\n") + 1, "      \"")); /* of which kernels */
    forget(&c, 8);
    put_idx(&c, 2);
    tn_test_tenon(&changed, "resume", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&changed, 2);
    TN_ASSERT_CONTAINS(changed.err, "stages.read");
    TN_ASSERT_CONTAINS(changed.err, "/x.idx");
    TN_ASSERT_CONTAINS(changed.err, "fingerprint");
    TN_ASSERT_CONTAINS(changed.err, "--changed-data");
    put_idx(&c, 1);
    resume(&c, 0); /* the refusal left everything as it was */
    TN_ASSERT_CMPUINT(digest_at(&c, 8), ==, expected);
    forget(&c, 8);
    put_idx(&c, 2);
    tn_test_tenon(&allowed, "resume", "--changed-data", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&allowed, 0);
    TN_ASSERT_CMPUINT(digest_at(&c, 8), !=, expected);
    tn_test_tenon(&later, "resume", "--runs", c.root, "made", NULL);
    TN_ASSERT_EXIT(&later, 0);
}

/* --- What it wrote ---------------------------------------------------------------------------- */

/* metrics.jsonl of a run that went on from an older checkpoint is that of one never killed, but for
 * the clock. */
static void
metrics_once(void)
{
    g_auto(Case) c = { 0 };
    case_init(&c, "metrics");
    begin(&c);
    g_autofree char *before = text_of_run(&c, "metrics.jsonl");
    resume(&c, 0);
    g_autofree char *after = text_of_run(&c, "metrics.jsonl");
    g_auto(GStrv) a = g_strsplit(before, "\n", -1), b = g_strsplit(after, "\n", -1);
    guint compared = 0;
    TN_ASSERT_CMPUINT(g_strv_length(a), ==, g_strv_length(b));
    for (guint i = 0; a[i] && b[i]; i++) {
        if (!strstr(a[i], "\"train/loss\""))
            continue;
        TN_ASSERT_CMPINT(number_in(a[i], "\"step\":"), ==, number_in(b[i], "\"step\":"));
        TN_ASSERT_CMPSTR(strstr(a[i], "\"value\""), strstr(b[i], "\"value\""));
        compared++;
    }
    TN_ASSERT_CMPUINT(compared, ==, 8);
}

/* Whether the run has written how far it is, and its loss. */
static gboolean
says_how_far(const Case *c)
{
    g_autoptr(TnRunDir) run = tn_run_open(c->root, "made", FALSE, NULL);
    g_autoptr(TnValue) status = run ? tn_run_get_json(run, "status.json", NULL) : NULL;
    const TnValue *step = tn_value_get(status, "step");
    return step && tn_value_get_int(step) > 0 &&
           tn_value_get(tn_value_get(status, "metrics"), "loss");
}

static void
status_while_running(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnBackground) child = { 0 };
    g_auto(TnChild) list = { 0 }, json = { 0 };
    case_init(&c, "status");
    g_autofree char *program = tn_test_build_path("tenon");
    const char *const argv[] = { program,
                                 "run",
                                 "--runs",
                                 c.root,
                                 "--data-root",
                                 c.data,
                                 c.config,
                                 "train.epochs=100000000",
                                 "train.log_steps=20",
                                 NULL };
    tn_background_start(&child, argv, NULL);
    for (guint i = 0; i < 600 && !says_how_far(&c); i++)
        TN_REQUIRE(!tn_background_wait(&child, 0.1));
    TN_ASSERT(tn_background_kill(&child, SIGKILL) && tn_background_wait(&child, 20));
    TN_ASSERT_CMPINT(child.signal, ==, SIGKILL);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = open_run(&c);
    g_autoptr(TnValue) status = tn_run_get_json(run, "status.json", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(status, "state")), "running");
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(status, "step")), >, 0);
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(status, "steps")), ==, 2000000000);
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(status, "epochs")), ==, 100000000);
    const TnValue *metrics = tn_value_get(status, "metrics");
    TN_ASSERT(tn_value_type(tn_value_get(metrics, "loss")) == TN_VALUE_DOUBLE);
    tn_test_tenon(&list, "runs", "--runs", c.root, NULL);
    TN_ASSERT_EXIT(&list, 0);
    TN_ASSERT_CONTAINS(list.out, "killed");
    TN_ASSERT_CONTAINS(list.out, "/2000000000");
    TN_ASSERT_CONTAINS(list.out, "loss ");
    tn_test_tenon(&json, "runs", "--json", "--runs", c.root, NULL);
    TN_ASSERT_EXIT(&json, 0);
    g_autoptr(TnValue) rows = tn_json_parse(json.out, strlen(json.out), &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(tn_value_at(rows, 0), "state")), "killed");
    TN_ASSERT(
        tn_value_equal(tn_value_get(tn_value_at(rows, 0), "step"), tn_value_get(status, "step")));
}

/* The message about a bad number names the checkpoint before it, a file that is there. */
static void
bad_number_names_its_checkpoint(void)
{
    g_auto(Case) c = { 0 };
    g_auto(TnChild) first = { 0 }, bad = { 0 };
    case_init(&c, "bad");
    begin(&c);
    tn_test_tenon(&bad, "resume", "--runs", c.root, "made", "train.optimizer.lr=1e38", NULL);
    TN_ASSERT_EXIT(&bad, 1);
    g_autoptr(TnRunDir) run = open_run(&c);
    g_autofree char *path =
        g_strdup_printf("%s/checkpoints/%012u.safetensors", tn_run_path(run), 20u);
    TN_ASSERT_CONTAINS(bad.err, path);
    TN_ASSERT(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    g_autofree char *root = tn_test_tmp_path("bad-first");
    tn_test_tenon(&first, "run", "--runs", root, "--data-root", c.data, c.config,
                  "train.optimizer.lr=1e38", NULL);
    TN_ASSERT_EXIT(&first, 1);
    TN_ASSERT_CONTAINS(first.err, "there is no checkpoint before it");
}

/* None of them is forgotten. */
static void
any_number_of_loggers(void)
{
    static const char text[] =
        "local tn = require 'tenon'\n"
        "local loggers = {}\n"
        "for i = 1, 70 do loggers[i] = tn.logger.tensorboard {} end\n"
        "return tn.experiment { name = 'made', loggers = loggers, stages = {\n"
        "  read = tn.stage.read { data = tn.dataset.random { {8}, classes = 4, length = 64 } },\n"
        "  train = tn.stage.train { from = 'read', steps = 1, model = tn.nn.linear {4},\n"
        "    loss = tn.loss.cross_entropy {}, optimizer = tn.optim.sgd { lr = 0.1 } } } }\n";
    g_auto(Case) c = { 0 };
    g_auto(TnChild) child = { 0 };
    case_init(&c, "loggers");
    put(c.folder, "made.lua", text);
    tn_test_tenon(&child, "run", "--runs", c.root, c.config, NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_autoptr(TnRunDir) run = open_run(&c);
    GDir *dir = g_dir_open(tn_run_path(run), 0, NULL);
    guint files = 0;
    const char *name;
    TN_REQUIRE(dir != NULL);
    while ((name = g_dir_read_name(dir)))
        files += g_str_has_prefix(name, "events.");
    g_dir_close(dir);
    TN_ASSERT_CMPUINT(files, ==, 70);
}

static const TnTest tests[] = {
    { "changed sources", changed_sources },
    { "missing sources", missing_sources },
    { "evaluated bytes", evaluated_bytes },
    { "time and chance", time_and_chance },
    { "settings hold", settings_hold },
    { "overrides keep their order", overrides_keep_their_order },
    { "another data root", another_data_root },
    { "trust is said again", trust_is_said_again },
    { "other kernels", other_kernels },
    { "chosen kernels", chosen_kernels },
    { "other data", other_data },
    { "metrics once", metrics_once },
    { "status while running", status_while_running },
    { "bad number names its checkpoint", bad_number_names_its_checkpoint },
    { "any number of loggers", any_number_of_loggers },
};
TN_TEST_MAIN("resume made", tests)
