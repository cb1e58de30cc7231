-- tenon.layer: what every layer is made of: names, variables, and the record that `tenon show`
-- prints.
--
-- A layer is called with values: `layer(x)`. The call opens a scope with the layer's name, so that
-- nodes and variables inside are called `model.3.conv`, `model.3.weight`. The same code runs on
-- values of a graph and on tensors at once.
local core = require "tenon.core"

local layer = {
  training = false, -- whether batch norm and dropout behave as in training
  drawn = false, -- whether a layer has drawn numbers by the key since somebody made this false
  record = nil, -- a list while somebody wants to know the layers: see layer.recording
  counted = nil, -- then: names of parameters that are in it; one that several layers use is counted once
}

local scopes = {} -- open ones, innermost last: {name, graph, params}

-- Closes the innermost scope, also when an error passes. What a scope that is no layer of its own has
-- is that of the layer around it.
local close_scope = setmetatable({}, {
  __close = function()
    local scope = table.remove(scopes)
    local above = scopes[#scopes]
    if above and not scope.layer then
      above.params, above.inner = above.params + scope.params, above.inner + scope.inner
      above.inner_macs = above.inner_macs + scope.inner_macs
    end
    if scope.graph then scope.graph:pop() end
  end,
})

-- Opens a scope; keep what it gives in a local with <close>.
function layer.enter(name)
  local graph = core.current_graph()
  if graph then graph:push(name) end
  local above = scopes[#scopes]
  scopes[#scopes + 1] = {
    path = above and above.path .. "." .. name or name,
    graph = graph, params = 0, inner = 0, inner_macs = 0, first = graph and graph:n_nodes() or 0,
  }
  return close_scope
end

-- Calls f(…) in a scope of that name.
function layer.scoped(name, f, ...)
  local _ <close> = layer.enter(name)
  return f(...)
end

-- Dotted name of the scope that is open.
function layer.path()
  local scope = scopes[#scopes]
  return scope and scope.path or ""
end

local function product(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

-- A parameter of the present layer: made on the first call, found again on the next. init is a name
-- or {name, a, b, fan_in =, zero_row =}: the latter is a row, from 1, that begins as zeros.
function layer.param(self, name, shape, init)
  local scope, path = scopes[#scopes], layer.path() .. "." .. name
  if scope and layer.counted and not layer.counted[path] then
    layer.counted[path] = true
    scope.params = scope.params + product(shape)
  end
  return core.variable { name = path, shape = shape, init = init, frozen = self and self.frozen }
end

-- A statistic: kept and saved, but not trained.
function layer.stat(name, shape, init)
  return core.variable { name = layer.path() .. "." .. name, shape = shape, init = init, role = "stat" }
end

-- What calling a layer does.
function layer.call(self, ...)
  local index = #scopes + 1
  local _ <close> = layer.enter(rawget(self, "name") or rawget(self, "_name") or "layer")
  local scope = scopes[index]
  scope.layer = true
  local results = table.pack(self:forward(...))
  local macs = 0
  if layer.record and scope.graph then
    macs = scope.graph:macs(scope.first, scope.graph:n_nodes())
    table.insert(layer.record, {
      path = scope.path, kind = getmetatable(self).name, shape = results[1] and results[1].type,
      params = scope.params, inner = scope.inner, macs = macs - scope.inner_macs, depth = index,
    })
  end
  local above = scopes[index - 1]
  if above then above.inner, above.inner_macs = above.inner + 1, above.inner_macs + macs end
  return table.unpack(results, 1, results.n)
end

-- Calls f as while training or not.
function layer.with_training(on, f, ...)
  local before = layer.training
  local _ <close> = setmetatable({}, { __close = function() layer.training = before end })
  layer.training = on
  return f(...)
end

-- The layers that f calls, in the order in which they end.
function layer.recording(f, ...)
  local _ <close> = setmetatable({}, { __close = function() layer.record, layer.counted = nil, nil end })
  local record = {}
  layer.record, layer.counted = record, {}
  f(...)
  return record
end

-- 12345678 -> "12,345,678"
local function thousands(n)
  local text = ("%.0f"):format(n)
  local grouped = text:reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (grouped:gsub("^,", ""))
end

-- The record as a table of text: layers that call no others, those that have parameters or products of
-- their own beside their inner ones', and totals.
function layer.summary(record)
  local rows = { { "layer", "kind", "output", "parameters", "multiply-adds" } }
  local params, macs = 0, 0
  for _, row in ipairs(record) do
    params, macs = params + row.params, macs + row.macs
    if row.inner == 0 or row.params > 0 or row.macs > 0 then
      rows[#rows + 1] = { row.path, row.kind, row.shape or "", thousands(row.params), thousands(row.macs) }
    end
  end
  rows[#rows + 1] = { "total", "", "", thousands(params), thousands(macs) }
  local width = { 0, 0, 0, 0, 0 }
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do width[i] = math.max(width[i], #cell) end
  end
  local lines = {}
  for n, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      local pad = (" "):rep(width[i] - #cell)
      row[i] = i >= 4 and pad .. cell or cell .. pad -- numbers to the right
    end
    lines[n] = (table.concat(row, "  "):gsub("%s+$", ""))
  end
  return table.concat(lines, "\n") .. "\n"
end

return layer
