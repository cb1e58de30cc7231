-- tenon.train: the stage that trains. It builds one graph, `step`, and then reacts to events; the
-- steps between two events are run in C. To train in another way, copy this file beside your config
-- and change it.
local core = require "tenon.core"
local tn = require "tenon"
local batch = require "tenon.batch"
local layer = require "tenon.layer"
local meter = require "tenon.meter"

local train = {
  interface = "tenon.stage/1", name = "train", help = "trains a model on the frames of another stage",
  trains = true,
  options = {
    { name = "from", type = "string", required = true, sibling = true, help = "stage whose frames it takes" },
    { name = "model", type = "component", of = "layer", required = true, help = "the model" },
    { name = "loss", type = "component", of = "loss", required = true, help = "what is made small" },
    { name = "optimizer", type = "component", of = "tenon.optimizer/1", required = true, help = "how" },
    { name = "passes", type = "components", of = "pass", help = "what happens to gradients before the optimiser, in order" },
    { name = "metrics", type = "component_map", of = "metric", help = "what is measured beside the loss" },
    { name = "input", type = "string", help = "field the model is given; default: the first" },
    { name = "target", type = "string", help = "field that loss and metrics compare with; default: the second" },
    { name = "epochs", type = "int", default = 0, min = 0, help = "times through the data; 0: as `steps` says" },
    { name = "steps", type = "int", default = 0, min = 0, help = "updates in all; 0: as `epochs` says" },
    { name = "evaluate", type = "string", sibling = true, help = "stage that measures the model after every epoch" },
    { name = "log_every", type = "duration", default = "1s", min = 0, help = "time between logs of the metrics; 0: only after epochs" },
    { name = "log_steps", type = "int", default = 0, min = 0, unit = "steps", help = "log after so many steps instead" },
    { name = "checkpoint_every", type = "duration", default = "60s", min = 0, help = "time between checkpoints; 0: only at the end" },
    { name = "checkpoint_steps", type = "int", default = 0, min = 0, unit = "steps", help = "checkpoint after so many steps as well" },
    { name = "keep", type = "int", default = 3, min = 1, help = "newest checkpoints that are kept" },
    { name = "callbacks", type = "components", of = "callback", help = "what else happens at events" },
    { name = "stop_when", type = "function", help = "function of the metrics after each epoch; true ends the training" },
  },
}

-- --- Building ------------------------------------------------------------------------------------

