"""Run a bundle in this process, or take its parts; nothing else imports `monai.bundle`."""

import difflib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from monai_tumor.bundles.files import Workflow, config_files, monai_bundle
from monai_tumor.bundles.trust import members, require_no_code, require_trust
from monai_tumor.errors import BundleError
from monai_tumor.paths import bundle_dir

_RUN_ID = {"training": "training", "evaluating": "evaluating", "inference": "run"}

_OUTPUT = {"training": "output_dir", "evaluating": "evaluation_dir", "inference": "output_dir"}


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
        require_no_code(given)
    if "device" in given and not str(given["device"]).startswith("$"):
        given["device"] = f"$torch.device({str(given['device'])!r})"
    require_trust([folder], trust)
    parser_options = {"bundle_root": str(folder), **given}
    files = config_files(folder, workflow, overlays, trust=trust)
    made = _workflow(files, workflow)
    _require_known(made.parser, parser_options, folder.name)
    made.parser.update(pairs=parser_options)
    if not trust:
        require_trust([bundle_dir(name) for name in members(made.parser)], trust)
    return made


def _workflow(files: Sequence[Path], workflow: Workflow) -> Any:
    kind = "train" if workflow == "training" else "infer"
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # "no logging file": meant
    return monai_bundle().ConfigWorkflow(
        config_file=[str(path) for path in files],
        workflow_type=kind,
        logging_file=False,
        run_id=_RUN_ID[workflow],
    )


def _require_known(parser: Any, options: Mapping[str, Any], bundle: str) -> None:
    for key in options:
        if key not in parser:
            near = difflib.get_close_matches(key, list(parser.config), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see the top of its config files."
            raise BundleError(f"Bundle {bundle!r} has no option {key!r}; {hint}")


def _plain(value: Any) -> Any:
    """Paths as absolute text, tuples as lists: what a config file could hold."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
