/* record.c: reads a block of lines, by which tenon-scan describes a plugin, and which the index
 * stores. A line is a tag and its fields, separated by tabs. Anything unexpected refuses the whole
 * block: the text comes from another process. */
#include "plugin-private.h"

#include <string.h>

enum { MAX_LINES = 65536, MAX_FIELDS = 8 };

typedef struct {
    GPtrArray *ifaces, *names, *helps, *modules, *verbs, *verb_helps;
    GArray *ranks, *flags, *probes;
    TnRecord *record;
    gboolean described;
} Parser;

typedef struct {
    const char *tag;
    guint n_fields;
    gboolean (*take)(Parser *parser, char **fields);
} LineKind;

char *
tn_record_unescape(const char *text, gsize n)
{
    GString *out = g_string_sized_new(n);
    for (gsize i = 0; i < n; i++) {
        char c = text[i];
        if (c == '\\' && i + 1 < n) {
            c = text[++i];
            c = c == 't' ? '\t' : c == 'n' ? '\n' : c;
        }
        g_string_append_c(out, c);
    }
    return g_string_free(out, FALSE);
}

static gboolean
take_plugin(Parser *p, char **fields)
{
    TnPluginInfo *info = &p->record->info;
    if (p->described || strcmp(fields[0], info->name) != 0)
        return FALSE;
    info->version = g_steal_pointer(&fields[1]);
    info->license = g_steal_pointer(&fields[2]);
    info->summary = g_steal_pointer(&fields[3]);
    p->described = TRUE;
    return TRUE;
}

static gboolean
take_factory(Parser *p, char **fields)
{
    gint64 rank, flags, probe;
    if (!p->described ||
        !g_ascii_string_to_signed(fields[2], 10, G_MININT32, G_MAXINT32, &rank, NULL) ||
        !g_ascii_string_to_signed(fields[3], 10, 0, G_MAXUINT32, &flags, NULL) ||
        !g_ascii_string_to_signed(fields[4], 10, 0, 1, &probe, NULL))
        return FALSE;
    const gint32 rank32 = (gint32)rank;
    const guint32 flags32 = (guint32)flags;
    const gboolean has_probe = (gboolean)probe;
    g_ptr_array_add(p->ifaces, g_steal_pointer(&fields[0]));
    g_ptr_array_add(p->names, g_steal_pointer(&fields[1]));
    g_ptr_array_add(p->helps, g_steal_pointer(&fields[5]));
    g_array_append_val(p->ranks, rank32);
    g_array_append_val(p->flags, flags32);
    g_array_append_val(p->probes, has_probe);
    return TRUE;
}

static gboolean
take_module(Parser *p, char **fields)
{
    if (!p->described)
        return FALSE;
    g_ptr_array_add(p->modules, g_steal_pointer(&fields[0]));
    return TRUE;
}

static gboolean
take_verb(Parser *p, char **fields)
{
    if (!p->described)
        return FALSE;
    g_ptr_array_add(p->verbs, g_steal_pointer(&fields[0]));
    g_ptr_array_add(p->verb_helps, g_steal_pointer(&fields[1]));
    return TRUE;
}

static gboolean
take_broken(Parser *p, char **fields)
{
    if (p->described || fields[0][0] == '\0')
        return FALSE;
    p->record->info.broken = g_steal_pointer(&fields[0]);
    p->described = TRUE;
    return TRUE;
}

static const LineKind line_kinds[] = {
    { "plugin", 4, take_plugin }, { "factory", 6, take_factory }, { "module", 1, take_module },
    { "verb", 2, take_verb },     { "broken", 1, take_broken },
};

/* Takes one line without its newline. */
static gboolean
take_line(Parser *p, const char *line, gsize n)
{
    char *fields[MAX_FIELDS + 1] = { NULL };
    guint n_fields = 0;
    gboolean ok = FALSE;
    const char *tab = memchr(line, '\t', n);
    const gsize tag = tab != NULL ? (gsize)(tab - line) : n;
    for (const char *at = tab; at != NULL && n_fields < MAX_FIELDS;) {
        const char *begin = at + 1;
        at = memchr(begin, '\t', n - (gsize)(begin - line));
        fields[n_fields++] =
            tn_record_unescape(begin, (gsize)((at != NULL ? at : line + n) - begin));
    }
    for (guint i = 0; i < G_N_ELEMENTS(line_kinds); i++) {
        const LineKind *kind = &line_kinds[i];
        if (strlen(kind->tag) == tag && memcmp(kind->tag, line, tag) == 0)
            ok = kind->n_fields == n_fields && kind->take(p, fields);
    }
    for (guint i = 0; i < n_fields; i++)
        g_free(fields[i]);
    return ok;
}

