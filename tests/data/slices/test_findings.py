"""The audit, on made sets and on the public ones."""

import csv
import json

import pytest

from monai_tumor.cli import main
from monai_tumor.data.slices import audit
from slices.small_slices import folders, save, texture


def repeated(root):
    """Train and test with one byte-identical and one mirrored twin, and one contradiction."""
    folders(root, 6, splits=("train", "test"))
    train = root / "train" / "glioma"
    (root / "test" / "glioma" / "0.png").write_bytes((train / "0.png").read_bytes())
    save(root / "test" / "none" / "0.png", texture(1)[:, ::-1])  # train/glioma/1, mirrored
    return root


def test_what_is_found(tmp_path):
    found = audit([repeated(tmp_path)])
    (one,) = found.datasets
    assert (one.byte_identical, one.same_pixels, one.near, one.turned) == (1, 1, 2, 4)
    (conflict,) = one.conflicts
    assert {conflict.first.label, conflict.second.label} == {"glioma", "none"}
    assert conflict.turn == "mirrored"
    (leak,) = one.stamp.leaks
    assert (leak.slices, leak.files, leak.near, leak.turned) == (12, 1, 1, 2)
    assert [len(items) for items in found.sets] == [2, 2]
    assert not found.clean
    assert [g.kept for g in one.groupings][:2] == ["nothing", "twins"]
    assert [g.groups for g in one.groupings][:2] == [24, 22]


def test_nearest_neighbour_by_hand(tmp_path):
    # Each test picture has one training picture it is alike; half of these have another class.
    for number in range(4):
        save(tmp_path / "train" / "ab"[number % 2] / f"{number}.png", texture(number))
        noisy = texture(number) // 2 + texture(number + 50) // 6
        save(tmp_path / "test" / "ab"[number // 2] / f"{number}.png", noisy)
    (one,) = audit([tmp_path]).datasets
    assert one.neighbour == 0.5


def test_a_clean_set(tmp_path):
    found = audit([folders(tmp_path, 6, splits=("train", "test"))])
    assert found.clean
    assert found.sets == ()
    assert not found.datasets[0].stamp.leaking


def test_across_data_sets(tmp_path):
    first = folders(tmp_path / "one", 3, classes=("glioma", "none"))
    for number in (0, 1):
        save(tmp_path / "two" / "glioma_tumor" / f"{number}.bmp", texture(number))
    save(tmp_path / "two" / "no" / "0.png", texture(2))  # a glioma in the first set
    save(tmp_path / "two" / "no" / "1.png", texture(99))
    apart = audit([first, tmp_path / "two"])
    assert [s.slices for s in apart.shared] == [(1, 3, 3, 3), (1, 3, 3, 3)]
    assert apart.conflicts == ()  # classes of other names cannot be compared
    found = audit([first, tmp_path / "two"], rename={"glioma_tumor": "glioma", "no": "none"})
    assert len(found.conflicts) == 1
    assert "one in two: 3 slices have a near twin there" in str(found)
    assert not found.clean


def test_the_command(tmp_path, capsys):
    root = repeated(tmp_path / "set")
    assert main(["audit", str(root), "-o", str(tmp_path / "out")]) == 3
    text = capsys.readouterr().out
    assert "test: 16.7% of 12 leak" in text
    assert "on its test side" in text
    assert (tmp_path / "out" / "audit.txt").read_text() == text
    written = json.loads((tmp_path / "out" / "audit.json").read_text())
    with (tmp_path / "out" / "twins.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["set"] for row in rows] == ["1", "1", "2", "2"]
    assert main(["audit", str(root), "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == written
    assert written["datasets"][0]["leak"]["sides"][0]["share"] == 0.1667
    assert main(["audit", str(root), "--rename", "none"]) == 4
    assert main(["audit", str(tmp_path / "gone")]) == 4


def slices(real_data, name):
    folder = real_data / "slices" / name
    if not folder.is_dir():
        pytest.skip(f"real data has no slices/{name}")
    return folder


@pytest.mark.slow
def test_public_sets(real_data):
    """Figures of these cuts, as measured by others too: twins, leaks, nearest neighbour."""
    names = ("nickparvar7023", "sartaj3264", "navoneel253")
    found = audit([slices(real_data, name) for name in names])
    nickparvar, sartaj, navoneel = found.datasets
    assert [len(one.dataset) for one in found.datasets] == [7023, 3264, 253]
    assert not any(one.dataset.left_out for one in found.datasets)
    test = nickparvar.stamp.leaks[0]
    assert test.files / test.slices == pytest.approx(0.165, abs=0.001)
    assert test.near / test.slices == pytest.approx(0.37, abs=0.005)
    assert test.turned / test.slices == pytest.approx(0.757, abs=0.005)
    assert nickparvar.neighbour == pytest.approx(0.963, abs=0.004)
    assert len(nickparvar.conflicts) == 4
    test = sartaj.stamp.leaks[0]
    assert test.files / test.slices == pytest.approx(0.64, abs=0.005)
    assert test.near / test.slices == pytest.approx(0.66, abs=0.005)
    (shared,) = (
        s for s in found.shared if s.first.name == "navoneel253" and s.second.name[:4] == "nick"
    )
    assert shared.slices[2] == pytest.approx(111, abs=5)
    assert navoneel.stamp is None


def test_lung_slices_need_groups(real_data):
    """100% at random, and what is left when similar slices are kept together."""
    (one,) = audit([slices(real_data, "iqothnccd")]).datasets
    scores = {g.kept: g.accuracy for g in one.groupings}
    assert scores["nothing"] > 0.98
    assert scores["similar 0.75"] > 0.63 > scores["similar 0.7"]
