"""The folder that a running game of Luanti reads: our game, its settings, an empty world."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from dreamenv.real.luanti.textures import write_textures

GAME = "dreamenv"
STRIP = 4
"""Rows of pixels above the view, and as many below, that carry the number of the step."""

_SETTINGS = {
    # A picture shows the step and nothing else: no clock, no clouds, nothing that moves.
    "time_speed": "0",
    "world_start_time": "12000",
    "enable_clouds": "false",
    "menu_clouds": "false",
    "enable_fog": "false",
    "enable_particles": "false",
    "enable_minimap": "false",
    "view_bobbing_amount": "0",
    "fall_bobbing_amount": "0",
    "camera_smoothing": "0",
    # A flying walker is set to where it stands, where a walking one would fall and glide there.
    "free_move": "true",
    "noclip": "true",
    "disable_anticheat": "true",
    "enable_damage": "false",
    # The process is stopped between steps, so while it runs it may run as fast as it can.
    "fps_max": "1000",
    "fps_max_unfocused": "1000",
    "vsync": "false",
    "pause_on_lost_focus": "false",
    "dedicated_server_step": "0.001",
    "mesh_generation_threads": "1",  # the order of meshes is what tells that all are there
    "autosave_screensize": "false",
    "video_driver": "opengl",
    "enable_shaders": "false",
    "mip_map": "true",
    "viewing_range": "60",
    "enable_sound": "false",
    "mute_sound": "true",
    # Our own mods on both sides.
    "enable_client_modding": "true",
    "enable_mod_channels": "true",
    "csm_restriction_flags": "0",
    "secure.trusted_mods": GAME,
    # A small world that stays in memory. Nothing is generated but what the mod asks for: what the
    # engine generates meanwhile would be written over what the mod writes.
    "mg_name": "singlenode",
    "chunksize": "1",
    "max_block_generate_distance": "0",
    "max_block_send_distance": "1",
    "active_block_range": "1",
    "client_unload_unused_data_timeout": "1000000000",
    "server_unload_unused_data_timeout": "1000000000",
    "server_map_save_interval": "1000000000",
    "server_announce": "false",
    # Nobody else joins.
    "bind_address": "127.0.0.1",
    "max_users": "1",
    "enable_remote_media_server": "false",
}
_WORLD = {
    "gameid": GAME,
    "backend": "dummy",
    "player_backend": "sqlite3",
    "auth_backend": "sqlite3",
    "mod_storage_backend": "sqlite3",
}
_SERVER = {"server.lua": "init.lua", "world.lua": "world.lua", "walk.lua": "walk.lua"}


def write_game(folder: Path, size: int) -> None:
    """Write all that the programs read.

    Args:
        folder: where; absolute, empty.
        size: pixels along a side of the view.
    """
    user = folder / "home" / ".minetest"
    mod, stamp = user / "games" / GAME / "mods" / GAME, user / "clientmods" / GAME
    for each in (mod / "textures", stamp, folder / "world", folder / "screen"):
        each.mkdir(parents=True)
    lua = files(__package__) / "lua"
    for name, written in _SERVER.items():
        (mod / written).write_text((lua / name).read_text("utf-8"), "utf-8")
    (stamp / "init.lua").write_text((lua / "client.lua").read_text("utf-8"), "utf-8")
    write_textures(mod / "textures")
    _write(user / "games" / GAME / "game.conf", {"name": GAME, "title": GAME})
    _write(mod / "mod.conf", {"name": GAME})
    _write(stamp / "mod.conf", {"name": GAME})
    _write(user / "clientmods" / "mods.conf", {f"load_mod_{GAME}": "true"})
    _write(folder / "world" / "world.mt", _WORLD)
    height = size + 2 * STRIP
    ours = {
        "screen_w": str(size),
        "screen_h": str(height),
        "dreamenv_folder": str(folder),
        # A little less, so that no rounding brings it into the view.
        "dreamenv_strip": f"{100 * (STRIP - 0.5) / height:.4f}",
    }
    _write(folder / "settings.conf", _SETTINGS | ours)


def _write(path: Path, settings: dict[str, str]) -> None:
    path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()), "utf-8")
