/* choose.c: the kernel of a node. Which are there depends on the machine and its plugins, and another
 * kernel may give other last bits; so a compilation can write down what it chose, for each operator
 * with these attributes at these types, and a later one can be told to choose the same. What nobody
 * chose before goes by measured times, what nobody measured by rank.
 *
 * {"cpu matmul f32[8, 4] f32[4, 2] -> f32[8, 2]": "cpu-matmul 0", "cpu gelu … #6b1f…": "none"}: the
 * kind of device and what it was to run, its attributes as a hash, "unread:" before outputs that nobody
 * reads, "invariant" behind a node that was to heed that; the table of kernels and the rank there. "none"
 * is a choice too: a composite was expanded, other nodes went to the next device. */
#include "choose.h"
#include "costs.h"

#include "compile-private.h"

#include <math.h>
#include <string.h>

#define NONE "none"
/* Nodes that look alike had different kernels: a kernel may look at constants too. */
#define SEVERAL "several"
#define INVARIANT " invariant"

static void
append_args(GString *key, gint n, const TnArg *args)
{
    for (gint i = 0; i < n; i++) {
        g_autofree char *type =
            args[i].type.dtype == TN_DTYPE_NONE ? g_strdup("-") : tn_type_print(&args[i].type);
        g_string_append_printf(key, " %s%s", args[i].unread ? "unread:" : "", type);
    }
}

char *
tn_node_key(const char *kind, const TnNode *node)
{
    GString *key = g_string_new(NULL);
    g_string_append_printf(key, "%s %s", kind, node->op->name);
    append_args(key, node->n_in, node->in);
    g_string_append(key, " ->");
    append_args(key, node->n_out, node->out);
    if (node->attrs != NULL) {
        g_string_append_printf(key, " #%016" G_GINT64_MODIFIER "x",
                               tn_options_hash(&node->op->attrs, node->attrs));
    }
    return g_string_free(key, FALSE);
}

static void
note(TnValue *chosen, const char *key, const char *id)
{
    const char *before = tn_value_get_string(tn_value_get(chosen, key));
    const char *text = before == NULL || strcmp(before, id) == 0 ? id : SEVERAL;
    tn_value_set(chosen, key, tn_value_string(text));
}

/* What choices say of a node: its key, and whether it had to be invariant. */
static char *
choice_key(const TnCompile *options, guint d, const TnNode *node)
{
    char *key = tn_node_key(tn_device_kind(options->devices[d]), node);
    if (!options->batch_invariant) {
        return key;
    }
    char *invariant = g_strconcat(key, INVARIANT, NULL);
    g_free(key);
    return invariant;
}

/* The node as kernels are asked about it. */
static TnNode
asked(const TnCompile *options, const TnNode *node)
{
    TnNode view = *node;
    view.batch_invariant = options->batch_invariant;
    return view;
}

/* --- By what was measured --------------------------------------------------------------------- */

static double
time_of(const TnCostRow *row, const char *id)
{
    for (guint i = 0; i < row->n_times; i++) {
        if (strcmp(row->times[i].id, id) == 0) {
            return row->times[i].us;
        }
    }
    return INFINITY;
}

/* The fastest of the row that takes the node, unless `usual`, which would be taken anyway, is nearly
 * as fast. */
static const TnKernel *
fastest(const char *kind, const TnNode *node, const TnCostRow *row, const TnKernel *usual)
{
    g_autofree char *id = tn_kernel_id(usual);
    const double us = time_of(row, id);
    for (guint i = 0; i < row->n_times; i++) {
        if (us <= row->times[i].us * (1 + TN_COST_MARGIN)) {
            return usual;
        }
        const TnKernel *kernel = tn_kernel_find_id(kind, node, row->times[i].id);
        if (kernel != NULL) {
            return kernel;
        }
    }
    return usual;
}

/* What was measured at one number of samples says nothing where that number may not show. */
static const TnCostRow *
measured(const TnCompile *options, const char *key)
{
    const gboolean asks = options->costs != NULL && !options->batch_invariant;
    return asks ? tn_costs_find(options->costs, key) : NULL;
}

/* A node that nobody would take without the table stays so: what a composite's body takes is not
 * known. */
static const TnKernel *
best(const TnCompile *options, const char *kind, const TnNode *node, const char *key,
     TnChoiceSource *source)
{
    const TnKernel *usual = tn_kernel_find_known(kind, node);
    const TnCostRow *row = usual != NULL ? measured(options, key) : NULL;
    *source = row == NULL                  ? TN_CHOICE_RANK
              : strcmp(row->key, key) == 0 ? TN_CHOICE_MEASURED
                                           : TN_CHOICE_NEAR;
    return row != NULL ? fastest(kind, node, row, usual) : usual;
}

/* choice: what is known of it; n_candidates counts ways beside the kernels. */
static void
tell(const TnCompile *options, TnChoiceSink sink, TnChoice choice)
{
    g_autoptr(GPtrArray) candidates = tn_kernel_candidates(choice.kind, choice.node);
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < candidates->len; i++) {
        g_ptr_array_add(ids, tn_kernel_id(g_ptr_array_index(candidates, i)));
    }
    g_ptr_array_add(ids, NULL);
    choice.size = sizeof choice;
    choice.n_candidates += candidates->len;
    choice.candidates = (const char *const *)ids->pdata;
    sink(&choice, options->choice_data);
}

/* --- Choosing --------------------------------------------------------------------------------- */

