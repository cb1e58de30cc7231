-- tenon.optim: optimisers and what may happen to gradients before them. An optimiser adds one
-- composite operator for each parameter and keeps its slots in variables `optim.SLOT/PARAMETER`.
local core = require "tenon.core"
local tn = require "tenon"
require "tenon.schedule" -- a plain number is one

-- --- Parameters ----------------------------------------------------------------------------------

-- The options for one parameter: those of the first group whose pattern its name matches, over the
-- optimiser's own.
local function options_for(self, name)
  local options = setmetatable({}, { __index = self })
  options.lr_scale = 1
  for _, group in ipairs(self.groups or {}) do
    if name:find(group.match) then
      for key, value in pairs(group) do options[key] = value end
      break
    end
  end
  return options
end

-- Says what a group may hold: `match`, `lr_scale`, and the optimiser's own numbers.
local function check_groups(self)
  if type(self.groups or {}) ~= "table" then
    core.fail("config", core.where(self._spec) ..
      ": groups: wants a list of tables such as { match = \"bias$\", weight_decay = 0 }")
  end
  for i, group in ipairs(self.groups or {}) do
    local known = { match = "string", lr_scale = "number" }
    for _, row in ipairs(self.options) do
      if row.type == "number" then known[row.name] = "number" end
    end
    if type(group) ~= "table" or type(group.match) ~= "string" then
      core.fail("config", ("%s: groups[%d] has no `match`, the pattern of names it is for"):format(core.where(self._spec), i))
    end
    for key, value in pairs(group) do
      if known[key] ~= type(value) then
        core.fail("config", ("%s: groups[%d].%s: %s"):format(core.where(self._spec), i, key,
          known[key] and "wants a " .. known[key] or "is no option that a group may change"))
      end
    end
  end
end

local function slot(name, param)
  return core.variable { name = ("optim.%s/%s"):format(name, param:name()), shape = param.shape, dtype = param.dtype,
    role = "slot", of = param:name(), init = "zeros" }
end

-- --- Optimisers ----------------------------------------------------------------------------------

