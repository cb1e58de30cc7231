/* tensor.h: a storage (memory of one device) and tensors, strided views of it.
 *
 * Shared means read-only: writing needs the only reference to both the tensor and its storage.
 * No public struct shows a data pointer; tn_tensor_map gives one, at no cost where the device's
 * memory is the host's. */
#pragma once

#include <tenon/option.h>

G_BEGIN_DECLS

/* What a tensor is, without its data. */
typedef struct {
    TnDtype dtype;
    gint32 rank;              /* 0 is a scalar */
    gint64 dims[TN_MAX_RANK]; /* elements; those beyond rank are 0 */
} TnType;

TN_API TnType tn_type(TnDtype dtype, gint rank, const gint64 *dims);
/* Elements (1 for a scalar, 0 if any size is 0); -1 if a size is negative or the product overflows
 * 63 bits. */
TN_API gint64 tn_type_count(const TnType *type);
/* Bytes of a contiguous tensor; -1 where there is no count, or on overflow. */
TN_API gint64 tn_type_bytes(const TnType *type);
TN_API gboolean tn_type_equal(const TnType *a, const TnType *b);
/* "f32[128, 784]". (transfer full): g_free. */
TN_API char *tn_type_print(const TnType *type);
/* Row-major strides in elements for the type's sizes. */
TN_API void tn_type_strides(const TnType *type, gint64 strides[TN_MAX_RANK]);

/* bytes of the device's memory. (transfer full). NULL with *error (TN_ERROR_NO_MEMORY)
 * otherwise. */
TN_API TnStorage *tn_storage_new(TnDevice *device, gsize bytes, GError **error);
/* Memory somebody else owns; release(data) is called with the last reference. */
TN_API TnStorage *tn_storage_wrap(TnDevice *device, void *memory, gsize bytes,
                                  GDestroyNotify release, gpointer data);
TN_API TnStorage *tn_storage_ref(TnStorage *storage);
TN_API void tn_storage_unref(TnStorage *storage);
TN_API TnDevice *tn_storage_device(const TnStorage *storage);
TN_API gsize tn_storage_bytes(const TnStorage *storage);
/* for device and exec code: a pointer of the device */
TN_API void *tn_storage_memory(const TnStorage *storage);

/* An uninitialised contiguous tensor. device NULL: the host. (transfer full). Thread: any. */
TN_API TnTensor *tn_tensor_new(TnDevice *device, TnType type, GError **error);
TN_API TnTensor *tn_tensor_zeros(TnDevice *device, TnType type, GError **error);
/* A host tensor that copies contiguous elements from memory. */
TN_API TnTensor *tn_tensor_from(TnType type, const void *elements, GError **error);
/* A rank-0 host tensor of the dtype from a double. */
TN_API TnTensor *tn_tensor_scalar(TnDtype dtype, double value);
/* A view. strides NULL: row-major; offset in elements of dtype from the storage's start. Checked
 * to lie inside. */
TN_API TnTensor *tn_tensor_view(TnStorage *storage, TnType type, const gint64 *strides,
                                gint64 offset, GError **error);
TN_API TnTensor *tn_tensor_ref(TnTensor *tensor);
TN_API void tn_tensor_unref(TnTensor *tensor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnTensor, tn_tensor_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnStorage, tn_storage_unref)

TN_API const TnType *tn_tensor_type(const TnTensor *tensor);
TN_API TnDtype tn_tensor_dtype(const TnTensor *tensor);
TN_API gint tn_tensor_rank(const TnTensor *tensor);
TN_API gint64 tn_tensor_dim(const TnTensor *tensor, gint i); /* negative i counts from the last */
TN_API gint64 tn_tensor_count(const TnTensor *tensor);
TN_API gint64 tn_tensor_bytes(const TnTensor *tensor);
TN_API const gint64 *tn_tensor_strides(const TnTensor *tensor); /* elements */
TN_API gint64 tn_tensor_offset(const TnTensor *tensor);         /* elements */
TN_API TnStorage *tn_tensor_storage(const TnTensor *tensor);    /* (transfer none) */
TN_API TnDevice *tn_tensor_device(const TnTensor *tensor);
TN_API gboolean tn_tensor_is_contiguous(const TnTensor *tensor);
/* The only reference to tensor and storage: may be written. */
TN_API gboolean tn_tensor_is_writable(const TnTensor *tensor);

/* Views of the same storage (transfer full), TN_ERROR_SHAPE otherwise. A reshape that strides
 * cannot express is an error (copy first). */
/* one may be -1 */
TN_API TnTensor *tn_tensor_reshape(TnTensor *tensor, gint rank, const gint64 *dims, GError **error);
TN_API TnTensor *tn_tensor_permute(TnTensor *tensor, const gint *perm, GError **error);
/* axis may count from the last. start and stop as in Python's slices: negative ones count from the
 * end, then both are brought inside; with a negative step G_MININT64 as stop takes the first
 * too. */
TN_API TnTensor *tn_tensor_slice(TnTensor *tensor, gint axis, gint64 start, gint64 stop,
                                 gint64 step, GError **error);
TN_API TnTensor *tn_tensor_expand(TnTensor *tensor, gint rank, const gint64 *dims, GError **error);

/* Contiguous copy on device (NULL: the host), converted to dtype (TN_DTYPE_NONE: as it is).
 * (transfer full). */
TN_API TnTensor *tn_tensor_copy(TnTensor *tensor, TnDevice *device, TnDtype dtype, GError **error);
/* Copies elements into to (same type; to writable by the caller's word: its reference is not
 * checked). */
TN_API gboolean tn_tensor_copy_into(TnTensor *to, TnTensor *from, GError **error);

typedef enum { TN_MAP_READ = 1, TN_MAP_WRITE = 2 } TnMapFlags;
/* A host pointer to the tensor's first element (use its strides), valid until unmap. On a device
 * whose memory is not the host's this copies. TN_MAP_WRITE needs a writable tensor. NULL with
 * *error otherwise. Every map is unmapped. */
TN_API void *tn_tensor_map(TnTensor *tensor, TnMapFlags flags, GError **error);
TN_API void tn_tensor_unmap(TnTensor *tensor);

/* Element i in row-major order as a double (exact up to 53 bits), for tests, printing and
 * scripts; slow. */
TN_API double tn_tensor_get(TnTensor *tensor, gint64 i);
/* "f32[2, 3] {{1, 2, 3}, {4, 5, 6}}", long ones shortened. (transfer full): g_free. */
TN_API char *tn_tensor_print(TnTensor *tensor);

/* --- DLPack 1.0 (dlpack.h of the DLPack project; the struct is declared in tenon/dlpack.h) ---- */
struct DLManagedTensorVersioned;
/* Without copying; (transfer full): the consumer calls its deleter. NULL with *error for dtypes
 * DLPack lacks. */
TN_API struct DLManagedTensorVersioned *tn_tensor_to_dlpack(TnTensor *tensor, GError **error);
/* Takes the managed tensor (its deleter is called with the last reference, also on error).
 * Read-only if it says so. */
TN_API TnTensor *tn_tensor_from_dlpack(struct DLManagedTensorVersioned *managed, TnDevice *device,
                                       GError **error);

G_END_DECLS
