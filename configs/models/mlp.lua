-- A multilayer perceptron: linear layers with an activation behind each but the last.
--
--     local mlp = require "models.mlp"
--     mlp { 10, hidden = { 512, 512 } }
local tn = require "tenon"
local nn = tn.nn

-- Takes [N, …], all of a sample as one row.
return tn.checked("mlp", {
  { name = "outputs", type = "int", positional = true, required = true, min = 1, help = "outputs" },
  { name = "hidden", type = "ints", default = { 512, 512 }, min = 1, help = "features of the hidden layers" },
  { name = "activation", type = "component", of = "layer", help = "behind each hidden layer; default relu" },
  { name = "dropout", type = "number", default = 0, min = 0, max = 1, open_max = true,
    help = "share of a hidden layer's features left out in training" },
}, function(options)
  local layers = { nn.flatten {} }
  for _, size in ipairs(options.hidden) do
    table.insert(layers, nn.linear { size })
    table.insert(layers, options.activation or nn.relu {})
    if options.dropout > 0 then table.insert(layers, nn.dropout { options.dropout }) end
  end
  table.insert(layers, nn.linear { options.outputs })
  return nn.sequential(layers)
end)
