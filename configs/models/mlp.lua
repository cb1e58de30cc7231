-- A multilayer perceptron: linear layers with an activation behind each but the last.
--
--     local mlp = require "models.mlp"
--     mlp { 10, hidden = { 512, 512 } }
local nn = require("tenon").nn

-- Takes [N, …], all of a sample as one row. The number: outputs. hidden: features of the hidden
-- layers. activation: a layer. dropout: share of a hidden layer's features left out in training.
return function(options)
  local activation, dropout = options.activation or nn.relu {}, options.dropout or 0
  local layers = { nn.flatten {} }
  for _, size in ipairs(options.hidden or { 512, 512 }) do
    table.insert(layers, nn.linear { size })
    table.insert(layers, activation)
    if dropout > 0 then table.insert(layers, nn.dropout { dropout }) end
  end
  table.insert(layers, nn.linear { options[1] })
  return nn.sequential(layers)
end
