/* kernels.h: what finding and running a kernel share between compile and exec. */
#pragma once

#include <tenon/device.h>

/* Text of this thread's last tn_run_fail without an exec (a node computed while compiling). (transfer none). */
const char *tn_run_last_text(void);
