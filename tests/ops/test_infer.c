/* Types of outputs against NumPy's (golden/ops.txt), the elements that views show, and every
 * message of infer. */
#include "ops_test.h"

/* --- Golden ----------------------------------------------------------------------------------- */

/* Element numbers that a layout shows in row-major order, as text. */
static char *
shown(const TnType *type, const TnLayout *layout)
{
    GString *text = g_string_new(NULL);
    gint64 at[TN_MAX_RANK] = { 0 };
    for (gint64 left = tn_type_count(type); left > 0; left--) {
        gint64 element = layout->offset;
        for (gint i = 0; i < type->rank; i++) {
            element += at[i] * layout->strides[i];
        }
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT, text->len > 0 ? " " : "", element);
        for (gint i = type->rank - 1; i >= 0 && ++at[i] == type->dims[i]; i--) {
            at[i] = 0;
        }
    }
    return g_string_free(text->len > 0 ? text : g_string_append_c(text, '-'), FALSE);
}

static void
check_view(const char *line, const TnOp *op, const void *attrs, const TnType *in, const TnType *out,
           const char *elements)
{
    TnLayout layout = { .offset = 0 };
    TnLayout view;
    tn_type_strides(&in[0], layout.strides);
    if (!op->view(attrs, in, &layout, out, &view)) {
        TN_FAIL("%s: no view of contiguous memory", line);
        return;
    }
    g_autofree char *got = shown(out, &view);
    tn_test_check(strcmp(got, elements) == 0, FALSE, __FILE__, __LINE__, "%s: shows %s", line, got);
}

