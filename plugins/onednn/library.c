/* library.c: opens oneDNN so that it never starts a thread: the pool calls it on slices.
 *
 * Debian's is made with OpenMP. A thread's first number of OpenMP threads is what OMP_NUM_THREADS
 * was when libgomp was loaded, so it is set to 1 meanwhile; where libgomp was loaded earlier, by
 * something else, each thread says so itself. What oneDNN would do with one thread it does by plain
 * calls: no parallel region is ever entered. */
#include "library.h"

#include <dlfcn.h>
#include <string.h>

#include <tenon/base.h>

OneDnn onednn;

#define ROW(name)                                                                                  \
    {                                                                                              \
        "dnnl_" #name, G_STRUCT_OFFSET(OneDnn, name)                                               \
    }

static const struct {
    const char *name;
    gsize offset;
} functions[] = {
    ROW(version),
    ROW(engine_create),
    ROW(stream_create),
    ROW(get_effective_cpu_isa),
    ROW(set_max_cpu_isa),
    ROW(primitive_attr_create),
    ROW(primitive_attr_set_scratchpad_mode),
    ROW(primitive_attr_set_fpmath_mode),
    ROW(primitive_attr_destroy),
    ROW(primitive_attr_set_post_ops),
    ROW(post_ops_create),
    ROW(post_ops_destroy),
    ROW(post_ops_append_binary),
    ROW(memory_desc_init_by_strides),
    ROW(memory_desc_init_by_tag),
    ROW(memory_desc_equal),
    ROW(memory_desc_get_size),
    ROW(memory_create),
    ROW(memory_destroy),
    ROW(memory_set_data_handle),
    ROW(dilated_convolution_forward_desc_init),
    ROW(dilated_convolution_backward_data_desc_init),
    ROW(dilated_convolution_backward_weights_desc_init),
    ROW(matmul_desc_init),
    ROW(pooling_forward_desc_init),
    ROW(pooling_backward_desc_init),
    ROW(softmax_v2_forward_desc_init),
    ROW(layer_normalization_forward_desc_init),
    ROW(layer_normalization_backward_desc_init),
    ROW(batch_normalization_forward_desc_init),
    ROW(batch_normalization_backward_desc_init),
    ROW(lstm_forward_desc_init),
    ROW(lbr_gru_forward_desc_init),
    ROW(primitive_desc_create),
    ROW(primitive_desc_destroy),
    ROW(primitive_desc_query),
    ROW(primitive_desc_query_md),
    ROW(reorder_primitive_desc_create),
    ROW(primitive_create),
    ROW(primitive_destroy),
    ROW(primitive_execute),
};

#define MAJOR 2
#define LEAST_MINOR 6

gboolean
onednn_version_fits(const dnnl_version_t *v, GError **error)
{
    if (v->major != MAJOR || v->minor < LEAST_MINOR) {
        g_set_error(error, TN_ERROR, TN_ERROR_VERSION,
                    "oneDNN is %d.%d.%d, and %d.%d or a later %d.x is needed: install Debian 12's "
                    "libdnnl2",
                    v->major, v->minor, v->patch, MAJOR, LEAST_MINOR, MAJOR);
        return FALSE;
    }
    /* Others have threads that cannot be kept from starting in the same way. */
    if (v->cpu_runtime != DNNL_RUNTIME_OMP && v->cpu_runtime != DNNL_RUNTIME_SEQ) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "oneDNN %d.%d.%d was built with threads of another kind than OpenMP: install "
                    "Debian 12's libdnnl2",
                    v->major, v->minor, v->patch);
        return FALSE;
    }
    return TRUE;
}

static void *
open_with_one_thread(const char *file)
{
    g_autofree char *before = g_strdup(g_getenv("OMP_NUM_THREADS"));
    g_setenv("OMP_NUM_THREADS", "1", TRUE);
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (before != NULL) {
        g_setenv("OMP_NUM_THREADS", before, TRUE);
    } else {
        g_unsetenv("OMP_NUM_THREADS");
    }
    return library;
}

