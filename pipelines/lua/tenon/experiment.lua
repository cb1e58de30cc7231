-- The jobs of this library: `tn.experiment`, a pipeline of stages, and `tn.script`, a function that
-- is run.
local core = require "tenon.core"
local tn = require "tenon"
local batch = require "tenon.batch"

-- Options that both have.
local function common(rows)
  table.insert(rows, 1, { name = "name", type = "string",
    help = "what the run is called: its folder is runs/NAME/TIME-ID; default: the config's file" })
  table.insert(rows, 2, { name = "seed", type = "int", default = 0, min = 0,
    help = "of every random number: weights, order of samples, dropout" })
  table.insert(rows, 3, { name = "devices", type = "strings",
    help = "devices in the order in which they take operators; default cpu, with oneDNN's kernels where it can be used, then ref" })
  table.insert(rows, { name = "batch_invariant", type = "bool", default = false,
    help = "the bits of a sample's results do not depend on how many samples are computed at once" })
  table.insert(rows, { name = "fast_math", type = "bool", default = false,
    help = "results may be rounded otherwise where they are the same for real numbers and take less: log(softmax(x)) is log_softmax(x)" })
  table.insert(rows, 4, { name = "memory_limit", type = "size", default = 0,
    help = "what variables and intermediate results of a graph may take together, such as \"512 MiB\"; 0: what they need. Where that is more, results are computed again instead of kept: the same bits, in more time" })
  table.insert(rows, 4, { name = "precision", type = "enum", choices = { "f32", "bf16", "int8" }, default = "f32",
    help = "what products are computed from; sums, and all else, are f32. int8: those of models that a stage calibrated" })
  table.insert(rows, { name = "loggers", type = "components", of = "logger",
    help = "where measured numbers and progress go" })
  return rows
end

local function open_devices(self, job, method)
  job:seed(self.seed)
  job:precision(self.precision == "int8" and "f32" or self.precision) -- graphs say themselves what is in 8 bits
  job:batch_invariant(self.batch_invariant)
  job:fast_math(self.fast_math)
  job:memory_limit(self.memory_limit)
  for i, name in ipairs(#(self.devices or {}) > 0 and self.devices or { "cpu+onednn?", "ref" }) do
    batch.blame(function() return ("%s: devices[%d]"):format(core.where(self._spec), i) end, job[method], job, name)
  end
end

-- The specs of stages in C, and the names of the others, sorted.
local function split(stages)
  local pure, ours = {}, {}
  for name, stage in pairs(stages) do
    if core.is_spec(stage) then pure[name] = stage else ours[#ours + 1] = name end
  end
  table.sort(ours)
  return pure, ours
end

-- Makes a stage's graphs. What is wrong without a line of the config being named, such as a layer that
-- does not take what comes in, is said to be the stage's.
local function prepare(stage, experiment)
  local ok, fault = xpcall(stage.prepare, function(message)
    local text = core.traceback(message)
    if text:find("^[^\n]-:%d+: ") then return text end
    return ("%s: stages.%s: %s"):format(core.where(stage._spec), stage.stage_name, text)
  end, stage, experiment)
  if not ok then error(fault, 0) end
end

-- A function that builds tensors and runs operators on them one at a time.
tn.component {
  interface = "tenon.job/1", name = "script",
  help = "runs a function, in imperative mode",
  options = common {
    { name = "run", type = "function", required = true,
      help = "function of the job; what it gives, a table of numbers, is the result" },
  },
  prepare = function(self, job) open_devices(self, job, "device_later") end,
  run = function(self, job)
    local f = rawget(self, "run")
    job:loggers(rawget(self, "loggers") or {})
    local result = f(job)
    job:flush()
    if type(result) == "table" then job:result(result) end
  end,
  summary = function() return "" end,
}

tn.component {
  interface = "tenon.job/1", name = "experiment",
  help = "a pipeline of stages, of which one trains",
  options = common {
    { name = "stages", type = "component_map", of = "stage", required = true,
      help = "the stages by name; `from` joins them" },
  },

  -- Makes everything: devices, pipeline, then each stage of ours with its graphs.
  prepare = function(self, job)
    open_devices(self, job, "device")
    local pure, ours = split(self.stages)
    job:pipeline(pure)
    local experiment = { job = job, seed = self.seed, precision = self.precision, stages = {} }
    for _, name in ipairs(ours) do
      local stage = self.stages[name]
      stage.stage_name = name
      experiment.stages[name] = stage
    end
    -- Stages that use another's model come after it.
    local function prepare_stage(name, asked)
      local stage = experiment.stages[name]
      if stage.prepared then return end
      if asked[name] then core.fail("config", core.where(stage._spec) .. ": stages." .. name .. ": is used by itself") end
      asked[name] = true
      if stage.of then
        if not experiment.stages[stage.of] then
          core.fail("config", ("%s: stages.%s.of: there is no stage '%s' with a model"):format(core.where(stage._spec), name, stage.of))
        end
        prepare_stage(stage.of, asked)
      end
      prepare(stage, experiment)
      stage.prepared = true
    end
    for _, name in ipairs(ours) do prepare_stage(name, {}) end
    if self.precision == "int8" and not experiment.narrow then
      core.fail("config", core.where(self._spec) .. ": precision: nothing would be computed in 8 bits: that wants a stage " ..
        "`calibrate`, or a stage `predict` whose `weights` one wrote, of a model with products")
    end
    self.experiment = experiment
    self.order = ours
  end,

  -- The same for a process that runs one of its stages, with those before it, for a run elsewhere.
  prepare_stage = function(self, job, name)
    local pure = split(self.stages)
    if not pure[name] then
      local names = {}
      for key in pairs(pure) do names[#names + 1] = key end
      table.sort(names)
      core.fail("config", ("%s: stages: '%s' is none that can run in a process of its own; those can: %s"):format(
        core.where(self._spec), name, table.concat(names, ", ")))
    end
    open_devices(self, job, "device")
    job:pipeline(pure)
  end,

  -- Runs the stage that trains, then those that write; without one that trains, every stage once.
  run = function(self, job)
    if #self.order == 0 then
      core.fail("config", core.where(self._spec) .. ": stages: none of them trains, measures or writes: nothing would run")
    end
    job:loggers(rawget(self, "loggers") or {})
    local result
    local trains = false
    for _, name in ipairs(self.order) do
      local stage = self.experiment.stages[name]
      if stage.trains then
        trains = true
        result = stage:run(self.experiment)
      end
    end
    result = result or {}
    for _, name in ipairs(self.order) do
      local stage = self.experiment.stages[name]
      if (not trains or stage.writes) and not job:cancelled() then
        for key, value in pairs(stage:run(self.experiment) or {}) do result[key] = value end
      end
    end
    if job:cancelled() then job:stopped() end
    job:flush()
    job:result(result)
  end,

  summary = function(self)
    for _, name in ipairs(self.order or {}) do
      local stage = self.experiment.stages[name]
      if stage.summary then return stage:summary() end
    end
    return ""
  end,
}

return {}
