/* pipeline.c: the DAG of a job's pure stages: what it gives, its state, its end, the first error of any of
 * them. pipeline-open.c makes the stages. */
#include "stage/pipeline-private.h"

#include <string.h>

#include "stage/placed.h"

/* --- Bus ------------------------------------------------------------------------------------- */

void
tn_bus_init(TnBus *bus)
{
    pthread_mutex_init(&bus->lock, NULL);
    bus->error = NULL;
    atomic_init(&bus->failed, FALSE);
}

void
tn_bus_clear(TnBus *bus)
{
    g_clear_error(&bus->error);
    pthread_mutex_destroy(&bus->lock);
}

void
tn_bus_post(TnBus *bus, GError *error)
{
    pthread_mutex_lock(&bus->lock);
    if (bus->error) {
        tn_log("stage", TN_LOG_DEBUG, "failed too: %s", error->message);
        g_error_free(error);
    } else {
        bus->error = error;
        atomic_store(&bus->failed, TRUE);
    }
    pthread_mutex_unlock(&bus->lock);
}

/* --- Interface ------------------------------------------------------------------------------- */

TnPipeline *
tn_pipeline_new(TnContext *context, guint n, const char *const *names, TnSpec *const *specs,
                const TnPlacing *placing, GError **error)
{
    g_autoptr(TnPipeline) pipeline = g_new0(TnPipeline, 1);
    pipeline->context = tn_context_ref(context);
    pipeline->stages = g_ptr_array_new();
    tn_bus_init(&pipeline->bus);
    tn_stages_register();
    if (placing)
        pipeline->placing = *placing;
    if (!tn_pipeline_open(pipeline, n, names, specs, error))
        return NULL;
    return g_steal_pointer(&pipeline);
}

void
tn_pipeline_free(TnPipeline *pipeline)
{
    if (!pipeline)
        return;
    /* All are told to stop before any is joined: a worker may wait on another stage's port.
     * Consumers go first. */
    for (guint i = 0; i < pipeline->stages->len; i++)
        tn_port_stop(((TnNodeStage *)g_ptr_array_index(pipeline->stages, i))->port);
    for (guint i = pipeline->stages->len; i > 0; i--)
        tn_node_stage_free(g_ptr_array_index(pipeline->stages, i - 1));
    g_ptr_array_unref(pipeline->stages);
    tn_bus_clear(&pipeline->bus);
    tn_context_unref(pipeline->context);
    g_free(pipeline);
}

static TnNodeStage *
find_stage(const TnPipeline *pipeline, const char *name)
{
    for (guint i = 0; i < pipeline->stages->len; i++) {
        TnNodeStage *stage = g_ptr_array_index(pipeline->stages, i);
        if (strcmp(stage->name, name) == 0)
            return stage;
    }
    return NULL;
}

TnPort *
tn_pipeline_port(TnPipeline *pipeline, const char *name, GError **error)
{
    TnNodeStage *stage = find_stage(pipeline, name);
    if (!stage) {
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        for (guint i = 0; i < pipeline->stages->len; i++)
            g_ptr_array_add(names, ((TnNodeStage *)g_ptr_array_index(pipeline->stages, i))->name);
        const char *near = tn_nearest(name, (const char *const *)names->pdata, names->len);
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "there is no stage '%s' that gives frames%s%s%s", name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        return NULL;
    }
    if (stage->taken) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "the frames of stage '%s' are already taken by another stage; give each "
                    "consumer a stage of its own",
                    name);
        return NULL;
    }
    stage->taken = TRUE;
    return stage->port;
}

const GError *
tn_pipeline_error(const TnPipeline *pipeline)
{
    /* Once failed is seen the error never changes again. */
    return atomic_load(&((TnPipeline *)pipeline)->bus.failed) ? pipeline->bus.error : NULL;
}

