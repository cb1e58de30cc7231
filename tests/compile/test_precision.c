/* test_precision.c: products from narrow numbers: what becomes bf16 and what stays f32, on graphs written
 * by hand and on ones made at random, whose results stay near those in f32; NaN and infinity come
 * through; variables stay what they are. */
// tn-test: timeout=120
#include <math.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *devices[2];

static void
set_up(void)
{
    devices[0] = tn_test_device("cpu");
    devices[1] = tn_test_device("ref");
    TN_REQUIRE(tn_registry_open("nn", NULL));
}

static void
tear_down(void)
{
    tn_device_unref(devices[0]);
    tn_device_unref(devices[1]);
}

/* --- Graphs ----------------------------------------------------------------------------------- */

static TnVal
input(TnGraph *graph, const char *name, gint rank, const gint64 *dims)
{
    return tn_graph_input(graph, name, tn_type(TN_DTYPE_F32, rank, dims));
}

static TnVal
op(TnGraph *graph, const char *name, gint n, const TnVal *in)
{
    return tn_graph_op(graph, name, NULL, n, in, NULL);
}

static void
keep(const char *pass, const TnGraph *graph, gpointer data)
{
    if (strcmp(pass, "precision") == 0) {
        *(char **)data = tn_graph_print(graph);
    }
}

static TnProgram *
compile(const TnGraph *graph, TnDtype precision, const char *const *skip, char **text)
{
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = devices,
                                .n_devices = 2,
                                .precision = precision,
                                .skip = skip,
                                .sink = text != NULL ? keep : NULL,
                                .sink_data = text };
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE(program != NULL);
    return program;
}

/* What a graph gives for its inputs. */
static void
run(const TnGraph *graph, TnDtype precision, const char *const *skip, TnTensor *const *inputs,
    TnStore *store, TnTensor **out)
{
    g_autoptr(TnProgram) program = compile(graph, precision, skip, NULL);
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnExec) exec = tn_exec_new(program, store, context, NULL);
    TN_REQUIRE(exec != NULL);
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        TN_REQUIRE(tn_exec_bind(exec, i, inputs[i]) == TN_OK);
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    for (guint i = 0; i < tn_graph_n_outputs(graph); i++) {
        out[i] = tn_tensor_copy(tn_exec_output(exec, i), NULL, TN_DTYPE_NONE, NULL);
    }
}

static TnTensor *
random_tensor(TnRandom *random, const TnType *type)
{
    g_autofree double *values = g_new(double, (gsize)tn_type_count(type) + 1);
    for (gint64 i = 0; i < tn_type_count(type); i++) {
        values[i] = 2 * tn_random_f64(random) - 1;
    }
    return tn_test_tensor(*type, values);
}

/* --- What becomes narrow ---------------------------------------------------------------------- */

/* Two layers, each with its activation; a softmax; the gradient by the first layer's weights. */
static TnGraph *
layers(TnVal *grad)
{
    TnGraph *graph = tn_graph_new("layers");
    const gint64 x[] = { 6, 40 }, w[] = { 20, 40 }, v[] = { 10, 20 };
    const TnVal in[] = { input(graph, "x", 2, x), input(graph, "w", 2, w),
                         input(graph, "v", 2, v) };
    const TnVal first = op(graph, "linear", 2, in);
    const TnVal inner[] = { op(graph, "gelu", 1, &first), in[2] };
    const TnVal scores = op(graph, "linear", 2, inner);
    const TnVal y = op(graph, "softmax", 1, &scores);
    TN_REQUIRE(tn_grad(graph, tn_f_mul(graph, y, y), TN_VAL_NONE, 1, &in[1], grad, NULL));
    tn_graph_output(graph, "y", y);
    tn_graph_output(graph, "grad", *grad);
    return graph;
}

