/* First and second derivatives of every operator, against finite differences in f64; at a second
 * set of shapes without building the graph again; and the same gradients on every device. */
// tn-test: timeout=480
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#include <math.h>
#include <tenon/base.h>

/* --- The graph -------------------------------------------------------------------------------- */

#define MAX_X 16

/* With the call's float outputs y, its inputs x that have a gradient, and directions given as
 * inputs: L = sum <y, c>, M = sum <dL/dx, d>, N = sum <dM/dx, e>. Inputs: the call's, then c, d,
 * e. */
typedef struct {
    TnGraph *graph;
    gint n_x, n_y;
    gint x[MAX_X], y[TN_MAX_OUT]; /* numbers of the call's inputs and outputs */
} Derivatives;

enum { OUT_L, OUT_M, OUT_N, OUT_GRADS };

static gboolean
failed(const TnCall *call, const char *what, const GError *error)
{
    g_autofree char *text = tn_call_print(call);
    TN_FAIL("%s: %s: %s", text, what, error->message);
    return FALSE;
}

/* The sum over k of <a[k], a new input of its shape>. */
static TnVal
weighed(TnGraph *graph, const char *prefix, gint n, const TnVal *a)
{
    TnVal sum = TN_VAL_NONE;
    for (gint k = 0; k < n; k++) {
        g_autofree char *name = g_strdup_printf("%s%d", prefix, k);
        const TnVal with = tn_graph_input(graph, name, *tn_graph_type(graph, a[k]));
        const TnVal product = tn_f_mul(graph, a[k], with);
        const TnVal part = tn_f_reduce_sum(graph, product, 0, NULL, FALSE);
        sum = k == 0 ? part : tn_f_add(graph, sum, part);
    }
    return sum;
}

static void
choose(Derivatives *d, const TnCall *call)
{
    for (gint i = 0; i < call->n_in && d->n_x < MAX_X; i++) {
        const gboolean same = tn_call_has(call, i) && call->in[i].dtype == call->dtype;
        if (same && tn_call_differentiable(call, i)) {
            d->x[d->n_x++] = i;
        }
    }
    for (gint k = 0; k < call->n_out; k++) {
        if (call->out[k].dtype == call->dtype) {
            d->y[d->n_y++] = k;
        }
    }
}

/* FALSE after recording a failure; n_x or n_y 0 if there is nothing to differentiate. */
static gboolean
build(Derivatives *d, const TnCall *call)
{
    g_autoptr(GError) error = NULL;
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT], x[MAX_X], y[TN_MAX_OUT], g[MAX_X], h[MAX_X];
    choose(d, call);
    if (d->n_x == 0 || d->n_y == 0) {
        return TRUE;
    }
    d->graph = tn_graph_new(call->op->name);
    if (!tn_call_add(call, d->graph, FALSE, in, out)) {
        return FALSE;
    }
    for (gint i = 0; i < d->n_x; i++) {
        x[i] = in[d->x[i]];
    }
    for (gint k = 0; k < d->n_y; k++) {
        y[k] = out[d->y[k]];
    }
    const TnVal l = weighed(d->graph, "c", d->n_y, y);
    if (!tn_grad(d->graph, l, TN_VAL_NONE, d->n_x, x, g, &error)) {
        return failed(call, "gradient", error);
    }
    const TnVal m = weighed(d->graph, "d", d->n_x, g);
    if (!tn_grad(d->graph, m, TN_VAL_NONE, d->n_x, x, h, &error)) {
        return failed(call, "gradient of the gradient", error);
    }
    const TnVal n = weighed(d->graph, "e", d->n_x, h);
    tn_graph_output(d->graph, "L", l);
    tn_graph_output(d->graph, "M", m);
    tn_graph_output(d->graph, "N", n);
    for (gint i = 0; i < d->n_x; i++) {
        g_autofree char *name = g_strdup_printf("g%d", i);
        tn_graph_output(d->graph, name, g[i]);
    }
    return tn_graph_check(d->graph, &error) || failed(call, "graph", error);
}

