/* profile-trace.c: the first slices of a profile as Chrome's trace events ("Trace Event Format",
 * Google 2016): a row for each thread, complete events ("X") for instructions and spans, counters
 * ("C") for the arena in use. Perfetto and chrome://tracing open it. */
#include "profile-private.h"

typedef struct {
    GString *text;
    gint64 begin;     /* of time 0 */
    GHashTable *rows; /* const TnProgram * → GPtrArray of const ProfileRow *, by instruction */
    gboolean any;
} Trace;

static void
add_string(GString *text, const char *string)
{
    g_autoptr(TnValue) value = tn_value_string(string);
    g_autofree char *json = tn_json_print(value, FALSE);
    g_string_append(text, json);
}

/* Numbers with a point whatever the locale. */
static void
add_number(GString *text, double value, const char *format)
{
    char buffer[G_ASCII_DTOSTR_BUF_SIZE];
    g_string_append(text, g_ascii_formatd(buffer, sizeof buffer, format, value));
}

static void
begin_event(Trace *trace, const char *phase, guint thread, const char *name)
{
    g_string_append_printf(trace->text, "%s{\"ph\":\"%s\",\"pid\":1,\"tid\":%u,\"name\":",
                           trace->any ? ",\n" : "", phase, thread);
    trace->any = TRUE;
    add_string(trace->text, name);
}

static void
add_time(const Trace *trace, const char *key, gint64 ns)
{
    g_string_append_printf(trace->text, ",\"%s\":", key);
    add_number(trace->text, (double)ns * 1e-3, "%.3f");
}

/* {"name": NAME} of a process or thread. */
static void
add_title(Trace *trace, const char *what, guint thread, const char *name)
{
    begin_event(trace, "M", thread, what);
    g_string_append(trace->text, ",\"args\":{\"name\":");
    add_string(trace->text, name);
    g_string_append(trace->text, "}}");
}

/* NULL: another thread ran it after the report was made. */
static const ProfileRow *
row_of(const Trace *trace, const ProfileSlice *slice)
{
    const GPtrArray *rows = g_hash_table_lookup(trace->rows, slice->program);
    return rows ? g_ptr_array_index(rows, slice->number) : NULL;
}

static void
add_arguments(GString *text, const ProfileRow *row)
{
    g_string_append(text, ",\"args\":{\"operator\":");
    add_string(text, row->label);
    g_string_append(text, ",\"kernel\":");
    add_string(text, row->info.kernel);
    g_string_append_printf(text, ",\"bytes\":%" G_GUINT64_FORMAT,
                           row->info.bytes_read + row->info.bytes_written);
    if (row->info.flops >= 0) {
        g_string_append(text, ",\"flops\":");
        add_number(text, row->info.flops, "%.0f");
    }
    g_string_append_c(text, '}');
}

static void
add_slice(Trace *trace, guint thread, const ProfileSlice *slice)
{
    const ProfileRow *row = slice->program ? row_of(trace, slice) : NULL;
    g_autofree char *span =
        row ? NULL : g_strconcat(slice->kind, *slice->name ? " " : "", slice->name, NULL);
    begin_event(trace, "X", thread, row ? row->info.name : span);
    g_string_append(trace->text, ",\"cat\":");
    add_string(trace->text, row ? "instruction" : slice->kind);
    add_time(trace, "ts", slice->begin - trace->begin);
    add_time(trace, "dur", slice->end - slice->begin);
    if (row)
        add_arguments(trace->text, row);
    g_string_append_c(trace->text, '}');
}

/* The arena in use from the slice's instruction on, if that is another number than before. */
static void
add_counter(Trace *trace, const ProfileSlice *slice, guint64 *before)
{
    const ProfileRow *row = row_of(trace, slice);
    if (row->info.live_bytes == *before)
        return;
    *before = row->info.live_bytes;
    g_autofree char *name = g_strdup_printf("arena in use: %s", tn_program_name(slice->program));
    begin_event(trace, "C", 0, name);
    add_time(trace, "ts", slice->begin - trace->begin);
    g_string_append_printf(trace->text, ",\"args\":{\"bytes\":%" G_GUINT64_FORMAT "}}", *before);
}

/* In order of beginning, what lies around before what lies within. */
static gint
by_begin(gconstpointer a, gconstpointer b)
{
    const ProfileSlice *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end < y->end) - (x->end > y->end);
}

static void
add_thread(Trace *trace, ProfileThread *thread, gboolean is_main)
{
    pthread_mutex_lock(&thread->lock);
    g_autoptr(GArray) slices = g_array_copy(thread->slices);
    pthread_mutex_unlock(&thread->lock);
    guint64 used = G_MAXUINT64;
    add_title(trace, "thread_name", thread->number, is_main ? "main" : thread->name);
    g_array_sort(slices, by_begin);
    for (guint i = 0; i < slices->len; i++) {
        const ProfileSlice *slice = &g_array_index(slices, ProfileSlice, i);
        if (slice->program && !row_of(trace, slice))
            continue;
        add_slice(trace, thread->number, slice);
        if (slice->program)
            add_counter(trace, slice, &used);
    }
}

/* Slices name instructions; the report has looked them up. */
static GHashTable *
index_rows(const ProfileReport *report)
{
    GHashTable *index = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_ptr_array_unref);
    for (guint i = 0; i < report->rows->len; i++) {
        ProfileRow *row = &g_array_index(report->rows, ProfileRow, i);
        GPtrArray *rows = g_hash_table_lookup(index, row->program);
        if (!rows) {
            rows = g_ptr_array_new();
            g_ptr_array_set_size(rows, (gint)tn_program_n_instructions(row->program));
            g_hash_table_insert(index, (gpointer)row->program, rows);
        }
        rows->pdata[row->number] = row;
    }
    return index;
}

char *
tn_profile_trace(TnProfile *profile)
{
    g_auto(ProfileReport) report = { 0 };
    g_autoptr(GString) text = g_string_new("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    pthread_mutex_lock(&profile->lock);
    g_autoptr(GPtrArray) threads = g_ptr_array_new();
    for (guint i = 0; i < profile->threads->len; i++)
        g_ptr_array_add(threads, profile->threads->pdata[i]);
    pthread_mutex_unlock(&profile->lock);
    tn_profile_report(profile, &report);
    g_autoptr(GHashTable) rows = index_rows(&report);
    Trace trace = { text, profile->begin, rows, FALSE };
    add_title(&trace, "process_name", 0, "tenon");
    for (guint i = 0; i < threads->len; i++)
        add_thread(&trace, threads->pdata[i], threads->pdata[i] == profile->main);
    g_string_append(text, "\n]}\n");
    return g_strdup(text->str);
}
