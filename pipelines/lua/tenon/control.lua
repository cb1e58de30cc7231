-- tenon.control: tn.scan, tn.while_loop and tn.cond: loops and branches within a graph.
--
-- In a graph (tn.jit, an experiment's step) each is one node whose function was traced once, however
-- often it runs; among tensors they are plain loops. States, slices and results are trees: a value,
-- or a table of trees. What the functions use from around them is theirs as in any Lua function.
local checked = require "tenon.checked"
local core = require "tenon.core"
local tree = require "tenon.tree"
local flatten, rebuild = tree.flatten, tree.rebuild
local control = {}

-- --- Checks ------------------------------------------------------------------------------------

-- Blames who called tn.scan and so on: level 1 is the function that calls fail.
local function fail(what, level, text, ...)
  error(("%s: " .. text):format(what, ...), level + 2)
end

local function operands(what, level, graph, list, paths)
  local wrong
  list, wrong = tree.operands(graph, list, paths)
  if wrong then fail(what, level + 1, "%s", wrong) end
  return list
end

-- What comes out of a step must be what went in: the next step is the same program.
local function check_states(what, level, before, after, paths, new_paths)
  if #after ~= #before then
    fail(what, level + 1, "the function is given %d state%s and gives %d back", #before, #before == 1 and "" or "s", #after)
  end
  for i, x in ipairs(before) do
    if new_paths[i] ~= paths[i] then
      fail(what, level + 1, "the function gives %s where %s was expected", new_paths[i], paths[i])
    end
    if after[i].type ~= x.type then
      fail(what, level + 1, "%s is %s before a step and %s after it; it must keep its type", paths[i], x.type, after[i].type)
    end
  end
end

local function check_condition(what, level, x)
  if type(x) == "boolean" then return core.tensor(x, "bool") end
  if not core.is_operand(x) or x.type ~= "bool[]" then
    fail(what, level + 1, "the condition is %s; bool[] was expected", core.is_operand(x) and x.type or type(x))
  end
  return x
end

-- --- Slices ------------------------------------------------------------------------------------

local function tail(shape) return table.move(shape, 2, #shape, 1, {}) end

local function slice(x, i)
  return core.op "squeeze"(core.op "slice"(x, { starts = { i - 1 }, ends = { i }, axes = { 0 } }), { axes = { 0 } })
end

-- One tensor of many, as many at a time as concat takes.
local function stack(list)
  for i, x in ipairs(list) do list[i] = core.op "unsqueeze"(x, { axes = { 0 } }) end
  while #list > 1 do
    local joined = {}
    for i = 1, #list, 32 do
      local part = table.move(list, i, math.min(i + 31, #list), 1, {})
      part[#part + 1] = { axis = 0 }
      joined[#joined + 1] = #part == 2 and list[i] or core.op "concat"(table.unpack(part))
    end
    list = joined
  end
  return list[1]
end

local function steps_of(level, list, paths)
  local steps
  for i, x in ipairs(list) do
    if x.rank == 0 then fail("scan", level + 1, "%s is %s; it has no axis of steps", paths[i], x.type) end
    steps = steps or x.shape[1]
    if x.shape[1] ~= steps then
      fail("scan", level + 1, "%s has %d steps, %s has %d", paths[1], steps, paths[i], x.shape[1])
    end
  end
  return steps
end

-- --- scan --------------------------------------------------------------------------------------

-- (These are called last, so that it is tn.scan's caller who is blamed.)
local function scan_now(f, init, xs, states, paths, slices, steps, reverse)
  local stacks, shape = {}, nil
  for step = 1, steps do
    local at = reverse and steps + 1 - step or step
    local xs_at = {}
    for i, x in ipairs(slices) do xs_at[i] = slice(x, at) end
    local next_state, y = f(rebuild(init, states), rebuild(xs, xs_at))
    local after, new_paths = flatten(next_state, "state")
    check_states("scan", 1, states, operands("scan", 1, nil, after, new_paths), paths, new_paths)
    states, shape = after, y
    for i, value in ipairs(operands("scan", 1, nil, flatten(y, "y"))) do
      stacks[i] = stacks[i] or {}
      stacks[i][at] = value
    end
  end
  if steps == 0 then fail("scan", 1, "there are no steps, so nobody knows what would be stacked; in a graph that is known") end
  for i, list in ipairs(stacks) do stacks[i] = stack(list) end
  return rebuild(init, states), rebuild(shape, stacks)
end

local function scan_in_graph(graph, f, init, xs, states, paths, slices, slice_paths, reverse)
  local body = core.nested(graph, "scan.body")
  local inputs, xs_at = {}, {}
  for i, x in ipairs(states) do inputs[i] = body:input(paths[i], x.dtype, x.shape) end
  for i, x in ipairs(slices) do xs_at[i] = body:input(slice_paths[i], x.dtype, tail(x.shape)) end
  local next_state, y = core.build(body, f, rebuild(init, inputs), rebuild(xs, xs_at))
  local after, new_paths = flatten(next_state, "state")
  check_states("scan", 1, states, operands("scan", 1, body, after, new_paths), paths, new_paths)
  for i, x in ipairs(after) do body:output(new_paths[i], x) end
  local ys, y_paths = flatten(y, "y")
  for i, x in ipairs(operands("scan", 1, body, ys, y_paths)) do body:output(y_paths[i], x) end
  local results = core.control_scan(graph, body, states, slices, reverse)
  return rebuild(init, results), rebuild(y, results, #states + 1)
end

local scan_rows = {
  { name = "reverse", type = "bool", default = false, help = "from the last slice to the first" },
  { name = "length", type = "int", min = 0, nullable = true, help = "how many steps if there are no slices" },
}

-- scan(f, init, xs [, {reverse =, length =}]): the function f(state, x) -> state, y for each slice x of
-- xs along its first axis. The state goes from step to step and keeps its types; gives the last state
-- and the ys, stacked along a new first axis. reverse: from the last slice to the first (ys stay where
-- their slices are). length: how many steps if xs is nil. After Scan of ONNX and jax.lax.scan.
control.scan = checked("scan", scan_rows, function(f, init, xs, options)
  tree.want_function("scan", "argument 1", f)
  local graph = core.current_graph()
  local states, paths = flatten(init, "state")
  local slices, slice_paths = flatten(xs, "x")
  operands("scan", 1, graph, states, paths)
  operands("scan", 1, graph, slices, slice_paths)
  if #slices == 0 then
    if not options.length then fail("scan", 1, "without xs, length says how many steps") end
    slices, slice_paths, xs = { core.full({ options.length }, 0, "u8") }, { "step" }, nil
  end
  local steps = steps_of(1, slices, slice_paths)
  if graph then
    return scan_in_graph(graph, f, init, xs, states, paths, slices, slice_paths, options.reverse)
  end
  return scan_now(f, init, xs, states, paths, slices, steps, options.reverse)
end, 4)

-- --- while_loop --------------------------------------------------------------------------------

local while_rows = {
  { name = "max_iterations", type = "int", min = 1, nullable = true, help = "the loop ends after as many at the latest" },
}

-- while_loop(condition, body, init [, {max_iterations =}]): state = body(state) while condition(state),
-- a bool[], holds; gives the last state. The state keeps its types. A gradient needs max_iterations: the
-- loop then ends after as many at the latest, and memory is kept for the states of all of them. After Loop
-- of ONNX and jax.lax.while_loop.
control.while_loop = checked("while_loop", while_rows, function(condition, body, init, options)
  tree.want_function("while_loop", "the condition", condition)
  tree.want_function("while_loop", "the body", body)
  local most = options.max_iterations
  local graph = core.current_graph()
  local states, paths = flatten(init, "state")
  operands("while_loop", 1, graph, states, paths)
  local first = check_condition("while_loop", 1, condition(rebuild(init, states)))
  if not graph then
    local count, go = 0, first
    while go:item() and not (most and count >= most) do
      local after, new_paths = flatten(body(rebuild(init, states)), "state")
      check_states("while_loop", 1, states, operands("while_loop", 1, nil, after, new_paths), paths, new_paths)
      states, count = after, count + 1
      go = check_condition("while_loop", 1, condition(rebuild(init, states)))
    end
    return rebuild(init, states)
  end
  local inner = core.nested(graph, "while.body")
  local inputs = {}
  for i, x in ipairs(states) do inputs[i] = inner:input(paths[i], x.dtype, x.shape) end
  local next_state = core.build(inner, body, rebuild(init, inputs))
  local after, new_paths = flatten(next_state, "state")
  check_states("while_loop", 1, states, operands("while_loop", 1, inner, after, new_paths), paths, new_paths)
  local go = core.build(inner, condition, rebuild(init, after))
  inner:output("continue", check_condition("while_loop", 1, go))
  for i, x in ipairs(after) do inner:output(new_paths[i], x) end
  return rebuild(init, core.control_while(graph, first, inner, states, most or 0))
end, 4)

-- --- cond --------------------------------------------------------------------------------------

-- What a branch gives, as a graph of its own.
local function branch(graph, name, f, ...)
  local inner = core.nested(graph, name)
  local results = table.pack(core.build(inner, f, ...))
  local list, paths = flatten({ table.unpack(results, 1, results.n) }, "result")
  for i, x in ipairs(operands("cond", 2, inner, list, paths)) do inner:output(paths[i], x) end
  return inner, results, list, paths
end

-- cond(condition, on_true, on_false, …): on_true(…) if the condition, a bool[], holds, else on_false(…).
-- Only one of them runs; they give values of the same types. After If of ONNX and jax.lax.cond.
function control.cond(condition, on_true, on_false, ...)
  tree.want_function("cond", "on_true", on_true)
  tree.want_function("cond", "on_false", on_false)
  local graph = core.current_graph()
  local pred = check_condition("cond", 1, condition)
  if not graph then
    if pred:item() then return on_true(...) end
    return on_false(...)
  end
  local yes, results, list, paths = branch(graph, "cond.then", on_true, ...)
  local no, _, other, other_paths = branch(graph, "cond.else", on_false, ...)
  if #list ~= #other then fail("cond", 1, "one branch gives %d values, the other %d", #list, #other) end
  for i, x in ipairs(list) do
    if x.type ~= other[i].type or paths[i] ~= other_paths[i] then
      fail("cond", 1, "%s is %s of one branch, %s is %s of the other", paths[i], x.type, other_paths[i], other[i].type)
    end
  end
  local out = rebuild({ table.unpack(results, 1, results.n) }, core.control_if(graph, pred, yes, no))
  return table.unpack(out, 1, results.n)
end

return control
