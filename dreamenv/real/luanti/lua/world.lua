-- The world: a walled meadow of 32 by 32 nodes with hills, hedges, trees and pillars, and two
-- marked blocks. All of it is drawn from the seed.

local SIZE = 32
local TOP = 15
-- Block of a chamber where the walker waits. It is no neighbour of a block that is ever sent: a
-- block is queued for meshing with its neighbours, and this one must come last.
local CHAMBER = {x = 0, y = -6, z = 0}
local FAR = 14 -- fewest nodes between the marked blocks

local world = {}

local function node(name, ...)
  local tiles = {...}
  for i, tile in ipairs(tiles) do tiles[i] = "dreamenv_" .. tile .. ".png" end
  -- Nodes that let light through hide no blocks, so which are drawn never depends on the clock.
  minetest.register_node("dreamenv:" .. name, {tiles = tiles, paramtype = "light"})
end

local SOILS = {"grass", "sand", "snow"}
local HEDGES = {"hedge", "brick", "planks", "cobble"}
local PILLARS = {"red", "white", "purple", "orange", "black"}
local MARKS = {"gold", "cyan"}
local CURTAINS = {"curtain_red", "curtain_blue"}
for _, names in ipairs({SOILS, HEDGES, PILLARS, MARKS, CURTAINS, {"rock", "leaves"}}) do
  for _, name in ipairs(names) do node(name, name) end
end
node("trunk", "rings", "rings", "trunk")

local function grid(value)
  local made = {}
  for x = 0, SIZE - 1 do
    made[x] = {}
    for z = 0, SIZE - 1 do made[x][z] = value end
  end
  return made
end

-- Smooth values from 0 to 1 by column.
local function hills(random)
  local step, corners, made = 8, {}, grid(0)
  for i = 0, SIZE / step do
    corners[i] = {}
    for k = 0, SIZE / step do corners[i][k] = random:next(0, 1000) / 1000 end
  end
  for x = 0, SIZE - 1 do
    for z = 0, SIZE - 1 do
      local i, k = math.floor(x / step), math.floor(z / step)
      local u, v = x / step - i, z / step - k
      made[x][z] = (corners[i][k] * (1 - u) + corners[i + 1][k] * u) * (1 - v)
        + (corners[i][k + 1] * (1 - u) + corners[i + 1][k + 1] * u) * v
    end
  end
  return made
end

-- Whether nothing stands within `margin` of a column.
local function free(drawn, x, z, margin)
  for i = x - margin, x + margin do
    for k = z - margin, z + margin do
      if i < 1 or k < 1 or i > SIZE - 2 or k > SIZE - 2 or drawn.blocked[i][k] then
        return false
      end
    end
  end
  return true
end

local function stand(drawn, x, z, name, high)
  drawn.blocked[x][z] = true
  table.insert(drawn.columns, {x = x, z = z, name = name, high = high})
end

-- Whether one can walk from one column to the other, side by side.
local function reaches(drawn, from, to)
  local seen, queue, first = grid(false), {from}, 1
  seen[from.x][from.z] = true
  while queue[first] do
    local at = queue[first]
    first = first + 1
    for _, by in ipairs({{1, 0}, {-1, 0}, {0, 1}, {0, -1}}) do
      local x, z = at.x + by[1], at.z + by[2]
      if x == to.x and z == to.z then return true end
      if x >= 1 and z >= 1 and x < SIZE - 1 and z < SIZE - 1 and not seen[x][z]
        and not drawn.blocked[x][z] then
        seen[x][z] = true
        table.insert(queue, {x = x, z = z})
      end
    end
  end
  return false
end

