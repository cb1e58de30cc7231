/* test_memory.c: the memory of the models of configs/models: the plan of every program of theirs is
 * near what is alive at most, and under a limit each gives the same bits. */
// tn-test: timeout=300
#include <tenon/host.h>
#include <tenon/program.h>

#include "tn_segments.h"
#include "tn_test.h"

static const char *const models[] = { "mlp",  "lenet", "resnet18", "resnet34", "resnet50",
                                      "lstm", "gru",   "language", "gpt" };

typedef struct {
    TnHost *host;
    TnSpec *root;
    TnJob *job;
} Case;

static void
case_open(Case *c, const char *model, const char *precision, gboolean small, guint64 limit)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autofree char *path = tn_test_source_path("tests/lua/memory.lua");
    g_autofree char *which = g_strconcat("model=", model, NULL);
    g_autofree char *most = g_strdup_printf("memory_limit=%" G_GUINT64_FORMAT, limit);
    g_autofree char *narrow = g_strconcat("precision=", precision, NULL);
    const char *const overrides[] = { which, small ? "small=true" : "small=false", most, narrow };
    const TnHostOptions trust = { .trust = TRUE }; /* it names a file to write, though none is */
    c->host = tn_host_new(&trust, &error);
    TN_REQUIRE_NO_ERROR(error);
    c->root = tn_host_load(c->host, path, G_N_ELEMENTS(overrides), overrides, faults);
    tn_faults_to_error(faults, &error);
    TN_REQUIRE_NO_ERROR(error);
    c->job = tn_job_prepare(c->host, c->root, NULL, FALSE, &error);
    TN_REQUIRE_NO_ERROR(error);
}

