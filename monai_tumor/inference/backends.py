"""What computes the network: PyTorch, or OpenVINO in its place on a CPU.

`auto` takes OpenVINO on a CPU where it is installed, else PyTorch. Processor seconds of one window
(80x96x80 voxels, one thread of a Zen 4 with AVX512-BF16, one run, 2026-11-21):

    network        PyTorch fp32   PyTorch bf16   OpenVINO fp32   OpenVINO bf16
    SegResNet-16   1.47           0.50           1.08            0.49
    UNETR          1.01           0.52           0.59            0.34

The first run converts, which takes seconds, and keeps the conversion in a cache. channels_last_3d,
which the bundles ask for on a CPU, is in PyTorch's columns: it took SegResNet in bf16 from 0.69 to
0.50 and changed nothing elsewhere. `torch.compile` is not used: it needs a C++ compiler at hand and
minutes for what takes half a second.
"""

import functools
import hashlib
import inspect
import json
import logging
import secrets
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import torch
from torch import nn

from monai_tumor.errors import BundleError, DependencyError
from monai_tumor.files import sha256, write_json
from monai_tumor.networks import MeanEnsemble

Backend = Literal["auto", "torch", "openvino"]
_LOG = logging.getLogger(__name__)
_FORMAT = 1  # of the cache; a change of what is in it makes old ones unfound
_MODEL, _RECORD = ("model.xml", "model.bin"), "model.json"
_PLAIN = (int, float, str, bool, tuple, list, type(None))


def has_openvino() -> bool:
    """Whether the extra `openvino` is installed."""
    return find_spec("openvino") is not None


def choose(backend: str, device: torch.device) -> str:
    """The backend to use, "torch" or "openvino", by the rule above.

    Raises:
        BundleError: no such backend, or OpenVINO for a device that is no CPU.
        DependencyError: OpenVINO is asked for and not installed.
    """
    if backend not in get_args(Backend):
        known = ", ".join(get_args(Backend))
        raise BundleError(f"Unknown backend {backend!r}; choose one of {known}.")
    if backend == "auto":
        return "openvino" if device.type == "cpu" and has_openvino() else "torch"
    if backend == "openvino" and device.type != "cpu":
        raise BundleError(
            f"The OpenVINO backend computes on the CPU, and the device is {device}; "
            "use --device cpu, or --backend torch."
        )
    if backend == "openvino" and not has_openvino():
        raise DependencyError(
            "The OpenVINO backend needs openvino: pip install 'monai-tumor[openvino]'."
        )
    return backend


def cache_folder() -> Path:
    """Where this platform keeps what a program can make again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "monai_tumor"
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Local" / "monai_tumor" / "Cache"
    return Path.home() / ".cache" / "monai_tumor"


def in_openvino(
    network: nn.Module, shape: Sequence[int], *, bf16: bool, cache: Path | None = None
) -> nn.Module:
    """`network` as a module that OpenVINO computes; the members of an ensemble one by one.

    The mean of an ensemble stays in PyTorch and float32, so that it rounds as it always does.

    Args:
        network: with its weights.
        shape: of one window, (C, X, Y, Z); any number of them may come at once.
        bf16: compute in bfloat16; the CPU must have it.
        cache: where conversions are kept; by default `cache_folder`.

    Raises:
        BundleError: OpenVINO cannot convert it.
    """
    cache = cache_folder() if cache is None else cache
    if isinstance(network, MeanEnsemble):
        members = [OpenVinoNetwork(m, shape, bf16=bf16, cache=cache) for m in network.members]
        network.members = nn.ModuleList(members)
        return network
    return OpenVinoNetwork(network, shape, bf16=bf16, cache=cache)


class OpenVinoNetwork(nn.Module):
    """A network for windows of one size, computed by OpenVINO on as many threads as PyTorch has.

    Args:
        network: to convert, with its weights.
        shape: of one window, (C, X, Y, Z).
        bf16: as in `in_openvino`, like the next.
        cache: see there.

    Shapes: float32, [B, C, X, Y, Z] -> float32, [B, C_out, X, Y, Z].

    Raises:
        BundleError: OpenVINO cannot convert it.
    """

    def __init__(
        self, network: nn.Module, shape: Sequence[int], *, bf16: bool, cache: Path
    ) -> None:
        super().__init__()
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            model = _model(network, (1, *shape), cache)
            compiled = _core().compile_model(model, "CPU", options)
        except Exception as error:  # its parts share no class of error
            raise BundleError(
                f"OpenVINO cannot run {type(network).__name__} ({_reason(error)}); "
                "use --backend torch."
            ) from error
        self._request = compiled.create_infer_request()
        self._lock = Lock()  # a request holds one window at a time

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Its output, one window after another: on a CPU nothing is gained by several at once."""
        with self._lock:
            outputs = [self._request.infer({0: w[None].numpy()})[0] for w in x.float().contiguous()]
        return torch.stack([torch.from_numpy(output[0]) for output in outputs])