/* --- A point: a value for every input of the graph -------------------------------------------- */

typedef struct {
    guint n;
    TnTensor *inputs[TN_MAX_IN * 2];
    guint x, c, d, e; /* where directions begin; x: position of input x[i] is at[i] */
    guint at[MAX_X];
} Point;

static TnTensor *
random_direction(const char *prefix, gint k, TnType type)
{
    const gint64 count = tn_type_count(&type);
    g_autofree double *values = g_new(double, (gsize)count + 1);
    TnRandom random;
    tn_random_init(&random, 2, prefix, (guint64)k);
    for (gint64 i = 0; i < count; i++) {
        const double sign = tn_random_below(&random, 2) == 0 ? -1 : 1;
        values[i] = sign * (0.5 + 0.5 * tn_random_f64(&random));
    }
    return tn_test_tensor(type, values);
}

static void
make_point(Point *p, const Derivatives *d, const TnCall *call)
{
    *p = (Point){ 0 };
    for (gint i = 0, next = 0; i < call->n_in; i++) {
        if (next < d->n_x && d->x[next] == i) {
            p->at[next++] = p->n;
        }
        if (tn_call_has(call, i)) {
            p->inputs[p->n++] = tn_tensor_ref(call->value[i]);
        }
    }
    p->c = p->n;
    for (gint k = 0; k < d->n_y; k++) {
        p->inputs[p->n++] = random_direction("c", k, call->out[d->y[k]]);
    }
    p->d = p->n;
    for (gint i = 0; i < d->n_x; i++) {
        p->inputs[p->n++] = random_direction("d", i, call->in[d->x[i]]);
    }
    p->e = p->n;
    for (gint i = 0; i < d->n_x; i++) {
        p->inputs[p->n++] = random_direction("e", i, call->in[d->x[i]]);
    }
}

static void
clear_point(Point *p)
{
    for (guint i = 0; i < p->n; i++) {
        g_clear_pointer(&p->inputs[i], tn_tensor_unref);
    }
}

static void
replace(Point *p, guint i, TnTensor *tensor)
{
    tn_tensor_unref(p->inputs[i]);
    p->inputs[i] = tensor;
}

/* Directions of all inputs but `only` become 0; only < 0: all stay. */
static void
restrict_to(Point *p, const Derivatives *d, gint only)
{
    for (gint i = 0; i < d->n_x; i++) {
        const guint at[] = { p->d + (guint)i, p->e + (guint)i };
        for (gsize k = 0; k < G_N_ELEMENTS(at) && only >= 0 && i != only; k++) {
            replace(p, at[k], tn_tensor_zeros(NULL, *tn_tensor_type(p->inputs[at[k]]), NULL));
        }
    }
}

/* a + step b */
static TnTensor *
moved(TnTensor *a, TnTensor *b, double step)
{
    g_autofree double *x = tn_test_doubles(a);
    g_autofree double *y = tn_test_doubles(b);
    for (gint64 i = 0; i < tn_tensor_count(a); i++) {
        x[i] += step * y[i];
    }
    return tn_test_tensor(*tn_tensor_type(a), x);
}

/* --- Finite differences ----------------------------------------------------------------------- */

typedef struct {
    double l, m, n;
} Sums;

static gboolean
evaluate(TnFunction *function, const Derivatives *d, const Point *p, Sums *sums, GError **error)
{
    TnTensor *out[OUT_GRADS + MAX_X] = { NULL };
    if (!tn_function_call(function, p->n, p->inputs, out, error)) {
        return FALSE;
    }
    *sums = (Sums){ tn_tensor_get(out[OUT_L], 0), tn_tensor_get(out[OUT_M], 0),
                    tn_tensor_get(out[OUT_N], 0) };
    for (gint i = 0; i < OUT_GRADS + d->n_x; i++) {
        tn_tensor_unref(out[i]);
    }
    return TRUE;
}

