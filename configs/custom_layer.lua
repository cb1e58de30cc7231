-- A layer, a loss and a schedule made in the config itself. Declared with the same rows as a
-- plugin's components, so `tenon check`, `tenon help` and overrides know them: try
--
--     tenon check configs/custom_layer.lua train.model.layers[1].hiden=3
--     tenon run configs/custom_layer.lua
--
-- ci: train.epochs=1
local tn = require "tenon"
local nn = tn.nn

-- A gated layer: half of a projection decides how much of the other half passes.
local Gated = tn.component {
  interface = "tenon.layer/1", name = "gated", help = "a linear layer with a gate",
  options = {
    { name = "out", type = "int", positional = true, required = true, min = 1, help = "features out" },
    { name = "sharpness", type = "number", default = 1, min = 0, open_min = true, help = "how sudden the gate is" },
  },
  forward = function(self, x)
    local inputs = x.shape[x.rank]
    local weight = self:param("weight", { 2 * self.out, inputs }, "fan_in_uniform")
    local bias = self:param("bias", { 2 * self.out }, "zeros")
    local value, gate = x:linear(weight, bias):split { axis = -1, num_outputs = 2 }
    return value * (gate * self.sharpness):sigmoid()
  end,
}

return tn.experiment {
  name = "custom_layer", seed = 1,
  stages = {
    read = tn.stage.read { data = tn.dataset.random { { 16 }, classes = 4, length = 512 }, batch = 32, shuffle = true },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 5,
      model = nn.sequential { Gated { 32, sharpness = 2 }, nn.layer_norm {}, nn.gated { 16 }, nn.linear { 4 } },
      -- A loss of one line: cross-entropy, and a little for large outputs.
      loss = tn.loss(function(logits, classes)
        return logits:cross_entropy(classes) + (logits * logits):mean() * 1e-3
      end),
      metrics = { accuracy = tn.metric.accuracy {} },
      optimizer = tn.optim.adamw {
        lr = tn.schedule.warmup { tn.schedule.cosine { 3e-3, steps = 80 }, steps = 16 },
        groups = { { match = "bias$", weight_decay = 0 } },
      },
      passes = { tn.pass.clip_norm { 1 } },
      callbacks = { tn.callback.early_stopping { monitor = "train/loss", patience = 2 } },
    },
  },
  loggers = { tn.logger.progress {} },
}
