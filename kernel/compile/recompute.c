/* recompute.c: under a memory limit, values that lie idle for long (those that a forward pass keeps for
 * the gradients) are dropped and computed again just before they are read next: Chen et al., Training
 * Deep Nets with Sublinear Memory Cost (2016).
 *
 * Which values are alive when is known of the plan alone, and what is fused with what changes with what
 * is computed again. So the graph is fused and planned as a draft, values are chosen (recompute-choose.c),
 * their nodes are copied, and this is repeated with the graph that comes of it. Random nodes draw by
 * their path and the position of their key, kernels go by what they are given: the copy has the same
 * bits. */
#include "recompute.h"

#include <math.h>

#define MOST_ROUNDS 12
/* A round that makes the arena smaller by less than this part of it is the last. */
#define ENOUGH_BETTER 100
/* Of the limit: what nodes may need by themselves before they get kernels that work in less. */
#define LEAST_PERCENT 40
#define PERCENT_STEP 6

/* --- The draft ------------------------------------------------------------------------------- */

typedef struct {
    TnCompiler c;
    TnCompile options;
    TnPlan plan;
    gboolean planned;
} Draft;

static void
draft_clear(Draft *draft)
{
    if (draft->planned) {
        tn_plan_clear(&draft->plan);
        tn_program_destroy(draft->plan.program);
    }
    tn_compiler_clear(&draft->c);
}

static gboolean
draft_make(Draft *draft, const TnCompiler *c, GError **error)
{
    const guint n = c->graph->nodes->len;
    *draft = (Draft){ .options = *c->options };
    draft->options.chosen = NULL;
    draft->options.sink = NULL;
    draft->options.choice_sink = NULL;
    draft->c = (TnCompiler){
        .options = &draft->options,
        .graph = tn_graph_ref(c->graph),
        .claims = g_memdup2(c->claims, (n + 1) * sizeof *c->claims),
        .n_spaces = c->n_spaces,
        .space = g_memdup2(c->space, (c->options->n_devices + 1) * sizeof *c->space),
        .again = c->again != NULL ? g_memdup2(c->again, (n + 1) * sizeof *c->again) : NULL,
    };
    if ((!tn_pass_skipped(c->options, "fuse") && !tn_pass_fuse(&draft->c, error)) ||
        !tn_pass_transfer(&draft->c, error)) {
        return FALSE;
    }
    draft->planned = TRUE;
    return tn_plan_make(&draft->plan, &draft->c, error);
}

/* --- Where nodes are in the plan -------------------------------------------------------------- */

/* val as the plan's graph has it; FALSE: inside a group. */
static gboolean
planned_value(const TnRecompute *r, TnVal val, TnVal *planned)
{
    *planned = val;
    if (r->trace != NULL) {
        const TnVal first = r->trace[val.node];
        *planned = (TnVal){ first.node, first.out + val.out };
        return first.out != TN_INSIDE;
    }
    return TRUE;
}

guint32
tn_recompute_root(const TnRecompute *r, TnVal val)
{
    TnVal planned;
    return planned_value(r, val, &planned)
               ? tn_plan_value(r->plan, tn_plan_value_of(r->plan, planned))->root
               : TN_NO_VALUE;
}

static void
find_positions(TnRecompute *r)
{
    g_autofree const TnStep **of_node = g_new0(const TnStep *, r->plan->graph->nodes->len + 1);
    for (guint i = 0; i < r->plan->steps->len; i++) {
        const TnStep *step = tn_plan_step(r->plan, i);
        if (step->kind == TN_STEP_KERNEL) {
            of_node[step->node] = step;
        }
    }
    for (guint i = 0; i < r->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(r->graph, i);
        const TnStep *step = of_node[r->trace != NULL ? r->trace[i].node : i];
        r->position[i] = step != NULL ? step->position : 0;
        r->scratch[i] = step != NULL ? tn_align(step->prepared.scratch) : 0;
        if (step != NULL) {
            continue;
        }
        for (gint k = 0; k < node->n_in; k++) {
            if (!tn_val_is_none(node->in[k])) {
                r->position[i] = MAX(r->position[i], r->position[node->in[k].node]);
            }
        }
    }
}

