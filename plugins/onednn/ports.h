/* ports.h: a call made of a primitive's descriptor: which tensors it has, and where they lie. */
#pragma once

#include "call.h"
#include "library.h"

/* How a primitive takes one of its tensors. */
typedef struct {
    const OneDnnBox *box; /* NULL, or of no dtype: absent */
    int arg;              /* the primitive's name for it */
    gboolean own;         /* in the primitive's own layout; else as it lies */
    gboolean out;
    gboolean laid; /* the caller's tensor is in the primitive's own layout */
} OneDnnPortUse;

/* A box as it lies. */
gboolean onednn_plain_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc);
/* In the layout that a primitive likes best. */
gboolean onednn_any_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc);
/* Of an operation's descriptor, with the usual attributes; hint: of the way forward, or NULL. NULL: the library
 * has none. */
dnnl_primitive_desc_t onednn_desc_new(const_dnnl_op_desc_t op, dnnl_primitive_desc_t hint);
/* How the primitive would be computed; desc is taken and may be NULL. */
OneDnnWay onednn_way_of(dnnl_primitive_desc_t desc);
/* A call of the primitive that desc says, which is taken and may be NULL: then it is an error. */
OneDnnCall *onednn_call_new(dnnl_primitive_desc_t desc, const OneDnnPortUse *uses, GError **error);
