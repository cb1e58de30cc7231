-- ResNet-50 on one image of 224 x 224: the case `tenon bench infer_resnet50` measures its program
-- without gradients, graph `infer`. No weights are read: the stage is made, not run.
local tn = require "tenon"
local resnet = require "tenon.models.resnet"

return tn.experiment {
  name = "bench_infer_resnet50",
  devices = { "cpu+onednn", "ref" },
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {3, 224, 224} }, batch = 1 },
    infer = tn.stage.predict {
      from = "read", input = "x", model = resnet.resnet50 {}, weights = "none",
      to = tn.writer.hdf5 { "none.h5" },
    },
  },
}
