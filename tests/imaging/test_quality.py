"""Flags on phantoms that were spoilt on purpose, and none on what is in order."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_tumor.data.phantom import make_phantom
from monai_tumor.errors import InputError
from monai_tumor.imaging.quality import Flag, Severity, check_images, check_mask
from monai_tumor.imaging.skull import has_skull
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import MODALITIES, Modality

# The small phantom is a doll's head; so many times larger it is a person's.
LIFE_SIZE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def study():
    return make_phantom(1, size="small")


def images_of(phantom):
    return dict(zip(MODALITIES, phantom.images, strict=True))


def names(flags):
    return [flag.name for flag in flags]


@pytest.mark.parametrize("seed", range(6))
def test_a_study_in_order_has_no_flags(seed):
    phantom = make_phantom(seed, size="small")
    assert check_images(images_of(phantom), phantom.affine) == ()


def test_a_skull_is_seen():
    phantom = make_phantom(1, size="brain", spacing=3.0, skull=True)
    images = images_of(phantom)
    (flag,) = check_images(images, phantom.affine)
    assert flag.name == "skull"
    assert flag.severity is Severity.WARNING
    assert flag.found.startswith("The skull is on: t1n: ")
    seen = has_skull({name: Volume(image, phantom.affine) for name, image in images.items()})
    assert check_images(images, phantom.affine, seen) == (flag,)


def test_a_brain_that_fills_its_box_is_not_a_skull(study):
    x, y, z = (slice(a.min(), a.max() + 1) for a in np.nonzero(study.brain))
    images = {name: image[x, y, z] for name, image in images_of(study).items()}
    assert check_images(images, study.affine) == ()


@pytest.mark.parametrize("moved", MODALITIES)
def test_a_modality_that_moved(study, moved):
    images = images_of(study)
    images[moved] = np.roll(images[moved], (2, -1), (0, 1))  # 6 and 3 mm, so 6.7
    flags = check_images(images, LIFE_SIZE)
    if moved is Modality.T1C:  # the others lie apart from it
        assert names(flags) == ["misaligned"] * 3
        return
    (flag,) = flags
    assert flag.name == "misaligned"
    assert flag.found.startswith(f"{moved} lies about 7 mm from t1c")


def test_a_modality_that_was_turned(study):
    images = images_of(study)
    images[Modality.T2F] = ndimage.rotate(images[Modality.T2F], 40, reshape=False, order=1)
    assert names(check_images(images, LIFE_SIZE)) == ["misaligned"]


def test_one_image_saved_twice(study):
    images = images_of(study)
    images[Modality.T2F] = images[Modality.T2W] * 3 + (images[Modality.T2W] > 0)
    (flag,) = check_images(images, study.affine)
    assert flag.name == "duplicate-modality"
    assert flag.found.startswith("t2w and t2f look like one image: they correlate 1.0")


@pytest.mark.parametrize(
    ("spacing", "severity"), [(3.0, None), (4.0, Severity.NOTE), (6.5, Severity.WARNING)]
)
@pytest.mark.parametrize("axis", range(3))
def test_thick_slices_along_any_axis(spacing, severity, axis):
    affine = np.eye(4)
    affine[axis, axis] = spacing
    flags = check_images({}, affine)
    assert [f.severity for f in flags] == ([severity] if severity else [])
    if severity:
        assert f"slices are {spacing:g} mm apart" in flags[0].found


def test_constant_images_and_single_slices_are_no_failure():
    flat = {name: np.zeros((20, 20, 20)) for name in MODALITIES}
    assert check_images(flat, np.eye(4)) == ()
    rng = np.random.default_rng(0)
    noise = {name: rng.normal(size=(9, 9, 1)) for name in MODALITIES}
    assert check_images(noise, np.eye(4)) == ()


def ball(centre, radius, shape=(40, 40, 40)):
    grid = np.indices(shape) - np.array(centre)[:, None, None, None]
    return (grid**2).sum(0) <= radius**2


def test_a_mask_in_order():
    labels = ball((20, 20, 20), 8) * 2
    labels[ball((20, 20, 20), 5)] = 3
    assert check_mask(labels, np.eye(4), "brats2023") == ()


@pytest.mark.parametrize(
    ("affine", "sides"),
    [(np.eye(4), "L (49 voxels), S"), (np.diag([-1.0, 1, -1, 1]), "R (49 voxels), I")],
)
def test_a_mask_at_the_border_names_the_side(affine, sides):
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:7, 5:12, 13:] = 3
    (flag,) = check_mask(labels, affine, "msd")
    assert flag.name == "border"
    assert flag.found == f"The tumour reaches the edge of the volume: {sides} (49 voxels)."


def test_tiny_islands_are_counted_with_their_volume():
    labels = ball((20, 20, 20), 8) * 3
    labels[5, 5, 5] = labels[35, 35, 35] = labels[35, 5, 5] = 3
    (flag,) = check_mask(labels, np.eye(4), "msd")
    assert flag.name == "tiny-islands"
    assert flag.severity is Severity.NOTE
    assert flag.found == (
        "3 islands have less than 0.05 mL, together 0.003 mL; 1 larger lesion is left."
    )


def test_no_enhancing_tumour_and_no_tumour():
    labels = ball((20, 20, 20), 8) * 1
    (flag,) = check_mask(labels, np.eye(4), "msd")
    assert flag.name == "empty-et"
    assert flag.found == f"No enhancing tumour in {labels.sum() / 1000:.1f} mL of tumour."
    (flag,) = check_mask(labels * 0, np.eye(4), "msd")
    assert flag.name == "empty-mask"
    assert flag.severity is Severity.WARNING


def test_text_and_json():
    flag = Flag("border", Severity.WARNING, "It reaches the edge.", "Look there.")
    assert str(flag) == "warning: border: It reaches the edge. Look there."
    assert json.loads(json.dumps(flag.as_dict())) == {
        "name": "border",
        "severity": "warning",
        "found": "It reaches the edge.",
        "advice": "Look there.",
    }


def test_unequal_grids_are_an_error():
    images = {Modality.T1N: np.zeros((4, 4, 4)), Modality.T1C: np.zeros((4, 4, 5))}
    with pytest.raises(InputError, match=r"on one grid, found shapes .*; resample them"):
        check_images(images, np.eye(4))


CASES = ["2021/BraTS2021_01480", "2023/BraTS-SSA-00007-000"]


@pytest.mark.parametrize("case", CASES)
def test_real_stripped_brains_have_no_flags_but_one_that_moved_has(real_data, case):
    stem = real_data / "brats" / case
    words = (
        ("_t1", "_t1ce", "_t2", "_flair") if "2021" in case else ("-t1n", "-t1c", "-t2w", "-t2f")
    )
    files = [nib.load(stem / f"{stem.name}{word}.nii.gz") for word in words]
    images = {m: np.asarray(f.dataobj) for m, f in zip(MODALITIES, files, strict=True)}
    assert check_images(images, files[0].affine) == ()
    images[Modality.T2F] = np.roll(images[Modality.T2F], 6, 1)
    assert names(check_images(images, files[0].affine)) == ["misaligned"]
