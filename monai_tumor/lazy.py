"""Packages whose public names are loaded when they are first used.

What a program does not use it does not wait for: MONAI's import alone takes seconds.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package that loads each public name when it is first used.

    Args:
        package: its `__name__`.
        home: public name -> module of the package that holds it.
    """

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return find
