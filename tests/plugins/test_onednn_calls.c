/* What surrounds oneDNN's calls: which versions are taken, and that every failure of the library is
 * a status or an error, with all that was made given back. The plugin's own files are built in, so
 * that functions of the library can be replaced by ones that fail. */
#include "tn_test.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)

#include "../../plugins/onednn/call.c"
#include "../../plugins/onednn/library.c"
#include "../../plugins/onednn/ports.c"

static void
versions(void)
{
    static const struct {
        dnnl_version_t version;
        const char *words; /* NULL: taken */
    } rows[] = {
        { { .major = 2, .minor = 6, .patch = 3, .cpu_runtime = DNNL_RUNTIME_OMP }, NULL },
        { { .major = 2, .minor = 7, .patch = 0, .cpu_runtime = DNNL_RUNTIME_SEQ }, NULL },
        { { .major = 2, .minor = 5, .patch = 9, .cpu_runtime = DNNL_RUNTIME_OMP }, "2.5.9" },
        { { .major = 3, .minor = 1, .patch = 0, .cpu_runtime = DNNL_RUNTIME_OMP }, "3.1.0" },
        { { .major = 1, .minor = 8, .patch = 0, .cpu_runtime = DNNL_RUNTIME_OMP }, "1.8.0" },
        { { .major = 2, .minor = 6, .patch = 0, .cpu_runtime = DNNL_RUNTIME_TBB }, "OpenMP" },
        { { .major = 2, .minor = 6, .patch = 0, .cpu_runtime = DNNL_RUNTIME_THREADPOOL },
          "OpenMP" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        const gboolean fits = onednn_version_fits(&rows[i].version, &error);
        TN_ASSERT(fits == (rows[i].words == NULL));
        if (rows[i].words != NULL) {
            TN_REQUIRE(error != NULL);
            TN_ASSERT(strstr(error->message, rows[i].words) != NULL);
            TN_ASSERT(strstr(error->message, "libdnnl2") != NULL);
        }
    }
}

/* --- Failures --------------------------------------------------------------------------------- */

/* Of the library's calls that make something: which one fails, counted from 0; what is alive. */
static gint fail_at, n_made, n_alive;
static OneDnn whole;

static gboolean
fails(void)
{
    return n_made++ == fail_at;
}

static dnnl_status_t
memory_create(dnnl_memory_t *memory, const dnnl_memory_desc_t *desc, dnnl_engine_t engine,
              void *handle)
{
    const dnnl_status_t status =
        fails() ? dnnl_out_of_memory : whole.memory_create(memory, desc, engine, handle);
    n_alive += status == dnnl_success;
    return status;
}

static dnnl_status_t
memory_destroy(dnnl_memory_t memory)
{
    n_alive--;
    return whole.memory_destroy(memory);
}

static dnnl_status_t
execute_or_fail(const_dnnl_primitive_t primitive, dnnl_stream_t stream, int n,
                const dnnl_exec_arg_t *args)
{
    return fails() ? dnnl_runtime_error : whole.primitive_execute(primitive, stream, n, args);
}

static dnnl_status_t
primitive_create(dnnl_primitive_t *primitive, const_dnnl_primitive_desc_t desc)
{
    const dnnl_status_t status =
        fails() ? dnnl_out_of_memory : whole.primitive_create(primitive, desc);
    n_alive += status == dnnl_success;
    return status;
}

static dnnl_status_t
primitive_destroy(dnnl_primitive_t primitive)
{
    n_alive--;
    return whole.primitive_destroy(primitive);
}

static dnnl_status_t
desc_create(dnnl_primitive_desc_t *desc, const_dnnl_op_desc_t op, const_dnnl_primitive_attr_t attr,
            dnnl_engine_t engine, const_dnnl_primitive_desc_t hint)
{
    const dnnl_status_t status =
        fails() ? dnnl_unimplemented : whole.primitive_desc_create(desc, op, attr, engine, hint);
    n_alive += status == dnnl_success;
    return status;
}

static dnnl_status_t
desc_destroy(dnnl_primitive_desc_t desc)
{
    n_alive--;
    return whole.primitive_desc_destroy(desc);
}

static dnnl_status_t
reorder_desc_create(dnnl_primitive_desc_t *desc, const dnnl_memory_desc_t *from,
                    dnnl_engine_t from_engine, const dnnl_memory_desc_t *to,
                    dnnl_engine_t to_engine, const_dnnl_primitive_attr_t attr)
{
    const dnnl_status_t status =
        fails() ? dnnl_unimplemented
                : whole.reorder_primitive_desc_create(desc, from, from_engine, to, to_engine, attr);
    n_alive += status == dnnl_success;
    return status;
}

static void
open_library(void)
{
    g_autoptr(GError) error = NULL;
    if (!onednn.usable && !onednn_open("libdnnl.so.2", &error)) {
        tn_test_skip("%s", error->message);
    }
    whole = whole.usable ? whole : onednn;
    onednn = whole;
}

#define BOX(...)                                                                                   \
    {                                                                                              \
        .dtype = TN_DTYPE_F32, .rank = 4, .dims = { __VA_ARGS__ }                                  \
    }

static void
set_strides(OneDnnBox *const *boxes)
{
    for (guint i = 0; i < 3; i++) {
        gint64 step = 1;
        for (gint k = 3; k >= 0; k--) {
            boxes[i]->strides[k] = step;
            step *= boxes[i]->dims[k];
        }
    }
}

/* Of a kind with copies of both inputs and of what comes out. */
static OneDnnConv
gradient(void)
{
    OneDnnConv conv = { .kind = ONEDNN_CONV_DATA,
                        .winograd = TRUE,
                        .n = 2,
                        .x = BOX(2, 32, 16, 16),
                        .w = BOX(32, 32, 3, 3),
                        .y = BOX(2, 32, 16, 16),
                        .stride = { 1, 1 },
                        .dilation = { 1, 1 },
                        .pad = { 1, 1 } };
    set_strides((OneDnnBox *[]){ &conv.x, &conv.w, &conv.y });
    return conv;
}

/* Making: whichever step fails, there is an error and nothing is left. */
static void
making_fails(void)
{
    const OneDnnConv conv = gradient();
    open_library();
    onednn.memory_create = memory_create;
    onednn.memory_destroy = memory_destroy;
    onednn.primitive_create = primitive_create;
    onednn.primitive_destroy = primitive_destroy;
    onednn.primitive_desc_create = desc_create;
    onednn.primitive_desc_destroy = desc_destroy;
    onednn.reorder_primitive_desc_create = reorder_desc_create;
    OneDnnCall *call = NULL;
    n_alive = 0;
    for (fail_at = 0; call == NULL && fail_at < 100; fail_at++) {
        g_autoptr(GError) error = NULL;
        n_made = 0;
        call = onednn_conv_new(&conv, &error);
        TN_ASSERT((call == NULL) == (error != NULL));
        if (call == NULL) {
            TN_ASSERT_CMPINT(n_alive, ==, 0);
        }
    }
    TN_REQUIRE(call != NULL);
    /* forward, backward, three reorders, their code and their tensors */
    TN_ASSERT_CMPINT(fail_at, >, 15);
    onednn_call_free(call);
    TN_ASSERT_CMPINT(n_alive, ==, 0);
    onednn = whole;
}

/* A call and memory for it. */
typedef struct {
    OneDnnCall *call;
    float *memory[ONEDNN_N_PORTS];
    void *scratch;
} Given;

#define IMAGES (2 * 32 * 16 * 16)
#define WINDOWS (32 * 32 * 3 * 3)

static Given
given_new(void)
{
    const OneDnnConv conv = gradient();
    g_autoptr(GError) error = NULL;
    Given given = { .call = onednn_conv_new(&conv, &error) };
    TN_REQUIRE_NO_ERROR(error);
    given.memory[ONEDNN_A] = tn_data_alloc(IMAGES * sizeof(float));
    given.memory[ONEDNN_B] = tn_data_alloc(WINDOWS * sizeof(float));
    given.memory[ONEDNN_OUT] = tn_data_alloc(IMAGES * sizeof(float));
    given.scratch = tn_data_alloc(onednn_call_scratch(given.call));
    for (gint i = 0; i < IMAGES; i++) {
        given.memory[ONEDNN_A][i] = (float)(i * 7 % 23 - 11);
    }
    for (gint i = 0; i < WINDOWS; i++) {
        given.memory[ONEDNN_B][i] = (float)(i * 5 % 19 - 9) / 8;
    }
    return given;
}

static void
given_clear(Given *given)
{
    onednn_call_free(given->call);
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        tn_data_free(given->memory[i]);
    }
    tn_data_free(given->scratch);
}

