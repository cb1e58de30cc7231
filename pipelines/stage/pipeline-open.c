/* pipeline-open.c: stages from their specs: created in the order of their edges, joined, placed, and what
 * is wrong with them told with its line of the config. */
#include "stage/pipeline-private.h"

#include <string.h>

#include "stage/placed.h"
#include "wire/address.h"

typedef struct {
    TnPipeline *pipeline;
    guint n;
    const char *const *names;
    TnSpec *const *specs;
    guint8 *mark; /* per spec: 0 not seen, 1 being opened, 2 open, or elsewhere */
} Builder;

void
tn_node_stage_free(TnNodeStage *stage)
{
    tn_port_free(stage->port);
    if (stage->opened && TN_HAS(stage->vtable, close))
        stage->vtable->close(stage->self);
    if (stage->object)
        tn_object_unref(stage->object);
    tn_placed_free(stage->placed);
    if (stage->config)
        tn_config_unref(stage->config);
    g_free(stage->name);
    g_free(stage);
}

static void fail_at(GError **error, const TnSpec *spec, const char *name, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

static void
fail_at(GError **error, const TnSpec *spec, const char *name, const char *format, ...)
{
    TnWhere where = tn_spec_where(spec);
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    const char *file = where.file ? where.file : "config", *rest = text;
    /* A function of the config says its own line. */
    if (g_str_has_prefix(text, file) && text[strlen(file)] == ':') {
        char *end;
        const guint64 line = g_ascii_strtoull(text + strlen(file) + 1, &end, 10);
        if (line > 0 && g_str_has_prefix(end, ": ")) {
            where.line = (gint)line;
            rest = end + 2;
        }
    }
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "%s:%d: stages.%s: %s", file, where.line, name,
                rest);
}

static gboolean open_stage(Builder *builder, guint i, GError **error);

