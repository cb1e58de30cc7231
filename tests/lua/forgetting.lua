-- What the tape of gradients remembers: no more than somebody can ask for.
local tn = require "tenon"
local core = require "tenon.core"
local check = require "check"

local MOST_NODES = 8192 -- twice what the tape is left alone with

-- Operators on tracked values that nobody keeps: more than the tape may hold.
local function litter(x, n)
  for _ = 1, n or 6000 do local _ = x * 2 end
end

-- Loops of thousands of steps, whose results nobody holds but for the last.
local function loops()
  local model = tn.new(tn.nn.sequential { tn.nn.linear { 8 }, tn.nn.relu {}, tn.nn.linear { 2 } }, "loops")
  local x, y, most = tn.uniform({ 4, 6 }, 1), nil, 0
  local first = model(x):list()
  for _ = 1, 3000 do
    y = model(x)
    most = math.max(most, (core.tape_size()))
  end
  check.equal(y:list(), first)
  check.equal(most > 3000 and most <= MOST_NODES, true, "nodes of a loop: " .. most)

  -- Few nodes, many bytes: 1 MiB a step.
  local large, most_bytes = tn.zeros({ 512, 512 }):track(), 0
  for _ = 1, 400 do
    y = large + 1
    local _, bytes = core.tape_size()
    most_bytes = math.max(most_bytes, bytes)
  end
  check.equal(y:get(512, 512), 1)
  check.equal(most_bytes > 2 ^ 25 and most_bytes <= 2 ^ 27, true, "bytes of a loop: " .. most_bytes)

  -- Gradients that are kept are remembered no longer than their handles.
  local w = tn.tensor({ 1, 2 }):track()
  local loss = (w * w * w):sum()
  most = 0
  for _ = 1, 2000 do
    check.equal(tn.grad(loss, { w }, { keep = true })[1]:list(), { 3, 12 })
    most = math.max(most, (core.tape_size()))
  end
  check.equal(most <= MOST_NODES, true, "nodes of kept gradients: " .. most)

  -- What a handle leads to stays, however long.
  local sum = w
  for _ = 1, 5000 do sum = sum + w end
  check.equal((core.tape_size()) >= 5000, true, "nodes of a sum")
  check.equal(tn.grad(sum:sum(), { w })[1]:list(), { 5001, 5001 })
end

