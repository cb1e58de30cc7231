/* test_message.c: messages there and back, one against bytes written by hand, and every way a part
 * can be wrong. */
#include "wire/message.c"

#include "tn_test.h"

/* --- One message, by hand --------------------------------------------------------------------- */

#define BLOCK G_GUINT64_CONSTANT(0x1122334455667788)

/* From the layout in message.h. The text is at 184, the inline tensors are at the multiples of 64
 * after it and after one another. */
/* clang-format off */
static const guint8 golden[260] = {
    /* head */
    'T', 'N', 'W', 'M', 1, 0, 5, 0,                /* version 1, an answer, no flags */
    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* session */
    0x02, 0, 0, 0, 0, 0, 0, 0x80,                   /* number */
    0x03, 0, 0, 0, 0, 0, 0, 0,                      /* extra */
    4, 0, 0, 0, 2, 0, 0, 0,                         /* four tensors, a text of two bytes */
    /* 40: u8[3], inline */
    1, 8, 1, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    192, 0, 0, 0, 0, 0, 0, 0,
    3, 0, 0, 0, 0, 0, 0, 0,
    3, 0, 0, 0, 0, 0, 0, 0,
    /* 80: f32[], in a part of its own */
    2, 32, 0, 1, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    4, 0, 0, 0, 0, 0, 0, 0,
    /* 112: i16[2], at byte 128 of a block */
    0, 16, 1, 2, 0, 0, 0, 0,
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    128, 0, 0, 0, 0, 0, 0, 0,
    4, 0, 0, 0, 0, 0, 0, 0,
    2, 0, 0, 0, 0, 0, 0, 0,
    /* 152: f32[], inline */
    2, 32, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 1, 0, 0, 0, 0, 0, 0,
    4, 0, 0, 0, 0, 0, 0, 0,
    /* 184 */
    'h', 'i',
    [192] = 7, 8, 9,
    [256] = 0x00, 0x00, 0x80, 0x3f, /* 1.0 */
};
/* clang-format on */
enum { ROW_0 = 40, ROW_1 = 80, ROW_2 = 112, ROW_3 = 152 };

static TnMessage
golden_message(void)
{
    static const guint8 three[3] = { 7, 8, 9 };
    static const float one = 1;
    return (TnMessage){
        .kind = TN_WIRE_ANSWER,
        .session = G_GUINT64_CONSTANT(0x0102030405060708),
        .number = G_GUINT64_CONSTANT(0x8000000000000002),
        .extra = 3,
        .text = "hi",
        .text_bytes = 2,
        .n = 4,
        .tensors = { { .type = tn_type(TN_DTYPE_U8, 1, (gint64[]){ 3 }),
                       .bytes = 3,
                       .data = three },
                     { .type = tn_type(TN_DTYPE_F32, 0, NULL),
                       .place = TN_WIRE_OWN_PART,
                       .bytes = 4 },
                     { .type = tn_type(TN_DTYPE_I16, 1, (gint64[]){ 2 }),
                       .place = TN_WIRE_IN_BLOCK,
                       .block = BLOCK,
                       .offset = 128,
                       .bytes = 4 },
                     { .type = tn_type(TN_DTYPE_F32, 0, NULL), .bytes = 4, .data = &one } },
    };
}

/* --- Helpers ---------------------------------------------------------------------------------- */

/* (transfer full). In memory that was full of something else, so that a gap left alone is seen. */
static guint8 *
write_over(TnMessage *message, guint8 filler, gsize *size)
{
    *size = tn_message_size(message);
    TN_REQUIRE(*size > 0);
    guint8 *bytes = g_malloc(*size);
    memset(bytes, filler, *size);
    tn_message_write(message, bytes);
    return bytes;
}

