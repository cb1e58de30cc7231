/* choose.c: the kernel of a node. Which are there depends on the machine and its plugins, and another
 * kernel may give other last bits; so a compilation can write down what it chose, for each operator
 * with these attributes at these types, and a later one can be told to choose the same.
 *
 * {"cpu matmul f32[8, 4] f32[4, 2] -> f32[8, 2]": "cpu-matmul 0", "cpu gelu … #6b1f…": "none"}: the
 * kind of device and what it was to run, its attributes as a hash; the table of kernels and the rank
 * there. "none" is a choice too: a composite was expanded, other nodes went to the next device. */
#include "choose.h"

#include "compile-private.h"

#include <string.h>

#define NONE "none"
/* Nodes that look alike had different kernels: a kernel may look at constants too. */
#define SEVERAL "several"

static void
append_args(GString *key, gint n, const TnArg *args)
{
    for (gint i = 0; i < n; i++) {
        g_autofree char *type =
            args[i].type.dtype == TN_DTYPE_NONE ? g_strdup("-") : tn_type_print(&args[i].type);
        g_string_append_printf(key, " %s", type);
    }
}

static char *
key_of(const char *kind, const TnNode *node)
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
note(TnValue *chosen, const char *key, const TnKernel *kernel)
{
    g_autofree char *id = kernel != NULL ? tn_kernel_id(kernel) : g_strdup(NONE);
    const char *before = tn_value_get_string(tn_value_get(chosen, key));
    const char *text = before == NULL || strcmp(before, id) == 0 ? id : SEVERAL;
    tn_value_set(chosen, key, tn_value_string(text));
}

/* The node as kernels are asked about it. */
static TnNode
asked(const TnCompile *options, const TnNode *node)
{
    TnNode view = *node;
    view.batch_invariant = options->batch_invariant;
    return view;
}

const TnKernel *
tn_choose_kernel(const TnCompile *options, guint d, const TnNode *any)
{
    const char *kind = tn_device_kind(options->devices[d]);
    const TnNode view = asked(options, any), *node = &view;
    if (options->choices == NULL && options->chosen == NULL) {
        return tn_kernel_find_known(kind, node);
    }
    g_autofree char *key = key_of(kind, node);
    const char *choice = tn_value_get_string(tn_value_get(options->choices, key));
    const TnKernel *kernel = NULL;
    if (g_strcmp0(choice, NONE) != 0) {
        kernel = choice != NULL ? tn_kernel_find_id(kind, node, choice) : NULL;
        kernel = kernel != NULL ? kernel : tn_kernel_find_known(kind, node);
    }
    if (options->chosen != NULL) {
        note(options->chosen, key, kernel);
    }
    return kernel;
}

gboolean
tn_choice_known(const TnCompile *options, guint d, const TnNode *node)
{
    if (options->choices == NULL) {
        return TRUE;
    }
    g_autofree char *key = key_of(tn_device_kind(options->devices[d]), node);
    return tn_value_get(options->choices, key) != NULL;
}

const TnKernel *
tn_choose_anew(const TnCompile *options, guint d, const TnNode *any)
{
    const char *kind = tn_device_kind(options->devices[d]);
    const TnNode view = asked(options, any), *node = &view;
    const TnKernel *kernel = tn_kernel_find_known(kind, node);
    if (kernel != NULL && options->chosen != NULL) {
        g_autofree char *key = key_of(kind, node), *id = tn_kernel_id(kernel);
        tn_value_set(options->chosen, key, tn_value_string(id));
    }
    return kernel;
}

const TnKernel *
tn_kernel_of_types(const TnCompile *options, guint d, const TnOp *op, const void *attrs,
                   const char *name, gint n_in, const TnType *types)
{
    TnCompile quiet = *options; /* a node that is looked at may not come */
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
    quiet.chosen = NULL;
    for (gint i = 0; i < n_in; i++) {
        tn_arg_contiguous(&view.in[i], &types[i]);
    }
    if (!tn_op_infer(op, attrs, name, n_in, types, values, &view.node.n_out, out, NULL)) {
        return NULL;
    }
    for (gint i = 0; i < view.node.n_out; i++) {
        tn_arg_contiguous(&view.out[i], &out[i]);
    }
    return tn_choice_known(&quiet, d, &view.node) ? tn_choose_kernel(&quiet, d, &view.node) : NULL;
}
