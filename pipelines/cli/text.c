/* text.c: help texts: all of them are loops over rows. */
#include <string.h>

#include "cli.h"

enum { WIDTH = 100 };

void
print_filled(FILE *out, const char *text, guint indent)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", -1);
        guint column = 0;
        for (char **word = words; *word != NULL; word++) {
            const guint n = (guint)g_utf8_strlen(*word, -1);
            if (n == 0)
                continue;
            if (column > 0 && column + 1 + n > WIDTH) {
                fputc('\n', out);
                column = 0;
            }
            if (column == 0)
                column = (guint)fprintf(out, "%*s%s", (int)indent, "", *word);
            else
                column += (guint)fprintf(out, " %s", *word);
        }
        fputc('\n', out);
    }
}

void
print_entry(FILE *out, const char *name, guint width, const char *help)
{
    g_autofree char *padded = NULL;
    const guint n = (guint)g_utf8_strlen(name, -1);
    const guint indent = width + 4;
    if (help == NULL || *help == '\0') {
        fprintf(out, "  %s\n", name);
        return;
    }
    if (n > width) {
        fprintf(out, "  %s\n", name);
        print_filled(out, help, indent);
        return;
    }
    /* Filled with the indent, then the name put over it. */
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    print_filled(memory, help, indent);
    fclose(memory);
    padded = g_strdup_printf("  %s%*s", name, (int)(width - n), "");
    fprintf(out, "%s%s", padded, text + strlen(padded) - (strlen(name) - n));
    free(text);
}

void
print_heading(FILE *out, gboolean color, const char *text)
{
    fprintf(out, color ? "\033[1m%s\033[0m\n" : "%s\n", text);
}

char *
iface_word(const char *iface)
{
    if (!g_str_has_prefix(iface, "tenon."))
        return g_strdup(iface);
    const char *begin = iface + strlen("tenon.");
    if (g_str_has_prefix(begin, "op/"))
        return g_strdup("operator");
    return g_strndup(begin, strcspn(begin, "/"));
}

static void
print_rows(FILE *out, const TnOption *rows, guint32 row_size, guint32 n, const char *prefix)
{
    for (guint32 i = 0; i < n; i++) {
        const TnOption *row = (const TnOption *)((const char *)rows + (gsize)i * row_size);
        g_autofree char *name = g_strconcat(prefix, row->name, NULL);
        g_autofree char *kind = tn_option_describe(row);
        g_autofree char *text = g_strdup_printf("%s (%s)", row->help, kind);
        print_entry(out, name, 20, text);
        if (row->type == TN_OPT_GROUP) {
            g_autofree char *below = g_strconcat(name, ".", NULL);
            print_rows(out, row->sub, row_size, row->n_sub, below);
        }
    }
}

void
print_options(FILE *out, const TnOptions *options)
{
    print_rows(out, options->rows, options->row_size, options->n, "");
}

static TnValue *
rows_to_value(const TnOption *rows, guint32 row_size, guint32 n)
{
    TnValue *list = tn_value_list();
    for (guint32 i = 0; i < n; i++) {
        const TnOption *row = (const TnOption *)((const char *)rows + (gsize)i * row_size);
        TnValue *map = tn_value_map();
        g_autofree char *kind = tn_option_describe(row);
        set_text(map, "name", row->name);
        set_text(map, "type", kind);
        set_text(map, "help", row->help);
        set_text(map, "unit", row->unit);
        set_text(map, "default", row->dflt);
        set_text(map, "interface", row->iface);
        tn_value_set(map, "required", tn_value_bool((row->flags & TN_OPTION_REQUIRED) != 0));
        if (row->type == TN_OPT_GROUP)
            tn_value_set(map, "options", rows_to_value(row->sub, row_size, row->n_sub));
        tn_value_push(list, map);
    }
    return list;
}

TnValue *
options_to_value(const TnOptions *options)
{
    return rows_to_value(options->rows, options->row_size, options->n);
}

/* --- Verbs ------------------------------------------------------------------------------------ */

static char *
placeholder(const TnOption *row)
{
    switch (row->type) {
    case TN_OPT_ENUM: return g_strjoinv("|", (char **)row->choices);
    case TN_OPT_PATH: return g_strdup("PATH");
    case TN_OPT_INT64:
    case TN_OPT_UINT64: return g_strdup("N");
    case TN_OPT_DOUBLE: return g_strdup("NUMBER");
    case TN_OPT_DURATION: return g_strdup("TIME");
    case TN_OPT_SIZE: return g_strdup("SIZE");
    default: return g_strdup("TEXT");
    }
}

static void
print_verb_row(FILE *out, const TnOption *row)
{
    g_autofree char *dashed = g_strdup(row->name);
    g_autofree char *value = placeholder(row);
    g_strdelimit(dashed, "_", '-');
    g_autofree char *name = row->type == TN_OPT_BOOL ? g_strconcat("--", dashed, NULL)
                                                     : g_strconcat("--", dashed, " ", value, NULL);
    g_autofree char *help = row->dflt != NULL && row->type != TN_OPT_BOOL
                                ? g_strdup_printf("%s (default %s)", row->help, row->dflt)
                                : g_strdup(row->help);
    print_entry(out, name, 22, help);
}

void
print_verb_help(FILE *out, gboolean color, const TnVerb *verb)
{
    fprintf(out, "usage: tenon %s%s%s [options]\n\n", verb->name, verb->args != NULL ? " " : "",
            verb->args != NULL ? verb->args : "");
    print_filled(out, verb->help, 0);
    if (verb->details != NULL) {
        fputc('\n', out);
        print_filled(out, verb->details, 0);
    }
    fputc('\n', out);
    print_heading(out, color, "options");
    for (guint32 i = 0; i < verb->options.n; i++)
        print_verb_row(out, tn_options_row(&verb->options, i));
    print_entry(out, "--json", 22, "print results as JSON, where a script would read them");
    print_entry(out, "--plugin-path FOLDER", 22, "look for plugins there first; may be repeated");
    print_entry(out, "-h, --help", 22, "print this");
}

static void
print_one(const char *name, const char *args, const char *help, const char *plugin, gpointer data)
{
    g_autofree char *text =
        plugin != NULL ? g_strdup_printf("%s (plugin %s)", help, plugin) : g_strdup(help);
    g_autofree char *left =
        args != NULL && *args != '\0' ? g_strconcat(name, " ", args, NULL) : g_strdup(name);
    print_entry(data, left, 30, text);
}

void
print_overview(FILE *out, gboolean color)
{
    fputs("usage: tenon VERB [arguments] [options]\n\n", out);
    print_heading(out, color, "verbs");
    verbs_each(print_one, out);
    fputs("\ntenon VERB --help tells more of a verb, tenon help NAME of a component, an operator "
          "or a config.\n"
          "tenon --version prints the version.\n",
          out);
}
