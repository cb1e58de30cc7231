/* tune-layers.c: of the sizes that `tenon tune` measures without a config, those of other layers for which
 * several plugins have kernels: softmax and normalisation of rows, batch normalisation, with their gradients,
 * convolutions over blocks of channels and of 8 bits as inference has them, recurrent layers whose gates nobody
 * reads. */
#include "tune.h"

#include <tenon/device.h>
#include <tenon/graph.h>

/* What nobody reads of a node is no output of its graph: all but the first `n_out`. */
typedef struct {
    const char *op;
    const char *attrs; /* as text; NULL: none */
    gint n_in, n_out;
    gint n_grads;         /* of so many first inputs */
    TnType in[TN_MAX_IN]; /* of no dtype: absent */
} Call;

static gboolean
add_call(TnGraph *graph, const Call *call, GError **error)
{
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT], grads[TN_MAX_IN];
    const TnOp *op = tn_op_find(call->op, error);
    g_autoptr(TnValue) map = op ? tn_value_parse(call->attrs ? call->attrs : "{}", error) : NULL;
    g_autoptr(TnConfig) attrs = map ? tn_config_new(&op->attrs, map, error) : NULL;
    if (!attrs)
        return FALSE;
    for (gint i = 0; i < call->n_in; i++) {
        g_autofree char *name = g_strdup_printf("in%d", i);
        in[i] = call->in[i].dtype != TN_DTYPE_NONE ? tn_graph_input(graph, name, call->in[i])
                                                   : TN_VAL_NONE;
    }
    tn_graph_add(graph, op, tn_config_data(attrs), call->n_in, in, out);
    if (call->n_grads > 0) {
        /* A gradient of ones would be simplified. */
        const TnVal seed = tn_graph_input(graph, "seed", call->in[0]); /* the outputs' type, too */
        if (!tn_grad(graph, out[0], seed, call->n_grads, in, grads, error))
            return FALSE;
    }
    for (gint i = 0; i < call->n_out + call->n_grads; i++) {
        g_autofree char *name = g_strdup_printf("out%d", i);
        tn_graph_output(graph, name, i < call->n_out ? out[i] : grads[i - call->n_out]);
    }
    return TRUE;
}

static gboolean
each_call(const Call *call, TuneGraph func, gpointer data, GError **error)
{
    g_autoptr(TnGraph) graph = tn_graph_new(call->op);
    return add_call(graph, call, error) && func(graph, data, error);
}

/* --- Rows ------------------------------------------------------------------------------------- */

static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_BF16 };
static const gint64 row_counts[] = { 32, 128, 512, 2048 }, row_sizes[] = { 64, 256, 1024 };

