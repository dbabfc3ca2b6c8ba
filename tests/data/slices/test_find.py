import numpy as np
import pytest
from dicom.generator import Grid, header, put_pixels
from dicom.generator import save as save_dicom

from monai_tumor.data.slices import SliceDataset, find_slices, fingerprint
from monai_tumor.errors import InputError
from slices.small_slices import folders, save, texture


def places(dataset):
    return [(i.path.relative_to(dataset.root).as_posix(), i.label, i.split) for i in dataset.items]


def test_folders_of_classes(tmp_path):
    found = find_slices(folders(tmp_path, 2))
    assert places(found) == [
        ("glioma/0.png", "glioma", None),
        ("glioma/1.png", "glioma", None),
        ("none/0.png", "none", None),
        ("none/1.png", "none", None),
    ]
    assert found.classes == ("glioma", "none")
    assert found.left_out == ()


def test_folders_of_sides(tmp_path):
    found = find_slices(folders(tmp_path, 1, splits=("Training", "Testing", "valid")))
    assert {(i.path.parent.parent.name, i.split) for i in found.items} == {
        ("Training", "train"),
        ("Testing", "test"),
        ("valid", "validation"),
    }


def test_a_folder_around_all_is_looked_through(tmp_path):
    folders(tmp_path / "archive" / "all", 1)
    assert [i.label for i in find_slices(tmp_path).items] == ["glioma", "none"]
    other = folders(tmp_path / "b", 1, splits=("archive/train", "archive/test"))
    assert {i.split for i in find_slices(other).items} == {"train", "test"}


def test_26_classes(tmp_path):
    found = find_slices(folders(tmp_path, 1, classes=[f"c{n:02d}" for n in range(26)]))
    assert len(found.classes) == 26
    assert found.number("c25") == 25


def test_what_is_no_slice(tmp_path):
    root = folders(tmp_path, 1)
    save(root / "loose.png", texture(9))
    (root / "glioma" / "x.gif").write_bytes(b"GIF89a")
    for beside in ("README.txt", "glioma/Thumbs.db", "glioma/.hidden.png", "__MACOSX/a/._1.png"):
        (root / beside).parent.mkdir(parents=True, exist_ok=True)
        (root / beside).write_bytes(b"x")
    found = find_slices(root)
    assert len(found) == 2
    assert [str(one) for one in found.left_out] == [
        "glioma/x.gif is no JPEG, PNG, TIFF, BMP or DICOM. Convert it.",
        "loose.png lies in no folder of a class.",
    ]


def test_a_folder_beside_the_sides(tmp_path):
    root = folders(tmp_path, 1, splits=("train", "test"))
    save(root / "figures" / "a" / "1.png", texture(9))
    found = find_slices(root)
    assert len(found) == 4
    assert str(found.left_out[0]) == "figures/a/1.png lies in none of the folders of sides."


def test_endings_in_any_case(tmp_path):
    for name in ("a.JPG", "b.jpeg", "c.PNG", "d.tif", "e.TIFF", "f.bmp"):
        save(tmp_path / "yes" / name, texture(1))
    assert len(find_slices(tmp_path)) == 6


def test_patients_by_pattern(tmp_path):
    for name in ("yes/p01_1.png", "yes/p01_2.png", "no/p02_1.png", "no/other.png"):
        save(tmp_path / name, texture(1))
    found = find_slices(tmp_path, patient=r"/(p\d+)_")
    assert [i.patient for i in found.items] == [None, "p02", "p01", "p01"]
    with pytest.raises(InputError, match="finds no patient"):
        find_slices(tmp_path, patient="subject-(.*)")
    with pytest.raises(InputError, match="no regular expression"):
        find_slices(tmp_path, patient="(")


def test_rename(tmp_path):
    found = find_slices(folders(tmp_path, 1), rename={"none": "healthy", "glioma": "tumour"})
    assert found.classes == ("healthy", "tumour")
    assert [i.label for i in found.items] == ["tumour", "healthy"]


def test_table(tmp_path):
    folders(tmp_path / "pictures", 2)
    table = tmp_path / "slices.csv"
    table.write_text(
        "\ufeffPath,Label, Patient,SPLIT\n"
        "pictures/none/0.png,healthy,p1,training\n"
        "pictures/glioma/0.png,glioma,,Test\n"
        "pictures/gone.png,glioma,,\n"
        "pictures/glioma/1.png,,,\n",
        encoding="utf-8",
    )
    found = find_slices(table)
    assert places(found) == [
        ("pictures/glioma/0.png", "glioma", "test"),
        ("pictures/none/0.png", "healthy", "train"),
    ]
    assert [i.patient for i in found.items] == [None, "p1"]
    assert [str(one) for one in found.left_out] == [
        "pictures/gone.png (line 4) is not there.",
        "slices.csv line 5 lacks a path or a label.",
    ]


