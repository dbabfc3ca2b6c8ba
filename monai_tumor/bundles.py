"""Find, describe and run bundles: ours by name, others by folder.

A bundle is code: its configs call any function they name. Those shipped here are trusted; any
other folder runs only when the caller says that it may.
"""

import difflib
import json
import logging
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from monai_tumor.errors import BundleError, SchemeError
from monai_tumor.files import sha256
from monai_tumor.labels import modality
from monai_tumor.paths import BUNDLES, CONFIGS, bundle_dir, config, weights_names

Workflow = Literal["training", "evaluating", "inference"]
_FILES: Mapping[str, tuple[str, ...]] = {
    "training": ("train",),
    "evaluating": ("train", "evaluate"),
    "inference": ("inference",),
}
_RUN_ID = {"training": "training", "evaluating": "evaluating", "inference": "run"}
_OUTPUT = {"training": "output_dir", "evaluating": "evaluation_dir", "inference": "output_dir"}
_CODE = ("$", "@", "%")  # a config's marks of an expression, a reference and a macro
_WEIGHTS = ("model.safetensors", "model.pt")


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle is, read from its metadata; nothing of it was run.

    Attributes:
        name: of its folder.
        folder: where it lies.
        version: of the bundle.
        task: in its own words.
        shipped: whether it is one of ours, and thus trusted.
        window: voxels its network sees at once; empty where any size will do.
        modalities: input channels in order, by our names where they are known.
        regions: output channels in order, in its own words.
        weights: file it brings; None where it brings none.
        weights_sha256: of that file.
        weights_names: of all weights that it brings with a record, to be chosen by name.
        members: bundles whose weights an ensemble takes, where it brings none of its own and each
            of them has some.
        eval_metrics: figures its authors state.
        overlays: configs that it brings to be listed after its own, such as "networks/vgg19".
    """

    name: str
    folder: Path
    version: str
    task: str
    shipped: bool
    window: tuple[int, ...]
    modalities: tuple[str, ...]
    regions: tuple[str, ...]
    weights: Path | None
    weights_sha256: str | None
    members: tuple[str, ...]
    eval_metrics: Mapping[str, Any]
    overlays: tuple[str, ...] = ()
    weights_names: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "version": self.version,
            "task": self.task,
            "shipped": self.shipped,
            "window": list(self.window),
            "modalities": list(self.modalities),
            "regions": list(self.regions),
            "weights": None if self.weights is None else str(self.weights),
            "weights_sha256": self.weights_sha256,
            "weights_names": list(self.weights_names),
            "members": list(self.members),
            "eval_metrics": dict(self.eval_metrics),
            "overlays": list(self.overlays),
        }

    def __str__(self) -> str:
        """A few lines of plain text."""
        window = " x ".join(str(n) for n in self.window) or "any"
        weights = "none; train it first"
        if self.members:
            weights = f"those of {', '.join(self.members)}"
        if self.weights is not None:
            weights = f"{self.weights.name} (SHA-256 {self.weights_sha256})"
        scores = ", ".join(f"{k} {v}" for k, v in self.eval_metrics.items()) or "none stated"
        lines = [
            f"{self.name} {self.version}: {self.task}",
            f"  input    {', '.join(self.modalities)}; window {window} voxels",
            f"  output   {', '.join(self.regions)}",
            f"  weights  {weights}",
            f"  scores   {scores}",
        ]
        if len(self.weights_names) > 1:
            lines.insert(4, f"  by name  {', '.join(self.weights_names)}")
        folders = dict.fromkeys(name.partition("/")[0] for name in self.overlays)
        for folder in folders:
            names = [n.partition("/")[2] for n in self.overlays if n.startswith(f"{folder}/")]
            text = f"  {folder:<8} {', '.join(names)}"
            lines.append(textwrap.fill(text, 100, subsequent_indent=11 * " "))
        return "\n".join(lines)


@dataclass(frozen=True)
class BundleRun:
    """A run that came to its end.

    Attributes:
        bundle: name of the bundle's folder.
        workflow: what was run.
        output_dir: where its results lie.
    """

    bundle: str
    workflow: Workflow
    output_dir: Path

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "bundle": self.bundle,
            "workflow": self.workflow,
            "output_dir": str(self.output_dir),
        }

    def __str__(self) -> str:
        """One line."""
        return f"{self.bundle}, {self.workflow}: results in {self.output_dir}"


@dataclass(frozen=True)
class Catalogue:
    """Several bundles."""

    bundles: tuple[BundleInfo, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"bundles": [bundle.as_dict() for bundle in self.bundles]}

    def __str__(self) -> str:
        """Each bundle in a few lines."""
        return "\n\n".join(str(bundle) for bundle in self.bundles)


def catalogue(bundle: str | Path | None = None) -> Catalogue:
    """One bundle, or all that are shipped.

    Raises:
        BundleError: as `describe`.
    """
    names = bundle_names() if bundle is None else [bundle]
    return Catalogue(tuple(describe(name) for name in names))


def bundle_names() -> list[str]:
    """The shipped bundles, sorted."""
    return sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/metadata.json"))


def describe(bundle: str | Path) -> BundleInfo:
    """What `bundle` is, from its metadata alone; no trust is needed.

    Args:
        bundle: a shipped one by name, any other by its folder.

    Raises:
        BundleError: no such bundle, or its metadata lacks what every bundle states.
    """
    folder = bundle_dir(str(bundle))
    path = folder / "configs" / "metadata.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        image = meta["network_data_format"]["inputs"]["image"]
        output = meta["network_data_format"]["outputs"]["pred"]
        version, task = str(meta["version"]), str(meta["task"])
        channels, regions = _in_order(image["channel_def"]), _in_order(output["channel_def"])
        shape = meta.get("window", image["spatial_shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path} is not the metadata of a bundle ({type(error).__name__}: {error}). "
            "Check it with: python -m monai.bundle verify_metadata."
        ) from error
    files = (folder / "models" / name for name in _WEIGHTS)
    weights = next((file for file in files if file.is_file()), None)
    return BundleInfo(
        name=folder.name,
        folder=folder,
        version=version,
        task=task,
        shipped=_is_shipped(folder),
        window=tuple(shape) if all(isinstance(n, int) for n in shape) else (),
        modalities=tuple(_our_name(name) for name in channels),
        regions=regions,
        weights=weights,
        weights_sha256=None if weights is None else sha256(weights),
        members=() if weights else _with_weights(meta.get("members", ())),
        eval_metrics=meta.get("eval_metrics", {}),
        overlays=tuple(
            file.relative_to(path.parent).with_suffix("").as_posix()
            for file in sorted(path.parent.glob("*/*.yaml"))
        ),
        weights_names=weights_names(folder),
    )


def _with_weights(members: Sequence[str]) -> tuple[str, ...]:
    """The members, if each has weights; else none."""
    have = [any((bundle_dir(m) / "models" / name).is_file() for name in _WEIGHTS) for m in members]
    return tuple(members) if all(have) else ()


def run(
    bundle: str | Path,
    workflow: Workflow,
    *,
    overlays: Sequence[str | Path] = (),
    trust: bool = False,
    **options: Any,
) -> BundleRun:
    """Run a bundle in this process, as `python -m monai.bundle run` does in its own.

    Logging is left as the caller set it. A bundle that is not ours gets the overlay `any_bundle`
    for inference, so that it takes the same options and writes the same results as ours.

    Args:
        bundle: a shipped one by name, any other by its folder.
        workflow: "training", "evaluating" or "inference".
        overlays: names of files in `configs/`, of the bundle's own (networks/vgg19), or paths; the
            later wins.
        trust: run a bundle, member or overlay that is not shipped, or an option that is code.
            It can do what you can do.
        options: values in place of the config's; None leaves the config's. A nested one is
            given as `**{"loss::smooth_nr": 0.0}`. `device` may be "cpu" or "cuda:1". Paths
            become absolute.

    Returns:
        where the results lie.

    Raises:
        BundleError: no such bundle, workflow, overlay or option, or no trust.
        MonaiTumorError: whatever the run itself refuses.
    """
    hook = sys.excepthook
    try:
        made = _opened(bundle, workflow, overlays, trust, options)
        made.initialize()
        key = _OUTPUT[workflow] if _OUTPUT[workflow] in made.parser else "output_dir"
        output_dir = Path(made.parser.get_parsed_content(key))
        made.run()
        made.finalize()
    except Exception as error:
        _raise_cause(error)
    finally:
        sys.excepthook = hook  # bundles set one for their own process
    return BundleRun(bundle_dir(str(bundle)).name, workflow, output_dir)


def load(
    bundle: str | Path,
    workflow: Workflow = "inference",
    *,
    overlays: Sequence[str | Path] = (),
    trust: bool = False,
    **options: Any,
) -> Mapping[str, Any]:
    """The parts of a bundle's workflow, made when asked for: `load("brats_unetr")["network"]`.

    For a caller who leads the studies through by himself; `run` does it all.

    Args:
        bundle: as in `run`, like the others.
        workflow: likewise.
        overlays: likewise.
        trust: likewise.
        options: likewise.

    Raises:
        As `run`; what making a part refuses comes when that part is asked for.
    """
    hook = sys.excepthook
    try:
        return _Parts(_opened(bundle, workflow, overlays, trust, options).parser)
    finally:
        sys.excepthook = hook


class _Parts(Mapping[str, Any]):
    """A config as a mapping from names to what they stand for."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def __getitem__(self, name: str) -> Any:
        if name not in self._parser:
            raise KeyError(name)
        try:
            return self._parser.get_parsed_content(name)
        except Exception as error:
            _raise_cause(error)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parser.config)

    def __len__(self) -> int:
        return len(self._parser.config)


