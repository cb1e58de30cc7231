/* test_tensorboard.c: event files: checksums against published values, records as TFRecord wants
 * them, torn tails. TensorBoard's own reader judges the messages in tests/interop. */
#include <signal.h>
#include <sys/resource.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/logger.h>

#include "../../vis/tensorboard/wire.c"
#include "tn_test.h"

static void
crc_is_castagnoli(void)
{
    /* RFC 3720, B.4: 32 zeros, 32 ones, ascending; and the usual check string. */
    guint8 bytes[32];
    memset(bytes, 0, 32);
    TN_ASSERT_CMPUINT(crc32c(bytes, 32), ==, 0x8a9136aau);
    memset(bytes, 0xff, 32);
    TN_ASSERT_CMPUINT(crc32c(bytes, 32), ==, 0x62a8ab43u);
    for (guint i = 0; i < 32; i++)
        bytes[i] = (guint8)i;
    TN_ASSERT_CMPUINT(crc32c(bytes, 32), ==, 0x46dd794eu);
    TN_ASSERT_CMPUINT(crc32c((const guint8 *)"123456789", 9), ==, 0xe3069283u);
}

static TnObject *
make_logger(const char *folder, gboolean resumed)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnContext) context = tn_context_new();
    const TnFactory *factory = tn_registry_find(TN_IFACE_LOGGER, "tensorboard", &error);
    TN_REQUIRE_NO_ERROR(error);
    TnObject *object = tn_object_create(factory, NULL, context, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnLoggerVTable *vtable = tn_object_vtable(object);
    TN_ASSERT(vtable->open(tn_object_self(object), folder, resumed, &error));
    TN_REQUIRE_NO_ERROR(error);
    return object;
}

static char *
event_bytes(const char *folder, size_t *n)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    g_autofree char *path = g_build_filename(folder, g_dir_read_name(dir), NULL);
    TN_ASSERT(g_dir_read_name(dir) == NULL);
    g_dir_close(dir);
    TN_ASSERT_CONTAINS(path, "events.out.tfevents.");
    return tn_test_read_file(path, n);
}

static void
writes_records(void)
{
    g_autofree char *folder = tn_test_tmp_path("tb1");
    g_mkdir_with_parents(folder, 0777);
    TnObject *object = make_logger(folder, FALSE);
    const TnLoggerVTable *vtable = tn_object_vtable(object);
    for (guint i = 0; i < 5; i++) {
        TnRecord record = { .size = sizeof record,
                            .kind = TN_RECORD_SCALAR,
                            .name = "loss",
                            .step = 10 * i,
                            .value = 0.5 * i };
        TN_ASSERT_CMPINT(vtable->write(tn_object_self(object), &record), ==, TN_OK);
    }
    vtable->close(tn_object_self(object));
    tn_object_unref(object);
    size_t n, at = 0, length;
    g_autofree char *bytes = event_bytes(folder, &n);
    const guint8 *data;
    guint records = 0;
    while (wire_record((guint8 *)bytes, n, &at, &data, &length) == WIRE_RECORD) {
        gsize inner = 0;
        WireField field;
        gboolean broken = FALSE;
        guint64 step = 0;
        while (wire_next(data, length, &inner, &field, &broken)) {
            if (field.field == 2)
                step = field.value;
            if (records == 0 && field.field == 3)
                TN_ASSERT(field.value == 13 && memcmp(field.bytes, "brain.Event:2", 13) == 0);
        }
        TN_ASSERT(!broken);
        if (records)
            TN_ASSERT_CMPUINT(step, ==, 10 * (records - 1));
        records++;
    }
    TN_ASSERT_CMPUINT(records, ==, 6);
    TN_ASSERT_CMPUINT(at, ==, n);
    /* cut anywhere, it is torn or ends, never wrong */
    for (size_t cut = 0; cut < n; cut++) {
        WireStep step;
        g_autofree guint8 *part = g_memdup2(bytes, cut);
        for (at = 0; (step = wire_record(part, cut, &at, &data, &length)) == WIRE_RECORD;)
            ;
        TN_ASSERT(step == WIRE_TORN || step == WIRE_END);
    }
    /* a bit turned over in a record is seen */
    for (size_t at_bit = 0; at_bit < n; at_bit++) {
        WireStep step;
        bytes[at_bit] ^= 4;
        for (at = 0; (step = wire_record((guint8 *)bytes, n, &at, &data, &length)) == WIRE_RECORD;)
            ;
        bytes[at_bit] ^= 4;
        TN_ASSERT_CMPINT(step, ==, WIRE_CORRUPT);
    }
}

