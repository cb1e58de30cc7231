/* eager.c: imperative mode: the tapes, and gradients in both modes.
 *
 * Two tapes: operators on tensors that somebody tracks (variables, tensors after :track()) are kept
 * until a gradient was asked for, or no handle leads to them any more; all others run on a scratch tape
 * that is emptied at once, so that ordinary arithmetic keeps nothing alive. */
#include "host-private.h"

#include <tenon/tape.h>

#include "job-private.h"

/* A tape of fewer nodes and bytes than both is left alone. */
#define TRIM_NODES 4096
#define TRIM_BYTES (G_GUINT64_CONSTANT(64) << 20)

/* The devices of imperative mode outside a job: cpu, else ref. */
static gboolean
add_default_device(TnContext *context, GError **error)
{
    TnDevice *device = tn_device_open("cpu", context, error);
    if (!device) {
        g_clear_error(error);
        device = tn_device_open("ref", context, error);
    }
    if (!device)
        return FALSE;
    tn_context_add_device(context, device);
    tn_device_unref(device);
    return TRUE;
}

TnContext *
tn_host_context(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    GError *error = NULL;
    if (host->job) {
        while (host->job->later->len > 0) {
            if (!tn_job_add_device(host->job, host->job->later->pdata[0], &error))
                tn_host_raise(L, error);
            g_ptr_array_remove_index(host->job->later, 0);
        }
        return host->job->context;
    }
    if (!host->eager) {
        TnContext *context = tn_context_new();
        if (!add_default_device(context, &error)) {
            tn_context_unref(context);
            tn_host_raise(L, error);
        }
        host->eager = context;
    }
    return host->eager;
}

void
tn_host_clear_tape(TnHost *host)
{
    if (host->tape)
        tn_tape_clear(host->tape);
    g_hash_table_remove_all(host->tape_vars);
    host->tape_nodes = host->tape_bytes = 0;
    host->tape_round++;
}

TnTape *
tn_host_tape(lua_State *L, gboolean tracked)
{
    TnHost *host = tn_host_of(L);
    TnContext *context = tn_host_context(L);
    if (host->tape_context != context) {
        g_clear_pointer(&host->tape, tn_tape_free);
        g_clear_pointer(&host->scratch, tn_tape_free);
        g_clear_pointer(&host->tape_context, tn_context_unref);
        host->tape = tn_tape_new(context);
        host->scratch = tn_tape_new(context);
        host->tape_context = tn_context_ref(context);
        tn_host_clear_tape(host);
    }
    return tracked ? host->tape : host->scratch;
}

/* --- What stays on the tape ------------------------------------------------------------------- */

void
tn_host_join_tape(TnHost *host, TnLuaTensor *handle, TnVal val, gboolean tracked)
{
    handle->val = val;
    handle->round = host->tape_round;
    handle->tracked = tracked;
    if (handle->on_tape.data)
        return;
    handle->on_tape.data = handle;
    g_queue_push_tail_link(&host->on_tape, &handle->on_tape);
}

/* Results of which gradients can be asked. Leaves do not keep anything: they can come onto the tape again. */
static GArray *
find_roots(const TnHost *host)
{
    GArray *roots = g_array_new(FALSE, FALSE, sizeof(TnVal));
    for (const GList *link = host->on_tape.head; link; link = link->next) {
        const TnLuaTensor *handle = link->data;
        if (handle->round == host->tape_round && handle->tracked && !handle->leaf)
            g_array_append_val(roots, handle->val);
    }
    return roots;
}

/* now: as of tn_tape_keep. */
static void
renumber_handles(TnHost *host, const guint32 *now)
{
    for (GList *link = host->on_tape.head, *next; link; link = next) {
        TnLuaTensor *handle = link->data;
        const gboolean here = handle->round == host->tape_round;
        next = link->next;
        handle->val.node = here ? now[handle->val.node] : G_MAXUINT32;
        if (handle->val.node != G_MAXUINT32)
            continue;
        handle->round = 0;
        handle->on_tape.data = NULL;
        g_queue_unlink(&host->on_tape, link);
    }
}

static void
renumber_variables(TnHost *host, const guint32 *now)
{
    GHashTableIter iter;
    gpointer known;
    g_hash_table_iter_init(&iter, host->tape_vars);
    while (g_hash_table_iter_next(&iter, NULL, &known)) {
        TnTapeVar *var = known;
        var->val.node = now[var->val.node];
        if (var->val.node == G_MAXUINT32)
            g_hash_table_iter_remove(&iter);
    }
}

void
tn_host_trim_tape(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    if (tn_graph_n_nodes(tn_tape_graph(host->tape)) < MAX(2 * host->tape_nodes, TRIM_NODES) &&
        tn_tape_bytes(host->tape) < MAX(2 * host->tape_bytes, TRIM_BYTES))
        return;
    host->held = 0;
    lua_gc(L, LUA_GCCOLLECT, 0);
    GArray *roots = find_roots(host);
    guint32 *now = tn_tape_keep(host->tape, roots->len, (const TnVal *)(gpointer)roots->data);
    renumber_handles(host, now);
    renumber_variables(host, now);
    host->tape_nodes = tn_graph_n_nodes(tn_tape_graph(host->tape));
    host->tape_bytes = tn_tape_bytes(host->tape);
    g_free(now);
    g_array_unref(roots);
}

/* --- Gradients -------------------------------------------------------------------------------- */