def _raise_cause(error: Exception) -> NoReturn:
    """Raise the error of ours that MONAI wrapped, else `error` as it is."""
    from monai_tumor.training.messages import find_cause

    cause = find_cause(error)
    if cause is None or cause is error:
        raise error
    raise cause from error


def _opened(
    bundle: str | Path,
    workflow: Workflow,
    overlays: Sequence[str | Path],
    trust: bool,
    options: Mapping[str, Any],
) -> Any:
    """MONAI's workflow with `options` in it; nothing of it is made yet."""
    folder = bundle_dir(str(bundle))
    given = {key: _plain(value) for key, value in options.items() if value is not None}
    if not trust:
        _require_no_code(given)
    if "device" in given and not str(given["device"]).startswith("$"):
        given["device"] = f"$torch.device({str(given['device'])!r})"
    _require_trust([folder], trust)
    parser_options = {"bundle_root": str(folder), **given}
    files = config_files(folder, workflow, overlays, trust=trust)
    made = _workflow(files, workflow)
    _require_known(made.parser, parser_options, folder.name)
    made.parser.update(pairs=parser_options)
    if not trust:
        _require_trust([bundle_dir(name) for name in _members(made.parser)], trust)
    return made


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
    _require_trust(others, trust)
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
    return "input" in _monai_bundle().ConfigParser.load_config_file(inference)


