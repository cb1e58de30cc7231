/* The builder: names, scopes, latching errors, variables, sub-graphs, copies, types at other sizes,
 * printing. */
#include "graph/graph-private.h"

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/store.h>
#include <tn_test.h>

static TnType
f32(gint rank, const gint64 *dims)
{
    return tn_type(TN_DTYPE_F32, rank, dims);
}
#define F32(...)                                                                                   \
    f32(G_N_ELEMENTS(((const gint64[]){ __VA_ARGS__ })), (const gint64[]){ __VA_ARGS__ })

static void
assert_type(const TnGraph *graph, TnVal val, const char *want)
{
    g_autofree char *got = tn_type_print(tn_graph_type(graph, val));
    TN_ASSERT_CMPSTR(got, want);
}

/* --- Names ------------------------------------------------------------------------------------ */

static void
names(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("step");
    const TnVal x = tn_graph_input(graph, "x", F32(2, 3));
    TN_ASSERT_CMPSTR(tn_graph_scope(graph), "");
    tn_graph_push(graph, "model");
    tn_graph_push(graph, "conv1");
    TN_ASSERT_CMPSTR(tn_graph_scope(graph), "model.conv1");
    const TnVal a = tn_f_neg(graph, x);
    const TnVal b = tn_f_neg(graph, a);
    tn_graph_pop(graph);
    const TnVal c = tn_f_neg(graph, b);
    tn_graph_push(graph, "conv1");
    const TnVal d = tn_f_neg(graph, c);
    tn_graph_pop(graph);
    tn_graph_pop(graph);
    const TnVal e = tn_f_neg(graph, d);
    TN_ASSERT_CMPSTR(tn_graph_name(graph), "step");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, x.node), "x");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, a.node), "model.conv1.neg");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, b.node), "model.conv1.neg_2");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, c.node), "model.neg");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, d.node), "model.conv1.neg_3");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, e.node), "neg");
}

/* A name that looks like a numbered one does not collide. */
static void
names_that_look_numbered(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "neg_2", F32(2));
    const TnVal a = tn_f_neg(graph, x);
    const TnVal b = tn_f_neg(graph, x);
    const TnVal c = tn_f_neg(graph, x);
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, a.node), "neg");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, b.node), "neg_3");
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, c.node), "neg_4");
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void
errors_latch(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("step");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", F32(128, 784));
    const TnVal w = tn_graph_input(graph, "w", F32(512, 10));
    TnVal out[TN_MAX_OUT];
    tn_graph_push(graph, "model");
    tn_graph_push(graph, "fc1");
    TN_ASSERT(tn_graph_check(graph, &error));
    const TnVal bad = tn_f_matmul(graph, x, w);
    TN_ASSERT(tn_val_is_none(bad));
    const guint n = tn_graph_n_nodes(graph);
    /* Formulas go on, on nothing. */
    TN_ASSERT(tn_val_is_none(tn_f_add(graph, bad, x)));
    TN_ASSERT(tn_val_is_none(tn_f_reduce_mean(graph, bad, 0, NULL, FALSE)));
    TN_ASSERT(tn_val_is_none(tn_f_transpose_matrix(graph, bad)));
    TN_ASSERT(tn_val_is_none(tn_graph_op(graph, "split", NULL, 1, &bad, out)));
    TN_ASSERT(tn_val_is_none(out[0]) && tn_val_is_none(out[TN_MAX_OUT - 1]));
    TN_ASSERT_CMPINT(tn_graph_type(graph, bad)->dtype, ==, TN_DTYPE_NONE);
    tn_graph_output(graph, "y", bad);
    tn_graph_fail(graph, TN_ERROR_CONFIG, "a later one");
    TN_ASSERT_CMPUINT(tn_graph_n_nodes(graph), ==, n);
    for (gint i = 0; i < 2; i++) {
        TN_ASSERT(!tn_graph_check(graph, &error));
        TN_ASSERT_CMPSTR(error->message,
                         "model.fc1.matmul (matmul): inputs 'A' f32[128, 784] and 'B' "
                         "f32[512, 10]: inner sizes differ: 784 and 512");
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE);
    }
    TnVal grad;
    TN_ASSERT(!tn_grad(graph, x, TN_VAL_NONE, 1, &x, &grad, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "inner sizes differ");
}

