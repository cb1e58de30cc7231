/* tape.h: imperative mode: the same operators and kernels, one at a time, with a tape for
 * gradients.
 *
 * A tape is a graph that grows while values are computed; gradients are nodes like any others.
 * Thread: serial. */
#pragma once

#include <tenon/program.h>

G_BEGIN_DECLS

TN_API TnTape *tn_tape_new(TnContext *context); /* (transfer full) */
TN_API void tn_tape_free(TnTape *tape);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnTape, tn_tape_free)
/* Brings a tensor onto the tape (keeps a reference). */
TN_API TnVal tn_tape_input(TnTape *tape, TnTensor *tensor);
/* A variable's present value; its gradient can be asked for. */
TN_API TnVal tn_tape_variable(TnTape *tape, TnVar *var, GError **error);
/* Computes op now. attrs NULL: defaults. out: room for TN_MAX_OUT, may be NULL if there is one
 * output. Returns output 0, TN_VAL_NONE with *error. Programs of single nodes are cached
 * process-wide by (operator, attributes, types, device). */
TN_API TnVal tn_tape_op(TnTape *tape, const TnOp *op, const void *attrs, gint n_in, const TnVal *in,
                        TnVal *out, GError **error);
/* The tensor of a value, on the device (transfer none). */
TN_API TnTensor *tn_tape_tensor(TnTape *tape, TnVal val);
/* d(sum(y))/dx[i], computed now; values again. */
TN_API gboolean tn_tape_grad(TnTape *tape, TnVal y, gint n, const TnVal *x, TnVal *grad,
                             GError **error);
/* Writes a value to a variable. */
TN_API gboolean tn_tape_assign(TnTape *tape, TnVar *var, TnVal val, GError **error);
/* Drops all values: start of the next step. */
TN_API void tn_tape_clear(TnTape *tape);
/* Drops all but val[n] (TN_VAL_NONE among them: passed over) and what they were computed from, in the order that it
 * had: their gradients stay the same bits, random operators to come draw what they would have drawn. Nodes are numbered
 * anew. Returns the number that each node of before has now, G_MAXUINT32: dropped (transfer full, g_free). */
TN_API guint32 *tn_tape_keep(TnTape *tape, guint n, const TnVal *val);
TN_API TnGraph *tn_tape_graph(TnTape *tape);
/* Of the tensors that it holds, inputs among them. */
TN_API guint64 tn_tape_bytes(const TnTape *tape);

G_END_DECLS