static TnStatus
given_run(const Given *given)
{
    return onednn_call_run(given->call, (void *const *)given->memory, given->scratch);
}

/* Running: what fails is a status, and the call can be run again. Nothing is made. */
static void
running_fails(void)
{
    open_library();
    Given given = given_new();
    onednn.memory_create = memory_create;
    onednn.primitive_execute = execute_or_fail;
    TnStatus status = TN_FAILED;
    guint n_failed = 0;
    n_alive = 0;
    for (fail_at = 0; status != TN_OK && fail_at < 100; fail_at++) {
        n_made = 0;
        status = given_run(&given);
        n_failed += status == TN_FAILED;
    }
    TN_ASSERT(status == TN_OK);
    TN_ASSERT_CMPUINT(n_failed, ==, 4); /* three copies and the convolution */
    TN_ASSERT_CMPINT(n_alive, ==, 0);
    onednn = whole;
    given_clear(&given);
}

static guint
n_objects(const OneDnnCall *call)
{
    guint n = 0;
    for (const Objects *o = call->objects; o != NULL; o = o->next) {
        n++;
    }
    return n;
}

/* Tensors' objects are as many as run at once; without memory for more that is a status. */
static void
objects_are_kept(void)
{
    open_library();
    Given given = given_new();
    TN_ASSERT_CMPUINT(n_objects(given.call), ==, 1);
    TN_ASSERT(given_run(&given) == TN_OK);
    TN_ASSERT_CMPUINT(n_objects(given.call), ==, 1);
    onednn_call_spare(given.call, 2);
    Objects *a = objects_take(given.call), *b = objects_take(given.call);
    TN_ASSERT_CMPUINT(n_objects(given.call), ==, 2);
    onednn.memory_create = memory_create;
    fail_at = n_made = 0;
    TN_ASSERT(given_run(&given) == TN_NO_MEMORY);
    TN_ASSERT(given_run(&given) == TN_OK);
    TN_ASSERT_CMPUINT(n_objects(given.call), ==, 3);
    objects_give(a);
    objects_give(b);
    TN_ASSERT(given_run(&given) == TN_OK);
    TN_ASSERT_CMPUINT(n_objects(given.call), ==, 3);
    onednn = whole;
    given_clear(&given);
}

