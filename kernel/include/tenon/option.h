/* option.h: option rows. Each option of each component, and each attribute of each operator, is
 * declared once, as a row; parsing, checking, help, printing, hashing and binding are loops over
 * rows. */
#pragma once

#include <tenon/dtype.h>
#include <tenon/value.h>

G_BEGIN_DECLS

/* The type of a row, and of the struct member at its offset. */
typedef enum {
    TN_OPT_BOOL = 1, /* gboolean */
    TN_OPT_INT64,    /* gint64 */
    TN_OPT_UINT64,   /* guint64: bounds are compared as guint64 */
    TN_OPT_DOUBLE,   /* double */
    TN_OPT_STRING,   /* const char *, NULL if null */
    TN_OPT_PATH, /* const char *: absolute; relative ones are taken from the config file's folder */
    TN_OPT_ENUM, /* gint: index into choices */
    TN_OPT_FLAGS,         /* guint32: one bit per choice; written as a list of strings or "a|b" */
    TN_OPT_DURATION,      /* double: seconds; a number or "500ms" "1.5s" "2min" "1h" "1d" */
    TN_OPT_SIZE,          /* guint64: bytes; a number or "64KiB" "2 GB" */
    TN_OPT_SHAPE,         /* TnShape: list of sizes, each >= -1 */
    TN_OPT_INTS,          /* TnInts: list of int64 (a number alone is a list of one) */
    TN_OPT_DOUBLES,       /* TnDoubles */
    TN_OPT_STRINGS,       /* TnStrings */
    TN_OPT_GROUP,         /* a struct in place, described by sub/n_sub */
    TN_OPT_COMPONENT,     /* const TnSpec *: a component of interface iface, or its name alone */
    TN_OPT_COMPONENTS,    /* TnSpecs: list of them */
    TN_OPT_COMPONENT_MAP, /* TnSpecs with names */
    TN_OPT_FUNCTION,      /* const TnValue *: a function; components made at run time only */
    TN_OPT_VALUE,         /* const TnValue *: anything; the component checks it itself */
    TN_OPT_TENSOR,        /* TnTensor *: attributes only, compared by content */
    TN_OPT_GRAPH,         /* TnGraph *: attributes only, a sub-graph compared by digest */
} TnOptionType;

#define TN_MAX_LIST 32
typedef struct {
    gint32 rank;
    gint64 dims[TN_MAX_RANK];
} TnShape;
typedef struct {
    gint32 n;
    gint64 v[TN_MAX_LIST];
} TnInts;
typedef struct {
    gint32 n;
    double v[TN_MAX_LIST];
} TnDoubles;
typedef struct {
    gint32 n;
    const char *const *v;
} TnStrings;
typedef struct {
    gint32 n;
    const char *const *names; /* NULL in a list */
    TnSpec *const *v;
} TnSpecs;

typedef enum {
    TN_OPTION_REQUIRED = 1 << 0,
    TN_OPTION_NULLABLE = 1 << 1,   /* nil is a value: ask tn_config_is_set */
    TN_OPTION_SECRET = 1 << 2,     /* printed as *** */
    TN_OPTION_RUNTIME = 1 << 3,    /* may be set while running */
    TN_OPTION_SEARCH_LOG = 1 << 4, /* natural scale of a search over it */
    TN_OPTION_SEARCH_LINEAR = 1 << 5,
    TN_OPTION_OPEN_MIN = 1 << 6, /* min itself is not allowed */
    TN_OPTION_OPEN_MAX = 1 << 7,
    /* may be given without its key: layer{128}; order of rows counts */
    TN_OPTION_POSITIONAL = 1 << 8,
    /* a string that names another item of the component map in which its component stands */
    TN_OPTION_SIBLING = 1 << 9,
    /* a path at or below which the component writes: configs that are not trusted are confined */
    TN_OPTION_OUTPUT = 1 << 10,
    TN_OPTION_NAN = 1 << 11, /* of a double: NaN is a value, too, as an element of a tensor is */
} TnOptionFlags;

/* A typed bound: i for integers (as guint64 for TN_OPT_UINT64 and TN_OPT_SIZE), f for doubles
 * and durations. */
typedef struct {
    gint64 i;
    double f;
} TnNumber;

struct TnOption {
    const char *name;
    TnOptionType type;
    guint32 flags;               /* TnOptionFlags */
    gsize offset;                /* of the member in the component's struct */
    const char *dflt;            /* as tn_value_parse reads it; NULL: zero, empty, null */
    TnNumber min, max;           /* equal: unbounded. Lists: for each item */
    gint32 min_items, max_items; /* lists; 0, 0: any */
    const char *const *choices;  /* NULL-terminated: ENUM and FLAGS */
    const char *unit;            /* "s", "bytes", "samples"; NULL: none */
    const char *help;            /* one line, no full stop */
    const char *iface;           /* COMPONENT*: the interface wanted */
    const TnOption *sub;         /* GROUP: rows; offsets count from the group's own start */
    guint32 n_sub;
    const char *since; /* version that brought it; NULL: the first */
    const char *was;   /* old name, accepted with a notice */
};

