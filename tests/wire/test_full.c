/* test_full.c: patterns of asking that would run full: one side sends whenever it may, the other is
 * slow. */
// tn-test: timeout=180 label=threads
#include "strangers.h"

#define LONG 8 /* seconds, in which a busy machine may not do all items */
#define ITEMS (TN_TEST_SANITIZED ? 10000 : 1000000)
#define WARM (TN_TEST_SANITIZED ? 20 : ITEMS / 50) /* items after which memory has its size */

#define MOST 60 /* seconds until memory has its size */

/* For the usual time, and on a slow machine until memory has its size. */
static gboolean
goes_on(TnPatience *usual, TnPatience *most, guint n)
{
    return tn_test_patient(most) && (tn_test_patient(usual) || n < WARM);
}

/* A member that sends whenever it may, one that takes a few items at a time. */
static void
a_slow_merge(void)
{
    TnWireEvent event;
    TnWire *server = make_wire("ipc", TRUE), *member = make_wire(tn_wire_url(server), FALSE);
    g_autoptr(TnWireMerge) merge = tn_wire_merge_new(server, 64);
    g_autoptr(TnWireSender) sender = tn_wire_sender_new(member);
    g_autoptr(TnTensor) item =
        tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 1, (gint64[]){ 16 }), NULL);
    guint taken = 0, under_way = 0;
    gsize before = 0;
    TnPatience usual = tn_test_patience(LONG), most = tn_test_patience(MOST);
    while (taken < ITEMS / 2 && goes_on(&usual, &most, taken)) {
        while (tn_wire_next(member, 0, &event) == TN_OK) {
            tn_wire_sender_take(sender, &event);
            tn_wire_event_clear(&event);
        }
        while (tn_wire_sender_send(sender, 1, &item, none) == TN_OK)
            under_way++;
        TN_ASSERT_CMPUINT(under_way, <=, 64);
        for (guint i = 0; i < 40 && tn_wire_next(server, 0, &event) == TN_OK; i++) {
            if (tn_wire_merge_take(merge, &event)) {
                taken++;
                under_way--;
            }
            tn_wire_event_clear(&event);
        }
        if (!before && taken >= WARM)
            before = resident();
    }
    TN_ASSERT_CMPUINT(taken, >=, WARM);
    is_flat(before, 16 << 20);
    tn_wire_free(member);
    tn_wire_free(server);
}

/* More requests than the replier has done, which answers all that it has at once. */
static void
a_slow_pool(void)
{
    enum { WAITING = 200 };
    TnWireEvent event;
    TnWire *server = make_wire("ipc", TRUE), *member = make_wire(tn_wire_url(server), FALSE);
    g_autoptr(TnWirePool) pool = tn_wire_pool_new(server, 32);
    guint asked = 0, answered = 0;
    gsize before = 0;
    TnPatience usual = tn_test_patience(LONG), most = tn_test_patience(MOST);
    while (answered < ITEMS / 2 && goes_on(&usual, &most, answered)) {
        while (tn_wire_next(member, 0, &event) == TN_OK) {
            if (event.kind == TN_WIRE_ASKED)
                tn_wire_answer(member, 0, event.number, 0, 0, NULL, none);
            tn_wire_event_clear(&event);
        }
        while (asked < ITEMS / 2 && tn_wire_pool_waiting(pool) < WAITING)
            tn_wire_pool_ask(pool, asked++, 0, NULL, 0);
        while (tn_wire_next(server, 0, &event) == TN_OK) {
            if (event.kind == TN_WIRE_JOINED)
                tn_wire_pool_add(pool, event.peer);
            answered += tn_wire_pool_take(pool, &event);
            tn_wire_event_clear(&event);
        }
        if (!before && answered >= WARM)
            before = resident();
    }
    TN_ASSERT_CMPUINT(answered, >=, WARM);
    is_flat(before, 16 << 20);
    tn_wire_pool_free(g_steal_pointer(&pool));
    tn_wire_free(member);
    tn_wire_free(server);
}

static const TnTest tests[] = {
    { "a slow merge", a_slow_merge },
    { "a slow pool", a_slow_pool },
};
TN_TEST_MAIN_WITH("full", tests, strangers_setup, strangers_teardown)
