/* profile.c: what a watch is told, kept per thread: how often and how long each instruction ran, the
 * spans, and the first slices for a trace.
 *
 * A thread writes what is its own under a lock that nobody else wants until there is a report. Spans
 * nest: each knows how much of it was told of by what lies within, so that what is left of all spans
 * and all instructions of a thread are its whole time, each moment once. */
#include "profile-private.h"

#include <string.h>

#define MOST_SLICES 40000
#define MOST_STEPS 20

static atomic_ullong serials;

/* The calling thread's record of the profile that it last worked for. */
static _Thread_local struct {
    guint64 serial;
    ProfileThread *thread;
} current;

/* --- Threads ---------------------------------------------------------------------------------- */

static void
program_free(gpointer data)
{
    ProfileProgram *program = data;
    tn_program_unref(program->program);
    g_free(program->calls);
    g_free(program->ns);
    g_free(program);
}

static void
thread_free(gpointer data)
{
    ProfileThread *thread = data;
    g_hash_table_unref(thread->programs);
    g_array_unref(thread->spans);
    g_array_unref(thread->slices);
    pthread_mutex_destroy(&thread->lock);
    g_free(thread);
}

static ProfileThread *
thread_new(TnProfile *profile)
{
    ProfileThread *thread = g_new0(ProfileThread, 1);
    pthread_mutex_init(&thread->lock, NULL);
    thread->programs = g_hash_table_new_full(NULL, NULL, NULL, program_free);
    thread->spans = g_array_new(FALSE, FALSE, sizeof(ProfileSpan));
    thread->slices = g_array_new(FALSE, FALSE, sizeof(ProfileSlice));
    pthread_getname_np(pthread_self(), thread->name, sizeof thread->name);
    pthread_mutex_lock(&profile->lock);
    g_ptr_array_add(profile->threads, thread);
    thread->number = profile->threads->len;
    pthread_mutex_unlock(&profile->lock);
    return thread;
}

static ProfileThread *
this_thread(TnProfile *profile)
{
    if (current.serial != profile->serial) {
        current.thread = thread_new(profile);
        current.serial = profile->serial;
    }
    return current.thread;
}

static ProfileProgram *
program_of(ProfileThread *thread, TnProgram *key)
{
    if (thread->last && thread->last->program == key)
        return thread->last;
    ProfileProgram *program = g_hash_table_lookup(thread->programs, key);
    if (!program) {
        const guint n = tn_program_n_instructions(key);
        program = g_new0(ProfileProgram, 1);
        program->program = tn_program_ref(key);
        program->calls = g_new0(guint64, n + 1);
        program->ns = g_new0(gint64, n + 1);
        g_hash_table_insert(thread->programs, key, program);
    }
    return thread->last = program;
}

/* Time that was told of counts in the span around it. */
static void
add_inner(ProfileThread *thread, gint64 ns)
{
    if (thread->depth > 0 && thread->depth <= PROFILE_DEPTH)
        thread->inner[thread->depth - 1] += ns;
}

static void
add_slice(TnProfile *profile, ProfileThread *thread, ProfileSlice slice)
{
    if (atomic_load(&profile->n_steps) < MOST_STEPS &&
        atomic_fetch_add(&profile->n_slices, 1) < MOST_SLICES)
        g_array_append_val(thread->slices, slice);
}

static void
add_span(GArray *spans, const ProfileSpan *span)
{
    for (guint i = 0; i < spans->len; i++) {
        ProfileSpan *known = &g_array_index(spans, ProfileSpan, i);
        if (known->kind == span->kind && known->name == span->name) {
            known->calls += span->calls;
            known->total += span->total;
            known->self += span->self;
            return;
        }
    }
    g_array_append_val(spans, *span);
}

/* --- The watch -------------------------------------------------------------------------------- */

