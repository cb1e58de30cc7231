/* launch.h: how a stage's own process is started with what a config was loaded with. */
#pragma once

#include "job-verbs.h"

/* Words of `tenon stage` for tn_host_set_launch. config: its path; kept: folder of copies, NULL: none.
 * (transfer full): g_strfreev. */
char **launch_words(const ConfigOptions *options, const char *config, const char *kept,
                    gint n_overrides, const char *const *overrides, const TnHost *host);
