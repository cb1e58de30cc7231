/* apply.c: one piece of code binds every operator to Lua: inputs and attributes are read by the
 * schema's rows.
 *
 * `x:matmul(w)`, `tn.op.softmax(x, {axis = -1})`, `x:cast("f32")`, `x:reshape{0, -1}`: inputs
 * first, numbers among them become constants, then attributes in the order of their rows, or by
 * name in a table at the end. Among values of a graph a node is added; among tensors the operator
 * runs at once.
 *
 * While a graph is built, what an operator makes of tensors alone is a constant there. Where it is larger
 * than what it was made of, the operator is put into the graph as well, and its result is used there: a
 * program holds 8-bit weights as they are, and its rules see that they are (trace_as_well). */
#include "host-private.h"

#include <string.h>

#include <tenon/tape.h>

/* --- Operands --------------------------------------------------------------------------------- */

gboolean
tn_operand_type(lua_State *L, int index, TnType *type)
{
    const TnLuaValue *value;
    const TnLuaTensor *tensor;
    const TnLuaVar *var;
    if (lua_type(L, index) != LUA_TUSERDATA)
        return FALSE;
    if ((value = tn_to_val(L, index)))
        *type = *tn_graph_type(value->graph, value->val);
    else if ((tensor = tn_to_tensor(L, index)))
        *type = *tn_tensor_type(tensor->tensor);
    else if ((var = tn_to_variable(L, index)))
        *type = tn_var_info(var->var)->type;
    else
        return FALSE;
    return TRUE;
}

TnVal
tn_operand_in_graph(lua_State *L, int index, TnGraph *graph)
{
    const TnLuaValue *value = tn_to_val(L, index);
    if (value && value->graph != graph && tn_graph_is_within(graph, value->graph))
        return tn_graph_capture(graph, value->graph, value->val);
    if (value && value->graph != graph)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "a value of graph '%s' cannot be used in graph '%s'",
                           tn_graph_name(value->graph), tn_graph_name(graph));
    if (value)
        return value->val;
    const TnLuaVar *var = tn_to_variable(L, index);
    if (var)
        return tn_graph_variable(graph, var->var);
    const TnLuaTensor *tensor = tn_to_tensor(L, index);
    if (!tensor)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "a value was wanted, not a %s",
                           luaL_typename(L, index));
    if (tensor->graph == graph)
        return tensor->node;
    if (tensor->graph && tn_graph_is_within(graph, tensor->graph))
        return tn_graph_capture(graph, tensor->graph, tensor->node);
    return tn_graph_constant(graph, tensor->tensor);
}

TnVal
tn_variable_on_tape(lua_State *L, TnVar *var, gboolean used)
{
    TnHost *host = tn_host_of(L);
    TnTapeVar *known = g_hash_table_lookup(host->tape_vars, var);
    if (known && (used || known->writes == host->writes))
        return known->val;
    GError *error = NULL;
    const TnTapeVar now = { tn_tape_variable(host->tape, var, &error), host->writes };
    if (error)
        tn_host_raise(L, error);
    g_hash_table_insert(host->tape_vars, var, g_memdup2(&now, sizeof now));
    return now.val;
}

TnVal
tn_operand_on_tape(lua_State *L, int index, TnTape *tape, gboolean *tracked)
{
    TnHost *host = tn_host_of(L);
    const gboolean main = tape == host->tape;
    const TnLuaVar *var = tn_to_variable(L, index);
    if (var) {
        *tracked = TRUE;
        /* Off the tape for as long as one operator runs: it need not be copied. */
        return main ? tn_variable_on_tape(L, var->var, FALSE)
                    : tn_tape_input(tape, tn_var_tensor(var->var));
    }
    TnLuaTensor *tensor = tn_to_tensor(L, index);
    if (!tensor)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "a tensor was wanted, not a %s",
                           luaL_typename(L, index));
    const gboolean here = tensor->round == host->tape_round;
    *tracked = tensor->tracked && (tensor->leaf || here);
    if (!main)
        return tn_tape_input(tape, tensor->tensor);
    if (!here)
        tn_host_join_tape(host, tensor, tn_tape_input(tape, tensor->tensor), *tracked);
    return tensor->val;
}

