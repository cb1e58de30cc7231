/* fill.c: a struct from a map of options: defaults, names new and old, positions, groups. */
#include <string.h>

#include "option/option-private.h"

/* One level of options: the component's, or a group's. */
typedef struct {
    TnFill *fill;
    const TnOptions *options;
    const TnValue *map; /* a map, a list of positional values, or NULL */
    TnWhere where;
    const char *path;  /* of this level, for faults */
    const char *group; /* dotted name of the group in the component; NULL at its top */
    const TnGiven *given;
    char *data;
    gboolean *used; /* per item of map */
} Level;

static void fill_level(Level *level);

static TnWhere
place_of(const Level *level, const TnValue *value)
{
    const TnWhere where = tn_value_where(value);
    return where.line > 0 || where.file ? where : level->where;
}

static void
remember(const Level *level, GHashTable *set, const TnOption *row)
{
    if (set)
        g_hash_table_add(set, tn_path_key(level->group, row->name));
}

/* --- Finding a row's value -------------------------------------------------------------------- */

/* The row's number among positional ones, from 1; 0 if it has none. */
static guint
position_of(const Level *level, const TnOption *row)
{
    guint position = 0;
    for (guint32 i = 0; i < level->options->n; i++) {
        const TnOption *other = tn_options_row(level->options, i);
        position += other->flags & TN_OPTION_POSITIONAL ? 1 : 0;
        if (other == row)
            return other->flags & TN_OPTION_POSITIONAL ? position : 0;
    }
    return 0;
}

/* The number of item i as a positional value, from 1; 0 if it has a name. */
static guint64
position_at(const TnValue *map, gsize i)
{
    const char *key = tn_value_key_at(map, i);
    char *end = NULL;
    if (!key)
        return (guint64)i + 1;
    const guint64 position = g_ascii_isdigit(*key) ? g_ascii_strtoull(key, &end, 10) : 0;
    return end && !*end ? position : 0;
}

/* Every way in which item i may be meant for the row. */
static gboolean
is_meant(const Level *level, const TnOption *row, guint position, gsize i)
{
    const char *key = tn_value_key_at(level->map, i);
    if (key && (strcmp(key, row->name) == 0 || g_strcmp0(row->was, key) == 0))
        return TRUE;
    return position > 0 && position_at(level->map, i) == position;
}

/* The value given for the row, or NULL. Old names get a notice, a second value is a fault. */
static const TnValue *
find_value(Level *level, const TnOption *row)
{
    const TnValue *found = NULL;
    const guint position = position_of(level, row);
    for (gsize i = 0; i < tn_value_len(level->map); i++) {
        const TnValue *value = tn_value_at(level->map, i);
        const char *key = tn_value_key_at(level->map, i);
        if (level->used[i] || !is_meant(level, row, position, i))
            continue;
        level->used[i] = TRUE;
        g_autofree char *path = tn_path_key(level->path, row->name);
        const TnWhere where = place_of(level, value);
        const guint64 at = position_at(level->map, i);
        if (found && at > 0)
            tn_faults_add(level->fill->faults, where, path,
                          "expected one value, got another without a name, number "
                          "%" G_GUINT64_FORMAT,
                          at);
        else if (found)
            tn_faults_add(level->fill->faults, where, path,
                          "expected one value, got another named %s", key);
        else if (at == 0 && strcmp(key, row->name) != 0)
            tn_faults_notice(level->fill->faults, where, path,
                             "this is the new name of %s, which is still accepted", key);
        found = found ? found : value;
    }
    return tn_value_type(found) == TN_VALUE_NIL ? NULL : found;
}

/* A value of a search, which stands for any option until it is drawn. */
static gboolean
is_search(const TnValue *value)
{
    const TnSpec *spec = tn_value_get_spec(value);
    return spec && g_str_has_prefix(tn_spec_iface(spec), "tenon.search/");
}

/* --- One row ---------------------------------------------------------------------------------- */

