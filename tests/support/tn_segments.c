#include "tn_segments.h"

#include <math.h>

#include <tenon/op.h>

#include "tn_test.h"

/* What one instruction computes. Values are numbered by their roots: views are what they are views of. */
typedef struct {
    guint node;
    gboolean in_place; /* element-wise: results may lie where inputs did */
    double flops;
    guint64 scratch;
} Step;

typedef struct {
    const TnGraph *graph;
    guint n_nodes;
    GArray *steps;     /* Step, in the program's order */
    guint *step_of;    /* of nodes: NONE: a source or a view */
    gboolean *outside; /* of nodes: their results lie in variables */
    guint n_forward;
    guint length;
    gboolean *dropped; /* of nodes: their results are not kept */
} Segments;

/* One time that a node is computed. */
typedef struct {
    guint step;
    gboolean again;
} Execution;

#define NONE G_MAXUINT

/* --- The program ------------------------------------------------------------------------------ */

static void
keep_graph(const char *pass, const TnGraph *graph, gpointer data)
{
    TnGraph **last = data;
    (void)pass;
    g_clear_pointer(last, tn_graph_unref);
    *last = tn_graph_ref((TnGraph *)(gsize)graph);
}

static guint64
scratch_at(const TnProgram *program, guint i)
{
    g_autoptr(GArray) pieces = tn_program_pieces(program, i);
    guint64 bytes = 0;
    for (guint k = 0; k < pieces->len; k++) {
        const TnProgramPiece *piece = &g_array_index(pieces, TnProgramPiece, k);
        bytes += piece->type == NULL ? piece->bytes : 0;
    }
    return bytes;
}

static void
read_program(Segments *s, const TnProgram *program, const char *loss)
{
    g_autoptr(GHashTable) by_name = g_hash_table_new(g_str_hash, g_str_equal);
    TnProgramStep info = { .size = sizeof info };
    for (guint i = 0; i < s->n_nodes; i++) {
        s->step_of[i] = NONE;
        g_hash_table_insert(by_name, (gpointer)tn_graph_node_name(s->graph, i),
                            GUINT_TO_POINTER(i + 1));
    }
    for (guint i = 0; tn_program_step(program, i, &info); i++) {
        const guint node = GPOINTER_TO_UINT(g_hash_table_lookup(by_name, info.name));
        if (node == 0 || tn_graph_node_op(s->graph, node - 1) != info.op) {
            continue; /* a copy */
        }
        const Step step = { .node = node - 1,
                            .in_place = (info.op->flags & TN_OP_ELEMENTWISE) ||
                                        strcmp(info.op->name, "fused") == 0,
                            .flops = MAX(info.flops, 0),
                            .scratch = scratch_at(program, i) };
        g_array_append_val(s->steps, step);
        s->step_of[node - 1] = s->steps->len - 1;
        s->n_forward = g_str_has_prefix(info.name, loss) ? s->steps->len : s->n_forward;
    }
    for (guint i = 0; i < tn_graph_n_variables(s->graph); i++) {
        TnVal val;
        tn_graph_variable_at(s->graph, i, NULL, NULL, &val);
        if (!tn_val_is_none(val)) {
            s->outside[val.node] = TRUE;
        }
    }
}

/* The node that computes what input i of `node` reads; NONE: nothing of the arena. */
static guint
read_of(const Segments *s, guint node, gint i)
{
    const TnVal *in;
    tn_graph_node_inputs(s->graph, node, &in);
    if (tn_val_is_none(in[i]) ||
        (tn_op_input(tn_graph_node_op(s->graph, node), i)->flags & TN_ARG_SHAPE)) {
        return NONE;
    }
    const guint from = in[i].node;
    if (s->step_of[from] != NONE) {
        return s->outside[from] ? NONE : from;
    }
    return tn_graph_node_op(s->graph, from)->flags & TN_OP_VIEW ? read_of(s, from, 0) : NONE;
}

static gint
n_reads(const Segments *s, guint node)
{
    const TnVal *in;
    return tn_graph_node_inputs(s->graph, node, &in);
}

static guint64
bytes_of(const Segments *s, guint node)
{
    guint64 bytes = 0;
    for (gint k = 0; !s->outside[node] && k < tn_graph_node_n_outputs(s->graph, node); k++) {
        bytes += (guint64)tn_type_bytes(tn_graph_type(s->graph, (TnVal){ node, (guint32)k }));
    }
    return bytes;
}

/* --- Segments --------------------------------------------------------------------------------- */

static guint
segment_of(const Segments *s, guint step)
{
    return step < s->n_forward ? step / s->length : NONE;
}

/* What no later segment reads, and is no output, is dropped; of the last segment nothing is. */
static void
choose_dropped(Segments *s)
{
    const guint last = segment_of(s, s->n_forward - 1);
    for (guint i = 0; i < s->n_forward; i++) {
        s->dropped[g_array_index(s->steps, Step, i).node] = segment_of(s, i) != last;
    }
    for (guint i = 0; i < s->n_forward; i++) {
        const guint node = g_array_index(s->steps, Step, i).node;
        for (gint k = 0; k < n_reads(s, node); k++) {
            const guint from = read_of(s, node, k);
            if (from != NONE && segment_of(s, s->step_of[from]) != segment_of(s, i)) {
                s->dropped[from] = FALSE;
            }
        }
    }
    for (guint i = 0; i < tn_graph_n_outputs(s->graph); i++) {
        s->dropped[tn_graph_output_at(s->graph, i, NULL).node] = FALSE;
    }
}

