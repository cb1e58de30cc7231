/* squarer.h: stages that answer requests with squares, for tests of who asks, and one that gives frames by
 * itself. The processes are the test's program again. */
#pragma once

#include "own_process.h"

#define PATIENCE 30 /* seconds */

/* --- A stage that squares ----------------------------------------------------------------------- */

/* What to do with a request, its second field; more: sleep so many milliseconds first. */
enum { SQUARE = 0, FAIL = -1, END = -2, WAIT = -3, SHRUG = -4 };

typedef struct {
    TnStageCommon common;
    gint64 rows;
} SquareOptions;

typedef struct {
    TnConfig *config;
    TnSchema requests;
} Squarer;

static const TnOption square_rows[] = {
    { .name = "rows",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(SquareOptions, rows),
      .dflt = "3",
      .help = "of a request at most" },
    TN_STAGE_ROWS(SquareOptions, common),
};

static atomic_bool gate;   /* WAIT waits until it is open */
static atomic_uint begun;  /* requests that somebody works at, or has */
static atomic_uint states; /* of workers */

static inline void *
square_create(TnConfig *config, TnContext *context, GError **error)
{
    Squarer *squarer = g_new0(Squarer, 1);
    (void)context;
    (void)error;
    squarer->config = tn_config_ref(config);
    return squarer;
}

static inline void
square_destroy(void *self)
{
    tn_config_unref(((Squarer *)self)->config);
    g_free(self);
}

static inline gboolean
square_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    Squarer *squarer = self;
    const gint64 two[] = { 2 };
    const gint64 rows = ((const SquareOptions *)tn_config_data(squarer->config))->rows;
    const gint64 x[] = { rows, 2 };
    (void)context;
    (void)error;
    TN_ASSERT(in == NULL);
    squarer->requests =
        (TnSchema){ .n = 2,
                    .names = { tn_intern("x"), tn_intern("what") },
                    .types = { tn_type(TN_DTYPE_F32, 2, x), tn_type(TN_DTYPE_I64, 0, NULL) } };
    out->n = 2;
    out->names[0] = tn_intern("y");
    out->types[0] = squarer->requests.types[0];
    out->names[1] = tn_intern("who");
    out->types[1] = tn_type(TN_DTYPE_I64, 1, two);
    return TRUE;
}

static inline void *
square_worker_new(void *self, GError **error)
{
    (void)self;
    (void)error;
    atomic_fetch_add(&states, 1);
    return g_new0(gint, 1);
}

static inline void
square_worker_free(void *self, void *worker)
{
    (void)self;
    atomic_fetch_sub(&states, 1);
    g_free(worker);
}

static inline const TnSchema *
square_requests(void *self)
{
    return &((Squarer *)self)->requests;
}

static inline TnStatus
square_make(void *self, void *worker, guint64 number, TnFrame *in, TnFrame *frame, GError **error)
{
    const gint64 two[] = { 2 };
    const gint64 what = (gint64)tn_tensor_get(tn_frame_tensor(in, 1), 0);
    TnTensor *x = tn_frame_tensor(in, 0);
    (void)self;
    ++*(gint *)worker; /* one thread at a time */
    atomic_fetch_add(&begun, 1);
    if (what == SHRUG)
        return TN_UNSUPPORTED;
    if (what == END)
        return TN_EOS;
    if (what == FAIL) {
        g_set_error(error, TN_ERROR, TN_ERROR_NUMERIC, "%g is no number", tn_tensor_get(x, 0));
        return TN_FAILED;
    }
    TnPatience patience = tn_test_patience(PATIENCE);
    while (what == WAIT && !atomic_load(&gate) && tn_test_patient(&patience))
        g_usleep(500);
    if (what > 0)
        g_usleep((gulong)what * 1000);
    TnTensor *y = tn_frame_buffer(frame, 0, *tn_tensor_type(x), error);
    TnTensor *who = tn_frame_buffer(frame, 1, tn_type(TN_DTYPE_I64, 1, two), error);
    if (!y || !who)
        return TN_NO_MEMORY;
    const float *from = tn_tensor_map(x, TN_MAP_READ, error);
    float *to = tn_storage_memory(tn_tensor_storage(y));
    for (gint64 i = 0; i < tn_tensor_count(x); i++)
        to[i] = from[i] * from[i];
    tn_tensor_unmap(x);
    gint64 *at = tn_storage_memory(tn_tensor_storage(who));
    at[0] = getpid();
    at[1] = (gint64)number;
    return TN_OK;
}

#define SQUARE_VTABLE(more)                                                                        \
    {                                                                                              \
        .size = sizeof(TnStageVTable), .open = square_open, .worker_new = square_worker_new,       \
        .worker_free = square_worker_free, .make = square_make,                                    \
        .flags = TN_STAGE_REPLIES | (more), .requests = square_requests                            \
    }
static const TnStageVTable ordered_vtable = SQUARE_VTABLE(0),
                           async_vtable = SQUARE_VTABLE(TN_STAGE_ASYNC),
                           both_vtable = SQUARE_VTABLE(TN_STAGE_LATEST);
/* As a plugin has it that was built before requests. */
static const TnStageVTable old_vtable = { .size = G_STRUCT_OFFSET(TnStageVTable, requests),
                                          .open = square_open,
                                          .make = square_make,
                                          .flags = TN_STAGE_REPLIES };

/* --- One that does not -------------------------------------------------------------------------- */

static inline TnStatus
plain_make(void *self, void *worker, guint64 number, TnFrame *in, TnFrame *frame, GError **error)
{
    (void)self;
    (void)worker;
    (void)number;
    (void)in;
    return tn_frame_buffer(frame, 0, tn_type(TN_DTYPE_I64, 0, NULL), error) ? TN_OK : TN_NO_MEMORY;
}

