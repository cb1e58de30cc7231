-- tenon.sink: the stages that write: `predict`, what a model makes of the frames of another stage,
-- and `sink`, the frames themselves. They run once, when a training of the same experiment is over.
local core = require "tenon.core"
local tn = require "tenon"
local batch = require "tenon.batch"
local quantize = require "tenon.quantize"

-- Options of both, behind those given.
local function rows(...)
  local list = {
    { name = "from", type = "string", required = true, sibling = true, help = "stage whose frames it takes" },
    { name = "to", type = "component", of = "dataset-writer", required = true,
      help = "the file that is written, such as tn.writer.hdf5 { \"out.h5\" }" },
    { name = "split", type = "string", default = "data", help = "name of the group in the file" },
    { name = "fields", type = "strings", help = "fields of the frames that are written too" },
  }
  return table.move({ ... }, 1, select("#", ...), #list + 1, list)
end

-- The stepper of a graph whose outputs are what is written: what `add` makes of the fields, and
-- those of the fields that are named (all of them where nothing else is).
local function prepare(self, job, add)
  self.port = batch.port(self, job)
  self.frames, self.samples = self.port:length()
  if self.frames == 0 then
    core.fail("config", ("%s: stages.%s: the frames of '%s' never end, so no file holds them"):format(
      core.where(self._spec), self.stage_name, self.from))
  end
  local graph = core.graph(self.stage_name)
  self.names = {}
  core.build(graph, function()
    local values, names = batch.inputs(graph, self.port)
    local function output(name, value)
      graph:output(name, value)
      table.insert(self.names, name)
    end
    if add then add(values, names, output) end
    for _, name in ipairs(rawget(self, "fields") or add and {} or names) do
      if not values[name] then
        core.fail("config", ("%s: stages.%s.fields: the frames of '%s' have no field '%s'; they have: %s"):format(
          core.where(self._spec), self.stage_name, self.from, name, table.concat(names, ", ")))
      end
      output(name, values[name])
    end
  end)
  self.stepper = job:stepper(job:func(graph, self.stage_name), self.port)
end

-- Writes one epoch of frames. The file appears when it is whole; nil if somebody asked to stop.
local function write(self)
  local writer <close> = core.writer(self.to)
  self.port:seek(0)
  for _ = 1, self.frames do
    if batch.run(self, 1) ~= "ok" then return nil end
    local arrays = {}
    for i, name in ipairs(self.names) do arrays[i] = { name, self.stepper:output(name) } end
    writer:write(self.split, self.samples, arrays)
  end
  writer:finish()
  return { [self.stage_name .. "/samples"] = self.samples }
end

tn.component {
  interface = "tenon.stage/1", name = "sink", help = "writes the frames of another stage to a file",
  writes = true,
  options = rows(),
  prepare = function(self, experiment) prepare(self, experiment.job) end,
  run = write,
}

tn.component {
  interface = "tenon.stage/1", name = "predict",
  help = "writes what a model makes of the frames of another stage",
  writes = true,
  options = rows(
    { name = "of", type = "string", sibling = true, help = "stage that trains the model, or calibrates it" },
    { name = "model", type = "component", of = "layer", help = "the model, where no stage trains it" },
    { name = "weights", type = "path", help = "checkpoint that such a model's variables are read from" },
    { name = "input", type = "string", help = "field the model is given; default: the training's" },
    { name = "output", type = "string", default = "prediction", help = "name of what the model gives" }
  ),

  prepare = function(self, experiment)
    local trained = self.of and experiment.stages[self.of]
    local own, weights = rawget(self, "model"), rawget(self, "weights")
    if trained and (own or weights) or not trained and not (own and weights) then
      core.fail("config", ("%s: stages.%s: wants `of`, a stage that trains the model, or `model` and `weights`"):format(
        core.where(self._spec), self.stage_name))
    end
    self.input = rawget(self, "input") or trained and rawget(trained, "input")
    prepare(self, experiment.job, function(values, names, output)
      local input = batch.pick(self, "input", 1, values, names)
      local prediction, ranges = quantize.inference(experiment, own or trained.model, own or trained.calibrates, input)
      self.source, self.ranges = trained, ranges
      output(self.output, prediction)
    end)
  end,

  run = function(self)
    if self.source and self.source.calibrates and not self.source:calibrate() then return nil end
    batch.load_weights(self)
    quantize.check(self, self.ranges)
    return write(self)
  end,
}
