from pathlib import Path

import pytest
from monai.data import load_decathlon_datalist

from monai_tumor.data.slices import LeftOut, SliceDataset, SliceItem
from monai_tumor.errors import InputError


def dataset(root, **more):
    items = (
        SliceItem(root / "a.png", "yes", "p1", "train", "patient p1", 0),
        SliceItem(root / "b.png", "no", None, "train", "cluster 1", 1),
        SliceItem(root / "c.dcm", "no", "p2", "test", "patient p2", frame=3),
        SliceItem(root / "d.png", "no"),
    )
    return SliceDataset(root, items, (LeftOut(root / "e.png", "e.png is corrupt."),), **more)


def test_what_is_written_is_read(tmp_path):
    whole = dataset(tmp_path, seed=3)
    path = whole.save(tmp_path / "lists" / "split.json")
    assert SliceDataset.load(path) == whole
    # Nothing in it but the folder itself names where it lies.
    assert path.read_text().count(str(tmp_path)) == 2
    moved = SliceDataset.load(path, tmp_path / "lists")
    assert moved.items[0].path == tmp_path / "lists" / "a.png"


def test_monai_reads_it(tmp_path):
    path = dataset(tmp_path).save(tmp_path / "split.json")
    training = load_decathlon_datalist(path, is_segmentation=False, base_dir=tmp_path)
    assert [(Path(i["image"]).name, i["label"]) for i in training] == [("a.png", 1), ("b.png", 0)]
    (test,) = load_decathlon_datalist(path, False, "test", base_dir=tmp_path)
    assert (test["label"], test["frame"], test["class"]) == (0, 3, "no")


def test_items_for_monai(tmp_path):
    whole = dataset(tmp_path)
    assert [i["label"] for i in whole.training_items()] == [1, 0]
    assert [i["image"] for i in whole.training_items(0)] == [(tmp_path / "b.png").as_posix()]
    assert [i["image"] for i in whole.validation_items(0)] == [(tmp_path / "a.png").as_posix()]
    assert whole.validation_items() == []
    assert len(whole.test_items()) == 1
    with pytest.raises(InputError, match="no fold 2; this split has 2"):
        whole.validation_items(2)


def test_what_a_person_sees(tmp_path):
    text = str(dataset(tmp_path))
    assert text.splitlines() == [
        f"{tmp_path}: 4 slices of 2 classes",
        "  train       2: no 1, yes 1",
        "  test        1: no 1, yes 0",
        "  no side     1: no 1, yes 0",
        "  folds       1, 1",
        "  left out: e.png is corrupt.",
    ]
    assert str(dataset(tmp_path).items[2]) == f"test {tmp_path.name}/c.dcm frame 3 (no)"


def test_classes_and_splits_are_checked(tmp_path):
    with pytest.raises(InputError, match="Class 'no' is not among maybe, yes"):
        dataset(tmp_path, classes=("maybe", "yes"))
    with pytest.raises(InputError, match="Unknown split 'training'"):
        SliceDataset(tmp_path, (SliceItem(tmp_path / "a", "x", split="training"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no", "cannot be read"),
        ("[]", "is no slice datalist"),
        ('{"format": "monai-tumor slices", "format_version": 9}', "version 9"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        SliceDataset.load(path)


def test_a_data_set_that_is_gone(tmp_path):
    path = dataset(tmp_path / "gone").save(tmp_path / "x.json")
    with pytest.raises(InputError, match="Say where it lies"):
        SliceDataset.load(path)
