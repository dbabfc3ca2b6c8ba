import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom.generator import Grid, linear, oblique
from monai_tumor.dicom.geometry import Kind, Plane, affine, classify, triple, valid_cosines


def planes_of(grid: Grid) -> list[Plane]:
    return [
        Plane(triple(p), triple(grid.row), triple(grid.column), grid.spacing, grid.shape)
        for p in grid.positions()
    ]


angles = st.floats(-3.1, 3.1)
mm = st.floats(0.3, 6.0)
grids = st.builds(
    Grid,
    orientation=st.builds(oblique, angles, angles, angles),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    spacing=st.tuples(mm, mm),
    shape=st.just((5, 4)),
    count=st.integers(2, 40),
    gap=mm,
    tilt=st.sampled_from([0.0, 0.0, 0.7, -1.3]),
)


def five_or_more(grid: Grid) -> bool:
    return grid.count > 4


@settings(max_examples=150, deadline=None)
@given(grids, st.randoms(use_true_random=False))
def test_any_orientation_spacing_and_order(grid, random):
    planes = planes_of(grid)
    random.shuffle(planes)
    stack = classify(planes)
    assert stack.kind is Kind.REGULAR
    assert stack.missing == 0
    assert stack.sheared == (abs(grid.tilt) * (grid.count - 1) > 0.1 * min(grid.spacing))
    ordered = [planes[i] for i in stack.order]
    to_ras = affine(ordered[0], stack.step)
    # Every corner of every slice, by hand: LPS from the slice's own header, RAS by the affine.
    for k, plane in enumerate(ordered):
        own = np.array(plane.position) + 4 * grid.spacing[0] * grid.column
        own = own + 3 * grid.spacing[1] * grid.row
        assert np.allclose((to_ras @ [3, 4, k, 1])[:3] * [-1, -1, 1], own, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(grids.filter(five_or_more), st.data())
def test_any_missing_slice_is_seen(grid, data):
    planes = planes_of(grid)
    gone = data.draw(st.integers(1, grid.count - 2))
    stack = classify(planes[:gone] + planes[gone + 1 :])
    assert (stack.kind, stack.missing) == (Kind.MISSING, 1)
    assert gone not in stack.index


@settings(max_examples=60, deadline=None)
@given(grids.filter(five_or_more), st.data())
def test_any_slice_out_of_place_is_seen(grid, data):
    moved = data.draw(st.integers(0, grid.count - 1))
    share = data.draw(st.floats(0.2, 0.4))
    depths = [k * grid.gap for k in range(grid.count)]
    depths[moved] += share * grid.gap
    grid.depths = depths
    assert classify(planes_of(grid)).kind in (Kind.VARIABLE, Kind.MISSING)


def test_same_place_and_single():
    plane = Plane((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1), (4, 4))
    near = Plane((0, 0, 0.001), (1, 0, 0), (0, 1, 0), (1, 1), (4, 4))
    assert classify([plane, near]).kind is Kind.DUPLICATE
    assert classify([plane]).kind is Kind.SINGLE


def test_a_known_affine():
    # Axial, 2 mm between rows and 3 mm between columns, slices 5 mm apart towards the head.
    first = Plane((-10, -20, 30), (1, 0, 0), (0, 1, 0), (2, 3), (4, 4))
    expected = [[-3, 0, 0, 10], [0, -2, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]]
    assert affine(first, (0, 0, 5)).tolist() == expected


def test_points_are_row_major():
    plane = Plane((1, 2, 3), (0, 1, 0), (0, 0, -1), (10, 100), (2, 2))
    assert plane.points([0, 1], [1, 0]).tolist() == [[1, 102, 3], [1, 2, -7]]
    assert plane.normal.tolist() == [-1, 0, 0]


@pytest.mark.parametrize(
    ("row", "column", "valid"),
    [((1, 0, 0), (0, 1, 0), True), ((1, 0, 0), (0.1, 1, 0), False), ((2, 0, 0), (0, 1, 0), False)],
)
def test_cosines(row, column, valid):
    assert valid_cosines(row, column) is valid


def test_generator_is_linear():
    # The reference that all conversion tests rest on, worked out by hand.
    assert linear([1, 10, 100]) == 4000 + 3 + 50 + 700
