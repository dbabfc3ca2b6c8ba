"""SelectModalitiesd, LabelsToRegionsd, RegionsToLabelsd, RandDropModalityd, SplitDisagreementd."""

import re

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_tumor.errors import BundleError, SchemeError, StudyError
from monai_tumor.labels import SCHEMES, Region, Tissue
from monai_tumor.transforms import (
    LabelsToRegionsd,
    RandDropModalityd,
    RegionsToLabelsd,
    SelectModalitiesd,
    SplitDisagreementd,
)

AFFINE = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))


def channels(count=4):
    """Channel n holds n everywhere."""
    values = torch.arange(count).float()[:, None, None, None].expand(count, 2, 3, 4)
    return MetaTensor(values.clone(), affine=AFFINE, meta={"filename_or_obj": "a.nii"})


def message(text):
    return f"^{re.escape(text)}$"


# -- SelectModalitiesd

MSD = ["FLAIR", "T1w", "t1gd", "T2w"]
ZOO = ["T1c", "T1", "T2", "FLAIR"]


@pytest.mark.parametrize(
    ("have", "order", "expected"),
    [
        (MSD, ("t1n", "t1c", "t2w", "t2f"), [1, 2, 3, 0]),
        (["t1n", "t1c", "t2w", "t2f"], ZOO, [1, 0, 2, 3]),
        (MSD, ZOO, [2, 1, 3, 0]),
        (["t1", "t1ce", "t2", "flair"], ["t2f"], [3]),
        (["t1", "t1ce", "t2", "flair"], ["t1n", "t1c", "t2w", "t2f"], [0, 1, 2, 3]),
    ],
)
def test_channels_come_in_the_networks_order(have, order, expected):
    item = {"image": channels(), "modalities": have, "study": "P"}
    done = SelectModalitiesd("image", order)(item)
    assert done["image"][:, 0, 0, 0].tolist() == expected
    assert torch.equal(done["image"].affine, item["image"].affine)
    assert done["image"].meta["filename_or_obj"] == "a.nii"
    assert item["image"].shape[0] == 4
    again = SelectModalitiesd("image", order)(done)  # "modalities" says what is there now
    assert torch.equal(again["image"], done["image"])


def test_a_missing_modality():
    item = {"image": channels(3), "modalities": ["t1", "t1ce", "t2"], "study": "P012"}
    expected = (
        "Study 'P012' has no t2f image; found t1n, t1c, t2w. "
        "Add the file, or choose a bundle that does not need it."
    )
    with pytest.raises(StudyError, match=message(expected)):
        SelectModalitiesd("image")(item)


def test_names_and_channels_that_differ_in_number():
    item = {"image": channels(3), "modalities": MSD, "study": "P"}
    expected = (
        "Study 'P': 4 modalities named (t2f, t1n, t1c, t2w), but the image has 3 channels. "
        "Correct the list of modalities."
    )
    with pytest.raises(StudyError, match=message(expected)):
        SelectModalitiesd("image")(item)


def test_an_unknown_modality():
    with pytest.raises(SchemeError, match=r"^Unknown modality 'PET'"):
        SelectModalitiesd("image", ["t1", "PET"])


# -- LabelsToRegionsd, RegionsToLabelsd


def label_map(values):
    data = torch.zeros(1, 4, 3, 2)
    data[0, : len(values), 1, 1] = torch.tensor(values, dtype=torch.float32)
    return MetaTensor(data, affine=AFFINE)


