/* dump_ops.c: writes sampled calls of every operator, what ref and cpu make of them, and ref's
 * gradients, for judges in other languages.
 *
 * In the folder $TN_DUMP: calls.jsonl, a call a line, and calls.bin, which holds the elements,
 * row-major, of the tensors that the lines name by dtype, shape and offset. Gradients are those of
 * sum <output, seed> over the outputs that have a seed. */
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#include <stdio.h>
#include <tenon/base.h>

static TnContext *on_ref, *on_cpu;
static FILE *lines, *bytes;
static gint64 written;

/* --- JSON ------------------------------------------------------------------------------------- */

static void
put_value(const TnValue *value)
{
    switch (tn_value_type(value)) {
    case TN_VALUE_BOOL: fputs(tn_value_get_bool(value) ? "true" : "false", lines); break;
    case TN_VALUE_INT: fprintf(lines, "%" G_GINT64_FORMAT, tn_value_get_int(value)); break;
    case TN_VALUE_UINT: fprintf(lines, "%" G_GUINT64_FORMAT, tn_value_get_uint(value)); break;
    case TN_VALUE_DOUBLE: fprintf(lines, "%.17g", tn_value_get_double(value)); break;
    case TN_VALUE_STRING: fprintf(lines, "\"%s\"", tn_value_get_string(value)); break;
    case TN_VALUE_LIST:
        fputc('[', lines);
        for (gsize i = 0; i < tn_value_len(value); i++) {
            fputs(i > 0 ? "," : "", lines);
            put_value(tn_value_at(value, i));
        }
        fputc(']', lines);
        break;
    default: fputs("null", lines); break;
    }
}

static void
put_attrs(const TnCall *call)
{
    const char *comma = "";
    fputs("\"attrs\":{", lines);
    for (guint32 k = 0; k < call->op->attrs.n; k++) {
        const TnOption *row = tn_options_row(&call->op->attrs, k);
        if (row->type == TN_OPT_GRAPH || row->type == TN_OPT_TENSOR) {
            continue;
        }
        g_autoptr(TnValue) value = tn_option_get(row, call->attrs);
        fprintf(lines, "%s\"%s\":", comma, row->name);
        put_value(value);
        comma = ",";
    }
    fputc('}', lines);
}

static void
put_tensor(TnTensor *tensor)
{
    if (tensor == NULL) {
        fputs("null", lines);
        return;
    }
    g_autoptr(TnTensor) host = tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, NULL);
    TN_REQUIRE(host != NULL);
    const TnType *type = tn_tensor_type(host);
    fprintf(lines, "{\"dtype\":\"%s\",\"offset\":%" G_GINT64_FORMAT ",\"shape\":[",
            tn_dtype_name(type->dtype), written);
    for (gint i = 0; i < type->rank; i++) {
        fprintf(lines, "%s%" G_GINT64_FORMAT, i > 0 ? "," : "", type->dims[i]);
    }
    fputs("]}", lines);
    const gsize size = (gsize)tn_type_bytes(type);
    const void *from = tn_tensor_map(host, TN_MAP_READ, NULL);
    TN_REQUIRE(fwrite(from, 1, size, bytes) == size);
    tn_tensor_unmap(host);
    written += (gint64)size;
}

static void
put_tensors(const char *name, gint n, TnTensor *const *tensors)
{
    fprintf(lines, ",\"%s\":[", name);
    for (gint i = 0; i < n; i++) {
        fputs(i > 0 ? "," : "", lines);
        put_tensor(tensors[i]);
    }
    fputc(']', lines);
}

/* --- Gradients -------------------------------------------------------------------------------- */

#define MAX_INPUTS 32

/* A graph of the call and of its gradients; seeds become inputs after the call's own. */
typedef struct {
    TnGraph *graph;
    gint n_x, x[MAX_INPUTS];
    guint n;
    TnTensor *inputs[TN_MAX_IN + TN_MAX_OUT], *seeds[TN_MAX_OUT];
} Backward;

static TnTensor *
seed_for(const TnType *type, gint k)
{
    const gint64 count = tn_type_count(type);
    g_autofree double *values = g_new(double, (gsize)count + 1);
    TnRandom random;
    tn_random_init(&random, 3, "seed", (guint64)k);
    for (gint64 i = 0; i < count; i++) {
        values[i] = 2 * tn_random_f64(&random) - 1;
    }
    return tn_test_tensor(*type, values);
}

