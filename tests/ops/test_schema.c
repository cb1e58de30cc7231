/* Every primitive's row: that it is whole, that its samples are calls that infer accepts, and that
 * gradients can be built of them, twice, without storing a size. */
#include "ops_test.h"

#include <tenon/graph.h>

static gboolean
is_snake(const char *name)
{
    gboolean ok = g_ascii_islower(name[0]);
    for (const char *at = name; *at != '\0'; at++) {
        ok = ok && (g_ascii_islower(*at) || g_ascii_isdigit(*at) || *at == '_');
    }
    return ok;
}

static void
check_args(const TnOp *op, gboolean inputs)
{
    const guint n = inputs ? op->n_inputs : op->n_outputs;
    for (guint i = 0; i < n; i++) {
        const TnOpArg *row = inputs ? tn_op_input(op, (gint)i) : tn_op_output(op, (gint)i);
        TN_REQUIRE(row != NULL && row->name != NULL);
        tn_test_check(row->help != NULL && *row->help != '\0' && row->dtypes != 0, FALSE, __FILE__,
                      __LINE__, "%s: row of '%s' is not whole", op->name, row->name);
        TN_ASSERT(i + 1 == n || !(row->flags & TN_ARG_VARIADIC));
        TN_ASSERT_CMPINT(row->n_kinks, <=, 4);
    }
    const TnOpArg *beyond = inputs ? tn_op_input(op, (gint)n) : tn_op_output(op, (gint)n);
    TN_ASSERT(beyond == NULL || beyond->flags & TN_ARG_VARIADIC);
}

static void
rows(void)
{
    guint n;
    const TnOp *const *ops = tn_op_primitives(&n);
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    TN_ASSERT_CMPUINT(n, >=, 80);
    for (guint i = 0; i < n; i++) {
        const TnOp *op = ops[i];
        TN_ASSERT_CMPUINT(op->size, ==, sizeof(TnOp));
        TN_ASSERT_CMPUINT(op->arg_size, ==, sizeof(TnOpArg));
        tn_test_check(is_snake(op->name), FALSE, __FILE__, __LINE__, "name '%s'", op->name);
        tn_test_check(g_hash_table_add(names, (gpointer)op->name), FALSE, __FILE__, __LINE__,
                      "'%s' is there twice", op->name);
        TN_ASSERT(op->help != NULL && !g_str_has_suffix(op->help, "."));
        TN_REQUIRE(op->infer != NULL);
        const gboolean of_graph = op->flags & (TN_OP_SOURCE | TN_OP_EFFECT);
        tn_test_check(of_graph || op->sample != NULL, FALSE, __FILE__, __LINE__, "%s: no sample",
                      op->name);
        tn_test_check(op->vjp != NULL || op->body != NULL || op->flags & TN_OP_NO_GRAD, FALSE,
                      __FILE__, __LINE__, "%s: no gradient", op->name);
        TN_ASSERT(!(op->flags & TN_OP_VIEW) == (op->view == NULL));
        TN_ASSERT(tn_op_find(op->name, NULL) == op);
        check_args(op, TRUE);
        check_args(op, FALSE);
    }
}

/* Defaults can be read, and are accepted when given again. */
static void
attributes(void)
{
    guint n;
    const TnOp *const *ops = tn_op_primitives(&n);
    for (guint i = 0; i < n; i++) {
        for (guint32 k = 0; k < ops[i]->attrs.n; k++) {
            const TnOption *row = tn_options_row(&ops[i]->attrs, k);
            g_autoptr(GError) error = NULL;
            TN_ASSERT(row->help != NULL && !g_str_has_suffix(row->help, "."));
            TN_ASSERT(row->offset < ops[i]->attrs.struct_size);
            if (row->dflt != NULL) {
                TnValue *value = tn_value_parse(row->dflt, &error);
                TN_ASSERT_NO_ERROR(error);
                tn_value_unref(value);
            }
        }
    }
    TnReduceAttrs reduce = { .keepdims = FALSE };
    tn_options_defaults(&tn_op_find("reduce_sum", NULL)->attrs, &reduce);
    TN_ASSERT(reduce.keepdims);
    TnSortAttrs sort = { 0 };
    tn_options_defaults(&tn_op_find("sort", NULL)->attrs, &sort);
    TN_ASSERT_CMPINT(sort.axis, ==, -1);
    TnIotaAttrs iota = { 0 };
    tn_options_defaults(&tn_op_find("iota", NULL)->attrs, &iota);
    TN_ASSERT_CMPINT(iota.dtype, ==, TN_DTYPE_I64);
    TnUniformAttrs uniform = { 0 };
    tn_options_defaults(&tn_op_find("random_uniform", NULL)->attrs, &uniform);
    TN_ASSERT_CMPFLOAT(uniform.high, ==, 1);
    TN_ASSERT_CMPINT(uniform.random.dtype, ==, TN_DTYPE_NONE);
}

