/* tn_graphs.c - devices to test on, and graphs made at random: any operator whose inference
 * accepts what is there. */
#include "tn_graphs.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_test.h"

/* ---- a device of half of ref's kernels ---- */

#define MAX_ROWS 512

static const TnDeviceVTable half_vtable = { .size = sizeof(TnDeviceVTable),
                                            .kind = "half",
                                            .host_memory = TRUE };
static TnKernel half_rows[MAX_ROWS];
static TnKernelTable half_table = { .size = sizeof(TnKernelTable),
                                    .kind = "half",
                                    .kernel_size = sizeof(TnKernel),
                                    .kernels = half_rows };

static void *
half_create(TnConfig *config, TnContext *context, GError **error)
{
    (void)config;
    (void)context;
    (void)error;
    return g_malloc0(1);
}

static const TnFactory half_device = { .size = sizeof(TnFactory),
                                       .iface = "tenon.device/1",
                                       .name = "half",
                                       .help = "half of ref",
                                       .rank = -100,
                                       .create = half_create,
                                       .destroy = g_free,
                                       .vtable = &half_vtable };
static const TnFactory half_kernels = { .size = sizeof(TnFactory),
                                        .flags = TN_FACTORY_INTERNAL,
                                        .iface = "tenon.kernel/1",
                                        .name = "half",
                                        .help = "half of ref's kernels",
                                        .rank = -100,
                                        .vtable = &half_table };
static const TnFactory *const half_factories[] = { &half_device, &half_kernels, NULL };
static const TnPlugin half_plugin = { TN_PLUGIN_HEAD("half", "0.1.0", "Apache-2.0", "half of ref"),
                                      .factories = half_factories };

/* May be called before the first test runs, where no check can be recorded. */
static void
must(gboolean ok, const char *what, const GError *error)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, error != NULL ? error->message : "failed");
        exit(EXIT_FAILURE);
    }
}

static void
add_half(void)
{
    g_autoptr(GPtrArray) tables = tn_registry_query("tenon.kernel/1");
    for (guint i = 0; i < tables->len; i++) {
        const TnFactory *factory = g_ptr_array_index(tables, i);
        const TnKernelTable *table = factory->vtable;
        for (guint32 k = 0; strcmp(table->kind, "ref") == 0 && k < table->n_kernels; k++) {
            const char *row = (const char *)table->kernels + (gsize)k * table->kernel_size;
            const TnKernel *kernel = (const TnKernel *)(gconstpointer)row;
            if (g_str_hash(kernel->op) % 2 == 0 && half_table.n_kernels < MAX_ROWS)
                half_rows[half_table.n_kernels++] = *kernel;
        }
    }
    must(tn_registry_add(&half_plugin, NULL), "half", NULL);
}

/* ---- devices ---- */

static void
set_paths(void)
{
    static const char *const folders[] = { "plugins", "tests/plugins-far" };
    g_autoptr(GError) error = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *folder = tn_test_build_path(folders[i]);
        tn_registry_add_path(folder);
    }
    const gboolean ok = tn_registry_open("ref", &error);
    must(ok, "ref", error); /* not in one: error is set by then */
    add_half();
}

TnDevice *
tn_test_device(const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    g_autoptr(GError) error = NULL;
    pthread_once(&once, set_paths);
    TnDevice *device = tn_device_open(name, NULL, &error);
    must(device != NULL, name, error);
    return device;
}

TnContext *
tn_test_context(const char *device, ...)
{
    TnContext *context = tn_context_new();
    va_list ap;
    va_start(ap, device);
    for (const char *name = device; name != NULL; name = va_arg(ap, const char *)) {
        g_autoptr(TnDevice) opened = tn_test_device(name);
        tn_context_add_device(context, opened);
    }
    va_end(ap);
    return context;
}

/* ---- graphs at random ---- */

#define MAX_VALUES 512
#define MAX_ELEMENTS 4096

typedef struct {
    TnRandomGraph *into;
    TnRandom random;
    GPtrArray *ops;
    guint n;
    TnVal value[MAX_VALUES];
} Maker;

