/* control.c: control flow in a program: each sub-graph becomes a program for the same devices, whose
 * memory is scratch of the instruction that runs it; unread results of sub-graphs are dropped. How
 * they run is in kernel/exec/control.c. */
#include "compile-private.h"
#include "program-private.h"

#include <string.h>

/* --- Preparation ------------------------------------------------------------------------------ */

static void
release(void *state)
{
    TnControl *control = state;
    for (guint i = 0; control != NULL && i < control->n_programs; i++) {
        tn_program_unref(control->programs[i]);
    }
    g_free(control);
}

static const TnKernel kernels[] = {
    { .op = "if", .run = tn_if_run, .release = release },
    { .op = "while", .run = tn_while_run, .release = release },
    { .op = "scan", .run = tn_scan_run, .release = release },
};

const TnKernel *
tn_control_kernel(const TnOp *op)
{
    for (guint i = 0; op->flags & TN_OP_CONTROL && i < G_N_ELEMENTS(kernels); i++) {
        if (strcmp(kernels[i].op, op->name) == 0) {
            return &kernels[i];
        }
    }
    return NULL;
}

/* The sub-graphs of a node, in the order of its attributes. */
static guint
graphs_of(const TnOp *op, const void *attrs, TnGraph **graphs)
{
    guint n = 0;
    for (guint32 i = 0; i < op->attrs.n; i++) {
        const TnOption *row = tn_options_row(&op->attrs, i);
        if (row->type == TN_OPT_GRAPH) {
            graphs[n++] = *(TnGraph *const *)(gconstpointer)((const char *)attrs + row->offset);
        }
    }
    return n;
}

static TnProgram *
compile_body(const TnCompile *options, const TnGraph *graph, const TnType *inputs, GError **error)
{
    TnCompile own = *options;
    own.inputs = inputs;
    own.values = NULL;
    own.memory_limit = 0; /* the program around counts it as scratch */
    return own.sink != NULL || own.chosen != NULL || own.choice_sink != NULL ||
                   own.used_sink != NULL
               ? tn_compile(graph, &own, error)
               : tn_compile_shared(graph, &own, error);
}

/* How the node's inputs and outputs are those of its sub-graphs. */
static void
fill_shape(TnControl *control, const TnOp *op, const void *attrs, gint n_out)
{
    const gboolean is_scan = tn_control_kernel(op)->run == tn_scan_run;
    const TnScanAttrs *scan = is_scan ? attrs : NULL;
    control->skip = is_scan ? 0 : 1; /* the condition */
    control->n_states = is_scan ? (guint)scan->num_states : (guint)n_out;
    control->n_slices = is_scan ? (guint)scan->num_scan_inputs : 0;
    control->save = is_scan && scan->save;
    control->reverse = is_scan && scan->reverse;
}

gboolean
tn_control_prepare(const TnCompile *options, const TnNode *node, TnPrepared *prepared,
                   GError **error)
{
    TnGraph *graphs[TN_MAX_PROGRAMS];
    TnType inputs[TN_MAX_IN];
    TnControl *control = g_new0(TnControl, 1);
    const guint n = graphs_of(node->op, node->attrs, graphs);
    fill_shape(control, node->op, node->attrs, node->n_out);
    control->n_in = (guint)node->n_in - control->skip;
    control->steps = control->n_slices > 0 ? node->in[control->n_states].type.dims[0] : 0;
    for (guint i = 0; i < control->n_in; i++) {
        const TnType *type = &node->in[i + control->skip].type;
        const gboolean slice = i >= control->n_states && i < control->n_states + control->n_slices;
        inputs[i] = slice ? tn_type(type->dtype, type->rank - 1, type->dims + 1) : *type;
        control->in_bytes[i] = (gsize)tn_type_bytes(&inputs[i]);
    }
    for (guint i = 0; i < n; i++) {
        TnProgram *program = compile_body(options, graphs[i], inputs, error);
        if (program == NULL) {
            release(control);
            return FALSE;
        }
        control->programs[control->n_programs++] = program;
        prepared->scratch = MAX(prepared->scratch, MAX(program->spaces[0].bytes, TN_ALIGN));
    }
    control->n_out = control->programs[0]->n_outputs;
    for (guint k = 0; k < control->n_out; k++) {
        control->out_bytes[k] = (gsize)tn_type_bytes(&control->programs[0]->outputs[k].type);
    }
    prepared->state = control;
    return TRUE;
}

