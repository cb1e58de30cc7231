/* test_random_graphs.c: graphs made at random of primitives, composites and gradients, of every
 * dtype: compiled in every way they give what computing node by node gives. */
// tn-test: timeout=240
#include <math.h>
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>
#include <tenon/tape.h>

#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#define MAX_VALUES 256
#define MAX_ELEMENTS 2048
#define N_INPUTS 5
#define N_VARIABLES 4

static TnDevice *ref, *cpu, *half, *far;
static TnContext *on_ref;
static GPtrArray *ops;

typedef struct {
    TnGraph *graph;
    TnStore *store;
    TnRandom random;
    TnTensor *inputs[N_INPUTS];
    TnVal value[MAX_VALUES];
    guint n;
} Maker;

/* Not those that make much of last bits, in which devices differ: indices may come of them. */
static gboolean
can_choose(const TnOp *op)
{
    static const char *const by_bits[] = { "div", "reciprocal", "rsqrt", "pow", "bitcast", NULL };
    gboolean ok = !(op->flags & (TN_OP_RANDOM | TN_OP_IMPERATIVE)) && op->n_inputs > 0 &&
                  !g_strv_contains(by_bits, op->name);
    for (guint32 i = 0; i < op->attrs.n; i++) {
        ok = ok && tn_options_row(&op->attrs, i)->type != TN_OPT_GRAPH;
    }
    return ok;
}

static void
set_up(void)
{
    tn_conformance_open();
    ref = tn_test_device("ref");
    cpu = tn_test_device("cpu");
    half = tn_test_device("half");
    far = tn_test_device("far");
    on_ref = tn_test_context("ref", NULL);
    ops = tn_conformance_ops();
    for (guint i = ops->len; i-- > 0;) {
        if (!can_choose(g_ptr_array_index(ops, i))) {
            g_ptr_array_remove_index(ops, i);
        }
    }
}

static void
tear_down(void)
{
    g_ptr_array_unref(ops);
    tn_context_unref(on_ref);
    tn_device_unref(ref);
    tn_device_unref(cpu);
    tn_device_unref(half);
    tn_device_unref(far);
}

static guint64
below(Maker *m, guint64 bound)
{
    return tn_random_below(&m->random, bound);
}

/* Mostly f32; every dtype now and then. */
static TnDtype
random_dtype(Maker *m)
{
    const TnDtype any = (TnDtype)(1 + below(m, TN_N_DTYPES - 1));
    return below(m, 2) == 0 ? TN_DTYPE_F32 : any;
}

static TnType
random_type(Maker *m)
{
    static const gint64 sizes[] = { 3, 1, 4, 3, 2, 17 };
    TnType type = { .dtype = random_dtype(m), .rank = (gint32)below(m, 4) };
    for (gint i = 0; i < type.rank; i++) {
        type.dims[i] = below(m, 25) == 0 ? 0 : sizes[below(m, G_N_ELEMENTS(sizes))];
    }
    return type;
}

/* Halves between -2 and 2, or few small integers. */
static TnTensor *
random_tensor(Maker *m, TnType type, gboolean is_index)
{
    const gint64 count = tn_type_count(&type);
    g_autofree double *values = g_new(double, (gsize)count + 1);
    for (gint64 i = 0; i < count; i++) {
        values[i] = is_index ? 0 - (double)below(m, 2) : (double)below(m, 9) * 0.5 - 2;
        values[i] = type.dtype == TN_DTYPE_BOOL ? values[i] > 0 : values[i];
    }
    return tn_test_tensor(type, values);
}

static void
add_value(Maker *m, TnVal val)
{
    if (m->n < MAX_VALUES) {
        m->value[m->n++] = val;
    }
}

/* Mostly one of the latest, so that graphs become deep. */
static TnVal
pick(Maker *m)
{
    const guint near = MIN(m->n, 8);
    return m->value[below(m, 3) != 0 ? m->n - 1 - below(m, near) : below(m, m->n)];
}

/* A value for an input: of a fitting dtype if a few tries find one, cast if not. */
static TnVal
pick_for(Maker *m, const TnOpArg *row, TnDtype letter)
{
    TnVal val = pick(m);
    for (guint tries = 0; tries < 6; tries++) {
        const TnType *type = tn_graph_type(m->graph, val);
        if (letter != TN_DTYPE_NONE ? type->dtype == letter
                                    : tn_dtype_in(type->dtype, row->dtypes)) {
            return val;
        }
        val = pick(m);
    }
    return letter != TN_DTYPE_NONE ? tn_f_cast(m->graph, val, letter) : val;
}

