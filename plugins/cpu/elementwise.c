/* elementwise.c: element-wise operators and groups of them, all through the tile interpreter. */
#include "tables.h"
#include "tile.h"

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    TileProgram *program = tile_compile(node, error);
    prepared->state = program;
    prepared->scratch = program != NULL ? program->scratch : 0;
    return program != NULL;
}

static gboolean
claims(const TnNode *node)
{
    TileProgram *program = tile_compile_any(node, NULL);
    gboolean compiles = program != NULL;
    tile_free(program);
    return compiles;
}

static TnStatus
run(void *state, const TnRun *args)
{
    return tile_run(state, args);
}

static void
release(void *state)
{
    tile_free(state);
}

#define ROW(name, ...)                                                                             \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_ALL, .flags = TN_KERNEL_STRIDED | TN_KERNEL_IN_PLACE,    \
        .prepare = prepare, .run = run, .release = release, ##__VA_ARGS__                          \
    }

static const TnKernel kernels[] = {
    ROW("neg"),
    ROW("abs"),
    ROW("sign"),
    ROW("exp"),
    ROW("log"),
    ROW("sqrt"),
    ROW("reciprocal"),
    ROW("sin"),
    ROW("cos"),
    ROW("tanh"),
    ROW("erf"),
    ROW("floor"),
    ROW("ceil"),
    ROW("round"),
    ROW("not"),
    ROW("bitwise_not"),
    ROW("isnan"),
    ROW("cast"),
    ROW("add"),
    ROW("sub"),
    ROW("mul"),
    ROW("div"),
    ROW("pow"),
    ROW("mod"),
    ROW("max"),
    ROW("min"),
    ROW("equal"),
    ROW("less"),
    ROW("greater"),
    ROW("less_or_equal"),
    ROW("greater_or_equal"),
    ROW("and"),
    ROW("or"),
    ROW("xor"),
    ROW("bitwise_and"),
    ROW("bitwise_or"),
    ROW("bitwise_xor"),
    ROW("bit_shift"),
    ROW("where"),
    ROW("fused", .claims = claims),
    /* Composites of the plugin nn: their bodies are compiled. Activations are left to expand, for
     * the group that they then belong to is the same program; steps of optimisers are taken
     * whole. */
    ROW("sgd_step", .claims = claims),
    ROW("adam_step", .claims = claims),
    ROW("adamw_step", .claims = claims),
    ROW("rmsprop_step", .claims = claims),
};

const TnKernelTable cpu_elementwise = CPU_TABLE(kernels);