static void
check_line(const char *line)
{
    g_auto(GStrv) field = g_strsplit(line, "\t", -1);
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(g_strv_length(field) == 5);
    const TnOp *op = tn_op_find(field[0], &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree void *attrs = ops_attrs(op, field[1]);
    TN_REQUIRE(attrs != NULL);
    TnType in[TN_MAX_IN], out[TN_MAX_OUT];
    gint n_out = 0;
    const gint n_in = ops_types(field[2], in);
    if (!tn_op_infer(op, attrs, "node", n_in, in, NULL, &n_out, out, &error)) {
        TN_FAIL("%s: %s", line, error->message);
        return;
    }
    g_autofree char *got = ops_print(n_out, out);
    tn_test_check(strcmp(got, field[3]) == 0, FALSE, __FILE__, __LINE__, "%s: got %s", line, got);
    if (strcmp(field[4], "-") != 0 || (op->view != NULL && tn_type_count(&out[0]) == 0)) {
        check_view(line, op, attrs, in, out, field[4]);
    }
}

static void
golden(void)
{
    g_autofree char *path = tn_test_source_path("tests/golden/ops.txt");
    g_autofree char *text = tn_test_read_file(path, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint n = 0;
    for (guint i = 0; lines[i] != NULL; i++) {
        if (*lines[i] != '\0') {
            check_line(lines[i]);
            n++;
        }
    }
    TN_ASSERT_CMPUINT(n, >=, 180);
}

/* Operators that NumPy has no name for: what ops.h says. */
static void
own_operators(void)
{
    static const char *const lines[] = {
        "unslice\tstarts={1};ends={6};steps={2}\tf32[3, 4] ; f32[7, 4]\tf32[7, 4]\t-",
        "concat_part\taxis=1;index=1\tf32[2, 4] ; i32[2, 1] ; f64[2, 3]\tf32[2, 3]\t-",
        "unwindow\tkernel_shape={2};strides={2}\tf32[3, 2, 2] ; f32[3, 5]\tf32[3, 5]\t-",
        "scatter_add\taxis=1\tf32[4, 3] ; i32[2] ; f32[4, 2]\tf32[4, 3]\t-",
        "scatter_elements\treduction=\"add\"\tf32[4, 3] ; i64[2, 3] ; f32[2, 3]\tf32[4, 3]\t-",
        "reshape\tshape={0, -1}\tf32[0, 3, 4]\tf32[0, 12]\t-",
        "full_like\tvalue=2;dtype=\"i8\"\tf32[4, 3]\ti8[4, 3]\t-",
        "cast\tto=\"f16\"\tbool[4, 3]\tf16[4, 3]\t-",
        "bitcast\tto=\"i32\"\tf32[4]\ti32[4]\t-",
        "conv_transpose\tstrides={2}\tf32[1, 2, 3] ; f32[2, 1, 2] ; f32[1, 1, 7]\tf32[1, 1, 7]\t-",
        "conv_grad_weight\t-\tf32[1, 2, 3] ; f32[1, 4, 3] ; f32[4, 2, 1]\tf32[4, 2, 1]\t-",
        "random_uniform\tshape={2, 3}\tu64[2]\tf32[2, 3]\t-",
        "random_normal\t-\tu64[2] ; f64[5]\tf64[5]\t-",
        "random_normal\t-\tu64[2] ; i64[5]\tf32[5]\t-",
        "random_bits\tdtype=\"u64\"\tu64[2] ; f64[5]\tu64[5]\t-",
        "bit_shift\tdirection=\"right\"\tu8[5] ; u8[]\tu8[5]\t-",
        "argmax\t-\tf16[2, 3]\ti64[1, 3]\t-",
    };
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        check_line(lines[i]);
    }
}

/* --- Messages --------------------------------------------------------------------------------- */

typedef struct {
    const char *op, *attrs, *in;
    TnErrorCode code;
    const char *message; /* after "model.node (OP): " */
} Wrong;

static const Wrong wrongs[] = {
    { "matmul", "-", "f32[128, 784] ; f32[512, 10]", TN_ERROR_SHAPE,
      "inputs 'A' f32[128, 784] and 'B' f32[512, 10]: inner sizes differ: 784 and 512" },
    { "matmul", "-", "f32[2, 3, 4] ; f32[3, 4, 5]", TN_ERROR_SHAPE,
      "inputs 'A' f32[2, 3, 4] and 'B' f32[3, 4, 5]: leading axes do not broadcast" },
    { "matmul", "-", "f32[] ; f32[1]", TN_ERROR_SHAPE,
      "input 'A' f32[]: rank must be 1 to 8, is 0" },
    { "add", "-", "f32[2, 3] ; f32[4]", TN_ERROR_SHAPE,
      "inputs 'a' f32[2, 3] and 'b' f32[4]: shapes do not broadcast: 3 meets 4" },
    { "add", "-", "f32[2] ; f64[2]", TN_ERROR_DTYPE,
      "inputs 'a' f32[2] and 'b' f64[2]: must have the same dtype (cast one)" },
    { "add", "-", "bool[2] ; bool[2]", TN_ERROR_DTYPE,
      "input 'a' is bool[2], must be one of f64, f32, f16, bf16, i8, i16, i32, i64, u8, u16, u32, "
      "u64" },
    { "add", "-", "f32[2]", TN_ERROR_USAGE, "takes 2 inputs, got 1" },
    { "neg", "-", "f32[2] ; f32[2]", TN_ERROR_USAGE, "takes 1 input, got 2" },
    { "random_bits", "-", "u64[2] ; _ ; _", TN_ERROR_USAGE, "takes 1 to 2 inputs, got 3" },
    { "add", "-", "f32[2] ; _", TN_ERROR_USAGE, "input 'b' is missing" },
    { "where", "-", "f32[2] ; f32[2] ; f32[2]", TN_ERROR_DTYPE,
      "input 'condition' is f32[2], must be one of bool" },
    { "bitcast", "to=\"f64\"", "f32[2]", TN_ERROR_DTYPE,
      "input 'x' is f32 of 32 bits, 'to' is f64: must be a number of the same width" },
    { "cast", "to=\"none\"", "f32[2]", TN_ERROR_DTYPE, "attribute 'to' must name a dtype" },
    { "expand_as", "-", "f32[3] ; f32[2, 4]", TN_ERROR_SHAPE,
      "inputs 'x' f32[3] and 'like' f32[2, 4]: 'x' does not broadcast to the shape of 'like'" },
    { "expand_as", "-", "f32[2, 3] ; f32[3]", TN_ERROR_SHAPE, "does not broadcast" },
    { "reduce_to", "-", "f32[2, 4] ; f32[3]", TN_ERROR_SHAPE,
      "inputs 'x' f32[2, 4] and 'like' f32[3]: 'like' does not broadcast to the shape of 'x'" },
    { "reshape_as", "-", "f32[2, 4] ; f32[3]", TN_ERROR_SHAPE,
      "inputs 'x' f32[2, 4] and 'like' f32[3]: different numbers of elements: 8 and 3" },
    { "size", "-", "bool[3]", TN_ERROR_DTYPE,
      "the output would be bool, must be a number (give 'dtype')" },
    { "iota", "axis=1", "f32[3]", TN_ERROR_SHAPE,
      "input 'like' f32[3]: axis 1 is outside [-1, 0]" },
    { "reduce_sum", "axes={0, 3}", "f32[2, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[2, 3]: axis 3 is outside [-2, 1]" },
    { "reduce_sum", "axes={0, -2}", "f32[2, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[2, 3]: axis 0 is given twice" },
    { "reduce_max", "axes={0}", "f32[]", TN_ERROR_SHAPE,
      "input 'x' f32[]: axis 0 is given, but there is no axis" },
    { "argmax", "axis=1", "f32[2, 0]", TN_ERROR_SHAPE,
      "input 'x' f32[2, 0]: axis 1 has no elements to choose from" },
    { "cumsum", "axis=-3", "f32[2, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[2, 3]: axis -3 is outside [-2, 1]" },
    { "reshape", "shape={4, -1}", "f32[2, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[2, 3]: does not fit shape [4, -1]: 6 elements" },
    { "reshape", "shape={7}", "f32[2, 3]", TN_ERROR_SHAPE, "does not fit shape [7]: 6 elements" },
    { "reshape", "shape={-1, -1}", "f32[2, 3]", TN_ERROR_SHAPE, "more than one -1" },
    { "reshape", "shape={1, 1, 0}", "f32[1, 1]", TN_ERROR_SHAPE, "0 where 'x' has no axis" },
    { "reshape", "shape={0, -1, 5}", "f32[0, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[0, 3]: does not fit shape [0, -1, 5]: 0 elements" },
    { "reshape", "shape={0, -1};allowzero=true", "f32[0, 3]", TN_ERROR_SHAPE,
      "-1 beside a size of 0 could be anything" },
    { "flatten", "axis=3", "f32[2, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[2, 3]: axis 3 is outside [-2, 2]" },
    { "transpose", "perm={0}", "f32[2, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[2, 3]: 'perm' has 1 axes" },
    { "transpose", "perm={0, 0}", "f32[2, 3]", TN_ERROR_SHAPE, "axis 0 is given twice" },
    { "squeeze", "axes={1}", "f32[1, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[1, 3]: axis 1 has size 3, not 1" },
    { "unsqueeze", "axes={0, 1, 2, 3, 4}", "f32[1, 1, 1, 1]", TN_ERROR_SHAPE,
      "the output would have rank 9; at most 8" },
    { "unsqueeze", "axes={4}", "f32[1, 3]", TN_ERROR_SHAPE, "axis 4 is outside [-3, 2]" },
    { "expand", "shape={2, 4}", "f32[1, 3]", TN_ERROR_SHAPE,
      "input 'x' f32[1, 3]: does not fit shape [2, 4]: sizes do not broadcast" },
    { "slice", "starts={0};ends={1, 2}", "f32[3]", TN_ERROR_SHAPE,
      "1 starts, 2 ends, 0 axes, 0 steps: must be as many of each" },
    { "slice", "starts={0};ends={1};steps={0}", "f32[3]", TN_ERROR_SHAPE, "step 0 is 0" },
    { "slice", "starts={0, 0};ends={1, 1}", "f32[3]", TN_ERROR_SHAPE, "2 starts for 1 axes" },
    { "slice", "starts={0};ends={1};axes={2}", "f32[3]", TN_ERROR_SHAPE,
      "axis 2 is outside [-1, 0]" },
    { "unslice", "starts={0};ends={2}", "f32[3] ; f32[5]", TN_ERROR_SHAPE,
      "inputs 'g' f32[3] and 'like' f32[5]: the slice of 'like' is f32[2]" },
    { "pad", "pads={1}", "f32[3]", TN_ERROR_SHAPE, "1 pads for 1 axes: must be two for each" },
    { "pad", "pads={-2, -2}", "f32[3]", TN_ERROR_SHAPE,
      "axis 0 of size 3 padded by -2 and -2 has no size" },
    { "pad", "pads={9223372036854775807, 1}", "f32[3]", TN_ERROR_SHAPE, "has no size" },
    { "pad", "pads={4611686018427387904, 0}", "f32[3]", TN_ERROR_SHAPE,
      "output 0 f32[4611686018427387907] is too large to address" },
    { "concat", "axis=0", "f32[2, 3] ; f32[2, 4]", TN_ERROR_SHAPE,
      "inputs 'x' 0 f32[2, 3] and 'x' 1 f32[2, 4]: sizes of axis 1 differ: 3 and 4" },
    { "concat", "axis=0", "f32[2] ; f32[2, 4]", TN_ERROR_SHAPE, "ranks differ: 1 and 2" },
    { "concat", "-", "-", TN_ERROR_USAGE, "takes 1 to 64 inputs, got 0" },
    { "concat_part", "index=2", "f32[3] ; f32[2] ; f32[1]", TN_ERROR_SHAPE,
      "index 2 is outside [0, 2) of its parts" },
    { "concat_part", "index=0", "f32[4] ; f32[2] ; f32[1]", TN_ERROR_SHAPE,
      "input 'g' f32[4]: the others together are f32[3]" },
    { "split", "num_outputs=65", "f32[130]", TN_ERROR_SHAPE,
      "cannot be split into 65 parts: 1 to 64 are possible" },
    { "split", "-", "f32[18]", TN_ERROR_SHAPE, "cannot be split into 0 parts" },
    { "split", "split={2, 2};num_outputs=3", "f32[4]", TN_ERROR_SHAPE,
      "'split' has 2 sizes, 'num_outputs' is 3" },
    { "split", "split={2, 3}", "f32[4]", TN_ERROR_SHAPE,
      "part 1 of size 3 does not fit: 2 of 4 are left" },
    { "split", "split={2, 1}", "f32[4]", TN_ERROR_SHAPE, "the parts leave 1 of 4 over" },
    { "window", "kernel_shape={4}", "f32[2, 3]", TN_ERROR_SHAPE,
      "axis 1 of size 3 is shorter than the window of 4 at dilation 1" },
    { "window", "kernel_shape={2, 2}", "f32[3]", TN_ERROR_SHAPE,
      "'kernel_shape' has 2 sizes, must have 1 to 1" },
    { "window", "kernel_shape={2};strides={1, 1}", "f32[3]", TN_ERROR_SHAPE,
      "2 strides and 0 dilations for a window of 1 axes" },
    { "unwindow", "kernel_shape={2}", "f32[3, 2] ; f32[5]", TN_ERROR_SHAPE,
      "the window over 'like' is f32[4, 2]" },
    { "gather", "axis=0", "f32[0, 2] ; i64[1]", TN_ERROR_SHAPE,
      "inputs 'data' f32[0, 2] and 'indices' i64[1]: axis 0 has no elements to index" },
    { "gather", "axis=0", "f32[3] ; f32[1]", TN_ERROR_DTYPE,
      "input 'indices' is f32[1], must be one of i32, i64" },
    { "gather", "axis=0", "f32[1, 1, 1, 1, 1] ; i64[1, 1, 1, 1, 1]", TN_ERROR_SHAPE,
      "the output would have rank 9; at most 8" },
    { "scatter_add", "axis=0", "f32[4, 3] ; i64[2] ; f32[3, 3]", TN_ERROR_SHAPE,
      "inputs 'data' f32[4, 3] and 'updates' f32[3, 3]: 'updates' must be f32[2, 3] for these "
      "indices" },
    { "gather_elements", "axis=0", "f32[4, 3] ; i64[2, 4]", TN_ERROR_SHAPE,
      "'indices' is longer along axis 1: 4 and 3" },
    { "gather_elements", "axis=0", "f32[4, 3] ; i64[2]", TN_ERROR_SHAPE, "ranks differ: 2 and 1" },
    { "scatter_elements", "axis=0", "f32[4] ; i64[2] ; f32[3]", TN_ERROR_SHAPE,
      "inputs 'indices' i64[2] and 'updates' f32[3]: 'updates' must have the shape of 'indices'" },
    { "scatter_elements", "reduction=\"add\"", "bool[4] ; i64[2] ; bool[2]", TN_ERROR_DTYPE,
      "input 'data' is bool, which cannot be added" },
    { "sort", "axis=1", "f32[4]", TN_ERROR_SHAPE, "axis 1 is outside [-1, 0]" },
    { "conv", "-", "f32[1, 3, 8] ; f32[4, 2, 3]", TN_ERROR_SHAPE,
      "inputs 'x' f32[1, 3, 8] and 'w' f32[4, 2, 3]: channels differ: 3, and 2 in each of 1 "
      "groups" },
    { "conv", "group=2", "f32[1, 4, 8] ; f32[3, 2, 3]", TN_ERROR_SHAPE,
      "input 'w' f32[3, 2, 3]: 3 output channels do not make 2 groups" },
    { "conv", "-", "f32[1, 2, 2] ; f32[4, 2, 3]", TN_ERROR_SHAPE,
      "axis 2 of size 2 (pads 0 and 0) is shorter than the kernel of 3 at dilation 1" },
    { "conv", "-", "f32[1, 2, 2] ; f32[4, 2, 3, 3]", TN_ERROR_SHAPE, "ranks differ: 3 and 4" },
    { "conv", "strides={1, 1}", "f32[1, 2, 5] ; f32[4, 2, 3]", TN_ERROR_SHAPE,
      "'strides' has 2 numbers, must have 1" },
    { "conv", "-", "f32[2, 5] ; f32[4, 2, 3]", TN_ERROR_SHAPE, "rank must be 3 to 5, is 2" },
    { "conv", "-", "f32[1, 2, 5] ; f32[4, 2, 0]", TN_ERROR_SHAPE, "kernel size of axis 2 is 0" },
    { "conv_transpose", "strides={2};output_padding={2}", "f32[1, 2, 3] ; f32[2, 1, 3]",
      TN_ERROR_SHAPE, "output_padding 2 must be less than the stride 2" },
    { "conv_transpose", "-", "f32[1, 3, 3] ; f32[2, 1, 3]", TN_ERROR_SHAPE,
      "channels differ: 3 and 2 in 1 groups" },
    { "conv_transpose", "-", "f32[1, 2, 3] ; f32[2, 1, 3] ; f32[1, 1, 7]", TN_ERROR_SHAPE,
      "inputs 'x' f32[1, 2, 3] and 'like' f32[1, 1, 7]: a convolution of 'like' gives f32[1, 2, "
      "5]" },
    { "conv_transpose", "pads={3, 3}", "f32[1, 2, 3] ; f32[2, 1, 3]", TN_ERROR_SHAPE,
      "pads leave nothing of axis 2" },
    { "conv_grad_weight", "-", "f32[1, 2, 5] ; f32[1, 4, 4] ; f32[4, 2, 3]", TN_ERROR_SHAPE,
      "inputs 'x' f32[1, 2, 5] and 'g' f32[1, 4, 4]: 'g' must be f32[1, 4, 3] for these weights" },
    { "random_uniform", "-", "u64[3]", TN_ERROR_SHAPE,
      "input 'key' u64[3]: must be u64[2]: seed and position" },
    { "random_uniform", "dtype=\"i64\"", "u64[2]", TN_ERROR_DTYPE, "dtype i64 cannot be drawn" },
    { "random_bits", "shape={-1}", "u64[2]", TN_ERROR_SHAPE, "size -1 in attribute 'shape'" },
    { "constant", "-", "-", TN_ERROR_USAGE, "attribute 'value' is missing" },
    { "call", "-", "f32[2]", TN_ERROR_USAGE, "attribute 'graph' is missing" },
    { "input", "-", "-", TN_ERROR_USAGE, "an input is made by tn_graph_input only" },
    { "assign", "name=\"w\";dtype=\"f32\";shape={2}", "f32[3]", TN_ERROR_SHAPE,
      "input 'x' f32[3]: variable 'w' is f32[2]" },
};

static void
messages(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(wrongs); i++) {
        const Wrong *wrong = &wrongs[i];
        const TnOp *op = tn_op_find(wrong->op, NULL);
        g_autoptr(GError) error = NULL;
        TnType in[TN_MAX_IN], out[TN_MAX_OUT];
        gint n_out = -7;
        TN_REQUIRE(op != NULL);
        g_autofree void *attrs = ops_attrs(op, wrong->attrs);
        TN_REQUIRE(attrs != NULL);
        const gint n_in = ops_types(wrong->in, in);
        g_autofree char *begin = g_strdup_printf("model.node (%s): ", wrong->op);
        if (tn_op_infer(op, attrs, "model.node", n_in, in, NULL, &n_out, out, &error)) {
            TN_FAIL("%s of %s was accepted", wrong->op, wrong->in);
            continue;
        }
        TN_ASSERT_CMPINT(n_out, ==, -7);
        TN_ASSERT_CMPINT(error->code, ==, wrong->code);
        TN_ASSERT(g_str_has_prefix(error->message, begin));
        TN_ASSERT_CONTAINS(error->message, wrong->message);
    }
}

