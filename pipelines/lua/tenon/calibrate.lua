-- tenon.calibrate: the stage that measures what ranges the products of a trained model see, so that the
-- model can run in 8 bits: Krishnamoorthi, "Quantizing deep convolutional networks for efficient
-- inference", 2018.
local core = require "tenon.core"
local batch = require "tenon.batch"
local quantize = require "tenon.quantize"
local tn = require "tenon"

tn.component {
  interface = "tenon.stage/1", name = "calibrate",
  help = "measures on some frames what a trained model needs to run in 8 bits, and writes it with the weights",
  writes = true, calibrates = true,
  options = {
    { name = "from", type = "string", required = true, sibling = true, help = "stage whose frames it takes" },
    { name = "of", type = "string", sibling = true, help = "stage that trains the model" },
    { name = "model", type = "component", of = "layer", help = "the model, where no stage trains it" },
    { name = "weights", type = "path", help = "checkpoint that such a model's variables are read from" },
    { name = "loss", type = "component", of = "loss", help = "what stages that evaluate it measure; default: the training's" },
    { name = "metrics", type = "component_map", of = "metric", help = "and beside it; default: the training's" },
    { name = "input", type = "string", help = "field the model is given; default: the training's" },
    { name = "target", type = "string", help = "field that loss and metrics compare with; default: the training's" },
    { name = "batches", type = "int", default = 16, min = 1, help = "frames that are looked at" },
    { name = "method", type = "enum", choices = { "minmax", "percentile" }, default = "minmax",
      help = "ranges hold all numbers seen, or all but a few" },
    { name = "percentile", type = "number", default = 99.99, min = 90, max = 100,
      help = "share of a frame's numbers, in percent, that lie above the low end and below the high one" },
    { name = "file", type = "string", default = "int8.safetensors", help = "name of the file in the run's folder" },
    { name = "evaluate", type = "string", sibling = true, help = "stage that measures the model then" },
  },

  prepare = function(self, experiment)
    local job = experiment.job
    self.experiment, self.job = experiment, job
    local trained = self.of and experiment.stages[self.of]
    if trained and (rawget(self, "model") or rawget(self, "weights"))
      or not trained and not (rawget(self, "model") and rawget(self, "weights")) then
      core.fail("config", ("%s: stages.%s: wants `of`, a stage that trains the model, or `model` and `weights`"):format(
        core.where(self._spec), self.stage_name))
    end
    for _, name in ipairs(trained and { "model", "loss", "metrics", "input", "target" } or {}) do
      if rawget(self, name) == nil then rawset(self, name, rawget(trained, name)) end
    end
    self.port = batch.port(self, job)
    local frames, samples = self.port:length()
    local graph = core.graph(self.stage_name)
    core.build(graph, function()
      local values, names = batch.inputs(graph, self.port)
      local input = batch.pick(self, "input", 1, values, names)
      -- How many numbers a percentile leaves out is of frames of one size: a smaller last one is not looked at.
      local smaller = self.method == "percentile" and frames > 1 and samples < frames * (input.shape[1] or 1)
      self.batches = frames > 0 and math.min(self.batches, smaller and frames - 1 or frames) or self.batches
      local prediction, ranges = quantize.measured(self.model, input,
        { method = self.method, percentile = self.percentile, batches = self.batches })
      self.ranges = ranges
      graph:output("prediction", prediction)
    end)
    if #self.ranges == 0 then
      core.fail("config", ("%s: stages.%s: the model has no layer that can compute in 8 bits"):format(
        core.where(self._spec), self.stage_name))
    end
    experiment.narrow = true
    self.stepper = job:stepper(job:func(graph, self.stage_name), self.port)
  end,

  -- Measures the ranges, once. FALSE if somebody asked to stop.
  calibrate = function(self)
    if self.calibrated then return true end
    batch.load_weights(self)
    for _, range in ipairs(self.ranges) do range:reset() end
    if batch.run(self, self.batches) == "cancelled" then return false end
    quantize.check(self, self.ranges)
    self.calibrated = true
    self.job:export(self.file)
    return true
  end,

  run = function(self)
    local result = {}
    if not self:calibrate() then return result end
    for _, pair in ipairs(self.evaluate and self.experiment.stages[self.evaluate]:measure() or {}) do
      result[self.evaluate .. "/" .. pair[1]] = pair[2]
    end
    return result
  end,
}
