import pytest

from monai_tumor.data.memory import studies_in_memory


def _memory(monkeypatch, pages: int) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_AVPHYS_PAGES": pages}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)


@pytest.mark.parametrize(("gib", "share", "studies"), [(16, 0.5, 102), (16, 0.25, 51), (0, 0.5, 1)])
def test_as_many_as_fit(monkeypatch, gib, share, studies):
    _memory(monkeypatch, gib * 2**30 // 4096)
    assert studies_in_memory(share) == studies
