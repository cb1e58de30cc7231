-- Every kind of network, to be trained (graph `step`) and asked (graph `infer`) with any number of samples:
-- the cases `tenon bench samples_NAME` compare both with and without `batch_invariant`.
local tn = require "tenon"
local mlp, lenet, gpt = require "tenon.models.mlp", require "tenon.models.lenet", require "tenon.models.gpt"
local resnet, recurrent = require "tenon.models.resnet", require "tenon.models.recurrent"

-- {model, shape of a sample}; tokens: samples are so many places, their targets tokens too.
local networks = {
  mlp = { mlp { 10 }, { 784 } },
  mlp_small = { mlp { 10, hidden = { 128 } }, { 784 } },
  lenet = { lenet { 10 }, { 1, 28, 28 } },
  resnet18 = { resnet.resnet18 { 10, small = true }, { 3, 32, 32 } },
  resnet50 = { resnet.resnet50 { 10 }, { 3, 224, 224 } },
  lstm = { recurrent.classifier { 10 }, { 64, 64 } },
  gru = { recurrent.classifier { 10, cell = "gru" }, { 64, 64 } },
  gpt = { gpt { 256, context = 128 }, { 128 }, tokens = true },
}
local names = {}
for name in pairs(networks) do table.insert(names, name) end
table.sort(names)

local network = networks[tn.arg("network", "mlp", { choices = names, help = "which network" })]
local from = network.tokens and "_tokens" or ""

-- Frames are one consumer's, so each has stages of its own.
local stages = {}
for _, name in ipairs { "learn", "ask" } do
  stages[name] = tn.stage.read {
    data = tn.dataset.random { network[2], classes = 10, dtype = network.tokens and "u8" or "f32" }, batch = 8,
  }
  stages[name .. "_tokens"] = network.tokens and tn.stage.map { from = name, apply = function(batch)
    local tokens = batch.x:cast("i64")
    return { x = tokens, y = tokens }
  end } or nil
end
stages.train = tn.stage.train {
  from = "learn" .. from, input = "x", target = "y", epochs = 1, model = network[1],
  loss = tn.loss.cross_entropy { last = network.tokens or nil }, optimizer = tn.optim.adam { lr = 1e-4 },
}
stages.infer = tn.stage.predict {
  from = "ask" .. from, input = "x", model = network[1], weights = "none", to = tn.writer.hdf5 { "none.h5" },
}

return tn.experiment { name = "bench_samples", stages = stages }
