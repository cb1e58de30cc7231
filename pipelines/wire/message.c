/* message.c: messages to bytes and back.
 *
 * There is one way to write a message: where each thing lies follows from what stands before it.
 * So reading computes the place of everything as the writer did, and compares. */
#include "wire/message.h"

#include <string.h>

#define ROW 32 /* bytes of a row before its sizes */
#define NEXT_ALIGNED(at) (((at) + (TN_ALIGN - 1)) & ~(gsize)(TN_ALIGN - 1))

static const guint8 magic[4] = { 'T', 'N', 'W', 'M' };

static const char *const kind_names[] = {
    [TN_WIRE_HELLO] = "hello",   [TN_WIRE_WELCOME] = "welcome", [TN_WIRE_REFUSE] = "refuse",
    [TN_WIRE_ASK] = "ask",       [TN_WIRE_ANSWER] = "answer",   [TN_WIRE_FAIL] = "fail",
    [TN_WIRE_FORGET] = "forget", [TN_WIRE_BLOCK] = "block",     [TN_WIRE_RELEASE] = "release",
    [TN_WIRE_BEAT] = "beat",     [TN_WIRE_BYE] = "bye",
};
G_STATIC_ASSERT(G_N_ELEMENTS(kind_names) == TN_WIRE_N_KINDS);

const char *
tn_wire_kind_name(guint kind)
{
    return kind < TN_WIRE_N_KINDS && kind_names[kind] ? kind_names[kind] : "unknown";
}

gsize
tn_message_bytes(const TnMessage *message)
{
    gsize sum = 0;
    for (guint i = 0; i < message->n; i++)
        if (__builtin_add_overflow(sum, message->tensors[i].bytes, &sum))
            return G_MAXSIZE;
    return sum;
}

/* --- Numbers: the part may begin anywhere, so none of them is reached through a pointer of its type */

static guint16
get_u16(const guint8 *at)
{
    guint16 x;
    memcpy(&x, at, sizeof x);
    return GUINT16_FROM_LE(x);
}

static guint32
get_u32(const guint8 *at)
{
    guint32 x;
    memcpy(&x, at, sizeof x);
    return GUINT32_FROM_LE(x);
}

static guint64
get_u64(const guint8 *at)
{
    guint64 x;
    memcpy(&x, at, sizeof x);
    return GUINT64_FROM_LE(x);
}

static void
put_u16(guint8 *at, guint16 x)
{
    x = GUINT16_TO_LE(x);
    memcpy(at, &x, sizeof x);
}

static void
put_u32(guint8 *at, guint32 x)
{
    x = GUINT32_TO_LE(x);
    memcpy(at, &x, sizeof x);
}

static void
put_u64(guint8 *at, guint64 x)
{
    x = GUINT64_TO_LE(x);
    memcpy(at, &x, sizeof x);
}

/* --- Writing ---------------------------------------------------------------------------------- */

static gboolean
can_write_tensor(const TnMessage *message, guint i)
{
    const TnType *type = &message->tensors[i].type;
    const gsize bytes = message->tensors[i].bytes;
    if (!tn_dtype_info(type->dtype) || type->rank < 0 || type->rank > TN_MAX_RANK ||
        tn_type_bytes(type) < 0 || (guint64)tn_type_bytes(type) != bytes)
        return FALSE;
    const guint64 offset = message->tensors[i].offset;
    switch (message->tensors[i].place) {
    case TN_WIRE_INLINE_AT: return message->tensors[i].data || bytes == 0;
    case TN_WIRE_OWN_PART: return TRUE;
    case TN_WIRE_IN_BLOCK: return offset % TN_ALIGN == 0 && offset <= (guint64)G_MAXINT64 - bytes;
    default: return FALSE;
    }
}

static gboolean
can_write(const TnMessage *message)
{
    if (message->kind < TN_WIRE_HELLO || message->kind >= TN_WIRE_N_KINDS ||
        message->n > TN_WIRE_MOST_TENSORS || message->text_bytes > TN_WIRE_MOST_TEXT ||
        (!message->text && message->text_bytes > 0))
        return FALSE;
    for (guint i = 0; i < message->n; i++)
        if (!can_write_tensor(message, i))
            return FALSE;
    return TRUE;
}

gsize
tn_message_size(TnMessage *message)
{
    if (!can_write(message))
        return 0;
    gsize at = TN_WIRE_HEAD + message->text_bytes;
    for (guint i = 0; i < message->n; i++)
        at += ROW + 8 * (gsize)message->tensors[i].type.rank;
    for (guint i = 0; i < message->n; i++) {
        if (message->tensors[i].place != TN_WIRE_INLINE_AT)
            continue;
        message->tensors[i].offset = at = NEXT_ALIGNED(at);
        if (__builtin_add_overflow(at, message->tensors[i].bytes, &at) || at > (gsize)G_MAXINT64)
            return 0;
    }
    return at;
}

