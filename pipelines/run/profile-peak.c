/* profile-peak.c: what the processor can do at best: products of large matrices, as sgemm does them.
 * That is what the shares of a profile are of; it is measured by the program's own kernels and
 * threads, so that it says what an operator could reach here and now. */
#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/profile.h>

#define SIZE 1024
#define SECONDS 0.25
#define LEAST_RUNS 3

static TnTensor *
filled(TnType type, GError **error)
{
    TnTensor *tensor = tn_tensor_new(NULL, type, error);
    float *values = tensor ? tn_tensor_map(tensor, TN_MAP_WRITE, error) : NULL;
    for (gint64 i = 0; values && i < tn_tensor_count(tensor); i++)
        values[i] = (float)(i % 7) - 3;
    if (values)
        tn_tensor_unmap(tensor);
    return tensor;
}

static TnFunction *
make_product(TnContext *context, TnType type, GError **error)
{
    g_autoptr(TnGraph) graph = tn_graph_new("peak");
    const TnVal in[] = { tn_graph_input(graph, "a", type), tn_graph_input(graph, "b", type) };
    tn_graph_output(graph, "c", tn_graph_op(graph, "matmul", NULL, 2, in, NULL));
    return tn_graph_check(graph, error) ? tn_function_new(graph, context) : NULL;
}

/* Seconds of the fastest of several runs; 0 with *error. */
static double
fastest(TnExec *exec, GError **error)
{
    const gint64 end = tn_time_ns() + (gint64)(SECONDS * 1e9);
    gint64 best = G_MAXINT64;
    for (guint i = 0; i < LEAST_RUNS || tn_time_ns() < end; i++) {
        const gint64 begin = tn_time_ns();
        if (tn_exec_run(exec) != TN_OK) {
            g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
            return 0;
        }
        best = MIN(best, tn_time_ns() - begin);
    }
    return (double)MAX(best, 1) * 1e-9;
}

double
tn_measure_peak(GError **error)
{
    const TnType type = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ SIZE, SIZE });
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnDevice) device = tn_device_open("cpu", context, error);
    if (!device)
        return 0;
    tn_context_add_device(context, device);
    g_autoptr(TnFunction) function = make_product(context, type, error);
    g_autoptr(TnTensor) a = function ? filled(type, error) : NULL;
    g_autoptr(TnTensor) b = a ? filled(type, error) : NULL;
    TnTensor *const inputs[] = { a, b };
    TnExec *exec = b ? tn_function_exec(function, 2, inputs, error) : NULL;
    if (!exec)
        return 0;
    const double flops = tn_program_flops(tn_exec_program(exec), NULL);
    const double seconds = fastest(exec, error);
    return seconds > 0 ? flops / seconds : 0;
}
