/* bench-samples.h: what `batch_invariant` costs, for every number of samples. */
#pragma once

#include <tenon/bench.h>

gboolean bench_samples_register(GError **error);
/* Overrides of the networks' config; v (transfer none) stays. */
void bench_samples_set_overrides(gint n, const char *const *v);
