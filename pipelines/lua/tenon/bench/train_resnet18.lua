-- ResNet-18 for images of 32 x 32: the case `tenon bench train_resnet18` measures a step of it.
local tn = require "tenon"
local resnet = require "tenon.models.resnet"

return tn.experiment {
  name = "bench_train_resnet18",
  devices = { "cpu+onednn", "ref" },
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {3, 32, 32}, classes = 10 }, batch = 32 },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 1,
      model = resnet.resnet18 { 10, small = true },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.adam { lr = 1e-3 },
    },
  },
}
