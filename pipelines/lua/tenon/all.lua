-- tenon.all: every module with components in it, so that `tenon help` knows them.
for _, name in ipairs { "callback", "experiment", "loss", "metric", "optim", "schedule", "stage" } do
  require("tenon." .. name)
end
return require("tenon").nn
