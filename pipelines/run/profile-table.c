/* profile-table.c: what a profile says as text: where the wall time went, operators, nodes, stages.
 *
 * Every table that is cut ends with a line for the rest, so that columns sum up. */
#include "profile-private.h"

#include <string.h>

#define MOST_NODES 60
#define LABEL 52 /* columns */

/* --- Lines of instructions -------------------------------------------------------------------- */

/* Instructions under one label. */
typedef struct {
    char *key, *label, *note;
    guint64 calls;
    gint64 ns;
    double flops, bytes; /* over all calls; flops < 0: unknown of some */
} Line;

static void
line_clear(gpointer data)
{
    Line *line = data;
    g_free(line->key);
    g_free(line->label);
    g_free(line->note);
}

static void
add_to(Line *line, guint64 calls, gint64 ns, double flops, double bytes)
{
    line->calls += calls;
    line->ns += ns;
    line->bytes += bytes;
    line->flops = line->flops < 0 || flops < 0 ? TN_FLOPS_UNKNOWN : line->flops + flops;
}

/* Takes key, label and note. */
static void
add_line(GArray *lines, GHashTable *known, const ProfileRow *row, char *key, char *label,
         char *note)
{
    const gsize found = GPOINTER_TO_SIZE(g_hash_table_lookup(known, key));
    const double calls = (double)row->calls;
    const double flops = row->info.flops < 0 ? TN_FLOPS_UNKNOWN : row->info.flops * calls;
    const double bytes = (double)(row->info.bytes_read + row->info.bytes_written) * calls;
    if (found) {
        add_to(&g_array_index(lines, Line, found - 1), row->calls, row->ns, flops, bytes);
        g_free(key);
        g_free(label);
        g_free(note);
        return;
    }
    const Line line = { key, label, note, row->calls, row->ns, flops, bytes };
    g_array_append_val(lines, line);
    g_hash_table_insert(known, key, GSIZE_TO_POINTER((gsize)lines->len));
}

static gint
longest_first(gconstpointer a, gconstpointer b)
{
    const Line *x = a, *y = b;
    if (x->ns != y->ns)
        return x->ns < y->ns ? 1 : -1;
    return strcmp(x->key, y->key);
}

static char *
shapes_of(const ProfileRow *row)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < row->info.n_in + row->info.n_out; i++) {
        const TnType *type = &row->info.types[i];
        g_autofree char *one = type->dtype == TN_DTYPE_NONE ? g_strdup("-") : tn_type_print(type);
        g_string_append_printf(text, "%s%s%s", text->len ? " " : "",
                               i == row->info.n_in ? "-> " : "", one);
    }
    return g_strdup(text->str);
}

/* nodes: a line for each node with its shapes; else one for each operator or group with its kernel. */
static GArray *
lines_of(const ProfileReport *report, gboolean nodes)
{
    GArray *lines = g_array_new(FALSE, FALSE, sizeof(Line));
    g_autoptr(GHashTable) known = g_hash_table_new(g_str_hash, g_str_equal);
    g_array_set_clear_func(lines, line_clear);
    for (guint i = 0; i < report->rows->len; i++) {
        const ProfileRow *row = &g_array_index(report->rows, ProfileRow, i);
        if (nodes) {
            g_autofree char *shapes = shapes_of(row);
            char *note = g_strdup_printf("%s  %s", row->label, shapes);
            add_line(lines, known, row, g_strdup_printf("%s  %s", row->info.name, note),
                     g_strdup(row->info.name), note);
        } else {
            char *note = *row->info.plugin
                             ? g_strdup_printf("%s/%s", row->info.plugin, row->info.kernel)
                             : g_strdup(row->info.device);
            add_line(lines, known, row, g_strdup_printf("%s  %s", row->label, note),
                     g_strdup(row->label), note);
        }
    }
    g_array_sort(lines, longest_first);
    return lines;
}

/* --- Printing --------------------------------------------------------------------------------- */

