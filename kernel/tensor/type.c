/* type.c: what a tensor is without its data: dtype and sizes, every product of them checked. */
#include <string.h>

#include "tensor/tensor-private.h"

TnType
tn_type(TnDtype dtype, gint rank, const gint64 *dims)
{
    TnType type = { .dtype = dtype, .rank = rank };
    g_return_val_if_fail(rank >= 0 && rank <= TN_MAX_RANK, type);
    if (rank > 0)
        memcpy(type.dims, dims, (gsize)rank * sizeof *dims);
    return type;
}

gint64
tn_type_count(const TnType *type)
{
    gint64 count = 1;
    gboolean negative = FALSE, empty = FALSE, overflow = FALSE;
    for (gint i = 0; i < type->rank; i++) {
        negative = negative || type->dims[i] < 0;
        empty = empty || type->dims[i] == 0;
        overflow = __builtin_mul_overflow(count, type->dims[i], &count) || overflow;
    }
    if (negative)
        return -1;
    /* With a size of 0 the others may be as large as they like. */
    return empty ? 0 : overflow ? -1 : count;
}

gint64
tn_type_bytes(const TnType *type)
{
    const gint64 count = tn_type_count(type);
    gint64 bytes;
    if (count < 0 || __builtin_mul_overflow(count, (gint64)tn_dtype_size(type->dtype), &bytes))
        return -1;
    return bytes;
}

gboolean
tn_type_equal(const TnType *a, const TnType *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (gsize)a->rank * sizeof *a->dims) == 0;
}

char *
tn_type_print(const TnType *type)
{
    GString *text = g_string_new(tn_dtype_name(type->dtype));
    g_string_append_c(text, '[');
    for (gint i = 0; i < type->rank; i++)
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT, i > 0 ? ", " : "", type->dims[i]);
    g_string_append_c(text, ']');
    return g_string_free(text, FALSE);
}

void
tn_type_strides(const TnType *type, gint64 strides[TN_MAX_RANK])
{
    gint64 stride = 1;
    for (gint i = TN_MAX_RANK - 1; i >= 0; i--) {
        strides[i] = i < type->rank ? stride : 0;
        /* Sizes 0 and 1 leave it alone; an empty tensor's strides may not overflow either. */
        if (i < type->rank && type->dims[i] > 1 &&
            __builtin_mul_overflow(stride, type->dims[i], &stride))
            stride = 1;
    }
}

gboolean
tn_type_check(const TnType *type, GError **error)
{
    if (!tn_dtype_info(type->dtype)) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "expected a dtype, got number %d",
                    (gint)type->dtype);
        return FALSE;
    }
    if (type->rank < 0 || type->rank > TN_MAX_RANK) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "expected 0 to %d dimensions, got %d",
                    TN_MAX_RANK, type->rank);
        return FALSE;
    }
    for (gint i = 0; i < type->rank; i++)
        if (type->dims[i] < 0) {
            g_autofree char *text = tn_type_print(type);
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "%s: expected sizes of 0 or more, got %" G_GINT64_FORMAT " in dimension %d",
                        text, type->dims[i], i);
            return FALSE;
        }
    if (tn_type_bytes(type) < 0) {
        g_autofree char *text = tn_type_print(type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "%s: its size in bytes does not fit in 63 bits", text);
        return FALSE;
    }
    return TRUE;
}

gboolean
tn_view_extent(const TnType *type, const gint64 *strides, gint64 offset, gint64 *first,
               gint64 *last)
{
    *first = offset;
    *last = offset - 1;
    if (tn_type_count(type) == 0)
        return TRUE;
    *last = offset;
    for (gint i = 0; i < type->rank; i++) {
        gint64 reach;
        gint64 *end = strides[i] < 0 ? first : last;
        if (__builtin_mul_overflow(type->dims[i] - 1, strides[i], &reach) ||
            __builtin_add_overflow(*end, reach, end))
            return FALSE;
    }
    return TRUE;
}
