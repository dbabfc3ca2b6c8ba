import pytest
import torch
from monai.data import MetaTensor

from monai_tumor.transforms import RandUnenhancedd


@pytest.fixture
def item():
    """A bright cube of 4 voxels on t1c in noise, its middle 2 enhancing tumour."""
    image = torch.rand(4, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(3, 12, 12, 12)
    label[:, 5:7, 5:7, 5:7] = 1  # TC, WT, ET
    label[:2, 4:8, 4:8, 4:8] = 1
    image[1, 5:7, 5:7, 5:7] += 3
    return {"image": MetaTensor(image), "label": MetaTensor(label)}


def changed(item, seed=0, prob=1.0):
    return RandUnenhancedd(["image", "label"], prob).set_random_state(seed)(item)


def test_enhancing_tumour_looks_as_on_t1n_and_is_core(item):
    made = changed(item)
    inside = (slice(5, 7),) * 3
    assert torch.allclose(made["image"][(1, *inside)], item["image"][(0, *inside)])
    assert not made["label"][2].any()
    assert torch.equal(made["label"][:2], item["label"][:2])


def test_all_else_stays(item):
    made = changed(item)
    assert torch.equal(made["image"][[0, 2, 3]], item["image"][[0, 2, 3]])
    far = torch.ones(12, 12, 12, dtype=torch.bool)
    far[3:9, 3:9, 3:9] = False  # two voxels around the enhancing tumour
    assert torch.equal(made["image"][1][far], item["image"][1][far])
    assert item["label"][2].any()  # what is cached is not touched


def test_chance(item):
    seen = [bool(changed(item, seed, prob=0.5)["label"][2].any()) for seed in range(40)]
    assert 8 < sum(seen) < 32
    assert changed(item, prob=0.0)["label"][2].any()


def test_a_tumour_that_does_not_enhance_stays_as_it_is(item):
    item["label"][2] = 0
    assert torch.equal(changed(item)["image"], item["image"])