static TnTensor *
random_tensor(TnRandom *random, TnType type)
{
    TnTensor *tensor = tn_tensor_new(NULL, type, NULL);
    TN_REQUIRE(tensor != NULL);
    char *data = tn_tensor_map(tensor, TN_MAP_WRITE, NULL);
    const gsize size = tn_dtype_size(type.dtype);
    for (gint64 i = 0; i < tn_tensor_count(tensor); i++) {
        /* Halves between -2 and 2: sums and products of few of them are exact. */
        const double value = (double)tn_random_below(random, 9) * 0.5 - 2;
        const double stored = type.dtype == TN_DTYPE_BOOL ? value > 0 : value;
        tn_dtype_convert(type.dtype, data + (gsize)i * size, 1, TN_DTYPE_F64, &stored, 1, 1);
    }
    tn_tensor_unmap(tensor);
    return tensor;
}

static TnType
random_type(TnRandom *random)
{
    static const gint64 sizes[] = { 3, 1, 4, 3, 0, 2 };
    static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_F32, TN_DTYPE_F32,
                                      TN_DTYPE_F64, TN_DTYPE_I64, TN_DTYPE_BOOL };
    TnType type = { .dtype = dtypes[tn_random_below(random, G_N_ELEMENTS(dtypes))] };
    type.rank = (gint32)tn_random_below(random, 4);
    for (gint i = 0; i < type.rank; i++) {
        const guint64 pick = tn_random_below(random, 20);
        type.dims[i] = sizes[pick == 0 ? 4 : pick % 4]; /* a size of 0 is rare: it spreads */
    }
    return type;
}

static const TnType *
type_of(const Maker *m, guint i)
{
    return tn_graph_type(m->into->graph, m->value[i]);
}

static void
add_value(Maker *m, TnVal val)
{
    if (m->n < MAX_VALUES)
        m->value[m->n++] = val;
}

/* The attributes of one of the operator's own samples; defaults if it has none. */
static void
random_attrs(Maker *m, const TnOp *op, void *attrs)
{
    TnSample sample = { .size = sizeof(TnSample), .dtype = TN_DTYPE_F32, .attrs = attrs };
    sample.variant = (guint)tn_random_below(&m->random, 12);
    tn_options_defaults(&op->attrs, attrs);
    if (op->sample == NULL || !op->sample(&sample)) {
        memset(attrs, 0, op->attrs.struct_size);
        tn_options_defaults(&op->attrs, attrs);
    }
    for (gint i = 0; i < TN_MAX_IN; i++)
        g_clear_pointer(&sample.value[i], tn_tensor_unref);
}

static gboolean
small_enough(gint n, const TnType *types)
{
    for (gint i = 0; i < n; i++) {
        const gint64 count = tn_type_count(&types[i]);
        if (count < 0 || count > MAX_ELEMENTS)
            return FALSE;
    }
    return TRUE;
}

/* Mostly one of the latest, so that graphs become deep. */
static guint
pick_value(Maker *m)
{
    const guint near = MIN(m->n, 8);
    return tn_random_below(&m->random, 3) != 0 ? m->n - 1 - (guint)tn_random_below(&m->random, near)
                                               : (guint)tn_random_below(&m->random, m->n);
}

static gboolean
try_node(Maker *m, const TnOp *op, void *attrs)
{
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    TnType types[TN_MAX_IN], result[TN_MAX_OUT];
    gint n_in = (gint)op->n_inputs, n_out = 0;
    const TnOpArg *last = tn_op_input(op, n_in - 1);
    if (last != NULL && (last->flags & TN_ARG_VARIADIC))
        n_in += (gint)tn_random_below(&m->random, 3);
    for (gint i = 0; i < n_in; i++) {
        const guint pick = pick_value(m);
        in[i] = m->value[pick];
        types[i] = *type_of(m, pick);
    }
    if (!tn_op_infer(op, attrs, "node", n_in, types, NULL, &n_out, result, NULL) ||
        !small_enough(n_out, result))
        return FALSE;
    tn_graph_add(m->into->graph, op, attrs, n_in, in, out);
    for (gint i = 0; i < n_out; i++)
        add_value(m, out[i]);
    return TRUE;
}