/* --- Samples ---------------------------------------------------------------------------------- */

/* The dtypes of letter 'T'. */
static TnDtypes
main_dtypes(const TnOp *op)
{
    for (guint i = 0; i < op->n_inputs; i++) {
        if (tn_op_input(op, (gint)i)->type == 'T') {
            return tn_op_input(op, (gint)i)->dtypes;
        }
    }
    const TnOpArg *out = tn_op_output(op, 0);
    return out != NULL && out->type == 'T' ? out->dtypes : TN_DT(F32);
}

static gboolean
next_sample(const TnOp *op, TnSample *sample, guint variant, TnDtype dtype)
{
    memset(sample, 0, sizeof *sample);
    sample->size = sizeof *sample;
    sample->variant = variant;
    sample->dtype = dtype;
    sample->attrs = g_malloc0(MAX(op->attrs.struct_size, 1));
    tn_options_defaults(&op->attrs, sample->attrs);
    if (op->sample(sample)) {
        return TRUE;
    }
    g_clear_pointer(&sample->attrs, g_free);
    return FALSE;
}

static void
sample_clear(const TnOp *op, TnSample *sample)
{
    for (gint i = 0; i < sample->n_in; i++) {
        g_clear_pointer(&sample->value[i], tn_tensor_unref);
    }
    tn_options_drop(&op->attrs, sample->attrs);
    g_clear_pointer(&sample->attrs, g_free);
}

static void
check_sample(const TnOp *op, const TnSample *sample, gboolean *empty)
{
    TnType out[TN_MAX_OUT];
    gint n_out;
    g_autoptr(GError) error = NULL;
    if (!tn_op_infer(op, sample->attrs, "node", sample->n_in, sample->in, NULL, &n_out, out,
                     &error)) {
        TN_FAIL("variant %u of %s, %s: %s", sample->variant, op->name, tn_dtype_name(sample->dtype),
                error->message);
    }
    for (gint i = 0; i < sample->n_in; i++) {
        const gboolean given = sample->in[i].dtype != TN_DTYPE_NONE;
        *empty = *empty || (given && tn_type_count(&sample->in[i]) == 0);
        if (given && tn_op_input(op, i)->flags & TN_ARG_INDEX) {
            TN_ASSERT_CMPINT(sample->index_bound[i], >=, 1);
        }
        if (sample->value[i] != NULL) {
            TN_ASSERT(tn_type_equal(tn_tensor_type(sample->value[i]), &sample->in[i]));
        }
    }
}

static void
samples(void)
{
    guint n;
    const TnOp *const *ops = tn_op_primitives(&n);
    for (guint i = 0; i < n; i++) {
        const TnDtypes set = main_dtypes(ops[i]);
        gboolean empty = FALSE;
        for (gint dtype = 1; ops[i]->sample != NULL && dtype < TN_N_DTYPES; dtype++) {
            TnSample sample;
            guint variant = 0;
            while (tn_dtype_in((TnDtype)dtype, set) &&
                   next_sample(ops[i], &sample, variant, (TnDtype)dtype)) {
                check_sample(ops[i], &sample, &empty);
                sample_clear(ops[i], &sample);
                TN_REQUIRE(++variant < 1000);
            }
            tn_test_check(variant > 0 || !tn_dtype_in((TnDtype)dtype, set), FALSE, __FILE__,
                          __LINE__, "%s: no sample of %s", ops[i]->name,
                          tn_dtype_name((TnDtype)dtype));
        }
        tn_test_check(empty || ops[i]->sample == NULL, FALSE, __FILE__, __LINE__,
                      "%s: no sample of size 0", ops[i]->name);
    }
}

/* --- Gradients of samples --------------------------------------------------------------------- */