/* --- A call ----------------------------------------------------------------------------------- */

typedef struct {
    const TnOp *op;
    int n_args;
    gint n_in;
    int at[TN_MAX_IN]; /* stack index of each input; 0: absent */
    int rest;          /* first argument that is no input */
    TnValue *given;    /* attributes by name, in a box on the stack */
    TnGraph *graph;    /* NULL: imperative */
    gboolean tracked;
} Call;

static gboolean
is_operand(lua_State *L, int index)
{
    TnType type;
    return tn_operand_type(L, index, &type);
}

static void
find_inputs(lua_State *L, Call *call)
{
    const TnOp *op = call->op;
    const guint32 n_rows = op->n_inputs;
    const gboolean variadic =
        n_rows > 0 && (tn_op_input(op, (gint)n_rows - 1)->flags & TN_ARG_VARIADIC);
    const gint most = variadic ? TN_MAX_IN : (gint)n_rows;
    int i = 1;
    for (; i <= call->n_args && call->n_in < most; i++) {
        const TnOpArg *row = tn_op_input(op, call->n_in);
        if (is_operand(L, i) ||
            (lua_type(L, i) == LUA_TNUMBER && !(row->flags & (TN_ARG_OPTIONAL | TN_ARG_VARIADIC))))
            call->at[call->n_in++] = i;
        else if (lua_isnil(L, i) && (row->flags & TN_ARG_OPTIONAL))
            call->at[call->n_in++] = 0;
        else
            break;
    }
    call->rest = i;
    for (gint k = call->n_in; k < (gint)n_rows; k++) {
        const TnOpArg *row = tn_op_input(op, k);
        if (!(row->flags & (TN_ARG_OPTIONAL | TN_ARG_VARIADIC)))
            tn_host_raise_text(L, TN_ERROR_CONFIG, "%s: input '%s' is missing (argument %d is %s)",
                               op->name, row->name, i, luaL_typename(L, i));
    }
    if (variadic && call->n_in < (gint)n_rows)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "%s: wants at least %u inputs", op->name, n_rows);
}

/* Among which the operator is to work. A variable is no tensor: while a graph is built it is read there, so
 * that programs see its value of the day and gradients come to it. */
static void
find_mode(lua_State *L, Call *call)
{
    gboolean tensors = FALSE, variables = FALSE;
    for (gint k = 0; k < call->n_in; k++) {
        const TnLuaValue *value = call->at[k] ? tn_to_val(L, call->at[k]) : NULL;
        tensors = tensors || (call->at[k] && luaL_testudata(L, call->at[k], TN_TENSOR));
        variables = variables || (call->at[k] && luaL_testudata(L, call->at[k], TN_VARIABLE));
        if (value && !call->graph)
            call->graph = value->graph;
    }
    TnGraph *built = tn_host_of(L)->build.graph;
    const gboolean apart = tensors && !variables;
    /* Within control flow also what comes from around is computed where it is written. */
    if ((!call->graph && !apart) || (call->graph && tn_graph_is_within(built, call->graph)))
        call->graph = built;
}

#define CAST_HINT "; cast the other operand first, as in x:cast(\"f32\")"

/* dtype of a number given for input k: that of an operand with the same letter. */
static TnDtype
number_dtype(lua_State *L, const Call *call, gint k)
{
    const TnOpArg *row = tn_op_input(call->op, k);
    TnType type;
    for (gint i = 0; i < call->n_in; i++)
        if (call->at[i] && tn_op_input(call->op, i)->type == row->type && row->type &&
            tn_operand_type(L, call->at[i], &type))
            return type.dtype;
    for (TnDtype dtype = TN_DTYPE_F32; dtype < TN_N_DTYPES; dtype++)
        if (tn_dtype_in(dtype, row->dtypes))
            return dtype;
    return TN_DTYPE_F32;
}

