-- The models of configs/models: how many parameters each has, counted by hand or by torchvision, and
-- the shape of what it gives.
local tn = require "tenon"
local core = require "tenon.core"
local check = require "check"
local layer = require "tenon.layer"
local sample = require "tenon.models.sample"
local mlp, lenet = require "tenon.models.mlp", require "tenon.models.lenet"
local resnet, recurrent, gpt = require "tenon.models.resnet", require "tenon.models.recurrent", require "tenon.models.gpt"
local nn = tn.nn

-- {name, model, shape of the input (of indices where ints), shape of the output, parameters}
local models = {
  { "mlp", mlp { 10 }, { 2, 784 }, { 2, 10 }, 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10 },
  { "mlp_deep", mlp { 3, hidden = { 7, 6, 5 }, activation = nn.tanh {}, dropout = 0.1 }, { 2, 1, 4, 2 }, { 2, 3 },
    8 * 7 + 7 + 7 * 6 + 6 + 6 * 5 + 5 + 5 * 3 + 3 },
  { "lenet", lenet { 10 }, { 2, 1, 28, 28 }, { 2, 10 }, 61706 },
  -- torchvision 0.14: sum(p.numel() for p in resnet18().parameters()), likewise below.
  { "resnet18", resnet.resnet18 {}, { 1, 3, 64, 64 }, { 1, 1000 }, 11689512 },
  { "resnet34", resnet.resnet34 {}, { 1, 3, 64, 64 }, { 1, 1000 }, 21797672 },
  { "resnet50", resnet.resnet50 {}, { 1, 3, 64, 64 }, { 1, 1000 }, 25557032 },
  -- The same with conv1 = Conv2d(3, 64, 3, padding=1, bias=False) and num_classes=10 (torchvision 0.29 too).
  { "resnet18_small", resnet.resnet18 { 10, small = true }, { 1, 3, 32, 32 }, { 1, 10 }, 11173962 },
  { "resnet34_small", resnet.resnet34 { 10, small = true }, { 1, 3, 32, 32 }, { 1, 10 }, 21282122 },
  { "resnet50_small", resnet.resnet50 { 10, small = true }, { 1, 3, 32, 32 }, { 1, 10 }, 23520842 },
  { "resnet18_narrow", resnet.resnet18 { 10, small = true, width = 16 }, { 1, 1, 28, 28 }, { 1, 10 },
    176 + 9344 + 33088 + 131712 + 525568 + 1290 }, -- first convolution, four stages, linear layer
  -- 4 (in + hidden + 2) hidden of a long short-term memory, 3 of a gated recurrent unit.
  { "lstm", recurrent.classifier { 10, hidden = 16 }, { 2, 5, 8 }, { 2, 10 }, 4 * (8 + 16 + 2) * 16 + 16 * 10 + 10 },
  { "gru", recurrent.classifier { 10, cell = "gru", hidden = 16, layers = 2 }, { 2, 5, 8 }, { 2, 10 },
    3 * (8 + 16 + 2) * 16 + 3 * (16 + 16 + 2) * 16 + 16 * 10 + 10 },
  { "lstm_language", recurrent.language_model { 50, width = 8, hidden = 16, dropout = 0.1 }, { 2, 5 }, { 2, 5, 50 },
    50 * 8 + 4 * (8 + 16 + 2) * 16 + 16 * 50 + 50, ints = true },
  { "gpt", gpt { 256, layers = 4, tied = false }, { 2, 12 }, { 2, 12, 256 },
    2 * 256 * 256 + 128 * 256 + 4 * (12 * 256 * 256 + 13 * 256) + 2 * 256, ints = true },
  -- GPT-2's smallest: 124,439,808 with 50,257 tokens, 1,024 places, 12 layers of 768; here with fewer tokens.
  { "gpt2", gpt { 257, context = 1024, width = 768, layers = 12, heads = 12 }, { 1, 3 }, { 1, 3, 257 },
    124439808 - 50000 * 768, ints = true },
}

