/* test_script.c: a script as the program runs it: what it measures is in the run's folder and told to its
 * loggers, what it gives is told at the end. */
#include "tn_test.h"

static const char config[] =
    "local tn = require 'tenon'\n"
    "local logger = tn.arg('logger', false, { help = 'whether there is one' })\n"
    "return tn.script {\n"
    "  name = 'script', loggers = logger and { tn.logger.tensorboard {} } or nil,\n"
    "  run = function(job)\n"
    "    for step = 1, 3 do job:scalar('square', step, step * step) end\n"
    "    return { last = 9 }\n"
    "  end,\n"
    "}\n";

static void
numbers_are_kept(void)
{
    g_autofree char *path = tn_test_tmp_path("script.lua"), *runs = tn_test_tmp_path("runs");
    tn_test_write_file(path, config, -1);
    for (guint i = 0; i < 2; i++) {
        g_auto(TnChild) child = { 0 };
        tn_test_tenon(&child, "run", "--runs", runs, path, i ? "logger=true" : "logger=false",
                      NULL);
        TN_ASSERT_EXIT(&child, 0);
        TN_ASSERT_CONTAINS(child.out, "last           9");
        TN_ASSERT((strstr(child.out, "tensorboard --logdir") != NULL) == (i == 1));
        const char *at = strstr(child.out, "\nrun            ");
        TN_REQUIRE(at != NULL);
        g_auto(GStrv) words = g_strsplit(at + strlen("\nrun            "), "\n", 2);
        g_autofree char *metrics = g_build_filename(words[0], "metrics.jsonl", NULL);
        g_autofree char *text = tn_test_read_file(metrics, NULL);
        TN_ASSERT_CONTAINS(text, "\"square\"");
        TN_ASSERT_CONTAINS(text, "\"step\":3");
    }
}

static const TnTest tests[] = {
    { "numbers are kept", numbers_are_kept },
};
TN_TEST_MAIN("script", tests)