static void
assert_same(const TnMessage *got, const TnMessage *given)
{
    TN_ASSERT_CMPINT(got->kind, ==, given->kind);
    TN_ASSERT_CMPUINT(got->session, ==, given->session);
    TN_ASSERT_CMPUINT(got->number, ==, given->number);
    TN_ASSERT_CMPUINT(got->extra, ==, given->extra);
    TN_ASSERT_CMPUINT(got->text_bytes, ==, given->text_bytes);
    TN_ASSERT((got->text == NULL) == (given->text_bytes == 0));
    TN_ASSERT_BYTES(got->text, given->text, given->text_bytes);
    TN_ASSERT_CMPUINT(tn_message_bytes(got), ==, tn_message_bytes(given));
    TN_ASSERT_CMPUINT(got->n, ==, given->n);
    for (guint i = 0; i < MIN(got->n, given->n); i++) {
        TN_ASSERT(tn_type_equal(&got->tensors[i].type, &given->tensors[i].type));
        TN_ASSERT_CMPINT(got->tensors[i].place, ==, given->tensors[i].place);
        TN_ASSERT_CMPUINT(got->tensors[i].block, ==, given->tensors[i].block);
        TN_ASSERT_CMPUINT(got->tensors[i].offset, ==, given->tensors[i].offset);
        TN_ASSERT_CMPUINT(got->tensors[i].bytes, ==, given->tensors[i].bytes);
        if (given->tensors[i].place == TN_WIRE_INLINE_AT)
            TN_ASSERT_BYTES(got->tensors[i].data, given->tensors[i].data, given->tensors[i].bytes);
        else
            TN_ASSERT(got->tensors[i].data == NULL);
    }
}

