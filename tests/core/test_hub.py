"""Files from the hub: only those asked for, none larger than it may be, and without network too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dreamenv.core import hub as ours
from dreamenv.core.errors import CheckpointError, ConfigError, MissingDependencyError
from dreamenv.core.hub import HubFile, HubName, checkpoint_name, fetch, is_hub_name, publish
from tests.hub_stand_in import LARGE, StandIn

FILES = (
    HubFile("config.json", lambda _: 100, required=True),
    HubFile("more.json", lambda _: 100),
    HubFile("weights", lambda folder: int((folder / "config.json").read_text()), required=True),
)
WEIGHTS = bytes(range(256)) * (LARGE // 128)


def test_names_of_repositories() -> None:
    assert HubName.parse("hf://ann/maze") == HubName("ann/maze")
    assert HubName.parse("ann/maze@v1.2") == HubName("ann/maze", "v1.2")
    assert str(HubName("ann/maze", "refs/pr/1")) == "hf://ann/maze@refs/pr/1"
    assert is_hub_name("hf://ann/maze") and not is_hub_name("ann/maze")
    for wrong in ("", "ann", "ann/maze/more", "ann/../x", "ann/maze@", "a b/c", "ann/maze@a b"):
        with pytest.raises(ConfigError, match="hf://user/name"):
            HubName.parse(f"hf://{wrong}")


def test_a_folder_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_name("runs/maze") == "hf://runs/maze"
    Path("runs/maze").mkdir(parents=True)
    assert checkpoint_name("runs/maze") == "runs/maze"
    assert checkpoint_name("bundled:maze") == "bundled:maze"
    assert checkpoint_name("ann/maze", "v1") == checkpoint_name("hf://ann/maze@v1")
    for name in ("runs/maze", "hf://ann/maze@v1", "bundled:maze"):
        with pytest.raises(ConfigError, match="revision"):
            checkpoint_name(name, "v2")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r'"dreamenv\[hub\]"'):
        fetch(HubName("ann/nobody"), FILES)


def fill(hub: StandIn) -> str:
    """A repository with what is wanted and with what is not; its commit."""
    files = {"config.json": str(len(WEIGHTS)).encode(), "weights": WEIGHTS, "evil.pkl": b"!"}
    publish("ann/maze", files, "Add", False, None)
    return hub.repositories["ann/maze"].branches["main"]


def test_what_was_published_is_fetched_and_nothing_else(hub: StandIn) -> None:
    sha = fill(hub)
    assert any(request.startswith("PUT /lfs/") for request in hub.requests), "large files"
    folder = fetch(HubName("ann/maze"), FILES)
    assert {path.name for path in folder.iterdir()} == {"config.json", "weights"}
    assert (folder / "weights").read_bytes() == WEIGHTS
    assert not any("evil.pkl" in request for request in hub.requests if "GET" in request)
    asked = len(hub.requests)
    assert fetch(HubName("ann/maze"), FILES) == folder
    assert len(hub.requests) == asked, "a branch is looked up once per process"
    assert fetch(HubName("ann/maze", sha), FILES) == folder


def test_revisions(hub: StandIn) -> None:
    first = fill(hub)
    config = {"config.json": f"{len(WEIGHTS)} ".encode()}
    later = publish("ann/maze", config, "Change", False, "next")
    texts = {
        revision: (fetch(HubName("ann/maze", revision), FILES) / "config.json").read_bytes()
        for revision in (None, "main", first, "next", later.revision)
    }
    assert texts[None] == texts["main"] == texts[first]
    assert texts["next"] == texts[later.revision] == config["config.json"] != texts[None]
    with pytest.raises(CheckpointError, match="no revision 'absent'"):
        fetch(HubName("ann/maze", "absent"), FILES)
    with pytest.raises(CheckpointError, match="no repository ann/other.*hf auth login"):
        fetch(HubName("ann/other"), FILES)


@pytest.mark.parametrize("how", ["forbidden", "unreachable"])
def test_without_network_the_cache_serves(
    how: str, hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = fill(hub)
    folder = fetch(HubName("ann/maze"), FILES)
    monkeypatch.setattr(ours, "_folders", {})  # as in another process
    if how == "forbidden":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    asked = len(hub.requests)
    assert fetch(HubName("ann/maze"), FILES) == folder
    assert fetch(HubName("ann/maze", sha), FILES) == folder
    with pytest.raises(CheckpointError, match="not in the cache, and the hub cannot be reached"):
        fetch(HubName("ann/other"), FILES)
    assert len(hub.requests) == asked


def test_files_larger_than_they_may_be_are_not_fetched(hub: StandIn) -> None:
    fill(hub)
    for said in (len(WEIGHTS) + 1, None):
        hub.said_sizes["weights"] = said
        with pytest.raises(CheckpointError, match="weights has .* bytes.*was not fetched"):
            fetch(HubName("ann/maze"), FILES)
    hub.said_sizes["weights"] = len(WEIGHTS) - 1
    with pytest.raises(CheckpointError, match="came with another size"):
        fetch(HubName("ann/maze"), FILES)
    publish("ann/other", {"README.md": b"---\n---\n"}, "Add", False, None)
    with pytest.raises(CheckpointError, match=r"it has no config.json, but \['README.md'\]"):
        fetch(HubName("ann/other"), FILES)


def test_who_may_not_write_is_told_how_to_log_in(hub: StandIn) -> None:
    hub.token = "secret"
    with pytest.raises(CheckpointError, match="nothing was written.*hf auth login"):
        fill(hub)
    assert hub.repositories == {}
    with pytest.raises(ConfigError, match="as revision"):
        publish("ann/maze@next", {}, "Add", False, None)