-- Elements of all parameters whose name begins so.
local function parameters(name)
  local count = 0
  for _, variable in ipairs(core.variables()) do
    if variable:role() == "param" and variable:name():sub(1, #name + 1) == name .. "." then
      local n = 1
      for _, size in ipairs(variable.shape) do n = n * size end
      count = count + n
    end
  end
  return count
end

return tn.script {
  name = "models",
  run = function()
    for _, row in ipairs(models) do
      local name, spec, shape, want, count = table.unpack(row)
      local graph = core.graph(name)
      local x = graph:input("x", row.ints and "i64" or "f32", shape)
      local model = tn.new(spec, name)
      local y
      local record = layer.recording(function() y = core.build(graph, function() return (model(x)) end) end)
      check.equal(y.shape, want, name)
      check.equal(parameters(name), count, name)
      -- What `tenon show` adds up: a matrix that two layers use counts once, a product outside the
      -- innermost layers counts too.
      local sum = 0
      for _, part in ipairs(record) do sum = sum + part.params end
      check.equal(sum, count, name .. ", in the record")
      if name == "gpt2" then check.equal(record[#record].macs, 3 * 768 * 257, "scores by the tokens' matrix") end
    end

    -- A batch without samples has no mean loss, and asks nothing of the weights.
    local few = {
      { "mlp", mlp { 5, hidden = { 16, 12 } }, { 2, 10 } },
      { "lenet", lenet { 10 }, { 1, 28, 28 } },
      { "resnet18", resnet.resnet18 { 7, width = 4 }, { 3, 64, 64 } },
      { "lstm", recurrent.classifier { 6, hidden = 8, layers = 2 }, { 7, 5 } },
      { "gpt", gpt { 20, context = 12, width = 16, layers = 2, heads = 4 }, { 9 }, ints = true },
    }
    for _, row in ipairs(few) do
      local name = "empty_" .. row[1]
      local model, loss = tn.new(row[2], name), tn.new(tn.loss.cross_entropy { last = row.ints or false })
      local function zeros(n) return tn.zeros({ n, table.unpack(row[3]) }, row.ints and "i64" or "f32") end
      layer.with_training(true, model, zeros(2)) -- makes the variables
      tn.clear()
      local params = {}
      for _, variable in ipairs(core.variables()) do
        if variable:role() == "param" and variable:name():sub(1, #name + 1) == name .. "." then params[#params + 1] = variable end
      end
      local step = tn.jit(function(x, y)
        local value = loss:compute(layer.with_training(true, model, x), y)
        return value, table.unpack(tn.grad(value, params))
      end)
      local results = table.pack(step(zeros(0), row.ints and zeros(0) or tn.zeros({ 0 }, "i64")))
      check.equal(results[1]:item() == results[1]:item(), false, name .. ": the loss is a number")
      for i = 2, results.n do check.equal(results[i]:abs():sum():item(), 0, name .. ": a gradient") end
    end

    -- Weights begin where their sources say: GPT-2's are normal with deviation 0.02.
    local squares, n = 0, 0
    tn.new(gpt { 64, context = 16, width = 64, layers = 1, heads = 4 }, "small")(tn.zeros({ 1, 4 }, "i64"))
    for _, variable in ipairs(core.variables()) do
      if variable:name() == "small.h.0.attn.c_attn.weight" then
        local x = variable:read()
        squares, n = (x * x):sum():item(), 64 * 192
      elseif variable:name() == "small.h.0.attn.c_attn.bias" then
        check.equal(variable:read():sum():item(), 0)
      end
    end
    check.near(math.sqrt(squares / n), 0.02, 0.02 * 5 / math.sqrt(2 * n), "deviation of c_attn")

    -- Loss and accuracy of scores of every step: those of all steps as samples.
    local scores, tokens = tn.normal({ 2, 3, 5 }, 1), tn.tensor({ { 4, 0, 1 }, { 2, 2, 3 } }, "i64")
    local flat, classes = scores:reshape { 6, 5 }, tokens:reshape { 6 }
    local last, plain = tn.new(tn.loss.cross_entropy { last = true }), tn.new(tn.loss.cross_entropy {})
    check.equal(last:compute(scores, tokens):item(), plain:compute(flat, classes):item(), "loss of steps")
    local sum, n = tn.new(tn.metric.accuracy { last = true }):measure(scores, tokens)
    local flat_sum = tn.new(tn.metric.accuracy {}):measure(flat, classes)
    check.equal({ sum:item(), n:item() }, { flat_sum:item(), 6 }, "accuracy of steps")

    -- Text: prompt and so many bytes, the same for the same seed. Cold, each byte is the likeliest behind
    -- the last ones that fit into the context.
    for _, kind in ipairs { "gpt", "lstm" } do
      local model = tn.new(kind == "gpt" and gpt { 256, context = 5, width = 8, layers = 1, heads = 2 }
        or recurrent.language_model { 256, width = 8, hidden = 8 }, kind .. "_text")
      local function text(seed, temperature)
        return sample(model, { context = 5, prompt = "ab", length = 9, seed = seed, temperature = temperature })
      end
      local cold = text(1, 1e-6)
      check.equal({ #cold, cold:sub(1, 2) }, { 11, "ab" })
      check.equal({ text(1, 1) == text(1, 1), text(1, 1) == text(2, 1), cold == text(2, 1e-6) }, { true, false, true })
      for i = 3, #cold do
        local scores = model(tn.tensor({ { cold:byte(math.max(i - 5, 1), i - 1) } }, "i64"))
        check.equal(scores:argmax { axis = -1, keepdims = false }:list()[1][math.min(i - 1, 5)], cold:byte(i), kind .. ", byte " .. i)
      end
      check.fails(function() sample(model, { context = 5, prompt = "" }) end, "prompt is empty")
    end

    check.fails(function() gpt { 256, width = 10, heads = 4 } end, "10 features", "4 heads")
    -- Options are checked as a component's are.
    local wrong = {
      { function() recurrent.classifier { 3, cell = "rnnx" } end, "recurrent.classifier.cell", "lstm, gru, rnn", "rnnx" },
      { function() recurrent.classifier { 3, hidden = 0 } end, "recurrent.classifier.hidden", "got 0" },
      { function() recurrent.language_model { 3, dropout = 1 } end, "recurrent.language_model.dropout", "[0, 1)" },
      { function() gpt { heads = 0 } end, "gpt.heads", "[1, inf)", "got 0" },
      { function() gpt { layers = 0 } end, "gpt.layers", "got 0" },
      { function() gpt { 256, head = 4 } end, "gpt", "head", "heads" },
      { function() gpt { "256" } end, "gpt.tokens" },
      { function() mlp {} end, "mlp.outputs" },
      { function() mlp { 0 } end, "mlp.outputs", "got 0" },
      { function() mlp { 3, hidden = { 4, 0 } } end, "mlp.hidden[2]", "got 0" },
      { function() mlp { 3, activation = tn.loss.mse {} } end, "mlp.activation" },
      { function() mlp() end, "mlp.outputs" },
      { function() lenet { -1 } end, "lenet.classes", "got -1" },
      { function() resnet.resnet18 { 10, width = 0 } end, "resnet.width", "got 0" },
      { function() resnet.build("basics", { 1 }, {}) end, "basics", "bottleneck" },
      { function() sample(nil, { context = 0 }) end, "sample.context", "got 0" },
      { function() sample(nil, { context = 3, temperature = 0 }) end, "sample.temperature", "got 0" },
      { function() sample(nil) end, "sample.context" },
    }
    for _, row in ipairs(wrong) do
      check.fails(table.unpack(row))
      local _, message = pcall(row[1])
      check.equal(select(2, message:gsub("models%.lua:%d+:", "")), 1, "the place is said once: " .. message)
    end
    check.fails(function() tn.new(gpt { 8, context = 4, width = 8, layers = 1, heads = 2 }, "short")(tn.zeros({ 1, 5 }, "i64")) end,
      "short.wpe", "5 steps", "places for 4")
  end,
}