/* A config cannot say these, a program can: two negative sizes have a positive product. */
static void
negative_sizes(void)
{
    const TnReshapeAttrs reshape = { .shape = { 2, { -2, -3 } } };
    const TnExpandAttrs expand = { .shape = { 2, { -2, -3 } } };
    const TnVariableAttrs variable = { "v", TN_DTYPE_F32, { 2, { -2, -3 } } };
    const struct {
        const char *op;
        const void *attrs;
        gint n_in;
        TnType in;
    } rows[] = { { "reshape", &reshape, 1, ops_type("f32[2, 3]") },
                 { "expand", &expand, 1, ops_type("f32[1, 1]") },
                 { "variable", &variable, 0, { 0 } } };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        TnType out[TN_MAX_OUT];
        gint n_out;
        TN_ASSERT(!tn_op_infer(tn_op_find(rows[i].op, NULL), rows[i].attrs, "node", rows[i].n_in,
                               &rows[i].in, NULL, &n_out, out, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "[-2, -3]");
    }
}

/* Numbers so large that a place times them would overflow: pads are refused, a step that is never
 * taken becomes 1. */
static void
extreme_places(void)
{
    const TnType line = ops_type("f32[4]");
    const TnPadAttrs pads[] = { { { 2, { G_MININT64, G_MAXINT64 } }, { 0 }, 0 },
                                { { 2, { G_MAXINT64, -G_MAXINT64 } }, { 0 }, 0 } };
    for (guint i = 0; i < G_N_ELEMENTS(pads); i++) {
        g_autoptr(GError) error = NULL;
        TnType out[TN_MAX_OUT];
        gint n_out;
        TN_ASSERT(!tn_op_infer(tn_op_find("pad", NULL), &pads[i], "node", 1, &line, NULL, &n_out,
                               out, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "axis 0 of size 4");
    }
    const gint64 steps[] = { G_MININT64, -4, 4, G_MAXINT64 };
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        const TnSliceAttrs attrs = {
            { 1, { 3 } }, { 1, { steps[i] < 0 ? G_MININT64 : 9 } }, { 0 }, { 1, { steps[i] } }
        };
        gint64 start[TN_MAX_RANK], step[TN_MAX_RANK], count[TN_MAX_RANK];
        tn_slice_resolve(&attrs, &line, start, step, count);
        TN_ASSERT_CMPINT(start[0], ==, 3);
        TN_ASSERT_CMPINT(count[0], ==, 1);
        TN_ASSERT_CMPINT(step[0], ==, 1);
    }
}

