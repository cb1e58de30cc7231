// tn-test: timeout=120
/* test_sandbox.c: what a config may not do, and what ends one that does not end by itself. */
#include <glib/gstdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <tenon/host.h>

#include "tn_test.h"

static char *folder, *path;

static void
setup(void)
{
    folder = tn_test_tmp_path("box");
    path = tn_test_tmp_path("box/c.lua");
    g_mkdir_with_parents(folder, 0700);
}

static void
teardown(void)
{
    g_free(folder);
    g_free(path);
}

static char *
load(const char *text, const TnHostOptions *options)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnHost) host = tn_host_new(options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *all =
        g_strconcat(text, "\nreturn require('tenon').experiment { stages = {} }\n", NULL);
    tn_test_write_file(path, all, -1);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    TN_ASSERT((root == NULL) == (tn_faults_count(faults) > 0));
    g_autoptr(GString) lines = g_string_new(NULL);
    for (gsize i = 0; i < tn_faults_count(faults); i++)
        g_string_append_printf(lines, "%s\n", tn_faults_text(faults, i));
    g_string_replace(lines, path, "c.lua", 0);
    g_string_replace(lines, folder, "BOX", 0);
    return g_string_free(g_steal_pointer(&lines), FALSE);
}

/* --- Doors ------------------------------------------------------------------------------------ */

static const struct {
    const char *text, *fault; /* "": allowed */
} doors[] = {
    { "os.execute('true')", "c.lua:1: os.execute is not for configs; --trust lifts this" },
    { "os.exit(0)", "os.exit is not for configs" },
    { "os.remove('x')", "os.remove is not for configs" },
    { "os.rename('x', 'y')", "os.rename is not for configs" },
    { "os.tmpname()", "os.tmpname is not for configs" },
    { "os.getenv('HOME')", "os.getenv is not for configs" },
    { "os.setlocale('C')", "os.setlocale is not for configs" },
    { "io.popen('true')", "io.popen is not for configs" },
    { "io.open('x', 'w')", "mode 'w': a config may only read files" },
    { "io.open('x', 'r+')", "mode 'r+': a config may only read files" },
    { "io.open('x', 'a')", "mode 'a'" },
    { "io.output('x')", "io.output is not for configs" },
    { "io.input('x')", "io.input is not for configs" },
    { "io.tmpfile()", "io.tmpfile is not for configs" },
    { "io.stdout:write('x')", "nil value (field 'stdout')" },
    { "debug.getregistry()", "global 'debug'" },
    { "package.loadlib('x', 'y')", "global 'package'" },
    { "require('debug')", "no module 'debug'" },
    { "require('io').popen('true')", "no module 'io'" },
    { "require('package')", "no module 'package'" },
    { "require('_G')", "no module '_G'" },
    { "dofile('/etc/passwd')", "dofile is not for configs" },
    { "loadfile('/etc/passwd')", "loadfile is not for configs" },
    { "string.dump(function() end)", "string.dump is not for configs" },
    { "('').dump(function() end)", "string.dump is not for configs" },
    { "assert(load('\\27Lua'))", "attempt to load a binary chunk" },
    { "assert(load('\\27Lua', 'x', 'b'))", "attempt to load a binary chunk" },
    { "assert(load(function() return nil end, 'x', 'bt'))()", "" },
    { "setmetatable({}, { __gc = function() end })", "no finalisers (__gc)" },
    { "getmetatable(require('tenon').nn.relu {}).__gc = nil", "attempt to index a string value" },
    { "getmetatable(require('tenon.core').graph('g')).__index = nil",
      "attempt to index a string value" },
    { "require('../x')", "is no name of a module" },
    { "require('/etc/passwd')", "is no name of a module" },
    { "require('a..b')", "is no name of a module" },
    { "require('.a')", "is no name of a module" },
    { "require('a.')", "is no name of a module" },
    { "require('')", "is no name of a module" },
    { "require('a\\0b')", "is no name of a module" },
    { "require('missing')", "there is no module 'missing'" },
    { "require('tn.missing')", "missing" },
    { "require('outside')", "leads out of the config's folder" },
    { "require('linked.secret')", "leads out of the config's folder" },
    /* allowed */
    { "assert(os.time() > 0 and os.clock() >= 0 and os.date('%Y'))", "" },
    { "assert(require('beside').answer == 42)", "" },
    { "assert(require('sub.inner') == 'inner')\nassert(require('sub') == 'sub')", "" },
    { "assert(io.open('/dev/null'):read('a') == '')", "" },
    { "assert(load('return 1 + 1')() == 2)", "" },
    { "assert(load('return x', 'c', 't', { x = 3 })() == 3)", "" },
    { "assert(setmetatable({}, { __index = { a = 1 } }).a == 1)", "" },
    { "local ok, why = pcall(error, 'x') assert(not ok and why == 'x')", "" },
};

