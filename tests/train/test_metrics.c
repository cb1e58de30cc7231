// tn-test: timeout=180
/* test_metrics.c: what a decision reads does not depend on the clock: the metrics of every epoch
 * have the same bits however often they are logged, and in a run that was killed and resumed. */
#include <signal.h>
#include <stdlib.h>

#include "tn_test.h"

/* 11 steps an epoch, the last one of fewer samples. A third of a loss in f64 has no bits to spare,
 * so that another order of addition gives other sums. It says the metrics of each epoch in
 * hexadecimal, and `here` at a step in the middle of one. */
static const char config[] =
    "local tn = require 'tenon'\n"
    "local nn = tn.nn\n"
    "local here = tn.arg('here', 0, { help = 'the step at which to say so' })\n"
    "return tn.experiment {\n"
    "  name = 'metrics', seed = 5,\n"
    "  stages = {\n"
    "    read = tn.stage.read { data = tn.dataset.random { {9}, classes = 4, length = 1017 },\n"
    "                           batch = 100, shuffle = true },\n"
    "    train = tn.stage.train {\n"
    "      from = 'read', epochs = 8, checkpoint_steps = 3, checkpoint_every = 0,\n"
    "      model = nn.sequential { nn.linear {16}, nn.tanh {}, nn.dropout {0.2}, nn.linear {4} },\n"
    "      loss = tn.loss(function(y, t) return y:cross_entropy(t):cast('f64') / 3 end),\n"
    "      optimizer = tn.optim.adam { lr = 0.003 },\n"
    "      metrics = { accuracy = tn.metric.accuracy {} },\n"
    "      callbacks = { tn.callback.functions {\n"
    "        step = function(trainer)\n"
    "          if trainer.step == here then print('here') for _ = 1, 3e8 do end end\n"
    "        end,\n"
    "        epoch = function(trainer, m)\n"
    "          print(('epoch %d: loss %a accuracy %a .'):format(trainer:epoch(), m['train/loss'],\n"
    "            m['train/accuracy']))\n"
    "        end,\n"
    "        log = function(trainer, m)\n"
    "          print(('log %d: %.9f .'):format(trainer.step, m['train/loss']))\n"
    "        end,\n"
    "      } },\n"
    "    },\n"
    "  },\n"
    "}\n";

static char *config_path;

static void
setup(void)
{
    config_path = tn_test_tmp_path("metrics.lua");
    tn_test_write_file(config_path, config, -1);
}

static void
teardown(void)
{
    g_free(config_path);
}

/* The lines that begin with `word`, without what stands before the word. (transfer full). */
static char *
lines_of(const char *text, const char *word)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *found = g_string_new(NULL);
    for (guint i = 0; lines[i]; i++) {
        const char *at = strstr(lines[i], word);
        if (at)
            g_string_append_printf(found, "%s\n", at);
    }
    return g_string_free(found, FALSE);
}

/* The lines about epochs of a run with one override. (transfer full). */
static char *
epochs_with(const char *override)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *runs = tn_test_tmp_path("runs");
    tn_test_tenon(&child, "run", "--runs", runs, config_path, override, NULL);
    TN_ASSERT_EXIT(&child, 0);
    return lines_of(child.err, "epoch ");
}

static void
log_intervals(void)
{
    static const char *const often[] = { "train.log_every=1ms", "train.log_every=1s",
                                         "train.log_steps=1", "train.log_steps=4",
                                         "train.log_steps=11" };
    g_autofree char *expected = epochs_with("train.log_every=0s");
    TN_ASSERT_CONTAINS(expected, "epoch 8: ");
    for (guint i = 0; i < G_N_ELEMENTS(often); i++) {
        g_autofree char *lines = epochs_with(often[i]);
        TN_ASSERT_CMPSTR(lines, expected);
    }
}

/* What is logged is the mean since the log before: of step 4 alone, then of 5 … 8. */
static void
logs_are_of_the_steps_between(void)
{
    g_auto(TnChild) every = { 0 }, fourth = { 0 };
    g_autofree char *runs = tn_test_tmp_path("runs");
    double loss[89] = { 0 };
    tn_test_tenon(&every, "run", "--runs", runs, config_path, "train.log_steps=1", NULL);
    tn_test_tenon(&fourth, "run", "--runs", runs, config_path, "train.log_steps=4", NULL);
    TN_ASSERT_EXIT(&every, 0);
    TN_ASSERT_EXIT(&fourth, 0);
    g_autofree char *one = lines_of(every.err, "log "), *four = lines_of(fourth.err, "log ");
    g_auto(GStrv) single = g_strsplit(one, "\n", -1), several = g_strsplit(four, "\n", -1);
    for (guint i = 0; single[i]; i++) {
        int step;
        double value;
        if (sscanf(single[i], "log %d: %lf", &step, &value) == 2 && step <= 88)
            loss[step] = value;
    }
    int before = 0;
    guint n = 0;
    for (guint i = 0; several[i]; i++) {
        int step;
        double value, sum = 0, count = 0;
        if (sscanf(several[i], "log %d: %lf", &step, &value) != 2)
            continue;
        for (int k = before + 1; k <= step && k <= 88; k++) {
            double samples = k % 11 == 0 ? 17 : 100;
            sum += loss[k] * samples;
            count += samples;
        }
        TN_ASSERT_NEAR(value, sum / count, 1e-7, 1e-8);
        before = step;
        n++;
    }
    TN_ASSERT_CMPINT(before, ==, 88);
    TN_ASSERT_CMPUINT(
        n, ==, 22 + 8 - 2); /* every fourth step, the ends of epochs, two of which are both */
}

static void
killed_in_an_epoch(void)
{
    g_auto(TnChild) first = { 0 }, second = { 0 };
    g_autofree char *runs = tn_test_tmp_path("killed"), *program = tn_test_build_path("tenon");
    g_autofree char *expected = epochs_with("train.log_every=0s");
    const char *const argv[] = {
        program, "run", "--runs", runs, config_path, "here=39", "train.log_every=1ms", NULL
    };
    TnChildOptions options = { .timeout = 60,
                               .signal_number = SIGKILL,
                               .signal_when_text = "here" };
    tn_test_spawn(&first, argv, &options);
    TN_ASSERT_CMPINT(first.signal, ==, SIGKILL);
    tn_test_tenon(&second, "resume", "--runs", runs, "metrics", NULL);
    TN_ASSERT_EXIT(&second, 0);
    g_autofree char *a = lines_of(first.err, "epoch "), *b = lines_of(second.err, "epoch ");
    g_autofree char *both = g_strconcat(a, b, NULL);
    TN_ASSERT_CONTAINS(a, "epoch 3: ");
    TN_ASSERT_CMPSTR(both, expected);
}

static const TnTest tests[] = {
    { "log intervals", log_intervals },
    { "logs are of the steps between", logs_are_of_the_steps_between },
    { "killed in an epoch", killed_in_an_epoch },
};
TN_TEST_MAIN_WITH("metrics", tests, setup, teardown)
