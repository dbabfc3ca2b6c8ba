"""Volumes, counts and RANO measures against numbers worked out by hand."""

import json
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_tumor.errors import InputError, SchemeError
from monai_tumor.imaging.measure import axial_plane, measure


def affine(spacing=(1.0, 1.0, 1.0)):
    return np.diag([*spacing, 1.0])


def boxes(shape=(60, 50, 30)):
    """brats2023: oedema of 30x30x10, core of 10x10x5 in it, enhancing 20x12x4 in it, an island."""
    labels = np.zeros(shape, np.uint8)
    labels[5:35, 5:35, 5:15] = 2
    labels[6:16, 6:16, 6:11] = 1
    labels[12:32, 20:32, 6:10] = 3
    labels[45:50, 10:13, 20:21] = 3  # 15 voxels
    return labels


def test_volumes_are_voxels_times_their_size():
    found = measure(boxes(), affine((1, 2, 0.5)), "brats2023")
    voxel = 1 * 2 * 0.5 / 1000
    assert found.volumes_ml == pytest.approx(
        {
            "WT": (9000 + 15) * voxel,
            "TC": (500 + 960 + 15) * voxel,
            "ET": (960 + 15) * voxel,
            "oedema": (9000 - 500 - 960) * voxel,
            "non-enhancing core": 500 * voxel,
        }
    )


@pytest.mark.parametrize(
    ("scheme", "core", "oedema", "enhancing"),
    [("brats2021", 1, 2, 4), ("msd", 2, 1, 3), ("ped2024", 3, 4, 1)],
)
def test_every_scheme_measures_the_same(scheme, core, oedema, enhancing):
    table = np.array([0, core, oedema, enhancing], np.uint8)
    one = measure(boxes(), affine(), "brats2023").as_dict()
    other = measure(table[boxes()], affine(), scheme).as_dict()
    assert one | {"scheme": scheme} == other


def test_a_resection_cavity_is_not_tumour():
    labels = boxes()
    labels[40:44] = 4
    volumes = measure(labels, affine(), "brats2024").volumes_ml
    assert volumes == measure(boxes(), affine(), "brats2023").volumes_ml


def test_counts_state_their_rule():
    found = measure(boxes(), affine(), "brats2023")  # the island has 0.015 mL
    assert found.lesions == {"WT": 1, "TC": 2, "ET": 1}
    assert found.lesion_rule == "components with 26 neighbours, of at least 0.05 mL"
    all_of_them = measure(boxes(), affine(), "brats2023", least_ml=0.015)
    assert all_of_them.lesions == {"WT": 2, "TC": 3, "ET": 2}
    corners = np.zeros((10, 10, 10), np.uint8)
    corners[:5, :5, :5] = corners[5:, 5:, 5:] = 3
    for connectivity, count in ((26, 1), (6, 2)):
        found = measure(corners, affine(), "msd", connectivity=connectivity)
        assert found.lesions["ET"] == count


def test_an_enhancing_box():
    """20 x 12 x 4 mm: the outline's longest line is from (0, 1/2) to (20, 11 1/2)."""
    found = measure(boxes(), affine(), "brats2023")
    (lesion,) = found.enhancing
    assert lesion.longest_mm == pytest.approx(np.hypot(20, 11))
    assert lesion.perpendicular_mm == pytest.approx(12 * np.hypot(20, 11) / 20, abs=1e-4)
    assert lesion.product_mm2 == pytest.approx(lesion.longest_mm * lesion.perpendicular_mm)
    assert lesion.measurable
    assert found.sum_of_products_mm2 == lesion.product_mm2
    assert lesion.volume_ml == pytest.approx(0.96)
    assert lesion.slices == 4
    assert 6 <= lesion.slice_index < 10
    assert lesion.centre_mm == pytest.approx((21.5, 25.5, 7.5))
    ends = np.array(lesion.longest_ends_mm)
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(lesion.longest_mm)
    assert ends[:, 2] == pytest.approx(lesion.slice_index)
    assert sorted(abs(ends[:, 0] - 21.5)) == pytest.approx([10, 10])


def ellipsoid(spacing, half, shape=(64, 64, 40)):
    """Enhancing, with half axes `half` in mm, in the middle of a RAS grid."""
    mm = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*mm, indexing="ij")
    inside = (x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2 <= 1
    return inside.astype(np.uint8) * 3


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.floats(0.6, 1.5)] * 3), st.floats(12, 17), st.floats(6, 12), st.floats(8, 14))
def test_an_ellipsoid_measures_its_axial_axes(spacing, a, b, c):
    """The sagittal and coronal extents do not count, however long."""
    found = measure(ellipsoid(spacing, (a, b, c)), affine(spacing), "msd")
    (lesion,) = found.enhancing
    assert lesion.longest_mm == pytest.approx(2 * a, abs=1.5 * max(spacing))
    assert lesion.perpendicular_mm == pytest.approx(2 * b, abs=1.8 * max(spacing))
    assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * a * b * c / 1000, rel=0.06)


def test_all_48_orientations_measure_the_same():
    labels = ellipsoid((1, 1.25, 2), (14, 9, 12), (34, 34, 20))
    labels[3:8, 5:9, 3:9] = 3
    first = measure(labels, affine((1, 1.25, 2)), "msd")
    seen = 0
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        change = np.array(list(zip(axes, signs, strict=True)), dtype=float)
        image = nib.Nifti1Image(labels, affine((1, 1.25, 2))).as_reoriented(change)
        found = measure(np.asarray(image.dataobj), image.affine, "msd")
        assert found.volumes_ml == pytest.approx(first.volumes_ml)
        for lesion, expected in zip(found.enhancing, first.enhancing, strict=True):
            assert lesion.longest_mm == pytest.approx(expected.longest_mm, abs=0.01)
            assert lesion.product_mm2 == pytest.approx(expected.product_mm2, rel=0.03)
            assert lesion.centre_mm == pytest.approx(expected.centre_mm)
        seen += 1
    assert seen == 48


