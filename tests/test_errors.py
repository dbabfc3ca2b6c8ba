import inspect
import re

import pytest

from monai_tumor import errors
from monai_tumor.errors import MonaiTumorError

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass)]


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = re.findall(r"\b(\w+Error)\b  +\S", errors.__doc__)
    assert sorted(drawn) == sorted(c.__name__ for c in CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_is_one_that_a_user_can_mend(kind):
    assert issubclass(kind, MonaiTumorError)
    assert kind.exit_code > 0
    assert str(kind("No t2f image.")) == "No t2f image."


def test_exit_codes_tell_the_branches_apart():
    assert errors.StudyError.exit_code == errors.InputError.exit_code
    branches = [
        errors.InputError,
        errors.BundleError,
        errors.TrainingError,
        errors.DependencyError,
        errors.PacsError,
    ]
    assert len({b.exit_code for b in branches}) == len(branches)
    assert 2 not in {c.exit_code for c in CLASSES}  # a mistake in the command itself
