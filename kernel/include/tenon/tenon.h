/* tenon.h: all of libtenon. */
#pragma once

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/cost.h>
#include <tenon/device.h>
#include <tenon/dtype.h>
#include <tenon/graph.h>
#include <tenon/op.h>
#include <tenon/option.h>
#include <tenon/plugin.h>
#include <tenon/pool.h>
#include <tenon/program.h>
#include <tenon/status.h>
#include <tenon/store.h>
#include <tenon/tape.h>
#include <tenon/tensor.h>
#include <tenon/types.h>
#include <tenon/value.h>
