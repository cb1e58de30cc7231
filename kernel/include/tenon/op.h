/* op.h: an operator's schema. One static const TnOp per operator, found by name in the registry.
 *
 * Primitives have a gradient rule and a kernel on the `ref` device; composites have a body of other
 * operators, and maybe a gradient rule and kernels of their own that are faster. Names are ONNX's
 * in snake_case.
 *
 * Sizes: a rule (infer aside) may use ranks, never sizes, so that a graph built at one set of
 * shapes is right at another: `like` inputs (TN_ARG_SHAPE) carry sizes where a rule needs them. */
#pragma once

#include <tenon/option.h>
#include <tenon/tensor.h>

G_BEGIN_DECLS

/* A value in a graph: output `out` of node `node`. */
typedef struct {
    guint32 node;
    guint32 out;
} TnVal;
#define TN_VAL_NONE ((TnVal){ G_MAXUINT32, 0 })
static inline gboolean
tn_val_is_none(TnVal val)
{
    return val.node == G_MAXUINT32;
}
static inline gboolean
tn_val_equal(TnVal a, TnVal b)
{
    return a.node == b.node && a.out == b.out;
}

typedef enum {
    TN_ARG_OPTIONAL = 1 << 0, /* may be TN_VAL_NONE */
    TN_ARG_VARIADIC = 1 << 1, /* the last one: one or more */
    TN_ARG_SHAPE =
        1
        << 2, /* only its type counts: no data is read, nothing is kept alive, no gradient flows */
    TN_ARG_STATIC = 1 << 3,  /* its value takes part in infer and in the program's key */
    TN_ARG_INDEX = 1 << 4,   /* integers: sampled from [0, TnSample.index_bound[i]) */
    TN_ARG_NO_GRAD = 1 << 5, /* never gets a gradient */
    /* [N, C, spatial…]: samples, channels, and axes that are alike but for what the attributes
     * kernel_shape, strides, pads, dilations and output_padding say of each, if there are any. So a
     * part of the samples may as well be one more spatial axis, along which the window is 1. */
    TN_ARG_SPATIAL = 1 << 6,
    TN_ARG_WINDOW = 1 << 7, /* [M, C, kernel…]: what is laid over the spatial axes */
    /* Of an output: element i depends on element i of the input of this name and on no other of it, so
     * a kernel may compute it into that one's memory (TN_KERNEL_IN_PLACE), whose type it has. */
    TN_ARG_REPLACES = 1 << 8,
} TnArgFlags;

/* One input or output. Arguments with the same letter have the same dtype. */
typedef struct {
    const char *name;
    const char *help;          /* shape and meaning, such as "[N, C, spatial…]" */
    char type;                 /* letter, such as 'T'; 0: a dtype of its own */
    TnDtypes dtypes;           /* allowed */
    guint32 flags;             /* TnArgFlags */
    gint32 min_rank, max_rank; /* 0, 0: any */
    /* Where tests sample its values: uniform in [lo, hi] (0, 0: [-2, 2]), at least `gap` away from
     * each kink. */
    double lo, hi;
    double kinks[4];
    gint32 n_kinks;
    double gap;
} TnOpArg;

typedef enum {
    TN_OP_ELEMENTWISE =
        1 << 0, /* out[i] depends on in[..][i] alone (broadcast); a composite's whole body is so */
    TN_OP_VIEW = 1 << 1,        /* output can be a strided view of input 0: see `view` */
    TN_OP_RANDOM = 1 << 2,      /* never merged with another */
    TN_OP_EFFECT = 1 << 3,      /* kept although nobody reads it */
    TN_OP_COMMUTATIVE = 1 << 4, /* inputs 0 and 1 may be swapped */
    TN_OP_NO_GRAD = 1 << 5,     /* its derivative is zero everywhere (compare, floor, argmax) */
    TN_OP_IMPERATIVE = 1 << 6,  /* its output size depends on data: imperative mode only */
    TN_OP_SOURCE = 1 << 7,      /* a node of the graph itself: input, variable, constant */
    TN_OP_CONTROL = 1 << 8,     /* runs its sub-graphs, which become programs within the program */
    TN_OP_REDUCTION =
        1 << 9, /* its output is made of input 0 along axes, of which size 1 or nothing is
                                 * left, each element by itself */
    /* Every element of its outputs hangs on input 0 along all axes that output 1 does not have, as what a
     * batch's own statistics normalise does. */
    TN_OP_MIXES = 1 << 10,
    TN_OP_FILLS =
        1 << 11, /* elements of its outputs may hang on no input, as those that pad adds */
} TnOpFlags;

