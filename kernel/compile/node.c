/* node.c: nodes as kernels see them, and computing one node at once. */
#include "compile-private.h"

#include "kernels.h"

#include <tenon/pool.h>

void
tn_arg_contiguous(TnArg *arg, const TnType *type)
{
    *arg =
        (TnArg){ .type = *type, .count = type->dtype == TN_DTYPE_NONE ? 0 : tn_type_count(type) };
    if (type->dtype != TN_DTYPE_NONE) {
        tn_type_strides(type, arg->strides);
    }
}

/* The first element of a contiguous host tensor. */
static const void *
host_pointer(TnTensor *tensor)
{
    return (const char *)tn_storage_memory(tn_tensor_storage(tensor)) +
           tn_tensor_offset(tensor) * (gint64)tn_dtype_size(tn_tensor_dtype(tensor));
}

static void
begin_view(TnNodeView *view, const TnGraphNode *node)
{
    view->node = (TnNode){
        .size = sizeof(TnNode),
        .op = node->op,
        .attrs = node->attrs,
        .name = node->name,
        .n_in = node->n_in,
        .n_out = node->n_out,
        .in = view->in,
        .out = view->out,
    };
    for (gint i = 0; i < node->n_out; i++) {
        tn_arg_contiguous(&view->out[i], &node->out[i]);
    }
}

/* Whether output i of a node is among the graph's own. */
static gboolean
is_output(const TnGraph *graph, guint number, gint i)
{
    for (guint k = 0; k < graph->outputs->len; k++) {
        const TnVal val = g_array_index(graph->outputs, TnGraphPort, k).val;
        if (val.node == number && (gint)val.out == i) {
            return TRUE;
        }
    }
    return FALSE;
}

void
tn_node_mark_unread(TnNodeView *view, const TnGraph *graph, guint number)
{
    const gint n = view->node.n_out;
    gint left = n;
    for (gint i = 0; i < n; i++) {
        view->out[i].unread = n > 1 && !is_output(graph, number, i);
        left -= !view->out[i].unread;
    }
    /* Readers stand behind a node, mostly soon; what is assigned is read by a node. */
    for (guint r = number + 1; r < graph->nodes->len && left > 0; r++) {
        const TnGraphNode *reader = tn_graph_node(graph, r);
        for (gint k = 0; k < reader->n_in; k++) {
            const TnVal val = reader->in[k];
            if (tn_reads_data(reader->op, k, val) && val.node == number &&
                view->out[val.out].unread) {
                view->out[val.out].unread = FALSE;
                left--;
            }
        }
    }
    for (gint i = 0; i < n && left == n; i++) {
        view->out[i].unread = FALSE;
    }
}

void
tn_node_view(TnNodeView *view, const TnGraph *graph, guint number)
{
    const TnGraphNode *node = tn_graph_node(graph, number);
    const TnSourceOps *ops = tn_source_ops();
    begin_view(view, node);
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_val_is_none(node->in[i])) {
            tn_arg_contiguous(&view->in[i], &(TnType){ 0 });
            continue;
        }
        tn_arg_contiguous(&view->in[i], tn_type_of(graph, node->in[i]));
        TnTensor *constant = tn_constant_value(graph, node->in[i]);
        if (constant != NULL && tn_tensor_is_contiguous(constant)) {
            view->in[i].value = host_pointer(constant);
        }
        view->in[i].variable = tn_graph_node(graph, node->in[i].node)->op == ops->variable;
    }
    tn_node_mark_unread(view, graph, number);
}

void
tn_node_view_claimed(TnNodeView *view, const TnGraph *graph, guint number, const TnClaim *claim)
{
    tn_node_view(view, graph, number);
    for (gint i = 0; i < view->node.n_out; i++) {
        view->out[i].unread = (claim->unread >> i & 1) != 0;
    }
}

/* --- Computing a node at once ----------------------------------------------------------------- */