static guint8 *
write_row(const TnMessage *message, guint i, guint8 *row)
{
    const TnType *type = &message->tensors[i].type;
    const TnWirePlace place = message->tensors[i].place;
    row[0] = tn_dtype_info(type->dtype)->dlpack_code;
    row[1] = (guint8)tn_dtype_info(type->dtype)->bits;
    row[2] = (guint8)type->rank;
    row[3] = (guint8)place;
    put_u32(row + 4, 0);
    put_u64(row + 8, place == TN_WIRE_IN_BLOCK ? message->tensors[i].block : 0);
    put_u64(row + 16, place == TN_WIRE_OWN_PART ? 0 : message->tensors[i].offset);
    put_u64(row + 24, message->tensors[i].bytes);
    row += ROW;
    for (gint d = 0; d < type->rank; d++, row += 8)
        put_u64(row, (guint64)type->dims[d]);
    return row;
}

static guint8 *
append(guint8 *at, const void *from, gsize n)
{
    if (n > 0) /* from may be NULL otherwise */
        memcpy(at, from, n);
    return at + n;
}

void
tn_message_write(const TnMessage *message, void *bytes)
{
    guint8 *const first = bytes;
    memcpy(first, magic, sizeof magic);
    put_u16(first + 4, TN_WIRE_VERSION);
    first[6] = (guint8)message->kind;
    first[7] = 0;
    put_u64(first + 8, message->session);
    put_u64(first + 16, message->number);
    put_u64(first + 24, message->extra);
    put_u32(first + 32, message->n);
    put_u32(first + 36, (guint32)message->text_bytes);
    guint8 *at = first + TN_WIRE_HEAD;
    for (guint i = 0; i < message->n; i++)
        at = write_row(message, i, at);
    at = append(at, message->text, message->text_bytes);
    for (guint i = 0; i < message->n; i++) {
        if (message->tensors[i].place != TN_WIRE_INLINE_AT)
            continue;
        guint8 *const begin = first + message->tensors[i].offset;
        memset(at, 0, (gsize)(begin - at));
        at = append(begin, message->tensors[i].data, message->tensors[i].bytes);
    }
}

/* --- Reading ---------------------------------------------------------------------------------- */

typedef struct {
    const guint8 *bytes;
    gsize size, at; /* at <= size: what is before it was read */
} Part;

static gboolean corrupt(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static gboolean
corrupt(GError **error, const char *format, ...)
{
    if (!error) /* nobody asks: no text is made */
        return FALSE;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "not a sound message: %s", text);
    return FALSE;
}

/* The next n bytes, or NULL. */
static const guint8 *
take(Part *part, gsize n)
{
    if (part->size - part->at < n)
        return NULL;
    const guint8 *at = part->bytes + part->at;
    part->at += n;
    return at;
}

static gboolean
read_head(TnMessage *message, Part *part, GError **error)
{
    const guint8 *head = part->bytes;
    if (part->size < sizeof magic + 2 || memcmp(head, magic, sizeof magic) != 0)
        return corrupt(error, "it does not begin with TNWM and a version (%zu bytes)", part->size);
    if (get_u16(head + 4) != TN_WIRE_VERSION) {
        g_set_error(error, TN_ERROR, TN_ERROR_VERSION,
                    "a message of version %u of the wire's format, this program knows version %d",
                    get_u16(head + 4), TN_WIRE_VERSION);
        return FALSE;
    }
    if (!take(part, TN_WIRE_HEAD))
        return corrupt(error, "%zu bytes, its head alone has %d", part->size, TN_WIRE_HEAD);
    if (head[6] < TN_WIRE_HELLO || head[6] >= TN_WIRE_N_KINDS)
        return corrupt(error, "its kind is %u", head[6]);
    if (head[7] != 0)
        return corrupt(error, "its flags are %u, expected 0", head[7]);
    message->kind = head[6];
    message->session = get_u64(head + 8);
    message->number = get_u64(head + 16);
    message->extra = get_u64(head + 24);
    message->n = get_u32(head + 32);
    message->text_bytes = get_u32(head + 36);
    if (message->n > TN_WIRE_MOST_TENSORS)
        return corrupt(error, "%u tensors, at most %d are allowed", message->n,
                       TN_WIRE_MOST_TENSORS);
    if (message->text_bytes > TN_WIRE_MOST_TEXT)
        return corrupt(error, "a text of %zu bytes, at most %u are allowed", message->text_bytes,
                       TN_WIRE_MOST_TEXT);
    return TRUE;
}

static TnDtype
find_dtype(guint8 code, guint8 bits)
{
    for (gint i = TN_DTYPE_NONE + 1; i < TN_N_DTYPES; i++) {
        const TnDtypeInfo *info = tn_dtype_info((TnDtype)i);
        if (info->dlpack_code == code && info->bits == bits)
            return (TnDtype)i;
    }
    return TN_DTYPE_NONE;
}

