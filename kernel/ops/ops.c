/* ops.c: the table of all primitives and the search by name. */
#include "ops-private.h"

#include <pthread.h>
#include <tenon/plugin.h>

static const TnFamily *const families[] = {
    &tn_family_source, &tn_family_unary, &tn_family_binary, &tn_family_like,    &tn_family_reduce,
    &tn_family_shape,  &tn_family_slice, &tn_family_concat, &tn_family_window,  &tn_family_index,
    &tn_family_matmul, &tn_family_conv,  &tn_family_random, &tn_family_control,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static GPtrArray *all; /* const TnOp *, in the order of the tables */
static GHashTable *by_name;

static void
fill_tables(void)
{
    all = g_ptr_array_new();
    by_name = g_hash_table_new(g_str_hash, g_str_equal);
    for (gsize f = 0; f < G_N_ELEMENTS(families); f++) {
        for (guint i = 0; i < families[f]->n; i++) {
            const TnOp *op = &families[f]->rows[i].op;
            g_ptr_array_add(all, (gpointer)op);
            g_hash_table_insert(by_name, (gpointer)op->name, (gpointer)op);
        }
    }
}

const TnOp *const *
tn_op_primitives(guint *n)
{
    pthread_once(&once, fill_tables);
    *n = all->len;
    return (const TnOp *const *)all->pdata;
}

const TnOp *
tn_op_find(const char *name, GError **error)
{
    pthread_once(&once, fill_tables);
    const TnOp *op = g_hash_table_lookup(by_name, name);
    return op != NULL ? op : tn_registry_op(name, error);
}

static const TnOpArg *
arg_row(const TnOp *op, const TnOpArg *rows, guint n, gint i)
{
    if (n == 0 || i < 0) {
        return NULL;
    }
    const char *first = (const char *)rows;
    const TnOpArg *last = (const TnOpArg *)(first + (gsize)(n - 1) * op->arg_size);
    if ((guint)i >= n) {
        return last->flags & TN_ARG_VARIADIC ? last : NULL;
    }
    return (const TnOpArg *)(first + (gsize)i * op->arg_size);
}

const TnOpArg *
tn_op_input(const TnOp *op, gint i)
{
    return arg_row(op, op->inputs, op->n_inputs, i);
}

const TnOpArg *
tn_op_output(const TnOp *op, gint i)
{
    return arg_row(op, op->outputs, op->n_outputs, i);
}
