/* recurrent.c: lstm and gru over whole sequences by oneDNN, in f32 and bf16, on slices of samples.
 *
 * In inference alone: the gates of each step, and lstm's cells, are outputs for the gradient, and the library
 * keeps them in a form of its own, which its own gradient reads. So a node is taken whose other outputs
 * nobody reads. Weights and biases are laid as the library has them once for all slices, and kept from run to
 * run where they are fixed. */
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <string.h>

#include <tenon/nn.h>

/* Slices at most, multiplications that one should have; samples, but for two slices, and a number that they
 * are a multiple of. */
#define MOST_SLICES 8
#define SAMPLES 16
#define UNIT 8
#define SLICE_WORK (1 << 22)

typedef struct {
    Slices slices; /* of samples */
    OneDnnRnn rnn; /* of all samples */
    TnDtype dtype;
    gint w; /* which input w_ih is */
    gboolean biases[2];
    gint64 features, hidden, gates;
    /* Among what is laid: biases as the library adds them; gru's weights with its gates in the library's order.
     * In scratch: lstm's first cells of bf16 as f32. */
    gsize bias_at, w_at[2], c_at;
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    char *laid;
} Job;

/* --- Sizes ------------------------------------------------------------------------------------ */

/* As [1, 1, …]. */
static OneDnnBox
layer_box(TnDtype dtype, gint rank, const gint64 *dims, const gint64 *strides)
{
    OneDnnBox box = { .dtype = dtype, .rank = rank + 2, .dims = { 1, 1 } };
    memcpy(box.dims + 2, dims, (gsize)rank * sizeof *dims);
    memcpy(box.strides + 2, strides, (gsize)rank * sizeof *strides);
    box.strides[0] = box.strides[1] = strides[0] * dims[0];
    return box;
}

static OneDnnBox
weights_box(const Plan *plan, gint64 n)
{
    OneDnnBox box = layer_box(plan->dtype, 3, (gint64[]){ n, plan->gates, plan->hidden },
                              (gint64[]){ 1, plan->hidden * n, n });
    box.strides[0] = box.strides[1] = plan->gates * plan->hidden * n;
    return box;
}

static OneDnnBox
state_box(TnDtype dtype, gint64 samples, gint64 hidden)
{
    return layer_box(dtype, 2, (gint64[]){ samples, hidden }, (gint64[]){ hidden, 1 });
}

static OneDnnBox
sequence_box(const TnType *type)
{
    OneDnnBox box = { .dtype = type->dtype, .rank = 3 };
    memcpy(box.dims, type->dims, 3 * sizeof *box.dims);
    tn_type_strides(type, box.strides);
    return box;
}

static void
set_sizes(Plan *plan, const TnNode *node)
{
    OneDnnRnn *rnn = &plan->rnn;
    const gint64 samples = node->in[0].type.dims[1];
    rnn->gru = strcmp(node->op->name, "gru") == 0;
    plan->w = rnn->gru ? 2 : 3;
    plan->dtype = node->in[0].type.dtype;
    plan->features = node->in[0].type.dims[2];
    plan->hidden = node->in[1].type.dims[1];
    plan->gates = rnn->gru ? 3 : 4;
    for (gint i = 0; i < 2; i++) {
        const gint at = plan->w + 2 + i;
        plan->biases[i] = node->n_in > at && node->in[at].type.dtype != TN_DTYPE_NONE;
    }
    rnn->x = sequence_box(&node->in[0].type);
    rnn->y = sequence_box(&node->out[0].type);
    rnn->h = state_box(plan->dtype, samples, plan->hidden);
    rnn->c = state_box(rnn->gru ? TN_DTYPE_NONE : TN_DTYPE_F32, samples, plan->hidden);
    rnn->w_x = weights_box(plan, plan->features);
    rnn->w_h = weights_box(plan, plan->hidden);
    rnn->bias =
        layer_box(TN_DTYPE_F32, 2, (gint64[]){ 4, plan->hidden }, (gint64[]){ plan->hidden, 1 });
    const gint64 work = node->out[0].count * plan->gates * (plan->features + plan->hidden);
    const gint64 most = MAX(samples / SAMPLES, MIN(2, samples / UNIT));
    slices_cut(&plan->slices, samples, UNIT, MIN(MOST_SLICES, MIN(most, work / SLICE_WORK)));
}

