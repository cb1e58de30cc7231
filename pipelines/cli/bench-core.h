/* bench-core.h: the cases that need nothing but what every experiment uses. */
#pragma once

#include <tenon/bench.h>

gboolean bench_core_register(GError **error);
/* For cases that start processes as well as for this one. */
void bench_core_set_threads(guint n);
/* Overrides of the networks' configs; v (transfer none) stays. */
void bench_core_set_overrides(gint n, const char *const *v);
