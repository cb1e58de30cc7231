/* onednn.c: the plugin `onednn`: kernels for devices of kind cpu, "cpu+onednn" in a config.
 *
 * Environment, read once when the plugin is opened: TENON_ONEDNN=all takes every size that the
 * library can do, not just those where it was measured to win; TENON_ONEDNN_LIBRARY is another file
 * than Debian's libdnnl.so.2. */
#include "library.h"
#include "tables.h"
#include "worth.h"

#include <string.h>

#include <tenon/base.h>
#include <tenon/plugin.h>

static gboolean
init(GError **error)
{
    const char *sizes = g_getenv("TENON_ONEDNN");
    if (sizes != NULL && strcmp(sizes, "all") != 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "TENON_ONEDNN is '%s': expected all, or no such variable", sizes);
        return FALSE;
    }
    const char *file = g_getenv("TENON_ONEDNN_LIBRARY");
    if (!onednn_open(file != NULL ? file : "libdnnl.so.2", error)) {
        return FALSE;
    }
    onednn_take_all(sizes != NULL);
    tn_log("onednn", TN_LOG_INFO, "%s", onednn.description);
    return TRUE;
}

#define TABLE(ident, text)                                                                         \
    static const TnFactory table_##ident = { .size = sizeof table_##ident,                         \
                                             .flags = TN_FACTORY_INTERNAL,                         \
                                             .iface = "tenon.kernel/1",                            \
                                             .name = "onednn-" #ident,                             \
                                             .help = text,                                         \
                                             .vtable = &onednn_##ident }

TABLE(conv, "convolutions and their gradients");
TABLE(conv_blocked, "convolutions over blocks of channels, and what follows them");
TABLE(matmul, "products of matrices");
TABLE(integer_matmul, "products of matrices of 8-bit numbers");
TABLE(integer_conv, "convolutions of 8-bit numbers");
TABLE(quantized, "convolutions and dense layers of 8-bit numbers, and what follows them");
TABLE(pool, "averages over windows, their gradients, and maxima");
TABLE(softmax, "softmax and log_softmax");
TABLE(norm, "layer and batch normalisation, and their gradients");
TABLE(recurrent, "lstm and gru over whole sequences, where no gradient is asked for");

static const TnFactory *const factories[] = {
    &table_conv,         &table_conv_blocked, &table_matmul, &table_integer_matmul,
    &table_integer_conv, &table_quantized,    &table_pool,   &table_softmax,
    &table_norm,         &table_recurrent,    NULL
};

static const char *
about(void)
{
    return onednn.description;
}

static const TnPlugin plugin = { TN_PLUGIN_HEAD("onednn", TN_PLUGIN_VERSION, "Apache-2.0",
                                                "Kernels of oneDNN for devices of kind cpu"),
                                 .factories = factories, .init = init, .about = about };

TN_PLUGIN(onednn, plugin)
