import re

import pytest
import torch
from monai.losses import DiceFocalLoss
from monai.networks.nets import UNETR, SegResNet, SwinUNETR
from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.networks import MeanEnsemble, start_shallow

X = torch.randn(1, 4, 32, 32, 32, generator=torch.Generator().manual_seed(0))
SMALL = X[..., :16, :16, :16]
PRIOR = 1 / (1 + 2.718281828**4)  # 1.8%


def segresnet():
    torch.manual_seed(0)
    shape = {"init_filters": 8, "blocks_down": (1, 2, 2), "blocks_up": (1, 1)}
    return SegResNet(in_channels=4, out_channels=3, **shape)


def unetr():
    torch.manual_seed(0)
    return UNETR(4, 3, (32, 32, 32), hidden_size=12, mlp_dim=12, num_heads=2, feature_size=4)


def swin_unetr():
    torch.manual_seed(0)
    return SwinUNETR(4, 3, feature_size=12)


@pytest.mark.parametrize("make", [segresnet, unetr, swin_unetr])
def test_begins_with_the_rarity_of_tumour(make):
    plain, network = make().eval(), start_shallow(make()).eval()
    image = torch.cat([X, X], dim=2) if make is swin_unetr else X  # the smallest that it takes
    with torch.no_grad():
        before, after = plain(image).sigmoid().mean(), network(image).sigmoid().mean()
    assert before > 0.2
    assert PRIOR / 2 < after < 2 * PRIOR


def test_moves_nothing_but_the_last_bias_of_other_networks():
    plain, network = unetr().state_dict(), start_shallow(unetr()).state_dict()
    moved = [name for name in plain if not torch.equal(plain[name], network[name])]
    assert moved == ["out.conv.conv.bias"]
    assert torch.equal(network["out.conv.conv.bias"], torch.full((3,), -4.0))


def test_the_prior_is_the_callers():
    network = start_shallow(segresnet(), prior=-2.0)
    assert network.conv_final[2].conv.bias.tolist() == [-2.0] * 3


def randomise(layers):
    for parameter in layers.parameters():
        nn.init.normal_(parameter)


def test_of_a_segresnet_the_shallowest_path_alone_speaks():
    """What lies below the first level can be anything."""
    started, plain = start_shallow(segresnet()), segresnet()
    with torch.no_grad():
        shallow, deep = started(X), plain(X)
        randomise(started.down_layers[1:])
        randomise(plain.down_layers[1:])
        assert torch.equal(started(X), shallow)
        assert not torch.allclose(plain(X), deep, atol=0.1)
        first = started.convInit(X)
        assert torch.equal(started.down_layers[0](first), first)  # residual blocks say nothing


def test_the_deeper_layers_join_in():
    network = start_shallow(segresnet())
    before = {name: weights.clone() for name, weights in network.named_parameters()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0)
    for _ in range(6):  # one more level, and one more layer of it, a step
        optimizer.zero_grad()
        network(SMALL).square().mean().backward()
        optimizer.step()
    still = [n for n, weights in network.named_parameters() if torch.equal(weights, before[n])]
    assert still == []


def test_learns_a_rare_tumour_sooner():
    truth = torch.zeros(1, 3, 16, 16, 16)
    truth[..., 5:10, 5:10, 5:10] = 1
    image = SMALL + 2 * truth[:, :1]
    loss = DiceFocalLoss(sigmoid=True, batch=True, gamma=0.0)

    def after_steps(network):
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        for _ in range(15):
            optimizer.zero_grad()
            error = loss(network(image), truth)
            error.backward()
            optimizer.step()
        return float(error.detach())

    assert after_steps(start_shallow(segresnet())) < after_steps(segresnet()) - 0.1


def test_each_member_of_an_ensemble():
    ensemble = start_shallow(MeanEnsemble([segresnet(), unetr()]).eval())
    for member, alone in zip(ensemble.members, (segresnet, unetr), strict=True):
        with torch.no_grad():
            assert torch.equal(member(X), start_shallow(alone()).eval()(X))
    with torch.no_grad():
        assert ensemble(X).sigmoid().mean() < 2 * PRIOR


def test_a_network_without_a_bias_to_start_from():
    expected = (
        "Sequential has no convolution with a bias to start from; "
        "train it with --shallow_start False."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        start_shallow(nn.Sequential(nn.Conv3d(4, 3, 1, bias=False)))
