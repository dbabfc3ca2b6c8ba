import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from monai_tumor.dicom import Reason, RefusalError
from monai_tumor.dicom.placing import Grid, matches, onto, place

AXES = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product((1, -1), repeat=3))


def grid(shape=(4, 5, 6), edges=(1.5, 2.0, 3.0), corner=(-3.0, 7.0, 11.0), shear=0.0) -> Grid:
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = corner
    affine[1, 2] = shear
    return Grid(shape, affine)


def turned(one: Grid, labels, axes, signs):
    """The same voxels in another order of axes: moved one by one, by hand."""
    shape = tuple(one.shape[a] for a in axes)
    moved = np.zeros(shape, labels.dtype)
    change = np.zeros((4, 4))  # from the new voxel index to the old one
    change[3, 3] = 1
    for n, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        change[axis, n] = sign
        change[axis, 3] = 0 if sign > 0 else one.shape[axis] - 1
    for index in np.ndindex(shape):
        old = (change @ [*index, 1])[:3].astype(int)
        moved[index] = labels[tuple(old)]
    return Grid(shape, one.affine @ change), moved


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(AXES), st.sampled_from(SIGNS), st.floats(-2, 2), st.integers(0, 99))
def test_any_order_of_axes_comes_back_voxel_for_voxel(axes, signs, shear, seed):
    target = grid(shear=shear)
    labels = np.random.default_rng(seed).integers(0, 4, target.shape).astype(np.uint8)
    source, moved = turned(target, labels, axes, signs)
    placed = place(moved, source, target)
    assert placed.exact
    assert placed.warnings == ()
    assert np.array_equal(placed.labels, labels)


@pytest.mark.parametrize("away", [0.05, -0.05])
def test_rounded_headers_are_the_same_grid(away):
    assert matches(grid(corner=(-3 + away * 1.5, 7, 11)), grid())


@pytest.mark.parametrize(
    "other",
    [
        grid(corner=(-3 + 0.2 * 1.5, 7, 11)),
        grid(edges=(1.5, 2.0, 3.2)),
        grid(shape=(4, 5, 7)),
        grid(shear=0.5),
    ],
)
def test_another_grid_is_refused_or_resampled(other):
    labels = np.zeros(other.shape, np.uint8)
    labels[2, 2, 2] = 1
    with pytest.raises(RefusalError, match="their voxels do not coincide") as refused:
        place(labels, other, grid())
    assert refused.value.reason is Reason.GRID_DIFFERS
    placed = place(labels, other, grid(), resample=True)
    assert not placed.exact
    assert placed.labels.shape == (4, 5, 6)
    assert "nearest neighbour" in placed.warnings[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(-1, 1))
def test_resampling_takes_the_nearest_voxel(seed, shear):
    random = np.random.default_rng(seed)
    source, target = grid(shear=shear), grid((5, 4, 7), (1.1, 2.3, 2.2), (-3.4, 6.1, 12.3))
    labels = random.integers(1, 4, source.shape).astype(np.uint8)
    made = onto(labels, source, target)
    for index in np.ndindex(target.shape):
        place_ = apply_affine(target.affine, index)
        voxel = apply_affine(np.linalg.inv(source.affine), place_)
        nearest = np.floor(voxel + 0.5).astype(int)
        if np.abs(voxel - nearest).max() > 0.499:
            continue  # halfway: either will do
        inside = (nearest >= 0).all() and (nearest < source.shape).all()
        assert made[index] == (labels[tuple(nearest)] if inside else 0)


def test_what_changed_by_resampling_is_said():
    labels = np.ones((4, 5, 6), np.uint8)
    target = grid(shape=(8, 10, 12), corner=(-4.5, 5.0, 5.0))
    notes = place(labels, grid(), target, resample=True).warnings
    assert notes[1] == "the mask reaches over 12% of the series; the rest is background"
    assert notes[2] == "label 1: 1.08 mL became 1.08 mL"  # 120 voxels of 9 mm3


def test_labels_outside_the_series_are_refused():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0, 0, :] = 1
    with pytest.raises(RefusalError, match="2 of 6 labelled voxels lie outside") as refused:
        place(labels, grid(), grid(shape=(4, 5, 4)), resample=True)
    assert refused.value.reason is Reason.NOT_COVERED


def test_an_empty_mask_elsewhere_is_refused():
    with pytest.raises(RefusalError, match="do not meet in space") as refused:
        place(np.zeros((4, 5, 6), np.uint8), grid(corner=(500, 0, 0)), grid(), resample=True)
    assert refused.value.reason is Reason.NOT_COVERED


def test_volume_of_a_voxel_is_that_of_the_parallelepiped():
    assert grid(shear=5.0).voxel_ml == pytest.approx(0.009)  # 1.5 x 2 x 3 mm3