static TnVal
random_indices(Maker *m)
{
    TnType type = random_type(m);
    type.dtype = below(m, 2) == 0 ? TN_DTYPE_I32 : TN_DTYPE_I64;
    g_autoptr(TnTensor) tensor = random_tensor(m, type, TRUE);
    return tn_graph_constant(m->graph, tensor);
}

static gboolean
small_enough(gint n, const TnType *types)
{
    for (gint i = 0; i < n; i++) {
        if (tn_type_count(&types[i]) > MAX_ELEMENTS) {
            return FALSE;
        }
    }
    return TRUE;
}

/* The attributes of one of the operator's own samples. */
static gboolean
random_attrs(Maker *m, const TnOp *op, void *attrs)
{
    TnDtype dtype = random_dtype(m);
    while (!tn_dtype_in(dtype, tn_call_dtypes(op))) {
        dtype = (TnDtype)(1 + below(m, TN_N_DTYPES - 1));
    }
    TnSample sample = {
        .size = sizeof sample, .dtype = dtype, .variant = (guint)below(m, 12), .attrs = attrs
    };
    tn_options_defaults(&op->attrs, attrs);
    const gboolean ok = op->sample == NULL || op->sample(&sample);
    for (gint i = 0; i < TN_MAX_IN; i++) {
        g_clear_pointer(&sample.value[i], tn_tensor_unref);
    }
    return ok;
}

static gboolean
try_node(Maker *m, const TnOp *op, const void *attrs)
{
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    TnType types[TN_MAX_IN], result[TN_MAX_OUT];
    TnDtype letters[128] = { 0 };
    gint n_in = (gint)op->n_inputs, n_out = 0;
    if (tn_op_input(op, n_in - 1)->flags & TN_ARG_VARIADIC) {
        n_in += (gint)below(m, 3);
    }
    for (gint i = 0; i < n_in; i++) {
        const TnOpArg *row = tn_op_input(op, i);
        TnDtype *letter = &letters[row->type & 127];
        if ((row->flags & TN_ARG_OPTIONAL) && below(m, 2) == 0) {
            in[i] = TN_VAL_NONE;
            types[i] = (TnType){ 0 };
            continue;
        }
        in[i] = row->flags & TN_ARG_INDEX ? random_indices(m)
                                          : pick_for(m, row, row->type != 0 ? *letter : 0);
        types[i] = *tn_graph_type(m->graph, in[i]);
        *letter = types[i].dtype;
    }
    if (!tn_op_infer(op, attrs, "node", n_in, types, NULL, &n_out, result, NULL) ||
        !small_enough(n_out, result)) {
        return FALSE;
    }
    tn_graph_add(m->graph, op, attrs, n_in, in, out);
    for (gint i = 0; i < n_out; i++) {
        add_value(m, out[i]);
    }
    return TRUE;
}

static void
add_node(Maker *m)
{
    gboolean ok = FALSE;
    for (guint tries = 0; tries < 100 && !ok; tries++) {
        const TnOp *op = g_ptr_array_index(ops, below(m, ops->len));
        g_autofree void *attrs = g_malloc0(op->attrs.struct_size + 1);
        ok = random_attrs(m, op, attrs) && try_node(m, op, attrs);
        tn_options_drop(&op->attrs, attrs);
    }
}

static void
add_sources(Maker *m)
{
    for (guint i = 0; i < N_INPUTS; i++) {
        g_autofree char *name = g_strdup_printf("x%u", i);
        TnType type = random_type(m);
        if (i < 2) { /* something that most operators take */
            type = (TnType){ .dtype = TN_DTYPE_F32, .rank = 2, .dims = { 3, 4 } };
        } else if (i == 2) {
            type = (TnType){ .dtype = random_dtype(m), .rank = 3, .dims = { 2, 3, 5 } };
        }
        m->inputs[i] = random_tensor(m, type, FALSE);
        add_value(m, tn_graph_input(m->graph, name, type));
    }
    for (guint i = 0; i < N_VARIABLES; i++) {
        g_autofree char *name = g_strdup_printf("v%u", i);
        const TnVarInfo info = { .name = name,
                                 .type = i < 2 ? random_type(m) : *tn_tensor_type(m->inputs[i - 2]),
                                 .init = { .kind = TN_INIT_UNIFORM, .a = -2, .b = 2 } };
        TnVar *var = tn_store_var(m->store, NULL, &info, NULL);
        TN_REQUIRE(var != NULL);
        add_value(m, tn_graph_variable(m->graph, var));
    }
    add_value(m, tn_graph_scalar(m->graph, TN_DTYPE_F32, 1));
    add_value(m, tn_graph_scalar(m->graph, TN_DTYPE_F32, -0.5));
}