static void
helpers(void)
{
    const TnType in[] = { ops_type("f32[2, 1]"), ops_type("f32[3, 1, 4]"), ops_type("f32[5]") };
    g_autoptr(GError) error = NULL;
    TnType out = { .dtype = TN_DTYPE_I8 };
    TN_ASSERT(tn_infer_broadcast(2, in, &out, &error));
    g_autofree char *text = tn_type_print(&out);
    TN_ASSERT_CMPSTR(text, "i8[3, 2, 4]");
    TN_ASSERT(!tn_infer_broadcast(3, in, &out, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "f32[3, 1, 4]", "f32[5]", "4 meets 5");
    gint axis = -1;
    TN_ASSERT(tn_infer_axis(-2, 3, &axis, &error));
    TN_ASSERT_CMPINT(axis, ==, 1);
    TN_ASSERT(!tn_infer_axis(3, 3, &axis, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "axis 3", "[-3, 2]");
    TN_ASSERT(!tn_infer_axis(G_MININT64, 3, &axis, &error));
    g_clear_error(&error);
    TN_ASSERT(!tn_infer_axis(0, 0, &axis, &error));
}

static const TnTest tests[] = {
    { "golden", golden },
    { "own_operators", own_operators },
    { "messages", messages },
    { "negative_sizes", negative_sizes },
    { "extreme_places", extreme_places },
    { "helpers", helpers },
};
TN_TEST_MAIN("ops/infer", tests)