static void
products_are_narrow(void)
{
    TnVal grad;
    g_autofree char *text = NULL, *plain = NULL;
    g_autoptr(TnGraph) graph = layers(&grad);
    g_autoptr(TnProgram) program = compile(graph, TN_DTYPE_BF16, NULL, &text);
    g_autofree char *steps = tn_program_print(program);
    g_autoptr(TnProgram) wide = compile(graph, TN_DTYPE_F32, NULL, &plain);
    g_autofree char *wide_steps = tn_program_print(wide);
    TN_ASSERT_CONTAINS(text, ": bf16[6, 20]");  /* the first layer's result */
    TN_ASSERT_CONTAINS(text, ": f32[6, 10]");   /* softmax */
    TN_ASSERT_CONTAINS(text, ": bf16[20, 40]"); /* weights, cast */
    TN_ASSERT(strstr(text, "softmax") != NULL && strstr(text, "bf16[6, 10], bf16") == NULL);
    TN_ASSERT(strstr(plain, "bf16") == NULL);
    TN_ASSERT_CONTAINS(steps, "bf16");
    TN_ASSERT(strstr(wide_steps, "bf16") == NULL);
    /* Outputs are what they were. */
    TN_ASSERT(tn_graph_type(graph, grad)->dtype == TN_DTYPE_F32);
}

static void
results_stay_near(void)
{
    TnVal grad;
    TnRandom random;
    TnTensor *inputs[3], *wide[2], *narrow[2], *unfused[2];
    g_autoptr(TnGraph) graph = layers(&grad);
    static const char *const no_fusion[] = { "fuse", NULL };
    tn_random_init(&random, 7, "precision", 0);
    for (guint i = 0; i < 3; i++) {
        inputs[i] = random_tensor(&random, tn_graph_type(graph, tn_graph_input_at(graph, i, NULL)));
    }
    run(graph, TN_DTYPE_F32, NULL, inputs, NULL, wide);
    run(graph, TN_DTYPE_BF16, NULL, inputs, NULL, narrow);
    run(graph, TN_DTYPE_BF16, no_fusion, inputs, NULL, unfused);
    for (guint k = 0; k < 2; k++) {
        double most = 0;
        gboolean differs = FALSE;
        for (gint64 i = 0; i < tn_tensor_count(wide[k]); i++) {
            most = MAX(most, fabs(tn_tensor_get(wide[k], i)));
        }
        for (gint64 i = 0; i < tn_tensor_count(wide[k]); i++) {
            const double a = tn_tensor_get(narrow[k], i), b = tn_tensor_get(wide[k], i);
            TN_ASSERT(fabs(a - b) <= 0.03 * most);
            differs = differs || a != b;
        }
        TN_ASSERT(differs); /* something was narrow */
        TN_ASSERT(tn_test_same(narrow[k], unfused[k]));
        tn_tensor_unref(wide[k]);
        tn_tensor_unref(narrow[k]);
        tn_tensor_unref(unfused[k]);
    }
    for (guint i = 0; i < 3; i++) {
        tn_tensor_unref(inputs[i]);
    }
}

/* What is assigned has the variable's type, and is made of its f32 value: a weight that changes by less
 * than bf16 tells is not lost. */
static void
variables_stay_wide(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("step");
    g_autoptr(TnStore) store = tn_store_new(0);
    const gint64 dims[] = { 4, 4 };
    const TnVarInfo info = { .name = "w",
                             .type = tn_type(TN_DTYPE_F32, 2, dims),
                             .init = { .kind = TN_INIT_ONES } };
    TnVar *var = tn_store_var(store, NULL, &info, NULL);
    const TnVal w = tn_graph_variable(graph, var), x = input(graph, "x", 2, dims);
    tn_graph_output(graph, "y", tn_f_matmul(graph, x, w));
    tn_graph_assign(graph, var, tn_f_add(graph, w, tn_f_const(graph, w, 0x1p-20)));
    const double values[16] = { 1, 2, 3, 4 };
    g_autoptr(TnTensor) tensor = tn_test_tensor(info.type, values);
    TnTensor *out[1];
    float after[16];
    run(graph, TN_DTYPE_BF16, NULL, &tensor, store, out);
    TN_ASSERT(tn_tensor_dtype(out[0]) == TN_DTYPE_F32 && tn_tensor_get(out[0], 0) == 10);
    TN_REQUIRE(tn_var_read(var, after, sizeof after, NULL));
    TN_ASSERT(after[0] == 1 + 0x1p-20f);
    tn_tensor_unref(out[0]);
}

