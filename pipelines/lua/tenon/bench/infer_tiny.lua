-- A multilayer perceptron on one sample: the case `tenon bench infer_tiny` measures a call of its
-- program without gradients, graph `infer`. No weights are read: the stage is made, not run.
local tn = require "tenon"
local mlp = require "tenon.models.mlp"

return tn.experiment {
  name = "bench_infer_tiny",
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {784} }, batch = 1 },
    infer = tn.stage.predict {
      from = "read", input = "x", model = mlp { 10, hidden = {128} }, weights = "none",
      to = tn.writer.hdf5 { "none.h5" },
    },
  },
}
