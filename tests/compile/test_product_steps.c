/* test_product_steps.c: a step of Adam takes in the product that is its gradient where a device has a kernel
 * for both, and nowhere else; variables stay where they are, and the bits are those of two nodes. */
// tn-test: timeout=120
#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

#define N_VARS 3
#define RUNS 3

typedef struct {
    gint64 m, k, n;
    const char *op;
    gboolean read; /* the gradient is an output, too */
} Case;

typedef struct {
    TnGraph *graph;
    TnStore *store;
} Model;

static TnVal
variable(Model *model, const char *name, const Case *c, TnDevice *home, TnVar **var)
{
    const gint64 dims[] = { c->m, c->n };
    g_autoptr(GError) error = NULL;
    const TnVarInfo info = { .name = name,
                             .type = tn_type(TN_DTYPE_F32, 2, dims),
                             .role = TN_ROLE_PARAM,
                             .init = { .kind = TN_INIT_FAN_IN_UNIFORM, .fan_in = 4 } };
    *var = tn_store_var(model->store, home, &info, &error);
    TN_REQUIRE_NO_ERROR(error);
    return tn_graph_variable(model->graph, *var);
}

/* The step of a dense layer's weights: its gradient is the layer's output's gradient, transposed, times its
 * input. */
static Model
build(const Case *c, TnDevice *home)
{
    static const char *const names[N_VARS] = { "w", "mean", "square" };
    const gint64 a[] = { c->k, c->m }, b[] = { c->k, c->n };
    Model model = { .graph = tn_graph_new("step"), .store = tn_store_new(7) };
    TnGraph *graph = model.graph;
    TnVal of[N_VARS], out[TN_MAX_OUT];
    TnVar *var[N_VARS];
    const TnVal g = tn_graph_input(graph, "g", tn_type(TN_DTYPE_F32, 2, a));
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 2, b));
    for (gint i = 0; i < N_VARS; i++) {
        of[i] = variable(&model, names[i], c, home, &var[i]);
    }
    const TnVal turned = tn_graph_op(graph, "transpose", NULL, 1, &g, NULL);
    const TnVal grad = tn_f_matmul(graph, turned, x);
    const TnVal square = tn_f_mul(graph, of[2], of[2]);
    const TnVal in[] = { of[0],
                         grad,
                         of[1],
                         square,
                         tn_graph_scalar(graph, TN_DTYPE_F64, 0.01),
                         tn_graph_scalar(graph, TN_DTYPE_F64, 2) };
    tn_graph_op(graph, c->op, NULL, 6, in, out);
    for (gint i = 0; i < N_VARS; i++) {
        tn_graph_assign(graph, var[i], out[i]);
    }
    if (c->read) {
        tn_graph_output(graph, "grad", grad);
    }
    return model;
}

static void
bind(TnExec *exec, guint i, gint64 rows, gint64 cols)
{
    const gint64 dims[] = { rows, cols };
    g_autofree float *values = g_new(float, (gsize)(rows * cols));
    TnRandom random;
    tn_random_init(&random, 3, "input", i);
    for (gint64 k = 0; k < rows * cols; k++) {
        values[k] = (float)(tn_random_f64(&random) - 0.5);
    }
    g_autoptr(TnTensor) tensor = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, dims), values, NULL);
    TN_REQUIRE(tn_exec_bind(exec, i, tensor) == TN_OK);
}

