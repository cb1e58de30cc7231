-- Every layer: the shape of what comes out, and the names and shapes of its parameters, those of
-- PyTorch's modules.
local tn = require "tenon"
local core = require "tenon.core"
local check = require "check"
local nn = tn.nn

-- {name, layer, input shape, output shape, {variable = shape}}; the input is f32 unless `ints` is a
-- bound of indices.
local table_of_layers = {
  { "linear", nn.linear { 3 }, { 2, 5 }, { 2, 3 }, { weight = { 3, 5 }, bias = { 3 } } },
  { "linear_lead", nn.linear { 3, bias = false }, { 2, 4, 5 }, { 2, 4, 3 }, { weight = { 3, 5 } } },
  { "conv2d", nn.conv { 6, 5, padding = 2 }, { 2, 1, 28, 28 }, { 2, 6, 28, 28 }, { weight = { 6, 1, 5, 5 }, bias = { 6 } } },
  { "conv_stride", nn.conv2d { 4, { 3, 2 }, stride = { 2, 1 }, bias = false },
    { 1, 2, 9, 9 }, { 1, 4, 4, 8 }, { weight = { 4, 2, 3, 2 } } },
  { "conv_groups", nn.conv { 4, 3, groups = 2, same = true }, { 1, 6, 5, 5 }, { 1, 4, 5, 5 }, { weight = { 4, 3, 3, 3 }, bias = { 4 } } },
  { "conv_dilated", nn.conv1d { 2, 3, dilation = 2 }, { 1, 1, 9 }, { 1, 2, 5 }, { weight = { 2, 1, 3 }, bias = { 2 } } },
  { "conv3d", nn.conv3d { 2, 2 }, { 1, 1, 4, 4, 4 }, { 1, 2, 3, 3, 3 }, { weight = { 2, 1, 2, 2, 2 }, bias = { 2 } } },
  { "conv_transpose", nn.conv_transpose { 3, 4, stride = 2, padding = 1 },
    { 2, 5, 7, 7 }, { 2, 3, 14, 14 }, { weight = { 5, 3, 4, 4 }, bias = { 3 } } },
  { "max_pool", nn.max_pool { 2 }, { 1, 3, 8, 8 }, { 1, 3, 4, 4 }, {} },
  { "max_pool_stride", nn.max_pool { 3, stride = 2, padding = 1 }, { 1, 3, 8, 8 }, { 1, 3, 4, 4 }, {} },
  { "max_pool_ceil", nn.max_pool { 2, ceil = true }, { 1, 1, 5, 5 }, { 1, 1, 3, 3 }, {} },
  { "average_pool", nn.average_pool { 2 }, { 1, 3, 8, 8 }, { 1, 3, 4, 4 }, {} },
  { "adaptive_average", nn.adaptive_average_pool { { 3, 2 } }, { 2, 3, 8, 5 }, { 2, 3, 3, 2 }, {} },
  { "global_average", nn.global_average_pool {}, { 2, 3, 8, 8 }, { 2, 3 }, {} },
  { "global_max", nn.global_max_pool { keep = true }, { 2, 3, 8, 8 }, { 2, 3, 1, 1 }, {} },
  { "batch_norm", nn.batch_norm {}, { 4, 3, 5, 5 }, { 4, 3, 5, 5 },
    { weight = { 3 }, bias = { 3 }, running_mean = { 3 }, running_var = { 3 } } },
  { "layer_norm", nn.layer_norm {}, { 4, 5, 6 }, { 4, 5, 6 }, { weight = { 6 }, bias = { 6 } } },
  { "layer_norm_axis", nn.layer_norm { axis = 1 }, { 4, 5, 6 }, { 4, 5, 6 }, { weight = { 5, 6 }, bias = { 5, 6 } } },
  { "rms_norm", nn.rms_norm {}, { 4, 6 }, { 4, 6 }, { weight = { 6 } } },
  { "group_norm", nn.group_norm { 2 }, { 2, 4, 3 }, { 2, 4, 3 }, { weight = { 4 }, bias = { 4 } } },
  { "instance_norm", nn.instance_norm {}, { 2, 4, 3 }, { 2, 4, 3 }, { weight = { 4 }, bias = { 4 } } },
  { "dropout", nn.dropout { 0.5 }, { 2, 3 }, { 2, 3 }, {} },
  { "embedding", nn.embedding { 10, 4 }, { 2, 3 }, { 2, 3, 4 }, { weight = { 10, 4 } }, ints = true },
  { "position_embedding", nn.position_embedding { 5 }, { 2, 3, 4 }, { 2, 3, 4 }, { weight = { 5, 4 } } },
  { "prelu", nn.prelu {}, { 2, 3, 4 }, { 2, 3, 4 }, { weight = { 3, 1 } } },
  { "flatten", nn.flatten {}, { 2, 3, 4 }, { 2, 12 }, {} },
  { "reshape", nn.reshape { 4, -1 }, { 2, 3, 4 }, { 2, 4, 3 }, {} },
  { "lambda", tn.nn(function(x) return x * 2 end), { 2, 3 }, { 2, 3 }, {} },
  { "sequential", nn.sequential { nn.linear { 4 }, nn.relu {}, nn.linear { name = "head", 2 } }, { 2, 3 }, { 2, 2 },
    { ["1.weight"] = { 4, 3 }, ["1.bias"] = { 4 }, ["head.weight"] = { 2, 4 }, ["head.bias"] = { 2 } } },
  { "residual", nn.residual { nn.linear { 3 } }, { 2, 3 }, { 2, 3 }, { ["body.weight"] = { 3, 3 }, ["body.bias"] = { 3 } } },
  { "residual_shortcut", nn.residual { nn.linear { 4 }, shortcut = nn.linear { 4, bias = false } }, { 2, 3 }, { 2, 4 },
    { ["body.weight"] = { 4, 3 }, ["body.bias"] = { 4 }, ["shortcut.weight"] = { 4, 3 } } },
  { "parallel", nn.parallel { nn.linear { 4 }, nn.identity {} }, { 2, 3 }, { 2, 7 }, { ["1.weight"] = { 4, 3 }, ["1.bias"] = { 4 } } },
  { "rnn", nn.rnn { 4 }, { 2, 3, 5 }, { 2, 4 },
    { ["layer1.weight_ih"] = { 4, 5 }, ["layer1.weight_hh"] = { 4, 4 }, ["layer1.bias_ih"] = { 4 }, ["layer1.bias_hh"] = { 4 } } },
  { "lstm", nn.lstm { 4, output = "all", bias = false, layers = 2 }, { 2, 3, 5 }, { 2, 3, 4 },
    { ["layer1.weight_ih"] = { 16, 5 }, ["layer1.weight_hh"] = { 16, 4 },
      ["layer2.weight_ih"] = { 16, 4 }, ["layer2.weight_hh"] = { 16, 4 } } },
  { "gru", nn.gru { 4, reverse = true, output = "all" }, { 2, 3, 5 }, { 2, 3, 4 },
    { ["layer1.weight_ih"] = { 12, 5 }, ["layer1.weight_hh"] = { 12, 4 }, ["layer1.bias_ih"] = { 12 }, ["layer1.bias_hh"] = { 12 } } },
  { "lstm_cell", nn.lstm_cell { 4 }, { 2, 5 }, { 2, 4 },
    { weight_ih = { 16, 5 }, weight_hh = { 16, 4 }, bias_ih = { 16 }, bias_hh = { 16 } } },
  { "attention", nn.attention { 2 }, { 2, 3, 8 }, { 2, 3, 8 },
    { q_weight = { 8, 8 }, q_bias = { 8 }, k_weight = { 8, 8 }, k_bias = { 8 }, v_weight = { 8, 8 },
      v_bias = { 8 }, out_weight = { 8, 8 }, out_bias = { 8 } } },
}
for _, name in ipairs { "relu", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "log_sigmoid", "hard_sigmoid",
  "hard_swish", "tanh", "softplus", "softsign", "softmax", "log_softmax", "identity" } do
  table.insert(table_of_layers, { name, nn[name] {}, { 2, 3 }, { 2, 3 }, {} })