@functools.cache
def _core() -> Any:
    """OpenVINO's engine, one for the whole process.

    An engine gives the thread that loads it a stack for signals, and takes that stack away in the
    thread that drops the engine: when that is another, the first one's next signal is its death.
    """
    import openvino

    return openvino.Core()


def _model(network: nn.Module, shape: tuple[int, ...], cache: Path) -> Any:
    """The network in OpenVINO's form: from the cache, else converted and kept there."""
    folder = cache / "openvino" / _key(network, shape)
    if _is_whole(folder):
        return _core().read_model(folder / _MODEL[0])
    model = _converted(network, shape)
    try:
        _keep(model, folder)
    except OSError as error:  # the next run converts again, which takes seconds
        _LOG.warning("%s is not cached: %s", type(network).__name__, error)
    return model


def _converted(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """By the parts of `openvino.convert_model` that send no usage statistics to anybody."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: shapes become constants, which is meant
        decoder = TorchScriptPythonDecoder(
            network.eval(),
            example_input=(torch.zeros(shape),),
            trace_kwargs={"check_trace": False},
        )
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(shape))
    return model


def _reason(error: Exception) -> str:
    """The line that tells, of a report of many."""
    lines = [line.strip("- .") for line in str(error).splitlines() if line.strip("- .")]
    telling = [line for line in lines if "No conversion rule" in line]
    return (telling or lines or [type(error).__name__])[-1]


def _keep(model: Any, folder: Path) -> None:
    """Put the model into its place in the cache, whole or not at all."""
    import openvino

    temporary = folder.with_name(f".tmp-{secrets.token_hex(6)}")
    temporary.mkdir(parents=True, mode=0o700)
    try:
        openvino.save_model(model, temporary / _MODEL[0], compress_to_fp16=False)
        write_json(temporary / _RECORD, {name: sha256(temporary / name) for name in _MODEL})
        shutil.rmtree(folder, ignore_errors=True)  # one that is damaged
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return all(sha256(folder / name) == record[name] for name in _MODEL)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _key(network: nn.Module, shape: tuple[int, ...]) -> str:
    """SHA-256 of all that a conversion depends on: weights, architecture, window, versions."""
    digest = hashlib.sha256(
        json.dumps(
            {
                "format": _FORMAT,
                "shape": shape,
                "versions": {name: version(name) for name in ("openvino", "torch", "monai")},
                "network": list(_architecture(network)),
            },
            default=str,
        ).encode()
    )
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _architecture(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Each module's name, code and settings."""
    codes = {kind: _code(kind) for kind in {type(module) for module in network.modules()}}
    for name, module in network.named_modules():
        settings = {k: v for k, v in sorted(vars(module).items()) if isinstance(v, _PLAIN)}
        yield name, [codes[type(module)], module.extra_repr(), settings]


def _code(kind: type) -> str:
    """SHA-256 of a class's source; its name where there is none to read."""
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
    except (OSError, TypeError):
        return f"{kind.__module__}.{kind.__qualname__}"