static void
add_node(Maker *m)
{
    for (guint tries = 0; tries < 200; tries++) {
        const TnOp *op = g_ptr_array_index(m->ops, tn_random_below(&m->random, m->ops->len));
        g_autofree void *attrs = g_malloc0(op->attrs.struct_size + 1);
        random_attrs(m, op, attrs);
        const gboolean ok = try_node(m, op, attrs);
        tn_options_drop(&op->attrs, attrs);
        if (ok)
            return;
    }
}

/* Indices at random would be out of range; sources and assigns are made otherwise. */
static gboolean
can_choose(const TnOp *op)
{
    if ((op->flags & (TN_OP_SOURCE | TN_OP_EFFECT | TN_OP_RANDOM | TN_OP_IMPERATIVE)) ||
        op->n_inputs == 0 || op->n_outputs == 0)
        return FALSE;
    for (guint32 i = 0; i < op->attrs.n; i++) {
        if (tn_options_row(&op->attrs, i)->type == TN_OPT_GRAPH)
            return FALSE;
    }
    for (gint i = 0; i < (gint)op->n_inputs; i++) {
        if (tn_op_input(op, i)->flags & (TN_ARG_INDEX | TN_ARG_STATIC))
            return FALSE;
    }
    return TRUE;
}

static void
choose_ops(Maker *m, const char *const *names)
{
    guint n;
    const TnOp *const *all = tn_op_primitives(&n);
    for (guint i = 0; names == NULL && i < n; i++) {
        /* Element-wise ones more often: they are what most graphs are made of. */
        const guint times = !can_choose(all[i]) ? 0 : all[i]->flags & TN_OP_ELEMENTWISE ? 3 : 1;
        for (guint k = 0; k < times; k++)
            g_ptr_array_add(m->ops, (gpointer)all[i]);
    }
    for (guint i = 0; names != NULL && names[i] != NULL; i++) {
        const TnOp *op = tn_op_find(names[i], NULL);
        TN_REQUIRE(op != NULL);
        g_ptr_array_add(m->ops, (gpointer)op);
    }
}

static void
add_variables(Maker *m)
{
    TnRandomGraph *into = m->into;
    for (guint i = 0; i < 4; i++) {
        g_autofree char *name = g_strdup_printf("v%u", i);
        const TnVarInfo info = { .name = name,
                                 .type = i < 2 ? random_type(&m->random)
                                               : *tn_tensor_type(into->inputs[i - 2]),
                                 .init = { .kind = TN_INIT_UNIFORM, .a = -2, .b = 2 } };
        TnVar *var = tn_store_var(into->store, NULL, &info, NULL);
        if (var != NULL)
            add_value(m, tn_graph_variable(into->graph, var));
    }
}

/* To each variable a late value of its type, if there is one; now and then another variable's
 * old value. */
static void
assign_variables(Maker *m)
{
    for (guint i = 0; i < tn_store_n(m->into->store); i++) {
        TnVar *var = tn_store_at(m->into->store, i);
        for (guint k = m->n; k-- > 0;) {
            if (tn_type_equal(type_of(m, k), &tn_var_info(var)->type) &&
                tn_random_below(&m->random, 3) != 0) {
                tn_graph_assign(m->into->graph, var, m->value[k]);
                break;
            }
        }
    }
}

