/* samples.c: the library picks its code by the number of images, and does not say in which order that sums.
 * So where the number may not show (TnNode.batch_invariant) it is asked to show it: every call that a
 * node is cut into is compared with the call on a single image, bit for bit. */
#include "samples.h"

#include <string.h>

#include <tenon/base.h>

/* Images of a slice that are compared: the first, the last and some between. */
#define MOST_COMPARED 4
/* Random numbers that differ: a prime, so that they meet others in every row and image. */
#define DRAWN 16381

typedef struct {
    const OneDnnSamples *s;
    char *at[ONEDNN_MORE], *alone, *scratch; /* alone: what an image by itself gives */
} Trial;

/* Normal ones, rounded from f32, over and over: to draw all of them would take as long as the calls. NULL: no
 * memory. */
static char *
random_numbers(TnDtype dtype, gsize bytes, const char *name)
{
    const gsize drawn = MIN(bytes, DRAWN * tn_dtype_size(dtype));
    float *numbers = tn_data_alloc(DRAWN * sizeof(float));
    char *memory = numbers != NULL ? tn_data_alloc(bytes) : NULL;
    if (memory != NULL) {
        TnRandom random;
        tn_random_init(&random, 0, name, 0);
        tn_random_fill_normal(&random, DRAWN, numbers);
        tn_dtype_info(dtype)->store(memory, numbers, 1, drawn / tn_dtype_size(dtype));
        for (gsize at = drawn; at < bytes; at += drawn) {
            memcpy(memory + at, memory, MIN(drawn, bytes - at));
        }
    }
    tn_data_free(numbers);
    return memory;
}

static gboolean
trial_init(Trial *t, const OneDnnSamples *s)
{
    static const char *const names[] = { "a", "b", "bias" };
    const gsize images = (gsize)s->images;
    gboolean ok = TRUE;
    *t = (Trial){ .s = s };
    for (gint i = 0; i < ONEDNN_OUT && ok; i++) {
        const gsize bytes = s->bytes[i] * (i == ONEDNN_A ? images : 1);
        t->at[i] = bytes > 0 ? random_numbers(s->dtype, bytes, names[i]) : NULL;
        ok = bytes == 0 || t->at[i] != NULL;
    }
    t->at[ONEDNN_OUT] = tn_data_alloc(images * s->bytes[ONEDNN_OUT]);
    t->alone = tn_data_alloc(s->bytes[ONEDNN_OUT]);
    t->scratch = tn_data_alloc(MAX(onednn_call_scratch(s->alone), s->slices->bytes));
    return ok && t->at[ONEDNN_OUT] != NULL && t->alone != NULL && t->scratch != NULL;
}

static void
trial_clear(Trial *t)
{
    for (gint i = 0; i < ONEDNN_MORE; i++) {
        tn_data_free(t->at[i]);
    }
    tn_data_free(t->alone);
    tn_data_free(t->scratch);
}

static gboolean
run_slice(const Trial *t, gint64 slice, gboolean moves)
{
    void *ports[ONEDNN_N_PORTS] = { NULL };
    for (gint i = 0; i < ONEDNN_MORE; i++) {
        ports[i] = t->at[i] == NULL ? NULL : t->at[i] + (moves ? slice * t->s->step[i] : 0);
    }
    const gboolean last = slice == t->s->slices->n - 1;
    return onednn_call_run(t->s->slices->call[last], ports, t->scratch) == TN_OK;
}

/* Of the first n images. */
static gboolean
as_alone(const Trial *t, gint64 n)
{
    const gsize *bytes = t->s->bytes;
    const gint64 compared = MIN(n, MOST_COMPARED);
    for (gint64 i = 0; i < compared; i++) {
        const gsize image = (gsize)(compared == 1 ? 0 : i * (n - 1) / (compared - 1));
        void *ports[ONEDNN_N_PORTS] = { [ONEDNN_A] = t->at[ONEDNN_A] + image * bytes[ONEDNN_A],
                                        [ONEDNN_B] = t->at[ONEDNN_B],
                                        [ONEDNN_BIAS] = t->at[ONEDNN_BIAS],
                                        [ONEDNN_OUT] = t->alone };
        if (onednn_call_run(t->s->alone, ports, t->scratch) != TN_OK ||
            memcmp(t->alone, t->at[ONEDNN_OUT] + image * bytes[ONEDNN_OUT], bytes[ONEDNN_OUT]) !=
                0) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
onednn_same_alone(const OneDnnSamples *s)
{
    const Slices *cut = s->slices;
    const gint64 last = cut->all - (cut->n - 1) * cut->per;
    Trial t;
    gboolean same = trial_init(&t, s);
    const TnFloatMode mode = tn_float_mode_enter();
    if (!same) {
        /* No memory: nothing is known. */
    } else if (s->by_images) {
        same = run_slice(&t, 0, FALSE) && as_alone(&t, cut->per);
        if (last != cut->per) {
            same = same && run_slice(&t, cut->n - 1, FALSE) && as_alone(&t, last);
        }
    } else {
        for (gint64 i = 0; same && i < cut->n; i++) {
            same = run_slice(&t, i, TRUE);
        }
        same = same && as_alone(&t, s->images);
    }
    trial_clear(&t);
    tn_float_mode_leave(mode);
    return same;
}

/* --- What was found out ----------------------------------------------------------------------- */

static struct {
    GMutex lock;
    GHashTable *rows; /* of names: what + 1 */
} found;

gint
onednn_found(const char *name)
{
    g_mutex_lock(&found.lock);
    const gint what =
        found.rows != NULL ? GPOINTER_TO_INT(g_hash_table_lookup(found.rows, name)) - 1 : -1;
    g_mutex_unlock(&found.lock);
    return what;
}

void
onednn_keep(const char *name, gint what)
{
    g_mutex_lock(&found.lock);
    if (found.rows == NULL) {
        found.rows = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    g_hash_table_insert(found.rows, g_strdup(name), GINT_TO_POINTER(what + 1));
    g_mutex_unlock(&found.lock);
}