/* At x + step times the directions that begin at `along`. */
static gboolean
evaluate_at(TnFunction *function, const Derivatives *d, const Point *p, guint along, double step,
            Sums *sums, GError **error)
{
    Point q = *p;
    for (guint i = 0; i < q.n; i++) {
        tn_tensor_ref(q.inputs[i]);
    }
    for (gint i = 0; i < d->n_x; i++) {
        const guint at = q.at[i];
        replace(&q, at, moved(p->inputs[at], p->inputs[along + (guint)i], step));
    }
    const gboolean ok = evaluate(function, d, &q, sums, error);
    clear_point(&q);
    return ok;
}

/* Central differences of fourth order (Abramowitz & Stegun, 25.3.6), of L or M. */
static gboolean
difference(TnFunction *function, const Derivatives *d, const Point *p, gboolean second,
           double *slope, GError **error)
{
    const double h = 2e-5; /* small, so that no two elements change places */
    const double steps[] = { -2 * h, -h, h, 2 * h };
    double f[4];
    for (gint i = 0; i < 4; i++) {
        Sums sums;
        if (!evaluate_at(function, d, p, second ? p->e : p->d, steps[i], &sums, error)) {
            return FALSE;
        }
        f[i] = second ? sums.m : sums.l;
    }
    *slope = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h);
    return TRUE;
}

static gboolean
close_enough(double a, double b, double scale)
{
    return fabs(a - b) <= 2e-6 * MAX(MAX(1, scale), MAX(fabs(a), fabs(b)));
}

/* Along the directions of input `only` (-1: of all). */
static gboolean
check_along(TnFunction *function, const Derivatives *d, const TnCall *call, gint only)
{
    g_autoptr(GError) error = NULL;
    Point p;
    Sums here;
    double first, second;
    make_point(&p, d, call);
    restrict_to(&p, d, only);
    const gboolean ok = evaluate(function, d, &p, &here, &error) &&
                        difference(function, d, &p, FALSE, &first, &error) &&
                        difference(function, d, &p, TRUE, &second, &error);
    clear_point(&p);
    if (!ok) {
        return failed(call, "gradient", error);
    }
    g_autofree char *text = tn_call_print(call);
    const char *name = only >= 0 ? tn_op_input(call->op, d->x[only])->name : "all";
    if (isfinite(here.l) && !close_enough(here.m, first, fabs(here.l) * 1e-3)) {
        TN_FAIL("%s: derivative in %s is %.12g, differences give %.12g", text, name, here.m, first);
        return FALSE;
    }
    if (isfinite(here.m) && isfinite(here.l) &&
        !close_enough(here.n, second, fabs(here.m) * 1e-3)) {
        TN_FAIL("%s: second derivative in %s is %.12g, differences give %.12g", text, name, here.n,
                second);
        return FALSE;
    }
    return TRUE;
}

static gboolean
check_at(TnFunction *function, const Derivatives *d, const TnCall *call)
{
    gboolean ok = TRUE;
    /* One input after another tells which derivative is wrong; sanitizers see the same work each time. */
    const gint end = TN_TEST_SANITIZED && d->n_x > 1 ? 0 : d->n_x;
    for (gint only = d->n_x > 1 ? -1 : 0; only < end && ok; only++) {
        ok = check_along(function, d, call, only);
    }
    return ok;
}

/* --- A second set of shapes ------------------------------------------------------------------- */

#define MAX_SIZE 16

/* The call's sizes, each by itself through a table. */
static gboolean
with_sizes(const TnCall *call, const gint64 *table, TnCall *resized)
{
    TnType in[TN_MAX_IN];
    for (gint i = 0; i < call->n_in; i++) {
        in[i] = call->in[i];
        for (gint k = 0; k < in[i].rank && !call->given[i]; k++) {
            const gint64 size = in[i].dims[k];
            in[i].dims[k] = size < MAX_SIZE ? table[size] : size;
        }
    }
    return tn_call_resize(resized, call, in);
}

static gboolean
has_size(const TnCall *call, gint64 size)
{
    for (gint i = 0; i < call->n_in; i++) {
        for (gint k = 0; k < call->in[i].rank && !call->given[i]; k++) {
            if (call->in[i].dims[k] == size) {
                return TRUE;
            }
        }
    }
    return FALSE;
}

