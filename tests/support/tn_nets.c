#include "tn_nets.h"

#include <math.h>

#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_test.h"

/* --- Layers ----------------------------------------------------------------------------------- */

TnNet
tn_net_new(guint64 seed)
{
    return (TnNet){ tn_graph_new("net"), tn_store_new(seed) };
}

void
tn_net_clear(TnNet *net)
{
    tn_graph_unref(net->graph);
    tn_store_unref(net->store);
}

TnVal
tn_net_param(TnNet *net, const char *layer, const char *name, gint rank, const gint64 *dims,
             double low, double high)
{
    g_autofree char *full = g_strconcat(layer, ".", name, NULL);
    const TnVarInfo info = { .name = full,
                             .type = tn_type(TN_DTYPE_F32, rank, dims),
                             .init = { .kind = TN_INIT_UNIFORM, .a = low, .b = high } };
    TnVar *var = tn_store_var(net->store, NULL, &info, NULL);
    TN_REQUIRE(var != NULL);
    return tn_graph_variable(net->graph, var);
}

TnVal
tn_net_conv(TnNet *net, const char *name, TnVal x, TnNetConv c)
{
    const gint64 group = MAX(1, c.group);
    const gint64 dims[] = { c.maps, c.channels / group, c.kernel, c.kernel };
    const TnConvAttrs attrs = { .group = group,
                                .strides = { 2, { c.stride, c.stride } },
                                .pads = { 4, { c.pad, c.pad, c.pad, c.pad } } };
    const TnVal in[] = { x, tn_net_param(net, name, "weight", 4, dims, -0.3, 0.3),
                         c.bias ? tn_net_param(net, name, "bias", 1, dims, -1, 1) : TN_VAL_NONE };
    return tn_graph_op(net->graph, c.bias ? "conv_bias" : "conv", &attrs, c.bias ? 3 : 2, in, NULL);
}

TnVal
tn_net_norm(TnNet *net, const char *name, TnVal x)
{
    const gint64 *channels = &tn_graph_type(net->graph, x)->dims[1];
    const TnVal in[] = { x, tn_net_param(net, name, "scale", 1, channels, 0.5, 1.5),
                         tn_net_param(net, name, "shift", 1, channels, -1, 1),
                         tn_net_param(net, name, "mean", 1, channels, -1, 1),
                         tn_net_param(net, name, "var", 1, channels, 0.5, 2) };
    return tn_graph_op(net->graph, "batch_normalization", NULL, 5, in, NULL);
}

TnVal
tn_net_op1(TnNet *net, const char *op, TnVal x)
{
    return tn_graph_op(net->graph, op, NULL, 1, &x, NULL);
}

/* By name, as the struct is the plugin's. */
TnVal
tn_net_pool(TnNet *net, const char *op, TnVal x, gint64 height, gint64 width)
{
    const TnOp *pool = tn_op_find(op, NULL);
    TN_REQUIRE(pool != NULL);
    g_autofree void *attrs = g_malloc0(pool->attrs.struct_size);
    tn_options_defaults(&pool->attrs, attrs);
    const TnOption *row = tn_options_find(&pool->attrs, "kernel_shape");
    *(TnInts *)(void *)((char *)attrs + row->offset) = (TnInts){ .n = 2, .v = { height, width } };
    return tn_graph_add(net->graph, pool, attrs, 1, &x, NULL);
}

/* --- Running ---------------------------------------------------------------------------------- */

TnExec *
tn_net_exec(const TnNet *net, TnProgram *program, const TnType *x, double odd)
{
    const TnVal built = tn_graph_input_at(net->graph, 0, NULL);
    g_autoptr(GError) error = NULL;
    TnExec *exec = tn_exec_new(program, net->store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnTensor) tensor =
        tn_tensor_new(NULL, x != NULL ? *x : *tn_graph_type(net->graph, built), &error);
    TN_REQUIRE_NO_ERROR(error);
    float *elements = tn_storage_memory(tn_tensor_storage(tensor));
    for (gint64 k = 0; k < tn_tensor_count(tensor); k++) {
        elements[k] = (float)sin(0.7 * (double)k);
    }
    if (odd != 0) {
        elements[40] = (float)odd;
    }
    TN_REQUIRE(tn_exec_bind(exec, 0, tensor) == TN_OK);
    return exec;
}

double
tn_test_difference(TnTensor *a, TnTensor *b)
{
    double most = 1e-30, off = 0;
    TN_REQUIRE(tn_type_equal(tn_tensor_type(a), tn_tensor_type(b)));
    for (gint64 k = 0; k < tn_tensor_count(a); k++) {
        const double x = tn_tensor_get(a, k), y = tn_tensor_get(b, k);
        if (isnan(x) && isnan(y)) {
            continue;
        }
        most = isfinite(y) ? MAX(most, fabs(y)) : most;
        off = x == y ? off : isfinite(x - y) ? MAX(off, fabs(x - y)) : INFINITY;
    }
    return off / most;
}