def test_tables_that_cannot_be_read(tmp_path):
    table = tmp_path / "slices.csv"
    table.write_text("file,label\na.png,x\n")
    with pytest.raises(InputError, match="no column 'path'; it has file, label"):
        find_slices(table)
    table.write_text("path,label,split\na.png,x,maybe\n")
    with pytest.raises(InputError, match="line 2 has split 'maybe'"):
        find_slices(table)


def test_datalist(tmp_path):
    found = find_slices(folders(tmp_path / "set", 1))
    assert find_slices(found.save(tmp_path / "list.json")) == found


def dicom(path, patient, frames=1, **tags):
    ds = header(Grid(shape=(4, 5)), PatientID=patient, **tags)
    put_pixels(ds, np.arange(frames * 20).reshape(frames, 4, 5))
    if frames > 1:
        ds.NumberOfFrames = frames
    return save_dicom(ds, path)


def test_dicom_slices_and_series(tmp_path):
    for number in range(2):
        dicom(tmp_path / "yes" / "series1" / f"IM{number}", "SECRET")
    dicom(tmp_path / "no" / "multi.dcm", "OTHER", frames=3)
    found = find_slices(tmp_path)
    assert [(i.label, i.frame) for i in found.items] == [
        ("no", 1),
        ("no", 2),
        ("no", 3),
        ("yes", None),
        ("yes", None),
    ]
    patients = [i.patient for i in found.items]
    assert len(set(patients)) == 2
    assert patients[3] == patients[4]
    assert "SECRET" not in str(found.as_dict())


def test_broken_dicom_is_left_out_by_name(tmp_path):
    root = folders(tmp_path, 1)
    (root / "none" / "x.dcm").write_bytes(b"no")
    (root / "none" / "y").write_bytes(bytes(128) + b"DICM" + bytes(40))
    found = fingerprint(find_slices(root)).dataset
    assert len(found) == 2
    assert [one.path.name for one in found.left_out] == ["x.dcm", "y"]
    assert all(str(one).startswith("none/") for one in found.left_out)


def test_nothing(tmp_path):
    with pytest.raises(InputError, match="No slice with a class"):
        find_slices(tmp_path)
    with pytest.raises(InputError, match="nothing at"):
        find_slices(tmp_path / "gone")
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(InputError, match="neither a folder"):
        find_slices(tmp_path / "x.zip")


def test_columns_named_as_subgroups_are_kept(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", texture(ord(name)))
    table = tmp_path / "slices.csv"
    table.write_text("path,label,Scanner,age group\na.png,x,A,old\nb.png,y,,young\n")
    named = find_slices(table, subgroups=["scanner", "Age group"])
    items = named.items
    assert [item.columns for item in items] == [
        (("scanner", "A"), ("age group", "old")),
        (("age group", "young"),),
    ]
    again = SliceDataset.load(named.save(tmp_path / "list.json"))
    assert [item.columns for item in again.items] == [item.columns for item in items]
    assert items[0].as_dict()["columns"] == {"scanner": "A", "age group": "old"}


def test_columns_that_are_no_subgroup_are_forgotten(tmp_path):
    """They may say who somebody is."""
    save(tmp_path / "a.png", texture(1))
    table = tmp_path / "slices.csv"
    table.write_text("path,label,patient,name,scanner\na.png,x,p1,Jane Roe,A\n")
    assert "Jane" not in find_slices(table).save(tmp_path / "all.json").read_text()
    (item,) = find_slices(table, subgroups=["scanner"]).items
    assert (item.patient, item.columns) == ("p1", (("scanner", "A"),))
    kept = find_slices(table, subgroups=["scanner", "name"]).save(tmp_path / "named.json")
    assert [i.columns for i in find_slices(kept).items] == [()]
    assert [i.columns for i in find_slices(kept, subgroups=["scanner"]).items] == [item.columns]
    with pytest.raises(InputError, match="subgroup 'age'; its further columns are name, scanner"):
        find_slices(table, subgroups=["age"])
    with pytest.raises(InputError, match="columns are none"):
        find_slices(folders(tmp_path / "set", 1), subgroups=["scanner"])