end

local function variables_below(name)
  local found = {}
  for _, variable in ipairs(core.variables()) do
    local rest = variable:name():match("^" .. name .. "%.(.*)$")
    if rest then found[rest] = variable.shape end
  end
  return found
end

return tn.script {
  name = "layers",
  run = function()
    for _, row in ipairs(table_of_layers) do
      local name, spec, shape, want, params = table.unpack(row)
      local layer = tn.new(spec, name)
      local x = row.ints and tn.full(shape, 1, "i64") or tn.uniform(shape, 3)
      -- At once, and traced into a graph: the same shape, the same numbers.
      local eager = layer(x)
      check.equal(eager.shape, want, name)
      check.equal(variables_below(name), params, name)
      local traced = tn.jit(function(value) return (layer(value)) end)(x)
      check.equal(traced.shape, want, name .. " traced")
      check.near(traced:list(), eager:list(), 1e-6, name)
    end

    -- PyTorch's bounds of the initial weights: U(-1/sqrt(fan in), 1/sqrt(fan in)).
    tn.new(nn.linear { 64 }, "bound")(tn.ones { 1, 25 })
    local largest, sum = 0, 0
    for _, variable in ipairs(core.variables()) do
      if variable:name() == "bound.weight" then
        for _, line in ipairs(variable:read():list()) do
          for _, number in ipairs(line) do
            largest, sum = math.max(largest, math.abs(number)), sum + number
          end
        end
      end
    end
    assert(largest <= 0.2 and largest > 0.195, largest)
    assert(math.abs(sum / 1600) < 0.01, sum)

    -- The row of an embedding's padding is zeros, no other is.
    local rows = tn.new(nn.embedding { 4, 3, padding = 2 }, "padded")(tn.tensor({ 0, 1, 2, 3 }, "i64")):list()
    for i, row in ipairs(rows) do
      for _, number in ipairs(row) do assert((number == 0) == (i == 3), number) end
    end

    -- Each step gets the row of its own place; initialisers may be given.
    local placed = tn.new(nn.position_embedding { 4, init = { "uniform", 1, 2 } }, "placed")(tn.zeros { 2, 3, 2 }):list()
    check.equal(placed[1], placed[2])
    for t = 1, 3 do assert(placed[1][t][1] >= 1 and (t == 1 or placed[1][t][1] ~= placed[1][t - 1][1])) end
    check.fails(function() tn.new(nn.position_embedding { 2 }, "p")(tn.ones { 1, 3, 2 }) end, "p:", "3 steps", "places for 2")
    check.equal(tn.new(nn.embedding { 3, 2, padding = 0, init = "ones" }, "ones")(tn.tensor({ 0, 2 }, "i64")):list(), { { 0, 0 }, { 1, 1 } })
    check.equal(tn.new(nn.linear { 2, init = "zeros", bias_init = "ones" }, "begins")(tn.ones { 1, 3 }):list(), { { 1, 1 } })

    -- An error names the layer's path, the operator and both shapes.
    local model = tn.new(nn.sequential { nn.relu {}, nn.residual { nn.linear { 7 } } }, "model")
    check.fails(function() tn.jit(function(x) return model(x) end)(tn.ones { 2, 3 }) end, "model.2.add", "[2, 7]", "[2, 3]")
    check.fails(function() tn.new(nn.conv2d { 2, 3 }, "c")(tn.ones { 2, 3 }) end, "c:", "[batch, channels, 2 sizes]", "f32[2, 3]")
    check.fails(function() tn.new(nn.attention { 3 }, "a")(tn.ones { 1, 2, 8 }) end, "8 features", "3 heads")
    for _, memory in ipairs { 5, false, tn.ones { 2, 8 } } do
      check.fails(function() tn.new(nn.attention { 2 }, "a")(tn.ones { 1, 2, 8 }, memory) end, "layers.lua:",
        "a: takes [batch, steps, features] to look at, got " .. (type(memory) == "userdata" and memory.type or type(memory)))
    end
    check.fails(function() tn.new(nn.conv_transpose { 3, 2, groups = 2 }, "t")(tn.ones { 1, 4, 5 }) end, "t:", "3 channels", "2 groups")
    check.fails(function() tn.new(nn.linear { 3 }, "l")(tn.tensor(5)) end, "layers.lua:", "l: takes a tensor of rank 1 at least, got f32[]")
    check.fails(function() tn.new(nn.linear { 3 }, "l")(5) end, "layers.lua:", "l: takes a tensor of rank 1 at least, got number")
    check.fails(function() tn.new(nn.conv { 3, 3 }, "c")(tn.ones { 5 }) end, "layers.lua:", "c: takes a tensor of rank 3 at least, got f32[5]")
    check.fails(function() tn.new(nn.relu {}, "r")() end, "layers.lua:", "r: takes a tensor", "got nil")
    -- What a script makes while it runs is judged whole, each fault with its place and the name that was meant.
    for _, row in ipairs {
      { nn.sequential { nn.relu {}, nn.average_pol { 2 }, nn.residual { nn.liner { 3 } } }, "layers.lua:",
        ": sequential.layers[2]: there is no layer 'average_pol'; did you mean 'average_pool'?",
        ": sequential.layers[3].body: there is no layer 'liner'; did you mean 'linear'?" },
      { nn.sequential { nn.linear { 0 } }, "sequential.layers[1].out: expected an integer in [1, inf), got 0" },
      { nn.average_pol { 2 }, "there is no layer 'average_pol'; did you mean 'average_pool'?" },
    } do
      check.fails(function() tn.new(row[1], "wrong") end, table.unpack(row, 2))
    end
    check.fails(function() nn.linear { 2 }(tn.ones { 1, 2 }) end, "layers.lua:", "'linear' is only described here", "tn.new")
    check.fails(function() nn.liner { 2 }(tn.ones { 1, 2 }) end, "layers.lua:", "no layer 'liner'; did you mean 'linear'?")
    -- What failed leaves no scope open.
    check.equal(tn.new(nn.linear { 2 }, "after")(tn.ones { 1, 2 }).shape, { 1, 2 })
    check.equal(next(variables_below("after")) ~= nil, true)

    -- Batch norm while training: mean 0, variance 1, and running statistics that move by the
    -- momentum.
    local layers = require "tenon.layer"
    local norm = tn.new(nn.batch_norm {}, "norm")
    local x = tn.normal({ 64, 2 }, 5) * 3 + 1
    local y = layers.with_training(true, norm, x)
    check.near(y:mean { 0 }:list(), { 0, 0 }, 1e-5)
    check.near((y * y):mean { 0 }:list(), { 1, 1 }, 1e-4)
    local mean = x:mean { 0 }
    local var = ((x - mean) * (x - mean)):sum { 0 } / 63
    for _, variable in ipairs(core.variables()) do
      if variable:name() == "norm.running_mean" then check.near(variable:read():list(), (mean * 0.1):list(), 1e-5, "running mean") end
      if variable:name() == "norm.running_var" then check.near(variable:read():list(), (var * 0.1 + 0.9):list(), 1e-5, "running var") end
    end
    -- One element a channel has no unbiased variance; the running one does not become NaN by it.
    layers.with_training(true, tn.new(nn.batch_norm {}, "single"), tn.ones { 1, 2 })
    for _, variable in ipairs(core.variables()) do
      if variable:name() == "single.running_var" then check.near(variable:read():list(), { 0.9, 0.9 }, 1e-6, "running var of one") end
    end

    -- Windows of an adaptive pool may overlap; where sizes divide they are those of an ordinary one.
    local function adaptive(size, x) return tn.new(nn.adaptive_average_pool(size), "adaptive")(x):list() end
    check.near(adaptive({ 3 }, tn.tensor { { { 0, 1, 2, 3, 4 } } }), { { { 0.5, 2, 3.5 } } })
    check.near(adaptive({ 3 }, tn.tensor { { { 5, 7 } } }), { { { 5, 6, 7 } } })
    local image = tn.normal({ 2, 3, 6, 4 }, 2)
    check.near(adaptive({ { 3, 2 } }, image), tn.new(nn.average_pool { 2 }, "plain")(image):list())
    check.near(adaptive({ 1 }, image), tn.new(nn.global_average_pool { keep = true }, "all")(image):list())

    -- A sequence is its cell again and again, forwards and backwards; it has the cell's parameters.
    for _, kind in ipairs { "rnn", "lstm", "gru" } do
      for _, reverse in ipairs { false, true } do
        local name = "whole_" .. kind .. (reverse and "_turned" or "")
        local sequence = tn.new(nn[kind] { 3, output = "all", reverse = reverse }, name)
        local x, cell = tn.normal({ 2, 5, 4 }, 7), tn.new(nn[kind .. "_cell"] { 3, name = "layer1" }, "unused")
        local all, state = sequence(x):list(), {}
        for t = 1, 5 do
          local at = reverse and 6 - t or t
          state = { layers.scoped(name, cell, x:slice { starts = { at - 1 }, ends = { at }, axes = { 1 } }:squeeze { 1 }, table.unpack(state)) }
          for n, row in ipairs(state[1]:list()) do check.near(all[n][at], row, 1e-5, ("%s, step %d"):format(name, at)) end
        end
        local last = tn.new(nn[kind] { 3, reverse = reverse }, name)(x):list()
        for n = 1, 2 do check.near(last[n], all[n][reverse and 1 or 5], 1e-6, name .. ", the last") end
      end
    end

    -- Dropout: about half is zero, the rest is doubled, the next draw is another.
    local drop = tn.new(nn.dropout { 0.5 }, "drop")
    local ones = tn.ones { 1000 }
    local first, second = layers.with_training(true, drop, ones):list(), layers.with_training(true, drop, ones):list()
    local zeros, differ = 0, false
    for i = 1, 1000 do
      assert(first[i] == 0 or first[i] == 2)
      zeros = zeros + (first[i] == 0 and 1 or 0)
      differ = differ or first[i] ~= second[i]
    end
    assert(zeros > 400 and zeros < 600 and differ, zeros)
    check.near(drop(ones):list()[1], 1)
    -- So are those of a traced function, of what it is given and of what it has from outside.
    for what, f in pairs {
      given = function(x) return layers.with_training(true, drop, x) end,
      ["from outside"] = function(x) return layers.with_training(true, drop, ones) + x * 0 end,
    } do
      local traced = tn.jit(f)
      local one, other = traced(ones), traced(ones)
      assert((one - other):abs():sum():item() > 0, what .. ": left out the same elements twice")
    end
    -- That of attention draws anew as well.
    local attend = tn.new(nn.attention { 1, dropout = 0.5 }, "attend")
    local input = tn.normal({ 1, 20, 4 }, 3)
    local once, again = layers.with_training(true, attend, input), layers.with_training(true, attend, input)
    assert(((once - again):abs():sum():item()) > 0, "attention left out the same elements twice")
  end,
}
