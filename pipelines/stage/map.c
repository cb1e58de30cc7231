/* map.c: the stage that turns each frame into another by a function, traced once into a graph and
 * run as a program.
 *
 * Each frame keeps a TnFunction of its own over its lives, and its tensors are views of that
 * function's arena: nothing is copied, and any number of frames may be under way. */
#include "stages.h"
#include <tenon/base.h>

typedef struct {
    TnStageCommon common;
    const TnValue *apply;
} MapOptions;

typedef struct {
    TnConfig *config;
    const MapOptions *options;
    TnTracer tracer;
    gpointer tracer_data;
    TnContext *context;
    TnGraph *graph;
    guint n_out;
} Map;

static const TnOption map_rows[] = {
    { .name = "apply",
      .type = TN_OPT_FUNCTION,
      .offset = G_STRUCT_OFFSET(MapOptions, apply),
      .flags = TN_OPTION_REQUIRED,
      .help = "function of a batch {field = value} that gives the new batch; pure: traced into a "
              "graph" },
    TN_STAGE_ROWS(MapOptions, common),
};

static __thread TnTracer current_tracer;
static __thread gpointer current_tracer_data;

void
tn_stages_set_tracer(TnTracer tracer, gpointer data)
{
    current_tracer = tracer;
    current_tracer_data = data;
}

static void *
map_create(TnConfig *config, TnContext *context, GError **error)
{
    if (!current_tracer) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "map: nobody here can trace a function");
        return NULL;
    }
    Map *map = g_new0(Map, 1);
    map->config = tn_config_ref(config);
    map->options = tn_config_data(config);
    map->tracer = current_tracer;
    map->tracer_data = current_tracer_data;
    map->context = tn_context_ref(context);
    return map;
}

static void
map_destroy(void *self)
{
    Map *map = self;
    if (map->graph)
        tn_graph_unref(map->graph);
    tn_context_unref(map->context);
    tn_config_unref(map->config);
    g_free(map);
}

static gboolean
map_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    Map *map = self;
    (void)context;
    if (!in) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "from: map needs a stage to take frames from");
        return FALSE;
    }
    map->graph = map->tracer(map->options->apply, in, map->tracer_data, error);
    if (!map->graph || !tn_graph_check(map->graph, error))
        return FALSE;
    map->n_out = tn_graph_n_outputs(map->graph);
    if (map->n_out == 0 || map->n_out > TN_MAX_FIELDS || tn_graph_n_variables(map->graph) > 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "apply: gave %u fields and uses %u variables; 1 to %d fields and no variables "
                    "are possible",
                    map->n_out, tn_graph_n_variables(map->graph), TN_MAX_FIELDS);
        return FALSE;
    }
    out->n = map->n_out;
    out->length = in->length;
    out->samples = in->samples;
    for (guint i = 0; i < map->n_out; i++) {
        const char *name;
        TnVal val = tn_graph_output_at(map->graph, i, &name);
        out->names[i] = tn_intern(name);
        out->types[i] = *tn_graph_type(map->graph, val);
    }
    return TRUE;
}

/* The frame's function; made at its first life. */
static TnFunction *
function_of(Map *map, TnFrame *frame)
{
    TnFunction *function = tn_frame_keep(frame);
    if (!function) {
        function = tn_function_new(map->graph, map->context);
        tn_frame_set_keep(frame, function, (GDestroyNotify)tn_function_unref);
    }
    return function;
}

static TnStatus
map_make(void *self, void *worker, guint64 seq, TnFrame *in, TnFrame *frame, GError **error)
{
    Map *map = self;
    TnTensor *inputs[TN_MAX_FIELDS];
    (void)worker;
    (void)seq;
    for (guint i = 0; i < tn_frame_n(in); i++)
        inputs[i] = tn_frame_tensor(in, i);
    for (guint i = 0; i < map->n_out; i++) /* views of the arena that is about to be written */
        tn_frame_set(frame, i, NULL);
    TnExec *exec = tn_function_exec(function_of(map, frame), tn_frame_n(in), inputs, error);
    if (!exec)
        return TN_FAILED;
    TnStatus status = tn_exec_run(exec);
    if (status != TN_OK && tn_exec_error(exec))
        g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
    for (guint i = 0; i < map->n_out && status == TN_OK; i++) {
        TnTensor *output = tn_exec_output(exec, i);
        if (output)
            tn_frame_set(frame, i, tn_tensor_ref(output));
        else
            status = TN_FAILED;
    }
    for (guint i = 0; i < tn_frame_n(in); i++) /* so that the source can use their memory again */
        tn_exec_bind(exec, i, NULL);
    return status;
}

static TnGraph *
map_graph(void *self)
{
    return ((Map *)self)->graph;
}

static const TnStageVTable map_vtable = {
    .size = sizeof(TnStageVTable),
    .open = map_open,
    .make = map_make,
    .graph = map_graph,
};

const TnFactory tn_stage_map = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_STAGE,
    .name = "map",
    .help = "each frame through a function, traced into a graph",
    .options = TN_OPTIONS(MapOptions, map_rows),
    .create = map_create,
    .destroy = map_destroy,
    .vtable = &map_vtable,
};
