-- The training loop: how often each event comes, early stopping, what is measured. 64 samples in
-- batches of 10: 7 steps an epoch, the last one of 4 samples.
local tn = require "tenon"
local check = require "check"
local nn = tn.nn

local seen = { step = 0, epoch = 0, log = 0, start = 0 }
local losses = {}

return tn.experiment {
  name = "training", seed = 4,
  stages = {
    read = tn.stage.read { data = tn.dataset.random { { 4 }, classes = 3, length = 64 }, batch = 10, shuffle = true },
    double = tn.stage.map { from = "read", apply = function(batch) return { x = batch.x * 2, y = batch.y } end },
    train = tn.stage.train {
      from = "double", input = "x", target = "y", epochs = 50, log_every = 0, log_steps = 3,
      model = nn.sequential { nn.linear { 8 }, nn.batch_norm {}, nn.relu {}, nn.dropout { 0.1 }, nn.linear { 3 } },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.sgd { lr = tn.schedule.step { 0.1, every = 14, gamma = 0 }, momentum = 0.5 },
      passes = { tn.pass.lambda { function(grads, params)
        check.equal(#grads, #params)
        check.equal(#grads, 6)
        return grads
      end } },
      metrics = { accuracy = tn.metric.accuracy {}, top = tn.metric.top_k { 3 }, same = tn.metric.loss { tn.loss.cross_entropy {} } },
      evaluate = "measure",
      callbacks = {
        -- The rate is 0 after 14 steps, so nothing gets better: 2 epochs, then 3 that are borne,
        -- then one too many.
        tn.callback.early_stopping { monitor = "measure/loss", patience = 3, delta = 1e-3 },
        tn.callback.functions {
          every = 2,
          start = function(trainer)
            seen.start = seen.start + 1
            check.equal(trainer.total, 350)
            check.equal({ trainer.port:length() }, { 7, 64 })
          end,
          step = function(trainer)
            seen.step = seen.step + 1
            check.equal(trainer.step, 2 * seen.step)
            -- dropout draws by a key that each step moves on
            check.equal(require("tenon.core").key_variable():read():list(), { 4, trainer.step })
          end,
          log = function(_, metrics)
            seen.log = seen.log + 1
            -- What is measured as a metric is the loss itself.
            check.near(metrics["train/same"], metrics["train/loss"], 1e-5)
            check.equal(metrics["train/top"], 1)
          end,
          epoch = function(trainer, metrics)
            seen.epoch = seen.epoch + 1
            check.equal(trainer.step, 7 * seen.epoch)
            losses[seen.epoch] = metrics["measure/loss"]
            assert(metrics["measure/accuracy"] >= 0 and metrics["measure/accuracy"] <= 1)
          end,
          stop = function(trainer)
            check.equal(seen.epoch, trainer:epoch())
            assert(seen.epoch >= 5 and seen.epoch <= 7, "early stopping: " .. seen.epoch)
            check.equal(seen.start, 1)
            check.equal(seen.step, trainer.step // 2)
            -- every third step, and the end of every epoch
            assert(seen.log >= trainer.step // 3 + seen.epoch - 2, seen.log)
            -- dropout and batch norm rest while measuring, and the rate is 0: but for running
            -- statistics nothing changes
            assert(losses[1] ~= losses[2])
          end,
        },
      },
    },
    read_again = tn.stage.read { data = tn.dataset.random { { 4 }, classes = 3, length = 64 }, batch = 16 },
    double_again = tn.stage.map { from = "read_again", apply = function(batch) return { x = batch.x * 2, y = batch.y } end },
    measure = tn.stage.evaluate { from = "double_again", of = "train" },
  },
}
