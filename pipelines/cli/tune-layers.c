/* tune-layers.c: of the sizes that `tenon tune` measures without a config, those of layers with kernels of their
 * own in several plugins: softmax and normalisation of rows and of images, with the gradients that a training
 * step has, convolutions over blocks of channels and 8-bit operators as inference has them, recurrent layers
 * whose gates nobody reads. */
#include "tune.h"

#include <tenon/device.h>
#include <tenon/graph.h>

/* TnType needs constants: shapes of a call. */
typedef struct {
    TnDtype dtype;
    gint rank;
    gint64 dims[TN_MAX_RANK];
} In;

/* What nobody reads of a node is no output of its graph: all but the first `n_out`. */
typedef struct {
    const char *op;
    const char *attrs; /* as text; NULL: none */
    gint n_in, n_out;
    gint n_grads; /* of so many first inputs */
    In in[TN_MAX_IN];
} Call;

static gboolean
add_call(TnGraph *graph, const Call *call, GError **error)
{
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT], grads[TN_MAX_IN];
    const TnOp *op = tn_op_find(call->op, error);
    g_autoptr(TnValue) map = tn_value_parse(call->attrs ? call->attrs : "{}", error);
    g_autoptr(TnConfig) attrs = op && map ? tn_config_new(&op->attrs, map, error) : NULL;
    if (!attrs)
        return FALSE;
    for (gint i = 0; i < call->n_in; i++) {
        const In *type = &call->in[i];
        g_autofree char *name = g_strdup_printf("in%d", i);
        in[i] = tn_graph_input(graph, name, tn_type(type->dtype, type->rank, type->dims));
    }
    tn_graph_add(graph, op, tn_config_data(attrs), call->n_in, in, out);
    if (call->n_grads > 0) {
        /* A gradient of ones would be simplified. */
        const In *like = &call->in[0];
        const TnVal seed =
            tn_graph_input(graph, "seed", tn_type(like->dtype, like->rank, like->dims));
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
    const In x = { dtype, 2, { rows, n } }, scale = { TN_DTYPE_F32, 1, { n } };
    const Call calls[] = {
        { "softmax", last, 1, 1, 0, { x } },
        { "softmax", last, 1, 1, 1, { x } },
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
        const In x = { dtypes[i / (ni * nb)], 4, { image_batches[i / ni % nb], c, s, s } };
        const In p = { TN_DTYPE_F32, 1, { c } };
        const Call given = { "batch_normalization", NULL, 5, 1, 0, { x, p, p, p, p } };
        const Call training = { "batch_normalization_training", NULL, 3, 3, 3, { x, p, p } };
        if (!each_call(&given, func, data, error) || !each_call(&training, func, data, error))
            return FALSE;
    }
    return TRUE;
}

/* --- Inference -------------------------------------------------------------------------------- */

/* Convolutions as ResNet-50 has them. */
static const struct {
    gint64 channels, maps, size, kernel, stride;
} convs[] = {
    { 64, 64, 56, 1, 1 },   { 64, 64, 56, 3, 1 },    { 64, 256, 56, 1, 1 },
    { 256, 128, 56, 1, 1 }, { 128, 128, 56, 3, 2 },  { 512, 128, 28, 1, 1 },
    { 256, 256, 14, 3, 1 }, { 256, 1024, 14, 1, 1 }, { 1024, 256, 14, 1, 1 },
    { 512, 512, 7, 3, 1 },  { 2048, 512, 7, 1, 1 },
};

/* Over blocks of channels in f32, and of 8-bit numbers. */
static gboolean
conv_of(guint i, TuneGraph func, gpointer data, GError **error)
{
    enum { L = TN_LANES };
    const gint64 c = convs[i].channels, m = convs[i].maps, s = convs[i].size;
    const gint64 k = convs[i].kernel;
    const gint pad = (gint)k / 2;
    const gint step = (gint)convs[i].stride;
    g_autofree char *attrs = g_strdup_printf("{strides = {%d, %d}, pads = {%d, %d, %d, %d}}", step,
                                             step, pad, pad, pad, pad);
    const In one = { TN_DTYPE_F32, 0, { 0 } }, zero = { TN_DTYPE_U8, 0, { 0 } };
    const In w_zero = { TN_DTYPE_I8, 0, { 0 } };
    const Call calls[] = {
        { "conv_blocked",
          attrs,
          3,
          1,
          0,
          { { TN_DTYPE_F32, 5, { 1, c / L, s, s, L } },
            { TN_DTYPE_F32, 6, { m / L, c / L, k, k, L, L } },
            { TN_DTYPE_F32, 1, { m } } } },
        { "qlinear_conv",
          attrs,
          8,
          1,
          0,
          { { TN_DTYPE_U8, 4, { 1, c, s, s } },
            one,
            zero,
            { TN_DTYPE_I8, 4, { m, c, k, k } },
            one,
            w_zero,
            one,
            zero } },
    };
    for (guint n = 0; n < G_N_ELEMENTS(calls); n++)
        if (!each_call(&calls[n], func, data, error))
            return FALSE;
    return TRUE;
}

static const gint64 product_rows[] = { 1, 16, 128 }, product_sizes[] = { 256, 1024 };

static gboolean
product_of(gint64 m, gint64 k, gint64 n, TuneGraph func, gpointer data, GError **error)
{
    const In one = { TN_DTYPE_F32, 0, { 0 } }, zero = { TN_DTYPE_U8, 0, { 0 } };
    const In b_zero = { TN_DTYPE_I8, 0, { 0 } };
    const In a = { TN_DTYPE_U8, 2, { m, k } }, b = { TN_DTYPE_I8, 2, { k, n } };
    const Call calls[] = {
        { "qlinear_matmul", NULL, 8, 1, 0, { a, one, zero, b, one, b_zero, one, zero } },
        { "matmul_integer", NULL, 2, 1, 0, { a, b } },
    };
    return each_call(&calls[0], func, data, error) && each_call(&calls[1], func, data, error);
}

static gboolean
each_inference(TuneGraph func, gpointer data, GError **error)
{
    const guint nr = G_N_ELEMENTS(product_rows), ns = G_N_ELEMENTS(product_sizes);
    for (guint i = 0; i < G_N_ELEMENTS(convs); i++)
        if (!conv_of(i, func, data, error))
            return FALSE;
    for (guint i = 0; i < nr * ns * ns; i++)
        if (!product_of(product_rows[i / (ns * ns)], product_sizes[i / ns % ns],
                        product_sizes[i % ns], func, data, error))
            return FALSE;
    return TRUE;
}

/* --- Sequences -------------------------------------------------------------------------------- */

static const gint64 lengths[] = { 16, 64 }, samples[] = { 1, 8, 32, 128 }, states[] = { 64, 256 };

static gboolean
sequence_of(TnDtype dtype, gint64 t, gint64 n, gint64 h, TuneGraph func, gpointer data,
            GError **error)
{
    g_autofree char *attrs = g_strdup_printf("{steps = %d}", (gint)t);
    const In x = { dtype, 3, { t, n, h } }, state = { dtype, 2, { n, h } };
    const In w = { dtype, 2, { 4 * h, h } }, b = { dtype, 1, { 4 * h } };
    const In w3 = { dtype, 2, { 3 * h, h } }, b3 = { dtype, 1, { 3 * h } };
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
           each_inference(func, data, error) && each_sequence(func, data, error);
}
