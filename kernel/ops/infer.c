/* infer.c: types of a node's outputs: checks by the schema's rows, then the operator's own infer,
 * and the pieces that many infers share. */
#include "ops-private.h"

/* --- Messages --------------------------------------------------------------------------------- */

static gboolean
set_shape_error(GError **error, const char *where, const char *format, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(format, args);
    g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "%s: %s", where, text);
    return FALSE;
}

static char *
input_text(const TnInfer *infer, gint i)
{
    g_autofree char *type = tn_type_print(&infer->in[i]);
    const TnOpArg *row = tn_op_input(infer->op, i);
    if (row->flags & TN_ARG_VARIADIC) {
        return g_strdup_printf("'%s' %d %s", row->name, i, type);
    }
    return g_strdup_printf("'%s' %s", row->name, type);
}

gboolean
tn_infer_fail(const TnInfer *infer, gint i, GError **error, const char *format, ...)
{
    g_autofree char *input = input_text(infer, i);
    g_autofree char *where = g_strdup_printf("input %s", input);
    va_list args;
    va_start(args, format);
    set_shape_error(error, where, format, args);
    va_end(args);
    return FALSE;
}

gboolean
tn_infer_fail2(const TnInfer *infer, gint i, gint j, GError **error, const char *format, ...)
{
    g_autofree char *first = input_text(infer, i);
    g_autofree char *second = input_text(infer, j);
    g_autofree char *where = g_strdup_printf("inputs %s and %s", first, second);
    va_list args;
    va_start(args, format);
    set_shape_error(error, where, format, args);
    va_end(args);
    return FALSE;
}

/* --- Broadcasting ----------------------------------------------------------------------------- */

typedef struct {
    gint i, j; /* inputs */
    gint64 a, b;
} Clash;

static gboolean
broadcast(gint n, const TnType *in, TnType *out, Clash *clash)
{
    gint owner[TN_MAX_RANK] = { 0 };
    gint rank = 0;
    for (gint i = 0; i < n; i++) {
        rank = MAX(rank, in[i].rank);
    }
    TnType result = { .dtype = out->dtype, .rank = rank };
    for (gint axis = 0; axis < rank; axis++) {
        result.dims[axis] = 1;
        for (gint i = 0; i < n; i++) {
            const gint own = axis - (rank - in[i].rank);
            const gint64 size = own < 0 ? 1 : in[i].dims[own];
            if (size == 1 || size == result.dims[axis]) {
                continue;
            }
            if (result.dims[axis] != 1) {
                *clash = (Clash){ owner[axis], i, result.dims[axis], size };
                return FALSE;
            }
            result.dims[axis] = size;
            owner[axis] = i;
        }
    }
    *out = result;
    return TRUE;
}

gboolean
tn_infer_broadcast(gint n, const TnType *in, TnType *out, GError **error)
{
    Clash clash;
    if (broadcast(n, in, out, &clash)) {
        return TRUE;
    }
    g_autofree char *first = tn_type_print(&in[clash.i]);
    g_autofree char *second = tn_type_print(&in[clash.j]);
    g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                "shapes %s and %s do not broadcast: %" G_GINT64_FORMAT " meets %" G_GINT64_FORMAT,
                first, second, clash.a, clash.b);
    return FALSE;
}

gboolean
tn_infer_elementwise(TnInfer *infer, GError **error)
{
    Clash clash;
    TnType out = { .dtype = infer->out[0].dtype ? infer->out[0].dtype : infer->in[0].dtype };
    if (!broadcast(infer->n_in, infer->in, &out, &clash)) {
        return tn_infer_fail2(infer, clash.i, clash.j, error,
                              "shapes do not broadcast: %" G_GINT64_FORMAT
                              " meets %" G_GINT64_FORMAT,
                              clash.a, clash.b);
    }
    infer->out[0] = out;
    return TRUE;
}

/* --- Pieces ----------------------------------------------------------------------------------- */

gboolean
tn_infer_same(TnInfer *infer, GError **error)
{
    (void)error;
    infer->out[0] = infer->in[0];
    return TRUE;
}

gboolean
tn_infer_shape_of(TnInfer *infer, gint from)
{
    const TnDtype dtype = infer->out[0].dtype;
    infer->out[0] = infer->in[from];
    infer->out[0].dtype = dtype;
    return TRUE;
}

