/* passes.c: the table of passes and the loop over it. */
#include "compile-private.h"

const TnPass tn_pass_table[] = {
    { "infer", "types at the sizes of this binding; calls of sub-graphs put in place",
      TN_PASS_NEEDED, tn_pass_infer },
    { "canonical", "one way to write what can be written in several", TN_PASS_NEUTRAL,
      tn_pass_canonical },
    { "fold", "small values that depend on constants alone are computed now", TN_PASS_NEUTRAL,
      tn_pass_fold },
    { "algebra", "x - 0, x * 1, pairs that cancel, movements that move nothing", TN_PASS_NEUTRAL,
      tn_pass_algebra },
    { "cse", "equal nodes become one", TN_PASS_NEUTRAL, tn_pass_cse },
    { "dce", "nodes that nobody reads are dropped", TN_PASS_NEUTRAL, tn_pass_dce },
    { "join", "two nodes that a device computes as one, no slower, become one", 0, tn_pass_join },
    { "precision", "products from narrow numbers where asked for; the rest and variables stay f32",
      0, tn_pass_precision },
    { "claim", "each node goes to the first device with a kernel for it", TN_PASS_NEEDED,
      tn_pass_claim },
    { "expand", "composites without a kernel become their bodies, which are claimed in turn",
      TN_PASS_NEEDED, tn_pass_expand },
    { "layout", "images laid for kernels that compute many samples at once", 0, tn_pass_layout },
    { "recompute", "under a memory limit, values computed again instead of kept", 0,
      tn_pass_recompute },
    { "fuse", "groups of element-wise nodes and reductions become one node each", 0, tn_pass_fuse },
    { "transfer", "copies between the memories of devices", TN_PASS_NEEDED, tn_pass_transfer },
    { "views", "movements that strides can express are no instructions", TN_PASS_PLAN, NULL },
    { "order", "instructions in the order that frees memory early", TN_PASS_PLAN, NULL },
    { "assign", "results are computed right into the variables they are assigned to", TN_PASS_PLAN,
      NULL },
    { "once", "what hangs on variables alone that nobody assigns is not computed in every run",
      TN_PASS_PLAN, NULL },
    { "in-place", "results take the place of inputs that nobody reads any more", TN_PASS_PLAN,
      NULL },
    { "reuse", "memory of dead values is used again", TN_PASS_PLAN, NULL },
};
const guint tn_n_passes = G_N_ELEMENTS(tn_pass_table);

const char *const *
tn_passes(void)
{
    static const char *names[G_N_ELEMENTS(tn_pass_table) + 1];
    static gsize once = 0;
    /* Every thread would write the same pointers; the flag only spares the work. */
    if (!__atomic_load_n(&once, __ATOMIC_ACQUIRE)) {
        for (guint i = 0; i < tn_n_passes; i++) {
            __atomic_store_n(&names[i], tn_pass_table[i].name, __ATOMIC_RELAXED);
        }
        __atomic_store_n(&once, 1, __ATOMIC_RELEASE);
    }
    return names;
}

gboolean
tn_pass_skipped(const TnCompile *options, const char *name)
{
    return options->skip != NULL && g_strv_contains(options->skip, name);
}

static gboolean
run_pass(TnCompiler *c, const TnPass *pass, GError **error)
{
    if (pass->run == NULL ||
        (!(pass->flags & TN_PASS_NEEDED) && tn_pass_skipped(c->options, pass->name))) {
        return TRUE;
    }
    if (!pass->run(c, error)) {
        tn_error_prefix(error, "graph '%s'", tn_graph_name(c->graph));
        return FALSE;
    }
    return TRUE;
}

gboolean
tn_run_neutral(TnCompiler *c, GError **error)
{
    for (guint i = 0; i < tn_n_passes; i++) {
        if ((tn_pass_table[i].flags & TN_PASS_NEUTRAL) && !run_pass(c, &tn_pass_table[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
tn_run_passes(TnCompiler *c, GError **error)
{
    for (guint i = 0; i < tn_n_passes; i++) {
        const TnPass *pass = &tn_pass_table[i];
        if (!run_pass(c, pass, error)) {
            return FALSE;
        }
        if (c->options->sink != NULL && pass->run != NULL) {
            c->options->sink(pass->name, c->graph, c->options->sink_data);
        }
    }
    return TRUE;
}
