/* weights.h: for tests of runs that go on: the weights of a checkpoint. */
#pragma once

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"

/* Every variable of the checkpoint at a step, as one digest. */
static inline guint64
weights_at(TnRunDir *run, guint step)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path =
        g_strdup_printf("%s/checkpoints/%012u.safetensors", tn_run_path(run), step);
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, &error);
    TN_REQUIRE_NO_ERROR(error);
    guint64 hash = TN_HASH_INIT;
    for (guint i = 0; i < tn_safetensors_n(file); i++)
        hash = tn_hash(hash, tn_safetensors_data(file, i),
                       (gsize)tn_type_bytes(tn_safetensors_type(file, i)));
    return hash;
}
