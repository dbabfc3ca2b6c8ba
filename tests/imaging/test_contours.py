import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import measure

from monai_tumor.imaging.contours import contours


def area(curve):
    (x, y), (u, v) = curve[:-1].T, curve[1:].T
    return float(np.sum(x * v - u * y)) / 2


def test_a_rectangle_is_outlined_on_the_edges_of_its_pixels():
    mask = np.zeros((20, 30), bool)
    mask[4:12, 5:25] = True
    (curve,) = contours(mask)
    assert curve.min(0).tolist() == [5, 4]
    assert curve.max(0).tolist() == [25, 12]
    assert np.array_equal(curve[0], curve[-1])
    assert np.allclose(curve[:-1].mean(0), [15, 8], atol=0.5)
    assert 159 < abs(area(curve)) < 160  # 160 less its corners


def test_touching_the_border_and_holes():
    mask = np.ones((6, 8), bool)
    mask[3, 4] = False
    outer, hole = sorted(contours(mask), key=lambda curve: -abs(area(curve)))
    assert outer.min(0).tolist() == [0, 0]
    assert outer.max(0).tolist() == [8, 6]
    assert np.allclose(hole[:-1].mean(0), [4.5, 3.5])
    assert area(outer) * area(hole) < 0  # they run opposite ways, so "outward" has one sign


def test_nothing_to_outline():
    assert contours(np.zeros((3, 3))) == []


@given(arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_area_is_that_of_marching_squares(mask):
    # Each square between four pixel centres: by how many of them, and which, lie inside.
    p = np.pad(mask, 1).astype(int)
    inside = p[:-1, :-1] + p[1:, :-1] + p[:-1, 1:] + p[1:, 1:]
    diagonal = (inside == 2) & (p[:-1, :-1] == p[1:, 1:])
    expected = np.array([0, 1 / 8, 1 / 2, 7 / 8, 1])[inside].sum() - diagonal.sum() / 4
    assert np.isclose(abs(sum(area(curve) for curve in contours(mask, smooth=0))), expected)


def test_smoothing_stays_within_half_a_pixel():
    y, x = np.mgrid[:40, :40]
    radius = 12
    (curve,) = contours(np.hypot(x - 20, y - 20) <= radius)
    distance = np.hypot(*(curve - 20.5).T)
    assert np.abs(distance - radius).max() < 0.8
    steps = np.diff(curve[:-1], axis=0)
    turns = np.angle(np.exp(1j * np.diff(np.arctan2(steps[:, 1], steps[:, 0]))))
    assert np.abs(turns).max() < np.radians(30)  # the corners, of 45 degrees, are cut


def test_corners_are_cut_as_by_subdivision():
    """The points of scikit-image's B-spline subdivision, begun elsewhere on the curve."""
    y, x = np.mgrid[:30, :40]
    mask = (x - 17) ** 2 / 90 + (y - 13) ** 2 / 40 < 1
    [curve] = measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    expected = measure.subdivide_polygon(measure.subdivide_polygon(curve, 2), 2)
    [made] = contours(mask)
    assert np.array_equal(made[0], made[-1])
    made = made[:, ::-1] + 0.5
    assert len(made) == len(expected)
    assert {tuple(p) for p in made.round(6)} == {tuple(p) for p in expected.round(6)}
