-- The walker: where it stands and looks, what an action does, and what is paid for it.

local STRIDE, PARTS = 0.5, 5 -- nodes that one step forward walks, in so many parts
local TURN = 20 -- degrees
local RADIUS = 0.3
local EYES = 1.625 -- above the feet
local TOUCH = 1.0 -- from a marked block's middle: it is 0.5 in radius, the walker 0.3

local walk = {}
local place, x, z, heading, target

-- Begin where the world says, looking at the first marked block. The second one pays first.
function walk.begin(world)
  place = world
  x, z, heading = world.start.x, world.start.z, world.start.heading
  target = 2
end

function walk.position() return {x = x, z = z} end
function walk.heading() return heading end
function walk.target() return target - 1 end

local function column(at_x, at_z)
  return math.floor(at_x + 0.5), math.floor(at_z + 0.5)
end

-- Feet at a place, as high as the highest ground under them; nil if something stands there.
local function ground(at_x, at_z)
  local highest = 0
  for _, dx in ipairs({-RADIUS, RADIUS}) do
    for _, dz in ipairs({-RADIUS, RADIUS}) do
      local i, k = column(at_x + dx, at_z + dz)
      if place.blocked[i][k] then return nil end
      highest = math.max(highest, place.height[i][k])
    end
  end
  return highest + 0.5
end

-- Where the client's camera is to be, feet first, and the yaw.
function walk.eyes()
  return {x = x, y = ground(x, z), z = z}, math.rad(heading * TURN)
end

-- 0 forward, 1 left, 2 right; a wall is slid along. Gives the reward.
function walk.act(action)
  if action == 1 then
    heading = (heading + 1) % (360 / TURN)
  elseif action == 2 then
    heading = (heading - 1) % (360 / TURN)
  else
    local angle = math.rad(heading * TURN)
    local dx, dz = -STRIDE / PARTS * math.sin(angle), STRIDE / PARTS * math.cos(angle)
    for _ = 1, PARTS do
      if ground(x + dx, z + dz) then
        x, z = x + dx, z + dz
      elseif ground(x + dx, z) then
        x = x + dx
      elseif ground(x, z + dz) then
        z = z + dz
      end
    end
  end
  local mark = place.marks[target]
  if math.max(math.abs(x - mark.x), math.abs(z - mark.z)) > TOUCH then return 0 end
  target = 3 - target
  return 1
end

return walk