static void
special_numbers(void)
{
    TnVal grad;
    TnRandom random;
    TnTensor *inputs[3], *out[2];
    g_autoptr(TnGraph) graph = layers(&grad);
    tn_random_init(&random, 7, "precision", 0);
    for (guint i = 0; i < 3; i++) {
        inputs[i] = random_tensor(&random, tn_graph_type(graph, tn_graph_input_at(graph, i, NULL)));
    }
    float *x = tn_tensor_map(inputs[0], TN_MAP_WRITE, NULL);
    x[0] = NAN;       /* of the first row */
    x[40] = INFINITY; /* of the second */
    tn_tensor_unmap(inputs[0]);
    run(graph, TN_DTYPE_BF16, NULL, inputs, NULL, out);
    TN_ASSERT(isnan(tn_tensor_get(out[0], 0)) && isnan(tn_tensor_get(out[0], 10)));
    for (gint64 i = 20; i < 60; i++) {
        TN_ASSERT(isfinite(tn_tensor_get(out[0], i)));
    }
    tn_tensor_unref(out[0]);
    tn_tensor_unref(out[1]);
    for (guint i = 0; i < 3; i++) {
        tn_tensor_unref(inputs[i]);
    }
}

/* --- Random graphs ---------------------------------------------------------------------------- */

/* A chain, branching now and then, of operators that do not tell near numbers apart, over [8, 8]. */
static TnGraph *
random_graph(TnRandom *random)
{
    static const char *const unary[] = { "tanh", "relu", "sigmoid", "gelu", "softmax", "neg" };
    const TnTransposeAttrs turn = { .perm = { .n = 2, .v = { 1, 0 } } };
    const gint64 dims[] = { 8, 8 }, flat[] = { 64 };
    TnGraph *graph = tn_graph_new("random");
    TnVal value[32], grad[3];
    for (guint i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("x%u", i);
        value[i] = input(graph, name, 2, dims);
    }
    for (guint n = 3; n < 24; n++) {
        const TnVal in[] = { value[n - 1 - tn_random_below(random, 3)],
                             value[tn_random_below(random, n)] };
        const guint64 kind = tn_random_below(random, 12);
        const TnVal scaled = tn_f_mul(graph, in[0], tn_f_const(graph, in[0], 0.4));
        const TnVal use[] = { scaled, in[1] };
        value[n] = kind < 3   ? op(graph, "matmul", 2, use)
                   : kind < 5 ? op(graph, "linear", 2, use)
                   : kind < 7 ? tn_f_mul(graph, op(graph, "tanh", 1, &in[0]), in[1])
                   : kind < 8 ? tn_f_add(graph, scaled, in[1])
                   : kind < 9 ? tn_graph_op(graph, "transpose", &turn, 1, in, NULL)
                              : op(graph, unary[tn_random_below(random, 6)], 1, in);
        value[n] = op(graph, "tanh", 1, &value[n]);
        if (kind == 11) {
            const TnReshapeAttrs line = { .shape = { .rank = 1, .dims = { flat[0] } } };
            const TnReshapeAttrs square = { .shape = { .rank = 2, .dims = { 8, 8 } } };
            value[n] = tn_graph_op(graph, "reshape", &line, 1, &value[n], NULL);
            value[n] = tn_graph_op(graph, "reshape", &square, 1, &value[n], NULL);
        }
    }
    TN_REQUIRE(tn_grad(graph, value[23], TN_VAL_NONE, 3, value, grad, NULL));
    tn_graph_output(graph, "y", value[23]);
    tn_graph_output(graph, "g", grad[0]);
    tn_graph_output(graph, "h", grad[2]);
    return graph;
}

