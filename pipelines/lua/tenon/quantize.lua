-- tenon.quantize: models in 8 bits. While a model is called, layers that are products hand their
-- operands over (`quantize.operands`): as they are, while their ranges are measured, or through 8
-- bits and back, which the compiler makes products of 8-bit numbers of.
--
-- Weights: symmetric, a scale for each channel out. What comes into a product: one scale and one
-- zero point, from its range, a variable [2] called input_range that is kept with the weights. 0 is
-- in every range, so that padding and what a rectifier cuts off are exact.
local core = require "tenon.core"
local tn = require "tenon"
local layer = require "tenon.layer"

local quantize = {}

-- While a model is called so: kind ("measure" or "narrow"), seen (values that are done), ranges.
local mode

local function product(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

local function part(range, i) return range:slice { starts = { i }, ends = { i + 1 }, axes = { 0 } }:squeeze { 0 } end

-- Elements of which a percentile is taken: enough for one of 99.99, few enough to be sorted.
local most = 1 << 17

-- Values that all, or all but a few, elements of x lie between: {low, high} as [2].
local function bounds(x)
  if mode.method == "minmax" then
    local flat = { keepdims = false }
    return tn.op.concat(x:reduce_min(flat):reshape { 1 }, x:reduce_max(flat):reshape { 1 }, { axis = 0 })
  end
  local n, flat = product(x.shape), x:reshape { -1 }
  local step = n // most | 1 -- odd, to meet all channels
  if step > 1 then flat, n = flat:slice { starts = { 0 }, ends = { math.maxinteger }, axes = { 0 }, steps = { step } }, (n + step - 1) // step end
  local k = math.floor(n * (1 - mode.percentile / 100)) + 1
  local function extreme(largest)
    return (flat:topk { k = k, axis = 0, largest = largest }):slice { starts = { k - 1 }, ends = { k }, axes = { 0 } }
  end
  return tn.op.concat(extreme(false), extreme(true), { axis = 0 })
end

-- The range so far: the widest of all batches, or the mean of what their percentiles are.
local function measure(x)
  local range = layer.stat("input_range", { 2 }, "zeros")
  table.insert(mode.ranges, range)
  local seen = bounds(x) + tn.tensor { 0, 1e-30 } -- so that one of nothing but 0 is not one never measured
  if mode.method == "minmax" then
    local sign = tn.tensor { -1, 1 }
    range:assign(tn.op.max(range * sign, seen * sign) * sign)
  else
    range:assign(range + seen / mode.batches)
  end
  return x
end

local function narrow(x)
  local range = layer.stat("input_range", { 2 }, "zeros")
  table.insert(mode.ranges, range)
  local low, high = part(range, 0):min(0), part(range, 1):max(0)
  local scale = (high - low):max(1e-30) / 255
  local zero = (low / scale * -1):round():cast "u8"
  return x:quantize_linear(scale, zero):dequantize_linear(scale, zero)
end

local function narrow_weight(w)
  local axes = {}
  for i = 1, w.rank - 1 do axes[i] = i end
  local scale = w:abs():reduce_max { axes = axes, keepdims = false }:max(1e-30) / 127
  local zero = tn.full({ w.shape[1] }, 0, "i8")
  return w:quantize_linear(scale, zero, { axis = 0 }):dequantize_linear(scale, { axis = 0 })
end

-- What the first operand of a product, or an image that several products and sums read, is to be: one
-- value is narrowed once, for all that read it. Only f32 numbers are: of others the product is as it was.
function quantize.image(x)
  if not mode or x.dtype ~= "f32" then return x end
  if not mode.seen[x] then
    local y = mode.kind == "measure" and measure(x) or narrow(x)
    mode.seen[x], mode.seen[y] = y, y
  end
  return mode.seen[x]
end

-- The operands of a product of x by a weight [out, …].
function quantize.operands(x, weight)
  if not mode then return x, weight end
  return quantize.image(x), mode.kind == "narrow" and x.dtype == "f32" and narrow_weight(weight) or weight
end

-- Calls f(…) with operands treated so: {kind =, method =, percentile =, batches =}. The ranges' variables.
local function with_mode(options, f, ...)
  local before = mode
  local _ <close> = setmetatable({}, { __close = function() mode = before end })
  mode = { seen = {}, ranges = {} }
  for key, value in pairs(options) do mode[key] = value end
  local ranges = mode.ranges
  return f(...), ranges
end

-- What the model gives while nobody trains, its ranges measured. Second: their variables.
function quantize.measured(model, input, options)
  options.kind = "measure"
  return with_mode(options, layer.with_training, false, model, input)
end

-- What the model of a stage gives while nobody trains: in 8 bits, if the experiment asks for that and
-- there are ranges. Second: their variables, or nil. The experiment's `narrow` is then set.
function quantize.inference(experiment, model, has_ranges, input)
  if experiment.precision ~= "int8" or not has_ranges then
    return (layer.with_training(false, model, input))
  end
  local prediction, ranges = with_mode({ kind = "narrow" }, layer.with_training, false, model, input)
  experiment.narrow = experiment.narrow or #ranges > 0
  return prediction, ranges
end

-- Fails where a range was never measured, or holds what is no number.
function quantize.check(stage, ranges)
  for _, range in ipairs(ranges or {}) do
    local low, high = table.unpack(range:read():list())
    local fault = low == 0 and high == 0 and "was not measured: 8 bits want weights that a stage `calibrate` wrote, or `of` one"
      or not (high - low < math.huge) and
        ("is from %s to %s: 8 bits want finite numbers in the frames that are calibrated with, and weights that keep them so"):format(low, high)
    if fault then
      core.fail("config", ("%s: stages.%s: %s %s"):format(core.where(stage._spec), stage.stage_name, range:name(), fault))
    end
  end
end

return quantize
