/* bench-busy.h: processes that do nothing but keep processors busy, beside which a case is measured. */
#pragma once

#include <glib.h>

#define BUSY_MOST 256

/* Starts n (at most BUSY_MOST) of them, one on each of the first n processors that this process may use,
 * round and round; pids gets their numbers. FALSE with TN_ERROR_FAILED if the system refuses one: none
 * is left then. Before threads that hold locks are started. */
gboolean busy_start(guint n, GPid *pids, GError **error);
void busy_stop(guint n, const GPid *pids);
