/* tensor-private.h: what a storage and a tensor are inside. */
#pragma once

#include <pthread.h>

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/tensor.h>

#include "base/refs.h"

struct TnStorage {
    TnRefs refs;
    gboolean read_only; /* somebody else's memory, lent for reading */
    TnDevice *device;
    void *memory;
    gsize bytes;
    GDestroyNotify release; /* NULL: the device's own memory */
    gpointer data;
};

/* Host memory with the elements of a tensor on a device whose memory the host cannot read. */
typedef struct {
    void *buffer; /* the storage's elements first .. first + count - 1; NULL: none */
    gint64 first, count;
} TnStage;

struct TnTensor {
    TnRefs refs;
    TnType type;
    gint64 strides[TN_MAX_RANK];
    gint64 offset;
    gint64 count;
    gboolean contiguous;
    TnStorage *storage;
    /* Maps of a tensor that is not in host memory, which share one stage. */
    pthread_mutex_t lock;
    guint maps;
    TnMapFlags map_flags;
    TnStage stage;
};

/* A tensor without any check; takes over one reference to storage. */
TnTensor *tn_tensor_make(TnStorage *storage, const TnType *type, const gint64 *strides,
                         gint64 offset);

/* FALSE with *error unless dtype, rank and sizes are such that every size in bytes fits 63 bits. */
gboolean tn_type_check(const TnType *type, GError **error);

/* The elements that a view touches: [*first, *last], relative to the same start as offset; an empty
 * one touches none and gives *last = *first - 1. FALSE when a number overflows. */
gboolean tn_view_extent(const TnType *type, const gint64 *strides, gint64 offset, gint64 *first,
                        gint64 *last);

/* Copies n-dimensional strided elements between host pointers, converting dtypes. */
void tn_copy_strided(const TnType *type, void *to, const gint64 *to_strides, TnDtype from_dtype,
                     const void *from, const gint64 *from_strides);

/* Gets the tensor's elements into host memory (fill FALSE: their contents are not needed) and
 * gives a pointer to the first, or puts them back (write) and frees the memory. For a tensor in
 * host memory the stage stays empty. */
void *tn_stage_begin(TnTensor *tensor, TnStage *stage, gboolean fill, GError **error);
gboolean tn_stage_end(TnTensor *tensor, TnStage *stage, gboolean write, GError **error);
