-- LeNet-5 with ReLU and max-pooling on images of 28 x 28: the case `tenon bench train_lenet`
-- measures a step of it.
local tn = require "tenon"
local nn = tn.nn

return tn.experiment {
  name = "bench_train_lenet",
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {1, 28, 28}, classes = 10 }, batch = 128 },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 1,
      model = nn.sequential {
        nn.conv {6, 5, padding = 2}, nn.relu {}, nn.max_pool {2},
        nn.conv {16, 5}, nn.relu {}, nn.max_pool {2},
        nn.flatten {},
        nn.linear {120}, nn.relu {}, nn.linear {84}, nn.relu {}, nn.linear {10},
      },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.adam { lr = 1e-3 },
    },
  },
}
