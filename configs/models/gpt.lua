-- A decoder like GPT-2: Radford et al., "Language models are unsupervised multitask learners", 2019.
-- Variables are called as GPT-2's, matrices stand as PyTorch's linear layers keep them.
--
--     local gpt = require "models.gpt"
--     gpt { 256, context = 128, width = 256, layers = 4, heads = 8 }
local tn = require "tenon"
local nn = tn.nn

local function part(name, help, required)
  return { name = name, type = "component", of = "layer", required = required ~= false, help = help }
end

local Attention = tn.component {
  interface = "tenon.layer/1", name = "gpt_attention", help = "causal self-attention; query, key and value by one matrix",
  options = {
    { name = "heads", type = "int", required = true, min = 1, help = "heads; they share the features" },
    part("c_attn", "makes query, key and value"), part("c_proj", "joins what the heads give"),
  },
  forward = function(self, x)
    local function heads(value) return value:reshape { 0, 0, self.heads, -1 }:transpose { 0, 2, 1, 3 } end
    local q, k, v = self.c_attn(x):split { axis = -1, num_outputs = 3 }
    local y = heads(q):scaled_dot_product_attention(heads(k), heads(v), { causal = true })
    return self.c_proj(y:transpose { 0, 2, 1, 3 }:reshape { 0, 0, -1 })
  end,
}

local Block = tn.component {
  interface = "tenon.layer/1", name = "gpt_block", help = "attention, then a perceptron, each beside what comes in",
  options = { part("ln_1", "before attn"), part("attn", "attention"), part("ln_2", "before mlp"), part("mlp", "perceptron"),
    part("drop", "behind both") },
  forward = function(self, x)
    x = x + self.drop(self.attn(self.ln_1(x)))
    return x + self.drop(self.mlp(self.ln_2(x)))
  end,
}

local Decoder = tn.component {
  interface = "tenon.layer/1", name = "gpt_decoder", help = "tokens [N, steps] to scores of the next ones [N, steps, tokens]",
  options = { part("wte", "embedding of tokens"), part("wpe", "adds that of places"), part("drop", "dropout of both"),
    part("h", "the blocks"), part("ln_f", "the last normalisation"),
    part("lm_head", "gives the scores; default: wte's own matrix", false) },
  forward = function(self, tokens)
    local x = self.ln_f(self.h(self.drop(self.wpe((self.wte(tokens))))))
    if self.lm_head then return self.lm_head(x) end
    return x:linear(self:param("wte.weight", { self.wte.count, self.wte.size }))
  end,
}

-- Weights begin as GPT-2's: normal with deviation 0.02, less before a sum by the root of how many there
-- are. There is no dropout within the attention.
return tn.checked("gpt", {
  { name = "tokens", type = "int", positional = true, default = 256, min = 1, help = "tokens there are" },
  { name = "context", type = "int", default = 128, min = 1, help = "the longest sequence" },
  { name = "width", type = "int", default = 256, min = 1, help = "features of a token" },
  { name = "layers", type = "int", default = 4, min = 1, help = "blocks" },
  { name = "heads", type = "int", default = 8, min = 1, help = "heads; they share the features" },
  { name = "dropout", type = "number", default = 0, min = 0, max = 1, open_max = true,
    help = "share left out behind embeddings, attention and perceptron" },
  { name = "tied", type = "bool", default = true, help = "scores by the matrix that embeds tokens" },
}, function(options)
  local tokens, width, layers, heads = options.tokens, options.width, options.layers, options.heads
  if width % heads ~= 0 then error(("gpt: %d features cannot be shared by %d heads"):format(width, heads), 2) end
  local init, last = { "normal", 0, 0.02 }, { "normal", 0, 0.02 / math.sqrt(2 * layers) }
  local drop = nn.dropout { options.dropout }
  local function linear(name, size, start) return nn.linear { size, init = start, bias_init = "zeros", name = name } end

  local blocks = { name = "h" }
  for i = 1, layers do
    blocks[i] = Block {
      name = tostring(i - 1), drop = drop,
      ln_1 = nn.layer_norm {},
      attn = Attention { heads = heads, c_attn = linear(nil, 3 * width, init), c_proj = linear(nil, width, last) },
      ln_2 = nn.layer_norm {},
      mlp = nn.sequential { linear("c_fc", 4 * width, init), nn.gelu { approximate = "tanh" }, linear("c_proj", width, last) },
    }
  end
  return Decoder {
    wte = nn.embedding { tokens, width, init = init }, wpe = nn.position_embedding { options.context, init = init },
    drop = drop, h = nn.sequential(blocks), ln_f = nn.layer_norm {},
    lm_head = not options.tied and nn.linear { tokens, bias = false, init = init } or nil,
  }
end)