def _workflow(files: Sequence[Path], workflow: Workflow) -> Any:
    kind = "train" if workflow == "training" else "infer"
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # "no logging file": meant
    return _monai_bundle().ConfigWorkflow(
        config_file=[str(path) for path in files],
        workflow_type=kind,
        logging_file=False,
        run_id=_RUN_ID[workflow],
    )


def _monai_bundle() -> Any:
    """`monai.bundle`, whose import takes seconds and warns of its own deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.bundle

    return monai.bundle


def _require_known(parser: Any, options: Mapping[str, Any], bundle: str) -> None:
    for key in options:
        if key not in parser:
            near = difflib.get_close_matches(key, list(parser.config), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see the top of its config files."
            raise BundleError(f"Bundle {bundle!r} has no option {key!r}; {hint}")


def _require_trust(paths: Sequence[Path], trust: bool) -> None:
    for path in paths:
        if not trust and not _is_shipped(path):
            raise BundleError(
                f"{path} is not shipped with monai_tumor, and a bundle is code: it can do whatever "
                "you can do. If you trust where it comes from, say so (trust=True, --trust)."
            )


def _is_shipped(path: Path) -> bool:
    return path.parent == BUNDLES.resolve()


def _require_no_code(options: Mapping[str, Any]) -> None:
    """Refuse what a config would run, or take from elsewhere, instead of taking it as it stands."""
    for key, value in options.items():
        for path, leaf in _leaves(value, key):
            names = path.replace("#", "::").split("::")
            if "_target_" in names or (isinstance(leaf, str) and leaf[:1] in _CODE):
                raise BundleError(
                    f"Option {path!r} is {leaf!r}, which a config runs as code or looks up; "
                    "if that is meant, say so (trust=True, --trust)."
                )


def _members(parser: Any) -> set[str]:
    """The bundles that a config makes its network of, before anything of it is instantiated."""
    resolved = type(parser)(config=deepcopy(parser.get()))
    resolved.resolve_macro_and_relative_ids()
    found = set()
    for path, leaf in _leaves(resolved.get()):
        inside = {"members", "bundles"} & set(path.split("::"))
        if inside and isinstance(leaf, str) and leaf[:1] not in _CODE:
            found.add(leaf)
    return found


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Whatever is no dictionary and no list in `value`, with its id in a config."""
    if isinstance(value, Mapping):
        children: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        yield path, value
        return
    for key, child in children:
        yield from _leaves(child, f"{path}::{key}" if path else str(key))


def _in_order(channels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(str(channels[key]) for key in sorted(channels, key=int))


def _our_name(channel: str) -> str:
    try:
        return modality(channel).value
    except SchemeError:
        return channel


def _plain(value: Any) -> Any:
    """Paths as absolute text, tuples as lists: what a config file could hold."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
