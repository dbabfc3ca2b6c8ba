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

from monai_tumor.errors import BundleError
from monai_tumor.imaging import nifti
from monai_tumor.imaging.components import filter_tumour
from monai_tumor.imaging.measure import measure
from monai_tumor.imaging.orientation import voxel_spacing
from monai_tumor.imaging.quality import check_mask
from monai_tumor.imaging.resampling import on_grid
from monai_tumor.inference.backends import Backend, choose, in_openvino
from monai_tumor.inference.direct import Made
from monai_tumor.inference.likeness import check_likeness
from monai_tumor.inference.memory import (
    MemoryPlan,
    bytes_of,
    is_out_of_memory,
    need_of,
    plan_within,
)
from monai_tumor.inference.parts import Prepared, from_monai
from monai_tumor.inference.result import SegmentationResult
from monai_tumor.inference.uncertainty import uncertainty
from monai_tumor.labels import MODALITIES, REGIONS, Region, modality, to_labels
from monai_tumor.networks import MeanEnsemble
from monai_tumor.networks.precision import cpu_has_bf16
from monai_tumor.networks.weights import record_beside

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_PLAN = "memory_plan"
_LOG = logging.getLogger(__name__)
_CPU = torch.device("cpu")
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
        self._least_ml = min_lesion_ml, min_et_ml
        least = {"min_lesion_ml": min_lesion_ml, "min_et_ml": min_et_ml}
        budget = None if max_memory is None else bytes_of(max_memory)
        on, mixed = _device(device), _is_mixed(precision)
        usual = budget is None and not tta and _is_cpu(on)
        made = Made.of(bundle, weights, backend, trust, **least) if usual else None
        bf16 = made is not None and _autocast(precision, _CPU) is torch.bfloat16
        parts = made.kept(bf16=bf16, cache=cache) if made else None
        is_kept = parts is not None
        if parts is None:
            parts = from_monai(
                bundle,
                trust=trust,
                weights=weights,
                device=on,
                amp=mixed,
                tta=tta,
                output_scheme=scheme,
                **least,
            )
        self._parts, self._network = parts, parts.network
        self.device, self.window = parts.device, parts.window
        self._seen = record_beside(parts.weights[0]).get("intensities") or {}
        self._autocast = _autocast(precision, self.device)
        computed_in = str(self._autocast or torch.float32).removeprefix("torch.")
        self.provenance: dict[str, Any] = dict(parts.provenance) | {
            "device": str(self.device),
            "precision": computed_in,
            "label_scheme": scheme,
        }
        self._plan = self._planned(budget)
        self._use_backend(backend, cache, is_kept=is_kept)
        if made is not None and not is_kept and made.backend == self.provenance["backend"]:
            made.keep(parts.network, cache=cache)
        if isinstance(self._network, MeanEnsemble) and len(self._network.members) > 1:
            self._network.with_disagreement = True
        self._parts = replace(parts, network=self._network)  # the other one is no longer needed

    def __call__(
        self, item: Mapping[str, Any], *, probabilities: bool = False
    ) -> SegmentationResult:
        """A study, an item of `monai_tumor.data.inference_items`, segmented.

        Args:
            item: paths of its images, their modalities, its name. "image" may be `Images` that were
                read already; "reference" is then the file whose grid they have. "flags" are handed
                on.
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
        grid = self._parts.prepare(item)
        return {
            "study": item.get("study", "?"),
            "grid": grid,
            "seconds": {"read": _since(start)},
            "input": Path(item["reference"]) if "reference" in item else _reference(item),
            "flags": (*item.get("flags", ()), *check_likeness(grid.image.numpy(), self._seen)),
        }

    @torch.inference_mode()
    def predict(self, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """`prepared` with the network's logits [3 (TC, WT, ET), X, Y, Z]; for `finish`.

        An ensemble of several members gives their disagreement in three more channels.
        """
        start = time.perf_counter()
        image = prepared["grid"].image[None].to(self.device, non_blocking=True)
        logits = self._logits(image)[0].float()
        grid = replace(prepared["grid"], image=logits)
        seconds = prepared["seconds"] | {"network": _since(start)}
        return dict(prepared) | {"grid": grid, _PLAN: self._plan, "seconds": seconds}

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        """[1, 3, X, Y, Z]; where memory runs out, by a smaller plan, which then stays.

        Raises:
            BundleError: memory runs out with one window at once.
        """
        sliding = self._parts.sliding
        while True:
            if sliding is not None:
                sliding.sw_batch_size = self._plan.windows
                sliding.device = torch.device("cpu") if self._plan.stitching == "cpu" else None
            try:
                with torch.autocast(
                    self.device.type, self._autocast, enabled=self._autocast is not None
                ):
                    return self._parts.infer(image, self._network)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._plan = self._smaller_plan(error)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _smaller_plan(self, error: BaseException) -> MemoryPlan:
        plan = None if self._parts.sliding is None else self._plan.smaller()
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
        grid: Prepared = predicted["grid"]
        entropy, disagreement = uncertainty(grid.image)
        scores = grid.image[: len(REGIONS)].sigmoid()
        scores = on_grid(scores, grid.affine, grid.source_affine, grid.source_shape)
        kept = scores.cpu().numpy() if probabilities else None
        inside = scores > 0.5
        tc, wt, et = (inside[REGIONS.index(r)] for r in (Region.TC, Region.WT, Region.ET))
        labels: np.ndarray[Any, Any] = to_labels(tc, wt, et, self.scheme).cpu().numpy()
        affine = grid.source_affine.numpy()
        lesion, enhancing = self._least_ml
        if lesion or enhancing:
            labels = filter_tumour(
                labels,
                self.scheme,
                spacing=voxel_spacing(affine),
                min_lesion_ml=lesion,
                min_et_ml=enhancing,
            )
        return SegmentationResult(
            study=str(predicted["study"]),
            label_map=labels,
            affine=affine,
            scheme=self.scheme,
            reference=predicted["input"],
            image=nifti.on_grid_of(predicted["input"], labels),
            measures=measure(labels, affine, self.scheme),
            flags=(*predicted["flags"], *check_mask(labels, affine, self.scheme)),
            mean_entropy=entropy,
            disagreement=disagreement,
            probabilities=kept,
            seconds=predicted["seconds"] | {"finish": _since(start)},
            provenance=self.provenance | {"memory": predicted[_PLAN].as_dict()},
        )

    def _planned(self, budget: int | None) -> MemoryPlan:
        """The bundle's own choice; within `budget` bytes, what does most at once."""
        sliding = self._parts.sliding
        plan = MemoryPlan(windows=1 if sliding is None else sliding.sw_batch_size)
        if budget is None:
            return plan
        shape = (len(self._parts.modalities), *self.window)
        whole = [round(n / mm) for n, mm in zip(_BRATS, self._parts.spacing, strict=True)]
        stitched = (len(REGIONS) + 1, *map(max, whole, self.window))
        need = need_of(self._network, shape, self.device, self._autocast, stitched)
        if self.device.type != "cpu":  # beside a CPU no more than one at once is of use
            plan = replace(plan, windows=_WINDOWS)
        plan = plan_within(budget, need, plan, self.device)
        if plan.in_turn and isinstance(self._network, MeanEnsemble):
            self._network.in_turn = True
            self._network.members.to("cpu")
        return plan

    def _use_backend(self, backend: str, cache: Path | None, *, is_kept: bool) -> None:
        """Put OpenVINO in the network's place where it is chosen; `auto` may find that it cannot.

        Raises:
            BundleError, DependencyError: see the class.
        """
        chosen = choose(backend, self.device)
        if chosen == "openvino" and not is_kept:
            shape = (len(self._parts.modalities), *self.window)
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


def _is_cpu(name: str | None) -> bool:
    """Whether that device, or the bundle's choice, is the CPU."""
    return name == "cpu" or (name is None and not torch.cuda.is_available())


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
