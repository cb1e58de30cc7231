-- LeNet-5 with ReLU and max-pooling on images of 28 x 28: the case `tenon bench train_lenet`
-- measures a step of it.
local tn = require "tenon"
local lenet = require "tenon.models.lenet"

return tn.experiment {
  name = "bench_train_lenet",
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {1, 28, 28}, classes = 10 }, batch = 128 },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 1,
      model = lenet { 10 },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.adam { lr = 1e-3 },
    },
  },
}