static gboolean
find_functions(void *library, const char *file, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(functions); i++) {
        void *found = dlsym(library, functions[i].name);
        if (found == NULL) {
            g_set_error(error, TN_ERROR, TN_ERROR_VERSION,
                        "%s has no function %s: it is not oneDNN %d.%d or a later %d.x", file,
                        functions[i].name, MAJOR, LEAST_MINOR, MAJOR);
            return FALSE;
        }
        *(void **)((char *)&onednn + functions[i].offset) = found;
    }
    return TRUE;
}

/* What dlsym finds in the libraries that oneDNN links. */
static void
find_threads(void *library)
{
    int (*most)(void) = (int (*)(void))dlsym(library, "omp_get_max_threads");
    void (*set)(int) = (void (*)(int))dlsym(library, "omp_set_num_threads");
    onednn.set_threads = most != NULL && most() != 1 ? set : NULL;
}

gboolean
onednn_attr_new(dnnl_primitive_attr_t *attr)
{
    return onednn.primitive_attr_create(attr) == dnnl_success &&
           onednn.primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user) ==
               dnnl_success &&
           onednn.primitive_attr_set_fpmath_mode(*attr, dnnl_fpmath_mode_strict) == dnnl_success;
}

static gboolean
make_objects(GError **error)
{
    onednn_enter_thread();
    if (onednn.engine_create(&onednn.engine, dnnl_cpu, 0) == dnnl_success &&
        onednn.stream_create(&onednn.stream, onednn.engine, dnnl_stream_in_order) == dnnl_success &&
        onednn_attr_new(&onednn.attr)) {
        return TRUE;
    }
    g_set_error(error, TN_ERROR, TN_ERROR_FAILED,
                "oneDNN cannot be set up on this processor: leave out the plugin");
    return FALSE;
}

/* What is kept from the plugin `cpu` is kept from the library, too: TENON_CPU_ISA, which that plugin checks.
 * The library has no portable code of its own for all it does, SSE 4.1 is its least. */
static void
limit_instructions(void)
{
    static const struct {
        const char *name;
        dnnl_cpu_isa_t most;
    } rows[] = {
        { "portable", dnnl_cpu_isa_sse41 },
        { "avx2", dnnl_cpu_isa_avx2 },
        { "avx512", dnnl_cpu_isa_avx512_core },
        { "avx512_bf16", dnnl_cpu_isa_avx512_core_bf16 },
    };
    const char *wish = g_getenv("TENON_CPU_ISA");
    for (gsize i = 0; i < G_N_ELEMENTS(rows) && wish != NULL; i++) {
        if (strcmp(wish, rows[i].name) == 0) {
            (void)onednn.set_max_cpu_isa(rows[i].most);
        }
    }
}

static gboolean
set_up(const char *file, GError **error)
{
    void *library = open_with_one_thread(file);
    if (library == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "oneDNN is not there (%s): install Debian 12's libdnnl2", dlerror());
        return FALSE;
    }
    if (!find_functions(library, file, error) || !onednn_version_fits(onednn.version(), error)) {
        return FALSE;
    }
    find_threads(library);
    limit_instructions();
    return make_objects(error);
}

gboolean
onednn_open(const char *file, GError **error)
{
    g_autoptr(GError) why = NULL;
    onednn.usable = set_up(file, &why);
    if (!onednn.usable) {
        g_strlcpy(onednn.description, why->message, sizeof onednn.description);
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    const dnnl_version_t *v = onednn.version();
    onednn.bf16 = (onednn.get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) ==
                  dnnl_cpu_isa_avx512_core_bf16;
    onednn.tiles = (onednn.get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_amx) ==
                   dnnl_cpu_isa_avx512_core_amx;
    onednn.int8 = (onednn.get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_vnni) ==
                  dnnl_cpu_isa_avx512_core_vnni;
    g_snprintf(onednn.description, sizeof onednn.description, "oneDNN %d.%d.%d%s", v->major,
               v->minor, v->patch, onednn.bf16 ? ", bf16" : "");
    return TRUE;
}

void
onednn_enter_thread(void)
{
    static _Thread_local gboolean said;
    if (onednn.set_threads != NULL && !said) {
        onednn.set_threads(1);
        said = TRUE;
    }
}
