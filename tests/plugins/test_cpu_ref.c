/* Every primitive of the cpu device against the reference device: all dtypes, all sampled shapes
 * and attributes, inputs contiguous, with gaps, reversed and transposed. */
// tn-test: timeout=120
#include "cpu_run.h"

static const double tolerance[TN_N_DTYPES] = {
    [TN_DTYPE_F64] = 1e-11, [TN_DTYPE_F32] = 2e-5, [TN_DTYPE_F16] = 4e-3, [TN_DTYPE_BF16] = 3e-2
};

typedef struct {
    const TnOp *op;
    void *attrs;
    gint n_in, n_out;
    Array in[TN_MAX_IN], ref[TN_MAX_OUT];
    TnTensor *value[TN_MAX_IN];
    guint variant;
} Call;

static guint64 seed = 88172645463325252u;

static void
fill_index(Array *array, gint64 bound)
{
    for (gint64 i = 0; i < array->arg.count; i++) {
        gint64 index = bound > 0 ? (gint64)(noise(&seed) % (guint64)bound) : 0;
        array_set(array, i, (double)(noise(&seed) & 1 ? index - bound : index));
    }
}

static void
fill_numbers(Array *array, const TnOpArg *row)
{
    const TnDtypeInfo *info = tn_dtype_info(array->arg.type.dtype);
    double lo = row->lo, hi = row->hi;
    if (lo == 0 && hi == 0) {
        lo = -2;
        hi = 2;
    }
    for (gint64 i = 0; i < array->arg.count; i++) {
        double value = lo + noise_unit(&seed) * (hi - lo);
        if (info->klass == TN_CLASS_INT) {
            value = (double)(gint64)(noise(&seed) % 11) - 5;
        } else if (info->klass == TN_CLASS_UINT) {
            value = (double)(noise(&seed) % 9);
        } else if (info->klass == TN_CLASS_BOOL) {
            value = (double)(noise(&seed) & 1);
        }
        array_set(array, i, value);
    }
}

static void
fill_fixed(Array *array, TnTensor *tensor)
{
    for (gint64 i = 0; i < array->arg.count; i++) {
        array_set(array, i, tn_tensor_get(tensor, i));
    }
}

/* FALSE when there is no such variant. */
static gboolean
call_sample(Call *call, const TnOp *op, TnDtype dtype, guint variant)
{
    TnSample sample = { .size = sizeof sample, .variant = variant, .dtype = dtype };
    memset(call, 0, sizeof *call);
    call->op = op;
    call->variant = variant;
    call->attrs = g_malloc0(op->attrs.struct_size + 1);
    tn_options_defaults(&op->attrs, call->attrs);
    sample.attrs = call->attrs;
    if (!op->sample(&sample)) {
        g_free(call->attrs);
        return FALSE;
    }
    call->n_in = sample.n_in;
    memcpy(call->value, sample.value, sizeof call->value);
    for (gint i = 0; i < sample.n_in; i++) {
        const TnOpArg *row = tn_op_input(op, i);
        if (sample.in[i].dtype == TN_DTYPE_NONE) {
            continue;
        }
        call->in[i] = array_new(sample.in[i], NULL);
        if (sample.value[i]) {
            fill_fixed(&call->in[i], sample.value[i]);
        } else if (row->flags & TN_ARG_INDEX) {
            fill_index(&call->in[i], sample.index_bound[i]);
        } else {
            fill_numbers(&call->in[i], row);
        }
    }
    return TRUE;
}

static void
call_clear(Call *call)
{
    for (gint i = 0; i < call->n_in; i++) {
        if (call->in[i].block) {
            array_clear(&call->in[i]);
        }
        g_clear_pointer(&call->value[i], tn_tensor_unref);
    }
    for (gint i = 0; i < call->n_out; i++) {
        array_clear(&call->ref[i]);
    }
    g_free(call->attrs);
}

static gboolean
near(TnDtype dtype, double a, double b, double scale)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b);
    }
    return a == b || fabs(a - b) <= tolerance[dtype] * MAX(scale, fabs(b));
}

static void
compare(const Call *call, const Array *out, const char *layout)
{
    for (gint k = 0; k < call->n_out; k++) {
        const Array *ref = &call->ref[k];
        TnDtype dtype = ref->arg.type.dtype;
        for (gint64 i = 0; i < ref->arg.count; i++) {
            double expected = array_get(ref, i), got = array_get(&out[k], i);
            if (!near(dtype, got, expected, 1)) {
                TN_FAIL("%s of %s, variant %u, %s: output %d[%d] is %.17g, expected %.17g",
                        call->op->name,
                        tn_dtype_name(call->n_in > 0 ? call->in[0].arg.type.dtype : dtype),
                        call->variant, layout, k, (int)i, got, expected);
                break;
            }
        }
        if (!array_intact(&out[k])) {
            TN_FAIL("%s, variant %u, %s: wrote outside output %d", call->op->name, call->variant,
                    layout, k);
        }
    }
}

/* Gaps between rows; axes in reverse order of memory; everything backwards. */
static void
strides_of(const TnType *type, gint layout, gint64 *strides)
{
    gint64 step = layout == 2 ? -1 : layout == 0 ? 2 : 1;
    for (gint i = 0; i < type->rank; i++) {
        gint axis = layout == 1 ? i : type->rank - 1 - i;
        strides[axis] = step;
        step *= MAX(1, type->dims[axis]) + (layout == 0);
    }
}

