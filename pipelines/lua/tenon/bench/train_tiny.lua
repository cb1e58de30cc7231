-- A network so small that nothing but overhead is left: the case `tenon bench train_tiny` measures
-- a step of it.
local tn = require "tenon"
local nn = tn.nn

return tn.experiment {
  name = "bench_train_tiny",
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {4}, classes = 2 }, batch = 32 },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 1,
      model = nn.sequential { nn.linear {64}, nn.tanh {}, nn.linear {64}, nn.tanh {}, nn.linear {2} },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.adam { lr = 1e-3 },
    },
  },
}
