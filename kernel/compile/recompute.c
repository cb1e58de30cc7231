/* recompute.c: under a memory limit, values that lie idle for long (those that a forward pass keeps for
 * the gradients) are dropped and computed again just before they are read next: Chen et al., Training
 * Deep Nets with Sublinear Memory Cost (2016).
 *
 * Which values are alive when is known of the plan alone, and what is fused with what changes with what
 * is computed again. So the graph is fused and planned as a draft, values are chosen (recompute-choose.c),
 * their nodes are copied (recompute-copy.c), and this is repeated with the graph that comes of it. Of
 * several ways to the same limit, the one that takes least time is used. Random nodes draw by
 * their path and the position of their key, kernels go by what they are given: the copy has the same
 * bits. */
#include "recompute.h"

#include <math.h>

#define MOST_ROUNDS 12
/* So many rounds may aim at more than the limit, each at half as much more as the one before: a value can be
 * dropped once a round, and what little is left over is often less to drop a copy for than to change much. */
#define ROUNDS_SLACK 2
/* A round that makes the arena smaller by less than this part of it is the last. */
#define ENOUGH_BETTER 100
/* No further ways are tried when what fits was found and graphs of so many nodes in all were planned. */
#define MOST_PLANNED 131072
/* TnRecompute.small_part. Keeping more saves operations, of chains an eighth; keeping less takes less
 * memory. */
#define KEEP_MUCH 4
#define KEEP_LITTLE 16

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

/* --- The pass --------------------------------------------------------------------------------- */

/* A graph with the arena that it takes. */
typedef struct {
    TnGraph *graph; /* NULL: there is none */
    TnClaim *claims;
    guint32 *again;
    guint64 arena;
    double cost; /* of what is within the limit, else infinity */
} Found;

/* What every way begins with: the graph in which nothing is computed again. */
typedef struct {
    Found found;
    Draft draft;
    guint planned; /* nodes of all graphs that were planned since */
} Begin;

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

/* How values are chosen. */
typedef struct {
    guint small_part; /* TnRecompute.small_part */
    guint slack;      /* in the first round, percent of the limit beyond it */
    gboolean lean;    /* nodes may get kernels that work in less */
} Way;

/* Copies in c->graph what is to be computed again for an arena of `aim`, going by a plan of it. *go_on:
 * something is. */
static gboolean
choose_and_copy(TnCompiler *c, const Draft *draft, guint64 aim, Way way, gboolean *go_on,
                GError **error)
{
    const guint n = c->graph->nodes->len;
    const TnProgram *program = draft->plan.program;
    const guint64 gaps = program->arena_bytes - program->live_bytes;
    TnRecompute r = { .graph = c->graph,
                      .claims = c->claims,
                      .plan = &draft->plan,
                      .trace = draft->c.trace,
                      .small_part = way.small_part,
                      .alike = g_array_new(FALSE, FALSE, sizeof(TnAlike)),
                      .alike_of = g_new(guint32, n + 1),
                      .scratch = g_new0(gsize, n + 1),
                      .position = g_new0(guint32, n + 1),
                      .split = g_new(guint32, draft->plan.values->len + 1) };
    find_positions(&r);
    memset(r.alike_of, 0xff, (n + 1) * sizeof *r.alike_of); /* TN_NO_VALUE */
    if (way.lean) {
        tn_recompute_find_leaner(c, &r);
    }
    *go_on = tn_recompute_choose(&r, aim > gaps ? aim - gaps : 0);
    if (*go_on) {
        tn_recompute_take_leaner(c, &r);
    }
    const gboolean ok = !*go_on || tn_recompute_copy(c, &r, error);
    g_array_unref(r.alike);
    g_free(r.alike_of);
    g_free(r.scratch);
    g_free(r.position);
    g_free(r.split);
    return ok;
}

static gboolean
begin_init(Begin *begin, const TnCompiler *c, GError **error)
{
    *begin = (Begin){ .planned = 0 };
    found_take(&begin->found, c, 0);
    const gboolean ok = draft_make(&begin->draft, c, error);
    begin->found.arena = ok ? begin->draft.plan.program->arena_bytes : 0;
    return ok;
}

static void
begin_clear(Begin *begin)
{
    draft_clear(&begin->draft);
    found_clear(&begin->found);
}

/* Copies and plans again until the arena is within aim, or becomes no smaller. *best: the smallest, of those that
 * are smaller than it was. */
