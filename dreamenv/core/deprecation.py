"""Names of earlier versions, which still work for one version and say what they are called now."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


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
            for old, new in renamed.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise TypeError(f"{new!r} is given twice, once by its old name {old!r}")
                message = f"the argument {old!r} is called {new!r} now"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        if isinstance(target, type):
            target.__init__ = translated  # type: ignore[misc]
            return target
        return translated  # type: ignore[return-value]

    return decorate
