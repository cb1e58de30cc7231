-- A trained network in 8 bits: measures on a few training images what its products see, then how right it is
-- on the test images.
--
--     tenon run configs/fashion_mnist.lua
--     tenon run configs/fashion_int8.lua weights=runs/fashion_mnist/…/checkpoints/….safetensors
--     tenon run configs/fashion_int8.lua weights=… precision=f32      -- for comparison
--
-- The run's folder then holds int8.safetensors, the weights with the ranges, which `predict` stages take.
-- ci: skip
local tn = require "tenon"

local kind = tn.arg("model", "lenet", { choices = { "lenet", "resnet18" }, help = "the network that was trained" })
local width = tn.arg("width", 16, { help = "channels of resnet18's first stage", min = 1 })
local weights = tn.arg("weights", "", { help = "its checkpoint" })

local models = {
  lenet = function() return require "models.lenet" { 10 } end,
  resnet18 = function() return require("models.resnet").resnet18 { 10, small = true, width = width } end,
}

local function images(split, shuffle)
  return tn.stage.read {
    data = tn.dataset.hdf5 { path = tn.data "fashion_mnist.h5", split = split },
    batch = 100,
    shuffle = shuffle,
  }
end

-- As in training.
local prepare = kind == "lenet" and tn.map.scale { field = "image" }
  or tn.map.normalize { field = "image", mean = { 0.286 }, deviation = { 0.353 } }

return tn.experiment {
  name = "fashion_int8",
  seed = 1,
  precision = "int8",
  stages = {
    read = images("train", true),
    scale = tn.stage.map { from = "read", apply = prepare },
    calibrate = tn.stage.calibrate {
      from = "scale",
      model = models[kind](),
      weights = weights,
      loss = tn.loss.cross_entropy {},
      metrics = { accuracy = tn.metric.accuracy {} },
    },
    read_test = images("test", false),
    scale_test = tn.stage.map { from = "read_test", apply = prepare },
    evaluate = tn.stage.evaluate { from = "scale_test", of = "calibrate" },
  },
  loggers = { tn.logger.progress {} },
}
