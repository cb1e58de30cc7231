// tn-test: timeout=240
/* test_placed_by_hand.c: stages that join a run by `tenon stage`: they may come, leave and be found again,
 * and the weights at the end are those of a single process; who must not come in is told why. */
#include "placed.h"

/* `tenon stage CONFIG map …` by hand. */
static void
begin_stage(TnBackground *child, const char *words)
{
    const char *const env[] = { runtime_env, keys_env, NULL };
    g_autofree char *line = g_strdup_printf("%s stage --threads=1 %s map %s train.epochs=%u",
                                            program, config_path, words, epochs);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    tn_background_start(child, (const char *const *)argv, env);
}

/* --- Who joins by hand ------------------------------------------------------------------------ */

/* A run that awaits its stage at a port, words of the stage in *words. */
static void
begin_awaiting(TnBackground *run, const char *root, const char *more, char **place)
{
    for (guint tries = 0; tries < 5; tries++) {
        *place = g_strdup_printf("tcp://127.0.0.1:%u", tn_test_port());
        g_autofree char *overrides = g_strdup_printf("map.place=%s %s", *place, more);
        begin_run(run, root, overrides);
        if (tn_background_says(run, "is awaited at", 20))
            return;
        g_autofree char *said = tn_background_text(run);
        if (!strstr(said, "in use")) {
            TN_FAIL("it does not wait: %s", said);
            return;
        }
        tn_background_clear(run);
        g_free(*place);
    }
}

/* Two join, one leaves in the middle, by Ctrl-C or without a word. */
static gboolean
one_of_two_leaves(guint way)
{
    g_auto(TnBackground) run = { 0 }, first = { 0 }, second = { 0 };
    g_autofree char *root = tn_test_tmp_path("hand-%u-%u", way, epochs), *place = NULL;
    begin_awaiting(&run, root, "map.insecure=true map.restart=true", &place);
    g_autofree char *words = g_strdup_printf("--connect=%s --insecure", place);
    begin_stage(&first, words);
    /* At once: a quick machine ends the run before one that comes later has begun. Either of the
     * two may have made what there is by then. */
    begin_stage(&second, words);
    TN_ASSERT(tn_background_says(&run, "epoch 2/", 30));
    const gboolean sent = tn_background_kill(&first, way ? SIGKILL : SIGINT);
    TN_ASSERT(tn_background_wait(&first, 5));
    const gboolean killed = way && first.signal == SIGKILL;
    TN_ASSERT_CMPINT(killed ? 0 : first.exit_code, ==, 0);
    ends_with_the_same_bits(&run, root);
    TN_ASSERT(tn_background_wait(&second, 5));
    TN_ASSERT_ENDS(&second, 0);
    return way ? killed : sent;
}

static void
joined_by_hand(void)
{
    for (guint way = 0; way < 2; way++)
        in_time(one_of_two_leaves, way);
}

/* The run is killed and resumed, who joined it by hand finds it again. */
static gboolean
one_finds_it_again(guint way)
{
    g_auto(TnBackground) run = { 0 }, again = { 0 }, stage = { 0 };
    g_autofree char *root = tn_test_tmp_path("again-%u", epochs), *place = NULL;
    (void)way;
    begin_awaiting(&run, root, "map.insecure=true", &place);
    g_autofree char *words = g_strdup_printf("--connect=%s --insecure", place);
    begin_stage(&stage, words);
    TN_ASSERT(tn_background_says(&run, "epoch 2/", 30));
    tn_background_kill(&run, SIGKILL);
    TN_ASSERT(tn_background_wait(&run, 5));
    if (run.signal != SIGKILL) {
        TN_ASSERT_ENDS(&run, 0);
        return FALSE;
    }
    begin(&again, "resume", root, "placed", "");
    ends_with_the_same_bits(&again, root);
    TN_ASSERT_ENDS(&stage, 0);
    return TRUE;
}

static void
found_again_by_hand(void)
{
    in_time(one_finds_it_again, 0);
}

static void
make_key(const char *name)
{
    g_auto(TnBackground) child = { 0 };
    const char *const env[] = { keys_env, NULL };
    const char *const argv[] = { program, "key", "new", name, NULL };
    tn_background_start(&child, argv, env);
    TN_ASSERT_ENDS(&child, 0);
}

/* A stage that must not be let in: it ends with an error that has both words, and the run waits on. */
static void
is_refused(TnBackground *run, const char *words, const char *a, const char *b)
{
    g_auto(TnBackground) stage = { 0 };
    begin_stage(&stage, words);
    TN_ASSERT(tn_background_wait(&stage, 20));
    TN_ASSERT(stage.exit_code == 1 || stage.exit_code == 2);
    g_autofree char *said = tn_background_text(&stage);
    TN_ASSERT_CONTAINS(said, a);
    TN_ASSERT_CONTAINS(said, b);
    TN_ASSERT(!tn_background_wait(run, 0.01));
}

/* With a key: who has another, none, another config or other overrides is told so. */
static void
joined_with_a_key(void)
{
    g_auto(TnBackground) run = { 0 }, stage = { 0 };
    g_autofree char *root = tn_test_tmp_path("key"), *place = NULL;
    make_key("lab");
    make_key("other");
    begin_awaiting(&run, root, "map.key=lab", &place);
    g_autofree char *good = g_strdup_printf("--connect=%s --key=lab", place);
    g_autofree char *wrong = g_strdup_printf("--connect=%s --key=other", place);
    g_autofree char *none = g_strdup_printf("--connect=%s --insecure", place);
    g_autofree char *changed = g_strconcat(good, " seed=12", NULL);
    is_refused(&run, wrong, place, "this side has the key 'other'");
    is_refused(&run, none, place, "this side has no key");
    TN_ASSERT(tn_background_says(&run, "here it is the key 'lab'", 10));
    is_refused(&run, changed, "config: the run's is", "the stage's is");
    begin_stage(&stage, good);
    ends_with_the_same_bits(&run, root);
    TN_ASSERT_ENDS(&stage, 0);
}

/* What a run without a key says to who has one, and to another config; then nobody comes. */
static void
nobody_joins(void)
{
    g_auto(TnBackground) run = { 0 };
    g_autofree char *root = tn_test_tmp_path("nobody"), *place = NULL;
    make_key("unused");
    const gint timeout = 4 * SLACK;
    g_autofree char *more = g_strdup_printf("map.insecure=true map.timeout=%ds", timeout);
    begin_awaiting(&run, root, more, &place);
    g_autofree char *keyed = g_strdup_printf("--connect=%s --key=unused", place);
    is_refused(&run, keyed, place, "refused the connection");
    TN_ASSERT(tn_background_wait(&run, timeout + 10));
    g_autofree char *said = tn_background_text(&run);
    TN_ASSERT_CMPINT(run.exit_code, ==, 1);
    TN_ASSERT_CONTAINS(said, "stage 'map' at tcp://127.0.0.1:");
    TN_ASSERT_CONTAINS(said, "nobody has joined for");
}

static const TnTest tests[] = {
    { "joined by hand", joined_by_hand },
    { "found again by hand", found_again_by_hand },
    { "joined with a key", joined_with_a_key },
    { "nobody joins", nobody_joins },
};
TN_TEST_MAIN_WITH("placed by hand", tests, placed_setup, placed_teardown)
