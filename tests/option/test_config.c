/* test_config.c: option structs from maps: every type at its borders, positions, old names, groups,
 * and every fault with its place. */
#include <math.h>
#include <stddef.h>

#include <tenon/option.h>

#include "tn_test.h"

typedef struct {
    gint64 depth;
    const char *kind;
} Group;

typedef struct {
    gboolean flag;
    gint64 whole;
    guint64 natural;
    double rate;
    const char *name;
    const char *path;
    gint mode;
    guint32 bits;
    double wait;
    guint64 room;
    TnShape shape;
    TnInts ints;
    TnDoubles doubles;
    TnStrings strings;
    Group group;
    const TnSpec *part;
    TnSpecs parts;
    TnSpecs named;
    const TnValue *function;
    const TnValue *value;
    gint64 maybe;
    const char *secret;
} Struct;

static const char *const modes[] = { "sum", "mean", "none", NULL };

static const TnOption group_rows[] = {
    { "depth", TN_OPT_INT64, 0, offsetof(Group, depth), "3", TN_RANGE_I(1, 9) },
    { "kind", TN_OPT_STRING, 0, offsetof(Group, kind), "plain" },
};

static const TnOption rows[] = {
    { "flag", TN_OPT_BOOL, 0, offsetof(Struct, flag), "true" },
    { "whole", TN_OPT_INT64, TN_OPTION_POSITIONAL, offsetof(Struct, whole), "5",
      TN_RANGE_I(G_MININT64, G_MAXINT64) },
    { "natural", TN_OPT_UINT64, 0, offsetof(Struct, natural), .min.i = 0, .max.i = -1 },
    { "rate", TN_OPT_DOUBLE, TN_OPTION_OPEN_MIN | TN_OPTION_POSITIONAL, offsetof(Struct, rate),
      "1e-3", TN_RANGE_F(0, 1), .was = "lr" },
    { "name", TN_OPT_STRING, 0, offsetof(Struct, name), "12" },
    { "path", TN_OPT_PATH, 0, offsetof(Struct, path) },
    { "mode", TN_OPT_ENUM, 0, offsetof(Struct, mode), "mean", .choices = modes },
    { "bits", TN_OPT_FLAGS, 0, offsetof(Struct, bits), "sum|none", .choices = modes },
    { "wait", TN_OPT_DURATION, 0, offsetof(Struct, wait), "1min" },
    { "room", TN_OPT_SIZE, 0, offsetof(Struct, room), "64KiB", .min.i = 0, .max.i = -1 },
    { "shape", TN_OPT_SHAPE, 0, offsetof(Struct, shape), "{-1, 28, 28}" },
    { "ints", TN_OPT_INTS, 0, offsetof(Struct, ints), "{1}", TN_RANGE_I(0, 100), .min_items = 1,
      .max_items = 3 },
    { "doubles", TN_OPT_DOUBLES, 0, offsetof(Struct, doubles) },
    { "strings", TN_OPT_STRINGS, 0, offsetof(Struct, strings), "{a, b}" },
    { "group", TN_OPT_GROUP, 0, offsetof(Struct, group), .sub = group_rows,
      .n_sub = G_N_ELEMENTS(group_rows) },
    { "part", TN_OPT_COMPONENT, 0, offsetof(Struct, part), .iface = "tenon.part/1" },
    { "parts", TN_OPT_COMPONENTS, 0, offsetof(Struct, parts), .iface = "tenon.part/1" },
    { "named", TN_OPT_COMPONENT_MAP, 0, offsetof(Struct, named), .iface = "tenon.part/1" },
    { "function", TN_OPT_FUNCTION, 0, offsetof(Struct, function) },
    { "value", TN_OPT_VALUE, 0, offsetof(Struct, value) },
    { "maybe", TN_OPT_INT64, TN_OPTION_NULLABLE, offsetof(Struct, maybe) },
    { "secret", TN_OPT_STRING, TN_OPTION_SECRET, offsetof(Struct, secret) },
};
static const TnOptions options = TN_OPTIONS(Struct, rows);