static void
guarded(void)
{
    g_autofree char *beside = g_build_filename(folder, "beside.lua", NULL);
    g_autofree char *sub = g_build_filename(folder, "sub", NULL);
    g_autofree char *inner = g_build_filename(folder, "sub/inner.lua", NULL);
    g_autofree char *init = g_build_filename(folder, "sub/init.lua", NULL);
    g_autofree char *secret = tn_test_tmp_path("secret.lua");
    g_autofree char *outside = g_build_filename(folder, "outside.lua", NULL);
    g_autofree char *linked = g_build_filename(folder, "linked", NULL);
    g_mkdir_with_parents(sub, 0700);
    tn_test_write_file(beside, "return { answer = 42 }", -1);
    tn_test_write_file(inner, "return 'inner'", -1);
    tn_test_write_file(init, "return 'sub'", -1);
    tn_test_write_file(secret, "return 'secret'", -1);
    TN_ASSERT_CMPINT(symlink(secret, outside), ==, 0);
    TN_ASSERT_CMPINT(symlink("..", linked), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS(doors); i++) {
        g_autofree char *got = load(doors[i].text, NULL);
        if (*doors[i].fault)
            tn_test_check(strstr(got, doors[i].fault) != NULL, FALSE, __FILE__, __LINE__,
                          "%s gives %s, not %s", doors[i].text, got, doors[i].fault);
        else
            tn_test_check(!*got, FALSE, __FILE__, __LINE__, "%s gives %s", doors[i].text, got);
        if (*doors[i].fault)
            TN_ASSERT(g_str_has_prefix(got, "c.lua:1:"));
    }
}

static void
trusted(void)
{
    const TnHostOptions trust = { .trust = TRUE };
    g_autofree char *got =
        load("assert(os.getenv and debug.getinfo and io.popen and package.path)\n"
             "assert(os.execute('true'))\nassert(require('string') == string)\n"
             "assert(require('outside') == 'secret')",
             &trust);
    TN_ASSERT_CMPSTR(got, "");
}

/* --- Limits ----------------------------------------------------------------------------------- */

static void
limits(void)
{
    static const struct {
        const char *text, *fault;
    } rows[] = {
        { "\nwhile true do end", "c.lua:2: the config was still loading after 0.5 s" },
        { "while true do pcall(function() while true do end end) end",
          "still loading after 0.5 s" },
        { "local c = coroutine.wrap(function() while true do end end)\nwhile true do pcall(c) end",
          "still loading after 0.5 s" },
        { "local t = {}\nfor i = 1, 1e9 do t[i] = ('x'):rep(1e5) .. i end",
          "c.lua:2: the config needs more than 32 MiB of memory to load" },
        { "local s = ('x'):rep(1 << 30)", "memory" },
        { "local s = 'x'\nwhile true do pcall(function() s = s .. s end) end",
          "c.lua:2: the config was still loading" },
        { "require('tenon').zeros({ 1 << 20, 64 })", "a tensor this large belongs into the run" },
        { "local function f() return 1 + f() end\nf()", "c.lua:1:" },
        { "local s = ('('):rep(1000)\nassert(load(s))", "c.lua:2:" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        /* On a busy machine memory is not full within half a second. */
        const gboolean endless = strstr(rows[i].fault, "still loading") != NULL;
        const TnHostOptions small = { .memory_limit = 32 << 20,
                                      .load_seconds = endless ? 0.5 : 60 };
        g_autofree char *got = load(rows[i].text, &small);
        tn_test_check(strstr(got, rows[i].fault) != NULL, FALSE, __FILE__, __LINE__,
                      "%s gives %s, not %s", rows[i].text, got, rows[i].fault);
    }
}

/* Inside a C function of Lua's the hook does not fire: the load is given up, and the caller goes
 * on. */
static void
hostile_pattern(void)
{
    const TnHostOptions small = { .load_seconds = 0.3 };
    const gint64 before = g_get_monotonic_time();
    g_autofree char *got = load("local s = ('a'):rep(30)\ns:find(('a*'):rep(30) .. 'b')", &small);
    const double took = (double)(g_get_monotonic_time() - before) * 1e-6;
    TN_ASSERT_CONTAINS(got, "c.lua:1: the config was still loading after 0.3 s");
    TN_ASSERT_CONTAINS(got, "pattern");
    TN_ASSERT_CMPFLOAT(took, <, 10);
    /* and another host works beside it */
    g_autofree char *none = load("", NULL);
    TN_ASSERT_CMPSTR(none, "");
}

static guint
n_threads(void)
{
    guint n = 0;
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, NULL);
    while (dir && g_dir_read_name(dir))
        n++;
    return n;
}

