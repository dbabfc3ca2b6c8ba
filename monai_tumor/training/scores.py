"""Scores of tumour regions while an evaluator runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.utils import CommonKeys

from monai_tumor.errors import StudyError
from monai_tumor.labels import REGIONS
from monai_tumor.metrics.segmentation import CaseScores, score_case
from monai_tumor.metrics.tables import ScoreTable

# Tag -> attribute of a region's scores. The tags are what TensorBoard shows: Dice/WT.
_SHOWN = {"Dice": "dice", "HD95": "hd95_mm", "lesion-wise Dice": "lesion_dice"}


class RegionMetrics(Metric):
    """Mean Dice as the metric's value; each region's Dice, HD95 and lesion-wise Dice beside it.

    Under its own name (say `Dice/mean`) stands the mean over regions of the mean over cases. Beside
    it `Dice/TC`, `HD95/TC`, `lesion-wise Dice/TC` and so on. `engine.state.case_scores` maps each
    study to its scores. In a distributed run each process holds the scores of all.

    Reads the engine's output after post-processing: dictionaries with "pred" and "label", each
    region masks [3 (TC, WT, ET), X, Y, Z] that know their affine, and the study's name.
    """

    def __init__(self) -> None:
        self._cases: dict[str, CaseScores] = {}
        super().__init__(output_transform=lambda output: output, skip_unrolling=True)

    def reset(self) -> None:
        """Forget all cases."""
        self._cases = {}

    def attach(self, engine: Engine, name: str, *args: Any, **kwargs: Any) -> None:
        """Attach under `name`, and remember the engine for the studies' names."""
        self._engine = engine
        super().attach(engine, name, *args, **kwargs)

    def update(self, output: list[dict[str, Any]]) -> None:
        """Score each case of a batch.

        Raises:
            StudyError: a study comes twice.
        """
        for case, batch in zip(output, self._engine.state.batch, strict=True):
            prediction, truth = case[CommonKeys.PRED], case[CommonKeys.LABEL]
            spacing = tuple(float(size) for size in prediction.pixdim)
            study = str(batch.get("study") or batch.get("subject") or len(self._cases))
            if study in self._cases:
                raise StudyError(
                    f"Study {study!r} comes twice; one would take the place of the other. "
                    'Give each its own "study" in the datalist.'
                )
            self._cases[study] = score_case(
                np.asarray(prediction.cpu() > 0.5), np.asarray(truth.cpu() > 0.5), spacing
            )

    def compute(self) -> dict[str, CaseScores]:
        """Study -> scores, of all processes."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, self._cases)
            return {study: scores for part in gathered for study, scores in part.items()}
        return self._cases

    def completed(self, engine: Engine, name: str) -> None:
        """Put the means into `engine.state.metrics`."""
        cases = self.compute()
        engine.state.case_scores = dict(sorted(cases.items()))
        for tag, attribute in _SHOWN.items():
            for region in REGIONS:
                values = [getattr(scores.regions[region], attribute) for scores in cases.values()]
                engine.state.metrics[f"{tag}/{region}"] = _mean(values)
        engine.state.metrics[name] = _mean([engine.state.metrics[f"Dice/{r}"] for r in REGIONS])


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


class SaveScores:
    """Writes the scores of an evaluation as CSV, JSON and Markdown.

    Args:
        folder: gets `scores.csv`, `scores.json` and `scores.md`.
        scheme: label scheme of the predictions; the table is in it too, for the truth of each
            study is read by its own, which the JSON lists as "truth_schemes".
        provenance: what made them (`monai_tumor.provenance.record`).
        active: False on all ranks but 0.
    """

    def __init__(
        self,
        folder: str | Path,
        scheme: str,
        provenance: Mapping[str, Any] | None = None,
        active: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.scheme = scheme
        self.provenance = dict(provenance or {})
        self.active = active

    def attach(self, engine: Engine) -> None:
        """Write when the evaluation is complete."""
        if self.active:
            engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        table = ScoreTable(self.scheme)
        for study, scores in engine.state.case_scores.items():
            table.add(study, scores)
        items = getattr(engine.data_loader.dataset, "data", ())
        truth = sorted({item["scheme"] for item in items if item.get("scheme")})
        more = {
            "prediction_scheme": self.scheme,
            "truth_schemes": truth,
            "made_by": self.provenance,
        }
        table.write(self.folder, more=more)
