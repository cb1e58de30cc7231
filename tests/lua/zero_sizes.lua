-- Every layer and every model with sizes of 0 and 1: a right result, finite, the same at once and traced, with gradients
-- that are finite, too; or a sentence that begins with file and line.
local tn = require "tenon"
local core = require "tenon.core"
local check = require "check"
local layers = require "tenon.layer"
local mlp, lenet = require "tenon.models.mlp", require "tenon.models.lenet"
local resnet, recurrent, gpt = require "tenon.models.resnet", require "tenon.models.recurrent", require "tenon.models.gpt"
local nn = tn.nn

-- {name, layer, shape of the input (of indices where ints), axes whose size of 0 is refused, those where one of 1 is}
local rows = {
  { "linear", nn.linear { 3 }, { 2, 5 }, {}, {} },
  { "linear_lead", nn.linear { 3 }, { 2, 4, 5 }, {}, {} },
  { "embedding", nn.embedding { 4, 3 }, { 2, 3 }, {}, {}, ints = true },
  { "position_embedding", nn.position_embedding { 4 }, { 2, 3, 4 }, {}, {} },
  { "conv", nn.conv { 6, 3 }, { 2, 2, 5, 5 }, { 3, 4 }, { 3, 4 } },
  { "conv_padded", nn.conv { 6, 3, padding = 1 }, { 2, 2, 5, 5 }, { 3, 4 }, {} },
  { "conv1d", nn.conv1d { 2, 3, stride = 2 }, { 2, 3, 9 }, { 3 }, { 3 } },
  { "conv3d", nn.conv3d { 2, 1 }, { 2, 2, 2, 2, 2 }, { 3, 4, 5 }, {} },
  { "conv_groups", nn.conv { 4, 3, groups = 2, same = true }, { 2, 2, 3, 3 }, { 3, 4 }, { 2 } },
  { "conv_transpose", nn.conv_transpose { 3, 4, stride = 2, padding = 1 }, { 2, 5, 3, 3 }, { 3, 4 }, {} },
  { "max_pool", nn.max_pool { 2 }, { 2, 3, 4, 4 }, { 3, 4 }, { 3, 4 } },
  { "average_pool", nn.average_pool { 2, padding = 1 }, { 2, 3, 4, 4 }, {}, {} },
  { "adaptive_average_pool", nn.adaptive_average_pool { { 3, 2 } }, { 2, 3, 4, 4 }, { 3, 4 }, {} },
  { "global_average_pool", nn.global_average_pool {}, { 2, 3, 4, 4 }, { 3, 4 }, {} },
  { "global_max_pool", nn.global_max_pool {}, { 2, 3, 4, 4 }, { 3, 4 }, {} },
  { "batch_norm", nn.batch_norm {}, { 3, 2, 4 }, {}, {} },
  { "layer_norm", nn.layer_norm { axis = 1 }, { 3, 2, 4 }, {}, {} },
  { "rms_norm", nn.rms_norm {}, { 3, 2, 4 }, {}, {} },
  { "group_norm", nn.group_norm { 2 }, { 3, 4, 5 }, {}, { 2 } },
  { "instance_norm", nn.instance_norm {}, { 3, 4, 5 }, {}, {} },
  { "softmax", nn.softmax {}, { 2, 3 }, {}, {} },
  { "log_softmax", nn.log_softmax {}, { 2, 3 }, {}, {} },
  { "gelu", nn.gelu {}, { 2, 3 }, {}, {} },
  { "prelu", nn.prelu {}, { 2, 3, 4 }, {}, {} },
  { "dropout", nn.dropout { 0.5 }, { 2, 3 }, {}, {} },
  { "flatten", nn.flatten {}, { 2, 3, 4 }, {}, {} },
  { "reshape", nn.reshape { 4, -1 }, { 2, 4, 3 }, {}, { 2 } },
  { "residual", nn.residual { nn.identity {} }, { 2, 3 }, {}, {} },
  { "parallel", nn.parallel { nn.linear { 4 }, nn.identity {} }, { 2, 3 }, {}, {} },
  { "rnn_cell", nn.rnn_cell { 4 }, { 2, 5 }, {}, {} },
  { "lstm_cell", nn.lstm_cell { 4 }, { 2, 5 }, {}, {} },
  { "gru_cell", nn.gru_cell { 4 }, { 2, 5 }, {}, {} },
  { "rnn", nn.rnn { 4, output = "all" }, { 2, 3, 5 }, { 2 }, {} },
  { "lstm", nn.lstm { 4, layers = 2 }, { 2, 3, 5 }, { 2 }, {} },
  { "gru", nn.gru { 4, reverse = true, output = "all" }, { 2, 3, 5 }, { 2 }, {} },
  { "attention", nn.attention { 2 }, { 2, 3, 4 }, { 3 }, { 3 } },
  { "attention_causal", nn.attention { 1, causal = true }, { 2, 3, 4 }, { 3 }, {} },
  { "mlp", mlp { 5, hidden = { 4, 3 } }, { 2, 3, 2 }, {}, {} },
  { "lenet", lenet { 3 }, { 2, 1, 28, 28 }, { 3, 4 }, { 3, 4 } },
  { "resnet", resnet.resnet18 { 3, small = true, width = 2 }, { 2, 3, 4, 4 }, { 3, 4 }, {} },
  { "classifier", recurrent.classifier { 3, hidden = 4 }, { 2, 3, 5 }, { 2 }, {} },
  { "classifier_gru", recurrent.classifier { 3, cell = "gru", hidden = 4, layers = 2 }, { 2, 3, 5 }, { 2 }, {} },
  { "language_model", recurrent.language_model { 6, cell = "rnn", width = 3, hidden = 4 }, { 2, 3 }, { 2 }, {}, ints = true },
  { "gpt", gpt { 6, context = 4, width = 4, layers = 1, heads = 2 }, { 2, 3 }, {}, {}, ints = true },
}

