/* print.c: a tensor's elements for people: as text, and one by one. */
#include "base/base-private.h"
#include "tensor/tensor-private.h"

#define SHOWN 100 /* a tensor with more elements than that is shortened */
#define EDGE 3    /* to so many at either end of a dimension */

/* Element i in row-major order, counted from the first one. */
static gint64
element_at(const TnTensor *tensor, gint64 i)
{
    gint64 at = 0;
    for (gint axis = tensor->type.rank - 1; axis >= 0; axis--) {
        at += i % tensor->type.dims[axis] * tensor->strides[axis];
        i /= tensor->type.dims[axis];
    }
    return at;
}

double
tn_tensor_get(TnTensor *tensor, gint64 i)
{
    g_return_val_if_fail(i >= 0 && i < tensor->count, G_MAXDOUBLE);
    double value = 0;
    g_autoptr(GError) error = NULL;
    const char *elements = tn_tensor_map(tensor, TN_MAP_READ, &error);
    if (!elements) {
        tn_log("tensor", TN_LOG_ERROR, "get: %s", error->message);
        return G_MAXDOUBLE;
    }
    const gint64 size = (gint64)tn_dtype_size(tensor->type.dtype);
    tn_dtype_convert(TN_DTYPE_F64, &value, 1, tensor->type.dtype,
                     elements + element_at(tensor, i) * size, 1, 1);
    tn_tensor_unmap(tensor);
    return value;
}

static void
print_element(GString *text, const TnTensor *tensor, const char *at)
{
    const TnDtype dtype = tensor->type.dtype;
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    char buffer[TN_NUMBER_TEXT];
    double real;
    gint64 number;
    guint64 natural;
    switch (info->klass) {
    case TN_CLASS_FLOAT:
        tn_dtype_convert(TN_DTYPE_F64, &real, 1, dtype, at, 1, 1);
        g_string_append(text, tn_print_float(real, dtype, buffer));
        break;
    case TN_CLASS_INT:
        tn_dtype_convert(TN_DTYPE_I64, &number, 1, dtype, at, 1, 1);
        g_string_append_printf(text, "%" G_GINT64_FORMAT, number);
        break;
    case TN_CLASS_UINT:
        tn_dtype_convert(TN_DTYPE_U64, &natural, 1, dtype, at, 1, 1);
        g_string_append_printf(text, "%" G_GUINT64_FORMAT, natural);
        break;
    case TN_CLASS_BOOL: g_string_append(text, *at ? "true" : "false"); break;
    }
}

/* The elements of dimension `axis` at `at`; one level of braces a dimension (at most eight). */
static void
print_axis(GString *text, const TnTensor *tensor, const char *at, gint axis)
{
    if (axis == tensor->type.rank) {
        print_element(text, tensor, at);
        return;
    }
    const gint64 dim = tensor->type.dims[axis];
    const gint64 step = tensor->strides[axis] * (gint64)tn_dtype_size(tensor->type.dtype);
    const gboolean shorten = tensor->count > SHOWN && dim > 2 * EDGE;
    g_string_append_c(text, '{');
    for (gint64 i = 0; i < dim; i++) {
        if (shorten && i == EDGE) {
            g_string_append(text, ", ...");
            i = dim - EDGE;
        }
        if (i > 0)
            g_string_append(text, ", ");
        print_axis(text, tensor, at + i * step, axis + 1);
    }
    g_string_append_c(text, '}');
}

char *
tn_tensor_print(TnTensor *tensor)
{
    g_autofree char *type = tn_type_print(&tensor->type);
    g_autoptr(GError) error = NULL;
    GString *text = g_string_new(type);
    g_string_append_c(text, ' ');
    const char *elements = tn_tensor_map(tensor, TN_MAP_READ, &error);
    if (!elements)
        g_string_append_printf(text, "(%s)", error->message);
    else if (tensor->count == 0)
        g_string_append(text, "{}");
    else
        print_axis(text, tensor, elements, 0);
    if (elements)
        tn_tensor_unmap(tensor);
    return g_string_free(text, FALSE);
}
