-- The smallest network that needs its hidden layer: exclusive or, with layers and variables at
-- once, then the same step traced by tn.jit. No data is needed.
--
--     tenon run configs/xor.lua
--
-- ci: steps=50
local tn = require "tenon"
local nn = tn.nn

local steps = tn.arg("steps", 1000, { help = "updates", min = 1 })
local lr = tn.arg("lr", 0.5, { help = "step size", min = 0 })

return tn.script {
  name = "xor", seed = 3,
  run = function()
    local x = tn.tensor { { 0, 0 }, { 0, 1 }, { 1, 0 }, { 1, 1 } }
    local y = tn.tensor { { 0 }, { 1 }, { 1 }, { 0 } }
    -- tn.new makes a layer from its spec; its variables appear when it is first called.
    local model = tn.new(nn.sequential { nn.linear { 8 }, nn.tanh {}, nn.linear { 1 } }, "model")
    model(x)
    local params = tn.variables()

    -- One step: values of a graph here, since jit traces it; without jit they would be tensors.
    local step = tn.jit(function(input, target)
      local loss = model(input):bce_with_logits(target)
      for i, grad in ipairs(tn.grad(loss, params)) do
        params[i]:assign(params[i] - grad * lr)
      end
      return loss
    end)
    local loss
    for _ = 1, steps do loss = step(x, y) end

    local right = 0
    for i, row in ipairs((model(x)):list()) do
      if (row[1] > 0) == (y:get(i, 1) > 0.5) then right = right + 1 end
    end
    return { loss = loss:item(), right = right }
  end,
}
