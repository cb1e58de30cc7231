/* expect.c: what a row accepts, in words: for messages and for help. */
#include <math.h>

#include "option/option-private.h"

/* One line of words a type. */
typedef struct {
    const char *type;  /* as help names it */
    const char *words; /* as a message says what is expected */
} TypeWords;

static const TypeWords words[] = {
    [TN_OPT_BOOL] = { "bool", "true or false" },
    [TN_OPT_INT64] = { "int64", "an integer" },
    [TN_OPT_UINT64] = { "uint64", "an integer of 0 or more" },
    [TN_OPT_DOUBLE] = { "double", "a number" },
    [TN_OPT_STRING] = { "string", "a string" },
    [TN_OPT_PATH] = { "path", "a path" },
    [TN_OPT_ENUM] = { "one", "one" },
    [TN_OPT_FLAGS] = { "any", "any" },
    [TN_OPT_DURATION] = { "duration", "a duration such as 1.5 (seconds), \"500ms\" or \"2min\"" },
    [TN_OPT_SIZE] = { "size", "a size such as 4096 (bytes), \"64KiB\" or \"2 GB\"" },
    [TN_OPT_SHAPE] = { "shape", "a list of at most 8 sizes, each -1 or more" },
    [TN_OPT_INTS] = { "list of int64", "a list of integers" },
    [TN_OPT_DOUBLES] = { "list of double", "a list of numbers" },
    [TN_OPT_STRINGS] = { "list of strings", "a list of strings" },
    [TN_OPT_GROUP] = { "table", "a table" },
    [TN_OPT_COMPONENT] = { "component", "a component" },
    [TN_OPT_COMPONENTS] = { "list of components", "a list of components" },
    [TN_OPT_COMPONENT_MAP] = { "table of components", "a table of named components" },
    [TN_OPT_FUNCTION] = { "function", "a function" },
    [TN_OPT_VALUE] = { "value", "a value" },
    [TN_OPT_TENSOR] = { "tensor", "a tensor" },
    [TN_OPT_GRAPH] = { "graph", "a graph" },
};

static const TypeWords *
words_of(const TnOption *row)
{
    static const TypeWords unknown = { "unknown", "nothing that this version knows" };
    return (guint)row->type < G_N_ELEMENTS(words) && words[row->type].type ? &words[row->type]
                                                                           : &unknown;
}

static gboolean
is_natural(const TnOption *row)
{
    return row->type == TN_OPT_UINT64 || row->type == TN_OPT_SIZE;
}

static gboolean
is_real(const TnOption *row)
{
    return row->type == TN_OPT_DOUBLE || row->type == TN_OPT_DURATION ||
           row->type == TN_OPT_DOUBLES;
}

static gboolean
is_bounded(const TnOption *row)
{
    return is_real(row) ? row->min.f != row->max.f : row->min.i != row->max.i;
}

/* An end at the type's own limit reads as infinity, which is never a member. */
static void
print_bound(GString *text, const TnOption *row, TnNumber bound)
{
    char buffer[TN_NUMBER_TEXT];
    if (is_real(row) && fabs(bound.f) == G_MAXDOUBLE)
        g_string_append(text, bound.f < 0 ? "-inf" : "inf");
    else if (is_real(row))
        g_string_append(text, tn_print_float(bound.f, TN_DTYPE_F64, buffer));
    else if (is_natural(row) && (guint64)bound.i == G_MAXUINT64)
        g_string_append(text, "inf");
    else if (is_natural(row))
        g_string_append_printf(text, "%" G_GUINT64_FORMAT, (guint64)bound.i);
    else if (bound.i == G_MAXINT64 || bound.i == G_MININT64)
        g_string_append(text, bound.i < 0 ? "-inf" : "inf");
    else
        g_string_append_printf(text, "%" G_GINT64_FORMAT, bound.i);
}

char *
tn_option_range(const TnOption *row)
{
    if (!is_bounded(row))
        return NULL;
    GString *low = g_string_new(NULL), *high = g_string_new(NULL);
    print_bound(low, row, row->min);
    print_bound(high, row, row->max);
    const gboolean open_low = (row->flags & TN_OPTION_OPEN_MIN) || g_str_equal(low->str, "-inf");
    const gboolean open_high = (row->flags & TN_OPTION_OPEN_MAX) || g_str_equal(high->str, "inf");
    char *range = g_strdup_printf("%c%s, %s%c", open_low ? '(' : '[', low->str, high->str,
                                  open_high ? ')' : ']');
    g_string_free(low, TRUE);
    g_string_free(high, TRUE);
    return range;
}

/* What follows the type's words: range, choices, number of items, interface. */
static void
print_rest(GString *text, const TnOption *row)
{
    g_autofree char *range = tn_option_range(row);
    if (range)
        g_string_append_printf(text, " in %s", range);
    for (gint i = 0; row->choices && row->choices[i]; i++)
        g_string_append_printf(text, "%s%s", i == 0 ? " of " : ", ", row->choices[i]);
    if (row->iface)
        g_string_append_printf(text, " of %s", row->iface);
    if (row->min_items == row->max_items && row->max_items > 0)
        g_string_append_printf(text, ", %d items", row->max_items);
    else if (row->max_items > 0)
        g_string_append_printf(text, ", %d to %d items", row->min_items, row->max_items);
    else if (row->min_items > 0)
        g_string_append_printf(text, ", %d items or more", row->min_items);
}

char *
tn_option_expected(const TnOption *row)
{
    GString *text = g_string_new(words_of(row)->words);
    print_rest(text, row);
    if (row->flags & TN_OPTION_NULLABLE)
        g_string_append(text, ", or nothing");
    return g_string_free(text, FALSE);
}

char *
tn_option_describe(const TnOption *row)
{
    GString *text = g_string_new(words_of(row)->type);
    print_rest(text, row);
    const gboolean quoted = row->dflt && (row->type == TN_OPT_STRING || row->type == TN_OPT_PATH);
    if (row->flags & TN_OPTION_REQUIRED)
        g_string_append(text, ", required");
    else if (quoted && *row->dflt != '"' && *row->dflt != '\'')
        g_string_append_printf(text, ", default \"%s\"", row->dflt);
    else if (row->dflt)
        g_string_append_printf(text, ", default %s", row->dflt);
    else if (row->flags & TN_OPTION_NULLABLE)
        g_string_append(text, ", optional");
    if (row->unit)
        g_string_append_printf(text, ", in %s", row->unit);
    return g_string_free(text, FALSE);
}
