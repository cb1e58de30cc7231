/* test_attrs.c: bare option structs: filled, hashed, compared, printed, their tensors counted. */
#include <stddef.h>
#include <stdlib.h>

#include <tenon/base.h>
#include <tenon/option.h>
#include <tenon/tensor.h>

#include "tn_test.h"

typedef struct {
    gint64 axis;
} Inner;

typedef struct {
    gboolean keep;
    double alpha;
    const char *name;
    gint mode;
    TnInts pads;
    TnDoubles scales;
    TnShape shape;
    Inner inner;
    TnTensor *tensor;
} Attrs;

static const char *const modes[] = { "same", "valid", NULL };
static const TnOption inner_rows[] = {
    { "axis", TN_OPT_INT64, 0, offsetof(Inner, axis), "-1", TN_RANGE_I(-8, 7) },
};
static const TnOption rows[] = {
    { "keep", TN_OPT_BOOL, 0, offsetof(Attrs, keep), "true" },
    { "alpha", TN_OPT_DOUBLE, 0, offsetof(Attrs, alpha), "0.5" },
    { "name", TN_OPT_STRING, 0, offsetof(Attrs, name), "x" },
    { "mode", TN_OPT_ENUM, 0, offsetof(Attrs, mode), "valid", .choices = modes },
    { "pads", TN_OPT_INTS, 0, offsetof(Attrs, pads) },
    { "scales", TN_OPT_DOUBLES, 0, offsetof(Attrs, scales) },
    { "shape", TN_OPT_SHAPE, 0, offsetof(Attrs, shape) },
    { "inner", TN_OPT_GROUP, 0, offsetof(Attrs, inner), .sub = inner_rows, .n_sub = 1 },
    { "tensor", TN_OPT_TENSOR, 0, offsetof(Attrs, tensor) },
};
static const TnOptions options = TN_OPTIONS(Attrs, rows);

static Attrs
fill(const char *text)
{
    Attrs attrs;
    g_autoptr(TnValue) map = tn_value_parse(text, NULL);
    g_autoptr(GError) error = NULL;
    memset(&attrs, 0x5a, sizeof attrs); /* bytes between members must not count */
    TN_REQUIRE(tn_options_fill(&options, map, &attrs, &error));
    return attrs;
}

static void
defaults(void)
{
    Attrs attrs = { 0 };
    tn_options_defaults(&options, &attrs);
    TN_ASSERT(attrs.keep && attrs.alpha == 0.5 && attrs.mode == 1 && attrs.inner.axis == -1);
    TN_ASSERT(attrs.name == tn_intern("x"));
    const Attrs filled = fill("{}");
    TN_ASSERT(tn_options_equal(&options, &attrs, &filled));
    g_autofree char *text = tn_options_print(&options, &attrs);
    TN_ASSERT_CMPSTR(text, "");
}

static void
apart(void)
{
    static const char *const different[] = { "{}",
                                             "{keep = false}",
                                             "{alpha = 0.25}",
                                             "{name = y}",
                                             "{mode = same}",
                                             "{pads = {0}}",
                                             "{pads = {0, 0}}",
                                             "{pads = {1, 0}}",
                                             "{scales = {0}}",
                                             "{shape = {0}}",
                                             "{shape = {0, 0}}",
                                             "{inner = {axis = 2}}" };
    for (guint i = 0; i < G_N_ELEMENTS(different); i++)
        for (guint j = 0; j < G_N_ELEMENTS(different); j++) {
            const Attrs a = fill(different[i]), b = fill(different[j]);
            TN_ASSERT_CMPINT(tn_options_equal(&options, &a, &b), ==, i == j);
            TN_ASSERT_CMPINT(tn_options_hash(&options, &a) == tn_options_hash(&options, &b), ==,
                             i == j);
        }
}

/* Numbers beyond a list's length are not part of it. */
static void
leftovers(void)
{
    Attrs a = fill("{pads = {1, 2}, shape = {3}}"), b = a;
    b.pads.v[2] = 77;
    b.shape.dims[1] = 77;
    TN_ASSERT(tn_options_equal(&options, &a, &b));
    TN_ASSERT_CMPUINT(tn_options_hash(&options, &a), ==, tn_options_hash(&options, &b));
    b.name = strdup("x"); /* by content */
    TN_ASSERT(tn_options_equal(&options, &a, &b));
    TN_ASSERT_CMPUINT(tn_options_hash(&options, &a), ==, tn_options_hash(&options, &b));
    free((char *)b.name);
}

