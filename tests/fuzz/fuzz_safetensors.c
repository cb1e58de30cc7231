/* fuzz_safetensors.c: any bytes as a safetensors file: refused, or every tensor readable. */
#include <stdint.h>
#include <stdlib.h>

#include <tenon/base.h>
#include <tenon/run.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSafetensors) file = tn_safetensors_open_bytes(bytes, size, "fuzz", &error);
    if (!file != !!error)
        abort();
    for (guint i = 0; file && i < tn_safetensors_n(file); i++) {
        g_autoptr(TnTensor) tensor = tn_safetensors_get(file, i, NULL);
        guint64 hash = tn_hash(TN_HASH_INIT, tn_safetensors_data(file, i),
                               (gsize)tn_type_bytes(tn_safetensors_type(file, i)));
        if (hash == 0 && tensor == NULL &&
            tn_safetensors_find(file, tn_safetensors_name(file, i)) < 0)
            abort();
    }
    return 0;
}