/* Indices that were written out mean places of the sizes they were written for. */
static gboolean
may_resize(const TnCall *call)
{
    gboolean may = TRUE;
    for (gint i = 0; i < call->n_in; i++) {
        may &= !(call->given[i] && tn_op_input(call->op, i)->flags & TN_ARG_INDEX);
    }
    return may;
}

/* A graph keeps its dtypes and ranks at other sizes. */
static gboolean
same_ranks(const TnCall *a, const TnCall *b)
{
    gboolean same = a->n_out == b->n_out;
    for (gint k = 0; k < a->n_out && same; k++) {
        same = a->out[k].dtype == b->out[k].dtype && a->out[k].rank == b->out[k].rank;
    }
    return same;
}

/* The call with as many of its sizes changed as the operator accepts: to the next, or twice as
 * large (groups of channels). FALSE if that is none. */
static gboolean
other_shapes(const TnCall *call, TnCall *other)
{
    gint64 table[MAX_SIZE];
    gboolean any = FALSE;
    for (gint64 size = 0; size < MAX_SIZE; size++) {
        table[size] = size;
    }
    for (gint64 size = MAX_SIZE / 2; size >= 1 && may_resize(call); size--) {
        const gint64 tries[] = { size + 1, 2 * size };
        for (gsize k = 0; k < G_N_ELEMENTS(tries) && has_size(call, size); k++) {
            TnCall next;
            table[size] = tries[k];
            const gboolean made = with_sizes(call, table, &next);
            if (made && same_ranks(call, &next)) {
                if (any) {
                    tn_call_clear(other);
                }
                *other = next;
                any = TRUE;
                break;
            }
            if (made) {
                tn_call_clear(&next);
            }
            table[size] = size;
        }
    }
    return any;
}

/* --- What has no derivatives ------------------------------------------------------------------ */

#define FLAT "constant between its jumps"
#define TRUTH "of truth values"
#define INTEGER "of integers, or bits"
#define TYPE "looks at its input's type alone"
#define DRAWN "random, and no function of its inputs"
#define EIGHT "of 8-bit numbers"

/* Every other operator is held against differences, twice. */
static const struct {
    const char *op, *why;
} without[] = {
    { "sign", FLAT },
    { "floor", FLAT },
    { "ceil", FLAT },
    { "round", FLAT },
    { "not", TRUTH },
    { "isnan", TRUTH },
    { "isinf", TRUTH },
    { "equal", TRUTH },
    { "less", TRUTH },
    { "greater", TRUTH },
    { "less_or_equal", TRUTH },
    { "greater_or_equal", TRUTH },
    { "and", TRUTH },
    { "or", TRUTH },
    { "xor", TRUTH },
    { "bitwise_not", INTEGER },
    { "bitwise_and", INTEGER },
    { "bitwise_or", INTEGER },
    { "bitwise_xor", INTEGER },
    { "bit_shift", INTEGER },
    { "bitcast", INTEGER },
    { "argmax", INTEGER },
    { "argmin", INTEGER },
    { "one_hot", INTEGER },
    { "conv_integer", INTEGER },
    { "matmul_integer", INTEGER },
    { "quantize_linear", FLAT },
    { "dequantize_linear", EIGHT },
    { "qlinear_conv", EIGHT },
    { "qlinear_matmul", EIGHT },
    { "quantized_conv", EIGHT },
    { "zeros_like", TYPE },
    { "ones_like", TYPE },
    { "full_like", TYPE },
    { "size", TYPE },
    { "iota", TYPE },
    { "arange", TYPE },
    { "random_bits", DRAWN },
    { "random_uniform", DRAWN },
    { "random_normal", DRAWN },
    { "bernoulli", DRAWN },
    { "random_categorical", DRAWN },
    { "stop_gradient", "that is what it is for" },
    { "while", "nobody knows how many states it would have to keep: a bounded one is scan and if" },
};

static const char *
reason(const TnOp *op)
{
    for (gsize i = 0; i < G_N_ELEMENTS(without); i++) {
        if (strcmp(without[i].op, op->name) == 0) {
            return without[i].why;
        }
    }
    return NULL;
}