/* What others leave in scratch and in the result between two runs changes nothing: channels that fill
 * no block, so that copies have padding. */
static void
garbage_between_runs(void)
{
    OneDnnConv conv = { .kind = ONEDNN_CONV,
                        .n = 2,
                        .x = BOX(3, 19, 16, 16),
                        .w = BOX(21, 19, 3, 3),
                        .y = BOX(3, 21, 16, 16),
                        .stride = { 1, 1 },
                        .dilation = { 1, 1 },
                        .pad = { 1, 1 } };
    g_autoptr(GError) error = NULL;
    open_library();
    set_strides((OneDnnBox *[]){ &conv.x, &conv.w, &conv.y });
    Given given = { .call = onednn_conv_new(&conv, &error) };
    TN_REQUIRE_NO_ERROR(error);
    const gsize scratch = onednn_call_scratch(given.call),
                bytes[] = { 3 * 19 * 256 * sizeof(float), 21 * 19 * 9 * sizeof(float), 0,
                            3 * 21 * 256 * sizeof(float) };
    for (gint i = 0; i < (gint)G_N_ELEMENTS(bytes); i++) {
        given.memory[i] = bytes[i] > 0 ? tn_data_alloc(bytes[i]) : NULL;
        for (gsize k = 0; k < bytes[i] / sizeof(float); k++) {
            given.memory[i][k] = (float)(k * 7 % 23) - 11;
        }
    }
    given.scratch = tn_data_alloc(scratch);
    g_autofree void *first = g_malloc(bytes[ONEDNN_OUT]);
    for (gint turn = 0; turn < 3; turn++) {
        memset(given.scratch, 0xff, scratch);
        memset(given.memory[ONEDNN_OUT], 0xff, bytes[ONEDNN_OUT]);
        TN_ASSERT(given_run(&given) == TN_OK);
        if (turn == 0) {
            memcpy(first, given.memory[ONEDNN_OUT], bytes[ONEDNN_OUT]);
        }
        TN_ASSERT(memcmp(first, given.memory[ONEDNN_OUT], bytes[ONEDNN_OUT]) == 0);
    }
    given_clear(&given);
}

#else

static void
no_headers(void)
{
    tn_test_skip("oneapi/dnnl/dnnl.h is not there (Debian: libdnnl-dev)");
}

#define versions no_headers
#define making_fails no_headers
#define running_fails no_headers
#define objects_are_kept no_headers
#define garbage_between_runs no_headers

#endif

static const TnTest tests[] = {
    { "versions", versions },
    { "making_fails", making_fails },
    { "running_fails", running_fails },
    { "objects_are_kept", objects_are_kept },
    { "garbage_between_runs", garbage_between_runs },
};

TN_TEST_MAIN("onednn calls", tests)
