/* streams.c: on devices whose streams run by themselves, which stream an instruction goes to and
 * what it waits for: every earlier instruction of another stream that touches the same bytes,
 * unless that is known to be done already. */
#include "plan-private.h"

#include <tenon/plugin.h>

#define MAX_STREAMS 8 /* of one device */

typedef struct {
    const TnPlan *plan;
    TnProgram *program;
    guint *n_streams; /* of each device; 0: the host's order */
    guint32 *first;   /* of each device's streams */
    guint32 *last;    /* of each stream: its latest instruction + 1 */
    /* [stream][other]: other's instructions before this number are done when stream goes on. */
    guint32 *known;
    guint32 **clock; /* of each instruction: its stream's row of `known` when it was issued */
    GArray *waits;
} Streams;

static guint
streams_of(TnDevice *device)
{
    const TnDeviceVTable *vtable = tn_device_vtable(device);
    if (tn_device_is_host(device) || !TN_HAS(vtable, stream_new)) {
        return 0;
    }
    /* Without events streams cannot wait for each other. */
    const guint n = TN_HAS(vtable, n_streams) && TN_HAS(vtable, event_new)
                        ? vtable->n_streams(tn_device_self(device))
                        : 1;
    return CLAMP(n, 1, MAX_STREAMS);
}

static void
make_streams(Streams *s)
{
    TnProgram *program = s->program;
    GArray *streams = g_array_new(FALSE, TRUE, sizeof(TnProgramStream));
    g_array_set_size(streams, 1);
    for (guint d = 0; d < program->n_devices; d++) {
        s->n_streams[d] = streams_of(program->devices[d]);
        s->first[d] = streams->len;
        for (guint i = 0; i < s->n_streams[d]; i++) {
            const TnProgramStream stream = { .device = d };
            g_array_append_val(streams, stream);
        }
    }
    program->n_streams = streams->len;
    program->streams = (TnProgramStream *)(void *)g_array_free(streams, FALSE);
}

static gboolean
touch(const TnPlace *a, TnReach x, const TnPlace *b, TnReach y)
{
    return a->kind == b->kind && a->index == b->index && x.start < y.start + y.bytes &&
           y.start < x.start + x.bytes;
}

static gboolean
scratch_touches(const Streams *s, guint32 number, guint32 other)
{
    const TnProgram *program = s->program;
    const TnInstruction *code = &program->instructions[number],
                        *with = &program->instructions[other];
    if (code->scratch.kind == TN_PLACE_NONE) {
        return FALSE;
    }
    for (guint32 a = with->first_arg; a < with->first_arg + with->n_in + with->n_out; a++) {
        if (touch(&code->scratch, s->plan->scratch[number], &program->places[a],
                  s->plan->reach[a])) {
            return TRUE;
        }
    }
    return with->scratch.kind != TN_PLACE_NONE &&
           touch(&code->scratch, s->plan->scratch[number], &with->scratch, s->plan->scratch[other]);
}

/* Whether `later` must wait for `earlier`: one writes what the other reads or writes. */
static gboolean
conflict(const Streams *s, guint32 earlier, guint32 later)
{
    const TnProgram *program = s->program;
    const TnInstruction *x = &program->instructions[earlier], *y = &program->instructions[later];
    for (guint i = 0; i < (guint)x->n_in + x->n_out; i++) {
        const guint32 a = x->first_arg + i;
        const TnPlaceKind kind = program->places[a].kind;
        for (guint k = i < x->n_in ? y->n_in : 0; k < (guint)y->n_in + y->n_out; k++) {
            const guint32 b = y->first_arg + k;
            if (kind != TN_PLACE_NONE && touch(&program->places[a], s->plan->reach[a],
                                               &program->places[b], s->plan->reach[b])) {
                return TRUE;
            }
        }
    }
    return scratch_touches(s, earlier, later) || scratch_touches(s, later, earlier);
}

