/* ops.h: the primitives: what each one means, and the structs of their attributes.
 *
 * A primitive is found with tn_op_find ("matmul"); its attributes are one of the structs below
 * (none: NULL). Every device that claims a primitive computes what this page says. Shapes are
 * written [a, b]; "x~y" means that x and y broadcast as in NumPy: sizes are aligned at the last
 * axis, and 1 (or a missing axis) meets any size. A negative axis counts from the last. No size is
 * too small: every primitive takes sizes of 0 and, where a rank is not named, rank 0. Attributes
 * that stand for sizes (reshape's shape, pad's pads) are the user's own; no gradient rule writes
 * one. An entry reads: name (attributes)  inputs -> outputs; a single input is called x, a dtype T
 * is that of the first input.
 *
 * Sets of dtypes: float = f64 f32 f16 bf16; int = i8-i64; uint = u8-u64; number = float, int, uint;
 * all = number, bool. Arithmetic on f16 and bf16 is done in f32 and rounded once. Integers wrap.
 *
 * Of the graph itself (flag TN_OP_SOURCE, or TN_OP_EFFECT for assign; made by tn_graph_input and
 * friends)
 *   input  -> T
 *       a named input; its sizes are those of the binding
 *   variable  -> T
 *       a variable's value when the program begins
 *   constant (value)  -> T
 *       a tensor kept by the graph
 *   assign  x T  -> -
 *       writes x to the variable named by the attribute, at the program's end
 *   call  x any …  -> any …
 *       a sub-graph in place: its body is a copy of the sub-graph's nodes (which has no variables
 *       of its own: they are given as inputs)
 *   fused  x any …  -> any …
 *       a sub-graph of element-wise nodes in place, made by the compiler for devices with a kernel
 *       for it: out[k] has the broadcast shape of the inputs; each node computes and rounds exactly
 *       as it would alone
 *
 * Control flow: sub-graphs that are run where they stand, with the inputs that their node gives them;
 * values captured from the graph around come last. Made by tn_graph_if and friends (graph.h)
 *   if (then_branch, else_branch)  condition bool [], x any … -> any …
 *       the outputs of one of two sub-graphs, which agree in types
 *   while (body)  condition bool [], states and captures any … -> states any …
 *       while the condition holds, body gives the next condition and states, of the same types. No
 *       gradient: it would need to know how often at most
 *   scan (body, num_states, num_scan_inputs, reverse, save)
 *            states, scan inputs [n, …], captures any … -> states, stacked [n, …], saved any …
 *       body for each slice along the first axis of the scan inputs, from the last if reverse: the
 *       states go from step to step, what else it gives is stacked at the place of the slice
 *
 * Element-wise, one input (out has x's shape)
 *   identity stop_gradient all -> T
 *       x itself; no gradient passes the second
 *   neg  number -> T
 *       -x (uint: wraps)
 *   abs sign  number -> T
 *       |x|; -1, 0 or 1 (NaN: NaN)
 *   exp log sqrt reciprocal sin cos tanh erf  float -> T
 *   floor ceil round  float -> T
 *       round: to nearest, halves to even
 *   not  bool -> bool
 *   bitwise_not  int uint -> T
 *   isnan  float -> bool
 *   cast (to)  all -> to
 *       C's conversion: float to integer truncates and saturates, NaN gives 0; integers wrap; to
 *       bool: nonzero. Float to float rounds to nearest even
 *   bitcast (to)  number -> to
 *       the same bytes read as another dtype of the same width
 *
 * Element-wise, two inputs a~b of one dtype (out has the broadcast shape)
 *   add sub mul  number -> T
 *   div  number -> T
 *       integers truncate toward zero; integer x / 0 is 0, lowest / -1 wraps
 *   pow  number -> T
 *       C's pow. Integers: wraps; a negative exponent gives 1 for base 1, 1 or -1 for base -1, 0
 *       for every other base
 *   mod (fmod)  number -> T
 *       fmod false: the sign of b (Python's %); true: the sign of a (C's fmod, %). Integer x mod 0
 *       is 0; lowest mod -1 is 0
 *   max min  number -> T
 *       NaN if either is NaN
 *   equal  all -> bool
 *   less greater less_or_equal greater_or_equal  number -> bool
 *       false if either is NaN
 *   and or xor  bool -> bool
 *   bitwise_and bitwise_or bitwise_xor  int uint -> T
 *   bit_shift (direction)  uint -> T
 *       a shifted by b bits, zeros move in; b of the type's width or more gives 0
 *   where  condition bool, a all, b T -> T
 *       a where condition holds, else b; all three broadcast
 *
 * Of another value's shape (`like` inputs are TN_ARG_SHAPE: their type counts, never their data)
 *   expand_as  x all, like any -> T
 *       x broadcast to like's shape (x~like gives like's shape exactly)
 *   reduce_to  x number, like any -> T
 *       x summed over the axes along which like would be broadcast to x's shape: the transpose of
 *       expand_as. Out has like's shape
 *   reshape_as  x all, like any -> T
 *       the same elements, row-major, in like's shape (counts must agree)
 *   zeros_like ones_like  like all -> T
 *       filled with 0, 1 (bool: false, true)
 *   full_like (value, dtype)  like all -> dtype
 *       filled with value; dtype none: like's
 *   size (axes, dtype)  like any -> dtype []
 *       product of like's sizes along axes (none given: all); dtype none: like's
 *   iota (axis, dtype)  like any -> dtype [n]
 *       0, 1, … n-1 where n is like's size along axis
 *
 * Reductions (ONNX: no axes given means all; keepdims leaves axes of size 1)
 *   reduce_sum reduce_prod (axes, keepdims)  number -> T
 *       of nothing: 0, 1
 *   reduce_max reduce_min (axes, keepdims)  all -> T
 *       NaN if there is one; of nothing: the type's lowest (float: -inf) and highest. Bool: any and
 *       all
 *   argmax argmin (axis, keepdims, select_last_index)  number -> i64
 *       first of equals unless select_last_index; a NaN counts as the largest for argmax, the
 *       smallest for argmin, the first NaN wins (the last with select_last_index). An axis of size
 *       0 is an error, unless out is empty
 *   cumsum (axis, exclusive, reverse)  number -> T
 *       exclusive: out[0] is 0; reverse: from the end
 *
 * Movement (each copies elements or is a view)
 *   reshape (shape, allowzero)  all -> T
 *       0 in shape copies x's size at that place (allowzero: means 0); one -1 is inferred
 *   flatten (axis)  all -> T
 *       [product of sizes before axis, product of the rest]; axis in [-rank, rank]
 *   transpose (perm)  all -> T
 *       out's axis i is x's axis perm[i]; none given: reversed
 *   squeeze (axes)  all -> T
 *       removes axes of size 1; none given: all of size 1
 *   unsqueeze (axes)  all -> T
 *       adds axes of size 1; axes count in out's rank
 *   expand (shape)  all -> T
 *       x broadcast with shape both ways (ONNX); 1 and -1 keep x's size
 *   slice (starts, ends, axes, steps)  all -> T
 *       ONNX: axes none given: 0, 1, …; steps: 1; negative positions count from the end; then
 *       starts are clamped to [0, n] and ends to [0, n] if step > 0, to [0, n - 1] and [-1, n - 1]
 *       if step < 0
 *   unslice (as slice)  g all, like any -> T
 *       zeros of like's shape with g at the place that slice takes: its transpose
 *   pad (pads, axes, value)  all -> T
 *       pads: begins, then ends, of axes (none given: all); negative ones crop
 *   concat (axis)  x all … -> T
 *       along an axis; other sizes agree; at most TN_MAX_IN - 1
 *   concat_part (axis, index)  g all, like any … -> T
 *       the part of g that input `index` of concat (like …) has in it
 *   split (axis, split, num_outputs)  all -> T …
 *       sizes in split, or num_outputs parts of ceil (n / num_outputs), the last smaller; at most
 *       TN_MAX_OUT parts
 *   window (kernel_shape, strides, dilations)  x all [lead…, s…] -> T [lead…, o…, k…]
 *       over the last n = kernel_shape's length axes: out[…, o…, k…] = x[…, o * stride + k *
 *       dilation …], o of (s - dilation * (k - 1) - 1) / stride + 1. No padding: pad first. The
 *       result has rank + n <= TN_MAX_RANK axes
 *   unwindow (as window)  g number, like any -> T
 *       overlap-add: each element of g added where window would have read it, in like's shape:
 *       window's transpose
 *
 * Indexing. Indices are i32 or i64; negative ones count from the end. One out of range fails the
 * run, which names it
 *   gather (axis)  data all, indices -> T
 *       out = data[:axis] x indices x data[axis + 1:]
 *   scatter_add (axis)  data number, indices, updates T -> T
 *       data with updates (of gather's out shape) added at the places that gather reads, in the
 *       order of indices: gather's transpose
 *   gather_elements (axis)  data all, indices -> T
 *       out[i…] = data[i… with indices[i…] at axis]; out has indices' shape, whose other sizes are
 *       at most data's
 *   scatter_elements (axis, reduction)  data all, indices, updates T -> T
 *       data with updates (of indices' shape) written (none) or added (add; number) at the places
 *       that gather_elements reads, in row-major order of indices: the last of equal places stays
 *   sort (axis, descending)  number -> values T, indices i64
 *       stable; NaN counts as larger than everything. (topk is sort and slice: a composite)
 *
 * Sums of products
 *   matmul  a number, b T -> T
 *       NumPy: [.., m, k] x [.., k, n] with leading axes broadcast; a 1-d a is a row whose axis
 *       disappears from out, a 1-d b a column likewise. Both of rank 1 at least
 *   conv (group, strides, pads, dilations)
 *            x float [N, C, s…], w T [M, C/group, k…] -> T [N, M, o…]
 *       1 to 3 spatial axes; cross-correlation;
 *       o = (s + pads - dilation * (k - 1) - 1) / stride + 1
 *   conv_transpose (as conv, output_padding)
 *            x float [N, M, o…], w T [M, C/group, k…], like optional any -> T [N, C, s…]
 *       conv's transpose in x. s = stride * (o - 1) + output_padding + dilation * (k - 1) + 1 -
 *       pads, or like's spatial sizes if like [N, C, s…] is there (conv of those must give o).
 *       output_padding < stride
 *   conv_grad_weight (as conv)
 *            x float [N, C, s…], g T [N, M, o…], like any [M, C/group, k…] -> T, like's shape
 *       conv's transpose in w: out[m, c, k…] = sum over n, o of g[n, m, o…] * x[n, c, o * stride +
 *       k * dilation - pad]
 *
 * Random. key u64 [2] = {seed, position}; the step of tn_random_words is the position; the stream
 * is the attribute, which is fixed when the node is added (0: tn_random_stream of the node's dotted
 * name, see tn_graph_expand for those of bodies). Word i of the node is word i % 4 of
 * tn_random_words (key[0], stream, key[1], i / 4). Element e (row-major) is drawn thus, every
 * operation rounded by itself (no fused multiply-add), f16 and bf16 as f32 and then rounded:
 *   random_bits (shape, dtype)  u32: word e.  u64: word 2e + (word 2e+1 << 32)
 *   random_uniform (shape, dtype, low, high)  low + u * (high - low); low and high - low are
 *       rounded to the compute type first
 *       f32: u = tn_random_unit_f32 (word e).  f64: u = tn_random_unit_f64 (word 2e, word 2e+1)
 *   random_normal (shape, dtype, mean, scale)  mean + scale * z; Box-Muller on pairs, p = e / 2:
 *       f32: u = 1 - tn_random_unit_f32 (word 2p), v = tn_random_unit_f32 (word 2p+1)
 *       f64: u = 1 - tn_random_unit_f64 (words 4p, 4p+1), v = tn_random_unit_f64 (words 4p+2, 4p+3)
 *       z = sqrt (-2 log u) * cos (2 pi v) for even e, sin (2 pi v) for odd e; 2 pi rounded to the
 *         compute type
 * Inputs: key u64 [2], like optional any. Shape: like's if it is there, else the attribute's. dtype
 * none: like's if it is a float (random_bits: u32, u64), else f32 (u32). */
