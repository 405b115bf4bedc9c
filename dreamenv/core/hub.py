"""Files on the Hugging Face hub: fetched by name into its cache, which also serves without network.

Only files that the caller names are fetched, each after its declared size was looked at. What they
hold is read by this project's own readers, which execute nothing. `huggingface_hub` is imported at
the first use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from dreamenv.core.errors import CheckpointError, ConfigError, MissingDependencyError

HUB = "hf://"
_NAME = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>[\w./-]{1,200}))?"
)
_TRUE = ("1", "ON", "YES", "TRUE")
_folders: dict[HubName, Path] = {}
"""What this process has fetched already: a branch is looked up once."""


@dataclass(frozen=True)
class HubName:
    """A repository on the hub, at one revision."""

    repo: str
    """user/name."""
    revision: str | None = None
    """A branch, a tag or a commit; None for the main branch."""

    @classmethod
    def parse(cls, text: str) -> HubName:
        """Read `hf://user/name@revision`; without the `hf://` too.

        Raises:
            ConfigError: it is written otherwise.
        """
        name = text[len(HUB) :] if is_hub_name(text) else text
        if (found := _NAME.fullmatch(name)) is None or ".." in name:
            raise ConfigError(
                f"{text!r} names no repository; write {HUB}user/name, or {HUB}user/name@revision "
                "with a branch, a tag or a commit"
            )
        return cls(found["repo"], found["revision"])

    def __str__(self) -> str:
        return f"{HUB}{self.repo}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class HubFile:
    """A file that may be fetched."""

    name: str
    most: Callable[[Path], int]
    """Bytes that it may have at most, given the folder with those that were fetched before."""
    required: bool = False


def is_hub_name(text: str | Path) -> bool:
    """Whether something is the name of a repository on the hub, and no path."""
    return str(text).startswith(HUB)


def may_be_hub_name(text: str) -> bool:
    """Whether `HubName.parse` would take it."""
    try:
        HubName.parse(text)
    except ConfigError:
        return False
    return True


def checkpoint_name(name: str | Path, revision: str | None = None) -> str:
    """What to call a checkpoint that may be on the hub: a path, or `hf://user/name@revision`.

    Raises:
        ConfigError: a revision is given for a folder, or twice.
    """
    text = str(name)
    if is_hub_name(text):
        found = HubName.parse(text)
    elif Path(text).expanduser().exists() or not _NAME.fullmatch(text):
        if revision is not None:
            raise ConfigError(f"{text} is no name on the hub, so it has no revisions")
        return text
    else:
        found = HubName.parse(text)
    if revision is not None and found.revision is not None:
        raise ConfigError(f"{text} names a revision, and so does {revision!r}; give one")
    return str(HubName(found.repo, revision or found.revision))


def fetch(name: HubName, files: Sequence[HubFile]) -> Path:
    """The folder with the files of a repository; what is in the cache already is not fetched again.

    A branch or tag is looked up once per process. Where the hub cannot be reached, or
    `HF_HUB_OFFLINE=1` forbids it, the revision that was fetched last serves.

    Raises:
        ConfigError: the name is none that the hub allows.
        CheckpointError: there is no such repository, revision or file, one is larger than it may
            be, or the hub cannot be reached and nothing is in the cache.
        MissingDependencyError: huggingface_hub is not installed.
    """
    if name in _folders and _folders[name].is_dir():
        return _folders[name]
    hub = _library()
    errors = hub.errors
    try:
        if _is_true("HF_HUB_OFFLINE"):
            raise errors.OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
        info = _api(hub).model_info(name.repo, revision=name.revision, files_metadata=True)
    except errors.HFValidationError as error:
        raise ConfigError(f"{name}: {error}") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{name.repo} has no revision {name.revision!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"the hub has no repository {name.repo}, or it is private or gated and you are not "
            "logged in; check the name, or run: hf auth login"
        ) from error
    except Exception as error:  # each version of the library has its own errors of the network
        folder = _from_cache(hub, name, files, error)
    else:
        folder = _download(hub, name, files, info)
    _folders[name] = folder
    return folder


def publish(
    repo: str, files: Mapping[str, bytes | Path], message: str, private: bool, revision: str | None
) -> HubName:
    """Write files to a repository as one commit, and make the repository if it is not there.

    Raises:
        ConfigError: the name is none that the hub allows.
        CheckpointError: the hub refuses or cannot be reached; a commit is whole or not made.
        MissingDependencyError: huggingface_hub is not installed.
    """
    name = HubName.parse(repo)
    if name.revision is not None:
        raise ConfigError(f"{repo}: give the branch to write to as revision, not in the name")
    hub = _library()
    api = _api(hub)
    add = [
        hub.CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
        for path, content in files.items()
    ]
    try:
        api.create_repo(name.repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name.repo, branch=revision, exist_ok=True)
        made = api.create_commit(name.repo, add, commit_message=message, revision=revision)
    except Exception as error:  # as above
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"nothing was written to {name.repo} on the hub: {reason}. If you are not logged in, "
            "run: hf auth login (or set HF_TOKEN)"
        ) from error
    return HubName(name.repo, made.oid)


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"names that begin with {HUB} need huggingface_hub, which is not installed; "
            'run: pip install "dreamenv[hub]"'
        ) from error
    return huggingface_hub


def _api(hub: ModuleType) -> Any:
    return hub.HfApi(endpoint=_endpoint(), library_name="dreamenv")


def _endpoint() -> str | None:
    """The hub's address, read now: the library reads it once, when it is imported."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _cache(hub: ModuleType) -> Path:
    """The library's cache folder, by its own variables, read now."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(hub.constants.HF_HUB_CACHE)


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in _TRUE


def _download(hub: ModuleType, name: HubName, files: Sequence[HubFile], info: Any) -> Path:
    """Fetch the files of one commit, smallest demands first, each after a look at its size."""
    sizes = {file.rfilename: file.size for file in info.siblings or []}
    for file in files:
        if file.required and file.name not in sizes:
            raise CheckpointError(
                f"{name} holds nothing that dreamenv saved: it has no {file.name}, but "
                f"{sorted(sizes)[:8]}"
            )
    folder = _cache(hub)
    for file in files:
        if file.name not in sizes:
            continue
        size, most = sizes[file.name], file.most(folder)
        if size is None or size > most:
            told = "an unknown number of" if size is None else size
            raise CheckpointError(
                f"{name}: {file.name} has {told} bytes, and none that dreamenv saved has more than "
                f"{most}; it was not fetched"
            )
        path = _get(hub, name, file.name, info.sha)
        if path.stat().st_size != size:
            raise CheckpointError(f"{name}: {file.name} came with another size; try again")
        folder = path.parent
    if name.revision != info.sha:
        # Looked up by its name once more, so that the cache knows it without network.
        _get(hub, name, files[0].name, name.revision)
    return folder


def _get(hub: ModuleType, name: HubName, file: str, revision: str | None) -> Path:
    try:
        return Path(
            hub.hf_hub_download(
                name.repo,
                file,
                revision=revision,
                cache_dir=_cache(hub),
                endpoint=_endpoint(),
                library_name="dreamenv",
            )
        )
    except Exception as error:  # as in `fetch`
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{name}: {file} could not be fetched ({reason}); what was fetched so far is kept, so "
            "try again"
        ) from error


def _from_cache(
    hub: ModuleType, name: HubName, files: Sequence[HubFile], reason: Exception
) -> Path:
    """The folder of the revision that was fetched last, if all that is required is there."""
    folders = set()
    for file in files:
        if file.required:
            found = hub.try_to_load_from_cache(
                name.repo, file.name, cache_dir=_cache(hub), revision=name.revision
            )
            folders.add(Path(found).parent if isinstance(found, str) else None)
    folder = folders.pop() if len(folders) == 1 else None
    if folder is None:
        why = str(reason).strip().partition("\n")[0] or type(reason).__name__
        raise CheckpointError(
            f"{name} is not in the cache, and the hub cannot be reached ({why}); try again with a "
            "connection, or give a folder"
        ) from reason
    return folder
