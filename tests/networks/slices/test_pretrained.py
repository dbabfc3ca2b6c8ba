"""Weight files of others."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.networks import slices
from monai_tumor.networks.slices.layouts import LAYOUTS


def random_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and statistics by chance, the latter positive."""
    torch.manual_seed(0)
    return {
        key: torch.rand(value.shape) + 0.5 if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }


def test_own_layout_from_safetensors_with_its_hash(tmp_path):
    network = slices.SmallResNet(num_classes=2)
    state = random_state(network)
    save_file(state, tmp_path / "w.safetensors")
    found = slices.load_pretrained(network, tmp_path / "w.safetensors")
    assert all(torch.equal(network.state_dict()[key], state[key]) for key in state)
    content = (tmp_path / "w.safetensors").read_bytes()
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert (found.layout, found.left_out, found.grey_stem) == ("own", (), False)


def test_colours_are_summed_and_another_head_is_left_out(tmp_path):
    state = random_state(slices.MobileNetV3Small(3, 7))
    torch.save(state, tmp_path / "w.pth")
    grey = slices.MobileNetV3Small(1, 4)
    found = slices.load_pretrained(grey, tmp_path / "w.pth")
    assert found.grey_stem
    assert found.left_out == ("classifier.3.weight", "classifier.3.bias")
    colour = slices.MobileNetV3Small(3, 7)
    colour.load_state_dict(state)
    picture = torch.rand(1, 1, 64, 64)
    seen = [
        net.eval().features(x) for net, x in ((grey, picture), (colour, picture.repeat(1, 3, 1, 1)))
    ]
    torch.testing.assert_close(*seen, rtol=1e-3, atol=1e-3)
    assert "colours summed" in str(found)
    assert found.as_dict()["left_out"] == list(found.left_out)


# Known keys of each layout, ours before, theirs behind, from the libraries' own files.
KNOWN = {
    ("DenseNet201", "torchvision"): {
        "features.denseblock1.denselayer1.layers.norm1.weight": (
            "features.denseblock1.denselayer1.norm1.weight"
        ),
        "features.transition1.conv.weight": "features.transition1.conv.weight",
        "class_layers.out.bias": "classifier.bias",
    },
    ("DenseNet201", "old torchvision"): {
        "features.denseblock4.denselayer32.layers.conv2.weight": (
            "features.denseblock4.denselayer32.conv.2.weight"
        ),
    },
    ("MobileNetV3Small", "timm"): {
        "features.0.1.running_var": "bn1.running_var",
        "features.1.block.0.0.weight": "blocks.0.0.conv_dw.weight",
        "features.1.block.1.fc2.bias": "blocks.0.0.se.conv_expand.bias",
        "features.1.block.2.1.weight": "blocks.0.0.bn2.weight",
        "features.2.block.2.0.weight": "blocks.1.0.conv_pwl.weight",
        "features.11.block.3.1.bias": "blocks.4.2.bn3.bias",
        "features.12.0.weight": "blocks.5.0.conv.weight",
        "classifier.0.bias": "conv_head.bias",
    },
    ("VGG19", "timm"): {
        "features.0.weight": "features.0.weight",
        "classifier.0.weight": "pre_logits.fc1.weight",
        "classifier.6.bias": "head.fc.bias",
    },
    ("EfficientNetBN", "torchvision"): {
        "_conv_stem.weight": "features.0.0.weight",
        "_blocks.0.0._project_conv.weight": "features.1.0.block.2.0.weight",
        "_blocks.1.2._depthwise_conv.weight": "features.2.1.block.1.0.weight",
        "_blocks.6.15._bn2.running_mean": "features.7.0.block.3.1.running_mean",
        "_fc.weight": "classifier.1.weight",
    },
    ("EfficientNetBN", "timm"): {
        "_blocks.0.0._bn2.weight": "blocks.0.0.bn2.weight",
        "_blocks.4.9._se_reduce.bias": "blocks.4.1.se.conv_reduce.bias",
        "_bn1.bias": "bn2.bias",
    },
    ("EfficientNetBN", "lukemelas"): {
        "_blocks.1.2._bn0.weight": "_blocks.2._bn0.weight",
        "_fc.bias": "_fc.bias",
    },
}


