import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data import load_decathlon_datalist
from small_studies import LPS, brats, head, label_map, write

from monai_tumor.data.datalist import Datalist, make_datalist
from monai_tumor.data.items import (
    training_items,
    validation_items,
)
from monai_tumor.data.problems import Problem
from monai_tumor.data.splits import assign_folds, hold_out
from monai_tumor.data.study import Study
from monai_tumor.errors import InputError, SchemeError, StudyError
from monai_tumor.labels import MODALITIES


def study(subject: str, number: int = 0, layout: str = "brats2021") -> Study:
    name = f"{subject}-{number}"
    return Study(subject, (Path(name),), MODALITIES, Path("seg"), "brats2021", layout, name)


STUDIES = st.lists(
    st.builds(study, st.integers(0, 30).map(str), st.integers(0, 3), st.sampled_from("abc")),
    min_size=2,
    max_size=60,
)


def subjects(items: list[dict]) -> set[str]:
    return {item["subject"] for item in items}


@given(STUDIES, st.floats(0, 0.9), st.integers(0, 5))
def test_hold_out_parts_no_subject_and_hears_no_order(studies, share, seed):
    held = hold_out(studies, share, seed)
    shuffled = random.Random(1).sample(studies, len(studies))
    assert hold_out(shuffled, share, seed) == held
    assert held <= {s.subject for s in studies}
    assert (share > 0) or not held


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 5))
def test_hold_out_takes_its_share_of_every_layout(many, few, seed):
    studies = [study(f"a{i}", layout="a") for i in range(many)]
    studies += [study(f"b{i}", layout="b") for i in range(few)]
    held = hold_out(studies, 0.2, seed)
    for layout, total in (("a", many), ("b", few)):
        count = sum(s.startswith(layout) for s in held)
        assert 1 <= count < total
        assert abs(count - 0.2 * total) <= 0.8


def test_seeds_differ():
    studies = [study(str(i)) for i in range(50)]
    assert hold_out(studies, 0.2, 0) != hold_out(studies, 0.2, 1)
    assert len(hold_out(studies, 0.2, 0)) == 10


@given(st.integers(2, 5), st.integers(5, 23), st.integers(5, 23))
def test_every_fold_has_every_layout(folds, many, few):
    studies = [study(f"a{i}", layout="a") for i in range(many)]
    studies += [study(f"b{i}", layout="b") for i in range(few)]
    fold_of = assign_folds(studies, folds, 0)
    assert len(fold_of) == many + few
    for prefix, total in (("a", many), ("b", few), ("", many + few)):
        sizes = np.bincount([f for s, f in fold_of.items() if s.startswith(prefix)])
        assert len(sizes) == folds
        assert sizes.min() == total // folds
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("share", [-0.1, 1, 20])
def test_shares_that_cannot_be(share):
    with pytest.raises(InputError, match=rf"validation is {share}; give a share from 0 up to"):
        hold_out([study("a")], share, 0)


@pytest.mark.parametrize("folds", [0, 1, 3])
def test_folds_that_cannot_be(folds):
    with pytest.raises(InputError, match=f"Cannot make {folds} folds of 2 subjects; give 2 to 2"):
        assign_folds([study("a"), study("b"), study("b", 1)], folds, 0)