/* FALSE: there is nothing to differentiate. */
static gboolean
make_backward(Backward *b, const TnCall *call)
{
    g_autoptr(GError) error = NULL;
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT], x[MAX_INPUTS], grad[MAX_INPUTS];
    TnVal sum = TN_VAL_NONE;
    b->graph = tn_graph_new(call->op->name);
    TN_REQUIRE(tn_call_add(call, b->graph, FALSE, in, out));
    for (gint i = 0; i < call->n_in; i++) {
        if (tn_call_has(call, i)) {
            b->inputs[b->n++] = call->value[i];
        }
        if (tn_call_differentiable(call, i) && call->in[i].dtype == call->dtype) {
            x[b->n_x] = in[i];
            b->x[b->n_x++] = i;
        }
    }
    for (gint k = 0; k < call->n_out; k++) {
        if (call->out[k].dtype != call->dtype) {
            continue;
        }
        g_autofree char *name = g_strdup_printf("seed%d", k);
        const TnVal seed = tn_graph_input(b->graph, name, call->out[k]);
        const TnVal product = tn_f_mul(b->graph, out[k], seed);
        const TnVal part = tn_f_reduce_sum(b->graph, product, 0, NULL, FALSE);
        sum = tn_val_is_none(sum) ? part : tn_f_add(b->graph, sum, part);
        b->seeds[k] = seed_for(&call->out[k], k);
        b->inputs[b->n++] = b->seeds[k];
    }
    if (b->n_x == 0 || tn_val_is_none(sum)) {
        return FALSE;
    }
    if (!tn_grad(b->graph, sum, TN_VAL_NONE, b->n_x, x, grad, &error)) {
        TN_FAIL("%s: %s", call->op->name, error->message);
        return FALSE;
    }
    for (gint i = 0; i < b->n_x; i++) {
        g_autofree char *name = g_strdup_printf("g%d", i);
        tn_graph_output(b->graph, name, grad[i]);
    }
    return TRUE;
}

static void
put_gradients(const TnCall *call)
{
    g_autoptr(GError) error = NULL;
    Backward b = { 0 };
    TnTensor *found[MAX_INPUTS] = { NULL }, *grads[TN_MAX_IN] = { NULL };
    if (make_backward(&b, call)) {
        g_autoptr(TnFunction) function = tn_function_new(b.graph, on_ref);
        const gboolean ok = tn_function_call(function, b.n, b.inputs, found, &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_REQUIRE(ok);
        for (gint i = 0; i < b.n_x; i++) {
            grads[b.x[i]] = found[i];
        }
        put_tensors("seeds", call->n_out, b.seeds);
        put_tensors("grads", call->n_in, grads);
    }
    for (gint i = 0; i < b.n_x; i++) {
        g_clear_pointer(&found[i], tn_tensor_unref);
    }
    for (gint k = 0; k < TN_MAX_OUT; k++) {
        g_clear_pointer(&b.seeds[k], tn_tensor_unref);
    }
    g_clear_pointer(&b.graph, tn_graph_unref);
}

/* --- Calls ------------------------------------------------------------------------------------ */

static void
put_call(const TnCall *call)
{
    TnTensor *ref[TN_MAX_OUT], *cpu[TN_MAX_OUT];
    TN_REQUIRE(tn_call_run(call, on_ref, FALSE, ref));
    TN_REQUIRE(tn_call_run(call, on_cpu, FALSE, cpu));
    fprintf(lines,
            "{\"op\":\"%s\",\"variant\":%u,\"dtype\":\"%s\",\"digest\":\"%016" G_GINT64_MODIFIER
            "x\",",
            call->op->name, call->variant, tn_dtype_name(call->dtype), tn_call_digest(call));
    put_attrs(call);
    put_tensors("inputs", call->n_in, call->value);
    put_tensors("ref", call->n_out, ref);
    put_tensors("cpu", call->n_out, cpu);
    if (call->dtype == TN_DTYPE_F64 && !(call->op->flags & TN_OP_NO_GRAD)) {
        put_gradients(call);
    }
    fputs("}\n", lines);
    for (gint k = 0; k < call->n_out; k++) {
        tn_tensor_unref(ref[k]);
        tn_tensor_unref(cpu[k]);
    }
}

static void
put_operator(const TnOp *op)
{
    const TnDtypes main =
        TN_DT(F64) | TN_DT(F32) | TN_DT(I64) | TN_DT(I32) | TN_DT(U8) | TN_DT(BOOL);
    const TnDtypes all = tn_call_dtypes(op);
    const TnDtypes set = all & main ? all & main : all;
    for (gint dtype = 1; dtype < TN_N_DTYPES; dtype++) {
        TnCall call;
        for (guint v = 0;
             tn_dtype_in((TnDtype)dtype, set) && tn_call_make(&call, op, (TnDtype)dtype, v); v++) {
            put_call(&call);
            tn_call_clear(&call);
        }
    }
}

static FILE *
open_in(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    FILE *file = fopen(path, "w");
    TN_REQUIRE(file != NULL);
    return file;
}

static void
dump(void)
{
    const char *folder = g_getenv("TN_DUMP");
    if (folder == NULL) {
        tn_test_skip("TN_DUMP does not name a folder");
    }
    tn_conformance_open();
    on_ref = tn_test_context("ref", NULL);
    on_cpu = tn_test_context("cpu", "ref", NULL);
    lines = open_in(folder, "calls.jsonl");
    bytes = open_in(folder, "calls.bin");
    g_autoptr(GPtrArray) ops = tn_conformance_ops();
    for (guint i = 0; i < ops->len; i++) {
        put_operator(g_ptr_array_index(ops, i));
    }
    TN_ASSERT(fclose(lines) == 0);
    TN_ASSERT(fclose(bytes) == 0);
    tn_context_unref(on_ref);
    tn_context_unref(on_cpu);
}

static const TnTest tests[] = {
    { "dump", dump },
};

TN_TEST_MAIN("dump of operators", tests)
