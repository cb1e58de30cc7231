/* record.c: provenance.json and resolved.lua of a run: written when it begins, compared when it
 * goes on. */
#include "record.h"

#include <string.h>

gboolean
record_config(TnRunDir *run, const LoadedConfig *loaded, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(tn_run_path(run));
    g_autofree char *name = g_path_get_basename(folder); /* runs/NAME/TIME-ID */
    g_autofree char *resolved = tn_host_resolved(loaded->host, loaded->root, name, error);
    return resolved && tn_host_keep(loaded->host, tn_run_path(run), error) &&
           tn_run_put(run, "resolved.lua", resolved, error);
}

/* --- Kernels --------------------------------------------------------------------------------- */

/* Adds to map, under name, what computes a graph at the shapes it was built with. */
static gboolean
add_kernels(TnValue *map, const char *name, const TnGraph *graph, const TnCompile *compile,
            GError **error)
{
    g_autoptr(TnProgram) program = tn_compile(graph, compile, error);
    if (!program)
        return FALSE;
    g_autofree char *kernels = tn_program_kernels(program);
    g_auto(GStrv) lines = g_strsplit(g_strchomp(kernels), "\n", -1);
    TnValue *list = tn_value_list();
    for (guint k = 0; lines[k]; k++)
        tn_value_push(list, tn_value_string(lines[k]));
    tn_value_set(map, name, list);
    return TRUE;
}

static void
add_items(TnValue *map, const TnValue *items)
{
    for (gsize i = 0; items && tn_value_type(items) == TN_VALUE_MAP && i < tn_value_len(items); i++)
        tn_value_set(map, tn_value_key_at(items, i), tn_value_copy(tn_value_at(items, i)));
}

/* Which kernel computes what, for each of the job's graphs: its functions by name, and those of map
 * stages as "stages.NAME", also of those elsewhere, as they say; choices, a map, gets what is needed to choose them
 * again. */
static TnValue *
kernels_chosen(TnJob *job, TnValue *choices, GError **error)
{
    g_autoptr(TnValue) map = tn_value_map();
    TnContext *context = tn_job_context(job);
    TnCompile compile;
    const char *name;
    const TnValue *placed;
    TnGraph *graph;
    tn_compile_init(&compile, context);
    compile.chosen = choices;
    for (guint i = 0; i < tn_job_n_functions(job); i++) {
        graph = tn_function_graph(tn_job_function(job, i, &name));
        if (!add_kernels(map, name, graph, &compile, error))
            return NULL;
    }
    for (guint i = 0; (graph = tn_job_stage_graph(job, i, &name)); i++) {
        g_autofree char *whole = g_strconcat("stages.", name, NULL);
        if (!add_kernels(map, whole, graph, &compile, error))
            return NULL;
    }
    for (guint i = 0; (placed = tn_job_placed(job, i, &name)); i++)
        add_items(map, tn_value_get(placed, "kernels"));
    return g_steal_pointer(&map);
}

/* {stage: what its own process chose}. */
static TnValue *
placed_choices(TnJob *job)
{
    TnValue *map = tn_value_map();
    const TnValue *placed;
    const char *name;
    for (guint i = 0; (placed = tn_job_placed(job, i, &name)); i++) {
        TnValue *choices = tn_value_map();
        add_items(choices, tn_value_get(placed, TN_PROVENANCE_CHOICES));
        tn_value_set(map, name, choices);
    }
    return map;
}

TnValue *
record_kernels(TnJob *job, GError **error)
{
    g_autoptr(TnValue) about = tn_value_map();
    TnValue *choices = tn_value_map(), *kernels;
    tn_value_set(about, TN_PROVENANCE_CHOICES, choices);
    kernels = kernels_chosen(job, choices, error);
    if (!kernels)
        return NULL;
    tn_value_set(about, "kernels", kernels);
    return g_steal_pointer(&about);
}

static gboolean
has_line(const TnValue *list, const char *line)
{
    for (gsize i = 0; i < tn_value_len(list); i++)
        if (g_strcmp0(tn_value_get_string(tn_value_at(list, i)), line) == 0)
            return TRUE;
    return FALSE;
}

/* What lines "operator device count" of a that b lacks say of the operator that op begins with. */
static void
add_lacking(GString *text, const TnValue *a, const TnValue *b, const char *op)
{
    const gsize length = strcspn(op, " ") + 1;
    const gsize before = text->len;
    for (gsize i = 0; i < tn_value_len(a); i++) {
        const char *line = tn_value_get_string(tn_value_at(a, i));
        if (line && strncmp(line, op, length) == 0 && !has_line(b, line))
            g_string_append_printf(text, "%s%s", text->len > before ? ", " : "", line + length);
    }
    if (text->len == before)
        g_string_append(text, "none");
}

