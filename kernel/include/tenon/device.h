/* device.h: what a device and a kernel of an operator are, for those who write them.
 *
 * A device is an instance of a factory of "tenon.device/1": memory, streams, and which nodes it
 * takes. Kernels are rows of tables, factories of "tenon.kernel/1", each for one kind of device;
 * so an operator from elsewhere runs on a device without touching it. */
#pragma once

#include <tenon/op.h>
#include <tenon/tensor.h>

G_BEGIN_DECLS

typedef enum { TN_COPY_TO_DEVICE, TN_COPY_TO_HOST, TN_COPY_ON_DEVICE } TnCopyKind;

/* Vtable of "tenon.device/1". NULL members have the default in brackets. self: what the
 * factory's create gave. Unless said otherwise calls come from any thread. */
typedef struct {
    guint32 size, minor;
    const char *kind;     /* such as "cpu": which kernels apply; several devices may be of a kind */
    gboolean host_memory; /* its pointers can be read and written by the host at any time */
    /* [tn_data_alloc]; TN_ALIGN aligned; NULL: none left */
    void *(*alloc)(void *self, gsize bytes);
    void (*free)(void *self, void *memory); /* [tn_data_free] */
    /* In the order of stream, may return before it is done. stream NULL: done on return.
     * [memcpy] */
    TnStatus (*copy)(void *self, void *to, const void *from, gsize bytes, TnCopyKind kind,
                     void *stream);
    void *(*stream_new)(void *self); /* [one stream, NULL: everything is done on return] */
    void (*stream_free)(void *self, void *stream);
    TnStatus (*stream_sync)(void *self, void *stream);
    void *(*event_new)(void *self);
    void (*event_free)(void *self, void *event);
    TnStatus (*event_record)(void *self, void *event, void *stream);
    /* stream waits, not the caller */
    TnStatus (*event_wait)(void *self, void *event, void *stream);
    /* Text of the last failure on the calling thread (transfer none). ["failed"] */
    const char *(*last_error)(void *self);
    /* Number of CPU-side or device-side streams worth using at once. [1] */
    guint (*n_streams)(void *self);
} TnDeviceVTable;

/* The host's memory, where tensors live unless a device is named; computes nothing. (transfer
 * none), static. */
TN_API TnDevice *tn_device_host(void);
/* Wraps an instance; name such as "cpu" or "far:1". destroy(self) with the last reference.
 * (transfer full). */
TN_API TnDevice *tn_device_new(const char *name, const TnDeviceVTable *vtable, void *self,
                               void (*destroy)(void *));
/* Creates the device of that name from its factory ("cpu", or "kind:index", which reaches the
 * factory as option `index`) and opens the plugin for it. "kind+plugin" (or more of them) opens
 * those plugins first, whose kernels for devices of that kind take part by their ranks; one that
 * cannot be used here is said in a warning and left out, one that is not there is
 * TN_ERROR_NOT_FOUND; of "kind+plugin?" neither is said, and the device is called by the kind alone.
 * (transfer full). */
TN_API TnDevice *tn_device_open(const char *name, TnContext *context, GError **error);
TN_API TnDevice *tn_device_ref(TnDevice *device);
TN_API void tn_device_unref(TnDevice *device);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnDevice, tn_device_unref)
TN_API const char *tn_device_name(const TnDevice *device);
TN_API const char *tn_device_kind(const TnDevice *device);
TN_API gboolean tn_device_is_host(const TnDevice *device); /* host memory */
TN_API const TnDeviceVTable *tn_device_vtable(const TnDevice *device);
TN_API void *tn_device_self(const TnDevice *device);
TN_API void *tn_device_alloc(TnDevice *device, gsize bytes);
TN_API void tn_device_free(TnDevice *device, void *memory);
TN_API TnStatus tn_device_copy(TnDevice *device, void *to, const void *from, gsize bytes,
                               TnCopyKind kind, void *stream);
TN_API TnStatus tn_device_sync(TnDevice *device, void *stream);

/* --- Kernels ---------------------------------------------------------------------------------- */

/* An input or output of a node as a kernel sees it. Inputs may be strided views if the kernel's
 * row says so, contiguous otherwise; outputs are contiguous row-major. */
typedef struct {
    TnType type;                 /* dtype TN_DTYPE_NONE: absent */
    gint64 strides[TN_MAX_RANK]; /* elements */
    gint64 count;                /* elements */
    const void *value; /* host pointer to a constant's contents; NULL: not known while preparing */
    gboolean variable; /* a variable's own memory: the same pointer in every run of an exec */
    /* An input that hangs on variables and constants alone, which the program does not assign: the same
     * contents in every run until TnPrepared.keep is called again. */
    gboolean fixed;
    /* An output that nobody reads: there is memory for it, which the kernel may leave unwritten. Part of
     * what choices and measured times go by. */
    gboolean unread;
} TnArg;