static void
random_graphs(void)
{
    double far = 0;
    for (guint seed = 0; seed < 40; seed++) {
        TnRandom random;
        TnTensor *inputs[3], *wide[3], *narrow[3];
        tn_random_init(&random, seed, "precision", 0);
        g_autoptr(TnGraph) graph = random_graph(&random);
        for (guint i = 0; i < 3; i++) {
            inputs[i] =
                random_tensor(&random, tn_graph_type(graph, tn_graph_input_at(graph, i, NULL)));
        }
        run(graph, TN_DTYPE_F32, NULL, inputs, NULL, wide);
        run(graph, TN_DTYPE_BF16, NULL, inputs, NULL, narrow);
        for (guint k = 0; k < 3; k++) {
            double square = 0, off = 0;
            TN_ASSERT(tn_type_equal(tn_tensor_type(wide[k]), tn_tensor_type(narrow[k])));
            for (gint64 i = 0; i < tn_tensor_count(wide[k]); i++) {
                const double a = tn_tensor_get(narrow[k], i), b = tn_tensor_get(wide[k], i);
                TN_ASSERT(isfinite(a));
                square += b * b;
                off += (a - b) * (a - b);
            }
            const double share = sqrt(off / MAX(square, 1e-6));
            far = MAX(far, share);
            if (share > 0.1) {
                TN_FAIL("graph of seed %u, output %u: off by %g of its norm", seed, k, share);
            }
            tn_tensor_unref(wide[k]);
            tn_tensor_unref(narrow[k]);
        }
        for (guint i = 0; i < 3; i++) {
            tn_tensor_unref(inputs[i]);
        }
    }
    TN_ASSERT(far > 1e-4); /* something was narrow */
}

/* --- Order of axes ---------------------------------------------------------------------------- */

static TnVal
heads(TnGraph *graph, TnVal x)
{
    const TnReshapeAttrs cut = { .shape = { 4, { 0, 0, 2, -1 } } };
    const TnTransposeAttrs perm = { { 4, { 0, 2, 1, 3 } } };
    const TnVal parts = tn_graph_op(graph, "reshape", &cut, 1, &x, NULL);
    return tn_graph_op(graph, "transpose", &perm, 1, &parts, NULL);
}

/* Attention of two heads, and what it gives to each of q, k and v in one matrix; straight: the result is
 * wanted as attention gives it, too. */
