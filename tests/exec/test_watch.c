/* test_watch.c: what the watch of a context is told of instructions and spans, what programs say of
 * their instructions and memory, and that nobody is called where nobody watches. */
#include <tenon/base.h>
#include <tenon/ops.h>

#include "tn_graphs.h"
#include "tn_test.h"

#define MOST 64

typedef struct {
    guint n, depth, deepest, spans;
    guint numbers[MOST];
    gint64 begin[MOST], end[MOST];
    guint n_out; /* of all steps together */
    gint64 span_begin, span_end;
    char *span;
    guint stop_at; /* instruction whose call returns TN_CANCELLED; G_MAXUINT: none */
} Seen;

static TnStatus
see(TnExec *exec, const TnExecStep *step, gpointer data)
{
    Seen *seen = data;
    (void)exec;
    TN_REQUIRE(seen->n < MOST);
    seen->numbers[seen->n] = step->number;
    seen->begin[seen->n] = step->begin;
    seen->end[seen->n] = step->end;
    seen->n_out += step->n_out;
    seen->n++;
    return step->number == seen->stop_at ? TN_CANCELLED : TN_OK;
}

static void
see_begin(gpointer data)
{
    Seen *seen = data;
    seen->depth++;
    seen->deepest = MAX(seen->deepest, seen->depth);
}

static void
see_end(const char *kind, const char *name, gint64 begin, gint64 end, gpointer data)
{
    Seen *seen = data;
    seen->depth--;
    seen->spans++;
    if (strcmp(kind, "program") == 0) {
        g_free(seen->span);
        seen->span = g_strdup(name);
        seen->span_begin = begin;
        seen->span_end = end;
    }
}

static TnType
matrix(gint64 rows, gint64 columns)
{
    return tn_type(TN_DTYPE_F32, 2, (const gint64[]){ rows, columns });
}

/* tanh (a b) exp (a b), and the product itself, transposed. */
static TnGraph *
network(void)
{
    TnGraph *graph = tn_graph_new("network");
    const TnVal a = tn_graph_input(graph, "a", matrix(4, 3)),
                b = tn_graph_input(graph, "b", matrix(3, 5));
    const TnVal c = tn_f_matmul(graph, a, b);
    const TnVal left = tn_f_tanh(graph, c), right = tn_f_exp(graph, c);
    tn_graph_output(graph, "y", tn_f_mul(graph, left, right));
    tn_graph_output(graph, "t", tn_f_transpose_matrix(graph, c));
    return graph;
}

static TnExec *
exec_of(TnFunction *function)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) a = tn_tensor_zeros(NULL, matrix(4, 3), NULL),
                        b = tn_tensor_zeros(NULL, matrix(3, 5), NULL);
    TnTensor *const inputs[] = { a, b };
    TnExec *exec = tn_function_exec(function, 2, inputs, &error);
    TN_REQUIRE_NO_ERROR(error);
    return exec;
}

