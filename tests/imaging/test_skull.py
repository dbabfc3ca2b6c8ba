import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
from heads import head, volumes

from monai_tumor.data.phantom import make_phantom
from monai_tumor.imaging.skull import has_skull
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import MODALITIES, Modality


def test_heads_and_brains_are_told_apart():
    with_skull = has_skull(volumes(head()))
    assert with_skull
    assert with_skull.with_skull == MODALITIES
    assert "more than a brain" in with_skull.reason
    without = has_skull(volumes(head(), skull=False))
    assert not without
    assert without.without_skull == MODALITIES
    assert without.as_dict()["found"] is False


def test_the_images_that_have_a_skull_are_named():
    mixed = volumes(head()) | {Modality.T1N: volumes(head(), skull=False)[Modality.T1N]}
    finding = has_skull(mixed)
    assert finding.without_skull == (Modality.T1N,)
    assert "t1n:" not in str(finding)


def test_an_image_whose_air_is_not_masked_is_not_taken_for_stripped():
    images = volumes(head())
    brain = volumes(head(), skull=False)[Modality.T1N]
    noise = np.random.default_rng(0).random(brain.voxels.shape, np.float32)
    images[Modality.T1N] = brain.with_voxels(brain.voxels + noise)
    assert Modality.T1N in has_skull(images).with_skull


def test_bone_gives_away_a_head_that_the_image_cuts():
    phantom = head()
    middle = slice(24, 40)  # 48 mm of a head: less than a brain's volume
    affine = phantom.affine.copy()
    affine[2, 3] += 24 * 3
    finding = has_skull({Modality.T1N: Volume(phantom.images[0][:, :, middle], affine)})
    assert finding
    assert "as dark as bone" in finding.reason


def test_a_small_phantom_gives_no_alarm():
    assert not has_skull(volumes(make_phantom(1, size="small")))


def test_a_blank_image_gives_no_alarm():
    assert not has_skull({Modality.T1N: Volume(np.zeros((80, 80, 60), np.float32), np.eye(4))})


def test_no_false_alarm_on_patients(real_data: Path):
    words = itertools.cycle(["t1n t1", "t1c t1ce", "t2w t2", "t2f flair"])
    for folder in sorted((real_data / "brats").glob("*/*")):
        names = next(words).split()
        found = [p for p in folder.glob("*.nii.gz") if p.name[:-7].endswith(tuple(names))]
        image = nib.load(found[0])
        voxels = np.asarray(image.dataobj)
        assert not has_skull({Modality.T1N: Volume(voxels, image.affine)}), found[0].name