/* What an operator does in a program that computes products from narrow numbers (TnCompile.precision).
 * Element-wise operators of one output compute in the type that they were built with, from inputs that
 * may be stored narrow. */
typedef enum {
    TN_PRECISION_WIDE,   /* as built; what moves elements (TN_OP_VIEW) follows all the same */
    TN_PRECISION_NARROW, /* inputs of the first one's letter become narrow: products, summed in f32 */
    TN_PRECISION_FOLLOW, /* the same if the largest of these inputs are stored narrow already */
    /* Inputs of other letters than the first one's are taken as they are stored: the operator widens
     * them by itself. */
    TN_PRECISION_AS_STORED,
} TnPrecision;

/* Asked to compute output types. All inputs were checked against their rows (number, dtypes,
 * ranks). */
typedef struct {
    guint32 size;
    const TnOp *op;
    const void *attrs;
    const char *name; /* dotted name of the node, for messages (the caller prefixes it: do not) */
    gint n_in;
    const TnType *in;       /* of an absent optional input: dtype TN_DTYPE_NONE */
    TnTensor *const *value; /* TN_ARG_STATIC inputs' values (host); NULL elsewhere */
    gint n_out;  /* may be set by ops whose number of outputs depends on attributes (split) */
    TnType *out; /* to be filled; TN_MAX_OUT of room */
} TnInfer;

/* Asked to add nodes that compute gradients of inputs. */
typedef struct {
    guint32 size;
    TnGraph *graph;
    const TnOp *op;
    const void *attrs;
    gint n_in;
    const TnVal *in;
    gint n_out;
    const TnVal *out;
    const TnVal *grad_out; /* TN_VAL_NONE: zero */
    const gboolean *need;  /* per input */
    TnVal *grad_in;        /* to be filled; TN_VAL_NONE: zero. Shape of in[i]. */
} TnVjp;

/* Asked to add nodes that compute what a composite means. */
typedef struct {
    guint32 size;
    TnGraph *graph;
    const TnOp *op;
    const void *attrs;
    gint n_in;
    const TnVal *in;
    gint n_out;
    TnVal *out; /* to be filled */
} TnBody;

/* Asked for a value that stands for a node's output 0 with less to compute, bit for bit, whatever the
 * inputs hold; where a node has several outputs, those of the value's node stand for them, one for one.
 * Results of less work that is rounded otherwise are taken only where tn_simplify_fixed says that part
 * of it is done beforehand. Of each node the rules of its own operator are asked and those of its
 * inputs' operators. */
typedef struct {
    guint32 size;
    TnGraph *graph; /* to be read; tn_simplify_add adds to it */
    const TnOp *op; /* of the node, which is not there yet */
    const void *attrs;
    gint n_in;
    const TnVal *in;
    const TnType *type; /* of output 0: what is not of the outputs' types is not taken */
    gint of;            /* the input whose operator's rule this is; -1: the node's own */
    gpointer data;
    gboolean fast_math; /* what is the same for real numbers may be given, too (TnCompile) */
} TnSimplify;
/* A node's first output; TN_VAL_NONE if op refuses the inputs, or one that it must have is TN_VAL_NONE.
 * attrs NULL: the defaults. */
TN_API TnVal tn_simplify_add(TnSimplify *simplify, const char *op, const void *attrs, gint n_in,
                             const TnVal *in);
/* The inputs of val's node if it is of that operator, else NULL. (transfer none): until the next
 * add. */
TN_API const TnVal *tn_simplify_inputs(const TnSimplify *simplify, TnVal val, const char *op);
/* Whether every element of val is the same known number. */
TN_API gboolean tn_simplify_splat(const TnSimplify *simplify, TnVal val, double *value);

