-- nn: layers. A layer is a component in Lua: its options, and a `forward` that says what it
-- computes. Sizes of inputs are taken from what comes in; parameters begin as PyTorch's do. Copy
-- one to make your own.
local core = require "tenon.core"
local tn = require "tenon"
local layer = require "tenon.layer"
local quantize = require "tenon.quantize"

-- nn.NAME and the component itself. class.least: the least rank of what comes in; nil: anything comes in.
local nn = {}
local function define(name, help, options, class)
  local forward, least = class.forward, class.least
  if least then
    class.forward = function(self, x, ...)
      if not core.is_operand(x) or x.rank < least then
        core.fail("config", ("%s: takes a tensor of rank %d at least, got %s"):format(layer.path(), least,
          core.is_operand(x) and x.type or type(x)))
      end
      return forward(self, x, ...)
    end
  end
  class.interface, class.name, class.help, class.options = "tenon.layer/1", name, help, options
  nn[name] = tn.component(class)
end

local function repeated(list, n, otherwise)
  if #list == 0 then list = { otherwise } end
  if #list == n then return list end
  if #list ~= 1 then
    core.fail("config", ("%s: %d sizes were given for %d axes"):format(layer.path(), #list, n))
  end
  local all = {}
  for i = 1, n do all[i] = list[1] end
  return all
end

local function want_rank(x, rank, what)
  if not core.is_operand(x) or x.rank ~= rank then
    core.fail("config", ("%s: takes %s, got %s"):format(layer.path(), what, core.is_operand(x) and x.type or type(x)))
  end
end

local function uniform(bound) return { "uniform", -bound, bound } end

-- PyTorch's of a bias: of sums of `fan` products; of none it is 0.
local function fan_uniform(fan) return uniform(fan > 0 and 1 / math.sqrt(fan) or 0) end

-- Of x's axes from `first` on, none may be without elements: `what` of nothing there is none.
local function want_elements(x, first, what)
  for axis = first, x.rank do
    if x.shape[axis] == 0 then
      core.fail("config", ("%s: %s of no elements: axis %d of %s is 0"):format(layer.path(), what, axis - 1, x.type))
    end
  end
end

-- x with elements left out at random while training.
local function dropped(x, p)
  if not layer.training or p == 0 then return x end
  local key = core.key_variable()
  local y = x:dropout(key, { p = p })
  -- In a graph the training step, or tn.jit, moves the key on; at once it is done here.
  layer.drawn = true
  if not core.current_graph() then key:write(key:read() + tn.tensor({ 0, 1 }, "u64")) end
  return y
end

-- --- Dense ---------------------------------------------------------------------------------------

define("linear", "x times a matrix, plus a bias, over the last axis", {
  { name = "out", type = "int", positional = true, required = true, min = 1, help = "features out" },
  { name = "bias", type = "bool", default = true, help = "add a bias" },
  { name = "init", type = "value", help = "initialiser of the weight; default PyTorch's" },
  { name = "bias_init", type = "value", help = "initialiser of the bias; default PyTorch's" },
}, {
  least = 1,
  forward = function(self, x)
    local inputs = x.shape[x.rank]
    local weight = self:param("weight", { self.out, inputs }, self.init or "fan_in_uniform")
    local bias = self.bias and self:param("bias", { self.out }, self.bias_init or fan_uniform(inputs))
    x, weight = quantize.operands(x, weight)
    return x:linear(weight, bias or nil)
  end,
})

define("embedding", "a row of a table for each index", {
  { name = "count", type = "int", positional = true, required = true, min = 1, help = "rows: how many indices there are" },
  { name = "size", type = "int", positional = true, required = true, min = 1, help = "features of a row" },
  { name = "padding", type = "int", default = -1, min = -1, help = "index whose row is zeros and gets no gradient; -1: none" },
  { name = "init", type = "value", help = "initialiser of the table; default PyTorch's, normal" },
}, {
  least = 0,
  forward = function(self, index)
    local init = self.init or { "normal", 0, 1 }
    if self.padding >= 0 then
      init = type(init) == "table" and table.move(init, 1, #init, 1, {}) or { init }
      init.zero_row = self.padding + 1
    end
    return self:param("weight", { self.count, self.size }, init):embedding(index, { padding_idx = self.padding })
  end,
})

define("position_embedding", "adds to each step of a sequence [N, steps, features] the row of a table that its place has", {
  { name = "count", type = "int", positional = true, required = true, min = 1, help = "rows: the longest sequence" },
  { name = "init", type = "value", help = "initialiser of the table; default PyTorch's, normal" },
}, {
  least = 0,
  forward = function(self, x)
    want_rank(x, 3, "[batch, steps, features]")
    if x.shape[2] > self.count then
      core.fail("config", ("%s: a sequence of %d steps, and places for %d: raise count"):format(
        layer.path(), x.shape[2], self.count))
    end
    local weight = self:param("weight", { self.count, x.shape[3] }, self.init or { "normal", 0, 1 })
    return x + weight:embedding(x:iota { axis = 1 })
  end,
})

-- --- Convolution ---------------------------------------------------------------------------------

local function window_rows(rows)
  rows[#rows + 1] = { name = "stride", type = "ints", min = 1, help = "step between windows; one number for all axes" }
  rows[#rows + 1] = { name = "padding", type = "ints", min = 0, help = "zeros added at both ends; one number for all axes" }
  rows[#rows + 1] = { name = "dilation", type = "ints", min = 1, help = "distance between a window's elements" }
  return rows
end

-- Pads at the begins, then at the ends, of n axes.
local function pads_of(self, n)
  local pads = repeated(self.padding or {}, n, 0)
  return table.move(pads, 1, n, n + 1, table.move(pads, 1, n, 1, {}))
end

local function conv_rows()
  return window_rows {
    { name = "channels", type = "int", positional = true, required = true, min = 1, help = "channels out" },
    { name = "kernel", type = "ints", positional = true, required = true, min = 1, help = "sizes of the window; one number for all axes" },
    { name = "groups", type = "int", default = 1, min = 1, help = "groups of channels that see only each other" },
    { name = "same", type = "bool", default = false, help = "pad so that sizes stay (stride 1, odd kernels)" },
    { name = "bias", type = "bool", default = true, help = "add a bias" },
    { name = "init", type = "value", help = "initialiser of the weight; default PyTorch's" },
  }
end

local function window_attributes(self, n)
  local kernel = repeated(self.kernel, n)
  local attributes = {
    strides = repeated(self.stride or {}, n, 1), dilations = repeated(self.dilation or {}, n, 1),
    pads = pads_of(self, n), group = self.groups,
  }
  if self.same then
    for i = 1, n do
      local all = attributes.dilations[i] * (kernel[i] - 1)
      attributes.pads[i], attributes.pads[n + i] = all // 2, all - all // 2
    end
  end
  return kernel, attributes
end

local function conv_forward(rank)
  return function(self, x)
    if rank then want_rank(x, rank + 2, ("[batch, channels, %d sizes]"):format(rank)) end
    local n, inputs = x.rank - 2, x.shape[2]
    local kernel, attributes = window_attributes(self, n)
    if inputs % self.groups ~= 0 then
      core.fail("config", ("%s: %d channels cannot be cut into %d groups"):format(layer.path(), inputs, self.groups))
    end
    local shape = { self.channels, inputs // self.groups, table.unpack(kernel) }
    local weight = self:param("weight", shape, self.init or "fan_in_uniform")
    if self.groups == 1 then x, weight = quantize.operands(x, weight) end
    if not self.bias then return x:conv(weight, attributes) end
    local fan = shape[2]
    for _, size in ipairs(kernel) do fan = fan * size end
    return x:conv_bias(weight, self:param("bias", { self.channels }, fan_uniform(fan)), attributes)
  end
end

define("conv", "convolution over all axes behind the channels", conv_rows(), { least = 3, forward = conv_forward() })
for rank = 1, 3 do
  define(("conv%dd"):format(rank), ("convolution over %d axes"):format(rank), conv_rows(), { least = 0, forward = conv_forward(rank) })
end

local transpose_rows = conv_rows()
transpose_rows[#transpose_rows + 1] = { name = "output_padding", type = "ints", min = 0, help = "added to the sizes out" }
define("conv_transpose", "transposed convolution: convolution's gradient as a layer", transpose_rows, {
  least = 3,
  forward = function(self, x)
    local n, inputs = x.rank - 2, x.shape[2]
    local kernel, attributes = window_attributes(self, n)
    if self.channels % self.groups ~= 0 then
      core.fail("config", ("%s: %d channels cannot be cut into %d groups"):format(layer.path(), self.channels, self.groups))
    end
    attributes.output_padding = repeated(self.output_padding or {}, n, 0)
    local shape = { inputs, self.channels // self.groups, table.unpack(kernel) }
    local weight = self:param("weight", shape, self.init or "fan_in_uniform")
    if not self.bias then return x:conv_transpose(weight, attributes) end
    local fan = shape[2]
    for _, size in ipairs(kernel) do fan = fan * size end
    return x:conv_transpose_bias(weight, self:param("bias", { self.channels }, fan_uniform(fan)), attributes)
  end,
})

-- --- Pooling -------------------------------------------------------------------------------------

local function pool_rows()
  return window_rows {
    { name = "kernel", type = "ints", positional = true, required = true, min = 1, help = "sizes of the window; one number for all axes" },
    { name = "ceil", type = "bool", default = false, help = "round the number of windows up" },
  }
end

-- PyTorch's: windows do not overlap unless a stride says so.
local function pool_attributes(self, x)
  local n = x.rank - 2
  local kernel = repeated(self.kernel, n)
  return {
    kernel_shape = kernel, strides = self.stride and repeated(self.stride, n) or kernel,
    pads = pads_of(self, n), dilations = repeated(self.dilation or {}, n, 1), ceil_mode = self.ceil,
  }
end

define("max_pool", "the largest of each window", pool_rows(), {
  least = 3,
  forward = function(self, x) return x:max_pool(pool_attributes(self, x)) end,
})

local average_rows = pool_rows()
average_rows[#average_rows + 1] = { name = "count_padding", type = "bool", default = true, help = "the padding counts in the mean" }
define("average_pool", "the mean of each window", average_rows, {
  least = 3,
  forward = function(self, x)
    local attributes = pool_attributes(self, x)
    attributes.count_include_pad = self.count_padding
    return x:average_pool(attributes)
  end,
})

define("adaptive_average_pool", "means of as many windows as asked for, which cover all of each axis", {
  { name = "size", type = "ints", positional = true, required = true, min = 1, help = "sizes out; one number for all axes" },
}, {
  -- PyTorch's windows: i of m holds elements floor (i n / m) to ceil ((i + 1) n / m) of n. A product
  -- with a matrix of shares for each axis, which goes behind the others by its turn.
  least = 3,
  forward = function(self, x)
    want_elements(x, 3, "means")
    local sizes, turn = repeated(self.size, x.rank - 2), { 0, 1 }
    for i = 3, x.rank - 1 do turn[i] = i end
    turn[x.rank] = 2
    for _, m in ipairs(sizes) do
      local n, shares = x.shape[3], {}
      for i = 1, m do
        local first, last = (i - 1) * n // m + 1, -(-i * n // m)
        shares[i] = {}
        for k = 1, n do shares[i][k] = k >= first and k <= last and 1 / (last - first + 1) or 0 end
      end
      x = x:transpose(turn):matmul(tn.tensor(shares, x.dtype):transpose())
    end
    return x
  end,
})

for _, kind in ipairs { "average", "max" } do
  define(("global_%s_pool"):format(kind), ("the %s over all axes behind the channels"):format(kind == "max" and "largest" or "mean"), {
    { name = "keep", type = "bool", default = false, help = "keep those axes, of size 1" },
  }, {
    least = 3,
    forward = function(self, x)
      want_elements(x, 3, kind == "max" and "the largest" or "the mean")
      local y = x[("global_%s_pool"):format(kind)](x)
      return self.keep and y or y:flatten(1)
    end,
  })
end

-- --- Normalisation -------------------------------------------------------------------------------

local function norm_rows(epsilon, rows)
  rows = rows or {}
  rows[#rows + 1] = { name = "epsilon", type = "number", default = epsilon, min = 0, help = "added to the variance" }
  return rows
end

-- Axes 0, 2, 3 … of x: all but the channels'.
local function batch_axes(x)
  local axes = { 0 }
  for i = 2, x.rank - 1 do axes[#axes + 1] = i end
  return axes
end

define("batch_norm", "each channel with mean 0 and variance 1 over the batch, then scaled", norm_rows(1e-5, {
  { name = "momentum", type = "number", default = 0.1, min = 0, max = 1, help = "share of this batch in the running statistics" },
}), {
  least = 2,
  forward = function(self, x)
    local n = { x.shape[2] }
    local scale, bias = self:param("weight", n, "ones"), self:param("bias", n, "zeros")
    local mean, var = layer.stat("running_mean", n, "zeros"), layer.stat("running_var", n, "ones")
    local epsilon = { epsilon = self.epsilon }
    if not layer.training then return x:batch_normalization(scale, bias, mean, var, epsilon) end
    local y, batch_mean, batch_var = x:batch_normalization_training(scale, bias, epsilon)
    -- The running variance is the unbiased one; of a single element per channel, which has none, it
    -- is 0, not NaN.
    local count = x:size { axes = batch_axes(x), dtype = "f32" }
    local m = self.momentum
    mean:assign(mean * (1 - m) + batch_mean * m)
    var:assign(var * (1 - m) + batch_var * (count / (count - 1):max(1) * m))
    return y
  end,
})

local function tail_shape(x, axis)
  local shape = {}
  for i = (axis < 0 and x.rank + axis or axis) + 1, x.rank do shape[#shape + 1] = x.shape[i] end
  return shape
end

define("layer_norm", "mean 0 and variance 1 over the last axes of each sample, then scaled", norm_rows(1e-5, {
  { name = "axis", type = "int", default = -1, help = "first normalised axis" },
}), {
  least = 1,
  forward = function(self, x)
    local shape = tail_shape(x, self.axis)
    return (x:layer_normalization(self:param("weight", shape, "ones"), self:param("bias", shape, "zeros"),
      { epsilon = self.epsilon, axis = self.axis }))
  end,
})

define("rms_norm", "mean square 1 over the last axes of each sample, then scaled", norm_rows(1e-5, {
  { name = "axis", type = "int", default = -1, help = "first normalised axis" },
}), {
  least = 1,
  forward = function(self, x)
    return (x:rms_normalization(self:param("weight", tail_shape(x, self.axis), "ones"), { epsilon = self.epsilon, axis = self.axis }))
  end,
})

define("group_norm", "mean 0 and variance 1 over each group of channels, then scaled", norm_rows(1e-5, {
  { name = "groups", type = "int", positional = true, required = true, min = 1, help = "groups of channels" },
}), {
  least = 2,
  forward = function(self, x)
    local n = { x.shape[2] }
    return x:group_normalization(self:param("weight", n, "ones"), self:param("bias", n, "zeros"),
      { epsilon = self.epsilon, num_groups = self.groups })
  end,
})

define("instance_norm", "mean 0 and variance 1 over each channel of each sample, then scaled", norm_rows(1e-5), {
  least = 2,
  forward = function(self, x)
    local n = { x.shape[2] }
    return x:instance_normalization(self:param("weight", n, "ones"), self:param("bias", n, "zeros"), { epsilon = self.epsilon })
  end,
})

-- --- Activations ---------------------------------------------------------------------------------

local function activation(name, help, rows)
  rows = rows or {}
  define(name, help, rows, {
    least = 0,
    forward = function(self, x)
      local attributes = {}
      for _, row in ipairs(rows) do
        if row.name ~= "name" then attributes[row.name] = self[row.name] end
      end
      return x[name](x, attributes)
    end,
  })
end

local function number(name, default, help)
  return { name = name, type = "number", default = default, positional = true, help = help }
end

activation("relu", "max (x, 0)")
activation("leaky_relu", "x, alpha x below 0", { number("alpha", 0.01, "slope below 0") })
activation("elu", "x, alpha (exp x - 1) below 0", { number("alpha", 1, "limit below 0, negated") })
activation("celu", "x, alpha (exp (x / alpha) - 1) below 0", { number("alpha", 1, "limit below 0, negated") })
activation("selu", "a scaled elu that keeps mean 0 and variance 1")
activation("gelu", "x times the normal distribution's Phi (x)", {
  { name = "approximate", type = "enum", choices = { "none", "tanh" }, default = "none", help = "how Phi is computed" },
})
activation("silu", "x sigmoid (x)")
activation("mish", "x tanh (softplus (x))")
activation("sigmoid", "1 / (1 + exp (-x))")
activation("log_sigmoid", "log (sigmoid (x))")
activation("hard_sigmoid", "max (0, min (1, alpha x + beta))", { number("alpha", 1 / 6, "slope"), number("beta", 0.5, "value at 0") })
activation("hard_swish", "x hard_sigmoid (x)")
activation("tanh", "hyperbolic tangent")
activation("softplus", "log (1 + exp x)")
activation("softsign", "x / (1 + |x|)")
activation("softmax", "shares of exp x along an axis", { { name = "axis", type = "int", default = -1, positional = true, help = "axis" } })
activation("log_softmax", "log of softmax", { { name = "axis", type = "int", default = -1, positional = true, help = "axis" } })

define("prelu", "x, and a learned slope below 0 for each channel", {
  number("start", 0.25, "slope at the beginning"),
}, {
  least = 1,
  forward = function(self, x)
    local shape = { x.shape[2] }
    for i = 3, x.rank do shape[i - 1] = 1 end -- broadcasts behind the channels
    return x:prelu(self:param("weight", shape, { "constant", self.start }))
  end,
})

-- --- Dropout -------------------------------------------------------------------------------------

define("dropout", "while training, each element becomes 0 with probability p, the others grow", {
  { name = "p", type = "number", positional = true, default = 0.5, min = 0, max = 1, open_max = true, help = "probability of a zero" },
}, {
  least = 0,
  forward = function(self, x) return dropped(x, self.p) end,
})

-- --- Shape, structure ----------------------------------------------------------------------------

define("identity", "what comes in", {}, { forward = function(_, x) return x end })

define("flatten", "one axis behind the batch", {
  { name = "axis", type = "int", positional = true, default = 1, help = "first axis that is merged" },
}, { least = 0, forward = function(self, x) return x:flatten(self.axis) end })

define("reshape", "other sizes behind the batch", {
  { name = "shape", type = "shape", positional = true, required = true, help = "sizes of one sample; one may be -1" },
}, { least = 0, forward = function(self, x) return x:reshape { 0, table.unpack(self.shape) } end })

define("lambda", "any function of values", {
  { name = "f", type = "function", positional = true, required = true, help = "function of the value that comes in" },
}, { forward = function(self, ...) return self.f(...) end })

define("sequential", "one layer after another", {
  { name = "layers", type = "components", of = "layer", positional = true, required = true, help = "the layers" },
}, {
  forward = function(self, x)
    for _, inner in ipairs(self.layers) do x = inner(x) end
    return x
  end,
})

define("residual", "x plus what a layer makes of it", {
  { name = "body", type = "component", of = "layer", positional = true, required = true, help = "the layer" },
  { name = "shortcut", type = "component", of = "layer", help = "layer that x goes through beside it; default none" },
}, {
  forward = function(self, x)
    return self.body(x) + (self.shortcut and self.shortcut(x) or x)
  end,
})

define("parallel", "what several layers make of x, side by side", {
  { name = "layers", type = "components", of = "layer", positional = true, required = true, help = "the layers" },
  { name = "axis", type = "int", default = 1, help = "axis along which the results are joined" },
}, {
  forward = function(self, x)
    local parts = {}
    for i, inner in ipairs(self.layers) do parts[i] = inner(x) end
    parts[#parts + 1] = { axis = self.axis }
    return tn.op.concat(table.unpack(parts))
  end,
})

-- --- Recurrent -----------------------------------------------------------------------------------

-- Zeros [N, size] where x is [N, …]: N is read when it runs, not when the graph is built. Without features
-- there is no column to take N from; the sum of none is one.
local function zero_state(x, size)
  local rows = x:flatten(1)
  local column = rows.shape[2] > 0 and rows:slice { starts = { 0 }, ends = { 1 }, axes = { 1 } }
    or rows:reduce_sum { axes = { 1 } }
  return column:zeros_like():expand { 1, size }
end

-- Parameters as PyTorch's cells have them. gates: how many times the hidden size.
local function cell_parameters(self, features, gates)
  local bound, rows = uniform(1 / math.sqrt(self.hidden)), gates * self.hidden
  local w_ih = self:param("weight_ih", { rows, features }, bound)
  local w_hh = self:param("weight_hh", { rows, self.hidden }, bound)
  if not self.bias then return w_ih, w_hh end
  return w_ih, w_hh, self:param("bias_ih", { rows }, bound), self:param("bias_hh", { rows }, bound)
end

local hidden_rows = {
  { name = "hidden", type = "int", positional = true, required = true, min = 1, help = "features of the state" },
  { name = "bias", type = "bool", default = true, help = "add biases" },
}
local function rows_of(...)
  local rows = {}
  for _, list in ipairs { hidden_rows, ... } do table.move(list, 1, #list, #rows + 1, rows) end
  return rows
end

-- Kind -> how many states, whose first is the output, and further options; NAME_cell is the operator
-- of one step, NAME that of a sequence.
local cells = {
  { "rnn", states = 1, gates = 1, options = { "nonlinearity" },
    rows = { { name = "nonlinearity", type = "enum", choices = { "tanh", "relu" }, default = "tanh", help = "of the new state" } } },
  { "lstm", states = 2, gates = 4, options = {}, rows = {} },
  { "gru", states = 1, gates = 3, options = {}, rows = {} },
}

-- What an operator of the cell is given behind x: states, parameters, attributes.
local function cell_arguments(self, cell, x, states, features, attributes)
  local arguments = table.pack(cell_parameters(self, features, cell.gates))
  for i = cell.states, 1, -1 do
    table.insert(arguments, 1, states[i])
  end
  for _, name in ipairs(cell.options) do attributes[name] = self[name] end
  if next(attributes) then table.insert(arguments, attributes) end
  return x, table.unpack(arguments)
end

local function zero_states(cell, self, x)
  local states = {}
  for i = 1, cell.states do states[i] = zero_state(x, self.hidden) end
  return states
end

-- The steps the other way round.
local function turned(x) return x:slice { starts = { -1 }, ends = { math.mininteger }, axes = { 0 }, steps = { -1 } } end

for _, cell in ipairs(cells) do
  local kind = cell[1]
  define(kind .. "_cell", ("one step of a %s: [N, features] and a state"):format(kind), rows_of(cell.rows), {
    least = 2,
    forward = function(self, x, ...)
      local states = select("#", ...) > 0 and { ... } or zero_states(cell, self, x)
      return tn.op[kind .. "_cell"](cell_arguments(self, cell, x, states, x.shape[2], {}))
    end,
  })
  define(kind, ("a %s over a sequence [N, steps, features]"):format(kind), rows_of(cell.rows, {
    { name = "layers", type = "int", default = 1, min = 1, help = "one above the other" },
    { name = "output", type = "enum", choices = { "last", "all" }, default = "last",
      help = "the last step's output, or that of all steps" },
    { name = "reverse", type = "bool", default = false, help = "from the last step to the first" },
  }), {
    least = 0,
    forward = function(self, x)
      want_rank(x, 3, "[batch, steps, features]")
      local steps = x.shape[2]
      if steps == 0 then core.fail("config", ("%s: %s is a sequence of no steps"):format(layer.path(), x.type)) end
      local states = zero_states(cell, self, x)
      local y = x:transpose { 1, 0, 2 } -- the operators' order: each step's samples together
      if self.reverse then y = turned(y) end
      for l = 1, self.layers do
        local _ <close> = layer.enter(("layer%d"):format(l))
        y = tn.op[kind](cell_arguments(self, cell, y, states, y.shape[3], { steps = steps }))
      end
      if self.output == "last" then return y:slice { starts = { steps - 1 }, ends = { steps }, axes = { 0 } }:squeeze { 0 } end
      if self.reverse then y = turned(y) end
      return y:transpose { 1, 0, 2 }
    end,
  })
end

-- --- Attention -----------------------------------------------------------------------------------

define("attention", "multi-head attention of a sequence [N, steps, features] to itself, or to a second one", {
  { name = "heads", type = "int", positional = true, required = true, min = 1, help = "heads; they share the features" },
  { name = "causal", type = "bool", default = false, help = "no step sees later ones" },
  { name = "bias", type = "bool", default = true, help = "add biases" },
  { name = "dropout", type = "number", default = 0, min = 0, max = 1, open_max = true, help = "dropout of the result" },
}, {
  least = 0,
  forward = function(self, x, memory)
    want_rank(x, 3, "[batch, steps, features]")
    local size = x.shape[3]
    if size == 0 or size % self.heads ~= 0 then
      core.fail("config", ("%s: %d features cannot be shared by %d heads"):format(layer.path(), size, self.heads))
    end
    if memory == nil then memory = x end
    want_rank(memory, 3, "[batch, steps, features] to look at")
    local function project(value, name, init)
      local weight = self:param(name .. "_weight", { size, value.shape[3] }, init)
      return value:linear(weight, self.bias and self:param(name .. "_bias", { size }, "zeros") or nil)
    end
    -- PyTorch draws the three matrices as one [3 size, size]: the same bound.
    local bound = uniform(math.sqrt(6 / (4 * size)))
    local function heads(value)
      return value:reshape { 0, 0, self.heads, size // self.heads }:transpose { 0, 2, 1, 3 }
    end
    local q, k, v = heads(project(x, "q", bound)), heads(project(memory, "k", bound)), heads(project(memory, "v", bound))
    local y = q:scaled_dot_product_attention(k, v, { causal = self.causal })
    y = project(y:transpose { 0, 2, 1, 3 }:reshape { 0, 0, size }, "out", "fan_in_uniform")
    return dropped(y, self.dropout)
  end,
})

return nn
