"""Diameters against shapes whose answer is worked out by hand, and against a slow search."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from monai_tumor.imaging.contours import contours
from monai_tumor.imaging.diameters import cross, most_product


def plane(di=1.0, dj=1.0):
    return np.array([[di, 0.0], [0.0, dj], [0.0, 0.0]])


def grid(size=100, di=1.0, dj=1.0):
    """The mm coordinates of voxel centres, from the middle."""
    i, j = np.mgrid[:size, :size] - (size - 1) / 2
    return i * di, j * dj


def turned(x, y, degrees):
    a = np.radians(degrees)
    return np.cos(a) * x + np.sin(a) * y, np.cos(a) * y - np.sin(a) * x


def test_a_row_of_voxels_measures_its_voxels():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 4] = True
    found = cross(mask, plane(1.5, 3.0))
    assert found.longest_mm == pytest.approx(5 * 1.5)
    assert found.perpendicular_mm == pytest.approx(3.0, abs=1e-4)
    assert sorted(found.longest.tolist()) == [[1.5, 4], [6.5, 4]]


def test_a_box_measures_its_diagonal_with_the_corners_cut():
    """From (-1/2, 0) to (19 1/2, 9): the outline cuts each corner half a voxel from its tip."""
    mask = np.zeros((30, 30), bool)
    mask[5:25, 5:15] = True
    found = cross(mask, plane())
    assert found.longest_mm == pytest.approx(np.hypot(20, 9))
    # Perpendicular to (20, 9), between sides 10 apart: 10 / cos of its slope.
    assert found.perpendicular_mm == pytest.approx(10 * np.hypot(20, 9) / 20, abs=1e-4)


@pytest.mark.parametrize("degrees", [0, 17, 45, 60])
@pytest.mark.parametrize(("di", "dj"), [(1, 1), (0.5, 2), (1.2, 0.9)])
@pytest.mark.parametrize(("a", "b"), [(20, 20), (20, 10), (24, 6)])
def test_an_ellipse_measures_its_axes(a, b, di, dj, degrees):
    x, y = turned(*grid(110, di, dj), degrees)
    found = cross((x / a) ** 2 + (y / b) ** 2 <= 1, plane(di, dj))
    voxel = max(di, dj)
    assert found.longest_mm == pytest.approx(2 * a, abs=1.3 * voxel)
    if a != b:  # of a circle, any direction is right
        along = (found.longest[1] - found.longest[0]) * (di, dj)
        along /= np.linalg.norm(along)
        assert abs(along @ turned(1, 0, -degrees)) > np.cos(np.radians(8))
    # Where the longest line is turned off the axis by t, the chord across it is longer than b.
    assert found.perpendicular_mm == pytest.approx(2 * b, abs=1.3 * voxel)


@pytest.mark.parametrize("degrees", [0, 20, 45, 70])
def test_a_turned_box_measures_the_same(degrees):
    x, y = turned(*grid(100), degrees)
    found = cross((abs(x) <= 25) & (abs(y) <= 8), plane())
    diagonal = np.hypot(50, 16)
    assert found.longest_mm == pytest.approx(diagonal, abs=1.3)
    assert found.perpendicular_mm == pytest.approx(16 * diagonal / 50, abs=1.3)


def test_an_oblique_plane_measures_as_a_straight_one():
    x, y = turned(*grid(60), 30)
    mask = (x / 20) ** 2 + (y / 9) ** 2 <= 1
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    straight, oblique = cross(mask, plane()), cross(mask, rotation @ plane())
    assert oblique.longest_mm == pytest.approx(straight.longest_mm)
    assert oblique.perpendicular_mm == pytest.approx(straight.perpendicular_mm)


def test_a_sheared_plane_measures_in_mm():
    """Columns (1, 0) and (1/2, 1): ten voxels along j measure 10 * sqrt(1 1/4) mm."""
    mask = np.zeros((5, 14), bool)
    mask[2, 2:12] = True
    sheared = np.array([[1, 0.5], [0, 1], [0, 0]])
    assert cross(mask, sheared).longest_mm == pytest.approx(10 * np.sqrt(1.25))


def test_lines_stay_out_of_the_hole_of_a_ring():
    """The longest line in a ring from 20 to 25 mm touches the hole: 2 sqrt(25^2 - 20^2) = 30."""
    x, y = grid(80)
    radius = np.hypot(x, y)
    found = cross((radius <= 25) & (radius > 20), plane())
    assert found.longest_mm == pytest.approx(30, abs=2)
    assert found.perpendicular_mm < 9  # the wall, hardly slanted; not the ring's 50
    filled = cross(radius <= 25, plane())
    assert filled.longest_mm == pytest.approx(50, abs=1.3)


def test_lines_stay_within_a_bent_lesion():
    """An L of two arms of 30 x 6: from tip to tip would be 42 mm, through healthy tissue."""
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:11] = mask[5:11, 5:35] = True
    found = cross(mask, plane())
    assert found.longest_mm == pytest.approx(np.hypot(30, 5), abs=0.7)
    assert found.perpendicular_mm < 31  # crosses the longest, so at most along the other arm


def test_a_gap_of_one_voxel_is_not_bridged():
    mask = np.ones((30, 3), bool)
    mask[18] = False
    assert cross(mask, plane()).longest_mm == pytest.approx(np.hypot(18, 2))


def test_the_part_with_the_largest_product_counts():
    mask = np.zeros((40, 40), bool)
    mask[2:32, 2] = True  # 30 x 1
    mask[10:20, 20:30] = True  # about 13 x 13
    found = cross(mask, plane())
    assert found.longest[:, 1].min() > 15


def test_nothing_measures_nothing():
    assert cross(np.zeros((4, 4)), plane()) is None
    assert most_product(np.zeros((4, 4)), plane()) == 0


MASKS = arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))).filter(np.any)
SIZES = st.floats(0.4, 3)


def largest_part(mask):
    parts, _ = ndimage.label(mask)
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax()


PARTS = MASKS.map(largest_part)


@settings(max_examples=60, deadline=None)
@given(MASKS, SIZES, SIZES)
def test_the_bound_holds_and_the_lines_cross_at_right_angles(mask, di, dj):
    found = cross(mask, plane(di, dj))
    assert found.product_mm2 <= most_product(mask, plane(di, dj)) * (1 + 1e-3) + 1e-3
    one, other = (
        np.diff(ends * (di, dj), axis=0)[0] for ends in (found.longest, found.perpendicular)
    )
    assert np.linalg.norm(one) == pytest.approx(found.longest_mm)
    assert np.linalg.norm(other) == pytest.approx(found.perpendicular_mm, abs=1e-5)
    assert abs(one @ other) < 1e-6 * max(1, found.product_mm2)


@settings(max_examples=60, deadline=None)
@given(PARTS, SIZES, SIZES)
def test_turned_and_mirrored_masks_measure_the_same(mask, di, dj):
    here = cross(mask, plane(di, dj))
    for other in (cross(mask[::-1], plane(di, dj)), cross(mask.T, plane(dj, di))):
        assert other.longest_mm == pytest.approx(here.longest_mm)


@settings(max_examples=40, deadline=None)
@given(PARTS)
def test_no_line_through_voxels_of_the_mask_alone_is_longer(mask):
    """Every pair of outline points, every 1/50 of the line held against the voxels beside it."""
    points = np.vstack([curve[:-1, ::-1] - 0.5 for curve in contours(mask, smooth=0)])
    inside = np.pad(mask, 1)
    best = 0.0
    for one, other in combinations(points, 2):
        line = one + np.linspace(0.02, 0.98, 49)[:, None] * (other - one)
        beside = [np.floor(line + 1.5 + nudge).astype(int) for nudge in (-1e-3, 1e-3)]
        if all(inside[tuple(voxels.T)].all() for voxels in beside):
            best = max(best, float(np.linalg.norm(other - one)))
    assert cross(mask, plane()).longest_mm >= best - 1e-9
