/* fuzz_idx.c: any bytes as an IDX file: refused, or the elements lie inside it. */
#include "../../dataio/idx/parse.c"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    g_autoptr(GError) error = NULL;
    TnType type;
    gsize begin;
    if (!idx_parse_head(bytes, size, "fuzz", &type, &begin, &error))
        return error ? 0 : abort(), 0;
    if (begin + (gsize)tn_type_bytes(&type) != size)
        abort();
    g_autofree guint8 *copy = g_malloc(size - begin + 1);
    memcpy(copy, bytes + begin, size - begin);
    idx_swap(type.dtype, copy, (gsize)tn_type_count(&type));
    return 0;
}
