/* show-kernels.h */
#pragma once

#include "job-verbs.h"

/* Prints which table of measured times is in use, and each node of the job's graphs that more than one
 * kernel can compute, with the kernel chosen and what chose it. */
gboolean show_kernels(TnVerbCall *call, TnJob *job, GError **error);