static TnStatus
see_instruction(TnExec *exec, const TnExecStep *step, gpointer data)
{
    TnProfile *profile = data;
    ProfileThread *thread = this_thread(profile);
    pthread_mutex_lock(&thread->lock);
    ProfileProgram *program = program_of(thread, tn_exec_program(exec));
    const gint64 ns = step->end - step->begin;
    program->runs += step->number == 0;
    program->calls[step->number]++;
    program->ns[step->number] += ns;
    thread->instructions += ns;
    add_inner(thread, ns);
    add_slice(profile, thread,
              (ProfileSlice){ step->begin, step->end, program->program, step->number, NULL, NULL });
    pthread_mutex_unlock(&thread->lock);
    return TN_OK;
}

static void
see_begin(gpointer data)
{
    ProfileThread *thread = this_thread(data);
    pthread_mutex_lock(&thread->lock);
    if (thread->depth < PROFILE_DEPTH)
        thread->inner[thread->depth] = 0;
    thread->depth++;
    pthread_mutex_unlock(&thread->lock);
}

static void
see_end(const char *kind, const char *name, gint64 begin, gint64 end, gpointer data)
{
    TnProfile *profile = data;
    ProfileThread *thread = this_thread(profile);
    pthread_mutex_lock(&thread->lock);
    thread->depth--;
    const gint64 inner = thread->depth < PROFILE_DEPTH ? thread->inner[thread->depth] : 0;
    const ProfileSpan span = { tn_intern(kind), tn_intern(name), 1, end - begin,
                               end - begin - inner };
    add_span(thread->spans, &span);
    add_inner(thread, end - begin);
    add_slice(profile, thread, (ProfileSlice){ begin, end, NULL, 0, span.kind, span.name });
    pthread_mutex_unlock(&thread->lock);
    if (strcmp(kind, "step") == 0)
        atomic_fetch_add(&profile->n_steps, 1);
}

TnProfile *
tn_profile_new(void)
{
    TnProfile *profile = g_new0(TnProfile, 1);
    profile->watch = (TnWatch){ sizeof(TnWatch), see_instruction, see_begin, see_end, profile };
    profile->serial = atomic_fetch_add(&serials, 1) + 1;
    profile->threads = g_ptr_array_new_with_free_func(thread_free);
    pthread_mutex_init(&profile->lock, NULL);
    atomic_init(&profile->n_slices, 0);
    atomic_init(&profile->n_steps, 0);
    return profile;
}

void
tn_profile_free(TnProfile *profile)
{
    if (!profile)
        return;
    g_ptr_array_unref(profile->threads);
    pthread_mutex_destroy(&profile->lock);
    g_free(profile);
}

const TnWatch *
tn_profile_watch(const TnProfile *profile)
{
    return &profile->watch;
}

void
tn_profile_start(TnProfile *profile)
{
    profile->main = this_thread(profile);
    see_begin(profile);
    profile->begin = tn_time_ns();
}

void
tn_profile_stop(TnProfile *profile)
{
    g_return_if_fail(profile->main == this_thread(profile));
    profile->end = tn_time_ns();
    see_end("all", "", profile->begin, profile->end, profile);
}

void
tn_profile_set_peak(TnProfile *profile, double flops)
{
    profile->peak = flops;
}

/* --- Everything at one moment ----------------------------------------------------------------- */

static ProfileProgram *
merged_program(ProfileReport *report, TnProgram *key)
{
    for (guint i = 0; i < report->programs->len; i++) {
        ProfileProgram *program = g_ptr_array_index(report->programs, i);
        if (program->program == key)
            return program;
    }
    const guint n = tn_program_n_instructions(key);
    ProfileProgram *program = g_new0(ProfileProgram, 1);
    program->program = tn_program_ref(key);
    program->calls = g_new0(guint64, n + 1);
    program->ns = g_new0(gint64, n + 1);
    g_ptr_array_add(report->programs, program);
    return program;
}