/* --- Attributes ------------------------------------------------------------------------------- */

static gboolean
takes_list(const TnOption *row)
{
    return row->type == TN_OPT_SHAPE || row->type == TN_OPT_INTS || row->type == TN_OPT_DOUBLES;
}

static void
place(lua_State *L, const TnOp *op, TnValue *map, const TnValue *items)
{
    const gsize n = tn_value_len(items);
    gsize used = 0;
    for (guint32 i = 0; i < op->attrs.n && used < n; i++) {
        const TnOption *row = tn_options_row(&op->attrs, i);
        TnValue *item = tn_value_at(items, used);
        if (!takes_list(row) || tn_value_type(item) == TN_VALUE_LIST) {
            tn_value_set(map, row->name, tn_value_ref(item));
            used++;
            continue;
        }
        TnValue *list = tn_value_list();
        for (; used < n; used++)
            tn_value_push(list, tn_value_ref(tn_value_at(items, used)));
        tn_value_set(map, row->name, list);
    }
    if (used < n)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "%s takes %u attributes, got %" G_GSIZE_FORMAT,
                           op->name, op->attrs.n, n);
}

/* Merges what one argument says into map (names) or items (no names). */
static void
add_argument(lua_State *L, const Call *call, int index, TnValue *map, TnValue *items)
{
    if (is_operand(L, index))
        tn_host_raise_text(L, TN_ERROR_CONFIG, "%s takes %d input%s here; argument %d is one more",
                           call->op->name, call->n_in, call->n_in == 1 ? "" : "s", index);
    TnValue *value = tn_box_argument(L, index, call->op->name);
    if (tn_value_type(value) == TN_VALUE_MAP) {
        for (gsize i = 0; i < tn_value_len(value); i++)
            tn_value_set(map, tn_value_key_at(value, i), tn_value_ref(tn_value_at(value, i)));
    } else if (tn_value_type(value) == TN_VALUE_LIST && call->rest == call->n_args) {
        for (gsize i = 0; i < tn_value_len(value); i++)
            tn_value_push(items, tn_value_ref(tn_value_at(value, i)));
    } else {
        tn_value_push(items, tn_value_ref(value));
    }
    lua_pop(L, 1);
}

/* Pushes a userdata with the filled struct, NULL for an operator without attributes. */
static const void *
push_attrs(lua_State *L, Call *call)
{
    const TnOptions *rows = &call->op->attrs;
    GError *error = NULL;
    TnValueBox *map = tn_push_box(L, tn_value_map());
    TnValueBox *items = tn_push_box(L, tn_value_list());
    for (int i = call->rest; i <= call->n_args; i++)
        add_argument(L, call, i, map->value, items->value);
    place(L, call->op, map->value, items->value);
    call->given = map->value;
    void *attrs = lua_newuserdatauv(L, rows->struct_size + 1, 0);
    memset(attrs, 0, rows->struct_size + 1);
    if (rows->n == 0)
        return NULL;
    if (!tn_options_fill(rows, map->value, attrs, &error)) {
        tn_error_prefix(&error, "%s", call->op->name);
        tn_host_raise(L, error);
    }
    return attrs;
}

/* --- The two modes ---------------------------------------------------------------------------- */

/* Adds the node; how many outputs it has. */
static gint
add_node(lua_State *L, const Call *call, TnGraph *graph, const void *attrs, TnVal *out)
{
    TnVal in[TN_MAX_IN];
    GError *error = NULL;
    for (gint k = 0; k < call->n_in; k++) {
        in[k] = TN_VAL_NONE;
        if (call->at[k] && lua_type(L, call->at[k]) == LUA_TNUMBER) {
            in[k] = tn_number_in_graph(L, call->at[k], graph, number_dtype(L, call, k),
                                       call->op->name, CAST_HINT);
        } else if (call->at[k]) {
            in[k] = tn_operand_in_graph(L, call->at[k], graph);
        }
    }
    const TnVal first = tn_graph_add(graph, call->op, attrs, call->n_in, in, out);
    if (!tn_graph_check(graph, &error))
        tn_host_raise(L, error);
    tn_number_check_attributes(L, call->op, call->given, tn_graph_type(graph, out[0])->dtype);
    return tn_graph_node_n_outputs(graph, first.node);
}