static void
prints(void)
{
    const Attrs attrs = fill("{pads = {1, 2}, alpha = 0.1, mode = same, inner = {axis = 3}}");
    g_autofree char *text = tn_options_print(&options, &attrs);
    TN_ASSERT_CMPSTR(text, "alpha=0.1 mode=\"same\" pads={ 1, 2 } axis=3");
}

static void
faults(void)
{
    Attrs attrs = { .alpha = 42 };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) bad = tn_value_parse("{alpha = x, inner = {axis = 8}}", NULL);
    TN_ASSERT(!tn_options_fill(&options, bad, &attrs, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "alpha: expected a number", "inner.axis");
    TN_ASSERT_CMPFLOAT(attrs.alpha, ==, 42); /* untouched */
    g_autoptr(TnValue) tensor = tn_value_parse("{tensor = 5}", NULL);
    TN_ASSERT(!tn_options_fill(&options, tensor, &attrs, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "tensor: cannot be written in a config");
}

static void
tensors(void)
{
    static const float numbers[] = { 1, 2, 3, 4 };
    const gint64 flat[] = { 4 }, square[] = { 2, 2 };
    const gint turn[] = { 1, 0 };
    g_autoptr(TnTensor) one = tn_tensor_from(tn_type(TN_DTYPE_F32, 1, flat), numbers, NULL);
    g_autoptr(TnTensor) like = tn_tensor_from(tn_type(TN_DTYPE_F32, 1, flat), numbers, NULL);
    g_autoptr(TnTensor) other = tn_tensor_reshape(one, 2, square, NULL);
    g_autoptr(TnTensor) turned = tn_tensor_permute(other, turn, NULL);
    g_autoptr(TnTensor) copied = tn_tensor_copy(turned, NULL, TN_DTYPE_NONE, NULL);
    Attrs a = fill("{}"), b = a;
    a.tensor = one;
    TN_ASSERT(!tn_options_equal(&options, &a, &b)); /* none on one side */
    b.tensor = like;
    TN_ASSERT(tn_options_equal(&options, &a, &b));
    TN_ASSERT_CMPUINT(tn_options_hash(&options, &a), ==, tn_options_hash(&options, &b));
    b.tensor = other; /* the same numbers in another shape */
    TN_ASSERT(!tn_options_equal(&options, &a, &b));
    TN_ASSERT(tn_options_hash(&options, &a) != tn_options_hash(&options, &b));
    a.tensor = turned; /* strides do not count */
    b.tensor = copied;
    TN_ASSERT(tn_options_equal(&options, &a, &b));
    TN_ASSERT_CMPUINT(tn_options_hash(&options, &a), ==, tn_options_hash(&options, &b));
    b.tensor = other;
    TN_ASSERT(!tn_options_equal(&options, &a, &b));

    TN_ASSERT(tn_tensor_is_writable(like));
    a.tensor = like;
    tn_options_hold(&options, &a);
    TN_ASSERT(!tn_tensor_is_writable(like));
    tn_options_drop(&options, &a);
    TN_ASSERT(tn_tensor_is_writable(like));
    TN_ASSERT(a.tensor == NULL);
    tn_options_drop(&options, &a); /* nothing to drop */
}

static void
members(void)
{
    const Attrs attrs =
        fill("{pads = {1, 2}, name = nm, keep = false, shape = {-1}, scales = 2.5}");
    static const struct {
        const char *name, *text;
    } expected[] = { { "keep", "false" },     { "alpha", "0.5" },           { "name", "\"nm\"" },
                     { "mode", "\"valid\"" }, { "pads", "{ 1, 2 }" },       { "shape", "{ -1 }" },
                     { "scales", "{ 2.5 }" }, { "inner", "{ axis = -1 }" }, { "tensor", "nil" } };
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autoptr(TnValue) value =
            tn_option_get(tn_options_find(&options, expected[i].name), &attrs);
        g_autofree char *text = tn_value_print(value, -1);
        TN_ASSERT_CMPSTR(text, expected[i].text);
    }
}

static const TnTest tests[] = {
    { "defaults", defaults }, { "apart", apart },   { "leftovers", leftovers },
    { "prints", prints },     { "faults", faults }, { "tensors", tensors },
    { "members", members },
};
TN_TEST_MAIN("attrs", tests)
