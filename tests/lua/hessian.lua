-- Products of the Hessian with a vector, gradients of <gradient, vector>, of every model: traced and at once, the
-- same from either side, and where nothing has a kink as differences of gradients have them.
local tn = require "tenon"
local check = require "check"
local layer = require "tenon.layer"
local mlp, lenet = require "tenon.models.mlp", require "tenon.models.lenet"
local resnet, recurrent, gpt = require "tenon.models.resnet", require "tenon.models.recurrent", require "tenon.models.gpt"

local function narrow(make) return make { 7, small = true, width = 4 } end
local models = {
  { "mlp", mlp { 5, hidden = { 16, 12 }, activation = tn.nn.tanh {} }, { 4, 10 }, smooth = true },
  { "lenet", lenet { 10 }, { 2, 1, 28, 28 } },
  { "resnet18", narrow(resnet.resnet18), { 4, 3, 16, 16 } },
  { "resnet34", narrow(resnet.resnet34), { 4, 3, 16, 16 } },
  { "resnet50", narrow(resnet.resnet50), { 4, 3, 16, 16 } },
  { "lstm", recurrent.classifier { 6, hidden = 8, layers = 2 }, { 3, 7, 5 }, smooth = true },
  { "gru", recurrent.classifier { 6, hidden = 8, cell = "gru" }, { 3, 7, 5 }, smooth = true },
  { "language", recurrent.language_model { 20, width = 8, hidden = 12 }, { 3, 9 }, tokens = true, smooth = true },
  { "gpt", gpt { 20, context = 12, width = 16, layers = 2, heads = 4 }, { 3, 9 }, tokens = true, smooth = true },
}

local function dot(a, b)
  local sum = 0
  for i = 1, #a do sum = sum + (a[i] * b[i]):sum() end
  return sum
end

return tn.script {
  name = "hessian", seed = 1,
  run = function()
    for _, row in ipairs(models) do
      local name, spec, shape = table.unpack(row)
      local model, loss = tn.new(spec, name), tn.new(tn.loss.cross_entropy { last = row.tokens or false })
      local x = row.tokens and (tn.uniform(shape, 1) * 20):floor():cast "i64" or tn.normal(shape, 1)
      local y = row.tokens and x or (tn.uniform({ shape[1] }, 2) * 5):floor():cast "i64"
      layer.with_training(true, model, x) -- makes the variables
      tn.clear()
      local params = {}
      for _, v in ipairs(tn.variables()) do
        if v:role() == "param" and v:name():sub(1, #name + 1) == name .. "." then params[#params + 1] = v end
      end
      local function direction(seed)
        local d = {}
        for i, p in ipairs(params) do d[i] = tn.normal(p.shape, seed + i) end
        return d
      end
      local function gradient(keep)
        return tn.grad(loss:compute(layer.with_training(true, model, x), y), params, { keep = keep })
      end
      local function product(d) return tn.grad(dot(gradient(true), d), params) end
      local u, v, sides = direction(100), direction(500), {}
      for mode, f in pairs { traced = tn.jit(product), ["at once"] = product } do
        local left, right = dot(u, f(v)):item(), dot(v, f(u)):item()
        tn.clear()
        assert(left ~= 0, name)
        check.near(left, right, 1e-3 * math.abs(right), name .. ", " .. mode .. ": from either side")
        sides[#sides + 1] = left
      end
      check.near(sides[1], sides[2], 1e-3 * math.abs(sides[2]), name .. ": traced as at once")
      if row.smooth then
        local step, slopes, begin = 2e-3, {}, {}
        for i, p in ipairs(params) do begin[i] = p:read() end
        for sign = -1, 1, 2 do
          for i, p in ipairs(params) do p:write(begin[i] + v[i] * (sign * step)) end
          slopes[sign] = dot(u, gradient()):item()
        end
        for i, p in ipairs(params) do p:write(begin[i]) end
        check.near(sides[1], (slopes[1] - slopes[-1]) / (2 * step), 2e-2 * math.abs(sides[1]) + 2e-3, name .. ": differences")
      end
    end
  end,
}
