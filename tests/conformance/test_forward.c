/* What every operator computes, on every device: types as inferred, composites as their bodies,
 * each device as ref. tn-test: timeout=240 */
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

/* Every variant in the dtypes that are computed in, the first ones in all others. */
static gboolean
is_chosen(TnDtype dtype, guint variant)
{
    const TnDtypes many = TN_DT(F32) | TN_DT(F64) | TN_DT(I64);
    return variant < 4 || tn_dtype_in(dtype, many);
}

/* Checks one call; FALSE after recording a failure. */
typedef gboolean (*Check)(const TnCall *call);

/* All calls of all operators whose dtypes are in `set`, up to an operator's first failure. */
static void
each_call(TnDtypes set, Check check)
{
    tn_conformance_open_devices();
    g_autoptr(GPtrArray) ops = tn_conformance_ops();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        const TnDtypes dtypes = tn_call_dtypes(op) & set;
        gboolean ok = TRUE;
        for (gint dtype = 1; dtype < TN_N_DTYPES && ok; dtype++) {
            TnCall call;
            for (guint v = 0; tn_dtype_in((TnDtype)dtype, dtypes) && ok; v++) {
                if (!is_chosen((TnDtype)dtype, v)) {
                    break;
                }
                if (!tn_call_make(&call, op, (TnDtype)dtype, v)) {
                    break;
                }
                ok = check(&call);
                tn_call_clear(&call);
            }
        }
    }
}

static void
drop(const TnCall *call, TnTensor **out)
{
    for (gint k = 0; k < call->n_out; k++) {
        g_clear_pointer(&out[k], tn_tensor_unref);
    }
}

/* What the call gives on ref, and that it is of the types that infer said. */
static gboolean
has_inferred_types(const TnCall *call)
{
    g_autofree char *text = tn_call_print(call);
    TnTensor *out[TN_MAX_OUT];
    if (!tn_call_run(call, tn_on.ref, FALSE, out)) {
        return FALSE;
    }
    gboolean ok = TRUE;
    for (gint k = 0; k < call->n_out; k++) {
        ok = ok && tn_type_equal(tn_tensor_type(out[k]), &call->out[k]);
    }
    if (!ok) {
        TN_FAIL("%s: an output is not of the type that was inferred", text);
    }
    drop(call, out);
    return ok;
}

static gboolean
agree(const TnCall *call, TnContext *context, gboolean body, const char *where)
{
    g_autofree char *text = tn_call_print(call);
    TnTensor *want[TN_MAX_OUT], *got[TN_MAX_OUT];
    if (!tn_call_run(call, tn_on.ref, body, want)) {
        return FALSE;
    }
    if (!tn_call_run(call, context, FALSE, got)) {
        drop(call, want);
        return FALSE;
    }
    gboolean ok = TRUE;
    for (gint k = 0; k < call->n_out && ok; k++) {
        g_autofree char *what = g_strdup_printf("%s: output %d on %s", text, k, where);
        ok = tn_test_near(got[k], want[k], tn_call_tolerance(call, k), what);
    }
    drop(call, want);
    drop(call, got);
    return ok;
}

static gboolean
is_body_on_ref(const TnCall *call)
{
    return !tn_op_is_composite(call->op) || agree(call, tn_on.ref, TRUE, "ref, against its body");
}

static gboolean
is_ref_on_cpu(const TnCall *call)
{
    return agree(call, tn_on.cpu, tn_op_is_composite(call->op), "cpu");
}

static gboolean
is_ref_on_far(const TnCall *call)
{
    return agree(call, tn_on.far, FALSE, "far");
}

static void
types(void)
{
    each_call(TN_DTYPES_ALL, has_inferred_types);
}

static void
bodies(void)
{
    each_call(TN_DT(F32) | TN_DT(F16), is_body_on_ref);
}

static void
cpu(void)
{
    each_call(TN_DTYPES_ALL, is_ref_on_cpu);
}

static void
far(void)
{
    each_call(TN_DT(F32) | TN_DT(I64), is_ref_on_far);
}

static const TnTest tests[] = {
    { "types", types },
    { "bodies", bodies },
    { "cpu", cpu },
    { "far", far },
};

TN_TEST_MAIN_WITH("conformance: forward", tests, NULL, tn_conformance_close_devices)
