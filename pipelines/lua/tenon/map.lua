-- tenon.map: ready-made functions for tn.stage.map: each gives a pure function of a batch {field =
-- value}.
local map = {}

-- Changes one field and passes the others on.
local function field(name, change)
  return function(batch)
    local out = {}
    for key, value in pairs(batch) do out[key] = value end
    out[name] = change(batch[name])
    return out
  end
end

-- Bytes 0 … 255 as f32 0 … 1: map.scale { field = "image", by = 1 / 255 }
function map.scale(options)
  options = options or {}
  local by = options.by or 1 / 255
  return field(options.field or "image", function(x) return x:cast("f32") * by end)
end

-- (x - mean) / deviation for each channel of [N, C, …] after scaling bytes to 0 … 1:
-- map.normalize { field = "image", mean = {0.29}, deviation = {0.35} }
function map.normalize(options)
  local tn = require "tenon"
  return field(options.field or "image", function(x)
    local function per_channel(numbers)
      local shape = { 1, #numbers }
      for i = 3, x.rank do shape[i] = 1 end
      return tn.op.reshape(tn.tensor(numbers), shape)
    end
    if x.dtype == "u8" then x = x:cast("f32") / 255 end
    return (x - per_channel(options.mean)) / per_channel(options.deviation)
  end)
end

-- One row of features for each sample.
function map.flatten(options)
  return field(options and options.field or "image", function(x) return x:flatten(1) end)
end

-- One function after another.
function map.chain(functions)
  return function(batch)
    for _, f in ipairs(functions) do batch = f(batch) end
    return batch
  end
end

return map
