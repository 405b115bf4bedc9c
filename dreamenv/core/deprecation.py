"""Names of earlier versions, which still work for one version and say what they are called now."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])

BETWEEN = {__name__.partition(".")[0], "gymnasium", "stable_baselines3"}
"""Packages through which a caller reaches what is renamed; the warning names the caller's line."""


def renamed_arguments(**renamed: str) -> Callable[[T], T]:
    """Let a function or class take keyword arguments by their old names too, with a warning.

    Args:
        renamed: old name → new name.

    Raises:
        TypeError: when it is called with both names of one argument.
    """

    def decorate(target: T) -> T:
        function: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]

        @functools.wraps(function)
        def translated(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **current_names(kwargs, **renamed))

        if isinstance(target, type):
            target.__init__ = translated  # type: ignore[misc]
            return target
        return translated  # type: ignore[return-value]

    return decorate


def current_names(arguments: Mapping[str, Any], **renamed: str) -> dict[str, Any]:
    """Keyword arguments by their present names; a warning tells of each that has an old one.

    Args:
        arguments: by any names.
        renamed: old name → new name.

    Raises:
        TypeError: one argument is there by both of its names.
    """
    current = dict(arguments)
    for old, new in renamed.items():
        if old not in current:
            continue
        if new in current:
            raise TypeError(f"{new!r} is given twice, once by its old name {old!r}")
        warn_of_old_name("argument", old, new)
        current[new] = current.pop(old)
    return current


class RenamedAttribute:
    """An attribute that is still found by its old name, with a warning.

    Args:
        new: what it is called now.
    """

    def __init__(self, new: str) -> None:
        self._new = new

    def __set_name__(self, owner: type, name: str) -> None:
        """Note the old name."""
        self._old = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The attribute's value; asked of the class, this descriptor."""
        if instance is None:
            return self
        warn_of_old_name("attribute", self._old, self._new)
        return getattr(instance, self._new)

    def __set__(self, instance: Any, value: Any) -> None:
        """Set the attribute."""
        warn_of_old_name("attribute", self._old, self._new)
        setattr(instance, self._new, value)


class MovedModules(MetaPathFinder, Loader):
    """Modules of an earlier version: importing one warns, and gives what is in its successor.

    Args:
        moved: old module → the module that holds its names now.
    """

    def __init__(self, moved: Mapping[str, str]) -> None:
        self.moved = moved

    def install(self) -> None:
        """Answer Python's question for modules that it finds nowhere else; once is enough."""
        if not any(getattr(finder, "moved", None) == self.moved for finder in sys.meta_path):
            sys.meta_path.append(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module is to be had from; None for all but those that moved."""
        return ModuleSpec(fullname, self) if fullname in self.moved else None

    def exec_module(self, module: ModuleType) -> None:
        """Let a module of the old name look up everything in the new one."""
        new = self.moved[module.__name__]
        warn_of_old_name("module", module.__name__, new)
        successor = import_module(new)
        module.__doc__ = successor.__doc__
        module.__getattr__ = lambda name: getattr(successor, name)  # type: ignore[method-assign]


def warn_of_old_name(kind: str, old: str, new: str) -> None:
    """Warn the caller, outside this package, that it uses an old name of an argument or so."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        level, frame = level + 1, frame.f_back
    message = f"the {kind} {old!r} is called {new!r} now"
    warnings.warn(message, DeprecationWarning, stacklevel=level + 1)
