/* stages.h: the factories of this room, one file each. */
#pragma once

#include <tenon/base.h>
#include <tenon/stage.h>

extern const TnFactory tn_stage_read, tn_stage_map;
