/* tape-private.h: what a tape is inside. */
#pragma once

#include <tenon/tape.h>

#include "graph/graph-private.h"

struct TnTape {
    TnContext *context;
    TnGraph *graph;
    /* TnTensor * of output k of node i at i * TN_MAX_OUT + k; NULL: not computed */
    GPtrArray *tensors;
    GHashTable *execs; /* GBytes * → TnExec * */
    guint n_inputs;    /* of the graph, for names */
    guint64 bytes;     /* of tensors */
    /* Interned names of operators used: those whose results depend on what their nodes are called. */
    GHashTable *drawing;
};

/* tensor: (transfer full). */
void tn_tape_set_tensor(TnTape *tape, TnVal val, TnTensor *tensor);
/* An input without a tensor yet, of a name of its own. */
TnVal tn_tape_add_input(TnTape *tape, const TnType *type);
