-- A GPT of 4 layers over 128 bytes: the case `tenon bench train_gpt` measures a step of it.
local tn = require "tenon"
local gpt = require "tenon.models.gpt"

return tn.experiment {
  name = "bench_train_gpt",
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {128}, dtype = "u8" }, batch = 8 },
    tokens = tn.stage.map { from = "read", apply = function(batch)
      local tokens = batch.x:cast("i64")
      return { x = tokens, y = tokens }
    end },
    train = tn.stage.train {
      from = "tokens", input = "x", target = "y", epochs = 1,
      model = gpt { 256, context = 128, width = 256, layers = 4, heads = 8, tied = false },
      loss = tn.loss.cross_entropy { last = true },
      optimizer = tn.optim.adamw { lr = 3e-4 },
    },
  },
}
