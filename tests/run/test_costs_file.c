/* test_costs_file.c: tables of measured times as files: there and back, of other machines and plugins,
 * damaged. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/plugin.h>
#include <tenon/run.h>

#include "tn_test.h"

static TnValue *
some_rows(void)
{
    static const char text[] =
        "[{\"node\": \"cpu matmul f32[8, 4] f32[4, 2] -> f32[8, 2] #6b1f\", \"us\": {\"cpu-matmul "
        "0\": 1.5, \"onednn-matmul 10\": 3}},"
        "{\"node\": \"cpu neg f32[8] -> f32[8]\", \"us\": {\"cpu-elementwise 0\": 0.25}}]";
    g_autoptr(GError) error = NULL;
    TnValue *rows = tn_json_parse(text, strlen(text), &error);
    TN_REQUIRE_NO_ERROR(error);
    return rows;
}

static char *
saved(const char *name)
{
    g_autoptr(TnValue) rows = some_rows();
    g_autoptr(GError) error = NULL;
    char *path = tn_test_tmp_path("%s/new/costs.json", name);
    TN_ASSERT(tn_costs_save(path, rows, &error));
    TN_REQUIRE_NO_ERROR(error);
    return path;
}

static void
there_and_back(void)
{
    g_autofree char *path = saved("costs-there");
    g_autoptr(TnValue) rows = some_rows(), file = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(TnCosts) costs = tn_costs_load(path, TRUE, &file, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_value_equal(tn_costs_rows(costs), rows));
    TN_ASSERT(tn_costs_fit(file, &error));
    TN_ASSERT(tn_costs_load("/nowhere/costs.json", TRUE, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "/nowhere");
}

static void
where_it_is(void)
{
    g_setenv("TENON_COSTS", "none", TRUE);
    TN_ASSERT(tn_costs_path() == NULL);
    g_setenv("TENON_COSTS", "/some/where", TRUE);
    g_autofree char *given = tn_costs_path();
    TN_ASSERT_CMPSTR(given, "/some/where");
    g_unsetenv("TENON_COSTS");
    g_autofree char *usual = tn_costs_path();
    TN_ASSERT(g_str_has_suffix(usual, "/tenon/costs.json"));
}

/* A table of which one thing was changed. */
static void
made_elsewhere(void)
{
    static const char *const names[] = { "version", "processor", "features", "processors" };
    g_autofree char *path = saved("costs-elsewhere");
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = tn_test_read_file(path, NULL);
        g_autoptr(TnValue) file = tn_json_parse(text, strlen(text), &error);
        TN_REQUIRE_NO_ERROR(error);
        tn_value_set(tn_value_get(file, "machine"), names[i], tn_value_string("Abacus"));
        TN_ASSERT(tn_costs_parse(file, TRUE, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, names[i]);
        g_autoptr(TnCosts) anyway = tn_costs_parse(file, FALSE, &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT(anyway != NULL);
    }
}

/* Only plugins that are open count. */
static void
other_plugins(void)
{
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_registry_open("ref", &error));
    g_autofree char *path = saved("costs-plugins");
    g_autofree char *text = tn_test_read_file(path, NULL);
    g_autoptr(TnValue) file = tn_json_parse(text, strlen(text), &error);
    TN_REQUIRE_NO_ERROR(error);
    TnValue *plugins = tn_value_get(file, "plugins");
    tn_value_set(plugins, "absent", tn_value_string("0.0.1"));
    TN_ASSERT(tn_costs_fit(file, &error));
    TN_ASSERT(tn_value_get(plugins, "ref") != NULL);
    tn_value_set(plugins, "ref", tn_value_string("0.0.1"));
    TN_ASSERT(!tn_costs_fit(file, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "ref was \"0.0.1\"");
}

static void
damaged(void)
{
    static const struct {
        const char *text;
        gint code;
    } bad[] = {
        { "", TN_ERROR_CORRUPT },
        { "[]", TN_ERROR_CORRUPT },
        { "7", TN_ERROR_CORRUPT },
        { "{}", TN_ERROR_CORRUPT },
        { "{\"tenon-costs\": \"1\", \"machine\": {}, \"plugins\": {}, \"rows\": []}",
          TN_ERROR_CORRUPT },
        { "{\"tenon-costs\": 2, \"machine\": {}, \"plugins\": {}, \"rows\": []}",
          TN_ERROR_VERSION },
        { "{\"tenon-costs\": 1, \"machine\": [], \"plugins\": {}, \"rows\": []}",
          TN_ERROR_CORRUPT },
        { "{\"tenon-costs\": 1, \"machine\": {}, \"plugins\": {}}", TN_ERROR_CORRUPT },
        { "{\"tenon-costs\": 1, \"machine\": {}, \"plugins\": {}, \"rows\": [[]]}",
          TN_ERROR_CORRUPT },
    };
    g_autofree char *path = tn_test_tmp_path("damaged-costs.json");
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        tn_test_write_file(path, bad[i].text, -1);
        TN_ASSERT(tn_costs_load(path, TRUE, NULL, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, bad[i].code, "damaged-costs.json: ");
    }
}

/* Bytes changed at random: refused with a reason, or a table like any other. */
static void
bytes_changed(void)
{
    g_autofree char *path = saved("costs-bytes");
    g_autofree char *text = tn_test_read_file(path, NULL);
    const gsize size = strlen(text);
    TnRandom random;
    guint refused = 0;
    tn_random_init(&random, 1, "costs", 0);
    for (guint i = 0; i < 400; i++) {
        g_autofree char *copy = g_strdup(text);
        g_autoptr(GError) error = NULL;
        const gsize end = i % 4 == 0 ? tn_random_below(&random, size) : size;
        for (guint k = 0; k < 1 + i % 3; k++)
            copy[tn_random_below(&random, size)] = (char)tn_random_below(&random, 256);
        tn_test_write_file(path, copy, (gssize)end);
        g_autoptr(TnCosts) costs = tn_costs_load(path, TRUE, NULL, &error);
        TN_ASSERT((costs == NULL) == (error != NULL));
        refused += costs == NULL;
    }
    TN_ASSERT_CMPUINT(refused, >, 200);
}

/* Writes one table and then the other, for ever. */
static void
write_in_turn(const char *path, TnValue *const *rows)
{
    for (guint i = 0;; i++)
        if (!tn_costs_save(path, rows[i % 2], NULL))
            _exit(1);
}

/* Killed at any moment of writing, the file is one of the tables whole, and the next that is written is all
 * that is in its folder. */
static void
killed_while_writing(void)
{
    g_autofree char *path = saved("costs-killed");
    g_autoptr(TnValue) few = tn_value_list();
    g_autoptr(TnValue) some = some_rows();
    TnValue *const rows[] = { few, some };
    for (guint i = 0; i < 24; i++) {
        g_autoptr(GError) error = NULL;
        const pid_t pid = fork();
        TN_REQUIRE(pid >= 0);
        if (pid == 0)
            write_in_turn(path, rows);
        g_usleep(2000 + i * 700);
        kill(pid, SIGKILL);
        int status = 0;
        TN_REQUIRE(waitpid(pid, &status, 0) == pid);
        TN_ASSERT(WIFSIGNALED(status));
        g_autoptr(TnCosts) costs = tn_costs_load(path, TRUE, NULL, &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT(tn_value_equal(tn_costs_rows(costs), some) ||
                  tn_value_equal(tn_costs_rows(costs), few));
    }
    g_autofree char *folder = g_path_get_dirname(path);
    TN_ASSERT(tn_costs_save(path, some, NULL));
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    TN_REQUIRE(dir != NULL);
    TN_ASSERT_CMPSTR(g_dir_read_name(dir), "costs.json");
    TN_ASSERT(g_dir_read_name(dir) == NULL);
}

static const TnTest tests[] = {
    { "there and back", there_and_back },
    { "where it is", where_it_is },
    { "made elsewhere", made_elsewhere },
    { "other plugins", other_plugins },
    { "damaged", damaged },
    { "bytes changed", bytes_changed },
    { "killed while writing", killed_while_writing },
};
TN_TEST_MAIN("costs file", tests)
