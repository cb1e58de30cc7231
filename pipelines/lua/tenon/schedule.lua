-- tenon.schedule: learning rates (or any number) as functions of the step. A schedule builds nodes
-- from the symbolic step, the number of updates done so far, so nothing is compiled again when the
-- rate changes. A plain number where a schedule is wanted stands for `constant`. Computed in f64.
local core = require "tenon.core"
local tn = require "tenon"

local pi = math.pi

-- Each row: name, help, options besides `value`, and rate(self, t, total): total is how many steps
-- the training has, nil if nobody says.
local function define(name, help, options, rate)
  table.insert(options, 1, { name = "value", type = "number", required = true, positional = true, help = "the rate to begin from" })
  tn.component { interface = "tenon.schedule/1", name = name, help = help, options = options, rate = rate }
end

local function steps_row(help)
  return { name = "steps", type = "int", default = 0, min = 0, unit = "steps", help = help .. "; 0: as many as the training has" }
end
-- How long a schedule is.
local function length(self, total)
  if self.steps > 0 then return self.steps end
  if total and total > 0 then return total end
  core.fail("config", ("%s: steps: nothing says how long the training is: give a number of steps"):format(
    core.where(self._spec)))
end
local function number(name, default, help, more)
  local row = { name = name, type = "number", default = default, help = help }
  for k, v in pairs(more or {}) do row[k] = v end
  return row
end

-- step / steps, at most 1.
local function share(t, steps) return t:min(steps) / steps end
-- From a to b along half a cosine as s goes from 0 to 1.
local function half_cosine(a, b, s) return (((s * pi):cos() + 1) * ((a - b) / 2)) + b end

define("constant", "always the same", {}, function(self, t) return t * 0 + self.value end)

define("step", "times gamma after every so many steps", {
  { name = "every", type = "int", required = true, min = 1, unit = "steps", help = "steps between drops" },
  number("gamma", 0.1, "factor of a drop", { min = 0 }),
}, function(self, t) return (t * 0 + self.gamma) ^ (t / self.every):floor() * self.value end)

define("multi_step", "times gamma at each of the steps named", {
  { name = "at", type = "ints", required = true, min = 0, help = "steps of the drops" },
  number("gamma", 0.1, "factor of a drop", { min = 0 }),
}, function(self, t)
  local drops = t * 0
  for _, at in ipairs(self.at) do drops = drops + t:greater_or_equal(at):cast("f64") end
  return (t * 0 + self.gamma) ^ drops * self.value
end)

define("exponential", "times gamma after every step", {
  number("gamma", 0.99, "factor of a step", { min = 0 }),
}, function(self, t) return (t * 0 + self.gamma) ^ t * self.value end)

define("cosine", "down to a final rate along half a cosine", {
  steps_row "steps until the final rate", number("final", 0, "the final rate", { min = 0 }),
}, function(self, t, total) return half_cosine(self.value, self.final, share(t, length(self, total))) end)

define("polynomial", "down to a final rate as a power of what is left", {
  steps_row "steps until the final rate", number("final", 0, "the final rate", { min = 0 }),
  number("power", 1, "1: a straight line", { min = 0 }),
}, function(self, t, total) return (1 - share(t, length(self, total))) ^ self.power * (self.value - self.final) + self.final end)

define("one_cycle", "up to the value and down to almost nothing, along half cosines (Smith and Topin, 2018)", {
  steps_row "steps of the whole cycle", number("warm", 0.3, "share of the steps that go up", { min = 0, max = 1 }),
  number("start_factor", 25, "the first rate is value / start_factor", { min = 0, open_min = true }),
  number("final_factor", 1e4, "the last rate is the first / final_factor", { min = 0, open_min = true }),
}, function(self, t, total)
  local first, steps = self.value / self.start_factor, length(self, total)
  -- Turning points counted as PyTorch's OneCycleLR counts them.
  local top = math.max(self.warm * steps - 1, 1e-9)
  local up = half_cosine(first, self.value, t / top)
  local down = half_cosine(self.value, first / self.final_factor, ((t - top) / (steps - 1 - top)):min(1))
  return tn.op.where(t:less_or_equal(top), up, down)
end)

-- These take no value of their own.
tn.component {
  interface = "tenon.schedule/1", name = "warmup", help = "up to where another schedule begins, along a straight line",
  options = {
    { name = "after", type = "component", of = "schedule", wrap = "constant", required = true, positional = true,
      help = "what follows; its own steps begin then" },
    { name = "steps", type = "int", required = true, min = 1, unit = "steps", help = "steps of the way up" },
    number("from", 0, "share of the rate at step 0", { min = 0, max = 1 }),
  },
  rate = function(self, t, total)
    local left = total and total - self.steps
    local top = self.after:rate(t * 0, left)
    local up = top * (share(t, self.steps) * (1 - self.from) + self.from)
    return tn.op.where(t:less(self.steps), up, self.after:rate((t - self.steps):max(0), left))
  end,
}

tn.component {
  interface = "tenon.schedule/1", name = "sum", help = "several schedules added", 
  options = { { name = "of", type = "components", of = "schedule", required = true, positional = true, help = "the schedules" } },
  rate = function(self, t, total)
    local sum = t * 0
    for _, schedule in ipairs(self.of) do sum = sum + schedule:rate(t, total) end
    return sum
  end,
}

tn.component {
  interface = "tenon.schedule/1", name = "product", help = "several schedules multiplied", 
  options = { { name = "of", type = "components", of = "schedule", required = true, positional = true, help = "the schedules" } },
  rate = function(self, t, total)
    local product = t * 0 + 1
    for _, schedule in ipairs(self.of) do product = product * schedule:rate(t, total) end
    return product
  end,
}

tn.component {
  interface = "tenon.schedule/1", name = "lambda", help = "any function of the symbolic step",
  options = { { name = "f", type = "function", required = true, positional = true, help = "function of the step, an f64 value" } },
  rate = function(self, t) return self.f(t) end,
}

return {}
