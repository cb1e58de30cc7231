-- tenon: what `require "tenon"` gives.
--
-- A config evaluates to a tree of specs; nothing is created while it loads. Namespaces make specs:
--
--     tn.dataset.hdf5 { path = tn.data "fashion_mnist.h5" }
--
-- is a component named "hdf5" of the interface "tenon.dataset/1". Modules below are loaded when
-- they are first named.
local core = require "tenon.core"

local tn = {
  data = core.data, -- tn.data "name": where a data set lies
  arg = core.arg, -- tn.arg(name, default, {help =, choices =, min =, max =})
  given = core.given, -- tn.given { argument = value }: the config that a run's folder keeps; its resolved.lua begins so
  tensor = core.tensor, -- tn.tensor({{1, 2}, {3, 4}}, "f32")
  full = core.full, -- tn.full({2, 3}, 0.5)
  variable = core.variable, -- tn.variable {name =, shape =, dtype =, init =}
  variables = core.variables, -- all that there are
  grad = core.grad, -- tn.grad(y, {x, …}): d(sum(y))/dx
  clear = core.clear,
  no_grad = core.no_grad, -- tn.no_grad(f, …): f(…), nothing of which is tracked
  seed = core.seed,
  is_spec = core.is_spec,
}

-- Namespace -> interface, and the module of ours that supplies components for it.
local namespaces = {
  callback = { "tenon.callback/1", "tenon.callback" },
  dataset = { "tenon.dataset/1" },
  device = { "tenon.device/1" },
  job = { "tenon.job/1", "tenon.experiment" },
  logger = { "tenon.logger/1" },
  loss = { "tenon.loss/1", "tenon.loss" },
  metric = { "tenon.metric/1", "tenon.metric" },
  optim = { "tenon.optimizer/1", "tenon.optim" },
  pass = { "tenon.pass/1", "tenon.optim" },
  schedule = { "tenon.schedule/1", "tenon.schedule" },
  search = { "tenon.search/1" },
  stage = { "tenon.stage/1", "tenon.stage" },
  writer = { "tenon.dataset-writer/1" },
}

-- A table whose every field makes specs of iface. That a component does not exist is said when the
-- config is checked. Called with a function it makes the component `lambda`: tn.layer(function(x) …
-- end).
local function namespace(iface, fields)
  return setmetatable(fields or {}, {
    __call = function(self, f) return self.lambda(f) end,
    __index = function(self, name)
      local constructor = core.constructor(iface, name)
      rawset(self, name, constructor)
      return constructor
    end,
  })
end
tn.namespace = namespace

-- tn.op.matmul(a, b): every registered operator.
tn.op = setmetatable({}, {
  __index = function(self, name)
    local f = core.op(name)
    rawset(self, name, f)
    return f
  end,
})

-- Methods of values, tensors and variables that are no operators: reductions that drop their axes,
-- over all or those given.
local function reduction(op)
  return function(x, axes, keep)
    if type(axes) == "number" then axes = { axes } end
    return core.op(op)(x, { axes = axes or {}, keepdims = keep or false })
  end
end
core.add_method("sum", reduction "reduce_sum")
core.add_method("mean", reduction "reduce_mean")

function tn.zeros(shape, dtype) return core.full(shape, 0, dtype) end
function tn.ones(shape, dtype) return core.full(shape, 1, dtype) end
function tn.uniform(shape, seed) return core.random(shape, "uniform", seed or 0) end
function tn.normal(shape, seed) return core.random(shape, "normal", seed or 0) end

-- Declares a component: the same rows as a plugin's, so that check, help and overrides do not know
-- the difference. Gives its constructor. The table given is the metatable of instances, whose
-- fields are the options.
function tn.component(class)
  if type(class) ~= "table" then
    core.fail("config", ("tn.component: what the component is stands in a table, not in a %s"):format(type(class)))
  end
  class.__index = class
  local rows = {}
  for _, row in ipairs(class.options or {}) do rows[#rows + 1] = row end
  if class.interface == "tenon.layer/1" or class.interface == "layer" then
    class.__call = require("tenon.layer").call
    class.param = class.param or require("tenon.layer").param
    rows[#rows + 1] = { name = "name", type = "string",
      help = "what the layer is called in names of variables; else its place" }
  end
  class.options = rows
  return core.define(class)
end

-- The instance of a spec: of a component in Lua a table, of one in C an object with its methods.
function tn.new(spec, name)
  return core.instance(spec, name) or core.object(spec)
end

-- tn.jit: see tenon.jit; tn.checked: see tenon.checked.
local functions = { jit = true, checked = true }

-- tn.scan, tn.while_loop, tn.cond: see tenon.control.
local control_flow = { scan = true, while_loop = true, cond = true }

-- Loads what supplies components of an interface: a config may name one by a string alone.
core.set_loader(function(iface)
  for key, row in pairs(namespaces) do
    if row[1] == iface then return tn[key] end
  end
  if iface == "tenon.layer/1" then return tn.nn end
end)

-- How a config writes the namespace of an interface.
core.set_speller(function(iface)
  for key, row in pairs(namespaces) do
    if row[1] == iface then return "tn." .. key end
  end
  return iface == "tenon.layer/1" and "tn.nn" or ("tn.namespace %q"):format(iface)
end)

-- A list of numbers a, a + 1 … b.
function tn.range(a, b)
  local list = {}
  for i = a, b do list[#list + 1] = i end
  return list
end

return setmetatable(tn, {
  __index = function(self, key)
    local value
    local row = namespaces[key]
    if key == "nn" or key == "layer" then
      -- The layers come with the plugin that has their operators.
      value = namespace("tenon.layer/1", require "tn.nn")
    elseif key == "experiment" or key == "script" then
      value = self.job[key]
    elseif key == "map" then
      value = require "tenon.map"
    elseif functions[key] then
      value = require("tenon." .. key)
    elseif control_flow[key] then
      value = require "tenon.control"[key]
    elseif row then
      local fields = row[2] and require(row[2])
      value = namespace(row[1], type(fields) == "table" and fields[key] or nil)
    else
      value = require("tn." .. tostring(key))
    end
    rawset(self, key, value)
    return value
  end,
})
