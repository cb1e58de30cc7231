/* descriptor.c: whether a plugin's descriptor is sound, and its text form. Shared by the loader and
 * tenon-scan, so that a file is judged by the same rules in both. */
#include "plugin-private.h"

#include <string.h>

/* A member that must lie inside the size the other side was compiled with. */
#define COVERS(object, type, member)                                                               \
    ((object)->size >= G_STRUCT_OFFSET(type, member) + sizeof((object)->member))

gboolean
tn_plugin_name_of_file(const char *file, char **name)
{
    if (!g_str_has_prefix(file, "libtn_") || !g_str_has_suffix(file, ".so"))
        return FALSE;
    const char *begin = file + strlen("libtn_");
    const gsize n = strlen(begin) - strlen(".so");
    if (n == 0 || strspn(begin, "abcdefghijklmnopqrstuvwxyz0123456789_-") < n)
        return FALSE;
    *name = g_strndup(begin, n);
    return TRUE;
}

char *
tn_plugin_symbol(const char *name)
{
    g_autofree char *ident = g_strdup(name);
    for (char *c = ident; *c != '\0'; c++) {
        if (!g_ascii_isalnum(*c))
            *c = '_';
    }
    return g_strdup_printf("tn_plugin_%s_desc", ident);
}

static gboolean
is_text(const char *text)
{
    return text != NULL && text[0] != '\0' && g_utf8_validate(text, -1, NULL);
}

/* "tenon.device/1", or another's "acme.thing/2": a dotted name, a slash and a number. */
static gboolean
is_iface(const char *iface)
{
    const char *slash = is_text(iface) ? strrchr(iface, '/') : NULL;
    if (slash == NULL || slash == iface || slash[1] == '\0' || strlen(iface) > 100)
        return FALSE;
    return strspn(slash + 1, "0123456789") == strlen(slash + 1) && strpbrk(iface, " \t\n") == NULL;
}

static char *
row_fault(const TnOption *row, gsize struct_size)
{
    if (!is_text(row->name))
        return g_strdup("an option row has no name");
    if (!is_text(row->help))
        return g_strdup_printf("option '%s' has no help", row->name);
    if (row->type < TN_OPT_BOOL || row->type > TN_OPT_GRAPH)
        return g_strdup_printf("option '%s' has the unknown type %d", row->name, (int)row->type);
    if (row->offset >= struct_size)
        return g_strdup_printf("option '%s' lies at %" G_GSIZE_FORMAT
                               ", outside its struct of %" G_GSIZE_FORMAT " bytes",
                               row->name, row->offset, struct_size);
    if ((row->type == TN_OPT_ENUM || row->type == TN_OPT_FLAGS) && row->choices == NULL)
        return g_strdup_printf("option '%s' has no choices", row->name);
    if (row->type == TN_OPT_GROUP && (row->sub == NULL || row->n_sub == 0))
        return g_strdup_printf("group '%s' has no rows", row->name);
    return NULL;
}

static char *
options_fault(const TnOptions *options)
{
    if (options->n == 0)
        return NULL;
    if (options->rows == NULL || options->struct_size == 0)
        return g_strdup_printf("it has %u option rows, but no table or struct for them",
                               options->n);
    if (options->row_size < G_STRUCT_OFFSET(TnOption, was) + sizeof(char *))
        return g_strdup_printf("its option rows have %u bytes, this Tenon reads %u",
                               options->row_size, (guint)sizeof(TnOption));
    char *fault = NULL;
    for (guint32 i = 0; fault == NULL && i < options->n; i++)
        fault = row_fault((const TnOption *)((const char *)options->rows + i * options->row_size),
                          options->struct_size);
    return fault;
}

/* --- The tables of the kernel's own interfaces ------------------------------------------------ */

