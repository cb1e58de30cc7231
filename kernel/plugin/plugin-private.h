/* plugin-private.h: what the files of this room share: records of the index, opened plugins, the
 * registry's locks.
 *
 * Two locks. `slow` (recursive) is held while files are looked at, described, opened and
 * initialised; `table` guards the tables of what is there and is held for look-ups only. `slow` is
 * taken before `table`, never after. */
#pragma once

#include <gmodule.h>
#include <pthread.h>

#include <tenon/base.h>
#include <tenon/plugin.h>

#define TN_IFACE_OP "tenon.op/1"
#define TN_IFACE_DEVICE "tenon.device/1"

/* A plugin file as the index knows it. Never freed once it was shown: others hold its strings. */
typedef struct {
    TnPluginInfo info;
    char *text;   /* the block of lines it was parsed from */
    gint64 mtime; /* nanoseconds */
    guint64 size;
    guint64 host;   /* of a broken one: which libtenon found it so */
    gint64 expires; /* of a transient one: seconds since 1970 when it is described again; else 0 */
    gboolean transient;     /* not to be kept in the index: the reason may lie outside the file */
    const gint32 *ranks;    /* of each factory */
    const guint32 *flags;   /* TnFactoryFlags */
    const gboolean *probes; /* whether it has a probe */
} TnRecord;

typedef enum { TN_LOADED_OPENING, TN_LOADED_READY, TN_LOADED_FAILED } TnLoadedState;

/* A plugin that is being or was opened in this process. Never freed. */
typedef struct {
    const char *name;
    const char *path; /* "" for one linked into the program */
    const TnPlugin *plugin;
    TnLoadedState state;
    GError *error;         /* why it failed, repeated to all who ask */
    pthread_mutex_t calls; /* recursive: TN_THREADS_MODULE */
    TnRecord *record;      /* of one linked into the program; NULL otherwise */
} TnLoaded;

/* --- locate.c --- */
guint64 tn_plugin_library_stamp(void);   /* changes when that file does */
char *tn_plugin_scanner(char **missing); /* tenon-scan; NULL and where it was looked for */
GPtrArray *tn_plugin_folders(void);      /* of char *, absolute, first wins; slow lock held */

/* --- descriptor.c (also part of tenon-scan) --- */
gboolean tn_plugin_name_of_file(const char *file, char **name); /* "libtn_cpu.so" -> "cpu" */
char *tn_plugin_symbol(const char *name);                       /* "tn_plugin_cpu_desc" */
/* NULL if the descriptor is sound, else what is wrong with it. name: that of the file. */
char *tn_plugin_fault(const TnPlugin *plugin, const char *name);
void tn_plugin_describe(const TnPlugin *plugin, GString *out); /* as a block of lines */
void tn_plugin_add_field(GString *out, const char *text);      /* a tab and the text, escaped */
char *tn_plugin_link_fault(const char *dlerror_text); /* the linker's words as a sentence */

/* --- record.c --- */
/* Parses one block at *text and moves behind it. NULL and *why (transfer full) if any line is not
 * as it should be. fallback_name: used when the block says broken. */
TnRecord *tn_record_parse(const char **text, const char *path, const char *fallback_name,
                          char **why);
TnRecord *tn_record_broken(const char *path, const char *name, const char *reason);
void tn_record_free(TnRecord *record); /* one that nobody saw yet */
char *tn_record_unescape(const char *text, gsize n);

/* --- scan.c --- */
TnRecord *tn_plugin_scan(const char *path, const char *name);
/* Runs tenon-scan with arguments; *output (transfer full) is what it printed. NULL if it ended
 * well, else what happened.
 * *transient: the file may not be to blame. */
char *tn_plugin_run_scanner(const char *const *args, const char *folders, double seconds,
                            char **output, gboolean *transient);

/* --- index.c: slow lock held --- */
GPtrArray *tn_index_refresh(
    void); /* (transfer none) of TnRecord *, by name; until the next refresh */

/* --- registry.c --- */
void tn_registry_lock_slow(void);
void tn_registry_unlock_slow(void);
void tn_registry_lock_table(void);
void tn_registry_unlock_table(void);
TnLoaded *tn_registry_loaded(const char *name); /* table lock held; NULL */
void tn_registry_put_loaded(TnLoaded *loaded);  /* takes the table lock */
void tn_registry_publish(
    TnLoaded *loaded); /* its factories, modules, verbs; takes the table lock */
gboolean tn_registry_supplies(const char *iface); /* among opened ones; takes the table lock */
TnLoaded *tn_registry_owner_of(
    const TnFactory *factory); /* NULL: made at run time; takes the table lock */
void tn_registry_count(const TnFactory *factory, gint change); /* instances; takes the table lock */
/* What its probe says, asked once: 1 without a probe; 0 or less with *error
 * (TN_ERROR_UNSUPPORTED). */
gint tn_registry_score(const TnFactory *factory, GError **error);
const TnFactory *tn_registry_find_open(const char *iface, const char *name);
typedef enum { TN_NAMED_MODULE, TN_NAMED_VERB } TnNamedKind;
gconstpointer tn_registry_find_named(TnNamedKind kind, const char *name); /* among opened ones */
void tn_registry_names(const char *iface,
                       GPtrArray *names); /* adds those of opened factories, interned */

/* --- open.c: slow lock held --- */
TnLoaded *tn_plugin_open_record(const TnRecord *record, GError **error);
TnLoaded *tn_plugin_open_static(const TnPlugin *plugin, GError **error);
