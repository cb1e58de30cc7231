/* cost.h: measured times of kernels, by which one of several is chosen for a node.
 *
 * Where nothing was measured the rank and `pays` of kernels decide. A table of costs has what was
 * measured: a row is a node, as text, and the time of each kernel that can compute it. It is asked
 * for the very node first, then for the row of the same operator, dtypes and ranks whose sizes are
 * nearest: the distance is the Euclidean one of the base 2 logarithms of all sizes of all arguments,
 * at most TN_COST_REACH. The fastest kernel that is there and takes the node wins; the one that would
 * be taken anyway stays unless another is faster by more than TN_COST_MARGIN. So the same table and
 * the same plugins give the same choices; compiling measures nothing. */
#pragma once

#include <tenon/device.h>
#include <tenon/value.h>

G_BEGIN_DECLS

#define TN_COST_REACH 2.5
#define TN_COST_MARGIN 0.04

/* rows: a list of {node = KEY, us = {["TABLE RANK"] = microseconds, …}}, as tn_costs_measure gives
 * them. An immutable table (transfer full), or NULL with TN_ERROR_CORRUPT: the row that is not sound.
 * Thread: any, also for what follows. */
TN_API TnCosts *tn_costs_new(const TnValue *rows, GError **error);
TN_API TnCosts *tn_costs_ref(TnCosts *costs);
TN_API void tn_costs_unref(TnCosts *costs); /* NULL is allowed */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnCosts, tn_costs_unref)
TN_API guint64 tn_costs_digest(const TnCosts *costs);      /* over all rows */
TN_API const TnValue *tn_costs_rows(const TnCosts *costs); /* (transfer none) */

typedef enum {
    TN_CHOICE_RANK,     /* nothing was measured, or nothing better: rank and `pays` */
    TN_CHOICE_MEASURED, /* the node is in the table */
    TN_CHOICE_NEAR,     /* one like it is */
    TN_CHOICE_KEPT,     /* an earlier compilation's (TnCompile.choices) */
} TnChoiceSource;

/* A kernel chosen for a node, or looked at. What it points to lives for the call. */
typedef struct {
    guint32 size;
    const char *kind; /* of device */
    const TnNode *node;
    const char *key; /* the node as text: a row's `node` */
    const char *id;  /* "TABLE RANK"; NULL: no kernel */
    TnChoiceSource source;
    guint n_candidates; /* kernels that can compute the node, and other ways to do without it */
    const char *const *candidates; /* ids of these kernels; NULL-terminated */
} TnChoice;
typedef void (*TnChoiceSink)(const TnChoice *choice, gpointer data);

/* Runs every kernel for devices of kind that can compute node on made-up inputs (floats from 0.1 to
 * 1, other numbers 0), in turn, `rounds` times for some `seconds` each, and gives a row: the shortest
 * time of each. A kernel that fails is left out. (transfer full); NULL with *error if none ran.
 * Thread: one that no pool's work is on. */
TN_API TnValue *tn_costs_measure(const char *kind, const TnNode *node, double seconds, guint rounds,
                                 GError **error);

G_END_DECLS
