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
from monai_tumor.labels import Region, Tissue, scheme, to_regions
from monai_tumor.transforms.save_on_input_grid import on_grid_of


@dataclass(frozen=True)
class SegmentationResult:
    """One study, segmented.

    Attributes:
        study: its name.
        label_map: uint8, [X, Y, Z], on the grid of `reference`; values of `scheme`.
        affine: float64, [4, 4]: voxel to world, mm.
        scheme: name of the label scheme.
        reference: the image whose grid it is.
        volumes_ml: WT, TC, ET, oedema and core.
        probabilities: float32, [3 (TC, WT, ET), X, Y, Z], where they were asked for.
        seconds: of reading, of the network and of what follows it.
        provenance: bundle, weights and their SHA-256, versions, options.
    """

    study: str
    label_map: np.ndarray[Any, Any]
    affine: np.ndarray[Any, Any]
    scheme: str
    reference: Path
    volumes_ml: Mapping[str, float]
    probabilities: np.ndarray[Any, Any] | None
    seconds: Mapping[str, float]
    provenance: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """What describes it, JSON-ready; no voxels."""
        return {
            "study": self.study,
            "label_scheme": self.scheme,
            "input": self.reference.name,
            "volumes_ml": dict(self.volumes_ml),
            "seconds": dict(self.seconds),
            **self.provenance,
        }

    def __str__(self) -> str:
        """One line."""
        sizes = ", ".join(f"{name} {ml:.1f} mL" for name, ml in self.volumes_ml.items())
        return f"{self.study}: {sizes} ({sum(self.seconds.values()):.1f} s)"

    def save(self, folder: Path | str, name: str | None = None, **more: Any) -> Path:
        """Write `<name>_seg.nii.gz`, its probabilities if there are, and a JSON; atomically.

        The JSON comes last: where it is, all of the study is.

        Args:
            folder: made if need be.
            name: of the files; by default the study's.
            more: further entries of the JSON.

        Returns:
            the label map's path.
        """
        folder, name = Path(folder), safe_name(name or self.study)
        path = folder / f"{name}_seg.nii.gz"
        beside = folder / f"{name}_seg.json"
        beside.unlink(missing_ok=True)
        write_atomically(path, partial(nifti.save, on_grid_of(self.reference, self.label_map)))
        if self.probabilities is not None:
            image = nib.Nifti1Image(np.moveaxis(self.probabilities, 0, -1), self.affine)
            write_atomically(folder / f"{name}_prob.nii.gz", partial(nifti.save, image))
        write_json(beside, self.as_dict() | more)
        return path


def volumes_ml(
    label_map: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], scheme_name: str
) -> dict[str, float]:
    """Millilitres of WT, TC, ET, of oedema and of core that does not enhance."""
    voxel = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    order = (Region.WT, Region.TC, Region.ET)
    masks = to_regions(label_map, scheme_name, order)
    found = {str(r): float(m.sum()) * voxel for r, m in zip(order, masks, strict=True)}
    known = scheme(scheme_name)
    for tissue in (Tissue.OEDEMA, Tissue.NECROSIS):
        found[str(tissue)] = float((label_map == known.value(tissue)).sum()) * voxel
    return {name: round(ml, 3) for name, ml in found.items()}