typedef void (*Mistake)(TnGraph *graph, TnVal x);

static void
unknown_operator(TnGraph *graph, TnVal x)
{
    tn_graph_op(graph, "matmull", NULL, 1, &x, NULL);
}

static void
two_inputs(TnGraph *graph, TnVal x)
{
    (void)x;
    tn_graph_input(graph, "x", F32(1));
}

static void
two_outputs(TnGraph *graph, TnVal x)
{
    tn_graph_output(graph, "y", x);
    tn_graph_output(graph, "y", x);
}

static void
absent_output(TnGraph *graph, TnVal x)
{
    (void)x;
    tn_graph_output(graph, "y", TN_VAL_NONE);
}

static void
foreign_value(TnGraph *graph, TnVal x)
{
    (void)x;
    tn_f_neg(graph, (TnVal){ 999, 0 });
}

static void
foreign_output(TnGraph *graph, TnVal x)
{
    tn_f_neg(graph, (TnVal){ x.node, 1 });
}

static void
absent_input(TnGraph *graph, TnVal x)
{
    tn_f_add(graph, x, TN_VAL_NONE);
}

static void
own_check(TnGraph *graph, TnVal x)
{
    (void)x;
    tn_graph_fail(graph, TN_ERROR_CONFIG, "%d heads do not divide %d channels", 3, 16);
}

static void
typeless_input(TnGraph *graph, TnVal x)
{
    (void)x;
    tn_graph_input(graph, "z", (TnType){ 0 });
}