void
tn_control_place(TnProgram *program, TnControl *control, const TnPlace *memory)
{
    control->first_child = program->n_children;
    program->children =
        g_renew(TnProgramChild, program->children, program->n_children + control->n_programs);
    for (guint i = 0; i < control->n_programs; i++) {
        program->children[program->n_children++] =
            (TnProgramChild){ control->programs[i], *memory };
    }
}

/* --- Results that nobody reads ---------------------------------------------------------------- */

/* Of a node's outputs, those that are given at all: states go on to the next step whoever reads them,
 * saved states all or none. TRUE if that leaves any out. */
static gboolean
find_kept(const TnGraphNode *node, const gboolean *read, gboolean *keep)
{
    const TnKernel *kernel = tn_control_kernel(node->op);
    TnControl shape = { 0 };
    fill_shape(&shape, node->op, node->attrs, node->n_out);
    const guint n = (guint)node->n_out, n_saved = shape.save ? shape.n_states : 0;
    const guint first = kernel->run == tn_if_run ? 0 : shape.n_states;
    gboolean saved = FALSE, all = TRUE;
    for (guint k = n - n_saved; k < n; k++) {
        saved = saved || read[k];
    }
    for (guint k = 0; k < n; k++) {
        keep[k] = k < n - n_saved ? k < first || read[k] : saved;
        all = all && keep[k];
    }
    return !all;
}

/* graph with those outputs alone. (transfer full). */
static TnGraph *
with_outputs(const TnGraph *graph, const gboolean *keep)
{
    TnGraph *copy = tn_graph_copy(graph);
    for (guint k = copy->outputs->len; k-- > 0;) {
        if (!keep[k]) {
            g_array_remove_index(copy->outputs, k);
        }
    }
    return copy;
}

static void
narrow_attrs(const TnGraphNode *node, void *attrs, const gboolean *keep)
{
    for (guint32 i = 0; i < node->op->attrs.n; i++) {
        const TnOption *row = tn_options_row(&node->op->attrs, i);
        if (row->type == TN_OPT_GRAPH) {
            TnGraph **graph = (TnGraph **)(gpointer)((char *)attrs + row->offset);
            *graph = with_outputs(*graph, keep);
        }
    }
    if (tn_control_kernel(node->op)->run == tn_scan_run) {
        TnScanAttrs *scan = attrs;
        scan->save = scan->save && (scan->num_states == 0 || keep[node->n_out - 1]);
    }
}

gboolean
tn_control_narrow(TnRewriter *rw, const TnGraphNode *node, const gboolean *read, const TnVal *in,
                  TnVal *out)
{
    gboolean keep[TN_MAX_OUT];
    TnType types[TN_MAX_OUT];
    TnGraph *graphs[TN_MAX_PROGRAMS];
    gint n = 0;
    if (!(node->op->flags & TN_OP_CONTROL) || !find_kept(node, read, keep)) {
        return FALSE;
    }
    g_autofree void *attrs = g_memdup2(node->attrs, node->op->attrs.struct_size);
    narrow_attrs(node, attrs, keep);
    for (gint k = 0; k < node->n_out; k++) {
        if (keep[k]) {
            types[n++] = node->out[k];
        }
    }
    const guint added = tn_graph_add_node(rw->to, node->op, attrs, node->name, node->path,
                                          node->n_in, in, n, types);
    for (guint i = graphs_of(node->op, attrs, graphs); i-- > 0;) {
        tn_graph_unref(graphs[i]); /* the node holds them */
    }
    n = 0;
    for (gint k = 0; k < node->n_out; k++) {
        out[k] = keep[k] ? (TnVal){ added, (guint32)n++ } : TN_VAL_NONE;
    }
    return TRUE;
}
