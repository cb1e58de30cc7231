/*
 * conformance.c - sampled calls of operators: their making, running and comparing.
 */
#include "conformance.h"

#include <math.h>
#include <stdlib.h>
#include <tenon/base.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

/* ---- operators ---- */

void
tn_conformance_open(void)
{
    g_autofree char *names = g_strconcat("nn cpu ", g_getenv("TN_KERNELS"), NULL);
    g_auto(GStrv) plugins = g_strsplit(g_strchomp(names), " ", -1);
    TnDevice *ref = tn_test_device("ref");
    for (gsize i = 0; plugins[i] != NULL; i++) {
        g_autoptr(GError) error = NULL;
        const gboolean ok = tn_registry_open(plugins[i], &error);
        tn_test_check(ok, TRUE, __FILE__, __LINE__, "plugin '%s': %s", plugins[i],
                      ok ? "" : error->message);
    }
    tn_device_unref(ref);
}

TnTestContexts tn_on;

void
tn_conformance_open_devices(void)
{
    if (tn_on.ref != NULL) {
        return;
    }
    tn_conformance_open();
    tn_on.ref = tn_test_context("ref", NULL);
    tn_on.cpu = tn_test_context("cpu", "ref", NULL);
    tn_on.far = tn_test_context("far", "ref", NULL);
}

void
tn_conformance_close_devices(void)
{
    g_clear_pointer(&tn_on.ref, tn_context_unref);
    g_clear_pointer(&tn_on.cpu, tn_context_unref);
    g_clear_pointer(&tn_on.far, tn_context_unref);
}

static void
add_op(GPtrArray *ops, const TnOp *op)
{
    const char *only = g_getenv("TN_OP");
    const gboolean wanted = only == NULL || strstr(op->name, only) != NULL;
    if (wanted && !(op->flags & (TN_OP_SOURCE | TN_OP_EFFECT))) {
        g_ptr_array_add(ops, (gpointer)op);
    }
}

GPtrArray *
tn_conformance_ops(void)
{
    GPtrArray *ops = g_ptr_array_new();
    guint n;
    const TnOp *const *primitives = tn_op_primitives(&n);
    g_autoptr(GPtrArray) factories = tn_registry_query("tenon.op/1");
    for (guint i = 0; i < n; i++) {
        add_op(ops, primitives[i]);
    }
    for (guint i = 0; i < factories->len; i++) {
        const TnFactory *factory = g_ptr_array_index(factories, i);
        add_op(ops, factory->vtable);
    }
    return ops;
}

TnDtypes
tn_call_dtypes(const TnOp *op)
{
    for (guint32 i = 0; i < op->attrs.n; i++) {
        if (tn_options_row(&op->attrs, i)->type == TN_OPT_GRAPH) {
            return TN_DT(F32) | TN_DT(F64);
        }
    }
    for (guint i = 0; i < op->n_inputs; i++) {
        if (tn_op_input(op, (gint)i)->type == 'T') {
            return tn_op_input(op, (gint)i)->dtypes;
        }
    }
    const TnOpArg *out = tn_op_output(op, 0);
    return out != NULL && out->type == 'T' ? out->dtypes : TN_DT(F32);
}

/* ---- contents ---- */

static gboolean
near_kink(const TnOpArg *row, double value)
{
    for (gint i = 0; i < row->n_kinks; i++) {
        if (fabs(value - row->kinks[i]) < row->gap) {
            return TRUE;
        }
    }
    return FALSE;
}

static double
draw(TnRandom *random, const TnOpArg *row, TnDtype dtype, gint64 bound)
{
    const TnDtypeClass klass = tn_dtype_info(dtype)->klass;
    const gboolean is_default = row->lo == 0 && row->hi == 0;
    const double reach = klass == TN_CLASS_FLOAT ? 2 : 7;
    const double hi = is_default ? reach : row->hi;
    double lo = is_default ? -reach : row->lo;
    if (klass == TN_CLASS_BOOL) {
        return (double)tn_random_below(random, 2);
    }
    if (row->flags & TN_ARG_INDEX) {
        return (double)tn_random_below(random, (guint64)MAX(bound, 1));
    }
    lo = klass == TN_CLASS_UINT ? MAX(lo, 0) : lo;
    for (guint tries = 0; tries < 1000; tries++) {
        double value = lo + (hi - lo) * tn_random_f64(random);
        value = klass == TN_CLASS_FLOAT ? value : CLAMP(round(value), ceil(lo), floor(hi));
        if (!near_kink(row, value)) {
            return value;
        }
    }
    return hi; /* no integer of the domain is away from its kinks */
}

/* Values that f16 can hold, so that the short floats see the same. f64, in which derivatives are
 * measured, keeps all digits: no two elements are equal then. */
