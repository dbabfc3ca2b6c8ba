"""What this machine has of all that makes a segmentation fast, and how to get the rest."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from monai_tumor.bundles import BundleInfo, bundle_names, describe

# Extra -> what it is for, and the packages that it brings.
_EXTRAS = (
    ("openvino", "networks on the CPU by OpenVINO", ("openvino",)),
    ("dicom", "DICOM SEG and SR", ("highdicom",)),
    ("pacs", "receiving studies from a PACS", ("pynetdicom",)),
    (
        "codecs",
        "compressed DICOM",
        ("pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm"),
    ),
    ("phantom", "phantoms of real anatomy", ("nilearn",)),
    ("export", "ONNX", ("onnx", "onnxscript", "onnxruntime")),
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        name: of it.
        value: what was found, in a few words.
        ok: whether it is there and as it should be.
        advice: what to do to have it; empty where it is there.
    """

    name: str
    value: str
    ok: bool = True
    advice: str = ""

    def __str__(self) -> str:
        """One line."""
        line = f"{'ok' if self.ok else '--'}  {self.name:<12} {self.value}"
        return f"{line}. {self.advice}" if self.advice else line


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked for, in order."""

    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        """One line each."""
        return "\n".join(str(finding) for finding in self.findings)


def doctor() -> Diagnosis:
    """Look at Python, PyTorch, processors, memory, optional packages and the shipped weights."""
    packages = [_package(*extra) for extra in _EXTRAS]
    weights = [_weights(describe(name)) for name in bundle_names()]
    return Diagnosis((*_machine(), *packages, *weights))


def _machine() -> Iterator[Finding]:
    import torch

    from monai_tumor.networks.precision import cpu_has_bf16

    yield Finding("Python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Finding("PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    yield _cuda()
    yield Finding(
        "bfloat16",
        "this CPU computes with it (AVX512-BF16 or AMX)"
        if cpu_has_bf16()
        else "not on this CPU: networks are computed in float32, two to three times slower",
        cpu_has_bf16(),
    )
    yield _memory()
    yield Finding("gzip", f"isal {version('isal')}")


def _cuda() -> Finding:
    import torch

    if not torch.cuda.is_available():
        build = "PyTorch sees none" if torch.version.cuda else "this PyTorch is built for the CPU"
        advice = "With an NVIDIA GPU, install PyTorch's CUDA build: https://pytorch.org/get-started"
        return Finding("CUDA", f"no device; {build}", False, advice)
    devices = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    named = [f"{device.name} ({device.total_memory / 1e9:.1f} GB)" for device in devices]
    return Finding("CUDA", ", ".join(named))


def _memory() -> Finding:
    try:
        page = os.sysconf("SC_PAGE_SIZE") / 1e9
        total, free = (page * os.sysconf(f"SC_{name}PHYS_PAGES") for name in ("", "AV"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return Finding("memory", "unknown on this system")
    return Finding("memory", f"{total:.1f} GB, {free:.1f} GB of it free")


def _package(extra: str, purpose: str, packages: Sequence[str]) -> Finding:
    found, missing = [], []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        advice = f"pip install 'monai-tumor[{extra}]'"
        return Finding(extra, f"{purpose}: without {', '.join(missing)}", False, advice)
    return Finding(extra, f"{purpose}: {', '.join(found)}")


def _weights(bundle: BundleInfo) -> Finding:
    """Whether a bundle's weights are there and those of its `model.json`."""
    if bundle.members:
        return Finding(bundle.name, f"weights of {', '.join(bundle.members)}")
    if bundle.weights is None:
        advice = "Train it, or name a file with --weights"
        return Finding(bundle.name, "ships no weights of its own", False, advice)
    try:
        record = json.loads(bundle.weights.with_suffix(".json").read_text(encoding="utf-8"))
        recorded = record["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        recorded = None
    if recorded != bundle.weights_sha256:
        value = f"{bundle.weights.name} is not the file that its .json records"
        return Finding(bundle.name, value, False, "Install monai-tumor again")
    return Finding(bundle.name, f"weights whole, SHA-256 {bundle.weights_sha256}")
