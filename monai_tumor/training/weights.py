"""Weights into a network, safely."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.files import sha256
from monai_tumor.networks.weights import read_weights, record_beside, settings_of
from monai_tumor.paths import bundle_dir, weights_names
from monai_tumor.training.facts import other_split

if TYPE_CHECKING:
    from ignite.engine import Engine

_LOG = logging.getLogger(__name__)
SHIPPED = "model.safetensors"
TRAINED = "model_best.pt"
_PREPARED = ("network", "spacing", "window", "preprocessing", "classes")


def find_weights(
    bundle_root: str | Path, output_dir: str | Path, members: Sequence[str] | None = None
) -> str | list[str]:
    """The weights to use when none are named: those trained in `output_dir`, else the bundle's own.

    An ensemble that has neither takes those of its `members`, found in the same way: trained in
    the folders beside `output_dir`, else shipped.

    Raises:
        BundleError: there are none, or a member has none, which is never filled with anything
            else; or a bundle is a member twice, so that which fold is which is not known.
    """
    trained = Path(output_dir) / "checkpoints" / TRAINED
    shipped = Path(bundle_root) / "models" / SHIPPED
    for path in (trained, shipped):
        if path.is_file():
            return str(path)
    if members and len(set(members)) < len(members):
        raise BundleError(
            f"The ensemble names a bundle twice ({', '.join(members)}); which weights are which "
            "fold's cannot be known. Name one file a member with --weights."
        )
    if members:
        beside = Path(output_dir).parent
        return [str(find_weights(bundle_dir(m), beside / Path(m).name)) for m in members]
    raise BundleError(
        f"Bundle {Path(bundle_root).name!r} has no weights: neither {trained} nor {shipped} "
        "exists. Train it first (run training), or name a file with --weights."
    )


def weights_file(
    bundle_root: str | Path, weights: str | Path | None, output_dir: str | Path
) -> Path:
    """The file that `weights` stands for; None stands for what `find_weights` finds.

    A name such as "tanh_ct", without a folder and without an ending, is looked up in the bundle's
    models. Anything else, and every `Path`, is a file's path ("./tanh_ct" too).

    Raises:
        BundleError: as `find_weights`, or the bundle has no weights of that name; the message
            lists those it has.
    """
    if weights is None:
        return Path(str(find_weights(bundle_root, output_dir)))
    if isinstance(weights, Path) or Path(weights).name != weights or Path(weights).suffix:
        return Path(weights)
    folder = Path(bundle_root)
    known = weights_names(folder)
    if weights not in known:
        raise BundleError(
            f"Bundle {folder.name!r} has no weights named {weights!r}; there are"
            f" {', '.join(known) or 'none'}. Give one of these, or a file."
        )
    return folder / "models" / f"{weights}.safetensors"


def load_weights(network: nn.Module, path: str | Path | Sequence[str | Path]) -> None:
    """Load the weights of `path` into `network`; each tensor must be there and fit.

    A list of paths fills the members of a `MeanEnsemble`, one file each.

    Raises:
        BundleError: as `read_weights`, or the weights belong to another network.
    """
    if not isinstance(path, str | Path):
        members = getattr(network, "members", None)
        if members is None or len(members) != len(path):
            count = "no" if members is None else len(members)
            raise BundleError(
                f"{len(path)} files of weights for a network with {count} members; "
                "give one file a member."
            )
        for one, file in zip(members, path, strict=True):
            load_weights(one, file)
        return
    tensors = read_weights(path)
    own = network.state_dict()
    tensors = {k.removeprefix("module."): v for k, v in tensors.items()}
    missing = sorted(set(own) - set(tensors))
    extra = sorted(set(tensors) - set(own))
    unequal = sorted(k for k in set(own) & set(tensors) if own[k].shape != tensors[k].shape)
    if missing or extra or unequal:
        first = (missing + unequal + extra)[0]
        raise BundleError(
            f"{path} belongs to another network: {len(missing)} tensors missing, {len(extra)} "
            f"unknown, {len(unequal)} of another shape (first: {first}). "
            "Give this bundle's weights."
        )
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})


class LoadWeights:
    """Loads weights into a network when an engine starts.

    Args:
        network: to fill.
        path: weights, one file a member for an ensemble; None does nothing.
        averaged: gets the same weights: the moving average of `network`, where there is one.
        expect: the split in use (`monai_tumor.data.split_facts`), where scores depend on it.
        prepared: how this run prepares images: "spacing", "window", "preprocessing".

    Raises:
        BundleError: as `load_weights`, or the JSON beside the weights says that another split
            trained them, so that they may know the cases they would be scored on; or that they
            were trained on images prepared otherwise, on which they would be quietly worse.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str | Path | Sequence[str | Path] | None,
        averaged: nn.Module | None = None,
        expect: Mapping[str, Any] | None = None,
        prepared: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.expect = expect
        self.prepared = dict(prepared or {})
        self.averaged = averaged
        self.path = path

    def attach(self, engine: "Engine") -> None:
        """Load at the start of the run."""
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self._load)

    def _load(self, engine: "Engine") -> None:  # noqa: ARG002 - Ignite passes it
        if self.path is None:
            return
        paths = [self.path] if isinstance(self.path, str | Path) else self.path
        for path in paths:
            self._require_split(Path(path))
            require_prepared(path, self.prepared)
        load_weights(self.network, self.path)
        if self.averaged is not None:
            load_weights(getattr(self.averaged, "module", self.averaged), self.path)
        for path in paths:
            _LOG.info("weights: %s (SHA-256 %s)", path, sha256(Path(path)))

    def _require_split(self, path: Path) -> None:
        split = other_split(record_beside(path).get("split"), self.expect)
        if split:
            raise BundleError(
                f"{path} was {split}: it may have seen the cases to score. Give the options it was "
                "trained with; to score it on other data, segment them and run monai-tumor "
                "evaluate."
            )


def require_prepared(path: str | Path, prepared: Mapping[str, Any]) -> None:
    """Refuse weights that were trained on images prepared otherwise than a run prepares them.

    Args:
        path: of the weights; what they were trained with is in the JSON beside them, if at all.
        prepared: "spacing", "window" and "preprocessing" of the run.

    Raises:
        BundleError: one of them differs.
    """
    trained = settings_of(record_beside(Path(path)))
    for name in _PREPARED:
        if name not in trained or name not in prepared:
            continue
        before, now = _plain(trained[name]), _plain(prepared[name])
        if before != now:
            raise BundleError(
                f"{path} was trained with {name} {before}, this run has {now}: results would "
                f"be worse without a sign of it. Leave {name} as the weights have it, or "
                "train weights for this one."
            )


def _plain(value: Any) -> Any:
    """A setting as JSON would give it back: "[3, 3, 3]" and (3.0, 3.0, 3.0) are the same."""
    if isinstance(value, str):
        try:
            return _plain(json.loads(value))
        except ValueError:
            return value
    return list(value) if isinstance(value, tuple | list) else value
