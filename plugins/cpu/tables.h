/* tables.h: the tables of kernels, one a file. */
#pragma once

#include <tenon/device.h>

/* X (name, help) of each: cpu_NAME, the component "cpu-NAME". */
#define CPU_TABLES(X)                                                                              \
    X(elementwise, "element-wise operators, alone and fused")                                      \
    X(matmul, "products of matrices")                                                              \
    X(matmul_bf16, "products of matrices of bf16")                                                 \
    X(linear_thin_bf16, "linear layers of bf16 for a few samples")                                 \
    X(conv, "convolutions and their transposes")                                                   \
    X(conv_bf16, "gradients of convolutions of bf16")                                              \
    X(conv_lanes, "convolutions over lanes of samples")                                            \
    X(conv_tiles, "convolutions of bf16 over lanes of samples")                                    \
    X(conv_tiles_weight, "gradients of their weights")                                             \
    X(conv_blocked, "convolutions over blocks of channels")                                        \
    X(conv_blocked_bf16, "convolutions of bf16 over blocks of channels")                           \
    X(conv_winograd, "convolutions of 3 x 3 over blocks of channels")                              \
    X(quantize, "numbers as 8-bit ones")                                                           \
    X(quantized, "convolutions of 8-bit numbers")                                                  \
    X(quantized_pool, "maxima over windows of 8-bit numbers")                                      \
    X(pool, "pooling")                                                                             \
    X(pool_lanes, "pooling over lanes of samples")                                                 \
    X(pool_bf16, "maxima of bf16 over windows")                                                    \
    X(norm, "layer and batch normalisation")                                                       \
    X(norm_bf16, "batch normalisation of bf16")                                                    \
    X(softmax, "softmax and log_softmax")                                                          \
    X(cross_entropy, "cross-entropy from logits")                                                  \
    X(gelu, "gelu and its gradient")                                                               \
    X(attention, "scaled dot product attention")                                                   \
    X(attention_grad, "gradients of scaled dot product attention")                                 \
    X(attention_bf16, "scaled dot product attention of bf16")                                      \
    X(attention_bf16_grad, "its gradients")                                                        \
    X(recurrent, "sequences through recurrent networks")                                           \
    X(recurrent_grad, "their gradients")                                                           \
    X(recurrent_bf16, "sequences of bf16 through recurrent networks")                              \
    X(recurrent_bf16_grad, "their gradients")                                                      \
    X(recurrent_narrow, "recurrent networks of bf16 and f16")                                      \
    X(adam, "steps of Adam")                                                                       \
    X(matmul_step, "steps of Adam with gradients of products")                                     \
    X(reduce, "reductions")                                                                        \
    X(scan, "positions of extremes, cumulative sums, sorting")                                     \
    X(movement, "operators that move or fill elements")                                            \
    X(index, "gathering and scattering")                                                           \
    X(random, "random numbers")                                                                    \
    X(window, "overlap-add")

#define CPU_DECLARE(name, help) extern const TnKernelTable cpu_##name;
CPU_TABLES(CPU_DECLARE)
#undef CPU_DECLARE
