-- Learning to learn: a network that fits a sine wave after one step of gradient descent on ten points
-- of it. Model-agnostic meta-learning (Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of
-- Deep Networks", 2017, section 5.1). The step is part of the graph, so that the gradient of the loss
-- after it goes through it: second derivatives. No data is needed.
--
--     tenon run configs/maml_sine.lua order=1
--
-- ci: iterations=200
local tn = require "tenon"

local iterations = tn.arg("iterations", 20000, { help = "updates", min = 1 })
local tasks = tn.arg("tasks", 25, { help = "sine waves an update", min = 1 })
local k = tn.arg("k", 10, { help = "points of a wave to adapt to, and as many to judge by", min = 1 })
local inner_lr = tn.arg("inner_lr", 0.01, { help = "step size of adapting", min = 0 })
local lr = tn.arg("lr", 1e-3, { help = "step size of Adam" })
local order = tn.arg("order", 2, { help = "1: the gradient within is taken for a constant", min = 1, max = 2 })

-- n waves of amplitude 0.1 to 5 and phase 0 to pi: points to adapt to, then points to judge by.
local function waves(n, seed)
  local amplitude = tn.uniform({ n, 1, 1 }, 3 * seed) * 4.9 + 0.1
  local phase = tn.uniform({ n, 1, 1 }, 3 * seed + 1) * math.pi
  local x = tn.uniform({ n, 2 * k, 1 }, 3 * seed + 2) * 10 - 5
  local y = (x - phase):sin() * amplitude
  local x1, x2 = x:split { axis = 1, num_outputs = 2 }
  local y1, y2 = y:split { axis = 1, num_outputs = 2 }
  return x1, y1, x2, y2
end

-- The network as a function of its weights and biases, a set for each wave; x [n, k, 1].
local function network(p, x)
  local h = (x:matmul(p[1]) + p[2]):relu()
  return (h:matmul(p[3]) + p[4]):relu():matmul(p[5]) + p[6]
end

local function losses(p, x, y) return ((network(p, x) - y) ^ 2):mean { 1, 2 } end

-- p after steps of gradient descent. Each wave's loss is of its own set alone, so the gradient of their
-- sum is that of each.
local function adapt(p, x, y, steps)
  return (tn.scan(function(now)
    local after = {}
    for i, grad in ipairs(tn.grad(losses(now, x, y):sum(), now)) do
      after[i] = now[i] - (order == 1 and grad:stop_gradient() or grad) * inner_lr
    end
    return after
  end, p, nil, { length = steps }))
end

return tn.script {
  name = "maml_sine", seed = 1,
  run = function(job)
    local sizes, params = { 1, 40, 40, 1 }, {}
    for i = 1, 3 do
      params[2 * i - 1] = tn.variable { name = "w" .. i, shape = { sizes[i], sizes[i + 1] },
        init = { "he_uniform", fan_in = sizes[i] } }
      params[2 * i] = tn.variable { name = "b" .. i, shape = { 1, sizes[i + 1] }, init = "zeros" }
    end
    -- A copy for each of n waves.
    local function copies(n)
      local p = {}
      for i, v in ipairs(params) do p[i] = v:unsqueeze(0):expand { n, 1, 1 } end
      return p
    end

    local optimizer = tn.new(tn.optim.adam { lr = lr })
    local count = require("tenon.core").step_variable()
    local update = tn.jit(function(x1, y1, x2, y2)
      local p = copies(x1.shape[1])
      local loss = losses(adapt(p, x1, y1, 1), x2, y2):mean()
      optimizer:apply(params, tn.grad(loss, params), count:cast "f64")
      count:assign(count + 1)
      return loss
    end)
    -- Losses of unseen waves before adapting, after one step, and after ten.
    local judge = tn.jit(function(x1, y1, x2, y2)
      local p = copies(x1.shape[1])
      return losses(p, x2, y2):mean(), losses(adapt(p, x1, y1, 1), x2, y2):mean(),
        losses(adapt(p, x1, y1, 10), x2, y2):mean()
    end)

    for i = 1, iterations do
      local loss = update(waves(tasks, i))
      if i % 1000 == 0 then job:scalar("loss", i, loss:item()) end
    end
    local before, one, ten = judge(waves(600, -1))
    return { before = before:item(), after_1 = one:item(), after_10 = ten:item() }
  end,
}
