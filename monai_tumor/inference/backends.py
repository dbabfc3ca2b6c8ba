"""What computes the network: PyTorch, or OpenVINO in its place on a CPU.

`auto` takes OpenVINO on a CPU where it is installed, else PyTorch. Processor seconds of one window
(80x96x80 voxels, one thread of a Zen 4 with AVX512-BF16, one run, 2026-11-21):

    network        PyTorch fp32   PyTorch bf16   OpenVINO fp32   OpenVINO bf16
    SegResNet-16   1.47           0.50           1.08            0.49
    UNETR          1.01           0.52           0.59            0.34

The first run converts, which takes seconds, and keeps the conversion in a cache; PyTorch's networks
are traced and kept there, too, so that later runs need no MONAI to make them (`inference.direct`).
On a CPU with neither AVX512-BF16 nor AMX, `auto` computes in float32. channels_last_3d,
which the bundles ask for on a CPU, is in PyTorch's columns: it took SegResNet in bf16 from 0.69 to
0.50 and changed nothing elsewhere. `torch.compile` is not used: it needs a C++ compiler at hand and
minutes for what takes half a second.
"""

import contextlib
import functools
import hashlib
import inspect
import io
import json
import logging
import os
import re
import secrets
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import torch
from torch import nn

from monai_tumor.errors import BundleError, DependencyError, InputError
from monai_tumor.files import sha256, write_json
from monai_tumor.networks import MeanEnsemble

Backend = Literal["auto", "torch", "openvino"]
_LOG = logging.getLogger(__name__)
_KEPT = "kept"
_MOST = 16  # networks of a backend in the cache; those not used for longest go
_SHA256 = re.compile("[0-9a-f]{64}")
_FORMAT = 2  # of the cache; a change of what is in it makes old ones unfound
_OPENVINO, _TORCH, _RECORD = ("model.xml", "model.bin"), ("model.pt",), "model.json"
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
    try:
        home = Path.home()
    except RuntimeError:  # a user of a container that has neither name nor HOME
        home = Path(os.devnull)  # in which nothing can be kept
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "monai_tumor"
    if sys.platform == "win32":
        return home / "AppData" / "Local" / "monai_tumor" / "Cache"
    return home / ".cache" / "monai_tumor"


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
        made = MeanEnsemble(members, network.shares, network.in_turn, network.with_disagreement)
        return made.train(network.training)
    return OpenVinoNetwork(network, shape, bf16=bf16, cache=cache)