gboolean
tn_infer_axis(gint64 axis, gint rank, gint *out, GError **error)
{
    if (axis < -(gint64)rank || axis >= rank) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "axis %" G_GINT64_FORMAT " is outside [%d, %d] of rank %d", axis, -rank,
                    rank - 1, rank);
        return FALSE;
    }
    *out = tn_axis(axis, rank);
    return TRUE;
}

gboolean
tn_infer_input_axis(const TnInfer *infer, gint i, gint64 axis, gint rank, gint *out, GError **error)
{
    if (tn_infer_axis(axis, rank, out, NULL)) {
        return TRUE;
    }
    if (rank == 0) {
        return tn_infer_fail(infer, i, error,
                             "axis %" G_GINT64_FORMAT " is given, but there is no axis", axis);
    }
    return tn_infer_fail(infer, i, error, "axis %" G_GINT64_FORMAT " is outside [%d, %d]", axis,
                         -rank, rank - 1);
}

gboolean
tn_infer_axes(const TnInfer *infer, gint i, const TnInts *axes, gint rank, guint32 *mask,
              GError **error)
{
    *mask = 0;
    for (gint k = 0; k < axes->n; k++) {
        gint axis;
        if (!tn_infer_input_axis(infer, i, axes->v[k], rank, &axis, error)) {
            return FALSE;
        }
        if (*mask & 1u << axis) {
            return tn_infer_fail(infer, i, error, "axis %d is given twice", axis);
        }
        *mask |= 1u << axis;
    }
    return TRUE;
}

guint32
tn_axes_mask(const TnInts *axes, gint rank)
{
    if (axes->n == 0) {
        return (1u << rank) - 1;
    }
    guint32 mask = 0;
    for (gint k = 0; k < axes->n; k++) {
        mask |= 1u << tn_axis(axes->v[k], rank);
    }
    return mask;
}

gint64
tn_sizes_product(const TnType *type, gint from, gint to)
{
    gint64 product = 1;
    for (gint i = from; i < to; i++) {
        if (__builtin_mul_overflow(product, type->dims[i], &product)) {
            product = G_MAXINT64;
        }
    }
    return product;
}

/* --- The schema's rows ------------------------------------------------------------------------ */

static gboolean
check_number(const TnInfer *infer, GError **error)
{
    const TnOp *op = infer->op;
    gint least = 0;
    gint most = (gint)op->n_inputs;
    for (guint i = 0; i < op->n_inputs; i++) {
        const guint32 flags = tn_op_input(op, (gint)i)->flags;
        least = flags & TN_ARG_OPTIONAL ? least : (gint)i + 1;
        most = flags & TN_ARG_VARIADIC ? TN_MAX_IN : most;
    }
    if (infer->n_in >= least && infer->n_in <= most) {
        return TRUE;
    }
    g_autofree char *want =
        least == most ? g_strdup_printf("%d", least) : g_strdup_printf("%d to %d", least, most);
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "takes %s input%s, got %d", want,
                most == 1 ? "" : "s", infer->n_in);
    return FALSE;
}

static char *
dtypes_text(TnDtypes set)
{
    GString *text = g_string_new(NULL);
    for (gint dtype = TN_DTYPE_NONE + 1; dtype < TN_N_DTYPES; dtype++) {
        if (tn_dtype_in((TnDtype)dtype, set)) {
            g_string_append_printf(text, "%s%s", text->len > 0 ? ", " : "",
                                   tn_dtype_name((TnDtype)dtype));
        }
    }
    return g_string_free(text, FALSE);
}

static gboolean
check_input(const TnInfer *infer, gint i, GError **error)
{
    const TnOpArg *row = tn_op_input(infer->op, i);
    const TnType *type = &infer->in[i];
    if (type->dtype == TN_DTYPE_NONE) {
        if (row->flags & TN_ARG_OPTIONAL) {
            return TRUE;
        }
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "input '%s' is missing", row->name);
        return FALSE;
    }
    if (!tn_dtype_in(type->dtype, row->dtypes)) {
        g_autofree char *text = tn_type_print(type);
        g_autofree char *set = dtypes_text(row->dtypes);
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "input '%s' is %s, must be one of %s",
                    row->name, text, set);
        return FALSE;
    }
    const gboolean any_rank = row->min_rank == 0 && row->max_rank == 0;
    if (!any_rank && (type->rank < row->min_rank || type->rank > row->max_rank)) {
        return tn_infer_fail(infer, i, error, "rank must be %d to %d, is %d", row->min_rank,
                             row->max_rank, type->rank);
    }
    return TRUE;
}