static void
errors(void)
{
    static const struct {
        Mistake make;
        TnErrorCode code;
        const char *text;
    } mistakes[] = {
        { unknown_operator, TN_ERROR_NOT_FOUND, "matmul" },
        { two_inputs, TN_ERROR_USAGE, "layer: graph 'step' has two inputs 'x'" },
        { two_outputs, TN_ERROR_USAGE, "layer: graph 'step' has two outputs 'y'" },
        { absent_output, TN_ERROR_USAGE, "layer: output 'y' of graph 'step' has no value" },
        { foreign_value, TN_ERROR_USAGE,
          "layer.neg (neg): input 0 is not a value of graph 'step'" },
        { foreign_output, TN_ERROR_USAGE,
          "layer.neg (neg): input 0 is not a value of graph 'step'" },
        { absent_input, TN_ERROR_USAGE, "layer.add (add): input 'b' is missing" },
        { own_check, TN_ERROR_CONFIG, "layer: 3 heads do not divide 16 channels" },
        { typeless_input, TN_ERROR_SHAPE, "input 'z' has no usable type" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(mistakes); i++) {
        g_autoptr(TnGraph) graph = tn_graph_new("step");
        g_autoptr(GError) error = NULL;
        const TnVal x = tn_graph_input(graph, "x", F32(2, 3));
        tn_graph_push(graph, "layer");
        mistakes[i].make(graph, x);
        TN_ASSERT(!tn_graph_check(graph, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, (int)mistakes[i].code, mistakes[i].text);
    }
}

/* --- Nodes ------------------------------------------------------------------------------------ */

static void
reading(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", F32(4, 6));
    const TnSplitAttrs attrs = { .axis = 1, .num_outputs = 3 };
    TnVal out[TN_MAX_OUT];
    const char *name;
    const TnVal first = tn_graph_op(graph, "split", &attrs, 1, &x, out);
    TN_ASSERT(tn_val_equal(first, out[0]));
    TN_ASSERT(!tn_val_is_none(out[2]) && tn_val_is_none(out[3]));
    assert_type(graph, out[2], "f32[4, 2]");
    TN_ASSERT_CMPINT(tn_graph_node_n_outputs(graph, first.node), ==, 3);
    TN_ASSERT_CMPSTR(tn_graph_node_op(graph, first.node)->name, "split");
    const TnSplitAttrs *kept = tn_graph_node_attrs(graph, first.node);
    TN_ASSERT(kept != &attrs && kept->num_outputs == 3);
    const TnVal *in;
    TN_ASSERT_CMPINT(tn_graph_node_inputs(graph, first.node, &in), ==, 1);
    TN_ASSERT(tn_val_equal(in[0], x));
    tn_graph_output(graph, "part", out[1]);
    TN_ASSERT_CMPUINT(tn_graph_n_inputs(graph), ==, 1);
    TN_ASSERT(tn_val_equal(tn_graph_input_at(graph, 0, &name), x));
    TN_ASSERT_CMPSTR(name, "x");
    TN_ASSERT_CMPUINT(tn_graph_n_outputs(graph), ==, 1);
    TN_ASSERT(tn_val_equal(tn_graph_output_at(graph, 0, &name), out[1]));
    TN_ASSERT_CMPSTR(name, "part");
}

static void
constants(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal two = tn_graph_scalar(graph, TN_DTYPE_F64, 2);
    assert_type(graph, two, "f64[]");
    const TnConstantAttrs *attrs = tn_graph_node_attrs(graph, two.node);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(attrs->value, 0), ==, 2);
    const TnVal x = tn_graph_input(graph, "x", F32(2));
    assert_type(graph, tn_f_const(graph, x, 0.5), "f32[]");
}

static void
formulas(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", F32(2, 3, 4));
    const gint64 last[] = { -1 };
    const gint64 perm[] = { 2, 0, 1 };
    assert_type(graph, tn_f_reduce_sum(graph, x, 0, NULL, FALSE), "f32[]");
    assert_type(graph, tn_f_reduce_max(graph, x, 1, last, TRUE), "f32[2, 3, 1]");
    assert_type(graph, tn_f_reduce_mean(graph, x, 1, last, FALSE), "f32[2, 3]");
    assert_type(graph, tn_f_size(graph, x, 1, last), "f32[]");
    assert_type(graph, tn_f_transpose(graph, x, 3, perm), "f32[4, 2, 3]");
    assert_type(graph, tn_f_transpose_matrix(graph, x), "f32[2, 4, 3]");
    assert_type(graph, tn_f_unsqueeze(graph, x, 1, last), "f32[2, 3, 4, 1]");
    TN_ASSERT(tn_val_equal(tn_f_unsqueeze(graph, x, 0, NULL), x));
    assert_type(graph, tn_f_cast(graph, x, TN_DTYPE_BF16), "bf16[2, 3, 4]");
    assert_type(graph, tn_f_less(graph, x, x), "bool[2, 3, 4]");
    TN_ASSERT_CMPINT(tn_f_rank(graph, x), ==, 3);
    TN_ASSERT(tn_graph_check(graph, &error));
    tn_f_transpose_matrix(graph, tn_graph_scalar(graph, TN_DTYPE_F32, 1));
    TN_ASSERT(!tn_graph_check(graph, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "a matrix has two axes");
}

/* --- Variables -------------------------------------------------------------------------------- */

static TnVar *
make_var(TnStore *store, const char *name, TnType type)
{
    const TnVarInfo info = { .name = name, .type = type };
    TnVar *var = tn_store_var(store, NULL, &info, NULL);
    TN_REQUIRE(var != NULL);
    return var;
}

static void
variables(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) graph = tn_graph_new("step");
    g_autoptr(GError) error = NULL;
    TnVar *w = make_var(store, "model.weight", F32(3));
    TnVar *n = make_var(store, "count", F32(3));
    const TnVal read = tn_graph_variable(graph, w);
    TN_ASSERT(tn_val_equal(tn_graph_variable(graph, w), read));
    const TnVal next = tn_f_add(graph, read, read);
    tn_graph_assign(graph, w, next);
    tn_graph_assign(graph, n, read);
    TN_ASSERT(tn_val_equal(tn_graph_variable(graph, w), read));
    TN_ASSERT(tn_graph_check(graph, &error));
    TN_ASSERT_CMPUINT(tn_graph_n_variables(graph), ==, 2);
    TnType type;
    TnVal r, a;
    TN_ASSERT_CMPSTR(tn_graph_variable_at(graph, 0, &type, &r, &a), "model.weight");
    TN_ASSERT(tn_val_equal(r, read) && tn_val_equal(a, next) && type.rank == 1);
    TN_ASSERT_CMPSTR(tn_graph_variable_at(graph, 1, NULL, &r, &a), "count");
    TN_ASSERT(tn_val_is_none(r) && tn_val_equal(a, read));
    tn_graph_assign(graph, n, next);
    TN_ASSERT(!tn_graph_check(graph, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "variable 'count' is assigned twice");
}

static void
assign_of_other_type(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) graph = tn_graph_new("step");
    g_autoptr(GError) error = NULL;
    TnVar *w = make_var(store, "w", F32(3));
    tn_graph_assign(graph, w, tn_graph_input(graph, "x", F32(4)));
    TN_ASSERT(!tn_graph_check(graph, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "variable 'w' is f32[3]", "f32[4]");
}

/* --- Sub-graphs, copies, other sizes ---------------------------------------------------------- */

/* y = x * k + x with k of the outer graph, and x's sum. */
static TnGraph *
small_graph(void)
{
    TnGraph *graph = tn_graph_new("small");
    const TnVal x = tn_graph_input(graph, "x", F32(2, 3));
    const TnVal k = tn_graph_input(graph, "k", F32(3));
    tn_graph_push(graph, "inner");
    const TnVal y = tn_f_add(graph, tn_f_mul(graph, x, k), x);
    tn_graph_pop(graph);
    tn_graph_output(graph, "y", y);
    tn_graph_output(graph, "sum", tn_f_reduce_sum(graph, x, 0, NULL, FALSE));
    return graph;
}

static void
call(void)
{
    g_autoptr(TnGraph) inner = small_graph();
    g_autoptr(TnGraph) graph = tn_graph_new("outer");
    g_autoptr(GError) error = NULL;
    const TnVal in[] = { tn_graph_input(graph, "a", F32(5, 1)),
                         tn_graph_input(graph, "b", F32(7)) };
    const TnCallAttrs attrs = { inner };
    TnVal out[TN_MAX_OUT];
    tn_graph_push(graph, "block");
    const TnVal y = tn_graph_op(graph, "call", &attrs, 2, in, out);
    tn_graph_pop(graph);
    assert_type(graph, y, "f32[5, 7]");
    assert_type(graph, out[1], "f32[]");
    TnVal built[TN_MAX_OUT];
    const TnType want[] = { *tn_graph_type(graph, out[0]), *tn_graph_type(graph, out[1]) };
    const TnGraphNode *node = tn_graph_node(graph, y.node);
    TN_ASSERT(tn_graph_expand(graph, node->op, node->attrs, node->name, node->path, 2, in, 2, want,
                              built, &error));
    TN_ASSERT_CMPSTR(tn_graph_node_name(graph, built[0].node), "block.call.inner.add");
    assert_type(graph, built[0], "f32[5, 7]");
    /* Wrong number of inputs, and of rank. */
    tn_graph_op(graph, "call", &attrs, 1, in, NULL);
    TN_ASSERT(!tn_graph_check(graph, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "sub-graph 'small' takes 2 inputs, got 1");
}

static void
call_with_variable(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) inner = tn_graph_new("inner");
    g_autoptr(TnGraph) graph = tn_graph_new("outer");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(inner, "x", F32(3));
    tn_graph_output(inner, "y",
                    tn_f_add(inner, x, tn_graph_variable(inner, make_var(store, "w", F32(3)))));
    const TnVal a = tn_graph_input(graph, "a", F32(3));
    const TnCallAttrs attrs = { inner };
    tn_graph_op(graph, "call", &attrs, 1, &a, NULL);
    TN_ASSERT(!tn_graph_check(graph, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "variable 'w'", "as an input");
}

static void
inline_with_variable(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) inner = tn_graph_new("inner");
    g_autoptr(TnGraph) graph = tn_graph_new("outer");
    TnVar *var = make_var(store, "w", F32(3));
    const TnVal x = tn_graph_input(inner, "x", F32(3));
    const TnVal w = tn_graph_variable(inner, var);
    const TnVal y = tn_f_add(inner, x, w);
    tn_graph_assign(inner, var, y);
    tn_graph_output(inner, "y", y);
    const TnVal a = tn_graph_input(graph, "a", F32(3));
    const TnVal outer_w = tn_graph_variable(graph, var);
    TnVal out, read, assigned;
    tn_graph_inline(graph, inner, &a, &out);
    TN_ASSERT(tn_graph_check(graph, NULL));
    TN_ASSERT_CMPUINT(tn_graph_n_variables(graph), ==, 1);
    tn_graph_variable_at(graph, 0, NULL, &read, &assigned);
    TN_ASSERT(tn_val_equal(read, outer_w) && tn_val_equal(assigned, out));
}

static void
other_sizes(void)
{
    g_autoptr(TnGraph) graph = small_graph();
    g_autoptr(GError) error = NULL;
    TnGraphTypes types;
    const TnType good[] = { F32(10, 1), F32(4) };
    TN_REQUIRE(tn_graph_infer(graph, good, NULL, &types, &error));
    g_autofree char *text =
        tn_type_print(tn_graph_types_at(&types, tn_graph_output_at(graph, 0, NULL)));
    TN_ASSERT_CMPSTR(text, "f32[10, 4]");
    tn_graph_types_clear(&types);
    const TnType clash[] = { F32(10, 3), F32(4) };
    TN_ASSERT(!tn_graph_infer(graph, clash, NULL, &types, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "inner.mul (mul)", "f32[10, 3]", "f32[4]");
    const TnType rank[] = { F32(10), F32(4) };
    TN_ASSERT(!tn_graph_infer(graph, rank, NULL, &types, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "input 'x'", "f32[10]", "f32[2, 3]");
}

/* squeeze without axes may lose other axes at other sizes. */
static void
rank_that_depends_on_sizes(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", F32(2, 1));
    const TnType other = F32(1, 1);
    TnGraphTypes types;
    tn_graph_op(graph, "squeeze", NULL, 1, &x, NULL);
    TN_ASSERT(!tn_graph_infer(graph, &other, NULL, &types, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "squeeze", "depends on sizes");
}

static void
copy(void)
{
    g_autoptr(TnGraph) graph = small_graph();
    g_autoptr(TnGraph) other = tn_graph_copy(graph);
    g_autofree char *a = tn_graph_print(graph);
    g_autofree char *b = tn_graph_print(other);
    TN_ASSERT_CMPSTR(a, b);
    TN_ASSERT(tn_graph_digest(graph) == tn_graph_digest(other));
    tn_f_neg(other, tn_graph_input_at(other, 0, NULL));
    TN_ASSERT_CMPUINT(tn_graph_n_nodes(other), ==, tn_graph_n_nodes(graph) + 1);
}

/* --- Text ------------------------------------------------------------------------------------- */

static void
print(void)
{
    g_autoptr(TnGraph) graph = small_graph();
    const TnVal y = tn_graph_output_at(graph, 0, NULL);
    const TnSplitAttrs split = { .axis = 1, .num_outputs = 2 };
    TnVal out[TN_MAX_OUT];
    tn_graph_op(graph, "split", &split, 1, &y, out);
    tn_f_neg(graph, out[1]);
    g_autofree char *text = tn_graph_print(graph);
    TN_ASSERT_CONTAINS(text, "%2 inner.mul = mul(%0, %1) : f32[2, 3]\n");
    TN_ASSERT_CONTAINS(text, "%3 inner.add = add(%2, %0) : f32[2, 3]\n");
    TN_ASSERT_CONTAINS(text, "%4 reduce_sum = reduce_sum(%0) [keepdims=false] : f32[]\n");
    TN_ASSERT_CONTAINS(text, "split(%3)");
    TN_ASSERT_CONTAINS(text, "axis=1");
    TN_ASSERT_CONTAINS(text, " : f32[2, 2], f32[2, 1]\n");
    TN_ASSERT_CONTAINS(text, "%6 neg = neg(%5.1) : f32[2, 1]\n");
    TN_ASSERT_CONTAINS(text, "output y = %3\noutput sum = %4\n");
    g_autofree char *dot = tn_graph_to_dot(graph);
    TN_ASSERT_CONTAINS(dot, "digraph \"small\" {");
    TN_ASSERT_CONTAINS(dot, "n2 [label=\"mul\\ninner.mul\\nf32[2, 3]\"]");
    TN_ASSERT_CONTAINS(dot, "n0 -> n2;");
    TN_ASSERT(g_str_has_suffix(dot, "}\n"));
}

/* --- Digest ----------------------------------------------------------------------------------- */

/* A graph of one attribute, sizes and names that the test varies. */
static guint64
digest_of(const char *scope, gint64 size, gint64 axis, double constant, const char *input)
{
    g_autoptr(TnGraph) graph = tn_graph_new(scope);
    const TnAxisAttrs attrs = { axis };
    const TnVal x = tn_graph_input(graph, input, F32(size, 3));
    tn_graph_push(graph, scope);
    const TnVal sum = tn_f_add(graph, x, tn_graph_scalar(graph, TN_DTYPE_F32, constant));
    tn_graph_output(graph, "y", tn_graph_op(graph, "flatten", &attrs, 1, &sum, NULL));
    return tn_graph_digest(graph);
}

static void
digest(void)
{
    const guint64 base = digest_of("a", 2, 1, 5, "x");
    TN_ASSERT(base == digest_of("a", 2, 1, 5, "x"));
    TN_ASSERT(base == digest_of("other_scope", 2, 1, 5, "x"));
    TN_ASSERT(base == digest_of("a", 64, 1, 5, "x"));
    TN_ASSERT(base != digest_of("a", 2, 0, 5, "x"));
    TN_ASSERT(base != digest_of("a", 2, 1, 6, "x"));
    TN_ASSERT(base != digest_of("a", 2, 1, 5, "z"));
}

static guint64
random_stream(TnGraph *graph, TnVal val)
{
    return ((const TnRandomAttrs *)tn_graph_node_attrs(graph, val.node))->stream;
}

/* A random node's stream is that of its name unless given, so that its digest and numbers hang on
 * the name. */
static void
streams(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const gint64 two[] = { 2 };
    const TnVal key = tn_graph_input(graph, "key", tn_type(TN_DTYPE_U64, 1, two));
    const TnUniformAttrs given = { { .stream = 77 }, 0, 1 };
    tn_graph_push(graph, "drop");
    const TnVal a = tn_graph_op(graph, "random_uniform", NULL, 1, &key, NULL);
    const TnVal b = tn_graph_op(graph, "random_uniform", NULL, 1, &key, NULL);
    const TnVal c = tn_graph_op(graph, "random_uniform", &given, 1, &key, NULL);
    TN_ASSERT(random_stream(graph, a) == tn_random_stream("drop.random_uniform"));
    TN_ASSERT(random_stream(graph, b) == tn_random_stream("drop.random_uniform_2"));
    TN_ASSERT(random_stream(graph, c) == 77);
    /* In place somewhere else the numbers are others, but for streams that were given. */
    g_autoptr(TnGraph) outer = tn_graph_new("outer");
    tn_graph_output(graph, "a", a);
    tn_graph_output(graph, "c", c);
    const TnVal outer_key = tn_graph_input(outer, "key", tn_type(TN_DTYPE_U64, 1, two));
    TnVal out[2];
    tn_graph_push(outer, "again");
    tn_graph_inline(outer, graph, &outer_key, out);
    TN_ASSERT(random_stream(outer, out[0]) == tn_random_stream("again.drop.random_uniform"));
    TN_ASSERT(random_stream(outer, out[1]) == 77);
}

static const TnTest tests[] = {
    { "names", names },
    { "names_that_look_numbered", names_that_look_numbered },
    { "errors_latch", errors_latch },
    { "errors", errors },
    { "reading", reading },
    { "constants", constants },
    { "formulas", formulas },
    { "variables", variables },
    { "assign_of_other_type", assign_of_other_type },
    { "call", call },
    { "call_with_variable", call_with_variable },
    { "inline_with_variable", inline_with_variable },
    { "other_sizes", other_sizes },
    { "rank_that_depends_on_sizes", rank_that_depends_on_sizes },
    { "copy", copy },
    { "print", print },
    { "digest", digest },
    { "streams", streams },
};
TN_TEST_MAIN("graph/graph", tests)
