import pytest
import torch
from monai.networks.nets import UNETR, SegResNet

from monai_tumor.networks import MeanEnsemble, with_dropout

X = torch.rand(1, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def segresnet(**options):
    torch.manual_seed(0)
    shape = {"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,)}
    return SegResNet(in_channels=4, out_channels=3, **shape, **options)


def seeded(network):
    torch.manual_seed(5)
    with torch.no_grad():
        return network(X)


def test_is_the_dropout_that_monai_builds():
    made, built = with_dropout(segresnet(), 0.5), segresnet(dropout_prob=0.5)
    assert torch.equal(seeded(made), seeded(built))
    assert not torch.equal(seeded(made), seeded(segresnet()))
    assert torch.equal(made.eval()(X), segresnet().eval()(X))
    assert made.state_dict().keys() == segresnet().state_dict().keys()


def test_replaces_the_dropout_that_is_there():
    made = with_dropout(segresnet(dropout_prob=0.9), 0.2)
    assert torch.equal(seeded(made), seeded(segresnet(dropout_prob=0.2)))


def test_reaches_the_members_of_an_ensemble():
    made = with_dropout(MeanEnsemble([segresnet(), segresnet()]), 0.5)
    assert [part.dropout.p for part in made.members] == [0.5, 0.5]
    first, second = seeded(made)
    assert torch.equal(first, seeded(segresnet(dropout_prob=0.5)))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_other_networks_stay(probability):
    unetr = UNETR(4, 3, (16, 16, 16), hidden_size=12, mlp_dim=12, num_heads=2, feature_size=4)
    before = str(unetr)
    assert with_dropout(unetr, probability) is unetr
    assert str(unetr) == before