static int
apply_in_graph(lua_State *L, const Call *call, const void *attrs)
{
    TnVal out[TN_MAX_OUT];
    const gint n_out = add_node(L, call, call->graph, attrs, out);
    luaL_checkstack(L, n_out, "outputs");
    for (gint k = 0; k < n_out; k++) {
        if (tn_host_of(L)->no_grad)
            out[k] = tn_graph_op(call->graph, "stop_gradient", NULL, 1, &out[k], NULL);
        tn_push_val(L, call->graph, out[k]);
    }
    return n_out;
}

/* The results, which are at the top, as a node of the graph that is built, if they are larger than the
 * operands. */
static void
trace_as_well(lua_State *L, const Call *call, const void *attrs, gint n_out)
{
    TnGraph *graph = tn_host_of(L)->build.graph;
    const int first = lua_gettop(L) - n_out + 1;
    gint64 larger = 0;
    TnVal out[TN_MAX_OUT];
    if (!graph || (call->op->flags & TN_OP_RANDOM))
        return;
    for (gint k = 0; k < n_out; k++)
        larger += tn_tensor_bytes(tn_to_tensor(L, first + k)->tensor);
    for (gint k = 0; k < call->n_in; k++) {
        TnType type;
        if (call->at[k] && tn_operand_type(L, call->at[k], &type))
            larger -= tn_type_bytes(&type);
    }
    if (larger <= 0)
        return;
    add_node(L, call, graph, attrs, out);
    for (gint k = 0; k < n_out; k++) {
        TnLuaTensor *handle = tn_to_tensor(L, first + k);
        handle->graph = tn_graph_ref(graph);
        handle->node = out[k];
    }
}

static TnVal
number_on_tape(lua_State *L, const Call *call, gint k, TnTape *tape)
{
    TnTensor *tensor =
        tn_number_scalar(L, call->at[k], number_dtype(L, call, k), call->op->name, CAST_HINT);
    const TnVal val = tn_tape_input(tape, tensor);
    tn_tensor_unref(tensor);
    return val;
}

static gboolean
any_tracked(lua_State *L, const Call *call)
{
    const TnHost *host = tn_host_of(L);
    for (gint k = 0; k < call->n_in && !host->no_grad; k++) {
        const int at = call->at[k];
        const TnLuaTensor *tensor = at ? luaL_testudata(L, at, TN_TENSOR) : NULL;
        if (at && luaL_testudata(L, at, TN_VARIABLE))
            return TRUE;
        if (tensor && tensor->tracked && (tensor->leaf || tensor->round == host->tape_round))
            return TRUE;
    }
    return FALSE;
}

