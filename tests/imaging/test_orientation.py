from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.errors import InputError
from monai_tumor.imaging.orientation import Plane, obliquity, reorient, voxel_spacing

SHAPE, SPACING = np.array([5, 6, 7]), np.array([1.0, 1.5, 3.0])
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def stored(volume, order, signs):
    """A RAS volume stored another way: its k-th axis is the RAS axis order[k], maybe reversed."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    data = volume.transpose(order)
    for k, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[axis, k] = sign * SPACING[axis]
        if sign < 0:
            data = np.flip(data, k)
            affine[axis, 3] = (SHAPE[axis] - 1) * SPACING[axis]
    return data, affine


def test_all_48_orientations_show_left_posterior_inferior():
    assert len(ORIENTATIONS) == 48
    volume = np.zeros(SHAPE)
    right_anterior_superior = (4, 4, 5)  # its RAS voxel
    volume[right_anterior_superior] = 1
    for order, signs in ORIENTATIONS:
        data, affine = stored(volume, order, signs)
        shown, shown_affine = reorient(data, affine)
        assert shown.shape == tuple(SHAPE)
        place = np.argwhere(shown)[0]
        assert place.tolist() == [0, 1, 1]  # counted from the right, the front and the top
        world = shown_affine @ [*place, 1]
        assert np.allclose(world[:3], np.array(right_anterior_superior) * SPACING)
        assert nib.aff2axcodes(shown_affine) == ("L", "P", "I")
        assert voxel_spacing(shown_affine) == (1.0, 1.5, 3.0)


def test_leading_axes_stay():
    volumes = np.arange(2 * 210).reshape(2, 5, 6, 7)
    shown, _ = reorient(volumes, np.eye(4))
    assert np.array_equal(shown, volumes[:, ::-1, ::-1, ::-1])


@pytest.mark.parametrize("degrees", [-40, -10, 10, 40])
def test_an_oblique_grid_goes_to_the_nearest_axes(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    volume = np.arange(210).reshape(5, 6, 7)
    straight, _ = reorient(volume, np.eye(4))
    shown, affine = reorient(volume, turn)
    assert np.array_equal(shown, straight)
    assert np.allclose(affine @ [4, 5, 6, 1], turn @ [0, 0, 0, 1])
    assert obliquity(turn) == pytest.approx(abs(degrees))


def test_marks_are_those_of_the_radiological_convention():
    assert Plane.AXIAL.marks == ("R", "L", "A", "P")
    assert Plane.CORONAL.marks == ("R", "L", "S", "I")
    assert Plane.SAGITTAL.marks == ("A", "P", "S", "I")


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), r"must be 4 x 4, found shape \(3, 3\)"),
        (np.diag([1, 1, 0, 1]), "singular or not finite"),
        (np.diag([1, np.nan, 1, 1]), "singular or not finite"),
    ],
)
def test_an_affine_that_cannot_be_used(affine, message):
    with pytest.raises(InputError, match=message):
        reorient(np.zeros((2, 2, 2)), affine)
