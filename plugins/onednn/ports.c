/* ports.c: calls: a primitive, the copies around it, and the library's objects for their tensors.
 *
 * Where a primitive wants another layout than a tensor has, a reorder into scratch memory goes before
 * it, or one out of it after it. All of them are steps, each with slots for its tensors.
 *
 * The library's memory objects hold a pointer, so one execution needs a set of them to itself. Sets
 * are made with the call and kept; who runs it takes one that is free, without a lock, and a new one is
 * made only if more threads run the call at once than ever before. */
#include "ports.h"

#include <tenon/pool.h>

#define MOST_STEPS (ONEDNN_N_PORTS + 1)

/* A tensor of a step. */
typedef struct {
    int arg;
    dnnl_memory_desc_t desc;
    gint port; /* NOWHERE: in scratch */
    gsize at;  /* there */
} Slot;
#define NOWHERE (-1)

typedef struct {
    dnnl_primitive_t primitive;
    guint n; /* slots */
} Step;

/* The slots' objects, for one execution at a time. */
typedef struct Objects Objects;
struct Objects {
    Objects *next;
    gint taken; /* atomic */
    void **at;  /* what each was last set to; NULL: nothing */
    dnnl_exec_arg_t arg[];
};

/* Of a port: as the caller's tensor lies, and as the primitive wants it. */
typedef struct {
    gboolean present, copied, laid;
    dnnl_memory_desc_t plain, inner;
    gsize at; /* of the copy, in scratch */
} Port;

struct OneDnnCall {
    Step step[MOST_STEPS]; /* copies in, the primitive, copies out */
    guint n_steps;
    GArray *slots;    /* of Slot, step after step */
    Objects *objects; /* atomic: a list that only grows */
    gsize scratch;
    Port *laid; /* of ONEDNN_N_PORTS; NULL: none is laid by the caller */
};

/* --- Objects ---------------------------------------------------------------------------------- */

static void
objects_free(const OneDnnCall *call, Objects *objects)
{
    for (guint i = 0; i < call->slots->len; i++) {
        if (objects->arg[i].memory != NULL) {
            onednn.memory_destroy(objects->arg[i].memory);
        }
    }
    g_free(objects->at);
    g_free(objects);
}

/* Taken by the caller, and in the list; NULL: no memory. */
static Objects *
objects_new(OneDnnCall *call)
{
    const guint n = call->slots->len;
    Objects *objects = g_malloc0(sizeof *objects + n * sizeof *objects->arg);
    objects->taken = 1;
    objects->at = g_new0(void *, n);
    for (guint i = 0; i < n; i++) {
        const Slot *slot = &g_array_index(call->slots, Slot, i);
        dnnl_memory_t memory = NULL;
        if (onednn.memory_create(&memory, &slot->desc, onednn.engine, DNNL_MEMORY_NONE) !=
            dnnl_success) {
            objects_free(call, objects);
            return NULL;
        }
        objects->arg[i] = (dnnl_exec_arg_t){ slot->arg, memory };
    }
    do {
        objects->next = g_atomic_pointer_get(&call->objects);
    } while (!g_atomic_pointer_compare_and_exchange(&call->objects, objects->next, objects));
    return objects;
}

static Objects *
objects_take(OneDnnCall *call)
{
    for (Objects *o = g_atomic_pointer_get(&call->objects); o != NULL; o = o->next) {
        if (g_atomic_int_compare_and_exchange(&o->taken, 0, 1)) {
            return o;
        }
    }
    return objects_new(call);
}

static void
objects_give(Objects *objects)
{
    g_atomic_int_set(&objects->taken, 0);
}

/* A place that is where it was is not set again: the library would go through its padding, which
 * primitives leave 0. */
static dnnl_status_t
objects_set(const OneDnnCall *call, Objects *objects, void *const *ports, char *scratch)
{
    for (guint i = 0; i < call->slots->len; i++) {
        const Slot *slot = &g_array_index(call->slots, Slot, i);
        void *at = slot->port == NOWHERE ? scratch + slot->at : ports[slot->port];
        if (objects->at[i] == at) {
            continue;
        }
        const dnnl_status_t status = onednn.memory_set_data_handle(objects->arg[i].memory, at);
        if (status != dnnl_success) {
            objects->at[i] = NULL;
            return status;
        }
        objects->at[i] = at;
    }
    return dnnl_success;
}

/* --- Making ----------------------------------------------------------------------------------- */

static gsize
place(OneDnnCall *call, gsize bytes)
{
    const gsize at = call->scratch;
    call->scratch += (bytes + 63) & ~(gsize)63;
    return at;
}

