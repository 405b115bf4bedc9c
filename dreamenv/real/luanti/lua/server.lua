-- The server's side of the lock-step: it waits for a line, does what it says, and answers.
--
-- While it waits the whole server waits, so no time passes between two actions. Lines from
-- Python: "reset SEED" draws a world, "begin" puts the walker into it, "act A" moves it. Each is
-- answered by one line. The picture that belongs to an answer carries the answer's number, which
-- the client's side (client.lua) stamps into it.

local here = minetest.get_modpath("dreamenv")
local world = dofile(here .. "/world.lua")
local walk = dofile(here .. "/walk.lua")
local insecure = minetest.request_insecure_environment()
local folder = minetest.settings:get("dreamenv_folder")
local channel = minetest.mod_channel_join("dreamenv")

local player, client_listens, emerged, lines, answers
local number = 0 -- of the picture
local drawn = nil -- world whose blocks are still to be sent

-- Words would stand in the picture for a minute.
minetest.send_join_message = function() end
minetest.send_leave_message = function() end
minetest.get_server_status = function() return "" end
-- An empty hand that reaches nothing: else what the walker looks at would get a frame.
minetest.register_item(":", {type = "none", wield_image = "blank.png", range = 0})

minetest.register_on_joinplayer(function(joined)
  player = joined
  local name = joined:get_player_name()
  minetest.set_player_privs(name, {fly = true, noclip = true, interact = true})
  joined:hud_set_flags({
    hotbar = false, healthbar = false, crosshair = false, wielditem = false,
    breathbar = false, minimap = false, minimap_radar = false, chat = false,
  })
  joined:set_sky({type = "plain", base_color = "#8cbede", clouds = false})
  joined:set_sun({visible = false, sunrise_visible = false})
  joined:set_moon({visible = false})
  joined:set_stars({visible = false})
  joined:set_physics_override({speed = 0, jump = 0, gravity = 0})
end)

minetest.register_on_modchannel_message(function(_, _, message)
  if message == "listening" then client_listens = true end
end)

local function answer(text)
  answers:write(text, "\n")
  answers:flush()
end

-- Move the eyes, and have the picture stamped that shows it.
local function show(position, yaw)
  player:set_pos(position)
  player:set_look_vertical(0)
  player:set_look_horizontal(yaw)
  number = number + 1
  channel:send_all(tostring(number))
end

local function tell(reward)
  local at = walk.position()
  answer(string.format("%d %.9g %.9g %d %d %d", number, at.x, at.z, walk.heading(), reward,
    walk.target()))
end

-- What one line asks for; true if the engine has to run before the next.
local function serve(line)
  local verb, argument = line:match("^(%a+) ?(%-?%d*)$")
  if verb == "reset" then
    drawn = world.draw(tonumber(argument))
    world.build(drawn)
    return true -- only the engine marks the blocks as changed
  elseif verb == "begin" then
    walk.begin(drawn)
    show(walk.eyes())
    tell(0)
  elseif verb == "act" then
    local reward = walk.act(tonumber(argument))
    show(walk.eyes())
    tell(reward)
  else
    error("no such line: " .. line)
  end
end

-- Blocks go out in this order and are meshed in it. So when the client shows the curtain's new
-- colour, from a place where it sees nothing else, all of the world before it is ready too.
local curtain_due = false
local function send_world()
  if not curtain_due then
    world.send(player)
    world.paint_curtain()
    curtain_due = true
    return
  end
  world.send_curtain(player)
  curtain_due = false
  show(world.before_curtain())
  answer(number .. " " .. world.curtain() .. " " .. world.describe(drawn))
  return true
end

local sending = false
minetest.register_globalstep(function()
  if not player or not client_listens then return end
  if emerged == nil then
    emerged = false
    world.emerge(function() emerged = true end)
  end
  if not emerged then return end
  if not lines then
    world.send_surroundings(player)
    lines = insecure.io.open(folder .. "/actions", "r")
    answers = insecure.io.open(folder .. "/answers", "w")
    answer("ready")
  end
  if sending then
    if not send_world() then return end
    sending = false
  end
  while true do
    local line = lines:read("*l")
    if not line then
      minetest.request_shutdown()
      return
    end
    if serve(line) then
      sending = true
      return
    end
  end
end)
