"""Phantoms on disk: three layouts, one anatomy."""

import json
from functools import partial

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_tumor.data.phantom import TumourOptions, make_phantom, write_phantoms
from monai_tumor.errors import InputError

SUFFIXES = {
    "brats2021": ("BraTS2021_00001/BraTS2021_00001_", ["t1", "t1ce", "t2", "flair", "seg"]),
    "brats2023": (
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-",
        ["t1n", "t1c", "t2w", "t2f", "seg"],
    ),
}
make = partial(make_phantom, size="small", tumour=TumourOptions(1, True, True), spacing=(1, 1, 2))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    out = {}
    for layout in ("msd", "brats2021", "brats2023"):
        out[layout] = tmp_path_factory.mktemp(layout)
        write_phantoms(out[layout], count=1, layout=layout, make=make)
    return out


def read(folders, layout):
    """Images [t1n, t1c, t2w, t2f] as stored, and the label."""
    if layout == "msd":
        four = nib.load(folders["msd"] / "imagesTr" / "BRATS_001.nii.gz")
        order = [1, 2, 3, 0]  # FLAIR comes first
        images = [four.slicer[..., k] for k in order]
        return images, nib.load(folders["msd"] / "labelsTr" / "BRATS_001.nii.gz")
    stem, names = SUFFIXES[layout]
    *images, label = (nib.load(folders[layout] / f"{stem}{name}.nii.gz") for name in names)
    return images, label


def test_layouts_hold_the_same_anatomy_in_the_world(folders):
    expected = make(1)
    centre = ndimage.center_of_mass(expected.label > 0)
    centre = expected.affine @ [*centre, 1]
    for layout, axes in (("msd", "RAS"), ("brats2021", "LPS"), ("brats2023", "LPS")):
        images, label = read(folders, layout)
        whole = np.asarray(label.dataobj) > 0
        here = label.affine @ [*ndimage.center_of_mass(whole), 1]
        assert here == pytest.approx(centre, abs=1e-4)
        assert "".join(nib.aff2axcodes(label.affine)) == axes
        for image, truth in zip(images, expected.images, strict=True):
            assert np.array_equal(image.affine, label.affine)
            assert image.get_data_dtype() == np.int16
            straight = nib.as_closest_canonical(image)
            assert np.array_equal(straight.affine, expected.affine)
            assert np.abs(np.asarray(straight.dataobj) - truth).max() <= 0.5


@pytest.mark.parametrize(
    ("layout", "necrosis", "oedema", "enhancing"),
    [("msd", 2, 1, 3), ("brats2021", 1, 2, 4), ("brats2023", 1, 2, 3)],
)
def test_label_values_by_hand(folders, layout, necrosis, oedema, enhancing):
    label = nib.as_closest_canonical(read(folders, layout)[1])
    assert label.get_data_dtype() == np.uint8
    values = np.asarray(label.dataobj)
    truth = make(1).label
    assert np.array_equal(values, np.array([0, necrosis, oedema, enhancing])[truth])


def test_headers(folders):
    for layout in folders:
        header = read(folders, layout)[1].header
        assert header.get_xyzt_units()[0] == "mm"
        assert header["sform_code"] == header["qform_code"] == 1
        assert header.get_zooms() == (1, 1, 2)
        assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-4)


def test_dataset_json_as_in_msd(tmp_path):
    seen = []
    written = write_phantoms(
        tmp_path, count=2, unlabelled=1, layout="msd", make=make, on_written=seen.append
    )
    assert seen == written
    assert [str(p.relative_to(tmp_path)) for p in written] == [
        "imagesTr/BRATS_001.nii.gz",
        "imagesTr/BRATS_002.nii.gz",
        "imagesTs/BRATS_003.nii.gz",
    ]
    description = json.loads((tmp_path / "dataset.json").read_text())
    assert description["tensorImageSize"] == "4D"
    assert description["modality"] == {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    assert description["labels"] == {
        "0": "background",
        "1": "edema",
        "2": "non-enhancing tumor",
        "3": "enhancing tumour",
    }
    assert (description["numTraining"], description["numTest"]) == (2, 1)
    assert description["training"][1] == {
        "image": "./imagesTr/BRATS_002.nii.gz",
        "label": "./labelsTr/BRATS_002.nii.gz",
    }
    assert description["test"] == ["./imagesTs/BRATS_003.nii.gz"]
    assert sorted(p.name for p in (tmp_path / "labelsTr").iterdir()) == [
        "BRATS_001.nii.gz",
        "BRATS_002.nii.gz",
    ]
    assert nib.load(written[0]).shape == (48, 56, 20, 4)


def test_africa_orientation_unlabelled_and_seed(tmp_path, folders):
    written = write_phantoms(
        tmp_path, count=0, unlabelled=1, layout="brats2023", orientation="ras", seed=1, make=make
    )
    assert [p.name for p in written] == ["BraTS-GLI-00001-000"]
    assert len(list(written[0].iterdir())) == 4
    image = nib.load(written[0] / "BraTS-GLI-00001-000-t2f.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    other = nib.as_closest_canonical(read(folders, "brats2023")[0][3])
    assert not np.array_equal(np.asarray(image.dataobj), np.asarray(other.dataobj))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "bids"}, "Unknown phantom layout 'bids'; choose one of msd, brats2021, brats2"),
        ({"orientation": "RAL"}, "Unknown orientation 'RAL'; give three letters such as RAS"),
        ({"count": -1}, "Cannot write -1 phantoms"),
        ({"layout": "dicom", "orientation": "RAS"}, "DICOM has axes of its own"),
    ],
)
def test_errors(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        write_phantoms(tmp_path, **({"count": 1, "layout": "msd", "make": make} | arguments))
    assert not list(tmp_path.iterdir())
