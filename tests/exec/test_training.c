/* test_training.c: a small training, composites, gradients, random numbers and updates together,
 * gives the same weights on every device: bit by bit where the same kernels compute, closely on
 * others. */
// tn-test: timeout=180
#include <math.h>
#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/ops.h>

#include "tn_graphs.h"
#include "tn_test.h"

#define BATCH 16
#define IN 8
#define HIDDEN 24
#define OUT 4
#define STEPS 25

typedef struct {
    TnGraph *graph;
    TnStore *store;
    TnDevice *home;
    guint n;
    TnVar *param[8], *m[8], *v[8];
    TnVal value[8];
} Model;

static TnVar *
make_var(Model *model, const char *name, TnType type, TnRole role, const char *of)
{
    g_autoptr(GError) error = NULL;
    const TnVarInfo info = { .name = name,
                             .type = type,
                             .role = role,
                             .of = of,
                             .init = { .kind = role == TN_ROLE_PARAM ? TN_INIT_FAN_IN_UNIFORM
                                                                     : TN_INIT_ZEROS,
                                       .fan_in = IN } };
    TnVar *var = tn_store_var(model->store, model->home, &info, &error);
    TN_REQUIRE_NO_ERROR(error);
    return var;
}

static TnVal
param(Model *model, const char *name, gint rank, const gint64 *dims)
{
    const guint i = model->n++;
    const TnType type = tn_type(TN_DTYPE_F32, rank, dims);
    g_autofree char *m = g_strconcat("m/", name, NULL), *v = g_strconcat("v/", name, NULL);
    model->param[i] = make_var(model, name, type, TN_ROLE_PARAM, NULL);
    model->m[i] = make_var(model, m, type, TN_ROLE_SLOT, name);
    model->v[i] = make_var(model, v, type, TN_ROLE_SLOT, name);
    model->value[i] = tn_graph_variable(model->graph, model->param[i]);
    return model->value[i];
}

static TnVal
op(Model *model, const char *name, gint n, const TnVal *in, TnVal *out)
{
    return tn_graph_op(model->graph, name, NULL, n, in, out);
}

static TnVal
layer(Model *model, const char *name, TnVal x, gint64 n_in, gint64 n_out)
{
    g_autofree char *w = g_strconcat(name, ".weight", NULL), *b = g_strconcat(name, ".bias", NULL);
    const gint64 shape[] = { n_out, n_in };
    const TnVal in[] = { x, param(model, w, 2, shape), param(model, b, 1, shape) };
    return op(model, "linear", 3, in, NULL);
}

static TnVal
next_step(Model *model)
{
    TnVar *var = tn_store_step(model->store, NULL);
    const TnVal old = tn_graph_variable(model->graph, var);
    const TnVal step = tn_f_add(model->graph, old, tn_f_const(model->graph, old, 1));
    tn_graph_assign(model->graph, var, step);
    return step;
}

/* The key that this step's random nodes read; the next step's has another position. */
static TnVal
random_key(Model *model)
{
    TnVar *var = tn_store_random_key(model->store, NULL);
    const TnVal key = tn_graph_variable(model->graph, var);
    const gint64 two[] = { 2 };
    const guint64 one[] = { 0, 1 };
    g_autoptr(TnTensor) add = tn_tensor_from(tn_type(TN_DTYPE_U64, 1, two), one, NULL);
    tn_graph_assign(model->graph, var,
                    tn_f_add(model->graph, key, tn_graph_constant(model->graph, add)));
    return key;
}

static void
update(Model *model, TnVal loss)
{
    TnVal grad[8], out[TN_MAX_OUT];
    const TnVal lr = tn_graph_scalar(model->graph, TN_DTYPE_F32, 0.01), step = next_step(model);
    TN_REQUIRE(tn_grad(model->graph, loss, TN_VAL_NONE, (gint)model->n, model->value, grad, NULL));
    for (guint i = 0; i < model->n; i++) {
        const TnVal in[] = { model->value[i],
                             grad[i],
                             tn_graph_variable(model->graph, model->m[i]),
                             tn_graph_variable(model->graph, model->v[i]),
                             lr,
                             step };
        op(model, "adam_step", 6, in, out);
        tn_graph_assign(model->graph, model->param[i], out[0]);
        tn_graph_assign(model->graph, model->m[i], out[1]);
        tn_graph_assign(model->graph, model->v[i], out[2]);
    }
}

static void
build(Model *model, TnDevice *home)
{
    const gint64 x_dims[] = { BATCH, IN }, t_dims[] = { BATCH };
    g_autoptr(GError) error = NULL;
    *model = (Model){ .graph = tn_graph_new("train"), .store = tn_store_new(7), .home = home };
    TnVal x = tn_graph_input(model->graph, "x", tn_type(TN_DTYPE_F32, 2, x_dims));
    const TnVal target = tn_graph_input(model->graph, "target", tn_type(TN_DTYPE_I64, 1, t_dims));
    x = layer(model, "one", x, IN, HIDDEN);
    x = op(model, "relu", 1, &x, NULL);
    const TnVal dropped[] = { x, random_key(model) };
    x = op(model, "dropout", 2, dropped, NULL);
    x = layer(model, "two", x, HIDDEN, OUT);
    const TnVal in[] = { x, target };
    const TnVal loss = op(model, "cross_entropy", 2, in, NULL);
    tn_graph_output(model->graph, "loss", loss);
    update(model, loss);
    TN_ASSERT(tn_graph_check(model->graph, &error));
    TN_REQUIRE_NO_ERROR(error);
}