/* Whether val hangs on constants and on variables alone that the program does not assign: what is
 * computed of it is computed once, and again when a variable has changed. */
TN_API gboolean tn_simplify_fixed(const TnSimplify *simplify, TnVal val);
/* Whether a device of the program has a kernel of its own for such a node of operator `op`: for those that
 * are worth it only then. in: as for tn_simplify_add, attrs not NULL. */
TN_API gboolean tn_simplify_has_kernel(const TnSimplify *simplify, const char *op,
                                       const void *attrs, gint n_in, const TnVal *in);
/* Whether nobody but the node reads the data of its input i. Of what a rule has only just laid bare that is not
 * known: FALSE. */
TN_API gboolean tn_simplify_sole(const TnSimplify *simplify, gint i);
/* Whether one node of operator `op` is to stand for this one and for the one that gives its input i: nobody
 * else reads that, the device that would run both has a kernel for it, and it takes no longer than both. By
 * measured times that is so or not where all three are in the table (TnCompile.costs) at these sizes; else
 * it is, unless the table chose another kernel than the built-in one for one of the two, or the one's kernel is of
 * lower rank than that of the node before. An element-wise node of no kernel of its own counts as no time: what it
 * is expanded into is not known. attrs, in: as for tn_simplify_has_kernel. */
TN_API gboolean tn_simplify_joins(const TnSimplify *simplify, const char *op, const void *attrs,
                                  gint n_in, const TnVal *in, gint i);

/* Asked how many floating-point operations one call takes. */
typedef struct {
    guint32 size;
    const TnOp *op;
    const void *attrs;
    gint n_in;
    const TnType *in; /* of an absent optional input: dtype TN_DTYPE_NONE */
    gint n_out;
    const TnType *out;
} TnFlops;
#define TN_FLOPS_UNKNOWN (-1.0)

/* A strided view, in elements of the input's storage. */
typedef struct {
    gint64 strides[TN_MAX_RANK];
    gint64 offset;
} TnLayout;

/* One sampled call for the conformance suite. variant counts up from 0; sample returns FALSE when
 * there is none of that number. Attributes arrive with defaults. Zero sizes, size 1, broadcasting
 * and every attribute belong among the variants.
 */
typedef struct {
    guint32 size;
    guint variant;
    TnDtype dtype; /* of letter 'T' */
    void *attrs;
    gint n_in;
    TnType in[TN_MAX_IN];          /* dtype TN_DTYPE_NONE: absent */
    gint64 index_bound[TN_MAX_IN]; /* TN_ARG_INDEX inputs */
    TnTensor
        *value[TN_MAX_IN]; /* optional: fixed contents instead of random ones (transfer full) */
} TnSample;

struct TnOp {
    guint32 size;  /* sizeof (TnOp) where it was compiled */
    guint32 flags; /* TnOpFlags */
    const char *name;
    const char *help; /* one line */
    const char *onnx; /* ONNX's name, NULL if ONNX has none */
    const TnOpArg *inputs;
    const TnOpArg *outputs;
    guint32 n_inputs, n_outputs;
    guint32 arg_size; /* sizeof (TnOpArg) */
    TnOptions attrs;
    gboolean (*infer)(TnInfer *infer, GError **error);
    gboolean (*vjp)(TnVjp *vjp, GError **error);
    gboolean (*body)(TnBody *body, GError **error);
    /* TN_OP_VIEW: the layout of output 0 over input 0's storage, FALSE if strides cannot express
     * it. in: the types of all inputs; in_layout: of input 0. */
    gboolean (*view)(const void *attrs, const TnType *in, const TnLayout *in_layout,
                     const TnType *out, TnLayout *out_layout);
    gboolean (*sample)(TnSample *sample);
    guint32 in_place; /* bit i: output 0 may be computed into input i's memory (same type) */
    TnVal (*simplify)(TnSimplify *simplify); /* NULL: no rule; TN_VAL_NONE: nothing here */
    /* Floating-point operations of a call: a multiplication and an addition are two, a function such
     * as exp is one; TN_FLOPS_UNKNOWN where types do not tell. NULL: those of the body; without one
     * an element-wise operator takes one for each element, a view none, any other is unknown. */
    double (*flops)(const TnFlops *call);
    /* The operator that computes the same on images (TN_ARG_SPATIAL) [N, C / TN_LANES, spatial…,
     * TN_LANES]; NULL: there is none. Its inputs and attributes begin with this one's; windows (TN_ARG_WINDOW) are
     * [M / TN_LANES, C / TN_LANES, kernel…, TN_LANES of C, TN_LANES of M], or [M / TN_LANES, kernel…, C, TN_LANES] for
     * images [N, C, spatial…], which it takes as well. Numbers of two bytes, which processors multiply in pairs,
     * are in blocks of TN_PAIR_LANES = P: windows are [M / P, C / P, kernel…, P / 2, P of M, 2 of C], or [M / P,
     * kernel…, C, P, 1]. Its kernels are asked for where windows are fixed (tn_simplify_fixed). */
    const char *blocked;
    guint32 precision; /* TnPrecision */
    /* A rule like `simplify` that makes one node of two: asked in the pass `join`, behind those that tidy, where
     * tn_simplify_joins is to have the last word. NULL: none. */
    TnVal (*join)(TnSimplify *simplify);
};