static void
refuses_malformed_messages(void)
{
    static const struct {
        const char *bytes;
        gsize n;
    } bad[] = {
        { "\x08", 1 },
        { "\x09\1\2", 3 },
        { "\x0a\5ab", 4 },
        { "\x0b", 1 },
        { "\x00\1", 2 },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11 },
        { "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11 },
    };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        gsize at = 0;
        WireField field;
        gboolean broken = FALSE;
        g_autofree guint8 *copy = g_memdup2(bad[i].bytes, bad[i].n);
        while (wire_next(copy, bad[i].n, &at, &field, &broken))
            ;
        TN_ASSERT(broken);
    }
}

static void
a_folder_that_is_not_there_is_an_error(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnObject) object = tn_object_create(
        tn_registry_find(TN_IFACE_LOGGER, "tensorboard", &error), NULL, context, &error);
    const TnLoggerVTable *vtable = tn_object_vtable(object);
    TN_ASSERT(!vtable->open(tn_object_self(object), "/nowhere", FALSE, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "/nowhere");
}

/* Counts whole records; ends the test if there is anything else. */
static guint
count_records(const char *folder)
{
    size_t n, at = 0, length;
    g_autofree char *bytes = event_bytes(folder, &n);
    const guint8 *data;
    guint records = 0;
    while (wire_record((guint8 *)bytes, n, &at, &data, &length) == WIRE_RECORD)
        records++;
    TN_ASSERT_CMPUINT(at, ==, n);
    return records;
}

/* A disk that is full costs the records it had no room for, and no others. */
static void
a_full_disk_leaves_whole_records(void)
{
    g_autofree char *folder = tn_test_tmp_path("tb-full");
    g_autofree char *text = g_strnfill(3000, 'x');
    struct rlimit before, small = { 4096, 4096 };
    g_mkdir_with_parents(folder, 0777);
    TnObject *object = make_logger(folder, FALSE);
    const TnLoggerVTable *vtable = tn_object_vtable(object);
    void *self = tn_object_self(object);
    TnRecord record = {
        .size = sizeof record, .kind = TN_RECORD_TEXT, .name = "text", .step = 1, .text = text
    };
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    vtable->write(self, &record);
    TN_ASSERT_CMPINT(vtable->flush(self), ==, TN_OK);
    vtable->write(self, &record);
    TN_ASSERT_CMPINT(vtable->flush(self), ==, TN_FAILED);
    setrlimit(RLIMIT_FSIZE, &before);
    TN_ASSERT_CMPUINT(count_records(folder), ==, 2);
    vtable->write(self, &record);
    TN_ASSERT_CMPINT(vtable->flush(self), ==, TN_OK);
    vtable->close(self);
    tn_object_unref(object);
    TN_ASSERT_CMPUINT(count_records(folder), ==, 3);
}

static void
a_file_that_cannot_be_begun_is_an_error(void)
{
    g_autofree char *folder = tn_test_tmp_path("tb-none");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnObject) object = tn_object_create(
        tn_registry_find(TN_IFACE_LOGGER, "tensorboard", &error), NULL, context, &error);
    const TnLoggerVTable *vtable = tn_object_vtable(object);
    struct rlimit before, none = { 0, 0 };
    g_mkdir_with_parents(folder, 0777);
    getrlimit(RLIMIT_FSIZE, &before);
    none.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &none);
    TN_ASSERT(!vtable->open(tn_object_self(object), folder, FALSE, &error));
    setrlimit(RLIMIT_FSIZE, &before);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "tb-none");
}

/* Names and texts that are no UTF-8 would end a reader. */
static void
strings_are_utf8(void)
{
    g_autofree char *folder = tn_test_tmp_path("tb-utf8");
    size_t n;
    g_mkdir_with_parents(folder, 0777);
    TnObject *object = make_logger(folder, FALSE);
    const TnLoggerVTable *vtable = tn_object_vtable(object);
    TnRecord record = { .size = sizeof record,
                        .kind = TN_RECORD_TEXT,
                        .name = "lo\xffss",
                        .step = 1,
                        .text = "a\xfe" };
    TN_ASSERT_CMPINT(vtable->write(tn_object_self(object), &record), ==, TN_OK);
    vtable->close(tn_object_self(object));
    tn_object_unref(object);
    g_autofree char *bytes = event_bytes(folder, &n);
    TN_ASSERT(memmem(bytes, n, "lo\xef\xbf\xbdss", 7) != NULL);
    TN_ASSERT(memmem(bytes, n, "a\xef\xbf\xbd", 4) != NULL);
}

static const TnTest tests[] = {
    { "crc is Castagnoli's", crc_is_castagnoli },
    { "writes records", writes_records },
    { "refuses malformed messages", refuses_malformed_messages },
    { "a folder that is not there is an error", a_folder_that_is_not_there_is_an_error },
    { "a full disk leaves whole records", a_full_disk_leaves_whole_records },
    { "a file that cannot be begun is an error", a_file_that_cannot_be_begun_is_an_error },
    { "strings are UTF-8", strings_are_utf8 },
};
TN_TEST_MAIN("tensorboard", tests)
