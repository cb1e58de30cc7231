/* bench-profile.h: what cases that run one program over and over say of it beside their speed. */
#pragma once

#include <tenon/bench.h>
#include <tenon/program.h>

/* From now on peak resident memory counts anew, where the system lets it. */
void bench_forget_memory(void);
/* Lines case.gflops, case.peak_share and case.rss of a program that takes `seconds` a run, and with
 * --profile its table, from runs of their own. The peak is measured with the first case. */
gboolean bench_report_program(TnBench *bench, TnExec *exec, double seconds, GError **error);
