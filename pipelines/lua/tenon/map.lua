-- tenon.map: ready-made functions for tn.stage.map: each gives a pure function of a batch {field =
-- value}.
local checked = require "tenon.checked"
local core = require "tenon.core"
local tree = require "tenon.tree"
local map = {}

local field_row = { name = "field", type = "string", default = "image", help = "field of the batch that is changed" }

-- Changes one field and passes the others on.
local function field(name, change)
  return function(batch)
    local out, names = {}, {}
    for key, value in pairs(batch) do out[key], names[#names + 1] = value, key end
    if not batch[name] then
      table.sort(names)
      core.fail("config", ("the batch has no field '%s'; it has %s"):format(name, table.concat(names, ", ")))
    end
    out[name] = change(batch[name])
    return out
  end
end

-- Bytes 0 … 255 as f32 0 … 1: map.scale { field = "image", by = 1 / 255 }
map.scale = checked("scale", {
  field_row, { name = "by", type = "number", default = 1 / 255, help = "factor" },
}, function(options)
  return field(options.field, function(x) return x:cast("f32") * options.by end)
end)

-- (x - mean) / deviation for each channel of [N, C, …] after scaling bytes to 0 … 1:
-- map.normalize { field = "image", mean = {0.29}, deviation = {0.35} }
map.normalize = checked("normalize", {
  field_row, { name = "mean", type = "numbers", required = true, help = "of each channel" },
  { name = "deviation", type = "numbers", required = true, help = "of each channel" },
}, function(options)
  local tn = require "tenon"
  return field(options.field, function(x)
    local function per_channel(numbers)
      local shape = { 1, #numbers }
      for i = 3, x.rank do shape[i] = 1 end
      return tn.op.reshape(tn.tensor(numbers), shape)
    end
    if x.dtype == "u8" then x = x:cast("f32") / 255 end
    return (x - per_channel(options.mean)) / per_channel(options.deviation)
  end)
end)

-- One row of features for each sample.
map.flatten = checked("flatten", { field_row }, function(options)
  return field(options.field, function(x) return x:flatten(1) end)
end)

-- One function after another.
function map.chain(functions)
  if type(functions) ~= "table" then
    core.fail("config", ("chain: a list of functions was expected, not %s%s"):format(functions == nil and "" or "a ", type(functions)))
  end
  for i, f in ipairs(functions) do tree.want_function("chain", "item " .. i, f) end
  return function(batch)
    for _, f in ipairs(functions) do batch = f(batch) end
    return batch
  end
end

return map
