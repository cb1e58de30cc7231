-- Optimisers against PyTorch's (LAMB against the paper's algorithm): the numbers of
-- golden_optimisers.lua, which tests/golden/optimisers.py made.
local tn = require "tenon"
local core = require "tenon.core"
local check = require "check"
local golden = require "golden_optimisers"

local specs = {
  sgd = tn.optim.sgd { lr = 0.1 },
  sgd_momentum = tn.optim.sgd { lr = 0.1, momentum = 0.9, weight_decay = 0.01 },
  sgd_nesterov = tn.optim.sgd { lr = 0.1, momentum = 0.9, nesterov = true },
  adam = tn.optim.adam { lr = 0.05 },
  adam_decay = tn.optim.adam { lr = 0.05, beta1 = 0.8, beta2 = 0.99, eps = 1e-6, weight_decay = 0.1 },
  adamw = tn.optim.adamw { lr = 0.05, weight_decay = 0.1 },
  rmsprop = tn.optim.rmsprop { lr = 0.02 },
  rmsprop_centered = tn.optim.rmsprop { lr = 0.02, alpha = 0.9, momentum = 0.5, centered = true, weight_decay = 0.01 },
  adam_step = tn.optim.adam { lr = tn.schedule.step { 0.05, every = 3, gamma = 0.5 } },
  clip_norm = tn.optim.sgd { lr = 0.1 },
  clip_value = tn.optim.sgd { lr = 0.1 },
  lamb = tn.optim.lamb { lr = 0.05 },
  lamb_decay = tn.optim.lamb { lr = 0.05, beta1 = 0.8, beta2 = 0.99, eps = 1e-3, weight_decay = 0.1 },
}
local passes = { clip_norm = tn.pass.clip_norm { 0.5 }, clip_value = tn.pass.clip_value { 0.3 } }

-- Two parameters; the gradient is that of sum (a * p^2 / 2 + b * p), as in the script.
local function updates(name, steps)
  local optimizer = tn.new(specs[name])
  local params, grads = {}, {}
  local graph = core.graph(name)
  core.build(graph, function()
    local step = core.variable { name = name .. ".step", dtype = "f64", role = "counter" }
    for i, row in ipairs(golden.params) do
      params[i] = core.variable { name = ("%s.p%d"):format(name, i), shape = { #row.start }, dtype = "f64" }
      params[i]:write(tn.tensor(row.start, "f64"))
      grads[i] = graph:value(params[i]) * tn.tensor(row.a, "f64") + tn.tensor(row.b, "f64")
    end
    if passes[name] then grads = tn.new(passes[name]):apply(grads, params) end
    optimizer:apply(params, grads, graph:value(step))
    step:assign(step + 1)
  end)
  local f = core.func(graph)
  for _ = 1, steps do f() end
  return params
end

return tn.script {
  name = "optimisers",
  run = function()
    for name in pairs(specs) do
      local params = updates(name, golden.steps)
      for i, want in ipairs(golden.results[name]) do check.near(params[i]:read():list(), want, 1e-9, ("%s p%d"):format(name, i)) end
    end

    -- Groups by pattern of names: their own rate, and none for what is left alone.
    specs.groups = tn.optim.sgd { lr = 0.1, weight_decay = 0.5, groups = { { match = "p2$", lr_scale = 0, weight_decay = 0 } } }
    local params = updates("groups", 1)
    check.near(params[2]:read():list(), golden.params[2].start)
    specs.bad = tn.optim.sgd { groups = { { match = "p", weight_decai = 1 } } }
    check.fails(function() updates("bad", 1) end, "groups[1].weight_decai")

    -- Slots are named after their parameters.
    local roles = {}
    for _, variable in ipairs(core.variables()) do roles[variable:name()] = variable:role() end
    check.equal(roles["optim.m/adam.p1"], "slot")
    check.equal(roles["optim.v/adam.p2"], "slot")
    check.equal(roles["optim.momentum/sgd_momentum.p1"], "slot")
    check.equal(roles["optim.momentum/sgd.p1"], nil)
  end,
}
