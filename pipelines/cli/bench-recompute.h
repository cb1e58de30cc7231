/* bench-recompute.h: what half the memory costs. */
#pragma once

#include <tenon/bench.h>

gboolean bench_recompute_register(GError **error);
