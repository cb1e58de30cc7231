/* library.h: oneDNN, opened when the plugin is initialised. It has threads and settings of its own,
 * so nothing links it. */
#pragma once

#include <glib.h>
#include <oneapi/dnnl/dnnl.h>

/* A member for each function of the library that is called, of the type that its header gives. */
#define ONEDNN_FN(name) __typeof__(dnnl_##name) *name

typedef struct {
    gboolean usable;
    char description[160]; /* its version, or why it cannot be used */
    gboolean bf16;         /* the processor has instructions for products of bf16 */
    gboolean tiles;        /* and of tiles (AMX) */
    gboolean int8;         /* and of 8-bit integers: without them sums would saturate */
    dnnl_engine_t engine;
    dnnl_stream_t stream;       /* has no state on processors: shared by all threads */
    dnnl_primitive_attr_t attr; /* scratch memory is the caller's; f32 is computed in f32 */
    /* omp_set_num_threads, where the library's OpenMP did not begin with one thread; NULL: it
     * did. */
    void (*set_threads)(int n);
    ONEDNN_FN(version);
    ONEDNN_FN(engine_create);
    ONEDNN_FN(stream_create);
    ONEDNN_FN(get_effective_cpu_isa);
    ONEDNN_FN(set_max_cpu_isa);
    ONEDNN_FN(primitive_attr_create);
    ONEDNN_FN(primitive_attr_set_scratchpad_mode);
    ONEDNN_FN(primitive_attr_set_fpmath_mode);
    ONEDNN_FN(primitive_attr_destroy);
    ONEDNN_FN(primitive_attr_set_post_ops);
    ONEDNN_FN(post_ops_create);
    ONEDNN_FN(post_ops_destroy);
    ONEDNN_FN(post_ops_append_binary);
    ONEDNN_FN(memory_desc_init_by_strides);
    ONEDNN_FN(memory_desc_init_by_tag);
    ONEDNN_FN(memory_desc_equal);
    ONEDNN_FN(memory_desc_get_size);
    ONEDNN_FN(memory_create);
    ONEDNN_FN(memory_destroy);
    ONEDNN_FN(memory_set_data_handle);
    ONEDNN_FN(dilated_convolution_forward_desc_init);
    ONEDNN_FN(dilated_convolution_backward_data_desc_init);
    ONEDNN_FN(dilated_convolution_backward_weights_desc_init);
    ONEDNN_FN(matmul_desc_init);
    ONEDNN_FN(pooling_forward_desc_init);
    ONEDNN_FN(pooling_backward_desc_init);
    ONEDNN_FN(softmax_v2_forward_desc_init);
    ONEDNN_FN(layer_normalization_forward_desc_init);
    ONEDNN_FN(layer_normalization_backward_desc_init);
    ONEDNN_FN(batch_normalization_forward_desc_init);
    ONEDNN_FN(batch_normalization_backward_desc_init);
    ONEDNN_FN(lstm_forward_desc_init);
    ONEDNN_FN(lbr_gru_forward_desc_init);
    ONEDNN_FN(primitive_desc_create);
    ONEDNN_FN(primitive_desc_destroy);
    ONEDNN_FN(primitive_desc_query);
    ONEDNN_FN(primitive_desc_query_md);
    ONEDNN_FN(reorder_primitive_desc_create);
    ONEDNN_FN(primitive_create);
    ONEDNN_FN(primitive_destroy);
    ONEDNN_FN(primitive_execute);
} OneDnn;

extern OneDnn onednn;

/* Opens the library `file` and sets it up; FALSE with a sentence, which is kept as the
 * description, if it is not there or not one that this plugin knows. Thread: serial, once. */
gboolean onednn_open(const char *file, GError **error);
/* Whether a library that says so of itself is one that this plugin can call; FALSE with
 * TN_ERROR_VERSION or TN_ERROR_UNSUPPORTED. */
gboolean onednn_version_fits(const dnnl_version_t *version, GError **error);
/* Attributes as onednn.attr, which is one of them; FALSE: not all of it, or nothing, was made. */
gboolean onednn_attr_new(dnnl_primitive_attr_t *attr);
/* Before the library is called on a thread: it will not start threads of its own there. */
void onednn_enter_thread(void);
