/* profile-private.h: what a profile keeps, for its reports. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <tenon/base.h>
#include <tenon/profile.h>

/* Of a program's instructions on one thread. */
typedef struct {
    TnProgram *program; /* a reference */
    guint64 runs;
    guint64 *calls; /* per instruction */
    gint64 *ns;
} ProfileProgram;

/* Spans of one kind and name. self: without what was told of within them. */
typedef struct {
    const char *kind, *name; /* interned */
    guint64 calls;
    gint64 total, self; /* ns */
} ProfileSpan;

/* A slice of the trace: instruction `number` of program, or without one a span. */
typedef struct {
    gint64 begin, end;
    TnProgram *program; /* one of the thread's programs */
    guint number;
    const char *kind, *name;
} ProfileSlice;

#define PROFILE_DEPTH 32

typedef struct {
    pthread_mutex_t lock; /* the thread against who reports */
    guint number;         /* from 1 */
    char name[32];
    GHashTable *programs; /* TnProgram → ProfileProgram */
    ProfileProgram *last;
    GArray *spans;  /* ProfileSpan */
    GArray *slices; /* ProfileSlice */
    gint64 instructions;
    gint64 inner[PROFILE_DEPTH]; /* what was told of within the spans that are open */
    guint depth;
} ProfileThread;

struct TnProfile {
    TnWatch watch;
    guint64 serial;       /* of all profiles of this process */
    pthread_mutex_t lock; /* of threads */
    GPtrArray *threads;   /* ProfileThread * */
    ProfileThread *main;  /* that started it */
    gint64 begin, end;
    double peak;
    atomic_uint n_slices, n_steps; /* of the trace */
};

/* An instruction over all threads, for a report. */
typedef struct {
    const TnProgram *program;
    guint number;
    TnProgramStep info;
    char *label; /* operator, or "fused: OPERATORS" */
    guint64 calls;
    gint64 ns;
} ProfileRow;

/* Everything at one moment. */
typedef struct {
    gint64 wall;
    GArray *rows;        /* ProfileRow */
    GArray *spans;       /* ProfileSpan, of all threads */
    GArray *main_spans;  /* of the main thread */
    GPtrArray *programs; /* ProfileProgram *, merged */
    gint64 instructions, main_instructions;
    double peak;
} ProfileReport;
void tn_profile_report(TnProfile *profile, ProfileReport *report);
void tn_profile_report_clear(ProfileReport *report);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ProfileReport, tn_profile_report_clear)

/* profile-memory.c: the tables of arenas. */
void tn_profile_print_memory(GString *text, const ProfileReport *report, const TnContext *context);
/* "12.3 MiB" into buffer. */
#define PROFILE_BYTES 32
const char *tn_profile_bytes(guint64 bytes, char buffer[PROFILE_BYTES]);