def test_make(tree):
    seen = []
    made = make_datalist(tree, on_checked=lambda s, n, total: seen.append((s.study, n, total)))
    assert [n for _, n, _ in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert {total for _, _, total in seen} == {7}
    assert made.schemes == ("brats2021", "brats2023")
    assert [s.study for s in made.test] == ["BraTS-GLI-00007-000"]
    assert {s.layout for s in made.validation} == {"brats2021", "brats2023"}
    assert {s.layout for s in made.training} == {"brats2021", "brats2023"}
    assert len(made.training) + len(made.validation) == 6
    assert not subjects(made.training_items()) & subjects(made.validation_items())
    assert str(made) == (
        f"{tree}: {len(made.training)} training, {len(made.validation)} validation, 1 test studies;"
        " brats2021, brats2023"
    )


def test_folds(tree):
    made = make_datalist(tree, folds=2)
    assert made.validation == ()
    sides = [made.validation_items(fold) for fold in range(2)]
    assert [len(made.training_items(fold)) + len(sides[fold]) for fold in range(2)] == [6, 6]
    assert subjects(sides[0]).isdisjoint(subjects(sides[1]))
    assert {i["fold"] for i in sides[1]} == {1}
    with pytest.raises(InputError, match=r"There is no fold 2; folds are 0 to 1\."):
        made.training_items(2)


@pytest.mark.parametrize("folds", [None, 3])
def test_saved_and_loaded(tree, tmp_path, folds):
    made = make_datalist(tree, folds=folds, seed=7)
    path = made.save(tmp_path / "lists" / "split.json")
    assert Datalist.load(path) == made
    data = json.loads(path.read_text())
    assert data["format"] == "monai-tumor datalist"
    assert (data["format_version"], data["seed"], data["dataset_dir"]) == (1, 7, str(tree))
    assert data["schemes"] == ["brats2021", "brats2023"]
    assert data["software"]["nibabel"]
    assert not Path(data["training"][0]["image"][0]).is_absolute()
    assert [p.name for p in path.parent.iterdir()] == ["split.json"]


def test_monai_reads_it_too(tree, tmp_path):
    made = make_datalist(tree)
    path = made.save(tmp_path / "split.json")
    for key, items in (
        ("training", made.training_items()),
        ("validation", made.validation_items()),
        ("test", made.test_items()),
    ):
        read = load_decathlon_datalist(path, data_list_key=key, base_dir=tree)
        assert [i["image"] for i in read] == [i["image"] for i in items]
        assert [i.get("label") for i in read] == [i.get("label") for i in items]


def test_a_moved_data_set(tree, tmp_path):
    path = make_datalist(tree).save(tmp_path / "split.json")
    moved = tree.rename(tmp_path / "elsewhere")
    with pytest.raises(StudyError, match=r"split\.json is not at .*/data\. Say where it lies: dat"):
        Datalist.load(path)
    items = Datalist.load(path, dataset_dir=moved).training_items()
    assert all(Path(p).is_file() for item in items for p in (*item["image"], item["label"]))
    assert training_items(moved, datalist=path) == items


def test_leaks_are_refused(tree, tmp_path):
    path = make_datalist(tree).save(tmp_path / "split.json")
    data = json.loads(path.read_text())
    leak = data["training"][0] | {"study": "another scan"}
    data["validation"].append(leak)
    path.write_text(json.dumps(data))
    with pytest.raises(StudyError) as caught:
        Datalist.load(path)
    assert str(caught.value) == (
        f"Subject {leak['subject']!r} is in training and in validation (1 such); results would be"
        " too good. Split by subject."
    )


def test_studies_of_one_name_are_refused(tree, tmp_path):
    path = make_datalist(tree).save(tmp_path / "split.json")
    data = json.loads(path.read_text())
    first = {k: v for k, v in data["training"][0].items() if k != "study"} | {"subject": "B"}
    data["training"] = [first, first, first]  # three scans of B, as other tools list them
    path.write_text(json.dumps(data))
    with pytest.raises(StudyError) as caught:
        Datalist.load(path)
    assert str(caught.value) == (
        "3 items are study 'B'; one would take the place of the other. Give each its own \"study\"."
    )


def test_leaks_between_folds_are_refused(tree, tmp_path):
    path = make_datalist(tree, folds=2).save(tmp_path / "split.json")
    data = json.loads(path.read_text())
    first = data["training"][0]
    data["training"].append(first | {"study": "another scan", "fold": 1 - first["fold"]})
    path.write_text(json.dumps(data))
    with pytest.raises(StudyError, match=r"Subject '.*' is in folds [01] and [01]; results would"):
        Datalist.load(path)


def test_a_newer_format(tree, tmp_path):
    path = make_datalist(tree).save(tmp_path / "split.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    with pytest.raises(StudyError, match=r"format version 2; this release reads 1\. Update"):
        Datalist.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_dir": 7}, 'has 7 for "dataset_dir"; give the path of a folder'),
        ({"training": [{"image": ["t1.nii", "t2.nii"], "fold": "a"}]}, "has fold 'a'; give 0"),
        ({"training": [], "validation": [], "test": []}, "is not a datalist: it has no"),
    ],
)
def test_datalists_gone_wrong(tree, tmp_path, change, message):
    path = make_datalist(tree).save(tmp_path / "split.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StudyError, match=message):
        Datalist.load(path)


def test_a_datalist_that_names_no_scheme(tmp_path):
    folder = brats(tmp_path, "P1")
    images = [str(folder / f"P1_{w}.nii.gz") for w in ("t1", "t1ce", "t2", "flair")]
    path = tmp_path / "other.json"
    path.write_text(
        json.dumps({"training": [{"image": images, "label": str(folder / "P1_seg.nii.gz")}]})
    )
    with pytest.raises(SchemeError, match=r"The label scheme of study 'P1' .* cannot be known"):
        Datalist.load(path)
    (item,) = training_items(tmp_path, datalist=path, scheme="brats2021")
    assert (item["study"], item["scheme"]) == ("P1", "brats2021")


def test_training_needs_labels(tree, tmp_path):
    made = make_datalist(tree)
    unlabelled = replace(made, training=made.test, test=())
    with pytest.raises(StudyError, match="Study 'BraTS-GLI-00007-000' is listed for training or"):
        unlabelled.training_items()


def spoil(tree: Path, case: str, word: str = "t1") -> None:
    data = head(int(case[-2:]))
    data[3, 3, 3] = np.nan
    write(tree / case / f"{case}_{word}.nii.gz", data)


def test_a_bad_study_stops_or_is_left_out(tree, caplog):
    spoil(tree, "BraTS2021_00000")
    spoil(tree, "BraTS2021_00001")
    (tree / "BraTS2021_00002" / "BraTS2021_00002_t2.nii.gz").unlink()
    with pytest.raises(StudyError) as caught:
        make_datalist(tree)
    assert str(caught.value) == (
        "Study 'BraTS2021_00002' has no t2w (T2) image; found t1n, t1c, t2f in BraTS2021_00002/."
        " Add BraTS2021_00002_t2.nii.gz, or leave the study out. (2 more problems, in 2 other"
        " studies)"
    )
    made = make_datalist(tree, on_bad="skip")
    assert made.skipped == ("BraTS2021_00000", "BraTS2021_00001", "BraTS2021_00002")
    assert [p.kind for p in made.problems] == ["missing-modality", "nan", "nan"]
    assert made.schemes == ("brats2023",)
    reason = (
        "BraTS2021_00000/BraTS2021_00000_t1.nii.gz has 1 voxels that are NaN or infinite, some"
        " inside the head. Replace it."
    )
    assert f"  left out: {reason}" in str(made).splitlines()
    assert f"Left out: {reason}" in [r.getMessage() for r in caplog.records]
    assert len(caplog.records) == 3


def test_a_study_that_is_there_twice_is_left_out_altogether(tree):
    brats(tree / "copy", "BraTS2021_00000")
    made = make_datalist(tree, on_bad="skip")
    assert made.skipped == ("BraTS2021_00000",)
    kept = {s.study for s in (*made.training, *made.validation)}
    assert "BraTS2021_00000" not in kept
    assert len(kept) == 5


def test_a_problem_of_no_study_is_told(tree):
    assert make_datalist(tree).complete
    assert make_datalist(tree).as_dict()["complete"] is True
    (tree / "Task01").mkdir()
    (tree / "Task01" / "dataset.json").write_text("{")
    made = make_datalist(tree, on_bad="skip")
    (problem,) = made.problems
    assert (problem.kind, made.skipped) == ("dataset-json", ())
    assert not made.complete
    assert made.as_dict()["complete"] is False
    assert f"  problem: {problem.message}" in str(made).splitlines()


def test_nothing_is_left(tree):
    for case in ("BraTS2021_00000", "BraTS2021_00001", "BraTS2021_00002"):
        spoil(tree, case)
    for folder in tree.glob("BraTS-*"):
        shutil.rmtree(folder)
    with pytest.raises(StudyError, match=r"No usable labelled study in .*; 3 were left out\."):
        make_datalist(tree, on_bad="skip")


def test_on_bad_is_one_of_two(tree):
    with pytest.raises(InputError, match="on_bad is 'ignore'; give 'error' or 'skip'"):
        make_datalist(tree, on_bad="ignore")


def test_repairs_are_recorded_when_asked_for(tree, tmp_path):
    shifted = LPS.copy()
    shifted[0, 3] = 0.05
    write(tree / "BraTS2021_00001" / "BraTS2021_00001_seg.nii.gz", label_map(), shifted)
    with pytest.raises(StudyError, match=r"the affine puts it 0\.05 mm off .* which is rounding"):
        make_datalist(tree)
    made = make_datalist(tree, repair=True)
    assert made.repairs == {"BraTS2021_00001": ("affine",)}
    assert made.skipped == ()
    assert made.complete
    items = {i["study"]: i["repairs"] for i in made.training_items() + made.validation_items()}
    assert items.pop("BraTS2021_00001") == "affine"
    assert str(made).endswith("\n  repaired on loading: BraTS2021_00001: affine")
    assert set(items.values()) == {""}
    assert Datalist.load(made.save(tmp_path / "split.json")) == made


def test_repair_does_not_excuse_what_cannot_be_repaired(tree):
    spoil(tree, "BraTS2021_00000")
    with pytest.raises(StudyError, match="some inside the head"):
        make_datalist(tree, repair=True)


def test_the_scheme_can_be_overridden(tree):
    with pytest.raises(StudyError, match=r"label values \[4\], unknown in scheme 'brats2023'"):
        make_datalist(tree, scheme="brats2023")
    assert make_datalist(tree, scheme="brats2023", check_voxels=False).schemes == ("brats2023",)


def test_problems_survive_json():
    problem = Problem("a", Path("x/y.nii"), "nan", "bad", "nan")
    assert Problem.from_dict(json.loads(json.dumps(problem.as_dict()))) == problem
    assert Problem.from_dict(Problem("", None, "x", "y").as_dict()) == Problem("", None, "x", "y")


def test_real_studies(real_data):
    items = training_items(real_data / "brats"), validation_items(real_data / "brats")
    assert sum(map(len, items)) == 19
    assert {i["scheme"] for i in items[1]} == {"brats2021", "brats2023"}
