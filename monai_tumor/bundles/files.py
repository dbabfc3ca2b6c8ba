"""The config files of a bundle's workflow, in the order that MONAI merges them."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from monai_tumor.bundles.trust import require_trust
from monai_tumor.errors import BundleError
from monai_tumor.paths import CONFIGS, bundle_dir, config

Workflow = Literal["training", "evaluating", "inference"]

_FILES: Mapping[str, tuple[str, ...]] = {
    "training": ("train",),
    "evaluating": ("train", "evaluate"),
    "inference": ("inference",),
}


def config_files(
    bundle: str | Path,
    workflow: Workflow,
    overlays: Sequence[str | Path] = (),
    *,
    trust: bool = False,
) -> list[Path]:
    """The config files of a workflow, absolute, in the order that MONAI merges them.

    Overlays follow `train.yaml` and `inference.yaml`; `evaluate.yaml` follows the overlays, since
    it says what an evaluation does differently from any training.

    Raises:
        BundleError: the bundle has no such workflow, there is no such overlay, or one that is not
            shipped and not trusted.
    """
    if workflow not in get_args(Workflow):
        known = ", ".join(get_args(Workflow))
        raise BundleError(f"Unknown workflow {workflow!r}; choose one of {known}.")
    folder = bundle_dir(str(bundle))
    first, *rest = (_config_file(folder, name) for name in _FILES[workflow])
    more = [_overlay(overlay, folder) for overlay in overlays]
    beside = folder / "configs"  # what the bundle itself brings is trusted as it is
    others = [p for p in more if p.parent != CONFIGS and beside not in p.parents]
    require_trust(others, trust)
    if workflow == "inference" and not _is_ours(first):
        more.insert(0, config("any_bundle"))
    return [first, *more, *rest]


def _config_file(folder: Path, name: str) -> Path:
    for ending in ("yaml", "yml", "json"):
        path = folder / "configs" / f"{name}.{ending}"
        if path.is_file():
            return path
    raise BundleError(
        f"Bundle {folder.name!r} has no configs/{name}.yaml or .json; "
        "choose another workflow, or another bundle."
    )


def _overlay(overlay: str | Path, folder: Path) -> Path:
    """A file by its path, an overlay of the bundle in `folder` (networks/vgg19), or of ours."""
    path, own = Path(overlay), folder / "configs" / f"{overlay}.yaml"
    if path.suffix and path.is_file():
        return path.resolve()
    return own.resolve() if "/" in str(overlay) and own.is_file() else config(str(overlay))


def _is_ours(inference: Path) -> bool:
    """Whether an inference config takes an `input`, as ours do."""
    return "input" in monai_bundle().ConfigParser.load_config_file(inference)


def monai_bundle() -> Any:
    """`monai.bundle`, whose import takes seconds and warns of its own deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.bundle

    return monai.bundle
