/* pipeline-private.h: a pipeline, as who opens its stages and who holds them share it. */
#pragma once

#include "stage/stage-private.h"

struct TnPipeline {
    TnContext *context;
    TnPlacing placing;
    TnBus bus;
    GPtrArray *stages; /* of TnNodeStage, each after the one it takes from */
};

/* pipeline-open.c. Opens what runs here of n stages, in the order of their edges, into the pipeline. FALSE
 * with *error: those that are open stay with it. */
gboolean tn_pipeline_open(TnPipeline *pipeline, guint n, const char *const *names,
                          TnSpec *const *specs, GError **error);
void tn_node_stage_free(TnNodeStage *stage);