/* The gradient of everything's sum by inputs and variables, as more values. */
static void
add_gradients(Maker *m)
{
    TnVal y = tn_graph_scalar(m->graph, TN_DTYPE_F64, 0), x[N_INPUTS + N_VARIABLES],
          grad[N_INPUTS + N_VARIABLES];
    for (guint i = 0, n = 0; i < 20 && n < 3; i++) {
        const TnVal part = pick(m);
        if (tn_dtype_in(tn_graph_type(m->graph, part)->dtype, TN_DTYPES_FLOAT)) {
            const TnVal wide = tn_f_cast(m->graph, part, TN_DTYPE_F64);
            y = tn_f_add(m->graph, y, tn_f_reduce_sum(m->graph, wide, 0, NULL, FALSE));
            n++;
        }
    }
    memcpy(x, m->value, sizeof x);
    g_autoptr(GError) error = NULL;
    if (tn_grad(m->graph, y, TN_VAL_NONE, N_INPUTS + N_VARIABLES, x, grad, &error)) {
        for (guint i = 0; i < N_INPUTS + N_VARIABLES; i++) {
            add_value(m, grad[i]);
        }
    } else {
        TN_FAIL("no gradient: %s", error->message);
    }
}

/* To each variable one of the latest values of its type; now and then two get the same. */
static void
assign_variables(Maker *m)
{
    for (guint i = 0; i < N_VARIABLES; i++) {
        TnVar *var = tn_store_at(m->store, i);
        for (guint k = m->n; k-- > 0;) {
            if (tn_type_equal(tn_graph_type(m->graph, m->value[k]), &tn_var_info(var)->type) &&
                below(m, 3) != 0) {
                tn_graph_assign(m->graph, var, m->value[k]);
                break;
            }
        }
    }
}

