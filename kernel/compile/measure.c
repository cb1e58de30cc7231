/* measure.c: how long each of a node's kernels takes, on made-up inputs. Kernels run in turn, so that
 * a machine that drifts does so for all; the shortest time of each counts. */
#include <math.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/cost.h>
#include <tenon/pool.h>

#include "kernels.h"

#define PATTERN 4099 /* elements after which contents repeat */

typedef struct {
    const TnKernel *kernel;
    TnPrepared prepared;
    void *scratch;
    gint64 runs; /* of one turn */
    double best; /* microseconds */
} Candidate;

typedef struct {
    const TnNode *node;
    TnTensor *tensors[TN_MAX_IN + TN_MAX_OUT];
    void *in[TN_MAX_IN], *out[TN_MAX_OUT];
    GArray *candidates; /* of Candidate */
} Timing;

/* --- Contents --------------------------------------------------------------------------------- */

/* 0, or floats from 0.1 to 1. */
static void
fill(TnTensor *tensor, void *memory)
{
    const gsize size = tn_dtype_size(tn_tensor_dtype(tensor));
    const gsize n = (gsize)tn_tensor_count(tensor), first = MIN(n, PATTERN);
    TnRandom random;
    memset(memory, 0, n * size);
    if (!tn_dtype_in(tn_tensor_dtype(tensor), TN_DTYPES_FLOAT)) {
        return;
    }
    tn_random_init(&random, 0, "measure", 0);
    const TnDtypeInfo *info = tn_dtype_info(tn_tensor_dtype(tensor));
    for (gsize i = 0; i < first; i++) {
        const double value = 0.1 + 0.9 * tn_random_f64(&random);
        const float narrow = (float)value;
        const gboolean wide = info->compute == TN_COMPUTE_F64;
        info->store((char *)memory + i * size, wide ? (const void *)&value : &narrow, 1, 1);
    }
    for (gsize at = first; at < n; at += first) {
        memcpy((char *)memory + at * size, memory, MIN(first, n - at) * size);
    }
}

static gboolean
make_argument(const TnArg *arg, TnTensor **tensor, void **memory, GError **error)
{
    if (arg->type.dtype == TN_DTYPE_NONE) {
        return TRUE;
    }
    if (arg->value != NULL) {
        *memory = (void *)arg->value;
        return TRUE;
    }
    *tensor = tn_tensor_new(NULL, arg->type, error);
    if (*tensor == NULL) {
        return FALSE;
    }
    *memory = tn_storage_memory(tn_tensor_storage(*tensor));
    fill(*tensor, *memory);
    return TRUE;
}

static gboolean
make_arguments(Timing *timing, GError **error)
{
    const TnNode *node = timing->node;
    for (gint i = 0; i < node->n_in; i++) {
        if (!make_argument(&node->in[i], &timing->tensors[i], &timing->in[i], error)) {
            return FALSE;
        }
    }
    for (gint i = 0; i < node->n_out; i++) {
        if (!make_argument(&node->out[i], &timing->tensors[TN_MAX_IN + i], &timing->out[i],
                           error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* --- Kernels ---------------------------------------------------------------------------------- */

static void
candidate_clear(Candidate *candidate)
{
    if (candidate->kernel->release != NULL) {
        candidate->kernel->release(candidate->prepared.state);
    }
    tn_data_free(candidate->scratch);
}

/* Microseconds of a run, of several that are timed together. */
static double
time_runs(const Timing *timing, const Candidate *candidate, gint64 runs)
{
    const TnRun run = {
        .size = sizeof(TnRun), .in = timing->in, .out = timing->out, .scratch = candidate->scratch
    };
    const TnFloatMode mode = tn_float_mode_enter();
    const gint64 begin = tn_time_ns();
    TnStatus status = TN_OK;
    for (gint64 i = 0; i < runs && status == TN_OK; i++) {
        status = candidate->kernel->run(candidate->prepared.state, &run);
    }
    const gint64 end = tn_time_ns();
    tn_float_mode_leave(mode);
    return status == TN_OK ? MAX(1e-3, (double)(end - begin) * 1e-3 / (double)runs) : INFINITY;
}

/* Prepares a kernel and runs it once to warm up and once to know how long it takes. */
static void
add_candidate(Timing *timing, const TnKernel *kernel, double seconds)
{
    Candidate candidate = { .kernel = kernel, .prepared = { .size = sizeof(TnPrepared) } };
    if (kernel->prepare != NULL && !kernel->prepare(timing->node, &candidate.prepared, NULL)) {
        return;
    }
    candidate.scratch = tn_data_alloc_for(candidate.prepared.scratch, timing->node->name, NULL);
    if (candidate.scratch != NULL && isfinite(time_runs(timing, &candidate, 1))) {
        candidate.best = time_runs(timing, &candidate, 1);
        candidate.runs = CLAMP((gint64)(seconds * 1e6 / candidate.best), 1, 1000000);
        g_array_append_val(timing->candidates, candidate);
    } else {
        candidate_clear(&candidate);
    }
}

static TnValue *
row_of(const Timing *timing, const char *key)
{
    TnValue *row = tn_value_map(), *us = tn_value_map();
    for (guint i = 0; i < timing->candidates->len; i++) {
        const Candidate *candidate = &g_array_index(timing->candidates, Candidate, i);
        g_autofree char *id = tn_kernel_id(candidate->kernel);
        /* Three digits are more than a clock is good for. */
        char text[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_formatd(text, sizeof text, "%.3g", candidate->best);
        tn_value_set(us, id, tn_value_double(g_ascii_strtod(text, NULL)));
    }
    tn_value_set(row, "node", tn_value_string(key));
    tn_value_set(row, "us", us);
    return row;
}

/* One that is this much slower than another is timed no more. */
#define FAR_BEHIND 3

static void
time_in_turn(Timing *timing, guint rounds)
{
    double best = INFINITY;
    for (guint i = 0; i < timing->candidates->len; i++) {
        best = MIN(best, g_array_index(timing->candidates, Candidate, i).best);
    }
    for (guint k = 0; k < rounds * timing->candidates->len; k++) {
        Candidate *candidate =
            &g_array_index(timing->candidates, Candidate, k % timing->candidates->len);
        if (candidate->best <= best * FAR_BEHIND) {
            candidate->best = MIN(candidate->best, time_runs(timing, candidate, candidate->runs));
        }
    }
}

TnValue *
tn_costs_measure(const char *kind, const TnNode *node, double seconds, guint rounds, GError **error)
{
    Timing timing = { .node = node, .candidates = g_array_new(FALSE, TRUE, sizeof(Candidate)) };
    TnValue *row = NULL;
    if (make_arguments(&timing, error)) {
        g_autoptr(GPtrArray) kernels = tn_kernel_candidates(kind, node);
        for (guint i = 0; i < kernels->len; i++) {
            add_candidate(&timing, g_ptr_array_index(kernels, i), seconds);
        }
        time_in_turn(&timing, rounds);
        g_autofree char *key = tn_node_key(kind, node);
        if (timing.candidates->len > 0) {
            row = row_of(&timing, key);
        } else {
            g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "%s: no kernel could run it", key);
        }
    }
    for (guint i = 0; i < timing.candidates->len; i++) {
        candidate_clear(&g_array_index(timing.candidates, Candidate, i));
    }
    for (guint i = 0; i < G_N_ELEMENTS(timing.tensors); i++) {
        g_clear_pointer(&timing.tensors[i], tn_tensor_unref);
    }
    g_array_unref(timing.candidates);
    return row;
}
