import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import measure

from monai_tumor.errors import InputError, SchemeError
from monai_tumor.imaging.components import (
    count_components,
    filter_components,
    filter_tumour,
    split_components,
)

MASKS = arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3))


@given(MASKS, st.sampled_from([(6, 1), (18, 2), (26, 3)]))
def test_count_agrees_with_scikit_image(mask, connectivity):
    ours, theirs = connectivity
    expected = measure.label(mask, connectivity=theirs).max()
    assert count_components(mask, connectivity=ours) == expected


@given(MASKS, st.integers(0, 8))
def test_filter_agrees_with_scikit_image(mask, least):
    numbered = measure.label(mask, connectivity=3)
    expected = np.zeros_like(mask)
    for part in measure.regionprops(numbered):
        if part.num_pixels >= least:
            expected[tuple(part.coords.T)] = True
    before = mask.copy()
    out = filter_components(mask, min_ml=least * 0.006, spacing=(1, 2, 3))
    assert np.array_equal(out, expected)
    assert np.array_equal(mask, before)


@given(MASKS, st.integers(0, 8))
def test_split_gives_the_components_that_the_filter_keeps(mask, least):
    options = {"min_ml": least * 0.006, "spacing": (1, 2, 3)}
    together, sizes = np.zeros_like(mask), []
    for box, part in split_components(mask, **options):
        assert measure.label(part, connectivity=3).max() == 1
        assert not (together[box] & part).any()
        together[box] |= part
        sizes.append(int(part.sum()))
    assert np.array_equal(together, filter_components(mask, **options))
    assert sizes == sorted(sizes, reverse=True)


def test_corners_join_only_with_26_neighbours():
    mask = np.zeros((2, 2, 2))
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    assert [count_components(mask, connectivity=n) for n in (6, 18, 26)] == [2, 2, 1]
    with pytest.raises(InputError, match="Connectivity 8 is unknown; choose 6, 18 or 26"):
        count_components(mask, connectivity=8)


def test_a_component_of_exactly_the_volume_stays():
    mask = np.zeros((20, 10, 10), bool)
    mask[:10] = True  # 1000 voxels of 0.1 x 0.1 x 0.1 mm are 0.001 mL
    mask[12, :, :] = True  # 100 voxels
    out = filter_components(mask, min_ml=0.001, spacing=(0.1, 0.1, 0.1))
    assert out[:10].all()
    assert not out[10:].any()


def two_lesions(necrosis, oedema, enhancing):
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[2:12, 2:12, 2:12] = oedema  # 1 mL
    labels[4:8, 4:8, 4:8] = necrosis
    labels[5:7, 5:7, 5:7] = enhancing  # 8 voxels
    labels[20:22, 20:22, 20:22] = enhancing  # 8 voxels, a lesion of its own
    return labels


@pytest.mark.parametrize(
    ("scheme", "necrosis", "oedema", "enhancing"),
    [("brats2021", 1, 2, 4), ("brats2023", 1, 2, 3), ("msd", 2, 1, 3), ("ped2024", 2, 4, 1)],
)
def test_filter_tumour_in_each_scheme(scheme, necrosis, oedema, enhancing):
    labels = two_lesions(necrosis, oedema, enhancing)
    kept = {"spacing": (1, 1, 1)}
    assert np.array_equal(filter_tumour(labels, scheme, **kept), labels)

    no_island = labels.copy()
    no_island[20:22, 20:22, 20:22] = 0
    assert np.array_equal(filter_tumour(labels, scheme, min_lesion_ml=0.009, **kept), no_island)
    assert np.array_equal(filter_tumour(labels, scheme, min_lesion_ml=0.008, **kept), labels)

    no_enhancing = np.where(labels == enhancing, necrosis, labels)
    assert np.array_equal(filter_tumour(labels, scheme, min_et_ml=0.017, **kept), no_enhancing)
    assert np.array_equal(filter_tumour(labels, scheme, min_et_ml=0.016, **kept), labels)

    # The island goes first, so what is left of ET is below the limit.
    both = filter_tumour(labels, scheme, min_lesion_ml=0.009, min_et_ml=0.016, **kept)
    assert np.array_equal(both, np.where(no_island == enhancing, necrosis, no_island))
    assert both.dtype == np.uint8
    assert np.array_equal(labels, two_lesions(necrosis, oedema, enhancing))


def test_volumes_follow_the_spacing():
    labels = two_lesions(1, 2, 4)  # islands of 8 voxels: 0.064 mL at 2 mm
    out = filter_tumour(labels, "brats2021", spacing=(2, 2, 2), min_lesion_ml=0.064)
    assert np.array_equal(out, labels)


def test_a_resection_cavity_stays():
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[0, 0, 0] = 4
    labels[4, 4, 4] = 3
    out = filter_tumour(labels, "brats2024", spacing=(1, 1, 1), min_lesion_ml=1)
    assert out[0, 0, 0] == 4
    assert out.sum() == 4


def test_empty_and_bad_input():
    empty = np.zeros((3, 3, 3), np.uint8)
    out = filter_tumour(empty, "msd", spacing=(1, 1, 1), min_lesion_ml=1, min_et_ml=1)
    assert np.array_equal(out, empty)
    assert count_components(empty) == 0
    with pytest.raises(InputError, match=r"minimum volume of -1 mL is below 0"):
        filter_tumour(empty, "msd", spacing=(1, 1, 1), min_et_ml=-1)
    with pytest.raises(SchemeError, match="Unknown label scheme"):
        filter_tumour(empty, "x", spacing=(1, 1, 1))