static void
every_instruction_is_shown(void)
{
    Seen seen = { .stop_at = G_MAXUINT };
    const TnWatch watch = { sizeof(TnWatch), see, see_begin, see_end, &seen };
    g_autoptr(TnContext) context = tn_test_context("cpu", "ref", NULL);
    tn_context_set_watch(context, &watch);
    g_autoptr(TnGraph) graph = network();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TnExec *exec = exec_of(function);
    const guint n = tn_program_n_instructions(tn_exec_program(exec));
    TN_ASSERT_CMPUINT(seen.spans, ==, 1); /* it was compiled */
    TN_ASSERT(tn_exec_is_watched(exec));
    TN_ASSERT(tn_exec_run(exec) == TN_OK && tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPUINT(seen.n, ==, 2 * n);
    TN_ASSERT_CMPUINT(seen.spans, ==, 3);
    TN_ASSERT_CMPUINT(seen.depth, ==, 0);
    TN_ASSERT_CMPUINT(seen.n_out, ==, 0); /* tensors are made for who asks */
    TN_ASSERT_CMPSTR(seen.span, "network");
    for (guint i = 0; i < seen.n; i++) {
        TN_ASSERT_CMPUINT(seen.numbers[i], ==, i % n);
        TN_ASSERT_CMPINT(seen.begin[i], <=, seen.end[i]);
        TN_ASSERT(i == 0 || seen.end[i - 1] <= seen.begin[i]);
    }
    TN_ASSERT(seen.span_begin <= seen.begin[n] && seen.end[2 * n - 1] <= seen.span_end);
    g_free(seen.span);
}

static void
a_watch_may_end_the_run(void)
{
    Seen seen = { .stop_at = 1 };
    const TnWatch watch = { sizeof(TnWatch), see, NULL, NULL, &seen };
    g_autoptr(TnContext) context = tn_test_context("cpu", "ref", NULL);
    tn_context_set_watch(context, &watch);
    g_autoptr(TnGraph) graph = network();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TnExec *exec = exec_of(function);
    TN_ASSERT(tn_exec_run(exec) == TN_CANCELLED);
    TN_ASSERT_CMPUINT(seen.n, ==, 2);
}

/* One exec's own watch takes the place of the context's while it is there. */
static void
one_at_a_time(void)
{
    Seen ours = { .stop_at = G_MAXUINT }, its = { .stop_at = G_MAXUINT };
    const TnWatch watch = { sizeof(TnWatch), see, see_begin, see_end, &ours };
    g_autoptr(TnContext) context = tn_test_context("cpu", "ref", NULL);
    tn_context_set_watch(context, &watch);
    g_autoptr(TnGraph) graph = network();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TnExec *exec = exec_of(function);
    const guint n = tn_program_n_instructions(tn_exec_program(exec));
    tn_exec_watch(exec, see, &its);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPUINT(ours.n, ==, 0);
    TN_ASSERT_CMPUINT(its.n, ==, n);
    TN_ASSERT_CMPUINT(its.n_out, >=, n);
    tn_exec_watch(exec, NULL, NULL);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPUINT(ours.n, ==, n);
    TN_ASSERT_CMPUINT(its.n, ==, n);
    g_free(ours.span);
}

static void
nobody_watches_by_default(void)
{
    g_autoptr(TnContext) context = tn_test_context("cpu", "ref", NULL);
    g_autoptr(TnGraph) graph = network();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TnExec *exec = exec_of(function);
    TN_ASSERT(tn_context_watch(context) == NULL);
    TN_ASSERT(!tn_exec_is_watched(exec));
    TN_ASSERT_CMPINT(tn_span_begin(context), ==, 0); /* the clock is not asked either */
    TN_ASSERT_CMPINT(tn_span_begin(NULL), ==, 0);
    tn_span_end(context, "wait", "nothing", 0);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
}

/* --- What programs say ------------------------------------------------------------------------ */

static void
instructions_are_described(void)
{
    g_autoptr(TnContext) context = tn_test_context("cpu", "ref", NULL);
    g_autoptr(TnGraph) graph = network();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    const TnProgram *program = tn_exec_program(exec_of(function));
    TnProgramStep info = { .size = sizeof info };
    guint products = 0, groups = 0;
    double sum = 0;
    for (guint i = 0; tn_program_step(program, i, &info); i++) {
        g_autofree char *group = tn_program_group(program, i);
        sum += info.flops;
        TN_ASSERT_CMPSTR(info.device, "cpu");
        if (strcmp(info.op->name, "matmul") == 0) {
            products++;
            TN_ASSERT_CMPFLOAT(info.flops, ==, 2.0 * 4 * 3 * 5);
            TN_ASSERT_CMPUINT(info.bytes_read, ==, 4 * (4 * 3 + 3 * 5));
            TN_ASSERT_CMPUINT(info.bytes_written, ==, 4 * 4 * 5);
            TN_ASSERT_CMPSTR(info.plugin, "cpu");
            TN_ASSERT_CONTAINS(info.kernel, "matmul");
            TN_ASSERT_CMPUINT(info.n_in, ==, 2);
            TN_ASSERT_CMPINT(info.types[2].dims[1], ==, 5);
            TN_ASSERT(group == NULL);
        } else if (group) {
            groups++;
            TN_ASSERT_CMPSTR(group, "tanh exp mul");
            TN_ASSERT_CMPFLOAT(info.flops, ==, 3 * 4 * 5);
        }
    }
    TN_ASSERT_CMPUINT(products, ==, 1);
    TN_ASSERT_CMPUINT(groups, ==, 1);
    guint unknown = 7;
    TN_ASSERT_CMPFLOAT(tn_program_flops(program, &unknown), ==, sum);
    TN_ASSERT_CMPUINT(unknown, ==, 0);
    TN_ASSERT(!tn_program_step(program, tn_program_n_instructions(program), &info));
    TN_ASSERT_CMPSTR(tn_program_name(program), "network");
}

/* A repeated element is read once. */
static void
views_read_what_they_show(void)
{
    g_autoptr(TnContext) context = tn_test_context("cpu", "ref", NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("views");
    g_autoptr(GError) error = NULL;
    const gint64 n = 6;
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 1, &n)),
                y = tn_graph_input(graph, "y", matrix(5, 6));
    tn_graph_output(graph, "out", tn_f_add(graph, tn_f_expand_as(graph, x, y), y));
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    g_autoptr(TnTensor) a = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 1, &n), NULL),
                        b = tn_tensor_zeros(NULL, matrix(5, 6), NULL);
    TnTensor *const inputs[] = { a, b };
    const TnExec *exec = tn_function_exec(function, 2, inputs, &error);
    TN_REQUIRE_NO_ERROR(error);
    TnProgramStep info = { .size = sizeof info };
    TN_ASSERT_CMPUINT(tn_program_n_instructions(tn_exec_program(exec)), ==, 1);
    TN_ASSERT(tn_program_step(tn_exec_program(exec), 0, &info));
    TN_ASSERT_CMPUINT(info.bytes_read, ==, 4 * (6 + 30));
    TN_ASSERT_CMPUINT(info.bytes_written, ==, 4 * 30);
}

