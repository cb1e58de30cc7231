/* test_arena.c: the memory plan by itself, on plans made at random: whatever is alive at once
 * lies apart, results take over only what is dead, orders respect what comes first. The files of
 * the planner are compiled into the test. */
#include <tenon/base.h>

#include "compile/arena.c"
#include "compile/assign.c"
#include "compile/order.c"

#include "tn_test.h"

/* What the planner asks of the rest of the compiler. */
gboolean
tn_pass_skipped(const TnCompile *options, const char *name)
{
    return options->skip != NULL && g_strv_contains(options->skip, name);
}

TnStep *
tn_plan_add_step(TnPlan *plan, TnStepKind kind, guint32 node, guint device, guint n_in, guint n_out)
{
    TnStep *step = g_new0(TnStep, 1);
    step->kind = kind;
    step->node = node;
    step->device = device;
    step->n_in = n_in;
    step->in = g_new(guint32, n_in + 1);
    step->n_out = n_out;
    step->before = g_array_new(FALSE, FALSE, sizeof(guint32));
    step->scratch_slot = TN_NO_VALUE;
    g_ptr_array_add(plan->steps, step);
    return step;
}

guint32
tn_plan_add_copy(TnPlan *plan, guint32 value, guint32 node, guint device, gint from)
{
    (void)plan;
    (void)node;
    (void)device;
    (void)from;
    return value;
}

const TnSourceOps *
tn_source_ops(void)
{
    static const TnSourceOps none;
    return &none;
}

/* --- Plans at random -------------------------------------------------------------------------- */

static const TnOp each = { .name = "each", .flags = TN_OP_ELEMENTWISE };
static const TnOp first_only = { .name = "first", .in_place = 1 };
static const TnOp never = { .name = "never" };
static const TnKernel in_place = { .flags = TN_KERNEL_IN_PLACE };

typedef struct {
    TnPlan plan;
    TnCompiler compiler;
    TnCompile options;
    TnProgram program;
    TnProgramSpace space;
    TnGraph graph; /* nothing but operators */
    guint space_of_device;
    TnRandom random;
} Fake;

static void
free_step(gpointer data)
{
    TnStep *step = data;
    g_array_unref(step->before);
    g_free(step->in);
    g_free(step);
}

static guint32
add_value(Fake *fake, guint32 producer)
{
    static const gint64 sizes[] = { 0, 1, 10, 16, 100, 1000, 1000, 5000 };
    const gint64 size = sizes[tn_random_below(&fake->random, G_N_ELEMENTS(sizes))];
    TnPlanValue value = { .type = tn_type(TN_DTYPE_F32, 1, &size),
                          .root = fake->plan.values->len,
                          .place = { .kind = TN_PLACE_ARENA },
                          .producer = producer,
                          .slot = TN_NO_VALUE,
                          .contiguous = TRUE };
    value.layout.strides[0] = 1;
    value.is_output = tn_random_below(&fake->random, 12) == 0;
    g_array_append_val(fake->plan.values, value);
    return value.root;
}

/* A view of half of another value, or all of it. */
static guint32
add_view(Fake *fake, guint32 of)
{
    TnPlanValue value = *tn_plan_value(&fake->plan, of);
    value.slot = TN_NO_VALUE;
    value.producer = TN_NO_STEP;
    value.is_output = FALSE;
    if (tn_random_below(&fake->random, 2) == 0 && value.type.dims[0] > 1) {
        value.type.dims[0] /= 2;
        value.layout.offset += value.type.dims[0] / 2;
    }
    g_array_append_val(fake->plan.values, value);
    return fake->plan.values->len - 1;
}

static guint32
pick_value(Fake *fake)
{
    const guint n = fake->plan.values->len;
    const guint back = (guint)tn_random_below(&fake->random, MIN(n, 12));
    const guint32 value = tn_random_below(&fake->random, 8) == 0
                              ? (guint32)tn_random_below(&fake->random, n)
                              : n - 1 - back;
    return tn_random_below(&fake->random, 5) == 0 ? add_view(fake, value) : value;
}

