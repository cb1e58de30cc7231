-- tenon.meter: metrics that add up in variables while a graph runs, and are read at events.
local core = require "tenon.core"
local layer = require "tenon.layer"

local meter = {}
meter.__index = meter

local function variable(name)
  return core.variable { name = name, dtype = "f64", role = "stat", init = "zeros" }
end

-- A meter of a graph under construction. named: metric instances by name; loss: the value of the
-- loss, or nil.
function meter.new(prefix, named, prediction, target, loss)
  local self = setmetatable({ parts = {}, seen = {} }, meter)
  local function add(name, sum, count, finish)
    local part = { name = name, finish = finish,
      sum = variable(("metrics.%s/%s.sum"):format(prefix, name)),
      count = variable(("metrics.%s/%s.count"):format(prefix, name)) }
    part.sum:assign(part.sum + sum:cast("f64"))
    part.count:assign(part.count + count:cast("f64"))
    table.insert(self.parts, part)
  end
  if loss then
    local n = prediction:size { axes = { 0 }, dtype = "f64" }
    add("loss", loss:cast("f64") * n, n)
  end
  local names = {}
  for name in pairs(named) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local metric = named[name]
    local sum, count = layer.scoped(name, metric.measure, metric, prediction, target)
    add(name, sum, count, metric.finish and function(mean) return metric:finish(mean) end)
  end
  return self
end

-- What was added up since the last reset: {name = {sum, count}}. Reading changes nothing, so that
-- the sums of an epoch have the same bits however often they are looked at.
function meter:sums()
  local sums = {}
  for _, part in ipairs(self.parts) do sums[part.name] = { part.sum:read():item(), part.count:read():item() } end
  return sums
end

-- What was added up since the last call of this, or the reset: for eyes, as the difference has lost
-- some last bits.
function meter:recent()
  local sums, recent = self:sums(), {}
  for name, pair in pairs(sums) do
    local before = self.seen[name] or { 0, 0 }
    recent[name] = { pair[1] - before[1], pair[2] - before[2] }
  end
  self.seen = sums
  return recent
end

-- Begins again.
function meter:reset()
  for _, part in ipairs(self.parts) do
    part.sum:write(0)
    part.count:write(0)
  end
  self.seen = {}
end

-- Sums as means, in the order of the parts: a list of {name, value}. What was never counted is left
-- out.
function meter:means(sums)
  local list = {}
  for _, part in ipairs(self.parts) do
    local pair = sums[part.name]
    if pair and pair[2] > 0 then
      local mean = pair[1] / pair[2]
      list[#list + 1] = { part.name, part.finish and part.finish(mean) or mean }
    end
  end
  return list
end

-- The first sum that is NaN or infinite: its name and value.
function meter:bad()
  for _, part in ipairs(self.parts) do
    local sum = part.sum:read():item()
    if sum ~= sum or sum == math.huge or sum == -math.huge then return part.name, sum end
  end
end

return meter