static GHashTable *seen; /* const TnOp *: of which differences were taken */

static void
check_seen(void)
{
    g_autoptr(GPtrArray) ops = tn_conformance_ops();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        const gboolean found = g_hash_table_contains(seen, op);
        if (found == (reason(op) != NULL)) {
            TN_FAIL("%s: %s", op->name,
                    found ? "has derivatives, and is said to have none"
                          : "no derivative was compared, and nothing says why there is none");
        }
    }
}

/* --- Tests ------------------------------------------------------------------------------------ */

/* Whether differences of the call were taken: counted, so that a suite that checks nothing
 * fails. */
static guint n_checked, n_reshaped, n_low;

static gboolean
check_call(const TnCall *call)
{
    Derivatives d = { 0 };
    gboolean ok = build(&d, call);
    if (ok && d.graph != NULL) {
        g_autoptr(TnFunction) function = tn_function_new(d.graph, tn_on.ref);
        TnCall other;
        ok = check_at(function, &d, call);
        g_hash_table_add(seen, (gpointer)call->op);
        n_checked++;
        if (ok && other_shapes(call, &other)) {
            ok = check_at(function, &d, &other);
            n_reshaped++;
            tn_call_clear(&other);
        }
    }
    g_clear_pointer(&d.graph, tn_graph_unref);
    return ok;
}

static void
each_call(TnDtype dtype, guint n_variants, gboolean (*check)(const TnCall *call))
{
    tn_conformance_open_devices();
    g_autoptr(GPtrArray) ops = tn_conformance_ops();
    for (guint i = 0; i < ops->len; i++) {
        const TnOp *op = g_ptr_array_index(ops, i);
        const gboolean smooth = !(op->flags & TN_OP_NO_GRAD) && reason(op) == NULL &&
                                tn_dtype_in(dtype, tn_call_dtypes(op));
        gboolean ok = TRUE;
        for (guint v = 0; smooth && ok && v < n_variants; v++) {
            TnCall call;
            if (!tn_call_make(&call, op, dtype, v)) {
                break;
            }
            ok = check(&call);
            tn_call_clear(&call);
        }
    }
}

static void
finite_differences(void)
{
    seen = g_hash_table_new(NULL, NULL);
    each_call(TN_DTYPE_F64, 100, check_call);
    check_seen();
    g_clear_pointer(&seen, g_hash_table_unref);
    if (g_getenv("TN_OP") == NULL) {
        TN_ASSERT_CMPUINT(n_checked, >, 500);
        TN_ASSERT_CMPUINT(n_reshaped, >, 300);
    }
}

static gboolean
run_on(const TnCall *call, const Derivatives *d, TnContext *context, TnTensor **out)
{
    g_autoptr(TnFunction) function = tn_function_new(d->graph, context);
    g_autoptr(GError) error = NULL;
    Point p;
    make_point(&p, d, call);
    const gboolean ok = tn_function_call(function, p.n, p.inputs, out, &error);
    clear_point(&p);
    return ok || failed(call, "gradient", error);
}

/* Gradients of `context` and of ref, whose programs are made of other kernels. Each is a chain of
 * operators: the tolerance of one, ten times. */
static gboolean
agree(const TnCall *call, TnContext *context, const char *where)
{
    Derivatives d = { 0 };
    TnTensor *want[OUT_GRADS + MAX_X] = { NULL }, *got[OUT_GRADS + MAX_X] = { NULL };
    TnTolerance tolerance = tn_tolerance(call->dtype);
    tolerance = (TnTolerance){ 10 * tolerance.rtol, 10 * tolerance.atol };
    gboolean ok = build(&d, call);
    if (ok && d.graph != NULL) {
        ok = run_on(call, &d, tn_on.ref, want) && run_on(call, &d, context, got);
        for (gint i = 0; i < d.n_x && ok; i++) {
            g_autofree char *text = tn_call_print(call);
            g_autofree char *what =
                g_strdup_printf("%s: gradient of input %d on %s", text, d.x[i], where);
            ok = tn_test_near(got[OUT_GRADS + i], want[OUT_GRADS + i], tolerance, what);
        }
    }
    for (gint i = 0; i < OUT_GRADS + MAX_X; i++) {
        g_clear_pointer(&want[i], tn_tensor_unref);
        g_clear_pointer(&got[i], tn_tensor_unref);
    }
    g_clear_pointer(&d.graph, tn_graph_unref);
    return ok;
}