static const TnKernel *
find_host_kernel(const TnCompile *options, const TnNode *node)
{
    for (guint i = options->n_devices; i-- > 0;) {
        if (tn_device_is_host(options->devices[i])) {
            const TnKernel *kernel = tn_kernel_find(tn_device_kind(options->devices[i]), node);
            if (kernel != NULL) {
                return kernel;
            }
        }
    }
    return NULL;
}

static gboolean
run_once(const TnKernel *kernel, const TnNode *node, void *const *in, void *const *out,
         GError **error)
{
    TnPrepared prepared = { .size = sizeof(TnPrepared) };
    if (kernel->prepare != NULL && !kernel->prepare(node, &prepared, error)) {
        return FALSE;
    }
    void *scratch = tn_data_alloc_for(prepared.scratch, node->name, error);
    TnStatus status = TN_NO_MEMORY;
    if (scratch != NULL) {
        const TnRun run = { .size = sizeof(TnRun), .in = in, .out = out, .scratch = scratch };
        const TnFloatMode mode = tn_float_mode_enter();
        status = kernel->run(prepared.state, &run);
        tn_float_mode_leave(mode);
        if (status != TN_OK) {
            tn_status_set_error(error, status, "%s (%s): %s", node->name, node->op->name,
                                tn_run_last_text());
        }
    }
    tn_data_free(scratch);
    if (kernel->release != NULL) {
        kernel->release(prepared.state);
    }
    return status == TN_OK;
}

static gboolean
make_outputs(const TnGraphNode *node, TnTensor **out, GError **error)
{
    for (gint i = 0; i < node->n_out; i++) {
        out[i] = tn_tensor_new(NULL, node->out[i], error);
        if (out[i] == NULL) {
            while (i-- > 0) {
                g_clear_pointer(&out[i], tn_tensor_unref);
            }
            return FALSE;
        }
    }
    return TRUE;
}

/* Kernels here read contiguous memory: a strided input's elements are copied first. copy[]
 * (transfer full). */
static gboolean
point_to_inputs(TnNodeView *view, const TnType *types, TnTensor *const *in, TnTensor **copy,
                void **pointer, GError **error)
{
    for (gint i = 0; i < view->node.n_in; i++) {
        TnTensor *tensor = in[i];
        tn_arg_contiguous(&view->in[i], &types[i]);
        if (tensor != NULL && !tn_tensor_is_contiguous(tensor)) {
            tensor = copy[i] = tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, error);
            if (tensor == NULL) {
                return FALSE;
            }
        }
        if (tensor != NULL) {
            pointer[i] = (void *)host_pointer(tensor);
            view->in[i].value = pointer[i];
        }
    }
    return TRUE;
}

static gboolean
eval_view(const TnCompile *options, const TnNodeView *view, const TnGraphNode *node,
          void *const *in, TnTensor **out, GError **error)
{
    void *pointer[TN_MAX_OUT] = { 0 };
    const TnKernel *kernel = find_host_kernel(options, &view->node);
    if (kernel == NULL || !make_outputs(node, out, error)) {
        return FALSE;
    }
    gboolean empty = TRUE;
    for (gint i = 0; i < node->n_out; i++) {
        pointer[i] = tn_storage_memory(tn_tensor_storage(out[i]));
        empty &= view->out[i].count == 0;
    }
    if (empty || run_once(kernel, &view->node, in, pointer, error)) {
        return TRUE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        g_clear_pointer(&out[i], tn_tensor_unref);
    }
    return FALSE;
}

gboolean
tn_eval_node(const TnCompile *options, const TnGraphNode *node, const TnType *types,
             TnTensor *const *in, TnTensor **out, GError **error)
{
    TnNodeView view;
    TnTensor *copy[TN_MAX_IN] = { NULL };
    void *pointer[TN_MAX_IN] = { NULL };
    begin_view(&view, node);
    const gboolean ok = point_to_inputs(&view, types, in, copy, pointer, error) &&
                        eval_view(options, &view, node, pointer, out, error);
    for (gint i = 0; i < node->n_in; i++) {
        g_clear_pointer(&copy[i], tn_tensor_unref);
    }
    return ok;
}