/* Inputs of the same letter have the same dtype as the first of them. */
static gboolean
check_letter(const TnInfer *infer, gint i, GError **error)
{
    const char letter = tn_op_input(infer->op, i)->type;
    if (letter == 0 || infer->in[i].dtype == TN_DTYPE_NONE) {
        return TRUE;
    }
    for (gint j = 0; j < i; j++) {
        if (tn_op_input(infer->op, j)->type != letter || infer->in[j].dtype == TN_DTYPE_NONE) {
            continue;
        }
        if (infer->in[j].dtype == infer->in[i].dtype) {
            return TRUE;
        }
        g_autofree char *first = input_text(infer, j);
        g_autofree char *second = input_text(infer, i);
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE,
                    "inputs %s and %s: must have the same dtype (cast one)", first, second);
        return FALSE;
    }
    return TRUE;
}

static gboolean
check_inputs(const TnInfer *infer, GError **error)
{
    if (!check_number(infer, error)) {
        return FALSE;
    }
    for (gint i = 0; i < infer->n_in; i++) {
        if (!check_input(infer, i, error) || !check_letter(infer, i, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* What the rows alone say of an output's dtype: its letter's, or the only one allowed. */
static TnDtype
output_dtype(const TnInfer *infer, gint k)
{
    const TnOpArg *row = tn_op_output(infer->op, k);
    for (gint i = 0; row->type != 0 && i < infer->n_in; i++) {
        if (tn_op_input(infer->op, i)->type == row->type && infer->in[i].dtype != TN_DTYPE_NONE) {
            return infer->in[i].dtype;
        }
    }
    const gboolean single = row->dtypes != 0 && (row->dtypes & (row->dtypes - 1)) == 0;
    return single ? (TnDtype)g_bit_nth_lsf(row->dtypes, -1) : TN_DTYPE_NONE;
}

static gboolean
check_outputs(const TnInfer *infer, GError **error)
{
    if (infer->n_out < 0 || infer->n_out > TN_MAX_OUT) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "%d outputs; at most %d are possible",
                    infer->n_out, TN_MAX_OUT);
        return FALSE;
    }
    for (gint k = 0; k < infer->n_out; k++) {
        TnType *out = &infer->out[k];
        if (out->dtype == TN_DTYPE_NONE || out->rank < 0 || out->rank > TN_MAX_RANK) {
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "output %d would have rank %d; at most %d is possible", k, out->rank,
                        TN_MAX_RANK);
            return FALSE;
        }
        for (gint i = out->rank; i < TN_MAX_RANK; i++) {
            out->dims[i] = 0;
        }
        if (tn_type_bytes(out) < 0) {
            g_autofree char *text = tn_type_print(out);
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "output %d %s is too large to address", k,
                        text);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
tn_op_infer(const TnOp *op, const void *attrs, const char *name, gint n_in, const TnType *in,
            TnTensor *const *value, gint *n_out, TnType *out, GError **error)
{
    static TnTensor *const no_values[TN_MAX_IN];
    TnInfer infer = {
        .size = sizeof(TnInfer),
        .op = op,
        .attrs = attrs,
        .name = name,
        .n_in = n_in,
        .in = in,
        .value = value != NULL ? value : no_values,
        .n_out = (gint)op->n_outputs,
        .out = out,
    };
    memset(out, 0, sizeof(TnType) * TN_MAX_OUT);
    gboolean ok = check_inputs(&infer, error);
    if (ok) {
        for (gint k = 0; k < infer.n_out; k++) {
            out[k].dtype = output_dtype(&infer, k);
        }
        ok = op->infer(&infer, error) && check_outputs(&infer, error);
    }
    if (!ok) {
        tn_error_prefix(error, "%s (%s)", name, op->name);
        return FALSE;
    }
    *n_out = infer.n_out;
    return TRUE;
}
