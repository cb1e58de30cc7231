/* stepper.c: k steps of a program, fed by a port: the loop that training and evaluation spend their
 * time in. */
#include <math.h>
#include <string.h>

#include "stage-private.h"

struct TnStepper {
    TnFunction *function;
    TnPort *port;
    TnContext *context;
    guint n_inputs;
    guint field[TN_MAX_FIELDS]; /* of each graph input */
    TnExec *exec;               /* of the last step */
    GError *error;
};

/* Which field each input of the graph takes. */
static gboolean
match_inputs(TnStepper *stepper, GError **error)
{
    TnGraph *graph = tn_function_graph(stepper->function);
    if (stepper->port && tn_port_requests(stepper->port)) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "graph '%s': its stage answers requests and gives no frames by itself, and a "
                    "stepper asks nothing",
                    tn_graph_name(graph));
        return FALSE;
    }
    stepper->n_inputs = tn_graph_n_inputs(graph);
    const TnSchema *schema = stepper->port ? tn_port_schema(stepper->port) : NULL;
    for (guint i = 0; i < stepper->n_inputs; i++) {
        const char *name;
        guint k = 0;
        tn_graph_input_at(graph, i, &name);
        while (schema && k < schema->n && strcmp(schema->names[k], name) != 0)
            k++;
        if (!schema || k == schema->n || i == TN_MAX_FIELDS) {
            g_autoptr(GString) fields = g_string_new(NULL);
            for (guint f = 0; schema && f < schema->n; f++)
                g_string_append_printf(fields, "%s'%s'", f ? ", " : "", schema->names[f]);
            g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                        "graph '%s' wants input '%s', but its frames have %s", tn_graph_name(graph),
                        name, fields->len ? fields->str : "no fields");
            return FALSE;
        }
        stepper->field[i] = k;
    }
    return TRUE;
}

TnStepper *
tn_stepper_new(TnFunction *function, TnPort *port, TnContext *context, GError **error)
{
    g_autoptr(TnStepper) stepper = g_new0(TnStepper, 1);
    stepper->function = tn_function_ref(function);
    stepper->port = port;
    stepper->context = tn_context_ref(context);
    return match_inputs(stepper, error) ? g_steal_pointer(&stepper) : NULL;
}

void
tn_stepper_free(TnStepper *stepper)
{
    if (!stepper)
        return;
    tn_function_unref(stepper->function);
    tn_context_unref(stepper->context);
    g_clear_error(&stepper->error);
    g_free(stepper);
}

TnFunction *
tn_stepper_function(const TnStepper *stepper)
{
    return stepper->function;
}

static TnStatus
fail(TnStepper *stepper, GError *error)
{
    g_clear_error(&stepper->error);
    stepper->error = error;
    return TN_FAILED;
}

/* watch: see tn_exec_watch. */
static TnStatus
take_step(TnStepper *stepper, TnExecWatch watch, gpointer data, guint64 *samples)
{
    TnTensor *inputs[TN_MAX_FIELDS];
    TnFrame *frame = NULL;
    GError *error = NULL;
    if (stepper->port) {
        TnStatus status = tn_port_pull(stepper->port, &frame);
        if (status != TN_OK)
            return status;
        for (guint i = 0; i < stepper->n_inputs; i++)
            inputs[i] = tn_frame_tensor(frame, stepper->field[i]);
    } else if (tn_context_cancelled(stepper->context)) {
        return TN_CANCELLED;
    }
    TnExec *exec = tn_function_exec(stepper->function, stepper->n_inputs, inputs, &error);
    TnStatus status = TN_FAILED;
    if (exec) {
        stepper->exec = exec;
        if (watch)
            tn_exec_watch(exec, watch, data);
        status = tn_exec_run(exec);
        if (watch)
            tn_exec_watch(exec, NULL, NULL);
        if (status != TN_OK && tn_exec_error(exec))
            error = g_error_copy(tn_exec_error(exec));
        for (guint i = 0; i < stepper->n_inputs; i++) /* so that their buffers can be used again */
            tn_exec_bind(exec, i, NULL);
    }
    *samples = frame ? (guint64)tn_frame_samples(frame) : 1;
    tn_frame_unref(frame);
    if (status != TN_OK)
        return error ? fail(stepper, error) : status;
    return TN_OK;
}

/* One step; *samples is set. */
static TnStatus
step(TnStepper *stepper, TnExecWatch watch, gpointer data, guint64 *samples)
{
    const gint64 begin = tn_span_begin(stepper->context);
    const TnStatus status = take_step(stepper, watch, data, samples);
    tn_span_end(stepper->context, "step", tn_graph_name(tn_function_graph(stepper->function)),
                begin);
    return status;
}

TnStatus
tn_stepper_run(TnStepper *stepper, guint64 k, double seconds, guint64 *done, guint64 *samples)
{
    gint64 end = seconds > 0 ? g_get_monotonic_time() + (gint64)(seconds * 1e6) : G_MAXINT64;
    *done = *samples = 0;
    while (*done < k) {
        guint64 n = 0;
        TnStatus status = step(stepper, NULL, NULL, &n);
        if (status != TN_OK)
            return status;
        ++*done;
        *samples += n;
        if (seconds > 0 && g_get_monotonic_time() >= end)
            break;
    }
    return TN_OK;
}

TnTensor *
tn_stepper_output(TnStepper *stepper, const char *name)
{
    gint i = stepper->exec ? tn_exec_find_output(stepper->exec, name) : -1;
    return i < 0 ? NULL : tn_exec_output(stepper->exec, (guint)i);
}

const GError *
tn_stepper_error(const TnStepper *stepper)
{
    return stepper->error;
}

/* --- Looking for the first bad number --------------------------------------------------------- */

/* Index of the first element that is not finite, -1 if all are. */
static gint64
first_bad(TnTensor *tensor)
{
    const TnDtypeInfo *info = tn_dtype_info(tn_tensor_dtype(tensor));
    if (!info || info->klass != TN_CLASS_FLOAT)
        return -1;
    g_autoptr(TnTensor) host = tn_tensor_copy(tensor, NULL, TN_DTYPE_F64, NULL);
    const double *values = host ? tn_tensor_map(host, TN_MAP_READ, NULL) : NULL;
    gint64 n = values ? tn_tensor_count(host) : 0, bad = -1;
    for (gint64 i = 0; i < n && bad < 0; i++)
        if (!isfinite(values[i]))
            bad = i;
    if (values)
        tn_tensor_unmap(host);
    return bad;
}

static TnStatus
watch_bad(TnExec *exec, const TnExecStep *step, gpointer data)
{
    char **found = data;
    (void)exec;
    for (guint i = 0; i < step->n_out && !*found; i++) {
        TnTensor *out = step->out[i];
        gint64 bad = out ? first_bad(out) : -1;
        if (bad < 0)
            continue;
        g_autofree char *type = tn_type_print(tn_tensor_type(out));
        *found = g_strdup_printf("node '%s', element %" G_GINT64_FORMAT " of %s: %g", step->name,
                                 bad, type, tn_tensor_get(out, bad));
    }
    return *found ? TN_CANCELLED : TN_OK;
}

char *
tn_stepper_find_bad(TnStepper *stepper, guint64 k, guint64 *done)
{
    char *found = NULL;
    guint64 samples;
    for (*done = 0; *done < k && !found; ++*done)
        if (step(stepper, watch_bad, &found, &samples) != TN_OK)
            break;
    return found;
}
