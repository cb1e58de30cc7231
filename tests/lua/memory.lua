-- The models of configs/models, each trained and used without gradients: tests/train/test_memory.c plans
-- their programs. `small`: sizes that run in a moment.
local tn = require "tenon"
local mlp, lenet = require "tenon.models.mlp", require "tenon.models.lenet"
local resnet, recurrent, gpt = require "tenon.models.resnet", require "tenon.models.recurrent", require "tenon.models.gpt"

local name = tn.arg("model", "mlp", { help = "which of them" })
local small = tn.arg("small", false, { help = "of small sizes" })

local function images(make) return { shape = { 3, 32, 32 }, batch = small and 4 or 32, classes = 10, model = make } end
local function narrow(make) return images(function() return make { 10, small = true, width = small and 8 or 64 } end) end
local function sequences(cell)
  return { shape = { small and 6 or 64, 64 }, batch = small and 4 or 32, classes = 10,
    model = function() return recurrent.classifier { 10, cell = cell, hidden = small and 16 or 256 } end }
end
-- Bytes whose scores are compared with the bytes themselves.
local function texts(make) return { shape = { small and 8 or 128 }, batch = small and 2 or 8, model = make } end

local models = {
  mlp = { shape = { 784 }, batch = 128, classes = 10, model = function() return mlp { 10, dropout = 0.1 } end },
  lenet = { shape = { 1, 28, 28 }, batch = small and 8 or 128, classes = 10, model = function() return lenet { 10 } end },
  resnet18 = narrow(resnet.resnet18),
  resnet34 = narrow(resnet.resnet34),
  resnet50 = narrow(resnet.resnet50),
  lstm = sequences("lstm"),
  gru = sequences("gru"),
  language = texts(function() return recurrent.language_model { 256, hidden = small and 16 or 256, dropout = 0.1 } end),
  gpt = texts(function() return gpt { 256, context = small and 8 or 128, width = small and 32 or 256, layers = 4, heads = 8, dropout = 0.1 } end),
}
local case = models[name]
local model = case.model()
local stages = {}

-- The name of a stage that gives frames, added with what it reads from.
local function frames(what)
  local data = tn.dataset.random { case.shape, classes = case.classes, dtype = not case.classes and "u8" or nil }
  stages["read_" .. what] = tn.stage.read { data = data, batch = case.batch }
  if case.classes then return "read_" .. what end
  stages["tokens_" .. what] = tn.stage.map { from = "read_" .. what, apply = function(batch)
    local tokens = batch.x:cast("i64")
    return { x = tokens, y = tokens }
  end }
  return "tokens_" .. what
end

stages.train = tn.stage.train {
  from = frames("train"), input = "x", target = "y", epochs = 1, model = model,
  loss = tn.loss.cross_entropy { last = not case.classes },
  optimizer = tn.optim.adam { lr = 1e-3 },
}
stages.infer = tn.stage.predict { from = frames("infer"), input = "x", of = "train", to = tn.writer.hdf5 { "none.h5" } }

return tn.experiment { name = "memory", devices = { "cpu+onednn", "ref" }, stages = stages }
