/* ports.h: a call made of a primitive's descriptor: which tensors it has, and where they lie. */
#pragma once

#include "call.h"
#include "library.h"

/* How a primitive takes one of its tensors. */
typedef struct {
    const OneDnnBox *box; /* NULL, or of no dtype: absent */
    int arg;              /* the primitive's name for it */
    dnnl_query_t query;   /* asks for the primitive's own layout; dnnl_query_undef: as it lies */
    gboolean out;
} OneDnnPortUse;

/* A box as it lies. */
gboolean onednn_plain_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc);
/* A call of the primitive that desc says, which is taken and may be NULL: then it is an error. */
OneDnnCall *onednn_call_new(dnnl_primitive_desc_t desc, const OneDnnPortUse *uses, GError **error);
