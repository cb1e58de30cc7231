/* wire.c: protocol buffers' wire format and TFRecord's frames, as much of both as event files
 * need. */
#include "wire.h"

#include <string.h>

static void
put_varint(GByteArray *to, guint64 value)
{
    guint8 bytes[10];
    guint n = 0;
    do {
        bytes[n++] = (guint8)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value);
    g_byte_array_append(to, bytes, n);
}

static void
put_fixed(GByteArray *to, guint64 bits, guint size)
{
    guint8 bytes[8];
    for (guint i = 0; i < size; i++)
        bytes[i] = (guint8)(bits >> (8 * i));
    g_byte_array_append(to, bytes, size);
}

void
wire_varint(GByteArray *to, guint field, guint64 value)
{
    put_varint(to, field << 3);
    put_varint(to, value);
}

void
wire_double(GByteArray *to, guint field, double value)
{
    guint64 bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(to, field << 3 | 1);
    put_fixed(to, bits, 8);
}

void
wire_float(GByteArray *to, guint field, float value)
{
    guint32 bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(to, field << 3 | 5);
    put_fixed(to, bits, 4);
}

void
wire_bytes(GByteArray *to, guint field, const void *bytes, gsize size)
{
    put_varint(to, field << 3 | 2);
    put_varint(to, size);
    g_byte_array_append(to, bytes, (guint)size);
}

void
wire_string(GByteArray *to, guint field, const char *text)
{
    wire_bytes(to, field, text, strlen(text));
}

void
wire_message(GByteArray *to, guint field, const GByteArray *message)
{
    wire_bytes(to, field, message->data ? message->data : (const guint8 *)"", message->len);
}

void
wire_doubles(GByteArray *to, guint field, const double *values, gsize n)
{
    put_varint(to, field << 3 | 2);
    put_varint(to, n * 8);
    for (gsize i = 0; i < n; i++) {
        guint64 bits;
        memcpy(&bits, &values[i], sizeof bits);
        put_fixed(to, bits, 8);
    }
}

/* --- Reading --------------------------------------------------------------------------------- */

static gboolean
get_varint(const guint8 *bytes, gsize size, gsize *at, guint64 *value)
{
    *value = 0;
    for (guint shift = 0; shift < 64 && *at < size; shift += 7) {
        guint8 byte = bytes[(*at)++];
        *value |= (guint64)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return TRUE;
    }
    return FALSE;
}

static guint64
get_fixed(const guint8 *bytes, guint size)
{
    guint64 bits = 0;
    for (guint i = size; i > 0; i--)
        bits = bits << 8 | bytes[i - 1];
    return bits;
}

gboolean
wire_next(const guint8 *message, gsize size, gsize *at, WireField *field, gboolean *broken)
{
    guint64 key;
    if (*at >= size)
        return FALSE;
    *broken = TRUE;
    if (!get_varint(message, size, at, &key) || key >> 3 == 0 || key >> 3 > G_MAXINT32)
        return FALSE;
    field->field = (guint)(key >> 3);
    field->type = (guint)(key & 7);
    field->bytes = NULL;
    guint fixed = field->type == 1 ? 8 : field->type == 5 ? 4 : 0;
    if (field->type == 0) {
        if (!get_varint(message, size, at, &field->value))
            return FALSE;
    } else if (fixed) {
        if (size - *at < fixed)
            return FALSE;
        field->value = get_fixed(message + *at, fixed);
        *at += fixed;
    } else if (field->type == 2) {
        if (!get_varint(message, size, at, &field->value) || field->value > size - *at)
            return FALSE;
        field->bytes = message + *at;
        *at += field->value;
    } else {
        return FALSE;
    }
    *broken = FALSE;
    return TRUE;
}

/* --- Frames ---------------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), four bits at a time. */
static guint32
crc32c(const guint8 *bytes, gsize size)
{
    static const guint32 nibble[16] = { 0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                        0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75 };
    guint32 crc = 0xffffffffu;
    for (gsize i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

guint32
wire_masked_crc(const void *bytes, gsize size)
{
    guint32 crc = crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

GByteArray *
wire_frame(const GByteArray *message)
{
    GByteArray *frame = g_byte_array_sized_new(message->len + WIRE_HEAD + WIRE_TAIL);
    put_fixed(frame, message->len, 8);
    put_fixed(frame, wire_masked_crc(frame->data, 8), 4);
    g_byte_array_append(frame, message->data, message->len);
    put_fixed(frame, wire_masked_crc(message->data, message->len), 4);
    return frame;
}

WireStep
wire_record(const guint8 *bytes, gsize size, gsize *at, const guint8 **data, gsize *length)
{
    gsize left = size - *at;
    if (left == 0)
        return WIRE_END;
    if (left < WIRE_HEAD)
        return WIRE_TORN;
    const guint8 *head = bytes + *at;
    guint64 n = get_fixed(head, 8);
    if (wire_masked_crc(head, 8) != (guint32)get_fixed(head + 8, 4))
        return WIRE_CORRUPT;
    if (left - WIRE_HEAD < WIRE_TAIL || n > left - WIRE_HEAD - WIRE_TAIL)
        return WIRE_TORN;
    *data = head + WIRE_HEAD;
    *length = n;
    if (wire_masked_crc(*data, n) != (guint32)get_fixed(*data + n, 4))
        return WIRE_CORRUPT;
    *at += WIRE_HEAD + n + WIRE_TAIL;
    return WIRE_RECORD;
}
