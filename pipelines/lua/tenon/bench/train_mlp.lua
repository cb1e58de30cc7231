-- A multilayer perceptron of the size of small tabular work: the case `tenon bench train_mlp`
-- measures a step of it.
local tn = require "tenon"
local nn = tn.nn

return tn.experiment {
  name = "bench_train_mlp",
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {784}, classes = 10 }, batch = 128 },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 1,
      model = nn.sequential { nn.linear {512}, nn.relu {}, nn.linear {512}, nn.relu {}, nn.linear {10} },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.adam { lr = 1e-3 },
    },
  },
}
