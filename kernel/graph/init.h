/* init.h: initial values of variables. */
#pragma once

#include <tenon/store.h>

/* Writes the initial elements of a variable, a pure function of (seed, info's name), to host
 * memory: row-major, in its dtype. FALSE with *error (TN_ERROR_NO_MEMORY) when an initialiser needs
 * more memory than there is. */
gboolean tn_init_fill(const TnVarInfo *info, guint64 seed, void *to, GError **error);
