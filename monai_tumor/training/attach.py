"""Attach a handler that is defined elsewhere in a config."""

from typing import Any

from ignite.engine import Engine


class Attach:
    """Attaches `handler` to the engine.

    MONAI's property check wants each item of a handler list to be a dictionary; a reference such
    as "@ema" is not one. This makes it one.

    Args:
        handler: anything with `attach(engine)`.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def attach(self, engine: Engine) -> None:
        """Attach it."""
        self.handler.attach(engine)