static gboolean
agrees_on_cpu(const TnCall *call)
{
    return agree(call, tn_on.cpu, "cpu");
}

static gboolean
agrees_on_far(const TnCall *call)
{
    return agree(call, tn_on.far, "far");
}

static void
cpu(void)
{
    each_call(TN_DTYPE_F32, 100, agrees_on_cpu);
}

/* Types of low precision: gradients have their inputs' types, and are near. */
static void
half(void)
{
    each_call(TN_DTYPE_F16, 3, agrees_on_cpu);
    each_call(TN_DTYPE_BF16, 3, agrees_on_cpu);
}

/* The same call in f64, with the same contents. */
static gboolean
widened(const TnCall *call, TnCall *wide)
{
    if (!tn_call_make(wide, call->op, TN_DTYPE_F64, call->variant)) {
        return FALSE;
    }
    for (gint i = 0; i < call->n_in; i++) {
        if (tn_call_has(call, i)) {
            TnTensor *same = tn_tensor_copy(call->value[i], NULL, wide->in[i].dtype, NULL);
            tn_tensor_unref(wide->value[i]);
            wide->value[i] = same;
        }
    }
    return TRUE;
}

/* Gradients in low precision and in f64, rounded once. */
static gboolean
near_f64(const TnCall *call)
{
    Derivatives low = { 0 }, high = { 0 };
    TnTensor *got[OUT_GRADS + MAX_X] = { NULL }, *want[OUT_GRADS + MAX_X] = { NULL };
    const double step = call->dtype == TN_DTYPE_F16 ? 0x1p-10 : 0x1p-7;
    const TnTolerance tolerance = { 8 * step, 8 * step };
    g_auto(TnCall) wide = { 0 };
    gboolean ok = widened(call, &wide) && build(&low, call) && build(&high, &wide);
    if (ok && low.graph != NULL && low.n_x == high.n_x && low.n_y == high.n_y) {
        ok = run_on(call, &low, tn_on.ref, got) && run_on(&wide, &high, tn_on.ref, want);
        for (gint i = 0; i < low.n_x && ok; i++) {
            g_autofree char *text = tn_call_print(call);
            g_autofree char *what = g_strdup_printf("%s: gradient of input %d", text, low.x[i]);
            g_autoptr(TnTensor) rounded =
                tn_tensor_copy(want[OUT_GRADS + i], NULL, call->dtype, NULL);
            ok = tn_test_near(got[OUT_GRADS + i], rounded, tolerance, what);
            n_low++;
        }
    }
    for (gint i = 0; i < OUT_GRADS + MAX_X; i++) {
        g_clear_pointer(&want[i], tn_tensor_unref);
        g_clear_pointer(&got[i], tn_tensor_unref);
    }
    g_clear_pointer(&low.graph, tn_graph_unref);
    g_clear_pointer(&high.graph, tn_graph_unref);
    return ok;
}

static void
low_precision(void)
{
    each_call(TN_DTYPE_F16, 100, near_f64);
    each_call(TN_DTYPE_BF16, 100, near_f64);
    if (g_getenv("TN_OP") == NULL) {
        TN_ASSERT_CMPUINT(n_low, >, 500);
    }
}

static void
far(void)
{
    each_call(TN_DTYPE_F32, 2, agrees_on_far);
}

static const TnTest tests[] = {
    { "finite_differences", finite_differences }, { "cpu", cpu }, { "half", half },
    { "low_precision", low_precision },           { "far", far },
};

TN_TEST_MAIN_WITH("conformance: gradients", tests, NULL, tn_conformance_close_devices)