static char *
op_fault(const TnFactory *f)
{
    const TnOp *op = f->vtable;
    if (!COVERS(op, TnOp, in_place))
        return g_strdup_printf("its operator has %u bytes, this Tenon reads %u", op->size,
                               (guint)sizeof(TnOp));
    if (!is_text(op->name) || strcmp(op->name, f->name) != 0)
        return g_strdup_printf("its operator is called '%s'", is_text(op->name) ? op->name : "");
    if (op->infer == NULL && op->body == NULL)
        return g_strdup("its operator has neither infer nor a body");
    if ((op->n_inputs > 0 && op->inputs == NULL) || op->n_outputs == 0 || op->outputs == NULL)
        return g_strdup("its operator lacks inputs or outputs");
    if (op->arg_size < G_STRUCT_OFFSET(TnOpArg, gap) + sizeof(double))
        return g_strdup_printf("rows of its arguments have %u bytes, this Tenon reads %u",
                               op->arg_size, (guint)sizeof(TnOpArg));
    return options_fault(&op->attrs);
}

static char *
kernels_fault(const TnFactory *f)
{
    const TnKernelTable *table = f->vtable;
    if (!COVERS(table, TnKernelTable, kernels) || !is_text(table->kind))
        return g_strdup("its kernel table lacks size or kind");
    if (table->n_kernels > 0 && table->kernels == NULL)
        return g_strdup("its kernels are missing");
    if (table->kernel_size < G_STRUCT_OFFSET(TnKernel, release) + sizeof(void (*)(void)))
        return g_strdup_printf("its kernels have %u bytes, this Tenon reads %u", table->kernel_size,
                               (guint)sizeof(TnKernel));
    for (guint32 i = 0; i < table->n_kernels; i++) {
        const char *at = (const char *)table->kernels + (gsize)i * table->kernel_size;
        const TnKernel *kernel = (const TnKernel *)(gconstpointer)at;
        if (!is_text(kernel->op) || kernel->run == NULL || kernel->dtypes == 0)
            return g_strdup_printf("kernel %u%s%s lacks operator, dtypes or run", i + 1,
                                   is_text(kernel->op) ? ", of " : "",
                                   is_text(kernel->op) ? kernel->op : "");
    }
    return NULL;
}

static char *
device_fault(const TnFactory *f)
{
    const TnDeviceVTable *device = f->vtable;
    if (!COVERS(device, TnDeviceVTable, host_memory) || !is_text(device->kind))
        return g_strdup("its device table lacks size or kind");
    return f->create == NULL ? g_strdup("its device has no create") : NULL;
}

static const struct {
    const char *iface;
    char *(*fault)(const TnFactory *f);
} vtable_rules[] = {
    { "tenon.op/1", op_fault },
    { "tenon.kernel/1", kernels_fault },
    { "tenon.device/1", device_fault },
};

static char *
vtable_fault(const TnFactory *f)
{
    for (guint i = 0; i < G_N_ELEMENTS(vtable_rules); i++) {
        if (strcmp(f->iface, vtable_rules[i].iface) == 0)
            return f->vtable != NULL ? vtable_rules[i].fault(f) : g_strdup("it has no table");
    }
    return NULL;
}

/* --- Factories -------------------------------------------------------------------------------- */

static char *
factory_fault(const TnFactory *f)
{
    if (!COVERS(f, TnFactory, methods))
        return g_strdup_printf("it has %u bytes, this Tenon reads %u", f->size,
                               (guint)sizeof(TnFactory));
    if (!is_iface(f->iface))
        return g_strdup("its interface is not of the form tenon.device/1");
    if (!is_text(f->name))
        return g_strdup("it has no name");
    if (!is_text(f->help))
        return g_strdup("it has no help");
    if ((guint)f->threads > TN_THREADS_OWNER)
        return g_strdup_printf("its thread rule %d is unknown", (int)f->threads);
    if (f->create == NULL && f->vtable == NULL)
        return g_strdup("it has neither create nor a vtable");
    if (f->n_methods > 0 && f->methods == NULL)
        return g_strdup("its methods are missing");
    for (guint32 i = 0; i < f->n_methods; i++) {
        const TnMethod *m = &f->methods[i];
        if (!COVERS(m, TnMethod, call) || !is_text(m->name) || !is_text(m->help) || m->call == NULL)
            return g_strdup_printf("method %u lacks size, name, help or function", i + 1);
        char *fault = options_fault(&m->args);
        if (fault != NULL)
            return fault;
    }
    char *fault = vtable_fault(f);
    return fault != NULL ? fault : options_fault(&f->options);
}