static int
grad_in_graph(lua_State *L, TnGraph *graph, gint n, TnVal *x)
{
    TnVal *grads = x + n;
    GError *error = NULL;
    const TnVal y = tn_operand_in_graph(L, 1, graph);
    for (gint i = 0; i < n; i++) {
        lua_rawgeti(L, 2, i + 1);
        if (luaL_testudata(L, -1, TN_TENSOR))
            return tn_host_raise_text(
                L, TN_ERROR_CONFIG,
                "grad: %d of the list is a tensor, a constant of what is traced "
                "here; make it an argument, or a variable",
                i + 1);
        x[i] = tn_operand_in_graph(L, -1, graph);
        lua_pop(L, 1);
    }
    if (!tn_grad(graph, y, TN_VAL_NONE, n, x, grads, &error))
        return tn_host_raise(L, error);
    lua_createtable(L, n, 0);
    for (gint i = 0; i < n; i++) {
        tn_push_val(L, graph, grads[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int
grad_on_tape(lua_State *L, gint n, TnVal *x, gboolean keep)
{
    TnHost *host = tn_host_of(L);
    TnTape *tape = tn_host_tape(L, TRUE);
    tn_host_trim_tape(L);
    TnVal *grads = x + n;
    GError *error = NULL;
    gboolean tracked;
    const TnVal y = tn_operand_on_tape(L, 1, tape, &tracked);
    if (!tracked)
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "grad: nothing that led to this value is tracked (variables are; "
                                  "tensors after t:track()), or a gradient was asked for already: "
                                  "give {keep = true} there");
    for (gint i = 0; i < n; i++) {
        lua_rawgeti(L, 2, i + 1);
        const TnLuaVar *var = tn_to_variable(L, -1);
        x[i] = var ? tn_variable_on_tape(L, var->var, TRUE)
                   : tn_operand_on_tape(L, -1, tape, &tracked);
        lua_pop(L, 1);
        if (!tracked)
            return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                      "grad: tensor %d is not tracked; call its :track() before it "
                                      "is used",
                                      i + 1);
    }
    if (!tn_tape_grad(tape, y, n, x, grads, &error))
        return tn_host_raise(L, error);
    lua_createtable(L, n, 0);
    for (gint i = 0; i < n; i++) {
        TnLuaTensor *handle = tn_push_tensor(L);
        if (keep)
            tn_host_join_tape(host, handle, grads[i], TRUE);
        tn_fill_tensor(L, handle, tn_tensor_ref(tn_tape_tensor(tape, grads[i])));
        lua_rawseti(L, -2, i + 1);
    }
    if (!keep)
        tn_host_clear_tape(host);
    return 1;
}

/* grad(y, {x, …} [, {keep = true}]): d(sum(y))/dx for each x, as a list. */
static int
grad(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TTABLE)
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "grad: what the gradients are of is a list, as in tn.grad(y, { x "
                                  "})");
    lua_settop(L, 3);
    const gint n = (gint)lua_rawlen(L, 2);
    gboolean keep = FALSE;
    if (lua_type(L, 3) == LUA_TTABLE) {
        lua_getfield(L, 3, "keep");
        keep = lua_toboolean(L, -1);
    }
    TnVal *x = lua_newuserdatauv(L, sizeof(TnVal) * (2 * (gsize)n + 1), 0);
    const TnLuaValue *value = tn_to_val(L, 1);
    TnGraph *graph = value ? value->graph : NULL;
    return graph ? grad_in_graph(L, graph, n, x) : grad_on_tape(L, n, x, keep);
}

/* clear(): forgets what tracked tensors led to. */
static int
clear(lua_State *L)
{
    tn_host_clear_tape(tn_host_of(L));
    return 0;
}

/* tape_size(): nodes and bytes of what gradients may be asked of. */
static int
tape_size(lua_State *L)
{
    TnTape *tape = tn_host_tape(L, TRUE);
    lua_pushinteger(L, tn_graph_n_nodes(tn_tape_graph(tape)));
    lua_pushinteger(L, (lua_Integer)tn_tape_bytes(tape));
    return 2;
}

/* no_grad(f, …): what f(…) gives; nothing that it computes is tracked, or has a gradient in a graph. */
static int
no_grad(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    if (lua_type(L, 1) != LUA_TFUNCTION && luaL_getmetafield(L, 1, "__call") == LUA_TNIL)
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "no_grad: a function is wanted, as in tn.no_grad(model, x), not "
                                  "a %s",
                                  luaL_typename(L, 1));
    if (lua_type(L, 1) != LUA_TFUNCTION)
        lua_pop(L, 1);
    host->no_grad++;
    const int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    host->no_grad--;
    return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/* seed(number): of what is made outside a job. */
static int
seed(lua_State *L)
{
    tn_context_set_seed(tn_host_context(L), (guint64)tn_check_seed(L, 1));
    return 0;
}

static int
is_operand(lua_State *L)
{
    TnType type;
    lua_pushboolean(L, tn_operand_type(L, 1, &type));
    return 1;
}

static int
is_symbolic(lua_State *L)
{
    lua_pushboolean(L, luaL_testudata(L, 1, TN_VALUE) != NULL);
    return 1;
}

int
tn_eager_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "grad", grad },
        { "clear", clear },
        { "no_grad", no_grad },
        { "tape_size", tape_size },
        { "seed", seed },
        { "is_operand", is_operand },
        { "is_symbolic", is_symbolic },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    return 0;
}
