-- Text drawn byte by byte from a language model.
--
--     local sample = require "models.sample"
--     sample(trainer.model, { context = 128, prompt = "The ", length = 500 })
local tn = require "tenon"
local layer = require "tenon.layer"

-- model: an instance that takes tokens [1, context], bytes as i64, and gives scores of the next ones
-- [1, context, 256], none of which depends on later tokens. options: context; prompt, at least a byte;
-- length, bytes that are drawn; temperature, below 1 for likelier ones; seed. Gives prompt and bytes.
return function(model, options)
  local context, temperature, seed = options.context, options.temperature or 0.8, options.seed or 0
  local bytes = { (options.prompt or "\n"):byte(1, -1) }
  if #bytes == 0 then error("sample: the prompt is empty: give what the text follows, a byte at least", 2) end
  -- One program for all bytes: the window is filled up behind, and `place` is the last one that counts.
  local next_byte = tn.jit(function(window, place, key)
    local scores = layer.with_training(false, model, window):gather(place, { axis = 1 })
    return (scores:reshape { 1, -1 } / temperature):random_categorical(key)
  end)
  for i = 1, options.length or 500 do
    local window, first = {}, math.max(#bytes - context, 0)
    for k = 1, context do window[k] = bytes[first + k] or 0 end
    local place = tn.tensor({ #bytes - first - 1 }, "i64")
    bytes[#bytes + 1] = next_byte(tn.tensor({ window }, "i64"), place, tn.tensor({ seed, i }, "u64")):item()
  end
  local text = {}
  for i, byte in ipairs(bytes) do text[i] = string.char(byte) end
  return table.concat(text)
end
