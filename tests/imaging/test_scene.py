import numpy as np
import pytest

from monai_tumor.errors import InputError
from monai_tumor.imaging.orientation import Plane
from monai_tumor.imaging.scene import scene


def study(shape=(20, 24, 16), spacing=(1.0, 1.5, 3.0)):
    image = np.full(shape, 50.0)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -10, -20, -30
    return image, np.zeros((3, *shape), bool), affine


def test_slices_lie_as_a_radiologist_expects():
    image, mask, affine = study()
    mask[1, 2, 20, 12] = True  # left (low x), anterior (high y), superior (high z)
    shown = scene(image, [mask], affine)
    for plane, row, column in [
        (Plane.AXIAL, 24 - 1 - 20, 20 - 1 - 2),  # anterior up, left on the right
        (Plane.CORONAL, 16 - 1 - 12, 20 - 1 - 2),  # superior up, left on the right
        (Plane.SAGITTAL, 16 - 1 - 12, 24 - 1 - 20),  # superior up, anterior on the left
    ]:
        view = shown.cut(plane, shown.key_index(plane), 0)
        assert np.argwhere(view.regions[1]).tolist() == [[row, column]]
        assert view.grey.shape == view.regions.shape[1:]


def test_captions_give_the_place_of_the_slice_in_mm():
    image, mask, affine = study()
    mask[1, 2, 20, 12] = True
    shown = scene(image, [mask], affine)
    captions = [shown.cut(p, shown.key_index(p), 0).caption for p in Plane]
    # x = 2 - 10, y = 20 * 1.5 - 20, z = 12 * 3 - 30
    assert captions == ["Axial, z = 6.0 mm", "Coronal, y = 10.0 mm", "Sagittal, x = -8.0 mm"]
    assert shown.cut(Plane.AXIAL, 15).caption == "Axial, z = -30.0 mm"
    assert shown.cut(Plane.SAGITTAL, 0).caption == "Sagittal, x = 9.0 mm"
    assert shown.cut(Plane.AXIAL, 0).pixel_mm == (1.0, 1.5)
    assert shown.cut(Plane.CORONAL, 0).pixel_mm == (1.0, 3.0)
    assert shown.cut(Plane.SAGITTAL, 0).pixel_mm == (1.5, 3.0)


def test_an_oblique_grid_is_called_so():
    image, mask, affine = study(spacing=(1, 1, 1))
    c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
    turn = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    caption = scene(image, [mask], turn @ affine).cut(Plane.AXIAL, 0).caption
    assert caption == "Axial, oblique 12°, z = -15.0 mm"


def test_the_background_is_cropped_and_the_place_kept():
    image, mask, affine = study(shape=(60, 60, 60), spacing=(2, 2, 2))
    image[:] = 0
    image[20:30, 22:34, 24:38] = 7
    mask[:, 25, 30, 50] = True  # outside of what the image shows
    shown = scene(image, [mask], affine)
    assert shown.grey.shape == (10 + 6, 12 + 6, 27 + 6)  # and 6 mm on each side
    assert shown.masks[0].shape == (3, 16, 18, 33)
    assert shown.cut(Plane.AXIAL, shown.key_index(Plane.AXIAL)).caption == "Axial, z = 70.0 mm"


def test_key_slices_weigh_core_and_enhancing_tumour():
    image, mask, affine = study()
    mask[1, :2, 0, 3] = True  # oedema alone: 2
    mask[:, 5, 0, 9] = True  # TC, WT and ET: 3
    shown = scene(image, [mask], affine)
    assert shown.key_index(Plane.AXIAL) == 16 - 1 - 9
    empty = scene(image, [mask & False], affine)
    assert empty.key_index(Plane.AXIAL) == 8


def test_spread_slices_follow_one_segmentation():
    image, none, affine = study(shape=(4, 4, 40))
    truth, prediction = none.copy(), none.copy()
    truth[1, 1, 1, 8:20] = True  # twelve slices, 20 to 31 from the top
    prediction[1, 1, 1, 30:33] = True
    shown = scene(image, [prediction, truth], affine)
    assert shown.spread_indices(Plane.AXIAL, 3, segmentation=1) == [21, 25, 29]
    only_predicted = scene(image, [prediction, none], affine)
    assert only_predicted.spread_indices(Plane.AXIAL, 3, segmentation=1) == [7, 8, 9]
    neither = scene(image, [none, none], affine)
    assert neither.spread_indices(Plane.AXIAL, 2, segmentation=1) == [9, 29]


def test_greys_leave_out_background_outliers_and_what_is_not_finite():
    image = np.zeros((10, 10, 20), np.float32)
    image[2:8] = np.linspace(-2, 2, 20)
    image[2, 0, 0] = 32767
    image[3, 0, 0] = np.nan
    grey = scene(image, [], np.diag([-1.0, -1, -1, 1])).grey  # LPI already: no axis turns
    assert grey[0, 0, 0] == 0
    assert grey[3, 0, 0] == 0
    assert grey[4, 0, 0] == 1
    assert grey[4, 0, 19] == 255
    assert grey[2, 0, 0] == 255
    assert 120 < grey[4, 0, 10] < 145
    assert not scene(np.zeros((3, 3, 3)), [], np.eye(4)).grey.any()


def test_bad_input():
    image, mask, affine = study()
    with pytest.raises(InputError, match=r"one volume \[X, Y, Z\], found shape \(20, 24\)"):
        scene(image[..., 0], [], affine)
    with pytest.raises(InputError, match=r"different grids, \(20, 24, 16\) and \(20, 24, 15\)"):
        scene(image, [mask[..., :-1]], affine)
