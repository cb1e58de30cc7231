-- tenon.jit: tn.jit(f): a function of values traced into a graph and run as a program.
local core = require "tenon.core"
local layer = require "tenon.layer"
local tree = require "tenon.tree"

local most = 16 -- programs of a function that are kept

-- What of a function's arguments is not as it was, and how often it has been traced: for the log.
local function say_traced(types, before, n)
  local changed = {}
  for i = 1, math.max(#types, #before) do
    local old, new = before[i] or "not there", types[i] or "not there"
    if old ~= new then changed[#changed + 1] = ("argument %d was %s, is %s"):format(i, old, new) end
  end
  core.log("info", ("jit: %s: traced again, %d of at most %d programs are kept"):format(table.concat(changed, "; "), n, most))
end

-- Arguments or results as one tree, and how many there are: some may be nil.
local function pack(...)
  local all = table.pack(...)
  local n = all.n
  all.n = nil
  return all, n
end

-- Operands among tensors (graph nil) or in a graph; what is none is refused.
local function operands(graph, list, paths)
  local wrong
  list, wrong = tree.operands(graph, list, paths)
  if wrong then core.fail("config", "jit: " .. wrong) end
  return list
end

-- f; where its layers draw numbers (dropout), each run moves the key on, so that the next one draws others.
local function drawing(f)
  return function(...)
    layer.drawn = false
    local results = table.pack(f(...))
    local key = layer.drawn and core.key_variable()
    if key then key:assign(key + core.tensor({ 0, 1 }, "u64")) end
    return table.unpack(results, 1, results.n)
  end
end

-- f for arguments like these: its program, and its results as a tree.
local function trace(f, args, n)
  local graph = core.graph "jit"
  local inputs = {}
  local list, paths = tree.flatten(args, "x")
  for i, x in ipairs(list) do inputs[i] = graph:input(paths[i], x.dtype, x.shape) end
  local results, n_results = pack(core.build(graph, drawing(f), table.unpack(tree.rebuild(args, inputs), 1, n)))
  local values, places = tree.flatten(results, "y")
  for i, x in ipairs(operands(graph, values, places)) do graph:output(places[i], x) end
  local plain = #values == n_results
  for i = 1, n_results do plain = plain and type(results[i]) ~= "table" end
  return { program = core.func(graph), results = results, n = n_results, plain = plain }
end

-- The types of arguments that are all tensors, as mostly; nil of others.
local function plain_types(args, n)
  local types = {}
  for i = 1, n do
    local x = args[i]
    if not core.is_operand(x) then return nil end
    types[i] = x.type
  end
  return types
end

-- Arguments with operands for numbers, those operands, and their types.
local function read_trees(args, n)
  local list, paths = tree.flatten(args, "x")
  for i, x in ipairs(list) do
    if core.is_symbolic(x) then error(("jit: argument %s is a value of a graph that is not built any more"):format(paths[i]), 3) end
  end
  operands(nil, list, paths)
  args = tree.rebuild(args, list)
  local types = {}
  for i = 1, n do types[i] = tree.signature(args[i]) end
  return args, list, types
end

-- The same function traced into a graph, once per set of argument types, and run as a program. The newest
-- 16 are kept; each after the first is said in the log. Arguments and results are trees: tensors, numbers
-- (which become f32), or tables of trees. Within another function's trace it is a part of that.
return function(f)
  tree.want_function("jit", "argument 1", f)
  local traces, order = {}, {}
  local last -- types of the call before
  return function(...)
    local args, n = pack(...)
    local graph = core.current_graph()
    if graph then
      local values, paths = tree.flatten(args, "x")
      return f(table.unpack(tree.rebuild(args, operands(graph, values, paths)), 1, n))
    end
    local list, types = args, plain_types(args, n)
    if not types then args, list, types = read_trees(args, n) end
    local key = table.concat(types, ";")
    local traced = traces[key]
    if not traced then
      traced = trace(f, args, n)
      traces[key] = traced
      order[#order + 1] = key
      if #order > most then traces[table.remove(order, 1)] = nil end
      if last then say_traced(types, last, #order) end
    end
    last = types
    if traced.plain then return traced.program:call(table.unpack(list)) end
    local results = { traced.program:call(table.unpack(list)) }
    return table.unpack(tree.rebuild(traced.results, results), 1, traced.n)
  end
end