local function rows(lr, weight_decay, more)
  local list = {
    { name = "lr", type = "component", of = "schedule", wrap = "constant", default = lr, help = "learning rate" },
    { name = "weight_decay", type = "number", default = weight_decay, min = 0, search_log = true, help = "how much weights shrink" },
    { name = "groups", type = "value", help = "list of {match = pattern of names, lr_scale =, weight_decay = …}" },
  }
  return table.move(more, 1, #more, #list + 1, list)
end

-- update(options, param, grad, lr, number): adds the nodes and assigns param and slots. number:
-- this update's, from 1.
local function define(name, help, options, update)
  tn.component {
    interface = "tenon.optimizer/1", name = name, help = help, options = options, init = check_groups,
    -- params: variables; grads: values; step: the symbolic number of updates done, f64; total: how
    -- many there will be, nil if nobody knows. Gives the rate.
    apply = function(self, params, grads, step, total)
      local rate = self.lr:rate(step, total)
      local number = step + 1
      for i, param in ipairs(params) do
        local own = options_for(self, param:name())
        local lr = own.lr_scale == 1 and rate or rate * own.lr_scale
        update(own, param, grads[i], lr, number)
      end
      return rate
    end,
  }
end

define("sgd", "stochastic gradient descent, with momentum if asked", rows(1e-2, 0, {
  { name = "momentum", type = "number", default = 0, min = 0, max = 1, open_max = true, help = "share of the last update that goes on" },
  { name = "nesterov", type = "bool", default = false, help = "look ahead along the momentum" },
}), function(self, param, grad, lr)
  local attributes = { momentum = self.momentum, nesterov = self.nesterov, weight_decay = self.weight_decay }
  if self.momentum == 0 then
    param:assign((tn.op.sgd_step(param, grad, lr, nil, attributes)))
    return
  end
  local buffer = slot("momentum", param)
  local new, new_buffer = tn.op.sgd_step(param, grad, lr, buffer, attributes)
  param:assign(new)
  buffer:assign(new_buffer)
end)

local function adam_rows(lr, eps, weight_decay)
  return rows(lr, weight_decay, {
    { name = "beta1", type = "number", default = 0.9, min = 0, max = 1, open_max = true, help = "memory of the mean" },
    { name = "beta2", type = "number", default = 0.999, min = 0, max = 1, open_max = true, help = "memory of the mean square" },
    { name = "eps", type = "number", default = eps, min = 0, help = "added to the root" },
  })
end

-- adam, adamw and lamb differ in the operator alone.
local function adam_update(op)
  return function(self, param, grad, lr, number)
    local m, v = slot("m", param), slot("v", param)
    local new, new_m, new_v = tn.op[op](param, grad, m, v, lr, number,
      { beta1 = self.beta1, beta2 = self.beta2, eps = self.eps, weight_decay = self.weight_decay })
    param:assign(new)
    m:assign(new_m)
    v:assign(new_v)
  end
end

define("adam", "Adam (Kingma and Ba, 2015)", adam_rows(1e-3, 1e-8, 0), adam_update "adam_step")
define("adamw", "Adam with weight decay beside the gradient (Loshchilov and Hutter, 2019)",
  adam_rows(1e-3, 1e-8, 1e-2), adam_update "adamw_step")
define("lamb", "Adam with a rate for each layer (You et al., 2020)", adam_rows(1e-3, 1e-6, 0), adam_update "lamb_step")

define("rmsprop", "RMSprop (Hinton, 2012)", rows(1e-2, 0, {
  { name = "alpha", type = "number", default = 0.99, min = 0, max = 1, open_max = true, help = "memory of the mean square" },
  { name = "eps", type = "number", default = 1e-8, min = 0, help = "added to the root" },
  { name = "momentum", type = "number", default = 0, min = 0, max = 1, open_max = true, help = "share of the last update that goes on" },
  { name = "centered", type = "bool", default = false, help = "divide by the deviation, not the mean square" },
}), function(self, param, grad, lr)
  local square = slot("square", param)
  local mean = self.centered and slot("mean", param) or nil
  local buffer = self.momentum > 0 and slot("momentum", param) or nil
  local results = { tn.op.rmsprop_step(param, grad, square, lr, mean, buffer, { alpha = self.alpha, eps = self.eps,
    momentum = self.momentum, weight_decay = self.weight_decay, centered = self.centered }) }
  param:assign(results[1])
  square:assign(results[2])
  if mean then mean:assign(results[3]) end
  if buffer then buffer:assign(results[mean and 4 or 3]) end
end)

-- --- Between gradient and optimiser --------------------------------------------------------------

-- The square root of the sum of all squares, f64.
local function global_norm(grads)
  local sum
  for _, grad in ipairs(grads) do
    local square = (grad * grad):sum():cast("f64")
    sum = sum and sum + square or square
  end
  return sum:sqrt()
end

tn.component {
  interface = "tenon.pass/1", name = "clip_norm", help = "scales all gradients together so that their norm is at most this",
  options = { { name = "max", type = "number", positional = true, required = true, min = 0, open_min = true, help = "largest norm" } },
  apply = function(self, grads)
    local scale = (self.max / (global_norm(grads) + 1e-6)):min(1)
    local clipped = {}
    for i, grad in ipairs(grads) do clipped[i] = grad * scale:cast(grad.dtype) end
    return clipped
  end,
}

tn.component {
  interface = "tenon.pass/1", name = "clip_value", help = "cuts each gradient's elements at plus and minus this",
  options = { { name = "max", type = "number", positional = true, required = true, min = 0, open_min = true, help = "largest magnitude" } },
  apply = function(self, grads)
    local clipped = {}
    for i, grad in ipairs(grads) do clipped[i] = grad:max(-self.max):min(self.max) end
    return clipped
  end,
}

tn.component {
  interface = "tenon.pass/1", name = "lambda", help = "any function of the gradients",
  options = { { name = "f", type = "function", positional = true, required = true,
    help = "function of the list of gradients and the list of parameters; gives the new list" } },
  apply = function(self, grads, params) return self.f(grads, params) end,
}

return {}
