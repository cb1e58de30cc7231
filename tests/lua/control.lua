-- Control flow: in a graph each of scan, while_loop and cond is a node with a graph of its own, among
-- tensors a plain loop; both must agree in values, first and second derivatives.
local tn = require "tenon"
local check = require "check"

-- f's results and the gradients of the sum of its first, at once and traced; then those of a sum over the
-- gradients, squared.
local function agree(what, f, arguments, tolerance)
  local function derivatives(...)
    local xs = { ... }
    local y = f(...)
    local first = tn.grad((y * y):sum(), xs, { keep = true })
    local sum = first[1]:mul(first[1]):sum()
    for i = 2, #first do sum = sum + first[i]:mul(first[i]):sum() end
    local second = tn.grad(sum, xs)
    local all = { y }
    for _, list in ipairs { first, second } do
      for _, x in ipairs(list) do all[#all + 1] = x end
    end
    return table.unpack(all)
  end
  local tracked = {}
  for i, x in ipairs(arguments) do tracked[i] = x:detach():track() end
  local want = { derivatives(table.unpack(tracked)) }
  tn.clear()
  local got = { tn.jit(derivatives)(table.unpack(arguments)) }
  check.equal(#got, #want, what)
  for i = 1, #want do
    check.equal(got[i].type, want[i].type, what)
    check.near(got[i]:list(), want[i]:list(), tolerance or 1e-9, ("%s: result %d"):format(what, i))
  end
end

local function f64(lists) return tn.tensor(lists, "f64") end

-- First derivatives of loss(...) and those of half their squares' sum, all traced, against central
-- differences of the loss and of that sum, in every element of every argument.
local function differences(what, loss, arguments)
  local sums = tn.jit(function(...)
    local xs = { ... }
    local value = loss(...)
    local first = tn.grad(value, xs, { keep = true })
    local squares = first[1]:mul(first[1]):sum()
    for i = 2, #first do squares = squares + first[i]:mul(first[i]):sum() end
    local second = tn.grad(squares / 2, xs)
    for i, x in ipairs(second) do first[#xs + i] = x end
    return value, squares / 2, table.unpack(first)
  end)
  local here = { sums(table.unpack(arguments)) }
  for i, x in ipairs(arguments) do
    local flat = x:reshape { -1 }
    local first, second = here[2 + i]:reshape { -1 }:list(), here[2 + #arguments + i]:reshape { -1 }:list()
    for k = 1, #first do
      local function at(step)
        local list = flat:list()
        list[k] = list[k] + step
        local moved = { table.unpack(arguments) }
        moved[i] = f64(list):reshape(x.shape)
        local value, squares = sums(table.unpack(moved))
        return value:item(), squares:item()
      end
      local e = 1e-5
      local l1, m1 = at(e)
      local l0, m0 = at(-e)
      check.near({ first[k], second[k] }, { (l1 - l0) / (2 * e), (m1 - m0) / (2 * e) }, 1e-7,
        ("%s: argument %d, element %d"):format(what, i, k))
    end
  end
end

return tn.script {
  name = "control",
  run = function()
    local x = f64 { { 0.3, -0.2 }, { 0.5, 0.1 }, { -0.7, 0.4 } }
    local h, w = f64 { 0.2, -0.4 }, f64 { { 0.5, -0.3 }, { 0.8, 0.1 } }

    -- scan: a recurrent network with captured weights, forwards and backwards, states as tables.
    for _, reverse in ipairs { false, true } do
      agree("scan", function(a, b, c)
        local last, ys = tn.scan(function(state, slice)
          local next_state = (state.h:reshape { 1, 2 }:matmul(c):reshape { 2 } + slice):tanh()
          return { h = next_state, n = state.n + 1 }, next_state * slice
        end, { h = b, n = tn.tensor(0, "i64") }, a, { reverse = reverse })
        return ys * (last.h + last.n:cast "f64")
      end, { x, h, w })
    end

    -- A cell with gates (a minimal GRU), unrolled over steps by a scan: held against differences.
    differences("recurrent cell", function(slices, state, into, across)
      local last, ys = tn.scan(function(s, slice)
        local row = slice:reshape { 1, 2 }:matmul(into):reshape { 4 }
        local gates = row + s:reshape { 1, 2 }:matmul(across):reshape { 4 }
        local keep = gates:slice { starts = { 0 }, ends = { 2 } }:sigmoid()
        local new = (gates:slice { starts = { 2 }, ends = { 4 } }):tanh()
        local next_state = keep * s + (keep * -1 + 1) * new
        return next_state, next_state
      end, state, slices)
      return (ys * ys):sum() + last:sum()
    end, { x, h, f64 { { 0.4, -0.6, 0.9, 0.2 }, { -0.5, 0.7, 0.1, 0.8 } },
      f64 { { 0.3, 0.5, -0.4, 0.6 }, { -0.2, 0.1, 0.7, -0.9 } } })

    -- What is stacked is where its slice was; several of them, and none.
    local running = tn.jit(function(a)
      local sum, ys = tn.scan(function(s, v) return s + v, { before = s, twice = v * 2 } end, tn.tensor(0), a)
      local back = select(2, tn.scan(function(s, v) return s + v, s end, tn.tensor(0), a, { reverse = true }))
      local alone, nothing = tn.scan(function(s, v) return s * v end, tn.tensor(1), a)
      check.equal(nothing, nil)
      return sum, ys.before, ys.twice, back, alone
    end)
    local list = {}
    for i, y in ipairs { running(tn.tensor { 1, 2, 3, 4 }) } do list[i] = y:list() end
    check.equal(list, { 10, { 0, 1, 3, 6 }, { 2, 4, 6, 8 }, { 9, 7, 4, 0 }, 24 })
    check.equal(running(tn.tensor { 5, 6 }):item(), 11, "another length")
    local _, none = running(tn.zeros { 0 })
    check.equal(none.shape, { 0 }, "no steps")
    local powers = tn.jit(function(a)
      return (tn.scan(function(s) return s * a end, tn.tensor(1), nil, { length = 5 }))
    end)
    check.equal(powers(tn.tensor(3)):item(), 243)
    check.equal(tn.scan(function(s) return s * 3 end, 1, nil, { length = 5 }):item(), 243)

    -- Scans within scans, and gradients taken within one: five steps of gradient descent.
    agree("descent", function(a, start)
      local last = tn.scan(function(p)
        local loss = ((a:matmul(p:reshape { 2, 1 }) - 1) ^ 2):sum()
        return p - tn.grad(loss, { p }, { keep = true })[1] * 0.1
      end, start, nil, { length = 5 })
      return last
    end, { x, h }, 1e-8)
    agree("nested", function(a, b)
      return (tn.scan(function(s, row)
        local inner, ys = tn.scan(function(t, v) return t * v + b:sum(), t end, s:sum(), row)
        return s * inner + ys
      end, b, a))
    end, { x, h })

    -- cond: one branch alone runs; what they use may differ; gradients are the branch's.
    for _, sign in ipairs { 1, -1 } do
      agree("cond", function(a, b)
        return (tn.cond((a:sum() * sign):greater(0), function() return (a * a * b):sum() end,
          function() return (a:tanh() - b):sum() end))
      end, { h, f64 { 1.5, -2.5 } })
    end
    local pick = tn.jit(function(p, a)
      return tn.cond(p, function(v) return v, v * 2 end, function(v) return v + 1, tn.zeros { 2 } end, a)
    end)
    check.equal(select(2, pick(tn.tensor(true, "bool"), tn.tensor { 1, 2 })):list(), { 2, 4 })
    check.equal(pick(tn.tensor(false, "bool"), tn.tensor { 1, 2 }):list(), { 2, 3 })
    check.equal(tn.cond(true, function() return 1 end, function() return 2 end), 1)

    -- while: Newton's method for a square root, as often as needed; with a bound also its gradients.
    local function root(a, options)
      return tn.while_loop(function(s) return (s.y * s.y - a):abs():greater(1e-12) end, function(s)
        return { y = (s.y + a / s.y) / 2, n = s.n + 1 }
      end, { y = a, n = tn.tensor(0, "i64") }, options)
    end
    local compiled = tn.jit(function(a) local s = root(a) return s.y, s.n end)
    local y, n = compiled(f64(2))
    check.near(y:item(), 2 ^ 0.5, 1e-12)
    check.equal(n:item(), root(f64(2)).n:item())
    check.equal(compiled(f64(1)):item(), 1, "no iteration")
    agree("while", function(a) return root(a, { max_iterations = 20 }).y end, { f64(2) }, 1e-7)
    check.equal(tn.jit(function(a) return root(a, { max_iterations = 2 }).n end)(f64(9)):item(), 2, "bound")
    check.fails(function() tn.jit(function(a) return tn.grad(root(a).y, { a })[1] end)(f64(2)) end, "max_iterations")

    -- Variables are read within; they are assigned outside.
    local v = tn.variable { name = "v", shape = { 2 }, init = { "constant", 2 } }
    local with_variable = tn.jit(function(a)
      local last = tn.scan(function(s, slice) return s * v + slice end, tn.zeros { 2 }, a)
      return last, tn.grad(last:sum(), { v })[1]
    end)
    local last, grad = with_variable(tn.tensor { { 1, 1 }, { 2, 3 } })
    check.equal({ last:list(), grad:list() }, { { 4, 5 }, { 1, 1 } })
    local assigning = tn.jit(function(a)
      return (tn.scan(function(s, slice) v:assign(s) return s + slice end, tn.zeros { 2 }, a))
    end)
    check.fails(function() assigning(tn.ones { 3, 2 }) end, "'v'", "assigned within control flow")

    -- Errors say which, from what to what, where; in both modes the same.
    local wrong = {
      { function(f) return function(a) return f(function(s, b) return s:cast "f64" end, a, tn.ones { 2 }) end end,
        "state is f32[3] before a step and f64[3] after it" },
      { function(f) return function(a) return f(function(s) return { h = s.h, c = s.h:sum() } end, { h = a, c = a }, tn.ones { 2 }) end end,
        "state.c is f32[3] before a step and f32[] after it" },
      { function(f) return function(a) return f(function(s) return s, s end, { a, a }, tn.ones { 2 }) end end, nil },
      { function(f) return function(a) return f(function() return nil end, a, tn.ones { 2 }) end end, "gives 0 back" },
      { function(f) return function(a) return f(function(s) return s end, a, { tn.ones { 2 }, tn.ones { 3 } }) end end,
        "x[1] has 2 steps, x[2] has 3" },
      { function(f) return function(a) return f(function(s) return s end, a, tn.tensor(1)) end end, "no axis of steps" },
      { function(f) return function(a) return f(function(s) return s end, a) end end, "length" },
      { function(f) return function(a) return f(function(s) return s end, "h", a) end end, "state is a string" },
    }
    for _, row in ipairs(wrong) do
      local f = row[1](tn.scan)
      for _, mode in ipairs { f, tn.jit(function(a) local s = f(a) return type(s) == "table" and s[1] or s end) } do
        if row[2] then check.fails(function() mode(tn.ones { 3 }) end, "scan", row[2], "control.lua:") end
      end
    end
    check.fails(function() tn.jit(function(a) return tn.cond(a, function() return a end, function() return a end) end)(tn.ones { 2 }) end,
      "condition is f32[2]", "bool[]")
    check.fails(function() tn.jit(function(a) return tn.cond(a:sum():less(0), function() return a end, function() return a:sum() end) end)(tn.ones { 2 }) end,
      "f32[2] of one branch", "f32[] of the other")
    check.fails(function() tn.jit(function(a) return tn.cond(a:sum():less(0), function() return a end, function() end) end)(tn.ones { 2 }) end,
      "one branch gives 1 values, the other 0")
    check.fails(function() tn.jit(function(a) return (tn.while_loop(function(s) return s end, function(s) return s end, a)) end)(tn.ones { 2 }) end,
      "condition is f32[2]")
    local leaked
    tn.jit(function(a) return (tn.scan(function(s) leaked = s return s end, a, nil, { length = 1 })) end)(tn.ones { 2 })
    check.fails(function() tn.jit(function(a) return a + leaked end)(tn.ones { 2 }) end, "cannot be used in graph")
    check.fails(function() tn.op.scan(tn.ones { 2 }) end, "made by graphs")
    return {}
  end,
}