def test_up_to_five_largest_by_volume():
    labels = np.zeros((100, 20, 20), np.uint8)
    for n in range(7):
        labels[14 * n : 14 * n + 4 + n, 2:12, 2:12] = 3
    found = measure(labels, affine(), "msd")
    assert found.lesions["ET"] == 7
    assert [one.volume_ml for one in found.enhancing] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6])


def slab(shape=(30, 30, 9)):
    """One lesion of 9 x 9 mm, so about 12 mm along its diagonals, on three slices."""
    labels = np.zeros(shape, np.uint8)
    labels[4:13, 4:13, 2:5] = 3
    return labels


def test_measurable_as_rano_says():
    """10 mm both ways; twice the slice thickness where that is over 5 mm; on two slices."""
    thin = measure(slab(), affine((1, 1, 5)), "msd")
    assert thin.enhancing[0].measurable
    thick = measure(slab(), affine((1, 1, 7)), "msd")
    assert thick.plane.measurable_mm == 14
    assert "thick (over 5 mm)" in str(thick.plane)
    assert thick.enhancing[0].perpendicular_mm == pytest.approx(12, abs=0.2)
    assert not thick.enhancing[0].measurable
    assert thick.sum_of_products_mm2 == 0
    once = slab()
    once[:, :, 3:] = 0
    assert not measure(once, affine((1, 1, 5)), "msd").enhancing[0].measurable
    bar = np.zeros((30, 30, 9), np.uint8)
    bar[2:28, 5:14, 2:6] = 3  # 26 x 9
    assert not measure(bar, affine(), "msd").enhancing[0].measurable


def test_the_plane_is_the_one_nearest_to_axial():
    coronal = np.array([[-1, 0, 0, 0], [0, 0, 4, 0], [0, -1.5, 0, 0], [0, 0, 0, 1.0]])
    plane = axial_plane(coronal)
    assert plane.axis == 1
    assert plane.spacing_mm == pytest.approx(1.5)
    assert plane.pixel_mm == pytest.approx((1, 4))
    assert str(plane) == "axial slices every 1.5 mm, pixels of 1 x 4 mm"


def test_an_oblique_plane_says_so():
    a = np.radians(20)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    plane = axial_plane(tilt)
    assert plane.oblique_deg == pytest.approx(20)
    assert "oblique, 20 degrees off" in str(plane)
    turned_in_plane = np.eye(4)
    turned_in_plane[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    assert axial_plane(turned_in_plane).oblique_deg == pytest.approx(0, abs=1e-6)


def test_slices_of_a_sheared_grid_lie_as_far_apart_as_their_planes():
    sheared = np.eye(4)
    sheared[1, 2], sheared[2, 2] = 3, 4  # the axis is 5 mm long, the planes 4 mm apart
    assert axial_plane(sheared).spacing_mm == pytest.approx(4)


def test_no_tumour():
    found = measure(np.zeros((5, 5, 5), np.uint8), affine(), "msd")
    assert set(found.volumes_ml.values()) == {0}
    assert found.lesions == {"WT": 0, "TC": 0, "ET": 0}
    assert found.enhancing == ()
    assert found.sum_of_products_mm2 == 0


def test_text_and_json():
    found = measure(boxes(), affine(), "brats2023")
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    assert str(found).splitlines()[:2] == [
        "volumes  WT 9.02 mL, TC 1.48 mL, ET 0.97 mL, oedema 7.54 mL, non-enhancing core 0.50 mL",
        "lesions  WT 1, TC 2, ET 1 (components with 26 neighbours, of at least 0.05 mL)",
    ]
    assert "22.8 x 13.7 mm = 313 mm2, 0.96 mL, measurable" in str(found)


def test_errors_say_what_was_found():
    with pytest.raises(InputError, match=r"integers \[X, Y, Z\], found float64 of shape \(2, 2, 2"):
        measure(np.zeros((2, 2, 2)), affine(), "msd")
    with pytest.raises(InputError, match=r"found int64 of shape \(2, 2\)"):
        measure(np.zeros((2, 2), int), affine(), "msd")
    with pytest.raises(SchemeError, match=r"values \[4\] are not in scheme 'msd'"):
        measure(np.full((2, 2, 2), 4), affine(), "msd")
    with pytest.raises(InputError, match="affine is singular"):
        measure(np.zeros((2, 2, 2), int), np.zeros((4, 4)), "msd")
    with pytest.raises(InputError, match="Connectivity 8"):
        measure(np.zeros((2, 2, 2), int), affine(), "msd", connectivity=8)


def test_a_ring_of_a_real_glioblastoma(real_data):
    """Looked at: one left frontal ring, 5 cm long, its cap solid on the lower slices."""
    stem = real_data / "brats" / "2021" / "BraTS2021_00006"
    image = nib.load(stem / "BraTS2021_00006_seg.nii.gz")
    found = measure(np.asarray(image.dataobj), image.affine, "brats2021")
    voxels = np.bincount(np.asarray(image.dataobj).ravel(), minlength=5)
    assert found.volumes_ml["ET"] == pytest.approx(voxels[4] / 1000)
    assert found.lesions["ET"] == 1
    (lesion,) = found.enhancing
    slices = np.asarray(image.dataobj)[..., lesion.slice_index] == 4
    x, y = np.nonzero(slices)
    assert lesion.longest_mm < np.hypot(np.ptp(x) + 1, np.ptp(y) + 1)
    assert lesion.measurable
