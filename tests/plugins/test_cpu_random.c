/* Random words of the cpu device, many at once, are those of the reference device, one block after the
 * other: every dtype, sizes around whole vectors, counters that pass 2^32, with every instruction set. */
#include "cpu_run.h"

static void
check(const char *op, TnDtype dtype, gint64 n, guint64 seed, guint64 position)
{
    const gint64 two = 2;
    TnRandomAttrs attrs = { .shape = { .rank = 1, .dims = { n } }, .dtype = dtype, .stream = 77 };
    Array key = array_new(tn_type(TN_DTYPE_U64, 1, &two), NULL), got[TN_MAX_OUT], want[TN_MAX_OUT];
    gint n_out;
    const guint64 words[] = { seed, position };
    memcpy(key.first, words, sizeof words);
    op_run("cpu", op, &attrs, 1, &key, &n_out, got);
    op_run("ref", op, &attrs, 1, &key, &n_out, want);
    if (memcmp(got[0].block, want[0].block, want[0].bytes) != 0) {
        TN_FAIL("%s of %d %s at %" G_GINT64_FORMAT, op, (int)n, tn_dtype_name(dtype),
                (gint64)position);
    }
    array_clear(&key);
    array_clear(&got[0]);
    array_clear(&want[0]);
}

static void
words(void)
{
    static const gint64 sizes[] = {
        1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 9001
    };
    static const guint64 positions[] = { 0, 1, 0xffffffffu, 0x100000000u, 0xfedcba9876543210u };
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (guint k = 0; k < G_N_ELEMENTS(positions); k++) {
            check("random_bits", TN_DTYPE_U32, sizes[i], 5, positions[k]);
            check("random_bits", TN_DTYPE_U64, sizes[i], ~(guint64)0, positions[k]);
        }
    }
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2", NULL },
                  (const char *const[]){ "words", NULL });
}

static const TnTest tests[] = {
    { "words", words },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu random", tests)
