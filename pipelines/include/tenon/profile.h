/* profile.h: where an experiment's time and memory go: what a watch of its context was told
 * (tn_context_set_watch), as tables and as a trace. */
#pragma once

#include <tenon/context.h>
#include <tenon/program.h>
#include <tenon/run.h>

G_BEGIN_DECLS

typedef struct TnProfile TnProfile;

/* (transfer full). Instructions are counted for as long as it is told of them; slices of the first
 * 20 steps, 40000 at most, are kept for the trace. */
TN_API TnProfile *tn_profile_new(void);
/* After every context that it watches. */
TN_API void tn_profile_free(TnProfile *profile);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnProfile, tn_profile_free)
/* (transfer none), as long as the profile. */
TN_API const TnWatch *tn_profile_watch(const TnProfile *profile);

/* Time counts from start to stop, on the thread that calls both: what it does in between is in one
 * of the report's rows, so that these sum up to the wall time. */
TN_API void tn_profile_start(TnProfile *profile);
TN_API void tn_profile_stop(TnProfile *profile);
/* What tn_measure_peak gave: the tables then show shares of it. 0: not known. */
TN_API void tn_profile_set_peak(TnProfile *profile, double flops);

/* Sums over everything that was told, times in ns. */
typedef struct {
    guint32 size;
    gint64 wall;              /* from start to stop */
    gint64 rows;              /* of the rows of the thread that started: instructions, and what is
                               * left of its spans: equal to wall */
    gint64 instructions;      /* of all threads */
    gint64 main_instructions; /* of the thread that started */
    guint programs;           /* that ran */
    guint kinds;              /* instructions of them that ran */
    guint64 calls;            /* of instructions */
} TnProfileTotals;
/* After tn_profile_stop. totals->size is set by the caller. */
TN_API void tn_profile_totals(TnProfile *profile, TnProfileTotals *totals);

/* f32 operations a second that the cpu device does in products of large matrices, best of several
 * within about a quarter of a second; 0 with *error if there is no such device. */
TN_API double tn_measure_peak(GError **error);

/* The table of operators, after tn_profile_stop. (transfer full): g_free. */
TN_API char *tn_profile_operators(TnProfile *profile);
/* All tables: wall time, operators, nodes, stages, memory. context: whose variables are named beside
 * the arenas; NULL: nobody's. (transfer full): g_free. */
TN_API char *tn_profile_text(TnProfile *profile, const TnContext *context);
/* Chrome's trace events as JSON ("Trace Event Format", Google 2016), times in microseconds since
 * start. (transfer full): g_free. */
TN_API char *tn_profile_trace(TnProfile *profile);

#define TN_PROFILE_TEXT "profile.txt"
#define TN_PROFILE_TRACE "trace.json"
/* Both into a run's folder. TN_ERROR_IO. */
TN_API gboolean tn_profile_write(TnProfile *profile, const TnContext *context, TnRunDir *run,
                                 GError **error);

G_END_DECLS
