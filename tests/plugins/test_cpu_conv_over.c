/* test_cpu_conv_over.c: convolutions over blocks of channels that write over what they add
 * (TnOp.in_place): the same bits as into other memory, for every instruction set. */
// tn-test: timeout=120 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

#define T(dtype_, ...)                                                                             \
    {                                                                                              \
        .dtype = TN_DTYPE_##dtype_,                                                                \
        .rank = sizeof((const gint64[]){ __VA_ARGS__ }) / sizeof(gint64), .dims = {                \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

typedef struct {
    const char *op;
    gint64 pad;
    gboolean relu;
    TnType in[4];
} Case;

/* Places that are no multiple of those computed at once; of the last tile of bf16 some twice. */
static const Case cases[] = {
    { "conv_blocked",
      1,
      TRUE,
      { T(F32, 2, 2, 13, 11, 16), T(F32, 3, 2, 3, 3, 16, 16), T(F32, 48),
        T(F32, 2, 3, 13, 11, 16) } },
    { "conv_blocked",
      0,
      FALSE,
      { T(F32, 1, 2, 9, 7, 16), T(F32, 5, 2, 1, 1, 16, 16), T(F32, 80), T(F32, 1, 5, 9, 7, 16) } },
    { "conv_winograd",
      1,
      TRUE,
      { T(F32, 1, 2, 22, 29, 16), T(F32, 36, 2, 2, 16, 16), T(F32, 32),
        T(F32, 1, 2, 22, 29, 16) } },
    { "conv_blocked",
      1,
      TRUE,
      { T(BF16, 2, 1, 7, 9, 32), T(BF16, 2, 1, 3, 3, 16, 32, 2), T(BF16, 64),
        T(BF16, 2, 2, 7, 9, 32) } },
    { "conv_blocked",
      0,
      FALSE,
      { T(BF16, 1, 2, 21, 23, 32), T(BF16, 9, 2, 1, 1, 16, 32, 2), T(BF16, 288),
        T(BF16, 1, 9, 21, 23, 32) } },
};

static void
check(const Case *c)
{
    const TnConvBlockedAttrs attrs = {
        .conv = { .group = 1, .pads = { 4, { c->pad, c->pad, c->pad, c->pad } } }, .relu = c->relu
    };
    const TnOp *op = tn_op_find(c->op, NULL);
    Array in[4], out[1];
    guint64 seed = 5;
    gint n_out;
    for (gint i = 0; i < 4; i++) {
        in[i] = array_new(c->in[i], NULL);
        for (gint64 k = 0; k < in[i].arg.count; k++) {
            array_set(&in[i], k, noise_unit(&seed) - 0.5);
        }
    }
    op_run("cpu", c->op, &attrs, 4, in, &n_out, out);
    guint32 flags = 0;
    TN_REQUIRE(kernel_run("cpu", op, &attrs, 4, in, 1, &in[3], &flags) == TN_OK);
    TN_ASSERT(flags & TN_KERNEL_IN_PLACE);
    TN_ASSERT(memcmp(in[3].block, out[0].block, out[0].bytes) == 0);
    for (gint i = 0; i < 4; i++) {
        array_clear(&in[i]);
    }
    array_clear(&out[0]);
}

static void
over_what_is_added(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    tn_pool_set_threads(2);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        check(&cases[i]);
    }
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", "TENON_CPU_ISA=avx512_bf16",
                                         NULL },
                  (const char *const[]){ "over what is added", NULL });
}

static const TnTest tests[] = {
    { "over what is added", over_what_is_added },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu conv over", tests)
