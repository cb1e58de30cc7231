/* verb-ops.c: `tenon ops [NAME]`: the operators there are; of one, its inputs, outputs, attributes
 * and kernels. */
#include <string.h>

#include <tenon/op.h>

#include "cli.h"

typedef struct {
    const char *name, *help;
    const char *plugin; /* NULL: a primitive of the kernel */
} Row;

static gint
by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(((const Row *)a)->name, ((const Row *)b)->name);
}

/* Primitives, and what the index knows of plugins, none of which is opened. */
static GArray *
collect(void)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(Row));
    g_autoptr(GPtrArray) plugins = tn_registry_list();
    guint n;
    const TnOp *const *primitives = tn_op_primitives(&n);
    for (guint i = 0; i < n; i++) {
        const Row row = { primitives[i]->name, primitives[i]->help, NULL };
        g_array_append_val(all, row);
    }
    for (guint i = 0; i < plugins->len; i++) {
        const TnPluginInfo *info = plugins->pdata[i];
        for (guint j = 0; j < info->n_factories; j++) {
            const Row row = { info->names[j], info->helps[j], info->name };
            if (strcmp(info->ifaces[j], "tenon.op/1") == 0)
                g_array_append_val(all, row);
        }
    }
    g_array_sort(all, by_name);
    return all;
}

static void
print_all(TnVerbCall *call, const GArray *all)
{
    g_autoptr(TnValue) list = tn_value_list();
    for (guint i = 0; i < all->len; i++) {
        const Row *row = &g_array_index(all, Row, i);
        if (call->json) {
            TnValue *map = tn_value_map();
            set_text(map, "name", row->name);
            set_text(map, "help", row->help);
            tn_value_set(map, "primitive", tn_value_bool(row->plugin == NULL));
            set_text(map, "plugin", row->plugin);
            tn_value_push(list, map);
        } else {
            g_autofree char *help = row->plugin != NULL
                                        ? g_strdup_printf("%s (plugin %s)", row->help, row->plugin)
                                        : g_strdup(row->help);
            print_entry(call->out, row->name, 22, help);
        }
    }
    if (call->json)
        print_json(call->out, list);
}

static gint
run(TnVerbCall *call, GError **error)
{
    if (call->n_args == 0) {
        g_autoptr(GArray) all = collect();
        print_all(call, all);
        return 0;
    }
    const TnOp *op = tn_op_find(call->args[0], error);
    if (op == NULL)
        return 2;
    if (call->json) {
        g_autoptr(TnValue) value = op_to_value(op);
        print_json(call->out, value);
    } else {
        print_op(call->out, call->color, op);
    }
    return 0;
}

const TnVerb tn_verb_ops = {
    .size = sizeof(TnVerb),
    .name = "ops",
    .args = "[NAME]",
    .help = "list operators; of one, its inputs, outputs, attributes and kernels",
    .max_args = 1,
    .run = run,
};