static void
assert_round_trip(TnMessage *message)
{
    gsize size, again;
    g_autoptr(GError) error = NULL;
    g_autofree guint8 *bytes = write_over(message, 0xaa, &size);
    g_autofree guint8 *other = write_over(message, 0x55, &again);
    TN_ASSERT_CMPUINT(size, ==, again);
    TN_ASSERT_BYTES(bytes, other, MIN(size, again));
    TnMessage got;
    TN_ASSERT(tn_message_read(&got, bytes, size, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_same(&got, message);
}

static void
assert_refused(const guint8 *bytes, gsize size, gint code, const char *word, const char *other)
{
    g_autoptr(GError) error = NULL;
    /* Of exactly this size, so that a read beyond it is seen; or nothing at all. */
    g_autofree guint8 *copy = g_memdup2(bytes, size);
    TnMessage got;
    TN_ASSERT(!tn_message_read(&got, copy, size, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, code, word, other);
    TN_ASSERT_CMPUINT(got.n, ==, 0);
    TN_ASSERT(!tn_message_read(&got, copy, size, NULL));
}

/* --- There and back --------------------------------------------------------------------------- */

static void
writes_what_the_layout_says(void)
{
    TnMessage message = golden_message();
    gsize size;
    g_autofree guint8 *bytes = write_over(&message, 0xff, &size);
    TN_ASSERT_CMPUINT(size, ==, sizeof golden);
    TN_ASSERT_BYTES(bytes, golden, sizeof golden);
    TN_ASSERT_CMPUINT(message.tensors[0].offset, ==, 192);
    TN_ASSERT_CMPUINT(message.tensors[3].offset, ==, 256);
    TN_ASSERT_CMPUINT(tn_message_bytes(&message), ==, 15);
    TnMessage got;
    TN_REQUIRE(tn_message_read(&got, golden, sizeof golden, NULL));
    assert_same(&got, &message);
    TN_ASSERT(got.tensors[0].data == golden + 192);
    TN_ASSERT(got.text == (const char *)golden + 184);
    assert_round_trip(&message);
}

static void
reads_from_any_address(void)
{
    guint8 room[sizeof golden + 8];
    TnMessage got, message = golden_message();
    TN_REQUIRE(tn_message_size(&message) == sizeof golden);
    for (gsize shift = 0; shift < 8; shift++) {
        memset(room, 0xff, sizeof room);
        tn_message_write(&message, room + shift);
        TN_ASSERT(tn_message_read(&got, room + shift, sizeof golden, NULL));
        assert_same(&got, &message);
    }
}

static void
carries_every_kind_with_and_without_text(void)
{
    static const char text[] = "stage \xc3\xa9\0with a zero";
    for (guint kind = TN_WIRE_HELLO; kind < TN_WIRE_N_KINDS; kind++) {
        TnMessage message = { .kind = kind, .session = G_MAXUINT64, .number = kind };
        TN_ASSERT_CMPUINT(tn_message_size(&message), ==, TN_WIRE_HEAD);
        assert_round_trip(&message);
        message.text = text;
        message.text_bytes = sizeof text;
        TN_ASSERT_CMPUINT(tn_message_size(&message), ==, TN_WIRE_HEAD + sizeof text);
        assert_round_trip(&message);
        message.text_bytes = 0;
        assert_round_trip(&message);
        TN_ASSERT(strcmp(tn_wire_kind_name(kind), "unknown") != 0);
    }
    TN_ASSERT_CMPSTR(tn_wire_kind_name(TN_WIRE_HELLO), "hello");
    TN_ASSERT_CMPSTR(tn_wire_kind_name(TN_WIRE_BYE), "bye");
    TN_ASSERT_CMPSTR(tn_wire_kind_name(0), "unknown");
    TN_ASSERT_CMPSTR(tn_wire_kind_name(TN_WIRE_N_KINDS), "unknown");
}

static void
carries_every_dtype_rank_and_place(void)
{
    guint8 elements[256 * 8];
    for (gsize i = 0; i < sizeof elements; i++)
        elements[i] = (guint8)(i * 37 + 1);
    for (gint d = TN_DTYPE_NONE + 1; d < TN_N_DTYPES; d++)
        for (gint rank = 0; rank <= TN_MAX_RANK; rank++)
            for (guint place = 0; place < TN_WIRE_N_PLACES; place++) {
                const TnType type = tn_type((TnDtype)d, rank, (gint64[]){ 2, 2, 2, 2, 2, 2, 2, 2 });
                TnMessage message = { .kind = TN_WIRE_ANSWER, .n = 1 };
                message.tensors[0].type = type;
                message.tensors[0].place = place;
                message.tensors[0].bytes = (gsize)tn_type_bytes(&type);
                if (place == TN_WIRE_IN_BLOCK) {
                    message.tensors[0].block = BLOCK + (guint64)d;
                    message.tensors[0].offset = 64 * (guint64)rank;
                }
                if (place == TN_WIRE_INLINE_AT)
                    message.tensors[0].data = elements;
                assert_round_trip(&message);
            }
}

static void
carries_as_many_tensors_as_there_may_be(void)
{
    guint8 elements[100];
    memset(elements, 0x3c, sizeof elements);
    TnMessage message = { .kind = TN_WIRE_ANSWER, .text = "t", .text_bytes = 1 };
    for (guint i = 0; i < TN_WIRE_MOST_TENSORS; i++) {
        const gint64 size = (gint64)i * 5 % 67; /* the first has no elements */
        message.n = i + 1;
        message.tensors[i].type = tn_type(TN_DTYPE_I8, 1, &size);
        message.tensors[i].bytes = (gsize)size;
        message.tensors[i].data = elements;
        assert_round_trip(&message);
    }
    message.text = NULL;
    message.text_bytes = 0;
    assert_round_trip(&message);
}

/* No elements, inline without memory, and with sizes beside the 0 whose product no number holds. */
static void
carries_tensors_without_elements(void)
{
    for (guint place = 0; place < TN_WIRE_N_PLACES; place++) {
        TnMessage message = { .kind = TN_WIRE_ASK, .n = 3 };
        for (guint i = 0; i < message.n; i++) {
            message.tensors[i].type =
                tn_type(TN_DTYPE_F64, 3, (gint64[]){ G_MAXINT64, i == 1 ? 0 : 4, 0 });
            message.tensors[i].place = place;
        }
        assert_round_trip(&message);
    }
}

static void
carries_tensors_larger_than_memory_by_other_ways(void)
{
    TnMessage message = { .kind = TN_WIRE_ANSWER, .n = 3 };
    for (guint i = 0; i < message.n; i++) {
        message.tensors[i].type = tn_type(TN_DTYPE_U8, 1, (gint64[]){ G_MAXINT64 });
        message.tensors[i].bytes = G_MAXINT64;
        message.tensors[i].place = i == 0 ? TN_WIRE_IN_BLOCK : TN_WIRE_OWN_PART;
    }
    assert_round_trip(&message);
    TN_ASSERT_CMPUINT(tn_message_bytes(&message), ==, G_MAXSIZE);
    message.n = 2;
    TN_ASSERT_CMPUINT(tn_message_bytes(&message), ==, G_MAXSIZE - 1);
    message.n = 0;
    TN_ASSERT_CMPUINT(tn_message_bytes(&message), ==, 0);
}

/* --- What cannot be written ------------------------------------------------------------------- */

#define ASSERT_NO_SIZE(change)                                                                     \
    G_STMT_START                                                                                   \
    {                                                                                              \
        TnMessage message = golden_message();                                                      \
        message.change;                                                                            \
        TN_ASSERT_CMPUINT(tn_message_size(&message), ==, 0);                                       \
    }                                                                                              \
    G_STMT_END

static void
writes_nothing_beyond_a_limit(void)
{
    ASSERT_NO_SIZE(kind = 0);
    ASSERT_NO_SIZE(kind = TN_WIRE_N_KINDS);
    ASSERT_NO_SIZE(n = TN_WIRE_MOST_TENSORS + 1);
    ASSERT_NO_SIZE(text = NULL);
    ASSERT_NO_SIZE(text_bytes = TN_WIRE_MOST_TEXT + 1);
    ASSERT_NO_SIZE(text_bytes = G_MAXSIZE);
    ASSERT_NO_SIZE(tensors[0].type.dtype = TN_DTYPE_NONE);
    ASSERT_NO_SIZE(tensors[0].type.dtype = TN_N_DTYPES);
    ASSERT_NO_SIZE(tensors[0].type.rank = -1);
    ASSERT_NO_SIZE(tensors[0].type.rank = TN_MAX_RANK + 1);
    ASSERT_NO_SIZE(tensors[0].type.dims[0] = -3);
    ASSERT_NO_SIZE(tensors[0].bytes = 4);
    ASSERT_NO_SIZE(tensors[0].data = NULL);
    ASSERT_NO_SIZE(tensors[1].place = TN_WIRE_N_PLACES);
    ASSERT_NO_SIZE(tensors[2].offset = 2);
    ASSERT_NO_SIZE(tensors[2].offset = (guint64)G_MAXINT64 + 1);
    ASSERT_NO_SIZE(tensors[2].offset = G_MAXUINT64 - 63);
    TnMessage huge = golden_message();
    for (guint i = 0; i < huge.n; i++) {
        huge.tensors[i].type = tn_type(TN_DTYPE_U8, 1, (gint64[]){ G_MAXINT64 });
        huge.tensors[i].place = TN_WIRE_INLINE_AT;
        huge.tensors[i].bytes = G_MAXINT64;
        huge.tensors[i].data = "";
        TN_ASSERT_CMPUINT(tn_message_size(&huge), ==, 0);
    }
}

static void
writes_as_much_as_a_limit_allows(void)
{
    g_autofree char *text = g_malloc0(TN_WIRE_MOST_TEXT);
    TnMessage message = golden_message();
    message.text = text;
    message.text_bytes = TN_WIRE_MOST_TEXT;
    assert_round_trip(&message);
}

/* --- What is refused -------------------------------------------------------------------------- */

static void
refuses_every_cut_and_what_is_too_long(void)
{
    guint8 longer[sizeof golden + 1] = { 0 };
    memcpy(longer, golden, sizeof golden);
    for (gsize n = 0; n < sizeof golden; n++)
        assert_refused(golden, n, TN_ERROR_CORRUPT, "message", "");
    assert_refused(longer, sizeof longer, TN_ERROR_CORRUPT, "1 bytes too many", "");
}

/* Every byte with every other value: refused, or a message that is written as exactly these bytes. */
static void
holds_every_byte_to_account(void)
{
    guint8 bytes[sizeof golden], again[sizeof golden];
    guint read = 0;
    for (gsize at = 0; at < sizeof golden; at++)
        for (guint flip = 1; flip < 256; flip++) {
            TnMessage got;
            memcpy(bytes, golden, sizeof golden);
            bytes[at] ^= (guint8)flip;
            if (!tn_message_read(&got, bytes, sizeof bytes, NULL))
                continue;
            read++;
            TN_REQUIRE(tn_message_size(&got) == sizeof golden);
            memset(again, 0xaa, sizeof again);
            tn_message_write(&got, again);
            TN_ASSERT_BYTES(again, bytes, sizeof golden);
        }
    TN_ASSERT_CMPUINT(read, >, 0);
}

static void
refuses_what_is_wrong(void)
{
    static const struct {
        gsize at;
        guint n;
        guint64 value;
        const char *word, *other;
    } table[] = {
        { 0, 1, 't', "TNWM", "" },
        { 6, 1, 0, "kind is 0", "" },
        { 6, 1, TN_WIRE_N_KINDS, "kind", "" },
        { 7, 1, 1, "flags are 1", "" },
        { 32, 4, TN_WIRE_MOST_TENSORS + 1, "17 tensors", "16" },
        { 32, 4, G_MAXUINT32, "tensors", "16" },
        { 32, 4, 3, "tensor 0", "gap" },
        { 32, 4, 5, "tensor 4", "" },
        { 36, 4, TN_WIRE_MOST_TEXT + 1, "a text of 1048577", "1048576" },
        { 36, 4, G_MAXUINT32, "a text", "" },
        { 36, 4, 1000, "text is cut short", "" },
        { 36, 4, 9, "tensor 0", "expected 256" },
        { 36, 4, 1, "tensor 0", "gap" },
        { ROW_0, 1, 3, "tensor 0", "code 3" },
        { ROW_0, 1, 6 /* bool has 8 bits too */, NULL, NULL },
        { ROW_0 + 1, 1, 24, "tensor 0", "24 bits" },
        { ROW_0 + 1, 1, 16, "tensor 0", "needs 6 bytes, it has 3" },
        { ROW_0 + 2, 1, 9, "tensor 0", "9 dimensions" },
        { ROW_0 + 2, 1, 255, "tensor 0", "255 dimensions" },
        { ROW_3 + 2, 1, 8, "tensor 3", "needs 0 bytes, it has 4" },
        { ROW_0 + 3, 1, TN_WIRE_N_PLACES, "tensor 0", "place is 3" },
        { ROW_0 + 4, 4, 1u << 31, "tensor 0", "bytes 4 to 7" },
        { ROW_0 + 8, 8, 1, "tensor 0", "no block" },
        { ROW_0 + 16, 8, 186, "tensor 0", "byte 186 of the part, expected 192" },
        { ROW_0 + 16, 8, 256, "tensor 0", "byte 256 of the part, expected 192" },
        { ROW_0 + 16, 8, 0, "tensor 0", "byte 0 of the part" },
        { ROW_0 + 16, 8, G_MAXUINT64 - 63, "tensor 0", "of the part" },
        { ROW_0 + 24, 8, 4, "tensor 0", "needs 3 bytes, it has 4" },
        { ROW_0 + 24, 8, G_MAXUINT64, "tensor 0", "needs 3 bytes" },
        { ROW_0 + 32, 8, G_MAXUINT64, "tensor 0", "negative" },
        { ROW_0 + 32, 8, G_MAXINT64, "tensor 0", "needs 9223372036854775807 bytes" },
        { ROW_1 + 8, 8, BLOCK, "tensor 1", "no block" },
        { ROW_1 + 16, 8, 64, "tensor 1", "own part begins at 64" },
        { ROW_1 + 3, 1, TN_WIRE_INLINE_AT, "tensor 1", "byte 0 of the part, expected 256" },
        { ROW_2 + 16, 8, 1, "tensor 2", "byte 1 of a block" },
        { ROW_2 + 16, 8, 32, "tensor 2", "byte 32 of a block" },
        { ROW_2 + 16, 8, (guint64)G_MAXINT64 + 1, "tensor 2", "of a block" },
        { ROW_2 + 16, 8, G_MAXUINT64 - 63, "tensor 2", "of a block" },
        { ROW_2 + 32, 8, (guint64)1 << 62, "tensor 2", "63 bits" },
        { ROW_2 + 3, 1, TN_WIRE_OWN_PART, "tensor 2", "no block" },
        { ROW_3 + 16, 8, 192, "tensor 3", "byte 192 of the part, expected 256" },
        { 186, 1, 1, "tensor 0", "gap" },
        { 191, 1, 0x80, "tensor 0", "gap" },
        { 195, 1, 1, "tensor 3", "gap" },
        { 255, 1, 1, "tensor 3", "gap" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        guint8 bytes[sizeof golden];
        TnMessage got;
        memcpy(bytes, golden, sizeof golden);
        for (guint j = 0; j < table[i].n; j++)
            bytes[table[i].at + j] = (guint8)(table[i].value >> 8 * j);
        if (table[i].word)
            assert_refused(bytes, sizeof bytes, TN_ERROR_CORRUPT, table[i].word, table[i].other);
        else
            TN_ASSERT(tn_message_read(&got, bytes, sizeof bytes, NULL));
    }
}

/* Sizes of which each is sound and the product is not. */
static void
refuses_sizes_that_overflow(void)
{
    static const gint64 sizes[][3] = {
        { G_MAXINT64, G_MAXINT64, 1 },
        { (gint64)1 << 32, (gint64)1 << 32, 1 },
        { (gint64)1 << 21, (gint64)1 << 21, (gint64)1 << 21 },
        { (gint64)1 << 60, 1, 1 },
    };
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        guint8 bytes[TN_WIRE_HEAD + ROW + 24] = { 0 };
        memcpy(bytes, golden, TN_WIRE_HEAD);
        put_u32(bytes + 32, 1);
        put_u32(bytes + 36, 0);
        memcpy(bytes + 40, (const guint8[]){ 2, 64, 3, TN_WIRE_OWN_PART }, 4);
        for (guint d = 0; d < 3; d++)
            put_u64(bytes + 72 + 8 * d, (guint64)sizes[i][d]);
        assert_refused(bytes, sizeof bytes, TN_ERROR_CORRUPT, "tensor 0", "63 bits");
    }
}

static void
names_both_versions(void)
{
    guint8 bytes[sizeof golden];
    memcpy(bytes, golden, sizeof golden);
    put_u16(bytes + 4, 513);
    bytes[6] = 200; /* what else another version says is not looked at */
    assert_refused(bytes, sizeof bytes, TN_ERROR_VERSION, "513", "1");
    assert_refused(bytes, 6, TN_ERROR_VERSION, "513", "1");
    assert_refused(bytes, 5, TN_ERROR_CORRUPT, "TNWM", "5 bytes");
    put_u16(bytes + 4, 0);
    assert_refused(bytes, sizeof bytes, TN_ERROR_VERSION, "version 0", "version 1");
}

static const TnTest tests[] = {
    { "writes_what_the_layout_says", writes_what_the_layout_says },
    { "reads_from_any_address", reads_from_any_address },
    { "carries_every_kind_with_and_without_text", carries_every_kind_with_and_without_text },
    { "carries_every_dtype_rank_and_place", carries_every_dtype_rank_and_place },
    { "carries_as_many_tensors_as_there_may_be", carries_as_many_tensors_as_there_may_be },
    { "carries_tensors_without_elements", carries_tensors_without_elements },
    { "carries_tensors_larger_than_memory_by_other_ways",
      carries_tensors_larger_than_memory_by_other_ways },
    { "writes_nothing_beyond_a_limit", writes_nothing_beyond_a_limit },
    { "writes_as_much_as_a_limit_allows", writes_as_much_as_a_limit_allows },
    { "refuses_every_cut_and_what_is_too_long", refuses_every_cut_and_what_is_too_long },
    { "holds_every_byte_to_account", holds_every_byte_to_account },
    { "refuses_what_is_wrong", refuses_what_is_wrong },
    { "refuses_sizes_that_overflow", refuses_sizes_that_overflow },
    { "names_both_versions", names_both_versions },
};
TN_TEST_MAIN("message", tests)
