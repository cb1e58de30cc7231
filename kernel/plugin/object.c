/* object.c: instances of factories: checked, created, counted, and used under the thread rule their
 * factory states. */
#include "plugin-private.h"

#include <tenon/option.h>

#include "base/refs.h"

struct TnObject {
    TnRefs refs;
    const TnFactory *factory;
    TnConfig *config;
    void *self;
    pthread_mutex_t *lock; /* SERIAL: own; MODULE: the library's; NULL: none */
    pthread_mutex_t own;   /* recursive */
    pthread_t creator;     /* OWNER */
};

/* Factories made at run time belong to no library and share one lock for TN_THREADS_MODULE. */
static pthread_mutex_t run_time_calls = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void
set_lock(TnObject *object)
{
    object->creator = pthread_self();
    if (object->factory->threads == TN_THREADS_SERIAL) {
        pthread_mutexattr_t attr;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(&object->own, &attr);
        pthread_mutexattr_destroy(&attr);
        object->lock = &object->own;
    } else if (object->factory->threads == TN_THREADS_MODULE) {
        TnLoaded *loaded = tn_registry_owner_of(object->factory);
        object->lock = loaded != NULL ? &loaded->calls : &run_time_calls;
    }
}

void
tn_object_enter(TnObject *object)
{
    if (object->lock != NULL)
        pthread_mutex_lock(object->lock);
#ifndef NDEBUG
    if (object->factory->threads == TN_THREADS_OWNER &&
        !pthread_equal(object->creator, pthread_self()))
        g_critical("%s '%s' may be used only by the thread that created it", object->factory->iface,
                   object->factory->name);
#endif
}

void
tn_object_leave(TnObject *object)
{
    if (object->lock != NULL)
        pthread_mutex_unlock(object->lock);
}

/* Takes config. */
static TnObject *
create(const TnFactory *factory, TnConfig *config, TnContext *context, GError **error)
{
    g_autoptr(GError) why = NULL;
    TnObject *object = g_new0(TnObject, 1);
    tn_refs_init(&object->refs);
    object->factory = factory;
    object->config = config;
    set_lock(object);
    tn_object_enter(object);
    object->self = factory->create(config, context, &why);
    tn_object_leave(object);
    if (object->self != NULL) {
        tn_registry_count(factory, 1);
        return object;
    }
    if (why == NULL)
        g_set_error(&why, TN_ERROR, TN_ERROR_FAILED, "creating it failed, and it does not say why");
    tn_error_prefix(&why, "%s '%s'", factory->iface, factory->name);
    g_propagate_error(error, g_steal_pointer(&why));
    tn_object_unref(object);
    return NULL;
}

static gboolean
can_create(const TnFactory *factory, GError **error)
{
    if (factory->create == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "%s '%s' has no instances",
                    factory->iface, factory->name);
        return FALSE;
    }
    return tn_registry_score(factory, error) > 0;
}

TnObject *
tn_object_create(const TnFactory *factory, const TnValue *options, TnContext *context,
                 GError **error)
{
    g_return_val_if_fail(factory != NULL, NULL);
    if (!can_create(factory, error))
        return NULL;
    TnConfig *config = tn_config_new(&factory->options, options, error);
    if (config == NULL) {
        tn_error_prefix(error, "%s '%s'", factory->iface, factory->name);
        return NULL;
    }
    return create(factory, config, context, error);
}

TnObject *
tn_object_new(const TnSpec *spec, TnContext *context, GError **error)
{
    g_return_val_if_fail(spec != NULL, NULL);
    g_autoptr(TnFaults) faults = tn_faults_new();
    const TnWhere where = tn_spec_where(spec);
    if (!tn_spec_check(spec, NULL, faults)) {
        tn_faults_to_error(faults, error);
        return NULL;
    }
    const TnFactory *factory =
        tn_registry_find(tn_spec_iface(spec), tn_spec_component(spec), error);
    if (factory == NULL || !can_create(factory, error))
        return NULL;
    g_autofree char *folder = where.file != NULL ? g_path_get_dirname(where.file) : NULL;
    TnConfig *config =
        tn_config_parse(&factory->options, tn_spec_options(spec), NULL, where, folder, faults);
    if (config == NULL) {
        tn_faults_to_error(faults, error);
        return NULL;
    }
    TnObject *object = create(factory, config, context, error);
    if (object == NULL && where.file != NULL)
        tn_error_prefix(error, "%s:%d", where.file, where.line);
    return object;
}

TnObject *
tn_object_ref(TnObject *object)
{
    tn_refs_inc(&object->refs);
    return object;
}

void
tn_object_unref(TnObject *object)
{
    if (object == NULL || !tn_refs_dec(&object->refs))
        return;
    if (object->self != NULL) {
        tn_object_enter(object);
        if (object->factory->destroy != NULL)
            object->factory->destroy(object->self);
        tn_object_leave(object);
        tn_registry_count(object->factory, -1);
    }
    tn_config_unref(object->config);
    if (object->lock == &object->own)
        pthread_mutex_destroy(&object->own);
    g_free(object);
}

const TnFactory *
tn_object_factory(const TnObject *object)
{
    return object->factory;
}

void *
tn_object_self(const TnObject *object)
{
    return object->self;
}

const void *
tn_object_vtable(const TnObject *object)
{
    return object->factory->vtable;
}

TnConfig *
tn_object_config(const TnObject *object)
{
    return object->config;
}
