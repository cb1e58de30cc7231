-- Recurrent networks: long short-term memory (Hochreiter and Schmidhuber, 1997) and gated recurrent
-- units (Cho et al., 2014), for classes of whole sequences or the next token of texts.
--
--     local recurrent = require "models.recurrent"
--     recurrent.classifier { 10, cell = "gru", hidden = 256 }
--     recurrent.language_model { 256, hidden = 512, layers = 2 }
local nn = require("tenon").nn

-- options: cell, "lstm" or "gru"; hidden, features of the state; layers.
local function cells(options, output)
  return nn[options.cell or "lstm"] { options.hidden or 256, layers = options.layers or 1, output = output }
end

local recurrent = {}

-- Takes sequences [N, steps, features], gives [N, classes]. The number: classes.
function recurrent.classifier(options)
  return nn.sequential { cells(options, "last"), nn.linear { options[1] } }
end

-- Takes tokens [N, steps], gives scores of the next one behind each, [N, steps, tokens]. The number:
-- tokens there are. width: features of a token. dropout: share left out between the parts.
function recurrent.language_model(options)
  local dropout = options.dropout or 0
  return nn.sequential {
    nn.embedding { options[1] or 256, options.width or 128 },
    nn.dropout { dropout },
    cells(options, "all"),
    nn.dropout { dropout },
    nn.linear { options[1] or 256 },
  }
end

return recurrent