static void
add_random_step(Fake *fake, guint number)
{
    static const TnOp *const ops[] = { &each, &each, &first_only, &never };
    const TnOp *op = ops[tn_random_below(&fake->random, G_N_ELEMENTS(ops))];
    const guint n_out = 1 + (tn_random_below(&fake->random, 5) == 0);
    const guint n_in = number == 0 ? 0 : (guint)tn_random_below(&fake->random, 4);
    TnGraphNode *node = g_new0(TnGraphNode, 1);
    node->op = op;
    const guint32 added = fake->graph.nodes->len;
    g_ptr_array_add(fake->graph.nodes, node);
    TnStep *step = tn_plan_add_step(&fake->plan, TN_STEP_KERNEL, added, 0, n_in, n_out);
    step->kernel = &in_place;
    for (guint i = 0; i < n_in; i++) {
        step->in[i] = pick_value(fake);
    }
    step->out = fake->plan.values->len;
    for (guint i = 0; i < n_out; i++) {
        const guint32 out = add_value(fake, number);
        if (n_in > 0 && tn_random_below(&fake->random, 3) != 0) {
            /* Of an input's size, so that it may take its place. */
            tn_plan_value(&fake->plan, out)->type = tn_plan_value(&fake->plan, step->in[0])->type;
        }
    }
    step->prepared.scratch = tn_random_below(&fake->random, 6) == 0 ? 777 : 0;
    if (number > 2 && tn_random_below(&fake->random, 10) == 0) {
        const guint32 before = (guint32)tn_random_below(&fake->random, number);
        g_array_append_val(step->before, before);
    }
}

static void
fake_init(Fake *fake, guint64 seed, guint n, const char *const *skip)
{
    memset(fake, 0, sizeof *fake);
    tn_random_init(&fake->random, seed, "plan", 0);
    fake->options.skip = skip;
    fake->compiler.options = &fake->options;
    fake->compiler.space = &fake->space_of_device;
    fake->program.spaces = &fake->space;
    fake->program.n_spaces = 1;
    fake->plan.c = &fake->compiler;
    fake->plan.program = &fake->program;
    fake->plan.graph = &fake->graph;
    fake->graph.nodes = g_ptr_array_new_with_free_func(g_free);
    fake->plan.values = g_array_new(FALSE, FALSE, sizeof(TnPlanValue));
    fake->plan.steps = g_ptr_array_new_with_free_func(free_step);
    fake->plan.slots = g_array_new(FALSE, FALSE, sizeof(TnSlot));
    for (guint i = 0; i < n; i++) {
        add_random_step(fake, i);
    }
    tn_plan_order(&fake->plan);
    TN_REQUIRE(tn_plan_arena(&fake->plan, NULL));
}

static void
fake_clear(Fake *fake)
{
    g_ptr_array_unref(fake->graph.nodes);
    g_array_unref(fake->plan.values);
    g_ptr_array_unref(fake->plan.steps);
    g_array_unref(fake->plan.slots);
    g_free(fake->plan.order);
    g_free(fake->program.slots);
}

/* --- Checks ----------------------------------------------------------------------------------- */

static void
check_order(const Fake *fake)
{
    const TnPlan *plan = &fake->plan;
    for (guint i = 0; i < plan->steps->len; i++) {
        const TnStep *step = tn_plan_step(plan, i);
        TN_ASSERT_CMPUINT(plan->order[step->position], ==, i);
        for (guint k = 0; k < step->n_in; k++) {
            const guint32 from = tn_plan_root(plan, step->in[k])->producer;
            TN_ASSERT(from == TN_NO_STEP || tn_plan_step(plan, from)->position < step->position);
        }
        for (guint k = 0; k < step->before->len; k++) {
            const guint32 from = g_array_index(step->before, guint32, k);
            TN_ASSERT(tn_plan_step(plan, from)->position < step->position);
        }
    }
}

/* Runs the plan on paper: who wrote each block of the arena last is kept; a reader must find
 * what it wants. */
