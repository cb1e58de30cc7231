/* bench-core.h: the program's own benchmark cases. */
#pragma once

#include <tenon/bench.h>
#include <tenon/plugin.h>

gboolean bench_core_register(GError **error);
/* For cases that start processes as well as for this one. */
void bench_core_set_threads(guint n);
/* Overrides of the networks' configs; v (transfer none) stays. */
void bench_core_set_overrides(gint n, const char *const *v);

/* --- For the files of the cases ---------------------------------------------------------------- */

extern gint bench_n_overrides;
extern const char *const *bench_overrides;

/* bench-network.c: the row of the case's name. */
gboolean bench_run_network(TnBench *bench, GError **error);
gboolean bench_compile_network(TnBench *bench, GError **error);
/* bench-fed.c */
gboolean bench_train_mlp_pipeline(TnBench *bench, GError **error);
/* bench-process.c */
gboolean bench_train_mlp_two_jobs(TnBench *bench, GError **error);
gboolean bench_startup(TnBench *bench, GError **error);
/* With all that is in it. */
void bench_remove_folder(const char *folder);
/* bench-nodes.c */
gboolean bench_executor_nodes(TnBench *bench, GError **error);
/* bench-samples.c: of the network that the case's name ends in. */
gboolean bench_samples(TnBench *bench, GError **error);
/* bench-recompute.c: of the network that the case's name ends in. */
gboolean bench_recompute(TnBench *bench, GError **error);
/* bench-wire.c, bench-placed.c */
gboolean bench_wire_inproc(TnBench *bench, GError **error);
gboolean bench_wire_ipc_small(TnBench *bench, GError **error);
gboolean bench_wire_ipc_large(TnBench *bench, GError **error);
gboolean bench_wire_tcp_large(TnBench *bench, GError **error);
gboolean bench_train_placed(TnBench *bench, GError **error);
extern const TnFactory bench_nothing_stage; /* frames without anything in them */
