/* host-private.h: what the files of this room share: the host, the values it hands to Lua, and the
 * rules for crossing between C and Lua.
 *
 * Rules. (1) A C function called by Lua keeps nothing in its own frame while it calls what may
 * raise: it first makes the userdata (whose __gc frees), then fills it. (2) A GError becomes a Lua
 * error through tn_host_raise, which parks it in the host. (3) Every entry from C is a lua_pcall
 * with tn_host_traceback below it. */
#pragma once

#include <stdatomic.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <tenon/host.h>
#include <tenon/tenon.h>

#define TN_IFACE_SEARCH "tenon.search/"
#define TN_LUA_MEMORY "there is not enough memory for Lua"
#define TN_LOADED "tenon.loaded" /* registry: modules by name, what our `require` looks at */

/* A component written in Lua: its rows as a factory, its functions as a table. */
typedef struct {
    TnFactory factory;
    TnHost *host;
    int ref;              /* registry: the class table */
    const char **wrap;    /* per row: component that a plain number stands for; NULL: none */
    double *wrap_default; /* the number a wrapped row has when nothing was given; NaN: none */
    GPtrArray *tables;    /* rows and choices, freed with the class */
    gboolean own;         /* declared by the config, not by a module of ours */
} TnClass;

/* An entry of the config's faults, kept until the load is over: a load that had to be given up must
 * not touch what its caller owns. */
typedef struct {
    TnWhere where;
    char *path, *text;
} TnFault;

/* A "key=value" of the command line. */
typedef struct {
    char *key, *text;
    gboolean used; /* by tn.arg */
} TnOverride;

typedef struct {
    TnHostArg arg;
    char *name, *help, *accepts;
    TnValue *dflt;
    TnValue *value; /* from the command line; NULL: none */
} TnArgRow;

/* What layers and operators add to at present. */
typedef struct {
    TnGraph *graph; /* NULL: imperative */
    TnContext *context;
} TnBuild;

struct TnHost {
    lua_State *L;
    atomic_int owners; /* a load that was given up is the second one */
    gboolean lost;     /* seen by the caller's thread alone: the state is another's now */
    gboolean trust, joins;
    char *data_root;
    /* limits */
    guint64 memory, memory_limit;
    guint64 instructions;
    double seconds;
    gboolean loading;
    atomic_bool stop;     /* the time is up */
    TnFault *limit;       /* which limit ended the load */
    TnWhere memory_where; /* what ran when memory was refused */
    /* the config */
    char *text;         /* given instead of its file; NULL */
    const char *config; /* its path, interned */
    char *folder, *real_folder;
    GHashTable *sources; /* file -> text */
    /* what it was made of: keep.c */
    char *kept, *keep;    /* folder of copies to read instead; folder that gets copies; NULL */
    TnValue *index;       /* what sources.json holds */
    GHashTable *copies;   /* file -> GBytes, not written yet */
    GHashTable *opened;   /* file -> OpenCopy of keep.c: what handles of Lua's read */
    gboolean asked_time;  /* the config was told what time it is */
    char **launch;        /* words that start a stage's own process; NULL: none is */
    const TnWatch *watch; /* of the job's context; NULL: nobody */
    gboolean settled;     /* the job runs: what is read now does not make it */
    GPtrArray *faults;    /* of TnFault */
    GPtrArray *overrides;
    GPtrArray *args; /* of TnArgRow */
    TnSpec *root;
    /* components in Lua */
    GHashTable *classes; /* "iface name" -> TnClass */
    GPtrArray *class_order;
    GHashTable *funcs; /* live handles of Lua functions in values */
    /* errors on their way */
    GError *error;
    TnErrorCode code; /* of the last error raised, and its text */
    char *code_text;
    /* graphs */
    TnBuild build;
    TnContext *eager;        /* of imperative mode outside a job */
    TnContext *tape_context; /* of the tapes */
    TnTape *tape;            /* what gradients may be asked of */
    TnTape *scratch;         /* everything else: emptied after each operator */
    guint64 tape_round;      /* counts how often tape was emptied */
    GHashTable *tape_vars;   /* TnVar * -> TnTapeVar: variables on tape */
    GQueue on_tape;          /* handles with values on tape, and some that had in former rounds */
    guint64 tape_nodes, tape_bytes; /* at twice as much, what no handle leads to leaves the tape */
    guint no_grad;                  /* calls of tn.no_grad that run: nothing is tracked */
    guint64 writes;                 /* counts what may have changed variables */
    guint64 held, held_limit; /* bytes of tensors since the last collection, and when to collect */
    GHashTable *ops;          /* name -> TnOp, found already */
    TnJob *job;
};

static inline TnHost *
tn_host_of(lua_State *L)
{
    return *(TnHost **)lua_getextraspace(L);
}

