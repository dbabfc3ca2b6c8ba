import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_tumor.errors import SchemeError
from monai_tumor.labels import (
    SCHEMES,
    Modality,
    Region,
    convert_labels,
    modality,
    scheme,
    to_labels,
    to_regions,
)

# Written out by hand, so that a slip in the table cannot pass unseen.
REGIONS_BY_HAND = {
    "msd": {"WT": {1, 2, 3}, "TC": {2, 3}, "ET": {3}},
    "brats2021": {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}},
    "brats2023": {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}},
    "brats2024": {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}},
    "ped2024": {"WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1}},
    "msd_as_published": {"WT": {1, 2, 3}, "TC": {2, 3}, "ET": {2}},
}


def test_every_scheme_is_written_out_by_hand():
    assert set(REGIONS_BY_HAND) == set(SCHEMES)


@pytest.mark.parametrize("name", SCHEMES)
def test_regions(name):
    assert {r.value: set(v) for r, v in SCHEMES[name].regions.items()} == REGIONS_BY_HAND[name]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", SCHEMES)
def test_to_regions_in_channel_order(name, kind):
    values = np.arange(6).reshape(2, 3)
    labels = values if kind == "numpy" else torch.from_numpy(values)
    masks = to_regions(labels, name)
    assert masks.shape == (3, 2, 3)
    for channel, region in enumerate(["TC", "WT", "ET"]):
        expected = np.isin(values, list(REGIONS_BY_HAND[name][region]))
        assert np.array_equal(np.asarray(masks[channel]), expected)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.sampled_from(["msd", "brats2021", "brats2023"]),
)
def test_labels_survive_regions_and_conversion(values, name):
    tissues = [0, *SCHEMES[name].tissues]
    labels = np.array([tissues[v] for v in values])
    tc, wt, et = to_regions(labels, name, [Region.TC, Region.WT, Region.ET])
    assert np.array_equal(to_labels(tc, wt, et, name), labels)
    there = convert_labels(labels, name, "brats2021")
    assert np.array_equal(convert_labels(there, "brats2021", name), labels)


def test_to_labels_keeps_enhancing_tumour_outside_the_core():
    off, on = torch.tensor([False]), torch.tensor([True])
    assert to_labels(off, off, on, "brats2021").tolist() == [4]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("T1gd", "t1c"),
        ("t1ce", "t1c"),
        ("FLAIR", "t2f"),
        ("T1w", "t1n"),
        ("T2", "t2w"),
        ("T1", "t1n"),
    ],
)
def test_modality_names(alias, name):
    assert modality(alias) is Modality(name)


def test_errors_say_what_to_do():
    with pytest.raises(
        SchemeError, match="Unknown label scheme 'brats'; choose one of msd, brats2021"
    ):
        scheme("brats")
    with pytest.raises(SchemeError, match="Unknown modality 'DWI'"):
        modality("DWI")
    with pytest.raises(SchemeError, match=r"Label values \[4\] are not in scheme 'msd'"):
        convert_labels(np.array([4]), "msd", "brats2021")
    with pytest.raises(SchemeError, match="'brats2021' has no value for resection cavity"):
        convert_labels(np.array([4]), "brats2024", "brats2021")
