import pytest
import torch
from monai.inferers import Inferer, SimpleInferer, SlidingWindowInferer

from monai_tumor.training import AutocastInferer, autocast


@pytest.fixture
def bf16(monkeypatch):
    monkeypatch.setattr(autocast, "cpu_has_bf16", lambda: True)


class Spy(torch.nn.Module):
    """A convolution that remembers in which precision it computed."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 2, 1)
        self.seen = None

    def forward(self, x):
        out = self.conv(x)
        self.seen = out.dtype
        return out


class Several(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.spy, self.kind = Spy(), kind

    def forward(self, x):
        return self.kind([self.spy(x), self.spy(x)])


X = torch.rand(1, 1, 8, 8, 8)


@pytest.mark.parametrize(
    "inner", [SimpleInferer(), SlidingWindowInferer((4, 4, 4), overlap=0.5, mode="gaussian")]
)
def test_computes_in_bf16_and_gives_float32(bf16, inner):
    network = Spy()
    output = AutocastInferer(inner)(X, network)
    assert network.seen is torch.bfloat16
    assert output.dtype is torch.float32
    plain = inner(X, network)
    assert network.seen is torch.float32
    assert torch.allclose(output, plain, atol=0.02)
    assert not torch.equal(output, plain)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_outputs(bf16, kind):
    network = Several(kind)
    output = AutocastInferer(SimpleInferer())(X, network)
    assert network.spy.seen is torch.bfloat16
    assert [part.dtype for part in output] == [torch.float32] * 2


def test_gradients_arrive_in_float32(bf16):
    network = Spy()
    AutocastInferer(SimpleInferer())(X, network).sum().backward()
    assert network.conv.weight.grad.dtype is torch.float32
    assert network.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("has", "enabled"), [(False, True), (True, False)])
def test_off_without_instructions_or_by_choice(monkeypatch, has, enabled):
    monkeypatch.setattr(autocast, "cpu_has_bf16", lambda: has)
    network = Spy()
    output = AutocastInferer(SimpleInferer(), enabled)(X, network)
    assert network.seen is torch.float32
    assert torch.equal(output, network(X))


def test_further_arguments_reach_the_inner_inferer(bf16):
    class Keep(Inferer):
        def __call__(self, inputs, network, *args, **kwargs):
            self.got = (args, kwargs)
            return inputs

    keep = Keep()
    AutocastInferer(keep)(X, None, 1, mode="a")
    assert keep.got == ((1,), {"mode": "a"})
    # On another device the engine's own mixed precision is in charge.
    assert AutocastInferer(keep)(X.to("meta"), None, 2).device.type == "meta"
    assert keep.got == ((2,), {})