/* The stream whose latest instruction this one waits for anyhow; else the one that has least to
 * do. */
static guint32
choose_stream(const Streams *s, guint32 number)
{
    const TnProgram *program = s->program;
    const guint device = program->infos[number].device;
    guint32 best = s->first[device];
    for (guint i = 0; i < s->n_streams[device]; i++) {
        const guint32 stream = s->first[device] + i;
        if (s->last[stream] > 0 && conflict(s, s->last[stream] - 1, number)) {
            return stream;
        }
        if (s->last[stream] < s->last[best]) {
            best = stream;
        }
    }
    return best;
}

static void
add_wait(Streams *s, guint32 number, guint32 other)
{
    TnProgram *program = s->program;
    TnInstruction *code = &program->instructions[other];
    guint32 *known = s->known + program->instructions[number].stream * program->n_streams;
    if (code->signal == TN_NO_EVENT) {
        code->signal = program->n_events++;
    }
    g_array_append_val(s->waits, code->signal);
    for (guint32 i = 0; i < program->n_streams; i++) {
        known[i] = MAX(known[i], s->clock[other][i]);
    }
    known[code->stream] = MAX(known[code->stream], other + 1);
}

static void
issue(Streams *s, guint32 number)
{
    TnProgram *program = s->program;
    TnInstruction *code = &program->instructions[number];
    const guint n = program->n_streams;
    code->first_wait = s->waits->len;
    if (s->n_streams[program->infos[number].device] > 0 && code->barrier < 0) {
        code->stream = choose_stream(s, number);
        /* Backwards, so that a late instruction makes waiting for earlier ones needless. */
        for (guint32 other = number; other-- > 0;) {
            const TnInstruction *earlier = &program->instructions[other];
            if (earlier->stream != 0 && earlier->stream != code->stream &&
                s->known[code->stream * n + earlier->stream] <= other &&
                conflict(s, other, number)) {
                add_wait(s, number, other);
            }
        }
        s->last[code->stream] = number + 1;
    }
    code->n_waits = s->waits->len - code->first_wait;
    s->clock[number] = g_memdup2(s->known + code->stream * n, n * sizeof(guint32));
}

static void
collect_events(TnProgram *program)
{
    program->event_device = g_new0(guint, program->n_events + 1);
    for (guint i = 0; i < program->n_instructions; i++) {
        if (program->instructions[i].signal != TN_NO_EVENT) {
            program->event_device[program->instructions[i].signal] = program->infos[i].device;
        }
    }
}

static gboolean
is_simple(const TnProgram *program)
{
    for (guint i = 0; i < program->n_instructions; i++) {
        if (program->instructions[i].stream != 0 || program->instructions[i].barrier >= 0) {
            return FALSE;
        }
    }
    return TRUE;
}

void
tn_plan_streams(TnPlan *plan)
{
    TnProgram *program = plan->program;
    Streams s = { .plan = plan,
                  .program = program,
                  .n_streams = g_new0(guint, program->n_devices + 1),
                  .first = g_new0(guint32, program->n_devices + 1),
                  .clock = g_new0(guint32 *, program->n_instructions + 1),
                  .waits = g_array_new(FALSE, FALSE, sizeof(guint32)) };
    make_streams(&s);
    s.last = g_new0(guint32, program->n_streams);
    s.known = g_new0(guint32, (gsize)program->n_streams * program->n_streams);
    for (guint32 i = 0; i < program->n_instructions; i++) {
        issue(&s, i);
    }
    collect_events(program);
    program->simple = is_simple(program);
    program->n_waits = s.waits->len;
    program->waits = (guint32 *)(void *)g_array_free(s.waits, FALSE);
    for (guint32 i = 0; i < program->n_instructions; i++) {
        g_free(s.clock[i]);
    }
    g_free(s.n_streams);
    g_free(s.first);
    g_free(s.last);
    g_free(s.known);
    g_free(s.clock);
}
