/* plugin.h: the plugin ABI: what a shared library says of itself, and how the host finds and
 * uses it.
 *
 * libtn_NAME.so exports one symbol, tn_plugin_NAME_desc ('-' in a name becomes '_'), a function
 * that returns a pointer to a static const TnPlugin. Reading it runs nothing else of the plugin,
 * so a scanner can describe any file safely. Structs begin with their size where the plugin was
 * compiled: members beyond it are not read. While the ABI's major is 0, its minor must equal the
 * host's. Modules stay in memory for good. */
#pragma once

#include <stdio.h>

#include <tenon/device.h>
#include <tenon/option.h>

G_BEGIN_DECLS

#define TN_PLUGIN_MAGIC 0x544e4f4eu /* "TNON" */

/* Who may call an instance's functions, and when. The host sees to it. */
typedef enum {
    TN_THREADS_ANY = 0, /* concurrent calls on one instance */
    TN_THREADS_SERIAL,  /* one at a time per instance, any thread */
    TN_THREADS_MODULE,  /* one at a time for the whole library */
    TN_THREADS_OWNER,   /* only the thread that created it */
} TnThreads;

/* An interface that must be there before init: "tenon.device/1". */
typedef struct {
    guint32 size;
    gboolean optional;
    const char *iface;
} TnNeed;

/* A method that an object offers to Lua: `object:name(args)` or `object:name{args}`. */
typedef struct {
    guint32 size;
    const char *name;
    const char *help;   /* one line */
    TnOptions args;     /* rows; positional ones flagged so */
    const char *result; /* what comes back, in words; NULL: nothing */
    /* args: the filled struct. *result (transfer full), may stay NULL. */
    gboolean (*call)(void *self, const void *args, TnValue **result, GError **error);
} TnMethod;

/* One thing that a plugin supplies: a component of an interface. */
struct TnFactory {
    guint32 size;
    guint32 flags;     /* TnFactoryFlags */
    const char *iface; /* "tenon.device/1" */
    const char *name;  /* "cpu": what a config names */
    const char *help;  /* one line, no full stop */
    gint32 rank;       /* among equals the highest is the default */
    TnThreads threads;
    TnOptions options;
    /* Whether it can be used here: a score, 0 or less with *error set if not (a missing library,
     * no such hardware). NULL: always. Runs after the plugin's init. */
    gint (*probe)(GError **error);
    /* config: filled and checked; its strings live as long as it does (keep a reference). NULL:
     * no instances (kernel tables, operators). */
    void *(*create)(TnConfig *config, TnContext *context, GError **error);
    void (*destroy)(void *self);
    const void *vtable; /* the interface's struct */
    guint32 n_methods;
    const TnMethod *methods;
};

typedef enum {
    TN_FACTORY_INTERNAL = 1 << 0, /* not listed in help */
} TnFactoryFlags;

/* A Lua module that the plugin brings: `require "tn.NAME"` and tn.NAME. */
typedef struct {
    guint32 size;
    const char *name;    /* "nn" */
    const guint8 *bytes; /* its text */
    gsize n_bytes;
    /* relative to the source tree: TENON_LUA_DIR/path is read instead if it exists */
    const char *path;
} TnLuaModule;

/* A verb of the command line. */
typedef struct TnVerbCall TnVerbCall;
typedef struct {
    guint32 size;
    const char *name;        /* "run", or "data import" */
    const char *args;        /* "CONFIG [key=value ...]" */
    const char *help;        /* one line */
    const char *details;     /* paragraphs for --help, may be NULL */
    TnOptions options;       /* --name VALUE, --flag */
    gint min_args, max_args; /* positional; max -1: any */
    /* Returns the exit code: 0 done, 1 failed, 2 bad usage or config. On failure may set *error,
     * which the program prints. */
    gint (*run)(TnVerbCall *call, GError **error);
} TnVerb;
struct TnVerbCall {
    guint32 size;
    const TnVerb *verb;
    gint n_args;
    const char *const *args;
    const void *options; /* filled */
    FILE *out;           /* stdout: results */
    FILE *err;           /* stderr: everything else */
    gboolean color;      /* out is a terminal and NO_COLOR is not set */
    gboolean json;       /* --json was given */
};

