import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_studies import RAS, brats, head, label_map, msd, write

from monai_tumor.data.datalist import make_datalist
from monai_tumor.data.items import (
    inference_items,
    split_facts,
    training_items,
    validation_items,
)
from monai_tumor.errors import InputError, StudyError


def test_a_fold_without_folds_is_refused(tree):
    for items in (training_items, validation_items):
        with pytest.raises(InputError) as caught:
            items(tree, fold=1)
        assert str(caught.value) == (
            "fold is 1, but this split has no folds. Give folds, or a datalist made with them."
        )


def test_items_for_configs(tree):
    training, validation = training_items(str(tree)), validation_items(str(tree))
    made = make_datalist(tree)
    assert training == made.training_items()
    assert validation == made.validation_items()
    assert training_items(tree, limit=1) == training[:1]
    assert (
        len(validation_items(tree, folds=3, fold=2)) + len(training_items(tree, folds=3, fold=2))
        == 6
    )
    for item in training:
        assert set(item) == {
            "subject",
            "study",
            "image",
            "modalities",
            "label",
            "layout",
            "scheme",
        }
        assert all(Path(p).is_absolute() for p in (*item["image"], item["label"]))


def test_facts_of_a_split(tree, tmp_path):
    facts = split_facts(tree, folds=3, fold=1)
    assert facts["label_schemes"] == ["brats2021", "brats2023"]
    assert (facts["dataset_dir"], facts["folds"], facts["fold"]) == (str(tree), 3, 1)
    assert split_facts(tree, folds=3, fold=0)["studies"] != facts["studies"]
    path = make_datalist(tree, folds=3).save(tmp_path / "split.json")
    moved = tree.rename(tmp_path / "moved")
    assert split_facts(moved, datalist=path, fold=1)["studies"] == facts["studies"]
    brats(moved, "BraTS2021_00009")
    assert split_facts(moved, folds=3, fold=1)["studies"] != facts["studies"]
    items = validation_items(moved, datalist=path, fold=1)
    assert facts["studies"].startswith(f"{6 - len(items)} + {len(items)} (")


def test_a_changed_folder_is_read_again(tree):
    before = len(training_items(tree, validation=0))
    brats(tree, "BraTS2021_00009")
    assert len(training_items(tree, validation=0)) == before + 1


def test_items_of_one_call_are_not_those_of_the_next(tree):
    training_items(tree)[0]["image"] = "spoiled"
    assert training_items(tree)[0]["image"] != "spoiled"


def test_the_tree_is_read_once(tree, monkeypatch):
    training_items(tree, seed=3)
    monkeypatch.setattr("monai_tumor.data.datalist.find_studies", None)
    assert validation_items(tree, seed=3)


def test_inference_on_folders_and_files(tree, tmp_path):
    items = inference_items(tree)
    assert len(items) == 7
    assert {i["list"] for i in items} == {"input"}
    (item,) = inference_items(str(tree / "BraTS2021_00001"))
    assert item["study"] == "BraTS2021_00001"
    assert item["label"].endswith("seg.nii.gz")
    four = dict(zip(("t1n", "t1c", "t2w", "t2f"), item["image"], strict=True))
    (given,) = inference_items(**four)
    assert given["image"] == item["image"]
    assert "label" not in given
    root = msd(tmp_path / "Task01")
    (item,) = inference_items(root / "imagesTs" / "BRATS_003.nii.gz")
    assert item["modalities"] == ["t2f", "t1n", "t1c", "t2w"]
    assert isinstance(item["image"], str)


def test_inference_on_a_datalist(tree, tmp_path):
    made = make_datalist(tree)
    (item,) = inference_items(made.save(tmp_path / "a.json"))
    assert (item["study"], item["list"]) == ("BraTS-GLI-00007-000", "test")
    items = inference_items(replace(made, test=()).save(tmp_path / "b.json"))
    assert [i["study"] for i in items] == [s.study for s in made.validation]
    assert {i["list"] for i in items} == {"validation"}
    path = replace(made, test=(), validation=()).save(tmp_path / "c.json")
    with pytest.raises(StudyError, match=r"c\.json has no test and no validation studies to seg"):
        inference_items(path)


def test_inference_does_not_mind_labels(tree, tmp_path):
    brats(tree, "BraTS-PED-00001-000", labels=(1, 2, 3))
    write(tree / "BraTS2021_00001" / "BraTS2021_00001_seg.nii.gz", label_map()[:-1])
    assert len(inference_items(tree)) == 8


def test_inference_refuses_bad_images(tree):
    write(tree / "BraTS2021_00001" / "BraTS2021_00001_t2.nii.gz", head(1, (8, 9, 6)))
    with pytest.raises(StudyError, match=r"00001_t2\.nii\.gz has shape \(8, 9, 6\), but"):
        inference_items(tree)


def test_inference_can_leave_bad_studies_out(tree, caplog):
    write(tree / "BraTS2021_00001" / "BraTS2021_00001_t2.nii.gz", head(1, (8, 9, 6)))
    (tree / "BraTS2021_00002" / "BraTS2021_00002_t2.nii.gz").unlink()
    items = inference_items(tree, on_bad="skip")
    assert [i["study"] for i in items if i["study"].startswith("BraTS2021")] == ["BraTS2021_00000"]
    assert len(items) == 5
    assert [m.split(": ")[:2] for m in caplog.messages] == [
        ["Left out", "BraTS2021_00002"],
        ["Left out", "BraTS2021_00001"],
    ]
    for folder in (*tree.glob("BraTS-*"), tree / "BraTS2021_00000"):
        shutil.rmtree(folder)
    with pytest.raises(StudyError, match=r"no validation studies to segment; 2 were left out\."):
        inference_items(tree, on_bad="skip")
    with pytest.raises(InputError, match="on_bad is 'ignore'; give 'error' or 'skip'"):
        inference_items(tree, on_bad="ignore")


def test_inference_honours_repairs(tree, tmp_path):
    shifted = RAS.copy()
    shifted[0, 3] = 0.05
    write(tree / "BraTS-GLI-00007-000" / "BraTS-GLI-00007-000-t2w.nii.gz", head(7), shifted)
    made = make_datalist(tree, repair=True)
    assert made.repairs == {"BraTS-GLI-00007-000": ("affine",)}
    (item,) = inference_items(made.save(tmp_path / "split.json"))
    assert (item["study"], item["repairs"]) == ("BraTS-GLI-00007-000", "affine")
    with pytest.raises(StudyError, match=r"the affine puts it 0\.05 mm off"):
        inference_items(replace(made, repairs={}).save(tmp_path / "split.json"))


def test_inference_needs_one_input(tree):
    message = "Give either a folder, datalist or 4D file, or all of t1n, t1c, t2w, t2f."
    for arguments in ({}, {"input": tree, "t1n": "x.nii"}):
        with pytest.raises(InputError, match=message):
            inference_items(**arguments)
    with pytest.raises(StudyError, match=r"No t1c .* given are t1n, t2w, t2f"):
        inference_items(t1n="a", t2w="b", t2f="c")
