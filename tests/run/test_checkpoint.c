/* test_checkpoint.c: run folders and checkpoints: one writer, whole or not at all, the newest sound
 * one found. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"

static TnStore *
make_store(float first)
{
    g_autoptr(GError) error = NULL;
    TnStore *store = tn_store_new(7);
    TnVarInfo info = { .name = "model.weight",
                       .type = tn_type(TN_DTYPE_F32, 2, (gint64[]){ 3, 4 }),
                       .role = TN_ROLE_PARAM };
    TnVar *var = tn_store_var(store, NULL, &info, &error);
    TN_REQUIRE_NO_ERROR(error);
    float values[12];
    for (guint i = 0; i < 12; i++)
        values[i] = first + (float)i;
    tn_var_write(var, values, sizeof values, &error);
    tn_store_step(store, &error);
    TN_REQUIRE_NO_ERROR(error);
    return store;
}

static float
first_weight(TnStore *store)
{
    float values[12];
    g_autoptr(GError) error = NULL;
    tn_var_read(tn_store_find(store, "model.weight"), values, sizeof values, &error);
    TN_ASSERT_NO_ERROR(error);
    return values[0];
}

static TnRunDir *
make_run(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *root = tn_test_tmp_path("runs");
    TnRunDir *run = tn_run_create(root, "exp", &error);
    TN_REQUIRE_NO_ERROR(error);
    return run;
}

static TnValue *
make_state(gint64 epoch)
{
    TnValue *state = tn_value_map();
    tn_value_set(state, "epoch", tn_value_int(epoch));
    return state;
}

static void
saves_and_loads(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autoptr(TnStore) store = make_store(1), other = make_store(50);
    g_autoptr(TnValue) state = make_state(3);
    TN_ASSERT_CMPINT(tn_checkpoint_newest(run), ==, -1);
    TN_ASSERT(tn_checkpoint_save(run, 12, store, state, 2, &error));
    TN_ASSERT(tn_checkpoint_save(run, 900, store, state, 2, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_checkpoint_newest(run), ==, 900);
    g_autoptr(TnValue) back = tn_checkpoint_load(run, 900, other, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_value_equal(back, state));
    TN_ASSERT_CMPFLOAT(first_weight(other), ==, 1);
}

static gboolean
has_step(const TnRunDir *run, guint step)
{
    g_autofree char *path =
        g_strdup_printf("%s/checkpoints/%012u.safetensors", tn_run_path(run), step);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void
keeps_the_newest_and_the_pinned(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autoptr(TnStore) store = make_store(1);
    g_autoptr(TnValue) state = make_state(0);
    for (guint step = 1; step <= 6; step++) {
        TN_ASSERT(tn_checkpoint_save(run, step, store, state, 2, &error));
        if (step == 2)
            tn_checkpoint_pin(run, 2);
    }
    static const gboolean expected[] = { FALSE, FALSE, TRUE, FALSE, FALSE, TRUE, TRUE };
    for (guint step = 1; step <= 6; step++)
        TN_ASSERT_CMPINT(has_step(run, step), ==, expected[step]);
    tn_checkpoint_unpin(run, 2);
    TN_ASSERT(tn_checkpoint_save(run, 7, store, state, 2, &error));
    TN_ASSERT(!has_step(run, 2));
}

static void
passes_over_broken_ones(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autoptr(TnStore) store = make_store(1);
    g_autoptr(TnValue) state = make_state(0);
    TN_ASSERT(tn_checkpoint_save(run, 5, store, state, 0, &error));
    g_autofree char *whole =
        g_strdup_printf("%s/checkpoints/000000000005.safetensors", tn_run_path(run));
    g_autofree char *torn =
        g_strdup_printf("%s/checkpoints/000000000006.safetensors", tn_run_path(run));
    size_t n;
    g_autofree char *bytes = tn_test_read_file(whole, &n);
    tn_test_write_file(torn, bytes, (gssize)n - 7);
    TN_ASSERT_CMPINT(tn_checkpoint_newest(run), ==, 5);
    TN_ASSERT(tn_checkpoint_load(run, 6, store, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "000000000006.safetensors");
}

static void
refuses_what_does_not_fit(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autoptr(TnStore) store = make_store(1), more = make_store(2), fewer = tn_store_new(1),
                       other = tn_store_new(1);
    g_autoptr(TnValue) state = make_state(0);
    TN_ASSERT(tn_checkpoint_save(run, 5, store, state, 0, &error));
    TnVarInfo extra = { .name = "model.bias", .type = tn_type(TN_DTYPE_F32, 1, (gint64[]){ 3 }) };
    TnVarInfo wide = { .name = "model.weight",
                       .type = tn_type(TN_DTYPE_F32, 2, (gint64[]){ 4, 4 }) };
    tn_store_var(more, NULL, &extra, &error);
    tn_store_step(fewer, &error);
    tn_store_step(other, &error);
    tn_store_var(other, NULL, &wide, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_checkpoint_load(run, 5, more, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "model.bias", "missing");
    TN_ASSERT(tn_checkpoint_load(run, 5, fewer, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "model.weight");
    TN_ASSERT(tn_checkpoint_load(run, 5, other, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "f32[3, 4]", "f32[4, 4]");
}

static void
one_writer(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    TN_ASSERT(tn_run_open("/", tn_run_path(run), TRUE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, tn_run_path(run));
    g_autoptr(TnRunDir) reader = tn_run_open("/", tn_run_path(run), FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_run_is_held(reader));
    g_autofree char *path = g_strdup(tn_run_path(run));
    tn_run_close(g_steal_pointer(&run));
    TN_ASSERT(!tn_run_is_held(reader));
    g_autoptr(TnRunDir) again = tn_run_open("/", path, TRUE, &error);
    TN_ASSERT(again != NULL);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT(tn_run_open("/nowhere", "exp9", FALSE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "exp9");
}

/* In a child: files may grow to 4 KiB only, as on a full disk; the old checkpoint must stay, no
 * temporary file either. */
