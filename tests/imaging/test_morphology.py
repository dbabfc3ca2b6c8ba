import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_tumor.imaging.morphology import close, depth_inside, dilate, largest_piece

SPACING = (1.0, 2.0, 3.0)


def test_depth_counts_mm_and_has_no_surface_at_the_border_of_the_image():
    mask = np.zeros((7, 5, 5), bool)
    mask[2:] = True
    depth = depth_inside(mask, SPACING)
    assert depth[:, 2, 2].tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert np.isinf(depth_inside(np.ones((3, 3, 3), bool), SPACING)).all()


def test_dilate_by_mm():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    grown = dilate(mask, 3.0, SPACING)
    assert [int(grown.any(tuple({0, 1, 2} - {a})).sum()) for a in range(3)] == [7, 3, 3]
    assert not dilate(np.zeros((3, 3, 3), bool), 3.0, SPACING).any()


def test_close_fills_clefts_up_to_twice_the_radius_and_holes():
    mask = np.ones((21, 9, 9), bool)
    mask[8:11] = False  # 3 mm wide
    assert close(mask, 2.0, (1, 1, 1))[:, 4, 4].all()
    mask[5:14] = False  # 9 mm wide
    assert not close(mask, 2.0, (1, 1, 1))[9, 4, 4]
    shell = np.ones((9, 9, 9), bool)
    shell[2:7, 2:7, 2:7] = False
    assert close(shell, 1.0, (1, 1, 1)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4))
def test_close_never_takes_away(seed, radius):
    mask = np.random.default_rng(seed).random((8, 7, 6)) > 0.7
    assert (close(mask, radius, SPACING) | ~mask).all()


def test_largest_piece():
    mask = np.zeros((9, 3, 3), bool)
    mask[0:3, 0, 0] = True
    mask[5:7, 0, 0] = True
    assert largest_piece(mask).sum() == 3
    there = np.zeros_like(mask)
    there[6:] = True
    assert largest_piece(mask, there)[5:7, 0, 0].all()
    assert not largest_piece(mask, there)[0:3].any()
    assert not largest_piece(np.zeros_like(mask)).any()
