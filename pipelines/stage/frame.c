/* frame.c: frames and the pool in which they wait for their next life, buffers and all. */
#include "stage-private.h"

struct TnFrame {
    atomic_int refs;
    guint n;
    guint64 seq;
    TnFramePool *pool; /* NULL: of nobody */
    TnFrame *next;     /* in the pool */
    gpointer keep;
    GDestroyNotify keep_destroy;
    TnTensor *tensors[TN_MAX_FIELDS];
};

/* What a pool's list of returned frames is when it is closed. */
static TnFrame closed;

TnFrame *
tn_frame_new(guint64 seq, guint n)
{
    g_return_val_if_fail(n <= TN_MAX_FIELDS, NULL);
    TnFrame *frame = g_new0(TnFrame, 1);
    atomic_init(&frame->refs, 1);
    frame->seq = seq;
    frame->n = n;
    return frame;
}

TnFrame *
tn_frame_ref(TnFrame *frame)
{
    atomic_fetch_add_explicit(&frame->refs, 1, memory_order_relaxed);
    return frame;
}

static void
pool_unref(TnFramePool *pool)
{
    if (atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&pool->lock);
    g_free(pool);
}

static void
frame_free(TnFrame *frame)
{
    for (guint i = 0; i < frame->n; i++)
        if (frame->tensors[i])
            tn_tensor_unref(frame->tensors[i]);
    if (frame->keep_destroy)
        frame->keep_destroy(frame->keep);
    if (frame->pool)
        pool_unref(frame->pool);
    g_free(frame);
}

/* FALSE: the pool is closed. Once the frame is there the pool may be gone. */
static gboolean
give_back(TnFramePool *pool, TnFrame *frame)
{
    TnFrame *first = atomic_load_explicit(&pool->returned, memory_order_relaxed);
    do {
        if (first == &closed)
            return FALSE;
        frame->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&pool->returned, &first, frame,
                                                    memory_order_release, memory_order_relaxed));
    return TRUE;
}

void
tn_frame_unref(TnFrame *frame)
{
    if (frame && atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_acq_rel) == 1 &&
        !(frame->pool && give_back(frame->pool, frame)))
        frame_free(frame);
}

guint64
tn_frame_seq(const TnFrame *frame)
{
    return frame->seq;
}

void
tn_frame_set_seq(TnFrame *frame, guint64 seq)
{
    frame->seq = seq;
}

guint
tn_frame_n(const TnFrame *frame)
{
    return frame->n;
}

TnTensor *
tn_frame_tensor(const TnFrame *frame, guint i)
{
    g_return_val_if_fail(i < frame->n, NULL);
    return frame->tensors[i];
}

void
tn_frame_set(TnFrame *frame, guint i, TnTensor *tensor)
{
    g_return_if_fail(i < frame->n);
    TnTensor *old = frame->tensors[i];
    frame->tensors[i] = tensor;
    if (old)
        tn_tensor_unref(old);
}

gint64
tn_frame_samples(const TnFrame *frame)
{
    if (frame->n == 0 || !frame->tensors[0] || tn_tensor_rank(frame->tensors[0]) == 0)
        return 1;
    return tn_tensor_dim(frame->tensors[0], 0);
}

TnTensor *
tn_frame_buffer(TnFrame *frame, guint i, TnType type, GError **error)
{
    g_return_val_if_fail(i < frame->n, NULL);
    TnTensor *tensor = frame->tensors[i];
    if (tensor && tn_type_equal(tn_tensor_type(tensor), &type) && tn_tensor_is_writable(tensor))
        return tensor;
    tensor = tn_tensor_new(NULL, type, error);
    if (tensor)
        tn_frame_set(frame, i, tensor);
    return tensor;
}

gpointer
tn_frame_keep(const TnFrame *frame)
{
    return frame->keep;
}

void
tn_frame_set_keep(TnFrame *frame, gpointer keep, GDestroyNotify destroy)
{
    if (frame->keep_destroy)
        frame->keep_destroy(frame->keep);
    frame->keep = keep;
    frame->keep_destroy = destroy;
}

/* --- Pool ---------------------------------------------------------------------------------- */

TnFramePool *
tn_frame_pool_new(guint n_fields)
{
    TnFramePool *pool = g_new0(TnFramePool, 1);
    atomic_init(&pool->refs, 1);
    pthread_mutex_init(&pool->lock, NULL);
    pool->n_fields = n_fields;
    return pool;
}

static void
free_list(TnFrame *frame)
{
    while (frame) {
        TnFrame *next = frame->next;
        frame_free(frame);
        frame = next;
    }
}

void
tn_frame_pool_close(TnFramePool *pool)
{
    if (!pool)
        return;
    free_list(pool->free);
    free_list(atomic_exchange_explicit(&pool->returned, &closed, memory_order_acquire));
    pool_unref(pool);
}

static TnFrame *
make(TnFramePool *pool)
{
    TnFrame *frame = tn_frame_new(0, pool->n_fields);
    frame->pool = pool;
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return frame;
}

/* Only the lock's holder takes some away, and all at once: what others put there meanwhile cannot be
 * mistaken for what was there before. */
TnFrame *
tn_frame_pool_take(TnFramePool *pool, guint64 seq)
{
    pthread_mutex_lock(&pool->lock);
    if (!pool->free)
        pool->free = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
    TnFrame *frame = pool->free;
    if (frame && (pool->free = frame->next))
        __builtin_prefetch(pool->free, 1); /* whoever gave it back has it in its cache */
    pthread_mutex_unlock(&pool->lock);
    if (!frame)
        frame = make(pool);
    atomic_store_explicit(&frame->refs, 1, memory_order_relaxed);
    frame->next = NULL;
    frame->seq = seq;
    return frame;
}
