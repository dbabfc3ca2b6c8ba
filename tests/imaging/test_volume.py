import numpy as np
import pytest

from monai_tumor.errors import InputError
from monai_tumor.imaging.volume import Volume, shrink


def test_shrink_takes_means_of_blocks_and_keeps_the_place():
    voxels = np.arange(4 * 2 * 2, dtype=np.float32).reshape(4, 2, 2)
    affine = np.diag([1.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    small = shrink(Volume(voxels, affine), 2.0)
    assert small.voxels.shape == (2, 2, 2)  # blocks of 2 x 1 x 1 voxels: 4 mm is never made finer
    assert small.voxels[0, 0, 0] == (voxels[0, 0, 0] + voxels[1, 0, 0]) / 2
    assert small.spacing == (2.0, 2.0, 4.0)
    # The middle of the first block lies between voxel 0 at x = 10 and voxel 1 at x = 11.
    assert small.affine[:3, 3].tolist() == [10.5, 20, 30]


def test_shrink_keeps_two_voxels_of_a_thin_image():
    small = shrink(Volume(np.ones((5, 4, 9)), np.eye(4)), 100.0)
    assert small.voxels.shape == (2, 2, 2)


def test_voxel_volume_of_an_oblique_grid():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[0, 1] = 0.5  # sheared: the volume stays
    assert Volume(np.zeros((2, 2, 2)), affine).voxel_ml == pytest.approx(0.006)


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 1), (3, 3, 3, 3)])
def test_what_is_no_volume_is_refused(shape):
    with pytest.raises(InputError, match="A 3D image is needed here"):
        Volume(np.zeros(shape), np.eye(4))


def test_singular_affine_is_refused():
    with pytest.raises(InputError, match="affine is singular"):
        Volume(np.zeros((2, 2, 2)), np.diag([1.0, 1.0, 0.0, 1.0]))
