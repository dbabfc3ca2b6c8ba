import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_tumor.transforms import RandMirrorHalfd
from monai_tumor.transforms.rand_mirror_half import mirror_columns


def item(before=1, brain=6, after=2):
    """Column n holds n + 1 inside the brain, and marks itself in the masks."""
    width = before + brain + after
    image = torch.zeros(4, width, 3, 2)
    image[:, before : before + brain] = torch.arange(1.0, brain + 1)[:, None, None]
    label = torch.zeros(3, width, 3, 2)
    label[1] = (image[0] == 2) | (image[0] == brain)
    return {"image": MetaTensor(image), "label": MetaTensor(label), "study": "P"}


def columns(tensor, channel=0):
    return tensor[channel, :, 0, 0].tolist()


def mirrored(given_item, seed, prob=1.0):
    return RandMirrorHalfd(["image", "label"], prob).set_random_state(seed)(given_item)


def both_halves(given_item):
    """The two heads that there can be: of the left half, of the right."""
    made = {tuple(columns(m["image"])): m for m in (mirrored(given_item, n) for n in range(20))}
    assert len(made) == 2
    return [made[key] for key in sorted(made)]


def test_an_even_width():
    left, right = both_halves(item(brain=6))
    assert columns(left["image"]) == [0, 1, 2, 3, 3, 2, 1, 0, 0]
    assert columns(right["image"]) == [0, 6, 5, 4, 4, 5, 6, 0, 0]


def test_an_odd_width_keeps_its_middle():
    left, right = both_halves(item(brain=5))
    assert columns(left["image"]) == [0, 1, 2, 3, 2, 1, 0, 0]
    assert columns(right["image"]) == [0, 5, 4, 3, 4, 5, 0, 0]


def test_labels_follow_the_image():
    left, right = both_halves(item(brain=6))  # the masks mark columns 2 and 6
    assert columns(left["label"], 1) == [0, 0, 1, 0, 0, 1, 0, 0, 0]
    assert columns(right["label"], 1) == [0, 1, 0, 0, 0, 0, 1, 0, 0]
    assert not left["label"][[0, 2]].any()


@pytest.mark.parametrize(("before", "after"), [(0, 3), (3, 0), (0, 0), (5, 1)])
def test_a_brain_at_the_edge_smears_nothing(before, after):
    left, right = both_halves(item(before, 4, after))
    assert columns(left["image"]) == [0] * before + [1, 2, 2, 1] + [0] * after
    assert columns(right["image"]) == [0] * before + [4, 3, 3, 4] + [0] * after


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.booleans())
def test_is_its_own_reflection_and_keeps_one_half(filled, left):
    """For any brain, holes and all: column by column, told from its definition."""
    image = torch.tensor(filled).float()[None, :, None, None] * torch.arange(
        1.0, len(filled) + 1
    ).reshape(1, -1, 1, 1)
    made = columns(image[:, mirror_columns(image, left)])
    given_columns = columns(image)
    brain = [n for n, value in enumerate(given_columns) if value]
    if not brain:
        assert made == given_columns
        return
    low, high = brain[0], brain[-1]
    assert made[low : high + 1] == made[low : high + 1][::-1]
    assert not any(made[:low] + made[high + 1 :])
    half = range(low, (low + high) // 2 + 1) if left else range((low + high + 1) // 2, high + 1)
    assert [made[n] for n in half] == [given_columns[n] for n in half]


def test_the_brain_of_any_channel_counts():
    image = torch.zeros(2, 6, 1, 1)
    image[0, 1], image[1, 4] = 1, 2
    assert mirror_columns(image, left=True).tolist() == [0, 1, 2, 2, 1, 0]


def test_an_empty_image_stays():
    empty = {"image": torch.zeros(4, 5, 3, 2), "label": torch.rand(3, 5, 3, 2)}
    made = mirrored(empty, 0)
    assert torch.equal(made["image"], empty["image"])
    assert torch.equal(made["label"], empty["label"])


def test_never_and_always():
    given_item = item()
    for seed in range(20):
        never, always = (mirrored(given_item, seed, prob) for prob in (0.0, 1.0))
        assert never["image"] is given_item["image"]
        assert never["label"] is given_item["label"]
        assert not torch.equal(always["image"], given_item["image"])
        assert always["study"] == "P"


def test_how_often():
    transform = RandMirrorHalfd("image", prob=0.25).set_random_state(0)
    given_item = item()
    changed = [transform(given_item)["image"] is not given_item["image"] for _ in range(400)]
    assert 70 < sum(changed) < 130


def test_the_same_seed_gives_the_same():
    def heads(seed):
        transform = Compose([RandMirrorHalfd(["image", "label"], 0.5)]).set_random_state(seed)
        return [columns(transform(item())["image"]) for _ in range(10)]

    assert heads(3) == heads(3)
    assert heads(3) != heads(4)


def test_the_input_is_left_as_it_was():
    given_item = item()
    before = {key: given_item[key].clone() for key in ("image", "label")}
    made = mirrored(given_item, 0)
    made["image"] += 1
    made["label"] += 1
    for key, tensor in before.items():
        assert torch.equal(given_item[key], tensor)


def test_plain_tensors():
    given_item = {key: item()[key].as_tensor() for key in ("image", "label")}
    assert len({tuple(columns(mirrored(given_item, n)["image"])) for n in range(20)}) == 2