static inline gboolean
plain_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    (void)self;
    (void)context;
    (void)in;
    (void)error;
    out->n = 1;
    out->names[0] = tn_intern("x");
    out->types[0] = tn_type(TN_DTYPE_I64, 0, NULL);
    return TRUE;
}

static const TnStageVTable plain_vtable = { .size = sizeof(TnStageVTable),
                                            .open = plain_open,
                                            .make = plain_make };

#define FACTORY(id, table)                                                                         \
    {                                                                                              \
        .size = sizeof(TnFactory), .iface = TN_IFACE_STAGE, .name = (id),                          \
        .help = "squares of what it is asked", .options = TN_OPTIONS(SquareOptions, square_rows),  \
        .create = square_create, .destroy = square_destroy, .vtable = &(table)                     \
    }
static const TnFactory ordered_factory = FACTORY("test_ordered", ordered_vtable),
                       async_factory = FACTORY("test_async", async_vtable),
                       both_factory = FACTORY("test_both", both_vtable),
                       old_factory = FACTORY("test_old", old_vtable),
                       plain_factory = FACTORY("test_plain", plain_vtable);
static const TnFactory *const factories[] = { &ordered_factory, &async_factory, &both_factory,
                                              &old_factory,     &plain_factory, NULL };
static const TnPlugin plugin = {
    TN_PLUGIN_HEAD("test-replies", "1.0.0", "Apache-2.0", "for this test"),
    .factories = factories,
};

/* --- Asking ------------------------------------------------------------------------------------- */

static inline TnTensor *
floats(gint64 rows, float first)
{
    const gint64 dims[] = { rows, 2 };
    TnTensor *tensor = tn_tensor_new(NULL, tn_type(TN_DTYPE_F32, 2, dims), NULL);
    float *at = tn_tensor_map(tensor, TN_MAP_WRITE, NULL);
    for (gint64 i = 0; i < 2 * rows; i++)
        at[i] = first + (float)i;
    tn_tensor_unmap(tensor);
    return tensor;
}

static inline TnTensor *
integer(gint64 value)
{
    TnTensor *tensor = tn_tensor_new(NULL, tn_type(TN_DTYPE_I64, 0, NULL), NULL);
    *(gint64 *)tn_storage_memory(tn_tensor_storage(tensor)) = value;
    return tensor;
}

/* A request that begins with its number. */
static inline guint64
ask(TnPort *port, gint64 rows, gint64 what, guint milliseconds)
{
    guint64 number = G_MAXUINT64;
    TnFrame *request = tn_frame_new(0, 2);
    tn_frame_set(request, 0, floats(rows, (float)tn_port_seq(port)));
    tn_frame_set(request, 1, integer(what));
    TN_REQUIRE(tn_port_ask(port, request, milliseconds, &number) == TN_OK);
    TN_ASSERT(tn_port_error(port, NULL) == NULL);
    TN_ASSERT_CMPUINT(tn_port_seq(port), ==, number + 1);
    return number;
}

/* The answer that comes next, whose process is *who; G_MAXUINT64: it is none. */
static inline guint64
answer(TnPort *port, gint64 rows, gint64 *who)
{
    TnFrame *frame = NULL;
    const TnStatus status = tn_port_pull(port, &frame);
    if (status != TN_OK) {
        TN_FAIL("%s: %s", tn_status_name(status),
                tn_port_error(port, NULL) ? tn_port_error(port, NULL)->message : "no request's");
        return G_MAXUINT64;
    }
    const guint64 number = tn_frame_seq(frame);
    TnTensor *y = tn_frame_tensor(frame, 0);
    const float *at = tn_tensor_map(y, TN_MAP_READ, NULL);
    gint64 wrong = tn_tensor_dim(y, 0) != rows;
    for (gint64 i = 0; i < 2 * rows && !wrong; i++)
        wrong += at[i] != ((float)number + (float)i) * ((float)number + (float)i);
    tn_tensor_unmap(y);
    TN_ASSERT_CMPINT(wrong, ==, 0);
    TN_ASSERT_CMPUINT((guint64)tn_tensor_get(tn_frame_tensor(frame, 1), 1), ==, number);
    if (who)
        *who = (gint64)tn_tensor_get(tn_frame_tensor(frame, 1), 0);
    tn_frame_unref(frame);
    return number;
}

/* What comes next is that a request has come to nothing. */
static inline void
comes_to_nothing(TnPort *port, TnStatus status, guint64 number, const char *word)
{
    TnFrame *frame = (TnFrame *)1;
    guint64 about = G_MAXUINT64;
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, status);
    TN_ASSERT(frame == NULL);
    const GError *error = tn_port_error(port, &about);
    TN_ASSERT_CONTAINS(error ? error->message : NULL, word);
    TN_ASSERT_CMPUINT(about, ==, number);
}

static inline void
nothing_is_asked(TnPort *port)
{
    TnFrame *frame;
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_EOS);
    TN_ASSERT(tn_port_error(port, NULL) == NULL);
}

static inline void
wait_for_begun(guint n)
{
    TnPatience patience = tn_test_patience(PATIENCE);
    while (atomic_load(&begun) < n && tn_test_patient(&patience))
        g_usleep(200);
    TN_ASSERT_CMPUINT(atomic_load(&begun), ==, n);
}

static inline void
squarer_setup(void)
{
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_registry_add(&plugin, &error));
}

/* The main of a test program, which is the stage's process too. */
static inline int
squarer_main(const char *name, const TnTest *tests, guint n, int argc, char **argv)
{
    if (argc > 5 && strcmp(argv[1], "--serve") == 0)
        return own_serve(&plugin, argv);
    return tn_test_main(name, tests, n, squarer_setup, NULL, argc, argv);
}