static TnGraph *
attention(gboolean straight)
{
    TnGraph *graph = tn_graph_new("attention");
    const gint64 dims[] = { 2, 5, 24 };
    const TnSplitAttrs three = { .axis = -1, .num_outputs = 3 };
    const TnTransposeAttrs perm = { { 4, { 0, 2, 1, 3 } } };
    const TnReshapeAttrs join = { .shape = { 3, { 0, 0, -1 } } };
    const TnVal x = input(graph, "x", 3, dims);
    TnVal part[TN_MAX_OUT], y[TN_MAX_OUT], grad;
    g_autoptr(GError) error = NULL;
    tn_graph_op(graph, "split", &three, 1, &x, part);
    const TnVal in[] = { heads(graph, part[0]), heads(graph, part[1]), heads(graph, part[2]) };
    tn_graph_op(graph, "scaled_dot_product_attention", NULL, 3, in, y);
    const TnVal turned = tn_graph_op(graph, "transpose", &perm, 1, &y[0], NULL);
    const TnVal joined = tn_graph_op(graph, "reshape", &join, 1, &turned, NULL);
    const TnVal square = tn_f_mul(graph, joined, joined);
    tn_grad(graph, square, TN_VAL_NONE, 1, &x, &grad, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_graph_output(graph, "joined", joined);
    tn_graph_output(graph, "grad", grad);
    if (straight) {
        tn_graph_output(graph, "y", y[0]);
    }
    return graph;
}

static void
axes_lie_as_readers_want(void)
{
    static const char *const no_views[] = { "views", NULL };
    TnRandom random;
    tn_random_init(&random, 7, "axes", 0);
    for (gint straight = 0; straight < 2; straight++) {
        g_autoptr(TnGraph) graph = attention(straight);
        g_autoptr(TnTensor) x =
            random_tensor(&random, tn_graph_type(graph, tn_graph_input_at(graph, 0, NULL)));
        for (gint narrow = 0; narrow < 2; narrow++) {
            const TnDtype precision = narrow ? TN_DTYPE_BF16 : TN_DTYPE_F32;
            g_autoptr(TnProgram) program = compile(graph, precision, NULL, NULL);
            g_autofree char *steps = tn_program_print(program);
            TnTensor *want[3], *got[3];
            TN_ASSERT(strstr(steps, " split ") == NULL && strstr(steps, " slice ") == NULL);
            TN_ASSERT(strstr(steps, " transpose ") == NULL);
            TN_ASSERT((strstr(steps, " reshape ") != NULL) == straight);
            run(graph, precision, NULL, &x, NULL, got);
            run(graph, precision, no_views, &x, NULL, want);
            for (guint i = 0; i < 2 + (guint)straight; i++) {
                TN_ASSERT(tn_test_same(got[i], want[i]));
                tn_tensor_unref(got[i]);
                tn_tensor_unref(want[i]);
            }
        }
    }
}

/* --- Whatever the number of samples ----------------------------------------------------------- */

/* y = x w^T + b, which a product reads, too: in a scan's body, where weights are inputs like any other. Gives the
 * first of `samples` states. */
static void
first_of(gint64 samples, float *first)
{
    enum { H = 16, STEPS = 3 };
    const TnType types[] = { tn_type(TN_DTYPE_F32, 2, (gint64[]){ samples, H }),
                             tn_type(TN_DTYPE_F32, 2, (gint64[]){ STEPS, H }),
                             tn_type(TN_DTYPE_F32, 2, (gint64[]){ H, H }),
                             tn_type(TN_DTYPE_F32, 1, (gint64[]){ H }) };
    static const char *const names[] = { "h", "s", "w", "b" };
    g_autoptr(TnGraph) graph = tn_graph_new("scan");
    g_autoptr(TnGraph) body = NULL;
    g_autoptr(GError) error = NULL;
    TnVal in[4], out[TN_MAX_OUT];
    for (gint i = 0; i < 4; i++) {
        in[i] = tn_graph_input(graph, names[i], types[i]);
    }
    body = tn_graph_nested(graph, "body");
    const TnVal h = tn_graph_input(body, "h", types[0]), s = tn_graph_input(body, "s", types[3]);
    const TnVal w = tn_graph_capture(body, graph, in[2]), b = tn_graph_capture(body, graph, in[3]);
    const TnVal y = tn_f_add(body, op(body, "linear", 2, (TnVal[]){ h, w }), b);
    tn_graph_output(body, "h", tn_f_add(body, y, s));
    tn_graph_output(body, "z", op(body, "linear", 2, (TnVal[]){ y, w }));
    tn_graph_scan(graph, body, 1, &in[0], 1, &in[1], FALSE, out);
    tn_graph_output(graph, "h", out[0]);
    tn_graph_output(graph, "z", out[1]);
    const TnCompile options = {
        .devices = devices, .n_devices = 2, .precision = TN_DTYPE_BF16, .batch_invariant = TRUE
    };
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnExec) exec = tn_exec_new(program, NULL, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < 4; i++) {
        TnRandom random;
        tn_random_init(&random, 7, "first", i);
        g_autoptr(TnTensor) tensor = random_tensor(&random, &types[i]);
        TN_REQUIRE(tn_exec_bind(exec, i, tensor) == TN_OK);
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    for (gint64 i = 0; i < H; i++) {
        first[i] = (float)tn_tensor_get(tn_exec_output(exec, 0), i);
    }
}

static void
bodies_and_samples(void)
{
    float one[16], many[16];
    first_of(1, one);
    first_of(5, many);
    TN_ASSERT(memcmp(one, many, sizeof one) == 0);
}

static const TnTest tests[] = {
    { "products are narrow", products_are_narrow },
    { "results stay near", results_stay_near },
    { "variables stay wide", variables_stay_wide },
    { "special numbers", special_numbers },
    { "random graphs", random_graphs },
    { "axes lie as readers want", axes_lie_as_readers_want },
    { "bodies and samples", bodies_and_samples },
};

TN_TEST_MAIN_WITH("precision", tests, set_up, tear_down)
