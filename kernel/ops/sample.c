/* sample.c: generators of sampled calls that many operators share. */
#include "ops-private.h"

gboolean
tn_sample_case(TnSample *sample, const TnCase *cases, guint n, gsize attrs_size)
{
    if (sample->variant >= n) {
        return FALSE;
    }
    const TnCase *row = &cases[sample->variant];
    sample->n_in = row->n_in;
    for (gint i = 0; i < row->n_in; i++) {
        const TnDtype dtype = row->dtype[i] != TN_DTYPE_NONE ? row->dtype[i] : sample->dtype;
        const gboolean absent = row->in[i].rank < 0;
        sample->in[i] = absent ? (TnType){ 0 } : tn_type(dtype, row->in[i].rank, row->in[i].dims);
        sample->index_bound[i] = row->bound[i];
    }
    if (row->attrs != NULL) {
        memcpy(sample->attrs, row->attrs, attrs_size);
    }
    return TRUE;
}

static const TnCase shapes[] = {
    { 1, { TN_RANK0 } },          { 1, { TN_SHAPE_OF(1) } },
    { 1, { TN_SHAPE_OF(0) } },    { 1, { TN_SHAPE_OF(7) } },
    { 1, { TN_SHAPE_OF(2, 3) } }, { 1, { TN_SHAPE_OF(2, 3, 5) } },
    { 1, { TN_SHAPE_OF(3, 0) } }, { 1, { TN_SHAPE_OF(2, 1, 3, 2) } },
    { 1, { TN_SHAPE_OF(300) } },
};

guint
tn_sample_n_shapes(void)
{
    return G_N_ELEMENTS(shapes);
}

gboolean
tn_sample_shape(TnSample *sample, guint i)
{
    const guint variant = sample->variant;
    sample->variant = i;
    const gboolean ok = tn_sample_case(sample, shapes, G_N_ELEMENTS(shapes), 0);
    sample->variant = variant;
    return ok;
}

gboolean
tn_sample_unary(TnSample *sample)
{
    return tn_sample_case(sample, shapes, G_N_ELEMENTS(shapes), 0);
}

gboolean
tn_sample_binary(TnSample *sample)
{
    static const TnCase cases[] = {
        { 2, { TN_RANK0, TN_RANK0 } },
        { 2, { TN_SHAPE_OF(5), TN_SHAPE_OF(5) } },
        { 2, { TN_SHAPE_OF(3), TN_RANK0 } },
        { 2, { TN_RANK0, TN_SHAPE_OF(2, 3) } },
        { 2, { TN_SHAPE_OF(2, 3), TN_SHAPE_OF(3) } },
        { 2, { TN_SHAPE_OF(3), TN_SHAPE_OF(2, 3) } },
        { 2, { TN_SHAPE_OF(2, 1), TN_SHAPE_OF(1, 3) } },
        { 2, { TN_SHAPE_OF(2, 3, 4), TN_SHAPE_OF(2, 3, 4) } },
        { 2, { TN_SHAPE_OF(3, 1, 2), TN_SHAPE_OF(4, 1) } },
        { 2, { TN_SHAPE_OF(2, 3, 1, 2), TN_SHAPE_OF(1, 4, 1) } },
        { 2, { TN_SHAPE_OF(0), TN_SHAPE_OF(1) } },
        { 2, { TN_SHAPE_OF(2, 1), TN_SHAPE_OF(2, 0) } },
    };
    return tn_sample_case(sample, cases, G_N_ELEMENTS(cases), 0);
}
