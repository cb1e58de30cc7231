-- Residual networks: He et al., "Deep residual learning for image recognition", 2016. Variables are
-- called and begin as torchvision's, so weights of its models may be read.
--
--     local resnet = require "models.resnet"
--     resnet.resnet50 { 1000 }                            -- for images of 224 x 224
--     resnet.resnet18 { 10, small = true, width = 16 }    -- for images of 32 x 32
local tn = require "tenon"
local nn = tn.nn
local quantize = require "tenon.quantize"

-- No bias, as batch normalisation follows; normal with the variance 2 / (fan out), which keeps the
-- size of gradients (He et al., "Delving deep into rectifiers", 2015).
local function conv(name, channels, kernel, stride)
  return nn.conv {
    channels, kernel, stride = stride or 1, padding = kernel // 2, bias = false, name = name,
    init = { "normal", 0, math.sqrt(2 / (channels * kernel * kernel)) },
  }
end

-- A block: two or three convolutions, each with its normalisation, and what stands beside them.
local rows = {}
for i = 1, 3 do
  table.insert(rows, { name = "conv" .. i, type = "component", of = "layer", required = i < 3, help = "convolution " .. i })
  table.insert(rows, { name = "bn" .. i, type = "component", of = "layer", required = i < 3, help = "what follows it" })
end
table.insert(rows, { name = "downsample", type = "component", of = "layer", help = "what x goes through beside them; default nothing" })

local Block = tn.component {
  interface = "tenon.layer/1", name = "resnet_block", help = "x plus two or three convolutions of it", options = rows,
  forward = function(self, x)
    x = quantize.image(x) -- read by a convolution and by the sum
    local y = self.bn2(self.conv2(self.bn1(self.conv1(x)):relu()))
    if self.conv3 then y = self.bn3(self.conv3(y:relu())) end
    return (y + (self.downsample and self.downsample(x) or x)):relu()
  end,
}

-- A block gives `factor` times as many channels as its convolutions have between them.
local kinds = {
  basic = { factor = 1, make = function(channels, stride)
    return {
      conv1 = conv(nil, channels, 3, stride), bn1 = nn.batch_norm {},
      conv2 = conv(nil, channels, 3), bn2 = nn.batch_norm {},
    }
  end },
  bottleneck = { factor = 4, make = function(channels, stride)
    return {
      conv1 = conv(nil, channels, 1), bn1 = nn.batch_norm {},
      conv2 = conv(nil, channels, 3, stride), bn2 = nn.batch_norm {},
      conv3 = conv(nil, 4 * channels, 1), bn3 = nn.batch_norm {},
    }
  end },
}

-- n blocks, the first of which takes `inputs` channels and may halve the sizes.
local function stage(name, kind, n, inputs, channels, stride)
  local blocks = { name = name }
  for i = 1, n do
    local first = i == 1
    local parts = kind.make(channels, first and stride or 1)
    parts.name = tostring(i - 1)
    if first and (stride > 1 or inputs ~= kind.factor * channels) then
      parts.downsample = nn.sequential {
        conv("0", kind.factor * channels, 1, stride), nn.batch_norm { name = "1" },
      }
    end
    blocks[i] = Block(parts)
  end
  return nn.sequential(blocks)
end

local resnet = {}

-- Takes images [N, channels, H, W]. kind of blocks, "basic" or "bottleneck"; counts: blocks of each stage.
resnet.build = tn.checked("resnet", {
  { name = "classes", type = "int", positional = true, default = 1000, min = 1, help = "classes" },
  { name = "width", type = "int", default = 64, min = 1, help = "channels of the first stage" },
  { name = "small", type = "bool", default = false,
    help = "for images of about 32 x 32: a first convolution of 3 x 3 that keeps their size, and no pooling behind it" },
}, function(kind, counts, options)
  kind = kinds[kind] or error(("resnet: there are no blocks '%s'; basic and bottleneck are there"):format(kind), 2)
  local width, small = options.width, options.small
  local layers = { conv("conv1", width, small and 3 or 7, small and 1 or 2), nn.batch_norm { name = "bn1" }, nn.relu {} }
  if not small then table.insert(layers, nn.max_pool { 3, stride = 2, padding = 1 }) end
  local inputs = width
  for i, n in ipairs(counts) do
    local channels = width << (i - 1)
    table.insert(layers, stage("layer" .. i, kind, n, inputs, channels, i > 1 and 2 or 1))
    inputs = kind.factor * channels
  end
  table.insert(layers, nn.global_average_pool {})
  table.insert(layers, nn.linear { options.classes, name = "fc" })
  return nn.sequential(layers)
end, 3)

function resnet.resnet18(options) return resnet.build("basic", { 2, 2, 2, 2 }, options) end
function resnet.resnet34(options) return resnet.build("basic", { 3, 4, 6, 3 }, options) end
function resnet.resnet50(options) return resnet.build("bottleneck", { 3, 4, 6, 3 }, options) end

return resnet
