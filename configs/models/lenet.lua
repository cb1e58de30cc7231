-- LeNet-5 with ReLU and max-pooling, as it is mostly written now; LeCun et al., "Gradient-based
-- learning applied to document recognition", 1998, had a scaled tanh and means.
--
--     local lenet = require "models.lenet"
--     lenet { 10 }
local tn = require "tenon"
local nn = tn.nn

-- Takes images [N, channels, 28, 28].
return tn.checked("lenet", {
  { name = "classes", type = "int", positional = true, required = true, min = 1, help = "classes" },
}, function(options)
  return nn.sequential {
    nn.conv { 6, 5, padding = 2 }, nn.relu {}, nn.max_pool { 2 },
    nn.conv { 16, 5 }, nn.relu {}, nn.max_pool { 2 },
    nn.flatten {},
    nn.linear { 120 }, nn.relu {},
    nn.linear { 84 }, nn.relu {},
    nn.linear { options.classes },
  }
end)
