/* bench-turns.h: two programs run in turns, so that what else the machine does slows both alike. */
#pragma once

#include <tenon/program.h>

/* For about so many seconds, the first of each turn in turns. *one: the median time of a run of the first; *share: the
 * median of each turn's times of the second by the first. */
gboolean bench_take_turns(TnExec *const exec[2], double seconds, double *one, double *share,
                          GError **error);
