"""What the tests of this room share."""

import gc
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    # pynetdicom leaves the socket of a connection that failed to the garbage collector.
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))
            mark = "ignore::pytest.PytestUnraisableExceptionWarning"
            item.add_marker(pytest.mark.filterwarnings(mark))


@pytest.fixture(autouse=True, scope="module")
def collected():
    """Have such sockets collected while they are forgiven."""
    yield
    gc.collect()