/* Whether another stage of the pipeline takes its frames. */
static gboolean
is_inner(const TnPipeline *pipeline, const TnNodeStage *stage)
{
    for (guint i = 0; i < pipeline->stages->len; i++)
        if (((TnNodeStage *)g_ptr_array_index(pipeline->stages, i))->in == stage->port)
            return TRUE;
    return FALSE;
}

TnValue *
tn_pipeline_save(const TnPipeline *pipeline)
{
    TnValue *state = tn_value_map();
    for (guint i = 0; i < pipeline->stages->len; i++) {
        TnNodeStage *stage = g_ptr_array_index(pipeline->stages, i);
        if (is_inner(pipeline, stage)) /* ahead by what workers fetched, which is no state */
            continue;
        TnValue *row = tn_value_map();
        tn_value_set(row, "seq", tn_value_int((gint64)tn_port_seq(stage->port)));
        tn_value_set(state, stage->name, row);
    }
    return state;
}

/* The number that stage's last consumer wants next: only ends of chains are sought, they seek what
 * is before them. */
static gboolean
load_stage(TnNodeStage *stage, const TnValue *state, GError **error)
{
    const TnValue *row = tn_value_get(state, stage->name);
    const TnValue *seq = row ? tn_value_get(row, "seq") : NULL;
    if (!seq || tn_value_type(seq) != TN_VALUE_INT || tn_value_get_int(seq) < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                    "the checkpoint's state has no number for stage '%s'", stage->name);
        return FALSE;
    }
    tn_port_seek(stage->port, (guint64)tn_value_get_int(seq));
    return TRUE;
}

gboolean
tn_pipeline_load(TnPipeline *pipeline, const TnValue *state, GError **error)
{
    for (guint i = 0; i < pipeline->stages->len; i++) {
        TnNodeStage *stage = g_ptr_array_index(pipeline->stages, i);
        if (!is_inner(pipeline, stage) && !load_stage(stage, state, error))
            return FALSE;
    }
    return TRUE;
}

TnGraph *
tn_pipeline_graph(const TnPipeline *pipeline, guint number, const char **name)
{
    for (guint i = 0; i < pipeline->stages->len; i++) {
        const TnNodeStage *stage = g_ptr_array_index(pipeline->stages, i);
        if (!TN_HAS(stage->vtable, graph) || number-- > 0)
            continue;
        *name = stage->name;
        return stage->vtable->graph(stage->self);
    }
    return NULL;
}

static void
add_items(TnValue *map, const TnValue *items)
{
    for (gsize i = 0; i < tn_value_len(items); i++)
        tn_value_set(map, tn_value_key_at(items, i), tn_value_copy(tn_value_at(items, i)));
}

TnValue *
tn_pipeline_data(const TnPipeline *pipeline)
{
    TnValue *data = tn_value_map();
    for (guint i = 0; i < pipeline->stages->len; i++) {
        const TnNodeStage *stage = g_ptr_array_index(pipeline->stages, i);
        if (stage->placed)
            add_items(data, tn_placed_data(stage->placed));
        else if (TN_HAS(stage->vtable, data))
            tn_value_set(data, stage->name, stage->vtable->data(stage->self));
    }
    return data;
}

TnValue *
tn_pipeline_places(const TnPipeline *pipeline)
{
    TnValue *list = tn_value_list();
    for (guint i = 0; i < pipeline->stages->len; i++) {
        const TnNodeStage *stage = g_ptr_array_index(pipeline->stages, i);
        if (stage->placed)
            tn_value_push(list, tn_placed_status(stage->placed));
    }
    return list;
}

const TnValue *
tn_pipeline_placed(const TnPipeline *pipeline, guint number, const char **name)
{
    for (guint i = 0; i < pipeline->stages->len; i++) {
        const TnNodeStage *stage = g_ptr_array_index(pipeline->stages, i);
        if (!stage->placed || number-- > 0)
            continue;
        *name = stage->name;
        return tn_placed_about(stage->placed);
    }
    return NULL;
}
