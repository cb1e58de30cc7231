-- tenon.callback: what happens at events of a training. A callback has any of these, each called
-- with the trainer (see tenon/train.lua): on_start(trainer), on_log(trainer, metrics),
-- on_epoch(trainer, metrics), on_end(trainer), and every = n with on_step(trainer). What save()
-- gives is kept in checkpoints and given back to load(state).
local core = require "tenon.core"
local tn = require "tenon"

local monitor_rows = {
  { name = "monitor", type = "string", default = "evaluate/loss", help = "metric to watch, as it is logged" },
  { name = "mode", type = "enum", choices = { "min", "max" }, default = "min", help = "which way is better" },
}
local function rows(...)
  local list = table.move(monitor_rows, 1, #monitor_rows, 1, {})
  for _, row in ipairs { ... } do list[#list + 1] = row end
  return list
end

-- The watched number, and whether it is the best so far by more than `least`.
local function better(self, metrics, least)
  local value = metrics[self.monitor]
  if not value then
    local known = {}
    for name in pairs(metrics) do known[#known + 1] = name end
    table.sort(known)
    core.fail("config", ("%s: monitor: there is no metric '%s'; there are: %s"):format(
      core.where(self._spec), self.monitor, table.concat(known, ", ")))
  end
  local sign = self.mode == "min" and -1 or 1
  local is = self.best == nil or sign * value > sign * self.best + least
  if is then self.best = value end
  return is
end

tn.component {
  interface = "tenon.callback/1", name = "early_stopping", help = "ends the training when a metric stops getting better",
  options = rows(
    { name = "patience", type = "int", default = 3, min = 0, unit = "epochs", help = "epochs without a better one that are borne" },
    { name = "delta", type = "number", default = 0, min = 0, help = "by how much a better one is better" }
  ),
  on_epoch = function(self, trainer, metrics)
    self.waited = better(self, metrics, self.delta) and 0 or (self.waited or 0) + 1
    if self.waited > self.patience then
      trainer:stop(("%s was not better for %d epochs"):format(self.monitor, self.waited))
    end
  end,
  save = function(self) return { best = self.best, waited = self.waited } end,
  load = function(self, state) self.best, self.waited = state.best, state.waited end,
}

tn.component {
  interface = "tenon.callback/1", name = "best_checkpoint", help = "keeps the checkpoint of the best epoch",
  options = rows(),
  on_epoch = function(self, trainer, metrics)
    if not better(self, metrics, 0) then return end
    local before = self.step
    self.step = trainer.step
    trainer.job:pin(self.step)
    if before and before ~= self.step then trainer.job:unpin(before) end
    trainer:save_soon()
  end,
  save = function(self) return { best = self.best, step = self.step } end,
  load = function(self, state, trainer)
    self.best, self.step = state.best, state.step
    if self.step then trainer.job:pin(self.step) end
  end,
}

tn.component {
  interface = "tenon.callback/1", name = "histograms", help = "logs the weights of every epoch as histograms",
  options = { { name = "match", type = "string", default = "", positional = true, help = "pattern of the names to log" } },
  on_epoch = function(self, trainer)
    for _, variable in ipairs(core.variables()) do
      if variable:role() == "param" and variable:name():find(self.match) then
        trainer.job:histogram(variable:name(), trainer.step, variable:read())
      end
    end
  end,
}

tn.component {
  interface = "tenon.callback/1", name = "functions", help = "functions of the config at events",
  options = {
    { name = "start", type = "function", help = "function(trainer) before the first step" },
    { name = "log", type = "function", help = "function(trainer, metrics) whenever metrics are logged" },
    { name = "epoch", type = "function", help = "function(trainer, metrics) after every epoch" },
    { name = "step", type = "function", help = "function(trainer) after every `every` steps" },
    { name = "every", type = "int", default = 1, min = 1, unit = "steps", help = "steps between calls of `step`" },
    { name = "stop", type = "function", help = "function(trainer) at the end" },
  },
  init = function(self)
    for event, name in pairs { on_start = "start", on_log = "log", on_epoch = "epoch", on_step = "step", on_end = "stop" } do
      local f = rawget(self, name)
      if f then self[event] = function(_, ...) return f(...) end end
    end
  end,
}

return {}
