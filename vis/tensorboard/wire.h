/* wire.h: the two encodings of an event file: protocol buffers for messages, TFRecord frames around
 * them. */
#pragma once

#include <glib.h>

/* --- Protocol buffers (the wire format of the encoding guide): fields appended to a byte array --- */
void wire_varint(GByteArray *to, guint field, guint64 value);
void wire_double(GByteArray *to, guint field, double value);
void wire_float(GByteArray *to, guint field, float value);
void wire_bytes(GByteArray *to, guint field, const void *bytes, gsize size);
void wire_string(GByteArray *to, guint field, const char *text);
void wire_message(GByteArray *to, guint field, const GByteArray *message);
/* repeated double, packed */
void wire_doubles(GByteArray *to, guint field, const double *values, gsize n);

/* One field of a message; value is the number, or the length of bytes. */
typedef struct {
    guint field;
    guint type; /* 0 varint, 1 fixed 64, 2 bytes, 5 fixed 32 */
    guint64 value;
    const guint8 *bytes;
} WireField;
/* The next field of a message at *at; FALSE at its end, or with *broken set where it is
 * malformed. */
gboolean wire_next(const guint8 *message, gsize size, gsize *at, WireField *field,
                   gboolean *broken);

/* --- TFRecord: u64 length, masked CRC-32C of it, data, masked CRC-32C of the data; little-endian --- */
#define WIRE_HEAD 12
#define WIRE_TAIL 4
guint32 wire_masked_crc(const void *bytes, gsize size);
/* message inside its frame. */
GByteArray *wire_frame(const GByteArray *message);
typedef enum { WIRE_RECORD, WIRE_END, WIRE_TORN, WIRE_CORRUPT } WireStep;
/* The record at *at; moves *at beyond it. WIRE_TORN: the bytes end inside a record, as after a
 * crash. */
WireStep wire_record(const guint8 *bytes, gsize size, gsize *at, const guint8 **data,
                     gsize *length);