static TnRecord *
finish(Parser *p)
{
    TnRecord *r = p->record;
    TnPluginInfo *info = &r->info;
    info->n_factories = p->names->len;
    info->n_modules = p->modules->len;
    info->n_verbs = p->verbs->len;
    info->ifaces = (const char *const *)g_ptr_array_free(g_steal_pointer(&p->ifaces), FALSE);
    info->names = (const char *const *)g_ptr_array_free(g_steal_pointer(&p->names), FALSE);
    info->helps = (const char *const *)g_ptr_array_free(g_steal_pointer(&p->helps), FALSE);
    info->modules = (const char *const *)g_ptr_array_free(g_steal_pointer(&p->modules), FALSE);
    info->verbs = (const char *const *)g_ptr_array_free(g_steal_pointer(&p->verbs), FALSE);
    info->verb_helps =
        (const char *const *)g_ptr_array_free(g_steal_pointer(&p->verb_helps), FALSE);
    r->ranks = (const gint32 *)(void *)g_array_free(g_steal_pointer(&p->ranks), FALSE);
    r->flags = (const guint32 *)(void *)g_array_free(g_steal_pointer(&p->flags), FALSE);
    r->probes = (const gboolean *)(void *)g_array_free(g_steal_pointer(&p->probes), FALSE);
    return r;
}

static void
free_texts(const char *const *texts, guint n)
{
    for (guint i = 0; i < n; i++)
        g_free((char *)texts[i]);
    g_free((gpointer)texts);
}

void
tn_record_free(TnRecord *record)
{
    TnPluginInfo *info = &record->info;
    const char *const texts[] = { info->path,    info->name,   info->version, info->license,
                                  info->summary, info->broken, record->text };
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free((char *)texts[i]);
    free_texts(info->ifaces, info->n_factories);
    free_texts(info->names, info->n_factories);
    free_texts(info->helps, info->n_factories);
    free_texts(info->modules, info->n_modules);
    free_texts(info->verbs, info->n_verbs);
    free_texts(info->verb_helps, info->n_verbs);
    g_free((gpointer)record->ranks);
    g_free((gpointer)record->flags);
    g_free((gpointer)record->probes);
    g_free(record);
}

static void
parser_init(Parser *p, const char *path, const char *name)
{
    *p = (Parser){ .record = g_new0(TnRecord, 1) };
    p->record->info.path = g_strdup(path);
    p->record->info.name = g_strdup(name);
    GPtrArray **arrays[] = { &p->ifaces,  &p->names, &p->helps,
                             &p->modules, &p->verbs, &p->verb_helps };
    for (guint i = 0; i < G_N_ELEMENTS(arrays); i++)
        *arrays[i] = g_ptr_array_new_with_free_func(g_free);
    p->ranks = g_array_new(FALSE, FALSE, sizeof(gint32));
    p->flags = g_array_new(FALSE, FALSE, sizeof(guint32));
    p->probes = g_array_new(FALSE, FALSE, sizeof(gboolean));
}

/* Takes lines up to and with "end"; *at is moved behind it. NULL if all is well, else what is not.
 * (transfer full). */
static char *
take_block(Parser *parser, const char **at)
{
    for (guint line = 1; line <= MAX_LINES; line++) {
        const char *begin = *at, *end = strchr(begin, '\n');
        if (end == NULL)
            return g_strdup("it breaks off");
        const gsize n = (gsize)(end - begin);
        *at = end + 1;
        if (n == 3 && memcmp(begin, "end", 3) == 0 && parser->described)
            return NULL;
        if (!g_utf8_validate(begin, (gssize)n, NULL) || !take_line(parser, begin, n)) {
            g_autofree char *shown = g_utf8_make_valid(begin, (gssize)MIN(n, 60));
            return g_strdup_printf("line %u is not as it should be: \"%s\"", line, shown);
        }
    }
    return g_strdup("it does not end");
}

TnRecord *
tn_record_parse(const char **text, const char *path, const char *name, char **why)
{
    Parser parser;
    const char *at = *text;
    parser_init(&parser, path, name);
    char *fault = take_block(&parser, &at);
    TnRecord *record = finish(&parser);
    if (fault != NULL) {
        *why = fault;
        tn_record_free(record);
        return NULL;
    }
    record->text = g_strndup(*text, (gsize)(at - *text));
    *text = at;
    return record;
}

TnRecord *
tn_record_broken(const char *path, const char *name, const char *reason)
{
    g_autoptr(GString) text = g_string_new("broken");
    g_autofree char *why = NULL;
    tn_plugin_add_field(text, reason);
    g_string_append(text, "\nend\n");
    const char *at = text->str;
    TnRecord *record = tn_record_parse(&at, path, name, &why);
    g_assert(record != NULL);
    return record;
}