/* --- Help ------------------------------------------------------------------------------------- */

/* (transfer full), NULL with its faults in *faults otherwise. */
static TnConfig *
parse(const char *text, TnFaults *faults)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) map = tn_value_parse(text, &error);
    TN_REQUIRE_NO_ERROR(error);
    return tn_config_parse(&options, map, NULL, (TnWhere){ NULL, 0 }, "/base", faults);
}

/* The text is refused with one fault, which says `part`. */
static void
assert_fault(const char *text, const char *part)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnConfig) config = parse(text, faults);
    TN_ASSERT(config == NULL);
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, 1);
    TN_ASSERT_CONTAINS(tn_faults_text(faults, 0), part);
}

#define GOOD(config, text)                                                                         \
    g_autoptr(TnFaults) config##_faults = tn_faults_new();                                         \
    g_autoptr(TnConfig) config##_config = parse(text, config##_faults);                            \
    if (tn_faults_count(config##_faults) > 0)                                                      \
        TN_FAIL("%s: %s", text, tn_faults_text(config##_faults, 0));                               \
    TN_REQUIRE(config##_config != NULL);                                                           \
    const Struct *config = tn_config_data(config##_config)

/* --- Values ----------------------------------------------------------------------------------- */

static void
defaults(void)
{
    GOOD(s, "{}");
    TN_ASSERT(s->flag);
    TN_ASSERT_CMPINT(s->whole, ==, 5);
    TN_ASSERT_CMPUINT(s->natural, ==, 0);
    TN_ASSERT_CMPFLOAT(s->rate, ==, 1e-3);
    TN_ASSERT_CMPSTR(s->name, "12"); /* text, although it looks like a number */
    TN_ASSERT(s->path == NULL);
    TN_ASSERT_CMPINT(s->mode, ==, 1);
    TN_ASSERT_CMPUINT(s->bits, ==, 5);
    TN_ASSERT_CMPFLOAT(s->wait, ==, 60);
    TN_ASSERT_CMPUINT(s->room, ==, 65536);
    TN_ASSERT(s->shape.rank == 3 && s->shape.dims[0] == -1 && s->shape.dims[2] == 28);
    TN_ASSERT(s->ints.n == 1 && s->ints.v[0] == 1);
    TN_ASSERT_CMPINT(s->doubles.n, ==, 0);
    TN_ASSERT(s->strings.n == 2 && g_str_equal(s->strings.v[1], "b"));
    TN_ASSERT_CMPINT(s->group.depth, ==, 3);
    TN_ASSERT_CMPSTR(s->group.kind, "plain");
    TN_ASSERT(s->part == NULL && s->parts.n == 0 && s->named.n == 0 && s->value == NULL);
    TN_ASSERT(!tn_config_is_set(s_config, "whole"));
    g_autoptr(GError) error = NULL;
    g_autoptr(TnConfig) again = tn_config_new(&options, NULL, &error);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPINT(((const Struct *)tn_config_data(again))->whole, ==, 5);
}

static void
integers(void)
{
    GOOD(a, "{whole = 9223372036854775807, natural = 18446744073709551615}");
    TN_ASSERT_CMPINT(a->whole, ==, G_MAXINT64);
    TN_ASSERT_CMPUINT(a->natural, ==, G_MAXUINT64);
    TN_ASSERT(tn_config_is_set(a_config, "whole"));
    GOOD(b, "{whole = -9223372036854775808, natural = 1e3}");
    TN_ASSERT_CMPINT(b->whole, ==, G_MININT64);
    TN_ASSERT_CMPUINT(b->natural, ==, 1000);
    assert_fault("{whole = 9223372036854775808}", "whole: expected an integer");
    assert_fault("{whole = 1.5}", "got 1.5");
    assert_fault("{whole = inf}", "got inf");
    assert_fault("{whole = nan}", "got nan");
    assert_fault("{whole = 1e300}", "got 1e+300");
    assert_fault("{whole = \"5\"}", "got string \"5\"");
    assert_fault("{whole = true}", "got true");
    assert_fault("{natural = -1}", "expected an integer of 0 or more");
    assert_fault("{natural = 18446744073709551616}", "natural");
    assert_fault("{natural = -0.5}", "got -0.5");
    assert_fault("{ints = {1, 101}}", "ints[2]: expected an integer in [0, 100], got 101");
    assert_fault("{ints = {-1}}", "ints[1]");
    assert_fault("{ints = {}}",
                 "expected a list of integers in [0, 100], 1 to 3 items, got a list of 0");
    assert_fault("{ints = {1, 2, 3, 4}}", "got a list of 4");
    GOOD(c, "{ints = 7}"); /* one alone */
    TN_ASSERT(c->ints.n == 1 && c->ints.v[0] == 7);
}

static void
reals(void)
{
    GOOD(a, "{rate = 1, doubles = {1, -2.5, inf}}");
    TN_ASSERT_CMPFLOAT(a->rate, ==, 1);
    TN_ASSERT(a->doubles.n == 3 && a->doubles.v[1] == -2.5 && isinf(a->doubles.v[2]));
    assert_fault("{rate = 0}", "rate: expected a number in (0, 1], got 0");
    assert_fault("{rate = 1.0000000001}", "in (0, 1]");
    assert_fault("{rate = nan}", "got nan");
    assert_fault("{rate = \"fast\"}", "got string \"fast\"");
    assert_fault("{doubles = {1, x}}", "doubles[2]: expected a number, got string \"x\"");
    g_autofree char *many = g_strnfill(33 * 2, '1');
    for (guint i = 1; i < 33 * 2; i += 2)
        many[i] = ',';
    g_autofree char *text = g_strdup_printf("{doubles = {%s}}", many);
    assert_fault(text, "got a list of 33");
}

static void
words(void)
{
    GOOD(a, "{name = x, mode = none, bits = \"sum | mean\", path = \"x/../y.txt\", strings = {q}}");
    TN_ASSERT_CMPSTR(a->name, "x");
    TN_ASSERT_CMPINT(a->mode, ==, 2);
    TN_ASSERT_CMPUINT(a->bits, ==, 3);
    TN_ASSERT_CMPSTR(a->path, "/base/y.txt");
    TN_ASSERT(a->strings.n == 1 && g_str_equal(a->strings.v[0], "q"));
    GOOD(b, "{path = \"/abs/z\", bits = {}, strings = {}}");
    TN_ASSERT_CMPSTR(b->path, "/abs/z");
    TN_ASSERT_CMPUINT(b->bits, ==, 0);
    TN_ASSERT_CMPINT(b->strings.n, ==, 0);
    GOOD(c, "{bits = {mean, none}}");
    TN_ASSERT_CMPUINT(c->bits, ==, 6);
    assert_fault("{mode = maen}",
                 "mode: expected one of sum, mean, none, got string \"maen\" (nearest: mean)");
    assert_fault("{mode = 1}", "got 1");
    assert_fault("{bits = {sum, smu}}", "nearest: sum");
    assert_fault("{bits = 5}", "expected any of sum, mean, none");
    assert_fault("{path = \"\"}", "expected a path");
    assert_fault("{name = 5}", "expected a string, got 5");
    assert_fault("{flag = 1}", "expected true or false, got 1");
    assert_fault("{flag = yes}", "got string \"yes\"");
}

static void
quantities(void)
{
    static const struct {
        const char *text;
        double seconds;
    } durations[] = { { "500ms", 0.5 },    { "1.5s", 1.5 },  { "2min", 120 },
                      { "1h", 3600 },      { "1d", 86400 },  { "\"3 ms\"", 0.003 },
                      { "250us", 250e-6 }, { "1.25", 1.25 }, { "7", 7 },
                      { "0", 0 } };
    for (guint i = 0; i < G_N_ELEMENTS(durations); i++) {
        g_autofree char *text = g_strdup_printf("{wait = %s}", durations[i].text);
        GOOD(s, text);
        TN_ASSERT_CMPFLOAT(s->wait, ==, durations[i].seconds);
    }
    static const struct {
        const char *text;
        guint64 bytes;
    } sizes[] = { { "64KiB", 65536 },
                  { "\"2 GB\"", 2000000000 },
                  { "1kB", 1000 },
                  { "1.5MiB", 1572864 },
                  { "100", 100 },
                  { "0B", 0 },
                  { "16777215TiB", 16777215ull << 40 },
                  { "18446744073709551615", G_MAXUINT64 },
                  { "18446744073709551615B", G_MAXUINT64 } };
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *text = g_strdup_printf("{room = %s}", sizes[i].text);
        GOOD(s, text);
        TN_ASSERT_CMPUINT(s->room, ==, sizes[i].bytes);
    }
    static const char *const bad_durations[] = { "5 parsecs", "ms",     "-1s", "-1",
                                                 "nan",       "1e999s", "1s2", "{}" };
    for (guint i = 0; i < G_N_ELEMENTS(bad_durations); i++) {
        g_autofree char *text = g_strdup_printf("{wait = %s}", bad_durations[i]);
        assert_fault(text, "wait: expected a duration");
    }
    static const char *const bad_sizes[] = { "5 QB", "-1",          "-1kB",
                                             "1.5",  "16777216TiB", "2e10TiB",
                                             "KiB",  "inf",         "18446744073709551616B" };
    for (guint i = 0; i < G_N_ELEMENTS(bad_sizes); i++) {
        g_autofree char *text = g_strdup_printf("{room = %s}", bad_sizes[i]);
        assert_fault(text, "room: expected a size");
    }
}

static void
shapes(void)
{
    GOOD(a, "{shape = {}}");
    TN_ASSERT_CMPINT(a->shape.rank, ==, 0);
    GOOD(b, "{shape = {1,2,3,4,5,6,7,9223372036854775807}}");
    TN_ASSERT(b->shape.rank == 8 && b->shape.dims[7] == G_MAXINT64);
    assert_fault("{shape = {1,2,3,4,5,6,7,8,9}}", "expected a list of at most 8 sizes");
    assert_fault("{shape = {3, -2}}", "shape[2]: expected an integer in [-1, inf), got -2");
    assert_fault("{shape = {a = 1}}", "got a table");
}

/* --- Components ------------------------------------------------------------------------------- */

static TnValue *
spec(const char *iface, const char *component)
{
    return tn_value_spec(tn_spec_new(iface, component, (TnWhere){ NULL, 0 }));
}

static void
components(void)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnValue) map = tn_value_map();
    TnValue *list = tn_value_list(), *named = tn_value_map();
    tn_value_push(list, spec("tenon.part/1", "one"));
    tn_value_push(list, tn_value_string("two"));
    tn_value_set(named, "x", spec("tenon.part/1", "three"));
    tn_value_set(named, "y", spec("tenon.part/1", "four"));
    tn_value_set(map, "part", spec("tenon.part/1", "zero"));
    tn_value_set(map, "parts", list);
    tn_value_set(map, "named", named);
    tn_value_set(map, "function", tn_value_func(faults, NULL));
    tn_value_set(map, "value", tn_value_parse("{1, {2}}", NULL));
    TnConfig *config = tn_config_parse(&options, map, NULL, (TnWhere){ NULL, 0 }, NULL, faults);
    TN_REQUIRE(config != NULL);
    const Struct *s = tn_config_data(config);
    TN_ASSERT_CMPSTR(tn_spec_component(s->part), "zero");
    TN_ASSERT(s->parts.n == 2 && s->parts.names == NULL);
    TN_ASSERT_CMPSTR(tn_spec_component(s->parts.v[1]), "two"); /* a name alone will do */
    TN_ASSERT_CMPSTR(tn_spec_iface(s->parts.v[1]), "tenon.part/1");
    TN_ASSERT(s->named.n == 2 && g_str_equal(s->named.names[1], "y"));
    TN_ASSERT_CMPSTR(tn_spec_component(s->named.v[1]), "four");
    TN_ASSERT(tn_value_get_func(s->function) == faults);
    TN_ASSERT_CMPUINT(tn_value_len(s->value), ==, 2);
    g_autoptr(TnValue) resolved = tn_config_to_value(config);
    TN_ASSERT_CMPSTR(tn_spec_component(tn_value_get_spec(tn_value_find(resolved, "named.x", NULL))),
                     "three");
    tn_config_unref(config);

    tn_value_set(map, "part", spec("tenon.other/1", "zero"));
    tn_value_set(map, "function", tn_value_int(1));
    TN_ASSERT(!tn_config_parse(&options, map, "root", (TnWhere){ NULL, 0 }, NULL, faults));
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, 2);
    TN_ASSERT_CMPSTR(tn_faults_text(faults, 0),
                     "root.part: expected a component of tenon.part/1, got component zero of "
                     "tenon.other/1");
    TN_ASSERT_CONTAINS(tn_faults_text(faults, 1), "root.function: expected a function, got 1");
}

/* A value of a search stands for any option. */
static void
search(void)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnValue) map = tn_value_map();
    tn_value_set(map, "whole", spec("tenon.search/1", "log"));
    tn_value_set(map, "group", spec("tenon.search/1", "choice"));
    g_autoptr(TnConfig) config =
        tn_config_parse(&options, map, NULL, (TnWhere){ NULL, 0 }, NULL, faults);
    TN_REQUIRE(config != NULL);
    const Struct *s = tn_config_data(config);
    TN_ASSERT_CMPINT(s->whole, ==, 5);
    TN_ASSERT_CMPINT(s->group.depth, ==, 3);
}

