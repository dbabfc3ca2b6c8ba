import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import CropForegroundd

from monai_tumor.errors import StudyError
from monai_tumor.imaging.intensities import brain_mask
from monai_tumor.transforms import NormalizeBraind

SHAPE = (24, 26, 22)
_X, _Y, _Z = np.mgrid[tuple(slice(n) for n in SHAPE)]
HEAD = ((_X - 12) / 9) ** 2 + ((_Y - 13) / 10) ** 2 + ((_Z - 11) / 8) ** 2 < 1


def head(seed=0, channels=4, low=100, high=1000):
    """Whole-numbered intensities in an ellipsoid; 0 around it."""
    values = np.random.default_rng(seed).integers(low, high, (channels, *SHAPE))
    return np.where(HEAD, values, 0).astype(np.float32)


def normalise(image, **options):
    item = NormalizeBraind("image", **options)(
        {"image": torch.as_tensor(image), "study": "P1", "modalities": ["t1n", "t1c", "t2w", "t2f"]}
    )
    return item["image"].numpy(), item["brain"].numpy()


def test_mean_0_and_deviation_1_in_the_brain_and_0_around_it():
    image, brain = normalise(head())
    assert brain.shape == (1, *SHAPE)
    assert brain.dtype == bool
    assert np.array_equal(brain[0], HEAD)
    for channel in image:
        assert channel[HEAD].mean() == pytest.approx(0, abs=1e-5)
        assert channel[HEAD].std() == pytest.approx(1, abs=1e-5)
        assert np.all(channel[~HEAD] == 0)


def test_figures_worked_out_by_hand():
    """Values in a row in the brain, clipped to the 10th and 90th percentile."""
    image = np.zeros((1, *SHAPE), np.float32)
    n = int(HEAD.sum())
    image[0][HEAD] = 5000 + np.arange(1, n + 1)
    found, _ = normalise(image, lower=10, upper=90)
    low, high = 1 + 0.1 * (n - 1), 1 + 0.9 * (n - 1)
    clipped = np.clip(np.arange(1, n + 1), low, high)
    expected = (clipped - (n + 1) / 2) / np.sqrt(np.mean((clipped - (n + 1) / 2) ** 2))
    assert np.allclose(found[0][HEAD], expected, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3),
    shift=st.integers(-2000, 2000),
    seed=st.integers(0, 100),
)
def test_scale_and_shift_of_the_scanner_make_no_difference(scale, shift, seed):
    plain, mask = normalise(head(seed))
    scaled, mask_scaled = normalise((head(seed) + np.float32(shift)) * np.float32(scale))
    assert np.array_equal(mask, mask_scaled)
    assert np.allclose(plain, scaled, atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spikes=st.integers(0, 30),
    offset=st.floats(-1e4, 1e4),
    level=st.floats(1e-3, 1e5),
)
def test_never_nan(seed, spikes, offset, level):
    rng = np.random.default_rng(seed)
    image = (head(seed) * level + offset).astype(np.float32)
    image.ravel()[rng.integers(0, image.size, spikes)] = 32767
    try:
        found, brain = normalise(image)
    except StudyError:
        return
    assert np.isfinite(found).all()
    assert brain.any()


def test_outliers_in_the_brain_hardly_matter():
    image = head()
    places = np.argwhere(HEAD)[::1000][1:]  # two voxels, fewer than one in a thousand
    spiked = image.copy()
    for x, y, z in places:
        spiked[:, x, y, z] = 32767
    plain, mask = normalise(image)
    found, mask_spiked = normalise(spiked)
    assert np.array_equal(mask, mask_spiked)
    rest = HEAD.copy()
    rest[tuple(places.T)] = False
    assert np.abs(found - plain)[:, rest].max() < 0.02
    assert found.max() < 3  # the spike itself is clipped to the brain's range