static gboolean
rows_of(TnDtype dtype, gint64 rows, gint64 n, TuneGraph func, gpointer data, GError **error)
{
    static const char last[] = "{axis = -1}";
    const TnType x = { dtype, 2, { rows, n } }, scale = { TN_DTYPE_F32, 1, { n } };
    const Call calls[] = {
        { "softmax", last, 1, 1, 0, { x } },
        { "log_softmax", last, 1, 1, 0, { x } },
        { "layer_normalization", last, 3, 1, 0, { x, scale, scale } },
        { "layer_normalization", last, 3, 1, 3, { x, scale, scale } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(calls); i++)
        if (!each_call(&calls[i], func, data, error))
            return FALSE;
    return TRUE;
}

static gboolean
each_rows(TuneGraph func, gpointer data, GError **error)
{
    const guint nr = G_N_ELEMENTS(row_counts), ns = G_N_ELEMENTS(row_sizes);
    for (guint i = 0; i < G_N_ELEMENTS(dtypes) * nr * ns; i++)
        if (!rows_of(dtypes[i / (nr * ns)], row_counts[i / ns % nr], row_sizes[i % ns], func, data,
                     error))
            return FALSE;
    return TRUE;
}

/* --- Images ----------------------------------------------------------------------------------- */

static const gint64 image_batches[] = { 1, 32 };
static const struct {
    gint64 channels, size;
} images[] = { { 16, 32 }, { 64, 32 }, { 128, 16 }, { 256, 8 }, { 64, 56 }, { 256, 14 } };

static gboolean
each_images(TuneGraph func, gpointer data, GError **error)
{
    const guint ni = G_N_ELEMENTS(images), nb = G_N_ELEMENTS(image_batches);
    for (guint i = 0; i < G_N_ELEMENTS(dtypes) * ni * nb; i++) {
        const gint64 c = images[i % ni].channels, s = images[i % ni].size;
        const TnType x = { dtypes[i / (ni * nb)], 4, { image_batches[i / ni % nb], c, s, s } };
        const TnType p = { TN_DTYPE_F32, 1, { c } };
        const Call training = { "batch_normalization_training", NULL, 3, 3, 3, { x, p, p } };
        if (!each_call(&training, func, data, error))
            return FALSE;
    }
    return TRUE;
}

/* --- Blocks of channels ----------------------------------------------------------------------- */

/* Convolutions as ResNet-50 has them in inference. */
static const struct {
    gint64 channels, maps, size, kernel, stride;
} convs[] = {
    { 64, 64, 56, 1, 1 },   { 64, 64, 56, 3, 1 },    { 64, 256, 56, 1, 1 },
    { 256, 128, 56, 1, 1 }, { 128, 128, 56, 3, 2 },  { 512, 128, 28, 1, 1 },
    { 256, 256, 14, 3, 1 }, { 256, 1024, 14, 1, 1 }, { 1024, 256, 14, 1, 1 },
    { 512, 512, 7, 3, 1 },  { 2048, 512, 7, 1, 1 },
};

static gboolean
each_blocked(TuneGraph func, gpointer data, GError **error)
{
    enum { L = TN_LANES };
    for (guint i = 0; i < G_N_ELEMENTS(convs); i++) {
        const gint64 c = convs[i].channels, m = convs[i].maps, s = convs[i].size;
        const gint64 k = convs[i].kernel;
        const gint pad = (gint)k / 2, step = (gint)convs[i].stride;
        const TnType x = { TN_DTYPE_F32, 5, { 1, c / L, s, s, L } }, b = { TN_DTYPE_F32, 1, { m } };
        const TnType w = { TN_DTYPE_F32, 6, { m / L, c / L, k, k, L, L } };
        g_autofree char *attrs = g_strdup_printf("{strides = {%d, %d}, pads = {%d, %d, %d, %d}}",
                                                 step, step, pad, pad, pad, pad);
        const Call call = { "conv_blocked", attrs, 3, 1, 0, { x, w, b } };
        if (!each_call(&call, func, data, error))
            return FALSE;
    }
    return TRUE;
}

/* --- Eight bits ------------------------------------------------------------------------------- */

/* What gives 8 bits again, without another image; axes: spatial ones of x. */
static gboolean
quantized_of(gint axes, const TnType *x, gint64 taps, gint64 maps, const char *window,
             TuneGraph func, gpointer data, GError **error)
{
    enum { MAPS = 16, DEEP = 64 }; /* of a tile of weights */
    const gint64 channels = x->dims[axes + 1];
    const TnType w = { TN_DTYPE_I8,
                       6,
                       { (maps + MAPS - 1) / MAPS, taps, (taps * channels + DEEP - 1) / DEEP,
                         DEEP / 4, MAPS, 4 } };
    const TnType byte = { TN_DTYPE_U8, 0, { 0 } }, number = { TN_DTYPE_F32, 0, { 0 } };
    const TnType offset = { TN_DTYPE_I32, 1, { maps } }, each = { TN_DTYPE_F32, 1, { maps } };
    const TnType none = { 0 };
    g_autofree char *attrs = g_strdup_printf("{channels = %d, maps = %d, relu = true%s}",
                                             (gint)channels, (gint)maps, window);
    const Call call = { "quantized_conv",
                        attrs,
                        11,
                        1,
                        0,
                        { *x, w, byte, offset, each, each, none, none, none, number, byte } };
    return each_call(&call, func, data, error);
}

static gboolean
each_quantized_conv(TuneGraph func, gpointer data, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(convs); i++) {
        const gint64 s = convs[i].size, k = convs[i].kernel;
        const gint pad = (gint)k / 2, step = (gint)convs[i].stride;
        const TnType x = { TN_DTYPE_U8, 4, { 1, s, s, convs[i].channels } };
        g_autofree char *window = g_strdup_printf(
            ", kernel_shape = {%d, %d}, strides = {%d, %d}, pads = {%d, %d, %d, %d}", (gint)k,
            (gint)k, step, step, pad, pad, pad, pad);
        if (!quantized_of(2, &x, k, convs[i].maps, window, func, data, error))
            return FALSE;
    }
    return TRUE;
}

static const struct {
    gint64 rows, channels, maps;
} denses[] = { { 1, 2048, 1000 }, { 16, 1024, 1024 }, { 128, 768, 3072 }, { 512, 1024, 1024 } };

static gboolean
each_quantized(TuneGraph func, gpointer data, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(denses); i++) {
        const TnType x = { TN_DTYPE_U8, 2, { denses[i].rows, denses[i].channels } };
        if (!quantized_of(0, &x, 1, denses[i].maps, "", func, data, error))
            return FALSE;
    }
    return each_quantized_conv(func, data, error);
}

/* --- Sequences -------------------------------------------------------------------------------- */

static const gint64 lengths[] = { 16, 64 }, samples[] = { 1, 8, 32, 128 }, states[] = { 64, 256 };

static gboolean
sequence_of(TnDtype dtype, gint64 t, gint64 n, gint64 h, TuneGraph func, gpointer data,
            GError **error)
{
    g_autofree char *attrs = g_strdup_printf("{steps = %d}", (gint)t);
    const TnType x = { dtype, 3, { t, n, h } }, state = { dtype, 2, { n, h } };
    const TnType w = { dtype, 2, { 4 * h, h } }, b = { dtype, 1, { 4 * h } };
    const TnType w3 = { dtype, 2, { 3 * h, h } }, b3 = { dtype, 1, { 3 * h } };
    const Call lstm = { "lstm", attrs, 7, 1, 0, { x, state, state, w, w, b, b } };
    const Call gru = { "gru", attrs, 6, 1, 0, { x, state, w3, w3, b3, b3 } };
    return each_call(&lstm, func, data, error) && each_call(&gru, func, data, error);
}

static gboolean
each_sequence(TuneGraph func, gpointer data, GError **error)
{
    const guint nt = G_N_ELEMENTS(lengths), nn = G_N_ELEMENTS(samples), nh = G_N_ELEMENTS(states);
    for (guint i = 0; i < G_N_ELEMENTS(dtypes) * nt * nn * nh; i++)
        if (!sequence_of(dtypes[i / (nt * nn * nh)], lengths[i / (nn * nh) % nt],
                         samples[i / nh % nn], states[i % nh], func, data, error))
            return FALSE;
    return TRUE;
}

gboolean
tune_layers(TuneGraph func, gpointer data, GError **error)
{
    return each_rows(func, data, error) && each_images(func, data, error) &&
           each_blocked(func, data, error) && each_quantized(func, data, error) &&
           each_sequence(func, data, error);
}