@pytest.mark.parametrize(
    ("scheme", "values", "expected"),
    [  # worked out by hand from the table in FACTS: voxels in TC, WT, ET
        ("msd", [1, 2, 3], ([0, 1, 1], [1, 1, 1], [0, 0, 1])),
        ("brats2021", [1, 2, 4], ([1, 0, 1], [1, 1, 1], [0, 0, 1])),
        ("brats2023", [1, 2, 3], ([1, 0, 1], [1, 1, 1], [0, 0, 1])),
        ("brats2024", [1, 2, 3, 4], ([1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0])),
        ("ped2024", [1, 2, 3, 4], ([1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0])),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_labels_to_regions(scheme, values, expected, stated):
    item = {"label": label_map(values), "scheme": "msd" if stated else scheme}
    done = LabelsToRegionsd("label", scheme if stated else None)(item)["label"]
    assert done.dtype is torch.float32
    assert done.shape == (3, 4, 3, 2)
    assert [done[c, : len(values), 1, 1].tolist() for c in range(3)] == list(expected)
    assert done.sum() == sum(map(sum, expected))
    assert torch.equal(done.affine, item["label"].affine)


def test_chosen_regions_in_their_order():
    regions = (Region.ET, Region.WT)
    done = LabelsToRegionsd("label", "brats2021", regions)({"label": label_map([2, 4])})["label"]
    assert done[:, :2, 1, 1].tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("values", "found"),
    [([1, 3, 7], "3, 7"), ([1.5], "1.5"), ([-1], "-1"), ([float("nan")], "nan")],
)
def test_values_that_the_scheme_does_not_know(values, found):
    item = {"label": label_map(values), "scheme": "brats2021", "study": "P1"}
    expected = (
        f"Study 'P1': label values {found} are not in scheme 'brats2021' (BraTS 2017 to 2022). "
        "State the right one with --scheme."
    )
    with pytest.raises(SchemeError, match=message(expected)):
        LabelsToRegionsd("label")(item)


def test_no_scheme_is_never_guessed():
    expected = "Study 'P1' names no label scheme; state one, for example --scheme brats2021."
    for more in ({}, {"scheme": None}):
        with pytest.raises(SchemeError, match=message(expected)):
            LabelsToRegionsd("label")({"label": label_map([1]), "study": "P1", **more})


def test_an_item_without_a_label():
    assert LabelsToRegionsd("label", allow_missing_keys=True)({"study": "P"}) == {"study": "P"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_round_trip(scheme):
    """Each tissue comes back; a cyst as core, a cavity as background, for regions hold no more."""
    tissues = SCHEMES[scheme].tissues
    there = LabelsToRegionsd("x", scheme)({"x": label_map(list(tissues))})
    back = RegionsToLabelsd("x", scheme, threshold=0.5)(there)
    expected = [
        {Tissue.CYST: SCHEMES[scheme].value(Tissue.NECROSIS), Tissue.CAVITY: 0}.get(t, v)
        for v, t in tissues.items()
    ]
    assert back["x"].dtype is torch.uint8
    assert back["x"].shape == (1, 4, 3, 2)
    assert back["x"][0, : len(expected), 1, 1].tolist() == expected
    assert back["x"].sum() == sum(expected)
    assert back["x_scheme"] == scheme
    assert torch.equal(back["x"].affine, there["x"].affine)


def test_logits_above_0_are_probabilities_above_one_half():
    logits = torch.randn(3, 9, 9, 9, generator=torch.Generator().manual_seed(0))
    logits[:, 0, 0] = 0.0  # exactly one half: outside
    by_logit = RegionsToLabelsd("p")({"p": MetaTensor(logits)})["p"]
    by_probability = RegionsToLabelsd("p", threshold=0.5)({"p": logits.double().sigmoid()})["p"]
    assert torch.equal(by_logit.as_tensor(), by_probability.as_tensor())
    assert not by_logit[0, 0, 0].any()
    assert set(by_logit.unique().tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("inside", "expected"),
    [((0, 1, 0), 2), ((1, 1, 0), 1), ((1, 1, 1), 3), ((0, 0, 1), 3), ((1, 0, 0), 1), ((0,) * 3, 0)],
)
def test_the_innermost_region_wins(inside, expected):
    scores = torch.tensor(inside).float()[:, None, None, None] - 0.5
    assert RegionsToLabelsd("p")({"p": scores})["p"].flatten().tolist() == [expected]


# -- RandDropModalityd


def drop(prob, seed=0, count=4):
    image = MetaTensor(torch.ones(count, 2, 2, 2), affine=AFFINE)
    transform = RandDropModalityd("image", prob)
    transform.set_random_state(seed=seed)
    done = [transform({"image": image})["image"] for _ in range(300)]
    assert image.min() == 1  # the input, perhaps from a cache, is as it was
    assert all(isinstance(d, MetaTensor) for d in done)
    return torch.stack([d.as_tensor()[:, 0, 0, 0] for d in done])


def test_one_channel_always_stays():
    kept = drop(prob=1.0)
    assert torch.all(kept.sum(1) == 1)
    assert kept.sum(0).min() > 40  # now this one, now that: 75 each on average


def test_the_share_of_channels_dropped():
    assert (1 - drop(prob=0.2)).mean() == pytest.approx(0.2, abs=0.03)
    assert drop(prob=0.0).min() == 1
    assert drop(prob=1.0, count=1).min() == 1


def test_the_same_seed_drops_the_same():
    assert torch.equal(drop(0.4, seed=1), drop(0.4, seed=1))
    assert not torch.equal(drop(0.4, seed=1), drop(0.4, seed=2))
    image = torch.ones(4, 2, 2, 2)
    whole = Compose([RandDropModalityd("image", 0.5)])
    draws = []
    for _ in range(2):
        whole.set_random_state(seed=5)
        draws.append(np.stack([whole({"image": image})["image"].numpy() for _ in range(9)]))
    assert np.array_equal(*draws)


def test_a_dropped_channel_is_blank_throughout():
    image = torch.randn(4, 5, 5, 5)
    transform = RandDropModalityd("image", 0.5).set_random_state(seed=3)
    done = transform({"image": image})["image"]
    for before, after in zip(image, done, strict=True):
        assert torch.equal(after, before) or not after.any()


# -- SplitDisagreementd


def test_an_ensembles_output_is_parted():
    output = MetaTensor(torch.rand(6, 3, 3, 3), affine=AFFINE)
    done = SplitDisagreementd("pred")({"pred": output})
    assert torch.equal(done["pred"], output[:3])
    assert done["disagreement"].shape == (1, 3, 3, 3)
    expected = np.maximum.reduce([output[c].numpy() for c in (3, 4, 5)])
    assert np.array_equal(done["disagreement"][0].numpy(), expected)
    assert torch.equal(done["disagreement"].affine, output.affine)


def test_an_output_without_disagreement():
    expected = (
        "The network gives 3 channels, not 6; a disagreement map needs an ensemble that is built "
        "with disagreement."
    )
    with pytest.raises(BundleError, match=message(expected)):
        SplitDisagreementd("pred")({"pred": torch.rand(3, 2, 2, 2)})