/* Row i of inputs/outputs (a variadic last row repeats). */
TN_API const TnOpArg *tn_op_input(const TnOp *op, gint i);
TN_API const TnOpArg *tn_op_output(const TnOp *op, gint i);
static inline gboolean
tn_op_is_composite(const TnOp *op)
{
    return op->body != NULL;
}

/* The kernel's primitives (static table); plugins' operators are factories of "tenon.op/1" whose
 * vtable is a TnOp. */
TN_API const TnOp *const *tn_op_primitives(guint *n);
/* By name among primitives and registered plugins' operators; a plugin that the index knows to
 * supply it is opened. NULL with *error (TN_ERROR_NOT_FOUND, nearest name) otherwise. (transfer
 * none). Thread: any. */
TN_API const TnOp *tn_op_find(const char *name, GError **error);

/* Checks number, dtypes and ranks of inputs against op's rows and calls op->infer; prefixes errors
 * with "NAME (OP): ". out has room for TN_MAX_OUT; *n_out is set. */
TN_API gboolean tn_op_infer(const TnOp *op, const void *attrs, const char *name, gint n_in,
                            const TnType *in, TnTensor *const *value, gint *n_out, TnType *out,
                            GError **error);

/* Floating-point operations of one call, for measuring how fast it is; negative
 * (TN_FLOPS_UNKNOWN): nobody says. in: types, dtype TN_DTYPE_NONE where an input is absent.
 * Thread: any. */
TN_API double tn_op_flops(const TnOp *op, const void *attrs, gint n_in, const TnType *in,
                          gint n_out, const TnType *out);

/* NumPy's broadcasting of n types' sizes into out (dtype left alone); FALSE with TN_ERROR_SHAPE,
 * both shapes named. */
TN_API gboolean tn_infer_broadcast(gint n, const TnType *in, TnType *out, GError **error);
/* infer for unary and n-ary element-wise operators: output 0 has the broadcast shape and input 0's
 * dtype. */
TN_API gboolean tn_infer_elementwise(TnInfer *infer, GError **error);
/* out 0 = in 0. */
TN_API gboolean tn_infer_same(TnInfer *infer, GError **error);
/* axis in [-rank, rank) made non-negative; FALSE with TN_ERROR_SHAPE otherwise. */
TN_API gboolean tn_infer_axis(gint64 axis, gint rank, gint *out, GError **error);

/* Shared attribute structs of primitives and composites; rows are beside the operators. */
typedef struct {
    TnInts axes; /* empty: all */
    gboolean keepdims;
} TnReduceAttrs;
typedef struct {
    gint64 axis;
} TnAxisAttrs;
typedef struct {
    gint64 group;
    TnInts strides, pads, dilations; /* pads: begins, then ends; empty: 1, 0, 1 */
    TnInts output_padding;           /* conv_transpose only */
} TnConvAttrs;
typedef struct {
    TnInts kernel_shape, strides, pads, dilations;
} TnWindowAttrs;

G_END_DECLS
