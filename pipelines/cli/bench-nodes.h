/* bench-nodes.h: what the executor costs a node. */
#pragma once

#include <tenon/bench.h>

gboolean bench_nodes_register(GError **error);