static void
a_full_disk_keeps_the_old_one(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autoptr(TnStore) store = make_store(1);
    g_autoptr(TnValue) state = make_state(0);
    TnVarInfo big = { .name = "model.big", .type = tn_type(TN_DTYPE_F32, 1, (gint64[]){ 100000 }) };
    tn_store_var(store, NULL, &big, &error);
    TN_ASSERT(tn_checkpoint_save(run, 5, store, state, 0, &error));
    TN_REQUIRE_NO_ERROR(error);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    gboolean saved = tn_checkpoint_save(run, 6, store, state, 0, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    TN_ASSERT(!saved);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "step 6", "last good one stays");
    TN_ASSERT_CMPINT(tn_checkpoint_newest(run), ==, 5);
    g_autofree char *folder = g_build_filename(tn_run_path(run), "checkpoints", NULL);
    GDir *dir = g_dir_open(folder, 0, NULL);
    guint n = 0;
    while (g_dir_read_name(dir))
        n++;
    g_dir_close(dir);
    TN_ASSERT_CMPUINT(n, ==, 1);
}

static void
metrics_are_lines(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autofree char *path = g_build_filename(tn_run_path(run), "metrics.jsonl", NULL);
    TN_ASSERT(tn_run_metric(run, "train/loss", 10, 0.5, &error));
    TN_ASSERT(tn_run_metric(run, "train/loss", 20, 1.0 / 0.0, &error));
    tn_run_close(g_steal_pointer(&run));
    g_autofree char *text = tn_test_read_file(path, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    TN_REQUIRE(g_strv_length(lines) == 3);
    g_autoptr(TnValue) row = tn_json_parse(lines[0], strlen(lines[0]), &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(row, "name")), "train/loss");
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(row, "step")), ==, 10);
    TN_ASSERT_CMPFLOAT(tn_value_get_double(tn_value_get(row, "value")), ==, 0.5);
    TN_ASSERT_CONTAINS(lines[1], "\"inf\"");
}

/* Every allocation of data on the way fails once: an error, or the same as without. */
static void
survives_failing_allocations(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autoptr(TnStore) store = make_store(1);
    g_autoptr(TnValue) state = make_state(0);
    gboolean saved = FALSE, loaded = FALSE;
    guint failures = 0;
    for (guint64 nth = 1; !saved && nth < 100; nth++) {
        tn_data_fail_nth(nth);
        saved = tn_checkpoint_save(run, 1, store, state, 0, &error);
        tn_data_fail_nth(0);
        failures += !saved;
        if (!saved)
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "step 1");
    }
    TN_ASSERT(saved);
    for (guint64 nth = 1; !loaded && nth < 100; nth++) {
        tn_data_fail_nth(nth);
        g_autoptr(TnValue) back = tn_checkpoint_load(run, 1, store, &error);
        tn_data_fail_nth(0);
        loaded = back != NULL;
        failures += !loaded;
        g_clear_error(&error);
    }
    TN_ASSERT(loaded);
    TN_ASSERT_CMPUINT(failures, >, 0);
}

