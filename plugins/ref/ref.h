/* ref.h: what the kernels of the reference device share.
 *
 * Every kernel is a plain loop over the elements of its output that reads each element through the
 * dtype table. Sums and products of floats are accumulated in double whatever the dtype, so that
 * results are those of an oracle; integers wrap. One thread, no tuning: nothing here may be
 * clever. */
#pragma once

#include <string.h>

#include <tenon/device.h>
#include <tenon/ops.h>

/* One element in its dtype's compute type. */
typedef union {
    float f32;
    double f64;
    gint64 i64;
    guint64 u64;
} RefValue;

/* A node as its kernel keeps it: what prepare was given, copied. */
typedef struct {
    const TnOp *op;
    const void *row; /* a kernel's own choice, made while preparing */
    void *attrs;
    gint n_in, n_out;
    TnArg *in, *out;
    TnArg args[]; /* inputs, then outputs */
} RefNode;

extern const TnKernelTable ref_elementwise, ref_reduce, ref_movement, ref_index, ref_product,
    ref_random;
#define REF_TABLE(rows)                                                                            \
    {                                                                                              \
        .size = sizeof(TnKernelTable), .kind = "ref", .kernel_size = sizeof(TnKernel),             \
        .n_kernels = G_N_ELEMENTS(rows), .kernels = (rows), .flags = TN_TABLE_BATCH_INVARIANT      \
    }
#define REF_FLAGS (TN_KERNEL_SLOW | TN_KERNEL_STRIDED)
/* A row that keeps the node and needs no scratch. */
#define REF_ROW(name, function)                                                                    \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_ALL, .flags = REF_FLAGS, .prepare = ref_prepare,         \
        .run = (function), .release = g_free                                                       \
    }

RefNode *ref_node_new(const TnNode *node);
gboolean ref_prepare(const TnNode *node, TnPrepared *prepared, GError **error);

/* TRUE while index is a position inside dims; begins at all zeros. */
gboolean ref_next(gint rank, const gint64 *dims, gint64 *index);
gint64 ref_dot(gint rank, const gint64 *index, const gint64 *strides);
/* Strides with which arg is read at positions of a shape of `rank` axes that it broadcasts to. */
void ref_broadcast(const TnArg *arg, gint rank, gint64 *strides);
/* Bytes of elements of `size` from one strided place to another. */
void ref_copy(gsize size, gint rank, const gint64 *dims, void *to, const gint64 *to_strides,
              const void *from, const gint64 *from_strides);

static inline RefValue
ref_load(TnDtype dtype, const void *base, gint64 at)
{
    RefValue value;
    tn_dtype_info(dtype)->load(&value, (const char *)base + at * (gint64)tn_dtype_size(dtype), 1,
                               1);
    return value;
}

static inline void
ref_store(TnDtype dtype, void *base, gint64 at, RefValue value)
{
    tn_dtype_info(dtype)->store((char *)base + at * (gint64)tn_dtype_size(dtype), &value, 1, 1);
}

static inline gboolean
ref_is_float(TnDtype dtype)
{
    return tn_dtype_info(dtype)->klass == TN_CLASS_FLOAT;
}

/* A float of any kind as a double, and back, rounded once. */
double ref_load_double(TnDtype dtype, const void *base, gint64 at);
void ref_store_double(TnDtype dtype, void *base, gint64 at, double value);
/* A constant of an attribute in dtype. */
void ref_store_number(TnDtype dtype, void *base, gint64 at, double value);
/* Stores an accumulator: sum for floats, bits (two's complement) for the rest. */
void ref_store_sum(TnDtype dtype, void *base, gint64 at, double sum, guint64 bits);
/* An index of the node, counted from the end if negative; -1 if it is not in [0, n). */
gint64 ref_index_at(TnDtype dtype, const void *base, gint64 at, gint64 n);
