/* call.c: primitives of oneDNN 2.x and the copies around them.
 *
 * A primitive is made for the layout that the library likes best ("any"); where that is not how a
 * tensor lies, a reorder into scratch memory goes before it, or one out of it after it. Layouts
 * that last from one operator to the next would be met here: a port whose tensor has that layout
 * already needs no reorder. */
#include "call.h"

#include "library.h"

G_STATIC_ASSERT(ONEDNN_DIMS == DNNL_MAX_NDIMS);

typedef struct {
    gboolean present;
    int arg;                  /* the primitive's name for it */
    dnnl_memory_desc_t plain; /* as the caller's tensor lies */
    dnnl_memory_desc_t inner; /* as the primitive wants it */
    dnnl_primitive_t reorder; /* between the two; NULL: they are the same */
    gsize at;                 /* of the copy in scratch */
} Port;

struct OneDnnCall {
    dnnl_primitive_t primitive;
    Port port[ONEDNN_N_PORTS];
    /* Of the primitive and of the reorders, which use the same place one after the other. */
    dnnl_memory_desc_t scratchpad[1 + ONEDNN_N_PORTS];
    gsize scratchpad_at, scratch;
};

/* --- Descriptors ------------------------------------------------------------------------------ */

static dnnl_data_type_t
type_of(TnDtype dtype)
{
    return dtype == TN_DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

static gboolean
plain_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc)
{
    return onednn.memory_desc_init_by_strides(desc, box->rank, box->dims, type_of(box->dtype),
                                              box->strides) == dnnl_success;
}

static gboolean
any_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc)
{
    return onednn.memory_desc_init_by_tag(desc, box->rank, box->dims, type_of(box->dtype),
                                          dnnl_format_tag_any) == dnnl_success;
}

static dnnl_primitive_desc_t
desc_new(const_dnnl_op_desc_t op, dnnl_primitive_desc_t hint)
{
    dnnl_primitive_desc_t desc = NULL;
    const dnnl_status_t status =
        onednn.primitive_desc_create(&desc, op, onednn.attr, onednn.engine, hint);
    return status == dnnl_success ? desc : NULL;
}

static void
desc_free(dnnl_primitive_desc_t desc)
{
    if (desc != NULL) {
        onednn.primitive_desc_destroy(desc);
    }
}

/* Zeros after the last element, as many as y's size needs: fewer than were asked for where a stride
 * does not reach them. */
static void
pads_after(const OneDnnConv *conv, dnnl_dims_t after)
{
    const gint first = conv->w.rank - conv->n;
    for (gint i = 0; i < conv->n; i++) {
        const gint64 reach = conv->dilation[i] * (conv->w.dims[first + i] - 1);
        const gint64 last = (conv->y.dims[2 + i] - 1) * conv->stride[i] + reach;
        after[i] = last - conv->pad[i] - (conv->x.dims[2 + i] - 1);
    }
}

static dnnl_primitive_desc_t
conv_desc(const OneDnnConv *conv)
{
    /* Not dnnl_convolution_auto, which takes Winograd's for few of the sizes where it is faster. */
    const dnnl_alg_kind_t algorithm =
        conv->winograd ? dnnl_convolution_winograd : dnnl_convolution_direct;
    const gboolean bias = conv->bias.dtype != TN_DTYPE_NONE;
    OneDnnBox hint = conv->w; /* gradients of weights may be of another type than x */
    dnnl_memory_desc_t x, w, y, b, hint_w;
    dnnl_convolution_desc_t op;
    dnnl_dims_t dilates, after;
    hint.dtype = conv->x.dtype;
    if (!any_desc(&conv->x, &x) || !any_desc(&conv->w, &w) || !any_desc(&conv->y, &y) ||
        !any_desc(&hint, &hint_w) || (bias && !plain_desc(&conv->bias, &b))) {
        return NULL;
    }
    for (gint i = 0; i < conv->n; i++) {
        dilates[i] = conv->dilation[i] - 1;
    }
    pads_after(conv, after);
    /* Gradients want the forward convolution as a hint. As in training, for in inference Winograd's
     * algorithm takes weights that were transformed before, which the library does slowly. */
    dnnl_status_t status = onednn.dilated_convolution_forward_desc_init(
        &op, dnnl_forward_training, algorithm, &x, &hint_w, bias ? &b : NULL, &y, conv->stride,
        dilates, conv->pad, after);
    dnnl_primitive_desc_t forward = status == dnnl_success ? desc_new(&op, NULL) : NULL;
    if (forward == NULL || conv->kind == ONEDNN_CONV) {
        return forward;
    }
    if (conv->kind == ONEDNN_CONV_DATA) {
        status = onednn.dilated_convolution_backward_data_desc_init(
            &op, algorithm, &x, &w, &y, conv->stride, dilates, conv->pad, after);
    } else {
        status = onednn.dilated_convolution_backward_weights_desc_init(
            &op, algorithm, &x, &w, NULL, &y, conv->stride, dilates, conv->pad, after);
    }
    dnnl_primitive_desc_t backward = status == dnnl_success ? desc_new(&op, forward) : NULL;
    desc_free(forward);
    return backward;
}