#pragma once

#include <tenon/op.h>

G_BEGIN_DECLS

typedef struct {
    const char *name;
    gint dtype;  /* TnDtype, as in every struct here */
    gint64 rank; /* sizes belong to the binding */
} TnInputAttrs;

/* variable, assign */
typedef struct {
    const char *name;
    gint dtype;
    TnShape shape;
} TnVariableAttrs;

typedef struct {
    TnTensor *value; /* on the host */
} TnConstantAttrs;

typedef struct {
    /* its inputs in order are the node's, its outputs the node's (at most TN_MAX_OUT) */
    TnGraph *graph;
} TnCallAttrs;

/* if: both take the node's inputs after the condition, and give its outputs */
typedef struct {
    TnGraph *then_branch, *else_branch;
} TnIfAttrs;

/* while: inputs are the states, then captures; outputs the condition, then the states */
typedef struct {
    TnGraph *body;
} TnWhileAttrs;

/* scan: inputs are the states, one slice of each scan input, captures; outputs the states, then what
 * is stacked */
typedef struct {
    TnGraph *body;
    gint64 num_states, num_scan_inputs;
    gboolean reverse;
    gboolean
        save; /* further outputs: the states before each step, stacked; what a gradient needs */
} TnScanAttrs;

/* cast, bitcast */
typedef struct {
    gint to;
} TnCastAttrs;