/* What op, attrs and name point to lives until `release`; in and out only while `prepare` runs. */
typedef struct {
    guint32 size;
    const TnOp *op;
    const void *attrs;
    const char *name; /* dotted */
    gint n_in, n_out;
    const TnArg *in, *out;
    /* A sample's result may not depend on how many samples there are (the sizes of leading axes): what
     * is claimed, cut and summed must go by the other sizes alone. Set for kernels of tables that say
     * they heed it. */
    gboolean batch_invariant;
} TnNode;

typedef struct {
    guint32 size;
    TnExec *exec;
    void *const *in; /* to element [0, 0, …] of each input; NULL: absent */
    void *const *out;
    void *scratch;
    void *stream;
} TnRun;

/* What prepare fills. */
typedef struct {
    guint32 size;
    void *state;   /* given to run and release; shared by all execs: read-only while running */
    gsize scratch; /* bytes per exec, TN_ALIGN aligned, contents lost between runs */
    /* What is made of fixed inputs alone and kept from run to run, such as packed weights: so many bytes per
     * exec, TN_ALIGN aligned; 0: nothing. keep fills them as out[0] before the first run and again when a
     * variable has changed; it has that scratch and, of `in`, the fixed inputs (others NULL). run finds them
     * behind its inputs, as in[n_in], and must not write them. Only where an input is fixed. */
    gsize kept;
    TnStatus (*keep)(void *state, const TnRun *run);
} TnPrepared;

typedef enum {
    TN_KERNEL_STRIDED = 1 << 0, /* inputs may have any strides, 0 and negative ones too */
    /* Outputs may be inputs' memory: of an element-wise operator each output may be that of any one
     * contiguous input of its type, of others out 0 as op->in_place says and each that TN_ARG_REPLACES
     * marks; the planner sees to it that no other input overlaps it in another layout. */
    TN_KERNEL_IN_PLACE = 1 << 1,
    TN_KERNEL_SLOW = 1 << 2, /* a last resort: `show` marks it */
    /* Wants TN_LANES samples as the last spatial axis of its images (TN_ARG_SPATIAL): the pass
     * `layout` lays them so for it. */
    TN_KERNEL_LANES = 1 << 3,
    /* Outputs may lie with their axes in any order but for the last one, whose elements are neighbours:
     * as who reads them transposed wants them. */
    TN_KERNEL_ANY_ORDER = 1 << 4,
} TnKernelFlags;
#define TN_LANES 16
#define TN_PAIR_LANES 32 /* channels of a block of numbers of two bytes (TnOp.blocked) */

/* A kernel: one operator on one kind of device. */
typedef struct {
    const char *op;
    TnDtypes dtypes;                        /* of input 0 (of output 0 where there is no input) */
    guint32 flags;                          /* TnKernelFlags */
    gint32 rank;                            /* the highest of those that claim and pay wins */
    gboolean (*claims)(const TnNode *node); /* NULL: every node with these dtypes */
    /* NULL: no state */
    gboolean (*prepare)(const TnNode *node, TnPrepared *prepared, GError **error);
    TnStatus (*run)(void *state, const TnRun *run); /* allocates nothing, takes no lock */
    void (*release)(void *state);                   /* NULL: nothing to free */
    /* Whether it is worth taking where nothing was measured: of kernels that are not faster at all
     * sizes. Asked before `claims`, of every node with these dtypes. NULL: always. */
    gboolean (*pays)(const TnNode *node);
} TnKernel;

typedef enum {
    TN_TABLE_BATCH_INVARIANT = 1 << 0, /* its kernels heed TnNode.batch_invariant */
} TnKernelTableFlags;

/* Vtable of "tenon.kernel/1": a table. */
typedef struct {
    guint32 size, minor;
    const char *kind;    /* of device */
    guint32 kernel_size; /* sizeof (TnKernel) */
    guint32 n_kernels;
    const TnKernel *kernels;
    guint32 flags; /* TnKernelTableFlags */
} TnKernelTable;

/* The kernel of the highest rank that claims node and pays, for devices of kind, among the plugins
 * opened so far; NULL: none. Thread: any. */
TN_API const TnKernel *tn_kernel_find(const char *kind, const TnNode *node);

/* For a kernel's run: records the detail and returns TN_FAILED. */
TN_API TnStatus tn_run_fail(const TnRun *run, const char *format, ...) G_GNUC_PRINTF(2, 3);

G_END_DECLS
