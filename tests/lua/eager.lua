-- Tensors, operators and gradients in imperative mode, and the same function traced.
local tn = require "tenon"
local check = require "check"

-- Central differences of f at x (a flat list).
local function difference(f, x, i)
  local h = 1e-5
  local function at(d)
    local y = table.move(x, 1, #x, 1, {})
    y[i] = y[i] + d
    return f(tn.tensor(y, "f64")):item()
  end
  return (at(h) - at(-h)) / (2 * h)
end

return tn.script {
  name = "eager",
  run = function()
    -- Tensors.
    local x = tn.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    check.equal(x.shape, { 2, 3 })
    check.equal(x.dtype, "f32")
    check.equal(x.rank, 2)
    check.equal(x.type, "f32[2, 3]")
    check.equal(x:get(2, 1), 4)
    check.equal(x:list(), { { 1, 2, 3 }, { 4, 5, 6 } })
    check.equal(tn.tensor(7, "i64"):item(), 7)
    check.equal(tn.tensor({ true, false }, "bool"):list(), { true, false })
    check.equal(tn.zeros({ 2 }, "i32"):list(), { 0, 0 })
    check.equal(tostring(tn.tensor { 1, 2 }), "f32[2] {1, 2}")
    check.equal(tn.uniform({ 4 }, 1):list(), tn.uniform({ 4 }, 1):list())
    check.fails(function() return x:get(3, 1) end, "index 1 is 3, outside 1 to 2")
    check.fails(function() return x:get(1) end, "1 indices for 2 dimensions")
    check.fails(function() return x:item() end, "6 elements")
    check.fails(function() return tn.tensor { { 1, 2 }, { 3 } } end, "different lengths")
    check.fails(function() return tn.tensor { { 1, 2 }, 3 } end, "different lengths")
    for _, row in ipairs { { n = 3 }, { 2, n = 3 }, { [2] = 2 }, { 2, nil, 3 } } do
      check.fails(function() return tn.full(row, 1) end, "eager.lua:", "a shape has sizes alone")
    end
    for _, row in ipairs {
      { {}, "name is a string, not nil" }, { { name = 5 }, "name is a string, not a number" },
      { { name = "a\0b" }, "name holds a NUL byte" }, { { name = "e1", dtype = 3 }, "dtype is a string, not a number" },
      { { name = "e1", role = "parm" }, "no role 'parm'; roles are param" }, { { name = "e1", of = {} }, "of is a string" },
      { { name = "e1", init = 5 }, "init, if it is no table", "not a number" }, { { name = "e1", init = {} }, "the initialiser's name" },
      { { name = "e1", init = { "uniform", "x" } }, "the first number of init is a number, not a string" },
      { { name = "e1", init = { "uniform", 0, 0 / 0 } }, "finite" }, { { name = "e1", init = { "normal", 0, 1 / 0 } }, "finite" },
      { { name = "e1", init = { "ones", fan_in = -1 } }, "fan_in of init is a whole number from 0" },
      { { name = "e1", init = { "ones", zero_row = 1.5 } }, "zero_row of init is a whole number from 0" },
      { { name = "e1", init = { "noes" } }, "did you mean 'ones'" }, { 5, "a variable is made of a table" },
    } do
      check.fails(function() tn.variable(row[1]) end, "eager.lua:", table.unpack(row, 2))
    end
    for _, row in ipairs {
      { function() tn.op.add(tn.ones {}, tn.ones {}, tn.ones {}) end, "add takes 2 inputs here; argument 3 is one more" },
      { function() tn.op.add(tn.ones {}, "x", tn.ones {}) end, "add: input 'b' is missing (argument 2 is string)" },
      { function() tn.new(tn.nn.relu {}, {}) end, "tn.new: a name is a string, not a table" },
      { function() tn.component() end, "tn.component: what the component is stands in a table, not in a nil" },
      { function() tn.component { interface = "layer", name = "zz", options = { 5 } } end, "tn.component: option 1" },
      { function() tn.checked("a", {}, 5) end, "checked: argument 3 is a number; a function was expected" },
    } do
      check.fails(row[1], row[2])
      local _, message = pcall(row[1])
      check.equal(message:find("pipelines/lua", 1, true), nil, message)
    end
    for _, seed in ipairs { "x", 1.5, 0 / 0, {} } do
      check.fails(function() local _ = tn.uniform({ 2 }, seed) end, "eager.lua:", "a seed is a whole number, not")
      check.fails(function() tn.seed(seed) end, "eager.lua:", "a seed is a whole number, not")
    end
    check.fails(function() return tn.tensor { 1, nil, 3 } end, "element 2 is nil, not a number")
    check.fails(function() return tn.tensor { 1, {}, 3 } end, "element 2 is a table, not a number")
    check.fails(function() return tn.tensor({ 1 }, "f31") end, "f31", "f32")

    -- Operators: arithmetic, inputs, attributes in every form.
    check.equal((x + 1):list(), { { 2, 3, 4 }, { 5, 6, 7 } })
    check.equal((2 - x):list(), { { 1, 0, -1 }, { -2, -3, -4 } })
    check.equal((-x):list(), { { -1, -2, -3 }, { -4, -5, -6 } })
    check.equal((x ^ 2):list()[2], { 16, 25, 36 })
    check.equal((1 / tn.tensor { 2, 4 }):list(), { 0.5, 0.25 })
    check.equal((tn.tensor({ -3 }, "i64") % 5):list(), { 2 })
    check.equal(x:matmul(x:transpose { 1, 0 }):list(), { { 14, 32 }, { 32, 77 } })
    check.equal(x:transpose().shape, { 3, 2 })
    check.equal(x:reshape { 3, -1 }:list(), { { 1, 2 }, { 3, 4 }, { 5, 6 } })
    check.equal(x:reshape(6).shape, { 6 })
    check.equal(x:cast("i64").dtype, "i64")
    check.equal(x:cast { to = "f64" }.dtype, "f64")
    check.equal(x:reduce_sum({ 1 }, false):list(), { 6, 15 })
    check.equal(x:reduce_sum { axes = { 0 } }:list(), { { 5, 7, 9 } })
    check.equal(x:sum():item(), 21)
    check.equal(x:sum(0):list(), { 5, 7, 9 })
    check.equal(x:mean({ 1 }, true):list(), { { 2 }, { 5 } })
    check.equal(tn.op.concat(x, x, { axis = 0 }).shape, { 4, 3 })
    check.equal(select("#", x:split { axis = 1, num_outputs = 3 }), 3)
    check.equal(tn.op.where(x:greater(3), x, 0):list(), { { 0, 0, 0 }, { 4, 5, 6 } })
    check.near(tn.op.softmax(tn.tensor { { 0, 0 } }, { axis = -1 }):list(), { { 0.5, 0.5 } })
    check.equal(x:max(4):list(), { { 4, 4, 4 }, { 4, 5, 6 } })
    check.fails(function() return x:matmul(x) end, "matmul", "[2, 3]")
    check.fails(function() return x:matmul() end, "matmul", "'B' is missing")
    check.fails(function() return x:cast { too = "f64" } end, "cast", "too", "to")
    check.fails(function() return x:cast("f33") end, "cast", "f33")
    check.fails(function() return x:sofmax() end, "sofmax", "softmax")
    check.fails(function() return tn.tensor({ 1 }, "i64") + 0.5 end, "0.5", "i64", "cast")
    check.fails(function() return x + "one" end, "add")
    check.fails(function() return tn.op.assign(x) end, "assign")

    -- Gradients of what is tracked.
    local w = tn.tensor { 1, 2, 3 }:track()
    local loss = (w * w * 2):sum()
    check.equal(tn.grad(loss, { w })[1]:list(), { 4, 8, 12 })
    check.fails(function() return tn.grad(loss, { w }) end, "keep = true")
    check.fails(function() return tn.grad((x * 2):sum(), { x }) end, "track")
    local y = (w ^ 3):sum()
    local first = tn.grad(y, { w }, { keep = true })[1]
    check.near(first:list(), { 3, 12, 27 })
    check.near(tn.grad(first:sum(), { w })[1]:list(), { 6, 12, 18 }, 1e-6, "second derivative")

    -- A function of many operators: gradient against differences, traced against at once.
    local a = tn.tensor({ { 0.3, -0.2, 0.5 }, { 0.1, 0.7, -0.4 }, { -0.6, 0.2, 0.9 } }, "f64")
    local function f(v)
      local h = (v:reshape { 1, 3 }:matmul(a)):tanh():sigmoid()
      return (h:log_softmax(-1) * h:exp()):sum() + (v * v):sum():sqrt()
    end
    local at = { 0.4, -1.1, 0.8 }
    local v = tn.tensor(at, "f64"):track()
    local grad = tn.grad(f(v), { v })[1]:list()
    for i = 1, 3 do check.near(grad[i], difference(f, at, i), 1e-8, "gradient") end
    local traced = tn.jit(f)
    check.near(traced(v:detach()):item(), f(tn.tensor(at, "f64")):item(), 1e-12)
    local traced_grad = tn.jit(function(value) return tn.grad(f(value), { value })[1] end)
    check.near(traced_grad(v:detach()):list(), grad, 1e-12, "gradient in a graph")

    -- What tensors alone make in a trace is a tensor; where it is larger than they are, the graph has the
    -- operator, so that 8-bit weights stay so (test_int8.c). The same numbers either way, also in control flow.
    local scale, low = tn.full({ 8 }, 0.5), tn.full({ 8, 4 }, -3, "i8")
    local function widened(x)
      local w = low:dequantize_linear(scale, { axis = 0 })
      check.equal(w:get(1, 1), -1.5, "a tensor in a trace")
      local y = x:linear(w)
      return y + tn.cond(y:sum():less(0), function() return x:linear(w) end, function() return y end), tn.grad(y:sum(), { x })[1]
    end
    local ones = tn.ones { 2, 4 }
    local sums, slope = tn.jit(widened)(ones)
    check.equal(sums:get(2, 8), -12, "widened in a trace")
    check.equal(slope:get(1, 1), -12, "its gradient")

    -- jit: one trace a shape, several results, and the same answers at each.
    local traces = 0
    local g = tn.jit(function(p, q)
      traces = traces + 1
      return p + q, p * q
    end)
    for _, n in ipairs { 2, 3, 2, 3, 2 } do
      local sum, product = g(tn.full({ n }, 3), tn.full({ n }, 4))
      check.equal(sum.shape, { n })
      check.equal({ sum:get(n), product:get(1) }, { 7, 12 })
    end
    check.equal(traces, 2)
    check.fails(function() return g(tn.ones { 2 }, tn.ones { 3 }) end, "[2]", "[3]")

    -- Narrow ones too: a trace a dtype and shape, a layer and its gradient as near as eight bits are.
    local narrow_traces = 0
    local dense = tn.jit(function(p, q)
      narrow_traces = narrow_traces + 1
      local y = p:matmul(q):tanh()
      return y, tn.grad(y:cast("f32"):sum(), { p })[1]
    end)
    for _, rows in ipairs { 5, 33, 5 } do
      local p, q = tn.normal({ rows, 40 }, 1) * 0.3, tn.normal({ 40, 24 }, 2) * 0.3
      local wide, wide_grad = dense(p, q)
      local narrow, narrow_grad = dense(p:cast "bf16", q:cast "bf16")
      check.equal({ narrow.type, narrow_grad.type }, { ("bf16[%d, 24]"):format(rows), ("bf16[%d, 40]"):format(rows) })
      check.near(narrow:cast("f32"):list(), wide:list(), 0.02, "bf16")
      check.near(narrow_grad:cast("f32"):list(), wide_grad:list(), 0.03, "bf16: gradient")
    end
    check.equal(narrow_traces, 4)

    -- Handles: closed ones say so, values keep their graph.
    local closed = tn.ones { 2 }
    closed:close()
    check.fails(function() return closed + 1 end, "closed")
    do
      local t <close> = tn.ones { 2 }
      check.equal(t:sum():item(), 2)
    end
    local core = require "tenon.core"
    local value
    do
      local graph = core.graph "gone"
      value = graph:input("x", "f32", { 2 }) * 2
      graph:close()
    end
    collectgarbage()
    check.equal((value + 1).shape, { 2 })
    check.fails(function() return value + core.graph("other"):input("y", "f32", { 2 }) end, "graph")

    -- Large ones go when nobody holds them: 4 GB pass through a few handles.
    local big = tn.zeros { 1024, 1024 }
    for _ = 1, 1000 do big = big + 1 end
    check.equal(big:get(1, 1), 1000)

    -- Variables.
    local variable = tn.variable { name = "v", shape = { 2 }, init = { "constant", 3 } }
    check.equal(variable:read():list(), { 3, 3 })
    check.equal((variable * 2):list(), { 6, 6 })
    check.equal(tn.grad((variable * variable):sum(), { variable })[1]:list(), { 6, 6 })
    variable:assign(variable - 1)
    check.equal(variable:read():list(), { 2, 2 })
    check.equal((variable * 2):list(), { 4, 4 }, "the new value")
    variable:write(9)
    check.equal(variable:read():list(), { 9, 9 })
    -- One value for all handles of a variable, also of a layer's: its gradient is that of all uses.
    local function again() return tn.variable { name = "v", shape = { 2 } } end
    local square = (again() * again()):sum()
    check.equal(tn.grad(square, { variable })[1]:list(), { 18, 18 }, "another handle")
    again():write(2)
    check.equal((variable * 2):list(), { 4, 4 }, "written by another handle")
    -- Written before the gradient is asked for: it is that of the value which was used.
    square = (variable * variable):sum()
    again():assign(variable + 5)
    check.equal(tn.grad(square, { again() })[1]:list(), { 4, 4 }, "of the value that was used")
    tn.jit(function(value) variable:assign(variable * value) return value end)(tn.full({ 2 }, 2))
    check.equal((again() * 1):list(), { 14, 14 }, "assigned by a program")
    local layer = tn.new(tn.nn.linear { 1, init = "ones" }, "eager")
    local y2 = layer(tn.tensor { { 1, 2 } }):sum()
    for _, v in ipairs(tn.variables()) do
      if v:name() == "eager.weight" then check.equal(tn.grad(y2, { v })[1]:list(), { { 1, 2 } }, "a layer's") end
    end
    variable:write(9)
    check.fails(function() variable:write(tn.ones { 3 }) end, "'v'", "f32[2]", "f32[3]")
    check.fails(function() return tn.variable { name = "v", shape = { 3 } } end, "v")
    check.fails(function() return tn.variable { name = "u", shape = { 3 }, init = "zeroes" } end, "zeroes", "zeros")
  end,
}
