-- A long short-term memory over sequences of 64 steps: the case `tenon bench train_lstm` measures a
-- step of it.
local tn = require "tenon"
local recurrent = require "tenon.models.recurrent"

return tn.experiment {
  name = "bench_train_lstm",
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {64, 64}, classes = 10 }, batch = 32 },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 1,
      model = recurrent.classifier { 10, hidden = 256 },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.adam { lr = 1e-3 },
    },
  },
}