/* Takes desc, which may be NULL. */
static OneDnnWay
way_of(dnnl_primitive_desc_t desc)
{
    const char *name = "";
    if (desc == NULL) {
        return ONEDNN_NOT;
    }
    onednn.primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name);
    const gboolean loops = g_str_has_prefix(name, "ref") || g_str_has_prefix(name, "simple");
    desc_free(desc);
    return loops ? ONEDNN_BY_LOOPS : ONEDNN_BY_CODE;
}

OneDnnWay
onednn_conv_way(const OneDnnConv *conv)
{
    onednn_enter_thread();
    return way_of(conv_desc(conv));
}

/* --- Making ----------------------------------------------------------------------------------- */

static gsize
place(OneDnnCall *call, gsize bytes)
{
    const gsize at = call->scratch;
    call->scratch += (bytes + 63) & ~(gsize)63;
    return at;
}

/* Takes desc. Its scratch memory becomes that of number i. */
static dnnl_primitive_t
primitive_new(OneDnnCall *call, dnnl_primitive_desc_t desc, gint i)
{
    dnnl_primitive_t primitive = NULL;
    call->scratchpad[i] = *onednn.primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    if (onednn.primitive_create(&primitive, desc) != dnnl_success) {
        primitive = NULL;
    }
    onednn.primitive_desc_destroy(desc);
    return primitive;
}

/* A port of the primitive, whose own layout is `inner`. */
static gboolean
port_set(OneDnnCall *call, OneDnnPort number, const OneDnnBox *box, int arg,
         const dnnl_memory_desc_t *inner)
{
    Port *port = &call->port[number];
    dnnl_primitive_desc_t desc;
    port->present = TRUE;
    port->arg = arg;
    port->inner = *inner;
    if (!plain_desc(box, &port->plain)) {
        return FALSE;
    }
    if (onednn.memory_desc_equal(&port->plain, &port->inner)) {
        return TRUE;
    }
    const gboolean out = number == ONEDNN_OUT;
    if (onednn.reorder_primitive_desc_create(&desc, out ? &port->inner : &port->plain,
                                             onednn.engine, out ? &port->plain : &port->inner,
                                             onednn.engine, onednn.attr) != dnnl_success) {
        return FALSE;
    }
    port->reorder = primitive_new(call, desc, 1 + (gint)number);
    port->at = place(call, onednn.memory_desc_get_size(&port->inner));
    return port->reorder != NULL;
}

/* What a kind of primitive calls its ports, and how it is asked for their layouts. */
typedef struct {
    dnnl_query_t query;
    int arg;
} PortName;

#define SRC                                                                                        \
    {                                                                                              \
        dnnl_query_src_md, DNNL_ARG_SRC                                                            \
    }
#define WEIGHTS                                                                                    \
    {                                                                                              \
        dnnl_query_weights_md, DNNL_ARG_WEIGHTS                                                    \
    }
#define DST                                                                                        \
    {                                                                                              \
        dnnl_query_dst_md, DNNL_ARG_DST                                                            \
    }
#define DIFF_DST                                                                                   \
    {                                                                                              \
        dnnl_query_diff_dst_md, DNNL_ARG_DIFF_DST                                                  \
    }
static const PortName forward_names[ONEDNN_N_PORTS] = {
    [ONEDNN_A] = SRC, [ONEDNN_B] = WEIGHTS, [ONEDNN_OUT] = DST
};
static const PortName conv_names[][ONEDNN_N_PORTS] = {
    [ONEDNN_CONV_DATA] = { [ONEDNN_A] = DIFF_DST,
                           [ONEDNN_B] = WEIGHTS,
                           [ONEDNN_OUT] = { dnnl_query_diff_src_md, DNNL_ARG_DIFF_SRC } },
    [ONEDNN_CONV_WEIGHT] = { [ONEDNN_A] = SRC,
                             [ONEDNN_B] = DIFF_DST,
                             [ONEDNN_OUT] = { dnnl_query_diff_weights_md, DNNL_ARG_DIFF_WEIGHTS } },
};