class OpenVinoNetwork(nn.Module):
    """A network for windows of one size, computed by OpenVINO on as many threads as PyTorch has.

    Args:
        network: to convert, with its weights; or the folder of a conversion that was kept.
        shape: of one window, (C, X, Y, Z).
        bf16: as in `in_openvino`, like the next.
        cache: see there.

    Shapes: float32, [B, C, X, Y, Z] -> float32, [B, C_out, X, Y, Z].

    Raises:
        BundleError: OpenVINO cannot convert it.
    """

    def __init__(
        self, network: nn.Module | Path, shape: Sequence[int], *, bf16: bool, cache: Path
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
            name = "the network" if isinstance(network, Path) else type(network).__name__
            raise BundleError(
                f"OpenVINO cannot run {name} ({_reason(error)}); use --backend torch."
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
    return _openvino().Core()


@functools.cache
def _openvino() -> Any:
    """OpenVINO without its usage statistics, as where `openvino_telemetry` is not installed.

    With them its mere import leaves a client's number in the home folder, ready for sending.
    """
    absent = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if absent:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # an import fails
    try:
        return import_module("openvino")
    finally:
        if absent:
            del sys.modules["openvino_telemetry"]


def _model(network: nn.Module | Path, shape: tuple[int, ...], cache: Path) -> Any:
    """The network in OpenVINO's form: from the cache, else converted and kept there."""
    if isinstance(network, Path):
        return _core().read_model(network / _OPENVINO[0])
    folder = _folder(network, shape, "openvino", cache)
    if _is_whole(folder, _OPENVINO):
        return _core().read_model(folder / _OPENVINO[0])
    model = _converted(network, shape)
    _keep(network, partial(_save_openvino, model), folder, _OPENVINO)
    return model


def _save_openvino(model: Any, folder: Path) -> None:
    _openvino().save_model(model, folder / _OPENVINO[0], compress_to_fp16=False)


def keep_network(
    network: nn.Module, shape: Sequence[int], backend: str, key: str, cache: Path | None = None
) -> None:
    """Keep a network in the cache under `key`, for `kept_network`.

    Args:
        network: of PyTorch, with its weights, on the CPU; the members of an ensemble one by one.
        shape: of one window, (C, X, Y, Z).
        backend: "torch" traces it; "openvino" has kept its conversion already.
        key: of all that it was made of.
        cache: by default `cache_folder`.
    """
    cache = cache_folder() if cache is None else cache
    members = list(network.members) if isinstance(network, MeanEnsemble) else [network]
    folders = [_folder(member, (1, *shape), backend, cache) for member in members]
    for member, folder in zip(members, folders, strict=True):
        if backend == "torch" and not _is_whole(folder, _TORCH):
            _keep(member, partial(_save_traced, member, (1, *shape)), folder, _TORCH)
    if not all(folder.is_dir() for folder in folders):
        return  # the log has said why
    try:
        write_json(cache / _KEPT / f"{key}.json", {"members": [f.name for f in folders]})
        _forget_the_oldest(cache / _KEPT)
    except (OSError, InputError) as error:
        name = type(network).__name__
        _LOG.warning("%s is not cached, and made anew by each run: %s", name, error)


def kept_network(
    shape: Sequence[int],
    backend: str,
    key: str,
    *,
    members: int,
    bf16: bool,
    cache: Path | None = None,
) -> nn.Module | None:
    """What `keep_network` kept under `key`, ready to compute; None where it is not whole.

    Args:
        shape: as there, like the two that follow.
        backend: see there.
        key: see there.
        members: of an ensemble; 1 of any other network.
        bf16: as in `in_openvino`.
        cache: by default `cache_folder`.
    """
    cache = cache_folder() if cache is None else cache
    files = _OPENVINO if backend == "openvino" else _TORCH
    entry = cache / _KEPT / f"{key}.json"
    try:
        names = json.loads(entry.read_text(encoding="utf-8"))["members"]
        if len(names) != members or not all(map(_SHA256.fullmatch, names)):
            raise ValueError(f"it names {names}")
        folders = [cache / backend / name for name in names]
        if not all(_is_whole(folder, files) for folder in folders):
            return None
        _used_now(entry)
        if backend == "openvino":
            networks: list[nn.Module] = [
                OpenVinoNetwork(folder, shape, bf16=bf16, cache=cache) for folder in folders
            ]
        else:
            networks = [_traced(folder) for folder in folders]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, BundleError) as error:
        _LOG.warning("The kept network %s cannot be used and is made anew: %s", entry, error)
        return None
    return networks[0] if members == 1 else MeanEnsemble(networks)


def _save_traced(network: nn.Module, shape: tuple[int, ...], folder: Path) -> None:
    """Trace a network, and see that what was kept answers as the network does.

    Raises:
        RuntimeError: it cannot be traced, or it does what a trace does not hold.
    """
    window = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: shapes become constants, which is meant
        traced = torch.jit.trace(network.eval(), (torch.zeros(shape),), check_trace=False)
        file = io.BytesIO()  # on a full disk PyTorch would end the process
        torch.jit.save(traced, file)
        (folder / _TORCH[0]).write_bytes(file.getbuffer())
        if not torch.equal(_traced(folder)(window), network(window)):
            raise RuntimeError("its trace gives another answer")


def _traced(folder: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch deprecates what it has nothing as light for
        return torch.jit.load(folder / _TORCH[0], map_location="cpu")


def _folder(network: nn.Module, shape: tuple[int, ...], backend: str, cache: Path) -> Path:
    return cache / backend / _key(network, shape, backend)


def _converted(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """By the parts of `openvino.convert_model` that send no usage statistics to anybody."""
    _openvino()
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


def _keep(
    network: nn.Module, save: Callable[[Path], None], folder: Path, files: Sequence[str]
) -> None:
    """Put a network's model into its place in the cache, whole or not at all; the log says why not.

    Of two processes that keep the same at once the first one's stays.
    """
    temporary = folder.with_name(f".tmp-{secrets.token_hex(6)}")
    try:
        temporary.mkdir(parents=True, mode=0o700)
        save(temporary)
        write_json(temporary / _RECORD, {name: sha256(temporary / name) for name in files})
        if not folder.is_dir():
            temporary.replace(folder)
        _forget_the_oldest(folder.parent)
    except Exception as error:  # whatever it is, a cache costs time alone
        if folder.is_dir():  # another process was faster
            return
        name = type(network).__name__
        _LOG.warning("%s is not cached, and made anew by each run: %s", name, _reason(error))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_whole(folder: Path, files: Sequence[str]) -> bool:
    """Whether the cache has it; what is damaged is removed, and the log says so."""
    if not folder.is_dir():
        return False
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        whole = all(sha256(folder / name) == record[name] for name in files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if whole:
        _used_now(folder)
    else:
        _LOG.warning("The cached network %s is damaged and is made anew.", folder)
        shutil.rmtree(folder, ignore_errors=True)
    return whole


def _used_now(path: Path) -> None:
    with contextlib.suppress(OSError):  # of another user, say
        path.touch()


def _forget_the_oldest(folder: Path) -> None:
    """Remove from a part of the cache what was not used for longest, so that it has an end."""
    used = {}
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):  # another process moved it
            used[entry] = entry.stat().st_mtime
    for old in sorted(used, key=used.__getitem__, reverse=True)[_MOST:]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def _key(network: nn.Module, shape: tuple[int, ...], backend: str = "openvino") -> str:
    """SHA-256 of all that a conversion depends on: weights, architecture, window, versions."""
    digest = hashlib.sha256(
        json.dumps(
            {
                "format": _FORMAT,
                "shape": shape,
                "versions": backend_versions(backend),
                "network": list(_architecture(network)),
            },
            default=str,
        ).encode()
    )
    for name, tensor in sorted(network.state_dict().items()):
        laid_out = (tensor.dtype, tuple(tensor.shape), tensor.stride())
        digest.update(f"{name} {laid_out}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def backend_versions(backend: str) -> dict[str, str]:
    """Of the packages that what a backend computes depends on."""
    more = ("openvino",) if backend == "openvino" else ()
    return {name: version(name) for name in ("torch", "monai", *more)}


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
