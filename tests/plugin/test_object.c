/* test_object.c: instances: options checked with all faults at once, nested specs followed down,
 * thread rules kept; devices by name. */
// tn-test: label=threads
#include <pthread.h>

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/plugin.h>

#include "tn_test.h"

static void
set_up(void)
{
    g_autofree char *cache = tn_test_tmp_path("cache");
    g_autofree char *folder = tn_test_build_path("tests/plugins");
    g_setenv("XDG_CACHE_HOME", cache, TRUE);
    tn_registry_add_path(folder);
}

static TnSpec *
thing(const char *name, gint line)
{
    return tn_spec_new("test.thing/1", name, (TnWhere){ tn_intern("conf/exp.lua"), line });
}

static TnSpec *
box_spec(const char *name, gint64 size, gint line)
{
    TnSpec *spec = thing(name, line);
    TnValue *value = tn_value_int(size);
    tn_value_set_where(value, (TnWhere){ tn_intern("conf/exp.lua"), line });
    tn_value_set(tn_spec_options(spec), "size", value);
    return spec;
}

static gint64
call_int(TnObject *object, guint method, gint64 argument)
{
    const TnMethod *m = &tn_object_factory(object)->methods[method];
    g_autoptr(TnValue) map = tn_value_map();
    if (m->args.n > 0)
        tn_value_set(map, "times", tn_value_int(argument));
    g_autoptr(TnConfig) args = tn_config_new(&m->args, map, NULL);
    g_autoptr(TnValue) result = NULL;
    m->call(tn_object_self(object), tn_config_data(args), &result, NULL);
    return tn_value_get_int(result);
}

static void
created_used_and_gone(void)
{
    g_autoptr(TnSpec) spec = box_spec("box", 7, 3);
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < 1000; i++) {
        g_autoptr(TnObject) box = tn_object_new(spec, NULL, &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT_CMPINT(call_int(box, 0, 6), ==, 42);
        g_autoptr(TnObject) again = tn_object_ref(box);
        TN_ASSERT(tn_object_config(again) != NULL);
        TN_ASSERT_CMPSTR(tn_object_factory(again)->name, "box");
    }
}

