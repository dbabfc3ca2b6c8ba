import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_studies import msd

from monai_tumor.data.layouts import (
    LAYOUTS,
    case_name,
    file_name,
    msd_above,
    name_beside,
    nifti_stem,
    read_msd,
    scheme_of_names,
    walk,
)
from monai_tumor.errors import SchemeError, StudyError
from monai_tumor.labels import SCHEMES, Modality


@pytest.mark.parametrize(
    ("name", "subject", "layout", "scheme"),
    [
        ("Brats17_TCIA_105_1", "TCIA_105", "brats2020", "brats2021"),
        ("Brats18_CBICA_AAB_1", "CBICA_AAB", "brats2020", "brats2021"),
        ("BraTS19_CBICA_AAB_1", "CBICA_AAB", "brats2020", "brats2021"),
        ("BraTS20_Training_001", "BraTS20_Training_001", "brats2020", "brats2021"),
        ("BraTS2021_00003", "BraTS2021_00003", "brats2021", "brats2021"),
        ("BraTS-GLI-00005-001", "BraTS-GLI-00005", "brats2023", "brats2023"),
        ("BraTS-GLI-02062-099", "BraTS-GLI-02062", "brats2023", "brats2023"),
        ("BraTS-GLI-02062-100", "BraTS-GLI-02062", "brats2024", "brats2024"),
        ("BraTS-SSA-00007-000", "BraTS-SSA-00007", "brats2023", "brats2023"),
        ("BraTS-MET-00101-100", "BraTS-MET-00101", "brats2023", "brats2023"),
        ("BraTS-PED-00001-000", "BraTS-PED-00001", "brats-ped", None),
        ("BraTS-MEN-RT-0003-1", "BraTS-MEN-RT-0003", "brats-men-rt", None),
        ("BraTS-XYZ-00001-000", "BraTS-XYZ-00001", "brats-other", None),
    ],
)
def test_case_names(name, subject, layout, scheme):
    known = case_name(name)
    assert known is not None
    assert (known.study, known.subject, known.layout) == (name, subject, layout)
    assert LAYOUTS[layout].scheme == scheme


@pytest.mark.parametrize("name", ["P012", "BraTS", "BRATS_001", "BraTS2021", "sub-BraTS20_1", ""])
def test_other_names_are_not_case_names(name):
    assert case_name(name) is None


def test_every_scheme_of_a_layout_exists():
    assert {x.scheme for x in LAYOUTS.values()} - {None} <= set(SCHEMES)


@pytest.mark.parametrize(
    ("name", "case", "role"),
    [
        ("BraTS19_CBICA_AAB_1_flair.nii.gz", "BraTS19_CBICA_AAB_1", "t2f"),
        ("BraTS2021_00003_t1ce.nii", "BraTS2021_00003", "t1c"),
        ("BraTS-GLI-00005-001-t1n.nii.gz", "BraTS-GLI-00005-001", "t1n"),
        ("BraTS-GLI-00005-001-seg.nii.gz", "BraTS-GLI-00005-001", None),
        ("W39_1998.09.19_Segm.nii", "", None),
        ("t2.nii.gz", "", "t2w"),
        ("P1_T1.NII.GZ", "P1", "t1n"),
    ],
)
def test_file_names(name, case, role):
    known = file_name(Path(name))
    assert known is not None
    assert (known.case, known.role) == (case, role)


@pytest.mark.parametrize("name", ["BRATS_001.nii.gz", "._X_t1.nii.gz", "X_t1.mha", "-.nii", ".nii"])
def test_files_that_name_no_modality(name):
    assert file_name(Path(name)) is None


@given(st.text(max_size=30))
def test_no_name_is_too_strange(name):
    path = Path("folder") / (name.replace("/", "").replace("\0", "") + ".nii.gz")
    file_name(path)
    case_name(name)
    assert nifti_stem(path) != ""


@pytest.mark.parametrize(
    ("neighbour", "expected"),
    [
        ("BraTS2021_00003_t1.nii.gz", "BraTS2021_00003_t1ce.nii.gz"),
        ("BraTS-GLI-00005-001-t2w.nii", "BraTS-GLI-00005-001-t1c.nii"),
        ("flair.nii.gz", "t1ce.nii.gz"),
    ],
)
def test_a_missing_file_is_named_like_its_neighbours(neighbour, expected):
    assert name_beside(Path(neighbour), Modality.T1C) == expected


def test_msd(tmp_path):
    data = read_msd(msd(tmp_path) / "dataset.json")
    assert data is not None
    assert data.modalities == ("t2f", "t1n", "t1c", "t2w")
    assert data.scheme == "msd"
    image, label = data.training[1]
    assert image == tmp_path / "imagesTr" / "BRATS_002.nii.gz"
    assert label == tmp_path / "labelsTr" / "BRATS_002.nii.gz"
    assert data.test == (tmp_path / "imagesTs" / "BRATS_003.nii.gz",)
    above = msd_above(data.test[0])
    assert above == data
    assert msd_above(tmp_path / "elsewhere" / "X.nii.gz") is None


def test_msd_passes_over_files_of_macos(tmp_path):
    pair = {"image": "./imagesTr/._BRATS_001.nii.gz", "label": "./labelsTr/._BRATS_001.nii.gz"}
    root = msd(tmp_path)
    listing = json.loads((root / "dataset.json").read_text())
    listing["training"].append(pair)
    (root / "dataset.json").write_text(json.dumps(listing))
    data = read_msd(root / "dataset.json")
    assert data is not None
    assert len(data.training) == 2


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({1: "necrotic core", 2: "peritumoral edema", 4: "enhancing tumor"}, "brats2021"),
        ({1: "NCR necrotic", 2: "oedema", 3: "GD-enhancing tumor"}, "brats2023"),
        ({1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"}, "msd"),
        ({1: "tumour"}, None),
        ({}, None),
    ],
)
def test_scheme_of_a_labels_map(labels, expected):
    assert scheme_of_names({0: "background", **labels}) == expected


def test_every_scheme_is_known_by_its_own_words():
    for scheme in SCHEMES.values():
        if scheme.name != "msd_as_published":
            assert scheme_of_names({k: str(v) for k, v in scheme.tissues.items()}) == scheme.name


def test_msd_without_a_labels_map_is_task01(tmp_path):
    root = msd(tmp_path, labels={})
    data = read_msd(root / "dataset.json")
    assert data is not None
    assert data.scheme == "msd"


def test_msd_whose_labels_fit_no_scheme(tmp_path):
    data = read_msd(msd(tmp_path, labels={"1": "tumour"}) / "dataset.json")
    assert data is not None
    assert data.scheme is None


def test_bad_dataset_json(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text("{")
    with pytest.raises(StudyError, match=r"/dataset\.json cannot be read: Expecting property"):
        read_msd(path)
    path.write_text('{"modality": {"0": "FLAIR"}, "training": [{"img": "x"}]}')
    with pytest.raises(StudyError, match=r"is not a Decathlon data set: KeyError\('image'\) where"):
        read_msd(path)
    path.write_text('{"modality": {"0": "CT"}, "training": []}')
    with pytest.raises(SchemeError, match="Unknown modality 'CT'"):
        read_msd(path)
    path.write_text('{"channel_names": {"0": "T1"}}')
    assert read_msd(path) is None


def test_walk_ends_where_links_loop(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    errors: list[OSError] = []
    assert [p.name for p in walk(tmp_path, errors.append)] == ["itself", "x"]
    assert errors == []