void
tn_random_graph(TnRandomGraph *random, guint64 seed, guint size, const char *const *ops)
{
    Maker m = { .into = random, .ops = g_ptr_array_new() };
    *random = (TnRandomGraph){ .graph = tn_graph_new("random"), .store = tn_store_new(seed) };
    tn_random_init(&m.random, seed, "graph", 0);
    choose_ops(&m, ops);
    for (random->n_inputs = 0; random->n_inputs < 5; random->n_inputs++) {
        g_autofree char *name = g_strdup_printf("x%u", random->n_inputs);
        TnType type = random_type(&m.random);
        if (random->n_inputs < 2) /* something that most operators take */
            type = (TnType){ .dtype = TN_DTYPE_F32, .rank = 2, .dims = { 3, 4 } };
        random->inputs[random->n_inputs] = random_tensor(&m.random, type);
        add_value(&m, tn_graph_input(random->graph, name, type));
    }
    add_value(&m, tn_graph_scalar(random->graph, TN_DTYPE_F32, 0));
    add_value(&m, tn_graph_scalar(random->graph, TN_DTYPE_F32, 1));
    add_value(&m, tn_graph_scalar(random->graph, TN_DTYPE_F32, -0.5));
    add_variables(&m);
    for (guint i = 0; i < size; i++)
        add_node(&m);
    assign_variables(&m);
    for (guint i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("y%u", i);
        tn_graph_output(random->graph, name, m.value[i == 0 ? m.n - 1 : pick_value(&m)]);
    }
    g_ptr_array_unref(m.ops);
    g_autoptr(GError) error = NULL;
    gboolean ok = tn_graph_check(random->graph, &error);
    tn_test_check(ok, TRUE, __FILE__, __LINE__, "graph of seed %d: %s", (int)seed,
                  ok ? "" : error->message);
}

void
tn_random_graph_clear(TnRandomGraph *random)
{
    for (guint i = 0; i < random->n_inputs; i++)
        g_clear_pointer(&random->inputs[i], tn_tensor_unref);
    g_clear_pointer(&random->graph, tn_graph_unref);
    g_clear_pointer(&random->store, tn_store_unref);
}

/* ---- running them ---- */

static void
print_tensor(GString *text, const char *name, TnTensor *tensor)
{
    g_autofree char *type = tn_type_print(tn_tensor_type(tensor));
    g_autoptr(TnTensor) host = tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, NULL);
    g_string_append_printf(text, "%s %s", name, type);
    for (gint64 i = 0; host != NULL && i < tn_tensor_count(host); i++) {
        const double value = tn_tensor_get(host, i);
        g_string_append_printf(text, isnan(value) ? " nan" : " %a", value == 0 ? 0 : value);
    }
    g_string_append_c(text, '\n');
}

static gboolean
run_all(const TnRandomGraph *random, TnExec *exec, guint runs, GString *text)
{
    for (guint i = 0; i < random->n_inputs; i++) {
        if (tn_exec_bind(exec, i, random->inputs[i]) != TN_OK)
            return FALSE;
    }
    for (guint run = 0; run < runs; run++) {
        if (tn_exec_run(exec) != TN_OK)
            return FALSE;
        for (guint i = 0; i < tn_graph_n_outputs(random->graph); i++)
            print_tensor(text, "output", tn_exec_output(exec, i));
    }
    return TRUE;
}

char *
tn_random_graph_run(const TnRandomGraph *random, const TnCompile *options, guint runs)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(random->graph, options, &error);
    for (guint i = 0; i < tn_store_n(random->store); i++)
        TN_ASSERT(tn_var_reset(tn_store_at(random->store, i), NULL));
    g_autoptr(TnExec) exec =
        program != NULL ? tn_exec_new(program, random->store, NULL, &error) : NULL;
    if (exec == NULL) {
        TN_FAIL("%s", error->message);
        return NULL;
    }
    GString *text = g_string_new(NULL);
    if (!run_all(random, exec, runs, text)) {
        TN_FAIL("%s", tn_exec_error(exec)->message);
        g_string_free(text, TRUE);
        return NULL;
    }
    for (guint i = 0; i < tn_store_n(random->store); i++) {
        TnVar *var = tn_store_at(random->store, i);
        print_tensor(text, tn_var_info(var)->name, tn_var_tensor(var));
    }
    return g_string_free(text, FALSE);
}

gboolean
tn_test_same(TnTensor *a, TnTensor *b)
{
    g_autoptr(GString) x = g_string_new(NULL);
    g_autoptr(GString) y = g_string_new(NULL);
    print_tensor(x, "", a);
    print_tensor(y, "", b);
    return g_string_equal(x, y);
}
