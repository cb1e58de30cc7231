/* fuzz_events.c: any bytes as an event file: records are framed, torn or corrupt, messages end or
 * are broken. */
#include "../../vis/tensorboard/wire.c"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void
read_message(const guint8 *bytes, gsize size, guint depth)
{
    gsize at = 0;
    WireField field;
    gboolean broken = FALSE;
    while (wire_next(bytes, size, &at, &field, &broken)) {
        if (at > size)
            abort();
        if (field.bytes && depth < 8)
            read_message(field.bytes, field.value, depth + 1);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    gsize at = 0, length;
    const guint8 *data;
    read_message(bytes, size, 0);
    while (wire_record(bytes, size, &at, &data, &length) == WIRE_RECORD)
        read_message(data, length, 0);
    return at > size ? abort(), 0 : 0;
}
