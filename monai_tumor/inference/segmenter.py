"""A bundle that is loaded once and segments study after study."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from monai_tumor.bundles import load
from monai_tumor.errors import BundleError
from monai_tumor.imaging.measure import measure
from monai_tumor.imaging.quality import check_mask
from monai_tumor.inference.backends import Backend, choose, in_openvino
from monai_tumor.inference.likeness import check_likeness
from monai_tumor.inference.memory import (
    MemoryPlan,
    bytes_of,
    is_out_of_memory,
    need_of,
    plan_within,
)
from monai_tumor.inference.result import SegmentationResult
from monai_tumor.inference.uncertainty import uncertainty
from monai_tumor.labels import MODALITIES, REGIONS, modality
from monai_tumor.networks import MeanEnsemble
from monai_tumor.networks.weights import record_beside
from monai_tumor.training import load_weights
from monai_tumor.training.autocast import cpu_has_bf16
from monai_tumor.training.messages import find_cause
from monai_tumor.training.weights import require_prepared
from monai_tumor.transforms import FilterTumourComponentsd, RegionsToLabelsd, ToInputGridd
from monai_tumor.transforms.save_on_input_grid import on_grid_of

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_IMAGE, _PRED, _PLAN = "image", "pred", "memory_plan"
_LOG = logging.getLogger(__name__)
_WINDOWS = 8  # at once, at most, where memory is known
_BRATS = (240, 240, 155)  # voxels at 1 mm: what a study is taken to be before it is read


class Segmenter:
    """A bundle's transforms, network and weights, ready for any number of studies.

    The three steps may run in three threads, each study's one after another: reading, the network
    and what follows wait for different things.

    Args:
        bundle: a shipped one by name, any other by its folder.
        weights: a file, or one a member; by default those trained here, else shipped.
        device: "auto" takes a CUDA device where there is one; "cuda:1" names one.
        precision: "fp32", "bf16", "fp16" (CUDA alone); or "auto": float16 on CUDA, bfloat16 on
            a CPU that computes with it, else float32.
        backend: "torch", "openvino" (CPU alone), or "auto": the faster of those installed.
        max_memory: "4GB" or bytes, of the GPU or, on a CPU, of the process. Decides how many
            windows are computed at once, where they are stitched and whether the members of an
            ensemble follow each other; never the window.
        cache: folder for networks converted to OpenVINO; by default the platform's cache.
        tta: the mean over eight mirrored copies, eight times the work.
        scheme: whose label values to write.
        min_lesion_ml: whole-tumour components smaller than this are dropped.
        min_et_ml: enhancing tumour smaller than this is called core.
        trust: run a bundle that is not shipped; it can do whatever you can do.

    Raises:
        BundleError: no such bundle, device or backend, weights that do not fit, or a window that
            does not fit into `max_memory`.
        DependencyError: OpenVINO is asked for and not installed.
    """

    def __init__(
        self,
        bundle: str | Path = "brats_ensemble",
        *,
        weights: Path | str | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        backend: Backend = "auto",
        max_memory: int | str | None = None,
        cache: Path | None = None,
        tta: bool = False,
        scheme: str = "brats2023",
        min_lesion_ml: float = 0.0,
        min_et_ml: float = 0.0,
        trust: bool = False,
    ) -> None:
        self.scheme = scheme
        budget = None if max_memory is None else bytes_of(max_memory)
        self._parts = load(
            bundle,
            trust=trust,
            input="",
            weights=weights,
            device=_device(device),
            amp=_is_mixed(precision),
            tta=tta,
            output_scheme=scheme,
            min_lesion_ml=min_lesion_ml,
            min_et_ml=min_et_ml,
        )
        self.device: torch.device = self._parts["device"]
        self.provenance: dict[str, Any] = dict(self._parts["provenance"]) | {
            "device": str(self.device)
        }
        self.window: tuple[int, ...] = tuple(self._parts["window"])
        self._network = self._parts["network"].eval()
        files = self._parts["weights"]
        files = [files] if isinstance(files, str) else list(files)
        for path in files:
            require_prepared(path, self._parts["prepared"])
        self._seen = record_beside(Path(files[0])).get("intensities") or {}
        load_weights(self._network, files if len(files) > 1 else files[0])
        if isinstance(self._network, MeanEnsemble) and len(self._network.members) > 1:
            self._network.with_disagreement = True
        self._preprocessing = self._parts["preprocessing"]
        self._inferer = self._parts["inferer"]
        self._autocast = _autocast(precision, self.device)
        computed_in = str(self._autocast or torch.float32).removeprefix("torch.")
        self.provenance |= {"precision": computed_in, "label_scheme": scheme}
        self._plan = self._planned(budget)
        self._use_backend(backend, cache)
        self._to_grid = ToInputGridd(_PRED, sigmoid=True)
        self._to_labels = RegionsToLabelsd(_PRED, scheme=scheme, threshold=0.5)
        self._filter = FilterTumourComponentsd(_PRED, scheme, min_lesion_ml, min_et_ml)

    def __call__(
        self, item: Mapping[str, Any], *, probabilities: bool = False
    ) -> SegmentationResult:
        """A study, an item of `monai_tumor.data.inference_items`, segmented.

        Args:
            item: paths of its images, their modalities, its name. "image" may be an image that was
                read already, [4, X, Y, Z]; "reference" is then the file whose grid it has. "flags"
                are handed on.
            probabilities: keep them; as much memory as three of the images.

        Raises:
            StudyError: it cannot be read, or is not what the bundle needs.
        """
        return self.finish(self.predict(self.prepare(item)), probabilities=probabilities)

    def prepare(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The study read and brought to the network's grid; for `predict`.

        Raises:
            StudyError: it cannot be read, or is not what the bundle needs.
        """
        start = time.perf_counter()
        try:
            prepared = dict(self._preprocessing(dict(item)))
        except Exception as error:  # MONAI wraps what a transform refuses
            cause = find_cause(error)
            if cause is None or cause is error:
                raise
            raise cause from error
        image = prepared[_IMAGE].numpy()
        reference = Path(item["reference"]) if "reference" in item else _reference(item)
        return prepared | {
            "seconds": {"read": _since(start)},
            "input": reference,
            "flags": (*item.get("flags", ()), *check_likeness(image, self._seen)),
        }

    @torch.inference_mode()
    def predict(self, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """`prepared` with the network's logits [3 (TC, WT, ET), X, Y, Z]; for `finish`.

        An ensemble of several members gives their disagreement in three more channels.
        """
        start = time.perf_counter()
        image = prepared[_IMAGE].as_tensor()[None].to(self.device, non_blocking=True)
        logits = self._logits(image)[0].float()
        seconds = prepared["seconds"] | {"network": _since(start)}
        return dict(prepared) | {_PRED: logits, _PLAN: self._plan, "seconds": seconds}

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        """[1, 3, X, Y, Z]; where memory runs out, by a smaller plan, which then stays.

        Raises:
            BundleError: memory runs out with one window at once.
        """
        sliding = _sliding_window(self._inferer)
        while True:
            sliding.sw_batch_size = self._plan.windows
            sliding.device = torch.device("cpu") if self._plan.stitching == "cpu" else None
            try:
                with torch.autocast(
                    self.device.type, self._autocast, enabled=self._autocast is not None
                ):
                    return self._inferer(image, self._network)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._plan = self._smaller_plan(error)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _smaller_plan(self, error: BaseException) -> MemoryPlan:
        plan = self._plan.smaller()
        if plan is None:
            window = "x".join(str(n) for n in self.window)
            raise BundleError(
                f"Memory of {self.device} ran out with one window of {window} voxels, which is "
                "never changed, since results would. Free memory, leave --precision at auto, use "
                "--device cpu, or choose a smaller bundle."
            ) from error
        _LOG.warning("%s", plan.reduced[-1])
        return plan

    @torch.inference_mode()
    def finish(
        self, predicted: Mapping[str, Any], *, probabilities: bool = False
    ) -> SegmentationResult:
        """The label map on the study's own grid, and its volumes."""
        start = time.perf_counter()
        item = dict[Any, Any](predicted)
        entropy, disagreement = uncertainty(item[_PRED])
        item = self._to_grid(item | {_PRED: item[_PRED][: len(REGIONS)]})
        kept = item[_PRED].cpu().numpy() if probabilities else None
        item = self._filter(self._to_labels(item))
        labels = item[_PRED].cpu().numpy()[0].astype(np.uint8, copy=False)
        affine = item[_PRED].affine.cpu().numpy()
        return SegmentationResult(
            study=str(item["study"]),
            label_map=labels,
            affine=affine,
            scheme=self.scheme,
            reference=item["input"],
            image=on_grid_of(item["input"], labels),
            measures=measure(labels, affine, self.scheme),
            flags=(*predicted["flags"], *check_mask(labels, affine, self.scheme)),
            mean_entropy=entropy,
            disagreement=disagreement,
            probabilities=kept,
            seconds=item["seconds"] | {"finish": _since(start)},
            provenance=self.provenance | {"memory": predicted[_PLAN].as_dict()},
        )

    def _planned(self, budget: int | None) -> MemoryPlan:
        """The bundle's own choice; within `budget` bytes, what does most at once."""
        plan = MemoryPlan(windows=_sliding_window(self._inferer).sw_batch_size)
        if budget is None:
            return plan
        shape = (len(self._parts["modalities"]), *self.window)
        spacing = self._parts["spacing"]
        whole = [round(n / mm) for n, mm in zip(_BRATS, spacing, strict=True)]
        stitched = (len(REGIONS) + 1, *map(max, whole, self.window))
        need = need_of(self._network, shape, self.device, self._autocast, stitched)
        if self.device.type != "cpu":  # beside a CPU no more than one at once is of use
            plan = replace(plan, windows=_WINDOWS)
        plan = plan_within(budget, need, plan, self.device)
        if plan.in_turn and isinstance(self._network, MeanEnsemble):
            self._network.in_turn = True
            self._network.members.to("cpu")
        return plan

    def _use_backend(self, backend: str, cache: Path | None) -> None:
        """Put OpenVINO in the network's place where it is chosen; `auto` may find that it cannot.

        Raises:
            BundleError, DependencyError: see the class.
        """
        chosen = choose(backend, self.device)
        if chosen == "openvino":
            shape = (len(self._parts["modalities"]), *self.window)
            bf16 = self._autocast is torch.bfloat16
            try:
                self._network = in_openvino(self._network, shape, bf16=bf16, cache=cache)
            except BundleError as error:
                if backend != "auto":
                    raise
                _LOG.warning("%s PyTorch computes instead.", error)
                chosen = "torch"
        self.provenance["backend"] = chosen
        if chosen == "openvino":
            versions = self.provenance["versions"] | {"openvino": version("openvino")}
            self.provenance["versions"] = versions


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


def _reference(item: Mapping[str, Any]) -> Path:
    """The file whose grid the result takes: t1c, or the one 4D file."""
    if isinstance(item["image"], str):
        return Path(item["image"])
    roles = [str(modality(name)) for name in item.get("modalities", MODALITIES)]
    return Path(item["image"][roles.index("t1c") if "t1c" in roles else 0])


def _device(name: str) -> str | None:
    """None leaves the choice to the bundle: CUDA where there is one."""
    if name == "auto":
        return None
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BundleError(
            f"Device {name!r} was asked for, but PyTorch finds no CUDA device; "
            "use --device cpu, or install PyTorch's CUDA build."
        )
    return name


def _sliding_window(inferer: Any) -> Any:
    """The innermost of inferers that wrap each other, which cuts windows and stitches."""
    while hasattr(inferer, "inferer"):
        inferer = inferer.inferer
    return inferer


def _is_mixed(precision: str) -> bool:
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise BundleError(f"Unknown precision {precision!r}; choose one of {known}.")
    return precision != "fp32"


def _autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """What to compute in; None for float32."""
    if precision == "fp32":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if precision == "bf16" else torch.float16
    if precision == "fp16" or (precision == "bf16" and not cpu_has_bf16()):
        raise BundleError(
            f"Precision {precision!r} was asked for, but this CPU does not compute in it; "
            "use --precision auto, or a CUDA device."
        )
    return torch.bfloat16 if cpu_has_bf16() else None