static double
share(gint64 part, gint64 whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* A label in LABEL columns; its bytes are ASCII (names and operators). */
static void
print_label(GString *text, const char *label)
{
    const gboolean cut = strlen(label) > LABEL;
    g_string_append_printf(text, "%-*.*s%s", cut ? LABEL - 3 : LABEL, cut ? LABEL - 3 : LABEL,
                           label, cut ? "..." : "");
}

static void
print_head(GString *text, const char *first, const char *last)
{
    print_label(text, first);
    g_string_append_printf(text, " %9s %10s %7s %10s %9s %8s %7s  %s\n", "calls", "ms", "share",
                           "us/call", "GFLOP/s", "GB/s", "peak", last);
}

/* "?": not known; "-": there are none. */
static void
print_line(GString *text, const Line *line, const ProfileReport *report)
{
    char rate[32] = "-", peak[32] = "-";
    const double ns = (double)MAX(line->ns, 1);
    if (line->flops < 0) {
        g_strlcpy(rate, "?", sizeof rate);
        g_strlcpy(peak, "?", sizeof peak);
    } else if (line->flops > 0) {
        g_snprintf(rate, sizeof rate, "%.2f", line->flops / ns);
        if (report->peak > 0)
            g_snprintf(peak, sizeof peak, "%.1f %%", 1e11 * line->flops / ns / report->peak);
    }
    print_label(text, line->label);
    g_string_append_printf(
        text, " %9" G_GUINT64_FORMAT " %10.3f %5.1f %% %10.2f %9s %8.2f %7s  %s\n", line->calls,
        (double)line->ns * 1e-6, share(line->ns, report->instructions),
        line->calls ? ns * 1e-3 / (double)line->calls : 0, rate, line->bytes / ns, peak,
        line->note ? line->note : "");
}

static void
print_lines(GString *text, const GArray *lines, guint most, const ProfileReport *report)
{
    Line rest = { .label = (char *)"(the rest)" }, sum = { .label = (char *)"sum" };
    for (guint i = 0; i < lines->len; i++) {
        const Line *line = &g_array_index(lines, Line, i);
        if (i < most)
            print_line(text, line, report);
        else
            add_to(&rest, line->calls, line->ns, line->flops, line->bytes);
        add_to(&sum, line->calls, line->ns, line->flops, line->bytes);
    }
    if (rest.calls)
        print_line(text, &rest, report);
    print_line(text, &sum, report);
}

static void
print_operators(GString *text, const ProfileReport *report)
{
    g_autoptr(GArray) lines = lines_of(report, FALSE);
    print_head(text, "operator or fused group", "plugin/kernel");
    print_lines(text, lines, G_MAXUINT, report);
}

static void
print_nodes(GString *text, const ProfileReport *report)
{
    g_autoptr(GArray) lines = lines_of(report, TRUE);
    print_head(text, "node", "operator and shapes");
    print_lines(text, lines, MOST_NODES, report);
}

/* --- Wall time -------------------------------------------------------------------------------- */

/* What is left of a kind's spans without what lies within them. */
static const struct {
    const char *kind, *text;
    gboolean named; /* a line for each name */
} kinds[] = {
    { "compile", "compiling programs", FALSE },
    { "program", "between instructions, which is to measure", FALSE },
    { "step", "around programs: binding, staging", FALSE },
    { "wait", "waiting for frames of", TRUE },
    { "make", "making frames, but for instructions:", TRUE },
    { "prepare", "preparing: stages, graphs", FALSE },
    { "log", "logging", FALSE },
    { "checkpoint", "checkpoints", FALSE },
    { "job", "Lua, and all else of the job", FALSE },
    { "all", "around the job: provenance, files", FALSE },
};

static char *
span_text(const ProfileSpan *span)
{
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i].kind, span->kind) == 0)
            return g_strconcat(kinds[i].text, kinds[i].named ? " " : "",
                               kinds[i].named ? span->name : "", NULL);
    return g_strdup_printf("%s %s", span->kind, span->name);
}

static void
print_time(GString *text, const char *label, gint64 ns, gint64 wall)
{
    print_label(text, label);
    g_string_append_printf(text, " %10.3f %5.1f %%\n", (double)ns * 1e-6, share(ns, wall));
}

