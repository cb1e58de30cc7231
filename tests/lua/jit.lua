-- tn.jit: trees of arguments and results, and what is said about what a graph cannot tell.
local tn = require "tenon"
local check = require "check"
local nn = tn.nn

return tn.script {
  name = "jit",
  run = function()
    -- Trees, as of scan and cond: a program for each structure and set of types.
    local traces = 0
    local f = tn.jit(function(t, scale)
      traces = traces + 1
      return { sum = (t.a + t.b[1]) * scale, [1] = t.b[1] }, t.a
    end)
    for _, n in ipairs { 1, 2, 1 } do
      local out, a = f({ a = tn.full({ n }, 3), b = { tn.full({ n }, 4) } }, 2)
      check.equal({ out.sum:get(n), out[1]:get(1), a:get(n) }, { 14, 4, 3 })
    end
    check.equal(f({ a = tn.ones { 1 }, b = { tn.ones { 1 }, tn.ones { 1 } } }, 3).sum:item(), 6, "numbers are arguments")
    check.equal(traces, 3)
    local names = tn.jit(function(t) return t["a b"] end)
    check.equal(names({ ["a b"] = tn.tensor(1) }):item(), 1)
    check.equal(names({ ["a b"] = tn.tensor(2) }):item(), 2)
    -- Absent ones count, and results may be absent.
    local gaps = tn.jit(function(a, b, c) return b and a + b or a, nil, c end)
    local one, none, three = gaps(1, nil, 5)
    check.equal({ one:item(), none == nil, three:item() }, { 1, true, 5 })
    check.equal(gaps(1, 2, 5):item(), 3)
    check.equal(select("#", gaps(1, 2)), 3)
    check.equal(tn.jit(function() return 3, true end)():item(), 3)
    check.equal(select(2, tn.jit(function() return 3, true end)()):item(), true)
    check.equal(tn.jit(function(t) return t.x == nil and 1 or t.x end)({}):item(), 1, "an empty table")
    -- Within another's trace a function is a part of it.
    local square = tn.jit(function(x) return x * x end)
    check.equal(tn.jit(function(x) return square(x) + square(3) end)(tn.tensor(2)):item(), 13)
    check.equal(tn.jit(function(x) return tn.grad(square(x), { x })[1] end)(tn.tensor(2)):item(), 4)

    local x = tn.tensor { 1 }
    local ring = {}
    ring.ring = ring
    local rows = {
      { function() f("text") end, "x[1] is a string", "a value or a table of values" },
      { function() f({ a = print }) end, "x[1].a is a function" },
      { function() f({ [true] = x }) end, "x[1] has a boolean as a key" },
      { function() f(ring) end, "hold themselves" },
      { function() tn.jit(function() return { y = "text" } end)(x) end, "y[1].y is a string" },
      { function() tn.jit(function(a) return a end)(tn.variable { name = "v", shape = {} }) end, "variable", "v:read()" },
      -- What needs a number.
      { function() tn.jit(function(a) return a:sum():item() end)(x) end, "item: a value of a graph has no number yet", "tn.cond", "leave this out of the jit" },
      { function() tn.jit(function(a) return a:list()[1] end)(x) end, "list: a value of a graph" },
      { function() tn.jit(function(a) return a:get(1) end)(x) end, "get: a value of a graph" },
      { function() tn.jit(function(a) if a:sum() > 0 then return a end return -a end)(x) end, "comparison: a value of a graph", "tn.op.where" },
      { function() tn.jit(function(a) if 0 >= a then return a end return -a end)(x) end, "comparison: a value of a graph" },
      { function() tn.jit(function(a) if a <= x then return a end return -a end)(x) end, "comparison: a value of a graph" },
      { function() tn.jit(function(a) print("a is " .. a) return a end)(x) end, "..: a value of a graph" },
      { function() tn.jit(function(a) return #a end)(x) end, "#: sizes are in x.shape" },
      { function() return x > 0 end, "comparison: tensors are compared by x:less(y)" },
      { function() return x <= x end, "comparison: tensors" },
      { function() return "x is " .. x end, "..: tostring(x)" },
      { function() return #x end, "x.shape" },
      { function() return x // 2 end, "//: (x / y):floor()" },
      { function() return x[1] end, "x:get(i" },
      { function() return tn.variable { name = "w", shape = {} }:item() end, "item: a variable is read first: v:read()" },
      { function() tn.jit(5) end, "jit: argument 1 is a number; a function was expected" },
      { function() tn.jit(function(a) return a end)(nn.relu {}) end, "jit: x[1] is a component; a value or a table of values" },
      { function() tn.jit(function(a) return nn.relu {} end)(x) end, "jit: y[1] is a component; a value" },
      { function() tn.scan(print, x, x, 5) end, "scan takes options by their names, as in { reverse = … }" },
      { function() tn.scan(print, x, x, { revers = true }) end, "scan.revers", "nearest: reverse" },
      { function() tn.scan(print, x, nil, { length = "3" }) end, "scan.length: expected an integer in [0, inf)" },
      { function() tn.while_loop(print, print, x, 7) end, "while_loop takes options by their names, as in { max_iterations = … }" },
      { function() tn.while_loop(print, print, x, { max_iterations = 0 }) end, "while_loop.max_iterations: expected an integer in [1, inf)" },
      { function() nn.linear({ 1 }, 2) end, "'linear' takes one table of options, got 2 arguments" },
      { function() tn.cond(true, 1, 2) end, "cond: on_true is a number; a function" },
      { function() tn.scan(nil, x, x) end, "scan: argument 1 is nil; a function" },
      { function() tn.while_loop(1, 2, x) end, "while_loop: the condition is a number; a function" },
      { function() return tn.grad(x, x) end, "grad: what the gradients are of is a list" },
      { function() return tn.zeros(3) end, "a shape is a table of sizes", "not a number" },
      { function() return x:itme() end, "there is no operator 'itme'" },
    }
    for i, row in ipairs(rows) do
      local ok, message = pcall(row[1])
      check.equal({ i, ok, tostring(message):find("^[^:]*jit%.lua:%d+: ") == 1 }, { i, false, true }, tostring(message))
      check.fails(table.unpack(row))
    end
    -- Within a trace another traced function is a part of it: what it catches, numbers and tables too.
    local outer = tn.jit(function(a)
      local g = tn.jit(function(s) return a * s end)
      local h = tn.jit(function(t) return t.x + t.y end)
      return g(3) + g(a) + h { x = a, y = 1 }
    end)
    check.equal(outer(tn.tensor(2.0)):item(), 2 * 3 + 4 + 3)
    -- A variable beside a tensor from outside is read in each run, and gradients come to it: not what it
    -- was while the function was traced.
    local w, mask = tn.variable { name = "masked", shape = { 2 }, init = "ones" }, tn.tensor { 2.0, 0 }
    local masked = tn.jit(function(a)
      local y = (mask * w * w * a):sum()
      local slope = tn.grad(y, { w })[1]
      return y, slope, tn.grad(slope:sum(), { w })[1]
    end)
    local taken, noted = tn.jit(function(a) return w:read() * a end), tn.jit(function(a) w:assign(mask) return w * a end)
    for _, value in ipairs { 1, 3, 1 } do
      w:write(value)
      local y, slope, curve = masked(tn.ones { 2 })
      check.equal({ y:item(), slope:get(1), slope:get(2), curve:get(1) }, { 2 * value * value, 4 * value, 0, 4 }, "beside a mask")
      check.equal(taken(tn.ones { 2 }):list(), { value, value }, "read in each run")
      check.equal(noted(tn.ones { 2 }):list(), { value, value }, "the value that the run begins with")
      check.equal(w:read():list(), { 2, 0 }, "assigned in each run")
    end
    tn.jit(function(a) w:assign(5) return a end)(x)
    check.equal(w:read():list(), { 5, 5 }, "a number for all elements")
    tn.jit(function(a) w:assign(tn.tensor({ 6, 7 }, "f64")) return a end)(x)
    check.equal(w:read():list(), { 6, 7 }, "of another dtype, as at once")
    -- What is read has no gradient, as at once.
    local function pulled(a) return tn.grad((w:read() * w * a):sum(), { w })[1] end
    check.equal(tn.jit(pulled)(x):list(), pulled(x):list(), "read, not tracked")
    check.fails(function() tn.jit(function(a) return tn.grad((a * x):sum(), { x })[1] end)(tn.ones { 1 }) end,
      "grad: 1 of the list is a tensor, a constant", "argument")
    -- What failed leaves no graph open: this runs at once.
    check.equal((x + 1):item(), 2)
  end,
}