/* A thread that was given up, after two seconds of grace, and comes back some seconds later ends
 * quietly and frees what it had. */
static void
late_return(void)
{
    const TnHostOptions small = { .load_seconds = 0.05 };
    const guint before = n_threads();
    g_autofree char *got = load("local s = ('a'):rep(160)\ns:find(('a-'):rep(4) .. 'b')\n", &small);
    TN_ASSERT_CONTAINS(got, "still loading");
    TN_ASSERT_CONTAINS(got, "pattern"); /* it was given up: else nothing comes back late */
    for (guint i = 0; i < 9000 && n_threads() > before; i++)
        g_usleep(10000);
    TN_ASSERT_CMPUINT(n_threads(), ==, before);
}

/* What was looked for before the given config is as it was in its run. */
static void
read_before_given(void)
{
    static const char start[] = "local tn = require 'tenon'\n";
    static const struct {
        const char *text, *words;
    } rows[] = {
        { "pcall(require, 'absent')", "" },
        { "io.open('absent')", "" },
        { "require 'there'", "'there' was before it" },
        { "pcall(require, 'kept')", "'kept' was before it" },
        { "io.open('kept.txt')", "'kept.txt' was before it" },
    };
    static const char *const files[][2] = {
        { "sources.json", "{\"modules\": {\"kept\": \"modules/kept.lua\"}, "
                          "\"files\": {\"kept.txt\": \"files/1\"}}" },
        { "config.lua", "return require('tenon').script { run = function() end }\n" },
        { "there.lua", "" },
        { "modules/kept.lua", "" },
        { "files/1", "" },
    };
    g_autofree char *modules = g_build_filename(folder, "modules", NULL);
    g_autofree char *kept = g_build_filename(folder, "files", NULL);
    g_mkdir_with_parents(modules, 0700);
    g_mkdir_with_parents(kept, 0700);
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *file = g_build_filename(folder, files[i][0], NULL);
        tn_test_write_file(file, files[i][1], -1);
    }
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strconcat(start, rows[i].text, "\ntn.given {}", NULL);
        g_autofree char *got = load(text, NULL);
        if (*rows[i].words)
            TN_ASSERT_CONTAINS(got, rows[i].words);
        else
            TN_ASSERT_CMPSTR(got, "");
    }
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *file = g_build_filename(folder, files[i][0], NULL);
        g_unlink(file);
    }
}

/* An index that somebody else wrote names nothing outside its folder. */
static void
sent_folders(void)
{
    static const struct {
        const char *index, *words;
    } rows[] = {
        { "{\"files\": {\"x\": \"../c.lua\"}}", "'../c.lua' is not below" },
        { "{\"files\": {\"x\": \"files/../../secret.lua\"}}", "is not below" },
        { "{\"modules\": {\"x\": \"/etc/passwd\"}}", "'/etc/passwd' is not below" },
        { "{\"modules\": {\"x\": \"given/../../y.lua\"}}", "is not below" },
        { "{\"modules\": {\"x\": \"modules\"}}", "is not below" },
        { "{\"modules\": {\"x\": \"\"}}", "is not below" },
        { "[1]", "holds no table" },
        { "{", "sources.json" },
    };
    g_autofree char *index = g_build_filename(folder, "sources.json", NULL);
    g_autofree char *config = g_build_filename(folder, "config.lua", NULL);
    tn_test_write_file(config, "return require('tenon').script { run = function() end }\n", -1);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        tn_test_write_file(index, rows[i].index, -1);
        g_autofree char *got = load("local given = require('tenon').given {}", NULL);
        TN_ASSERT_CONTAINS(got, rows[i].words);
    }
    g_unlink(index);
    g_unlink(config);
}

