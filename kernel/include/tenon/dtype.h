/* dtype.h: the table of element types. A new type is a new row of kernel/base/dtype.c. */
#pragma once

#include <tenon/status.h>

G_BEGIN_DECLS

typedef enum {
    TN_DTYPE_NONE = 0,
    TN_DTYPE_F64,
    TN_DTYPE_F32,
    TN_DTYPE_F16,
    TN_DTYPE_BF16,
    TN_DTYPE_I8,
    TN_DTYPE_I16,
    TN_DTYPE_I32,
    TN_DTYPE_I64,
    TN_DTYPE_U8,
    TN_DTYPE_U16,
    TN_DTYPE_U32,
    TN_DTYPE_U64,
    TN_DTYPE_BOOL, /* one byte, 0 or 1 */
    TN_N_DTYPES
} TnDtype;

typedef enum { TN_CLASS_FLOAT, TN_CLASS_INT, TN_CLASS_UINT, TN_CLASS_BOOL } TnDtypeClass;

/* The four types that arithmetic is done in. */
typedef enum {
    TN_COMPUTE_F32,
    TN_COMPUTE_F64,
    TN_COMPUTE_I64,
    TN_COMPUTE_U64,
    TN_N_COMPUTE
} TnCompute;

typedef guint32 TnDtypes; /* a set: TN_DT(F32) | TN_DT(F64) */
#define TN_DT(name) (1u << TN_DTYPE_##name)
#define TN_DTYPES_FLOAT (TN_DT(F64) | TN_DT(F32) | TN_DT(F16) | TN_DT(BF16))
#define TN_DTYPES_INT (TN_DT(I8) | TN_DT(I16) | TN_DT(I32) | TN_DT(I64))
#define TN_DTYPES_UINT (TN_DT(U8) | TN_DT(U16) | TN_DT(U32) | TN_DT(U64))
#define TN_DTYPES_NUMBER (TN_DTYPES_FLOAT | TN_DTYPES_INT | TN_DTYPES_UINT)
#define TN_DTYPES_SIGNED (TN_DTYPES_FLOAT | TN_DTYPES_INT)
#define TN_DTYPES_ALL (TN_DTYPES_NUMBER | TN_DT(BOOL))

typedef struct {
    TnDtype id;
    const char *name; /* "f32": Tenon's, in configs and messages */
    guint bits;       /* of one element */
    TnDtypeClass klass;
    TnCompute compute;       /* what arithmetic on it is done in */
    guint8 dlpack_code;      /* DLPack's type code */
    const char *numpy;       /* NPY descr, such as "<f4"; NULL: none (bf16) */
    const char *safetensors; /* "F32" */
    gint onnx;               /* ONNX TensorProto.DataType */
    const char *torch;       /* long name, such as "float32" */
    /* n elements, stride apart (in elements, may be 0 or negative), to or from a contiguous
     * array of the row's compute type. Storing rounds to nearest even (f16, bf16), wraps
     * (integers), tests for nonzero (bool). */
    void (*load)(void *to, const void *from, gint64 stride, gsize n);
    void (*store)(void *to, const void *from, gint64 stride, gsize n);
} TnDtypeInfo;

/* The row of a dtype; (transfer none), static; NULL for an unknown number. Thread: any. */
TN_API const TnDtypeInfo *tn_dtype_info(TnDtype dtype);
/* "f32"; "none" for TN_DTYPE_NONE. */
TN_API const char *tn_dtype_name(TnDtype dtype);
/* By any of the names of a row ("f32", "float32", "F32"); TN_DTYPE_NONE if unknown. */
TN_API TnDtype tn_dtype_from_name(const char *name);
/* Names indexed by TnDtype, NULL-terminated: the choices of an option row that holds a dtype. */
TN_API extern const char *const tn_dtype_choices[];
/* Bytes of one element. */
TN_API gsize tn_dtype_size(TnDtype dtype);
static inline gboolean
tn_dtype_in(TnDtype dtype, TnDtypes set)
{
    return (set >> dtype) & 1u;
}

/* Converts n elements with C's rules (float to integer truncates and saturates, NaN gives 0; to
 * bool: nonzero). Strides in elements. from and to do not overlap. Thread: any. */
TN_API void tn_dtype_convert(TnDtype to_dtype, void *to, gint64 to_stride, TnDtype from_dtype,
                             const void *from, gint64 from_stride, gsize n);

G_END_DECLS
