import json
import re

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceLoss
from monai.networks.nets import SegResNet
from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.networks import MeanEnsemble, disagreement, ensemble_of, member

X = torch.rand(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(4, 3, 3, padding=1), nn.Dropout3d(0.5))


def ensemble(count=3, **options):
    return MeanEnsemble([network(n) for n in range(count)], **options).eval()


def certain(*probabilities):
    """Members that answer with one probability everywhere."""

    class Constant(nn.Module):
        def __init__(self, probability):
            super().__init__()
            self.logit = nn.Parameter(torch.logit(torch.tensor(probability)))

        def forward(self, x):
            return self.logit.expand(x.shape[0], 3, *x.shape[2:])

    return [Constant(p) for p in probabilities]


def bundle(folder, definition, inputs="t1n t1c t2w t2f", outputs="TC WT ET", spacing=1.0):
    tensors = {
        kind: {name: {"channel_def": {str(n): c for n, c in enumerate(channels.split())}}}
        for kind, name, channels in (("inputs", "image", inputs), ("outputs", "pred", outputs))
    }
    stated = {"network_data_format": tensors, "spacing": [spacing] * 3}
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(stated | definition))
    return str(folder)


@pytest.mark.parametrize(
    ("weights", "mean"),
    [(None, 0.5), ([1, 1], 0.5), ([3, 1], 0.35), ([0.75, 0.25], 0.35), ([300, 100], 0.35)],
)
def test_the_weighted_mean_of_probabilities(weights, mean):
    """0.2 and 0.8, worked out by hand; the mean of logits would be another number."""
    output = MeanEnsemble(certain(0.2, 0.8), weights).eval()(X)
    assert output.shape == (2, 3, 8, 8, 8)
    assert torch.allclose(output.sigmoid(), torch.tensor(mean), atol=1e-6)
    assert torch.allclose(output, torch.logit(torch.tensor(mean)), atol=1e-5)


def test_is_what_its_members_say():
    made = ensemble()
    with torch.no_grad():
        expected = torch.stack([m(X).sigmoid() for m in made.members]).mean(0)
        assert torch.allclose(made(X).sigmoid(), expected, atol=1e-6)


def test_one_member_is_itself():
    made = ensemble(1)
    assert torch.allclose(made(X), made.members[0](X), atol=1e-4)


def test_members_that_are_certain_stay_finite():
    output = MeanEnsemble(certain(1.0, 1.0)).eval()(X)
    assert torch.isfinite(output).all()
    assert (output > 10).all()


def test_in_turn_gives_the_same():
    together, in_turn = ensemble(weights=[1, 2, 3]), ensemble(weights=[1, 2, 3], in_turn=True)
    with torch.no_grad():
        assert torch.equal(together(X), in_turn(X))


