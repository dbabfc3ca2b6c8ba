import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_tumor.transforms import RandCarveMixd

SHAPE = (12, 10, 10)
TC, WT, ET = 0, 1, 2


def head(box, tumour=None, value=1.0, shape=SHAPE):
    """A brain that fills `box` with `value`; its tumour, in the middle of which ET, is brighter."""
    image, label = torch.zeros(4, *shape), torch.zeros(3, *shape)
    image[(slice(None), *box)] = value
    if tumour is not None:
        image[(slice(None), *tumour)] = 10 * value
        label[(WT, *tumour)] = 1
        label[(ET, *(slice(part.start + 1, part.stop - 1) for part in tumour))] = 1
    return {"image": MetaTensor(image), "label": MetaTensor(label), "study": "P"}


def box(*sides):
    return tuple(slice(*side) for side in sides)


WHOLE = box((1, 11), (1, 9), (1, 9))
TUMOUR = box((2, 5), (3, 6), (4, 7))
MIRRORED = box((7, 10), (3, 6), (4, 7))  # in the brain's box, from the other side


def mix(donors, margin=0, prob=1.0, seed=0, **more):
    transform = RandCarveMixd(
        ["image", "label"], donors, load=lambda donor: donor, margin=margin, prob=prob, **more
    )
    return transform.set_random_state(seed)


def seeds(flipped):
    """The first seed whose tumour is, or is not, flipped."""
    for seed in range(50):
        made = mix([head(WHOLE, TUMOUR, 2.0)], seed=seed)(head(WHOLE))
        if bool(made["label"][(WT, *MIRRORED)].all()) == flipped:
            return seed
    raise AssertionError("never seen in 50")


@pytest.mark.parametrize(("flipped", "place"), [(False, TUMOUR), (True, MIRRORED)])
def test_a_tumour_at_its_place(flipped, place):
    """Image and masks, and nothing else."""
    made = mix([head(WHOLE, TUMOUR, 2.0)], seed=seeds(flipped))(head(WHOLE))
    expected = head(WHOLE, place)
    expected["image"][(slice(None), *place)] = 20
    assert torch.equal(made["image"], expected["image"])
    assert torch.equal(made["label"], expected["label"])
    assert made["study"] == "P"


def test_the_place_is_that_in_the_brain_not_in_the_array():
    """The donor's brain lies two voxels further along Y and Z of a larger array."""
    moved = [tuple(slice(p.start + n, p.stop + n) for p, n in zip(b, (0, 2, 2), strict=True))
             for b in (WHOLE, TUMOUR)]  # fmt: skip
    donor = head(*moved, 2.0, shape=(14, 12, 12))
    made = mix([donor], seed=seeds(False))(head(WHOLE))
    assert torch.equal(made["label"], head(WHOLE, TUMOUR)["label"])


def test_brains_of_other_sizes_share_their_middle():
    """8 voxels along X in a brain of 10: one voxel stays free on either side."""
    small = box((0, 8), (1, 9), (1, 9))
    donor = head(small, box((0, 3), (3, 6), (4, 7)), 2.0)
    made = mix([donor], seed=seeds(False))(head(WHOLE))
    assert torch.equal(made["label"], head(WHOLE, TUMOUR)["label"])


def test_nothing_is_put_outside_either_brain():
    narrow = box((1, 11), (1, 9), (1, 6))  # Z ends at 6, and its middle lies at 3.5, not 5
    made = mix([head(WHOLE, TUMOUR, 2.0)], seed=seeds(False))(head(narrow))
    background = head(narrow)["image"] == 0
    assert not made["image"][background].any()
    assert not made["label"][background[:3]].any()
    assert made["label"][WT].sum() == 3 * 3 * 3  # at Z 3 to 5: inside

    donor = head(WHOLE, TUMOUR, 2.0)
    donor["image"][:, 2] = 0  # a hole in the donor's brain, where its mask says tumour
    made = mix([donor], seed=seeds(False))(head(WHOLE))
    assert made["label"][WT].sum() == 2 * 3 * 3
    assert (made["image"][:, 2] == head(WHOLE)["image"][:, 2]).all()


def test_a_larger_brain_than_the_array_is_cut():
    donor = head(box((0, 20), (0, 20), (0, 20)), box((0, 20), (9, 12), (9, 12)), 2.0, (20, 20, 20))
    made = mix([donor])(head(WHOLE))
    assert made["image"].shape == (4, *SHAPE)
    assert made["label"][WT].sum() == 10 * 3 * 3  # the tumour runs through the brain's length


