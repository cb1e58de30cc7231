-- With `batch_invariant` a sample's results have the same bits in a batch of any size, from 1 to 128:
-- every model of configs/models, without training. The result is what other numbers of threads must
-- give, too.
local tn = require "tenon"
local core = require "tenon.core"
local layer = require "tenon.layer"
local check = require "check"
local mlp, lenet = require "tenon.models.mlp", require "tenon.models.lenet"
local resnet, recurrent, gpt = require "tenon.models.resnet", require "tenon.models.recurrent", require "tenon.models.gpt"
local nn = tn.nn

-- Convolutions of fixed weights with what is added to them in both orders: another image, a number for each channel,
-- and what an image has of its own for each, which looks like that where there is one image.
local function added(x)
  local function conv(y, i) return y:conv(tn.normal({ 64, y.shape[2], 3, 3 }, i) * 0.1, { pads = { 1, 1, 1, 1 } }) end
  local function channels(i) return tn.normal({ 64, 1, 1 }, i) end
  local y = conv(x, 1):relu()
  y = (conv(y, 2) + y + channels(3)):relu()
  y = (conv(y, 4) + channels(5) + y):relu()
  local own = y:mean({ 2, 3 }, true)
  y = (conv(y, 6) + own + y):relu()
  return conv(y, 7) + y + own
end

-- {name, model, shape of a sample (of tokens below `tokens`)}. Sizes at which kernels of several kinds
-- are used.
local models = {
  { "mlp", mlp { 10, hidden = { 512, 64 } }, { 784 } },
  { "lenet", lenet { 10 }, { 1, 28, 28 } },
  { "resnet18", resnet.resnet18 { 10, small = true, width = 16 }, { 1, 16, 16 } },
  { "resnet34", resnet.resnet34 { 10, width = 8 }, { 3, 32, 32 } },
  { "resnet50", resnet.resnet50 { 10, small = true, width = 8 }, { 3, 16, 16 } },
  { "lstm", recurrent.classifier { 10, hidden = 64 }, { 9, 16 } },
  { "gru", recurrent.classifier { 10, cell = "gru", hidden = 32, layers = 2 }, { 9, 16 } },
  { "short lstm", recurrent.classifier { 10, hidden = 32 }, { 2, 16 } },
  { "language", recurrent.language_model { 50, width = 32, hidden = 64 }, { 9 }, tokens = 50 },
  { "gpt", gpt { 60, context = 24, width = 64, layers = 2, heads = 4 }, { 24 }, tokens = 60 },
  -- What the models have not: averages, norms over groups, sums over much and over little.
  { "mixed", nn.sequential { nn.conv { 8, 3, padding = 1 }, nn.average_pool { 2 }, nn.relu {},
    nn.conv { 8, 3, stride = 2 }, nn.flatten {}, nn.layer_norm {}, nn.softmax {} }, { 2, 20, 20 } },
  -- As while training: weights that are not fixed, so nothing is laid for them once.
  { "convolutions", function(x)
    local zero = x:sum() * 0
    for i, shape in ipairs { { 32, 3, 3, 3 }, { 64, 32, 3, 3 }, { 96, 64, 3, 3 }, { 16, 96, 3, 3 }, { 16, 16, 3, 3 } } do
      x = x:conv(tn.normal(shape, i) * 0.1 + zero, { pads = { 1, 1, 1, 1 } }):relu()
    end
    return x
  end, { 3, 8, 8 } },
  { "added", added, { 32, 8, 8 } },
  { "added, one place", added, { 32, 1, 1 } },
  { "sums", function(x) return x:reduce_sum({ 1 }, false) + x:mean({ 1 }, false) end, { 70000, 3 } },
}

local only = tn.arg("only", "", { help = "the one model that is wanted" })
local quick = tn.arg("quick", false, { help = "few batches, of few samples" })
local device = tn.arg("device", "cpu", { help = "where it is computed" })
local invariant = tn.arg("invariant", true, { help = "whether the same bits are asked for" })

local sizes = quick and { 1, 3, 16 } or { 1, 2, 3, 7, 15, 16, 17, 32, 33, 64, 127 }
local largest = quick and 17 or 128

local function first(x, n) return x:slice { starts = { 0 }, ends = { n }, axes = { 0 } } end

local function samples(row, n)
  local shape = { n, table.unpack(row[3]) }
  if not row.tokens then return tn.normal(shape, 7) end
  return (tn.uniform(shape, 7) * row.tokens):cast("i64")
end

local function count(x)
  local n = 1
  for _, size in ipairs(x.shape) do n = n * size end
  return n
end

return tn.script {
  name = "batch_invariant",
  devices = { device, "ref" },
  batch_invariant = invariant,
  run = function()
    local digest = 0
    for i, row in ipairs(models) do
      local name, spec = row[1], row[2]
      if only == "" or only == name then
        local model = type(spec) == "function" and spec or tn.new(spec, name)
        local f = tn.jit(function(x) return (layer.with_training(false, model, x)) end)
        local most = math.min(largest, name == "sums" and 17 or 128)
        local x = samples(row, most)
        layer.with_training(false, model, first(x, 1)) -- makes the variables
        tn.clear()
        local all = f(x)
        for _, n in ipairs(sizes) do
          if n < most then
            local alone = f(first(x, n))
            local same = alone:equal(first(all, n)):cast("i64"):sum():item()
            check.equal(same, count(alone), ("%s: equal elements in a batch of %d"):format(name, n))
          end
        end
        digest = digest + i * (all:cast("f64") * tn.uniform(all.shape, 3):cast("f64")):sum():item()
      end
    end
    return { digest = digest }
  end,
}