/* The port of the stage that spec i takes from. */
static gboolean
connect_input(Builder *builder, guint i, TnNodeStage *stage, GError **error)
{
    const char *from = stage->common.from, *name = builder->names[i];
    if (!from || !*from)
        return TRUE;
    if (stage->flags & TN_STAGE_REPLIES) {
        fail_at(error, builder->specs[i], name, "from: " TN_STAGE_HAS_FROM);
        return FALSE;
    }
    for (guint k = 0; k < builder->n; k++) {
        if (strcmp(builder->names[k], from) != 0)
            continue;
        if (builder->mark[k] == 1) {
            fail_at(error, builder->specs[i], name, "takes from '%s', which takes from it in turn",
                    from);
            return FALSE;
        }
        if (!open_stage(builder, k, error))
            return FALSE;
        g_autoptr(GError) why = NULL;
        stage->in = tn_pipeline_port(builder->pipeline, from, &why);
        if (stage->in && tn_port_flags(stage->in) & TN_STAGE_REPLIES) {
            fail_at(error, builder->specs[i], name, "from: " TN_STAGE_FROM_REPLIES, from);
            return FALSE;
        }
        if (!stage->in)
            fail_at(error, builder->specs[i], name, "%s", why->message);
        return stage->in != NULL;
    }
    const char *near = tn_nearest(from, builder->names, builder->n);
    fail_at(error, builder->specs[i], name, "from: there is no stage '%s'%s%s%s", from,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return FALSE;
}

/* A stage that runs in other processes, with those before it. */
static gboolean
place_stage(Builder *builder, guint i, TnNodeStage *stage, GError **error)
{
    TnPipeline *pipeline = builder->pipeline;
    g_autoptr(GError) why = NULL;
    stage->placed = tn_placed_new(stage->name, stage->flags, &stage->common, &pipeline->placing,
                                  pipeline->context, &why);
    if (!stage->placed) {
        if (g_error_matches(why, TN_ERROR, TN_ERROR_CONFIG) ||
            g_error_matches(why, TN_ERROR, TN_ERROR_NOT_FOUND) ||
            g_error_matches(why, TN_ERROR, TN_ERROR_USAGE))
            fail_at(error, builder->specs[i], stage->name, "%s", why->message);
        else
            g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    stage->schema = *tn_placed_schema(stage->placed);
    stage->requests = tn_placed_requests(stage->placed);
    stage->port = tn_port_new(stage, pipeline->context, &pipeline->bus, error);
    return stage->port != NULL;
}

static gboolean
start_stage(Builder *builder, guint i, TnNodeStage *stage, GError **error)
{
    const TnSpec *spec = builder->specs[i];
    TnContext *context = builder->pipeline->context;
    stage->object = tn_object_new(spec, context, error);
    if (!stage->object)
        return FALSE;
    stage->vtable = tn_object_vtable(stage->object);
    stage->self = tn_object_self(stage->object);
    if (!connect_input(builder, i, stage, error))
        return FALSE;
    const TnSchema *in = stage->in ? tn_port_schema(stage->in) : NULL;
    g_autoptr(GError) why = NULL;
    stage->opened = stage->vtable->open(stage->self, context, in, &stage->schema, &why);
    if (!stage->opened) {
        fail_at(error, spec, stage->name, "%s", why->message);
        return FALSE;
    }
    if (stage->flags & TN_STAGE_REPLIES) {
        stage->requests =
            TN_HAS(stage->vtable, requests) ? stage->vtable->requests(stage->self) : NULL;
        if (!stage->requests || stage->requests->n == 0 || stage->requests->n > TN_MAX_FIELDS) {
            fail_at(error, spec, stage->name,
                    "its plugin says that it replies, but not what requests of 1 to %d fields it "
                    "takes (TnStageVTable.requests)",
                    TN_MAX_FIELDS);
            return FALSE;
        }
    }
    stage->port = tn_port_new(stage, context, &builder->pipeline->bus, error);
    return stage->port != NULL;
}

guint32
tn_stage_flags(const TnFactory *factory)
{
    const TnStageVTable *vtable = factory ? factory->vtable : NULL;
    return TN_HAS(vtable, flags) ? vtable->flags : 0;
}

/* What the driver reads of a stage, before it is created. */
static gboolean
read_common(Builder *builder, guint i, const TnFactory *factory, TnNodeStage *stage, GError **error)
{
    const TnPlacing *placing = &builder->pipeline->placing;
    g_autoptr(GError) why = NULL;
    TnAddress address;
    stage->config = tn_config_new(&factory->options, tn_spec_options(builder->specs[i]), error);
    if (!stage->config)
        return FALSE;
    stage->flags = tn_stage_flags(factory);
    stage->common = *(const TnStageCommon *)tn_config_data(stage->config);
    if (stage->flags & TN_STAGE_LATEST && stage->flags & TN_STAGE_REPLIES) {
        fail_at(error, builder->specs[i], stage->name,
                "its plugin says that it replies and that it gives versions: one of them");
        return FALSE;
    }
    if (stage->flags & TN_STAGE_LATEST && stage->common.workers > 1) {
        fail_at(error, builder->specs[i], stage->name, "workers: " TN_STAGE_ONE_WORKER,
                stage->common.workers);
        return FALSE;
    }
    if (stage->common.place && !tn_address_parse(stage->common.place, &address, &why)) {
        fail_at(error, builder->specs[i], stage->name, "place: %s", why->message);
        return FALSE;
    }
    if (!placing->launch || g_strcmp0(placing->here, stage->name) == 0)
        stage->common.place = NULL;
    if (placing->single || g_strcmp0(placing->here, stage->name) == 0)
        stage->common.workers = 0; /* they are processes, of which this is one */
    return TRUE;
}

static gboolean
open_stage(Builder *builder, guint i, GError **error)
{
    const TnSpec *spec = builder->specs[i];
    const TnFactory *factory = tn_registry_find(TN_IFACE_STAGE, tn_spec_component(spec), error);
    if (builder->mark[i] == 2)
        return TRUE;
    if (!factory)
        return FALSE;
    builder->mark[i] = 1;
    if (factory->vtable) { /* turned stages are the job's */
        TnNodeStage *stage = g_new0(TnNodeStage, 1);
        stage->name = g_strdup(builder->names[i]);
        stage->context = builder->pipeline->context;
        if (!read_common(builder, i, factory, stage, error) ||
            !(stage->common.place ? place_stage : start_stage)(builder, i, stage, error)) {
            tn_node_stage_free(stage);
            return FALSE;
        }
        g_ptr_array_add(builder->pipeline->stages, stage);
    }
    builder->mark[i] = 2;
    return TRUE;
}

/* The stage that spec i takes from, by its place among specs; -1: none of them. */
static gint
input_of(const Builder *builder, guint i)
{
    const TnValue *from = tn_value_get(tn_spec_options(builder->specs[i]), "from");
    if (!from || tn_value_type(from) != TN_VALUE_STRING)
        return -1;
    for (guint k = 0; k < builder->n; k++)
        if (strcmp(builder->names[k], tn_value_get_string(from)) == 0)
            return (gint)k;
    return -1;
}

static gboolean
is_placed(const Builder *builder, guint i)
{
    const TnPlacing *placing = &builder->pipeline->placing;
    const TnValue *place = tn_value_get(tn_spec_options(builder->specs[i]), "place");
    return placing->launch && g_strcmp0(placing->here, builder->names[i]) != 0 && place &&
           tn_value_type(place) == TN_VALUE_STRING;
}

/* What would be told when stages are opened, if those before a placed one were: FALSE with *error. */
static gboolean
check_edges(const Builder *builder, guint i, GError **error)
{
    gint before = input_of(builder, i);
    for (guint k = 0; before >= 0 && k < i; k++)
        if (input_of(builder, k) == before) {
            fail_at(
                error, builder->specs[i], builder->names[i],
                "the frames of stage '%s' are already taken by another stage; give each consumer "
                "a stage of its own",
                builder->names[before]);
            return FALSE;
        }
    for (guint steps = 0; before >= 0 && steps <= builder->n; steps++)
        before = input_of(builder, (guint)before);
    if (before < 0)
        return TRUE;
    fail_at(error, builder->specs[i], builder->names[i],
            "takes from a stage that takes from it in turn");
    return FALSE;
}

/* Stages before a placed one are opened where that one is. */
static gboolean
leave_out_remote(Builder *builder, GError **error)
{
    for (guint i = 0; i < builder->n; i++) {
        gint before = is_placed(builder, i) ? input_of(builder, i) : -1;
        for (guint k = 0; before >= 0 && k < builder->n; k++)
            if (!check_edges(builder, k, error))
                return FALSE;
        for (; before >= 0; before = input_of(builder, (guint)before))
            builder->mark[before] = 2;
    }
    return TRUE;
}

gboolean
tn_pipeline_open(TnPipeline *pipeline, guint n, const char *const *names, TnSpec *const *specs,
                 GError **error)
{
    g_autofree guint8 *mark = g_new0(guint8, n + 1);
    Builder builder = { pipeline, n, names, specs, mark };
    if (!leave_out_remote(&builder, error))
        return FALSE;
    for (guint i = 0; i < n; i++) {
        const char *here = pipeline->placing.here; /* those before it are opened with it */
        if ((!here || strcmp(here, names[i]) == 0) && !open_stage(&builder, i, error))
            return FALSE;
    }
    return TRUE;
}
