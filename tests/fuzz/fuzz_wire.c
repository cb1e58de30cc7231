/* fuzz_wire.c: any bytes as the first part of a message: refused, or a message that is written as
 * the same bytes, and lies inside of them. */
#include "wire/message.c"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void
check_inside(const TnMessage *message, const uint8_t *bytes, size_t size)
{
    const uint8_t *text = (const uint8_t *)message->text;
    if (text && (text < bytes || message->text_bytes > (size_t)(bytes + size - text)))
        abort();
    for (guint i = 0; i < message->n; i++) {
        const uint8_t *data = message->tensors[i].data;
        const gint64 wanted = tn_type_bytes(&message->tensors[i].type);
        if (wanted < 0 || message->tensors[i].bytes != (gsize)wanted ||
            (data && (data < bytes || message->tensors[i].bytes > (size_t)(bytes + size - data))) ||
            (!data && message->tensors[i].place == TN_WIRE_INLINE_AT))
            abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    g_autoptr(GError) error = NULL;
    TnMessage message, again;
    const gboolean ok = tn_message_read(&message, bytes, size, &error);
    if (ok == !!error || tn_message_read(&again, bytes, size, NULL) != ok)
        abort();
    if (!ok)
        return 0;
    check_inside(&message, bytes, size);
    g_autofree uint8_t *written = g_malloc(size);
    memset(written, 0xa5, size);
    if (tn_message_size(&message) != size)
        abort();
    tn_message_write(&message, written);
    if (memcmp(written, bytes, size) != 0 || !tn_message_read(&again, written, size, NULL) ||
        tn_message_bytes(&again) != tn_message_bytes(&message))
        abort();
    return 0;
}
