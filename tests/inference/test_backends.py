"""OpenVINO in PyTorch's place: the same answer, cached by what it was made of."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet

from monai_tumor.data import inference_items
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import BundleError, DependencyError
from monai_tumor.inference import Segmenter, backends
from monai_tumor.inference.backends import OpenVinoNetwork, cache_folder, choose, in_openvino
from monai_tumor.labels import REGIONS, to_regions
from monai_tumor.metrics.segmentation import dice
from monai_tumor.networks import MeanEnsemble
from monai_tumor.networks.precision import cpu_has_bf16
from monai_tumor.paths import BUNDLES

ROOT = BUNDLES.parent
HOMES_CACHE = cache_folder  # before the tests have one of their own
CPU = torch.device("cpu")
SHAPE = (4, 16, 16, 16)


def network(seed=0, **options):
    torch.manual_seed(seed)
    options = {"blocks_down": (1, 1), "blocks_up": (1,), "init_filters": 8} | options
    return SegResNet(spatial_dims=3, in_channels=4, out_channels=3, **options).eval()


@pytest.fixture
def installed(monkeypatch):
    return lambda there: monkeypatch.setattr(backends, "has_openvino", lambda: there)


@pytest.mark.parametrize(
    ("asked", "device", "there", "chosen"),
    [
        ("auto", "cpu", True, "openvino"),
        ("auto", "cpu", False, "torch"),
        ("auto", "cuda:0", True, "torch"),
        ("torch", "cpu", True, "torch"),
        ("openvino", "cpu", True, "openvino"),
    ],
)
def test_the_rule(asked, device, there, chosen, installed):
    installed(there)
    assert choose(asked, torch.device(device)) == chosen


def test_what_cannot_be_chosen(installed):
    with pytest.raises(BundleError, match="Unknown backend 'tensorrt'; choose one of auto, torch"):
        choose("tensorrt", CPU)
    with pytest.raises(BundleError, match="computes on the CPU, and the device is cuda:0"):
        choose("openvino", torch.device("cuda:0"))
    installed(False)
    expected = re.escape("pip install 'monai-tumor[openvino]'.")
    with pytest.raises(DependencyError, match=expected):
        choose("openvino", CPU)


@pytest.mark.parametrize(
    ("platform", "ending"),
    [
        ("linux", ".cache/monai_tumor"),
        ("darwin", "Library/Caches/monai_tumor"),
        ("win32", "AppData/Local/monai_tumor/Cache"),
    ],
)
def test_the_platforms_own_cache(monkeypatch, platform, ending):
    monkeypatch.setattr(backends.sys, "platform", platform)
    assert cache_folder().as_posix().endswith(ending)


def test_without_a_home_folder_nothing_is_kept(monkeypatch, caplog):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(backends.Path, "home", nowhere)
    backends.keep_network(network(), SHAPE, "torch", "0" * 64, cache=HOMES_CACHE())
    assert "SegResNet is not cached" in caplog.text


# A signal to a thread that used an engine which another thread dropped.
DROPPED_ELSEWHERE = """
import faulthandler, gc, os, signal, sys, threading
from pathlib import Path
from monai_tumor.inference.backends import OpenVinoNetwork
from monai.networks.nets import SegResNet

faulthandler.enable()  # its handlers run on the thread's stack for signals
signal.signal(signal.SIGTERM, lambda *_: print("alive"))
made = SegResNet(blocks_down=(1, 1), blocks_up=(1,), in_channels=4, out_channels=3).eval()
held = [OpenVinoNetwork(made, (4, 16, 16, 16), bf16=False, cache=Path(sys.argv[1]))]

def drop():
    held.clear()
    gc.collect()

thread = threading.Thread(target=drop)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
"""

AT_HOME = """
import sys, torch
from pathlib import Path
from monai.networks.nets import SegResNet
from monai_tumor.inference.backends import in_openvino