static int
apply_now(lua_State *L, const Call *call, const void *attrs)
{
    TnHost *host = tn_host_of(L);
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    GError *error = NULL;
    const gboolean tracked = any_tracked(L, call);
    TnTape *tape = tn_host_tape(L, tracked);
    if (tracked)
        tn_host_trim_tape(L);
    for (gint k = 0; k < call->n_in; k++) {
        gboolean ignored;
        in[k] = TN_VAL_NONE;
        if (call->at[k] && lua_type(L, call->at[k]) == LUA_TNUMBER)
            in[k] = number_on_tape(L, call, k, tape);
        else if (call->at[k])
            in[k] = tn_operand_on_tape(L, call->at[k], tape, &ignored);
    }
    const TnVal first = tn_tape_op(tape, call->op, attrs, call->n_in, in, out, &error);
    if (tn_val_is_none(first)) {
        if (!tracked)
            tn_tape_clear(tape);
        return tn_host_raise(L, error);
    }
    const TnGraph *graph = tn_tape_graph(tape);
    const gint n_out = tn_graph_node_n_outputs(graph, first.node);
    luaL_checkstack(L, n_out, "outputs");
    tn_number_check_attributes(L, call->op, call->given, tn_graph_type(graph, out[0])->dtype);
    for (gint k = 0; k < n_out; k++) {
        TnLuaTensor *handle = tn_push_tensor(L);
        if (tracked)
            tn_host_join_tape(host, handle, out[k], TRUE);
        tn_fill_tensor(L, handle, tn_tensor_ref(tn_tape_tensor(tape, out[k])));
    }
    if (!tracked) {
        tn_tape_clear(tape);
        trace_as_well(L, call, attrs, n_out);
    }
    return n_out;
}

/* The operator is upvalue 1. */
static int
apply(lua_State *L)
{
    Call call = { .op = lua_touserdata(L, lua_upvalueindex(1)), .n_args = lua_gettop(L) };
    luaL_checkstack(L, 40, "operator");
    find_inputs(L, &call);
    find_mode(L, &call);
    const void *attrs = push_attrs(L, &call);
    return call.graph ? apply_in_graph(L, &call, attrs) : apply_now(L, &call, attrs);
}

/* -x: Lua gives the operand twice. */
static int
negate(lua_State *L)
{
    lua_settop(L, 1);
    return apply(L);
}

/* --- Finding operators ------------------------------------------------------------------------ */

/* By name; NULL after raising. What only graphs themselves make is no function. */
static const TnOp *
find_op(lua_State *L, const char *name)
{
    TnHost *host = tn_host_of(L);
    const TnOp *op = g_hash_table_lookup(host->ops, name);
    GError *error = NULL;
    if (op)
        return op;
    op = tn_op_find(name, &error);
    if (!op)
        tn_host_raise(L, error);
    gboolean made = op->flags & (TN_OP_SOURCE | TN_OP_EFFECT);
    for (guint32 i = 0; i < op->attrs.n; i++)
        made = made || tn_options_row(&op->attrs, i)->type == TN_OPT_GRAPH;
    if (made)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "operator '%s' is made by graphs, not called", name);
    g_hash_table_insert(host->ops, (gpointer)op->name, (gpointer)op);
    return op;
}

void
tn_push_op(lua_State *L, const char *name)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "tenon.ops");
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushlightuserdata(L, (void *)find_op(L, name));
        lua_pushcclosure(L, apply, 1);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, name);
    }
    lua_remove(L, -2);
}

/* op(name): the function. */
static int
op(lua_State *L)
{
    tn_push_op(L, luaL_checkstring(L, 1));
    return 1;
}

int
tn_apply_open(lua_State *L)
{
    static const struct {
        const char *event, *op;
    } events[] = {
        { "__add", "add" }, { "__sub", "sub" }, { "__mul", "mul" },
        { "__div", "div" }, { "__pow", "pow" }, { "__mod", "mod" },
    };
    static const char *const types[] = { TN_VALUE, TN_TENSOR, TN_VARIABLE };
    static const luaL_Reg functions[] = { { "op", op }, { NULL, NULL } };
    for (guint t = 0; t < G_N_ELEMENTS(types); t++) {
        luaL_getmetatable(L, types[t]);
        for (guint i = 0; i < G_N_ELEMENTS(events); i++) {
            tn_push_op(L, events[i].op);
            lua_setfield(L, -2, events[i].event);
        }
        lua_pushlightuserdata(L, (void *)find_op(L, "neg"));
        lua_pushcclosure(L, negate, 1);
        lua_setfield(L, -2, "__unm");
        lua_pop(L, 1);
    }
    luaL_setfuncs(L, functions, 0);
    return 0;
}
