"""`Pretrained`: how a trained world model is had by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dreamenv.core.hub import checkpoint_name

if TYPE_CHECKING:
    import torch


class Pretrained:
    """Gives `WorldModel` its `from_pretrained`."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        revision: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """A trained model, ready to dream, from the Hugging Face hub or a folder.

        Only data is read: JSON, and tensors whose sizes and checksum are compared first. What was
        fetched stays in the hub's cache and serves without network, too.

        Args:
            name: `"user/name"` or `"hf://user/name"` on the hub, a checkpoint folder, or
                `"bundled:NAME"`. A folder of that name goes before the hub.
            revision: branch, tag or commit on the hub; None for its main branch.
            device: to put it on.

        Raises:
            CheckpointError: there is no such model, or it is damaged or too large.
            MissingDependencyError: huggingface_hub is needed and not installed.
        """
        from dreamenv.world_model.checkpoint import checkpoint_folder, load_world_model

        model: Any = load_world_model(checkpoint_folder(checkpoint_name(name, revision)), device)
        return model
