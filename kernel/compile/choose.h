/* choose.h: the kernel of a node, with regard to what an earlier compilation chose. */
#pragma once

#include <tenon/program.h>

#include "kernels.h"

/* The kernel of device number d for node: the one in options->choices if it is still there, else the
 * best; NULL: none, or none was chosen then. Written into options->chosen. */
const TnKernel *tn_choose_kernel(const TnCompile *options, guint d, const TnNode *node);
/* FALSE: there are choices, and none for this node: the earlier compilation had no such node. */
gboolean tn_choice_known(const TnCompile *options, guint d, const TnNode *node);
/* What is known of a choice. */
typedef struct {
    double us;      /* its tn_choice_cost */
    gboolean usual; /* the kernel that would be taken without any table or earlier choice */
} TnTypesChoice;
/* What device d would choose for op on contiguous inputs of these types; NULL: nothing, or the choices
 * do not know the node, or op refuses them. others: ways to do without such a node, which count as
 * candidates where the choice is told. choice may be NULL. */
const TnKernel *tn_kernel_of_types(const TnCompile *options, guint d, const TnOp *op,
                                   const void *attrs, const char *name, gint n_in,
                                   const TnType *types, guint others, TnTypesChoice *choice);
/* The best whatever was chosen, written likewise. */
const TnKernel *tn_choose_anew(const TnCompile *options, guint d, const TnNode *node);
/* Tells options->used_sink which kernel runs the node. */
void tn_choice_used(const TnCompile *options, guint d, const TnNode *node, const TnKernel *kernel);
/* Writes that this kernel was chosen after all. */
void tn_choice_note(const TnCompile *options, guint d, const TnNode *node, const TnKernel *kernel);
/* Measured microseconds of one of the node's kernels; where these sizes were not measured, a number that
 * grows from the best rank to the last. */
double tn_kernel_time(const TnCompile *options, guint d, const TnNode *node,
                      const TnKernel *kernel);
/* Measured microseconds of the kernel that would be chosen; infinity: these sizes
 * were not measured. */
double tn_choice_cost(const TnCompile *options, guint d, const TnNode *node);
