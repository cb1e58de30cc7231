-- Schedules against their closed forms in Lua's doubles.
local tn = require "tenon"
local core = require "tenon.core"
local check = require "check"
local s = tn.schedule

local pi = math.pi
local function cosine(a, b, share) return b + (a - b) * (1 + math.cos(pi * share)) / 2 end

local cases = {
  { "constant", s.constant { 0.1 }, function() return 0.1 end },
  { "step", s.step { 0.1, every = 10, gamma = 0.5 }, function(t) return 0.1 * 0.5 ^ (t // 10) end },
  { "multi_step", s.multi_step { 1, at = { 5, 20 }, gamma = 0.1 }, function(t) return t >= 20 and 0.01 or t >= 5 and 0.1 or 1 end },
  { "exponential", s.exponential { 2, gamma = 0.9 }, function(t) return 2 * 0.9 ^ t end },
  { "cosine", s.cosine { 1, steps = 30, final = 0.1 }, function(t) return cosine(1, 0.1, math.min(t, 30) / 30) end },
  { "polynomial", s.polynomial { 1, steps = 20, power = 2, final = 0.5 },
    function(t) return 0.5 + 0.5 * (1 - math.min(t, 20) / 20) ^ 2 end },
  { "warmup", s.warmup { s.exponential { 1, gamma = 0.5 }, steps = 4 }, function(t) return t < 4 and t / 4 or 0.5 ^ (t - 4) end },
  { "warmup_number", s.warmup { 0.3, steps = 4, from = 0.1 }, function(t) return t < 4 and 0.3 * (0.1 + 0.9 * t / 4) or 0.3 end },
  { "sum", s.sum { s.constant { 1 }, s.exponential { 1, gamma = 0.5 } }, function(t) return 1 + 0.5 ^ t end },
  { "product", s.product { s.constant { 3 }, s.step { 1, every = 7, gamma = 0.5 } }, function(t) return 3 * 0.5 ^ (t // 7) end },
  { "lambda", tn.schedule(function(t) return t * 2 end), function(t) return 2 * t end },
  -- PyTorch's OneCycleLR with cosine annealing and default factors.
  { "one_cycle", s.one_cycle { 1, steps = 40 }, function(t)
    local top, last = 0.3 * 40 - 1, 40 - 1
    if t <= top then return cosine(1 / 25, 1, t / top) end
    return cosine(1, 1 / 25 / 1e4, math.min((t - top) / (last - top), 1))
  end },
  -- As long as the training, of 40 steps, where they do not say how long.
  { "cosine of all", s.cosine { 1 }, function(t) return cosine(1, 0, math.min(t / 40, 1)) end },
  { "polynomial of all", s.polynomial { 1, power = 2 }, function(t) return (1 - math.min(t / 40, 1)) ^ 2 end },
  { "cosine of the rest", s.warmup { s.cosine { 1 }, steps = 10 }, function(t)
    return t < 10 and t / 10 or cosine(1, 0, math.min((t - 10) / 30, 1))
  end },
  { "sum of all", s.sum { s.cosine { 1 }, s.constant { 2 } }, function(t) return 2 + cosine(1, 0, math.min(t / 40, 1)) end },
  { "product of all", s.product { s.cosine { 1 }, s.constant { 2 } }, function(t) return 2 * cosine(1, 0, math.min(t / 40, 1)) end },
}

return tn.script {
  name = "schedules",
  run = function()
    for _, case in ipairs(cases) do
      local name, spec, want = table.unpack(case)
      local schedule = tn.new(spec)
      local graph = core.graph(name)
      local t = graph:input("t", "f64", {})
      graph:output("rate", schedule:rate(t, 40))
      local f = core.func(graph)
      for step = 0, 50 do
        check.near(f(tn.tensor(step, "f64")):item(), want(step), 1e-12, ("%s at %d"):format(name, step))
      end
    end
    -- Nobody knows how long.
    local graph = core.graph "endless"
    local endless = tn.new(s.one_cycle { 1 })
    check.fails(function() endless:rate(graph:input("t", "f64", {})) end,
      "steps: nothing says how long the training is")
  end,
}