static void
maker_clear(Maker *m)
{
    for (guint i = 0; i < N_INPUTS; i++) {
        g_clear_pointer(&m->inputs[i], tn_tensor_unref);
    }
    g_clear_pointer(&m->graph, tn_graph_unref);
    g_clear_pointer(&m->store, tn_store_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Maker, maker_clear)

static void
make(Maker *m, guint64 seed, guint size)
{
    g_autoptr(GError) error = NULL;
    *m = (Maker){ .graph = tn_graph_new("random"), .store = tn_store_new(seed) };
    tn_random_init(&m->random, seed, "random graphs", 0);
    add_sources(m);
    for (guint i = 0; i < size; i++) {
        add_node(m);
    }
    if (below(m, 2) == 0) {
        add_gradients(m);
    }
    assign_variables(m);
    for (guint i = 0; i < 6; i++) {
        g_autofree char *name = g_strdup_printf("y%u", i);
        tn_graph_output(m->graph, name, i == 0 ? m->value[m->n - 1] : pick(m));
    }
    gboolean ok = tn_graph_check(m->graph, &error);
    tn_test_check(ok, TRUE, __FILE__, __LINE__, "graph of seed %d: %s", (int)seed,
                  ok ? "" : error->message);
}

/* --- Node by node ----------------------------------------------------------------------------- */

static void
print_tensor(GString *text, const char *name, TnTensor *tensor)
{
    g_autofree char *type = tn_type_print(tn_tensor_type(tensor));
    g_autofree double *values = tn_test_doubles(tensor);
    g_string_append_printf(text, "%s %s", name, type);
    for (gint64 i = 0; i < tn_tensor_count(tensor); i++) {
        g_string_append_printf(text, isnan(values[i]) ? " nan" : " %a",
                               values[i] == 0 ? 0 : values[i]);
    }
    g_string_append_c(text, '\n');
}

static TnVal
replay_node(TnTape *tape, const Maker *m, guint node, const TnVal *map, TnVal *out, GError **error)
{
    const TnOp *op = tn_graph_node_op(m->graph, node);
    const void *attrs = tn_graph_node_attrs(m->graph, node);
    const TnVal *from;
    TnVal in[TN_MAX_IN];
    const gint n_in = tn_graph_node_inputs(m->graph, node, &from);
    if (strcmp(op->name, "constant") == 0) {
        return tn_tape_input(tape, ((const TnConstantAttrs *)attrs)->value);
    }
    if (strcmp(op->name, "variable") == 0) {
        const char *name = ((const TnVariableAttrs *)attrs)->name;
        return tn_tape_variable(tape, tn_store_find(m->store, name), error);
    }
    for (guint i = 0; i < N_INPUTS; i++) {
        if (tn_graph_input_at(m->graph, i, NULL).node == node) {
            return tn_tape_input(tape, m->inputs[i]);
        }
    }
    for (gint i = 0; i < n_in; i++) {
        in[i] =
            tn_val_is_none(from[i]) ? TN_VAL_NONE : map[from[i].node * TN_MAX_OUT + from[i].out];
    }
    return tn_tape_op(tape, op, attrs, n_in, in, out, error);
}

/* One run; what the program's outputs and variables would be, as text. NULL with *error. */
static gboolean
replay(Maker *m, TnTape *tape, GString *text, GError **error)
{
    const guint n = tn_graph_n_nodes(m->graph);
    g_autofree TnVal *map = g_new0(TnVal, (gsize)n * TN_MAX_OUT);
    for (guint i = 0; i < n; i++) {
        if (tn_graph_node_op(m->graph, i)->flags & TN_OP_EFFECT) {
            continue;
        }
        TnVal *out = &map[i * TN_MAX_OUT];
        const TnVal first = replay_node(tape, m, i, map, out, error);
        if (tn_val_is_none(first)) {
            return FALSE;
        }
        out[0] = first;
    }
    for (guint i = 0; i < tn_graph_n_outputs(m->graph); i++) {
        const TnVal val = tn_graph_output_at(m->graph, i, NULL);
        print_tensor(text, "output", tn_tape_tensor(tape, map[val.node * TN_MAX_OUT + val.out]));
    }
    for (guint i = 0; i < tn_graph_n_variables(m->graph); i++) {
        TnVal val;
        const char *name = tn_graph_variable_at(m->graph, i, NULL, NULL, &val);
        if (!tn_val_is_none(val) && !tn_tape_assign(tape, tn_store_find(m->store, name),
                                                    map[val.node * TN_MAX_OUT + val.out], error)) {
            return FALSE;
        }
    }
    tn_tape_clear(tape);
    return TRUE;
}

static void
print_variables(const Maker *m, GString *text)
{
    for (guint i = 0; i < N_VARIABLES; i++) {
        TnVar *var = tn_store_at(m->store, i);
        print_tensor(text, tn_var_info(var)->name, tn_var_tensor(var));
    }
}

static char *
node_by_node(Maker *m, TnContext *context, GError **error)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < N_VARIABLES; i++) {
        TN_REQUIRE(tn_var_reset(tn_store_at(m->store, i), NULL));
    }
    for (guint run = 0; run < 2; run++) {
        if (!replay(m, tape, text, error)) {
            return NULL;
        }
    }
    print_variables(m, text);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* --- Compiled --------------------------------------------------------------------------------- */

/* The memory limit that can just be met. */
static guint64
least_limit(const Maker *m, TnCompile options)
{
    g_autoptr(GError) error = NULL;
    options.memory_limit = 1;
    TN_REQUIRE(tn_compile(m->graph, &options, &error) == NULL);
    const char *at = strstr(error->message, "a limit of ");
    TN_REQUIRE(at != NULL);
    return g_ascii_strtoull(at + strlen("a limit of "), NULL, 10);
}