def test_the_own_tumour_stays_where_it_is_not_covered():
    own = box((2, 5), (3, 6), (1, 5))  # shares Z 4 with TUMOUR
    made = mix([head(WHOLE, TUMOUR, 2.0)], seed=seeds(False))(head(WHOLE, own))
    assert made["label"][WT].sum() == 3 * 3 * (4 + 3 - 1)
    assert (made["image"][(slice(None), *TUMOUR)] == 20).all()
    assert (made["image"][:, 2:5, 3:6, 1:4] == 10).all()
    inner = made["label"][ET].nonzero().tolist()
    assert inner == [[3, 4, 2], [3, 4, 3], [3, 4, 5]]


def test_the_rim_is_of_the_donors_tissue():
    """One voxel further along each axis: 3^3 and six faces of 3^2; masks do not grow."""
    sizes = set()
    for seed in range(30):
        made = mix([head(WHOLE, TUMOUR, 2.0)], margin=1, seed=seed)(head(WHOLE))
        assert made["label"][WT].sum() == 27
        assert (made["image"] == 20).sum() == 4 * 27
        sizes.add(int((made["image"][0] == 2).sum()))
    assert sizes == {0, 6 * 9}


def test_which_channel_is_carved():
    made = mix([head(WHOLE, TUMOUR, 2.0)], whole_tumour=ET)(head(WHOLE))
    assert made["label"][WT].sum() == made["label"][ET].sum() == 1


@pytest.mark.parametrize(
    ("donor", "recipient"),
    [
        (head(WHOLE), head(WHOLE, TUMOUR)),  # a donor without tumour
        (head(WHOLE, TUMOUR), head(box((0, 0), (0, 0), (0, 0)))),  # nobody's brain
        (head(box((0, 0), (0, 0), (0, 0))), head(WHOLE, TUMOUR)),
    ],
)
def test_nothing_to_mix_changes_nothing(donor, recipient):
    made = mix([donor], margin=2)(recipient)
    assert torch.equal(made["image"], recipient["image"])
    assert torch.equal(made["label"], recipient["label"])


def test_never_and_always():
    recipient = head(WHOLE)
    for seed in range(20):
        never = mix([head(WHOLE, TUMOUR)], prob=0.0, seed=seed)(recipient)
        assert never["image"] is recipient["image"]
        assert never["label"] is recipient["label"]
        always = mix([head(WHOLE, TUMOUR)], prob=1.0, seed=seed)(recipient)
        assert always["label"].any()


def test_neither_recipient_nor_donor_is_changed():
    donor, recipient = head(WHOLE, TUMOUR, 2.0), head(WHOLE)
    before = [item[key].clone() for item in (donor, recipient) for key in ("image", "label")]
    transform = mix([donor])
    first = transform(recipient)
    first["image"] += 1
    first["label"] += 1
    after = [item[key] for item in (donor, recipient) for key in ("image", "label")]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert transform(recipient)["image"].max() == 20


def test_donors_are_loaded_once_and_only_when_needed():
    heads = {name: head(WHOLE, TUMOUR, value) for name, value in (("a", 2.0), ("b", 3.0))}
    loaded = []

    def load(name):
        loaded.append(name)
        return heads[name]

    never = RandCarveMixd(["image", "label"], ["a", "b"], load, prob=0.0)
    never(head(WHOLE))
    assert loaded == []
    transform = RandCarveMixd(["image", "label"], ["a", "b"], load, margin=0, prob=1.0)
    transform.set_random_state(0)
    brightest = {float(transform(head(WHOLE))["image"].max()) for _ in range(20)}
    assert brightest == {20, 30}
    assert sorted(loaded) == ["a", "b"]


def test_the_same_seed_gives_the_same():
    donors = [head(WHOLE, TUMOUR, value) for value in (2.0, 3.0)]

    def heads(seed):
        transform = Compose([mix(donors, margin=3, prob=0.5)]).set_random_state(seed)
        return torch.stack([transform(head(WHOLE))["image"].as_tensor() for _ in range(8)])

    assert torch.equal(heads(1), heads(1))
    assert not torch.equal(heads(1), heads(2))


def test_what_is_drawn_does_not_depend_on_what_came_before():
    """Mixed or not, an item takes the same random numbers: one that fails changes no other."""
    rare, often = (mix([head(WHOLE, TUMOUR)], prob=prob, seed=7) for prob in (0.0, 1.0))
    for _ in range(5):
        rare(head(WHOLE))
        often(head(WHOLE))
    assert rare.R.random() == often.R.random()
