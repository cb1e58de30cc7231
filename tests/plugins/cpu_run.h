/* cpu_run.h: runs one kernel of one device on memory that a test lays out itself: any strides,
 * sentinels around results. */
#ifndef CPU_RUN_H
#define CPU_RUN_H

#include <math.h>

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>
#include <tenon/pool.h>

#include "tn_test.h"

/* An array that an input or output lies in: `first` is element [0, 0, …]. */
typedef struct {
    TnArg arg;
    guint8 *block;
    gsize bytes;
    guint8 *first;
} Array;

#define SENTINEL 0xa5
#define MARGIN 64

/* Lays out an uninitialised array; strides NULL: contiguous. Strides may be 0 or negative. */
static inline Array
array_new(TnType type, const gint64 *strides)
{
    Array array = { .arg.type = type, .arg.count = tn_type_count(&type) };
    gint64 low = 0, high = 0, size = (gint64)tn_dtype_size(type.dtype);
    tn_type_strides(&type, array.arg.strides);
    if (strides) {
        memcpy(array.arg.strides, strides, (gsize)type.rank * sizeof *strides);
    }
    for (gint i = 0; i < type.rank && array.arg.count > 0; i++) {
        gint64 reach = (type.dims[i] - 1) * array.arg.strides[i];
        low += MIN(reach, 0);
        high += MAX(reach, 0);
    }
    gsize body = array.arg.count > 0 ? (gsize)((high - low + 1) * size) : 0;
    array.bytes = body + 2 * MARGIN;
    array.block = tn_data_alloc(array.bytes);
    memset(array.block, SENTINEL, array.bytes);
    array.first = array.block + MARGIN - low * size;
    return array;
}

static inline void
array_clear(Array *array)
{
    tn_data_free(array->block);
    array->block = NULL;
}

/* Byte place of element number i (row-major). */
static inline guint8 *
array_at(const Array *array, gint64 i)
{
    gint64 at = 0;
    for (gint k = array->arg.type.rank - 1; k >= 0; k--) {
        at += i % array->arg.type.dims[k] * array->arg.strides[k];
        i /= array->arg.type.dims[k];
    }
    return array->first + at * (gint64)tn_dtype_size(array->arg.type.dtype);
}

static inline void
array_set(Array *array, gint64 i, double value)
{
    tn_dtype_convert(array->arg.type.dtype, array_at(array, i), 1, TN_DTYPE_F64, &value, 1, 1);
}

static inline double
array_get(const Array *array, gint64 i)
{
    double value;
    tn_dtype_convert(TN_DTYPE_F64, &value, 1, array->arg.type.dtype, array_at(array, i), 1, 1);
    return value;
}

/* Whether b begins with the elements of a, bit for bit, any NaN like another; FALSE after recording where not. */
static inline gboolean
array_same(const Array *a, const Array *b)
{
    for (gint64 i = 0; i < a->arg.count; i++) {
        const double x = array_get(a, i), y = array_get(b, i);
        if (memcmp(&x, &y, sizeof x) != 0 && !(isnan(x) && isnan(y))) {
            TN_FAIL("element %d: %g, expected %g", (int)i, x, y);
            return FALSE;
        }
    }
    return TRUE;
}

/* All elements in row-major order; of no array none. (transfer full): g_free. */
static inline double *
array_doubles(const Array *array)
{
    double *all = g_new(double, (gsize)array->arg.count + 1);
    const gint rank = array->arg.type.rank;
    const gint64 row = rank > 0 ? array->arg.type.dims[rank - 1] : 1;
    const gint64 step = rank > 0 ? array->arg.strides[rank - 1] : 1;
    for (gint64 i = 0; array->block != NULL && i < array->arg.count; i += row) {
        tn_dtype_convert(TN_DTYPE_F64, all + i, 1, array->arg.type.dtype, array_at(array, i), step,
                         (gsize)row);
    }
    return all;
}

/* The same elements with other strides. (transfer full): array_clear. */
static inline Array
array_copy(const Array *from, const gint64 *strides)
{
    Array to = array_new(from->arg.type, strides);
    gsize size = tn_dtype_size(from->arg.type.dtype);
    for (gint64 i = 0; i < from->arg.count; i++) {
        memcpy(array_at(&to, i), array_at(from, i), size);
    }
    return to;
}

