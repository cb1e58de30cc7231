/* ref.c: the plugin `ref`: a device of plain loops for every primitive and dtype, and what its
 * kernels share. */
#include "ref.h"

#include <tenon/plugin.h>

RefNode *
ref_node_new(const TnNode *node)
{
    gsize n = (gsize)(node->n_in + node->n_out);
    gsize args = sizeof(RefNode) + n * sizeof(TnArg);
    RefNode *copy = g_malloc0(args + node->op->attrs.struct_size);
    copy->op = node->op;
    copy->n_in = node->n_in;
    copy->n_out = node->n_out;
    copy->in = copy->args;
    copy->out = copy->args + node->n_in;
    copy->attrs = (char *)copy + args;
    if (node->n_in > 0) {
        memcpy(copy->in, node->in, (gsize)node->n_in * sizeof(TnArg));
    }
    if (node->n_out > 0) {
        memcpy(copy->out, node->out, (gsize)node->n_out * sizeof(TnArg));
    }
    if (node->attrs && node->op->attrs.struct_size > 0) {
        memcpy(copy->attrs, node->attrs, node->op->attrs.struct_size);
    }
    return copy;
}

gboolean
ref_prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepared->state = ref_node_new(node);
    return TRUE;
}

gboolean
ref_next(gint rank, const gint64 *dims, gint64 *index)
{
    for (gint i = rank - 1; i >= 0; i--) {
        if (++index[i] < dims[i]) {
            return TRUE;
        }
        index[i] = 0;
    }
    return FALSE;
}

gint64
ref_dot(gint rank, const gint64 *index, const gint64 *strides)
{
    gint64 at = 0;
    for (gint i = 0; i < rank; i++) {
        at += index[i] * strides[i];
    }
    return at;
}

void
ref_broadcast(const TnArg *arg, gint rank, gint64 *strides)
{
    gint lead = rank - arg->type.rank;
    for (gint i = 0; i < rank; i++) {
        strides[i] = i < lead || arg->type.dims[i - lead] == 1 ? 0 : arg->strides[i - lead];
    }
}

static gint64
count_of(gint rank, const gint64 *dims)
{
    gint64 count = 1;
    for (gint i = 0; i < rank; i++) {
        count *= dims[i];
    }
    return count;
}

void
ref_copy(gsize size, gint rank, const gint64 *dims, void *to, const gint64 *to_strides,
         const void *from, const gint64 *from_strides)
{
    gint64 index[TN_MAX_RANK] = { 0 };
    if (count_of(rank, dims) <= 0) {
        return;
    }
    do {
        memcpy((char *)to + ref_dot(rank, index, to_strides) * (gint64)size,
               (const char *)from + ref_dot(rank, index, from_strides) * (gint64)size, size);
    } while (ref_next(rank, dims, index));
}

double
ref_load_double(TnDtype dtype, const void *base, gint64 at)
{
    RefValue value = ref_load(dtype, base, at);
    return tn_dtype_info(dtype)->compute == TN_COMPUTE_F32 ? (double)value.f32 : value.f64;
}

void
ref_store_double(TnDtype dtype, void *base, gint64 at, double value)
{
    gboolean single = tn_dtype_info(dtype)->compute == TN_COMPUTE_F32;
    ref_store(dtype, base, at,
              single ? (RefValue){ .f32 = (float)value } : (RefValue){ .f64 = value });
}

void
ref_store_number(TnDtype dtype, void *base, gint64 at, double value)
{
    gsize size = tn_dtype_size(dtype);
    tn_dtype_convert(dtype, (char *)base + at * (gint64)size, 1, TN_DTYPE_F64, &value, 1, 1);
}

void
ref_store_sum(TnDtype dtype, void *base, gint64 at, double sum, guint64 bits)
{
    if (ref_is_float(dtype)) {
        ref_store_double(dtype, base, at, sum);
    } else {
        ref_store(dtype, base, at, (RefValue){ .u64 = bits });
    }
}

gint64
ref_index_at(TnDtype dtype, const void *base, gint64 at, gint64 n)
{
    gint64 index = ref_load(dtype, base, at).i64;
    if (index < 0) {
        index += n;
    }
    return index >= 0 && index < n ? index : -1;
}

static void *
device_new(TnConfig *config, TnContext *context, GError **error)
{
    (void)config;
    (void)context;
    (void)error;
    static char self; /* the device has no state; its address says that there is one */
    return &self;
}

static const TnDeviceVTable device_vtable = { .size = sizeof device_vtable,
                                              .kind = "ref",
                                              .host_memory = TRUE };

static const TnFactory device = { .size = sizeof device,
                                  .iface = "tenon.device/1",
                                  .name = "ref",
                                  .help = "plain loops for every primitive and dtype: an oracle",
                                  .rank = -10,
                                  .create = device_new,
                                  .vtable = &device_vtable };

#define TABLE(ident, text)                                                                         \
    static const TnFactory table_##ident = { .size = sizeof table_##ident,                         \
                                             .flags = TN_FACTORY_INTERNAL,                         \
                                             .iface = "tenon.kernel/1",                            \
                                             .name = "ref-" #ident,                                \
                                             .help = text,                                         \
                                             .vtable = &ref_##ident }

TABLE(elementwise, "element-wise primitives");
TABLE(reduce, "reductions and cumulative sums");
TABLE(movement, "primitives that move or fill elements");
TABLE(index, "gathering, scattering, sorting");
TABLE(product, "sums of products");
TABLE(random, "random numbers");

static const TnFactory *const factories[] = { &device,       &table_elementwise,
                                              &table_reduce, &table_movement,
                                              &table_index,  &table_product,
                                              &table_random, NULL };

static const TnPlugin plugin = { TN_PLUGIN_HEAD("ref", TN_PLUGIN_VERSION, "Apache-2.0",
                                                "The reference device: every primitive, plainly"),
                                 .factories = factories };

TN_PLUGIN(ref, plugin)