/* The graph of a call, its gradients and the gradients of their sum, as a digest; 0 if infer
 * refuses the types. order: how often to differentiate. */
static guint64
gradient_digest(const TnOp *op, const TnSample *sample, const TnType *in, gint order)
{
    g_autoptr(TnGraph) graph = tn_graph_new("sample");
    g_autoptr(GError) error = NULL;
    TnVal x[TN_MAX_IN], wanted[TN_MAX_IN], grad[TN_MAX_IN];
    TnType out_types[TN_MAX_OUT];
    gint n = 0, n_out;
    if (!tn_op_infer(op, sample->attrs, "node", sample->n_in, in, NULL, &n_out, out_types, NULL)) {
        return 0;
    }
    for (gint i = 0; i < sample->n_in; i++) {
        g_autofree char *name = g_strdup_printf("in%d", i);
        const gboolean absent = in[i].dtype == TN_DTYPE_NONE;
        x[i] = absent ? TN_VAL_NONE : tn_graph_input(graph, name, in[i]);
        if (!absent && tn_dtype_in(in[i].dtype, TN_DTYPES_FLOAT)) {
            wanted[n++] = x[i];
        }
    }
    TnVal y = tn_graph_add(graph, op, sample->attrs, sample->n_in, x, NULL);
    for (gint k = 0; k < order && n > 0; k++) {
        if (!tn_dtype_in(tn_graph_type(graph, y)->dtype, TN_DTYPES_FLOAT)) {
            break;
        }
        if (!tn_grad(graph, y, TN_VAL_NONE, n, wanted, grad, &error)) {
            TN_FAIL("variant %u of %s, derivative %d: %s", sample->variant, op->name, k + 1,
                    error->message);
            return 0;
        }
        y = tn_f_reduce_sum(graph, grad[0], 0, NULL, FALSE);
        for (gint i = 1; i < n; i++) {
            y = tn_f_add(graph, y, tn_f_reduce_sum(graph, grad[i], 0, NULL, FALSE));
        }
    }
    TN_ASSERT(tn_graph_check(graph, NULL));
    return tn_graph_digest(graph);
}

/* The same ranks with every size that is not 1 multiplied. */
static guint64
digest_at_other_sizes(const TnOp *op, const TnSample *sample, gint64 factor)
{
    TnType in[TN_MAX_IN];
    for (gint i = 0; i < sample->n_in; i++) {
        in[i] = sample->in[i];
        for (gint k = 0; k < in[i].rank; k++) {
            in[i].dims[k] = in[i].dims[k] == 1 ? 1 : factor == 0 ? 1 : in[i].dims[k] * factor;
        }
    }
    /* Random keys have two words at any size. */
    if (op->flags & TN_OP_RANDOM) {
        in[0] = sample->in[0];
    }
    return gradient_digest(op, sample, in, 2);
}

static void
gradients(void)
{
    guint n;
    guint compared = 0;
    const TnOp *const *ops = tn_op_primitives(&n);
    for (guint i = 0; i < n; i++) {
        TnSample sample;
        const gboolean able = ops[i]->sample != NULL && main_dtypes(ops[i]) & TN_DT(F64);
        for (guint variant = 0; able && next_sample(ops[i], &sample, variant, TN_DTYPE_F64);
             variant++) {
            const guint64 digest = gradient_digest(ops[i], &sample, sample.in, 2);
            TN_ASSERT(digest != 0);
            static const gint64 factors[] = { 2, 6, 0 };
            for (guint f = 0; f < G_N_ELEMENTS(factors); f++) {
                const guint64 other = digest_at_other_sizes(ops[i], &sample, factors[f]);
                tn_test_check(other == 0 || other == digest, FALSE, __FILE__, __LINE__,
                              "variant %u of %s: the gradient's graph depends on sizes", variant,
                              ops[i]->name);
                compared += other != 0;
            }
            sample_clear(ops[i], &sample);
        }
    }
    TN_ASSERT_CMPUINT(compared, >, 300);
}

static void
unknown(void)
{
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_op_find("matmull", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "'matmull'", "mean 'matmul'");
}

static const TnTest tests[] = {
    { "rows", rows },           { "attributes", attributes }, { "samples", samples },
    { "gradients", gradients }, { "unknown", unknown },
};
TN_TEST_MAIN("ops/schema", tests)
