/* tune-grid.c: the sizes that `tenon tune` measures without a config: products of matrices, and the
 * convolutions of well-known networks with their gradients; other layers are tune-layers.c's. A table of
 * costs reaches some way beyond what it has (TN_COST_REACH), so sizes stand a factor of four apart. */
#include "tune.h"

#include <tenon/graph.h>

#define MOST_FLOPS 4e9

static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_BF16 };

/* --- Products --------------------------------------------------------------------------------- */

static const gint64 rows[] = { 1, 8, 32, 128, 512 }, depths[] = { 16, 64, 256, 1024 };

static void
add_product(TnGraph *graph, TnDtype dtype, gint64 m, gint64 k, gint64 n)
{
    const TnVal in[] = { tn_graph_input(graph, "a", tn_type(dtype, 2, (gint64[]){ m, k })),
                         tn_graph_input(graph, "b", tn_type(dtype, 2, (gint64[]){ k, n })) };
    tn_graph_output(graph, "out", tn_graph_op(graph, "matmul", NULL, 2, in, NULL));
}

static gboolean
each_product(TuneGraph func, gpointer data, GError **error)
{
    const guint nm = G_N_ELEMENTS(rows), nk = G_N_ELEMENTS(depths);
    for (guint i = 0; i < G_N_ELEMENTS(dtypes) * nm * nk * nk; i++) {
        const gint64 m = rows[i / (nk * nk) % nm], k = depths[i / nk % nk], n = depths[i % nk];
        g_autoptr(TnGraph) graph = tn_graph_new("matmul");
        add_product(graph, dtypes[i / (nm * nk * nk)], m, k, n);
        if (!func(graph, data, error))
            return FALSE;
    }
    return TRUE;
}

/* --- Convolutions ----------------------------------------------------------------------------- */

static const gint64 batches[] = { 1, 16, 128 };

/* [N, channels, size, size] to [N, maps, …]. */
static const struct {
    gint64 channels, maps, size, kernel, stride;
} convs[] = {
    { 1, 6, 28, 5, 1 },      { 6, 16, 14, 5, 1 },   { 3, 16, 32, 3, 1 },    { 16, 16, 32, 3, 1 },
    { 64, 64, 32, 3, 1 },    { 64, 128, 32, 3, 2 }, { 128, 128, 16, 3, 1 }, { 64, 128, 32, 1, 2 },
    { 256, 256, 8, 3, 1 },   { 256, 512, 8, 3, 2 }, { 512, 512, 4, 3, 1 },  { 3, 64, 224, 7, 2 },
    { 64, 64, 56, 1, 1 },    { 64, 256, 56, 1, 1 }, { 128, 128, 28, 3, 1 }, { 512, 128, 28, 1, 1 },
    { 256, 1024, 14, 1, 1 }, { 512, 512, 7, 3, 1 },
};

/* The convolution and both gradients. */
static gboolean
add_conv(TnGraph *graph, TnDtype dtype, gint64 batch, guint i, GError **error)
{
    const gint64 c = convs[i].channels, m = convs[i].maps, s = convs[i].size, k = convs[i].kernel;
    const gint64 out = (s + k / 2 * 2 - k) / convs[i].stride + 1, pad = k / 2;
    const TnConvAttrs attrs = { .group = 1,
                                .strides = { 2, { convs[i].stride, convs[i].stride } },
                                .pads = { 4, { pad, pad, pad, pad } } };
    const TnVal in[] = {
        tn_graph_input(graph, "x", tn_type(dtype, 4, (gint64[]){ batch, c, s, s })),
        tn_graph_input(graph, "w", tn_type(dtype, 4, (gint64[]){ m, c, k, k })),
    };
    const TnVal seed =
        tn_graph_input(graph, "seed", tn_type(dtype, 4, (gint64[]){ batch, m, out, out }));
    const TnVal y = tn_graph_op(graph, "conv", &attrs, 2, in, NULL);
    TnVal grads[2];
    if (!tn_grad(graph, y, seed, 2, in, grads, error))
        return FALSE;
    tn_graph_output(graph, "y", y);
    tn_graph_output(graph, "dx", grads[0]);
    tn_graph_output(graph, "dw", grads[1]);
    return TRUE;
}

static double
conv_flops(gint64 batch, guint i)
{
    const double out = (double)(convs[i].size / convs[i].stride);
    return 2.0 *
           (double)(batch * convs[i].channels * convs[i].maps * convs[i].kernel * convs[i].kernel) *
           out * out;
}

static gboolean
each_conv(TuneGraph func, gpointer data, GError **error)
{
    const guint nc = G_N_ELEMENTS(convs), nb = G_N_ELEMENTS(batches);
    for (guint i = 0; i < G_N_ELEMENTS(dtypes) * nb * nc; i++) {
        g_autoptr(TnGraph) graph = tn_graph_new("conv");
        const gint64 batch = batches[i / nc % nb];
        if (conv_flops(batch, i % nc) <= MOST_FLOPS &&
            (!add_conv(graph, dtypes[i / (nb * nc)], batch, i % nc, error) ||
             !func(graph, data, error)))
            return FALSE;
    }
    return TRUE;
}

gboolean
tune_grid(TuneGraph func, gpointer data, GError **error)
{
    return each_product(func, data, error) && each_conv(func, data, error) &&
           tune_layers(func, data, error);
}
