"""Bundles on tiny settings, for their tests: in this process and as `python -m monai.bundle`."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.paths import BUNDLES, CONFIGS

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("brats_segresnet", "brats_unetr", "brats_swin_unetr", "brats_ensemble")
OVERLAYS = tuple(sorted(p.stem for p in CONFIGS.glob("*.yaml") if p.stem != "any_bundle"))


def configs(bundle: str, *names: str) -> list[str]:
    """Config files of a bundle by stem; a stem that it lacks is an overlay's."""
    own = BUNDLES / bundle / "configs"
    paths = [own / f"{name}.yaml" for name in names]
    return [str(p if p.is_file() else CONFIGS / p.name) for p in paths]


def window(bundle: str) -> list[int]:
    """The smallest window that a bundle's network takes."""
    return [64, 32, 32] if bundle == "brats_swin_unetr" else [32, 32, 32]


def tiny(bundle: str, **more: Any) -> dict[str, Any]:
    """Options that make a bundle's training and inference small."""
    small = {"window": window(bundle), "overlap": 0.0, "num_workers": 0}
    network = {
        "brats_segresnet": {"init_filters": 8},
        "brats_unetr": {"hidden_size": 48, "mlp_dim": 96, "feature_size": 4},
        "brats_swin_unetr": {"feature_size": 12},
        "brats_ensemble": {},
    }[bundle]
    return small | {f"_meta_::network_def::{k}": v for k, v in network.items()} | more


def training(bundle: str, data: Path, **more: Any) -> dict[str, Any]:
    """`tiny`, and what a training needs."""
    options = {"patch_size": window(bundle), "num_samples": 1, "max_epochs": 2, "cache_rate": 0.0}
    return tiny(bundle, dataset_dir=str(data), **options) | more


def phantoms(folder: Path, layout: str, count: int = 3, **more: Any) -> Path:
    """A data set of small geometric phantoms."""
    make = functools.partial(make_phantom, size="small")
    write_phantoms(folder, count=count, layout=layout, make=make, **more)
    return folder


def workflow(files: Sequence[str], options: Mapping[str, Any], kind: str) -> ConfigWorkflow:
    """A workflow in this process, initialized; `kind` is "train" or "infer"."""
    made = ConfigWorkflow(
        config_file=list(files), workflow_type=kind, logging_file=False, **dict(options)
    )
    made.initialize()
    return made


def monai_bundle(
    *arguments: str,
    cwd: Path,
    files: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    processes: int = 0,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """`python -m monai.bundle ARGUMENTS --config_file FILES --OPTION VALUE ...` in `cwd`.

    With `processes`, under torchrun.
    """
    command = command_line(*arguments, files=files, options=options, processes=processes)
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def command_line(
    *arguments: str,
    files: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    processes: int = 0,
) -> list[str]:
    start = [sys.executable, "-m", "monai.bundle"]
    if processes:
        torchrun = ["torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
        start = [sys.executable, "-m", *torchrun, "-m", "monai.bundle"]
    named = []
    if files:
        named += ["--config_file", files[0] if len(files) == 1 else str(list(files))]
    for key, value in (options or {}).items():
        named += [f"--{key}", value if isinstance(value, str) else json_or_python(value)]
    return [*start, *arguments, *named]


def json_or_python(value: Any) -> str:
    return str(value) if isinstance(value, bool | None) else json.dumps(value)


def environment() -> dict[str, str]:
    """One thread a process, and the package of this checkout."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """Its whole output; fails with it when the command failed."""
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    return output


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two files of weights are equal, bit for bit."""
    return same_tensors(weights_of(one), weights_of(other))


def same_tensors(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    """Whether two state dictionaries are equal, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def random_weights(bundle: str, path: Path, seed: int = 0) -> Path:
    """Weights of a bundle's tiny network that no training made."""
    made = workflow(configs(bundle, "inference"), tiny(bundle), "infer")
    state = made.parser.get_parsed_content("network_def").state_dict()
    generator = torch.Generator().manual_seed(seed)
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path