static char *
factories_fault(const TnPlugin *plugin)
{
    const TnFactory *const *all = plugin->factories;
    for (guint i = 0; all != NULL && all[i] != NULL; i++) {
        g_autofree char *fault = factory_fault(all[i]);
        if (fault != NULL) {
            const gboolean named = COVERS(all[i], TnFactory, name) && is_text(all[i]->name);
            return g_strdup_printf("factory %u%s%s: %s", i + 1, named ? " " : "",
                                   named ? all[i]->name : "", fault);
        }
        for (guint j = 0; j < i; j++) {
            if (strcmp(all[i]->iface, all[j]->iface) == 0 &&
                strcmp(all[i]->name, all[j]->name) == 0)
                return g_strdup_printf("it supplies %s '%s' twice", all[i]->iface, all[i]->name);
        }
    }
    return NULL;
}

static char *
modules_fault(const TnPlugin *plugin)
{
    const TnLuaModule *const *all = plugin->modules;
    for (guint i = 0; all != NULL && all[i] != NULL; i++) {
        if (!COVERS(all[i], TnLuaModule, path) || !is_text(all[i]->name) || all[i]->bytes == NULL)
            return g_strdup_printf("Lua module %u lacks size, name or text", i + 1);
    }
    return NULL;
}

static char *
verbs_fault(const TnPlugin *plugin)
{
    const TnVerb *const *all = plugin->verbs;
    for (guint i = 0; all != NULL && all[i] != NULL; i++) {
        if (!COVERS(all[i], TnVerb, run) || !is_text(all[i]->name) || !is_text(all[i]->help) ||
            all[i]->run == NULL)
            return g_strdup_printf("verb %u lacks size, name, help or function", i + 1);
        char *fault = options_fault(&all[i]->options);
        if (fault != NULL)
            return fault;
    }
    return NULL;
}

static char *
needs_fault(const TnPlugin *plugin)
{
    for (guint i = 0; plugin->needs != NULL && plugin->needs[i] != NULL; i++) {
        if (!COVERS(plugin->needs[i], TnNeed, iface) || !is_iface(plugin->needs[i]->iface))
            return g_strdup_printf("need %u names no interface", i + 1);
    }
    return NULL;
}

static gboolean
abi_fits(guint major, guint minor)
{
    if (major != TN_ABI_MAJOR)
        return FALSE;
    return TN_ABI_MAJOR == 0 ? minor == TN_ABI_MINOR : minor <= TN_ABI_MINOR;
}

/* What must hold before any pointer of the descriptor is followed. */
static char *
head_fault(const TnPlugin *plugin)
{
    if (plugin == NULL)
        return g_strdup("its descriptor function returned nothing");
    if (plugin->magic != TN_PLUGIN_MAGIC)
        return g_strdup_printf("its descriptor begins with 0x%08x, expected Tenon's 0x%08x",
                               plugin->magic, TN_PLUGIN_MAGIC);
    if (!abi_fits(plugin->abi_major, plugin->abi_minor))
        return g_strdup_printf("it was built for plugin ABI %u.%u, this Tenon (%s) has %d.%d: "
                               "build it against this one's headers",
                               plugin->abi_major, plugin->abi_minor, tn_version(), TN_ABI_MAJOR,
                               TN_ABI_MINOR);
    if (!COVERS(plugin, TnPlugin, init))
        return g_strdup_printf("its descriptor has %u bytes, this Tenon reads %u", plugin->size,
                               (guint)sizeof(TnPlugin));
    return NULL;
}

