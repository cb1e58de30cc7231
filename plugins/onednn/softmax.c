/* softmax.c: softmax and log_softmax over the last axis by oneDNN, in f32 and bf16, on slices of rows
 * that depend on the sizes alone.
 *
 * Where a row holds NaN, or infinity as its largest, the whole row is NaN. The library gives NaN at
 * that element alone, from which the rest of the row follows here. */
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <math.h>
#include <string.h>

#include <tenon/op.h>

/* Slices at most, and elements that one should have. */
#define MOST_SLICES 8
#define SLICE_SIZE 32768

typedef struct {
    Slices slices; /* of rows */
    OneDnnSoftmax softmax;
    gint64 rows, n;
    gsize cell;
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
} Job;

/* FALSE: another axis than the last one. */
static gboolean
plan_rows(Plan *plan, const TnNode *node)
{
    const gint64 axis = ((const TnAxisAttrs *)node->attrs)->axis;
    const TnType *x = &node->in[0].type;
    if (x->rank == 0 || node->in[0].count == 0 || (axis != -1 && axis != x->rank - 1)) {
        return FALSE;
    }
    plan->n = x->dims[x->rank - 1];
    plan->rows = node->in[0].count / plan->n;
    plan->cell = tn_dtype_size(x->dtype);
    plan->softmax.log = strcmp(node->op->name, "log_softmax") == 0;
    plan->softmax.x = (OneDnnBox){
        .dtype = x->dtype, .rank = 2, .dims = { plan->rows, plan->n }, .strides = { plan->n, 1 }
    };
    return TRUE;
}

/* --- Running ---------------------------------------------------------------------------------- */

static void
spread_nan_f32(float *row, gint64 n)
{
    gint any = 0;
    for (gint64 i = 0; i < n; i++) {
        any |= row[i] != row[i];
    }
    for (gint64 i = 0; any && i < n; i++) {
        row[i] = NAN;
    }
}

#define BF16_NAN 0x7fc0

static void
spread_nan_bf16(guint16 *row, gint64 n)
{
    gint any = 0;
    for (gint64 i = 0; i < n; i++) {
        any |= (row[i] & 0x7fff) > 0x7f80;
    }
    for (gint64 i = 0; any && i < n; i++) {
        row[i] = BF16_NAN;
    }
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 first = slices_first(&plan->slices, slice),
                 end = first + slices_size(&plan->slices, slice);
    const gsize row_bytes = (gsize)plan->n * plan->cell;
    char *out = (char *)job->run->out[0];
    void *ports[ONEDNN_N_PORTS] = { [ONEDNN_A] = (char *)job->run->in[0] + (gsize)first * row_bytes,
                                    [ONEDNN_OUT] = out + (gsize)first * row_bytes };
    const TnStatus status = slices_call(&plan->slices, slice, ports, job->run->scratch);
    (void)n;
    for (gint64 row = first; status == TN_OK && row < end; row++) {
        void *at = out + (gsize)row * row_bytes;
        if (plan->softmax.x.dtype == TN_DTYPE_BF16) {
            spread_nan_bf16(at, plan->n);
        } else {
            spread_nan_f32(at, plan->n);
        }
    }
    return status;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run };
    return slices_run(&plan->slices, run, run_slice, &job, "a softmax");
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer data, gint64 size, GError **error)
{
    const Plan *plan = data;
    OneDnnSoftmax slice = plan->softmax;
    slice.x.dims[0] = size;
    return onednn_softmax_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    plan_rows(plan, node);
    slices_cut(&plan->slices, plan->rows, 1, MIN(MOST_SLICES, plan->rows * plan->n / SLICE_SIZE));
    return slices_prepare(plan, slice_new, prepared, error);
}

static gboolean
claims(const TnNode *node)
{
    Plan plan = { .rows = 0 };
    return onednn_takes(node->in[0].type.dtype) && plan_rows(&plan, node) &&
           onednn_way_fits(onednn_softmax_way(&plan.softmax));
}

static gboolean
pays(const TnNode *node)
{
    return onednn_softmax_pays(node->in[0].type.dtype, node->in[0].count);
}

#define ROW(op_)                                                                                   \
    {                                                                                              \
        .op = (op_), .dtypes = TN_DT(F32) | TN_DT(BF16), .rank = ONEDNN_RANK, .claims = claims,    \
        .prepare = prepare, .run = run, .release = slices_release, .pays = pays                    \
    }

static const TnKernel kernels[] = { ROW("softmax"), ROW("log_softmax") };

const TnKernelTable onednn_softmax = ONEDNN_TABLE(kernels);
