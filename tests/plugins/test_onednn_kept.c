/* oneDNN's kernels whose weights are variables that nothing assigns: laid once, kept, laid again when a
 * variable has changed, with the results of ref; every slice finds its own part. */
// tn-test: timeout=240 label=threads
#include <string.h>
#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>
#include <tenon/pool.h>

#include "tn_graphs.h"
#include "tn_test.h"

#define MOST 9

/* An operator on inputs of these types; a bit of `weights` for each that is a variable. */
typedef struct {
    const char *op;
    TnDtype dtype;
    guint weights;
    gint n_in;
    struct {
        TnDtype dtype; /* NONE: that of the row */
        gint rank;
        gint64 dims[4];
    } in[MOST];
    TnSequenceAttrs sequence;
    TnConvAttrs conv;
} Row;

#define SCALE                                                                                      \
    {                                                                                              \
        TN_DTYPE_F32, 0,                                                                           \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
static const Row rows[] = {
    /* Slices of columns, of a size that ends short; few rows; slices of rows; batches. */
    { "matmul",
      TN_DTYPE_F32,
      2,
      2,
      { { .rank = 2, .dims = { 20, 300 } }, { .rank = 2, .dims = { 300, 900 } } } },
    { "matmul",
      TN_DTYPE_F32,
      2,
      2,
      { { .rank = 2, .dims = { 3, 300 } }, { .rank = 2, .dims = { 300, 900 } } } },
    { "matmul",
      TN_DTYPE_F32,
      2,
      2,
      { { .rank = 2, .dims = { 2001, 100 } }, { .rank = 2, .dims = { 100, 50 } } } },
    { "matmul",
      TN_DTYPE_F32,
      2,
      2,
      { { .rank = 3, .dims = { 3, 40, 64 } }, { .rank = 2, .dims = { 64, 33 } } } },
    { "matmul",
      TN_DTYPE_F32,
      2,
      2,
      { { .rank = 3, .dims = { 3, 40, 64 } }, { .rank = 3, .dims = { 3, 64, 33 } } } },
    { "linear",
      TN_DTYPE_F32,
      6,
      3,
      { { .rank = 2, .dims = { 20, 300 } },
        { .rank = 2, .dims = { 900, 300 } },
        { .rank = 1, .dims = { 900 } } } },
    { "linear",
      TN_DTYPE_BF16,
      6,
      3,
      { { .rank = 2, .dims = { 33, 300 } },
        { .rank = 2, .dims = { 500, 300 } },
        { .rank = 1, .dims = { 500 } } } },
    { "matmul",
      TN_DTYPE_BF16,
      2,
      2,
      { { .rank = 2, .dims = { 1, 300 } }, { .rank = 2, .dims = { 300, 900 } } } },
    { "lstm",
      TN_DTYPE_F32,
      0x78,
      7,
      { { .rank = 3, .dims = { 5, 40, 20 } },
        { .rank = 2, .dims = { 40, 36 } },
        { .rank = 2, .dims = { 40, 36 } },
        { .rank = 2, .dims = { 144, 20 } },
        { .rank = 2, .dims = { 144, 36 } },
        { .rank = 1, .dims = { 144 } },
        { .rank = 1, .dims = { 144 } } },
      .sequence = { .steps = 5 } },
    { "gru",
      TN_DTYPE_F32,
      0x3c,
      6,
      { { .rank = 3, .dims = { 5, 40, 20 } },
        { .rank = 2, .dims = { 40, 36 } },
        { .rank = 2, .dims = { 108, 20 } },
        { .rank = 2, .dims = { 108, 36 } },
        { .rank = 1, .dims = { 108 } },
        { .rank = 1, .dims = { 108 } } },
      .sequence = { .steps = 5 } },
    { "gru",
      TN_DTYPE_BF16,
      0xc,
      4,
      { { .rank = 3, .dims = { 3, 16, 32 } },
        { .rank = 2, .dims = { 16, 32 } },
        { .rank = 2, .dims = { 96, 32 } },
        { .rank = 2, .dims = { 96, 32 } } },
      .sequence = { .steps = 3 } },
    { "matmul_integer",
      TN_DTYPE_U8,
      2,
      2,
      { { .rank = 2, .dims = { 40, 300 } }, { TN_DTYPE_I8, 2, { 300, 900 } } } },
    { "matmul_integer",
      TN_DTYPE_I8,
      2,
      2,
      { { .rank = 2, .dims = { 1, 300 } }, { TN_DTYPE_U8, 2, { 300, 900 } } } },
    { "matmul_integer",
      TN_DTYPE_I8,
      2,
      2,
      { { .rank = 2, .dims = { 15, 300 } }, { TN_DTYPE_I8, 2, { 300, 2000 } } } },
    { "matmul_integer",
      TN_DTYPE_I8,
      2,
      2,
      { { .rank = 2, .dims = { 32, 300 } }, { TN_DTYPE_I8, 2, { 300, 900 } } } },
    { "matmul_integer",
      TN_DTYPE_U8,
      2,
      2,
      { { .rank = 2, .dims = { 2000, 130 } }, { TN_DTYPE_I8, 2, { 130, 30 } } } },
    { "qlinear_matmul",
      TN_DTYPE_U8,
      8,
      8,
      { { .rank = 2, .dims = { 20, 300 } },
        SCALE,
        { .rank = 0 },
        { TN_DTYPE_I8, 2, { 300, 200 } },
        SCALE,
        { TN_DTYPE_I8, 0, { 0 } },
        SCALE,
        { TN_DTYPE_U8, 0, { 0 } } } },
    { "conv_integer",
      TN_DTYPE_U8,
      2,
      2,
      { { .rank = 4, .dims = { 1, 40, 9, 9 } }, { TN_DTYPE_I8, 4, { 100, 40, 3, 3 } } },
      .conv = { .group = 1 } },
    { "conv_integer",
      TN_DTYPE_U8,
      2,
      2,
      { { .rank = 4, .dims = { 9, 16, 9, 9 } }, { TN_DTYPE_U8, 4, { 32, 16, 3, 3 } } },
      .conv = { .group = 1 } },
};

static guint64 state;

static double
noise(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 40) / (double)(1 << 24);
}

