/* recurrent_narrow.c: sequences of bf16 and f16: everything is computed in f32, as in the operators' bodies,
 * and what is given is rounded once. */
#include "recurrent.h"

#include "tables.h"

/* Elements that one chunk converts. */
#define CHUNK 16384

/* An input or output, and where among the copies its f32 one is. */
typedef struct {
    TnDtype dtype; /* TN_DTYPE_F32: as it is */
    gint64 count;
    gsize at;
} Operand;

typedef struct {
    void *plan;
    TnStatus (*run)(void *plan, const TnRun *run);
    gsize copies_at; /* in scratch, behind the f32 kernel's own */
    gint n_in, n_out;
    Operand in[7], out[3];
} Narrow;

typedef struct {
    const Operand *operand;
    const char *from;
    char *to;
    gboolean widens;
} Job;

static TnStatus
convert_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const TnDtype dtype = job->operand->dtype;
    const TnDtype from = job->widens ? dtype : TN_DTYPE_F32,
                  to = job->widens ? TN_DTYPE_F32 : dtype;
    const gsize at = chunk * CHUNK, count = MIN(CHUNK, (gsize)job->operand->count - at);
    (void)n;
    tn_dtype_convert(to, job->to + at * tn_dtype_size(to), 1, from,
                     job->from + at * tn_dtype_size(from), 1, count);
    return TN_OK;
}

static TnStatus
convert(const Operand *operand, const void *from, void *to, gboolean widens)
{
    Job job = { operand, from, to, widens };
    return tn_parallel_for((gsize)((operand->count + CHUNK - 1) / CHUNK), convert_chunk, &job);
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Narrow *narrow = state;
    char *copies = (char *)run->scratch + narrow->copies_at;
    void *in[G_N_ELEMENTS(narrow->in)], *out[G_N_ELEMENTS(narrow->out)];
    TnRun wide = *run;
    TnStatus status = TN_OK;
    wide.in = in;
    wide.out = out;
    for (gint i = 0; i < narrow->n_in && status == TN_OK; i++) {
        const Operand *operand = &narrow->in[i];
        in[i] = operand->dtype == TN_DTYPE_F32 ? run->in[i] : copies + operand->at;
        if (operand->dtype != TN_DTYPE_F32) {
            status = convert(operand, run->in[i], in[i], TRUE);
        }
    }
    for (gint i = 0; i < narrow->n_out; i++) {
        const Operand *operand = &narrow->out[i];
        out[i] = operand->dtype == TN_DTYPE_F32 ? run->out[i] : copies + operand->at;
    }
    status = status == TN_OK ? narrow->run(narrow->plan, &wide) : status;
    for (gint i = 0; i < narrow->n_out && status == TN_OK; i++) {
        const Operand *operand = &narrow->out[i];
        if (operand->dtype != TN_DTYPE_F32) {
            status = convert(operand, out[i], run->out[i], FALSE);
        }
    }
    return status;
}

/* Turns arg into its f32 copy's, with room for that in scratch. */
static Operand
widen(TnArg *arg, TnPrepared *prepared)
{
    const gboolean as_it_is = arg->type.dtype == TN_DTYPE_NONE || arg->type.dtype == TN_DTYPE_F32;
    const Operand operand = { as_it_is ? TN_DTYPE_F32 : arg->type.dtype, arg->count,
                              (prepared->scratch + 63) & ~(gsize)63 };
    if (!as_it_is) {
        arg->type.dtype = TN_DTYPE_F32;
        prepared->scratch = operand.at + (gsize)arg->count * sizeof(float);
    }
    return operand;
}

/* The f32 kernel's scratch comes first, for it was planned so. */
static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const gboolean grad = g_str_has_suffix(node->op->name, "_grad");
    Narrow *narrow = g_new0(Narrow, 1);
    TnArg in[G_N_ELEMENTS(narrow->in)], out[G_N_ELEMENTS(narrow->out)];
    TnNode wide = *node;
    TnPrepared copies = { .size = sizeof copies };
    memcpy(in, node->in, (gsize)node->n_in * sizeof *in);
    memcpy(out, node->out, (gsize)node->n_out * sizeof *out);
    wide.in = in;
    wide.out = out;
    narrow->n_in = node->n_in;
    narrow->n_out = node->n_out;
    narrow->run = grad ? recurrent_grad_run : recurrent_run;
    for (gint i = 0; i < node->n_in; i++) {
        narrow->in[i] = widen(&in[i], &copies);
    }
    for (gint i = 0; i < node->n_out; i++) {
        narrow->out[i] = widen(&out[i], &copies);
    }
    if (!(grad ? recurrent_grad_prepare : recurrent_prepare)(&wide, prepared, error)) {
        g_free(narrow);
        return FALSE;
    }
    narrow->plan = prepared->state;
    narrow->copies_at = (prepared->scratch + 63) & ~(gsize)63;
    prepared->state = narrow;
    prepared->scratch = narrow->copies_at + copies.scratch;
    return TRUE;
}

static void
release(void *state)
{
    Narrow *narrow = state;
    g_free(narrow->plan);
    g_free(narrow);
}

static gboolean
claims(const TnNode *node)
{
    const TnDtypes dtypes = TN_DT(F32) | TN_DT(BF16) | TN_DT(F16) | TN_DT(NONE);
    for (gint i = 0; i < node->n_in; i++) {
        if (!tn_dtype_in(node->in[i].type.dtype, dtypes)) {
            return FALSE;
        }
    }
    return recurrent_worth(node);
}

#define ROW(name)                                                                                  \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(BF16) | TN_DT(F16), .claims = claims, .prepare = prepare,    \
        .run = run, .release = release                                                             \
    }

static const TnKernel kernels[] = {
    ROW("rnn"), ROW("lstm"), ROW("gru"), ROW("rnn_grad"), ROW("lstm_grad"), ROW("gru_grad"),
};

const TnKernelTable cpu_recurrent_narrow = CPU_TABLE(kernels);
