/* faults.c: everything that is wrong with a config, in the order in which it stands there. */
#include <string.h>

#include "option/option-private.h"

typedef struct {
    TnWhere where;
    char *text;
} Fault;

struct TnFaults {
    GArray *faults, *notices; /* Fault, by file and line */
};

static void
fault_clear(gpointer fault)
{
    g_free(((Fault *)fault)->text);
}

static GArray *
new_list(void)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(Fault));
    g_array_set_clear_func(list, fault_clear);
    return list;
}

TnFaults *
tn_faults_new(void)
{
    TnFaults *faults = g_new(TnFaults, 1);
    faults->faults = new_list();
    faults->notices = new_list();
    return faults;
}

void
tn_faults_free(TnFaults *faults)
{
    if (!faults)
        return;
    g_array_unref(faults->faults);
    g_array_unref(faults->notices);
    g_free(faults);
}

static gboolean
stands_before(TnWhere a, TnWhere b)
{
    const gint order = g_strcmp0(a.file, b.file);
    return order < 0 || (order == 0 && a.line < b.line);
}

static void
add(GArray *list, TnWhere where, const char *path, const char *format, va_list args)
{
    GString *text = g_string_new(NULL);
    if (where.file && where.line > 0)
        g_string_append_printf(text, "%s:%d: ", where.file, where.line);
    else if (where.file)
        g_string_append_printf(text, "%s: ", where.file);
    if (path && *path)
        g_string_append_printf(text, "%s: ", path);
    g_string_append_vprintf(text, format, args);
    guint at = list->len;
    while (at > 0 && stands_before(where, g_array_index(list, Fault, at - 1).where))
        at--;
    const Fault fault = { where, g_string_free(text, FALSE) };
    g_array_insert_val(list, at, fault);
}

void
tn_faults_add(TnFaults *faults, TnWhere where, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(faults->faults, where, path, format, args);
    va_end(args);
}

void
tn_faults_notice(TnFaults *faults, TnWhere where, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(faults->notices, where, path, format, args);
    va_end(args);
}

gsize
tn_faults_count(const TnFaults *faults)
{
    return faults->faults->len;
}

gsize
tn_faults_n_notices(const TnFaults *faults)
{
    return faults->notices->len;
}

const char *
tn_faults_text(const TnFaults *faults, gsize i)
{
    return i < faults->faults->len ? g_array_index(faults->faults, Fault, i).text : NULL;
}

const char *
tn_faults_notice_text(const TnFaults *faults, gsize i)
{
    return i < faults->notices->len ? g_array_index(faults->notices, Fault, i).text : NULL;
}

gboolean
tn_faults_to_error(const TnFaults *faults, GError **error)
{
    if (faults->faults->len == 0)
        return FALSE;
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; i < faults->faults->len; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? "\n" : "", tn_faults_text(faults, i));
    g_set_error_literal(error, TN_ERROR, TN_ERROR_CONFIG, text->str);
    return TRUE;
}
