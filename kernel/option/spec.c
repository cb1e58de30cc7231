/* spec.c: a component named in a config, not yet created; and the paths that lead through trees of
 * them. */
#include <string.h>

#include "option/option-private.h"

struct TnSpec {
    TnRefs refs;
    char *iface, *component;
    TnWhere where;
    TnValue *options;
};

TnSpec *
tn_spec_new(const char *iface, const char *component, TnWhere where)
{
    TnSpec *spec = g_new0(TnSpec, 1);
    tn_refs_init(&spec->refs);
    spec->iface = g_strdup(iface ? iface : "");
    spec->component = g_strdup(component ? component : "");
    spec->where = where;
    spec->options = tn_value_map();
    tn_value_set_where(spec->options, where);
    return spec;
}

TnSpec *
tn_spec_ref(TnSpec *spec)
{
    tn_refs_inc(&spec->refs);
    return spec;
}

void
tn_spec_unref(TnSpec *spec)
{
    if (!spec || !tn_refs_dec(&spec->refs))
        return;
    g_free(spec->iface);
    g_free(spec->component);
    tn_value_unref(spec->options);
    g_free(spec);
}

const char *
tn_spec_iface(const TnSpec *spec)
{
    return spec->iface;
}

const char *
tn_spec_component(const TnSpec *spec)
{
    return spec->component;
}

TnWhere
tn_spec_where(const TnSpec *spec)
{
    return spec->where;
}

TnValue *
tn_spec_options(const TnSpec *spec)
{
    return spec->options;
}

/* --- Paths ------------------------------------------------------------------------------------ */

/* One step of a path: a key, or an index from 1. */
typedef struct {
    char *key;
    gsize index; /* if key is NULL */
} Step;

static void
step_clear(gpointer step)
{
    g_free(((Step *)step)->key);
}

/* Reads "[3]" or "[\"key\"]"; NULL if it is neither. */
static const char *
read_bracket(const char *p, Step *step)
{
    char *end = NULL;
    if (p[1] == '"') {
        const char *quote = strchr(p + 2, '"');
        if (!quote || quote[1] != ']')
            return NULL;
        step->key = g_strndup(p + 2, (gsize)(quote - p - 2));
        return quote + 2;
    }
    if (!g_ascii_isdigit(p[1]))
        return NULL;
    step->index = (gsize)g_ascii_strtoull(p + 1, &end, 10);
    return *end == ']' ? end + 1 : NULL;
}

/* "model.layers[3].out" as steps. NULL with *error if it is not a path. */
static GArray *
read_path(const char *path, GError **error)
{
    GArray *steps = g_array_new(FALSE, FALSE, sizeof(Step));
    g_array_set_clear_func(steps, step_clear);
    const char *p = path;
    while (p && (*p || steps->len == 0)) {
        Step step = { NULL, 0 };
        if (*p == '[') {
            p = read_bracket(p, &step);
        } else {
            p += steps->len > 0 && *p == '.' ? 1 : 0;
            const gsize length = strcspn(p, ".[");
            step.key = length > 0 ? g_strndup(p, length) : NULL;
            p = length > 0 ? p + length : NULL;
        }
        if (p)
            g_array_append_val(steps, step);
        else
            g_free(step.key);
    }
    if (p)
        return steps;
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                "\"%s\": expected a path such as model.layers[3].out", path);
    g_array_unref(steps);
    return NULL;
}

/* What a step's key or index is looked up in. */
static TnValue *
inside(TnValue *value)
{
    TnSpec *spec = tn_value_get_spec(value);
    return spec ? tn_spec_options(spec) : value;
}

/* A component's positional options stand under "1", "2" … */
static TnValue *
follow(TnValue *value, const Step *step)
{
    char number[24];
    TnValue *holder = inside(value);
    if (step->key)
        return tn_value_get(holder, step->key);
    if (tn_value_type(holder) == TN_VALUE_LIST)
        return step->index > 0 ? tn_value_at(holder, step->index - 1) : NULL;
    g_snprintf(number, sizeof number, "%" G_GSIZE_FORMAT, step->index);
    return tn_value_get(holder, number);
}