static gboolean
is_new_op(const TnValue *list, gsize i)
{
    const char *line = tn_value_get_string(tn_value_at(list, i));
    const gsize length = strcspn(line, " ") + 1;
    for (gsize k = 0; k < i; k++)
        if (strncmp(tn_value_get_string(tn_value_at(list, k)), line, length) == 0)
            return FALSE;
    return TRUE;
}

/* A line for each operator of one graph whose kernels are others now. */
static void
describe_kernels(GString *text, const char *graph, const TnValue *stored, const TnValue *found)
{
    g_autoptr(TnValue) changed = tn_value_list();
    const TnValue *const lists[] = { stored, found };
    for (guint k = 0; k < 2; k++)
        for (gsize i = 0; i < tn_value_len(lists[k]); i++)
            if (tn_value_type(tn_value_at(lists[k], i)) == TN_VALUE_STRING &&
                !has_line(lists[!k], tn_value_get_string(tn_value_at(lists[k], i))))
                tn_value_push(changed, tn_value_ref(tn_value_at(lists[k], i)));
    for (gsize i = 0; i < tn_value_len(changed); i++) {
        const char *line = tn_value_get_string(tn_value_at(changed, i));
        if (!is_new_op(changed, i))
            continue;
        g_string_append_printf(text, "  %s: %.*s: stored ", graph, (int)strcspn(line, " "), line);
        add_lacking(text, stored, found, line);
        g_string_append(text, "; used ");
        add_lacking(text, found, stored, line);
        g_string_append_c(text, '\n');
    }
}

static void
describe_all_kernels(GString *text, const TnValue *stored, const TnValue *found)
{
    for (gsize i = 0; i < tn_value_len(found); i++) {
        const char *graph = tn_value_key_at(found, i);
        if (tn_value_get(stored, graph))
            describe_kernels(text, graph, tn_value_get(stored, graph), tn_value_at(found, i));
    }
}

/* A line for each kernel that was chosen and is not there any more. */
static void
describe_choices(GString *text, const TnValue *stored, const TnValue *found)
{
    for (gsize i = 0; i < tn_value_len(found); i++) {
        const char *what = tn_value_key_at(found, i);
        const char *then = tn_value_get_string(tn_value_get(stored, what));
        const char *now = tn_value_get_string(tn_value_at(found, i));
        if (then && strcmp(then, now) != 0)
            g_string_append_printf(text, "  kernel of %s: stored %s; used %s\n", what, then, now);
    }
}

/* --- What computes --------------------------------------------------------------------------- */

static const char *
text_of(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    return tn_value_type(value) == TN_VALUE_STRING ? tn_value_get_string(value) : NULL;
}

static void
describe_text(GString *text, const char *what, const char *stored, const char *found)
{
    if (g_strcmp0(stored, found) != 0)
        g_string_append_printf(text, "  %s: stored %s; used %s\n", what, stored ? stored : "none",
                               found ? found : "none");
}

static const TnValue *
find_plugin(const TnValue *list, const char *name)
{
    for (gsize i = 0; i < tn_value_len(list); i++)
        if (g_strcmp0(text_of(tn_value_at(list, i), "name"), name) == 0)
            return tn_value_at(list, i);
    return NULL;
}

/* "0.1.0 (sha256 893b35f2…)" */
static char *
plugin_text(const TnValue *plugin)
{
    const char *version = text_of(plugin, "version"), *digest = text_of(plugin, "sha256");
    return plugin
               ? g_strdup_printf("%s (sha256 %.12s)", version ? version : "", digest ? digest : "")
               : NULL;
}

static void
describe_plugin(GString *text, const char *name, const TnValue *stored, const TnValue *found)
{
    g_autofree char *what = g_strdup_printf("plugin %s", name);
    g_autofree char *a = plugin_text(stored), *b = plugin_text(found);
    describe_text(text, what, a, b);
}

static void
describe_plugins(GString *text, const TnValue *stored, const TnValue *found)
{
    for (gsize i = 0; i < tn_value_len(stored); i++) {
        const TnValue *plugin = tn_value_at(stored, i);
        const char *name = text_of(plugin, "name");
        describe_plugin(text, name, plugin, find_plugin(found, name));
    }
    for (gsize i = 0; i < tn_value_len(found); i++) {
        const TnValue *plugin = tn_value_at(found, i);
        const char *name = text_of(plugin, "name");
        if (!find_plugin(stored, name))
            describe_plugin(text, name, NULL, plugin);
    }
}

/* One warning with a line for each thing that is another than when the run began. */
static void
warn_of_changes(TnVerbCall *call, const TnValue *stored, const TnValue *kernels,
                const TnValue *choices, const TnValue *placed, TnContext *context)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(TnValue) found = tn_run_machinery(context);
    describe_text(text, "version", text_of(stored, "version"), text_of(found, "version"));
    describe_text(text, "processor", text_of(tn_value_get(stored, "host"), "processor"),
                  text_of(tn_value_get(found, "host"), "processor"));
    describe_plugins(text, tn_value_get(stored, "plugins"), tn_value_get(found, "plugins"));
    describe_all_kernels(text, tn_value_get(stored, "kernels"), kernels);
    describe_choices(text, tn_value_get(stored, TN_PROVENANCE_CHOICES), choices);
    for (gsize i = 0; i < tn_value_len(placed); i++)
        describe_choices(
            text,
            tn_value_get(tn_value_get(stored, TN_PROVENANCE_PLACED), tn_value_key_at(placed, i)),
            tn_value_at(placed, i));
    if (text->len)
        fprintf(
            call->err,
            "tenon: warning: the run began with other machinery, so its last bits may differ:\n%s",
            text->str);
}

