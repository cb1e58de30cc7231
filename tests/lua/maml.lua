-- Meta-gradients through a scan of gradient steps against PyTorch's: golden_maml.lua, which
-- tests/golden/maml.py made. As configs/maml_sine.lua has them: a set of weights for each task.
local tn = require "tenon"
local check = require "check"
local golden = require "golden_maml"

local function f64(lists) return tn.tensor(lists, "f64") end

local function losses(p, x, y)
  local h = (x:matmul(p[1]) + p[2]):relu()
  return (((h:matmul(p[3]) + p[4]):relu():matmul(p[5]) + p[6] - y) ^ 2):mean { 1, 2 }
end

local function meta(order)
  return function(...)
    local params, p = { ... }, {}
    local x, y = f64(golden.x1), f64(golden.y1)
    for i, w in ipairs(params) do p[i] = w:unsqueeze(0):expand { x.shape[1], 1, 1 } end
    local adapted = tn.scan(function(now)
      local after = {}
      for i, g in ipairs(tn.grad(losses(now, x, y):sum(), now, { keep = true })) do
        after[i] = now[i] - (order == 1 and g:stop_gradient() or g) * golden.lr
      end
      return after
    end, p, nil, { length = golden.steps })
    local loss = losses(adapted, f64(golden.x2), f64(golden.y2)):mean()
    return loss, table.unpack(tn.grad(loss, params))
  end
end

return tn.script {
  name = "maml",
  run = function()
    local params, tracked = {}, {}
    for i, list in ipairs(golden.params) do params[i], tracked[i] = f64(list), f64(list):track() end
    for order, want in ipairs(golden.results) do
      for mode, got in pairs {
        traced = { tn.jit(meta(order))(table.unpack(params)) },
        ["at once"] = { meta(order)(table.unpack(tracked)) },
      } do
        check.near(got[1]:item(), want.loss, 1e-12, mode)
        for i, grad in ipairs(want.grads) do check.near(got[i + 1]:list(), grad, 1e-11, ("%s, order %d, gradient %d"):format(mode, order, i)) end
      end
    end
    return {}
  end,
}