static void
check_contents(const Fake *fake, guint64 seed)
{
    const TnPlan *plan = &fake->plan;
    const gsize n_blocks = fake->program.arena_bytes / TN_ALIGN + 1;
    g_autofree guint32 *owner = g_new(guint32, n_blocks);
    guint wrong = 0;
    for (gsize b = 0; b < n_blocks; b++) {
        owner[b] = TN_NO_VALUE;
    }
    for (guint p = 0; p <= plan->steps->len; p++) {
        const gboolean end = p == plan->steps->len;
        const TnStep *step = end ? NULL : tn_plan_step(plan, plan->order[p]);
        for (guint32 v = 0; v < plan->values->len; v++) {
            const TnPlanValue *value = tn_plan_value(plan, v);
            gboolean read = end && value->is_output;
            for (guint k = 0; !end && k < step->n_in; k++) {
                read |= tn_plan_value(plan, step->in[k])->root == v;
            }
            const gsize bytes = (gsize)tn_type_bytes(&value->type);
            for (gsize b = 0; read && value->root == v && b < bytes; b += TN_ALIGN) {
                wrong += owner[(value->place.offset + b) / TN_ALIGN] != v;
            }
        }
        if (end) {
            break;
        }
        for (guint k = 0; k < step->n_out; k++) {
            const TnPlanValue *value = tn_plan_value(plan, step->out + k);
            const gsize bytes = (gsize)tn_type_bytes(&value->type);
            TN_ASSERT_CMPUINT(value->place.offset % TN_ALIGN, ==, 0);
            TN_ASSERT_CMPUINT(value->place.offset + bytes, <=, fake->program.arena_bytes);
            for (gsize b = 0; b < bytes; b += TN_ALIGN) {
                owner[(value->place.offset + b) / TN_ALIGN] = step->out + k;
            }
        }
        /* Results of one step lie apart, and so does its scratch from all that it touches. */
        for (guint k = 0; k < step->n_out; k++) {
            const TnPlanValue *value = tn_plan_value(plan, step->out + k);
            const gsize bytes = (gsize)tn_type_bytes(&value->type);
            for (gsize b = 0; b < bytes; b += TN_ALIGN) {
                wrong += owner[(value->place.offset + b) / TN_ALIGN] != step->out + k;
            }
        }
        if (step->scratch_slot != TN_NO_VALUE) {
            const TnSlot *slot = &g_array_index(plan->slots, TnSlot, step->scratch_slot);
            for (gsize b = 0; b < slot->bytes; b += TN_ALIGN) {
                const guint32 held = owner[(slot->offset + b) / TN_ALIGN];
                wrong += held != TN_NO_VALUE && held >= step->out && held < step->out + step->n_out;
                for (guint k = 0; k < step->n_in; k++) {
                    wrong += held == tn_plan_value(plan, step->in[k])->root;
                }
                owner[(slot->offset + b) / TN_ALIGN] = TN_NO_VALUE;
            }
        }
    }
    tn_test_check(wrong == 0, FALSE, __FILE__, __LINE__, "seed %d: %u blocks are not what is read",
                  (int)seed, wrong);
}

static void
check_slots(const Fake *fake, guint64 seed)
{
    const GArray *slots = fake->plan.slots;
    guint wrong = 0;
    for (guint i = 0; i < slots->len; i++) {
        const TnSlot *a = &g_array_index(slots, TnSlot, i);
        for (guint k = i + 1; k < slots->len; k++) {
            const TnSlot *b = &g_array_index(slots, TnSlot, k);
            wrong += a->first <= b->last && b->first <= a->last &&
                     a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
        }
    }
    tn_test_check(wrong == 0, FALSE, __FILE__, __LINE__, "seed %d: %u slots overlap", (int)seed,
                  wrong);
}

static void
what_is_alive_lies_apart(void)
{
    static const char *const skips[][2] = { { NULL }, { "in-place" }, { "order" }, { "reuse" } };
    for (guint64 seed = 0; seed < 200; seed++) {
        Fake fake;
        fake_init(&fake, seed, 5 + (guint)(seed % 60), skips[seed % G_N_ELEMENTS(skips)]);
        check_order(&fake);
        check_slots(&fake, seed);
        check_contents(&fake, seed);
        TN_ASSERT_CMPUINT(fake.program.arena_bytes, >=, fake.program.live_bytes);
        fake_clear(&fake);
    }
}

/* Over many plans the arena stays near the lower bound, and each choice makes it smaller. */
static void
memory_is_used_again(void)
{
    static const char *const no_reuse[] = { "reuse", NULL }, *const no_place[] = { "in-place",
                                                                                   NULL };
    guint64 arena = 0, live = 0, without_reuse = 0, without_place = 0;
    for (guint64 seed = 0; seed < 100; seed++) {
        Fake fake;
        fake_init(&fake, seed, 60, NULL);
        arena += fake.program.arena_bytes;
        live += fake.program.live_bytes;
        fake_clear(&fake);
        fake_init(&fake, seed, 60, no_reuse);
        without_reuse += fake.program.arena_bytes;
        fake_clear(&fake);
        fake_init(&fake, seed, 60, no_place);
        without_place += fake.program.arena_bytes;
        fake_clear(&fake);
    }
    TN_ASSERT_CMPUINT(arena, <=, live + live / 20);
    TN_ASSERT_CMPUINT(arena, <, without_place);
    TN_ASSERT_CMPUINT(arena, <, without_reuse / 2);
}

static const TnTest tests[] = {
    { "what is alive lies apart", what_is_alive_lies_apart },
    { "memory is used again", memory_is_used_again },
};
TN_TEST_MAIN("arena", tests)
