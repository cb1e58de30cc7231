/* ports.c: where values enter and leave a graph: inputs, constants, outputs, and variables that are read
 * and assigned. */
#include "graph-private.h"

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/store.h>

/* --- Inputs, constants, outputs --------------------------------------------------------------- */

static gboolean
has_port(const GArray *ports, const char *name)
{
    for (guint i = 0; i < ports->len; i++) {
        if (strcmp(g_array_index(ports, TnGraphPort, i).name, name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

TnVal
tn_graph_input(TnGraph *graph, const char *name, TnType type)
{
    if (graph->error != NULL) {
        return TN_VAL_NONE;
    }
    if (has_port(graph->inputs, name)) {
        tn_graph_fail(graph, TN_ERROR_USAGE, "graph '%s' has two inputs '%s'", graph->name, name);
        return TN_VAL_NONE;
    }
    if (type.dtype == TN_DTYPE_NONE || tn_type_bytes(&type) < 0) {
        tn_graph_fail(graph, TN_ERROR_SHAPE, "input '%s' has no usable type", name);
        return TN_VAL_NONE;
    }
    const TnInputAttrs attrs = { tn_intern(name), (gint)type.dtype, type.rank };
    const guint node =
        tn_graph_add_node(graph, tn_op_find("input", NULL), &attrs, name, NULL, 0, NULL, 1, &type);
    const TnGraphPort port = { attrs.name, { node, 0 } };
    g_array_append_val(graph->inputs, port);
    return port.val;
}

TnVal
tn_graph_constant(TnGraph *graph, TnTensor *tensor)
{
    const TnConstantAttrs attrs = { tensor };
    return tn_graph_op(graph, "constant", &attrs, 0, NULL, NULL);
}

TnVal
tn_graph_scalar(TnGraph *graph, TnDtype dtype, double value)
{
    g_autoptr(TnTensor) tensor = tn_tensor_scalar(dtype, value);
    return tn_graph_constant(graph, tensor);
}

void
tn_graph_output(TnGraph *graph, const char *name, TnVal value)
{
    if (graph->error != NULL) {
        return;
    }
    if (tn_val_is_none(value)) {
        tn_graph_fail(graph, TN_ERROR_USAGE, "output '%s' of graph '%s' has no value", name,
                      graph->name);
        return;
    }
    if (has_port(graph->outputs, name)) {
        tn_graph_fail(graph, TN_ERROR_USAGE, "graph '%s' has two outputs '%s'", graph->name, name);
        return;
    }
    const TnGraphPort port = { tn_intern(name), value };
    g_array_append_val(graph->outputs, port);
}

/* --- Variables -------------------------------------------------------------------------------- */

/* The entry of a name, made if there is none; NULL (and a latched error) if it is there with
 * another type. */
static TnGraphVariable *
variable_entry(TnGraph *graph, const char *name, const TnType *type)
{
    for (guint i = 0; i < graph->variables->len; i++) {
        TnGraphVariable *entry = &g_array_index(graph->variables, TnGraphVariable, i);
        if (strcmp(entry->name, name) != 0) {
            continue;
        }
        if (tn_type_equal(&entry->type, type)) {
            return entry;
        }
        g_autofree char *old = tn_type_print(&entry->type);
        g_autofree char *new = tn_type_print(type);
        tn_graph_fail(graph, TN_ERROR_SHAPE, "variable '%s' is used as %s and as %s", name, old,
                      new);
        return NULL;
    }
    const TnGraphVariable fresh = { tn_intern(name), *type, TN_VAL_NONE, TN_VAL_NONE, G_MAXUINT };
    g_array_append_val(graph->variables, fresh);
    return &g_array_index(graph->variables, TnGraphVariable, graph->variables->len - 1);
}

static TnVariableAttrs
variable_attrs(const TnGraphVariable *entry)
{
    TnVariableAttrs attrs = { entry->name, (gint)entry->type.dtype, { .rank = entry->type.rank } };
    memcpy(attrs.shape.dims, entry->type.dims, sizeof attrs.shape.dims);
    return attrs;
}

TnVal
tn_graph_read_named(TnGraph *graph, const char *name, const TnType *type)
{
    if (graph->outer != NULL) {
        return tn_graph_capture(graph, graph->outer, tn_graph_read_named(graph->outer, name, type));
    }
    TnGraphVariable *entry = graph->error == NULL ? variable_entry(graph, name, type) : NULL;
    if (entry == NULL) {
        return TN_VAL_NONE;
    }
    if (tn_val_is_none(entry->read)) {
        const TnVariableAttrs attrs = variable_attrs(entry);
        const guint node = tn_graph_add_node(graph, tn_op_find("variable", NULL), &attrs, name,
                                             NULL, 0, NULL, 1, &entry->type);
        entry->read = (TnVal){ node, 0 };
    }
    return entry->read;
}

void
tn_graph_assign_named(TnGraph *graph, const char *name, const TnType *type, TnVal value)
{
    if (graph->outer != NULL) {
        tn_graph_fail(
            graph, TN_ERROR_USAGE,
            "variable '%s' cannot be assigned within control flow: give its new value as a "
            "result, and assign that outside",
            name);
        return;
    }
    TnGraphVariable *entry = graph->error == NULL ? variable_entry(graph, name, type) : NULL;
    if (entry == NULL) {
        return;
    }
    if (!tn_val_is_none(entry->assigned)) {
        tn_graph_fail(graph, TN_ERROR_USAGE, "variable '%s' is assigned twice in graph '%s'", name,
                      graph->name);
        return;
    }
    const TnVariableAttrs attrs = variable_attrs(entry);
    const TnVal node = tn_graph_op(graph, "assign", &attrs, 1, &value, NULL);
    if (graph->error == NULL) {
        entry->assigned = value;
        entry->assign = node.node;
    }
}

TnVal
tn_graph_variable(TnGraph *graph, TnVar *var)
{
    const TnVarInfo *info = tn_var_info(var);
    return tn_graph_read_named(graph, info->name, &info->type);
}

void
tn_graph_assign(TnGraph *graph, TnVar *var, TnVal value)
{
    const TnVarInfo *info = tn_var_info(var);
    tn_graph_assign_named(graph, info->name, &info->type, value);
}