static char *
text_fault(const TnPlugin *plugin, const char *name)
{
    const struct {
        const char *what, *text;
    } texts[] = { { "name", plugin->name },
                  { "version", plugin->version },
                  { "license", plugin->license },
                  { "summary", plugin->summary },
                  { "build tag", plugin->build } };
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (!is_text(texts[i].text))
            return g_strdup_printf("its descriptor has no %s", texts[i].what);
    }
    if (name != NULL && strcmp(plugin->name, name) != 0)
        return g_strdup_printf("it calls itself '%s', but its file is libtn_%s.so", plugin->name,
                               name);
    if (strcmp(plugin->build, TN_BUILD_TAG) != 0)
        return g_strdup_printf("it was built for '%s', this Tenon for '%s'", plugin->build,
                               TN_BUILD_TAG);
    return NULL;
}

char *
tn_plugin_fault(const TnPlugin *plugin, const char *name)
{
    char *fault = head_fault(plugin);
    if (fault == NULL)
        fault = text_fault(plugin, name);
    if (fault == NULL)
        fault = needs_fault(plugin);
    if (fault == NULL)
        fault = factories_fault(plugin);
    if (fault == NULL)
        fault = modules_fault(plugin);
    if (fault == NULL)
        fault = verbs_fault(plugin);
    return fault;
}

char *
tn_plugin_link_fault(const char *dlerror_text)
{
    static const char undefined[] = "undefined symbol: ";
    const char *symbol = strstr(dlerror_text, undefined);
    if (symbol != NULL && g_str_has_prefix(symbol + strlen(undefined), "tn_"))
        return g_strdup_printf("it needs the function %s, which this Tenon (%s) does not have",
                               symbol + strlen(undefined), tn_version());
    if (strstr(dlerror_text, "version `TENON_") != NULL)
        return g_strdup_printf("it was built against another Tenon than this one (%s): %s",
                               tn_version(), dlerror_text);
    return g_strdup_printf("the system cannot load it: %s", dlerror_text);
}

void
tn_plugin_add_field(GString *out, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text != NULL ? text : "", -1);
    g_string_append_c(out, '\t');
    for (const char *c = valid; *c != '\0'; c++) {
        if (*c == '\\' || *c == '\t' || *c == '\n')
            g_string_append_printf(out, "\\%c", *c == '\t' ? 't' : *c == '\n' ? 'n' : '\\');
        else
            g_string_append_c(out, g_ascii_iscntrl(*c) ? '?' : *c);
    }
}

/* fields: NULL-terminated. */
static void
add_line(GString *out, const char *tag, const char *const *fields)
{
    g_string_append(out, tag);
    for (; *fields != NULL; fields++)
        tn_plugin_add_field(out, *fields);
    g_string_append_c(out, '\n');
}

void
tn_plugin_describe(const TnPlugin *plugin, GString *out)
{
    const TnFactory *const *factory = plugin->factories;
    const TnLuaModule *const *module = plugin->modules;
    const TnVerb *const *verb = plugin->verbs;
    const char *const head[] = { plugin->name, plugin->version, plugin->license, plugin->summary,
                                 NULL };
    add_line(out, "plugin", head);
    for (; factory != NULL && *factory != NULL; factory++) {
        const TnFactory *f = *factory;
        g_autofree char *rank = g_strdup_printf("%d", f->rank);
        g_autofree char *flags = g_strdup_printf("%u", f->flags);
        const char *const fields[] = { f->iface, f->name, rank, flags, f->probe != NULL ? "1" : "0",
                                       f->help,  NULL };
        add_line(out, "factory", fields);
    }
    for (; module != NULL && *module != NULL; module++)
        add_line(out, "module", (const char *const[]){ (*module)->name, NULL });
    for (; verb != NULL && *verb != NULL; verb++)
        add_line(out, "verb", (const char *const[]){ (*verb)->name, (*verb)->help, NULL });
    g_string_append(out, "end\n");
}