/* --- host.c ----------------------------------------------------------------------------------- */
/* Raises error (transfer full) as a Lua error with the user's line before it. Does not return. */
int tn_host_raise(lua_State *L, GError *error);
int tn_host_raise_text(lua_State *L, TnErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Says what is wrong at path (NULL: at no option): a fault while a config loads, raised otherwise. where may have no
 * line: it is the user's then. */
void tn_host_complain(lua_State *L, TnWhere where, const char *path, const char *text);
/* Message handler: adds the user's frames. */
int tn_host_traceback(lua_State *L);
/* lua_pcall with it; FALSE and *error (code kept where it came from a GError). Pops what lua_pcall
 * pops. */
gboolean tn_host_call(TnHost *host, int n_args, int n_results, GError **error);
/* The fault or error text at the top of the stack as (where, text). Text is (transfer full). */
char *tn_host_split(TnHost *host, const char *message, TnWhere *where);
void tn_host_fault(TnHost *host, TnWhere where, const char *path, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void tn_fault_free(TnFault *fault);
/* A metatable in the registry, its own __index, hidden from getmetatable. */
void tn_host_metatable(lua_State *L, const char *name, const luaL_Reg *methods);

/* --- watch.c: the limits of a load --- */
/* Calls body(data) in a thread of its own and waits for it, at most host->seconds and a little.
 * FALSE: the thread was given up; the host belongs to it from now on and must not be touched. */
gboolean tn_host_watch(TnHost *host, void (*body)(TnHost *host));
void *tn_host_allocate(void *data, void *memory, size_t old_size, size_t new_size);

/* --- sandbox.c --- */
int tn_host_open_libs(lua_State *L); /* a lua_CFunction */

/* --- require.c --- */
/* require(name), a lua_CFunction: the table of loaded modules is upvalue 1, Lua's own require (trusted
 * configs) upvalue 2. */
int tn_host_require(lua_State *L);

/* --- where.c --- */
TnWhere tn_host_where(lua_State *L); /* the line of the user's file that is running */
/* Lines of the keys written in the constructor call at `where`: path ("a", "a.b", "a[2]") -> line
 * as GINT_TO_POINTER, in out. keys: a map; the call whose keys fit best is taken. */
GHashTable *tn_source_lines(const char *text, gint line, const char *name, const char *const *keys,
                            guint n_keys);
const char *tn_host_source(TnHost *host, const char *file); /* NULL: not a file of the config */

/* --- keep.c: copies of what a config is made of --- */
#define TN_KEPT_MODULES "modules"
#define TN_KEPT_FILES "files"
#define TN_MOST_KEPT (16u << 20) /* bytes of one file */
/* For host->opened. */
void tn_host_free_copy(gpointer open_copy);
/* Reads the index of host->kept; an empty one without. */
gboolean tn_host_open_kept(TnHost *host, GError **error);
/* Notes that name was read; file, where its copy lies below the folder, NULL: it was not there. */
void tn_host_note(TnHost *host, const char *kind, const char *name, const char *file,
                  GBytes *bytes);
/* Whether name was noted; *file as above, (transfer none). */
gboolean tn_host_kept(TnHost *host, const char *kind, const char *name, const char **file);
GBytes *tn_host_copy(TnHost *host, const char *file, GError **error); /* (transfer full) */
/* Seconds since 1970 at which the config was first loaded. */
gint64 tn_host_load_time(const TnHost *host);
/* What io.open(name) gives, from the copy, which is made if need be: the number of values pushed;
 * 0: ask Lua's own. */
int tn_host_push_file(lua_State *L, const char *name);

/* --- load.c --- */
/* Where item i of a map or list stands in the tree, if that stands at path (NULL: at the top): "path.key",
 * "path[i + 1]". (transfer full). */
char *tn_host_path_below(const char *path, const TnValue *value, gsize i);

/* --- placing.c --- */
/* Notes every stage in the tree of root whose place can be nowhere. */
void tn_host_check_places(const TnHost *host, const TnSpec *root, TnFaults *faults);

/* --- confine.c: where an untrusted config may have files written --- */
/* Notes every option in the tree of spec that names another place. */
void tn_host_check_outputs(TnHost *host, const TnSpec *spec, TnFaults *faults);
/* The same before spec, or what a method does, is made; FALSE with *error. */
gboolean tn_host_confine(TnHost *host, const TnSpec *spec, GError **error);
gboolean tn_host_confine_options(TnHost *host, const TnOptions *rows, const TnConfig *config,
                                 GError **error);

/* --- values.c --- */
typedef struct {
    TnValue *value;
} TnValueBox;
/* A userdata that owns a value, left on the stack: the safe place for one under construction. */
TnValueBox *tn_push_box(lua_State *L, TnValue *value);
/* The Lua value at index as a value in a new box on the stack. Wrong things are said as faults
 * while a config loads, raised otherwise. */
TnValue *tn_box_from(lua_State *L, int index, const char *what);
/* The same without places, of a call's argument: an error about it is one of the call, and has its place. */
TnValue *tn_box_argument(lua_State *L, int index, const char *what);
/* Pushes the Lua form of a value; functions as themselves, specs as spec handles. */
void tn_push_value(lua_State *L, const TnValue *value);
void tn_push_spec(lua_State *L, TnSpec *spec);
TnSpec *tn_to_spec(lua_State *L, int index); /* NULL if it is none */
gboolean tn_push_func(lua_State *L, const TnValue *func);
/* Converts a table's keys and items into map (a spec's options); positional ones into *items. */
void tn_fill_map(lua_State *L, int table, TnValue *map, TnValue *items, TnWhere where);
void tn_funcs_detach(TnHost *host);
int tn_values_open(lua_State *L);

/* --- spec.c --- */
int tn_spec_open(lua_State *L);
/* Pushes the constructor of a component. */
void tn_push_constructor(lua_State *L, const char *iface, const char *component);
/* Puts positional items into a map by rows. */
void tn_place_items(lua_State *L, const TnOptions *rows, TnValue *map, TnValue *items,
                    TnWhere where, const char *what);

/* --- component.c --- */
int tn_component_open(lua_State *L);
TnClass *tn_host_class(TnHost *host, const char *iface, const char *component);
void tn_class_free(TnClass *klass);
/* Pushes a new instance of spec, whose component is written in Lua. name: what its parent calls it,
 * may be NULL. */
void tn_push_instance(lua_State *L, TnSpec *spec, const char *name);

/* --- sink.c --- */
int tn_sink_open(lua_State *L);

/* --- resolved.c --- */
int tn_resolved_open(lua_State *L);
/* While a given config loads: pushes the argument of that name, nil if it was not given. FALSE, and
 * nothing is pushed, while none does. */
gboolean tn_given_arg(lua_State *L, const char *name);

/* --- override.c --- */
int tn_arg_open(lua_State *L);
void tn_host_apply_overrides(TnHost *host, TnSpec *root);
void tn_host_wrap_numbers(TnHost *host, TnSpec *spec);

/* --- tensor.c, variable.c, operand.c ----------------------------------------------------------- */
typedef struct {
    TnTensor *tensor;
    gboolean tracked;
    gboolean leaf; /* tracked in every round; other results only in that of their making */
    guint64 round; /* of val */
    TnVal val;
    TnGraph *graph; /* where it is the result of an operator, too: `node`; NULL: nowhere */
    TnVal node;
    GList on_tape; /* its link in the host's queue; data NULL: not there */
} TnLuaTensor;
typedef struct {
    TnVar *var; /* (transfer none): the context's store has it */
    TnContext *context;
} TnLuaVar;
#define TN_TENSOR "tenon.tensor"
#define TN_VARIABLE "tenon.variable"
int tn_tensor_open(lua_State *L);
int tn_variable_open(lua_State *L);
int tn_operand_open(lua_State *L);
/* A metatable whose __index looks among methods, then properties, then operators. */
void tn_operand_metatable(lua_State *L, const char *name, const luaL_Reg *events,
                          const luaL_Reg *methods);
/* Pushes an empty handle first, so that what is put into it cannot be lost. */
TnLuaTensor *tn_push_tensor(lua_State *L);
/* Takes tensor and reports its bytes to the collector. */
void tn_fill_tensor(lua_State *L, TnLuaTensor *handle, TnTensor *tensor);
TnLuaTensor *tn_to_tensor(lua_State *L,
                          int index); /* NULL if it is none; raises if it was closed */
TnLuaVar *tn_push_variable(lua_State *L, TnVar *var, TnContext *context);
TnLuaVar *tn_to_variable(lua_State *L, int index);
TnType tn_check_type(lua_State *L, const char *dtype, int shape);
/* The same for the variable `owner`, which errors name; NULL: for none. */
TnType tn_check_type_of(lua_State *L, const char *owner, const char *dtype, int shape);
/* A whole number, else it is raised that a seed is one. */
lua_Integer tn_check_seed(lua_State *L, int index);
void tn_push_shape(lua_State *L, const TnType *type);

/* --- number.c: Lua's numbers as elements --- */
/* The number (or boolean, or a u64's digits) at index as an element of dtype, of at most 8 bytes; FALSE: dtype does not
 * hold it. */
gboolean tn_number_read(lua_State *L, int index, TnDtype dtype, void *element);
/* Raises the sentence for it: who asks, and what may help, as in "; cast first"; NULL: nothing. */
int tn_number_refuse(lua_State *L, int index, TnDtype dtype, const char *who, const char *hint);
void tn_number_check(lua_State *L, int index, TnDtype dtype, void *element); /* both */
/* A rank-0 tensor of it (transfer full); raises as above. */
TnTensor *tn_number_scalar(lua_State *L, int index, TnDtype dtype, const char *who,
                           const char *hint);
/* FALSE for an integer beyond 2^53, where doubles have gaps. */
gboolean tn_number_is_double(lua_State *L, int index);
/* Raises if an attribute that was given and is an element of the operator's output, of that dtype, is none of it, or
 * is a whole number that a double does not hold. */
void tn_number_check_attributes(lua_State *L, const TnOp *op, const TnValue *given, TnDtype dtype);
/* Pushes an element: a float, an integer, a boolean; digits for a u64 beyond Lua's integers. */
void tn_number_push(lua_State *L, TnDtype dtype, const void *element);

/* --- graph.c: graphs and their values --- */
typedef struct {
    TnGraph *graph;
    TnVal val;
} TnLuaValue;
#define TN_VALUE "tenon.value"
#define TN_GRAPH "tenon.graph"
int tn_graph_open(lua_State *L);
void tn_push_val(lua_State *L, TnGraph *graph, TnVal val);
/* A number as a constant of graph; raises as tn_number_refuse. */
TnVal tn_number_in_graph(lua_State *L, int index, TnGraph *graph, TnDtype dtype, const char *who,
                         const char *hint);
TnLuaValue *tn_to_val(lua_State *L, int index); /* NULL if it is none */
TnGraph *tn_to_graph(lua_State *L, int index);  /* raises */
/* Pushes a handle for graph, with a reference of its own; NULL: to be filled. */
TnGraph **tn_push_graph(lua_State *L, TnGraph *graph);
void tn_host_check_graph(lua_State *L, TnGraph *graph); /* raises its first failure */
/* build(graph | nil, f, …), a lua_CFunction: calls f with graph as what is built at present, and puts
 * back what was before, come what may. */
int tn_host_build(lua_State *L);

/* --- macs.c --- */
/* g:macs(from, to), a lua_CFunction: multiply-adds of nodes from .. to - 1 at the sizes that the graph
 * was built with. */
int tn_host_macs(lua_State *L);

/* --- function.c --- */
#define TN_FUNCTION "tenon.function"
int tn_function_open(lua_State *L);
void tn_push_function(lua_State *L, TnFunction *function); /* takes a reference of its own */
TnFunction *tn_to_function(lua_State *L, int index);       /* raises */
TnGraph *tn_host_trace(const TnValue *function, const TnSchema *in, gpointer data, GError **error);

/* --- control.c: graphs within graphs --- */
int tn_control_open(lua_State *L);

/* --- apply.c: operators on whatever they are given -------------------------------------------- */
int tn_apply_open(lua_State *L);
/* Pushes the function that applies an operator; raises if there is none of that name. */
void tn_push_op(lua_State *L, const char *name);
/* The type of an operand at index; FALSE if it is none. */
gboolean tn_operand_type(lua_State *L, int index, TnType *type);
/* The operand as a value of graph. */
TnVal tn_operand_in_graph(lua_State *L, int index, TnGraph *graph);
/* The value of it on the tape, and whether gradients may be asked of it. */
TnVal tn_operand_on_tape(lua_State *L, int index, TnTape *tape, gboolean *tracked);
/* The value of a variable on the tape of gradients, one for all its handles. It is read anew once
 * something may have written to variables; used: rather the value that operators were given last. */
TnVal tn_variable_on_tape(lua_State *L, TnVar *var, gboolean used);

/* --- eager.c: imperative mode, gradients --- */
int tn_eager_open(lua_State *L);
/* What is built with at present: the job's context, else one of the host's own. Raises. */
TnContext *tn_host_context(lua_State *L);
TnTape *tn_host_tape(lua_State *L, gboolean tracked);
void tn_host_clear_tape(TnHost *host);
/* The value of a variable on the host's tape. */
typedef struct {
    TnVal val;
    guint64 writes; /* of the host, when it was read */
} TnTapeVar;
/* From now on handle stands for val of the host's tape; tracked: keeps it and what it was computed from there. */
void tn_host_join_tape(TnHost *host, TnLuaTensor *handle, TnVal val, gboolean tracked);
/* Once the tape has doubled: collects garbage and drops what no handle can be asked the gradient of. Values on the
 * tape get other numbers, so nobody may hold one but in handles. */
void tn_host_trim_tape(lua_State *L);

/* --- object.c, job-lua.c --- */
int tn_object_open(lua_State *L);
void tn_push_object(lua_State *L, TnObject *object); /* takes a reference of its own */
int tn_job_open(lua_State *L);