/* --- Computing again -------------------------------------------------------------------------- */

typedef struct {
    const TnRecompute *r;
    const guint32 *was_again; /* of the old graph's nodes; NULL */
    guint32 readers;          /* numbers of `again` that are taken */
    guint32 *copy; /* of the old graph's nodes: the new one's that computes it again; TN_NO_VALUE */
    GArray *claims; /* TnClaim: of the new graph's nodes */
    GArray *again;  /* guint32: likewise */
} Copier;

static void
note_node(Copier *copier, guint number, TnClaim claim, guint32 again)
{
    g_array_set_size(copier->claims, number + 1);
    g_array_set_size(copier->again, number + 1);
    g_array_index(copier->claims, TnClaim, number) = claim;
    g_array_index(copier->again, guint32, number) = again;
}

static guint32 compute_again(Copier *copier, TnRewriter *rw, guint32 number, guint32 position);

/* val for a reader at position, which may be a copy itself. */
static TnVal
value_for(Copier *copier, TnRewriter *rw, TnVal val, guint32 position, gboolean for_copy)
{
    if (tn_val_is_none(val) || tn_recompute_is_given(copier->r, val)) {
        return tn_rewritten(rw, val);
    }
    const guint32 root = tn_recompute_root(copier->r, val);
    const guint32 split = root != TN_NO_VALUE ? copier->r->split[root] : TN_NO_STEP;
    const gboolean again = root == TN_NO_VALUE ? for_copy : split != TN_NO_STEP && position > split;
    return again ? (TnVal){ compute_again(copier, rw, val.node, position), val.out }
                 : tn_rewritten(rw, val);
}

static guint32
compute_again(Copier *copier, TnRewriter *rw, guint32 number, guint32 position)
{
    const TnGraphNode *node = tn_graph_node(rw->from, number);
    g_autofree TnVal *in = g_new(TnVal, (gsize)node->n_in + 1);
    if (copier->copy[number] != TN_NO_VALUE) {
        return copier->copy[number];
    }
    for (gint i = 0; i < node->n_in; i++) {
        in[i] = value_for(copier, rw, node->in[i], position, TRUE);
    }
    g_autofree char *name = g_strconcat("again.", node->name, NULL);
    copier->copy[number] = tn_graph_add_node(rw->to, node->op, node->attrs, name, node->path,
                                             node->n_in, in, node->n_out, node->out);
    note_node(copier, copier->copy[number], copier->r->claims[number],
              copier->readers + position + 1);
    return copier->copy[number];
}

static gboolean
copy_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
          gboolean *done, GError **error)
{
    (void)in;
    (void)done;
    (void)error;
    Copier *copier = rw->data;
    TnVal use[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        use[i] = value_for(copier, rw, node->in[i], copier->r->position[number], FALSE);
    }
    const TnVal val = tn_rewrite_copy(rw, node, use, out);
    note_node(copier, val.node, copier->r->claims[number],
              copier->was_again != NULL ? copier->was_again[number] : 0);
    return TRUE;
}

static gint
by_position(gconstpointer a, gconstpointer b, gpointer data)
{
    const guint32 i = *(const guint32 *)a, k = *(const guint32 *)b, *position = data;
    return position[i] != position[k] ? (position[i] > position[k]) - (position[i] < position[k])
                                      : (i > k) - (i < k);
}

typedef struct {
    const TnClaim *claims; /* of the old graph's nodes */
    const guint32 *again;
    TnClaim *new_claims;
    guint32 *new_again;
} Keeper;

static gboolean
keep_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
          gboolean *done, GError **error)
{
    (void)done;
    (void)error;
    Keeper *keeper = rw->data;
    const TnVal val = tn_rewrite_copy(rw, node, in, out);
    keeper->new_claims[val.node] = keeper->claims[number];
    keeper->new_again[val.node] = keeper->again[number];
    return TRUE;
}