static gboolean
read_type(TnMessage *message, guint i, const guint8 *row, Part *part, GError **error)
{
    TnType *type = &message->tensors[i].type;
    type->dtype = find_dtype(row[0], row[1]);
    if (type->dtype == TN_DTYPE_NONE)
        return corrupt(error, "tensor %u: no dtype has code %u with %u bits", i, row[0], row[1]);
    if (row[2] > TN_MAX_RANK)
        return corrupt(error, "tensor %u: %u dimensions, at most %d are allowed", i, row[2],
                       TN_MAX_RANK);
    type->rank = row[2];
    const guint8 *sizes = take(part, 8 * (gsize)type->rank);
    if (!sizes)
        return corrupt(error, "tensor %u: its sizes are cut short", i);
    for (gint d = 0; d < type->rank; d++) {
        type->dims[d] = (gint64)get_u64(sizes + 8 * d);
        if (type->dims[d] < 0)
            return corrupt(error, "tensor %u: dimension %d has a negative size", i, d);
    }
    const guint64 bytes = get_u64(row + 24);
    if (tn_type_bytes(type) < 0)
        return corrupt(error, "tensor %u: its size in bytes does not fit in 63 bits", i);
    if ((guint64)tn_type_bytes(type) != bytes)
        return corrupt(error,
                       "tensor %u: its type needs %" G_GINT64_FORMAT
                       " bytes, it has %" G_GUINT64_FORMAT,
                       i, tn_type_bytes(type), bytes);
    message->tensors[i].bytes = (gsize)bytes;
    return TRUE;
}

/* That of an inline tensor is compared once it is known where it must lie. */
static gboolean
read_place(TnMessage *message, guint i, const guint8 *row, GError **error)
{
    const guint64 block = get_u64(row + 8), offset = get_u64(row + 16);
    if (row[3] >= TN_WIRE_N_PLACES)
        return corrupt(error, "tensor %u: its place is %u", i, row[3]);
    if (get_u32(row + 4) != 0)
        return corrupt(error, "tensor %u: bytes 4 to 7 of its row are not 0", i);
    message->tensors[i].place = row[3];
    message->tensors[i].block = block;
    message->tensors[i].offset = offset;
    if (row[3] != TN_WIRE_IN_BLOCK && block != 0)
        return corrupt(error, "tensor %u: it is in no block, and names one", i);
    if (row[3] == TN_WIRE_OWN_PART && offset != 0)
        return corrupt(error, "tensor %u: its own part begins at %" G_GUINT64_FORMAT, i, offset);
    if (row[3] == TN_WIRE_IN_BLOCK &&
        (offset % TN_ALIGN != 0 || offset > (guint64)G_MAXINT64 - message->tensors[i].bytes))
        return corrupt(error, "tensor %u: it cannot be at byte %" G_GUINT64_FORMAT " of a block", i,
                       offset);
    return TRUE;
}

static gboolean
read_row(TnMessage *message, guint i, Part *part, GError **error)
{
    const guint8 *row = take(part, ROW);
    if (!row)
        return corrupt(error, "tensor %u: its row is cut short", i);
    return read_type(message, i, row, part, error) && read_place(message, i, row, error);
}

static gboolean
read_inline(TnMessage *message, guint i, Part *part, GError **error)
{
    const gsize begin = NEXT_ALIGNED(part->at);
    if (message->tensors[i].offset != begin)
        return corrupt(error,
                       "tensor %u: it is at byte %" G_GUINT64_FORMAT " of the part, expected %zu",
                       i, message->tensors[i].offset, begin);
    const guint8 *gap = take(part, begin - part->at);
    message->tensors[i].data = gap ? take(part, message->tensors[i].bytes) : NULL;
    if (!message->tensors[i].data)
        return corrupt(error, "tensor %u: its elements are cut short", i);
    for (; gap < part->bytes + begin; gap++)
        if (*gap != 0)
            return corrupt(error, "tensor %u: the gap before it is not zero", i);
    return TRUE;
}

static gboolean
read_part(TnMessage *message, Part *part, GError **error)
{
    if (!read_head(message, part, error))
        return FALSE;
    for (guint i = 0; i < message->n; i++)
        if (!read_row(message, i, part, error))
            return FALSE;
    const guint8 *text = take(part, message->text_bytes);
    if (!text)
        return corrupt(error, "its text is cut short");
    message->text = message->text_bytes > 0 ? (const char *)text : NULL;
    for (guint i = 0; i < message->n; i++)
        if (message->tensors[i].place == TN_WIRE_INLINE_AT && !read_inline(message, i, part, error))
            return FALSE;
    if (part->at != part->size)
        return corrupt(error, "%zu bytes too many at its end", part->size - part->at);
    return TRUE;
}

gboolean
tn_message_read(TnMessage *message, const void *bytes, gsize size, GError **error)
{
    Part part = { bytes, size, 0 };
    *message = (TnMessage){ 0 };
    if (read_part(message, &part, error))
        return TRUE;
    *message = (TnMessage){ 0 }; /* nobody uses what was half read */
    return FALSE;
}
