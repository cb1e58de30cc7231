-- A line through points, in imperative mode: tensors, operators, gradients, a loop. No data is
-- needed.
--
--     tenon run configs/linear_regression.lua
--
-- ci: steps=20
local tn = require "tenon"

local steps = tn.arg("steps", 200, { help = "steps of gradient descent", min = 1 })
local lr = tn.arg("lr", 0.1, { help = "step size", min = 0 })

return tn.script {
  name = "linear_regression",
  run = function(job)
    -- y = 3 x - 1, and some noise.
    local x = tn.uniform({ 100, 1 }, 1) * 2 - 1
    local y = x * 3 - 1 + tn.normal({ 100, 1 }, 2) * 0.1

    -- What is tracked can be asked for gradients.
    local w, b = tn.zeros({ 1, 1 }):track(), tn.zeros({ 1 }):track()
    local loss
    for step = 1, steps do
      loss = ((x:matmul(w) + b - y) ^ 2):mean()
      local gw, gb = table.unpack(tn.grad(loss, { w, b }))
      w, b = (w:detach() - gw * lr):track(), (b:detach() - gb * lr):track()
      job:scalar("loss", step, loss:item())
    end
    return { slope = w:get(1, 1), offset = b:get(1), loss = loss:item() }
  end,
}
