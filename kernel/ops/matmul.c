/* matmul.c: NumPy's matrix product. */
#include "ops-private.h"

/* --- Infer ------------------------------------------------------------------------------------ */

static gboolean
matmul_infer(TnInfer *infer, GError **error)
{
    const TnType *a = &infer->in[0];
    const TnType *b = &infer->in[1];
    const gint64 k = a->dims[a->rank - 1];
    const gint64 kb = b->dims[b->rank > 1 ? b->rank - 2 : 0];
    if (k != kb) {
        return tn_infer_fail2(infer, 0, 1, error,
                              "inner sizes differ: %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT, k,
                              kb);
    }
    TnType lead[2] = { *a, *b };
    TnType out = { .dtype = a->dtype };
    lead[0].rank = MAX(a->rank - 2, 0);
    lead[1].rank = MAX(b->rank - 2, 0);
    if (!tn_infer_broadcast(2, lead, &out, NULL)) {
        return tn_infer_fail2(infer, 0, 1, error, "leading axes do not broadcast");
    }
    if (a->rank > 1) {
        out.dims[out.rank++] = a->dims[a->rank - 2];
    }
    if (b->rank > 1) {
        out.dims[out.rank++] = b->dims[b->rank - 1];
    }
    infer->out[0] = out;
    return TRUE;
}

/* Each element of the product is a sum of k products. */
static double
matmul_flops(const TnFlops *call)
{
    const TnType *a = &call->in[0];
    if (tn_dtype_info(a->dtype)->klass != TN_CLASS_FLOAT) {
        return 0;
    }
    return 2.0 * (double)tn_type_count(&call->out[0]) * (double)a->dims[a->rank - 1];
}

/* --- Gradients -------------------------------------------------------------------------------- */

typedef struct {
    TnVal a, b, g; /* as matrices: vectors have got their axis of size 1 */
    gint rank_a, rank_b;
} Matrices;

static TnVal
with_axis(TnGraph *graph, TnVal x, gint64 axis, gboolean missing)
{
    return missing ? tn_f_unsqueeze(graph, x, 1, &axis) : x;
}

static Matrices
matrices(TnVjp *v, TnVal g)
{
    Matrices m = { v->in[0], v->in[1], g, tn_f_rank(v->graph, v->in[0]),
                   tn_f_rank(v->graph, v->in[1]) };
    m.a = with_axis(v->graph, m.a, 0, m.rank_a == 1);
    m.b = with_axis(v->graph, m.b, 1, m.rank_b == 1);
    /* The column comes back first, so that the row's place is the last but one in any case. */
    m.g = with_axis(v->graph, m.g, -1, m.rank_b == 1);
    m.g = with_axis(v->graph, m.g, -2, m.rank_a == 1);
    return m;
}

/* G B', summed over what was broadcast. */
static TnVal
matmul_a(TnVjp *v, TnVal g)
{
    const Matrices m = matrices(v, g);
    const TnVal grad = tn_f_matmul(v->graph, m.g, tn_f_transpose_matrix(v->graph, m.b));
    const gboolean plain = m.rank_a >= 2 && m.rank_b <= 2; /* out's leading axes are a's */
    return plain ? grad : tn_f_reduce_to(v->graph, grad, v->in[0]);
}

/* A' G; a column's axis goes before the sum. One matrix for a whole batch: its rows are those of
 * one tall matrix. */
static TnVal
matmul_b(TnVjp *v, TnVal g)
{
    Matrices m = matrices(v, g);
    if (m.rank_a > 2 && m.rank_b <= 2) {
        const TnAxisAttrs last = { -1 };
        m.a = tn_add1(v, "flatten", &last, m.a);
        m.g = tn_add1(v, "flatten", &last, m.g);
        m.rank_a = 2;
    }
    TnVal grad = tn_f_matmul(v->graph, tn_f_transpose_matrix(v->graph, m.a), m.g);
    if (m.rank_b == 1) {
        grad = tn_f_squeeze(v->graph, grad, 1, (const gint64[]){ -1 });
    }
    const gboolean plain = m.rank_a <= 2;
    return plain ? grad : tn_f_reduce_to(v->graph, grad, v->in[1]);
}

/* --- Samples ---------------------------------------------------------------------------------- */

static const TnCase matmul_cases[] = {
    { 2, { TN_SHAPE_OF(2, 3), TN_SHAPE_OF(3, 4) } },
    { 2, { TN_SHAPE_OF(1, 1), TN_SHAPE_OF(1, 1) } },
    { 2, { TN_SHAPE_OF(17, 33), TN_SHAPE_OF(33, 9) } },
    { 2, { TN_SHAPE_OF(3), TN_SHAPE_OF(3) } },
    { 2, { TN_SHAPE_OF(3), TN_SHAPE_OF(3, 4) } },
    { 2, { TN_SHAPE_OF(2, 3), TN_SHAPE_OF(3) } },
    { 2, { TN_SHAPE_OF(3), TN_SHAPE_OF(2, 3, 4) } },
    { 2, { TN_SHAPE_OF(2, 4, 3), TN_SHAPE_OF(3) } },
    { 2, { TN_SHAPE_OF(5, 2, 3), TN_SHAPE_OF(5, 3, 4) } },
    { 2, { TN_SHAPE_OF(5, 2, 3), TN_SHAPE_OF(3, 4) } },
    { 2, { TN_SHAPE_OF(2, 3), TN_SHAPE_OF(5, 3, 4) } },
    { 2, { TN_SHAPE_OF(2, 1, 2, 3), TN_SHAPE_OF(5, 3, 2) } },
    { 2, { TN_SHAPE_OF(1, 2, 3), TN_SHAPE_OF(4, 3, 2) } },
    { 2, { TN_SHAPE_OF(2, 0), TN_SHAPE_OF(0, 3) } },
    { 2, { TN_SHAPE_OF(0, 3), TN_SHAPE_OF(3, 2) } },
    { 2, { TN_SHAPE_OF(0, 2, 3), TN_SHAPE_OF(3, 2) } },
};

static gboolean
matmul_sample(TnSample *sample)
{
    return tn_sample_case(sample, matmul_cases, G_N_ELEMENTS(matmul_cases), 0);
}

static const TnPrimitive rows[] = {
    { .op = { TN_OP("matmul", "MatMul", "Matrix product over the last two axes"),
              TN_INPUTS(TN_ARG_ROW("A", 'T', TN_DTYPES_NUMBER, "[…, m, k] or [k]", .min_rank = 1,
                                   .max_rank = TN_MAX_RANK),
                        TN_ARG_ROW("B", 'T', TN_DTYPES_NUMBER, "[…, k, n] or [k]", .min_rank = 1,
                                   .max_rank = TN_MAX_RANK)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_NUMBER,
                                    "[…, m, n], without m or n where the input is a vector")),
              .infer = matmul_infer, .vjp = tn_vjp_rules, .sample = matmul_sample,
              .flops = matmul_flops, .precision = TN_PRECISION_NARROW },
      .rule = { matmul_a, matmul_b } },
};

const TnFamily tn_family_matmul = { rows, G_N_ELEMENTS(rows) };