/* What a kill in the middle of a write leaves. */
static void
half_a_line_is_dropped(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autofree char *path = g_strdup(tn_run_path(run));
    g_autofree char *metrics = g_build_filename(path, "metrics.jsonl", NULL);
    g_autofree char *text = NULL;
    tn_run_close(g_steal_pointer(&run));
    g_file_set_contents(metrics, "{\"step\":1}\n{\"st", -1, &error);
    TN_REQUIRE_NO_ERROR(error);
    run = tn_run_open("/", path, TRUE, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_run_close(g_steal_pointer(&run));
    g_file_get_contents(metrics, &text, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(text, "{\"step\":1}\n");
}

/* A newer run that failed while it was prepared does not hide the one that can go on. */
static void
a_name_means_the_newest_that_began(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *root = tn_test_tmp_path("begun");
    g_autoptr(TnRunDir) begun = tn_run_create(root, "exp", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_run_put(begun, "provenance.json", "{}", &error));
    g_autofree char *later = g_build_filename(root, "exp", "99991231-235959-ffff", NULL);
    g_autofree char *lock = g_build_filename(later, "lock", NULL);
    TN_ASSERT(g_mkdir(later, 0777) == 0);
    TN_ASSERT(g_file_set_contents(lock, "", 0, &error));
    g_autoptr(TnRunDir) found = tn_run_open(root, "exp", FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_run_path(found), tn_run_path(begun));
}

/* A run that goes on writes what lies beyond its checkpoint again, to the same file. */
static void
metrics_beyond_are_dropped(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnRunDir) run = make_run();
    g_autofree char *path = g_build_filename(tn_run_path(run), "metrics.jsonl", NULL);
    for (guint step = 1; step <= 3; step++) {
        TN_ASSERT(tn_run_metric(run, "loss", step * 10, 0.5, &error));
        TN_ASSERT(tn_run_metric(run, "\"step\":99,\"", step * 10, 0.5, &error));
    }
    TN_ASSERT(tn_run_drop_metrics(run, 99, &error)); /* nothing to do */
    TN_ASSERT(tn_run_drop_metrics(run, 20, &error));
    TN_ASSERT(tn_run_metric(run, "again", 30, 0.25, &error));
    TN_ASSERT(tn_run_drop_metrics(run, 30, &error));
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *text = tn_test_read_file(path, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    static const gint64 expected[] = { 10, 10, 20, 20, 30 };
    TN_REQUIRE(g_strv_length(lines) == 6); /* the last one is empty */
    for (guint i = 0; i < 5; i++) {
        g_autoptr(TnValue) line = tn_json_parse(lines[i], strlen(lines[i]), &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(line, "step")), ==, expected[i]);
    }
    TN_ASSERT_CONTAINS(lines[4], "again");
    TN_ASSERT(tn_run_drop_metrics(run, -1, &error));
    TN_ASSERT_NO_ERROR(error);
    g_autofree char *empty = tn_test_read_file(path, NULL);
    TN_ASSERT_CMPSTR(empty, "");
}

/* In the folder of a run that somebody sent: none leads what is written to another place. */
static void
nothing_through_links(void)
{
    static const char *const early[] = { "lock", "log.txt", "metrics.jsonl", "checkpoints" };
    g_autofree char *root = NULL, *path = NULL, *outside = tn_test_tmp_path("outside");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnStore) store = make_store(1);
    g_autoptr(TnValue) state = make_state(1);
    {
        g_autoptr(TnRunDir) run = make_run();
        path = g_strdup(tn_run_path(run));
        root = g_path_get_dirname(path);
    }
    tn_test_write_file(outside, "half a line", -1);
    for (guint i = 0; i < G_N_ELEMENTS(early); i++) {
        g_autofree char *file = g_build_filename(path, early[i], NULL);
        g_autofree char *moved = g_strconcat(file, ".was", NULL);
        g_autofree char *provenance = g_build_filename(path, "provenance.json", NULL);
        tn_test_write_file(provenance, "{}", -1);
        TN_REQUIRE(g_rename(file, moved) == 0 && symlink(outside, file) == 0);
        TN_ASSERT(tn_run_open(root, path, TRUE, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, file, "is a link");
        TN_REQUIRE(g_unlink(file) == 0 && g_rename(moved, file) == 0);
    }
    g_autoptr(TnRunDir) run = tn_run_open(root, path, TRUE, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *status = g_build_filename(path, "status.json", NULL);
    g_autofree char *file = g_build_filename(path, "checkpoints/000000000007.safetensors", NULL);
    TN_REQUIRE(symlink(outside, status) == 0 && symlink(outside, file) == 0);
    TN_ASSERT(!tn_run_put(run, "status.json", "{}", &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, status, "is a link");
    TN_ASSERT(!tn_checkpoint_save(run, 7, store, state, 0, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, file, "is a link");
    g_autofree char *text = tn_test_read_file(outside, NULL);
    TN_ASSERT_CMPSTR(text, "half a line");
}

static const TnTest tests[] = {
    { "saves and loads", saves_and_loads },
    { "keeps the newest and the pinned", keeps_the_newest_and_the_pinned },
    { "passes over broken ones", passes_over_broken_ones },
    { "refuses what does not fit", refuses_what_does_not_fit },
    { "one writer", one_writer },
    { "a full disk keeps the old one", a_full_disk_keeps_the_old_one },
    { "metrics are lines", metrics_are_lines },
    { "metrics beyond are dropped", metrics_beyond_are_dropped },
    { "half a line is dropped", half_a_line_is_dropped },
    { "nothing through links", nothing_through_links },
    { "a name means the newest that began", a_name_means_the_newest_that_began },
    { "survives failing allocations", survives_failing_allocations },
};
TN_TEST_MAIN("checkpoint", tests)
