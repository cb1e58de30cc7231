/* bench-wire.h: the cases of edges between threads, processes and hosts. */
#pragma once

#include <tenon/bench.h>

gboolean bench_wire_register(GError **error);

/* bench-placed.c: a case of the same table. */
gboolean bench_train_placed(TnBench *bench, GError **error);
