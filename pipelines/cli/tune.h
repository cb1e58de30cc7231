/* tune.h: what the parts of `tenon tune` share. */
#pragma once

#include <tenon/program.h>

typedef gboolean (*TuneGraph)(TnGraph *graph, gpointer data, GError **error);
/* Calls func with a graph for each of the sizes that are measured without a config, until one gives
 * FALSE. */
gboolean tune_grid(TuneGraph func, gpointer data, GError **error);
/* Those of them that are neither products nor convolutions. */
gboolean tune_layers(TuneGraph func, gpointer data, GError **error);