/* Of a segment, what its dropped values that gradients read are computed from. */
static void
add_segment(const Segments *s, guint segment, GArray *run)
{
    g_autofree gboolean *needed = g_new0(gboolean, s->n_nodes + 1);
    for (guint i = s->n_forward; i < s->steps->len; i++) {
        const guint node = g_array_index(s->steps, Step, i).node;
        for (gint k = 0; k < n_reads(s, node); k++) {
            const guint from = read_of(s, node, k);
            needed[from != NONE ? from : s->n_nodes] = TRUE;
        }
    }
    const guint first = segment * s->length, end = MIN(first + s->length, s->n_forward);
    for (guint i = end; i-- > first;) {
        const guint node = g_array_index(s->steps, Step, i).node;
        needed[node] = needed[node] && s->dropped[node];
        for (gint k = 0; needed[node] && k < n_reads(s, node); k++) {
            const guint from = read_of(s, node, k);
            needed[from != NONE ? from : s->n_nodes] = TRUE;
        }
    }
    for (guint i = first; i < end; i++) {
        if (needed[g_array_index(s->steps, Step, i).node]) {
            const Execution execution = { i, TRUE };
            g_array_append_val(run, execution);
        }
    }
}

/* Everything in order; a segment comes again before the first gradient that reads what it dropped. */
static GArray *
whole_run(const Segments *s)
{
    GArray *run = g_array_new(FALSE, FALSE, sizeof(Execution));
    g_autofree gboolean *there = g_new0(gboolean, s->n_forward + 1);
    for (guint i = 0; i < s->steps->len; i++) {
        const Execution execution = { i, FALSE };
        const guint node = g_array_index(s->steps, Step, i).node;
        for (gint k = 0; i >= s->n_forward && k < n_reads(s, node); k++) {
            const guint from = read_of(s, node, k);
            const guint segment =
                from != NONE && s->dropped[from] ? segment_of(s, s->step_of[from]) : NONE;
            if (segment != NONE && !there[segment]) {
                there[segment] = TRUE;
                add_segment(s, segment, run);
            }
        }
        g_array_append_val(run, execution);
    }
    return run;
}

/* --- What is alive ---------------------------------------------------------------------------- */

/* Where each node's result is read last; the second half: when it was computed again. */
static guint *
last_reads(const Segments *s, const GArray *run)
{
    guint *last = g_new0(guint, 2 * (gsize)s->n_nodes + 1);
    for (guint at = 0; at < run->len; at++) {
        const Execution *e = &g_array_index(run, Execution, at);
        const guint node = g_array_index(s->steps, Step, e->step).node;
        const gboolean later = e->again || e->step >= s->n_forward;
        for (gint k = 0; k < n_reads(s, node); k++) {
            const guint from = read_of(s, node, k);
            if (from != NONE) {
                last[from + (later && s->dropped[from] ? s->n_nodes : 0)] = at;
            }
        }
    }
    for (guint i = 0; i < tn_graph_n_outputs(s->graph); i++) {
        last[tn_graph_output_at(s->graph, i, NULL).node] = run->len;
    }
    return last;
}

static void
add_up(const Segments *s, const GArray *run, TnSegments *found)
{
    g_autofree guint *last = last_reads(s, run);
    g_autofree guint64 *dies = g_new0(guint64, run->len + 2); /* bytes of what is read there last */
    guint64 alive = 0;
    for (guint at = 0; at < run->len; at++) {
        const Execution *e = &g_array_index(run, Execution, at);
        const Step *step = &g_array_index(s->steps, Step, e->step);
        const guint64 bytes = bytes_of(s, step->node);
        const guint64 over = step->in_place ? MIN(bytes, dies[at]) : 0;
        found->peak = MAX(found->peak, alive + bytes - over + step->scratch);
        found->flops += step->flops;
        alive += bytes - dies[at];
        const guint end = last[step->node + (e->again ? s->n_nodes : 0)];
        if (end > at) {
            dies[end] += bytes;
        } else {
            alive -= bytes;
        }
    }
}

void
tn_segments(const TnGraph *graph, const TnCompile *given, const char *loss, guint length,
            TnSegments *found)
{
    g_autoptr(TnGraph) compiled = NULL;
    g_autoptr(GError) error = NULL;
    TnCompile options = *given;
    options.sink = keep_graph;
    options.sink_data = &compiled;
    options.memory_limit = 0;
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    const guint n = tn_graph_n_nodes(compiled);
    Segments s = { .graph = compiled,
                   .n_nodes = n,
                   .steps = g_array_new(FALSE, FALSE, sizeof(Step)),
                   .step_of = g_new0(guint, n + 1),
                   .outside = g_new0(gboolean, n + 1),
                   .dropped = g_new0(gboolean, n + 1) };
    read_program(&s, program, loss);
    TN_REQUIRE(s.n_forward > 0);
    s.length = length > 0 ? length : (guint)ceil(sqrt(s.n_forward));
    *found = (TnSegments){ .n = s.n_forward, .length = s.length };
    choose_dropped(&s);
    g_autoptr(GArray) run = whole_run(&s);
    add_up(&s, run, found);
    g_array_unref(s.steps);
    g_free(s.step_of);
    g_free(s.outside);
    g_free(s.dropped);
}
