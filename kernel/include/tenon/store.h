/* store.h: variables: what outlives a step (weights, optimiser slots, running statistics,
 * counters).
 *
 * Only a variable's device touches its bytes; everybody else reads and writes it as plain
 * row-major host memory. Not to be read or written while a program that uses it runs
 * (TN_ERROR_BUSY is not detected: the owner of the store orders them). */
#pragma once

#include <tenon/tensor.h>

G_BEGIN_DECLS

typedef enum { TN_ROLE_PARAM, TN_ROLE_SLOT, TN_ROLE_STAT, TN_ROLE_COUNTER } TnRole;

/* How a variable begins. Values are keyed by (store's seed, the variable's name). Glorot and He:
 * fans as in He et al., "Delving deep into rectifiers" (2015): dims[0] is out, dims[1] is in,
 * the rest is the receptive field. */
typedef enum {
    TN_INIT_ZEROS,
    TN_INIT_ONES,
    TN_INIT_CONSTANT,       /* a */
    TN_INIT_UNIFORM,        /* [a, b) */
    TN_INIT_NORMAL,         /* mean a, deviation b */
    TN_INIT_GLOROT_UNIFORM, /* times a (gain; 0: 1) */
    TN_INIT_GLOROT_NORMAL,
    TN_INIT_HE_UNIFORM, /* gain a (0: sqrt 2), fan in */
    TN_INIT_HE_NORMAL,
    TN_INIT_LECUN_UNIFORM, /* gain a (0: 1), fan in: LeCun et al., "Efficient BackProp" (1998), 4.6 */
    TN_INIT_LECUN_NORMAL,
    /* U(-1/sqrt(fan in), 1/sqrt(fan in)): PyTorch's default of linear and conv layers */
    TN_INIT_FAN_IN_UNIFORM,
    /* gain a; Saxe et al. 2014, by Householder QR of a normal matrix [dims[0], rest] */
    TN_INIT_ORTHOGONAL,
} TnInitKind;
typedef struct {
    TnInitKind kind;
    double a, b;
    gint64 fan_in;   /* 0: from the shape */
    gint64 zero_row; /* number, from 1, of a row along the first axis that is zeros; 0: none */
} TnInit;

typedef struct {
    const char *name; /* unique, dotted: "model.3.conv.weight" */
    TnType type;
    TnRole role;
    const char *of; /* slot: name of the param it belongs to; NULL otherwise */
    TnInit init;
    gboolean frozen; /* a param that gets no gradient */
} TnVarInfo;

TN_API TnStore *tn_store_new(guint64 seed);
TN_API TnStore *tn_store_ref(TnStore *store);
TN_API void tn_store_unref(TnStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnStore, tn_store_unref)
TN_API guint64 tn_store_seed(const TnStore *store);
TN_API void tn_store_set_seed(TnStore *store, guint64 seed);

/* Makes a variable on device (NULL: the host) and initialises it, or gives the existing one of
 * that name if type and role agree; TN_ERROR_CONFIG otherwise. (transfer none): the store owns
 * it. info's strings are copied. */
TN_API TnVar *tn_store_var(TnStore *store, TnDevice *device, const TnVarInfo *info, GError **error);
TN_API TnVar *tn_store_find(const TnStore *store, const char *name); /* NULL if absent */
TN_API guint tn_store_n(const TnStore *store);                       /* in order of creation */
TN_API TnVar *tn_store_at(const TnStore *store, guint i);
TN_API guint64 tn_store_bytes(const TnStore *store);

TN_API const TnVarInfo *tn_var_info(const TnVar *var);
/* the device's tensor (transfer none): for exec code */
TN_API TnTensor *tn_var_tensor(const TnVar *var);
/* Whole variable from or to contiguous host memory of its type. */
TN_API gboolean tn_var_read(const TnVar *var, void *to, gsize bytes, GError **error);
TN_API gboolean tn_var_write(TnVar *var, const void *from, gsize bytes, GError **error);
/* As a host tensor (transfer full). */
TN_API TnTensor *tn_var_get(const TnVar *var, GError **error);
/* Draws the initial value again. */
TN_API gboolean tn_var_reset(TnVar *var, GError **error);

/* Two well-known counters, made when first asked for (on the host, rank 0, u64): the step that
 * is next, and the key {seed, position} [2] that random nodes read. */
TN_API TnVar *tn_store_step(TnStore *store, GError **error);       /* "train.step" */
TN_API TnVar *tn_store_random_key(TnStore *store, GError **error); /* "random.key" */

G_END_DECLS