typedef struct {
    gboolean fmod;
} TnModAttrs;

typedef enum { TN_SHIFT_LEFT, TN_SHIFT_RIGHT } TnShiftDirection;
typedef struct {
    gint direction; /* TnShiftDirection */
} TnBitShiftAttrs;

typedef struct {
    double value;
    gint dtype; /* none: like's */
} TnFullLikeAttrs;

typedef struct {
    TnInts axes; /* none given: all */
    gint dtype;  /* none: like's */
} TnSizeAttrs;

typedef struct {
    gint64 axis;
    gint dtype; /* i64 */
} TnIotaAttrs;

/* reduce_sum, reduce_prod, reduce_max, reduce_min: TnReduceAttrs (op.h) */

/* argmax, argmin */
typedef struct {
    gint64 axis;
    gboolean keepdims;
    gboolean select_last_index;
} TnArgReduceAttrs;

typedef struct {
    gint64 axis;
    gboolean exclusive, reverse;
} TnCumsumAttrs;

typedef struct {
    TnShape shape;
    gboolean allowzero;
} TnReshapeAttrs;

typedef struct {
    TnInts perm;
} TnTransposeAttrs;

/* squeeze, unsqueeze */
typedef struct {
    TnInts axes;
} TnAxesAttrs;

/* flatten (axis 1), concat (0), gather (0), gather_elements (0), scatter_add (0): TnAxisAttrs
 * (op.h) */