@pytest.mark.parametrize("family", [family for family in KNOWN if family[0] in LAYOUTS])
def test_keys_of_others(family):
    network, name = family
    (layout,) = [one for one in LAYOUTS[network] if one.name == name]
    assert {own: layout.key(own) for own in KNOWN[family]} == KNOWN[family]


@pytest.mark.parametrize(
    ("make", "name"),
    [("MobileNetV3Small", "timm"), ("efficientnet_b0", "timm"), ("efficientnet_b0", "torchvision")],
)
def test_another_layout_computes_the_same_with_its_epsilon(make, name, tmp_path):
    theirs = getattr(slices, make)(3, 5)
    state = random_state(theirs)
    theirs.load_state_dict(state)
    layout = next(one for one in LAYOUTS[type(theirs).__name__] if one.name == name)
    renamed = {layout.key(key): value for key, value in state.items()}
    assert len(renamed) == len(state)  # no two of ours are one of theirs
    if name == "timm" and make == "MobileNetV3Small":
        renamed["conv_head.weight"] = renamed["conv_head.weight"][..., None, None]
    save_file({k: v.contiguous() for k, v in renamed.items()}, tmp_path / "w.safetensors")
    ours = getattr(slices, make)(3, 5)
    found = slices.load_pretrained(ours, tmp_path / "w.safetensors")
    assert (found.layout, found.left_out) == (name, ())
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = layout.eps
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (slices.MobileNetV3Small, "https://download.pytorch.org/models/mobilenet_v3_small"),
        (slices.TanhCNN, "nobody publishes weights of TanhCNN"),
    ],
)
def test_no_file_names_what_is_expected(network, words, tmp_path):
    with pytest.raises(BundleError, match=words) as error:
        slices.load_pretrained(network(), tmp_path / "w.pth")
    assert "\n" not in str(error.value)


def test_another_network_is_refused(tmp_path):
    torch.save(slices.TanhCNN().state_dict(), tmp_path / "w.pth")
    with pytest.raises(BundleError, match=r"another network than MobileNetV3Small.*are missing"):
        slices.load_pretrained(slices.MobileNetV3Small(), tmp_path / "w.pth")
    with pytest.raises(
        BundleError, match=r"features.0.weight is \[6, 3, 5, 5\], not \[6, 2, 5, 5\]"
    ):
        slices.load_pretrained(slices.TanhCNN(2), tmp_path / "w.pth")


def test_torchvisions_file_is_fetched_once_by_its_hash(tmp_path, monkeypatch):
    asked = []

    def fetch(url, path, prefix, progress):
        asked.append((url, prefix))
        Path(path).write_bytes(content)

    torch.save(random_state(slices.MobileNetV3Small(3, 1000)), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    prefix = hashlib.sha256(content).hexdigest()[:8]
    name = f"mobilenet_v3_small-{prefix}.pth"
    published = {"MobileNetV3Small": name}
    monkeypatch.setattr("monai_tumor.networks.slices.pretrained._TORCHVISION", published)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    for _ in range(2):
        found = slices.load_pretrained(slices.MobileNetV3Small(3, 2), "download")
    assert asked == [(f"https://download.pytorch.org/models/{name}", prefix)]
    assert found.file == name
    (tmp_path / "checkpoints" / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match=rf"damaged or was replaced .* {prefix}\); remove it"):
        slices.load_pretrained(slices.MobileNetV3Small(3, 2), "download")


def test_without_a_network_it_says_where_the_file_is(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(BundleError, match=r"cannot be downloaded \(no route\); expected is torch"):
        slices.load_pretrained(slices.MobileNetV3Small(), "download")
    with pytest.raises(BundleError, match="nobody publishes weights of SmallResNet"):
        slices.load_pretrained(slices.SmallResNet(), "download")
    (tmp_path / "file").touch()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "file"))
    with pytest.raises(BundleError, match=r"cannot be downloaded \(.*file.*\); expected is torch"):
        slices.load_pretrained(slices.MobileNetV3Small(), "download")


def test_a_head_with_normalisation_keeps_its_own_weights(tmp_path):
    torch.save(random_state(slices.MobileNetV3Small(3, 7)), tmp_path / "w.pth")
    network = slices.with_head(slices.MobileNetV3Small(3, 2), norm=True)
    found = slices.load_pretrained(network, tmp_path / "w.pth")
    assert all(key.startswith("classifier.3.") for key in found.left_out)
    assert len(found.left_out) == 6  # of the last layer two, of the normalisation four
