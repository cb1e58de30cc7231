/* bench-samples.h: what `batch_invariant` costs, for every number of samples. */
#pragma once

#include <tenon/bench.h>

gboolean bench_samples_register(GError **error);