/* --- Names and positions ---------------------------------------------------------------------- */

static void
groups(void)
{
    GOOD(a, "{group = {depth = 9}}");
    TN_ASSERT_CMPINT(a->group.depth, ==, 9);
    TN_ASSERT_CMPSTR(a->group.kind, "plain");
    TN_ASSERT(tn_config_is_set(a_config, "group.depth") && tn_config_is_set(a_config, "group"));
    TN_ASSERT(!tn_config_is_set(a_config, "group.kind"));
    assert_fault("{group = {depht = 9}}",
                 "group.depht: expected the name of an option, got \"depht\" (nearest: depth)");
    assert_fault("{group = {depth = 10}}", "group.depth: expected an integer in [1, 9], got 10");
    assert_fault("{group = 5}", "group: expected a table of options, got 5");
}

static void
positions(void)
{
    GOOD(a, "{8, 0.5, name = n}");
    TN_ASSERT_CMPINT(a->whole, ==, 8);
    TN_ASSERT_CMPFLOAT(a->rate, ==, 0.5);
    GOOD(b, "{8}");
    TN_ASSERT_CMPINT(b->whole, ==, 8);
    TN_ASSERT(tn_config_is_set(b_config, "whole") && !tn_config_is_set(b_config, "rate"));
    assert_fault("{8, 0.5, 3}", "expected at most 2 values without a name, got number 3");
    assert_fault("{8, whole = 9}", "whole: expected one value, got another named whole");
    assert_fault("{8, x}", "rate: expected a number in (0, 1]");
}