static void
add_slot(OneDnnCall *call, int arg, const dnnl_memory_desc_t *desc, gint port, gsize at)
{
    const Slot slot = { arg, *desc, port, at };
    g_array_append_val(call->slots, slot);
    call->step[call->n_steps].n++;
}

/* Takes desc; its slots are there. FALSE: no code. */
static gboolean
add_step(OneDnnCall *call, dnnl_primitive_desc_t desc)
{
    Step *step = &call->step[call->n_steps];
    const dnnl_memory_desc_t *scratchpad =
        onednn.primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    if (onednn.memory_desc_get_size(scratchpad) > 0) {
        add_slot(call, DNNL_ARG_SCRATCHPAD, scratchpad, NOWHERE, 0);
    }
    call->n_steps++;
    const dnnl_status_t status = onednn.primitive_create(&step->primitive, desc);
    onednn.primitive_desc_destroy(desc);
    if (status != dnnl_success) {
        step->primitive = NULL;
    }
    return step->primitive != NULL;
}

static gboolean
port_init(Port *port, const OneDnnPortUse *use, dnnl_primitive_desc_t desc)
{
    port->present = use->box != NULL && use->box->dtype != TN_DTYPE_NONE;
    if (!port->present) {
        return TRUE;
    }
    if (!onednn_plain_desc(use->box, &port->plain)) {
        return FALSE;
    }
    port->inner = use->own ? *onednn.primitive_desc_query_md(desc, dnnl_query_exec_arg_md, use->arg)
                           : port->plain;
    port->laid = use->laid;
    port->copied = !use->laid && !onednn.memory_desc_equal(&port->plain, &port->inner);
    return TRUE;
}

/* From a port, or a place in scratch, to another. */
static gboolean
add_reorder(OneDnnCall *call, const dnnl_memory_desc_t *from, gint from_port, gsize from_at,
            const dnnl_memory_desc_t *to, gint to_port, gsize to_at)
{
    dnnl_primitive_desc_t desc;
    if (onednn.reorder_primitive_desc_create(&desc, from, onednn.engine, to, onednn.engine,
                                             onednn.attr) != dnnl_success) {
        return FALSE;
    }
    add_slot(call, DNNL_ARG_FROM, from, from_port, from_at);
    add_slot(call, DNNL_ARG_TO, to, to_port, to_at);
    return add_step(call, desc);
}

static gboolean
add_copy(OneDnnCall *call, const Port *port, gint number, gboolean out)
{
    return out ? add_reorder(call, &port->inner, NOWHERE, port->at, &port->plain, number, 0)
               : add_reorder(call, &port->plain, number, 0, &port->inner, NOWHERE, port->at);
}

static gboolean
add_copies(OneDnnCall *call, const Port *ports, const OneDnnPortUse *uses, gboolean out)
{
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        if (ports[i].copied && uses[i].out == out && !add_copy(call, &ports[i], i, out)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Takes desc. */
static gboolean
add_primitive(OneDnnCall *call, const Port *ports, const OneDnnPortUse *uses,
              dnnl_primitive_desc_t desc)
{
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        if (ports[i].present) {
            add_slot(call, uses[i].arg, &ports[i].inner, ports[i].copied ? NOWHERE : i,
                     ports[i].at);
        }
    }
    return add_step(call, desc);
}

/* Steps follow each other, so all use the same place. */
static void
place_scratchpads(OneDnnCall *call)
{
    gsize bytes = 0;
    for (guint i = 0; i < call->slots->len; i++) {
        const Slot *slot = &g_array_index(call->slots, Slot, i);
        if (slot->arg == DNNL_ARG_SCRATCHPAD) {
            bytes = MAX(bytes, onednn.memory_desc_get_size(&slot->desc));
        }
    }
    const gsize at = place(call, bytes);
    for (guint i = 0; i < call->slots->len; i++) {
        Slot *slot = &g_array_index(call->slots, Slot, i);
        slot->at = slot->arg == DNNL_ARG_SCRATCHPAD ? at : slot->at;
    }
}

static void
note_laid(OneDnnCall *call, const Port *ports)
{
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        if (ports[i].laid && call->laid == NULL) {
            call->laid = g_memdup2(ports, ONEDNN_N_PORTS * sizeof *ports);
        }
    }
}

