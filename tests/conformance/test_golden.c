/* What ref computes against values that NumPy and PyTorch gave: tests/golden/values.txt, written by
 * tests/interop/ops.py. Each line names a call and its digest, so that values of a call that has
 * changed since are not compared. */
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#include <stdlib.h>
#include <tenon/base.h>

/* The numbers of one column; as many as the tensor has elements. */
static TnTensor *
parse(const char *column, TnType type)
{
    g_auto(GStrv) words = g_strsplit(column, " ", -1);
    const gint64 count = tn_type_count(&type);
    g_autofree double *values = g_new0(double, (gsize)count + 1);
    TN_ASSERT_CMPINT(count == 0 ? 0 : g_strv_length(words), ==, count);
    for (gint64 i = 0; i < count && words[i] != NULL; i++) {
        values[i] = g_ascii_strtod(words[i], NULL);
    }
    return tn_test_tensor(type, values);
}

/* NumPy and PyTorch sum in an order of their own. */
static TnTolerance
loose(TnDtype dtype)
{
    const TnTolerance tight = tn_tolerance(dtype);
    return (TnTolerance){ 100 * tight.rtol, 100 * tight.atol };
}

static void
compare(const TnCall *call, TnContext *context, const char *where, char **columns)
{
    g_autofree char *text = tn_call_print(call);
    TnTensor *out[TN_MAX_OUT];
    if (!tn_call_run(call, context, FALSE, out)) {
        return;
    }
    for (gint k = 0; k < call->n_out; k++) {
        g_autofree char *what = g_strdup_printf("%s: output %d on %s", text, k, where);
        g_autoptr(TnTensor) want = parse(columns[k], call->out[k]);
        tn_test_near(out[k], want, loose(call->out[k].dtype), what);
        tn_tensor_unref(out[k]);
    }
}

static gboolean
check_line(const char *line)
{
    g_auto(GStrv) columns = g_strsplit(line, "\t", -1);
    const char *only = g_getenv("TN_OP");
    TnCall call;
    TN_REQUIRE(g_strv_length(columns) >= 5);
    const TnOp *op = tn_op_find(columns[0], NULL);
    if (only != NULL && strstr(columns[0], only) == NULL) {
        return FALSE;
    }
    TN_REQUIRE(op != NULL);
    const guint variant = (guint)strtoul(columns[2], NULL, 10);
    if (!tn_call_make(&call, op, tn_dtype_from_name(columns[1]), variant)) {
        TN_FAIL("%s: variant %u is no more: write the values again", columns[0], variant);
        return FALSE;
    }
    g_autofree char *digest = g_strdup_printf("%016" G_GINT64_MODIFIER "x", tn_call_digest(&call));
    const gboolean same = strcmp(digest, columns[3]) == 0;
    if (!same) {
        g_autofree char *text = tn_call_print(&call);
        TN_FAIL("%s: the call has changed: write the values again", text);
    } else if (g_strv_length(columns) != 4 + (guint)call.n_out) {
        TN_FAIL("%s: %d outputs", columns[0], call.n_out);
    } else {
        compare(&call, tn_on.ref, "ref", columns + 4);
        compare(&call, tn_on.cpu, "cpu", columns + 4);
    }
    tn_call_clear(&call);
    return same;
}

static void
values(void)
{
    tn_conformance_open_devices();
    g_autofree char *path = tn_test_source_path("tests/golden/values.txt");
    g_autoptr(GError) error = NULL;
    gsize size;
    char *text = tn_file_read(path, 0, &size, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    tn_data_free(text);
    guint n = 0;
    for (guint i = 0; lines[i] != NULL; i++) {
        n += lines[i][0] != '#' && lines[i][0] != '\0' && check_line(lines[i]);
    }
    TN_ASSERT_CMPUINT(n, >=, g_getenv("TN_OP") != NULL ? 0 : 400);
}

static const TnTest tests[] = {
    { "values", values },
};

TN_TEST_MAIN_WITH("conformance: golden values", tests, NULL, tn_conformance_close_devices)
