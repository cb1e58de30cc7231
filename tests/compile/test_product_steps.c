/* test_product_steps.c: a step of Adam takes in the product that is its gradient where the device of both has
 * a kernel for it, a table of measured times does not speak against it, and an earlier compilation knew it;
 * variables stay where they are, memory for the gradient is not wanted, and the bits are those of two nodes. */
// tn-test: timeout=120
#include <string.h>

#include <tenon/base.h>
#include <tenon/cost.h>
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
    const char *const skip[] = { "join", NULL };
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
    /* Not on another device than the one that both are on. */
    TnDevice *const ref_first[] = { ref, cpu }, *const cpu_first[] = { cpu, ref };
    check(&taken[0], &(TnCompile){ .devices = ref_first, .n_devices = 2 }, FALSE);
    check(&taken[0], &(TnCompile){ .devices = cpu_first, .n_devices = 2 }, TRUE);
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
    g_array_unref(run(&c, &options, &kernels));
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

/* --- Measured times --------------------------------------------------------------------------- */

static const char *const measured_ops[] = { "adam_product_step", "matmul", "adam_step" };
#define N_MEASURED 3

/* Of each operator above a row with all kernels, and the one that is chosen without a table. */
typedef struct {
    TnValue *row[N_MEASURED];
    char *usual[N_MEASURED];
} Rows;

static void
measure(const TnChoice *choice, gpointer data)
{
    Rows *rows = data;
    for (gint i = 0; i < N_MEASURED; i++) {
        if (rows->row[i] == NULL && strcmp(choice->node->op->name, measured_ops[i]) == 0) {
            /* `tenon tune` measures what is a choice. */
            TN_ASSERT(i > 0 || choice->n_candidates > 1);
            rows->row[i] = tn_costs_measure(choice->kind, choice->node, 1e-4, 1, NULL);
            rows->usual[i] = g_strdup(choice->id);
            TN_REQUIRE(rows->row[i] != NULL && choice->id != NULL);
        }
    }
}

/* Times of the usual kernels, 0: no row; other: of the step's other kernels. */
typedef struct {
    double us[N_MEASURED], other;
    gboolean invariant, one;
} Times;

static TnCosts *
table(const Rows *rows, const Times *times)
{
    g_autoptr(TnValue) list = tn_value_list();
    g_autoptr(GError) error = NULL;
    for (gint i = 0; i < N_MEASURED; i++) {
        TnValue *row = tn_value_copy(rows->row[i]), *us = tn_value_get(row, "us");
        for (gsize k = 0; k < tn_value_len(us); k++) {
            g_autofree char *id = g_strdup(tn_value_key_at(us, k));
            const gboolean usual = strcmp(id, rows->usual[i]) == 0;
            tn_value_set(us, id, tn_value_double(usual ? times->us[i] : times->other));
        }
        if (times->us[i] > 0) {
            tn_value_push(list, tn_value_ref(row));
        }
        tn_value_unref(row);
    }
    TnCosts *costs = tn_costs_new(list, &error);
    TN_REQUIRE_NO_ERROR(error);
    return costs;
}

