/* test_dlpack.c: tensors to and from the structs of DLPack, as another library would see them. */
#include <stddef.h>

#include <tenon/dlpack.h>

#include "tn_test.h"
#include "veiled.h"

#define DIMS(...) ((const gint64[]){ __VA_ARGS__ })

/* The layout that the DLPack project documents for its versioned struct on 64-bit machines. */
static void
layout(void)
{
    TN_ASSERT_CMPUINT(sizeof(DLManagedTensorVersioned), ==, 80);
    TN_ASSERT_CMPUINT(offsetof(DLManagedTensorVersioned, manager_ctx), ==, 8);
    TN_ASSERT_CMPUINT(offsetof(DLManagedTensorVersioned, deleter), ==, 16);
    TN_ASSERT_CMPUINT(offsetof(DLManagedTensorVersioned, flags), ==, 24);
    TN_ASSERT_CMPUINT(offsetof(DLManagedTensorVersioned, dl_tensor), ==, 32);
    TN_ASSERT_CMPUINT(sizeof(DLTensor), ==, 48);
    TN_ASSERT_CMPUINT(offsetof(DLTensor, byte_offset), ==, 40);
    TN_ASSERT_CMPUINT(sizeof(DLDataType), ==, 4);
}

static void
exports(void)
{
    static const gint16 numbers[] = { 1, 2, 3, 4, 5, 6 };
    g_autoptr(GError) error = NULL;
    TnTensor *tensor = tn_tensor_from(tn_type(TN_DTYPE_I16, 2, DIMS(2, 3)), numbers, &error);
    DLManagedTensorVersioned *managed = tn_tensor_to_dlpack(tensor, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(managed->version.major == 1 && managed->version.minor == 0);
    TN_ASSERT_CMPUINT(managed->flags, ==, 0); /* nobody else held it: the consumer may write */
    const DLTensor *dl = &managed->dl_tensor;
    TN_ASSERT(dl->device.device_type == kDLCPU && dl->device.device_id == 0);
    TN_ASSERT(dl->dtype.code == kDLInt && dl->dtype.bits == 16 && dl->dtype.lanes == 1);
    TN_ASSERT(dl->ndim == 2 && dl->shape[0] == 2 && dl->shape[1] == 3);
    TN_ASSERT(dl->strides[0] == 3 && dl->strides[1] == 1);
    TN_ASSERT_BYTES((char *)dl->data + dl->byte_offset, numbers, sizeof numbers);
    /* A second export shares, so it may only be read. */
    DLManagedTensorVersioned *second = tn_tensor_to_dlpack(tensor, &error);
    TN_ASSERT_CMPUINT(second->flags, ==, DLPACK_FLAG_BITMASK_READ_ONLY);
    second->deleter(second);
    tn_tensor_unref(tensor);
    TN_ASSERT_CMPINT(((gint16 *)dl->data)[5], ==, 6); /* the export holds the memory */
    managed->deleter(managed);
}

/* Every dtype, a view with a negative step and an offset: what comes back is the same view. */
static void
round_trip(void)
{
    for (gint d = 1; d < TN_N_DTYPES; d++) {
        g_autoptr(GError) error = NULL;
        static const double numbers[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };
        g_autoptr(TnTensor) f64 =
            tn_tensor_from(tn_type(TN_DTYPE_F64, 2, DIMS(3, 4)), numbers, &error);
        g_autoptr(TnTensor) whole = tn_tensor_copy(f64, NULL, (TnDtype)d, &error);
        g_autoptr(TnTensor) view = tn_tensor_slice(whole, 0, -1, 0, -1, &error);
        g_autofree char *before = tn_tensor_print(view);
        DLManagedTensorVersioned *managed = tn_tensor_to_dlpack(view, &error);
        TN_REQUIRE_NO_ERROR(error);
        g_autoptr(TnTensor) back = tn_tensor_from_dlpack(managed, NULL, &error);
        TN_REQUIRE_NO_ERROR(error);
        g_autofree char *after = tn_tensor_print(back);
        TN_ASSERT_CMPSTR(after, before);
        TN_ASSERT(!tn_tensor_is_writable(back));
        const void *a = tn_tensor_map(view, TN_MAP_READ, NULL),
                   *b = tn_tensor_map(back, TN_MAP_READ, NULL);
        TN_ASSERT(a == b); /* nothing was copied */
    }
}

/* --- A foreign library ------------------------------------------------------------------------ */

typedef struct {
    DLManagedTensorVersioned managed;
    int64_t shape[9], strides[9];
    float numbers[12];
    guint deleted;
} Foreign;

static void
foreign_delete(DLManagedTensorVersioned *managed)
{
    ((Foreign *)managed->manager_ctx)->deleted++;
}

static Foreign
foreign(void)
{
    Foreign f = { .managed = { .version = { 1, 1 },
                               .deleter = foreign_delete,
                               .dl_tensor = { .device = { kDLCPU, 0 },
                                              .ndim = 2,
                                              .dtype = { kDLFloat, 32, 1 } } },
                  .shape = { 3, 4 },
                  .strides = { 4, 1 } };
    for (gint i = 0; i < 12; i++)
        f.numbers[i] = (float)i;
    return f;
}

/* Pointers into the struct, once it stands where it stays. */
static DLManagedTensorVersioned *
settle(Foreign *f)
{
    f->managed.manager_ctx = f;
    f->managed.dl_tensor.data = f->numbers;
    f->managed.dl_tensor.shape = f->shape;
    f->managed.dl_tensor.strides = f->strides;
    return &f->managed;
}

static void
imports(void)
{
    g_autoptr(GError) error = NULL;
    Foreign f = foreign();
    TnTensor *tensor = tn_tensor_from_dlpack(settle(&f), NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_tensor_is_writable(tensor));
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tensor, 11), ==, 11);
    TnTensor *view = tn_tensor_slice(tensor, 0, 1, 2, 1, &error);
    tn_tensor_unref(tensor);
    TN_ASSERT_CMPUINT(f.deleted, ==, 0); /* the view still reads it */
    TN_ASSERT_CMPFLOAT(tn_tensor_get(view, 0), ==, 4);
    tn_tensor_unref(view);
    TN_ASSERT_CMPUINT(f.deleted, ==, 1);

    Foreign fixed = foreign();
    settle(&fixed)->flags = DLPACK_FLAG_BITMASK_READ_ONLY;
    tensor = tn_tensor_from_dlpack(&fixed.managed, NULL, &error);
    TN_ASSERT(!tn_tensor_is_writable(tensor));
    TN_ASSERT(tn_tensor_map(tensor, TN_MAP_WRITE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY);
    g_autoptr(TnTensor) other = tn_tensor_zeros(NULL, *tn_tensor_type(tensor), NULL);
    TN_ASSERT(!tn_tensor_copy_into(tensor, other, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_FAILED, "read-only");
    DLManagedTensorVersioned *again = tn_tensor_to_dlpack(tensor, NULL);
    TN_ASSERT_CMPUINT(again->flags, ==, DLPACK_FLAG_BITMASK_READ_ONLY); /* passed on */
    tn_tensor_unref(tensor);
    TN_ASSERT_CMPUINT(fixed.deleted, ==, 0);
    again->deleter(again);
    TN_ASSERT_CMPUINT(fixed.deleted, ==, 1);
}

static void
odd_layouts(void)
{
    g_autoptr(GError) error = NULL;
    Foreign f = foreign();
    settle(&f)->dl_tensor.strides = NULL; /* row-major */
    f.managed.dl_tensor.byte_offset = 16;
    f.shape[0] = 2;
    g_autoptr(TnTensor) rows = tn_tensor_from_dlpack(&f.managed, NULL, &error);
    g_autofree char *text = tn_tensor_print(rows);
    TN_ASSERT_CMPSTR(text, "f32[2, 4] {{4, 5, 6, 7}, {8, 9, 10, 11}}");

    Foreign backwards = foreign();
    settle(&backwards)->dl_tensor.byte_offset = 44;
    backwards.strides[0] = -4;
    backwards.strides[1] = -1;
    g_autoptr(TnTensor) turned = tn_tensor_from_dlpack(&backwards.managed, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(turned, 0), ==, 11);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(turned, 11), ==, 0);

    Foreign empty = foreign();
    settle(&empty)->dl_tensor.data = NULL; /* as it may be without elements */
    empty.shape[0] = 0;
    g_autoptr(TnTensor) nothing = tn_tensor_from_dlpack(&empty.managed, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_tensor_count(nothing), ==, 0);

    Foreign scalar = foreign();
    settle(&scalar)->dl_tensor.ndim = 0;
    scalar.managed.dl_tensor.shape = NULL;
    g_autoptr(TnTensor) single = tn_tensor_from_dlpack(&scalar.managed, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(single, 0), ==, 0);
    g_clear_pointer(&single, tn_tensor_unref);
    g_clear_pointer(&nothing, tn_tensor_unref);
    g_clear_pointer(&turned, tn_tensor_unref);
    g_clear_pointer(&rows, tn_tensor_unref);
    TN_ASSERT(f.deleted == 1 && backwards.deleted == 1 && empty.deleted == 1 &&
              scalar.deleted == 1);
}