static void
clear(Model *model)
{
    tn_graph_unref(model->graph);
    tn_store_unref(model->store);
}

/* A batch whose targets hang on the inputs, so that there is something to learn. */
static void
fill_batch(guint step, float *x, gint64 *target)
{
    TnRandom random;
    tn_random_init(&random, 3, "batch", step);
    for (guint i = 0; i < BATCH; i++) {
        for (guint k = 0; k < IN; k++) {
            x[i * IN + k] = (float)(tn_random_f64(&random) * 2 - 1);
        }
        target[i] = (x[i * IN] > 0) * 2 + (x[i * IN + 1] > 0);
    }
}

static double
train_step(TnExec *exec, guint step)
{
    float x[BATCH * IN];
    gint64 target[BATCH];
    const gint64 x_dims[] = { BATCH, IN }, t_dims[] = { BATCH };
    fill_batch(step, x, target);
    g_autoptr(TnTensor) a = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, x_dims), x, NULL);
    g_autoptr(TnTensor) b = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, t_dims), target, NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, a) == TN_OK && tn_exec_bind(exec, 1, b) == TN_OK);
    if (tn_exec_run(exec) != TN_OK) {
        TN_FAIL("step %u: %s", step, tn_exec_error(exec)->message);
        return NAN;
    }
    return tn_tensor_get(tn_exec_output(exec, 0), 0);
}

/* Trains and gives all variables one after another (transfer full); losses[2]: first and last. */
static GArray *
train(TnDevice *const *devices, guint n, const char *const *skip, double *losses)
{
    Model model;
    g_autoptr(GError) error = NULL;
    GArray *weights = g_array_new(FALSE, FALSE, sizeof(double));
    build(&model, devices[0]);
    const TnCompile options = { .devices = devices, .n_devices = n, .skip = skip };
    g_autoptr(TnProgram) program = tn_compile(model.graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnExec) exec = tn_exec_new(program, model.store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint step = 0; step < STEPS; step++) {
        losses[step > 0] = train_step(exec, step);
    }
    for (guint i = 0; i < tn_store_n(model.store); i++) {
        g_autoptr(TnTensor) tensor = tn_var_get(tn_store_at(model.store, i), NULL);
        for (gint64 k = 0; k < tn_tensor_count(tensor); k++) {
            const double value = tn_tensor_get(tensor, k);
            g_array_append_val(weights, value);
        }
    }
    clear(&model);
    return weights;
}

static void
check(const GArray *got, const GArray *want, double tolerance, const char *what)
{
    guint wrong = 0;
    TN_REQUIRE(got->len == want->len);
    for (guint i = 0; i < got->len; i++) {
        const double a = g_array_index(got, double, i), b = g_array_index(want, double, i);
        wrong += !(fabs(a - b) <= tolerance * (1 + fabs(b)));
    }
    tn_test_check(wrong == 0, FALSE, __FILE__, __LINE__, "%s: %u of %u numbers differ", what, wrong,
                  got->len);
}

static void
devices_agree(void)
{
    static const char *const names[] = { "ref", "far", "far:1", "cpu" };
    double losses[2];
    g_autoptr(GArray) want = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(TnDevice) device = tn_test_device(names[i]);
        g_autoptr(GArray) got = train(&device, 1, NULL, losses);
        TN_ASSERT_CMPFLOAT(losses[1], <, losses[0]);
        if (want == NULL) {
            want = g_steal_pointer(&got);
        } else {
            check(got, want, i < 3 ? 0 : 2e-4, names[i]);
        }
    }
}

static void
devices_work_together(void)
{
    g_autoptr(TnDevice) ref = tn_test_device("ref"), far = tn_test_device("far"),
                        half = tn_test_device("half");
    double losses[2];
    g_autoptr(GArray) want = train(&ref, 1, NULL, losses);
    g_autoptr(GArray) got = train((TnDevice *[]){ half, far }, 2, NULL, losses);
    check(got, want, 0, "half, far");
    g_autoptr(GArray) other = train((TnDevice *[]){ far, ref }, 2, NULL, losses);
    check(other, want, 0, "far, ref");
}

static void
passes_change_nothing(void)
{
    g_autoptr(TnDevice) cpu = tn_test_device("cpu");
    double losses[2];
    g_autoptr(GArray) want = train(&cpu, 1, NULL, losses);
    const char *const *names = tn_passes();
    for (guint i = 0; names[i] != NULL; i++) {
        const char *const skip[] = { names[i], NULL };
        g_autoptr(GArray) got = train(&cpu, 1, skip, losses);
        check(got, want, 0, names[i]);
    }
}

static const TnTest tests[] = {
    { "devices agree", devices_agree },
    { "devices work together", devices_work_together },
    { "passes change nothing", passes_change_nothing },
};
TN_TEST_MAIN("training", tests)