static void
old_names(void)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnConfig) config = parse("{lr = 0.25}", faults);
    TN_REQUIRE(config != NULL);
    TN_ASSERT_CMPFLOAT(((const Struct *)tn_config_data(config))->rate, ==, 0.25);
    TN_ASSERT(tn_config_is_set(config, "rate"));
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, 0);
    TN_ASSERT_CMPUINT(tn_faults_n_notices(faults), ==, 1);
    TN_ASSERT_CMPSTR(tn_faults_notice_text(faults, 0),
                     "rate: this is the new name of lr, which is still accepted");
    assert_fault("{lr = 0.25, rate = 0.5}", "rate: expected one value, got another named rate");
    TN_ASSERT(tn_options_find(&options, "lr") == tn_options_find(&options, "rate"));
    TN_ASSERT(tn_options_find(&options, "nothing") == NULL);
}

/* --- Faults ----------------------------------------------------------------------------------- */

static void
every_fault(void)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnValue) map =
        tn_value_parse("{whole = x, rate = 2, nmae = y, group = {depth = 0, knid = 1}}", NULL);
    static const gint lines[] = { 9, 4, 12 };
    const char *file = g_intern_static_string("config.lua");
    for (guint i = 0; i < 3; i++)
        tn_value_set_where(tn_value_at(map, i), (TnWhere){ file, lines[i] });
    tn_value_set_where(tn_value_get(map, "group"), (TnWhere){ file, 6 });
    g_autoptr(TnConfig) config =
        tn_config_parse(&options, map, "model.layers[3]", (TnWhere){ file, 2 }, NULL, faults);
    TN_ASSERT(config == NULL);
    static const char *const expected[] = {
        "config.lua:4: model.layers[3].rate: expected a number in (0, 1], got 2",
        "config.lua:6: model.layers[3].group.depth: expected an integer in [1, 9], got 0",
        "config.lua:6: model.layers[3].group.knid: expected the name of an option, got \"knid\" "
        "(nearest: kind)",
        "config.lua:9: model.layers[3].whole: expected an integer in (-inf, inf), got string \"x\"",
        "config.lua:12: model.layers[3].nmae: expected the name of an option, got \"nmae\" "
        "(nearest: name)",
    };
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, G_N_ELEMENTS(expected));
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++)
        TN_ASSERT_CMPSTR(tn_faults_text(faults, i), expected[i]);
    TN_ASSERT(tn_faults_text(faults, 5) == NULL);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_faults_to_error(faults, &error));
    g_autofree char *all =
        g_strjoinv("\n", (char **)(const char *[]){ expected[0], expected[1], expected[2],
                                                    expected[3], expected[4], NULL });
    TN_ASSERT_CMPSTR(error->message, all);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG);
}

