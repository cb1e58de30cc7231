-- tenon.batch: the frames of a stage: where they come from, their fields as inputs of a graph, and
-- what went wrong on the way.
local core = require "tenon.core"

local batch = {}

-- Calls f(…); before what it raises stands what `where` gives.
function batch.blame(where, f, ...)
  local results = table.pack(pcall(f, ...))
  if not results[1] then error(where() .. ": " .. tostring(results[2]), 0) end
  return table.unpack(results, 2, results.n)
end

-- The port of the stage that `from` names.
function batch.port(stage, job)
  return batch.blame(function()
    return ("%s: stages.%s.from"):format(core.where(stage._spec), stage.stage_name)
  end, job.port, job, stage.from)
end

-- stepper:run(…) for a stage. The frame that it failed at is named: frames count from 1, from the
-- beginning of the run.
function batch.run(stage, ...)
  return batch.blame(function()
    return ("%s: stages.%s, frame %d"):format(core.where(stage._spec), stage.stage_name, stage.port:seq())
  end, stage.stepper.run, stage.stepper, ...)
end

-- Reads the variables of a stage's model from its option `weights`, if it has one.
function batch.load_weights(stage)
  local path = rawget(stage, "weights")
  if not path then return end
  batch.blame(function()
    return ("%s: stages.%s.weights"):format(core.where(stage._spec), stage.stage_name)
  end, core.load_weights, path)
end

-- {field = value}, and the fields' names in order.
function batch.inputs(graph, port)
  local values, names = {}, {}
  for i, field in ipairs(port:fields()) do
    values[field.name] = graph:input(field.name, field.dtype, field.shape)
    names[i] = field.name
  end
  return values, names
end

-- The field that an option of stage names, or by its place.
function batch.pick(stage, option, place, values, names)
  local name = stage[option] or names[place]
  if not values[name] then
    core.fail("config", ("%s: stages.%s.%s: the frames of '%s' have no field '%s'; they have: %s"):format(
      core.where(stage._spec), stage.stage_name, option, stage.from, name or place, table.concat(names, ", ")))
  end
  return values[name]
end

return batch
