/* record.h: what is kept of how a run computes, and how a resumed run is held against it. */
#pragma once

#include "job-verbs.h"

/* The tree, overrides applied, as resolved.lua, and copies of what the config was made of. */
gboolean record_config(TnRunDir *run, const LoadedConfig *loaded, GError **error);
/* provenance.json of a job that is prepared. */
gboolean record_provenance(TnRunDir *run, TnJob *job, const char *config, gint n_overrides,
                           const char *const *overrides, GError **error);
/* The kernels of a prepared job for whoever runs the rest of it: {kernels, kernel_choices}. (transfer
 * full). */
TnValue *record_kernels(TnJob *job, GError **error);
/* Holds a prepared job against the provenance of the run that it goes on with. Another processor,
 * other plugins and other kernels are said as one warning on call->err. Other data is
 * TN_ERROR_CONFIG, unless it is allowed: then the provenance names the new data from now on. */
gboolean record_compare(TnVerbCall *call, TnRunDir *run, TnJob *job, gboolean changed_data,
                        GError **error);
