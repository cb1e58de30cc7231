/* tables.h: the tables of kernels, one a file, and what they share. */
#pragma once

#include <tenon/device.h>

/* Above the plugin cpu's kernels: what is claimed is taken from them. */
#define ONEDNN_RANK 10

#define ONEDNN_TABLE(rows)                                                                         \
    {                                                                                              \
        .size = sizeof(TnKernelTable), .kind = "cpu", .kernel_size = sizeof(TnKernel),             \
        .n_kernels = G_N_ELEMENTS(rows), .kernels = (rows)                                         \
    }

extern const TnKernelTable onednn_conv, onednn_conv_blocked, onednn_matmul, onednn_pool,
    onednn_softmax, onednn_norm;