/* Shorthands for bounds in rows. */
#define TN_RANGE_I(lo, hi) .min = { .i = (lo) }, .max = { .i = (hi) }
#define TN_RANGE_F(lo, hi) .min = { .f = (lo) }, .max = { .f = (hi) }

/* A set of rows and the struct they fill: what every option-taking thing carries. */
typedef struct {
    gsize struct_size; /* of the component's struct; 0 if it has no options */
    guint32 row_size;  /* sizeof (TnOption) where it was compiled: rows may grow */
    guint32 n;
    const TnOption *rows;
} TnOptions;
#define TN_OPTIONS(Struct, table)                                                                  \
    {                                                                                              \
        sizeof(Struct), sizeof(TnOption), G_N_ELEMENTS(table), (table)                             \
    }

/* Row i; steps by row_size. */
TN_API const TnOption *tn_options_row(const TnOptions *options, guint32 i);
/* By name or old name; NULL if there is none. */
TN_API const TnOption *tn_options_find(const TnOptions *options, const char *name);

/* --- Faults: everything that is wrong, told at once ------------------------------------------- */

TN_API TnFaults *tn_faults_new(void);
TN_API void tn_faults_free(TnFaults *faults);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnFaults, tn_faults_free)
/* Records "FILE:LINE: PATH: text". path may be NULL. Thread: serial, as all of TnFaults. */
TN_API void tn_faults_add(TnFaults *faults, TnWhere where, const char *path, const char *format,
                          ...) G_GNUC_PRINTF(4, 5);
/* A notice does not fail the check (an option's old name). */
TN_API void tn_faults_notice(TnFaults *faults, TnWhere where, const char *path, const char *format,
                             ...) G_GNUC_PRINTF(4, 5);
TN_API gsize tn_faults_count(const TnFaults *faults); /* notices not counted */
/* whole line, faults in order of file and line */
TN_API const char *tn_faults_text(const TnFaults *faults, gsize i);
TN_API gsize tn_faults_n_notices(const TnFaults *faults);
TN_API const char *tn_faults_notice_text(const TnFaults *faults, gsize i);
/* All of them as one TN_ERROR_CONFIG error, a line each; FALSE (and nothing set) when there is
 * none. */
TN_API gboolean tn_faults_to_error(const TnFaults *faults, GError **error);

/* --- Parse ------------------------------------------------------------------------------------ */

/* Fills and checks a struct from a map of options: defaults, then the map's values; unknown keys
 * (nearest known one named), wrong types, ranges, missing required ones are recorded in faults
 * under path (may be NULL). A value that is a spec of an interface beginning "tenon.search/" is
 * accepted for any option and read as the option's default. COMPONENT rows check only that the
 * value is a spec of the interface. where: the place of the whole. base_dir: for relative paths,
 * may be NULL. Returns NULL if there was a fault. (transfer full): tn_config_unref. Thread: any. */
TN_API TnConfig *tn_config_parse(const TnOptions *options, const TnValue *map, const char *path,
                                 TnWhere where, const char *base_dir, TnFaults *faults);
/* The same without a faults collector: all faults in *error. map may be NULL: defaults. */
TN_API TnConfig *tn_config_new(const TnOptions *options, const TnValue *map, GError **error);
TN_API TnConfig *tn_config_ref(TnConfig *config);
TN_API void tn_config_unref(TnConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnConfig, tn_config_unref)
/* The filled struct; valid as long as the config. (transfer none). */
TN_API const void *tn_config_data(const TnConfig *config);
/* Whether the option was given (not nil, not left to its default). */
TN_API gboolean tn_config_is_set(const TnConfig *config, const char *name);
/* The resolved options as a value map, secrets hidden. (transfer full). */
TN_API TnValue *tn_config_to_value(const TnConfig *config);

/* --- Bare structs (operators' attributes) ----------------------------------------------------- */

/* Writes the rows' defaults into zeroed memory of struct_size; strings are interned. */
TN_API void tn_options_defaults(const TnOptions *options, void *data);
/* Fills from a map like tn_config_parse, but strings are interned and nothing else is owned: for
 * rows without components, functions and string lists. */
TN_API gboolean tn_options_fill(const TnOptions *options, const TnValue *map, void *data,
                                GError **error);
TN_API guint64 tn_options_hash(const TnOptions *options, const void *data);
TN_API gboolean tn_options_equal(const TnOptions *options, const void *a, const void *b);
/* Takes references on TENSOR and GRAPH members (after a plain copy of the struct), or drops
 * them. */
TN_API void tn_options_hold(const TnOptions *options, void *data);
TN_API void tn_options_drop(const TnOptions *options, void *data);
/* "key=value key=value" of what differs from the default. (transfer full): g_free. */
TN_API char *tn_options_print(const TnOptions *options, const void *data);
/* A member as a value. (transfer full). */
TN_API TnValue *tn_option_get(const TnOption *row, const void *data);
/* A row's type, range, default, unit as a help text would say them, such as "double in (0, 1],
 * default 0.9". (transfer full): g_free. */
TN_API char *tn_option_describe(const TnOption *row);

G_END_DECLS