struct TnPlugin {
    guint32 magic; /* TN_PLUGIN_MAGIC */
    guint16 abi_major, abi_minor;
    guint32 size;
    const char *name;                  /* "cpu": that of the file libtn_NAME.so */
    const char *version;               /* of the plugin: "0.1.0" */
    const char *license;               /* SPDX */
    const char *summary;               /* one line */
    const char *build;                 /* TN_BUILD_TAG */
    const TnNeed *const *needs;        /* NULL-terminated, may be NULL */
    const TnFactory *const *factories; /* NULL-terminated, may be NULL */
    const TnLuaModule *const *modules; /* NULL-terminated, may be NULL */
    const TnVerb *const *verbs;        /* NULL-terminated, may be NULL */
    /* once, before anything is used; may open vendor libraries. NULL: nothing */
    gboolean (*init)(GError **error);
    /* After init: libraries that it opened, with versions, and what of the processor it uses: what
     * measured times hold for. One line, (transfer none). NULL: nothing to say. */
    const char *(*about)(void);
};

#if G_MAXLONG == G_MAXINT64
#define TN_BUILD_TAG "lp64"
#else
#define TN_BUILD_TAG "other"
#endif

/* Head of a descriptor: TN_PLUGIN_HEAD("cpu", "0.1.0", "Apache-2.0", "…"), .factories = … */
#define TN_PLUGIN_HEAD(n, v, l, s)                                                                 \
    .magic = TN_PLUGIN_MAGIC, .abi_major = TN_ABI_MAJOR, .abi_minor = TN_ABI_MINOR,                \
    .size = sizeof(TnPlugin), .name = (n), .version = (v), .license = (l), .summary = (s),         \
    .build = TN_BUILD_TAG

/* Defines the one exported symbol: TN_PLUGIN(cpu, descriptor). */
#define TN_PLUGIN(ident, descriptor)                                                               \
    TN_API const TnPlugin *tn_plugin_##ident##_desc(void);                                         \
    const TnPlugin *tn_plugin_##ident##_desc(void)                                                 \
    {                                                                                              \
        return &(descriptor);                                                                      \
    }

/* A vtable member that is inside the size the plugin was compiled with, and set. */
#define TN_HAS(vtable, member)                                                                     \
    ((vtable) &&                                                                                   \
     G_STRUCT_OFFSET(__typeof__(*(vtable)), member) + sizeof((vtable)->member) <=                  \
         (vtable)->size &&                                                                         \
     (vtable)->member)

/* --- Registry: what this process knows. Thread: any. ------------------------------------------ */

/* What the index knows of a plugin file, opened or not. Strings live until the process ends. */
typedef struct {
    const char *path; /* "" for one linked into the program */
    const char *name; /* from the file's name if it could not be described */
    const char *version, *license, *summary;
    const char *broken; /* why it cannot be used, NULL if it can */
    gboolean opened;
    guint n_factories;
    const char *const *ifaces; /* of each factory */
    const char *const *names;
    const char *const *helps;
    guint n_modules;
    const char *const *modules;
    guint n_verbs;
    const char *const *verbs;
    const char *const *verb_helps;
} TnPluginInfo;

/* Folders to look in, first wins: those added here, TENON_PLUGIN_PATH (colon-separated), the
 * folder beside libtenon's own file (build tree or prefix). Never the working directory. */
TN_API void tn_registry_add_path(const char *folder);
/* All plugins found, from the index, which is brought up to date first (new and changed files
 * are described by tenon-scan in a child process with a time limit, and remembered under
 * XDG_CACHE_HOME/tenon). (transfer full): g_ptr_array_unref; of const TnPluginInfo *. */
