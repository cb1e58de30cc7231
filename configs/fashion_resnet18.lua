-- ResNet-18 for small images on Fashion-MNIST, a quarter as wide as the usual one
-- unless width says otherwise.
--
--     tenon run configs/fashion_resnet18.lua
--     tenon run configs/fashion_resnet18.lua width=64 epochs=10
--
-- The data: `tenon data import` (see `make run`). What CI changes to be quick:
-- ci: width=4 epochs=1 read.limit=256 read_test.limit=128
local tn = require "tenon"
local resnet = require "models.resnet"

local width = tn.arg("width", 16, { help = "channels of the first stage", min = 1 })
local lr = tn.arg("lr", 3e-3, { help = "learning rate that Adam begins with", min = 0 })
local epochs = tn.arg("epochs", 3, { help = "times through the training images", min = 1 })

local function images(split, shuffle)
  return tn.stage.read {
    data = tn.dataset.hdf5 { path = tn.data "fashion_mnist.h5", split = split },
    batch = 128,
    shuffle = shuffle,
  }
end

-- Mean and deviation of the training images.
local normalize = tn.map.normalize { field = "image", mean = { 0.286 }, deviation = { 0.353 } }

return tn.experiment {
  name = "fashion_resnet18",
  seed = 1,
  stages = {
    read = images("train", true),
    scale = tn.stage.map { from = "read", apply = normalize },
    train = tn.stage.train {
      from = "scale",
      model = resnet.resnet18 { 10, small = true, width = width },
      loss = tn.loss.cross_entropy {},
      metrics = { accuracy = tn.metric.accuracy {} },
      optimizer = tn.optim.adam { lr = tn.schedule.cosine { lr } },
      epochs = epochs,
      evaluate = "evaluate",
    },
    read_test = images("test", false),
    scale_test = tn.stage.map { from = "read_test", apply = normalize },
    evaluate = tn.stage.evaluate { from = "scale_test", of = "train" },
  },
  loggers = { tn.logger.progress {}, tn.logger.tensorboard {} },
}
