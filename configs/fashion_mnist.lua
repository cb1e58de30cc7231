-- LeNet-5 with ReLU and max-pooling on Fashion-MNIST: about 0.90 of the test images after 8 epochs.
--
--     tenon run configs/fashion_mnist.lua
--     tenon run configs/fashion_mnist.lua epochs=2 lr=1e-3
--
-- The data: `tenon data import` (see `make run`). What CI changes to be quick:
-- ci: epochs=1 read.limit=2048 read_test.limit=512
local tn = require "tenon"
local nn, optim = tn.nn, tn.optim

local lr = tn.arg("lr", 3e-3, { help = "learning rate that Adam begins with", min = 0 })
local epochs = tn.arg("epochs", 8, { help = "times through the training images", min = 1 })

local function images(split, shuffle)
  return tn.stage.read {
    data = tn.dataset.hdf5 { path = tn.data "fashion_mnist.h5", split = split },
    batch = 128,
    shuffle = shuffle,
  }
end

-- A pure function of the batch: it is traced into a graph and run as a program.
local function scaled(batch)
  return { image = batch.image:cast("f32") / 255, label = batch.label:cast("i64") }
end

local lenet = nn.sequential {
  nn.conv { 6, 5, padding = 2 }, nn.relu {}, nn.max_pool { 2 },
  nn.conv { 16, 5 }, nn.relu {}, nn.max_pool { 2 },
  nn.flatten {},
  nn.linear { 120 }, nn.relu {},
  nn.linear { 84 }, nn.relu {},
  nn.linear { 10 },
}

return tn.experiment {
  name = "fashion_mnist",
  seed = 1,
  stages = {
    read = images("train", true),
    scale = tn.stage.map { from = "read", apply = scaled },
    train = tn.stage.train {
      from = "scale",
      model = lenet,
      loss = tn.loss.cross_entropy {},
      metrics = { accuracy = tn.metric.accuracy {} },
      optimizer = optim.adam { lr = tn.schedule.cosine { lr } },
      epochs = epochs,
      evaluate = "evaluate",
    },
    read_test = images("test", false),
    scale_test = tn.stage.map { from = "read_test", apply = scaled },
    evaluate = tn.stage.evaluate { from = "scale_test", of = "train" },
  },
  loggers = { tn.logger.progress {}, tn.logger.tensorboard {} },
}
