/* init.h: initial values of variables. */
#pragma once

#include <tenon/store.h>

/* A host tensor of info's type with its initial value, a pure function of (seed, info's name). (transfer full). */
TnTensor *tn_init_make(const TnVarInfo *info, guint64 seed, GError **error);
