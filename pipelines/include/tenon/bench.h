/* bench.h: "tenon.bench/1": cases of `tenon bench`, rows of each domain. */
#pragma once

#include <tenon/plugin.h>

G_BEGIN_DECLS

#define TN_IFACE_BENCH "tenon.bench/1"

/* What a case is given. */
typedef struct TnBench TnBench;
struct TnBench {
    guint32 size;
    double seconds;      /* to measure for, after a warm-up */
    const char *program; /* path of the tenon program, for cases that start processes */
    const char *name;    /* of the case */
    /* Prints a line: case[.variant], value, unit, what was run. variant may be NULL. */
    void (*report)(TnBench *bench, const char *variant, double value, const char *unit,
                   const char *what);
    gboolean profile; /* --profile: say where time goes after the figures, by print */
    void (*print)(TnBench *bench, const char *text);
    /* Prints a line for people, which scripts that read figures pass over: "case: text". */
    void (*remark)(TnBench *bench, const char *text);
    guint64 memory_limit; /* --memory-limit: of a network's program; 0: none */
};

typedef struct {
    guint32 size;
    const char *name;
    const char *help; /* one line */
    gboolean (*run)(TnBench *bench, GError **error);
} TnBenchCase;

typedef struct {
    guint32 size, minor;
    guint32 case_size; /* sizeof (TnBenchCase) */
    guint32 n;
    const TnBenchCase *cases;
} TnBenchVTable;

G_END_DECLS