/* Takes desc, which may be NULL. */
static OneDnnCall *
call_new(dnnl_primitive_desc_t desc, const PortName *names, const OneDnnBox *const *boxes,
         GError **error)
{
    OneDnnCall *call = g_new0(OneDnnCall, 1);
    gboolean ok = desc != NULL;
    for (gint i = 0; ok && i < ONEDNN_N_PORTS; i++) {
        if (boxes[i] == NULL || boxes[i]->dtype == TN_DTYPE_NONE) {
            continue;
        }
        if (i == ONEDNN_BIAS) {
            dnnl_memory_desc_t bias;
            ok = plain_desc(boxes[i], &bias) &&
                 port_set(call, ONEDNN_BIAS, boxes[i], DNNL_ARG_BIAS, &bias);
        } else {
            ok = port_set(call, (OneDnnPort)i, boxes[i], names[i].arg,
                          onednn.primitive_desc_query_md(desc, names[i].query, 0));
        }
    }
    if (ok) {
        call->primitive = primitive_new(call, desc, 0);
        gsize bytes = 0;
        for (gint i = 0; i <= ONEDNN_N_PORTS; i++) {
            bytes = MAX(bytes, onednn.memory_desc_get_size(&call->scratchpad[i]));
        }
        call->scratchpad_at = place(call, bytes);
    } else {
        desc_free(desc);
    }
    if (call->primitive == NULL) {
        onednn_call_free(call);
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "oneDNN cannot make this %s; leave out the plugin",
                    desc != NULL ? "primitive's code" : "primitive");
        return NULL;
    }
    return call;
}

OneDnnCall *
onednn_conv_new(const OneDnnConv *conv, GError **error)
{
    const OneDnnBox *const boxes[][ONEDNN_N_PORTS] = {
        [ONEDNN_CONV] = { &conv->x, &conv->w, &conv->bias, &conv->y },
        [ONEDNN_CONV_DATA] = { &conv->y, &conv->w, &conv->bias, &conv->x },
        [ONEDNN_CONV_WEIGHT] = { &conv->x, &conv->y, &conv->bias, &conv->w },
    };
    onednn_enter_thread();
    return call_new(conv_desc(conv),
                    conv->kind == ONEDNN_CONV ? forward_names : conv_names[conv->kind],
                    boxes[conv->kind], error);
}

OneDnnCall *
onednn_matmul_new(const OneDnnMatmul *matmul, GError **error)
{
    const OneDnnBox *a = &matmul->a, *b = &matmul->b, *bias = &matmul->bias, *out = &matmul->out;
    const OneDnnBox *const boxes[ONEDNN_N_PORTS] = { a, b, bias, out };
    const gboolean has_bias = bias->dtype != TN_DTYPE_NONE;
    dnnl_memory_desc_t md[ONEDNN_N_PORTS];
    dnnl_matmul_desc_t op;
    dnnl_primitive_desc_t desc = NULL;
    onednn_enter_thread();
    if (plain_desc(a, &md[ONEDNN_A]) &&
        (matmul->pack ? any_desc(b, &md[ONEDNN_B]) : plain_desc(b, &md[ONEDNN_B])) &&
        (!has_bias || plain_desc(bias, &md[ONEDNN_BIAS])) && plain_desc(out, &md[ONEDNN_OUT]) &&
        onednn.matmul_desc_init(&op, &md[ONEDNN_A], &md[ONEDNN_B],
                                has_bias ? &md[ONEDNN_BIAS] : NULL,
                                &md[ONEDNN_OUT]) == dnnl_success) {
        desc = desc_new(&op, NULL);
    }
    return call_new(desc, forward_names, boxes, error);
}

/* Plain throughout: the library turns what it needs by itself. */
static dnnl_primitive_desc_t
pool_desc(const OneDnnPool *pool)
{
    const dnnl_alg_kind_t algorithm =
        pool->count_padding ? dnnl_pooling_avg_include_padding : dnnl_pooling_avg_exclude_padding;
    dnnl_memory_desc_t x, y;
    dnnl_pooling_desc_t op;
    if (!plain_desc(&pool->x, &x) || !plain_desc(&pool->y, &y) ||
        onednn.pooling_forward_desc_init(&op, dnnl_forward_training, algorithm, &x, &y,
                                         pool->stride, pool->kernel, pool->pad,
                                         pool->pad_after) != dnnl_success) {
        return NULL;
    }
    dnnl_primitive_desc_t forward = desc_new(&op, NULL);
    if (forward == NULL || !pool->gradient) {
        return forward;
    }
    const dnnl_status_t status = onednn.pooling_backward_desc_init(
        &op, algorithm, &x, &y, pool->stride, pool->kernel, pool->pad, pool->pad_after);
    dnnl_primitive_desc_t backward = status == dnnl_success ? desc_new(&op, forward) : NULL;
    desc_free(forward);
    return backward;
}

