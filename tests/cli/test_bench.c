/* test_bench.c: `bench`: the cases it lists, the lines it prints; every network's config is without
 * faults. What is fast is not judged. */
// tn-test: timeout=120
#include "tn_test.h"

static const struct {
    const char *name, *unit;
    gboolean quick; /* is run here */
} networks[] = {
    { "train_tiny", "samples/s", TRUE },   { "train_mlp", "samples/s", FALSE },
    { "train_lenet", "samples/s", FALSE }, { "train_resnet18", "samples/s", FALSE },
    { "train_lstm", "samples/s", FALSE },  { "train_gpt", "tokens/s", FALSE },
    { "infer_resnet50", "ms", FALSE },     { "infer_tiny", "us", TRUE },
};

static void
list(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "bench", "--list", NULL);
    TN_ASSERT_EXIT(&child, 0);
    for (guint i = 0; i < G_N_ELEMENTS(networks); i++)
        TN_ASSERT_CONTAINS(child.out, networks[i].name);
    TN_ASSERT_CONTAINS(child.out, "compile_mlp");
    TN_ASSERT_CONTAINS(child.out, "compile_resnet50");
}

static void
configs(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(networks); i++) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *config = g_strconcat("module:tenon.bench.", networks[i].name, NULL);
        tn_test_tenon(&child, "check", config, NULL);
        TN_ASSERT_EXIT(&child, 0);
    }
}

/* "NAME.VARIANT\tVALUE\tUNIT\tWHAT" with a value above 0. */
static void
check_line(const char *line, const char *name, const char *unit)
{
    g_auto(GStrv) fields = g_strsplit(line, "\t", -1);
    TN_REQUIRE(g_strv_length(fields) == 4);
    TN_ASSERT_CMPSTR(fields[0], name);
    TN_ASSERT_CMPFLOAT(g_ascii_strtod(fields[1], NULL), >, 0);
    TN_ASSERT_CMPSTR(fields[2], unit);
}

static void
compiling(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "bench", "--seconds", "0.01", "compile_mlp", NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_auto(GStrv) lines = g_strsplit(child.out, "\n", -1);
    check_line(lines[0], "compile_mlp", "ms");
}

static void
figures(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(networks); i++) {
        g_auto(TnChild) child = { 0 };
        if (!networks[i].quick)
            continue;
        tn_test_tenon(&child, "bench", "--seconds", "0.01", networks[i].name, NULL);
        TN_ASSERT_EXIT(&child, 0);
        g_auto(GStrv) lines = g_strsplit(child.out, "\n", -1);
        g_autofree char *mean = g_strconcat(networks[i].name, ".mean", NULL);
        TN_REQUIRE(g_strv_length(lines) >= 3);
        check_line(lines[0], networks[i].name, networks[i].unit);
        check_line(lines[1], mean, networks[i].unit);
    }
}

/* Beside a busy process the same again, and what is left of the speed. */
static void
busy(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "bench", "--seconds", "0.01", "--busy", "1", "train_tiny", NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CONTAINS(child.out, "\ntrain_tiny.busy\t");
    TN_ASSERT_CONTAINS(child.out, "\ntrain_tiny.mean.busy_share\t");
}

static void
set(void)
{
    g_auto(TnChild) child = { 0 }, wrong = { 0 };
    tn_test_tenon(&child, "bench", "--seconds", "0.01", "--set", "batch_invariant=true",
                  "infer_tiny", NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CONTAINS(child.out, "\ninfer_tiny.threads\t");
    tn_test_tenon(&wrong, "bench", "--seconds", "0.01", "--set", "batch_invarient=true",
                  "infer_tiny", NULL);
    TN_ASSERT_EXIT(&wrong, 2);
    TN_ASSERT_CONTAINS(wrong.err, "batch_invariant");
}

static void
nodes(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "bench", "--seconds", "0.01", "executor_nodes", NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CONTAINS(child.out, "executor_nodes\t");
    TN_ASSERT_CONTAINS(child.out, "\nexecutor_nodes.add_threads\t");
}

/* With and without batch_invariant in turns, for every number of samples. */
static void
samples(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "bench", "--seconds", "0.01", "samples_mlp_small", NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_auto(GStrv) lines = g_strsplit(child.out, "\n", -1);
    check_line(lines[0], "samples_mlp_small.infer.1", "x");
    TN_ASSERT_CONTAINS(child.out, "\nsamples_mlp_small.step.128\t");
}

/* What half the memory costs, with how much that is. */
static void
recompute(void)
{
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "bench", "--seconds", "0.01", "recompute_lenet", NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_auto(GStrv) lines = g_strsplit(child.out, "\n", -1);
    TN_REQUIRE(g_strv_length(lines) == 4);
    check_line(lines[0], "recompute_lenet.arena", "MiB");
    check_line(lines[1], "recompute_lenet.least", "MiB");
    check_line(lines[2], "recompute_lenet.time", "x");
}

static const TnTest tests[] = {
    { "recompute", recompute }, { "samples", samples }, { "list", list }, { "configs", configs },
    { "compiling", compiling }, { "figures", figures }, { "busy", busy }, { "set", set },
    { "nodes", nodes },
};
TN_TEST_MAIN("bench", tests)
