-- A job that makes one tensor: the case `tenon bench startup` measures the whole process that runs
-- it.
local tn = require "tenon"
return tn.script {
  name = "one_tensor",
  run = function()
    local x = tn.tensor { { 1, 2 }, { 3, 4 } }
    return { elements = x:get(2, 2) }
  end,
}
