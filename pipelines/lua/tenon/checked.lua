-- tenon.checked: a function whose table of options is checked by rows, as a component's are: types, ranges,
-- choices, defaults, and names that nobody knows. What models are.
local core = require "tenon.core"
local tree = require "tenon.tree"

-- f with its argument number `at` (1) as a table of options: all that rows say, defaults among them. What is
-- wrong is an error with name, and file and line of the call.
local made = 0 -- one with a name that another has, too, is another all the same

return function(name, rows, f, at)
  at = at or 1
  tree.want_function("checked", "argument 3", f)
  made = made + 1
  local constructor = require("tenon").component { interface = ("tenon.options.%d/1"):format(made), name = name, help = "options of a function", options = rows }
  return function(...)
    local args = table.pack(...)
    args[at] = core.checked(constructor(args[at] or {}))
    return f(table.unpack(args, 1, math.max(args.n, at)))
  end
end
