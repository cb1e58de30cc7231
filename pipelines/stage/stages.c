/* stages.c: the library's own stages, registered like any plugin's. */
#include <pthread.h>

#include "stages.h"

static const TnFactory *const factories[] = { &tn_stage_read, &tn_stage_map, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("stages", "0.1.0", "Apache-2.0",
                   "stages of a pipeline that every experiment may use"),
    .factories = factories,
};

static void
register_once(void)
{
    g_autoptr(GError) error = NULL;
    if (!tn_registry_add(&descriptor, &error))
        tn_log("stage", TN_LOG_ERROR, "%s", error->message);
}

void
tn_stages_register(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_once);
}
