-- Every kind of network, to be trained as the cases `train_NAME` do: the cases `tenon bench recompute_NAME` compare
-- its step with and without a memory limit.
local tn = require "tenon"
local nn = tn.nn
local lenet, gpt = require "tenon.models.lenet", require "tenon.models.gpt"
local resnet, recurrent = require "tenon.models.resnet", require "tenon.models.recurrent"

-- {model, shape of a sample, samples of a batch}; tokens: samples are so many places, their targets tokens too.
local networks = {
  mlp = { nn.sequential { nn.linear {512}, nn.relu {}, nn.linear {512}, nn.relu {}, nn.linear {10} }, { 784 }, 128 },
  lenet = { lenet { 10 }, { 1, 28, 28 }, 128 },
  resnet18 = { resnet.resnet18 { 10, small = true }, { 3, 32, 32 }, 32 },
  resnet34 = { resnet.resnet34 { 10, small = true }, { 3, 32, 32 }, 32 },
  resnet50 = { resnet.resnet50 { 10, small = true }, { 3, 32, 32 }, 16 },
  lstm = { recurrent.classifier { 10 }, { 64, 64 }, 32 },
  gru = { recurrent.classifier { 10, cell = "gru" }, { 64, 64 }, 32 },
  language = { recurrent.language_model { 256, width = 128, hidden = 256 }, { 128 }, 16, tokens = true },
  gpt = { gpt { 256, context = 128, width = 256, layers = 4, heads = 8, tied = false }, { 128 }, 8, tokens = true },
}
local names = {}
for name in pairs(networks) do table.insert(names, name) end
table.sort(names)

local network = networks[tn.arg("network", "mlp", { choices = names, help = "which network" })]

local stages = {
  read = tn.stage.read {
    data = tn.dataset.random { network[2], classes = 10, dtype = network.tokens and "u8" or "f32" }, batch = network[3],
  },
}
stages.tokens = network.tokens and tn.stage.map { from = "read", apply = function(batch)
  local tokens = batch.x:cast("i64")
  return { x = tokens, y = tokens }
end } or nil
stages.train = tn.stage.train {
  from = network.tokens and "tokens" or "read", input = "x", target = "y", epochs = 1, model = network[1],
  loss = tn.loss.cross_entropy { last = network.tokens or nil }, optimizer = tn.optim.adam { lr = 1e-3 },
}

return tn.experiment { name = "bench_recompute", devices = { "cpu+onednn", "ref" }, stages = stages }
