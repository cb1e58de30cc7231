/* profiling.h: what --profile does in the verbs that run a job. */
#pragma once

#include <tenon/profile.h>

#include "job-verbs.h"

#define PROFILE_ROW(Struct, member)                                                                \
    {                                                                                              \
        .name = "profile", .type = TN_OPT_BOOL, .offset = G_STRUCT_OFFSET(Struct, member),         \
        .help = "measure where time and memory go: profile.txt and trace.json in the run's folder" \
    }

/* Watches the job that host prepares next. (transfer full): tn_profile_free, after the job. */
TnProfile *profiling_begin(TnVerbCall *call, TnHost *host);
/* The job is over: writes the reports and says where they are. The run's result does not depend on
 * them: a failure is a warning. */
void profiling_end(TnVerbCall *call, TnProfile *profile, TnJob *job, TnRunDir *run);
