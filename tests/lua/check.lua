-- check: what the tests in Lua compare with. A failed check raises, so the test's own line is in
-- the message.
local check = {}

local function text(x)
  if type(x) ~= "table" then return tostring(x) end
  local parts = {}
  for i, item in ipairs(x) do parts[i] = text(item) end
  if #parts == 0 then
    for key, item in pairs(x) do parts[#parts + 1] = key .. " = " .. text(item) end
    table.sort(parts)
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, item in pairs(a) do
    if not same(item, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

function check.equal(got, want, what)
  if not same(got, want) then error(("%s: got %s, expected %s"):format(what or "value", text(got), text(want)), 2) end
end

-- Numbers, or nested lists of them.
function check.near(got, want, tolerance, what)
  tolerance = tolerance or 1e-6
  if type(want) == "table" then
    if type(got) ~= "table" or #got ~= #want then
      error(("%s: got %s, expected %s"):format(what or "value", text(got), text(want)), 2)
    end
    for i = 1, #want do check.near(got[i], want[i], tolerance, ("%s[%d]"):format(what or "value", i)) end
  elseif not (math.abs(got - want) <= tolerance * math.max(1, math.abs(want))) then
    error(("%s: got %.17g, expected %.17g"):format(what or "value", got, want), 2)
  end
end

-- f raises a message with all the words.
function check.fails(f, ...)
  local ok, message = pcall(f)
  if ok then error("an error was expected", 2) end
  for _, word in ipairs { ... } do
    if not tostring(message):find(word, 1, true) then
      error(("the error says %q, not %q"):format(tostring(message), word), 2)
    end
  end
end

return check
