-- tenon.evaluate: the stage that measures a model on all of a data set, once each time it is asked.
local core = require "tenon.core"
local tn = require "tenon"
local batch = require "tenon.batch"
local layer = require "tenon.layer"
local meter = require "tenon.meter"
local quantize = require "tenon.quantize"

tn.component {
  interface = "tenon.stage/1", name = "evaluate", help = "measures the model of another stage on one epoch of frames",
  options = {
    { name = "from", type = "string", required = true, sibling = true, help = "stage whose frames it takes" },
    { name = "of", type = "string", required = true, sibling = true, help = "stage that trains the model, or calibrates it" },
    { name = "metrics", type = "component_map", of = "metric", help = "what to measure; default: what the training measures" },
    { name = "input", type = "string", help = "field the model is given; default: the training's" },
    { name = "target", type = "string", help = "field to compare with; default: the training's" },
  },

  -- Builds the graph `eval`: the model as it is when nobody trains, and sums of what is measured.
  prepare = function(self, experiment)
    local job, train = experiment.job, experiment.stages[self.of]
    self.source = train
    self.port = batch.port(self, job)
    self.frames, self.samples = self.port:length()
    if self.frames == 0 then
      core.fail("config", ("%s: stages.%s: the frames of '%s' never end, so there is no epoch to measure"):format(
        core.where(self._spec), self.stage_name, self.from))
    end
    self.input = self.input or rawget(train, "input")
    self.target = self.target or rawget(train, "target")
    local graph = core.graph "eval"
    core.build(graph, function()
      local values, names = batch.inputs(graph, self.port)
      local input = batch.pick(self, "input", 1, values, names)
      local target = batch.pick(self, "target", 2, values, names)
      if not train.loss then
        core.fail("config", ("%s: stages.%s.of: '%s' has no loss to measure: give it one"):format(
          core.where(self._spec), self.stage_name, self.of))
      end
      local prediction, ranges = quantize.inference(experiment, train.model, train.calibrates, input)
      self.ranges = ranges
      local loss = layer.scoped("loss", train.loss.compute, train.loss, prediction, target)
      self.meter = meter.new(self.stage_name, rawget(self, "metrics") or train.metrics or {}, prediction, target, loss)
    end)
    self.stepper = job:stepper(job:func(graph, self.stage_name == "evaluate" and "eval" or self.stage_name), self.port)
  end,

  -- Measures one epoch of frames: a list of {name, value}; nil if somebody asked to stop.
  measure = function(self)
    if self.source.calibrates and not self.source:calibrate() then return nil end
    quantize.check(self, self.ranges)
    self.meter:reset() -- of an evaluation that was cut off
    local left = self.frames
    while left > 0 do
      local status, done = batch.run(self, left)
      left = left - done
      if status == "cancelled" then return nil end
      if status == "eos" then break end
    end
    local means = self.meter:means(self.meter:sums())
    self.meter:reset()
    return means
  end,

  run = function(self)
    local metrics = {}
    for _, pair in ipairs(self:measure() or {}) do metrics[self.stage_name .. "/" .. pair[1]] = pair[2] end
    return metrics
  end,
}
