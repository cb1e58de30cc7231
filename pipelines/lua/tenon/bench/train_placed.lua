-- LeNet as in configs/fashion_mnist.lua on byte images that read and map stages make: the case `tenon bench train_placed`
-- runs it with these stages in the process that trains and, map.place=ipc, in another.
local tn = require "tenon"
local lenet = require "tenon.models.lenet"

local data = tn.arg("data", "", { help = "HDF5 file of byte images x and labels y" })

return tn.experiment {
  name = "bench_train_placed",
  seed = 1,
  stages = {
    read = tn.stage.read { data = tn.dataset.hdf5 { data, split = "data" }, batch = 128, shuffle = true, drop_last = true },
    map = tn.stage.map { from = "read", apply = function(batch) return { x = batch.x:cast("f32") / 255, y = batch.y } end },
    train = tn.stage.train {
      from = "map", input = "x", target = "y", epochs = 1,
      model = lenet { 10 },
      loss = tn.loss.cross_entropy {},
      optimizer = tn.optim.adam { lr = 1e-3 },
    },
  },
}