def test_in_turn_keeps_one_member_at_a_time_on_the_device():
    moves = []

    class Moved(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def to(self, device):
            moves.append((self.name, str(device)))
            return self

        def forward(self, x):
            moves.append((self.name, "runs"))
            return x[:, :3]

    MeanEnsemble([Moved("a"), Moved("b")], in_turn=True).eval()(X.to("meta"))
    assert moves == [(name, step) for name in "ab" for step in ("meta", "runs", "cpu")]


@pytest.mark.parametrize(("in_turn", "place"), [(True, "cpu"), (False, "meta")])
def test_in_turn_members_wait_in_cpu_memory(in_turn, place):
    made = ensemble(in_turn=in_turn)
    assert made.to("meta", memory_format=torch.channels_last_3d) is made
    assert {parameter.device.type for parameter in made.parameters()} == {place}


def test_in_turn_members_take_the_memory_format():
    made = MeanEnsemble([torch.nn.Conv3d(4, 3, 3), torch.nn.Conv3d(4, 3, 3)], in_turn=True)
    made.to(torch.device("meta"), memory_format=torch.channels_last_3d)
    for member_weights in made.parameters():
        assert member_weights.device.type == "cpu"
        if member_weights.ndim == 5:
            assert member_weights.is_contiguous(memory_format=torch.channels_last_3d)


def test_in_turn_cannot_train():
    made = ensemble(in_turn=True).train()
    expected = (
        "An ensemble cannot train with its members in turn on the device; "
        "leave in_turn false, or train the members one by one."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        made(X)


def test_disagreement_follows_the_scores():
    output = MeanEnsemble(certain(0.2, 0.8, 0.5), with_disagreement=True).eval()(X)
    assert output.shape == (2, 6, 8, 8, 8)
    assert torch.allclose(output[:, :3], torch.tensor(0.0), atol=1e-5)
    assert torch.allclose(output[:, 3:], torch.tensor(0.06).sqrt(), atol=1e-6)


def test_disagreement_lies_between_0_and_one_half():
    ones, zeros = torch.ones(1, 3, 2, 2, 2), torch.zeros(1, 3, 2, 2, 2)
    assert disagreement([ones, ones]).max() == 0
    assert torch.all(disagreement([ones, zeros]) == 0.5)
    assert torch.all(disagreement([ones]) == 0)


def test_each_member_trains_as_if_alone():
    """The sum of losses over the list: gradients are those of the member by itself."""
    truth = (torch.rand(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    loss = DiceLoss(sigmoid=True, batch=True)
    made = MeanEnsemble([nn.Conv3d(4, 3, 3, padding=1) for _ in range(3)]).train()
    outputs = made(X)
    assert isinstance(outputs, list)
    DeepSupervisionLoss(loss, weight_mode="same")(outputs, truth).backward()
    for one in made.members:
        together = one.weight.grad.clone()
        one.zero_grad()
        loss(one(X), truth).backward()
        assert together.abs().sum() > 0
        assert torch.allclose(together, one.weight.grad, atol=1e-7)


def test_the_gradient_of_one_never_reaches_another():
    made = MeanEnsemble([nn.Conv3d(4, 3, 1) for _ in range(2)]).train()
    made(X)[0].sum().backward()
    assert made.members[0].weight.grad is not None
    assert made.members[1].weight.grad is None


def test_the_state_holds_every_member_and_nothing_else():
    made = ensemble(2)
    names = set(made.state_dict())
    assert names == {f"members.{n}.0.{p}" for n in (0, 1) for p in ("weight", "bias")}
    other = MeanEnsemble([network(8), network(9)]).eval()
    other.load_state_dict(made.state_dict())
    with torch.no_grad():
        assert torch.equal(other(X), made(X))


@pytest.mark.parametrize("with_disagreement", [False, True])
@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.trace_method:DeprecationWarning")
def test_traces_in_evaluation(with_disagreement):
    made = ensemble(2, with_disagreement=with_disagreement)
    traced = torch.jit.trace(made, X)
    other = torch.rand(2, 4, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(traced(other), made(other))


@pytest.mark.parametrize(
    ("members", "weights", "expected"),
    [
        (0, None, "An ensemble needs at least one member; name its bundles."),
        (2, [1], "An ensemble of 2 members got weights [1.0]; give one positive number a member."),
        (2, [1, 0], "An ensemble of 2 members got weights [1.0, 0.0]; give one positive number a"
         " member."),
        (1, [-1], "An ensemble of 1 members got weights [-1.0]; give one positive number a"
         " member."),
        (1, [float("nan")], "An ensemble of 1 members got weights [nan]; give one positive number"
         " a member."),
        (1, [float("inf")], "An ensemble of 1 members got weights [inf]; give one positive number"
         " a member."),
    ],
)  # fmt: skip
def test_what_cannot_be_an_ensemble(members, weights, expected):
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        MeanEnsemble([network(n) for n in range(members)], weights)


# -- members by bundle


SEGRESNET = {
    "_target_": "monai.networks.nets.SegResNet",
    "in_channels": 4,
    "out_channels": 3,
    "init_filters": 8,
    "blocks_down": [1, 1],
    "blocks_up": [1],
}


def test_a_member_is_what_its_own_metadata_says(tmp_path):
    made = member(bundle(tmp_path / "b", {"network_def": SEGRESNET}), [8, 8, 8])
    assert isinstance(made, SegResNet)
    assert made(X).shape == (2, 3, 8, 8, 8)


def test_the_window_reaches_networks_of_fixed_size(tmp_path):
    unetr = {
        "_target_": "monai.networks.nets.UNETR",
        **{"in_channels": 4, "out_channels": 3, "img_size": "@window", "feature_size": 4},
        **{"hidden_size": 12, "mlp_dim": 12, "num_heads": 2},
    }
    made = member(bundle(tmp_path / "u", {"network_def": unetr}), (32, 16, 16))
    assert made.vit.patch_embedding.position_embeddings.shape == (1, 2, 12)


@pytest.mark.parametrize("name", ["brats_segresnet", "brats_unetr"])
def test_the_shipped_members_can_be_built(name):
    made = member(name, [32, 32, 32])
    with torch.no_grad():
        assert made.eval()(torch.rand(1, 4, 32, 32, 32)).shape == (1, 3, 32, 32, 32)


def test_an_ensemble_of_bundles_and_of_folds(tmp_path):
    name = bundle(tmp_path / "b", {"network_def": SEGRESNET})
    made = ensemble_of([name, name], [8, 8, 8], weights=[1, 3], with_disagreement=True).eval()
    first, second = made.members
    assert first is not second
    assert not torch.equal(first.convInit.conv.weight, second.convInit.conv.weight)
    assert made.shares == [0.25, 0.75]
    with torch.no_grad():
        assert made(X).shape == (2, 6, 8, 8, 8)


def test_no_such_member(tmp_path):
    with pytest.raises(BundleError, match=r"^No bundle 'brats_nothing'; shipped are "):
        ensemble_of(["brats_segresnet", "brats_nothing"], [32, 32, 32])
    with pytest.raises(BundleError, match=r"^An ensemble needs at least one member"):
        ensemble_of([], [32, 32, 32])


@pytest.mark.parametrize("metadata", [{}, {"network_def": "x"}, {"network_def": {"a": 1}}])
def test_a_bundle_whose_metadata_defines_no_network(tmp_path, metadata):
    name = bundle(tmp_path / "b", metadata)
    expected = (
        f"{tmp_path / 'b' / 'configs' / 'metadata.json'} has no network_def with a _target_; "
        "it cannot be a member."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        member(name, [8, 8, 8])


def test_an_ensemble_cannot_be_a_member():
    with pytest.raises(BundleError, match=r" refers to @members; a member's may refer to @window"):
        member("brats_ensemble", [8, 8, 8])


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"inputs": "t1c t1n t2w t2f"}, "has inputs t1c, t1n, t2w, t2f; an ensemble's members need"
         " t1n, t1c, t2w, t2f."),
        ({"inputs": "t1n t1c t2w"}, "has inputs t1n, t1c, t2w; an ensemble's members need"
         " t1n, t1c, t2w, t2f."),
        ({"outputs": "ET TC WT"}, "has outputs ET, TC, WT; an ensemble's members need TC, WT, ET."),
        ({"definition": {"network_data_format": {}}}, "has inputs that its metadata omits; an"
         " ensemble's members need t1n, t1c, t2w, t2f."),
    ],
)  # fmt: skip
def test_a_member_of_other_channels(tmp_path, stated, expected):
    definition = {"network_def": SEGRESNET} | stated.pop("definition", {})
    name = bundle(tmp_path / "b", definition, **stated)
    with pytest.raises(BundleError, match=f"^{re.escape(f'Member {name!r} {expected}')}$"):
        ensemble_of([name], [8, 8, 8])


def test_a_member_may_call_its_inputs_by_other_names(tmp_path):
    name = bundle(tmp_path / "b", {"network_def": SEGRESNET}, inputs="T1 T1ce T2 FLAIR")
    assert isinstance(member(name, [8, 8, 8]), SegResNet)


def test_members_of_different_spacing(tmp_path):
    one = bundle(tmp_path / "one", {"network_def": SEGRESNET})
    two = bundle(tmp_path / "two", {"network_def": SEGRESNET}, spacing=2.0)
    expected = (
        f"Member {two!r} sees voxels of [2.0, 2.0, 2.0] mm, {one!r} of [1.0, 1.0, 1.0] mm; "
        "an ensemble's members need the same spacing."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        ensemble_of([one, two], [8, 8, 8])
