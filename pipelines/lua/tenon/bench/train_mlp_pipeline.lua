-- The step of train_mlp, fed by a pipeline: the case `tenon bench train_mlp_pipeline` measures what that costs it.
local tn = require "tenon"
local nn = tn.nn

local data = tn.arg("data", "", { help = "HDF5 file of samples x and labels y" })
local bytes = tn.arg("bytes", false, { help = "x is bytes, as images are: a map stage scales them" })
local hidden = tn.arg("hidden", 512, { help = "units of a hidden layer" })

local stages = {
  read = tn.stage.read { data = tn.dataset.hdf5 { data, split = "data" }, batch = 128, shuffle = true, drop_last = true },
  train = tn.stage.train {
    from = bytes and "map" or "read", input = "x", target = "y", epochs = 1,
    model = nn.sequential { nn.linear {hidden}, nn.relu {}, nn.linear {hidden}, nn.relu {}, nn.linear {10} },
    loss = tn.loss.cross_entropy {},
    optimizer = tn.optim.adam { lr = 1e-3 },
  },
}
if bytes then
  stages.map = tn.stage.map { from = "read", apply = function(batch) return { x = batch.x:cast("f32") / 255, y = batch.y } end }
end

return tn.experiment { name = "bench_train_mlp_pipeline", stages = stages }