static TnType
type_of(const Row *row, gint i)
{
    const TnDtype dtype = row->in[i].dtype != TN_DTYPE_NONE ? row->in[i].dtype : row->dtype;
    return tn_type(dtype, row->in[i].rank, row->in[i].dims);
}

/* (transfer full): floats of [-0.5, 0.5), scales of [0.01, 0.02), any 8 bits. */
static TnTensor *
random_tensor(const TnType *type)
{
    g_autoptr(TnTensor) wide = NULL;
    TnType f32 = *type;
    f32.dtype = TN_DTYPE_F32;
    wide = tn_tensor_zeros(NULL, f32, NULL);
    float *to = tn_storage_memory(tn_tensor_storage(wide));
    const gint64 n = tn_type_count(type);
    for (gint64 i = 0; i < n; i++) {
        switch (type->dtype) {
        case TN_DTYPE_U8: to[i] = (float)(gint)(noise() * 256); break;
        case TN_DTYPE_I8: to[i] = (float)((gint)(noise() * 256) - 128); break;
        default: to[i] = (float)(type->rank == 0 ? 0.01 + 0.01 * noise() : noise() - 0.5);
        }
    }
    return tn_tensor_copy(wide, NULL, type->dtype, NULL);
}

typedef struct {
    const Row *row;
    TnGraph *graph;
    TnStore *store;
    TnTensor *in[MOST];
    TnVar *var[MOST];
} Case;

static void
write_weights(Case *c)
{
    for (gint i = 0; i < c->row->n_in; i++) {
        const TnType type = type_of(c->row, i);
        g_clear_pointer(&c->in[i], tn_tensor_unref);
        c->in[i] = random_tensor(&type);
        if (c->var[i] != NULL) {
            TN_REQUIRE(tn_var_write(c->var[i], tn_storage_memory(tn_tensor_storage(c->in[i])),
                                    (gsize)tn_type_bytes(&type), NULL));
        }
    }
}

