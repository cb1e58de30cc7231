-- tenon.metric: what is measured beside the loss. measure(prediction, target) gives a sum and a
-- count; both are added up in variables over many steps, and their quotient is the metric.
-- finish(mean), if there, is applied to it at the end.
local tn = require "tenon"

local function define(name, help, options, measure, finish)
  tn.component { interface = "tenon.metric/1", name = name, help = help, options = options, measure = measure, finish = finish }
end

local function count(value) return value:size { dtype = "f64" } end

define("accuracy", "share of samples whose largest output is the target's class", {
  { name = "last", type = "bool", default = false, help = "outputs are [N, …, classes], as models of sequences give them" },
}, function(self, prediction, target)
  local right = prediction:argmax { axis = self.last and -1 or 1, keepdims = false }:equal(target:cast("i64"))
  return right:cast("f64"):sum(), count(right)
end)

define("top_k", "share of samples whose target is among the k largest outputs", {
  { name = "k", type = "int", default = 5, min = 1, positional = true, help = "how many" },
}, function(self, prediction, target)
  local _, best = prediction:topk { k = self.k, axis = 1 }
  local right = best:equal(target:cast("i64"):unsqueeze { 1 })
  return right:cast("f64"):sum(), count(target)
end)

define("binary_accuracy", "share of logits on the target's side of 0", {}, function(_, prediction, target)
  local right = prediction:greater(0):equal(target:cast("f32"):reshape_as(prediction):greater(0.5))
  return right:cast("f64"):sum(), count(right)
end)

define("mean_absolute_error", "mean distance from the target", {}, function(_, prediction, target)
  local distance = (prediction - target:cast(prediction.dtype):reshape_as(prediction)):abs()
  return distance:cast("f64"):sum(), count(distance)
end)

define("root_mean_squared_error", "root of the mean square distance from the target", {}, function(_, prediction, target)
  local distance = prediction - target:cast(prediction.dtype):reshape_as(prediction)
  return (distance * distance):cast("f64"):sum(), count(distance)
end, function(_, mean) return math.sqrt(mean) end)

define("loss", "any loss, measured", {
  { name = "of", type = "component", of = "loss", required = true, positional = true, help = "the loss" },
}, function(self, prediction, target)
  local n = prediction:size { axes = { 0 }, dtype = "f64" }
  return self.of:compute(prediction, target):cast("f64") * n, n
end)

return {}