local function finite(x, what)
  for _, number in ipairs(x:reshape { -1 }:cast("f64"):list()) do
    if number - number ~= 0 then error(what .. " holds " .. number, 0) end
  end
end

local function contains(list, item)
  for _, x in ipairs(list) do
    if x == item then return true end
  end
  return false
end

local function parameters(name)
  local list = {}
  for _, variable in ipairs(core.variables()) do
    if variable:role() == "param" and variable:name():sub(1, #name + 1) == name .. "." then list[#list + 1] = variable end
  end
  return list
end

-- At once and traced, in inference and in training; gives what was said instead of a result, nil if nothing was.
local function judge(name, spec, shape, ints)
  local model = tn.new(spec, name)
  local x = ints and tn.zeros(shape, "i64") or tn.uniform(shape, 3)
  local ok, y = pcall(function() return (model(x)) end)
  local traced_ok, traced = pcall(function() return tn.jit(function(value) return (model(value)) end)(x) end)
  check.equal(traced_ok, ok, ("%s: %s; traced: %s"):format(name, y, traced))
  tn.clear()
  if not ok then
    check.equal(tostring(y):find("^[^:]*zero_sizes%.lua:%d+: ") == 1, true, name .. ": " .. y)
    check.equal(tostring(y):find("attempt to", 1, true) == nil, true, name .. ": " .. y)
    return y
  end
  finite(y, name)
  check.equal(traced.type, y.type, name)
  check.near(traced:list(), y:list(), 1e-5, name)
  local step = tn.jit(function(value)
    local out = layers.with_training(true, function() return (model(value)) end)
    local inputs = parameters(name)
    if not ints then table.insert(inputs, 1, value) end
    return tn.grad((out * out):sum(), inputs)
  end)
  for i, gradient in ipairs(#parameters(name) + (ints and 0 or 1) > 0 and step(x) or {}) do
    finite(gradient, ("%s: gradient %d"):format(name, i))
  end
end

return tn.script {
  name = "zero_sizes",
  run = function()
    for _, row in ipairs(rows) do
      local name, spec, shape = row[1], row[2], row[3]
      for size = 0, 1 do
        for axis = 1, #shape do
          local sizes = table.move(shape, 1, #shape, 1, {})
          sizes[axis] = size
          local refused, what = row[4 + size], ("%s_%d_%d"):format(name, axis, size)
          local said = judge(what, spec, sizes, row.ints)
          check.equal(said ~= nil, contains(refused, axis), ("%s: %s"):format(what, said or "a result"))
        end
      end
    end

    -- Without features a layer is its bias, and begins as PyTorch's: 0.
    check.equal(tn.new(nn.linear { 2 }, "none")(tn.ones { 3, 0 }):list(), { { 0, 0 }, { 0, 0 }, { 0, 0 } })
    check.equal(tn.new(nn.linear { 2, bias_init = "ones" }, "ones")(tn.ones { 1, 0 }):list(), { { 1, 1 } })
    check.equal(tn.new(nn.conv { 1, 1 }, "none_conv")(tn.ones { 1, 0, 2, 1 }):list(), { { { { 0 }, { 0 } } } })
    -- A recurrent layer's is what one feature of zeros gives.
    for _, kind in ipairs { "rnn", "lstm", "gru" } do
      local without = tn.new(nn[kind] { 3 }, kind .. "_none")(tn.zeros { 2, 4, 0 })
      local with = tn.new(nn[kind] { 3 }, kind .. "_one")
      with(tn.zeros { 2, 4, 1 })
      local values = {}
      for _, variable in ipairs(core.variables()) do values[variable:name()] = variable end
      for _, part in ipairs { "weight_hh", "bias_ih", "bias_hh" } do
        values[kind .. "_one.layer1." .. part]:write(values[kind .. "_none.layer1." .. part]:read())
      end
      check.near(without:list(), with(tn.zeros { 2, 4, 1 }):list(), 1e-6, kind)
    end
    check.fails(function() tn.new(nn.lstm { 3 }, "s")(tn.zeros { 2, 0, 3 }) end, "s: f32[2, 0, 3] is a sequence of no steps")
    check.fails(function() tn.new(nn.global_average_pool {}, "g")(tn.zeros { 2, 3, 4, 0 }) end, "g: the mean of no elements: axis 3 of f32[2, 3, 4, 0] is 0")
    check.fails(function() tn.new(nn.attention { 2 }, "a")(tn.zeros { 2, 3, 0 }) end, "a: 0 features cannot be shared by 2 heads")
  end,
}