static void
run_layout(const Call *call, gint layout)
{
    static const char *const names[] = { "with gaps", "transposed", "reversed", "contiguous" };
    Array in[TN_MAX_IN] = { 0 }, out[TN_MAX_OUT];
    guint32 flags = 0;
    for (gint i = 0; i < call->n_in; i++) {
        gint64 strides[TN_MAX_RANK];
        strides_of(&call->in[i].arg.type, layout, strides);
        if (call->in[i].block) {
            in[i] = array_copy(&call->in[i], layout < 3 ? strides : NULL);
        }
    }
    for (gint i = 0; i < call->n_out; i++) {
        out[i] = array_new(call->ref[i].arg.type, NULL);
    }
    TnStatus status =
        kernel_run("cpu", call->op, call->attrs, call->n_in, in, call->n_out, out, &flags);
    if (status == TN_UNSUPPORTED) {
        TN_FAIL("cpu has no %s of %s", call->op->name,
                tn_dtype_name(call->n_in > 0 ? call->in[0].arg.type.dtype : TN_DTYPE_NONE));
    } else if (status != TN_AGAIN || (flags & TN_KERNEL_STRIDED)) {
        TN_ASSERT_CMPINT(status, ==, TN_OK);
        compare(call, out, names[layout]);
    }
    for (gint i = 0; i < call->n_in; i++) {
        if (in[i].block) {
            array_clear(&in[i]);
        }
    }
    for (gint i = 0; i < call->n_out; i++) {
        array_clear(&out[i]);
    }
}

/* 1 if there was such a call. */
static gboolean
check_call(const TnOp *op, TnDtype dtype, guint variant)
{
    static Call call;
    g_autoptr(GError) error = NULL;
    if (!call_sample(&call, op, dtype, variant)) {
        return FALSE;
    }
    if (outputs_new(op, call.attrs, call.n_in, call.in, call.value, &call.n_out, call.ref,
                    &error)) {
        TnStatus status =
            kernel_run("ref", op, call.attrs, call.n_in, call.in, call.n_out, call.ref, NULL);
        TN_ASSERT_CMPINT(status, ==, TN_OK);
        for (gint layout = 0; layout < 4 && status == TN_OK; layout++) {
            run_layout(&call, layout);
        }
    }
    call_clear(&call);
    return TRUE;
}

/* Dtypes of the letter 'T', else of the first input. */
static TnDtypes
dtypes_of(const TnOp *op)
{
    for (guint i = 0; i < op->n_inputs; i++) {
        const TnOpArg *row = tn_op_input(op, (gint)i);
        if (row->type == 'T') {
            return row->dtypes;
        }
    }
    return TN_DT(F32) | TN_DT(F64);
}

static void
primitives(void)
{
    guint n, checked = 0;
    open_plugins();
    const TnOp *const *ops = tn_op_primitives(&n);
    for (guint i = 0; i < n; i++) {
        const TnOp *op = ops[i];
        gboolean skip = (op->flags & (TN_OP_SOURCE | TN_OP_EFFECT | TN_OP_CONTROL)) ||
                        tn_op_is_composite(op) || !op->sample;
        for (gint dtype = TN_DTYPE_NONE + 1; !skip && dtype < TN_N_DTYPES; dtype++) {
            guint variant = 0;
            while (tn_dtype_in((TnDtype)dtype, dtypes_of(op)) &&
                   check_call(op, (TnDtype)dtype, variant)) {
                variant++;
            }
            checked += variant;
        }
    }
    TN_ASSERT_CMPINT(checked, >, 1000);
}

/* Sums of one element each, [5, 1, 2] to the same: x as it lies and with gaps. */
static void
one_element_is_its_own_sum(void)
{
    static const char *const kinds[] = { "ref", "cpu" }, *const ops[] = { "reduce_sum",
                                                                          "reduce_to" };
    static const TnDtype dtypes[] = { TN_DTYPE_F64, TN_DTYPE_F32, TN_DTYPE_F16, TN_DTYPE_BF16 };
    const gint64 dims[] = { 5, 1, 2 }, gaps[] = { 1, 3, 7 };
    const TnReduceAttrs attrs = { .axes = { .n = 1, .v = { 1 } }, .keepdims = TRUE };
    for (guint k = 0; k < 2 * 2 * 4 * 2; k++) {
        const char *kind = kinds[k & 1], *op = ops[k >> 1 & 1];
        const TnType type = tn_type(dtypes[k >> 2 & 3], 3, dims);
        Array in[] = { array_new(type, k >> 4 ? gaps : NULL), array_new(type, NULL) }, out[1];
        gint n_out = 0;
        for (gint64 i = 0; i < in[0].arg.count; i++) {
            array_set(&in[0], i, i % 3 == 0 ? -0.0 : (double)i - 4);
            array_set(&in[1], i, 0);
        }
        op_run(kind, op, k >> 1 & 1 ? NULL : &attrs, 1 + (gint)(k >> 1 & 1), in, &n_out, out);
        for (gint64 i = 0; i < in[0].arg.count; i++) {
            const double want = array_get(&in[0], i), got = array_get(&out[0], i);
            tn_test_check(got == want && signbit(got) == signbit(want), FALSE, __FILE__, __LINE__,
                          "%s of %s, case %u: %g for %g", op, kind, k, got, want);
        }
        array_clear(&in[0]);
        array_clear(&in[1]);
        array_clear(&out[0]);
    }
}

static const TnTest tests[] = {
    { "primitives", primitives },
    { "one element is its own sum", one_element_is_its_own_sum },
};

TN_TEST_MAIN("cpu against ref", tests)
