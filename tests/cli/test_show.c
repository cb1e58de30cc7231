/* test_show.c: `tenon show --graph`: every pass of the compiler can be looked at, those of the memory plan as
 * the program that they make. */
#include <string.h>

#include <tenon/program.h>

#include "tn_test.h"

static const char config[] =
    "local tn = require 'tenon'\n"
    "return tn.experiment {\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {7}, classes = 3 }, batch = 16 },\n"
    "    train = tn.stage.train {\n"
    "      from = 'read', input = 'x', target = 'y', epochs = 1,\n"
    "      model = tn.nn.sequential { tn.nn.linear {9}, tn.nn.tanh {}, tn.nn.linear {3} },\n"
    "      loss = tn.loss.cross_entropy {}, optimizer = tn.optim.adam {},\n"
    "    },\n"
    "  },\n"
    "}\n";

static char *path;

static void
setup(void)
{
    path = tn_test_tmp_path("show.lua");
    tn_test_write_file(path, config, -1);
    g_setenv("TENON_COSTS", "none", TRUE);
}

static void
teardown(void)
{
    g_unsetenv("TENON_COSTS");
    g_free(path);
}

/* Bytes of the arena that the last program of a listing has. */
static guint64
arena_of(const char *text)
{
    const char *at = g_strrstr(text, ", arena ");
    TN_REQUIRE(at != NULL);
    return g_ascii_strtoull(at + strlen(", arena "), NULL, 10);
}

static void
every_pass(void)
{
    g_auto(TnChild) all = { 0 };
    tn_test_tenon(&all, "show", path, "--graph", "all", NULL);
    TN_ASSERT_EXIT(&all, 0);
    for (const char *const *pass = tn_passes(); *pass; pass++) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *head = g_strdup_printf("'step' after %s\n", *pass);
        tn_test_tenon(&child, "show", path, "--graph", *pass, NULL);
        TN_ASSERT_EXIT(&child, 0);
        TN_ASSERT_CONTAINS(child.out, head);
        TN_ASSERT_CONTAINS(all.out, child.out);
    }
}

/* All results apart, then over each other, then the program: the last pass makes just that. */
static void
plans_become_smaller(void)
{
    g_auto(TnChild) apart = { 0 }, reused = { 0 }, program = { 0 };
    tn_test_tenon(&apart, "show", path, "--graph", "in-place", NULL);
    tn_test_tenon(&reused, "show", path, "--graph", "reuse", NULL);
    tn_test_tenon(&program, "show", path, "--graph", "program", NULL);
    TN_ASSERT_CMPUINT(arena_of(apart.out), >, arena_of(reused.out));
    TN_ASSERT_CMPUINT(arena_of(reused.out), ==, arena_of(program.out));
}

/* A limit that the whole plan meets is in no pass's way. */
static void
under_a_limit(void)
{
    g_auto(TnChild) program = { 0 }, views = { 0 };
    tn_test_tenon(&program, "show", path, "memory_limit=3KiB", "--graph", "program", NULL);
    TN_ASSERT_EXIT(&program, 0);
    tn_test_tenon(&views, "show", path, "memory_limit=3KiB", "--graph", "views", NULL);
    TN_ASSERT_EXIT(&views, 0);
    TN_ASSERT_CMPUINT(arena_of(program.out), <, arena_of(views.out));
}

static void
no_such_pass(void)
{
    g_auto(TnChild) pass = { 0 }, graph = { 0 };
    tn_test_tenon(&pass, "show", path, "--graph", "abacus", NULL);
    TN_ASSERT_EXIT(&pass, 2);
    TN_ASSERT_CONTAINS(pass.err, "--graph abacus: there is none; --graph takes built, ");
    TN_ASSERT_CONTAINS(pass.err, "in-place, reuse, program, all");
    tn_test_tenon(&graph, "show", path, "--graph", "fuse", "--of", "abacus", NULL);
    TN_ASSERT_EXIT(&graph, 2);
    TN_ASSERT_CONTAINS(graph.err, "--of takes step");
}

static const TnTest tests[] = {
    { "every pass", every_pass },
    { "plans become smaller", plans_become_smaller },
    { "under a limit", under_a_limit },
    { "no such pass", no_such_pass },
};
TN_TEST_MAIN_WITH("show", tests, setup, teardown)