local function plant(drawn, random)
  for i = 0, SIZE - 1 do
    for _, at in ipairs({{i, 0}, {i, SIZE - 1}, {0, i}, {SIZE - 1, i}}) do
      if not drawn.blocked[at[1]][at[2]] then stand(drawn, at[1], at[2], "rock", 4) end
    end
  end
  for _ = 1, 9 do
    local x, z, long = random:next(2, SIZE - 3), random:next(2, SIZE - 3), random:next(4, 9)
    local along, name = random:next(0, 1), HEDGES[random:next(1, #HEDGES)]
    for i = 0, long - 1 do
      local at_x, at_z = x + i * along, z + i * (1 - along)
      if free(drawn, at_x, at_z, 0) then stand(drawn, at_x, at_z, name, 3) end
    end
  end
  for i = 1, 6 + #PILLARS do
    local x, z = random:next(2, SIZE - 3), random:next(2, SIZE - 3)
    if free(drawn, x, z, 1) then
      stand(drawn, x, z, PILLARS[i - 6] or "trunk", PILLARS[i - 6] and 4 or 5)
    end
  end
end

-- Set the marked blocks and the start before the first; false if there is no place for them.
local function mark(drawn, random)
  for i = 1, 2 do
    local x, z = random:next(5, SIZE - 6), random:next(5, SIZE - 6)
    if not free(drawn, x, z, 2) then return false end
    drawn.marks[i] = {x = x, z = z}
    stand(drawn, x, z, MARKS[i], 3)
  end
  local first, second = drawn.marks[1], drawn.marks[2]
  if (first.x - second.x) ^ 2 + (first.z - second.z) ^ 2 < FAR ^ 2 then return false end
  -- Back from the block against where one looks, by a whole number of turns: 0 is along z.
  local heading = random:next(0, 17)
  local angle = math.rad(heading * 20)
  local x, z = first.x + 3 * math.sin(angle), first.z - 3 * math.cos(angle)
  local column = {x = math.floor(x + 0.5), z = math.floor(z + 0.5)}
  drawn.start = {x = x, z = z, heading = heading}
  return free(drawn, column.x, column.z, 1) and reaches(drawn, column, second)
    and reaches(drawn, column, first)
end

-- A world as plain tables: height and blocked by column, columns that stand on it, marks, start.
function world.draw(seed)
  local random = PcgRandom(seed)
  while true do
    local drawn = {height = grid(0), soil = grid(1), blocked = grid(false), columns = {}, marks = {}}
    local height, soil = hills(random), hills(random)
    for x = 0, SIZE - 1 do
      for z = 0, SIZE - 1 do
        drawn.height[x][z] = 1 + math.floor(3 * math.min(height[x][z], 0.999))
        drawn.soil[x][z] = soil[x][z] < 0.38 and 2 or soil[x][z] < 0.62 and 1 or 3
      end
    end
    plant(drawn, random)
    if mark(drawn, random) then return drawn end
  end
end

-- "xzxz PLAN": columns of the marked blocks, then row by row along x whether one can walk there.
function world.describe(drawn)
  local plan = {}
  for z = 0, SIZE - 1 do
    for x = 0, SIZE - 1 do table.insert(plan, drawn.blocked[x][z] and "0" or "1") end
  end
  local first, second = drawn.marks[1], drawn.marks[2]
  return string.format("%d %d %d %d ", first.x, first.z, second.x, second.z) .. table.concat(plan)
end

-- Write nodes into the map, all in full light: `name_at(x, y, z)` is nil for air.
local function write(low, high, name_at)
  local voxels = minetest.get_voxel_manip()
  local area = VoxelArea:new({})
  area.MinEdge, area.MaxEdge = voxels:read_from_map(low, high)
  area = VoxelArea:new({MinEdge = area.MinEdge, MaxEdge = area.MaxEdge})
  local nodes, light = voxels:get_data(), voxels:get_light_data()
  for i in area:iterp(low, high) do
    local at = area:position(i)
    local name = name_at(at.x, at.y, at.z)
    nodes[i] = name and minetest.get_content_id("dreamenv:" .. name) or minetest.CONTENT_AIR
    light[i] = 0xff
  end
  voxels:set_data(nodes)
  voxels:set_light_data(light)
  voxels:write_to_map(false)
end

function world.build(drawn)
  local things = {}
  local function put(x, y, z, name) things[(x * SIZE + z) * SIZE + y] = name end
  for _, column in ipairs(drawn.columns) do
    local ground = drawn.height[column.x][column.z]
    if column.name == "trunk" then
      for x = column.x - 1, column.x + 1 do
        for z = column.z - 1, column.z + 1 do
          for y = ground + 4, ground + 6 do put(x, y, z, "leaves") end
        end
      end
    end
  end
  for _, column in ipairs(drawn.columns) do
    local ground = drawn.height[column.x][column.z]
    for y = ground + 1, ground + column.high do put(column.x, y, column.z, column.name) end
  end
  write({x = 0, y = 0, z = 0}, {x = SIZE - 1, y = TOP, z = SIZE - 1}, function(x, y, z)
    if y > drawn.height[x][z] then return things[(x * SIZE + z) * SIZE + y] end
    return y < drawn.height[x][z] and "rock" or SOILS[drawn.soil[x][z]]
  end)
end

local painted = 1 -- which colour the curtain has, 1 or 2
function world.paint_curtain()
  painted = 3 - painted
  local low = vector.multiply(CHAMBER, 16)
  write(low, vector.add(low, 15), function(_, _, z)
    return z == low.z + 10 and CURTAINS[painted] or nil
  end)
end

function world.curtain() return painted - 1 end
function world.before_curtain() return vector.add(vector.multiply(CHAMBER, 16), 8), 0 end

function world.send(player)
  for x = 0, SIZE / 16 - 1 do
    for z = 0, SIZE / 16 - 1 do player:send_mapblock({x = x, y = 0, z = z}) end
  end
end

function world.send_curtain(player) player:send_mapblock(CHAMBER) end

-- The world's blocks and those around, which stay empty: how a block is meshed depends on whether
-- its neighbours are there.
local LOW, HIGH = vector.new(-1, -1, -1), vector.new(SIZE / 16, 1, SIZE / 16)

-- Make all blocks, then call `done`.
function world.emerge(done)
  local waiting = 2
  for _, blocks in ipairs({{LOW, HIGH}, {CHAMBER, CHAMBER}}) do
    local low, high = vector.multiply(blocks[1], 16), vector.add(vector.multiply(blocks[2], 16), 15)
    minetest.emerge_area(low, high, function(_, _, left)
      if left == 0 then waiting = waiting - 1 end
      if left == 0 and waiting == 0 then done() end
    end)
  end
end

function world.send_surroundings(player)
  for x = LOW.x, HIGH.x do
    for y = LOW.y, HIGH.y do
      for z = LOW.z, HIGH.z do player:send_mapblock({x = x, y = y, z = z}) end
    end
  end
end

return world
