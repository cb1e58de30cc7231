-- tenon.tree: trees of values: a value, or a table of trees. What tn.scan, tn.cond, tn.while_loop and
-- tn.jit take and give.
local core = require "tenon.core"
local tree = {}

local deepest = 100 -- a table that holds itself has no end

local function sorted_keys(node)
  local keys = {}
  for key in pairs(node) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  return keys
end

-- "path.key" or "path[key]". Keys are names and numbers.
local function below(path, key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then return path .. "." .. key end
  return ("%s[%s]"):format(path, type(key) == "string" and ("%q"):format(key) or tostring(key))
end

local function check_keys(node, path, depth)
  for key in pairs(node) do
    if type(key) ~= "string" and type(key) ~= "number" then
      core.fail("config", ("%s has a %s as a key; names and numbers were expected"):format(path, type(key)))
    end
  end
  if depth > deepest then core.fail("config", ("%s: tables are nested too deep, or hold themselves"):format(path:sub(1, 20))) end
end

-- The values of a tree in the order of sorted keys, and where each is.
function tree.flatten(node, path, list, paths, depth)
  list, paths, depth = list or {}, paths or {}, depth or 0
  if type(node) == "table" then
    check_keys(node, path, depth)
    for _, key in ipairs(sorted_keys(node)) do tree.flatten(node[key], below(path, key), list, paths, depth + 1) end
  elseif node ~= nil then
    list[#list + 1], paths[#paths + 1] = node, path
  end
  return list, paths
end

-- A tree like this one with the values of a list, from `first` on.
function tree.rebuild(node, list, first)
  local at = (first or 1) - 1
  local function walk(part)
    if type(part) ~= "table" then
      if part == nil then return nil end
      at = at + 1
      return list[at]
    end
    local copy = {}
    for _, key in ipairs(sorted_keys(part)) do copy[key] = walk(part[key]) end
    return copy
  end
  return walk(node)
end

-- Text that two trees share if the same program serves both: their tables, keys and types of values.
function tree.signature(node)
  if type(node) ~= "table" then return node == nil and "nil" or node.type end
  local parts = {}
  for i, key in ipairs(sorted_keys(node)) do parts[i] = below("", key) .. "=" .. tree.signature(node[key]) end
  return "{" .. table.concat(parts, ";") .. "}"
end

-- The list with numbers as f32 and booleans as bool[]: values of graph, or tensors without one. The first
-- of something else, as a sentence, beside it.
function tree.operands(graph, list, paths)
  for i, x in ipairs(list) do
    if type(x) == "number" then
      list[i] = graph and graph:value(x) or core.full({}, x)
    elseif type(x) == "boolean" then
      list[i] = core.tensor(x, "bool")
    elseif not core.is_operand(x) then
      return list, ("%s is a %s; a value or a table of values was expected"):format(paths[i],
        core.is_spec(x) and "component" or type(x))
    end
  end
  return list
end

-- Refuses what is no function, or a table that can be called as one; who: tn.NAME; which: of its arguments.
function tree.want_function(who, which, f)
  local meta = type(f) == "table" and getmetatable(f)
  if type(f) ~= "function" and not (type(meta) == "table" and meta.__call) then
    core.fail("config", ("%s: %s is %s%s; a function was expected"):format(who, which, f == nil and "" or "a ", type(f)))
  end
end

return tree
