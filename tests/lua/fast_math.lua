-- `fast_math` reaches what is traced: a share too small to be a number has a logarithm with it. What runs one
-- by one has nothing to leave out.
local tn = require "tenon"
local check = require "check"

return tn.script {
  name = "fast_math",
  devices = { "cpu", "ref" },
  fast_math = true,
  run = function()
    local function f(x) return x:softmax():log() end
    local x = tn.tensor { { 0.0, 200.0 } }
    check.equal(tn.jit(f)(x):sum():item(), -200, "log (softmax x), traced")
    local function grad(x) return tn.grad(x:exp():log():mul(tn.tensor { 2.0, 3.0 }):sum(), { x })[1] end
    check.equal(tn.jit(grad)(tn.tensor { 1000.0, -1000.0 }):list(), { 2, 3 }, "gradient of log (exp x), traced")
    check.equal(f(x):sum():item(), -math.huge, "one by one there is nothing to leave out")
  end,
}
