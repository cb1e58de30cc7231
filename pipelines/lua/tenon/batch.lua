-- tenon.batch: the fields of a stage's frames as inputs of a graph.
local core = require "tenon.core"

local batch = {}

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