/* Nodes of which only copies are read any more are left out. */
static gboolean
drop_unread(TnCompiler *c, GError **error)
{
    const guint n = c->graph->nodes->len + 1;
    g_autofree gboolean *keep = g_new0(gboolean, n);
    Keeper keeper = { c->claims, c->again, g_new0(TnClaim, n), g_new0(guint32, n) };
    tn_mark_needed(c->graph, keep);
    TnGraph *graph = tn_rewrite(c->graph, keep, NULL, keep_node, &keeper, error);
    if (graph == NULL) {
        g_free(keeper.new_claims);
        g_free(keeper.new_again);
        return FALSE;
    }
    tn_compiler_set_graph(c, graph);
    c->claims = keeper.new_claims;
    c->again = keeper.new_again;
    return TRUE;
}

/* The graph in the plan's order, with what is computed again where it is read first. */
static gboolean
copy_graph(TnCompiler *c, const TnRecompute *r, GError **error)
{
    const guint n = c->graph->nodes->len;
    g_autofree guint32 *order = g_new(guint32, n + 1);
    Copier copier = { .r = r,
                      .was_again = c->again,
                      .copy = g_new(guint32, n + 1),
                      .claims = g_array_new(FALSE, TRUE, sizeof(TnClaim)),
                      .again = g_array_new(FALSE, TRUE, sizeof(guint32)) };
    for (guint32 i = 0; i < n; i++) {
        copier.readers = MAX(copier.readers, c->again != NULL ? c->again[i] : 0);
        order[i] = i;
        copier.copy[i] = TN_NO_VALUE;
    }
    g_qsort_with_data(order, (gint)n, sizeof *order, by_position, r->position);
    TnGraph *graph = tn_rewrite(c->graph, NULL, order, copy_node, &copier, error);
    g_free(copier.copy);
    if (graph == NULL) {
        g_array_unref(copier.claims);
        g_array_unref(copier.again);
        return FALSE;
    }
    tn_compiler_set_graph(c, graph);
    c->claims = (TnClaim *)(void *)g_array_free(copier.claims, FALSE);
    c->again = (guint32 *)(void *)g_array_free(copier.again, FALSE);
    return drop_unread(c, error);
}

/* --- The pass --------------------------------------------------------------------------------- */

/* A graph with the arena that it takes. */
typedef struct {
    TnGraph *graph;
    TnClaim *claims;
    guint32 *again;
    guint64 arena;
} Found;

static void
found_clear(Found *found)
{
    if (found->graph != NULL) {
        tn_graph_unref(found->graph);
    }
    g_free(found->claims);
    g_free(found->again);
}

static void
found_take(Found *found, const TnCompiler *c, guint64 arena)
{
    const guint n = c->graph->nodes->len + 1;
    found_clear(found);
    *found = (Found){ .graph = tn_graph_ref(c->graph),
                      .claims = g_memdup2(c->claims, n * sizeof *c->claims),
                      .again = g_memdup2(c->again, c->again != NULL ? n * sizeof *c->again : 0),
                      .arena = arena };
}

static void
found_use(const Found *found, TnCompiler *c)
{
    const guint n = found->graph->nodes->len + 1;
    tn_compiler_set_graph(c, tn_graph_ref(found->graph));
    c->claims = g_memdup2(found->claims, n * sizeof *found->claims);
    c->again = g_memdup2(found->again, found->again != NULL ? n * sizeof *found->again : 0);
}

/* Copies in c->graph what is to be computed again for an arena of `aim`, going by a plan of it. *go_on:
 * something is. */
static gboolean
choose_and_copy(TnCompiler *c, const Draft *draft, guint64 aim, gboolean *go_on, GError **error)
{
    const guint n = c->graph->nodes->len;
    const TnProgram *program = draft->plan.program;
    const guint64 gaps = program->arena_bytes - program->live_bytes;
    TnRecompute r = { .graph = c->graph,
                      .claims = c->claims,
                      .plan = &draft->plan,
                      .trace = draft->c.trace,
                      .scratch = g_new0(gsize, n + 1),
                      .position = g_new0(guint32, n + 1),
                      .split = g_new(guint32, draft->plan.values->len + 1) };
    find_positions(&r);
    *go_on = tn_recompute_choose(&r, aim > gaps ? aim - gaps : 0);
    const gboolean ok = !*go_on || copy_graph(c, &r, error);
    g_free(r.scratch);
    g_free(r.position);
    g_free(r.split);
    return ok;
}