static void
required(void)
{
    static const TnOption needed[] = {
        { "a", TN_OPT_INT64, TN_OPTION_REQUIRED, 0 },
        { "b", TN_OPT_STRING, TN_OPTION_REQUIRED, 8 },
    };
    static const TnOptions two = { 16, sizeof(TnOption), 2, needed };
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_config_new(&two, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "a: expected an integer, got nothing\n",
                    "b: expected a string, got nothing");
    g_autoptr(TnValue) wrong = tn_value_int(3);
    TN_ASSERT(tn_config_new(&two, wrong, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "expected a table of options, got 3");
    static const TnOptions empty = { 0 };
    g_autoptr(TnConfig) config = tn_config_new(&empty, NULL, &error);
    TN_ASSERT(config != NULL);
    g_autoptr(TnValue) map = tn_value_parse("{x = 1}", NULL);
    TN_ASSERT(tn_config_new(&empty, map, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "x: expected the name of an option");
}

static void
no_faults(void)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(GError) error = NULL;
    TN_ASSERT(!tn_faults_to_error(faults, &error));
    TN_ASSERT_NO_ERROR(error);
    tn_faults_notice(faults, (TnWhere){ NULL, 0 }, NULL, "only a notice");
    TN_ASSERT(!tn_faults_to_error(faults, &error));
}

/* --- Back to values --------------------------------------------------------------------------- */

static void
resolved(void)
{
    GOOD(s, "{whole = 9, secret = hush, maybe = 4, mode = sum}");
    (void)s;
    g_autoptr(TnValue) map = tn_config_to_value(s_config);
    g_autofree char *text = tn_value_print(map, -1);
    TN_ASSERT_CMPSTR(text,
                     "{ flag = true, whole = 9, natural = 0, rate = 0.001, name = \"12\", mode = "
                     "\"sum\", bits = { \"sum\", \"none\" }, wait = 60.0, room = 65536, shape = { "
                     "-1, 28, 28 }, ints = { 1 }, doubles = {}, strings = { \"a\", \"b\" }, group "
                     "= { depth = 3, kind = \"plain\" }, parts = {}, named = {}, maybe = 4, secret "
                     "= \"***\" }");
    GOOD(t, "{}");
    (void)t;
    g_autoptr(TnValue) plain = tn_config_to_value(t_config);
    TN_ASSERT(tn_value_get(plain, "maybe") == NULL); /* null is not 0 */
    tn_value_set(plain, "secret", tn_value_nil());
    /* What is resolved may be given again. */
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnConfig) again =
        tn_config_parse(&options, plain, NULL, (TnWhere){ NULL, 0 }, NULL, faults);
    TN_REQUIRE(again != NULL);
    g_autoptr(TnValue) twice = tn_config_to_value(again);
    tn_value_set(twice, "secret", tn_value_nil());
    g_autofree char *once = tn_value_print(plain, -1), *again_text = tn_value_print(twice, -1);
    TN_ASSERT_CMPSTR(once, again_text);
    TN_ASSERT(tn_value_equal(plain, twice));
}

