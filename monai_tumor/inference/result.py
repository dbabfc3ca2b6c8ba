"""What a segmentation found, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_tumor.files import safe_name, write_atomically, write_json
from monai_tumor.imaging import nifti
from monai_tumor.imaging.measure import Measures
from monai_tumor.imaging.quality import Flag
from monai_tumor.provenance import require_replaceable, unfinished
from monai_tumor.report.study_report import StudyReport


@dataclass(frozen=True)
class SegmentationResult:
    """One study, segmented.

    Attributes:
        study: its name.
        label_map: uint8, [X, Y, Z], on the grid of `reference`; values of `scheme`.
        affine: float64, [4, 4]: voxel to world, mm.
        scheme: name of the label scheme.
        reference: the image whose grid it is.
        image: the label map with that file's header geometry, for saving.
        measures: volumes, lesion counts, diameters.
        flags: reasons to look twice.
        mean_entropy: as in `StudyReport`.
        disagreement: as in `StudyReport`; None of a bundle with one network.
        probabilities: float32, [3 (TC, WT, ET), X, Y, Z], where they were asked for.
        seconds: of reading, of the network and of what follows it.
        provenance: bundle, weights and their SHA-256, versions, options.
    """

    study: str
    label_map: np.ndarray[Any, Any]
    affine: np.ndarray[Any, Any]
    scheme: str
    reference: Path
    image: nib.Nifti1Image
    measures: Measures
    flags: tuple[Flag, ...]
    mean_entropy: float | None
    disagreement: float | None
    probabilities: np.ndarray[Any, Any] | None
    seconds: Mapping[str, float]
    provenance: Mapping[str, Any]

    @property
    def volumes_ml(self) -> Mapping[str, float]:
        """Millilitres of WT, TC, ET, of oedema and of core that does not enhance."""
        return self.measures.volumes_ml

    @property
    def report(self) -> StudyReport:
        """What `report.json` and `report.html` say of it."""
        return StudyReport(
            study=self.study,
            measures=self.measures,
            flags=self.flags,
            provenance={
                **self.provenance,
                "input": self.reference.name,
                "run_time_s": round(sum(self.seconds.values()), 3),
            },
            mean_entropy=self.mean_entropy,
            disagreement=self.disagreement,
        )

    def as_dict(self) -> dict[str, Any]:
        """What describes it, JSON-ready; no voxels."""
        return {
            "study": self.study,
            "label_scheme": self.scheme,
            "input": self.reference.name,
            "volumes_ml": {name: round(ml, 3) for name, ml in self.volumes_ml.items()},
            "flags": [flag.as_dict() for flag in self.flags],
            "seconds": dict(self.seconds),
            **self.provenance,
        }

    def __str__(self) -> str:
        """One line, and one for each flag."""
        sizes = ", ".join(f"{name} {ml:.1f} mL" for name, ml in self.volumes_ml.items())
        line = f"{self.study}: {sizes} ({sum(self.seconds.values()):.1f} s)"
        return "\n".join([line, *(f"  {flag}" for flag in self.flags)])

    def save(self, folder: Path | str, name: str | None = None, **more: Any) -> Path:
        """Write `<name>_seg.nii.gz`, its probabilities if there are, and a JSON; atomically.

        The JSON comes first, as `unfinished`, and again at the end. What an earlier result of the
        same name left is replaced, its probabilities also.

        Args:
            folder: made if need be.
            name: of the files; by default the study's.
            more: further entries of the JSON.

        Returns:
            the label map's path.

        Raises:
            InputError: it cannot be written there, or would replace a file that is no result.
        """
        folder, name = Path(folder), safe_name(name or self.study)
        path = folder / f"{name}_seg.nii.gz"
        beside = folder / f"{name}_seg.json"
        probabilities = folder / f"{name}_prob.nii.gz"
        for file in (path, probabilities):
            require_replaceable(file, beside)
        write_json(beside, unfinished(self.study, self.reference.name))
        probabilities.unlink(missing_ok=True)
        write_atomically(path, partial(nifti.save, self.image))
        if self.probabilities is not None:
            image = nib.Nifti1Image(np.moveaxis(self.probabilities, 0, -1), self.affine)
            write_atomically(probabilities, partial(nifti.save, image))
        write_json(beside, self.as_dict() | more)
        return path
