import pytest

from monai_tumor.data import memory
from monai_tumor.data.memory import free_memory, studies_in_memory

MEMINFO = "MemTotal: 32000000 kB\nMemFree: 1000 kB\nMemAvailable: {} kB\nHugePages_Total: 0\n"


def only(files):
    """`Path` that reads what is given, and nothing else."""

    class File:
        def __init__(self, path):
            self.path = path

        def read_text(self, encoding):
            assert encoding == "ascii"
            if self.path not in files:
                raise FileNotFoundError(self.path)
            return files[self.path]

    return File


def _memory(monkeypatch, gib, limit=None):
    files = {"/proc/meminfo": MEMINFO.format(gib * 2**20)}
    if limit is not None:
        files["/sys/fs/cgroup/memory.max"] = limit
    monkeypatch.setattr(memory, "Path", only(files))


@pytest.mark.parametrize(("gib", "share", "studies"), [(16, 0.5, 68), (16, 0.25, 34), (0, 0.5, 1)])
def test_as_many_as_fit(monkeypatch, gib, share, studies):
    _memory(monkeypatch, gib)
    assert studies_in_memory(share) == studies


def test_what_caches_files_is_free(monkeypatch):
    _memory(monkeypatch, 16)
    assert free_memory() == 16 * 2**30  # and not the 1000 kB that nobody uses


@pytest.mark.parametrize(("limit", "gib"), [(str(4 * 2**30), 4), ("max\n", 16)])
def test_a_container_has_a_limit(monkeypatch, limit, gib):
    _memory(monkeypatch, 16, limit)
    assert free_memory() == gib * 2**30


def test_where_nothing_tells_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "Path", only({}))
    assert free_memory() >= 2**40
