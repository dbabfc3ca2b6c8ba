from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import grid, head, motion, scanned, surface, volumes

from monai_tumor.errors import InputError
from monai_tumor.imaging.registration import Outcome, RigidTransform, register, resample
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import Modality

T1N, T1C, T2F = Modality.T1N, Modality.T1C, Modality.T2F


def error_mm(found: RigidTransform, moved_by: np.ndarray, points: np.ndarray) -> float:
    """How far from its place the worst point comes after motion and registration."""
    return float(np.linalg.norm((found.matrix @ moved_by @ points - points)[:3], axis=0).max())


@pytest.mark.parametrize(
    ("orientation", "spacing", "turn", "shift", "skull"),
    [
        ("LPS", (1.5, 1.5, 4.0), 5, 8, True),
        ("PIR", (2.0, 2.0, 2.5), 15, 30, True),  # sagittal slices
        ("RSA", (2.0, 3.0, 2.0), 10, 15, False),  # coronal slices
    ],
)
def test_a_moved_head_is_found(orientation, spacing, turn, shift, skull):
    images, moved_by = volumes(head(), skull=skull), motion(turn, shift)
    moving = scanned(images[T1N], moved_by, *grid(orientation, spacing))
    found = register(moving, images[T2F])
    assert found.outcome is Outcome.MOVED
    assert found.converged
    assert found.metric_after > found.metric_before
    assert error_mm(found, moved_by, surface(head())) < 1.0
    assert found.turn_degrees == pytest.approx(turn, abs=0.5)


def test_a_head_far_from_the_other_is_found():
    images = volumes(head())
    moved_by = motion(3, 0)
    moved_by[:3, 3] = 0, 40, -60
    affine, shape = grid("RAS", (3.0, 3.0, 3.0))
    affine[:3, 3] += 0, 40, -60
    found = register(scanned(images[T1C], moved_by, affine, shape), images[T2F])
    assert error_mm(found, moved_by, surface(head())) < 1.0


def test_aligned_images_stay_and_equal_input_gives_equal_output():
    images = volumes(head())
    once, again = register(images[T1N], images[T2F]), register(images[T1N], images[T2F])
    assert error_mm(once, np.eye(4), surface(head())) < 0.5
    assert once.as_dict() == again.as_dict()


def test_a_patient_moved_by_hand_is_found(real_data: Path):
    folder = real_data / "brats" / "2021" / "BraTS2021_00003"
    flair, t1 = (
        Volume(np.asarray(image.dataobj, np.float32), image.affine)
        for image in (nib.load(folder / f"{folder.name}_{n}.nii.gz") for n in ("flair", "t1"))
    )
    brain = np.argwhere(t1.voxels > 0)[::5000]
    points = t1.affine @ np.c_[brain, np.ones(len(brain))].T
    moved_by, (affine, shape) = motion(8, 12), grid("LPS", (1.5, 1.5, 4.0))
    affine[:3, 3] += t1.affine[:3, :3] @ (np.array(t1.voxels.shape) / 2) + t1.affine[:3, 3]
    found = register(scanned(flair, moved_by, affine, shape), t1)
    assert error_mm(found, moved_by, points) < 1.0


def test_implausible_positions_are_refused():
    images = volumes(head())
    moving = scanned(images[T1N], motion(10, 20), *grid("RAS", (3.0, 3.0, 3.0)))
    too_far = register(moving, images[T2F], max_shift_mm=5)
    assert too_far.outcome is Outcome.TOO_FAR
    assert too_far.refused
    assert np.array_equal(too_far.matrix, np.eye(4))
    assert too_far.turn_degrees == pytest.approx(10, abs=0.5)
    assert "implausibly far away" in str(too_far)
    turned = register(moving, images[T2F], max_turn_degrees=5)
    assert turned.outcome is Outcome.TOO_FAR


def test_noise_is_not_registered():
    fixed = volumes(head())[T2F]
    noise = np.random.default_rng(0).normal(100, 10, fixed.voxels.shape).astype(np.float32)
    found = register(fixed.with_voxels(noise), fixed)
    assert found.outcome in (Outcome.UNALIKE, Outcome.NO_OVERLAP)
    assert np.array_equal(found.matrix, np.eye(4))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_blank_images_are_refused(value):
    fixed = volumes(head())[T2F]
    with pytest.raises(InputError, match="cannot be registered"):
        register(fixed.with_voxels(np.full(fixed.voxels.shape, value, np.float32)), fixed)


def test_transforms_are_written_and_read(tmp_path):
    matrix = motion(7, 9)
    written = RigidTransform(matrix, Outcome.MOVED, 1.1, 1.2, 9.0, 7.0, 4, True)
    written.save(tmp_path / "new" / "t.json")
    read = RigidTransform.load(tmp_path / "new" / "t.json")
    assert np.array_equal(read.matrix, matrix)
    assert read.as_dict() == written.as_dict()
    for content in ("", "{}", "[]", '{"convention": "", "matrix": [1], "outcome": "MOVED"}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match=r"bad\.json is not a transform"):
            RigidTransform.load(tmp_path / "bad.json")


def test_resample_turns_axes_without_touching_values():
    voxels = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    ras = Volume(voxels, np.eye(4))
    # The same voxels with the first axis running to the left: index 0 lies at x = 3.
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[0, 3] = 3
    out = resample(ras, Volume(voxels, affine))
    assert np.allclose(out, voxels[::-1], atol=1e-6)


def test_resample_moves_by_the_transform_and_is_zero_outside():
    voxels = np.arange(1, 6, dtype=np.float32)[:, None, None] * np.ones((5, 3, 3), np.float32)
    image = Volume(voxels, np.eye(4))
    matrix = np.eye(4)
    matrix[0, 3] = 2  # what lay at x = 0 belongs at x = 2
    shift = RigidTransform(matrix, Outcome.MOVED, 1.0, 1.1, 2.0, 0.0, 1, True)
    assert resample(image, image, shift)[:, 1, 1].tolist() == [0, 0, 1, 2, 3]


def test_resample_keeps_labels_whole_and_means_of_fine_grain():
    rng = np.random.default_rng(0)
    fine = Volume(rng.integers(0, 4, (40, 40, 40)).astype(np.float32), np.eye(4))
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = 2
    coarse = Volume(np.zeros((8, 8, 8), np.float32), affine)
    assert set(np.unique(resample(fine, coarse, order=0))) <= {0, 1, 2, 3}
    middle = resample(fine, coarse)[2:6, 2:6, 2:6]
    assert middle.mean() == pytest.approx(fine.voxels.mean(), abs=0.1)
    assert middle.std() < 0.25 * fine.voxels.std()  # linear interpolation alone: all of it