/* Bytes of memory that this process ever had, in MiB. */
static glong
peak(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss >> 10;
}

/* Handles of one kept file share its bytes, which go when the last is closed. */
static void
one_copy_in_memory(void)
{
    enum { BYTES = 16 << 20, FILES = 40 };
    static const char text[] =
        "local open = {}\n"
        "for i = 1, 60 do open[i] = assert(io.open('big1')) end\n"
        "assert(open[60]:seek('end') == 16 << 20)\n"
        "for i = 1, 59 do open[i]:close() end\n"
        "assert(open[60]:seek('set', 5) == 5 and open[60]:read(1) == '\\0')\n"
        "open[60]:close()\n"
        "for i = 1, 40 do local f <close> = assert(io.open('big' .. i)) end\n"
        "return require('tenon').experiment { stages = {} }\n";
    g_autofree char *kept = tn_test_tmp_path("kept"), *big = tn_test_tmp_path("kept/files/1");
    g_autofree char *index = tn_test_tmp_path("kept/sources.json");
    g_autofree char *config = tn_test_tmp_path("kept/config.lua");
    g_autofree char *parent = g_path_get_dirname(big);
    g_autofree char *zeros = g_malloc0(BYTES);
    g_autoptr(GString) names = g_string_new("{\"files\": {");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnFaults) faults = tn_faults_new();
    TN_REQUIRE(g_mkdir_with_parents(parent, 0700) == 0);
    tn_test_write_file(big, zeros, BYTES);
    tn_test_write_file(config, text, -1);
    for (guint i = 1; i <= FILES; i++) {
        g_autofree char *copy = g_strdup_printf("%s/%u", parent, i);
        TN_REQUIRE(i == 1 || link(big, copy) == 0);
        g_string_append_printf(names, "%s\"big%u\": \"files/%u\"", i > 1 ? ", " : "", i, i);
    }
    g_string_append(names, "}}");
    tn_test_write_file(index, names->str, -1);
    const TnHostOptions options = { .kept = kept };
    g_autoptr(TnHost) host = tn_host_new(&options, &error);
    TN_REQUIRE_NO_ERROR(error);
    const glong before = peak();
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    TN_ASSERT(root != NULL);
    TN_ASSERT_CMPINT(peak() - before, <, 500); /* a sanitizer lets go late */
}

/* Copies go into the folder of a run, through none of its links. */
static void
keeps_through_no_link(void)
{
    g_autofree char *run = tn_test_tmp_path("linked-run"), *away = tn_test_tmp_path("away");
    g_autofree char *modules = g_build_filename(run, "modules", NULL);
    g_autofree char *beside = g_build_filename(folder, "beside.lua", NULL);
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnHost) host = tn_host_new(NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_REQUIRE(g_mkdir(run, 0700) == 0 && g_mkdir(away, 0700) == 0 && symlink(away, modules) == 0);
    tn_test_write_file(beside, "return 1", -1);
    tn_test_write_file(
        path, "require 'beside'\nreturn require('tenon').experiment { stages = {} }\n", -1);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    TN_REQUIRE(root != NULL);
    TN_ASSERT(!tn_host_keep(host, run, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, modules, "is a link");
    TN_ASSERT_CMPINT(g_rmdir(away), ==, 0); /* empty */
}

static const TnTest tests[] = {
    { "sent folders", sent_folders },
    { "read before given", read_before_given },
    { "guarded", guarded },
    { "one copy in memory", one_copy_in_memory },
    { "keeps through no link", keeps_through_no_link },
    { "trusted", trusted },
    { "limits", limits },
    { "hostile pattern", hostile_pattern },
    { "late return", late_return },
};
TN_TEST_MAIN_WITH("sandbox", tests, setup, teardown)