OneDnnWay
onednn_pool_way(const OneDnnPool *pool)
{
    onednn_enter_thread();
    return way_of(pool_desc(pool));
}

OneDnnCall *
onednn_pool_new(const OneDnnPool *pool, GError **error)
{
    static const PortName gradient_names[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = DIFF_DST, [ONEDNN_OUT] = { dnnl_query_diff_src_md, DNNL_ARG_DIFF_SRC }
    };
    const OneDnnBox *const forward[ONEDNN_N_PORTS] = { &pool->x, NULL, NULL, &pool->y };
    const OneDnnBox *const gradient[ONEDNN_N_PORTS] = { &pool->y, NULL, NULL, &pool->x };
    onednn_enter_thread();
    return call_new(pool_desc(pool), pool->gradient ? gradient_names : forward_names,
                    pool->gradient ? gradient : forward, error);
}

void
onednn_call_free(OneDnnCall *call)
{
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        if (call->port[i].reorder != NULL) {
            onednn.primitive_destroy(call->port[i].reorder);
        }
    }
    if (call->primitive != NULL) {
        onednn.primitive_destroy(call->primitive);
    }
    g_free(call);
}

gsize
onednn_call_scratch(const OneDnnCall *call)
{
    return call->scratch;
}

/* --- Running ---------------------------------------------------------------------------------- */

#define MOST_ARGS (ONEDNN_N_PORTS + 1)

/* The arguments of one execution: memory objects hold a pointer, so they are made for it. */
typedef struct {
    int n;
    dnnl_exec_arg_t arg[MOST_ARGS];
    dnnl_status_t status;
} Args;

static void
add(Args *args, int name, const dnnl_memory_desc_t *desc, void *at)
{
    dnnl_memory_t memory = NULL;
    if (args->status == dnnl_success) {
        args->status = onednn.memory_create(&memory, desc, onednn.engine, at);
    }
    if (args->status == dnnl_success) {
        args->arg[args->n++] = (dnnl_exec_arg_t){ name, memory };
    }
}

static dnnl_status_t
execute(Args *args, dnnl_primitive_t primitive, const dnnl_memory_desc_t *scratchpad, void *at)
{
    if (onednn.memory_desc_get_size(scratchpad) > 0) {
        add(args, DNNL_ARG_SCRATCHPAD, scratchpad, at);
    }
    if (args->status == dnnl_success) {
        args->status = onednn.primitive_execute(primitive, onednn.stream, args->n, args->arg);
    }
    for (int i = 0; i < args->n; i++) {
        onednn.memory_destroy(args->arg[i].memory);
    }
    return args->status;
}

/* An input into, or the output out of, the layout of the primitive. */
static dnnl_status_t
reorder(const OneDnnCall *call, OneDnnPort number, void *plain, char *scratch)
{
    const Port *port = &call->port[number];
    const gboolean out = number == ONEDNN_OUT;
    Args args = { .status = dnnl_success };
    add(&args, out ? DNNL_ARG_TO : DNNL_ARG_FROM, &port->plain, plain);
    add(&args, out ? DNNL_ARG_FROM : DNNL_ARG_TO, &port->inner, scratch + port->at);
    return execute(&args, port->reorder, &call->scratchpad[1 + number],
                   scratch + call->scratchpad_at);
}

static dnnl_status_t
run_primitive(const OneDnnCall *call, void *const *ports, char *scratch)
{
    Args args = { .status = dnnl_success };
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        const Port *port = &call->port[i];
        if (port->present) {
            add(&args, port->arg, &port->inner,
                port->reorder != NULL ? scratch + port->at : ports[i]);
        }
    }
    return execute(&args, call->primitive, &call->scratchpad[0], scratch + call->scratchpad_at);
}

TnStatus
onednn_call_run(const OneDnnCall *call, void *const *ports, void *scratch)
{
    dnnl_status_t status = dnnl_success;
    onednn_enter_thread();
    for (gint i = 0; i < ONEDNN_OUT && status == dnnl_success; i++) {
        if (call->port[i].reorder != NULL) {
            status = reorder(call, (OneDnnPort)i, ports[i], scratch);
        }
    }
    if (status == dnnl_success) {
        status = run_primitive(call, ports, scratch);
    }
    if (status == dnnl_success && call->port[ONEDNN_OUT].reorder != NULL) {
        status = reorder(call, ONEDNN_OUT, ports[ONEDNN_OUT], scratch);
    }
    if (status == dnnl_success) {
        return TN_OK;
    }
    return status == dnnl_out_of_memory ? TN_NO_MEMORY : TN_FAILED;
}
