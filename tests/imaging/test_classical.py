import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_tumor.errors import ImageError
from monai_tumor.imaging.classical import (
    brightest_region,
    denoise,
    fuzzy_c_means,
    head,
    k_means,
    measure_region,
    otsu,
    strip_skull,
)


def disk(shape, centre, radius):
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def axial(side=128, seed=0):
    """A head (scalp 0.9, skull 0.05, brain 0.4, tumour 0.95), its brain and its tumour."""
    middle = (side / 2, side / 2)
    picture = np.zeros((side, side), np.float32)
    scalp, skull, brain = (disk(picture.shape, middle, side * r) for r in (0.45, 0.42, 0.37))
    tumour = disk(picture.shape, (side * 0.4, side * 0.6), side * 0.08)
    for where, value in ((scalp, 0.9), (skull, 0.05), (brain, 0.4), (tumour, 0.95)):
        picture[where] = value
    noise = np.random.default_rng(seed).normal(0, 0.02, picture.shape)
    return np.clip(picture + noise, 0, 1).astype(np.float32), brain, tumour


@pytest.mark.parametrize("method", ["median", "gaussian", "nlm"])
def test_noise_becomes_less(method):
    clean = np.where(disk((64, 64), (32, 32), 20), 0.8, 0.2)
    noisy = (clean + np.random.default_rng(0).normal(0, 0.08, clean.shape)).astype(np.float32)
    done = denoise(noisy, method)
    assert done.dtype == np.float32
    inner = disk((64, 64), (32, 32), 15)
    assert np.std(done[inner]) < 0.6 * np.std(noisy[inner])
    assert done[inner].mean() == pytest.approx(0.8, abs=0.02)


def test_otsu_parts_what_is_apart():
    picture = np.full((20, 20), 0.1, np.float32)
    picture[:10], picture[15:] = 0.5, 0.9
    low, high = otsu(picture, 3)
    assert 0.1 < low < 0.5 < high < 0.9
    assert 0.5 <= otsu(picture, mask=picture > 0.3)[0] < 0.9


def test_otsu_without_a_threshold():
    with pytest.raises(ImageError, match="fewer than 2 intensities"):
        otsu(np.zeros((9, 9), np.float32))
    with pytest.raises(ImageError, match="give 2 to 5"):
        otsu(axial()[0], 6)


@pytest.mark.parametrize("method", ["threshold", "histogram", "contour"])
@pytest.mark.parametrize("side", [128, 300])
def test_the_skull_is_stripped(method, side):
    picture, brain, _ = axial(side)
    found = strip_skull(picture, method)
    assert found.dtype == bool
    assert found.shape == picture.shape
    dice = 2 * (found & brain).sum() / (found.sum() + brain.sum())
    assert dice > 0.95, dice


def test_a_frame_is_no_head():
    picture, _, _ = axial()
    framed = picture.copy()
    framed[:2] = framed[-2:] = framed[:, :2] = framed[:, -2:] = 1
    assert not head(framed)[:5].any()
    assert (head(framed) == head(picture)).mean() > 0.99


def test_no_brain():
    with pytest.raises(ImageError, match="fewer than 2 intensities"):
        strip_skull(np.full((64, 64), 0.3, np.float32))


def test_the_tumour_is_the_brightest_cluster_of_the_brain():
    picture, brain, tumour = axial()
    for clusters in (k_means(picture, 2, brain), fuzzy_c_means(picture, 2, brain)):
        assert clusters.centres == pytest.approx((0.4, 0.95), abs=0.02)
        assert (brightest_region(clusters) == tumour).all()
        assert (clusters.labels[~brain] == 0).all()


def test_k_means_by_hand():
    # 0, 1 | 9, 10: whatever the start, the two centres are the means of each pair.
    picture = np.tile(np.float32([[0, 1], [9, 10]]), (4, 4))
    clusters = k_means(picture, 2)
    assert clusters.centres == (0.5, 9.5)
    assert clusters.labels[:2, :2].tolist() == [[1, 1], [2, 2]]


def test_fuzzy_membership_by_hand():
    # Bezdek with exponent 2: 1 / (1 + (d1 / d2)^2). Centres come out symmetrical about 2.
    picture = np.tile(np.float32([0, 1, 3, 4]), (8, 2))
    clusters = fuzzy_c_means(picture, 2)
    low, high = clusters.centres
    assert low + high == pytest.approx(4, abs=1e-3)
    one = clusters.memberships[:, 0, 1]
    assert one[0] == pytest.approx(1 / (1 + ((1 - low) / (high - 1)) ** 2), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(2, 5), st.floats(1.1, 4))
def test_memberships_sum_to_one(seed, groups, fuzziness):
    picture = np.random.default_rng(seed).random((8, 9), np.float32)
    clusters = fuzzy_c_means(picture, groups, fuzziness=fuzziness)
    assert clusters.memberships.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert list(clusters.centres) == sorted(clusters.centres)
    assert (clusters.labels == clusters.memberships.argmax(axis=0) + 1).all()


def test_clusters_that_cannot_be():
    with pytest.raises(ImageError, match="3 groups of 2 intensities"):
        k_means(np.eye(9, dtype=np.float32), 3)
    with pytest.raises(ImageError, match="more than 1"):
        fuzzy_c_means(axial()[0], fuzziness=1)


def test_size_and_place():
    region = np.zeros((30, 40), bool)
    region[10:13, 20:24] = True  # 3 x 4 pixels
    inside = np.zeros_like(region)
    inside[:, :20] = inside[10:13, 20:24] = True
    measured = measure_region(region, spacing=(2.0, 0.5), within=inside)
    assert (measured.pixels, measured.area) == (12, 12.0)
    assert measured.centre == (11.0, 21.5)
    assert measured.box == (10, 20, 13, 24)
    assert measured.share == pytest.approx(12 / 612)
    # Outline to outline: rows 6 mm, columns 2 mm; scikit-image cuts the corners by half a pixel.
    assert 5.5 < measured.diameter <= np.hypot(6, 2)
    assert "12 mm2 (2.0%), centre row 11 column 22" in str(measured)
    assert measured.as_dict()["box"] == [10, 20, 13, 24]
    assert measure_region(region).area is None


def test_nothing_to_measure():
    with pytest.raises(ImageError, match="empty"):
        measure_region(np.zeros((9, 9), bool))


@pytest.mark.parametrize("bad", [np.zeros((3, 9, 9)), np.full((9, 9), np.nan), np.zeros((4, 4))])
def test_what_is_no_slice(bad):
    with pytest.raises(ImageError):
        denoise(bad.astype(np.float32))


def test_unknown_methods():
    with pytest.raises(ImageError, match="choose median"):
        denoise(axial()[0], "wavelet")
    with pytest.raises(ImageError, match="choose contour"):
        strip_skull(axial()[0], "magic")
    with pytest.raises(ImageError, match="more than 0"):
        denoise(axial()[0], strength=0)
