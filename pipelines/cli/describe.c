/* describe.c: one component, one operator, in text and as a tree for JSON. */
#include <string.h>

#include <tenon/op.h>
#include <tenon/run.h>

#include "cli.h"

void
set_text(TnValue *map, const char *key, const char *text)
{
    if (text != NULL)
        tn_value_set(map, key, tn_value_string(text));
}

void
print_json(FILE *out, const TnValue *value)
{
    g_autofree char *text = tn_json_print(value, TRUE);
    fprintf(out, "%s\n", text);
}

void
open_suppliers(const char *iface)
{
    g_autoptr(GPtrArray) plugins = tn_registry_list();
    for (guint i = 0; i < plugins->len; i++) {
        const TnPluginInfo *info = plugins->pdata[i];
        gboolean supplies = FALSE;
        for (guint j = 0; j < info->n_factories; j++)
            supplies |= strcmp(info->ifaces[j], iface) == 0;
        if (supplies && info->broken == NULL)
            tn_registry_open(info->name, NULL);
    }
}

/* The fewest names of sets and dtypes. (transfer full): g_free. */
static char *
dtypes_text(TnDtypes dtypes)
{
    static const struct {
        TnDtypes set;
        const char *name;
    } sets[] = { { TN_DTYPES_ALL, "any" },       { TN_DTYPES_NUMBER, "number" },
                 { TN_DTYPES_SIGNED, "signed" }, { TN_DTYPES_FLOAT, "float" },
                 { TN_DTYPES_INT, "int" },       { TN_DTYPES_UINT, "uint" } };
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(sets); i++) {
        if ((dtypes & sets[i].set) == sets[i].set) {
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", sets[i].name);
            dtypes &= ~sets[i].set;
        }
    }
    for (TnDtype d = TN_DTYPE_NONE + 1; d < TN_N_DTYPES; d++) {
        if ((dtypes & (1u << d)) != 0)
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", tn_dtype_info(d)->name);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* --- Components ------------------------------------------------------------------------------- */

static const TnKernel *
kernel_row(const TnKernelTable *table, guint32 i)
{
    const char *row = (const char *)table->kernels + (gsize)i * table->kernel_size;
    return (const TnKernel *)(gconstpointer)row;
}

static const char *const thread_rules[] = { "any", "serial", "module", "owner" };

static void
print_methods(FILE *out, const TnFactory *factory)
{
    for (guint32 i = 0; i < factory->n_methods; i++) {
        const TnMethod *m = &factory->methods[i];
        g_autoptr(GString) head = g_string_new(m->name);
        g_string_append_c(head, '(');
        for (guint32 j = 0; j < m->args.n; j++)
            g_string_append_printf(head, "%s%s", j > 0 ? ", " : "",
                                   tn_options_row(&m->args, j)->name);
        g_string_append_c(head, ')');
        if (m->result != NULL)
            g_string_append_printf(head, " -> %s", m->result);
        print_entry(out, head->str, 20, m->help);
    }
}

/* Rows of a kernel table: operator, dtypes. */
static void
print_kernels(FILE *out, const TnKernelTable *table)
{
    fprintf(out, "\nkernels for devices of kind %s\n", table->kind);
    for (guint32 i = 0; i < table->n_kernels; i++) {
        const TnKernel *kernel = kernel_row(table, i);
        g_autofree char *dtypes = dtypes_text(kernel->dtypes);
        print_entry(out, kernel->op, 24, dtypes);
    }
}

void
print_factory(FILE *out, gboolean color, const TnFactory *factory)
{
    g_autofree char *word = iface_word(factory->iface);
    g_autofree char *head = g_strdup_printf("%s %s", word, factory->name);
    print_heading(out, color, head);
    print_entry(out, factory->help, 0, NULL);
    fprintf(out, "  from %s, interface %s\n", tn_registry_owner(factory), factory->iface);
    if (factory->options.n > 0) {
        fputs("\noptions\n", out);
        print_options(out, &factory->options);
    }
    if (factory->n_methods > 0) {
        fputs("\nmethods\n", out);
        print_methods(out, factory);
    }
    if (strcmp(factory->iface, "tenon.kernel/1") == 0)
        print_kernels(out, factory->vtable);
}

TnValue *
factory_to_value(const TnFactory *factory)
{
    TnValue *map = tn_value_map();
    TnValue *methods = tn_value_list();
    set_text(map, "interface", factory->iface);
    set_text(map, "name", factory->name);
    set_text(map, "help", factory->help);
    set_text(map, "plugin", tn_registry_owner(factory));
    set_text(map, "threads", thread_rules[factory->threads]);
    tn_value_set(map, "rank", tn_value_int(factory->rank));
    tn_value_set(map, "options", options_to_value(&factory->options));
    for (guint32 i = 0; i < factory->n_methods; i++) {
        TnValue *method = tn_value_map();
        set_text(method, "name", factory->methods[i].name);
        set_text(method, "help", factory->methods[i].help);
        set_text(method, "result", factory->methods[i].result);
        tn_value_set(method, "args", options_to_value(&factory->methods[i].args));
        tn_value_push(methods, method);
    }
    tn_value_set(map, "methods", methods);
    return map;
}

/* --- Operators -------------------------------------------------------------------------------- */

static const struct {
    guint32 flag;
    const char *name;
} arg_flags[] = {
    { TN_ARG_OPTIONAL, "optional" },
    { TN_ARG_VARIADIC, "one or more" },
    { TN_ARG_SHAPE, "only its shape counts" },
    { TN_ARG_STATIC, "static" },
    { TN_ARG_INDEX, "indices" },
    { TN_ARG_NO_GRAD, "no gradient" },
};

static char *
arg_text(const TnOpArg *arg)
{
    g_autofree char *dtypes = dtypes_text(arg->dtypes);
    g_autoptr(GString) text = g_string_new(arg->help);
    g_string_append_printf(text, " (%c: %s", arg->type, dtypes);
    for (guint i = 0; i < G_N_ELEMENTS(arg_flags); i++) {
        if ((arg->flags & arg_flags[i].flag) != 0)
            g_string_append_printf(text, ", %s", arg_flags[i].name);
    }
    g_string_append_c(text, ')');
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void
print_args(FILE *out, const TnOp *op, const char *heading, gboolean outputs)
{
    const guint32 n = outputs ? op->n_outputs : op->n_inputs;
    if (n == 0)
        return;
    fprintf(out, "\n%s\n", heading);
    for (guint32 i = 0; i < n; i++) {
        const TnOpArg *arg = outputs ? tn_op_output(op, (gint)i) : tn_op_input(op, (gint)i);
        g_autofree char *text = arg_text(arg);
        print_entry(out, arg->name, 20, text);
    }
}

/* "f32 f64" of every kind of device that has kernels of op, as a map kind -> text. (transfer
 * full). */
static TnValue *
kernels_of(const TnOp *op)
{
    g_autoptr(TnValue) sets = tn_value_map();
    TnValue *map = tn_value_map();
    open_suppliers("tenon.kernel/1");
    g_autoptr(GPtrArray) tables = tn_registry_query("tenon.kernel/1");
    for (guint i = 0; i < tables->len; i++) {
        const TnKernelTable *table = ((const TnFactory *)tables->pdata[i])->vtable;
        const TnValue *before = tn_value_get(sets, table->kind);
        TnDtypes dtypes = before != NULL ? (TnDtypes)tn_value_get_int(before) : 0;
        for (guint32 k = 0; k < table->n_kernels; k++) {
            const TnKernel *kernel = kernel_row(table, k);
            if (strcmp(kernel->op, op->name) == 0)
                dtypes |= kernel->dtypes;
        }
        if (dtypes != 0)
            tn_value_set(sets, table->kind, tn_value_int(dtypes));
    }
    for (gsize i = 0; i < tn_value_len(sets); i++) {
        g_autofree char *text = dtypes_text((TnDtypes)tn_value_get_int(tn_value_at(sets, i)));
        set_text(map, tn_value_key_at(sets, i), text);
    }
    return map;
}

void
print_op(FILE *out, gboolean color, const TnOp *op)
{
    g_autofree char *head = g_strdup_printf("operator %s", op->name);
    print_heading(out, color, head);
    print_entry(out, op->help, 0, NULL);
    fprintf(out, "  %s", tn_op_is_composite(op) ? "composite" : "primitive");
    if (op->onnx != NULL)
        fprintf(out, ", ONNX %s", op->onnx);
    fputs((op->flags & TN_OP_NO_GRAD) != 0 ? ", derivative zero everywhere\n"
          : op->vjp != NULL                ? ", with a gradient rule\n"
          : tn_op_is_composite(op)         ? ", gradient of its body\n"
                                           : ", no gradient\n",
          out);
    print_args(out, op, "inputs", FALSE);
    print_args(out, op, "outputs", TRUE);
    if (op->attrs.n > 0) {
        fputs("\nattributes\n", out);
        print_options(out, &op->attrs);
    }
    g_autoptr(TnValue) kernels = kernels_of(op);
    fputs("\nkernels\n", out);
    for (gsize i = 0; i < tn_value_len(kernels); i++)
        print_entry(out, tn_value_key_at(kernels, i), 20,
                    tn_value_get_string(tn_value_at(kernels, i)));
    if (tn_value_len(kernels) == 0)
        fputs(tn_op_is_composite(op) ? "  none: its body's are used\n" : "  none\n", out);
}

static TnValue *
args_to_value(const TnOp *op, gboolean outputs)
{
    const guint32 n = outputs ? op->n_outputs : op->n_inputs;
    TnValue *list = tn_value_list();
    for (guint32 i = 0; i < n; i++) {
        const TnOpArg *arg = outputs ? tn_op_output(op, (gint)i) : tn_op_input(op, (gint)i);
        g_autofree char *dtypes = dtypes_text(arg->dtypes);
        TnValue *map = tn_value_map();
        set_text(map, "name", arg->name);
        set_text(map, "help", arg->help);
        set_text(map, "dtypes", dtypes);
        tn_value_set(map, "optional", tn_value_bool((arg->flags & TN_ARG_OPTIONAL) != 0));
        tn_value_set(map, "variadic", tn_value_bool((arg->flags & TN_ARG_VARIADIC) != 0));
        tn_value_push(list, map);
    }
    return list;
}

TnValue *
op_to_value(const TnOp *op)
{
    TnValue *map = tn_value_map();
    set_text(map, "name", op->name);
    set_text(map, "help", op->help);
    set_text(map, "kind", tn_op_is_composite(op) ? "composite" : "primitive");
    set_text(map, "onnx", op->onnx);
    tn_value_set(map, "inputs", args_to_value(op, FALSE));
    tn_value_set(map, "outputs", args_to_value(op, TRUE));
    tn_value_set(map, "attributes", options_to_value(&op->attrs));
    tn_value_set(map, "kernels", kernels_of(op));
    return map;
}
