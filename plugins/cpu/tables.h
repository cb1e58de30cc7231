/* tables.h: the tables of kernels, one a file. */
#pragma once

#include <tenon/device.h>

extern const TnKernelTable cpu_adam, cpu_elementwise, cpu_matmul, cpu_conv, cpu_conv_lanes,
    cpu_reduce, cpu_scan, cpu_movement, cpu_index, cpu_random, cpu_window, cpu_softmax,
    cpu_cross_entropy, cpu_pool, cpu_pool_lanes, cpu_norm, cpu_recurrent, cpu_recurrent_grad,
    cpu_recurrent_narrow;