/* All variables after some steps, one after another (transfer full); kernels (transfer full): the program's. */
static GArray *
run(const Case *c, const TnCompile *options, char **kernels)
{
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    Model model = build(c, options->devices[0]);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(model.graph, options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnExec) exec = tn_exec_new(program, model.store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    bind(exec, 0, c->k, c->m);
    bind(exec, 1, c->k, c->n);
    for (guint i = 0; i < RUNS; i++) {
        TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    }
    for (guint i = 0; i < tn_store_n(model.store); i++) {
        g_autoptr(TnTensor) tensor = tn_var_get(tn_store_at(model.store, i), NULL);
        for (gint64 k = 0; k < tn_tensor_count(tensor); k++) {
            const double value = tn_tensor_get(tensor, k);
            g_array_append_val(values, value);
        }
    }
    *kernels = tn_program_kernels(program);
    tn_graph_unref(model.graph);
    tn_store_unref(model.store);
    return values;
}

static void
check(const Case *c, const TnCompile *options, gboolean one)
{
    const char *const skip[] = { "algebra", NULL };
    TnCompile plain = *options;
    g_autofree char *kernels = NULL, *before = NULL;
    plain.skip = skip;
    g_autoptr(GArray) want = run(c, &plain, &before), got = run(c, options, &kernels);
    TN_ASSERT(strstr(before, "_product_step") == NULL);
    tn_test_check((strstr(kernels, "_product_step") != NULL) == one, FALSE, __FILE__, __LINE__,
                  "%s of %d x %d x %d: %s", c->op, (int)c->m, (int)c->k, (int)c->n, kernels);
    TN_ASSERT(!one || strstr(kernels, "matmul ") == NULL);
    TN_REQUIRE(got->len == want->len);
    TN_ASSERT(memcmp(got->data, want->data, got->len * sizeof(double)) == 0);
}

static void
where_it_is_one(void)
{
    static const Case taken[] = { { 180, 70, 200, "adam_step", FALSE },
                                  { 133, 140, 257, "adamw_step", FALSE } };
    static const Case left[] = { { 180, 70, 200, "adam_step", TRUE },
                                 { 5, 70, 200, "adam_step", FALSE },
                                 { 180, 70, 200, "lamb_step", FALSE } };
    g_autoptr(TnDevice) cpu = tn_test_device("cpu"), ref = tn_test_device("ref");
    const TnCompile on_cpu = { .devices = &cpu, .n_devices = 1 },
                    on_ref = { .devices = &ref, .n_devices = 1 };
    for (gsize i = 0; i < G_N_ELEMENTS(taken); i++) {
        check(&taken[i], &on_cpu, TRUE);
    }
    check(&taken[0], &on_ref, FALSE);
    for (gsize i = 0; i < G_N_ELEMENTS(left); i++) {
        check(&left[i], &on_cpu, FALSE);
    }
}

/* Products of narrow numbers have no such kernel: what precision makes of them stays. */
static void
narrow_products_stay(void)
{
    static const Case c = { 180, 70, 200, "adam_step", FALSE };
    g_autoptr(TnDevice) cpu = tn_test_device("cpu");
    const TnCompile options = { .devices = &cpu, .n_devices = 1, .precision = TN_DTYPE_BF16 };
    g_autofree char *kernels = NULL;
    g_autoptr(GArray) values = run(&c, &options, &kernels);
    TN_ASSERT(strstr(kernels, "_product_step") == NULL);
    TN_ASSERT_CONTAINS(kernels, "adam_step");
}

/* No copy of the parameter or of a moment is made: each output is in its variable. */
static void
variables_stay_where_they_are(void)
{
    static const Case c = { 180, 70, 200, "adam_step", FALSE };
    g_autoptr(TnDevice) cpu = tn_test_device("cpu");
    const TnCompile options = { .devices = &cpu, .n_devices = 1 };
    Model model = build(&c, cpu);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(model.graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree char *text = tn_program_kernels(program);
    /* The square of a variable, and the step. */
    tn_test_check(tn_program_n_instructions(program) == 2, FALSE, __FILE__, __LINE__, "%s", text);
    tn_graph_unref(model.graph);
    tn_store_unref(model.store);
}

static const TnTest tests[] = {
    { "where it is one", where_it_is_one },
    { "narrow products stay", narrow_products_stay },
    { "variables stay where they are", variables_stay_where_they_are },
};

TN_TEST_MAIN("steps of products", tests)