static void
merge_thread(ProfileReport *report, ProfileThread *thread, gboolean is_main)
{
    GHashTableIter iter;
    gpointer value;
    pthread_mutex_lock(&thread->lock);
    g_hash_table_iter_init(&iter, thread->programs);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const ProfileProgram *from = value;
        ProfileProgram *to = merged_program(report, from->program);
        to->runs += from->runs;
        for (guint i = 0; i < tn_program_n_instructions(from->program); i++) {
            to->calls[i] += from->calls[i];
            to->ns[i] += from->ns[i];
        }
    }
    for (guint i = 0; i < thread->spans->len; i++) {
        const ProfileSpan *span = &g_array_index(thread->spans, ProfileSpan, i);
        add_span(report->spans, span);
        if (is_main)
            add_span(report->main_spans, span);
    }
    report->instructions += thread->instructions;
    report->main_instructions += is_main ? thread->instructions : 0;
    pthread_mutex_unlock(&thread->lock);
}

static void
add_rows(ProfileReport *report, const ProfileProgram *program)
{
    for (guint i = 0; i < tn_program_n_instructions(program->program); i++) {
        ProfileRow row = { .program = program->program,
                           .number = i,
                           .info.size = sizeof(TnProgramStep),
                           .calls = program->calls[i],
                           .ns = program->ns[i] };
        if (row.calls == 0 || !tn_program_step(program->program, i, &row.info))
            continue;
        g_autofree char *group = tn_program_group(program->program, i);
        row.label = group ? g_strconcat("fused: ", group, NULL) : g_strdup(row.info.op->name);
        g_array_append_val(report->rows, row);
    }
}

static void
row_clear(gpointer data)
{
    g_free(((ProfileRow *)data)->label);
}

void
tn_profile_report(TnProfile *profile, ProfileReport *report)
{
    *report = (ProfileReport){
        .wall = profile->end - profile->begin,
        .rows = g_array_new(FALSE, FALSE, sizeof(ProfileRow)),
        .spans = g_array_new(FALSE, FALSE, sizeof(ProfileSpan)),
        .main_spans = g_array_new(FALSE, FALSE, sizeof(ProfileSpan)),
        .programs = g_ptr_array_new_with_free_func(program_free),
        .peak = profile->peak,
    };
    g_array_set_clear_func(report->rows, row_clear);
    pthread_mutex_lock(&profile->lock);
    for (guint i = 0; i < profile->threads->len; i++) {
        ProfileThread *thread = g_ptr_array_index(profile->threads, i);
        merge_thread(report, thread, thread == profile->main);
    }
    pthread_mutex_unlock(&profile->lock);
    for (guint i = 0; i < report->programs->len; i++)
        add_rows(report, g_ptr_array_index(report->programs, i));
}

void
tn_profile_report_clear(ProfileReport *report)
{
    g_clear_pointer(&report->rows, g_array_unref);
    g_clear_pointer(&report->spans, g_array_unref);
    g_clear_pointer(&report->main_spans, g_array_unref);
    g_clear_pointer(&report->programs, g_ptr_array_unref);
}

void
tn_profile_totals(TnProfile *profile, TnProfileTotals *totals)
{
    g_auto(ProfileReport) report = { 0 };
    tn_profile_report(profile, &report);
    TnProfileTotals full = {
        .size = MIN(totals->size, sizeof full),
        .wall = report.wall,
        .rows = report.main_instructions,
        .main_instructions = report.main_instructions,
        .programs = report.programs->len,
        .kinds = report.rows->len,
    };
    for (guint i = 0; i < report.main_spans->len; i++)
        full.rows += g_array_index(report.main_spans, ProfileSpan, i).self;
    for (guint i = 0; i < report.rows->len; i++) {
        full.instructions += g_array_index(report.rows, ProfileRow, i).ns;
        full.calls += g_array_index(report.rows, ProfileRow, i).calls;
    }
    memcpy(totals, &full, full.size);
}

/* --- Files ------------------------------------------------------------------------------------ */

gboolean
tn_profile_write(TnProfile *profile, const TnContext *context, TnRunDir *run, GError **error)
{
    g_autofree char *text = tn_profile_text(profile, context);
    g_autofree char *trace = tn_profile_trace(profile);
    return tn_run_put(run, TN_PROFILE_TEXT, text, error) &&
           tn_run_put(run, TN_PROFILE_TRACE, trace, error);
}