static void
print_wall(GString *text, const ProfileReport *report)
{
    g_autoptr(GHashTable) sums = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr(GPtrArray) order = g_ptr_array_new();
    gint64 sum = report->main_instructions;
    for (guint i = 0; i < report->main_spans->len; i++) {
        const ProfileSpan *span = &g_array_index(report->main_spans, ProfileSpan, i);
        char *label = span_text(span);
        gint64 *ns = g_hash_table_lookup(sums, label);
        sum += span->self;
        if (ns) {
            *ns += span->self;
            g_free(label);
        } else {
            g_hash_table_insert(sums, label, g_memdup2(&span->self, sizeof span->self));
            g_ptr_array_add(order, label);
        }
    }
    print_label(text, "wall time of the main thread");
    g_string_append_printf(text, " %10s %7s\n", "ms", "share");
    print_time(text, "instructions", report->main_instructions, report->wall);
    for (guint i = 0; i < order->len; i++) {
        const char *label = g_ptr_array_index(order, i);
        print_time(text, label, *(gint64 *)g_hash_table_lookup(sums, label), report->wall);
    }
    print_time(text, "sum", sum, report->wall);
    if (report->instructions > report->main_instructions)
        print_time(text, "beside it: instructions of other threads",
                   report->instructions - report->main_instructions, report->wall);
}

/* --- Stages ----------------------------------------------------------------------------------- */

static ProfileSpan
span_of(const ProfileReport *report, const char *kind, const char *name)
{
    for (guint i = 0; i < report->spans->len; i++) {
        const ProfileSpan *span = &g_array_index(report->spans, ProfileSpan, i);
        if (strcmp(span->kind, kind) == 0 && strcmp(span->name, name) == 0)
            return *span;
    }
    return (ProfileSpan){ .kind = kind, .name = name };
}

/* Whoever takes a stage's frames waits for them, also where another process makes them. */
static void
print_stages(GString *text, const ProfileReport *report)
{
    gboolean any = FALSE;
    for (guint i = 0; i < report->spans->len; i++) {
        const ProfileSpan *wait = &g_array_index(report->spans, ProfileSpan, i);
        if (strcmp(wait->kind, "wait") != 0)
            continue;
        if (!any) {
            g_string_append_c(text, '\n');
            print_label(text, "stage");
            g_string_append_printf(text, " %9s %10s %10s %9s %10s %10s\n", "made", "ms", "us/frame",
                                   "taken", "waited ms", "us/frame");
            any = TRUE;
        }
        const ProfileSpan make = span_of(report, "make", wait->name);
        print_label(text, wait->name);
        g_string_append_printf(
            text, " %9" G_GUINT64_FORMAT " %10.3f %10.2f %9" G_GUINT64_FORMAT " %10.3f %10.2f\n",
            make.calls, (double)make.total * 1e-6,
            (double)make.total * 1e-3 / (double)MAX(make.calls, 1), wait->calls,
            (double)wait->self * 1e-6, (double)wait->self * 1e-3 / (double)MAX(wait->calls, 1));
    }
}

/* --- Interface -------------------------------------------------------------------------------- */

static void
print_peak(GString *text, const ProfileReport *report)
{
    if (report->peak > 0)
        g_string_append_printf(text, "measured peak of products of f32 matrices: %.1f GFLOP/s\n",
                               report->peak * 1e-9);
}

char *
tn_profile_operators(TnProfile *profile)
{
    g_auto(ProfileReport) report = { 0 };
    g_autoptr(GString) text = g_string_new(NULL);
    tn_profile_report(profile, &report);
    print_peak(text, &report);
    print_operators(text, &report);
    return g_strdup(text->str);
}

char *
tn_profile_text(TnProfile *profile, const TnContext *context)
{
    g_auto(ProfileReport) report = { 0 };
    g_autoptr(GString) text = g_string_new(NULL);
    tn_profile_report(profile, &report);
    print_wall(text, &report);
    g_string_append_c(text, '\n');
    print_peak(text, &report);
    print_operators(text, &report);
    g_string_append_c(text, '\n');
    print_nodes(text, &report);
    print_stages(text, &report);
    tn_profile_print_memory(text, &report, context);
    return g_strdup(text->str);
}
