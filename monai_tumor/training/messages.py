"""One line for a mistake that a user can mend."""

import re
import sys
from types import TracebackType

from monai_tumor import errors
from monai_tumor.errors import MonaiTumorError

# How a traceback ends; all that is left of an exception that a worker of a DataLoader raised.
_IN_TRACEBACK = re.compile(r"^monai_tumor\.errors\.(\w+): (.+)$", re.MULTILINE)


def find_cause(error: BaseException | None) -> MonaiTumorError | None:
    """The `MonaiTumorError` behind an exception that other libraries wrapped, if there is one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, MonaiTumorError):
            return error
        if match := _IN_TRACEBACK.search(str(error)):
            kind: type[MonaiTumorError] = getattr(errors, match[1], MonaiTumorError)
            return kind(match[2])
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def one_line_errors() -> None:
    """From now on an uncaught `MonaiTumorError` ends the program in one line, not a traceback.

    For the `initialize` list of a bundle: `python -m monai.bundle` knows nothing of our errors.
    Everything else is reported as before.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        cause = find_cause(error)
        if cause is None:
            previous(kind, error, trace)
        else:
            sys.stderr.write(f"error: {cause}\n")

    sys.excepthook = hook
