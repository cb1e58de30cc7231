-- A network in 8 bits on Fashion-MNIST: trained in f32 (or read from a checkpoint), then measured on a few
-- batches for what its products see, then right on how many of the test images, in f32 (`plain`) and in 8
-- bits (`evaluate`).
--
--     tenon run configs/fashion_int8.lua
--     tenon run configs/fashion_int8.lua model=resnet18 weights=runs/fashion_resnet18/…/checkpoints/….safetensors
--
-- The run's folder then holds int8.safetensors: the weights with the ranges, which a stage `predict` of an
-- experiment with precision = "int8" takes.
-- ci: epochs=1 read.limit=2048 read_test.limit=512
local tn = require "tenon"

local kind = tn.arg("model", "lenet", { choices = { "lenet", "resnet18" }, help = "the network" })
local width = tn.arg("width", 16, { help = "channels of resnet18's first stage", min = 1 })
local weights = tn.arg("weights", "", { help = "checkpoint of that network; none: it is trained" })
local epochs = tn.arg("epochs", 4, { help = "times through the training images", min = 1 })

local model = ({
  lenet = function() return require "models.lenet" { 10 } end,
  resnet18 = function() return require("models.resnet").resnet18 { 10, small = true, width = width } end,
})[kind]()
local loss, metrics = tn.loss.cross_entropy {}, { accuracy = tn.metric.accuracy {} }

-- Mean and deviation of the training images, for a network that was trained with them; else bytes as 0 … 1.
local prepare = kind == "resnet18" and tn.map.normalize { field = "image", mean = { 0.286 }, deviation = { 0.353 } }
  or tn.map.scale { field = "image" }

local function images(split, shuffle)
  return tn.stage.read {
    data = tn.dataset.hdf5 { path = tn.data "fashion_mnist.h5", split = split },
    batch = 128,
    shuffle = shuffle,
  }
end

local stages = {
  read = images("train", true),
  scale = tn.stage.map { from = "read", apply = prepare },
  read_test = images("test", false),
  scale_test = tn.stage.map { from = "read_test", apply = prepare },
  evaluate = tn.stage.evaluate { from = "scale_test", of = "calibrate" },
}

-- Frames of its own for the calibration, as those of a stage go to one reader.
stages.read_some = images("train", false)
stages.scale_some = tn.stage.map { from = "read_some", apply = prepare }

if weights == "" then
  stages.train = tn.stage.train {
    from = "scale",
    model = model, loss = loss, metrics = metrics,
    optimizer = tn.optim.adam { lr = tn.schedule.cosine { 3e-3 } },
    epochs = epochs,
    evaluate = "plain",
  }
  stages.read_plain = images("test", false)
  stages.scale_plain = tn.stage.map { from = "read_plain", apply = prepare }
  stages.plain = tn.stage.evaluate { from = "scale_plain", of = "train" }
  stages.calibrate = tn.stage.calibrate { from = "scale_some", of = "train", evaluate = "evaluate" }
else
  stages.read, stages.scale = nil, nil
  stages.calibrate = tn.stage.calibrate {
    from = "scale_some", model = model, weights = weights, loss = loss, metrics = metrics,
  }
end

return tn.experiment {
  name = "fashion_int8",
  seed = 1,
  precision = "int8",
  stages = stages,
  loggers = { tn.logger.progress {} },
}