static double
coarse(double value, TnDtype dtype)
{
    const gboolean is_short = tn_dtype_in(dtype, TN_DTYPES_FLOAT) && dtype != TN_DTYPE_F64;
    return is_short ? round(value * 64) / 64 : value;
}

static TnTensor *
random_contents(const TnCall *call, gint i)
{
    const TnOpArg *row = tn_op_input(call->op, i);
    const TnType *type = &call->in[i];
    const gint64 count = tn_type_count(type);
    g_autofree double *values = g_new(double, (gsize)count + 1);
    g_autofree char *stream = g_strdup_printf("%s.%d", call->op->name, i);
    TnRandom random;
    tn_random_init(&random, 1, stream, call->variant);
    for (gint64 k = 0; k < count; k++) {
        const double value = draw(&random, row, type->dtype, call->bound[i]);
        const double rounded = coarse(value, type->dtype);
        values[k] = near_kink(row, rounded) ? value : rounded;
    }
    return tn_test_tensor(*type, values);
}

TnTensor *
tn_test_tensor(TnType type, const double *values)
{
    const gint64 count = tn_type_count(&type);
    g_autofree char *bytes = g_malloc((gsize)MAX(tn_type_bytes(&type), 1));
    tn_dtype_convert(type.dtype, bytes, 1, TN_DTYPE_F64, values, 1, (gsize)count);
    TnTensor *tensor = tn_tensor_from(type, bytes, NULL);
    TN_REQUIRE(tensor != NULL);
    return tensor;
}

double *
tn_test_doubles(TnTensor *tensor)
{
    g_autoptr(TnTensor) wide = tn_tensor_copy(tensor, NULL, TN_DTYPE_F64, NULL);
    TN_REQUIRE(wide != NULL);
    const void *from = tn_tensor_map(wide, TN_MAP_READ, NULL);
    double *values = g_malloc((gsize)tn_tensor_bytes(wide) + sizeof(double));
    memcpy(values, from, (gsize)tn_tensor_bytes(wide));
    tn_tensor_unmap(wide);
    return values;
}

/* ---- calls ---- */

static gboolean
fill(TnCall *call, GError **error)
{
    if (!tn_op_infer(call->op, call->attrs, "node", call->n_in, call->in, call->value, &call->n_out,
                     call->out, error)) {
        return FALSE;
    }
    for (gint i = 0; i < call->n_in; i++) {
        if (tn_call_has(call, i) && call->value[i] == NULL) {
            call->value[i] = random_contents(call, i);
        }
    }
    return TRUE;
}

gboolean
tn_call_make(TnCall *call, const TnOp *op, TnDtype dtype, guint variant)
{
    g_autoptr(GError) error = NULL;
    TnSample sample = { .size = sizeof sample, .variant = variant, .dtype = dtype };
    sample.attrs = g_malloc0(MAX(op->attrs.struct_size, 1));
    tn_options_defaults(&op->attrs, sample.attrs);
    if (op->sample == NULL || !op->sample(&sample)) {
        g_free(sample.attrs);
        return FALSE;
    }
    *call = (TnCall){
        .op = op, .dtype = dtype, .variant = variant, .attrs = sample.attrs, .n_in = sample.n_in
    };
    for (gint i = 0; i < sample.n_in; i++) {
        call->in[i] = sample.in[i];
        call->bound[i] = sample.index_bound[i];
        call->value[i] = sample.value[i];
        call->given[i] = sample.value[i] != NULL;
    }
    if (!fill(call, &error)) {
        TN_FAIL("%s, variant %u, %s: %s", op->name, variant, tn_dtype_name(dtype), error->message);
        tn_call_clear(call);
        return FALSE;
    }
    return TRUE;
}

gboolean
tn_call_resize(TnCall *resized, const TnCall *call, const TnType *in)
{
    *resized = (TnCall){
        .op = call->op, .dtype = call->dtype, .variant = call->variant, .n_in = call->n_in
    };
    resized->attrs = g_malloc0(MAX(call->op->attrs.struct_size, 1));
    memcpy(resized->attrs, call->attrs, call->op->attrs.struct_size);
    tn_options_hold(&call->op->attrs, resized->attrs);
    for (gint i = 0; i < call->n_in; i++) {
        resized->in[i] = in[i];
        resized->bound[i] = call->bound[i];
        resized->given[i] = call->given[i] && tn_type_equal(&in[i], &call->in[i]);
        resized->value[i] = resized->given[i] ? tn_tensor_ref(call->value[i]) : NULL;
        if (call->given[i] && !resized->given[i]) {
            tn_call_clear(resized);
            return FALSE;
        }
    }
    if (!fill(resized, NULL)) {
        tn_call_clear(resized);
        return FALSE;
    }
    return TRUE;
}