/* --- Data ------------------------------------------------------------------------------------ */

/* FALSE if a stage that was there reads something else now. What has no fingerprint is not
 * judged. */
static gboolean
same_data(const TnValue *stored, const TnValue *found, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; i < tn_value_len(found); i++) {
        const char *stage = tn_value_key_at(found, i);
        const TnValue *now = tn_value_at(found, i), *then = tn_value_get(stored, stage);
        const char *a = text_of(then, "fingerprint"), *b = text_of(now, "fingerprint");
        if (!a || !b || strcmp(a, b) == 0)
            continue;
        const char *files = text_of(now, "files");
        g_string_append_printf(text,
                               "\n  stages.%s: %s: the run began with fingerprint %s, "
                               "this is %s",
                               stage, files ? files : text_of(now, "dataset"), a, b);
    }
    if (text->len)
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "the data has changed, so the run would end elsewhere:%s\n"
                    "Put back what it was, or give --changed-data to go on with this",
                    text->str);
    return text->len == 0;
}

/* --- Writing and comparing ------------------------------------------------------------------- */

/* The words that the program was called with, options too. (transfer full). */
static GPtrArray *
command_line(void)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    gsize size = 0;
    char *text = tn_file_read("/proc/self/cmdline", 0, &size, NULL);
    for (gsize at = 0; text && at < size; at += strlen(text + at) + 1)
        g_ptr_array_add(words, g_strdup(text + at));
    tn_data_free(text);
    return words;
}

/* The table that kernels were chosen by goes with the run: it says of sizes yet to come, too. */
static gboolean
record_costs(TnRunDir *run, const TnCosts *costs, TnValue *about, GError **error)
{
    if (!costs)
        return TRUE;
    g_autofree char *digest = g_strdup_printf("%016" G_GINT64_MODIFIER "x", tn_costs_digest(costs));
    g_autoptr(TnValue) file = tn_costs_file(tn_costs_rows(costs));
    tn_value_set(about, TN_PROVENANCE_COSTS, tn_value_string(digest));
    return tn_run_put_json(run, TN_RUN_COSTS, file, error);
}

gboolean
record_provenance(TnRunDir *run, TnJob *job, const char *config, gint n_overrides,
                  const char *const *overrides, GError **error)
{
    g_autoptr(TnValue) extra = tn_value_map();
    TnValue *list = tn_value_list();
    g_autoptr(GPtrArray) words = command_line();
    for (gint i = 0; i < n_overrides; i++)
        tn_value_push(list, tn_value_string(overrides[i]));
    tn_value_set(extra, "config", tn_value_string(config));
    tn_value_set(extra, "overrides", list);
    g_autoptr(TnValue) choices = tn_value_map();
    TnValue *kernels = kernels_chosen(job, choices, error);
    if (!kernels)
        return FALSE;
    tn_value_set(extra, "kernels", kernels);
    tn_value_set(extra, TN_PROVENANCE_CHOICES, tn_value_ref(choices));
    tn_value_set(extra, TN_PROVENANCE_PLACED, placed_choices(job));
    tn_value_set(extra, "data", tn_job_data(job));
    if (!record_costs(run, tn_context_costs(tn_job_context(job)), extra, error))
        return FALSE;
    return tn_run_write_provenance(run, tn_job_context(job), (int)words->len,
                                   (char *const *)words->pdata, extra, error);
}

gboolean
record_compare(TnVerbCall *call, TnRunDir *run, TnJob *job, gboolean changed_data, GError **error)
{
    g_autoptr(TnValue) provenance = tn_run_get_json(run, TN_PROVENANCE, error);
    g_autoptr(TnValue) data = tn_job_data(job);
    g_autoptr(TnValue) choices = tn_value_map();
    g_autoptr(TnValue) kernels = provenance ? kernels_chosen(job, choices, error) : NULL;
    g_autoptr(GError) why = NULL;
    if (!kernels)
        return FALSE;
    if (!same_data(tn_value_get(provenance, "data"), data, &why)) {
        if (!changed_data) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        tn_value_set(provenance, "data", tn_value_ref(data));
        if (!tn_run_put_json(run, TN_PROVENANCE, provenance, error))
            return FALSE;
    }
    g_autoptr(TnValue) placed = placed_choices(job);
    warn_of_changes(call, provenance, kernels, choices, placed, tn_job_context(job));
    return TRUE;
}
