import numpy as np
import pytest
from heads import head, real_head, volumes
from scipy import ndimage

from monai_tumor.data.phantom import Phantom
from monai_tumor.errors import StudyError
from monai_tumor.imaging.orientation import reorient
from monai_tumor.imaging.skullstrip import judge, strip
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import Modality

ALL = tuple(Modality)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def surface_distance(mask: np.ndarray, phantom: Phantom) -> np.ndarray:
    """Mm from each point of one surface to the other surface, both ways."""
    edges = [m & ~ndimage.binary_erosion(m) for m in (mask, phantom.brain)]
    away = [ndimage.distance_transform_edt(~e, phantom.spacing) for e in edges]
    return np.concatenate([away[1][edges[0]], away[0][edges[1]]])


@pytest.mark.parametrize(
    ("modalities", "least"), [(ALL, 0.97), ((Modality.T1N,), 0.97), ((Modality.T2W,), 0.9)]
)
def test_the_brain_is_found(modalities, least):
    phantom = real_head()
    images = volumes(phantom)
    found = strip({m: images[m] for m in modalities})
    assert dice(found.mask, phantom.brain) > least
    assert (found.mask & (phantom.label > 0)).sum() > 0.99 * (phantom.label > 0).sum()
    if modalities == ALL:
        assert surface_distance(found.mask, phantom).mean() < 1.0
        assert found.quality.ok, found.quality


def test_orientation_and_scale_make_no_difference():
    images = volumes(head())
    mask = strip(images).mask
    turned = {
        name: Volume(*reorient(7.5 * v.voxels, v.affine, "IPL")) for name, v in images.items()
    }
    back, _ = reorient(strip(turned).mask, turned[Modality.T1N].affine, "RAS")
    assert np.array_equal(back, mask)


def test_the_truth_is_plausible():
    for phantom in (head(), real_head()):
        quality = judge(phantom.brain, phantom.affine)
        assert quality.ok, quality
        ml = phantom.brain.sum() * 0.027  # 3 mm voxels
        assert quality.volume_ml == pytest.approx(ml)


def test_bad_masks_are_told():
    brain, affine = head().brain, head().affine
    half = brain.copy()
    half[35:] = False
    tiny = ndimage.binary_erosion(brain, iterations=8)
    leak = brain.copy()
    leak[5:15, 5:60, 0:12] = True
    cut = np.roll(brain, -30, axis=2)
    cut[:, :, -30:] = False
    assert "volume is not that of a brain" in str(judge(tiny, affine))
    assert "volume is not that of a brain" in str(judge(np.ones_like(brain), affine))
    assert "left and right differ" in str(judge(leak, affine))
    assert "not compact" in str(judge(leak, affine))
    assert "image's border cuts it" in str(judge(cut, affine))
    assert judge(np.zeros_like(brain), affine).problems == ("no brain was found",)
    assert judge(brain, affine).symmetry > judge(leak, affine).symmetry
    assert not judge(half, affine).ok


def test_symmetry_and_solidity_by_hand():
    box = np.zeros((60, 60, 60), bool)
    box[10:50, 10:50, 10:50] = True  # 4 mm voxels: a cube is its own hull and mirror image
    quality = judge(box, np.diag([4.0, 4.0, 4.0, 1.0]))
    assert (quality.symmetry, quality.solidity, quality.border) == (1.0, pytest.approx(1.0), 0.0)
    box[30:50, 10:50, 30:50] = False  # an L: three quarters of the cube, mirror Dice 2/3
    quality = judge(box, np.diag([4.0, 4.0, 4.0, 1.0]))
    assert quality.symmetry == pytest.approx(2 / 3)
    assert quality.solidity == pytest.approx(0.75 / 0.875)  # the hull lacks half a quarter


def test_a_head_that_the_image_cuts_is_no_silent_failure():
    def slab(part: slice) -> dict[Modality, Volume]:
        return {name: Volume(v.voxels[:, :, part], v.affine) for name, v in volumes(head()).items()}

    assert "image's border cuts it" in str(strip(slab(slice(18, 64))).quality)
    assert "cuts the head at its top" in str(strip(slab(slice(0, 52))).quality)
    with pytest.raises(StudyError, match="too little of a head"):
        strip(slab(slice(45, 57)))


def test_images_without_a_head_are_refused_or_doubted():
    noise = np.random.default_rng(0).normal(100, 10, (60, 60, 60)).astype(np.float32)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    assert not strip({Modality.T1N: Volume(noise, affine)}).quality.ok
    with pytest.raises(StudyError, match="An image is constant"):
        strip({Modality.T1N: Volume(np.zeros((60, 60, 60), np.float32), affine)})


def test_images_must_share_a_grid():
    images = volumes(head())
    other = Volume(images[Modality.T2W].voxels[:-1], head().affine)
    with pytest.raises(StudyError, match="needs images on one grid"):
        strip({Modality.T1N: images[Modality.T1N], Modality.T2W: other})
    with pytest.raises(StudyError, match="at least one image"):
        strip({})
