"""Splits for configs: who is on which side, what leaks, what is left out."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from slice_pictures import make_set

from monai_tumor.data.slices import (
    SliceDataset,
    assign,
    class_weights,
    classes_of,
    divide,
    find_slices,
    leak_told,
    side_items,
    slice_facts,
    slices_to_classify,
    training_items,
)
from monai_tumor.errors import InputError, TrainingError


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return make_set(tmp_path_factory.mktemp("sides") / "clean", 12)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory) -> Path:
    """Three of twelve pictures a class are on both sides."""
    return make_set(tmp_path_factory.mktemp("sides") / "leaking", 12, leak=3)


def names(items) -> list[str]:
    return [item["image"] for item in items]


def test_the_authors_test_side_is_kept_and_validation_comes_from_training(clean):
    division = divide(clean, validation=0.25)
    assert {side: len(items) for side, items in division.items.items()} == {
        "train": 18,
        "validation": 6,
        "test": 24,
    }
    assert all("Testing" in name for name in names(division.items["test"]))
    assert all("Training" in name for name in names(division.items["validation"]))
    assert Counter(item["label"] for item in division.items["train"]) == {0: 9, 1: 9}
    assert not division.stamp.leaking
    assert not any(item["leaks"] for item in division.items["test"])
    assert classes_of(clean) == ["corner", "middle"]


def test_a_leak_is_refused_unless_it_is_allowed_and_then_marked(leaking):
    with pytest.raises(TrainingError, match=r"This split leaks: test: 25\.0% of 24"):
        training_items(leaking)
    division = divide(leaking, allow_leak=True)
    leaks = {Path(i["image"]).stem for i in division.items["test"] if i["leaks"]}
    assert leaks == {"0", "1", "2"}
    assert sum(item["leaks"] for item in division.items["test"]) == 6
    assert division.stamp.as_dict()["allowed"]
    for item in division.items["test"]:
        if item["leaks"]:  # its nearest neighbour is itself
            assert item["neighbour"] == item["label"]
    assert not any(item["leaks"] for item in division.items["validation"])


def test_a_new_test_side_keeps_twins_together(leaking):
    division = divide(leaking, test=0.25, validation=0.2)
    assert not division.stamp.leaking
    assert not any(item["leaks"] for item in division.items["test"])
    groups = [{item["group"] for item in items} for items in division.items.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_folds(clean):
    folds = [side_items(clean, "validation", folds=3, fold=n) for n in range(3)]
    seen = [name for fold in folds for name in names(fold)]
    assert len(seen) == len(set(seen)) == 24
    assert len(training_items(clean, folds=3, fold=0)) == 24 - len(folds[0])
    with pytest.raises(InputError, match="no fold 3; this split has 3"):
        training_items(clean, folds=3, fold=3)


def test_twins_of_another_data_set_are_in_no_training(clean, tmp_path):
    other = make_set(tmp_path / "other", 2, splits=("Training",))  # seeds 100000.. as in `clean`
    division = divide(clean, exclude=[str(other)])
    assert division.excluded == 4
    kept = {Path(n).parent.name + Path(n).stem for n in names(division.items["train"])}
    kept |= {Path(n).parent.name + Path(n).stem for n in names(division.items["validation"])}
    assert not kept & {"corner0", "corner1", "middle0", "middle1"}
    assert len(division.items["test"]) == 24
    with pytest.raises(InputError, match="nothing is left"):
        divide(other, exclude=[str(other)])


def test_a_datalist_says_it_all(clean, tmp_path):
    divide(clean, seed=3).dataset.save(tmp_path / "split.json")
    again = divide(None, datalist=tmp_path / "split.json")
    assert names(again.items["train"]) == names(divide(clean, seed=3).items["train"])
    assert len(SliceDataset.load(tmp_path / "split.json")) == 48


def test_facts_tell_one_split_from_another(clean):
    facts = slice_facts(clean, seed=0)
    assert facts["studies"].startswith("22 + 2 + 24 (") or " + 24 (" in facts["studies"]
    assert facts == slice_facts(clean, seed=0)
    assert facts["studies"] != slice_facts(clean, seed=1)["studies"]
    assert facts["leak"]["leaking"] is False


def test_weights_make_classes_count_alike(tmp_path):
    root = make_set(tmp_path, 12, splits=("all",)) / "all"
    for n in range(6):
        (root / "middle" / f"{n}.png").unlink()
    weights = class_weights(root, validation=0.0, test=0.2)
    counts = Counter(item["label"] for item in training_items(root, validation=0.0, test=0.2))
    assert weights[0] * counts[0] == pytest.approx(weights[1] * counts[1])
    assert sum(weights[k] * n for k, n in counts.items()) == pytest.approx(counts.total())


def test_mistakes_are_named(clean):
    with pytest.raises(InputError, match="No data set to train on"):
        training_items(None)
    with pytest.raises(InputError, match="Unknown option 'tset'"):
        divide(clean, tset=0.2)
    with pytest.raises(InputError, match="Unknown side 'tes'"):
        side_items(clean, "tes")
    with pytest.raises(InputError, match="no validation side; give a share"):
        side_items(clean, "validation", validation=0.0)


def test_what_is_to_be_classified(clean, tmp_path):
    folder = clean / "Testing" / "corner"
    assert len(slices_to_classify(folder)) == 12
    assert len(slices_to_classify([folder / "0.png", clean / "Testing"])) == 25
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="No picture and no DICOM file"):
        slices_to_classify(tmp_path)
    with pytest.raises(InputError, match="There is nothing at"):
        slices_to_classify(tmp_path / "absent")
    with pytest.raises(InputError, match="Nothing to classify"):
        slices_to_classify(None)


def test_slice_by_slice_twins_come_on_both_sides_and_still_count_as_one(leaking):
    """Ten dealings of 48 slices with six pairs of twins: hardly ever is no pair parted."""
    parted = 0
    for seed in range(10):
        options = {"test": 0.5, "validation": 0.0, "seed": seed}
        assert not divide(leaking, **options).stamp.leaking
        division = divide(leaking, **options, grouped=False, allow_leak=True)
        test = division.items["test"]
        parted += sum(item["leaks"] for item in test)
        groups = Counter(item.group for item in division.dataset.items)
        assert sorted(groups.values())[-6:] == [2] * 6
    assert parted >= 10
    with pytest.raises(TrainingError, match="This split leaks: test"):
        divide(leaking, test=0.5, validation=0.0, seed=0, grouped=False)


def test_the_test_side_may_validate_and_that_is_told(clean):
    division = divide(clean, test_validates=True, allow_leak=True)
    assert division.items["validation"] == division.items["test"]
    assert len(division.items["train"]) == 24  # none of it validates
    assert "the test side was validated on" in str(division.stamp)
    told = leak_told(slice_facts(clean, test_validates=True, allow_leak=True)["leak"])
    assert told == "LEAKING SPLIT, results are too good: the test side was validated on."
    with pytest.raises(TrainingError, match="the test side was validated on"):
        divide(clean, test_validates=True)


@pytest.mark.parametrize(
    ("own", "words"), [({}, "has a validation side"), ({"folds": 3}, "has 3 folds")]
)
def test_no_slice_is_dropped_because_the_test_side_validates(clean, own, words, tmp_path):
    both = {"test_validates": True, "allow_leak": True}
    if own:
        with pytest.raises(InputError, match=words):
            divide(clean, **both, **own)
    whole = find_slices(clean)
    split = assign(whole.with_items(replace(i, group=i.path.name) for i in whole.items), **own)
    split.save(tmp_path / "split.json")
    with pytest.raises(InputError, match=words):
        divide(None, datalist=tmp_path / "split.json", **both)


def test_files_of_some_endings_alone_are_read(tmp_path):
    folder = make_set(tmp_path / "set", 6, splits=("Training",))
    for path in sorted(folder.rglob("[0-2].png")):
        path.rename(path.with_suffix(".PNG"))
    division = divide(folder, validation=0.2, endings=[".PNG"])
    assert len(division.dataset.items) == 6
    with pytest.raises(InputError, match=r"No slice in .* ends in \.jpg or \.bmp"):
        divide(folder, endings=[".jpg", ".bmp"])


def test_as_many_classes_as_a_recipe_is_for(clean):
    assert classes_of(clean, count=2) == ["corner", "middle"]
    with pytest.raises(InputError, match=r"has 2 classes .*, this recipe is for 4"):
        classes_of(clean, count=4)