static char *
print_steps(const GArray *steps, guint n)
{
    char *path = NULL;
    for (guint i = 0; i < n; i++) {
        const Step *step = &g_array_index(steps, Step, i);
        char *longer = step->key ? tn_path_key(path, step->key) : tn_path_index(path, step->index);
        g_free(path);
        path = longer;
    }
    return path ? path : g_strdup("");
}

/* Step i of the path leads nowhere from value. */
static void
set_lost(GError **error, const char *path, const GArray *steps, guint i, TnValue *value)
{
    const Step *step = &g_array_index(steps, Step, i);
    const TnValue *holder = inside(value);
    const gsize n = tn_value_len(holder);
    g_autofree char *here = print_steps(steps, i + 1);
    g_autofree char *hint = NULL;
    if (step->key && tn_value_type(holder) == TN_VALUE_MAP) {
        g_autofree const char **keys = g_new(const char *, n + 1);
        for (gsize k = 0; k < n; k++)
            keys[k] = tn_value_key_at(holder, k);
        hint = tn_text_hint(step->key, keys, n);
    } else if (tn_value_type(holder) == TN_VALUE_LIST) {
        hint = g_strdup_printf(" (it is a list of %" G_GSIZE_FORMAT ")", n);
    } else {
        g_autofree char *brief = tn_value_brief(value);
        hint = g_strdup_printf(" (what it should be in is %s)", brief);
    }
    if (strcmp(here, path) == 0)
        g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "%s: there is no such option%s", path,
                    hint);
    else
        g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "%s: there is no %s%s", path, here, hint);
}

/* Follows the first n steps. */
static TnValue *
walk(const TnValue *root, const char *path, const GArray *steps, guint n, GError **error)
{
    TnValue *value = (TnValue *)root;
    for (guint i = 0; i < n; i++) {
        TnValue *next = follow(value, &g_array_index(steps, Step, i));
        if (!next) {
            set_lost(error, path, steps, i, value);
            return NULL;
        }
        value = next;
    }
    return value;
}

TnValue *
tn_value_find(const TnValue *value, const char *path, GError **error)
{
    g_autoptr(GArray) steps = read_path(path, error);
    return steps ? walk(value, path, steps, steps->len, error) : NULL;
}

/* Puts item into the list at index (from 1), or behind its last one; FALSE if it is neither. */
static gboolean
put(TnValue *list, gsize index, TnValue *item)
{
    const gsize n = tn_value_len(list);
    if (index < 1 || index > n + 1)
        return FALSE;
    if (index == n + 1)
        tn_value_push(list, tn_value_ref(item));
    else
        tn_value_replace_at(list, index - 1, tn_value_ref(item));
    return TRUE;
}

gboolean
tn_value_assign(TnValue *root, const char *path, TnValue *item, GError **error)
{
    gboolean ok = FALSE;
    g_autoptr(TnValue) owned = item;
    g_autoptr(GArray) steps = read_path(path, error);
    TnValue *parent = steps ? walk(root, path, steps, steps->len - 1, error) : NULL;
    if (!parent)
        return FALSE;
    const Step *last = &g_array_index(steps, Step, steps->len - 1);
    TnValue *holder = inside(parent);
    if (tn_value_type(holder) == TN_VALUE_MAP) {
        g_autofree char *number = g_strdup_printf("%" G_GSIZE_FORMAT, last->index);
        tn_value_set(holder, last->key ? last->key : number, tn_value_ref(owned));
        ok = TRUE;
    } else if (tn_value_type(holder) == TN_VALUE_LIST && !last->key) {
        ok = put(holder, last->index, owned);
    }
    if (!ok)
        set_lost(error, path, steps, steps->len - 1, parent);
    return ok;
}
