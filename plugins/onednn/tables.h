/* tables.h: the tables of kernels, one a file, and what they share. */
#pragma once

#include <tenon/device.h>

/* Above the plugin cpu's kernels: what is claimed is taken from them. */
#define ONEDNN_RANK 10

#define ONEDNN_TABLE_THAT(rows, flags_)                                                            \
    {                                                                                              \
        .size = sizeof(TnKernelTable), .kind = "cpu", .kernel_size = sizeof(TnKernel),             \
        .n_kernels = G_N_ELEMENTS(rows), .kernels = (rows), .flags = (flags_)                      \
    }
#define ONEDNN_TABLE(rows) ONEDNN_TABLE_THAT(rows, 0)
/* Sums of integers are exact, whatever the number of samples. */
#define ONEDNN_TABLE_EXACT(rows) ONEDNN_TABLE_THAT(rows, TN_TABLE_BATCH_INVARIANT)

extern const TnKernelTable onednn_conv, onednn_conv_blocked, onednn_matmul, onednn_integer_matmul,
    onednn_integer_conv, onednn_quantized, onednn_pool, onednn_softmax, onednn_norm,
    onednn_recurrent;
