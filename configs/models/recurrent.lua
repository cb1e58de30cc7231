-- Recurrent networks: long short-term memory (Hochreiter and Schmidhuber, 1997) and gated recurrent
-- units (Cho et al., 2014), for classes of whole sequences or the next token of texts.
--
--     local recurrent = require "models.recurrent"
--     recurrent.classifier { 10, cell = "gru", hidden = 256 }
--     recurrent.language_model { 256, hidden = 512, layers = 2 }
local tn = require "tenon"
local nn = tn.nn

-- A model's own rows, and those that both have.
local function rows_of(rows)
  table.insert(rows, { name = "cell", type = "enum", choices = { "lstm", "gru", "rnn" }, default = "lstm", help = "kind of cell" })
  table.insert(rows, { name = "hidden", type = "int", default = 256, min = 1, help = "features of the state" })
  table.insert(rows, { name = "layers", type = "int", default = 1, min = 1, help = "layers of cells" })
  return rows
end

local function cells(options, output)
  return nn[options.cell] { options.hidden, layers = options.layers, output = output }
end

local recurrent = {}

-- Takes sequences [N, steps, features], gives [N, classes].
recurrent.classifier = tn.checked("recurrent.classifier", rows_of {
  { name = "classes", type = "int", positional = true, required = true, min = 1, help = "classes" },
}, function(options)
  return nn.sequential { cells(options, "last"), nn.linear { options.classes } }
end)

-- Takes tokens [N, steps], gives scores of the next one behind each, [N, steps, tokens].
recurrent.language_model = tn.checked("recurrent.language_model", rows_of {
  { name = "tokens", type = "int", positional = true, default = 256, min = 1, help = "tokens there are" },
  { name = "width", type = "int", default = 128, min = 1, help = "features of a token" },
  { name = "dropout", type = "number", default = 0, min = 0, max = 1, open_max = true, help = "share left out between the parts" },
}, function(options)
  return nn.sequential {
    nn.embedding { options.tokens, options.width },
    nn.dropout { options.dropout },
    cells(options, "all"),
    nn.dropout { options.dropout },
    nn.linear { options.tokens },
  }
end)

return recurrent
