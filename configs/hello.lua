-- Two linear layers on Fashion-MNIST: the example of the README.
--
--     tenon run configs/hello.lua lr=3e-4 train.epochs=5
--
-- The data: `tenon data import` (see `make run`). What CI changes to be quick:
-- ci: train.epochs=1 read.limit=2048
local tn = require "tenon"
local nn = tn.nn
local lr = tn.arg("lr", 1e-3, { help = "learning rate" })

return tn.experiment {
  stages = {
    read  = tn.stage.read { data = tn.dataset.hdf5 { tn.data "fashion_mnist.h5", split = "train" },
                            batch = 128, shuffle = true },
    scale = tn.stage.map { from = "read", apply = function(b)
      return { image = b.image:cast { "f32" } / 255, label = b.label:cast { "i64" } }
    end },
    train = tn.stage.train {
      from = "scale", input = "image", target = "label", epochs = 2,
      model = nn.sequential { nn.flatten {}, nn.linear {256}, nn.relu {}, nn.linear {10} },
      loss = tn.loss.cross_entropy {}, optimizer = tn.optim.adam { lr = lr },
      metrics = { accuracy = tn.metric.accuracy {} },
    },
  },
  loggers = { tn.logger.progress {}, tn.logger.tensorboard {} },
}
