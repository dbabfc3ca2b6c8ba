"""Pictures from any grid, against places worked out by hand and against a golden picture.

The golden picture was looked at. Where the drawing changes on purpose, look at the new one, which
the failing test names, and copy it over the old.
"""

import errno
import os
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_tumor.errors import InputError, SchemeError
from monai_tumor.imaging.drawing import COLOURS
from monai_tumor.labels import Region
from monai_tumor.report.pictures import overlay, save_overlay

GOLDEN = Path(__file__).parent / "golden" / "overlay.png"
ORANGE = np.array(COLOURS[Region.ET])


def head(spacing=(3.0, 4.0, 5.0), size=(150.0, 180.0, 140.0)):
    """An ellipsoid in RAS, brighter in front, with a tumour left, in front and above the middle."""
    shape = [round(s / d) for s, d in zip(size, spacing, strict=True)]
    mm = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*mm, indexing="ij")
    image = np.where(
        (x / 68) ** 2 + (y / 84) ** 2 + (z / 64) ** 2 < 1, np.where(y > 0, 120.0, 90.0), 0
    )
    distance = np.sqrt((x + 30) ** 2 + (y - 40) ** 2 + (z - 20) ** 2)
    labels = np.select([distance < 8, distance < 14, distance < 24], [1, 4, 2]).astype(np.uint8)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in mm]
    return image, labels, affine


def in_every_orientation(volumes, affine):
    """The volumes as each of the 48 grids would store them, by nibabel."""
    for axes, signs in product(permutations("RAS"), product((0, 1), repeat=3)):
        codes = [
            a if s else {"R": "L", "A": "P", "S": "I"}[a] for a, s in zip(axes, signs, strict=True)
        ]
        change = nib.orientations.axcodes2ornt(codes)
        change = nib.orientations.ornt_transform(nib.io_orientation(affine), change)
        images = [nib.Nifti1Image(v, affine).as_reoriented(change) for v in volumes]
        yield [np.asarray(i.dataobj) for i in images], images[0].affine


def centre_of(colour, panel):
    """Where a colour lies, as a share of width and height."""
    ys, xs = np.nonzero(np.abs(panel.astype(int) - colour).max(-1) < 60)
    return xs.mean() / panel.shape[1], ys.mean() / panel.shape[0]


def test_left_is_on_the_right_from_all_48_orientations():
    image, labels, affine = head()
    seen = []
    for (i, s), a in in_every_orientation((image, labels), affine):
        seen.append(np.asarray(overlay(i, s, affine=a, scheme="brats2021", panel_px=200)))
    assert len(seen) == 48
    assert all(np.array_equal(picture, seen[0]) for picture in seen)
    axial, coronal, sagittal = np.array_split(seen[0][:-28], 3, axis=1)
    x, y = centre_of(ORANGE, axial)
    assert x > 0.6  # left
    assert y < 0.45  # anterior
    x, y = centre_of(ORANGE, coronal)
    assert x > 0.6  # left
    assert y < 0.48  # superior
    x, y = centre_of(ORANGE, sagittal)
    assert x < 0.4  # anterior
    assert y < 0.48  # superior


def golden_overlay():
    image, labels, affine = head()
    shifted = np.roll(labels, 2, 0)
    return overlay(
        image,
        shifted,
        affine=affine,
        scheme="brats2021",
        truth=labels,
        title="Phantom",
        panel_px=200,
    )


def distance(picture, golden):
    one, other = (np.asarray(p.convert("RGB")).astype(int) for p in (picture, golden))
    assert one.shape == other.shape
    return np.abs(one - other).mean()


def test_golden_picture(tmp_path):
    picture = golden_overlay()
    made = tmp_path / "overlay.png"
    picture.save(made)
    golden = Image.open(GOLDEN)
    assert distance(picture, golden) < 1, f"look at {made}, and copy it over {GOLDEN.name} if good"
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert distance(mirrored, golden) > 5


def test_truth_is_a_second_row_on_the_same_slices():
    image, labels, affine = head()
    options = {"affine": affine, "scheme": "brats2021", "panel_px": 200}
    one = overlay(image, labels, **options)
    both = overlay(image, labels, truth=labels, **options)
    row = one.height - 28
    assert both.height == one.height + row
    pixels = np.asarray(both)
    first, second = pixels[50:row], pixels[row + 50 : 2 * row]  # below the rows' names
    assert np.array_equal(first, second)


def test_without_a_tumour_the_middle_is_shown():
    image, labels, affine = head()
    picture = np.asarray(overlay(image, labels * 0, affine=affine, scheme="msd", panel_px=200))
    colourful = picture[:-28].astype(int).std(-1) > 10
    assert not colourful.any()
    assert (picture[:-28] > 200).mean() > 0.05  # the bright front of the head


@pytest.mark.parametrize("shape", [(1, 1, 1), (64, 64, 1), (1, 3, 900)])
@pytest.mark.parametrize("spacing", [0.01, 1, 100])
def test_odd_grids_give_a_picture_of_bounded_size(shape, spacing):
    image = np.ones(shape)
    labels = np.ones(shape, np.uint8)
    affine = np.diag([spacing, spacing, spacing, 1])
    width, height = overlay(image, labels, affine=affine, scheme="msd").size
    assert 744 <= width < 1400
    assert 280 <= height < 600


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    image, labels, affine = head()
    path = tmp_path / "Größe 1.png"
    options = {"affine": affine, "scheme": "brats2021", "panel_px": 200}
    assert save_overlay(path, image, labels, **options) == path
    assert np.array_equal(
        np.asarray(Image.open(path)), np.asarray(overlay(image, labels, **options))
    )
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"^Cannot write .*No space left on device\. Choose another"
    ):
        save_overlay(path, image, labels * 0, **options)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_errors_say_what_to_do():
    image, labels, affine = head()
    with pytest.raises(SchemeError, match=r"values \[4\] are not in scheme 'msd'; state the right"):
        overlay(image, labels, affine=affine, scheme="msd")
    with pytest.raises(InputError, match=r"different grids.*resample the segmentation"):
        overlay(image[1:], labels, affine=affine, scheme="brats2021")
    with pytest.raises(InputError, match=r"label map must be \[X, Y, Z\], found shape \(3,"):
        overlay(image, np.stack([labels] * 3), affine=affine, scheme="brats2021")
    with pytest.raises(InputError, match="affine is singular"):
        overlay(image, labels, affine=np.zeros((4, 4)), scheme="brats2021")


@pytest.mark.parametrize(
    ("folder", "names", "scheme"),
    [
        ("2021/BraTS2021_00006", ("_t1ce.nii.gz", "_seg.nii.gz"), "brats2021"),
        ("2023/BraTS-SSA-00007-000", ("-t1c.nii.gz", "-seg.nii.gz"), "brats2023"),
    ],
)
def test_left_frontal_tumours_of_two_layouts(real_data, folder, names, scheme):
    """LPS and RAS; both tumours lie left (13 and 19 mm) and anterior of the brain's centre."""
    stem = real_data / "brats" / folder
    image, labels = (nib.load(stem / f"{stem.name}{name}") for name in names)
    picture = overlay(
        np.asarray(image.dataobj), np.asarray(labels.dataobj), affine=image.affine, scheme=scheme
    )
    axial = np.asarray(picture)[:-28, : picture.width // 3]
    x, y = centre_of(np.array(COLOURS[Region.WT]), axial)
    assert x > 0.52
    assert y < 0.45
