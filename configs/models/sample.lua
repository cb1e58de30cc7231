-- Text drawn byte by byte from a language model.
--
--     local sample = require "models.sample"
--     sample(trainer.model, { context = 128, prompt = "The ", length = 500 })
local tn = require "tenon"
local layer = require "tenon.layer"

-- model: an instance that takes tokens [1, context], bytes as i64, and gives scores of the next ones
-- [1, context, 256], none of which depends on later tokens. Gives prompt and bytes.
return tn.checked("sample", {
  { name = "context", type = "int", required = true, min = 1, help = "bytes that the model sees" },
  { name = "prompt", type = "string", default = "\n", help = "what the text follows, a byte at least" },
  { name = "length", type = "int", default = 500, min = 0, help = "bytes that are drawn" },
  { name = "temperature", type = "number", default = 0.8, min = 0, open_min = true, help = "below 1 for likelier ones" },
  { name = "seed", type = "int", default = 0, min = 0, help = "of what is drawn" },
}, function(model, options)
  local context, temperature, seed = options.context, options.temperature, options.seed
  local bytes = { options.prompt:byte(1, -1) }
  if #bytes == 0 then error("sample: the prompt is empty: give what the text follows, a byte at least", 2) end
  -- One program for all bytes: the window is filled up behind, and `place` is the last one that counts.
  local next_byte = tn.jit(function(window, place, key)
    local scores = layer.with_training(false, model, window):gather(place, { axis = 1 })
    return (scores:reshape { 1, -1 } / temperature):random_categorical(key)
  end)
  for i = 1, options.length do
    local window, first = {}, math.max(#bytes - context, 0)
    for k = 1, context do window[k] = bytes[first + k] or 0 end
    local place = tn.tensor({ #bytes - first - 1 }, "i64")
    bytes[#bytes + 1] = next_byte(tn.tensor({ window }, "i64"), place, tn.tensor({ seed, i }, "u64")):item()
  end
  local text = {}
  for i, byte in ipairs(bytes) do text[i] = string.char(byte) end
  return table.concat(text)
end, 2)