def test_outliers_in_the_air_are_no_brain():
    image = head()
    image[0, 0, 0, 0] = image[2, 23, 25, 21] = image[1, 0, 25, 0] = 32767
    plain, _ = normalise(head())
    found, brain = normalise(image)
    assert np.array_equal(brain[0], HEAD)
    assert np.array_equal(found, plain)


def test_small_negative_values_and_ringing_around_0_are_no_brain():
    image = head()
    ringing = np.random.default_rng(1).normal(0, 1, image.shape)
    ringing[:, ::2] = 0  # most of the air is exactly 0
    found, brain = normalise(np.where(HEAD, image, ringing).astype(np.float32))
    assert np.array_equal(brain[0], HEAD)
    assert np.allclose(found, normalise(image)[0])


@pytest.mark.parametrize("deviation", [0.6, 10])
def test_noise_of_which_no_two_voxels_are_alike_is_no_brain(deviation):
    rng = np.random.default_rng(0)
    image = head()
    noise = deviation * rng.standard_normal(image.shape)
    image = np.where(HEAD, image, noise).astype(np.float32)
    _, brain = normalise(image)
    assert (brain[0] == HEAD).mean() > 0.999
    assert brain[0][HEAD].all()


def test_a_brain_of_negative_values_is_still_brain():
    """A z-scored input: background 0, half of the brain below it."""
    image = head()
    scored = np.where(HEAD, (image - 550) / 260, 0).astype(np.float32)
    found, brain = normalise(scored)
    assert (brain[0] == HEAD).mean() > 0.999
    assert np.allclose(found[:, HEAD], normalise(image)[0][:, HEAD], atol=0.01)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float64])
def test_the_type_in_the_file_makes_no_difference(dtype):
    image = head(high=250)
    found, brain = normalise(image.astype(dtype))
    plain, mask = normalise(image)
    assert np.array_equal(found, plain)
    assert np.array_equal(brain, mask)
    assert found.dtype == np.float32


def test_the_mask_is_that_of_all_modalities_together():
    image = head()
    image[0, :, :13] = 0
    image[1, :, 13:] = 0
    assert np.array_equal(brain_mask(image), HEAD)


def test_an_image_smaller_than_the_sampling_step():
    image = np.zeros((1, 4, 4, 4), np.float32)
    image[0, 1:3, 1:3, 1:3] = np.arange(1, 9).reshape(2, 2, 2)
    assert brain_mask(image).sum() == 8


def test_input_metadata_is_copied_not_shared():
    item = {"image": MetaTensor(torch.from_numpy(head()), meta={"filename_or_obj": "a.nii"})}
    done = NormalizeBraind("image")(item)
    for key in ("image", "brain"):
        assert done[key].meta["filename_or_obj"] == "a.nii"
    cropped = CropForegroundd(["image", "brain"], source_key="brain")(done)
    assert len(cropped["image"].applied_operations) == 1
    assert len(cropped["brain"].applied_operations) == 1


def blank(image):
    image[:] = 7
    return "every image is constant, there is no brain in it. Look at the files; they may be blank."


def constant(image):
    image[2] = 40
    return "t2w has the same value in the whole brain. Look at the file; it may be blank."


def missing(image):
    image[3, 5, 5, :3] = np.nan
    return (
        "3 voxels of t2f are not finite (NaN or inf). Mend the file, or leave the study out: "
        "monai-tumor split --on-bad skip."
    )


def infinite(image):
    image[1, 2, 2, 2] = np.inf
    image[1, 2, 2, 3] = -np.inf
    return (
        "2 voxels of t1c are not finite (NaN or inf). Mend the file, or leave the study out: "
        "monai-tumor split --on-bad skip."
    )


@pytest.mark.parametrize("spoil", [blank, constant, missing, infinite])
def test_what_cannot_be_normalised(spoil):
    image = head()
    expected = f"Study 'P1': {spoil(image)}"
    with pytest.raises(StudyError, match=f"^{re.escape(expected)}$"):
        normalise(image)