void
tn_call_clear(TnCall *call)
{
    for (gint i = 0; i < call->n_in; i++) {
        g_clear_pointer(&call->value[i], tn_tensor_unref);
    }
    if (call->attrs != NULL) {
        tn_options_drop(&call->op->attrs, call->attrs);
    }
    g_clear_pointer(&call->attrs, g_free);
    call->n_in = 0;
}

char *
tn_call_print(const TnCall *call)
{
    return g_strdup_printf("%s, variant %u, %s", call->op->name, call->variant,
                           tn_dtype_name(call->dtype));
}

guint64
tn_call_digest(const TnCall *call)
{
    guint64 hash = tn_hash(TN_HASH_INIT, call->op->name, strlen(call->op->name));
    g_autofree char *attrs = tn_options_print(&call->op->attrs, call->attrs);
    hash = tn_hash(hash, attrs, strlen(attrs));
    for (gint i = 0; i < call->n_in; i++) {
        if (!tn_call_has(call, i)) {
            continue;
        }
        g_autofree char *type = tn_type_print(&call->in[i]);
        const void *from = tn_tensor_map(call->value[i], TN_MAP_READ, NULL);
        hash = tn_hash(hash, type, strlen(type));
        hash = tn_hash(hash, from, (gsize)tn_tensor_bytes(call->value[i]));
        tn_tensor_unmap(call->value[i]);
    }
    return hash;
}

gboolean
tn_call_is_empty(const TnCall *call)
{
    gboolean empty = FALSE;
    for (gint i = 0; i < call->n_in; i++) {
        empty |= tn_call_has(call, i) && tn_type_count(&call->in[i]) == 0;
    }
    for (gint k = 0; k < call->n_out; k++) {
        empty |= tn_type_count(&call->out[k]) == 0;
    }
    return empty;
}

gboolean
tn_call_differentiable(const TnCall *call, gint i)
{
    const guint32 closed = TN_ARG_SHAPE | TN_ARG_NO_GRAD | TN_ARG_INDEX | TN_ARG_STATIC;
    const gboolean unbounded = strcmp(call->op->name, "while") == 0; /* tn_grad says so */
    return !unbounded && tn_call_has(call, i) && !(tn_op_input(call->op, i)->flags & closed) &&
           tn_dtype_in(call->in[i].dtype, TN_DTYPES_FLOAT);
}

/* ---- running ---- */

static gboolean
recorded(const TnCall *call, const GError *error)
{
    g_autofree char *text = tn_call_print(call);
    TN_FAIL("%s: %s", text, error->message);
    return FALSE;
}

static gboolean
add_body(const TnCall *call, TnGraph *graph, const TnVal *in, TnVal *out, GError **error)
{
    TnBody body = { .size = sizeof body,
                    .graph = graph,
                    .op = call->op,
                    .attrs = call->attrs,
                    .n_in = call->n_in,
                    .in = in,
                    .n_out = call->n_out,
                    .out = out };
    /* The name that the operator's own node would have, so that random nodes draw the same. */
    tn_graph_push(graph, call->op->name);
    const gboolean ok = call->op->body(&body, error);
    tn_graph_pop(graph);
    return ok;
}

gboolean
tn_call_add(const TnCall *call, TnGraph *graph, gboolean body, TnVal *in, TnVal *out)
{
    g_autoptr(GError) error = NULL;
    for (gint i = 0; i < call->n_in; i++) {
        g_autofree char *name = g_strdup_printf("x%d", i);
        in[i] = tn_call_has(call, i) ? tn_graph_input(graph, name, call->in[i]) : TN_VAL_NONE;
    }
    for (gint k = 0; k < TN_MAX_OUT; k++) {
        out[k] = TN_VAL_NONE;
    }
    if (body) {
        if (!add_body(call, graph, in, out, &error)) {
            return recorded(call, error);
        }
    } else {
        tn_graph_add(graph, call->op, call->attrs, call->n_in, in, out);
    }
    return tn_graph_check(graph, &error) || recorded(call, error);
}

static gboolean
run_graph(const TnCall *call, TnContext *context, TnGraph *graph, TnTensor **out, GError **error)
{
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TnTensor *inputs[TN_MAX_IN];
    guint n = 0;
    for (gint i = 0; i < call->n_in; i++) {
        if (tn_call_has(call, i)) {
            inputs[n++] = call->value[i];
        }
    }
    return tn_function_call(function, n, inputs, out, error);
}