/* Whatever is wrong, the tensor was given away: its deleter is called once. */
static void
refuses(void)
{
    enum {
        VERSION,
        DEVICE,
        CODE,
        BITS,
        LANES,
        RANK,
        NEGATIVE_RANK,
        NO_SHAPE,
        NEGATIVE,
        HUGE_DIM,
        STRIDES,
        BOTH_WAYS,
        DATA,
        UNALIGNED,
        N_WAYS
    };
    static const gint codes[N_WAYS] = { TN_ERROR_VERSION, TN_ERROR_DEVICE, TN_ERROR_DTYPE,
                                        TN_ERROR_DTYPE,   TN_ERROR_DTYPE,  TN_ERROR_SHAPE,
                                        TN_ERROR_SHAPE,   TN_ERROR_SHAPE,  TN_ERROR_SHAPE,
                                        TN_ERROR_SHAPE,   TN_ERROR_SHAPE,  TN_ERROR_SHAPE,
                                        TN_ERROR_SHAPE,   TN_ERROR_SHAPE };
    for (gint way = 0; way < N_WAYS; way++) {
        g_autoptr(GError) error = NULL;
        Foreign f = foreign();
        DLTensor *dl = &settle(&f)->dl_tensor;
        switch (way) {
        case VERSION: f.managed.version.major = 2; break;
        case DEVICE: dl->device.device_type = kDLCUDA; break;
        case CODE: dl->dtype.code = kDLComplex; break;
        case BITS: dl->dtype.bits = 8; break;
        case LANES: dl->dtype.lanes = 4; break;
        case RANK: dl->ndim = 9; break;
        case NEGATIVE_RANK: dl->ndim = -1; break;
        case NO_SHAPE: dl->shape = NULL; break;
        case NEGATIVE: f.shape[1] = -4; break;
        case HUGE_DIM: f.shape[0] = G_MAXINT64; break;
        case STRIDES: f.strides[0] = G_MAXINT64; break;
        case BOTH_WAYS: /* each end can be counted, the way between them cannot */
            dl->dtype = (DLDataType){ kDLUInt, 8, 1 };
            f.strides[0] = G_MAXINT64 / 4;
            f.strides[1] = -G_MAXINT64 / 4;
            break;
        case DATA: dl->data = NULL; break;
        case UNALIGNED: dl->byte_offset = 2; break;
        }
        TN_ASSERT(tn_tensor_from_dlpack(&f.managed, NULL, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, codes[way]);
        TN_ASSERT_CMPUINT(f.deleted, ==, 1);
    }
}

static void
other_devices(void)
{
    Veil veil = { 0 };
    g_autoptr(TnDevice) device = veil_device(&veil);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) there = tn_tensor_zeros(device, tn_type(TN_DTYPE_F32, 1, DIMS(3)), NULL);
    TN_ASSERT(tn_tensor_to_dlpack(there, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "veiled:0");
    Foreign f = foreign();
    TN_ASSERT(tn_tensor_from_dlpack(settle(&f), device, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DEVICE, "veiled:0");
    TN_ASSERT_CMPUINT(f.deleted, ==, 1);
}

static const TnTest tests[] = {
    { "layout", layout },
    { "exports", exports },
    { "round-trip", round_trip },
    { "imports", imports },
    { "odd-layouts", odd_layouts },
    { "refuses", refuses },
    { "other-devices", other_devices },
};
TN_TEST_MAIN("dlpack", tests)