TN_API GPtrArray *tn_registry_list(void);
/* Whether a plugin of the list can be used on this machine: a child process opens, initialises and
 * probes it, so nothing is opened here. NULL if it can, else why not (transfer full): g_free.
 * parts: which of its components cannot although the plugin can, a line each, or NULL (transfer
 * full); may be NULL. */
TN_API char *tn_registry_try(const TnPluginInfo *info, char **parts);
/* Opens and initialises a plugin by name; at once if it is open. FALSE with TN_ERROR_PLUGIN or
 * TN_ERROR_NOT_FOUND (nearest name). */
TN_API gboolean tn_registry_open(const char *name, GError **error);
/* Registers a descriptor linked into the program (tests; the program's own factories). */
TN_API gboolean tn_registry_add(const TnPlugin *plugin, GError **error);
/* Adds a factory made at run time (a component written in the host language); owner: the name
 * that listings show. The newest of an (iface, name) hides older ones until it is removed.
 * factory must outlive its stay. */
TN_API void tn_registry_add_factory(const TnFactory *factory, const char *owner);
TN_API void tn_registry_remove_factory(const TnFactory *factory);
/* Names of plugins opened so far, in order; NULL-terminated (transfer full): g_strfreev. */
TN_API char **tn_registry_opened(void);
/* The descriptor of an opened plugin; NULL. */
TN_API const TnPlugin *tn_registry_plugin(const char *name);
/* The factory for a component: among opened plugins, else by the index, opening the plugin that
 * supplies it. name NULL: the default (highest probe score, then rank, then name). NULL with
 * *error, nearest name included. (transfer none). */
TN_API const TnFactory *tn_registry_find(const char *iface, const char *name, GError **error);
/* Every factory of an interface among opened plugins, best first; iface NULL: of all interfaces, by
 * interface and name. (transfer full): g_ptr_array_unref. */
TN_API GPtrArray *tn_registry_query(const char *iface);
/* Name of the plugin that supplies a factory; (transfer none). */
TN_API const char *tn_registry_owner(const TnFactory *factory);
/* "tenon.op/1" of that name; NULL with TN_ERROR_NOT_FOUND. What tn_op_find asks after the
 * primitives. */
TN_API const TnOp *tn_registry_op(const char *name, GError **error);
/* The Lua module of that name, opening the plugin; NULL with *error. */
TN_API const TnLuaModule *tn_registry_lua(const char *name, GError **error);
/* The verb of that name ("data import"), opening the plugin; NULL with *error. */
TN_API const TnVerb *tn_registry_verb(const char *name, GError **error);

/* --- Instances -------------------------------------------------------------------------------- */

/* A component that was created from a factory, counted against it. */
typedef struct TnObject TnObject;
/* Checks options and creates. spec's options are validated (all faults in one error). (transfer
 * full). */
TN_API TnObject *tn_object_new(const TnSpec *spec, TnContext *context, GError **error);
/* The same with a factory and options at hand; options NULL: defaults. */
TN_API TnObject *tn_object_create(const TnFactory *factory, const TnValue *options,
                                  TnContext *context, GError **error);
TN_API TnObject *tn_object_ref(TnObject *object);
TN_API void tn_object_unref(TnObject *object);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnObject, tn_object_unref)
TN_API const TnFactory *tn_object_factory(const TnObject *object);
TN_API void *tn_object_self(const TnObject *object);
TN_API const void *tn_object_vtable(const TnObject *object);
TN_API TnConfig *tn_object_config(const TnObject *object);
/* Holds the lock that the factory's thread rule asks for (nothing for ANY; an error in debug
 * builds if OWNER is broken). */
TN_API void tn_object_enter(TnObject *object);
TN_API void tn_object_leave(TnObject *object);

/* Validates a spec without creating: its factory must exist, its options must fit, COMPONENT
 * options are followed down. */
TN_API gboolean tn_spec_check(const TnSpec *spec, const char *path, TnFaults *faults);

G_END_DECLS