static void
case_clear(Case *c)
{
    tn_job_free(c->job);
    tn_spec_unref(c->root);
    tn_host_free(c->host);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

static TnProgram *
compile(const Case *c, TnFunction *function)
{
    g_autoptr(GError) error = NULL;
    TnCompile options;
    tn_compile_init(&options, tn_job_context(c->job));
    TnProgram *program = tn_compile(tn_function_graph(function), &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

static TnFunction *
find_function(const Case *c, const char *name)
{
    const char *found;
    for (guint i = 0; i < tn_job_n_functions(c->job); i++) {
        TnFunction *function = tn_job_function(c->job, i, &found);
        if (strcmp(found, name) == 0)
            return function;
    }
    TN_FAIL("no graph '%s'", name);
    return NULL;
}

static void
plans_are_near(const char *precision)
{
    for (gsize i = 0; i < G_N_ELEMENTS(models); i++) {
        g_auto(Case) c = { 0 };
        case_open(&c, models[i], precision, FALSE, 0);
        TN_ASSERT_CMPUINT(tn_job_n_functions(c.job), >=, 2); /* with gradients and without */
        for (guint k = 0; k < tn_job_n_functions(c.job); k++) {
            g_autoptr(TnProgram) program = compile(&c, tn_job_function(c.job, k, NULL));
            const guint64 live = tn_program_live_bytes(program);
            tn_test_check(
                tn_program_arena_bytes(program) <= live + live / 20, FALSE, __FILE__, __LINE__,
                "%s, %s, %s: arena %" G_GUINT64_FORMAT ", alive %" G_GUINT64_FORMAT, models[i],
                precision, tn_program_name(program), tn_program_arena_bytes(program), live);
        }
    }
}

static void
plans_are_near_what_is_alive(void)
{
    plans_are_near("f32");
}

/* Half the bytes of what products read lie beside all of others. */
static void
so_are_narrow_ones(void)
{
    plans_are_near("bf16");
}

/* --- Under a limit ---------------------------------------------------------------------------- */

/* Small integers, of floats eighths around zero. */
static TnTensor *
make_input(TnType type)
{
    TnTensor *tensor = tn_tensor_new(NULL, type, NULL);
    void *at = tn_tensor_map(tensor, TN_MAP_WRITE, NULL);
    for (gint64 i = 0; i < tn_type_count(&type); i++) {
        if (type.dtype == TN_DTYPE_F32)
            ((float *)at)[i] = (float)(i * 7 % 19) / 8 - 1;
        else
            ((gint64 *)at)[i] = i * 7 % 10;
    }
    tn_tensor_unmap(tensor);
    return tensor;
}

/* Three steps; the loss and the variables that come of it, bit by bit. arena: of the program. */
static GBytes *
run_steps(const Case *c, guint64 *arena)
{
    GByteArray *bits = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    TnFunction *step = find_function(c, "step");
    TnGraph *graph = tn_function_graph(step);
    TnStore *store = tn_context_store(tn_job_context(c->job));
    const guint n = tn_graph_n_inputs(graph);
    TnTensor *inputs[8] = { NULL };
    for (guint i = 0; i < n; i++)
        inputs[i] = make_input(*tn_graph_type(graph, tn_graph_input_at(graph, i, NULL)));
    TnExec *exec = tn_function_exec(step, n, inputs, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < 3; i++)
        TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    *arena = tn_program_arena_bytes(tn_exec_program(exec));
    for (guint i = 0; i < tn_store_n(store); i++) {
        TnTensor *tensor = tn_var_tensor(tn_store_at(store, i));
        g_byte_array_append(bits, tn_storage_memory(tn_tensor_storage(tensor)),
                            (guint)tn_tensor_bytes(tensor));
    }
    for (guint i = 0; i < n; i++)
        tn_tensor_unref(inputs[i]);
    return g_byte_array_free_to_bytes(bits);
}

static guint64
variable_bytes(const Case *c)
{
    TnGraph *graph = tn_function_graph(find_function(c, "step"));
    guint64 sum = 0;
    for (guint i = 0; i < tn_graph_n_variables(graph); i++) {
        TnType type;
        tn_graph_variable_at(graph, i, &type, NULL, NULL);
        sum += (guint64)tn_type_bytes(&type);
    }
    return sum;
}

/* How much smaller deep models become for certain, and that all give the same bits. */
static void
limits_change_no_bits(void)
{
    static const struct {
        const char *model;
        guint percent; /* of the arena */
    } cases[] = { { "resnet18", 75 }, { "resnet34", 60 }, { "resnet50", 40 }, { "gpt", 50 } };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GBytes) want = NULL;
        g_autoptr(GBytes) got = NULL;
        guint64 whole = 0, arena = 0, variables = 0;
        {
            g_auto(Case) c = { 0 };
            case_open(&c, cases[i].model, "f32", TRUE, 0);
            want = run_steps(&c, &whole);
            variables = variable_bytes(&c);
        }
        const guint64 most = whole * cases[i].percent / 100;
        g_auto(Case) c = { 0 };
        case_open(&c, cases[i].model, "f32", TRUE, variables + most);
        got = run_steps(&c, &arena);
        tn_test_check(arena <= most, FALSE, __FILE__, __LINE__,
                      "%s: arena %" G_GUINT64_FORMAT " of at most %" G_GUINT64_FORMAT,
                      cases[i].model, arena, most);
        tn_test_check(g_bytes_equal(want, got), FALSE, __FILE__, __LINE__, "%s: other bits",
                      cases[i].model);
    }
}

/* --- Against segments of equal length --------------------------------------------------------- */

/* In the memory that checkpoints of segments take, fewer operations are computed again than they need; and
 * no more than that in less memory. */
static void
better_than_segments(void)
{
    static const struct {
        const char *model;
        guint length;  /* of segments; 0: the root of the number of instructions */
        guint percent; /* of their memory */
    } cases[] = { { "resnet18", 0, 100 }, { "resnet18", 0, 80 }, { "resnet18", 6, 100 },
                  { "gpt", 0, 100 },      { "gpt", 0, 80 },      { "gpt", 2, 100 } };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Case) c = { 0 };
        g_autoptr(GError) error = NULL;
        TnCompile options;
        TnSegments segments;
        case_open(&c, cases[i].model, "f32", FALSE, 0);
        const TnGraph *step = tn_function_graph(find_function(&c, "step"));
        tn_compile_init(&options, tn_job_context(c.job));
        tn_segments(step, &options, "loss.", cases[i].length, &segments);
        const guint64 most = segments.peak * cases[i].percent / 100;
        options.memory_limit = variable_bytes(&c) + most;
        g_autoptr(TnProgram) program = tn_compile(step, &options, &error);
        TN_REQUIRE_NO_ERROR(error);
        tn_test_check(tn_program_flops(program, NULL) < segments.flops, FALSE, __FILE__, __LINE__,
                      "%s: %.3g operations in %.1f MiB, segments of %u take %.3g in %.1f MiB",
                      cases[i].model, tn_program_flops(program, NULL),
                      (double)tn_program_arena_bytes(program) / (1 << 20), segments.length,
                      segments.flops, (double)segments.peak / (1 << 20));
    }
}

static const TnTest tests[] = {
    { "plans are near what is alive", plans_are_near_what_is_alive },
    { "so are narrow ones", so_are_narrow_ones },
    { "limits change no bits", limits_change_no_bits },
    { "better than segments", better_than_segments },
};
TN_TEST_MAIN("memory", tests)
