-- Lua's numbers as elements of tensors and back, for every dtype at its ends: what a dtype holds comes back as it
-- went, what it does not hold is refused with value, dtype and range.
local tn = require "tenon"
local core = require "tenon.core"
local check = require "check"

local huge, nan = math.huge, 0 / 0
local i64_least, i64_most = math.mininteger, math.maxinteger

-- {dtype, what it holds, what it does not, its range}
local whole = {
  { "i8", { -128, 127, 0 }, { -129, 128, 300 }, "-128 to 127" },
  { "i16", { -32768, 32767 }, { -32769, 32768 }, "-32768 to 32767" },
  { "i32", { -2147483648, 2147483647 }, { -2147483649, 2147483648, 1e10 }, "-2147483648 to 2147483647" },
  { "i64", { i64_least, i64_most, (1 << 53) + 1, -(1 << 53) - 1 }, { 0x1p63, -0x1.0000000000001p63 },
    "-9223372036854775808 to 9223372036854775807" },
  { "u8", { 0, 255 }, { -1, 256 }, "0 to 255" },
  { "u16", { 0, 65535 }, { -1, 65536 }, "0 to 65535" },
  { "u32", { 0, 4294967295 }, { -1, 4294967296 }, "0 to 4294967295" },
  { "u64", { 0, i64_most, (1 << 53) + 1, "9223372036854775808", "18446744073709551615" },
    { -1, i64_least, 0x1p64, "18446744073709551616", "1.5", "-1", "" }, "0 to 18446744073709551615" },
}

-- Ways for a number to become a tensor of dtype; each gives it as a tensor of one element.
local count = 0
local function variable(dtype)
  count = count + 1
  return tn.variable { name = "v" .. count, shape = { 1 }, dtype = dtype }
end
local ways = {
  tensor = function(x, dtype) return tn.tensor({ { x } }, dtype) end,
  full = function(x, dtype) return tn.full({ 1 }, x, dtype) end,
  write = function(x, dtype)
    local v = variable(dtype)
    v:write(x)
    return v:read()
  end,
  jit = function(x, dtype)
    return tn.jit(function(zero) return core.current_graph():scalar(dtype, x) + zero end)(tn.zeros({ 1 }, dtype))
  end,
}
-- What Lua adds to strings is its own affair.
local function add(x, dtype) return tn.zeros({ 1 }, dtype) + x end
local function add_traced(x, dtype) return tn.jit(function(zero) return zero + x end)(tn.zeros({ 1 }, dtype)) end

