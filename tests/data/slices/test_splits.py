from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_tumor.data.slices import (
    SliceDataset,
    SliceItem,
    assign,
    find_slices,
    fingerprint,
    group,
    require_no_leak,
)
from monai_tumor.errors import InputError, TrainingError
from slices.small_slices import folders, save, texture


def made(groups, labels=("a", "b")):
    """One slice for each entry of `groups`, classes in turn."""
    items = [
        SliceItem(Path(f"/x/{n:03d}.png"), labels[n % len(labels)], group=str(g))
        for n, g in enumerate(groups)
    ]
    return SliceDataset(Path("/x"), tuple(items))


def test_shares_and_classes():
    split = assign(made(range(200)), test=0.2, validation=0.1, seed=1)
    assert {s: split.counts(s) for s in split.splits} == {
        "train": {"a": 70, "b": 70},
        "validation": {"a": 10, "b": 10},
        "test": {"a": 20, "b": 20},
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=60, max_size=120), st.integers(0, 9))
def test_no_group_is_on_two_sides(groups, seed):
    whole = made([*groups, *range(100, 140)])
    split = assign(whole, test=0.2, validation=0.2, seed=seed)
    folds = assign(whole, test=0.2, folds=3, seed=seed)
    for one in (split, folds):
        sides: dict[str, set] = {}
        for item in one.items:
            sides.setdefault(item.group, set()).add((item.split, item.fold))
        assert all(len(side) == 1 for side in sides.values())
        assert len(one) == len(whole)
    assert {i.fold for i in folds.items if i.split == "train"} == {0, 1, 2}
    assert {i.fold for i in folds.items if i.split == "test"} == {None}


def test_the_split_is_the_same_anywhere():
    """Written down, so that another machine, version or order of files is held to it."""
    whole = made([n // 3 for n in range(60)])
    split = assign(whole, test=0.2, validation=0.2, seed=7)
    assert sorted({i.group for i in split.of("test")}, key=int) == TEST_GROUPS
    moved = [replace(i, path=Path("/elsewhere") / i.path.name) for i in whole.items[::-1]]
    again = assign(SliceDataset(Path("/elsewhere"), tuple(moved)), test=0.2, validation=0.2, seed=7)
    assert [(i.group, i.split) for i in again.items] == [(i.group, i.split) for i in split.items]
    other = assign(whole, test=0.2, validation=0.2, seed=8)
    assert [i.split for i in other.items] != [i.split for i in split.items]


TEST_GROUPS = ["1", "4", "15", "18"]  # 12 of 60 slices


def test_the_authors_test_side_is_kept():
    whole = made(range(60))
    kept = [replace(i, split="test" if n < 10 else "train") for n, i in enumerate(whole.items)]
    split = assign(whole.with_items(kept), validation=0.2)
    assert [i.path for i in split.of("test")] == [i.path for i in whole.items[:10]]
    assert len(split.of("validation")) == 10
    assert len(assign(whole.with_items(kept), test=0.5, validation=0).of("test")) == 30


def test_splits_that_cannot_be():
    with pytest.raises(InputError, match="no groups"):
        assign(made(range(4)).with_items([SliceItem(Path("/x/1"), "a")]))
    with pytest.raises(InputError, match="leave nothing to train on"):
        assign(made(range(40)), test=0.6, validation=0.4)
    with pytest.raises(InputError, match="2 or more"):
        assign(made(range(40)), folds=1)
    with pytest.raises(InputError, match="has only 1 groups"):
        assign(made([0] * 20), test=0.2)


def test_groups_by_twin_and_patient(tmp_path):
    one = texture(0)
    save(tmp_path / "a" / "p1_1.png", one)
    save(tmp_path / "a" / "p1_2.png", texture(1))
    save(tmp_path / "a" / "p2_1.png", one[:, ::-1])  # joins the patients
    save(tmp_path / "a" / "p3_1.png", texture(2))
    save(tmp_path / "b" / "x.png", texture(3))
    save(tmp_path / "b" / "y.png", texture(3)[::-1])
    prints = fingerprint(find_slices(tmp_path, patient=r"p\d"))
    names = [i.group for i in group(prints).items]
    assert names[0] == names[1] == names[2] == "cluster 00000"
    assert names[3] == "patient p3"
    assert names[4] == names[5] == "cluster 00002"


def test_similar_pictures_are_one_group_when_asked(tmp_path):
    noise = np.random.default_rng(0).normal(0, 40, (64, 64))
    save(tmp_path / "a" / "0.png", texture(0))
    save(tmp_path / "a" / "1.png", np.clip(texture(0) + noise, 0, 255).astype(np.uint8))
    save(tmp_path / "a" / "2.png", texture(5))
    prints = fingerprint(find_slices(tmp_path))
    correlation = float(prints.thumbs[0] @ prints.thumbs[1])
    assert 0.6 < correlation < 0.98
    assert len({i.group for i in group(prints).items}) == 3
    close = group(prints, similar=correlation - 0.01)
    assert [i.group for i in close.items] == ["cluster 00000", "cluster 00000", "cluster 00001"]


def leaking(tmp_path):
    root = folders(tmp_path, 5, splits=("train", "test"))
    train = root / "train" / "glioma"
    (root / "test" / "glioma" / "0.png").write_bytes((train / "0.png").read_bytes())
    save(root / "test" / "glioma" / "1.bmp", texture(1))
    save(root / "test" / "glioma" / "2.png", texture(2)[:, ::-1])
    return find_slices(root)


def test_a_leaking_split_is_refused(tmp_path):
    dataset = leaking(tmp_path)
    with pytest.raises(TrainingError) as refused:
        require_no_leak(dataset)
    assert str(refused.value) == (
        "This split leaks: test: 27.3% of 11 leak (9.1% byte-identical, 18.2% with equal pixels,"
        " 18.2% near, 27.3% with mirrored or turned ones). Split by group (assign), or allow it"
        " (--allow-leak), which every result will say."
    )
    stamp = require_no_leak(dataset, allow=True)
    assert stamp.allowed
    assert stamp.as_dict()["sides"][0]["share"] == round(3 / 11, 4)
    assert str(stamp).startswith("LEAKING SPLIT, results are too good: test: 27.3%")


def test_a_split_by_group_does_not_leak(tmp_path):
    prints = fingerprint(leaking(tmp_path))
    split = assign(group(prints), test=0.3, validation=0.2)
    stamp = require_no_leak(split)
    assert not stamp.leaking
    assert str(stamp).startswith("no leak")
    assert not require_no_leak(assign(group(prints), test=0.2, folds=2)).leaking


def test_folds_and_patients_leak_too(tmp_path):
    dataset = find_slices(folders(tmp_path, 4))
    folds = [replace(i, split="train", fold=n % 2) for n, i in enumerate(dataset.items)]
    assert not require_no_leak(dataset.with_items(folds)).leaking
    same = [replace(i, patient="p") if n < 2 else i for n, i in enumerate(folds)]
    with pytest.raises(TrainingError, match=r"fold 0: 25\.0% of 4 leak"):
        require_no_leak(dataset.with_items(same))
