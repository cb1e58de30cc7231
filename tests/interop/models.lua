-- One model on weights and a batch that a file gives: logits, loss and gradients of the first step,
-- then the losses and weights of some steps of its optimiser, all as variables of a checkpoint.
-- models.py makes the file and compares the checkpoint with PyTorch.
local tn = require "tenon"
local core = require "tenon.core"
local layer = require "tenon.layer"
local mlp, lenet = require "tenon.models.mlp", require "tenon.models.lenet"
local resnet, recurrent, gpt = require "tenon.models.resnet", require "tenon.models.recurrent", require "tenon.models.gpt"
local optim = tn.optim

-- The sizes that models.py has: small ones, and two that get the kernels of large products.
local models = {
  mlp = { mlp { 5, hidden = { 16, 12 } }, { 4, 2, 10 } },
  mlp_full = { mlp { 10 }, { 32, 1, 28, 28 } },
  lenet = { lenet { 10 }, { 4, 1, 28, 28 } },
  resnet18 = { resnet.resnet18 { 7, width = 4 }, { 2, 3, 64, 64 } },
  resnet34 = { resnet.resnet34 { 7, small = true, width = 4 }, { 4, 3, 32, 32 } },
  resnet50 = { resnet.resnet50 { 7, small = true, width = 4 }, { 4, 3, 16, 16 } },
  lstm = { recurrent.classifier { 6, hidden = 8, layers = 2 }, { 3, 7, 5 } },
  gru = { recurrent.classifier { 6, cell = "gru", hidden = 8 }, { 3, 7, 5 } },
  lstm_language = { recurrent.language_model { 20, width = 8, hidden = 12 }, { 3, 9 }, tokens = true },
  gpt = { gpt { 20, context = 12, width = 16, layers = 2, heads = 4, tied = false }, { 3, 9 }, tokens = true },
  gpt_tied = { gpt { 20, context = 12, width = 16, layers = 2, heads = 4 }, { 3, 9 }, tokens = true },
  gpt_full = { gpt { 256, layers = 2 }, { 2, 64 }, tokens = true },
}

local which = tn.arg("model", "mlp", { help = "the model" })
local weights = tn.arg("weights", "", { help = "safetensors file of its weights, x and y" })
local steps = tn.arg("steps", 20, { help = "updates" })
local eager = tn.arg("eager", false, { help = "one operator at a time, instead of a program" })

local function kept(name, shape, dtype)
  return tn.variable { name = name, shape = shape, dtype = dtype, role = "stat", init = "zeros" }
end

return tn.script {
  name = "models",
  run = function(job)
    local spec, shape = table.unpack(models[which])
    local tokens = models[which].tokens
    local model = tn.new(spec, "model")
    local loss_of = tn.new(tn.loss.cross_entropy { last = tokens or false })
    local optimizer = tn.new(which:match "^gpt" and optim.adamw { lr = 1e-3 } or optim.adam { lr = 1e-3 })
    local x = kept("x", shape, tokens and "i64" or "f32")
    local y = kept("y", tokens and shape or { shape[1] }, "i64")
    layer.with_training(true, model, x:read()) -- makes the variables
    tn.clear()
    core.load_weights(weights)
    local params = {}
    for _, variable in ipairs(tn.variables()) do
      if variable:role() == "param" then params[#params + 1] = variable end
    end
    local function traced(f) return eager and f or tn.jit(f) end

    local function forward(input, target)
      local logits = layer.with_training(true, model, input)
      return logits, loss_of:compute(logits, target)
    end
    local first = traced(function(input, target)
      local logits, loss = forward(input, target)
      return logits, loss, table.unpack(tn.grad(loss, params))
    end)
    local step = core.step_variable()
    local update = traced(function(input, target)
      local _, loss = forward(input, target)
      optimizer:apply(params, tn.grad(loss, params), step:cast("f64"))
      step:assign(step + 1)
      return loss
    end)

    -- The first step moves running statistics: it is what PyTorch is asked for as well.
    local results = table.pack(first(x:read(), y:read()))
    kept("logits", results[1].shape):write(results[1]:detach())
    kept("loss", {}):write(results[2]:detach())
    for i, param in ipairs(params) do kept("grad/" .. param:name(), param.shape):write(results[i + 2]) end
    local losses = {}
    for i = 1, steps do losses[i] = update(x:read(), y:read()):item() end
    kept("losses", { steps }):write(tn.tensor(losses))
    local after = layer.with_training(false, model, x:read())
    kept("after", after.shape):write(after:detach())
    tn.clear()
    job:save(steps, {}, 1)
    return { loss = losses[steps] }
  end,
}