made = SegResNet(blocks_down=(1, 1), blocks_up=(1,), in_channels=4, out_channels=3).eval()
run = in_openvino(made, (4, 16, 16, 16), bf16=False, cache=Path(sys.argv[1]))
print(tuple(run(torch.zeros(1, 4, 16, 16, 16)).shape))
"""


class TestWithOpenVino:
    @pytest.fixture(autouse=True)
    def _there(self):
        pytest.importorskip("openvino", reason="the extra openvino is not installed")

    @pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is of POSIX")
    def test_dropped_by_another_thread_it_takes_no_stack_away(self, tmp_path):
        command = [sys.executable, "-W", "ignore", "-c", DROPPED_ELSEWHERE, str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="the home folder has another name")
    def test_it_leaves_nothing_in_the_home_folder(self, tmp_path):
        """OpenVINO's own import writes a client's number for Google Analytics there."""
        command = [sys.executable, "-W", "ignore", "-c", AT_HOME, str(tmp_path / "cache")]
        environment = os.environ | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
        (tmp_path / "home").mkdir()
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout) == (0, "(1, 3, 16, 16, 16)\n"), ended.stderr
        assert not list((tmp_path / "home").iterdir())

    def test_one_network_and_several_windows_at_once(self, tmp_path):
        made = network().to(memory_format=torch.channels_last_3d)
        x = torch.randn(2, *SHAPE)
        with torch.inference_mode():
            expected = made(x)
            found = in_openvino(made, SHAPE, bf16=False, cache=tmp_path)(x)
        assert found.dtype is torch.float32
        assert torch.allclose(found, expected, atol=1e-4)

    def test_an_ensemble_member_by_member(self, tmp_path):
        ensemble = MeanEnsemble([network(1), network(2)], [1, 3], with_disagreement=True).eval()
        x = torch.randn(1, *SHAPE)
        with torch.inference_mode():
            expected = ensemble(x)
            found = in_openvino(ensemble, SHAPE, bf16=False, cache=tmp_path)(x)
        assert found.shape == (1, 6, 16, 16, 16)
        assert torch.allclose(found, expected, atol=1e-3)
        assert len(list((tmp_path / "openvino").iterdir())) == 2

    def test_it_is_converted_once_and_again_where_the_cache_is_damaged(self, tmp_path, monkeypatch):
        calls = []
        convert = backends._converted
        monkeypatch.setattr(
            backends, "_converted", lambda *given: calls.append(1) or convert(*given)
        )
        x = torch.randn(1, *SHAPE)
        first = in_openvino(network(), SHAPE, bf16=False, cache=tmp_path)(x)
        second = in_openvino(network(), SHAPE, bf16=False, cache=tmp_path)(x)
        assert (len(calls), torch.equal(first, second)) == (1, True)
        [model] = tmp_path.rglob("model.bin")
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        third = in_openvino(network(), SHAPE, bf16=False, cache=tmp_path)(x)
        assert (len(calls), torch.equal(first, third)) == (2, True)
        assert not list(tmp_path.rglob(".tmp-*"))

    def test_a_cache_that_cannot_be_written_costs_time_alone(self, tmp_path, caplog):
        (tmp_path / "file").write_text("in the way")
        x = torch.randn(1, *SHAPE)
        found = in_openvino(network(), SHAPE, bf16=False, cache=tmp_path / "file")(x)
        assert torch.allclose(found, network()(x), atol=1e-4)
        assert "SegResNet is not cached" in caplog.text

    def test_what_it_cannot_run(self, tmp_path):
        class Sorted(torch.nn.Module):
            def forward(self, x):
                return torch.linalg.svdvals(x)

        with pytest.raises(BundleError, match=r"cannot run Sorted .*svdvals.*; use --back"):
            OpenVinoNetwork(Sorted(), (1, 4, 4), bf16=False, cache=tmp_path)


def test_the_cache_knows_weights_network_and_window():
    key = backends._key(network(), SHAPE)
    assert key == backends._key(network(), SHAPE)
    changed = network()
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1e-6
    others = [
        backends._key(changed, SHAPE),
        backends._key(network(), (4, 16, 16, 24)),
        backends._key(network(act="LEAKYRELU"), SHAPE),
        backends._key(network(norm="INSTANCE"), SHAPE),
    ]
    assert len({key, *others}) == 5


def region_dice(segmenters, item):
    """Dice of each region between the first segmenter's answer and each other's."""
    maps = [segmenter(item).label_map for segmenter in segmenters]
    exact, *others = (to_regions(labels, "brats2023", REGIONS) for labels in maps)
    assert all(region.any() for region in exact)
    return [dice(e, o) for other in others for e, o in zip(exact, other, strict=True)]


@pytest.fixture(scope="module")
def all_backends(tmp_path_factory):
    """The shipped SegResNet: float32 in PyTorch first, then each that is to agree with it."""
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    cache = tmp_path_factory.mktemp("cache")
    choices = [("torch", "fp32"), ("torch", "auto"), ("openvino", "fp32"), ("openvino", "auto")]
    return [
        Segmenter(
            "brats_segresnet", device="cpu", backend=backend, precision=precision, cache=cache
        )
        for backend, precision in choices
    ]


def test_they_say_what_they_are(all_backends):
    made = [segmenter.provenance for segmenter in all_backends]
    auto = "bfloat16" if cpu_has_bf16() else "float32"
    assert [(one["backend"], one["precision"]) for one in made] == [
        ("torch", "float32"),
        ("torch", auto),
        ("openvino", "float32"),
        ("openvino", auto),
    ]
    assert "openvino" in made[2]["versions"]
    assert "openvino" not in made[0]["versions"]


def test_they_agree_on_a_phantom(all_backends, tmp_path):
    [study] = write_phantoms(
        tmp_path, count=1, layout="brats2023", make=lambda n: make_phantom(n, size="small")
    )
    assert min(region_dice(all_backends, inference_items(study)[0])) >= 0.995


def test_they_agree_on_a_real_case_that_no_weights_saw(all_backends, real_data):
    study = real_data / "brats" / "original" / "BraTS2021_00002"
    found = region_dice(all_backends, inference_items(study)[0])
    assert min(found) >= 0.995
    assert np.isfinite(found).all()