/* Whether nothing was written outside. */
static inline gboolean
array_intact(const Array *array)
{
    for (gsize i = 0; i < MARGIN; i++) {
        if (array->block[i] != SENTINEL || array->block[array->bytes - 1 - i] != SENTINEL) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Infers a call's output types and lays them out. */
static inline gboolean
outputs_new(const TnOp *op, const void *attrs, gint n_in, const Array *in, TnTensor *const *value,
            gint *n_out, Array *out, GError **error)
{
    TnType types[TN_MAX_IN], out_types[TN_MAX_OUT];
    TnTensor *none[TN_MAX_IN] = { 0 };
    for (gint i = 0; i < n_in; i++) {
        types[i] = in[i].arg.type;
    }
    if (!tn_op_infer(op, attrs, "test", n_in, types, value ? value : none, n_out, out_types,
                     error)) {
        return FALSE;
    }
    for (gint i = 0; i < *n_out; i++) {
        out[i] = array_new(out_types[i], NULL);
    }
    return TRUE;
}

static inline gboolean
array_contiguous(const Array *array)
{
    gint64 strides[TN_MAX_RANK] = { 0 };
    tn_type_strides(&array->arg.type, strides);
    for (gint i = 0; i < array->arg.type.rank; i++) {
        if (array->arg.type.dims[i] != 1 && array->arg.strides[i] != strides[i]) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Of the nodes that kernel_run makes. */
static G_GNUC_UNUSED gboolean batch_invariant;

/* Runs the kernel that a device of `kind` has; TN_UNSUPPORTED if it has none, TN_AGAIN if it does
 * not take inputs that lie like this. flags (may be NULL) gets the kernel's. */
static inline TnStatus
kernel_run(const char *kind, const TnOp *op, const void *attrs, gint n_in, const Array *in,
           gint n_out, const Array *out, guint32 *flags)
{
    TnArg in_args[TN_MAX_IN], out_args[TN_MAX_OUT];
    void *in_at[TN_MAX_IN], *out_at[TN_MAX_OUT];
    for (gint i = 0; i < n_in; i++) {
        in_args[i] = in[i].arg;
        in_at[i] = in[i].first;
    }
    for (gint i = 0; i < n_out; i++) {
        out_args[i] = out[i].arg;
        out_at[i] = out[i].first;
    }
    TnNode node = { .size = sizeof node,
                    .op = op,
                    .attrs = attrs,
                    .name = "test",
                    .n_in = n_in,
                    .n_out = n_out,
                    .in = in_args,
                    .out = out_args,
                    .batch_invariant = batch_invariant };
    const TnKernel *kernel = tn_kernel_find(kind, &node);
    if (!kernel) {
        return TN_UNSUPPORTED;
    }
    if (flags) {
        *flags = kernel->flags;
    }
    for (gint i = 0; i < n_in; i++) {
        if (!(kernel->flags & TN_KERNEL_STRIDED) && in[i].block && !array_contiguous(&in[i])) {
            return TN_AGAIN;
        }
    }
    TnPrepared prepared = { .size = sizeof prepared };
    g_autoptr(GError) error = NULL;
    if (kernel->prepare && !kernel->prepare(&node, &prepared, &error)) {
        TN_FAIL("%s on %s: %s", op->name, kind, error->message);
        return TN_FAILED;
    }
    void *scratch = tn_data_alloc(prepared.scratch);
    TnRun run = { .size = sizeof run, .in = in_at, .out = out_at, .scratch = scratch };
    TnStatus status = kernel->run(prepared.state, &run);
    if (kernel->release) {
        kernel->release(prepared.state);
    }
    tn_data_free(scratch);
    return status;
}

/* An operator by name with contiguous inputs, on `kind`; out[n_out] laid out here. Ends the test if
 * it cannot be run. */
static inline void
op_run(const char *kind, const char *name, const void *attrs, gint n_in, const Array *in,
       gint *n_out, Array *out)
{
    g_autoptr(GError) error = NULL;
    const TnOp *op = tn_op_find(name, &error);
    TN_REQUIRE_NO_ERROR(error);
    outputs_new(op, attrs, n_in, in, NULL, n_out, out, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_REQUIRE(kernel_run(kind, op, attrs, n_in, in, *n_out, out, NULL) == TN_OK);
}

/* Opens the plugins whose devices are to be compared. */
static inline void
open_plugins(void)
{
    g_autoptr(GError) error = NULL;
    tn_registry_open("ref", &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_registry_open("cpu", &error);
    TN_REQUIRE_NO_ERROR(error);
}

/* Numbers without a library's help: xorshift64*. */
static inline guint64
noise(guint64 *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * G_GUINT64_CONSTANT(2685821657736338717);
}

static inline double
noise_unit(guint64 *state)
{
    return (double)(noise(state) >> 11) * 0x1p-53;
}

#endif
