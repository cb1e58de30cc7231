/* test_kernel_tables.c: which kernel a node gets when tables of kernels come and go. */
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnStatus
run_nothing(void *state, const TnRun *run)
{
    (void)state;
    (void)run;
    return TN_OK;
}

#define KERNEL(rank_)                                                                              \
    {                                                                                              \
        .op = "neg", .dtypes = TN_DTYPES_FLOAT, .rank = (rank_), .run = run_nothing                \
    }
#define TABLE(kernel_)                                                                             \
    {                                                                                              \
        .size = sizeof(TnKernelTable), .kind = "nowhere", .kernel_size = sizeof(TnKernel),         \
        .n_kernels = 1, .kernels = &(kernel_)                                                      \
    }
#define FACTORY(name_, table_)                                                                     \
    {                                                                                              \
        .size = sizeof(TnFactory), .iface = "tenon.kernel/1", .name = (name_),                     \
        .help = "for a test", .vtable = &(table_)                                                  \
    }
static const TnKernel low = KERNEL(0), high = KERNEL(1);
static const TnKernelTable low_table = TABLE(low), high_table = TABLE(high);
static const TnFactory low_factory = FACTORY("low", low_table),
                       high_factory = FACTORY("high", high_table);

static const TnKernel *
find(void)
{
    const TnArg arg = { .type = { .dtype = TN_DTYPE_F32 }, .count = 1 };
    const TnNode node = { .size = sizeof(TnNode),
                          .op = tn_op_find("neg", NULL),
                          .name = "neg",
                          .n_in = 1,
                          .n_out = 1,
                          .in = &arg,
                          .out = &arg };
    return tn_kernel_find("nowhere", &node);
}

static void
tables_come_and_go(void)
{
    TN_ASSERT(find() == NULL);
    tn_registry_add_factory(&low_factory, "test");
    TN_ASSERT(find() == &low);
    /* One for another: as many tables as before. */
    tn_registry_remove_factory(&low_factory);
    tn_registry_add_factory(&high_factory, "test");
    TN_ASSERT(find() == &high);
    tn_registry_add_factory(&low_factory, "test");
    TN_ASSERT(find() == &high);
    tn_registry_remove_factory(&high_factory);
    TN_ASSERT(find() == &low);
    tn_registry_remove_factory(&low_factory);
    TN_ASSERT(find() == NULL);
}

static const TnTest tests[] = {
    { "tables come and go", tables_come_and_go },
};
TN_TEST_MAIN("kernel tables", tests)