static void
goes_by_measured_times(void)
{
    static const Case c = { 180, 70, 200, "adam_step", FALSE };
    static const Times cases[] = {
        { { 10, 6, 6 }, 100, FALSE, TRUE },    { { 12.4, 6, 6 }, 100, FALSE, TRUE },
        { { 12.6, 6, 6 }, 100, FALSE, FALSE }, { { 12.6, 6, 6 }, 100, TRUE, TRUE },
        { { 10, 6, 6 }, 3, FALSE, FALSE },     { { 0, 6, 6 }, 100, FALSE, TRUE },
        { { 0, 6, 6 }, 3, FALSE, FALSE },      { { 10, 0, 6 }, 3, FALSE, FALSE },
        { { 100, 0, 6 }, 100, FALSE, TRUE },
    };
    g_autoptr(TnDevice) cpu = tn_test_device("cpu");
    Rows rows = { 0 };
    g_autofree char *before = NULL;
    const TnCompile look = {
        .devices = &cpu, .n_devices = 1, .choice_sink = measure, .choice_data = &rows
    };
    g_array_unref(run(&c, &look, &before));
    for (gint i = 0; i < N_MEASURED; i++) {
        TN_REQUIRE(rows.row[i] != NULL);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TnCosts) costs = table(&rows, &cases[i]);
        g_autofree char *kernels = NULL;
        const TnCompile options = {
            .devices = &cpu, .n_devices = 1, .costs = costs, .batch_invariant = cases[i].invariant
        };
        g_array_unref(run(&c, &options, &kernels));
        tn_test_check((strstr(kernels, "_product_step") != NULL) == cases[i].one, FALSE, __FILE__,
                      __LINE__, "case %d: %s", (int)i, kernels);
    }
    for (gint i = 0; i < N_MEASURED; i++) {
        tn_value_unref(rows.row[i]);
        g_free(rows.usual[i]);
    }
}

/* A run that goes on has what it began with, one node or two. */
static void
earlier_choices_stay(void)
{
    static const Case c = { 180, 70, 200, "adam_step", FALSE };
    const char *const skip[] = { "join", NULL };
    g_autoptr(TnDevice) cpu = tn_test_device("cpu");
    for (gint one = 0; one < 2; one++) {
        g_autoptr(TnValue) chosen = tn_value_map();
        g_autofree char *before = NULL, *after = NULL;
        const TnCompile first = {
            .devices = &cpu, .n_devices = 1, .chosen = chosen, .skip = one ? NULL : skip
        };
        const TnCompile again = { .devices = &cpu, .n_devices = 1, .choices = chosen };
        g_autoptr(GArray) want = run(&c, &first, &before), got = run(&c, &again, &after);
        TN_ASSERT((strstr(after, "_product_step") != NULL) == one);
        TN_ASSERT(memcmp(got->data, want->data, got->len * sizeof(double)) == 0);
    }
}

/* --- Memory ----------------------------------------------------------------------------------- */

static TnProgram *
program_of(const Case *c, TnDevice *device, const char *const *skip, guint64 limit, GError **error)
{
    const TnCompile options = {
        .devices = &device, .n_devices = 1, .skip = skip, .memory_limit = limit
    };
    Model model = build(c, device);
    TnProgram *program = tn_compile(model.graph, &options, error);
    tn_graph_unref(model.graph);
    tn_store_unref(model.store);
    return program;
}

/* The gradient is nowhere whole, so a limit can be met that two nodes cannot meet. */
static void
gradient_takes_no_memory(void)
{
    static const Case c = { 300, 70, 400, "adam_step", FALSE };
    const char *const skip[] = { "join", NULL };
    const guint64 gradient = 300 * 400 * sizeof(float);
    g_autoptr(TnDevice) cpu = tn_test_device("cpu");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) one = program_of(&c, cpu, NULL, 0, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnProgram) two = program_of(&c, cpu, skip, 0, &error);
    TN_REQUIRE_NO_ERROR(error);
    const guint64 bytes = tn_program_arena_bytes(one), limit = bytes + N_VARS * gradient;
    TN_ASSERT_CMPUINT(bytes + gradient / 2, <=, tn_program_arena_bytes(two));
    g_autoptr(TnProgram) fits = program_of(&c, cpu, NULL, limit, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(tn_program_arena_bytes(fits), <=, bytes);
    g_autoptr(TnProgram) more = program_of(&c, cpu, skip, limit, &error);
    TN_ASSERT(more == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "memory limit");
}

static const TnTest tests[] = {
    { "where it is one", where_it_is_one },
    { "narrow products stay", narrow_products_stay },
    { "variables stay where they are", variables_stay_where_they_are },
    { "goes by measured times", goes_by_measured_times },
    { "earlier choices stay", earlier_choices_stay },
    { "gradient takes no memory", gradient_takes_no_memory },
};

TN_TEST_MAIN("steps of products", tests)
