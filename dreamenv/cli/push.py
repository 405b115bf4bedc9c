"""`dreamenv push`: publish a world model or an agent on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional


@dataclass(frozen=True)
class Options:
    """What to publish, and where."""

    path: Positional[str]
    """Folder of a world model or of an agent's run, bundled:NAME, or an agent's file."""
    to: str
    """user/name on the hub; made if it is not there."""
    private: bool = False
    """Make a new repository private."""
    revision: str | None = None
    """Branch to write to; None for the main one."""
    license: str = ""
    """As the hub calls it, such as mit."""
    message: str = ""
    """Of the commit."""


def run(options: Options) -> int:
    """Publish, and print the name to load it by."""
    from dreamenv.agents.hub import push_to_hub

    name = push_to_hub(
        options.path,
        options.to,
        private=options.private,
        revision=options.revision,
        license=options.license,
        message=options.message,
    )
    print(name)
    return 0
