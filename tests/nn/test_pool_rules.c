/* test_pool_rules.c: rectified images that are pooled: what the rules make of them has the same bits,
 * for NaN, infinities, -0, equal elements and overlapping windows too, and rectifies fewer elements. */
#include <math.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *cpu, *ref;
static const char *const no_algebra[] = { "algebra", "layout", NULL };

static void
set_up(void)
{
    ref = tn_test_device("ref");
    cpu = tn_test_device("cpu");
    TN_REQUIRE(tn_registry_open("nn", NULL));
}

static void
tear_down(void)
{
    tn_device_unref(cpu);
    tn_device_unref(ref);
}

typedef struct {
    const char *name;
    TnPoolAttrs attrs;
    gint64 rows, cols;
    double floor;     /* NAN: relu */
    gboolean applies; /* to the gradient too */
} Case;

#define LIST(...)                                                                                  \
    {                                                                                              \
        .n = (gint32)(sizeof((gint64[]){ __VA_ARGS__ }) / sizeof(gint64)), .v = { __VA_ARGS__ }    \
    }
static const Case cases[] = {
    { "side by side", { { LIST(2, 2), LIST(2, 2), { 0 }, { 0 } }, FALSE, FALSE }, 6, 7, NAN, TRUE },
    { "overlapping", { { LIST(3, 2), LIST(1, 1), { 0 }, { 0 } }, FALSE, FALSE }, 5, 6, NAN, TRUE },
    { "padded",
      { { LIST(3, 3), LIST(2, 2), LIST(1, 1, 1, 2), { 0 } }, FALSE, FALSE },
      7,
      6,
      NAN,
      TRUE },
    { "dilated", { { LIST(2, 2), LIST(1, 2), { 0 }, LIST(2, 1) }, FALSE, FALSE }, 6, 6, NAN, TRUE },
    { "another number",
      { { LIST(2, 2), LIST(2, 1), { 0 }, { 0 } }, FALSE, FALSE },
      6,
      5,
      0.25,
      FALSE },
    { "padded and dilated",
      { { LIST(2, 2), LIST(1, 1), LIST(1, 1, 1, 1), LIST(2, 2) }, FALSE, FALSE },
      4,
      4,
      NAN,
      FALSE },
};

static TnGraph *
build(const Case *c)
{
    TnGraph *graph = tn_graph_new("pooled");
    const gint64 dims[] = { 16, 3, c->rows, c->cols };
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    const TnVal y = isnan(c->floor) ? tn_graph_op(graph, "relu", NULL, 1, &x, NULL)
                                    : tn_f_max(graph, x, tn_f_const(graph, x, c->floor));
    const TnVal pooled = tn_graph_op(graph, "max_pool", &c->attrs, 1, &y, NULL);
    TnVal grad;
    g_autoptr(GError) error = NULL;
    /* A gradient that differs from window to window. */
    TN_REQUIRE(tn_grad(graph, pooled, tn_f_mul(graph, pooled, tn_f_const(graph, pooled, 0.5)), 1,
                       &x, &grad, &error));
    tn_graph_output(graph, "pooled", pooled);
    tn_graph_output(graph, "grad", grad);
    return graph;
}

/* Small numbers, so that many are equal, and all that is special. */
static TnTensor *
images(const TnGraph *graph)
{
    static const float special[] = { NAN, INFINITY, -INFINITY, -0.0f, 0.0f };
    g_autoptr(GError) error = NULL;
    TnTensor *x =
        tn_tensor_new(NULL, *tn_graph_type(graph, tn_graph_input_at(graph, 0, NULL)), &error);
    TN_REQUIRE_NO_ERROR(error);
    float *at = tn_storage_memory(tn_tensor_storage(x));
    guint32 state = 12345;
    for (gint64 i = 0; i < tn_tensor_count(x); i++) {
        state = state * 1664525u + 1013904223u;
        const guint n = state >> 24;
        at[i] = n % 16 < G_N_ELEMENTS(special) ? special[n % 16] : (float)((gint)(n / 16) - 9) / 4;
    }
    return x;
}

static TnExec *
run(TnGraph *graph, TnTensor *x, TnDevice *device, const char *const *skip, char **kernels)
{
    TnDevice *const devices[] = { device, ref };
    const TnCompile options = { .devices = devices, .n_devices = 2, .skip = skip };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    *kernels = tn_program_print(program);
    TnExec *exec = tn_exec_new(program, NULL, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_REQUIRE(tn_exec_bind(exec, 0, x) == TN_OK && tn_exec_run(exec) == TN_OK);
    return exec;
}

/* Instructions that rectify as many elements as x has. */
static gboolean
rectifies_all(const char *program, const Case *c)
{
    g_autofree char *type = g_strdup_printf("16, 3, %d, %d]", (int)c->rows, (int)c->cols);
    g_auto(GStrv) lines = g_strsplit(program, "\n", -1);
    for (guint i = 0; lines[i]; i++) {
        const char *result = strstr(lines[i], "-> ");
        if (result && strstr(result, type) &&
            (strstr(lines[i], " max ") || strstr(lines[i], " where ") ||
             strstr(lines[i], " fused "))) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
the_same_bits(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TnGraph) graph = build(&cases[i]);
        g_autoptr(TnTensor) x = images(graph);
        g_autofree char *plain = NULL, *ruled = NULL, *in_lanes = NULL;
        g_autoptr(TnExec) want = run(graph, x, ref, no_algebra, &plain);
        g_autoptr(TnExec) got = run(graph, x, ref, NULL, &ruled);
        g_autoptr(TnExec) lanes = run(graph, x, cpu, NULL, &in_lanes);
        for (guint k = 0; k < 2; k++) {
            if (!tn_test_same(tn_exec_output(want, k), tn_exec_output(got, k))) {
                TN_FAIL("%s: output %u on ref", cases[i].name, k);
            }
            if (!tn_test_same(tn_exec_output(want, k), tn_exec_output(lanes, k))) {
                TN_FAIL("%s: output %u on cpu", cases[i].name, k);
            }
        }
        if (rectifies_all(in_lanes, &cases[i]) == cases[i].applies) {
            TN_FAIL("%s: %s\n%s", cases[i].name, cases[i].applies ? "no rule" : "a rule", in_lanes);
        }
    }
}

static const TnTest tests[] = {
    { "the same bits", the_same_bits },
};

TN_TEST_MAIN_WITH("pool rules", tests, set_up, tear_down)
