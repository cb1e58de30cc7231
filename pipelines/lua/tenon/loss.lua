-- tenon.loss: what training makes small. compute(prediction, target) gives one number, the mean
-- over the batch.
local core = require "tenon.core"
local tn = require "tenon"

local function define_any(name, help, options, compute)
  tn.component { interface = "tenon.loss/1", name = name, help = help, options = options, compute = compute }
end

-- A loss of two values.
local function define(name, help, options, compute)
  define_any(name, help, options, function(self, prediction, target)
    for i, x in ipairs { prediction or false, target or false } do
      if not core.is_operand(x) then
        local what = i == 1 and "prediction" or "target"
        core.fail("config", ("%s: the %s is %s; a value was expected"):format(name, what, x and "a " .. type(x) or "nothing"))
      end
    end
    return compute(self, prediction, target)
  end)
end

-- Classes are indices: i32 or i64, whatever integers the data has.
local function classes(target)
  return (target.dtype == "i64" or target.dtype == "i32") and target or target:cast("i64")
end

-- A target of the prediction's type; [N] meets [N, 1].
local function like(prediction, target)
  if target.dtype ~= prediction.dtype then target = target:cast(prediction.dtype) end
  return target.rank == prediction.rank and target or target:reshape_as(prediction)
end

define("cross_entropy", "of logits [N, classes, …] and classes [N, …]", {
  { name = "last", type = "bool", default = false, help = "logits are [N, …, classes], as models of sequences give them" },
  { name = "label_smoothing", type = "number", default = 0, min = 0, max = 1, help = "share of the target spread over all classes" },
  { name = "ignore", type = "int", default = -100, help = "target that counts for nothing" },
}, function(self, prediction, target)
  if self.last then prediction, target = prediction:flatten(-1), target:reshape { -1 } end
  return prediction:cross_entropy(classes(target), { label_smoothing = self.label_smoothing, ignore_index = self.ignore })
end)

define("mse", "mean squared error", {}, function(_, prediction, target) return prediction:mse_loss(like(prediction, target)) end)
define("l1", "mean absolute error", {}, function(_, prediction, target) return prediction:l1_loss(like(prediction, target)) end)
define("huber", "squared near 0, straight beyond delta", {
  { name = "delta", type = "number", default = 1, min = 0, open_min = true, help = "where the line begins" },
}, function(self, prediction, target) return prediction:huber_loss(like(prediction, target), { delta = self.delta }) end)
define("bce_with_logits", "binary cross-entropy of logits and targets from 0 to 1", {}, function(_, prediction, target)
  return prediction:bce_with_logits(like(prediction, target))
end)
define_any("lambda", "any function of prediction and target", {
  { name = "f", type = "function", required = true, positional = true, help = "function(prediction, target) that gives one number" },
}, function(self, prediction, target) return self.f(prediction, target) end)

return {}