static void
all_faults_at_once(void)
{
    g_autoptr(TnSpec) spec = box_spec("box", 101, 12);
    g_autoptr(GError) error = NULL;
    tn_value_set(tn_spec_options(spec), "mode", tn_value_string("ajar"));
    tn_value_set(tn_spec_options(spec), "lable", tn_value_string("x"));
    TN_ASSERT(tn_object_new(spec, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "conf/exp.lua", "size", "mode", "ajar",
                    "lable", "label");
    g_autoptr(TnSpec) unknown = thing("bax", 4);
    TN_ASSERT(tn_object_new(unknown, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "conf/exp.lua:4", "'bax'",
                    "did you mean 'box'?");
}

static void
create_says_where(void)
{
    g_autoptr(TnSpec) spec = box_spec("box", 13, 8);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_object_new(spec, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "conf/exp.lua:8", "'box'",
                    "nobody makes boxes of 13 litres");
    const TnFactory *op = tn_registry_find("tenon.op/1", "good_twice", NULL);
    TN_REQUIRE(op != NULL);
    TN_ASSERT(tn_object_create(op, NULL, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "good_twice", "no instances");
}

/* A fault in each place where a component can stand. */
static void
specs_are_followed_down(void)
{
    static const char *const wanted[][2] = { { "conf/exp.lua:2", "store.first.size" },
                                             { "conf/exp.lua:4", "store.boxes[2].size" },
                                             { "conf/exp.lua:5", "store.named.left.size" },
                                             { "conf/exp.lua:6", "store.extras.spare" },
                                             { "conf/exp.lua:7", "store.named[\"a.b\"].size" } };
    g_autoptr(TnSpec) rack = thing("rack", 1);
    g_autoptr(TnFaults) faults = tn_faults_new();
    TnValue *options = tn_spec_options(rack);
    TnValue *boxes = tn_value_list(), *named = tn_value_map(), *extras = tn_value_map();
    tn_value_set(options, "first", tn_value_spec(box_spec("box", 0, 2)));
    tn_value_push(boxes, tn_value_spec(box_spec("box", 5, 3)));
    tn_value_push(boxes, tn_value_spec(box_spec("box", 500, 4)));
    tn_value_set(options, "boxes", boxes);
    tn_value_set(named, "left", tn_value_spec(thing("box", 5)));
    tn_value_set(named, "a.b", tn_value_spec(thing("box", 7)));
    tn_value_set(options, "named", named);
    tn_value_set(extras, "spare", tn_value_spec(thing("crate", 6)));
    tn_value_set(options, "extras", extras);
    TN_ASSERT(!tn_spec_check(rack, "store", faults));
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, G_N_ELEMENTS(wanted));
    for (guint i = 0; i < tn_faults_count(faults) && i < G_N_ELEMENTS(wanted); i++) {
        TN_ASSERT_CONTAINS(tn_faults_text(faults, i), wanted[i][0]);
        TN_ASSERT_CONTAINS(tn_faults_text(faults, i), wanted[i][1]);
    }
}

/* A component given by its name alone, and one given without its option's name. */
static void
short_forms_are_followed_too(void)
{
    g_autoptr(TnSpec) rack = thing("rack", 1);
    g_autoptr(TnFaults) faults = tn_faults_new();
    TnValue *boxes = tn_value_list(), *crate = tn_value_string("crate");
    tn_value_set_where(crate, (TnWhere){ tn_intern("conf/exp.lua"), 3 });
    tn_value_push(boxes, tn_value_string("rack"));
    tn_value_push(boxes, crate);
    tn_value_set(tn_spec_options(rack), "boxes", boxes);
    tn_value_set(tn_spec_options(rack), "1", tn_value_spec(box_spec("box", 500, 2)));
    TN_ASSERT(!tn_spec_check(rack, "store", faults));
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, 2);
    TN_ASSERT_CONTAINS(tn_faults_text(faults, 0), "conf/exp.lua:2: store.first.size");
    TN_ASSERT_CONTAINS(tn_faults_text(faults, 1), "conf/exp.lua:3: store.boxes[2]");
}

static void
a_sound_tree_has_no_fault(void)
{
    g_autoptr(TnSpec) rack = thing("rack", 1);
    g_autoptr(TnSpec) inner = thing("rack", 2);
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(GError) error = NULL;
    TnValue *boxes = tn_value_list();
    tn_value_push(boxes, tn_value_spec(box_spec("serial_box", 5, 3)));
    tn_value_push(boxes, tn_value_spec(box_spec("owner_box", 6, 4)));
    tn_value_set(tn_spec_options(inner), "boxes", boxes);
    tn_value_set(tn_spec_options(rack), "first", tn_value_spec(tn_spec_ref(inner)));
    /* A mark of a search may stand for any option. */
    tn_value_set(tn_spec_options(inner), "first",
                 tn_value_spec(tn_spec_new("tenon.search/1", "choice", (TnWhere){ NULL, 0 })));
    TN_ASSERT(tn_spec_check(rack, NULL, faults));
    TN_ASSERT_CMPUINT(tn_faults_count(faults), ==, 0);
    g_autoptr(TnObject) object = tn_object_new(rack, NULL, &error);
    TN_ASSERT_NO_ERROR(error);
}

typedef struct {
    TnObject *object;
} Use;

static void *
use_often(void *data)
{
    const Use *use = data;
    for (guint i = 0; i < 200; i++) {
        tn_object_enter(use->object);
        call_int(use->object, 1, 0);
        tn_object_leave(use->object);
    }
    return NULL;
}

/* How often two calls overlapped while one thread used a and another b. */
static gint64
collisions(TnObject *a, TnObject *b)
{
    Use uses[2] = { { a }, { b } };
    pthread_t threads[2];
    const gint64 before = call_int(a, 1, 0);
    for (guint i = 0; i < 2; i++)
        TN_REQUIRE(pthread_create(&threads[i], NULL, use_often, &uses[i]) == 0);
    for (guint i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return call_int(a, 1, 0) - before;
}

static void
thread_rules_are_kept(void)
{
    g_autoptr(TnSpec) serial = box_spec("serial_box", 1, 1);
    g_autoptr(TnSpec) module = box_spec("module_box", 1, 1);
    g_autoptr(TnSpec) any = box_spec("box", 1, 1);
    g_autoptr(TnObject) one = tn_object_new(serial, NULL, NULL);
    g_autoptr(TnObject) left = tn_object_new(module, NULL, NULL);
    g_autoptr(TnObject) right = tn_object_new(module, NULL, NULL);
    g_autoptr(TnObject) loose = tn_object_new(any, NULL, NULL);
    TN_REQUIRE(one != NULL && left != NULL && right != NULL && loose != NULL);
    TN_ASSERT_CMPINT(collisions(one, one), ==, 0);
    TN_ASSERT_CMPINT(collisions(left, right), ==, 0);
    /* Without a rule they do overlap: the counter can count. */
    TN_ASSERT_CMPINT(collisions(loose, loose), >, 0);
    /* A thread may enter again what it holds. */
    tn_object_enter(one);
    tn_object_enter(one);
    tn_object_leave(one);
    tn_object_leave(one);
}

/* --- Devices ---------------------------------------------------------------------------------- */

typedef struct {
    gint64 index;
} NthOptions;
static const TnOption nth_rows[] = {
    { .name = "index",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(NthOptions, index),
      TN_RANGE_I(0, 3),
      .help = "which one" },
};
static gint64 last_index = -1;
static gint n_destroyed;

static void *
device_create(TnConfig *config, TnContext *context, GError **error)
{
    (void)context;
    const NthOptions *options = tn_config_data(config);
    last_index = options != NULL ? options->index : -1;
    if (last_index == 3) {
        g_set_error(error, TN_ERROR, TN_ERROR_DEVICE, "it is on fire");
        return NULL;
    }
    return g_new0(int, 1);
}

static void
device_destroy(void *self)
{
    n_destroyed++;
    g_free(self);
}

static const TnDeviceVTable device_vtable = { .size = sizeof(TnDeviceVTable),
                                              .kind = "nth",
                                              .host_memory = TRUE };
static const TnFactory nth = { .size = sizeof(TnFactory),
                               .iface = "tenon.device/1",
                               .name = "nth",
                               .help = "x",
                               .options = TN_OPTIONS(NthOptions, nth_rows),
                               .create = device_create,
                               .destroy = device_destroy,
                               .vtable = &device_vtable };
static const TnFactory *const device_factories[] = { &nth, NULL };
static const TnPlugin devices = { TN_PLUGIN_HEAD("nth", "1", "MIT", "x"),
                                  .factories = device_factories };

static void
devices_by_name(void)
{
    static const char *const bad[] = { "nth:", "nth:x", "nth:-1", ":1", "", "nth:1:2" };
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_registry_add(&devices, NULL));
    TnDevice *device = tn_device_open("nth:2", NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(last_index, ==, 2);
    TN_ASSERT_CMPSTR(tn_device_name(device), "nth:2");
    TN_ASSERT_CMPSTR(tn_device_kind(device), "nth");
    tn_device_unref(device);
    TN_ASSERT_CMPINT(n_destroyed, ==, 1);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        TN_ASSERT(tn_device_open(bad[i], NULL, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "names no device");
    }
    TN_ASSERT(tn_device_open("nth:9", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "index");
    TN_ASSERT(tn_device_open("nth:3", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DEVICE, "'nth:3'", "on fire");
    TN_ASSERT(tn_device_open("mth", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "device 'mth'", "'nth'");
}

static const TnKernel no_kernels[1];
static const TnKernelTable nth_table = {
    .size = sizeof nth_table, .kind = "nth", .kernel_size = sizeof(TnKernel), .kernels = no_kernels
};
static const TnFactory nth_kernels = { .size = sizeof(TnFactory),
                                       .iface = "tenon.kernel/1",
                                       .name = "nth-kernels",
                                       .help = "x",
                                       .vtable = &nth_table };
static const TnFactory *const kernel_factories[] = { &nth_kernels, NULL };
static const TnPlugin quick = { TN_PLUGIN_HEAD("quick", "1", "MIT", "x"),
                                .factories = kernel_factories };

/* "kind+plugin": the plugin is opened, must have kernels of that kind, and is done without if it
 * cannot be used. */
static void
devices_with_kernels_of_others(void)
{
    static const char *const good[] = { "nth+quick", "nth:2+quick", "nth+init_fails",
                                        "nth+quick+init_fails" };
    static const char *const bad[] = { "nth+", "+quick", "nth++quick", "nth+quick:1+" };
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = tn_test_build_path("tests/plugins-broken");
    tn_registry_add_path(folder);
    TN_REQUIRE(tn_registry_plugin("nth") != NULL || tn_registry_add(&devices, NULL));
    TN_REQUIRE(tn_registry_add(&quick, NULL));
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        TnDevice *device = tn_device_open(good[i], NULL, &error);
        TN_REQUIRE_NO_ERROR(error);
        TN_ASSERT_CMPSTR(tn_device_name(device), good[i]);
        TN_ASSERT_CMPSTR(tn_device_kind(device), "nth");
        tn_device_unref(device);
    }
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        TN_ASSERT(tn_device_open(bad[i], NULL, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "names no device");
    }
    TN_ASSERT(tn_device_open("nth+quik", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "device 'nth+quik'", "plugin 'quik'");
    TN_ASSERT(tn_device_open("nth+nth", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "plugin 'nth'", "kind nth");
}

static const TnTest tests[] = {
    { "created_used_and_gone", created_used_and_gone },
    { "all_faults_at_once", all_faults_at_once },
    { "create_says_where", create_says_where },
    { "specs_are_followed_down", specs_are_followed_down },
    { "short_forms_are_followed_too", short_forms_are_followed_too },
    { "a_sound_tree_has_no_fault", a_sound_tree_has_no_fault },
    { "thread_rules_are_kept", thread_rules_are_kept },
    { "devices_by_name", devices_by_name },
    { "devices_with_kernels_of_others", devices_with_kernels_of_others },
};
TN_TEST_MAIN_WITH("objects", tests, set_up, NULL)