-- f(x, v) gives a loss; its gradients and second derivatives, with litter at each place or without.
local function derivatives(x, v, between)
  local h = (x * v):tanh()
  between()
  local loss = (h * h + v * x:exp()):sum()
  between()
  local first = tn.grad(loss, { x, v }, { keep = true })
  between()
  local norm = (first[1] * first[1]):sum() + (first[2] * first[2] * first[1]):sum()
  between()
  local second = tn.grad(norm, { x, v }, { keep = true })
  between()
  local third = tn.grad(second[1]:sum() + second[2]:sum() + h:sum(), { x, v })
  local all = {}
  for _, list in ipairs { first, second, third } do
    for _, t in ipairs(list) do all[#all + 1] = t:list() end
  end
  return all
end

return tn.script {
  name = "forgetting",
  run = function()
    loops()
    tn.clear()

    -- The same derivatives, of leaves and of variables, whatever was forgotten between.
    local v = tn.variable { name = "v", shape = { 3 }, init = { "constant", 0.5 } }
    local function leaf() return tn.tensor({ 0.3, -0.2, 0.9 }):track() end
    local other = tn.ones({}):track()
    local want = derivatives(leaf(), v, function() end)
    check.equal(derivatives(leaf(), v, function() litter(v) end), want, "of a variable, after litter")
    check.equal(derivatives(leaf(), v, function() litter(other) end), want, "after litter of others")
    check.equal(derivatives(v, leaf(), function() litter(other) end), derivatives(v, leaf(), function() end), "changed places")

    -- Held over many rounds of forgetting: the way from the leaf, tensors that are not tracked, leaves that
    -- nothing has come of yet, a variable that was written since.
    local x, plain, unused = leaf(), tn.tensor { 1, 2, 3 }, leaf()
    local a, b = (x * plain), (v * plain)
    local _ = unused * plain
    v:write(9)
    for _ = 1, 4 do litter(other) end
    check.equal(v:read():list(), { 9, 9, 9 })
    local grads = tn.grad((a * plain + b * unused):sum(), { x, v, unused }, { keep = true })
    check.equal(grads[1]:list(), { 1, 4, 9 }, "of a leaf")
    check.near(grads[2]:list(), { 0.3, -0.4, 2.7 }, 1e-6, "of a variable written since")
    check.equal(grads[3]:list(), { 0.5, 1, 1.5 }, "of a leaf used later")
    tn.clear()
    check.fails(function() return tn.grad(a:sum(), { x }) end, "tracked")

    -- A closed handle keeps nothing.
    local long = x
    for _ = 1, 100 do long = long * 2 end
    long:close()
    litter(x)
    check.equal((core.tape_size()) <= 4096 + 2, true, "nodes after a close")

    -- no_grad: variables are read as tensors, nothing is tracked, results come as they are.
    tn.clear()
    v:write(2)
    local p, q, n = tn.no_grad(function(k, ...) return v * k, x * 2 + v, select("#", ...) end, 3, nil, nil)
    check.equal({ p:list(), n }, { { 6, 6, 6 }, 2 })
    check.equal({ core.tape_size() }, { 0, 0 }, "the tape")
    check.fails(function() return tn.grad(p:sum(), { v }) end, "tracked")
    check.fails(function() return tn.grad(q:sum(), { x }) end, "tracked")
    local views = { tn.no_grad(function() return v:reshape { 3 }, v:stop_gradient(), v:slice { starts = { 0 }, ends = { 3 } } end) }
    v:write(4)
    check.equal({ p:list(), (v * 1):list() }, { { 6, 6, 6 }, { 4, 4, 4 } }, "a copy")
    for _, view in ipairs(views) do check.equal(view:list(), { 2, 2, 2 }, "a copy, too") end

    -- It nests, ends with an error, takes what can be called, and leaves what was tracked before alone.
    local before, inside = (v * v):sum(), nil
    tn.no_grad(function()
      tn.no_grad(function() return v * 1 end)
      inside = v * 1
      check.equal(tn.grad(before, { v }, { keep = true })[1]:list(), { 8, 8, 8 }, "asked within")
    end)
    check.fails(function() return tn.grad(inside:sum(), { v }) end, "tracked")
    check.fails(function() tn.no_grad(function() error "on purpose" end) end, "forgetting.lua:", "on purpose")
    check.fails(function() tn.no_grad(function() return v + tn.ones { 7 } end) end, "forgetting.lua:", "[7]")
    check.fails(function() tn.no_grad(5) end, "a function is wanted", "number")
    check.fails(function() tn.no_grad() end, "a function is wanted")
    check.equal(tn.grad((v * v):sum(), { v })[1]:list(), { 8, 8, 8 }, "tracked again after errors")
    local model = tn.new(tn.nn.linear { 1 }, "called")
    check.equal(tn.no_grad(model, tn.ones { 1, 2 }):list(), model(tn.ones { 1, 2 }):list())

    -- In a graph what it computes has no gradient; a program that is made within it is as elsewhere.
    local half = tn.jit(function(t)
      local still = tn.no_grad(function() return t * t end)
      return tn.grad((still * t):sum(), { t })[1]
    end)
    check.equal(half(tn.tensor { 2, 3 }):list(), { 4, 9 })
    local whole = tn.jit(function(t) return tn.grad((t * t):sum(), { t })[1] end)
    check.equal(tn.no_grad(whole, tn.tensor { 2, 3 }):list(), { 4, 6 })
    check.equal(whole(tn.tensor { 2, 3 }):list(), { 4, 6 })
  end,
}