gboolean
tn_call_run(const TnCall *call, TnContext *context, gboolean body, TnTensor **out)
{
    g_autoptr(TnGraph) graph = tn_graph_new(call->op->name);
    g_autoptr(GError) error = NULL;
    TnVal in[TN_MAX_IN], made[TN_MAX_OUT];
    if (!tn_call_add(call, graph, body, in, made)) {
        return FALSE;
    }
    for (gint k = 0; k < call->n_out; k++) {
        g_autofree char *name = g_strdup_printf("y%d", k);
        tn_graph_output(graph, name, made[k]);
    }
    if (!run_graph(call, context, graph, out, &error)) {
        return recorded(call, error);
    }
    for (gint k = 0; k < call->n_out; k++) {
        TnTensor *host = tn_tensor_copy(out[k], NULL, TN_DTYPE_NONE, NULL);
        tn_tensor_unref(out[k]);
        out[k] = host;
        TN_REQUIRE(host != NULL);
    }
    return TRUE;
}

/* ---- comparing ---- */

TnTolerance
tn_tolerance(TnDtype dtype)
{
    switch (dtype) {
    case TN_DTYPE_F64: return (TnTolerance){ 1e-12, 1e-13 };
    case TN_DTYPE_F32: return (TnTolerance){ 1e-5, 2e-6 };
    case TN_DTYPE_F16: return (TnTolerance){ 4e-3, 2e-3 };
    case TN_DTYPE_BF16: return (TnTolerance){ 3e-2, 1.6e-2 };
    default: return (TnTolerance){ 0, 0 };
    }
}

TnTolerance
tn_call_tolerance(const TnCall *call, gint k)
{
    const TnDtype own = call->out[k].dtype;
    const gboolean rounded =
        TN_HAS(call->op, precision) && call->op->precision == TN_PRECISION_NARROW &&
        tn_dtype_in(own, TN_DTYPES_FLOAT) && tn_dtype_size(call->dtype) < tn_dtype_size(own);
    return tn_tolerance(rounded ? call->dtype : own);
}

static gboolean
same_types(TnTensor *actual, TnTensor *expected, const char *what)
{
    if (tn_type_equal(tn_tensor_type(actual), tn_tensor_type(expected))) {
        return TRUE;
    }
    g_autofree char *a = tn_type_print(tn_tensor_type(actual));
    g_autofree char *b = tn_type_print(tn_tensor_type(expected));
    TN_FAIL("%s: is %s, expected %s", what, a, b);
    return FALSE;
}

static gboolean
same_bytes(TnTensor *actual, TnTensor *expected, const char *what)
{
    g_autoptr(TnTensor) a = tn_tensor_copy(actual, NULL, TN_DTYPE_NONE, NULL);
    g_autoptr(TnTensor) b = tn_tensor_copy(expected, NULL, TN_DTYPE_NONE, NULL);
    TN_REQUIRE(a != NULL && b != NULL);
    const void *bytes_a = tn_tensor_map(a, TN_MAP_READ, NULL);
    const void *bytes_b = tn_tensor_map(b, TN_MAP_READ, NULL);
    const gboolean same = memcmp(bytes_a, bytes_b, (gsize)tn_tensor_bytes(a)) == 0;
    tn_tensor_unmap(a);
    tn_tensor_unmap(b);
    if (!same) {
        g_autofree char *text_a = tn_tensor_print(a);
        g_autofree char *text_b = tn_tensor_print(b);
        TN_FAIL("%s: is %s, expected %s", what, text_a, text_b);
    }
    return same;
}

static gboolean
near_enough(double a, double b, double rtol, double atol)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b);
    }
    return a == b || (isfinite(a) && isfinite(b) && fabs(a - b) <= rtol * fabs(b) + atol);
}

gboolean
tn_test_near(TnTensor *actual, TnTensor *expected, TnTolerance tolerance, const char *what)
{
    if (!same_types(actual, expected, what)) {
        return FALSE;
    }
    if (!tn_dtype_in(tn_tensor_dtype(expected), TN_DTYPES_FLOAT)) {
        return same_bytes(actual, expected, what);
    }
    const gint64 count = tn_tensor_count(expected);
    g_autofree double *a = tn_test_doubles(actual);
    g_autofree double *b = tn_test_doubles(expected);
    double scale = 1;
    for (gint64 i = 0; i < count; i++) {
        scale = isfinite(b[i]) ? MAX(scale, fabs(b[i])) : scale;
    }
    for (gint64 i = 0; i < count; i++) {
        if (!near_enough(a[i], b[i], tolerance.rtol, tolerance.atol * scale)) {
            TN_FAIL("%s: element %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                    " is %.17g, expected %.17g",
                    what, i, count, a[i], b[i]);
            return FALSE;
        }
    }
    return TRUE;
}