static void
fill_group(Level *level, const TnOption *row, const TnValue *value, const char *path)
{
    const TnOptions sub = tn_option_sub(row, level->options->row_size);
    g_autofree char *group = tn_path_key(level->group, row->name);
    Level inner = { level->fill, &sub,  value,        place_of(level, value),
                    path,        group, level->given, level->data + row->offset,
                    NULL };
    fill_level(&inner);
}

/* What a row has when the map says nothing of it. */
static void
fill_default(Level *level, const TnOption *row, const char *path)
{
    if (row->type == TN_OPT_GROUP && !(row->flags & TN_OPTION_NULLABLE)) {
        fill_group(level, row, NULL, path);
        return;
    }
    g_autoptr(TnValue) value = tn_option_default(row);
    if (value && tn_value_type(value) != TN_VALUE_NIL && row->type != TN_OPT_GROUP)
        (void)tn_convert(level->fill, row, value, level->where, path, level->data + row->offset);
    else if (row->flags & TN_OPTION_NULLABLE)
        remember(level, level->given->null, row);
}

static void
fill_row(Level *level, const TnOption *row)
{
    g_autofree char *path = tn_path_key(level->path, row->name);
    const TnValue *value = find_value(level, row);
    if (value)
        remember(level, level->given->given, row);
    if (value && !is_search(value)) {
        if (row->type == TN_OPT_GROUP)
            fill_group(level, row, value, path);
        else
            (void)tn_convert(level->fill, row, value, place_of(level, value), path,
                             level->data + row->offset);
        return;
    }
    if (!value && (row->flags & TN_OPTION_REQUIRED)) {
        g_autofree char *expected = tn_option_expected(row);
        tn_faults_add(level->fill->faults, level->where, path, "expected %s, got nothing",
                      expected);
        return;
    }
    fill_default(level, row, path);
}

/* --- All of them ------------------------------------------------------------------------------ */

static void
refuse_unknown(const Level *level, gsize i)
{
    const guint32 n = level->options->n;
    const TnWhere where = place_of(level, tn_value_at(level->map, i));
    if (position_at(level->map, i) > 0) {
        guint most = 0;
        for (guint32 k = 0; k < n; k++)
            most += tn_options_row(level->options, k)->flags & TN_OPTION_POSITIONAL ? 1 : 0;
        tn_faults_add(level->fill->faults, where, level->path,
                      "expected at most %u values without a name, got number %" G_GUINT64_FORMAT,
                      most, position_at(level->map, i));
        return;
    }
    const char *key = tn_value_key_at(level->map, i);
    g_autofree const char **names = g_new(const char *, n + 1);
    for (guint32 k = 0; k < n; k++)
        names[k] = tn_options_row(level->options, k)->name;
    g_autofree char *hint = n ? tn_text_hint(key, names, n) : g_strdup(" (there are none)");
    g_autofree char *path = tn_path_key(level->path, key);
    tn_faults_add(level->fill->faults, where, path, "expected the name of an option, got \"%s\"%s",
                  key, hint);
}

static void
fill_level(Level *level)
{
    const TnValueType type = tn_value_type(level->map);
    if (type != TN_VALUE_NIL && type != TN_VALUE_MAP && type != TN_VALUE_LIST) {
        g_autofree char *got = tn_value_brief(level->map);
        tn_faults_add(level->fill->faults, level->where, level->path,
                      "expected a table of options, got %s", got);
        return;
    }
    g_autofree gboolean *used = g_new0(gboolean, tn_value_len(level->map) + 1);
    level->used = used;
    for (guint32 i = 0; i < level->options->n; i++)
        fill_row(level, tn_options_row(level->options, i));
    for (gsize i = 0; i < tn_value_len(level->map); i++)
        if (!used[i])
            refuse_unknown(level, i);
}

void
tn_fill(TnFill *fill, const TnOptions *options, const TnValue *map, TnWhere where, const char *path,
        const TnGiven *given, void *data)
{
    static const TnGiven nobody = { NULL, NULL };
    Level level = { fill, options, map, where, path, NULL, given ? given : &nobody, data, NULL };
    fill_level(&level);
}
