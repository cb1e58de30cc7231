/* store-private.h: between a store and the context it belongs to. */
#pragma once

#include <tenon/context.h>
#include <tenon/store.h>

/* Variables made from now on take their memory from the context's limit; NULL: from no limit. The
 * context outlives the setting. */
void tn_store_set_context(TnStore *store, TnContext *context);
