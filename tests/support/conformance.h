/*
 * conformance.h - calls of every operator that the registry knows, sampled from its own schema:
 * what the conformance suite walks over, and the program that writes calls out for NumPy and
 * PyTorch.
 *
 * A call is a pure function of (operator, dtype, variant): shapes and attributes come from the
 * operator's sample generator, contents from the domains of its rows. The environment variable
 * TN_OP restricts the walk to operators whose names contain it; TN_KERNELS names a plugin, or
 * several between spaces, whose kernels are to be judged besides those of nn and cpu.
 */
#ifndef TN_CONFORMANCE_H
#define TN_CONFORMANCE_H

#include <tenon/context.h>
#include <tenon/device.h>
#include <tenon/graph.h>
#include <tenon/program.h>

typedef struct {
    const TnOp *op;
    TnDtype dtype; /* of letter 'T' */
    guint variant;
    void *attrs;
    gint n_in, n_out;
    TnType in[TN_MAX_IN]; /* dtype TN_DTYPE_NONE: absent */
    TnType out[TN_MAX_OUT];
    gint64 bound[TN_MAX_IN];   /* of indices */
    gboolean given[TN_MAX_IN]; /* the sample's own contents, not random ones */
    TnTensor *value[TN_MAX_IN];
} TnCall;

/* Opens the plugins whose operators and kernels are tested. */
void tn_conformance_open(void);
/* The same, and contexts to run calls on. Again: nothing. */
void tn_conformance_open_devices(void);
void tn_conformance_close_devices(void);
/* Between the two; where cpu and far have no kernel, ref's is used. */
typedef struct {
    TnContext *ref, *cpu, *far;
} TnTestContexts;
extern TnTestContexts tn_on;
/* (transfer full): g_ptr_array_unref; const TnOp *, every operator that can stand in a graph by
 * itself. */
GPtrArray *tn_conformance_ops(void);
/* The dtypes that letter 'T' may have; f32, and f64 of what takes a sub-graph, if
 * there is no such letter. */
TnDtypes tn_call_dtypes(const TnOp *op);

/* FALSE: there is no such variant, or the sample was refused (a failure is recorded then).
 * Otherwise tn_call_clear. */
gboolean tn_call_make(TnCall *call, const TnOp *op, TnDtype dtype, guint variant);
/* The same call with its inputs at other sizes. FALSE (and nothing to clear) if the operator
 * refuses them. */
gboolean tn_call_resize(TnCall *resized, const TnCall *call, const TnType *in);
void tn_call_clear(TnCall *call);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TnCall, tn_call_clear)
/* "softmax, variant 3, f32". (transfer full). */
char *tn_call_print(const TnCall *call);
/* Changes when the operator's name, an attribute or an input changes. */
guint64 tn_call_digest(const TnCall *call);
/* Any size of an input or output is 0. */
gboolean tn_call_is_empty(const TnCall *call);
/* Input i is a float that a gradient may reach. */
gboolean tn_call_differentiable(const TnCall *call, gint i);
static inline gboolean
tn_call_has(const TnCall *call, gint i)
{
    return i < call->n_in && call->in[i].dtype != TN_DTYPE_NONE;
}

/* Adds the call: graph inputs "x0", "x1" … (in[] gets them, TN_VAL_NONE where absent) and the
 * operator's node; with `body` the nodes of its body instead. out: room for TN_MAX_OUT. FALSE after
 * recording a failure. */
gboolean tn_call_add(const TnCall *call, TnGraph *graph, gboolean body, TnVal *in, TnVal *out);
/* Runs the call on the context's devices: out[call->n_out] (transfer full), on the host. FALSE
 * after recording a failure. */
gboolean tn_call_run(const TnCall *call, TnContext *context, gboolean body, TnTensor **out);

/* (transfer full): an array of the elements in row-major order. */
double *tn_test_doubles(TnTensor *tensor);
/* (transfer full): a host tensor with these elements. */
TnTensor *tn_test_tensor(TnType type, const double *values);

/* |actual - expected| <= rtol |expected| + atol max (1, largest |expected|). NaN equals NaN. */
typedef struct {
    double rtol, atol;
} TnTolerance;
/* What two ways of computing the same may differ by; zeros for dtypes that must agree exactly. */
TnTolerance tn_tolerance(TnDtype dtype);
/* Of output k of a call. What a product (TN_PRECISION_NARROW) of narrow numbers keeps in f32 is no more exact
 * than they are: it may have been rounded on the way, as from step to step. */
TnTolerance tn_call_tolerance(const TnCall *call, gint k);
/* Compares types and elements. FALSE after recording a failure that begins with `what`. */
gboolean tn_test_near(TnTensor *actual, TnTensor *expected, TnTolerance tolerance,
                      const char *what);

#endif
