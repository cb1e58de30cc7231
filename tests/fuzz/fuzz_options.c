/* fuzz_options.c: any text as a value, printed and read again the same; and as the options of a
 * component with a row of every type.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/option.h>

typedef struct {
    gboolean b;
    gint64 i;
    guint64 u, size;
    double d, duration;
    const char *string, *path;
    gint choice;
    guint32 flags;
    TnShape shape;
    TnInts ints;
    TnDoubles doubles;
    TnStrings strings;
    struct {
        gint64 inner;
    } group;
    const TnSpec *component;
    const TnValue *any;
} Everything;

static const char *const choices[] = { "one", "two", "three", NULL };
static const TnOption inner[] = { { .name = "inner", .type = TN_OPT_INT64, .help = "x" } };
#define ROW(n, t) .name = #n, .type = (t), .offset = G_STRUCT_OFFSET(Everything, n), .help = "x"
static const TnOption rows[] = {
    { ROW(b, TN_OPT_BOOL) },
    { ROW(i, TN_OPT_INT64), TN_RANGE_I(-5, G_MAXINT64), .flags = TN_OPTION_POSITIONAL },
    { ROW(u, TN_OPT_UINT64) },
    { ROW(size, TN_OPT_SIZE) },
    { ROW(d, TN_OPT_DOUBLE), TN_RANGE_F(0, 1), .flags = TN_OPTION_OPEN_MAX, .dflt = "0.5" },
    { ROW(duration, TN_OPT_DURATION), .dflt = "\"5s\"" },
    { ROW(string, TN_OPT_STRING), .flags = TN_OPTION_NULLABLE, .was = "text" },
    { ROW(path, TN_OPT_PATH) },
    { ROW(choice, TN_OPT_ENUM), .choices = choices, .dflt = "\"two\"" },
    { ROW(flags, TN_OPT_FLAGS), .choices = choices },
    { ROW(shape, TN_OPT_SHAPE) },
    { ROW(ints, TN_OPT_INTS), .min_items = 0, .max_items = 3 },
    { ROW(doubles, TN_OPT_DOUBLES) },
    { ROW(strings, TN_OPT_STRINGS) },
    { ROW(group, TN_OPT_GROUP), .sub = inner, .n_sub = G_N_ELEMENTS(inner) },
    { ROW(component, TN_OPT_COMPONENT), .iface = "tenon.dataset/1" },
    { ROW(any, TN_OPT_VALUE) },
};
static const TnOptions options = TN_OPTIONS(Everything, rows);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    g_autofree char *text = g_strndup((const char *)bytes, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) value = tn_value_parse(text, &error);
    if (!value != !!error)
        abort();
    if (!value)
        return 0;
    g_autofree char *printed = tn_value_print(value, 0);
    g_autoptr(TnValue) again = tn_value_parse(printed, NULL);
    if (!again || !tn_value_equal(value, again))
        abort();
    if (tn_value_type(value) != TN_VALUE_MAP)
        return 0;
    g_autoptr(GError) why = NULL;
    g_autoptr(TnConfig) config = tn_config_new(&options, value, &why);
    if (!config != !!why)
        abort();
    if (config) {
        g_autoptr(TnValue) resolved = tn_config_to_value(config);
        const Everything *e = tn_config_data(config);
        if (e->i < -5 || e->ints.n > 3 || e->choice < 0 || e->choice > 2 ||
            !(e->d >= 0 && e->d < 1))
            abort();
    }
    return 0;
}