/* Plans, copies and plans again until the arena is within aim, or becomes no smaller. *best: the
 * smallest, of those that are smaller than it was. *first: the first arena; NULL: nobody asks. */
static gboolean
try_rounds(TnCompiler *c, guint64 aim, Found *best, guint64 *first, GError **error)
{
    gboolean go_on = TRUE;
    guint64 before = G_MAXUINT64;
    for (guint round = 0; go_on && round < MOST_ROUNDS; round++) {
        Draft draft;
        gboolean ok = draft_make(&draft, c, error);
        const guint64 arena = ok ? draft.plan.program->arena_bytes : 0;
        if (ok && arena < best->arena) {
            found_take(best, c, arena);
        }
        go_on = arena > aim && arena < before - before / ENOUGH_BETTER;
        before = arena;
        if (first != NULL && round == 0) {
            *first = arena;
        }
        ok = ok && (!go_on || choose_and_copy(c, &draft, aim, &go_on, error));
        draft_clear(&draft);
        if (!ok) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Whether kernels are others than in `before`, which gets them. */
static gboolean
kernels_differ(const TnCompiler *c, TnClaim *before)
{
    gboolean differ = FALSE;
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        differ = differ || before[i].kernel != c->claims[i].kernel;
        before[i].kernel = c->claims[i].kernel;
    }
    return differ;
}

/* Nodes that need most get kernels that work in less. The more nodes do, the less has to be computed again:
 * several parts of the limit are tried as what a node may need by itself. *best: of what is within the
 * limit, if anything is, what takes least time. */
static gboolean
try_lean(TnCompiler *c, guint64 limit, const Found *begin, Found *best, GError **error)
{
    g_autofree TnClaim *before =
        g_memdup2(begin->claims, (begin->graph->nodes->len + 1) * sizeof *begin->claims);
    double least = INFINITY;
    gboolean ok = TRUE;
    for (guint percent = 100; ok && percent >= LEAST_PERCENT; percent -= PERCENT_STEP) {
        Found found = { .arena = G_MAXUINT64 };
        found_use(begin, c);
        tn_recompute_lean(c, limit / 100 * percent);
        if (!kernels_differ(c, before)) {
            continue;
        }
        ok = try_rounds(c, limit, &found, NULL, error);
        if (ok && found.arena <= limit) {
            found_use(&found, c);
            const double cost = tn_recompute_cost(c);
            if (cost < least) {
                const Found worse = *best;
                least = cost;
                *best = found;
                found = worse;
            }
        }
        found_clear(&found);
    }
    return ok;
}

/* The limit is aimed at first. If that misses it, what is tried does not depend on it, so that a limit
 * that was said to be met next time is. */
static gboolean
recompute(TnCompiler *c, guint64 limit, Found *begin, Found *best, GError **error)
{
    static const guint parts[] = { 2, 4, 64 };
    guint64 whole = 0;
    found_take(begin, c, 0);
    if (!try_rounds(c, limit, best, &whole, error)) {
        return FALSE;
    }
    if (best->arena <= limit) {
        return TRUE;
    }
    if (!try_lean(c, limit, begin, best, error)) {
        return FALSE;
    }
    if (best->arena <= limit) {
        return TRUE;
    }
    best->arena = whole;
    for (gsize i = 0; i < G_N_ELEMENTS(parts) && best->arena > limit; i++) {
        found_use(begin, c);
        tn_recompute_lean(c, whole / parts[i]);
        if (!try_rounds(c, whole / parts[i], best, NULL, error)) {
            return FALSE;
        }
    }
    c->least_bytes = best->arena;
    return TRUE;
}

gboolean
tn_pass_recompute(TnCompiler *c, GError **error)
{
    const guint64 variables = tn_compiler_variable_bytes(c), given = c->options->memory_limit;
    Found begin = { NULL }, best = { .arena = G_MAXUINT64 };
    if (given == 0 || (c->n_spaces > 1 && c->options->n_devices > 1)) {
        return TRUE;
    }
    const gboolean ok =
        recompute(c, given > variables ? given - variables : 0, &begin, &best, error);
    if (ok && best.graph != NULL) {
        found_use(&best, c);
        tn_recompute_note(c);
    }
    found_clear(&begin);
    found_clear(&best);
    return ok;
}