/* others: ways to do without such a node. */
static const TnKernel *
choose(const TnCompile *options, guint d, const TnNode *any, guint others)
{
    const char *kind = tn_device_kind(options->devices[d]);
    const TnNode view = asked(options, any), *node = &view;
    if (options->choices == NULL && options->chosen == NULL && options->costs == NULL &&
        options->choice_sink == NULL) {
        return tn_kernel_find_known(kind, node);
    }
    g_autofree char *key = tn_node_key(kind, node), *name = choice_key(options, d, node);
    const char *choice = tn_value_get_string(tn_value_get(options->choices, name));
    const TnKernel *kernel = NULL;
    TnChoiceSource source = TN_CHOICE_KEPT;
    if (g_strcmp0(choice, NONE) != 0) {
        kernel = choice != NULL ? tn_kernel_find_id(kind, node, choice) : NULL;
        kernel = kernel != NULL ? kernel : best(options, kind, node, key, &source);
    }
    g_autofree char *id = kernel != NULL ? tn_kernel_id(kernel) : NULL;
    if (options->chosen != NULL) {
        note(options->chosen, name, id != NULL ? id : NONE);
    }
    if (options->choice_sink != NULL) {
        tell(options, options->choice_sink,
             (TnChoice){ .kind = kind,
                         .node = node,
                         .key = key,
                         .id = id,
                         .source = source,
                         .n_candidates = others });
    }
    return kernel;
}

const TnKernel *
tn_choose_kernel(const TnCompile *options, guint d, const TnNode *node)
{
    return choose(options, d, node, 0);
}

gboolean
tn_choice_known(const TnCompile *options, guint d, const TnNode *node)
{
    if (options->choices == NULL) {
        return TRUE;
    }
    g_autofree char *key = choice_key(options, d, node);
    return tn_value_get(options->choices, key) != NULL;
}

const TnKernel *
tn_choose_anew(const TnCompile *options, guint d, const TnNode *any)
{
    const char *kind = tn_device_kind(options->devices[d]);
    const TnNode view = asked(options, any), *node = &view;
    const TnKernel *kernel = tn_kernel_find_known(kind, node);
    if (kernel != NULL && options->chosen != NULL) {
        g_autofree char *key = choice_key(options, d, node), *id = tn_kernel_id(kernel);
        tn_value_set(options->chosen, key, tn_value_string(id));
    }
    return kernel;
}

void
tn_choice_used(const TnCompile *options, guint d, const TnNode *any, const TnKernel *kernel)
{
    const char *kind = tn_device_kind(options->devices[d]);
    const TnNode view = asked(options, any);
    g_autofree char *key = tn_node_key(kind, &view), *id = tn_kernel_id(kernel);
    tell(options, options->used_sink,
         (TnChoice){ .kind = kind, .node = &view, .key = key, .id = id, .source = TN_CHOICE_KEPT });
}

void
tn_choice_note(const TnCompile *options, guint d, const TnNode *node, const TnKernel *kernel)
{
    if (options->chosen != NULL) {
        g_autofree char *key = choice_key(options, d, node), *id = tn_kernel_id(kernel);
        if (tn_value_get(options->chosen, key) != NULL) {
            tn_value_set(options->chosen, key, tn_value_string(id));
        }
    }
}

double
tn_kernel_time(const TnCompile *options, guint d, const TnNode *any, const TnKernel *kernel)
{
    const TnNode view = asked(options, any), *node = &view;
    g_autofree char *key = tn_node_key(tn_device_kind(options->devices[d]), node);
    g_autofree char *id = tn_kernel_id(kernel);
    const TnCostRow *row = measured(options, key);
    const double us = row != NULL ? time_of(row, id) : INFINITY;
    /* Those that were not measured come behind all that were. */
    return us < INFINITY ? us : 1e15 - kernel->rank + (kernel->flags & TN_KERNEL_SLOW ? 1e6 : 0);
}

double
tn_choice_cost(const TnCompile *options, guint d, const TnNode *any)
{
    const TnNode view = asked(options, any), *node = &view;
    const char *kind = tn_device_kind(options->devices[d]);
    g_autofree char *key = tn_node_key(kind, node);
    const TnCostRow *row = measured(options, key);
    TnChoiceSource source = TN_CHOICE_RANK;
    const TnKernel *kernel = row != NULL ? best(options, kind, node, key, &source) : NULL;
    g_autofree char *id =
        kernel != NULL && source == TN_CHOICE_MEASURED ? tn_kernel_id(kernel) : NULL;
    return id != NULL ? time_of(row, id) : INFINITY;
}

const TnKernel *
tn_kernel_of_types(const TnCompile *options, guint d, const TnOp *op, const void *attrs,
                   const char *name, gint n_in, const TnType *types, guint others,
                   TnTypesChoice *choice)
{
    TnNodeView view = { .node = { .size = sizeof(TnNode),
                                  .op = op,
                                  .attrs = attrs,
                                  .name = name,
                                  .n_in = n_in,
                                  .n_out = (gint)op->n_outputs,
                                  .in = view.in,
                                  .out = view.out } };
    TnType out[TN_MAX_OUT];
    TnTensor *values[TN_MAX_IN] = { NULL };
    for (gint i = 0; i < n_in; i++) {
        tn_arg_contiguous(&view.in[i], &types[i]);
    }
    if (!tn_op_infer(op, attrs, name, n_in, types, values, &view.node.n_out, out, NULL)) {
        return NULL;
    }
    for (gint i = 0; i < view.node.n_out; i++) {
        tn_arg_contiguous(&view.out[i], &out[i]);
    }
    if (!tn_choice_known(options, d, &view.node)) {
        return NULL;
    }
    /* Written, too, though the node may not come: what hangs on the answer is to be the same again. */
    const TnKernel *kernel = choose(options, d, &view.node, others);
    if (choice != NULL) {
        const TnNode node = asked(options, &view.node);
        choice->us = tn_choice_cost(options, d, &node);
        choice->usual = kernel == tn_kernel_find_known(tn_device_kind(options->devices[d]), &node);
    }
    return kernel;
}