static OneDnnRnn
slice_of(const Plan *plan, gint64 size)
{
    OneDnnRnn slice = plan->rnn;
    slice.x.dims[1] = slice.y.dims[1] = size;
    slice.h = state_box(slice.h.dtype, size, plan->hidden);
    slice.c = state_box(slice.c.dtype, size, plan->hidden);
    return slice;
}

/* --- Running ---------------------------------------------------------------------------------- */

/* gru's gates are r, z, n here and z, r, n there. */
static gint64
gate_of(const Plan *plan, gint64 gate)
{
    return plan->rnn.gru && gate < 2 ? 1 - gate : gate;
}

/* Adds a gate's bias of x's (0) or h's part (1). */
static void
add_bias(const Job *job, gint side, gint64 gate, float *to)
{
    const Plan *p = job->plan;
    if (p->biases[side]) {
        const char *from = (const char *)job->run->in[p->w + 2 + side] +
                           gate * p->hidden * (gint64)tn_dtype_size(p->dtype);
        for (gint64 u = 0; u < p->hidden; u++) {
            float bias;
            tn_dtype_convert(TN_DTYPE_F32, &bias, 1, p->dtype,
                             from + u * (gint64)tn_dtype_size(p->dtype), 1, 1);
            to[u] += bias;
        }
    }
}

/* A gate's biases, and gru's weights of it; the fourth of gru's is n's bias of h alone. */
static TnStatus
lay_gate(gpointer data, gsize number, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 to = (gint64)number, gate = gate_of(p, MIN(to, p->gates - 1));
    const gsize cell = tn_dtype_size(p->dtype);
    float *bias = (float *)(void *)(job->laid + p->bias_at) + to * p->hidden;
    (void)n;
    memset(bias, 0, (gsize)p->hidden * sizeof *bias);
    if (to < p->gates) {
        add_bias(job, 0, gate, bias);
    }
    if (!p->rnn.gru || to != 2) {
        add_bias(job, 1, gate, bias);
    }
    for (gint i = 0; i < 2 && p->rnn.gru && to < p->gates; i++) {
        const gsize bytes = (gsize)(p->hidden * (i == 0 ? p->features : p->hidden)) * cell;
        memcpy(job->laid + p->w_at[i] + (gsize)to * bytes,
               (const char *)job->run->in[p->w + i] + (gsize)gate * bytes, bytes);
    }
    return TN_OK;
}

/* Weights of x's (0) or h's part (1) in the library's order of gates. */
static const char *
plain_w(const Plan *p, const TnRun *run, gint i, const char *laid)
{
    return p->rnn.gru ? laid + p->w_at[i] : run->in[p->w + i];
}