typedef struct {
    TnShape shape;
} TnExpandAttrs;

/* slice, unslice: ends may be G_MAXINT64 ("to the end") or G_MININT64 (the same for a negative
 * step) */
typedef struct {
    TnInts starts, ends, axes, steps;
} TnSliceAttrs;

typedef struct {
    TnInts pads, axes;
    double value;
} TnPadAttrs;

typedef struct {
    gint64 axis, index;
} TnConcatPartAttrs;

typedef struct {
    gint64 axis;
    TnInts split;
    gint64 num_outputs; /* 0: as many as split has */
} TnSplitAttrs;

/* window, unwindow: TnWindowAttrs (op.h) without pads */

typedef enum { TN_SCATTER_NONE, TN_SCATTER_ADD } TnScatterReduction;
typedef struct {
    gint64 axis;
    gint reduction; /* TnScatterReduction */
} TnScatterAttrs;

typedef struct {
    gint64 axis; /* -1 */
    gboolean descending;
} TnSortAttrs;

/* conv, conv_transpose, conv_grad_weight: TnConvAttrs (op.h) */

/* The common beginning of the random operators' attributes: a pointer to any of them is a
 * pointer to this. */
typedef struct {
    TnShape shape;  /* without `like` */
    gint dtype;     /* none: see above */
    guint64 stream; /* 0: from the node's name, when it is added */
} TnRandomAttrs;
typedef struct {
    TnRandomAttrs random;
    double low, high; /* 0, 1 */
} TnUniformAttrs;
typedef struct {
    TnRandomAttrs random;
    double mean, scale; /* 0, 1 */
} TnNormalAttrs;

/* --- What kernels and rules share ------------------------------------------------------------- */

/* slice's clamping: for each axis of an input with n sizes, the first position and the step (and
 * how many there are). attrs were accepted by infer. */
TN_API void tn_slice_resolve(const TnSliceAttrs *attrs, const TnType *in, gint64 *start,
                             gint64 *step, gint64 *count);
/* pad's begins and ends per axis of the input. */
TN_API void tn_pad_resolve(const TnPadAttrs *attrs, gint rank, gint64 *begin, gint64 *end);
/* Bit i of the result: axis i is reduced (axes none given: all). attrs were accepted by infer. */
TN_API guint32 tn_axes_mask(const TnInts *axes, gint rank);
/* perm with none given made explicit: perm[rank]. */
TN_API void tn_transpose_resolve(const TnTransposeAttrs *attrs, gint rank, gint *perm);
/* Stride, dilation, first and last pad of spatial axis i, defaults filled in; n: number of
 * spatial axes. */
typedef struct {
    gint64 stride, dilation, pad_begin, pad_end, output_padding;
} TnConvAxis;
TN_API TnConvAxis tn_conv_axis(const TnConvAttrs *attrs, gint n, gint i);
/* stride and dilation; pads if given */
TN_API TnConvAxis tn_window_axis(const TnWindowAttrs *attrs, gint i);

G_END_DECLS
