/* fuse_check.h: a graph compiled with and without the pass `fuse`, on one thread and two: the same bits. */
#pragma once

#include <math.h>

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/pool.h>

#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *cpu, *ref;
static const char *const no_fuse[] = { "fuse", NULL };

static void
set_up(void)
{
    ref = tn_test_device("ref");
    cpu = tn_test_device("cpu");
}

static void
tear_down(void)
{
    tn_device_unref(cpu);
    tn_device_unref(ref);
}

/* Rows put together; that fit a tile; longer than one; few and many; slices. */
static const gint64 sizes[][2] = { { 7, 3 },    { 130, 10 },  { 33, 65 },  { 5, 255 },  { 9, 256 },
                                   { 17, 300 }, { 6, 1000 },  { 5, 2500 }, { 4, 9000 }, { 1, 700 },
                                   { 700, 64 }, { 300, 257 }, { 90, 784 } };

/* --- Graphs ----------------------------------------------------------------------------------- */

/* Outputs of the graph made of x [n, d], y [n, d], a [d] and r [n, 1]. */
typedef void (*Build)(TnGraph *g, const TnVal *in);

static TnVal
unary(TnGraph *g, const char *op, TnVal x)
{
    return tn_graph_op(g, op, NULL, 1, &x, NULL);
}

/* x from behind: a view that is loaded. */
static TnVal
backwards(TnGraph *g, TnVal x, gint64 axis)
{
    const TnSliceAttrs turn = {
        { 1, { -1 } }, { 1, { G_MININT64 } }, { 1, { axis } }, { 1, { -1 } }
    };
    return tn_graph_op(g, "slice", &turn, 1, &x, NULL);
}

/* --- Both ways -------------------------------------------------------------------------------- */

static const double specials[] = {
    0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 3e38, -3e38, 1e-38, -2
};

/* Small numbers; with `special` some that are none. */
static TnTensor *
make_tensor(TnType type, guint64 seed, gboolean special)
{
    const gint64 n = tn_type_count(&type);
    g_autofree double *x = g_new(double, (gsize)n + 1);
    TnRandom random;
    tn_random_init(&random, seed, "rows", 0);
    for (gint64 i = 0; i < n; i++) {
        x[i] = (double)tn_random_below(&random, 4001) / 1000 - 2;
        if (special && tn_random_below(&random, 40) == 0) {
            x[i] = specials[tn_random_below(&random, G_N_ELEMENTS(specials))];
        }
    }
    return tn_test_tensor(type, x);
}

/* The outputs' memory, one after the other. (transfer full). */
static GByteArray *
run(TnGraph *graph, TnTensor *const *inputs, const char *const *skip, guint *n)
{
    TnDevice *const devices[] = { cpu, ref };
    const TnCompile options = { .devices = devices, .n_devices = 2, .skip = skip };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnStore) store = tn_store_new(0);
    g_autoptr(TnExec) exec = tn_exec_new(program, store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        TN_REQUIRE(tn_exec_bind(exec, i, inputs[i]) == TN_OK);
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    GByteArray *bytes = g_byte_array_new();
    for (guint k = 0; k < tn_graph_n_outputs(graph); k++) {
        g_autofree double *x = tn_test_doubles(tn_exec_output(exec, k));
        const gint64 count = tn_tensor_count(tn_exec_output(exec, k));
        for (gint64 i = 0; i < count; i++) {
            x[i] = isnan(x[i]) ? NAN : x[i]; /* one of all that are none */
        }
        g_byte_array_append(bytes, (const guint8 *)x, (guint)count * sizeof *x);
    }
    *n = tn_program_n_instructions(program);
    return bytes;
}

/* Instructions of the fused program. */
static guint
check(const char *name, Build build, gint64 rows, gint64 width, TnDtype dtype, gboolean special)
{
    const gint64 full[] = { rows, width }, row[] = { rows, 1 };
    const TnType types[] = { tn_type(dtype, 2, full), tn_type(dtype, 2, full),
                             tn_type(dtype, 1, &width), tn_type(dtype, 2, row) };
    static const char *const names[] = { "x", "y", "a", "r" };
    g_autoptr(TnGraph) graph = tn_graph_new(name);
    TnTensor *inputs[4];
    TnVal in[4];
    guint n_plain, n_fused, n_two;
    for (guint i = 0; i < 4; i++) {
        in[i] = tn_graph_input(graph, names[i], types[i]);
        inputs[i] = make_tensor(types[i], i + (guint64)width, special);
    }
    build(graph, in);
    tn_pool_set_threads(1);
    g_autoptr(GByteArray) want = run(graph, inputs, no_fuse, &n_plain);
    g_autoptr(GByteArray) got = run(graph, inputs, NULL, &n_fused);
    tn_pool_set_threads(2);
    g_autoptr(GByteArray) two = run(graph, inputs, NULL, &n_two);
    TN_ASSERT_CMPUINT(want->len, ==, got->len);
    if (want->len > 0 && (memcmp(want->data, got->data, want->len) != 0 ||
                          memcmp(want->data, two->data, want->len) != 0)) {
        guint i = 0;
        const double *a = (const double *)(gpointer)want->data, *b = (gpointer)got->data;
        while (memcmp(&a[i], &b[i], sizeof a[i]) == 0 && (i + 1) * sizeof *a < want->len) {
            i++;
        }
        TN_FAIL("%s %s of %d x %d: element %u is %a fused, %a alone", name, tn_dtype_name(dtype),
                (int)rows, (int)width, i, b[i], a[i]);
    }
    for (guint i = 0; i < 4; i++) {
        tn_tensor_unref(inputs[i]);
    }
    return n_fused;
}