/* Takes desc. */
static gboolean
fill(OneDnnCall *call, dnnl_primitive_desc_t desc, const OneDnnPortUse *uses)
{
    Port ports[ONEDNN_N_PORTS] = { 0 };
    gboolean ok = TRUE;
    for (gint i = 0; ok && i < ONEDNN_N_PORTS; i++) {
        ok = port_init(&ports[i], &uses[i], desc);
        if (ports[i].copied) {
            ports[i].at = place(call, onednn.memory_desc_get_size(&ports[i].inner));
        }
    }
    note_laid(call, ports);
    if (!ok || !add_copies(call, ports, uses, FALSE)) {
        onednn.primitive_desc_destroy(desc);
        return FALSE;
    }
    if (!add_primitive(call, ports, uses, desc) || !add_copies(call, ports, uses, TRUE)) {
        return FALSE;
    }
    place_scratchpads(call);
    return TRUE;
}

static OneDnnCall *
call_new(void)
{
    OneDnnCall *call = g_new0(OneDnnCall, 1);
    call->slots = g_array_new(FALSE, TRUE, sizeof(Slot));
    return call;
}

/* A call whose steps are there or, if not `made`, could not be made: freed. what: of the primitive failed. */
static OneDnnCall *
with_objects(OneDnnCall *call, gboolean made, const char *what, GError **error)
{
    Objects *first = made ? objects_new(call) : NULL;
    if (first == NULL) {
        onednn_call_free(call);
        g_set_error(error, TN_ERROR, made ? TN_ERROR_NO_MEMORY : TN_ERROR_UNSUPPORTED,
                    "oneDNN cannot make this primitive%s; leave out the plugin",
                    made ? "'s objects" : what);
        return NULL;
    }
    objects_give(first);
    return call;
}

OneDnnCall *
onednn_call_new(dnnl_primitive_desc_t desc, const OneDnnPortUse *uses, GError **error)
{
    OneDnnCall *call = call_new();
    const gboolean made = desc != NULL && fill(call, desc, uses);
    return with_objects(call, made, desc != NULL ? "'s code" : "", error);
}

OneDnnCall *
onednn_lay_new(const OneDnnCall *of, OneDnnPort number, gsize *bytes, GError **error)
{
    const Port *port = &of->laid[number];
    *bytes = 0;
    if (onednn.memory_desc_equal(&port->plain, &port->inner)) {
        return NULL;
    }
    *bytes = onednn.memory_desc_get_size(&port->inner);
    OneDnnCall *call = call_new();
    const gboolean made = add_reorder(call, &port->plain, ONEDNN_A, 0, &port->inner, ONEDNN_OUT, 0);
    if (made) {
        place_scratchpads(call);
    }
    return with_objects(call, made, "'s code", error);
}

gboolean
onednn_lie_alike(const OneDnnCall *a, const OneDnnCall *b, OneDnnPort port)
{
    return onednn.memory_desc_equal(&a->laid[port].inner, &b->laid[port].inner);
}

void
onednn_call_spare(OneDnnCall *call, gint64 n)
{
    gint64 there = 0;
    for (const Objects *o = call->objects; o != NULL; o = o->next) {
        there++;
    }
    for (; there < n; there++) {
        Objects *objects = objects_new(call);
        if (objects == NULL) {
            return;
        }
        objects_give(objects);
    }
}

gint64
onednn_at_once(gint64 slices)
{
    return MIN(slices, (gint64)tn_pool_threads());
}

void
onednn_call_free(OneDnnCall *call)
{
    for (Objects *o = call->objects, *next; o != NULL; o = next) {
        next = o->next;
        objects_free(call, o);
    }
    for (guint i = 0; i < call->n_steps; i++) {
        if (call->step[i].primitive != NULL) {
            onednn.primitive_destroy(call->step[i].primitive);
        }
    }
    g_array_unref(call->slots);
    g_free(call->laid);
    g_free(call);
}

gsize
onednn_call_scratch(const OneDnnCall *call)
{
    return call->scratch;
}

/* --- Running ---------------------------------------------------------------------------------- */

TnStatus
onednn_call_run(OneDnnCall *call, void *const *ports, void *scratch)
{
    onednn_enter_thread();
    Objects *objects = objects_take(call);
    if (objects == NULL) {
        return TN_NO_MEMORY;
    }
    dnnl_status_t status = objects_set(call, objects, ports, scratch);
    const dnnl_exec_arg_t *args = objects->arg;
    for (guint i = 0; i < call->n_steps && status == dnnl_success; i++) {
        const Step *step = &call->step[i];
        status = onednn.primitive_execute(step->primitive, onednn.stream, (int)step->n, args);
        args += step->n;
    }
    objects_give(objects);
    if (status == dnnl_success) {
        return TN_OK;
    }
    return status == dnnl_out_of_memory ? TN_NO_MEMORY : TN_FAILED;
}
