"""What the machine has, and how to get the rest."""

import json
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from monai_tumor.bundles import BundleInfo, describe
from monai_tumor.files import sha256
from monai_tumor.services import doctor as module
from monai_tumor.services.doctor import doctor


def finding(name):
    return {found.name: found for found in doctor().findings}[name]


def test_it_looks_at_everything_and_says_it_in_one_line_each():
    found = doctor()
    names = [one.name for one in found.findings]
    assert names[:6] == ["Python", "PyTorch", "CUDA", "bfloat16", "memory", "gzip"]
    assert {"openvino", "codecs", "dicom", "pacs", "brats_segresnet"} <= set(names)
    assert len(str(found).splitlines()) == len(names)
    assert json.loads(json.dumps(found.as_dict()))["findings"][1]["value"].startswith(
        torch.__version__
    )


def test_a_missing_package_comes_with_the_command_that_installs_it(monkeypatch):
    def absent(package):
        if package == "python-gdcm":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(module, "version", absent)
    codecs = finding("codecs")
    assert not codecs.ok
    assert "without python-gdcm" in codecs.value
    assert str(codecs).endswith("pip install 'monai-tumor[codecs]'")


def test_a_gpu_and_its_memory(monkeypatch):
    class Card:
        name, total_memory = "NVIDIA Test", 24_000_000_000

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: Card)
    assert finding("CUDA").value == "NVIDIA Test (24.0 GB)"


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not finding("CUDA").ok
    assert "CUDA build" in finding("CUDA").advice


def test_the_shipped_weights_are_whole():
    assert finding("brats_segresnet").ok
    assert describe("brats_segresnet").weights_sha256 in finding("brats_segresnet").value


@pytest.mark.parametrize("record", ['{"sha256": "0"}', "{", "[]", None])
def test_weights_that_are_damaged(tmp_path, record):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    if record is not None:
        file.with_suffix(".json").write_text(record)
    shipped = describe("brats_segresnet")
    bundle = BundleInfo(**{**vars(shipped), "weights": file, "weights_sha256": sha256(file)})
    found = module._weights(bundle)
    assert not found.ok
    assert "is not the file that its .json records" in found.value
    file.with_suffix(".json").write_text(json.dumps({"sha256": sha256(file)}))
    assert module._weights(bundle).ok