return tn.script {
  name = "numbers",
  run = function()
    for _, row in ipairs(whole) do
      local dtype, holds, lacks, range = table.unpack(row)
      for name, way in pairs { tensor = ways.tensor, full = ways.full, write = ways.write, jit = ways.jit, add = add, traced = add_traced } do
        local what = ("%s of %s"):format(name, dtype)
        local strings = name ~= "add" and name ~= "traced"
        for _, x in ipairs(holds) do
          if strings or type(x) == "number" then
            local got = way(x, dtype):item()
            check.equal({ got, math.type(got) }, { x, math.type(x) }, what)
            check.equal(way(x, dtype):reshape { 1 }:list(), { x }, what)
            check.equal(way(x, dtype):reshape { 1 }:get(1), x, what)
          end
        end
        for _, x in ipairs(lacks) do
          if strings or type(x) == "number" then
            check.fails(function() way(x, dtype) end, "numbers.lua:", tostring(x) .. " cannot be a", dtype, range)
          end
        end
        for _, x in ipairs { 0.5, -1.5, huge, -huge, nan } do
          check.fails(function() way(x, dtype) end, x ~= x and "nan" or tostring(x), dtype, range)
        end
        -- Floats that are whole numbers, and booleans.
        check.equal(way(3.0, dtype):item(), 3, what)
        if name ~= "add" and name ~= "traced" then check.equal(way(true, dtype):item(), 1, what) end
      end
      local first = tn.tensor(holds, dtype)
      check.equal(tn.tensor(first:list(), dtype):list(), holds, dtype .. ": there and back")
    end
    check.equal(tn.tensor({ 0x1p63 }, "u64"):item(), "9223372036854775808")
    check.fails(function() tn.tensor({ { 1, 2 }, { 3, 400 } }, "u8") end, "element 4: 400 cannot be a u8")
    check.fails(function() return tn.tensor({ 1 }, "u8") + 256 end, "add: 256 cannot be a u8", "0 to 255", "cast the other operand")
    check.fails(function() return tn.full({ 2 }, {}, "u8") end, "a number was expected, not a table")
    check.fails(function() return tn.full { 2 } end, "a number was expected, not nil")
    check.fails(function() return tn.tensor { "a" } end, "element 1: 'a' is a string")

    -- Floats take every number: as near as they come, beyond their range infinity.
    for _, dtype in ipairs { "f64", "f32", "f16", "bf16" } do
      for _, x in ipairs { 0, 0.5, -2, huge, -huge } do
        check.equal(tn.tensor({ x }, dtype):item(), x + 0.0, dtype)
        check.equal(tn.full({ 1 }, x, dtype):item(), x + 0.0, dtype)
      end
      local n = tn.tensor({ nan }, dtype):item()
      check.equal(n == n, false, dtype)
      check.equal(1 / tn.tensor({ -0.0 }, dtype):item(), -huge, dtype .. ": the sign of 0")
    end
    check.equal(tn.tensor({ 1e39, 70000 }, "f32"):list(), { huge, 70000.0 })
    check.equal(tn.tensor({ 70000 }, "f16"):list(), { huge })
    -- A whole number is rounded once: by way of a double this one would lose what decides.
    check.equal(tn.tensor({ (1 << 54) + (1 << 30) + 1 }, "f32"):item(), (1 << 54) + (1 << 31) + 0.0)
    check.equal(tn.tensor({ true, false, 2, 0, nan }, "bool"):list(), { true, false, true, false, true })

    -- Attributes that are elements, and what variables begin with.
    local i8, big = tn.tensor({ 1, 2 }, "i8"), (1 << 53) + 1
    check.equal(i8:full_like(-128):list(), { -128, -128 })
    check.equal(i8:pad { pads = { 1, 0 }, value = 127 }:list(), { 127, 1, 2 })
    check.equal(i8:clip(2):list(), { 2, 2 })
    check.equal(tn.op.arange(127, -129, -255, "i8"):list(), { 127, -128 })
    check.equal(tn.op.arange(0, 256, 255, "u8"):list(), { 0, 255 })
    check.equal(tn.op.arange(0, 1, 0.25, "f32"):list(), { 0, 0.25, 0.5, 0.75 })
    check.equal(tn.op.arange(5, 5.5):list(), { 5 })
    for _, row in ipairs {
      { function() i8:full_like(300) end, "full_like: value: 300 cannot be an i8", "-128 to 127" },
      { function() tn.zeros({ 1 }):full_like(-1, "u8") end, "full_like: value: -1 cannot be a u8" },
      { function() i8:pad { pads = { 1, 0 }, value = 1.5 } end, "pad: value: 1.5 cannot be an i8" },
      { function() i8:clip(-1000, 50) end, "clip: min: -1000 cannot be an i8" },
      { function() tn.op.one_hot(tn.tensor(0, "i64"), { depth = 2, on = 256, dtype = "u8" }) end, "one_hot: on: 256 cannot be a u8" },
      { function() tn.tensor({ 1 }, "i64"):full_like(big) end, "full_like: value is 9007199254740993", "2^53" },
      { function() tn.jit(function(x) return x:full_like(300) end)(i8) end, "full_like: value: 300 cannot be an i8" },
      { function() tn.op.arange(0, 300, 100, "i8") end, "arange", "0 to 300 by 100", "i8" },
      { function() tn.op.arange(-1, 2, 1, "u8") end, "arange", "u8" },
      { function() tn.op.arange(0, 2, 0.5) end, "arange", "0.5", "i64" },
      { function() tn.op.arange(big, big + 3) end, "arange", "i64", "tells apart" },
      { function() tn.op.arange(big - 1, big) end, "arange: stop is 9007199254740993", "2^53" },
      { function() tn.op.arange(0, big, 1 << 52, "f64") end, "arange: stop is 9007199254740993", "2^53" },
      { function() tn.op.arange(1e300, 1e300) end, "arange", "i64", "tells apart" },
      { function() tn.jit(function(x) return tn.op.arange(big - 1, big) + x end)(tn.zeros({ 1 }, "i64")) end, "arange: stop" },
      { function() i8:full_like(0 / 0) end, "full_like: value: nan cannot be an i8" },
      { function() i8:pad { pads = { 1, 0 }, value = 0 / 0 } end, "pad: value: nan cannot be an i8" },
      { function() tn.variable { name = "c1", shape = { 1 }, dtype = "i8", init = { "constant", 300 } } end, "variable 'c1': 300 cannot be an i8" },
      { function() tn.variable { name = "c2", shape = { 1 }, dtype = "i64", init = { "constant", big } } end, "variable 'c2'", "2^53" },
      { function() tn.variable { name = "c3", shape = { 1 } }:write("a") end, "'a' is a string" },
    } do
      check.fails(table.unpack(row))
    end
    check.equal((i8 + 1):list(), { 2, 3 }, "after what failed")
    check.equal(tn.op.arange(0, 1 << 53, 1 << 52):list(), { 0, 1 << 52 })

    -- What is no number is an element all the same, traced too; an error about an attribute has one place.
    local f32 = tn.tensor { 1 }
    for _, x in ipairs { 0 / 0, 1 / 0, -1 / 0 } do
      for _, y in ipairs {
        f32:full_like(x), f32:pad { pads = { 0, 1 }, value = x }:slice { starts = { 1 }, ends = { 2 } },
        tn.jit(function(a) return a:full_like(x) + a end)(f32), tn.op.one_hot(tn.tensor({ 0 }, "i64"), { depth = 1, on = x }),
      } do
        local got = y:reshape {}:item()
        check.equal({ got == got and got, got ~= got }, { x == x and x, x ~= x }, "what is no number")
      end
    end
    local _, message = pcall(function() return f32:full_like "x" end)
    check.equal(select(2, message:gsub("numbers%.lua:%d+", "")), 1, message)

    -- Views are read where their elements are.
    local x = tn.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, "i64"):transpose { 1, 0 }
    check.equal({ x:list(), x:get(3, 1), x:slice { starts = { 1 }, ends = { 2 } }:list() }, { { { 1, 4 }, { 2, 5 }, { 3, 6 } }, 3, { { 2, 5 } } })
    check.equal(tn.zeros({ 2, 0 }, "i8"):list(), { {}, {} })
  end,
}
