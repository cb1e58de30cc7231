/* kernels.h: what finding and running a kernel share between compile and exec. */
#pragma once

#include <tenon/device.h>

/* Text of this thread's last tn_run_fail without an exec (a node computed while compiling).
 * (transfer none). */
const char *tn_run_last_text(void);

/* tn_kernel_find in two parts, for those who ask often: looks for tables of plugins opened
 * meanwhile; finds among those known. */
void tn_kernels_refresh(void);
const TnKernel *tn_kernel_find_known(const char *kind, const TnNode *node);
/* What a kernel is called from one process to the next: "TABLE RANK", the factory of its table.
 * (transfer full). */
char *tn_kernel_id(const TnKernel *kernel);
/* The one of that name, if it takes the node. */
const TnKernel *tn_kernel_find_id(const char *kind, const TnNode *node, const char *id);
/* All that take the node, whether that pays or not, the highest rank first. (transfer container): of
 * const TnKernel *. */
GPtrArray *tn_kernel_candidates(const char *kind, const TnNode *node);
/* Kind of device, operator, types and attributes as text: "cpu matmul f32[8, 4] f32[4, 2] -> f32[8, 2]
 * #HASH"; "unread:f32[8, 2]" is an output that nobody reads. (transfer full). */
char *tn_node_key(const char *kind, const TnNode *node);