/* The pieces alive at each instruction are those that its number of live bytes counts, they do not
 * overlap, and the most there are is what the plan says. */
static void
pieces_add_up(void)
{
    g_autoptr(TnContext) context = tn_test_context("ref", NULL);
    TnDevice *const devices[] = { tn_context_device(context, 0) };
    for (guint seed = 0; seed < 30; seed++) {
        g_auto(TnRandomGraph) random = { 0 };
        g_autoptr(GError) error = NULL;
        tn_random_graph(&random, seed, 30, NULL);
        const TnCompile options = { .devices = devices, .n_devices = 1 };
        g_autoptr(TnProgram) program = tn_compile(random.graph, &options, &error);
        TN_REQUIRE_NO_ERROR(error);
        TnProgramStep info = { .size = sizeof info };
        guint64 most = 0;
        for (guint i = 0; tn_program_step(program, i, &info); i++) {
            g_autoptr(GArray) pieces = tn_program_pieces(program, i);
            guint64 sum = 0;
            for (guint k = 0; k < pieces->len; k++) {
                const TnProgramPiece *piece = &g_array_index(pieces, TnProgramPiece, k);
                sum += piece->bytes;
                TN_ASSERT(piece->first <= i && i <= piece->last && *piece->name);
                TN_ASSERT(!piece->type || (guint64)tn_type_bytes(piece->type) <= piece->bytes);
                for (guint j = 0; j < k; j++) {
                    const TnProgramPiece *other = &g_array_index(pieces, TnProgramPiece, j);
                    TN_ASSERT(other->bytes >= piece->bytes);
                    TN_ASSERT(other->offset + other->bytes <= piece->offset ||
                              piece->offset + piece->bytes <= other->offset);
                }
            }
            TN_ASSERT_CMPUINT(sum, ==, info.live_bytes);
            most = MAX(most, sum);
        }
        TN_ASSERT_CMPUINT(most, <=, tn_program_live_bytes(program));
        TN_ASSERT(most == tn_program_live_bytes(program) ||
                  tn_program_n_instructions(program) == 0);
    }
}

static const TnTest tests[] = {
    { "every instruction is shown", every_instruction_is_shown },
    { "a watch may end the run", a_watch_may_end_the_run },
    { "one at a time", one_at_a_time },
    { "nobody watches by default", nobody_watches_by_default },
    { "instructions are described", instructions_are_described },
    { "views read what they show", views_read_what_they_show },
    { "pieces add up", pieces_add_up },
};
TN_TEST_MAIN("watch", tests)