/* least: within as little memory as can be. */
static char *
compiled(Maker *m, TnDevice *first, const char *const *skip, gboolean least, GError **error)
{
    TnDevice *const devices[] = { first, ref };
    TnCompile options = { .devices = devices, .n_devices = 2, .skip = skip };
    options.memory_limit = least ? least_limit(m, options) : 0;
    g_autoptr(TnProgram) program = tn_compile(m->graph, &options, error);
    for (guint i = 0; i < N_VARIABLES; i++) {
        TN_REQUIRE(tn_var_reset(tn_store_at(m->store, i), NULL));
    }
    g_autoptr(TnExec) exec = program != NULL ? tn_exec_new(program, m->store, NULL, error) : NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    if (exec == NULL) {
        return NULL;
    }
    for (guint i = 0; i < N_INPUTS; i++) {
        TN_REQUIRE(tn_exec_bind(exec, i, m->inputs[i]) == TN_OK);
    }
    for (guint run = 0; run < 2; run++) {
        if (tn_exec_run(exec) != TN_OK) {
            g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
            return NULL;
        }
        for (guint i = 0; i < tn_graph_n_outputs(m->graph); i++) {
            print_tensor(text, "output", tn_exec_output(exec, i));
        }
    }
    print_variables(m, text);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void
check_limited(Maker *m, guint64 seed, const char *want, const char *how, TnDevice *first,
              const char *const *skip, gboolean least)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *got = compiled(m, first, skip, least, &error);
    if (got == NULL) {
        TN_FAIL("seed %d, %s without %s: %s", (int)seed, how, skip != NULL ? skip[0] : "nothing",
                error->message);
        return;
    }
    g_auto(GStrv) expected = g_strsplit(want, "\n", -1);
    g_auto(GStrv) lines = g_strsplit(got, "\n", -1);
    for (guint i = 0; expected[i] != NULL; i++) {
        if (strcmp(expected[i], lines[i]) != 0) {
            TN_FAIL("seed %d, %s without %s, line %u\n%.400s\n%.400s", (int)seed, how,
                    skip != NULL ? skip[0] : "nothing", i, expected[i], lines[i]);
            if (g_getenv("TN_SHOW") != NULL) {
                g_autofree char *graph = tn_graph_print(m->graph);
                g_printerr("%s", graph);
            }
            return;
        }
    }
}

static void
check(Maker *m, guint64 seed, const char *want, const char *how, TnDevice *first,
      const char *const *skip)
{
    check_limited(m, seed, want, how, first, skip, FALSE);
}

/* TN_SEEDS asks for more than a test run has time for, TN_FIRST begins later, TN_SHOW prints graphs
 * that fail. */
static guint64
from_environment(const char *name, guint64 otherwise)
{
    const char *text = g_getenv(name);
    return text != NULL ? g_ascii_strtoull(text, NULL, 10) : otherwise;
}

static void
compiled_is_as_node_by_node(void)
{
    const guint64 first = from_environment("TN_FIRST", 0), n = from_environment("TN_SEEDS", 60);
    const char *const *passes = tn_passes();
    guint refused = 0;
    for (guint64 seed = first; seed < first + n; seed++) {
        g_auto(Maker) m = { 0 };
        g_autoptr(GError) error = NULL;
        make(&m, seed, 8 + seed % 24);
        const char *const skip[] = { passes[seed % g_strv_length((char **)passes)], NULL };
        g_autofree char *want = node_by_node(&m, on_ref, &error);
        if (want == NULL) {
            refused++; /* an index out of range */
            continue;
        }
        check(&m, seed, want, "ref", ref, NULL);
        check(&m, seed, want, "ref", ref, skip);
        check(&m, seed, want, "ref", ref, passes);
        check(&m, seed, want, "half", half, NULL);
        check(&m, seed, want, "far", far, NULL);
        /* What cpu computes in another order, or ref while compiling, has other last bits: here
         * only what may change none is left out. */
        static const char *const quiet[] = { "fuse", "in-place", "reuse", "assign", "order", NULL };
        const char *const one[] = { quiet[seed % (G_N_ELEMENTS(quiet) - 1)], NULL };
        g_autofree char *want_cpu = compiled(&m, cpu, quiet, FALSE, &error);
        if (want_cpu == NULL) {
            TN_FAIL("seed %d: cpu: %s", (int)seed, error->message);
            continue;
        }
        check(&m, seed, want_cpu, "cpu", cpu, NULL);
        check(&m, seed, want_cpu, "cpu", cpu, one);
        check_limited(&m, seed, want_cpu, "cpu in the least memory", cpu, NULL, TRUE);
    }
    TN_ASSERT_CMPUINT(refused * 4, <=, n);
}

static const TnTest tests[] = {
    { "compiled is as node by node", compiled_is_as_node_by_node },
};

TN_TEST_MAIN_WITH("random graphs", tests, set_up, tear_down)
