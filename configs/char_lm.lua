-- A language model of bytes: learns which follow in a text, then writes some of its own.
--
--     tenon run configs/char_lm.lua file=/path/to/some.txt
--     tenon run configs/char_lm.lua file=/path/to/some.txt model=lstm steps=4000
--
-- Any file will do; a megabyte or more makes better texts than the guide that it reads by itself. What
-- is written at the end goes to TensorBoard's text page and to the terminal.
-- ci: steps=4 context=16 width=32 layers=1 heads=2 sample=20
local tn = require "tenon"
local gpt, recurrent, sample = require "models.gpt", require "models.recurrent", require "models.sample"

local file = tn.arg("file", "../docs/configs.md", { help = "the text" })
local kind = tn.arg("model", "gpt", { choices = { "gpt", "lstm", "gru" }, help = "network" })
local context = tn.arg("context", 128, { help = "bytes of a sample", min = 1 })
local width = tn.arg("width", 128, { help = "features, of the state too", min = 1 })
local layers = tn.arg("layers", 2, { help = "blocks, or layers of cells", min = 1 })
local heads = tn.arg("heads", 4, { help = "heads of the attention", min = 1 })
local dropout = tn.arg("dropout", 0.0, { help = "share left out in training", min = 0 })
local lr = tn.arg("lr", 2e-3, { help = "learning rate after the first steps", min = 0 })
local steps = tn.arg("steps", 2000, { help = "updates", min = 2 })
local length = tn.arg("sample", 400, { help = "bytes that are written at the end", min = 0 })
local prompt = tn.arg("prompt", "\n", { help = "what they follow" })

local model
if kind == "gpt" then
  model = gpt { 256, context = context, width = width, layers = layers, heads = heads, dropout = dropout }
else
  model = recurrent.language_model { 256, cell = kind, width = width, hidden = width, layers = layers, dropout = dropout }
end

-- The last tenth of the text is kept to measure with.
local function windows(begin, finish, options)
  options.data = tn.dataset.text { file, length = context, stride = options.stride, begin = begin, ["end"] = finish }
  options.batch, options.stride = 16, nil
  return tn.stage.read(options)
end

return tn.experiment {
  name = "char_lm",
  seed = 1,
  stages = {
    read = windows(0, 0.9, { stride = 1, shuffle = true, drop_last = true }),
    train = tn.stage.train {
      from = "read",
      model = model,
      loss = tn.loss.cross_entropy { last = true },
      metrics = { accuracy = tn.metric.accuracy { last = true } },
      optimizer = tn.optim.adamw {
        lr = tn.schedule.warmup { tn.schedule.cosine { lr, final = lr / 10 }, steps = math.max(steps // 20, 1) },
        weight_decay = 0.1, beta2 = 0.99, groups = { { match = "bias$", weight_decay = 0 }, { match = "%.ln_", weight_decay = 0 } },
      },
      passes = { tn.pass.clip_norm { 1 } },
      steps = steps,
      evaluate = "evaluate",
      callbacks = { tn.callback.functions { stop = function(trainer)
        if length == 0 then return end
        local text = sample(trainer.model, { context = context, prompt = prompt, length = length, seed = 1 })
        print((text:gsub("[\0-\8\11-\31\127]", "?"))) -- no control characters for the terminal
        trainer.job:text("sample", trainer.step, "```\n" .. text .. "\n```")
      end } },
    },
    held_out = windows(0.9, 1, {}),
    evaluate = tn.stage.evaluate { from = "held_out", of = "train" },
  },
  loggers = { tn.logger.progress {}, tn.logger.tensorboard {} },
}