static gboolean
try_rounds(TnCompiler *c, Begin *begin, guint64 aim, Way way, Found *best, GError **error)
{
    gboolean go_on = TRUE, ok = TRUE;
    guint64 before = G_MAXUINT64;
    found_use(&begin->found, c);
    for (guint round = 0; ok && go_on && round < MOST_ROUNDS; round++) {
        Draft later, *draft = round == 0 ? &begin->draft : &later;
        const guint64 slack = round < ROUNDS_SLACK ? aim / 100 * way.slack >> round : 0;
        ok = round == 0 || draft_make(draft, c, error);
        const guint64 arena = ok ? draft->plan.program->arena_bytes : 0;
        begin->planned += c->graph->nodes->len;
        if (ok && arena < best->arena) {
            found_take(best, c, arena);
        }
        go_on = arena > aim && (slack > 0 || arena < before - before / ENOUGH_BETTER);
        before = arena;
        ok = ok && (!go_on || choose_and_copy(c, draft, aim + slack, way, &go_on, error));
        go_on = go_on || (slack > 0 && arena > aim);
        if (round > 0) {
            draft_clear(draft);
        }
    }
    return ok;
}

/* Rounds for the limit. *best becomes what comes of them if that is within the limit and takes less time, or if
 * *best has nothing. */
static gboolean
try_way(TnCompiler *c, Begin *begin, guint64 limit, Way way, Found *best, GError **error)
{
    Found found = { .arena = G_MAXUINT64 };
    const gboolean ok = try_rounds(c, begin, limit, way, &found, error);
    if (ok && found.arena <= limit) {
        found_use(&found, c);
        found.cost = tn_recompute_cost(c);
    } else {
        found.cost = INFINITY;
    }
    if (ok && (best->graph == NULL || found.cost < best->cost)) {
        const Found worse = *best;
        *best = found;
        found = worse;
    }
    found_clear(&found);
    return ok;
}

/* The ways of computing again, with other kernels or not. *best: what takes least of what is within the limit. */
static gboolean
try_ways(TnCompiler *c, Begin *begin, guint64 limit, gboolean lean, Found *best, GError **error)
{
    static const guint keep[] = { KEEP_MUCH, KEEP_LITTLE }, slack[] = { 0, 8, 16 };
    for (gsize i = 0; i < G_N_ELEMENTS(keep) * G_N_ELEMENTS(slack); i++) {
        const Way way = { keep[i % G_N_ELEMENTS(keep)], slack[i / G_N_ELEMENTS(keep)], lean };
        if (!try_way(c, begin, limit, way, best, error)) {
            return FALSE;
        }
        const gboolean hopeless = best->arena > limit + limit / 4 && i + 1 == G_N_ELEMENTS(keep),
                       enough = best->arena <= limit && begin->planned > MOST_PLANNED;
        if (begin->found.arena <= limit || hopeless || enough) {
            return TRUE;
        }
    }
    return TRUE;
}

/* Kernels are changed only where computing again is not enough: then last bits are others. The limit is aimed
 * at first. If that misses it, what is tried does not depend on it, so that a limit that was said to be met
 * next time is. */
static gboolean
recompute(TnCompiler *c, Begin *begin, guint64 limit, Found *best, GError **error)
{
    static const guint parts[] = { 2, 4, 64 };
    if (!try_ways(c, begin, limit, FALSE, best, error) ||
        (best->arena > limit && !c->options->batch_invariant &&
         !try_ways(c, begin, limit, TRUE, best, error))) {
        return FALSE;
    }
    if (best->arena <= limit) {
        return TRUE;
    }
    const guint64 whole = begin->found.arena;
    best->arena = whole;
    for (gsize i = 0; i < G_N_ELEMENTS(parts) && best->arena > limit; i++) {
        const Way way = { KEEP_LITTLE, 0, TRUE };
        if (!try_rounds(c, begin, whole / parts[i], way, best, error)) {
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
    Begin begin;
    Found best = { .arena = G_MAXUINT64 };
    if (given == 0 || (c->n_spaces > 1 && c->options->n_devices > 1)) {
        return TRUE;
    }
    const guint64 limit = given > variables ? given - variables : 0;
    const gboolean ok = begin_init(&begin, c, error) && recompute(c, &begin, limit, &best, error);
    if (ok && best.graph != NULL) {
        found_use(&best, c);
        tn_recompute_note(c);
    }
    begin_clear(&begin);
    found_clear(&best);
    return ok;
}
