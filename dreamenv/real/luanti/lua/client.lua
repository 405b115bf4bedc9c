-- The client's side of the lock-step: it stamps the number of the step into the picture.
--
-- The strips above and below the view have the colour of the number. They change together,
-- between two pictures, so a picture with both strips in the new colour shows the step whole.

local LEVELS = {"00", "55", "aa", "ff"}
local channel, strips, steps, number, waited = nil, nil, 0, nil, 0

local function texture(of)
  local colour = ""
  for digit = 0, 2 do
    colour = colour .. LEVELS[math.floor(of / 4 ^ digit) % 4 + 1]
  end
  return "dreamenv_white_pixel.png^[multiply:#" .. colour
end

minetest.register_on_modchannel_message(function(_, sender, message)
  if sender == "" then -- the server, not this client's own words
    number, waited = tonumber(message), 0
  end
end)

minetest.register_globalstep(function()
  local me = minetest.localplayer
  if not me then return end
  if not channel then
    channel = minetest.mod_channel_join("dreamenv")
    local share = tonumber(minetest.settings:get("dreamenv_strip")) -- percent of the height
    strips = {}
    for i = 1, 2 do
      strips[i] = me:hud_add({
        hud_elem_type = "image", text = texture(0), scale = {x = -100, y = -share},
        position = {x = 0.5, y = i - 1}, alignment = {x = 0, y = i == 1 and 1 or -1},
      })
    end
  end
  steps = steps + 1
  if not number then
    if steps % 20 == 0 and channel:is_writeable() then channel:send_all("listening") end
    return
  end
  -- The position of a step is in force at once, where one looks only with the next picture.
  waited = waited + 1
  if waited == 2 then
    for _, strip in ipairs(strips) do me:hud_change(strip, "text", texture(number % 64)) end
  end
end)
