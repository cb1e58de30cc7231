/* macs.c: multiply-adds of a graph's nodes, as `tenon show` tells them. */
#include "host-private.h"

#include <string.h>

static gint64
count(const TnGraph *g, TnVal val)
{
    return tn_type_count(tn_graph_type(g, val));
}

/* Products of a sum of products: out elements times what each sums over. */
static double
macs_matmul(const TnGraph *g, const TnVal *in, TnVal out)
{
    const TnType *a = tn_graph_type(g, in[0]);
    return (double)count(g, out) * (double)(a->rank ? a->dims[a->rank - 1] : 0);
}

static double
macs_gemm(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint64 rows = tn_graph_type(g, out)->dims[0];
    return rows ? (double)count(g, out) * (double)(count(g, in[0]) / rows) : 0;
}

static double
macs_conv(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint64 maps = tn_graph_type(g, in[1])->dims[0];
    return maps ? (double)count(g, out) * (double)(count(g, in[1]) / maps) : 0;
}

static double
macs_conv_transpose(const TnGraph *g, const TnVal *in, TnVal out)
{
    (void)out;
    const gint64 maps = tn_graph_type(g, in[1])->dims[0];
    return maps ? (double)count(g, in[0]) * (double)(count(g, in[1]) / maps) : 0;
}

static double
macs_attention(const TnGraph *g, const TnVal *in, TnVal out)
{
    const TnType *k = tn_graph_type(g, in[1]);
    const double keys = (double)k->dims[k->rank - 2];
    return keys * (double)(count(g, in[0]) + count(g, out));
}

/* rnn_cell and gru_cell: x, h, w_ih, w_hh; lstm_cell has c before the weights. */
static double
macs_cell(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint first = tn_graph_type(g, in[2])->dims[0] == tn_graph_type(g, in[0])->dims[0] &&
                               tn_type_equal(tn_graph_type(g, in[2]), tn_graph_type(g, in[1]))
                           ? 3
                           : 2;
    (void)out;
    return (double)tn_graph_type(g, in[0])->dims[0] *
           (double)(count(g, in[first]) + count(g, in[first + 1]));
}

/* The same of a sequence: x is [steps, N, I], and lstm has another output. */
static double
macs_sequence(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint first = tn_graph_node_n_outputs(g, out.node) == 3 ? 3 : 2;
    const TnType *x = tn_graph_type(g, in[0]);
    return (double)x->dims[0] * (double)x->dims[1] *
           (double)(count(g, in[first]) + count(g, in[first + 1]));
}

int
tn_host_macs(lua_State *L)
{
    static const struct {
        const char *op;
        double (*macs)(const TnGraph *, const TnVal *, TnVal);
    } rows[] = {
        { "matmul", macs_matmul },
        { "linear", macs_matmul },
        { "gemm", macs_gemm },
        { "conv", macs_conv },
        { "conv_bias", macs_conv },
        { "conv_transpose", macs_conv_transpose },
        { "conv_transpose_bias", macs_conv_transpose },
        { "scaled_dot_product_attention", macs_attention },
        { "rnn_cell", macs_cell },
        { "lstm_cell", macs_cell },
        { "gru_cell", macs_cell },
        { "rnn", macs_sequence },
        { "lstm", macs_sequence },
        { "gru", macs_sequence },
    };
    TnGraph *g = tn_to_graph(L, 1);
    const lua_Integer to = luaL_checkinteger(L, 3);
    double sum = 0;
    for (lua_Integer node = luaL_checkinteger(L, 2);
         node < to && node < (lua_Integer)tn_graph_n_nodes(g); node++) {
        const TnVal *in;
        const char *name = tn_graph_node_op(g, (guint)node)->name;
        tn_graph_node_inputs(g, (guint)node, &in);
        for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
            if (strcmp(rows[i].op, name) == 0)
                sum += rows[i].macs(g, in, (TnVal){ (guint32)node, 0 });
    }
    lua_pushnumber(L, sum);
    return 1;
}