static TnStatus
lay(gconstpointer data, const TnRun *run, char *to)
{
    const Plan *p = data;
    Job job = { p, run, to };
    TnStatus status = tn_parallel_for(4, lay_gate, &job);
    for (gint i = 0; i < 2 && status == TN_OK; i++) {
        status = slices_lay(&p->slices, i, run, plain_w(p, run, i, to), to);
    }
    return status;
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const TnRun *run = job->run;
    const gint64 cell = (gint64)tn_dtype_size(p->dtype), first = slices_first(&p->slices, slice);
    void *ports[ONEDNN_N_PORTS] = { NULL };
    (void)n;
    ports[ONEDNN_A] = (char *)run->in[0] + first * p->features * cell;
    ports[ONEDNN_OUT] = (char *)run->out[0] + first * p->hidden * cell;
    ports[ONEDNN_H] = (char *)run->in[1] + first * p->hidden * cell;
    ports[ONEDNN_BIAS] = job->laid + p->bias_at;
    for (gint i = 0; i < 2; i++) {
        ports[p->slices.weights[i].port] =
            slices_weights(&p->slices, i, slice, plain_w(p, run, i, job->laid), job->laid);
    }
    if (!p->rnn.gru) {
        const char *c = p->dtype == TN_DTYPE_F32 ? run->in[2] : (char *)run->scratch + p->c_at;
        ports[ONEDNN_C] = (float *)(void *)c + first * p->hidden;
    }
    return slices_call(&p->slices, slice, ports, run->scratch);
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { p, run, NULL };
    if (!p->rnn.gru && p->dtype != TN_DTYPE_F32) {
        tn_dtype_convert(TN_DTYPE_F32, (char *)run->scratch + p->c_at, 1, p->dtype, run->in[2], 1,
                         (gsize)(p->slices.all * p->hidden));
    }
    const TnStatus status = slices_laid(&p->slices, run, &job.laid);
    return status == TN_OK ? slices_run(&p->slices, run, run_slice, &job, "a recurrent layer")
                           : status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer plan, gint64 size, GError **error)
{
    const OneDnnRnn slice = slice_of(plan, size);
    return onednn_rnn_new(&slice, error);
}

/* Of weights and biases. */
static gboolean
all_fixed(const Plan *plan, const TnNode *node)
{
    gboolean all = TRUE;
    for (gint i = 0; i < 4; i++) {
        all = all && (i < 2 || plan->biases[i - 2] ? node->in[plan->w + i].fixed : TRUE);
    }
    return all;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    set_sizes(plan, node);
    Slices *s = &plan->slices;
    const gint64 cell = (gint64)tn_dtype_size(plan->dtype), wide = sizeof(float);
    const gint64 each = plan->rnn.gru ? plan->gates * plan->hidden * cell : 0;
    plan->bias_at = slices_reserve_laid(s, 4 * plan->hidden * wide);
    plan->w_at[0] = slices_reserve_laid(s, each * plan->features);
    plan->w_at[1] = slices_reserve_laid(s, each * plan->hidden);
    if (!plan->rnn.gru && plan->dtype != TN_DTYPE_F32) {
        plan->c_at = slices_reserve(s, s->all * plan->hidden * wide);
    }
    s->lay = lay;
    s->n_in = node->n_in;
    s->kept = all_fixed(plan, node);
    slices_add_weights(s, ONEDNN_B, 0);
    slices_add_weights(s, ONEDNN_W_H, 0);
    return slices_prepare(plan, slice_new, prepared, error);
}

static gboolean
claims(const TnNode *node)
{
    const TnDtype dtype = node->in[0].type.dtype;
    for (gint i = 0; i < node->n_in; i++) {
        if (node->in[i].type.dtype != dtype && node->in[i].type.dtype != TN_DTYPE_NONE) {
            return FALSE;
        }
    }
    for (gint i = 1; i < node->n_out; i++) {
        if (!node->out[i].unread) {
            return FALSE;
        }
    }
    if (node->in[0].count == 0 || node->out[0].count == 0 || !onednn_takes(dtype)) {
        return FALSE;
    }
    Plan plan = { .w = 0 };
    set_sizes(&plan, node);
    const OneDnnRnn slice = slice_of(&plan, plan.slices.per);
    return onednn_way_fits(onednn_rnn_way(&slice));
}

static gboolean
pays(const TnNode *node)
{
    (void)node;
    return onednn_table_alone_pays();
}

/* Above the plugin cpu's recurrent layers of bf16, which have ranks of their own. */
#define ROW(op_)                                                                                   \
    {                                                                                              \
        .op = (op_), .dtypes = TN_DT(F32) | TN_DT(BF16), .rank = ONEDNN_RANK + 10,                 \
        .claims = claims, .prepare = prepare, .run = run, .release = slices_release, .pays = pays  \
    }

static const TnKernel kernels[] = { ROW("lstm"), ROW("gru") };

const TnKernelTable onednn_recurrent = ONEDNN_TABLE(kernels);