static void
secrets_stay_secret(void)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnConfig) config = parse("{secret = 12345}", faults);
    TN_ASSERT(config == NULL);
    TN_ASSERT_CONTAINS(tn_faults_text(faults, 0), "got ***");
    TN_ASSERT(strstr(tn_faults_text(faults, 0), "12345") == NULL);
}

static void
described(void)
{
    static const struct {
        const char *name, *text;
    } expected[] = {
        { "flag", "bool, default true" },
        { "rate", "double in (0, 1], default 1e-3" },
        { "natural", "uint64 in [0, inf)" },
        { "name", "string, default \"12\"" },
        { "mode", "one of sum, mean, none, default mean" },
        { "wait", "duration, default 1min" },
        { "ints", "list of int64 in [0, 100], 1 to 3 items, default {1}" },
        { "part", "component of tenon.part/1" },
        { "maybe", "int64, optional" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autofree char *text = tn_option_describe(tn_options_find(&options, expected[i].name));
        TN_ASSERT_CMPSTR(text, expected[i].text);
    }
    static const TnOption samples = { .name = "n",
                                      .type = TN_OPT_INT64,
                                      .flags = TN_OPTION_REQUIRED,
                                      TN_RANGE_I(1, G_MAXINT64),
                                      .unit = "samples" };
    g_autofree char *text = tn_option_describe(&samples);
    TN_ASSERT_CMPSTR(text, "int64 in [1, inf), required, in samples");
}

/* A plugin that was compiled when rows had more members than now. */
static void
longer_rows(void)
{
    struct {
        TnOption row;
        gint64 later;
    } table[2] = { { rows[0], 1 }, { rows[1], 2 } };
    const TnOptions grown = { sizeof(Struct), sizeof table[0], 2, &table[0].row };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnConfig) config = tn_config_new(&grown, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_options_row(&grown, 1)->name, "whole");
    TN_ASSERT_CMPINT(((const Struct *)tn_config_data(config))->whole, ==, 5);
}

static const TnTest tests[] = {
    { "defaults", defaults },     { "integers", integers },
    { "reals", reals },           { "words", words },
    { "quantities", quantities }, { "shapes", shapes },
    { "components", components }, { "search", search },
    { "groups", groups },         { "positions", positions },
    { "old-names", old_names },   { "every-fault", every_fault },
    { "required", required },     { "no-faults", no_faults },
    { "resolved", resolved },     { "secrets-stay-secret", secrets_stay_secret },
    { "described", described },   { "longer-rows", longer_rows },
};
TN_TEST_MAIN("config", tests)
