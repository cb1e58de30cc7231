/* bench-wire.h: the cases of edges between threads, processes and hosts. */
#pragma once

#include <tenon/bench.h>

gboolean bench_wire_register(GError **error);
