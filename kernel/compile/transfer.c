/* transfer.c: where inputs and variables are at home, and copies for values that are read in
 * another memory than theirs. */
#include "compile-private.h"

typedef struct {
    TnCompiler *c;
    const TnClaim *claims; /* of the old graph */
    /* Of nodes of the old graph: in whose memory the outputs are; -1: any (constants). */
    gint *device;
    GArray *new_device; /* the same for the new graph */
    GArray *new_claims; /* TnClaim */
    GHashTable *copies; /* value and space → copy: TnVal */
} Transfer;

/* The device of the first node that reads val's data; -1 if nobody does. */
static gint
first_reader(const TnCompiler *c, TnVal val)
{
    for (guint i = 0; i < c->graph->nodes->len && !tn_val_is_none(val); i++) {
        const TnGraphNode *node = tn_graph_node(c->graph, i);
        for (gint k = 0; k < node->n_in; k++) {
            if (tn_val_equal(node->in[k], val) && tn_reads_data(node->op, k, val) &&
                c->claims[i].device >= 0) {
                return c->claims[i].device;
            }
        }
    }
    return -1;
}

static void
find_homes(TnCompiler *c)
{
    const TnGraph *graph = c->graph;
    const gboolean one = c->n_spaces <= 1 || c->options->n_devices == 1;
    c->input_home = g_new0(guint, graph->inputs->len + 1);
    c->variable_home = g_new0(guint, graph->variables->len + 1);
    for (guint i = 0; i < graph->inputs->len && !one; i++) {
        const gint device = first_reader(c, g_array_index(graph->inputs, TnGraphPort, i).val);
        c->input_home[i] = (guint)MAX(device, 0);
    }
    for (guint i = 0; i < graph->variables->len && !one; i++) {
        const TnGraphVariable *variable = &g_array_index(graph->variables, TnGraphVariable, i);
        gint device =
            tn_val_is_none(variable->assigned) ? -1 : c->claims[variable->assigned.node].device;
        if (device < 0) {
            device = first_reader(c, variable->read);
        }
        c->variable_home[i] = (guint)MAX(device, 0);
    }
}

static void
find_devices(TnCompiler *c, gint *device)
{
    const TnGraph *graph = c->graph;
    for (guint i = 0; i < graph->nodes->len; i++) {
        device[i] = c->claims[i].device;
    }
    for (guint i = 0; i < graph->inputs->len; i++) {
        device[g_array_index(graph->inputs, TnGraphPort, i).val.node] = (gint)c->input_home[i];
    }
    for (guint i = 0; i < graph->variables->len; i++) {
        const TnVal read = g_array_index(graph->variables, TnGraphVariable, i).read;
        if (!tn_val_is_none(read)) {
            device[read.node] = (gint)c->variable_home[i];
        }
    }
}

static void
note(Transfer *t, guint number, gint device, TnClaim claim)
{
    g_array_set_size(t->new_device, number + 1);
    g_array_set_size(t->new_claims, number + 1);
    g_array_index(t->new_device, gint, number) = device;
    g_array_index(t->new_claims, TnClaim, number) = claim;
}

static TnVal
add_copy(Transfer *t, TnGraph *to, TnVal val, gint from, gint device)
{
    const TnTransferAttrs attrs = { .device = device, .from = from };
    const TnGraphNode *node = tn_graph_node(to, val.node);
    g_autofree char *name =
        g_strdup_printf("%s.to_%s", node->name, tn_device_name(t->c->options->devices[device]));
    const TnType type = node->out[val.out];
    const guint number =
        tn_graph_add_node(to, &tn_transfer_op, &attrs, name, NULL, 1, &val, 1, &type);
    note(t, number, device, (TnClaim){ .device = device });
    return (TnVal){ number, 0 };
}

/* A device with host memory, or -1. */
static gint
host_device(const TnCompiler *c)
{
    for (guint i = 0; i < c->options->n_devices; i++) {
        if (c->space[i] == 0) {
            return (gint)i;
        }
    }
    return -1;
}

/* val as it can be read by device. */
static TnVal
in_memory_of(Transfer *t, TnGraph *to, TnVal val, gint device)
{
    const gint from = g_array_index(t->new_device, gint, val.node);
    if (from < 0 || t->c->space[from] == t->c->space[device]) {
        return val;
    }
    const guint64 key = (guint64)val.node << 32 | (guint64)val.out << 16 | t->c->space[device];
    TnVal *known = g_hash_table_lookup(t->copies, &key);
    if (known != NULL) {
        return *known;
    }
    TnVal source = val;
    gint source_device = from;
    if (t->c->space[from] != 0 && t->c->space[device] != 0 && host_device(t->c) >= 0) {
        source_device = host_device(t->c);
        source = in_memory_of(t, to, val, source_device);
    }
    TnVal *copy = g_new(TnVal, 1);
    *copy = add_copy(t, to, source, source_device, device);
    g_hash_table_insert(t->copies, g_memdup2(&key, sizeof key), copy);
    return *copy;
}

static gboolean
transfer_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
              gboolean *done, GError **error)
{
    (void)done;
    (void)error;
    Transfer *t = rw->data;
    const TnClaim claim = t->claims[number];
    TnVal use[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        use[i] = claim.device >= 0 && tn_reads_data(node->op, i, in[i])
                     ? in_memory_of(t, rw->to, in[i], claim.device)
                     : in[i];
    }
    const TnVal val = tn_rewrite_copy(rw, node, use, out);
    note(t, val.node, t->device[number], claim);
    return TRUE;
}

static void
transfer_assigns(Transfer *t, TnGraph *graph)
{
    for (guint i = 0; i < graph->variables->len; i++) {
        TnGraphVariable *variable = &g_array_index(graph->variables, TnGraphVariable, i);
        if (!tn_val_is_none(variable->assigned)) {
            variable->assigned =
                in_memory_of(t, graph, variable->assigned, (gint)t->c->variable_home[i]);
        }
    }
}

static gboolean
two_far_without_host(const TnCompiler *c)
{
    return c->n_spaces > 2 && host_device(c) < 0;
}

gboolean
tn_pass_transfer(TnCompiler *c, GError **error)
{
    find_homes(c);
    if (c->n_spaces <= 1 || c->options->n_devices == 1) {
        return TRUE;
    }
    if (two_far_without_host(c)) {
        g_set_error(
            error, TN_ERROR, TN_ERROR_UNSUPPORTED,
            "values go from device to device through the host's memory; add a device such as a "
            "CPU's to the list");
        return FALSE;
    }
    g_autofree gint *device = g_new(gint, c->graph->nodes->len + 1);
    g_autofree TnClaim *claims = g_steal_pointer(&c->claims);
    c->claims = claims;
    find_devices(c, device);
    c->claims = NULL;
    Transfer t = { .c = c,
                   .claims = claims,
                   .device = device,
                   .new_device = g_array_new(FALSE, TRUE, sizeof(gint)),
                   .new_claims = g_array_new(FALSE, TRUE, sizeof(TnClaim)),
                   .copies = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free) };
    const gboolean ok = tn_rewrite_into(c, NULL, transfer_node, &t, error);
    if (ok) {
        transfer_assigns(&t, c->graph);
        c->claims = (TnClaim *)(void *)g_array_free(t.new_claims, FALSE);
    } else {
        g_array_unref(t.new_claims);
    }
    g_array_unref(t.new_device);
    g_hash_table_unref(t.copies);
    return ok;
}