static Case
case_new(const Row *row)
{
    Case c = { .row = row, .graph = tn_graph_new(row->op), .store = tn_store_new(0) };
    TnVal in[MOST], out[TN_MAX_OUT];
    for (gint i = 0; i < row->n_in; i++) {
        g_autofree char *name = g_strdup_printf("in%d", i);
        const TnVarInfo info = { .name = name, .type = type_of(row, i) };
        c.var[i] = row->weights >> i & 1 ? tn_store_var(c.store, NULL, &info, NULL) : NULL;
        in[i] = c.var[i] != NULL ? tn_graph_variable(c.graph, c.var[i])
                                 : tn_graph_input(c.graph, name, info.type);
    }
    const void *attrs = row->sequence.steps > 0 ? (const void *)&row->sequence
                        : row->conv.group > 0   ? (const void *)&row->conv
                                                : NULL;
    tn_graph_add(c.graph, tn_op_find(row->op, NULL), attrs, row->n_in, in, out);
    tn_graph_output(c.graph, "y", out[0]);
    write_weights(&c);
    return c;
}

static void
case_clear(Case *c)
{
    for (gint i = 0; i < MOST; i++) {
        g_clear_pointer(&c->in[i], tn_tensor_unref);
    }
    tn_graph_unref(c->graph);
    tn_store_unref(c->store);
}

static TnExec *
exec_of(const Case *c, const char *device)
{
    g_autoptr(GError) error = NULL;
    TnDevice *devices[] = { tn_test_device(device), tn_test_device("ref") };
    const TnCompile options = { .devices = devices, .n_devices = 2 };
    g_autoptr(TnProgram) program = tn_compile(c->graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    TnExec *exec = tn_exec_new(program, c->store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_device_unref(devices[0]);
    tn_device_unref(devices[1]);
    return exec;
}

static TnTensor *
run(const Case *c, TnExec *exec)
{
    for (gint i = 0, n = 0; i < c->row->n_in; i++) {
        if (c->var[i] == NULL) {
            TN_REQUIRE(tn_exec_bind(exec, (guint)n++, c->in[i]) == TN_OK);
        }
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    return tn_exec_output(exec, 0);
}

/* ref: run already, as far as the same weights go. */
static void
check_same(const Case *c, TnExec *exec, TnExec *ref)
{
    const gboolean exact = tn_tensor_dtype(tn_exec_output(ref, 0)) != TN_DTYPE_F32 &&
                           tn_tensor_dtype(tn_exec_output(ref, 0)) != TN_DTYPE_BF16;
    TnTensor *got = run(c, exec), *want = tn_exec_output(ref, 0);
    const double near = exact ? 0 : c->row->dtype == TN_DTYPE_BF16 ? 0.02 : 1e-4;
    double worst = 0;
    for (gint64 i = 0; i < tn_tensor_count(want); i++) {
        const double w = tn_tensor_get(want, i);
        worst = MAX(worst, ABS(tn_tensor_get(got, i) - w) / (exact ? 1 : MAX(1, ABS(w))));
    }
    TN_ASSERT_CMPFLOAT(worst, <=, near);
}

/* Products of bf16 and of 8 bits want instructions: without them their rows are other kernels'. */
static void
weights_are_kept(void)
{
    g_autoptr(GError) error = NULL;
    guint kept = 0;
    g_setenv("TENON_ONEDNN", "all", TRUE);
    TN_REQUIRE(tn_registry_open("nn", NULL));
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
    }
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        Case c = case_new(&rows[i]);
        g_autoptr(TnExec) exec = exec_of(&c, "cpu"), ref = exec_of(&c, "ref");
        g_autofree char *text = tn_program_print(tn_exec_program(exec));
        const gboolean library = strstr(text, "kernel onednn-") != NULL;
        kept += library && strstr(text, " keep ") != NULL;
        /* Of f32 any processor has kernels; a dense layer is taken by another rule. */
        TN_ASSERT(library || rows[i].dtype != TN_DTYPE_F32 || strcmp(rows[i].op, "linear") == 0);
        run(&c, ref);
        check_same(&c, exec, ref);
        check_same(&c, exec, ref);
        write_weights(&c);
        run(&c, ref);
        check_same(&c, exec, ref);
        case_clear(&c);
    }
    TN_ASSERT_CMPUINT(kept, >=, 2); /* with older instructions some are read as they lie */
}

static void
other_instruction_sets(void)
{
    static const char *const again[] = { "weights are kept", NULL };
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  again);
}

static const TnTest tests[] = { { "weights are kept", weights_are_kept },
                                { "other instruction sets", other_instruction_sets } };

TN_TEST_MAIN("onednn kept", tests)
