/* What surrounds oneDNN's calls: which versions are taken, and that every failure of the library is
 * a status or an error, with all that was made given back. The plugin's own files are built in, so
 * that functions of the library can be replaced by ones that fail. */
#include "tn_test.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)

#include "../../plugins/onednn/call.c"
#include "../../plugins/onednn/library.c"

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
    OneDnnBox *boxes[] = { &conv.x, &conv.w, &conv.y };
    for (guint i = 0; i < G_N_ELEMENTS(boxes); i++) {
        gint64 step = 1;
        for (gint k = 3; k >= 0; k--) {
            boxes[i]->strides[k] = step;
            step *= boxes[i]->dims[k];
        }
    }
    return conv;
}

/* Making: whichever step fails, there is an error and nothing is left. */
static void
making_fails(void)
{
    const OneDnnConv conv = gradient();
    open_library();
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
    TN_ASSERT_CMPINT(fail_at, >, 8); /* forward, backward, three reorders, their code */
    onednn_call_free(call);
    TN_ASSERT_CMPINT(n_alive, ==, 0);
    onednn = whole;
}

/* Running: out of memory is that, anything else is a failure; nothing is left, and the call can be
 * made again. */
static void
running_fails(void)
{
    const OneDnnConv conv = gradient();
    g_autoptr(GError) error = NULL;
    open_library();
    OneDnnCall *call = onednn_conv_new(&conv, &error);
    TN_REQUIRE_NO_ERROR(error);
    float *memory[ONEDNN_N_PORTS] = { tn_data_alloc(65536), tn_data_alloc(36864), NULL,
                                      tn_data_alloc(65536) };
    void *scratch = tn_data_alloc(onednn_call_scratch(call));
    memset(memory[ONEDNN_A], 0, 65536);
    memset(memory[ONEDNN_B], 0, 36864);
    onednn.memory_create = memory_create;
    onednn.memory_destroy = memory_destroy;
    onednn.primitive_execute = execute_or_fail;
    TnStatus status = TN_FAILED;
    guint n_no_memory = 0, n_failed = 0;
    n_alive = 0;
    for (fail_at = 0; status != TN_OK && fail_at < 100; fail_at++) {
        n_made = 0;
        status = onednn_call_run(call, (void *const *)memory, scratch);
        n_no_memory += status == TN_NO_MEMORY;
        n_failed += status == TN_FAILED;
        TN_ASSERT_CMPINT(n_alive, ==, 0);
    }
    TN_ASSERT(status == TN_OK);
    TN_ASSERT_CMPUINT(n_failed, ==, 4); /* three copies and the convolution */
    TN_ASSERT_CMPUINT(n_no_memory, >=, 9);
    onednn = whole;
    onednn_call_free(call);
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        tn_data_free(memory[i]);
    }
    tn_data_free(scratch);
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

#endif

static const TnTest tests[] = {
    { "versions", versions },
    { "making_fails", making_fails },
    { "running_fails", running_fails },
};

TN_TEST_MAIN("onednn calls", tests)
