/* bench-training.h: a config of a network, prepared like any job, of which one graph is run over and over on
 * one batch. */
#pragma once

#include <tenon/base.h>
#include <tenon/host.h>
#include <tenon/program.h>

typedef struct {
    TnHost *host;
    TnSpec *root;
    TnJob *job;
    TnFunction *step; /* the graph that is measured */
    guint n_inputs;
    TnTensor *inputs[TN_MAX_FIELDS];
    TnExec *exec;
    gint64 batch;
} BenchTraining;

/* The job's function whose name ends with `graph`, of a config that is called so; NULL with *error. (transfer
 * none). */
TnFunction *bench_function_of(const TnJob *job, const char *config, const char *graph,
                              GError **error);

/* t: all zero. settings: n overrides of the config; integers among the inputs are below classes. Also
 * after a failure t is to be cleared. */
gboolean bench_training_open(BenchTraining *t, const char *config, const char *graph, gint n,
                             const char *const *settings, gint64 classes, GError **error);
void bench_training_clear(BenchTraining *t);
/* Binds the inputs, as a user does before a call. */
gboolean bench_training_bind(BenchTraining *t, GError **error);
/* Runs what is bound. */
gboolean bench_training_step(BenchTraining *t, GError **error);