-- Variables that the optimiser changes, in the order in which the model made them.
local function parameters()
  local list = {}
  for _, variable in ipairs(core.variables()) do
    if variable:role() == "param" and not variable:frozen() then list[#list + 1] = variable end
  end
  return list
end

-- Forward, gradients, passes, optimiser, metrics, and the counters that the next step begins with.
function train:build(graph)
  local values, names = batch.inputs(graph, self.port)
  local input = batch.pick(self, "input", 1, values, names)
  local target = batch.pick(self, "target", 2, values, names)
  local step, key = core.step_variable(), core.key_variable()

  local prediction
  self.record = layer.recording(function() prediction = layer.with_training(true, self.model, input) end)
  local loss = layer.scoped("loss", self.loss.compute, self.loss, prediction, target)
  if not core.is_operand(loss) or loss.rank ~= 0 then
    core.fail("config", ("%s: stages.%s.loss: gives %s; the gradient needs a value of one number"):format(
      core.where(self._spec), self.stage_name, core.is_operand(loss) and loss.type or "a Lua " .. type(loss)))
  end

  local params = parameters()
  local grads = core.grad(loss, params)
  for _, pass in ipairs(self.passes or {}) do grads = pass:apply(grads, params) end
  local rate = self.optimizer:apply(params, grads, graph:value(step):cast("f64"), self.total)

  self.meter = meter.new(self.stage_name, self.metrics or {}, prediction, target, loss)
  step:assign(step + 1)
  key:assign(key + tn.tensor({ 0, 1 }, "u64"))
  graph:output("loss", loss)
  graph:output("lr", rate)
end

function train:prepare(experiment)
  local job = experiment.job
  self.experiment, self.job = experiment, job
  self.port = batch.port(self, job)
  self.frames = self.port:length()
  self.total = self.steps > 0 and self.steps or self.epochs * self.frames
  if self.total == 0 then
    core.fail("config", ("%s: stages.%s: nothing says how long to train: give epochs%s"):format(
      core.where(self._spec), self.stage_name, self.frames == 0 and "' frames an end, or give steps" or " or steps"))
  end
  if self.evaluate and not experiment.stages[self.evaluate] then
    core.fail("config", ("%s: stages.%s.evaluate: there is no stage '%s' that evaluates"):format(
      core.where(self._spec), self.stage_name, self.evaluate))
  end
  local graph = core.graph "step"
  core.build(graph, self.build, self, graph)
  self.stepper = job:stepper(job:func(graph, "step"), self.port)
end

function train:summary() return layer.summary(self.record) end

-- --- State ---------------------------------------------------------------------------------------

-- Calls event on every callback that has it.
function train:tell(event, ...)
  for _, callback in ipairs(self.callbacks or {}) do
    if callback[event] then callback[event](callback, self, ...) end
  end
end

function train:stop(why)
  self.stopping = why or true
end

-- What a checkpoint holds beside the variables.
function train:state()
  local callbacks = {}
  for i, callback in ipairs(self.callbacks or {}) do
    callbacks["callback" .. i] = callback.save and callback:save() or nil
  end
  return { step = self.step, logged = self.meter.seen, seconds = self.seconds + core.clock() - self.began,
    metrics = self.metrics_now, evaluated = self.evaluated, callbacks = callbacks, stopping = self.stopping or nil,
    pipeline = self.job:pipeline_state() }
end

-- Writes a checkpoint of whole, finite numbers; one that is there already is the same.
function train:save()
  self:check_finite()
  self.job:save(self.step, self:state(), self.keep)
  self.saved_step = self.step
  self.next_save = core.clock() + self.checkpoint_every
end

-- Asks for a checkpoint once every callback has seen the event: one written before would not know
-- what the others did.
function train:save_soon()
  self.next_save = -math.huge
end

function train:restore()
  local newest = self.job:resumed() and self.job:newest()
  if not newest then return end
  local state = self.job:load(newest)
  self.step, self.meter.seen, self.seconds = state.step, state.logged or {}, state.seconds or 0
  self.metrics_now, self.evaluated, self.saved_step = state.metrics or {}, state.evaluated or 0, newest
  self.stopping = state.stopping
  for i, callback in ipairs(self.callbacks or {}) do
    local kept = state.callbacks and state.callbacks["callback" .. i]
    if kept and callback.load then callback:load(kept, self) end
  end
  self.job:seek_pipeline(state.pipeline)
end

-- --- Bad numbers ---------------------------------------------------------------------------------

-- Goes back to the last good state.
function train:rewind(good)
  if good then
    self.job:seek_pipeline(self.job:load(good).pipeline)
  else
    self.job:reset()
    self.job:seek_pipeline(self.beginning)
  end
end

-- Finds where bad numbers came from: goes back to the last good checkpoint, runs to shortly before
-- the loss goes bad, and from there watches every tensor. Then ends the run with what was found.
function train:find_bad(name, value)
  local window = 32
  local good = self.job:newest()
  local from, to = good or 0, self.step
  self:rewind(good)
  local quick = 0
  while from + quick < to do
    self.stepper:run(math.min(window, to - from - quick))
    if self.meter:bad() then break end
    quick = quick + window
  end
  -- Weights may have gone bad before the loss did.
  quick = math.max(quick - window, 0)
  self:rewind(good)
  if quick > 0 then self.stepper:run(quick) end
  local found, done = self.stepper:find_bad(to - from - quick)
  local folder = self.job:folder()
  core.fail("numeric", ("%s became %s at step %d; the first bad number is in %s; %s"):format(
    name, value ~= value and "nan" or tostring(value), from + quick + done + (found and 1 or 0),
    found or "no tensor any more when it is run again",
    good and ("the last good checkpoint is %s/checkpoints/%012d.safetensors"):format(folder, good)
      or "there is no checkpoint before it"))
end

function train:check_finite()
  local name, value = self.meter:bad()
  if name then self:find_bad(name, value) end
end

-- --- Events --------------------------------------------------------------------------------------

-- Tells the metrics of the steps since the last log.
function train:log()
  local now = core.clock()
  self:check_finite()
  local recent = self.meter:means(self.meter:recent())
  local rate = self.logged_samples > 0 and self.logged_samples / math.max(now - self.logged_at, 1e-9) or 0
  local metrics = {}
  for _, pair in ipairs(recent) do
    metrics[self.stage_name .. "/" .. pair[1]] = pair[2]
    self.job:scalar(self.stage_name .. "/" .. pair[1], self.step, pair[2])
  end
  local lr = self.stepper:output("lr")
  if lr then self.job:scalar(self.stage_name .. "/lr", self.step, lr:item()) end
  if rate > 0 then self.job:scalar(self.stage_name .. "/samples_per_second", self.step, rate) end
  self:tell("on_log", metrics)
  self:progress(rate)
  self.logged_at, self.logged_samples = now, 0
  self.next_log = self.log_every > 0 and self.log_steps == 0 and now + self.log_every or math.huge
end

-- The line a user watches: means of the epoch so far, and what the last evaluation gave.
function train:progress(rate)
  local shown = self.meter:means(self.meter:sums())
  for _, pair in ipairs(self.evaluation or {}) do shown[#shown + 1] = { self.evaluate .. "/" .. pair[1], pair[2] } end
  local run = self.step - self.first_step
  local left = run > 0 and (core.clock() - self.began) / run * (self.total - self.step) or -1
  shown.step, shown.steps, shown.rate, shown.left = self.step, self.total, rate, left
  shown.epoch = self.frames > 0 and math.max((self.step + self.frames - 1) // self.frames, 1) or 0
  shown.epochs = self.epochs
  self.job:progress(shown)
end

-- Epochs that are done.
function train:epoch() return self.frames > 0 and self.step // self.frames or 0 end

-- Means since the epoch began. They depend on nothing but its steps: decisions may be made by them.
function train:epoch_metrics()
  local metrics = {}
  for _, pair in ipairs(self.meter:means(self.meter:sums())) do metrics[self.stage_name .. "/" .. pair[1]] = pair[2] end
  return metrics
end

-- After the last step of an epoch: evaluation, callbacks. FALSE if it was cut off by somebody who
-- asked to stop.
function train:end_epoch()
  if self.logged_samples > 0 then self:log() end
  local metrics = self:epoch_metrics()
  if self.evaluate then
    local evaluation = self.experiment.stages[self.evaluate]:measure()
    if not evaluation then return false end
    self.evaluation = evaluation
    for _, pair in ipairs(evaluation) do
      metrics[self.evaluate .. "/" .. pair[1]] = pair[2]
      self.job:scalar(self.evaluate .. "/" .. pair[1], self.step, pair[2])
    end
  end
  for name, value in pairs(metrics) do self.metrics_now[name] = value end
  self.evaluated = self.step
  if self.evaluate then self:progress(0) end
  self.meter:reset()
  self:tell("on_epoch", metrics)
  if self.stop_when and self.stop_when(metrics, self) then self:stop("stop_when") end
  self.logged_at = core.clock()
  return true
end

-- Steps until the next event that is counted in steps.
function train:steps_to_event()
  local k = self.total - self.step
  local function multiple_of(n)
    if n and n > 0 then k = math.min(k, n - self.step % n) end
  end
  multiple_of(self.frames)
  multiple_of(self.log_steps)
  multiple_of(self.checkpoint_steps)
  for _, callback in ipairs(self.callbacks or {}) do
    if callback.on_step then multiple_of(callback.every or 1) end
  end
  return k
end

-- Whether the epoch's end was reached and not yet told.
function train:epoch_is_due()
  local whole_epoch = self.frames > 0 and self.step % self.frames == 0
  return (whole_epoch or self.step >= self.total) and self.evaluated < self.step
end

-- What is due after the steps just done. FALSE: stop at once, an evaluation was cut off.
function train:events()
  for _, callback in ipairs(self.callbacks or {}) do
    if callback.on_step and self.step % (callback.every or 1) == 0 then callback:on_step(self) end
  end
  if self.log_steps > 0 and self.step % self.log_steps == 0 or core.clock() >= self.next_log then self:log() end
  if self:epoch_is_due() and not self:end_epoch() then return false end
  if self.checkpoint_steps > 0 and self.step % self.checkpoint_steps == 0 or core.clock() >= self.next_save then self:save() end
  return true
end

-- --- Running -------------------------------------------------------------------------------------

function train:run()
  self.step, self.seconds, self.metrics_now, self.evaluated = 0, 0, {}, 0
  self.stopping, self.evaluation = nil, nil
  self.beginning = self.job:pipeline_state()
  self:restore()
  self.began, self.first_step = core.clock(), self.step
  self.logged_at, self.logged_samples = self.began, 0
  self.next_log = self.log_every > 0 and self.log_steps == 0 and self.began + self.log_every or math.huge
  self.next_save = self.checkpoint_every > 0 and self.began + self.checkpoint_every or math.huge
  if self.checkpoint_every == 0 then self.checkpoint_every = math.huge end
  self:tell("on_start")

  local status = "ok"
  -- An epoch whose end was cut off is ended first; all else of that step was done before its
  -- checkpoint was written.
  if self.step > 0 and self:epoch_is_due() and not self:end_epoch() then status = "cancelled" end
  while status == "ok" and self.step < self.total and not self.stopping do
    local seconds = math.min(self.next_log, self.next_save) - core.clock()
    local done, samples
    if seconds == math.huge then seconds = 0 else seconds = math.max(seconds, 1e-3) end
    status, done, samples = batch.run(self, self:steps_to_event(), seconds)
    self.step = self.step + done
    self.logged_samples = self.logged_samples + samples
    if status == "ok" and not self:events() then status = "cancelled" end
  end

  if status == "cancelled" then
    self:save()
    self.job:stopped()
  else
    if status == "eos" and self.evaluated < self.step then self:end_epoch() end
    if self.log_steps == 0 and self.logged_samples > 0 then self:log() end
    if self.saved_step ~= self.step then self:save() end
  end
  self:tell("on_end")
  local result = { step = self.step, epoch = self:epoch(), seconds = self.seconds + core.clock() - self.began }
  for name, value in pairs(self.metrics_now) do result[name] = value end
  for name, value in pairs(self:epoch_metrics()) do result[name] = value end -- of an epoch that was not ended
  return result
end

tn.component(train)
