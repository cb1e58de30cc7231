/* store-private.h: between a store and the context it belongs to. */
#pragma once

#include <tenon/context.h>
#include <tenon/store.h>

/* Variables made from now on take their memory from the context's limit; NULL: from no limit. The
 * context outlives the setting. */
void tn_store_set_context(TnStore *store, TnContext *context);

/* A number that is another after the variable's elements were written. Who writes them other than by
 * tn_var_write and tn_var_reset says so by touching it. Thread: any. */
guint64 tn_var_version(const TnVar *var);
void tn_var_touch(TnVar *var);
