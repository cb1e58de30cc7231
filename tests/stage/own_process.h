/* own_process.h: a pipeline of one stage, here or in processes which are the test's program again:
 * PROGRAM --serve COMPONENT KEY=NUMBER,… --stage=stage --connect=URL. */
#pragma once

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/pool.h>
#include <tenon/stage.h>
#include <tenon/wire.h>

#include "tn_test.h"

typedef struct {
    const char *component;
    const char *place;   /* NULL: here */
    const char *options; /* "workers=2,restart=1": numbers, or truth of restart and insecure */
} Own;

static inline TnSpec *
own_spec(const Own *own)
{
    TnSpec *spec = tn_spec_new(TN_IFACE_STAGE, own->component, (TnWhere){ "c.lua", 1 });
    g_auto(GStrv) words = g_strsplit(own->options, ",", -1);
    for (guint i = 0; words[i] && *words[i]; i++) {
        const char *equals = strchr(words[i], '=');
        g_autofree char *key = g_strndup(words[i], (gsize)(equals - words[i]));
        const gint64 number = g_ascii_strtoll(equals + 1, NULL, 10);
        const gboolean truth = strcmp(key, "restart") == 0 || strcmp(key, "insecure") == 0;
        tn_value_set(tn_spec_options(spec), key,
                     truth ? tn_value_bool(number != 0) : tn_value_int(number));
    }
    if (own->place)
        tn_value_set(tn_spec_options(spec), "place", tn_value_string(own->place));
    return spec;
}

/* Its name is "stage". */
static inline TnPipeline *
own_pipeline(TnContext *context, const Own *own, TnPort **port, GError **error)
{
    static char *words[6];
    static TnPlacing placing;
    g_autoptr(TnSpec) spec = own_spec(own);
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        g_clear_pointer(&words[i], g_free);
    words[0] = g_file_read_link("/proc/self/exe", NULL);
    words[1] = g_strdup("--serve");
    words[2] = g_strdup(own->component);
    words[3] = g_strdup(own->options);
    placing = (TnPlacing){ .launch = (const char *const *)words, .digest = "d" };
    TnPipeline *pipeline =
        tn_pipeline_new(context, 1, (const char *const[]){ "stage" }, (TnSpec *const[]){ spec },
                        own->place ? &placing : NULL, error);
    *port = pipeline ? tn_pipeline_port(pipeline, "stage", error) : NULL;
    return pipeline;
}

/* One that must come to be. */
static inline TnPipeline *
own_open(TnContext *context, const Own *own, TnPort **port)
{
    g_autoptr(GError) error = NULL;
    TnPipeline *pipeline = own_pipeline(context, own, port, &error);
    TN_REQUIRE_NO_ERROR(error);
    return pipeline;
}

/* --- A process that is not what it says --------------------------------------------------------- */

#define OWN_ROGUE "TN_TEST_ROGUE" /* in the environment: own_serve is own_rogue */

static inline TnValue *
own_rogue_about(void)
{
    TnValue *about = tn_value_map(), *schema = tn_value_map(), *fields = tn_value_list();
    TnValue *field = tn_value_map();
    tn_value_set(field, "name", tn_value_string("x"));
    tn_value_set(field, "dtype", tn_value_string("i64"));
    tn_value_set(field, "shape", tn_value_list());
    tn_value_push(fields, field);
    tn_value_set(schema, "fields", fields);
    tn_value_set(schema, "length", tn_value_int(0));
    tn_value_set(schema, "samples", tn_value_int(0));
    tn_value_set(about, "schema", schema);
    tn_value_set(about, "data", tn_value_map());
    tn_value_set(about, "pid", tn_value_int(getpid()));
    return about;
}

/* Says that it gives x i64[] and takes nothing, and answers whatever it is asked with version 1. */
static inline int
own_rogue(const char *url)
{
    g_autoptr(TnValue) hello = tn_value_map();
    g_autoptr(TnValue) about = own_rogue_about();
    g_autoptr(TnTensor) x = tn_tensor_new(NULL, tn_type(TN_DTYPE_I64, 0, NULL), NULL);
    const TnWireHold none = { NULL, NULL };
    TnWireEvent event;
    TnStatus status;
    *(gint64 *)tn_storage_memory(tn_tensor_storage(x)) = 5;
    tn_value_set(hello, "program", tn_value_string(tn_version()));
    tn_value_set(hello, "config", tn_value_string("d"));
    tn_value_set(hello, "stage", tn_value_string("stage"));
    tn_value_set(hello, "world", tn_value_string("0 of 1"));
    g_autoptr(TnWire) wire = tn_wire_new(
        &(TnWireOptions){ .address = url, .insecure = TRUE, .hello = hello, .about = about }, NULL);
    do {
        status = wire ? tn_wire_next(wire, 10000, &event) : TN_FAILED;
        if (status == TN_OK && event.kind == TN_WIRE_ASKED)
            tn_wire_answer(wire, event.peer, event.number, 1, 1, &x, none);
        if (status == TN_OK)
            tn_wire_event_clear(&event);
    } while (status == TN_OK);
    return 1;
}

/* --- Processes ---------------------------------------------------------------------------------- */

static inline int
own_serve(const TnPlugin *plugin, char **argv)
{
    if (g_getenv(OWN_ROGUE))
        return own_rogue(strchr(argv[5], '=') + 1);
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    const TnPlacing placing = { .launch = (const char *const[]){ "none", NULL },
                                .digest = "d",
                                .here = "stage" };
    const Own own = { argv[2], "ipc", argv[3] };
    if (!tn_registry_add(plugin, &error))
        return 3;
    g_autoptr(TnSpec) spec = own_spec(&own);
    g_autoptr(TnPipeline) pipeline = tn_pipeline_new(context, 1, (const char *const[]){ "stage" },
                                                     (TnSpec *const[]){ spec }, &placing, &error);
    if (!pipeline)
        return 2;
    const TnServe options = { .stage = "stage",
                              .address = strchr(argv[5], '=') + 1,
                              .insecure = TRUE,
                              .placing = &placing,
                              .parent = getppid(),
                              .timeout = 30 };
    return tn_stage_serve(pipeline, context, &options, &error) ? 0 : 1;
}

/* A process that joins an address by itself. */
static inline GPid
own_member(const Own *own)
{
    GPid pid = 0;
    g_autoptr(GError) error = NULL;
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *connect = g_strconcat("--connect=", own->place, NULL);
    const char *const argv[] = { self,    "--serve", own->component, own->options, "--stage=stage",
                                 connect, NULL };
    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL,
                  NULL, NULL, &pid, &error);
    TN_REQUIRE_NO_ERROR(error);
    return pid;
}

/* Its end, which comes by itself or by a signal. */
static inline void
own_end(GPid pid, gint signal)
{
    if (signal)
        kill(pid, signal);
    waitpid(pid, NULL, 0);
}

/* An address of this host that nobody is at. (transfer full). */
static inline char *
own_tcp(void)
{
    return g_strdup_printf("tcp://127.0.0.1:%u", tn_test_port());
}
